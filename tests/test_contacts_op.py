"""The contact table holds the same bytes for every grid, and the numbers that all pairs of voxels give."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from strategies import (
    VOXEL_NM,
    blocks,
    components,
    done,
    resumed_equals_whole,
    seeds,
    semantic,
    table,
    write,
)

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError

SHAPES = st.tuples(*[st.integers(1, 7)] * 3)
COLUMNS = {
    "label_a": pa.uint64(),
    "label_b": pa.uint64(),
    "voxels": pa.int64(),
    "voxels_b": pa.int64(),
    "area_a_um2": pa.float64(),
    "area_b_um2": pa.float64(),
    "gap_min_nm": pa.float64(),
}


def exposed(labels):
    """Area in nm2 of the faces of every voxel that look at another label."""
    area = np.zeros(labels.shape)
    size = np.array(VOXEL_NM)
    for axis, step in itertools.product(range(3), (-1, 1)):
        face = size.prod() / size[axis]
        for at in np.argwhere(labels):
            beside = at.copy()
            beside[axis] += step
            if 0 <= beside[axis] < labels.shape[axis] and labels[tuple(beside)] != labels[tuple(at)]:
                area[tuple(at)] += face
    return area


def side(own, other, gap_nm, same):
    """(a, b) -> surface voxels, area, smallest gap, by looking at all pairs of voxels."""
    area, size = exposed(own), np.array(VOXEL_NM)
    targets = np.argwhere(other)
    values = other[tuple(targets.T)]
    found = {}
    for at in np.argwhere(area > 0):
        between = np.maximum(np.abs(targets - at) - 1, 0) * size
        gaps = np.sqrt((between**2).sum(1))
        label = own[tuple(at)]
        for b in np.unique(values[gaps <= gap_nm + 1e-6]):
            if same and b == label:
                continue
            row = found.setdefault((int(label), int(b)), [0, 0.0, np.inf])
            row[0] += 1
            row[1] += area[tuple(at)] / 1e6
            row[2] = min(row[2], gaps[values == b].min())
    return found


def whole(own, other, gap_nm, same=False):
    a = side(own, other, gap_nm, same)
    b = {(k[1], k[0]): v for k, v in side(other, own, gap_nm, same).items()}
    none = (0, 0.0, np.inf)
    rows = []
    for pair in sorted(a.keys() | b.keys()):
        one, two = a.get(pair, none), b.get(pair, none)
        rows.append([*pair, one[0], two[0], one[1], two[1], min(one[2], two[2])])
    return np.array(rows, float).reshape(-1, 7)


def compared(folder, own, other, block, gap_nm, to):
    """The table over blocks, which must be the bytes of the table over one block."""
    instances = write(folder, own, "own", kind="label")
    partner = instances if other is None else write(folder, other)
    plans = [
        cf.contacts(instances, partner, to=to, gap_nm=gap_nm, name="c", work=f"{folder}/{name}", block=cut)
        for name, cut in (("whole", None), ("cut", block))
    ]
    tables = [table(plan) for plan in plans]
    assert Path(plans[0].output.path).read_bytes() == Path(plans[1].output.path).read_bytes()
    return np.array(list(tables[1].values()), float).T.reshape(-1, 7)


@settings(max_examples=15, deadline=None)
@given(shape=SHAPES, seed=seeds, block=blocks, gap_nm=st.sampled_from([0.0, 8.0, 17.9, 40.0]))
@example(shape=(7, 9, 5), seed=2, block=(5, 7, 3), gap_nm=16.0)
def test_contacts_with_a_class_do_not_depend_on_the_grid(shape, seed, block, gap_nm):
    array = semantic(shape, seed)
    own = components(np.where(array == 2, array, 0), 26).astype(np.uint32)
    with tempfile.TemporaryDirectory() as folder:
        found = compared(folder, own, array, block, gap_nm, "er")
    np.testing.assert_allclose(found, whole(own, array == 1, gap_nm), rtol=1e-9)


@settings(max_examples=15, deadline=None)
@given(shape=SHAPES, seed=seeds, block=blocks, gap_nm=st.sampled_from([0.0, 8.0, 20.0]))
def test_contacts_between_instances_do_not_depend_on_the_grid(shape, seed, block, gap_nm):
    own = components(semantic(shape, seed), 6).astype(np.uint32)
    with tempfile.TemporaryDirectory() as folder:
        found = compared(folder, own, None, block, gap_nm, None)
    np.testing.assert_allclose(found, whole(own, own, gap_nm, same=True), rtol=1e-9)


@settings(max_examples=15, deadline=None)
@given(shape=SHAPES, seed=seeds, block=blocks)
def test_objects_may_overlap(shape, seed, block):
    """Two independent labellings: a class may hide an instance altogether, and the row stays."""
    own = components(semantic(shape, seed, 1), 26).astype(np.uint32)
    other = semantic(shape, seed + 1, 1)
    with tempfile.TemporaryDirectory() as folder:
        found = compared(folder, own, other, block, 8.0, "er")
    np.testing.assert_allclose(found, whole(own, other, 8.0), rtol=1e-9)


def test_an_object_deep_inside_a_class_keeps_its_row(tmp_path):
    """The class fills all but one far voxel: none of its own surface is near the object."""
    er = np.ones((9, 9, 9), np.uint8)
    er[8, 8, 8] = 0
    own = np.zeros(er.shape, np.uint32)
    own[1, 1, 1] = 7
    found = table(
        cf.contacts(
            write(tmp_path, own, "own", kind="label"),
            write(tmp_path, er),
            to="er",
            gap_nm=4,
            name="c",
            work=tmp_path / "work",
            block=(9, 9, 3),
        )
    )
    assert (found["label_a"], found["voxels"], found["voxels_b"]) == ([7], [1], [0])
    assert (found["area_b_um2"], found["gap_min_nm"]) == ([0.0], [0.0])


def test_a_hand_worked_pair(tmp_path):
    """Two plates of 2 x 3 voxels, one empty voxel (16 nm) between them along x, over two blocks."""
    array = np.zeros((4, 5, 8), np.uint8)
    array[1:3, 1:4, 2] = 2
    array[1:3, 1:4, 4] = 1
    at = {"work": tmp_path / "work", "block": (4, 5, 3)}
    classes = write(tmp_path, array)
    plates = cf.label(classes, classes=["mitochondrion"], name="plates", **at)
    near = plates + cf.contacts(plates.output, classes, to="er", gap_nm=16, name="near", **at)
    # Each plate shows 2 x 6 faces of 4 x 8 nm2 along x, 2 x 3 of 8 x 16 along z, 2 x 2 of 4 x 16 along y.
    area = pytest.approx((12 * 4 * 8 + 6 * 8 * 16 + 4 * 4 * 16) / 1e6)
    assert table(near) == {
        "label_a": [1],
        "label_b": [1],
        "voxels": [6],
        "voxels_b": [6],
        "area_a_um2": [area],
        "area_b_um2": [area],
        "gap_min_nm": [16.0],
    }
    assert table(cf.contacts(plates.output, classes, to="er", gap_nm=15, name="far", **at))["label_a"] == []


@pytest.mark.parametrize("gap_nm", [0, 170])
def test_the_columns_have_their_types_with_and_without_contacts(gap_nm, tmp_path):
    array = np.zeros((1, 12, 12), np.uint8)
    array[0, 1, 1], array[0, 10, 10] = 1, 2  # 8 voxels between them along y and x: 143 nm
    volume = write(tmp_path, array)
    plan = cf.contacts(volume, volume, gap_nm=gap_nm, name="c", work=tmp_path / "work", block=(1, 4, 12))
    found = cf.read_table(done(plan))
    assert {f.name: f.type for f in found.schema} == COLUMNS
    assert found.num_rows == (2 if gap_nm else 0)
    assert found.schema.field("area_a_um2").metadata == {b"unit": b"micrometer^2"}


def test_an_image_opened_twice_is_one_labelling(tmp_path):
    """A planned handle and an opened one differ, but an object still does not touch itself."""
    own = np.ones((3, 4, 5), np.uint32)
    own[:, :, 3:] = 2
    first = write(tmp_path, own, "own", kind="label")
    plan = cf.contacts(
        first, cf.open_volume(first.url, missing_chunks="fill"), gap_nm=0, name="c", work=tmp_path / "work"
    )
    assert table(plan)["label_b"] == [2, 1]


def test_a_broken_run_goes_on_to_the_same_bytes(tmp_path):
    volume = write(tmp_path, semantic((9, 9, 9), 3))

    def plan(work):
        at = {"work": work, "block": (3, 9, 9)}
        cells = cf.label(volume, classes=["mitochondrion"], name="cells", **at)
        return cells + cf.contacts(cells.output, volume, to="er", gap_nm=9, name="c", **at)

    resumed_equals_whole(plan, tmp_path, "c/contacts", 1)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"gap_nm": -1}, ConfigError, "gap_nm must be 0 or more, got -1"),
        ({"gap_nm": float("nan")}, ConfigError, "gap_nm must be 0 or more, got nan"),
        ({"to": "golgi"}, InputError, "no class 'golgi'; it has"),
        ({"name": ".."}, InputError, "not usable as a folder name"),
    ],
)
def test_what_has_no_contacts_is_refused(options, error, says, tmp_path, listing):
    volume = write(tmp_path, semantic((3, 4, 5), 0))
    before = listing()
    with pytest.raises(error, match=says):
        cf.contacts(volume, volume, **{"gap_nm": 5, "name": "c", "work": tmp_path / "work"} | options)
    assert listing() == before


def test_background_other_shapes_and_intensities_have_no_contacts(tmp_path):
    at = {"gap_nm": 5, "name": "c", "work": tmp_path / "work"}
    cells = write(tmp_path, np.ones((3, 4, 5), np.uint32), "cells", kind="label")
    with pytest.raises(ConfigError, match="contacts with class 0 do not exist: 0 is background"):
        cf.contacts(cells, cells, to=0, **at)
    smaller = write(tmp_path, np.ones((3, 4, 4), np.uint32), "smaller", kind="label")
    with pytest.raises(InputError, match=r"\(3, 4, 5\) voxels and .* \(3, 4, 4\): contacts need"):
        cf.contacts(cells, smaller, **at)
    floats = write(tmp_path, np.ones((3, 4, 5), np.float32), "floats")
    with pytest.raises(InputError, match=r"floats.* holds float32 voxels; classes and instances must be"):
        cf.contacts(cells, floats, **at)
