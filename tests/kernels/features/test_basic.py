"""Sums of blocks merge into exactly what the whole volume says."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import regionprops

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import BlockGrid, Box
from chunkflow_liver.kernels import rows
from chunkflow_liver.kernels.features import basic as moments
from chunkflow_liver.kernels.features.basic import block_sums, describe, merge_sums

VOXEL_NM = (4.0, 8.0, 16.0)
shapes = st.tuples(*[st.integers(1, 9)] * 3)
blocks = st.tuples(*[st.integers(1, 6)] * 3)
seeds = st.integers(0, 2**32 - 1)


def objects(shape, seed, dtype="uint32"):
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, 5, shape) * (rng.random(shape) < 0.6)
    return (ids * 7).astype(dtype)


def in_blocks(labels, raw, block, seed=0):
    grid = list(BlockGrid(Box.of(labels.shape), block))
    np.random.default_rng(seed).shuffle(grid)
    return merge_sums(
        (
            b.write.start,
            block_sums(labels[b.write.slices], None if raw is None else raw[b.write.slices]),
        )
        for b in grid
    )


def by_voxel(labels, raw):
    """The same sums in Python integers, one object at a time."""
    columns = {}
    for label in np.unique(labels[labels > 0]):
        at = [np.array(c, object) for c in np.nonzero(labels == label)]
        row = {"label": int(label), "voxels": len(at[0])}
        for i, a in enumerate("zyx"):
            row |= {f"sum_{a}": at[i].sum(), f"min_{a}": min(at[i]), f"max_{a}": max(at[i])}
        for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)):
            name = "zyx"[i] + "zyx"[j] if i == j else {1: "zy", 2: "zx", 3: "yx"}[i + j]
            row[f"sum_{name}"] = (at[i] * at[j]).sum()
        values = raw[labels == label].astype(object)
        row |= {"intensity_sum": values.sum(), "intensity_sum2": (values * values).sum()}
        row |= {"intensity_min": min(values), "intensity_max": max(values)}
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    return columns


def assert_same(got, expected):
    assert got.keys() == expected.keys()
    for name in got:
        assert got[name].dtype == expected[name].dtype, name
        np.testing.assert_array_equal(got[name], expected[name], err_msg=name)


@settings(max_examples=50, deadline=None)
@given(
    shape=shapes,
    block=blocks,
    seed=seeds,
    dtype=st.sampled_from(["uint8", "uint16", "int16", "int32", "uint64", "bool"]),
)
def test_sums_do_not_depend_on_the_grid(shape, block, seed, dtype):
    labels = objects(shape, seed)
    info = np.iinfo("uint8" if dtype == "bool" else dtype)
    raw = np.random.default_rng(seed).integers(info.min, info.max, shape, info.dtype, endpoint=True)
    raw = raw.astype(dtype)
    one = in_blocks(labels, raw, shape)
    assert_same(in_blocks(labels, raw, block, seed), one)
    expected = by_voxel(labels, raw)
    if expected:
        assert one.keys() == expected.keys()
    for name, values in expected.items():
        assert one[name].tolist() == values, name


@settings(max_examples=25, deadline=None)
@given(shape=shapes, block=blocks, seed=seeds)
def test_descriptions_do_not_depend_on_the_grid(shape, block, seed):
    labels = objects(shape, seed)
    raw = np.random.default_rng(seed).integers(0, 256, shape, np.uint8, endpoint=False)
    expected = describe(in_blocks(labels, raw, shape), VOXEL_NM, shape)
    assert_same(describe(in_blocks(labels, raw, block, seed), VOXEL_NM, shape), expected)


@pytest.mark.parametrize("block", [(20, 30, 25), (7, 8, 9)], ids=str)
def test_objects_are_described_as_scikit_image_does(block):
    shape = (20, 30, 25)
    labels = np.zeros(shape, np.uint64)
    labels[2:9, 3:20, 5:8] = 3
    labels[4:6, 21:23, :] = 2**60 + 1
    labels[19, 29, 24] = 4
    labels[10:18, 10:25, 10:20][np.random.default_rng(0).random((8, 15, 10)) < 0.4] = 12
    raw = np.random.default_rng(1).integers(0, 65536, shape, np.uint16)
    table = describe(in_blocks(labels, raw, block), VOXEL_NM, shape)
    small = np.searchsorted(np.unique(labels), labels).astype(np.int64)
    props = regionprops(small, raw, spacing=VOXEL_NM)
    assert table["label"].tolist() == [3, 4, 12, 2**60 + 1]
    assert table["touches_border"].tolist() == [False, True, False, True]
    for i, p in enumerate(props):
        assert table["volume_um3"][i] == pytest.approx(p.area / 1e9)
        got = [table[f"centroid_{a}_nm"][i] for a in "zyx"]
        np.testing.assert_allclose(got, np.add(p.centroid, np.multiply(VOXEL_NM, 0.5)))
        got = [table[f"bbox_{a}_{end}"][i] for end in ("min", "max") for a in "zyx"]
        assert got == list(p.bbox)
        for ours, theirs in (("mean", "mean"), ("sd", "std"), ("min", "min"), ("max", "max")):
            expected = getattr(p, f"intensity_{theirs}")
            assert table[f"intensity_{ours}"][i] == pytest.approx(expected, rel=1e-12), ours
        points = p.coords * VOXEL_NM
        values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(points.T, ddof=0)))
        if p.num_pixels == 1:
            values = np.zeros(3)
        got = [table[f"axis_{k}_nm"][i] for k in ("minor", "middle", "major")]
        np.testing.assert_allclose(got, 4 * np.sqrt(np.maximum(values, 0)), rtol=1e-9, atol=1e-5)
        if p.num_pixels > 1:
            major = np.array([table[f"major_{a}"][i] for a in "zyx"])
            assert abs(major @ vectors[:, 2]) == pytest.approx(1)
            assert major[np.abs(major).argmax()] > 0


def test_a_rod_of_three_voxels_is_described_by_hand():
    labels = np.zeros((4, 4, 4), np.uint8)
    labels[1, 2, 0:3] = 1
    raw = np.zeros(labels.shape, np.uint8)
    raw[1, 2, 0:3] = (10, 20, 60)
    table = describe(block_sums(labels, raw), VOXEL_NM, (4, 4, 4))
    expected = {
        "label": 1,
        "voxels": 3,
        "volume_um3": 3 * 512e-9,
        "centroid_z_nm": 6.0,
        "centroid_y_nm": 20.0,
        "centroid_x_nm": 24.0,
        "bbox_z_min": 1,
        "bbox_y_min": 2,
        "bbox_x_min": 0,
        "bbox_z_max": 2,
        "bbox_y_max": 3,
        "bbox_x_max": 3,
        "axis_major_nm": 4 * 16 * (2 / 3) ** 0.5,
        "axis_middle_nm": 0.0,
        "axis_minor_nm": 0.0,
        "major_z": 0.0,
        "major_y": 0.0,
        "major_x": 1.0,
        "intensity_mean": 30.0,
        "intensity_sd": (1400 / 3) ** 0.5,
        "intensity_min": 10,
        "intensity_max": 60,
        "touches_border": True,
    }
    assert {name: column[0] for name, column in table.items()} == pytest.approx(expected)


def test_a_far_away_origin_changes_no_shape():
    labels = objects((5, 6, 7), 1)
    near = merge_sums([((0, 0, 0), block_sums(labels))])
    far = merge_sums([((10**6, 2 * 10**6, 3 * 10**6), block_sums(labels))])
    shape = (10**7, 10**7, 10**7)
    here, there = describe(near, VOXEL_NM, shape), describe(far, VOXEL_NM, shape)
    for name in ("axis_major_nm", "axis_middle_nm", "axis_minor_nm", "major_z"):
        np.testing.assert_array_equal(here[name], there[name])


def test_sums_beyond_int64_stay_exact():
    part = block_sums(np.ones((1, 1, 1), np.uint8))
    part["voxels"] = np.array([10**9])
    part["sum_x"] = part["max_x"] = np.array([0])
    far = 10**6
    merged = merge_sums([((0, 0, far), part)] * 30)
    assert merged["sum_xx"].dtype == object
    assert merged["sum_xx"].tolist() == [30 * 10**9 * far**2]
    assert merged["sum_x"].dtype == np.int64
    assert describe(merged, VOXEL_NM, (far * 2,) * 3)["axis_major_nm"].tolist() == [0.0]


def test_a_covariance_of_sums_whose_products_pass_int64_is_exact():
    """A rod of 2^26 voxels along x and a voxel beside it: n sum(x^2) is about 2^102; and a small object."""
    long = 1 << 26
    n = np.array([long, 3])
    first = np.array([long * (long - 1) // 2, 3], object)
    second = np.array([(long - 1) * long * (2 * long - 1) // 6, 5], object)
    got = moments._covariance(n, second, first, first)
    assert got.tolist() == [float(Fraction(long**2 - 1, 12)), float(Fraction(2, 3))]


@pytest.mark.parametrize("long", [1 << 18, 700_001, 1 << 20])
def test_a_rod_of_many_voxels_has_its_length(long):
    """Along x, 16 nm each: n sum(x^2) is up to about 2^78, each sum is an int64."""
    sums = block_sums(np.ones((1, 1, long), np.uint8))
    assert sums["sum_xx"].dtype == np.int64
    wanted = 4 * 16 * math.sqrt((long**2 - 1) / 12)
    table = describe(sums, VOXEL_NM, (1, 1, long))
    assert table["axis_major_nm"].tolist() == pytest.approx([wanted], rel=1e-15)
    assert table["axis_middle_nm"].tolist() == [0.0]


@pytest.mark.parametrize("voxel_nm", [VOXEL_NM, (40.0, 5.8667, 5.8667)])
def test_oblique_lines_and_planes_are_flat(voxel_nm):
    """A diagonal of three voxels, and the plane z = y; a line has one axis, a plane two."""
    line = np.eye(3, dtype=np.uint8)[:, :, None] * np.eye(3, dtype=np.uint8)[:, None, :]
    plane = np.repeat(np.eye(5, dtype=np.uint8)[:, :, None], 4, axis=2)
    for labels, axes in ((line, 1), (plane, 2)):
        table = describe(block_sums(labels), voxel_nm, labels.shape)
        lengths = [table[f"axis_{name}_nm"][0] for name in ("major", "middle", "minor")]
        assert [length > 1 for length in lengths] == [True] * axes + [False] * (3 - axes)
        assert lengths[axes:] == [0.0] * (3 - axes)


def test_many_parts_are_merged_in_batches(monkeypatch):
    monkeypatch.setattr(rows, "_BATCH_ROWS", 3)
    labels = objects((6, 6, 6), 5)
    raw = np.arange(216, dtype=np.uint8).reshape(labels.shape)
    assert_same(in_blocks(labels, raw, (1, 2, 3)), block_sums(labels, raw))


def test_intensities_are_summed_slab_by_slab(monkeypatch):
    labels = objects((6, 6, 6), 5)
    raw = np.arange(216, dtype=np.uint8).reshape(labels.shape)
    expected = block_sums(labels, raw)
    monkeypatch.setattr(moments, "_SLAB_VOXELS", 5)
    assert_same(block_sums(labels, raw), expected)


@settings(max_examples=25, deadline=None)
@given(shape=shapes, block=blocks, seed=seeds, dtype=st.sampled_from(["float16", "float32", "float64"]))
def test_float_images_do_not_depend_on_the_grid(shape, block, seed, dtype):
    """Values over many powers of two, whose float sums depend on the order."""
    labels, rng = objects(shape, seed), np.random.default_rng(seed)
    limit = 12 if dtype == "float16" else 60
    raw = np.ldexp(rng.normal(size=shape), rng.integers(-limit, limit, shape)).astype(dtype)
    expected = describe(in_blocks(labels, raw, shape), VOXEL_NM, shape)
    assert_same(describe(in_blocks(labels, raw, block, seed), VOXEL_NM, shape), expected)
    for label, mean, sd in zip(
        expected["label"], expected["intensity_mean"], expected["intensity_sd"], strict=True
    ):
        values = [Fraction(float(v)) for v in raw[labels == label]]
        wanted = sum(values) / len(values)
        assert mean == float(wanted)
        assert sd == pytest.approx(math.sqrt(sum((v - wanted) ** 2 for v in values) / len(values)), rel=1e-15)


def test_values_that_are_no_numbers_make_the_mean_none():
    labels = np.array([[[1, 1, 2, 2, 3]]], np.uint8)
    raw = np.array([[[1.0, np.nan, np.inf, 0.5, -2.5]]], np.float32)
    table = describe(in_blocks(labels, raw, (1, 1, 2)), VOXEL_NM, labels.shape)
    np.testing.assert_array_equal(table["intensity_mean"], [np.nan, np.nan, -2.5])
    np.testing.assert_array_equal(table["intensity_sd"], [np.nan, np.nan, 0.0])


def test_nothing_measured_is_an_empty_table():
    for raw in (None, np.zeros((2, 2, 2), np.uint8)):
        table = describe(
            merge_sums([((0, 0, 0), block_sums(np.zeros((2, 2, 2), np.uint8), raw))]), VOXEL_NM, (2, 2, 2)
        )
        assert {len(column) for column in table.values()} == {0}
        assert ("intensity_sd" in table) == (raw is not None)
    assert len(merge_sums([])["label"]) == 0


def test_a_block_whose_sums_would_not_fit_is_refused():
    """The longest row that is taken has exact sums; (2^20)^3 is well below 2^63."""
    row = np.ones((1, 1, moments.LONGEST_SIDE), np.uint8)
    long = row.size
    assert block_sums(row)["sum_xx"].tolist() == [(long - 1) * long * (2 * long - 1) // 6]
    with pytest.raises(InputError, match=r"a block of \(1, 1, 1048577\) voxels is longer than 1048576"):
        block_sums(np.ones((1, 1, long + 1), np.uint8))


def test_an_image_of_another_shape_is_refused():
    with pytest.raises(InputError, match=r"the image block has shape \(2, 2, 3\)"):
        block_sums(np.ones((2, 2, 2), np.uint8), np.ones((2, 2, 3), np.uint8))


def test_blocks_with_and_without_an_image_are_not_mixed():
    labels = np.ones((2, 2, 2), np.uint8)
    parts = [((0, 0, 0), block_sums(labels)), ((2, 0, 0), block_sums(labels, labels))]
    with pytest.raises(InputError, match="measure every block alike"):
        merge_sums(parts)


def test_a_plane_has_no_border_above_and_below():
    labels = np.zeros((1, 20, 20), np.uint8)
    labels[0, 9:11, 9:11] = 1
    labels[0, 0, 5:7] = 2
    labels[0, 12:14, 19] = 3
    for axis in range(3):
        plane = np.moveaxis(labels, 0, axis)
        table = describe(in_blocks(plane, None, (7, 7, 7)), VOXEL_NM, plane.shape)
        assert table["touches_border"].tolist() == [False, True, True]
