"""Cells of a slice: the flood is that of a heap, markers lie deep, boundaries and contours cut."""

from __future__ import annotations

import heapq

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.kernels.tissue.carrying import blended, carried, depth, edges, followed
from chunkflow_liver.kernels.tissue.plane_loops import flood
from chunkflow_liver.kernels.tissue.planes import MODES, Cutting, plane_cells, small_pieces

pytest.importorskip("cv2", reason="needs the extra 'cells'")


def by_heap(level, markers, mask):
    """A flood in the order of level and age, markers in raster order first: an independent implementation."""
    out, age = markers.copy(), 0
    heap = []
    for y, x in np.argwhere(markers > 0).tolist():
        heapq.heappush(heap, (level[y, x], age, y, x))
        age += 1
    while heap:
        _, _, y, x = heapq.heappop(heap)
        for dy, dx in ((-1, 0), (0, -1), (0, 1), (1, 0)):
            v, u = y + dy, x + dx
            if 0 <= v < level.shape[0] and 0 <= u < level.shape[1] and mask[v, u] and not out[v, u]:
                out[v, u] = out[y, x]
                heapq.heappush(heap, (level[v, u], age, v, u))
                age += 1
    return out


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    seed=st.integers(0, 9999),
    levels=st.integers(1, 6),
)
def test_the_flood_is_that_of_a_heap_of_level_and_age(shape, seed, levels):
    rng = np.random.default_rng(seed)
    level = rng.integers(0, levels, shape)
    mask = rng.random(shape) < 0.8
    markers = np.where((rng.random(shape) < 0.1) & mask, rng.integers(1, 5, shape), 0).astype(np.int32)
    padded = np.pad(np.where(mask, level, levels), 1, constant_values=levels).astype(np.uint16)
    found = np.pad(markers, 1)
    wide = found.shape[1]
    flood(found.ravel(), padded.ravel(), levels, np.array([-wide, -1, 1, wide]))
    np.testing.assert_array_equal(found[1:-1, 1:-1], by_heap(level, markers, mask))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 9999), reduce=st.integers(1, 3))
