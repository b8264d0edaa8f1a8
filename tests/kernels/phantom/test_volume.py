from __future__ import annotations

import math
from functools import cache

import heaps
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from chunkflow_liver.errors import ConfigError, GridError
from chunkflow_liver.geometry import Box, Zyx
from chunkflow_liver.kernels.phantom.fields import (
    blur_in_plane,
    capsule,
    smooth_noise,
    spheroid,
    white_noise,
)
from chunkflow_liver.kernels.phantom.volume import CLASSES, Phantom, Rendered, render, truth_table

DEMO = Phantom((96, 256, 256), (40.0, 16.0, 16.0), 1)
FINE = Phantom((700, 700, 700), (8.0, 8.0, 8.0), 3)
SMALL = (
    Phantom((40, 140, 150), (40.0, 16.0, 16.0), 0),
    Phantom((40, 140, 150), (4.0, 8.0, 16.0), 5, scale=0.3),
    Phantom((70, 60, 131), (50.0, 50.0, 25.0), 11, scale=2.0),
)
PARTS = ("raw", "semantic", "instances")


@cache
def whole(phantom: Phantom) -> Rendered:
    return render(phantom, Box.of(phantom.shape))


def positions(shape: Zyx, voxel_nm: tuple[float, float, float]):
    z, y, x = ((np.arange(n) + 0.5) * v for n, v in zip(shape, voxel_nm, strict=True))
    return z, y, x


def around(phantom: Phantom, row: int, name: str, reach_nm: float) -> tuple[Box, Rendered]:
    """A crop about one point of the truth table, cut at the volume's faces."""
    table = truth_table(phantom)
    at = np.array([table[f"{name}_{a}_nm"][row] for a in "zyx"])
    low = np.floor((at - reach_nm) / phantom.voxel_nm).astype(int)
    high = np.ceil((at + reach_nm) / phantom.voxel_nm).astype(int)
    box = Box(tuple(low.tolist()), tuple(high.tolist())).clip(Box.of(phantom.shape))
    return box, render(phantom, box)


def whole_bodies(phantom: Phantom, largest_nm: float) -> list[int]:
    """Rows of the bodies below a length that the volume's faces do not cut."""
    table = truth_table(phantom)
    at = np.stack([table[f"centroid_{a}_nm"] for a in "zyx"], -1)
    reach = table["length_nm"][:, None] / 2 + 140.0
    free = (at > reach).all(1) & (at < phantom.extent_nm - reach).all(1)
    return np.nonzero(free & (table["length_nm"] < largest_nm))[0].tolist()


