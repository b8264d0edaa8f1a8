"""Thinning keeps the topology, and no cut into boxes has a say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from chunkflow_liver.geometry import Box
from chunkflow_liver.kernels.distance.squares import squares_to, whole_unit
from chunkflow_liver.kernels.network.thinning import LAST, ORDER, halo_of, levels, thinned
from chunkflow_liver.kernels.network.thinning_loops import removable

OFFSETS = [(z, y, x) for z in (-1, 0, 1) for y in (-1, 0, 1) for x in (-1, 0, 1) if z or y or x]
FULL, FACES = np.ones((3, 3, 3)), ndimage.generate_binary_structure(3, 1)


def simple_by_counting(around):
    """Whether the middle of 3 x 3 x 3 voxels is simple, with two neighbours or more, from components."""
    inside = around.copy()
    inside[1, 1, 1] = False
    one = ndimage.label(inside, FULL)[1] == 1
    near = ndimage.generate_binary_structure(3, 2)
    outside = ~around & near
    outside[1, 1, 1] = False
    parts, _ = ndimage.label(outside, FACES)
    touching = {int(v) for v in parts[FACES] if v}
    return one and len(touching) == 1 and inside.sum() > 1


@given(filled=st.integers(0, 2**26 - 1), share=st.sampled_from([None, 0.15, 0.5, 0.85]))
@settings(max_examples=200, deadline=None)
def test_what_may_go_is_what_counting_components_says(filled, share):
    bits = np.array([(filled >> i) & 1 for i in range(26)], bool)
    if share is not None:
        bits = np.random.default_rng(filled).random(26) < share
    around = np.zeros((3, 3, 3), bool)
    around[1, 1, 1] = True
    for bit, (z, y, x) in zip(bits, OFFSETS, strict=True):
        around[z + 1, y + 1, x + 1] = bit
    number = sum(1 << i for i, bit in enumerate(bits.tolist()) if bit)
    assert removable(number) == simple_by_counting(around)


def squares(shape, seed, share=0.6):
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.standard_normal(shape), rng.uniform(0.5, 2.5))
    mask = field > np.quantile(field, 1 - share)
    return np.rint(ndimage.distance_transform_edt(np.pad(mask, 1)) ** 2).astype(np.uint16)[1:-1, 1:-1, 1:-1]


@given(
    seed=st.integers(0, 2**20),
    low=st.tuples(*[st.integers(0, 30)] * 3),
    size=st.tuples(*[st.integers(1, 12)] * 3),
    sweeps=st.integers(1, 4),
)
@settings(max_examples=20, deadline=None)
def test_a_box_with_its_halo_gives_what_the_whole_gives(seed, low, size, sweeps):
    shape = (34, 36, 40)
    whole = squares(shape, seed)
    limits = [3 * n for n in range(1, sweeps + 1)]
    write = Box(low, tuple(a + b for a, b in zip(low, size, strict=True))).clip(Box.of(shape))
    read = write.grow(halo_of(sweeps)).clip(Box.of(shape))
    found = thinned(whole[read.slices], limits, read.start)[write.relative_to(read).slices]
    np.testing.assert_array_equal(found, thinned(whole, limits, (0, 0, 0))[write.slices])


def test_less_of_a_halo_is_not_enough():
    """The halo is no wider than it must be along x: with half of it some boxes are wrong."""
    wrong = 0
    for seed in range(10):
        whole = squares((20, 20, 60), seed)
        limits = [400] * 3
        read = Box((0, 0, 24), (20, 20, 60))
        found = thinned(whole[read.slices], limits, read.start)[:, :, 3:]
        wrong += not np.array_equal(found, thinned(whole, limits, (0, 0, 0))[:, :, 27:])
    assert wrong


def test_turns_change_one_parity_each_and_only_once_more_per_sweep_than_the_halo_says():
    turns = np.array([*ORDER, ORDER[0]])
    changes = np.abs(np.diff(turns, axis=0))
    assert sorted({tuple(t) for t in ORDER}) == [(z, y, x) for z in (0, 1) for y in (0, 1) for x in (0, 1)]
    assert (changes.sum(1) == 1).all()
    assert changes.sum(0).tolist() == [2, 2, 4]
    assert halo_of(3) == (7, 7, 13)


def test_levels_rise_by_the_smallest_side_to_half_the_width():
    assert levels(40, (10.0, 5.0, 5.0)) == (1, 4, 9, 16, *[16] * LAST)
    assert levels(41, (8.0, 8.0, 8.0)) == (1, 4, 9, *[9] * LAST)


@pytest.mark.parametrize("radius", [2.5, 4.0, 6.3])
def test_a_tube_becomes_its_axis(radius):
    z, y, _ = np.ogrid[:21, :21, :60]
    mask = np.broadcast_to(np.hypot(z - 10, y - 10) < radius, (21, 21, 60)).copy()
    mask[:, :, :8] = mask[:, :, 52:] = False
    found = thinned(
        np.rint(ndimage.distance_transform_edt(mask) ** 2).astype(np.uint16), levels(16, (1, 1, 1)), (0, 0, 0)
    )
    place = np.argwhere(found)
    middle = place[(place[:, 2] > 15) & (place[:, 2] < 45)]
    assert sorted(middle[:, 2]) == list(range(16, 45))
    assert np.hypot(middle[:, 0] - 10, middle[:, 1] - 10).max() <= 1


def test_nothing_stays_nothing():
    nothing = np.zeros((4, 5, 6), np.uint16)
    assert thinned(nothing, [1, 4], (0, 0, 0)) is nothing


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_tube_that_the_volume_cuts_keeps_its_axis_at_both_ends(axis):
    """Tilted by a degree, where the end of the line once went to the rim of one of both sections."""
    z, y, x = np.indices((48, 25, 25)).astype(float)
    mask = (y - 12) ** 2 + (x - 11 - z * 0.02) ** 2 <= 64
    for mirrored in (mask, mask[::-1]):
        tube = np.ascontiguousarray(np.moveaxis(mirrored, 0, axis))
        nm = (8.0, 8.0, 8.0)
        limits = levels(160.0, nm)
        unit = whole_unit(nm)
        squares = squares_to(~tube, unit, limits[-1], tuple(slice(None) for _ in range(3)))
        squares *= tube
        known = Box.of(tube.shape)
        left = thinned(squares, limits, (0, 0, 0), known) > 0
        planes = np.moveaxis(left, axis, 0)
        assert (planes.sum((1, 2)) >= 1).all()
        for plane in (planes[0], planes[-1]):
            at = np.argwhere(plane)
            assert len(at) <= 2
            assert (np.abs(at - (12, 11.5)) <= 2).all()
        # And in blocks: the halo of all sweeps, cut at the ends of the volume.
        low, high = np.zeros(3, int), np.array(tube.shape)
        reach = np.array(halo_of(len(limits)))
        cut = tube.shape[axis] // 2
        for begin, end in ((0, cut), (cut, tube.shape[axis])):
            start, stop = low.copy(), high.copy()
            start[axis], stop[axis] = begin, end
            first = np.maximum(start - reach, 0)
            last = np.minimum(stop + reach, high)
            part = squares[tuple(slice(a, b) for a, b in zip(first, last, strict=True))]
            found = thinned(part, limits, tuple(first.tolist()), known) > 0
            inner = tuple(slice(a - c, b - c) for a, b, c in zip(start, stop, first, strict=True))
            outer = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
            np.testing.assert_array_equal(found[inner], left[outer])