def test_labels_are_those_at_the_nearest_pixel_to_where_they_come_from(seed, reduce):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 9, (7, 8)).astype(np.int32)
    by = rng.normal(size=(2, -(-7 // reduce), -(-8 // reduce))).astype(np.float32)
    y, x = np.mgrid[:7, :8]
    at = [np.clip((a + 0.5) / reduce - 0.5, 0, None) for a in (y, x)]
    steps = [ndimage.map_coordinates(b, at, order=1, mode="nearest") * reduce for b in by.astype(float)]
    place = [
        np.clip(np.floor(p + s + 0.5), 0, n - 1).astype(int)
        for p, s, n in zip((y, x), steps, labels.shape, strict=True)
    ]
    np.testing.assert_array_equal(carried(labels, by, reduce), labels[tuple(place)])


def test_two_steps_of_motion_are_one_of_both():
    step, before = (np.full((2, 9, 9), v, np.float32) for v in (1.5, 2.0))
    np.testing.assert_array_equal(followed(step, before), np.full((2, 9, 9), 3.5))
    np.testing.assert_array_equal(followed(step, None), step)


def test_a_wall_between_two_cells_moves_with_the_distance_from_both_slices():
    first, second = np.ones((3, 40), np.int32), np.ones((3, 40), np.int32)
    first[:, 10:], second[:, 30:] = 2, 2
    for share, wall in ((0.0, 10), (0.25, 15), (0.5, 20), (0.75, 25), (1.0, 30)):
        found = blended(first, second, share)
        assert abs(int((found[1] == 1).sum()) - wall) <= 1
    # Where one slice has no cell, the other says which one it would be.
    np.testing.assert_array_equal(blended(first, np.zeros_like(first), 0.9), first)


def test_edges_are_on_both_sides_and_the_border_is_none():
    labels = np.array([[1, 1, 1, 2, 2]], np.int32)
    np.testing.assert_array_equal(edges(labels), [[False, False, True, True, False]])
    np.testing.assert_array_equal(depth(labels), [[2, 1, 0, 0, 1]])


def two_cells():
    """A dumbbell 41 pixels long with a wall in the middle, its neck off to the side of the wall."""
    inside = np.zeros((15, 41), bool)
    inside[2:13, 1:40] = True
    wall = np.zeros_like(inside)
    wall[:, 20:22] = True
    carried_here = np.zeros(inside.shape, np.int32)
    carried_here[3:12, 3:16], carried_here[3:12, 23:38] = 5, 7
    return inside, wall, carried_here


def test_a_boundary_cuts_where_it_lies_and_is_shared_at_its_middle():
    inside, wall, labels = two_cells()
    found, new = plane_cells(labels, inside, wall, Cutting("boundary", small_um2=0), pixel_nm=8, fresh=8)
    assert new == 0
    np.testing.assert_array_equal(found[7, 1:21], 5)
    np.testing.assert_array_equal(found[7, 21:40], 7)
    assert not found[~inside].any()


def test_contours_cut_everywhere_or_only_where_no_boundary_is_near():
    inside, wall, labels = two_cells()
    labels[:] = 0
    labels[:, 2:26], labels[:, 26:39] = 5, 7
    wall[:] = False
    wall[:, 23] = True  # 2 pixels of 8 nm from the contour

    def width(mode, near_nm=0.0, wall=wall):
        how = Cutting(mode, small_um2=0, near_nm=near_nm, core=0.9)
        return int((plane_cells(labels, inside, wall, how, pixel_nm=8, fresh=8)[0][7] == 5).sum())

    assert width("contours", wall=None) == width("selective", wall=None) == 25
    assert width("contours", 30) in (24, 25)
    assert width("selective", 10) in (24, 25)
    assert width("selective", 30) in (22, 23)


def test_what_no_marker_reaches_is_new_from_an_area_on_and_small_parts_are_kept_apart():
    inside = np.zeros((20, 40), bool)
    inside[2:12, 2:12] = inside[2:12, 20:30] = inside[15:18, 35:38] = True
    labels = np.zeros(inside.shape, np.int32)
    labels[3:11, 3:11] = 4
    how = Cutting("mask", small_um2=10 * 0.008**2)
    found, new = plane_cells(labels, inside, None, how, pixel_nm=8, fresh=5)
    assert new == 1
    assert set(found[2:12, 2:12].ravel()) == {4}
    assert set(found[2:12, 20:30].ravel()) == {5}
    assert not found[15:18, 35:38].any()  # 9 pixels of 64 nm2
    pieces, large = small_pieces(inside, found, least=9, most=8)
    assert pieces.max() == 1
    assert large.tolist() == [True]
    assert not small_pieces(inside, found, least=10, most=20)[0].any()


def test_a_cell_in_two_pieces_keeps_both():
    inside = np.zeros((20, 50), bool)
    inside[5:15, 2:12] = inside[5:15, 14:30] = inside[5:15, 32:48] = True
    labels = np.zeros(inside.shape, np.int32)
    labels[6:14, 3:11] = labels[6:14, 33:47] = 9
    labels[6:14, 15:29] = 3
    found, new = plane_cells(labels, inside, None, Cutting("mask", small_um2=0), pixel_nm=8, fresh=10)
    assert new == 0
    np.testing.assert_array_equal(found[10, [5, 20, 40]], [9, 3, 9])


@pytest.mark.parametrize("mode", MODES)
def test_an_empty_slice_has_no_cells(mode):
    empty = np.zeros((5, 6), bool)
    found, new = plane_cells(empty.astype(np.int32), empty, empty, Cutting(mode), pixel_nm=8, fresh=1)
    assert new == 0
    assert not found.any()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mode": "magic"}, "mode is one of"),
        ({"core": 0}, "core is a share above 0 and up to 1, got 0"),
        ({"threshold": 2}, "threshold is a share above 0 and up to 1, got 2"),
        ({"near_nm": -1}, "near_nm must be 0 or more, got -1"),
        ({"small_um2": np.nan}, "small_um2 must be 0 or more, got nan"),
    ],
)
def test_what_cannot_be_used_is_refused(options, says):
    with pytest.raises(ConfigError, match=says):
        Cutting(**options)
