"""The contact table holds the same bytes for every grid, and the numbers that all pairs of voxels give."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from brute_areas import voxel_areas
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from strategies import (
    VOXEL_NM,
    blocks,
    components,
    done,
    most_resident,
    numbered,
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
    "gap_mean_nm": pa.float64(),
    "gap_p10_nm": pa.float64(),
    "gap_p50_nm": pa.float64(),
    "gap_p90_nm": pa.float64(),
    "sites": pa.int64(),
}
ENDS = ("area_a_low_um2", "area_a_high_um2", "area_b_low_um2", "area_b_high_um2")
ENDS += ("gap_min_low_nm", "gap_min_high_nm")
"""What the boundaries' error makes of some of them (`test_contacts_boundary.py`)."""


def gaps(own, other, gap_nm, same):
    """Surface voxel -> {b: gap}, by looking at all pairs of voxels."""
    size = np.array(VOXEL_NM)
    targets = np.argwhere(other)
    values = other[tuple(targets.T)]
    found = {}
    for at in np.argwhere(own):
        beside = [at + step for axis in np.eye(3, dtype=int) for step in (axis, -axis)]
        beside = [b for b in beside if (b >= 0).all() and (b < own.shape).all()]
        label = own[tuple(at)]
        if all(own[tuple(b)] == label for b in beside):
            continue
        between = np.maximum(np.abs(targets - at) - 1, 0) * size
        gap = np.sqrt((between**2).sum(1))
        near = np.unique(values[gap <= gap_nm + 1e-6])
        found[tuple(at)] = {int(b): gap[values == b].min() for b in near if not (same and b == label)}
    return found


def whole(own, other, gap_nm, same=False):
    """The three tables and the image of sites, from all pairs of voxels."""
    sides = [gaps(own, other, gap_nm, same), gaps(other, own, gap_nm, same)]
    area = [voxel_areas(labels, VOXEL_NM) / 1e6 for labels in (own, other)]
    rows, objects = {}, {}
    for i, (side, labels) in enumerate(zip(sides, (own, other), strict=True)):
        for at, met in side.items():
            label = int(labels[at])
            entry = objects.setdefault(("ab"[i], label), [0, 0.0, 0, 0.0])
            entry[:] = np.add(entry, [1, area[i][at], bool(met), bool(met) * area[i][at]])
            for partner, gap in met.items():
                pair = (label, partner) if i == 0 else (partner, label)
                row = rows.setdefault(pair, {"voxels": [0, 0], "area": [0.0, 0.0], "gaps": [[], []]})
                row["voxels"][i] += 1
                row["area"][i] += area[i][at]
                row["gaps"][i].append(gap)
    site, image = sites(own, sides[0])
    pairs = []
    for pair, row in sorted(rows.items()):
        mine = np.array(row["gaps"][0])
        levels = [np.percentile(mine, p, method="inverted_cdf") for p in (10, 50, 90)] if len(mine) else []
        mean = [mine.mean(), *levels] if len(mine) else [np.nan] * 4
        n = sum(key == pair for key in site.values())
        pairs.append([*pair, *row["voxels"], *row["area"], min(row["gaps"][0] + row["gaps"][1]), *mean, n])
    if same:
        objects = {k: v for k, v in objects.items() if k[0] == "a"}
    partners = {
        ("ab"[i], k): sorted({p[1 - i] for p in rows if p[i] == k})
        for i in range(2)
        for p in rows
        for k in [p[i]]
    }
    return np.array(pairs, float).reshape(-1, 12), objects, partners, image


def sites(own, near):
    """Components of voxels with one object and one nearest partner, numbered by their first voxel."""
    pair = {at: (int(own[at]), min((g, b) for b, g in met.items())[1]) for at, met in near.items() if met}
    labels = np.zeros(own.shape, np.int64)
    for key in set(pair.values()):
        mask = np.zeros(own.shape, bool)
        mask[tuple(np.array([at for at, k in pair.items() if k == key]).T)] = True
        part, _ = ndimage.label(mask, np.ones((3, 3, 3)))
        labels[mask] = part[mask] + labels.max()
    labels = numbered(labels)
    return {labels[at]: key for at, key in pair.items()}, labels


