"""Volumes that do not lie on the same voxels are refused by every operation, and so are negative labels."""

from __future__ import annotations

import math
from dataclasses import replace

import block_functions as functions
import numpy as np
import pytest
from strategies import VOXEL_NM, done, table, write

import chunkflow_liver as cf
from chunkflow_liver.errors import InputError, RunIncompleteError
from chunkflow_liver.ops.steps.place import SAME_SIZE, same_voxels
from chunkflow_liver.store.table import FRAME

FEW = cf.Near(window_nm=60, permutations=9, draws=9)
PAIRS = {
    "contacts": lambda a, b, at: cf.contacts(a, b, gap_nm=9, **at),
    "profiles": lambda a, b, at: cf.profiles(a, b, to="er", cap_nm=20, **at),
    "profiles of parents": lambda a, b, at: cf.profiles(a, a, to="er", cap_nm=20, parents=b, **at),
    "measure of an image": lambda a, b, at: cf.measure(a, raw=b, **at),
    "measure of parents": lambda a, b, at: cf.measure(a, parents=b, **at),
    "narrowing": lambda a, b, at: cf.narrowing(a, er=b, near=FEW, **at),
    "narrowing of parents": lambda a, b, at: cf.narrowing(a, parents=b, **at),
    "evaluate": lambda a, b, at: cf.evaluate(a, b, **at),
    "edit": lambda a, b, at: cf.edit(a, [("divide", 1)], pieces=b, **at),
    "stitch": lambda a, b, at: cf.stitch([a, b], functions.same, halo_nm=16, **at),
    "split": lambda a, b, at: cf.split(a, classes="er", boundary=b, depth_nm=8, cap_nm=60, **at),
}
ALONE = {
    "label": lambda a, at: cf.label(a, classes=[1], **at),
    "split": lambda a, at: cf.split(a, classes=[1], depth_nm=8, cap_nm=60, **at),
    "stitch": lambda a, at: cf.stitch(a, block=(2, 6, 6), **at),
    "link": lambda a, at: cf.link(a, **at),
    "refine": lambda a, at: cf.refine(a, **at),
    "edit": lambda a, at: cf.edit(a, [("delete", 1)], **at),
    "distance": lambda a, at: cf.distance(a, to=1, cap_nm=20, **at),
    "distance of any length": lambda a, at: cf.distance(a, to=1, cap_nm=None, **at),
}


@pytest.fixture
def labels(tmp_path):
    return write(tmp_path, np.ones((4, 5, 6), np.uint8))


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"shape": (4, 5, 7)}, r"has \(4, 5, [67]\) voxels and .*{}; choose the level"),
        (
            {"voxel_nm": (4.0, 8.1, 16.0)},
            r"voxels of \(4.0, 8.[01], 16.0\) nm and .*{}; choose .* or mend the",
        ),
        ({"origin_nm": (0.0, 0.0, 9.0)}, r"begins at \(0.0, 0.0, [09].0\) nm .*{}; cut both out of the same"),
    ],
    ids=["shape", "voxel size", "place"],
)
def test_two_volumes_that_are_not_on_the_same_voxels_are_refused(
    pair, change, says, labels, tmp_path, listing
):
    before = listing()
    with pytest.raises(InputError, match=says.format(".* the same voxels")):
        PAIRS[pair](labels, replace(labels, **change), {"name": "n", "work": tmp_path / "work"})
    assert listing() == before


def test_what_rounding_changes_is_the_same_place(labels):
    nearly = replace(
        labels,
        voxel_nm=tuple(v * (1 + 0.9 * SAME_SIZE) for v in VOXEL_NM),
        origin_nm=tuple(v / 2 for v in VOXEL_NM),
    )
    same_voxels(labels, nearly, "the test needs both on the same voxels")
    with pytest.raises(InputError, match="voxels of"):
        same_voxels(labels, replace(labels, voxel_nm=tuple(v * 1.00001 for v in VOXEL_NM)), "x")


