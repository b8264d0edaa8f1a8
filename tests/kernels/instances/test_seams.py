"""Objects of neighbouring blocks are compared where both see them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import BlockGrid, Box
from chunkflow_liver.kernels.instances.seam_matches import View, meet, seam_rows
from chunkflow_liver.kernels.instances.seams import (
    AFTER,
    BEFORE,
    compare,
    owned_objects,
    places_in,
    shared_box,
    sizes,
    touching,
    views,
)
from chunkflow_liver.kernels.labels.planes import plane_runs


def test_a_block_has_26_neighbours_that_look_back_at_it():
    assert len({*AFTER, *BEFORE, (0, 0, 0)}) == 27
    assert all(tuple(-n for n in a) == b for a, b in zip(AFTER, BEFORE, strict=True))


def test_owned_objects_are_numbered_by_their_first_owned_voxel():
    labels = np.array([[[9, 9, 7, 7, 0, 5]], [[4, 2**62, 2**62, 7, 5, 5]]], np.uint64)
    own = owned_objects(labels, (slice(0, 2), slice(0, 1), slice(1, 5)))
    np.testing.assert_array_equal(own.ids, [[[1, 1, 2, 2, 0, 4]], [[5, 3, 3, 2, 4, 4]]])
    np.testing.assert_array_equal(own.voxels, [1, 3, 2, 1])
    np.testing.assert_array_equal(own.first, [0, 1, 4, 7])
    assert own.ids.dtype == np.uint32


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.ones((2, 2, 2), np.float32), "must return integer labels, got float32"),
        (np.full((2, 2, 2), -3), "must return labels of 0 or more, got -3"),
    ],
)
def test_labels_that_are_none_are_refused(labels, says):
    with pytest.raises(InputError, match=says):
        owned_objects(labels, (slice(None),) * 3)


def test_touching_objects_share_a_face():
    ids = np.array([[[1, 1, 0], [2, 0, 3]], [[0, 4, 0], [0, 0, 3]]])
    np.testing.assert_array_equal(touching(ids), [[1, 2], [1, 4]])
    assert touching(np.zeros((1, 1, 1), np.uint32)).shape == (0, 2)


shape = st.tuples(*[st.integers(1, 9)] * 3)


@settings(max_examples=40, deadline=None)
@given(shape=shape, block=st.tuples(*[st.integers(2, 5)] * 3), reach=st.tuples(*[st.integers(0, 4)] * 3))
def test_two_neighbours_see_the_same_box(shape, block, reach):
    """What one block stores for a neighbour covers what that one stores for it, and is the labels there."""
    labels = np.random.default_rng(1).integers(0, 5, shape)
    grid = BlockGrid(Box.of(shape), block, reach, reach)
    seen = {}
    for b in grid:
        own = owned_objects(labels[b.read.slices], b.trim)
        seen[b.index] = (own, views(b, own.ids, block, reach))
    _, ny, nx = grid.counts
    for b in grid:
        for i, step in enumerate(AFTER):
            at = np.add(b.at, step)
            inside = (at >= 0).all() and (at < grid.counts).all()
            box, other = shared_box(b, step, block, reach)
            assert (other.size > 0) == inside
            if not inside:
                continue
            there = grid[int((at[0] * ny + at[1]) * nx + at[2])]
            assert other == there.write
            assert shared_box(there, BEFORE[i], block, reach) == (box, b.write)
            for one, position, ours, theirs in ((b, 13 + i, b, there), (there, i, there, b)):
                own, view = seen[one.index]
                begin, end = view["bounds"][position : position + 2]
                if not box.size:
                    assert begin == end
                    continue
                runs = (view["starts"][begin:end], view["values"][begin:end])
                flat = np.repeat(runs[1], np.diff(runs[0].astype(int), append=box.size))
                bounds = np.broadcast_to((*box.start, *box.stop), (box.size, 6))
                z, y, x = places_in(bounds, np.arange(box.size)).T
                local = own.ids[box.relative_to(one.read).slices]
                np.testing.assert_array_equal(
                    flat, local[z - box.start[0], y - box.start[1], x - box.start[2]]
                )
                mine, beyond = (
                    np.setdiff1d(own.ids[part.write.clip(box).relative_to(one.read).slices], [0])
                    for part in (ours, theirs)
                )
                begin, end = view["own_bounds"][position : position + 2]
                np.testing.assert_array_equal(view["own"][begin:end], mine)
                np.testing.assert_array_equal(view["crossing"][begin:end], np.isin(mine, beyond))


def test_a_hand_worked_comparison():
    """Object 1 is seen alike but for one voxel; 2 is seen as two, of which 6 fits better."""
    a = plane_runs(np.array([[1, 1, 1, 0, 2, 2, 2, 2, 0]]))
    b = plane_runs(np.array([[5, 5, 0, 0, 6, 6, 6, 7, 7]]))
    met = compare(a, b, 9)
    assert list(zip(met["a"].tolist(), met["b"].tolist(), strict=True)) == [(1, 5), (2, 6), (2, 7)]
    assert met["voxels"].tolist() == [2, 3, 1]
    assert met["iou"].tolist() == [2 / 3, 3 / 4, 1 / 5]
    assert met["iomin"].tolist() == [1, 1, 1 / 2]
    assert met["best_a"].tolist() == [True, True, False]
    assert met["best_b"].tolist() == [True, True, True]
    voxels, first = sizes(b, 9, np.array([6, 7], np.uint32))
    assert (voxels.tolist(), first.tolist()) == ([3, 2], [4, 7])


def test_of_equal_ious_the_object_that_shares_more_voxels_is_best():
    """1 shares one voxel with 5 and two with 6, IoU 1 / 3 with both; the smaller id is not asked."""
    a = plane_runs(np.array([[1, 1, 1, 0, 0, 0]]))
    b = plane_runs(np.array([[5, 6, 6, 6, 6, 6]]))
    met = compare(a, b, 6)
    assert met["iou"].tolist() == [1 / 3, 1 / 3]
    assert met["best_a"].tolist() == [False, True]
    back = compare(b, a, 6)
    assert back["a"].tolist() == [5, 6]
    assert back["best_b"].tolist() == [False, True]
    equal = compare(plane_runs(np.array([[1, 1]])), plane_runs(np.array([[6, 5]])), 2)
    assert equal["b"][equal["best_a"]].tolist() == [5]


def seen(row, offset, crossing=()):
    """A view of a box of one row, all of whose objects own voxels."""
    own = np.setdiff1d(row, [0]).astype(np.uint32)
    return View(plane_runs(np.array([row])), own, np.isin(own, crossing), offset)


@pytest.mark.parametrize(
    ("limits", "linked"),
    [
        ({"iou": 0.2, "iomin": 0.5}, 1),
        ({"iou": 0.2, "iomin": 0.51}, 0),
        ({"iou": 0.21, "iomin": 0.5}, 0),
    ],
)
@pytest.mark.parametrize("branches", [False, True])
def test_objects_are_linked_if_they_reach_both_iou_and_iomin(limits, linked, branches):
    """Two voxels of 4 and of 8 are shared: IoU 2 / 10, IoMin 2 / 4; `branches` asks for IoMin alone."""
    box = Box((0, 0, 0), (1, 1, 10))
    a, b = seen([1] * 4 + [0] * 6, 100), seen([0] * 2 + [1] * 8, 200)
    links, crossings, ambiguous = meet(box, a, b, branches=branches, **limits)
    linked = linked or int(branches and limits["iomin"] <= 0.5)
    assert links["a"].tolist() == [100] * linked
    assert links["b"].tolist() == [200] * linked
    assert links["both"].tolist() == [2] * linked
    assert len(crossings["node"]) == ambiguous == 0


def test_the_worst_place_of_a_seam_is_its_largest_unmatched_object_or_its_lowest_iou():
    """Three boxes of 10 voxels along x, from x = 0, 100 and 200, and one where nothing is."""
    at = np.arange(4) * 100
    boxes = np.stack([at * 0, at * 0, at, at * 0 + 1, at * 0 + 1, at + 10], 1)
    links = {
        "seam": [0, 0, 1, 1],
        "a": [1, 2, 3, 4],
        "b": [11, 12, 13, 14],
        "both": [1, 1, 1, 1],
        "voxels_a": [2, 2, 2, 2],
        "voxels_b": [2, 2, 2, 2],
        "iou": [0.2, 0.9, 0.8, 0.3],
        "place": [0, 1, 2, 3],
    }
    crossings = {
        "seam": [0, 0, 0, 0, 2, 2],
        "node": [1, 5, 6, 7, 8, 9],
        "voxels": [90, 3, 8, 4, 6, 6],
        "place": [0, 4, 5, 6, 7, 8],
    }
    rows = seam_rows(
        boxes,
        {k: np.array(v) for k, v in links.items()},
        np.zeros(4, bool),
        {k: np.array(v) for k, v in crossings.items()},
    )
    assert rows["unmatched"].tolist() == [3, 0, 2, 0]
    # Object 6 of 8 voxels; the pair of IoU 0.3; of two of one size the smaller node; the middle.
    assert rows["x"].tolist() == [5, 103, 207, 305]