def compared(folder, own, other, block, gap_nm, to):
    """Tables and sites over blocks must be the bytes of those over one block, and those of all pairs."""
    instances = write(folder, own, "own", kind="label")
    partner = instances if other is None else write(folder, other)
    plans = [
        cf.contacts(
            instances, partner, to=to, gap_nm=gap_nm, name="c", work=f"{folder}/{name}", block=cut, sites=True
        )
        for name, cut in (("whole", None), ("cut", block))
    ]
    found = table(plans[0])
    done(plans[1])
    for name in ("c", "c-objects", "c-sites"):
        one, two = (Path(folder) / run / "tables" / f"{name}.parquet" for run in ("whole", "cut"))
        assert one.read_bytes() == two.read_bytes()
    partners = own if other is None else (other == 1) * 1 if to else other
    rows, objects, names, image = whole(own, partners, gap_nm, same=other is None)
    got = np.array([found[c] for c in COLUMNS], float).T.reshape(-1, 12)
    np.testing.assert_allclose(got, rows, rtol=1e-5)
    for run in ("whole", "cut"):
        made = cf.open_volume(f"{folder}/{run}/results.ome.zarr/labels/c").read()
        np.testing.assert_array_equal(made, image)
    listed = cf.read_table(f"{folder}/cut/tables/c-objects.parquet").to_pydict()
    keys = list(zip(listed["side"], listed["label"], strict=True))
    assert keys == sorted(objects)
    columns = ("surface_voxels", "surface_um2", "contact_voxels", "contact_um2")
    got = np.array([listed[c] for c in columns]).T.reshape(-1, 4)
    np.testing.assert_allclose(got, np.array([objects[k] for k in keys]).reshape(-1, 4), rtol=1e-5)
    wanted = [names.get(k, []) for k in keys]
    assert listed["partner_labels"] == [" ".join(map(str, w)) for w in wanted]
    assert listed["partners"] == [len(w) for w in wanted]
    assert sum(n for s, n in zip(listed["side"], listed["sites"], strict=True) if s == "a") == image.max()
    each = cf.read_table(f"{folder}/cut/tables/c-sites.parquet").to_pydict()
    assert each["site"] == list(range(1, image.max() + 1))
    for i in each["site"]:
        at = np.argwhere(image == i)
        assert each["voxels"][i - 1] == len(at)
        place = [each[f"{a}_nm"][i - 1] for a in "zyx"]
        np.testing.assert_allclose(place, (at.mean(0) + 0.5) * VOXEL_NM)


@settings(max_examples=10, deadline=None)
@given(shape=SHAPES, seed=seeds, block=blocks, gap_nm=st.sampled_from([0.0, 8.0, 17.9, 40.0]))
@example(shape=(7, 9, 5), seed=2, block=(5, 7, 3), gap_nm=16.0)
def test_contacts_with_a_class_do_not_depend_on_the_grid(shape, seed, block, gap_nm):
    array = semantic(shape, seed)
    own = components(np.where(array == 2, array, 0), 26).astype(np.uint32)
    with tempfile.TemporaryDirectory() as folder:
        compared(folder, own, array, block, gap_nm, "er")


@settings(max_examples=10, deadline=None)
@given(shape=SHAPES, seed=seeds, block=blocks, gap_nm=st.sampled_from([0.0, 8.0, 20.0]))
def test_contacts_between_instances_do_not_depend_on_the_grid(shape, seed, block, gap_nm):
    own = components(semantic(shape, seed), 6).astype(np.uint32)
    with tempfile.TemporaryDirectory() as folder:
        compared(folder, own, None, block, gap_nm, None)


@settings(max_examples=10, deadline=None)
@given(shape=SHAPES, seed=seeds, block=blocks)
def test_objects_may_overlap(shape, seed, block):
    """Two independent labellings: a class may hide an instance altogether, and the row stays."""
    own = components(semantic(shape, seed, 1), 26).astype(np.uint32)
    other = semantic(shape, seed + 1, 1)
    with tempfile.TemporaryDirectory() as folder:
        compared(folder, own, other, block, 8.0, "er")