@pytest.mark.parametrize("operation", [*ALONE, *(p for p in PAIRS if p not in ("stitch", "split"))])
def test_negative_labels_are_refused_by_name(operation, tmp_path):
    array = np.zeros((4, 12, 12), np.int32)
    array[1:3, 6:10, 6:10], array[1, 2, 3] = 1, -1
    at = {"name": "n", "work": tmp_path / "work"}
    volume = write(tmp_path, array, "signed", kind="label", classes=(("er", 1),))
    if operation in ALONE:
        plan = ALONE[operation](volume, at)
    elif operation == "measure of an image":
        plan = PAIRS[operation](volume, volume, at)
    else:
        positive = write(tmp_path, np.abs(array), "positive", kind="label", classes=(("er", 1),))
        plan = PAIRS[operation](positive, volume, at)
    with pytest.raises(
        RunIncompleteError, match=r"signed\S+ holds the label -1, at voxel \(1, 2, 3\) of"
    ) as says:
        done(plan)
    assert "store it anew with 0 where nothing is labelled" in str(says.value)
    # An image may have any values, and can be read to mend it.
    assert volume.read().min() == -1


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("origin", [(0.0, 0.0, 0.0), (1000.0, 2000.0, 3000.0)])
def test_an_object_has_one_place_in_all_tables(level, origin, tmp_path):
    """A single voxel of level 1 at (1, 1, 2), which are 8 of level 0, and another beside it."""
    fine = np.zeros((6, 6, 12), np.uint8)
    fine[2:4, 2:4, 4:6], fine[2:4, 2:4, 6:8] = 1, 2
    size, array = (VOXEL_NM, fine) if level == 0 else ((8.0, 16.0, 32.0), fine[::2, ::2, ::2])
    written = write(tmp_path, array, "pair", kind="label", voxel_nm=size)
    volume = replace(
        written, origin_nm=tuple(o + level * v / 2 for o, v in zip(origin, VOXEL_NM, strict=True))
    )
    wanted = [(12.0, 24.0, 80.0), (12.0, 24.0, 112.0)]
    work = tmp_path / "work"
    measured = cf.measure(volume, name="m", work=work)
    rows = table(measured)
    centroids = list(zip(*(rows[f"centroid_{a}_nm"] for a in "zyx"), strict=True))
    assert centroids == wanted
    done(cf.contacts(volume, volume, gap_nm=16, name="c", work=work))
    sites = cf.read_table(work / "tables/c-sites.parquet")
    places = list(zip(*(sites[f"{a}_nm"].to_pylist() for a in "zyx"), strict=True))
    assert places == wanted
    stitched = cf.stitch(volume, functions.same, halo_nm=64, name="s", work=work, block=(6, 6, 6 >> level))
    done(stitched)
    (seam,) = cf.read_table(work / "tables/s-seams.parquet").to_pylist()
    for a, v in zip("zyx", size, strict=True):
        assert seam[f"{a}_nm"] == (seam[a] + 0.5) * v
    for field in (sites.schema.field("z_nm"), cf.read_table(measured.output).schema.field("centroid_x_nm")):
        assert field.metadata == {b"unit": b"nanometer", b"from": FRAME.encode()}


def test_narrowings_lie_where_the_objects_do_whatever_the_origin(tmp_path):
    """A rod of 9 x 9 voxels with a waist of 3 x 3 in the middle."""
    rod = np.zeros((11, 11, 41), np.uint8)
    rod[1:10, 1:10, 1:40], rod[1:10, 1:10, 18:23] = 1, 0
    rod[4:7, 4:7, 18:23] = 1
    written = write(tmp_path, rod, "rod", kind="label", voxel_nm=(8.0, 8.0, 8.0))
    found = [
        table(cf.narrowing(volume, name="n", work=tmp_path / f"work-{i}"))
        for i, volume in enumerate((written, replace(written, origin_nm=(500.0, 0.0, 70.0))))
    ]
    np.testing.assert_equal(found[0], found[1])  # one narrowing has no next one: NaN
    (place,) = zip(*(found[0][f"{a}_nm"] for a in "zyx"), strict=True)
    assert math.dist(place, (44, 44, 164)) < 8
