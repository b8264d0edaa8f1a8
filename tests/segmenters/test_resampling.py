"""Boxes of a resampled volume are what nnU-Net makes of the whole volume, for any box."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from nnunetv2.preprocessing.resampling.default_resampling import (
    compute_new_shape,
    resample_data_or_seg_to_shape,
)
from skimage.transform import resize

from chunkflow_liver.errors import SegmenterError
from chunkflow_liver.geometry import Box
from chunkflow_liver.segmenters.resampling import Resampling, Spline, resampled_shape

SIZES = st.tuples(*[st.sampled_from([4.0, 5.9, 8.0, 13.0, 16.0, 40.0])] * 3)
SHAPES = st.tuples(*[st.integers(1, 45)] * 3)
SEEDS = st.integers(0, 2**20)


def a_box(shape, rng):
    start = [int(rng.integers(0, n)) for n in shape]
    stop = [int(rng.integers(a + 1, n + 1)) for a, n in zip(start, shape, strict=True)]
    return Box(tuple(start), tuple(stop))


def limits(array, plan, source):
    """Smallest and largest values as `apply` wants them."""
    if plan.separate is None:
        return {"low": array.min((1, 2, 3)), "high": array.max((1, 2, 3))}
    across = tuple(axis + 1 for axis in range(3) if axis != plan.separate)
    planes = slice(source.start[plan.separate], source.stop[plan.separate])
    return {"low": array.min(across)[:, planes], "high": array.max(across)[:, planes]}


def cut(array, plan, target):
    """The box `target` of the resampled array, from the voxels that it needs and no others."""
    source = plan.need(target)
    part = array[(slice(None), *source.slices)]
    return plan.apply(part, source, target, **limits(array, plan, source))


@settings(max_examples=60)
@given(shape=SHAPES, spacing=SIZES, wanted=SIZES, order=st.sampled_from([1, 3]), seed=SEEDS)
def test_a_box_is_that_of_the_volume_nnunet_resampled_whole(shape, spacing, wanted, order, seed):
    new = resampled_shape(shape, spacing, wanted)
    assert new == tuple(compute_new_shape(shape, spacing, wanted))
    assume(min(new) > 0 and np.prod(new) < 2e5)
    rng = np.random.default_rng(seed)
    array = rng.normal(size=(2, *shape)).astype(np.float32)
    whole = resample_data_or_seg_to_shape(
        array, new, spacing, wanted, order=order, order_z=0, force_separate_z=None
    )
    plan = Resampling.between(shape, new, spacing, wanted, Spline(order))
    target = a_box(new, rng)
    got = cut(array, plan, target)
    assert got.dtype == np.float32
    error = np.abs(got - whole[(slice(None), *target.slices)]).max()
    assert error <= 1e-6 * max(np.ptp(array), 1.0)


@settings(max_examples=40)
@given(shape=SHAPES, spacing=SIZES, wanted=SIZES, order=st.sampled_from([1, 3]), seed=SEEDS)
def test_any_cut_gives_the_same_bits(shape, spacing, wanted, order, seed):
    new = resampled_shape(shape, spacing, wanted)
    assume(min(new) > 0 and np.prod(new) < 1e5)
    rng = np.random.default_rng(seed)
    array = rng.normal(size=(1, *shape)).astype(np.float32)
    plan = Resampling.between(shape, new, spacing, wanted, Spline(order))
    whole = cut(array, plan, Box.of(new))
    for _ in range(3):
        target = a_box(new, rng)
        np.testing.assert_array_equal(cut(array, plan, target), whole[(slice(None), *target.slices)])
        # More of the source than is needed changes nothing either.
        wide = plan.need(target).grow((3, 1, 2)).clip(Box.of(shape))
        part = array[(slice(None), *wide.slices)]
        np.testing.assert_array_equal(
            plan.apply(part, wide, target, **limits(array, plan, wide)), whole[(slice(None), *target.slices)]
        )


@pytest.mark.parametrize(
    ("spacing", "wanted", "separate"),
    [
        ((40.0, 4.0, 4.0), (40.0, 8.0, 8.0), 0),
        ((40.0, 4.0, 4.0), (16.0, 8.0, 8.0), 0),
        ((8.0, 8.0, 8.0), (8.0, 30.0, 8.0), 1),
        ((8.0, 8.0, 8.0), (24.0, 8.0, 8.0), None),
        ((24.0, 4.0, 24.0), (8.0, 8.0, 8.0), None),
    ],
)
def test_a_coarse_axis_is_resampled_by_itself_as_nnunet_decides(spacing, wanted, separate):
    shape = (9, 30, 31)
    array = np.random.default_rng(1).normal(size=(1, *shape)).astype(np.float32)
    new = resampled_shape(shape, spacing, wanted)
    plan = Resampling.between(shape, new, spacing, wanted, Spline(3))
    assert plan.separate == separate
    whole = resample_data_or_seg_to_shape(
        array, new, spacing, wanted, order=3, order_z=0, force_separate_z=None
    )
    np.testing.assert_allclose(cut(array, plan, Box.of(new)), whole, atol=3e-6)


@pytest.mark.parametrize("order_z", [0, 1, 3])
@pytest.mark.parametrize("forced", [None, True, False])
def test_the_splines_of_the_plans_are_followed(order_z, forced):
    shape, spacing, wanted = (17, 20, 22), (16.0, 8.0, 8.0), (11.0, 6.0, 9.0)
    array = np.random.default_rng(2).normal(size=(1, *shape)).astype(np.float32)
    new = resampled_shape(shape, spacing, wanted)
    how = {"order": 3, "order_z": order_z, "force_separate_z": forced}
    plan = Resampling.between(shape, new, spacing, wanted, Spline(**how))
    whole = resample_data_or_seg_to_shape(array, new, spacing, wanted, **how)
    np.testing.assert_allclose(cut(array, plan, Box.of(new)), whole, atol=3e-6)


def test_scores_of_half_the_size_are_interpolated_between_centres_in_nm():
    """Voxels of (8, 16, 32) nm to (4, 8, 16) nm: new centres lie a quarter voxel from old ones."""
    plan = Resampling.between((1, 1, 2), (2, 2, 4), (8, 16, 32), (4, 8, 16), Spline(1, 0, False))
    assert plan.need(Box((0, 0, 1), (2, 2, 2))) == Box((0, 0, 0), (1, 1, 2))
    got = plan.apply(np.array([[[[0.0, 1.0]]]]), Box.of((1, 1, 2)), Box.of((2, 2, 4)))
    np.testing.assert_array_equal(got, np.broadcast_to(np.float32([0, 0.25, 0.75, 1]), (1, 2, 2, 4)))


def test_linear_needs_one_voxel_around_and_cubic_sixteen_more():
    ends = ((100, 100, 100), (80, 100, 200))
    target = Box((40, 40, 80), (44, 44, 84))
    assert Resampling(*ends, (1, 1, 1)).need(target) == Box((50, 40, 39), (55, 44, 43))
    assert Resampling(*ends, (3, 3, 3)).need(target) == Box((33, 40, 22), (72, 44, 60))


def test_the_range_that_a_spline_overshoots_is_cut_as_nnunet_does():
    array = np.zeros((1, 20, 20, 20), np.float32)
    array[0, 8:12, 8:12, 8:12] = 1
    plan = Resampling.between((20, 20, 20), (27, 27, 27), (4, 4, 4), (3, 3, 3), Spline(3))
    got = cut(array, plan, Box.of((27, 27, 27)))[0]
    assert (got.min(), got.max()) == (0, 1)
    np.testing.assert_allclose(
        got, resize(array[0], (27, 27, 27), 3, mode="edge", anti_aliasing=False), atol=1e-6
    )


def test_nothing_changes_where_shapes_agree():
    plan = Resampling.between((9, 8, 7), (9, 8, 7), (4, 8, 16), (4, 8, 16), Spline(3))
    array = np.random.default_rng(0).normal(size=(2, 9, 8, 7)).astype(np.float32)
    box = Box((1, 2, 3), (5, 6, 7))
    assert not plan.changes
    assert plan.need(box) == box
    np.testing.assert_array_equal(
        plan.apply(array, Box.of((9, 8, 7)), box), array[(slice(None), *box.slices)]
    )


def test_what_cannot_be_resampled_is_refused():
    plan = Resampling((20, 20, 20), (10, 10, 10), (3, 3, 3))
    array, whole, target = np.zeros((1, 20, 20, 20)), Box.of((20, 20, 20)), Box.of((10, 10, 10))
    with pytest.raises(
        SegmenterError, match="is clipped to the range of the whole volume: give low and high"
    ):
        plan.apply(array, whole, target)
    with pytest.raises(SegmenterError, match=r"voxels z 0:10.* need z 0:20.* of the source, got z 0:9"):
        plan.apply(array[:, :9], Box((0, 0, 0), (9, 20, 20)), target, low=[0], high=[1])
    with pytest.raises(SegmenterError, match=r"\(2, 9, 9\) voxels cannot be resampled to \(0, 9, 9\)"):
        Resampling((2, 9, 9), (0, 9, 9), (3, 3, 3))
    with pytest.raises(SegmenterError, match="no spline of order"):
        Resampling((2, 9, 9), (2, 9, 9), (2, 2, 2))
    separate = Resampling((20, 20, 20), (10, 10, 10), (0, 3, 3), 0)
    with pytest.raises(SegmenterError, match="2 limits for 20 planes across axis 0"):
        separate.apply(array, whole, target, low=np.zeros((1, 2)), high=np.ones((1, 2)))