def test_classes_meet_as_one_object_each(tmp_path):
    """Two classes of one volume give the row of the same classes as instances, in the same numbers."""
    array = semantic((7, 8, 9), 11)
    volume = write(tmp_path, array)
    at = {"gap_nm": 9.0, "work": tmp_path / "work", "block": (7, 4, 9)}
    found = table(cf.contacts(volume, volume, of="lipid", to="er", name="c", **at))
    lipid = write(tmp_path, ((array == 3) * 3).astype(np.uint32), "lipid", kind="label")
    er = write(tmp_path, ((array == 1) * 1).astype(np.uint32), "er", kind="label")
    assert table(cf.contacts(lipid, er, name="d", **at)) == found
    assert (found["label_a"], found["label_b"]) == ([3], [1])


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
    area = pytest.approx(voxel_areas(array == 2, VOXEL_NM).sum() / 1e6, rel=1e-5)
    found = table(near)
    assert {c: found[c] for c in COLUMNS} == {
        "label_a": [1],
        "label_b": [1],
        "voxels": [6],
        "voxels_b": [6],
        "area_a_um2": [area],
        "area_b_um2": [area],
        "gap_min_nm": [16.0],
        "gap_mean_nm": [16.0],
        "gap_p10_nm": [16.0],
        "gap_p50_nm": [16.0],
        "gap_p90_nm": [16.0],
        "sites": [1],
    }
    objects = cf.read_table(tmp_path / "work/tables/near-objects.parquet").to_pydict()
    assert (objects["side"], objects["contact_fraction"], objects["partners"]) == (["a", "b"], [1, 1], [1, 1])
    each = cf.read_table(tmp_path / "work/tables/near-sites.parquet").to_pydict()
    assert [each[k] for k in ("z_nm", "y_nm", "x_nm", "gap_min_nm")] == [[8.0], [20.0], [40.0], [16.0]]
    assert table(cf.contacts(plates.output, classes, to="er", gap_nm=15, name="far", **at))["label_a"] == []


@pytest.mark.parametrize("gap_nm", [0, 170])
def test_the_columns_have_their_types_with_and_without_contacts(gap_nm, tmp_path):
    array = np.zeros((1, 12, 12), np.uint8)
    array[0, 1, 1], array[0, 10, 10] = 1, 2  # 8 voxels between them along y and x: 143 nm
    volume = write(tmp_path, array)
    plan = cf.contacts(volume, volume, gap_nm=gap_nm, name="c", work=tmp_path / "work", block=(1, 4, 12))
    found = cf.read_table(done(plan))
    assert {f.name: f.type for f in found.schema} == COLUMNS | dict.fromkeys(ENDS, pa.float64())
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
        return cells + cf.contacts(cells.output, volume, to="er", gap_nm=9, name="c", sites=True, **at)

    resumed_equals_whole(plan, tmp_path, "c/contacts", 1)


@pytest.mark.parametrize("scored", [None, "uint8", "float32"])
@pytest.mark.parametrize("gap_nm", [8.0, 40.0])
def test_a_task_on_pure_noise_fits_its_estimate(gap_nm, scored, tmp_path):
    """Every voxel is a surface and a contact."""
    rng = np.random.default_rng(0)
    array = rng.integers(0, 3, (64, 64, 64)).astype(np.uint8)
    volume = write(tmp_path, array, voxel_nm=(8.0, 8.0, 8.0))
    at = {"gap_nm": gap_nm, "work": tmp_path / "w", "block": (64, 64, 64)}
    images = []
    if scored:
        scale = 255 if scored == "uint8" else 1
        images = [(scale * rng.random(array.shape)).astype(scored) for _ in range(2)]
        names = ("scores", "partner_scores")
        at |= {n: write(tmp_path, i, n, voxel_nm=(8.0,) * 3) for n, i in zip(names, images, strict=True)}
    stage = cf.contacts(volume, volume, of="er", to="mitochondrion", name="c", sites=True, **at).maps[0]
    peak = most_resident(lambda: stage.function(stage.grid[0], array, *images, **stage.params))
    assert peak <= array.size * stage.working + stage.resident


def test_planning_reads_no_voxels(tmp_path, monkeypatch):
    volume = write(tmp_path, semantic((5, 5, 5), 1))
    monkeypatch.setattr(type(volume), "read", None)
    plan = cf.contacts(volume, volume, to="er", gap_nm=20, name="c", sites=True, work=tmp_path / "w")
    assert "c/contacts" in str(plan)


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