@st.composite
def boxes(draw: st.DrawFn, shape: Zyx) -> Box:
    sides = [sorted(draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in shape]
    start = tuple(min(a, n - 1) for (a, _), n in zip(sides, shape, strict=True))
    stop = tuple(max(b, s + 1) for (_, b), s in zip(sides, start, strict=True))
    return Box(start, stop)  # type: ignore[arg-type]


@settings(max_examples=30, deadline=None)
@given(data=st.data(), phantom=st.sampled_from(SMALL))
def test_a_voxel_does_not_depend_on_the_box_it_is_rendered_in(data, phantom):
    box = data.draw(boxes(phantom.shape))
    part = render(phantom, box)
    for name in PARTS:
        np.testing.assert_array_equal(
            getattr(part, name), getattr(whole(phantom), name)[box.slices], err_msg=name
        )


def test_blocks_that_cut_every_kind_of_body_join_without_a_seam():
    for start in range(0, 96, 24):
        for left in range(0, 256, 128):
            box = Box((start, 0, left), (start + 24, 256, left + 128))
            part = render(DEMO, box)
            for name in PARTS:
                np.testing.assert_array_equal(getattr(part, name), getattr(whole(DEMO), name)[box.slices])


def test_the_same_seed_gives_the_same_tissue_and_another_seed_another():
    box = Box((10, 20, 30), (20, 60, 90))
    first, again, other = (
        render(Phantom((96, 256, 256), (40.0, 16.0, 16.0), seed), box) for seed in (1, 1, 2)
    )
    for name in PARTS:
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert (first.raw != other.raw).mean() > 0.9
    assert (first.semantic != other.semantic).any()


def test_arrays_have_the_shape_and_types_that_are_promised():
    out = render(DEMO, Box((0, 0, 0), (3, 4, 5)))
    assert [getattr(out, name).dtype for name in PARTS] == [np.uint8, np.uint8, np.uint32]
    assert {getattr(out, name).shape for name in PARTS} == {(3, 4, 5)}


def test_instances_are_the_mitochondria_of_the_semantic_labels_and_of_the_table():
    labels = whole(DEMO).instances
    np.testing.assert_array_equal(labels > 0, whole(DEMO).semantic == CLASSES["mitochondrion"])
    table = truth_table(DEMO)
    np.testing.assert_array_equal(np.unique(labels[labels > 0]), table["label"])
    np.testing.assert_array_equal(table["label"], np.arange(1, len(table["label"]) + 1))
    at = np.stack([table[f"centre_{a}_nm"] for a in "zyx"], -1) / DEMO.voxel_nm
    assert (at >= 0).all()
    assert (at < DEMO.shape).all()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_demo_volume_has_every_class_at_a_liver_like_share(seed):
    out = whole(Phantom((96, 256, 256), (40.0, 16.0, 16.0), seed))
    share = np.bincount(out.semantic.ravel(), minlength=6) / out.semantic.size
    ranges = {
        "mitochondrion": (0.06, 0.12),
        "er": (0.04, 0.10),
        "nucleus": (0.03, 0.10),
        "lipid_droplet": (0.008, 0.03),
        "cell_boundary": (0.02, 0.045),
    }
    for name, (low, high) in ranges.items():
        assert low <= share[CLASSES[name]] <= high, name
    grey = [out.raw[out.semantic == c].mean() for c in range(6)]
    order = ("mitochondrion", "er", "nucleus", "cytoplasm", "lipid_droplet")
    assert np.all(np.diff([grey[CLASSES[name]] for name in order]) > 3)


def test_every_whole_mitochondrion_is_one_piece_with_its_centroid_where_the_table_says():
    table = truth_table(DEMO)
    labels = whole(DEMO).instances
    for row in range(len(table["label"])):
        _, pieces = ndimage.label(labels == table["label"][row], np.ones((3, 3, 3)))
        # a bent body that a face of the volume cuts may come back through it
        cut_twice = table["kind"][row] in ("bent", "branched", "long")
        assert pieces == 1 or cut_twice, table["kind"][row]
    for row in whole_bodies(DEMO, 1200.0):
        points = np.argwhere(labels == table["label"][row]) + 0.5
        centroid = points.mean(0) * DEMO.voxel_nm
        expected = [table[f"centroid_{a}_nm"][row] for a in "zyx"]
        tolerance = 0.05 * table["length_nm"][row]
        np.testing.assert_allclose(centroid, expected, rtol=0, atol=tolerance)


def test_necks_are_as_wide_as_planned_to_within_a_voxel():
    table = truth_table(FINE)
    checked = 0
    for row in np.nonzero(np.isfinite(table["neck_width_nm"]))[0][:8]:
        box, out = around(FINE, int(row), "neck", 160.0)
        if min(box.shape) < 40:
            continue
        depth = ndimage.distance_transform_edt(out.instances == table["label"][row], sampling=8.0)
        neck = [table[f"neck_{a}_nm"][row] for a in "zyx"]
        at = tuple(int(p // 8.0) - s for p, s in zip(neck, box.start, strict=True))
        near = tuple(slice(i - 1, i + 2) for i in at)
        assert abs(depth[near].max() - table["neck_width_nm"][row] / 2) <= 8.0
        checked += 1
    assert checked >= 4


def test_planted_er_keeps_its_gap_and_no_other_er_comes_near():
    table = truth_table(FINE)
    rows = whole_bodies(FINE, 1500.0)
    planted = [r for r in rows if np.isfinite(table["er_gap_nm"][r])]
    free = [r for r in rows if not np.isfinite(table["er_gap_nm"][r])]
    assert len(planted) >= 2
    for row in planted[:4] + free[:2]:
        _, out = around(FINE, row, "centroid", table["length_nm"][row] / 2 + 130.0)
        own = out.instances == table["label"][row]
        er = ndimage.distance_transform_edt(out.semantic != CLASSES["er"], sampling=8.0)
        if row in free:
            assert er[own].min() >= 60.0
        else:
            assert abs(er[own].min() - table["er_gap_nm"][row]) <= 8.0


def test_only_planned_pairs_touch_and_they_share_a_face():
    seen: set[tuple[int, int]] = set()
    planned: set[tuple[int, int]] = set()
    for seed in (0, 1, 5):
        phantom = Phantom((96, 256, 256), (40.0, 16.0, 16.0), seed)
        labels, table = whole(phantom).instances, truth_table(phantom)
        for axis in range(3):
            a, b = (np.moveaxis(labels, axis, 0)[s] for s in (slice(1, None), slice(-1)))
            met = (a > 0) & (b > 0) & (a != b)
            pairs = np.unique(np.sort(np.stack([a[met], b[met]], -1), 1), axis=0).tolist()
            seen |= {(1000 * seed + p, 1000 * seed + q) for p, q in pairs}
        for own, other in zip(table["label"].tolist(), table["touches"].tolist(), strict=True):
            if 0 < own < other:
                planned.add((1000 * seed + own, 1000 * seed + other))
    assert planned
    assert seen == planned


def test_a_phantom_has_as_many_mitochondria_as_were_asked_for():
    size = (100, 160, 160), (40.0, 40.0, 40.0), 4
    everything = truth_table(Phantom(*size))
    pair = int(everything["label"][everything["touches"] > 0][0])
    for wanted in (1, pair, pair + 1):
        truth = truth_table(Phantom(*size, mitochondria=wanted))
        assert truth["label"].tolist() == list(range(1, wanted + 1))
        np.testing.assert_array_equal(truth["radius_nm"], everything["radius_nm"][:wanted])
    assert truth["touches"][-2:].tolist() == [pair + 1, pair]
    assert truth_table(Phantom(*size, mitochondria=pair))["touches"][-1] == 0
    voxels = render(Phantom(*size, mitochondria=pair), Box((0, 0, 0), (50, 80, 80))).instances
    assert set(np.unique(voxels)) - {0} <= set(range(1, pair + 1))


def test_a_volume_of_sixteen_gigavoxels_can_be_looked_into():
    phantom = Phantom((1600, 3200, 3200), (4.0, 4.0, 4.0), 2, scale=3.0)
    out = render(phantom, Box((800, 2500, 2500), (808, 2540, 2540)))
    assert out.raw.std() > 5


def test_rendering_needs_the_result_and_one_brick():
    phantom = Phantom((64, 256, 400), (40.0, 16.0, 16.0), 4)
    truth_table(phantom)
    with heaps.peak() as highest:
        render(phantom, Box.of(phantom.shape))
    assert highest[0] < 6 * math.prod(phantom.shape) + 48 * 2**20


@settings(max_examples=25, deadline=None)
@given(start=st.tuples(*[st.integers(-9, 9)] * 3), shape=st.tuples(*[st.integers(1, 11)] * 3))
def test_noise_depends_on_the_voxel_alone(start, shape):
    outer = white_noise(77, (-10, -10, -10), (31, 31, 31))
    at = tuple(slice(a + 10, a + 10 + n) for a, n in zip(start, shape, strict=True))
    np.testing.assert_array_equal(white_noise(77, start, shape), outer[at])


def test_noise_is_normal_and_uncorrelated():
    noise = white_noise(5, (0, 0, 0), (32, 64, 64)).astype(float)
    assert abs(noise.mean()) < 0.02
    assert abs(noise.std() - 1) < 0.02
    for axis in range(3):
        a, b = (np.moveaxis(noise, axis, 0)[s] for s in (slice(1, None), slice(-1)))
        assert abs((a * b).mean()) < 0.02


def test_smooth_noise_has_unit_spread_and_no_jumps():
    axes = positions((40, 40, 40), (50.0, 50.0, 50.0))
    noise = smooth_noise(3, axes, 150.0)
    assert 0.7 < noise.std() < 1.3
    assert abs(np.diff(noise, axis=0)).max() < 2.5


def test_a_capsule_by_hand_in_anisotropic_voxels():
    # centres at z 2, 6; y 4, 12; x 8, 24, 40 nm; axis along x at z 2, y 4 from x 8 to x 24
    axes = positions((2, 2, 3), (4.0, 8.0, 16.0))
    ends = np.array([[2.0, 4.0, 8.0], [2.0, 4.0, 24.0]])
    got = capsule(axes, ends, 3.0, (0.0, 0.0, 1.0))
    root = math.sqrt
    want = [
        [[0, 0, 16], [8, 8, root(16**2 + 8**2)]],
        [[4, 4, root(16**2 + 4**2)], [root(80), root(80), root(16**2 + 80)]],
    ]
    np.testing.assert_allclose(got, np.array(want) - 3.0, atol=1e-5)


def brute_capsule(point: np.ndarray, ends: np.ndarray, radius: float, dip) -> float:
    way = ends[1] - ends[0]
    length = float(np.linalg.norm(way))
    s = min(max(float((point - ends[0]) @ way) / length, 0.0), length)
    nearest = ends[0] + way * (s / length)
    narrowed = radius - dip[0] / (1 + ((s - dip[1]) / dip[2]) ** 2) ** 2
    return float(np.linalg.norm(point - nearest)) - narrowed


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), depth=st.sampled_from([0.0, 60.0]))
def test_capsules_agree_with_a_loop_over_voxels(seed, depth):
    rng = np.random.default_rng(seed)
    voxel_nm = (40.0, 16.0, 8.0)
    ends = rng.uniform(0, 200, (2, 3))
    dip = (depth, 70.0, 50.0)
    got = capsule(positions((5, 6, 7), voxel_nm), ends, 90.0, dip)
    for at in np.ndindex(5, 6, 7):
        want = brute_capsule((np.array(at) + 0.5) * voxel_nm, ends, 90.0, dip)
        assert abs(got[at] - want) < 0.02


@pytest.mark.parametrize("semi", [(120.0, 120.0), (200.0, 90.0)])
def test_spheroids_are_negative_exactly_inside(semi):
    axes = positions((12, 30, 30), (40.0, 16.0, 16.0))
    centre, axis = np.array([240.0, 230.0, 250.0]), np.array([0.6, 0.0, 0.8])
    got = spheroid(axes, centre, axis, semi)
    point = np.stack(np.meshgrid(*axes, indexing="ij"), -1) - centre
    along = point @ axis
    across = (point**2).sum(-1) - along**2
    np.testing.assert_array_equal(got < 0, along**2 / semi[0] ** 2 + across / semi[1] ** 2 < 1)
    if semi[0] == semi[1]:
        np.testing.assert_allclose(got, np.sqrt((point**2).sum(-1)) - semi[0], atol=1e-3)


def test_blur_is_a_convolution_in_the_plane():
    rng = np.random.default_rng(0)
    image = rng.normal(size=(3, 12, 14)).astype(np.float32)
    taps = np.array([0.01, 0.2, 0.58, 0.2, 0.01])
    want = ndimage.convolve1d(ndimage.convolve1d(image, taps, axis=1), taps, axis=2)
    got = blur_in_plane(image, (0.58, 0.2, 0.01))
    np.testing.assert_allclose(got, want[:, 2:-2, 2:-2], atol=1e-5)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (((0, 4, 4), (8.0, 8.0, 8.0), 0), "at least one voxel per axis"),
        (((4, 4, 4), (8.0, 0.0, 8.0), 0), "voxel sizes above 0 nm"),
        (((4, 4, 4), (8.0, math.nan, 8.0), 0), "voxel sizes above 0 nm"),
        (((4, 4, 4), (8.0, 8.0, 8.0), -1), "a seed of 0 or more, got -1"),
        (((4, 4, 4), (8.0, 8.0, 8.0), 0, 0.0), "a scale above 0, got 0.0"),
    ],
)
def test_phantoms_that_cannot_be_are_refused(values, says):
    with pytest.raises(ConfigError, match=says):
        Phantom(*values)


@pytest.mark.parametrize("stop", [(5, 4, 4), (0, 4, 4)])
def test_boxes_outside_the_volume_and_empty_ones_are_refused(stop):
    with pytest.raises(GridError, match="must lie in the volume z 0:4, y 0:4, x 0:4"):
        render(Phantom((4, 4, 4), (8.0, 8.0, 8.0), 0), Box((0, 0, 0), stop))
