"""Boxes and grids: every voxel belongs to one block, and lengths become voxels once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkflow_liver.errors import ConfigError, GridError
from chunkflow_liver.geometry import Block, BlockGrid, Box, voxels, zyx

side = st.integers(1, 70)
triple = st.tuples(side, side, side)
small = st.tuples(*[st.integers(0, 9)] * 3)
boxes = st.tuples(small, small).map(lambda b: Box(b[0], tuple(a + n for a, n in zip(*b, strict=True))))  # type: ignore[arg-type]


def mask(box: Box) -> np.ndarray:
    found = np.zeros((20, 20, 20), bool)
    found[box.slices] = True
    return found


@settings(max_examples=60, deadline=None)
@given(shape=triple, block=triple, low=small, high=small)
def test_every_voxel_is_written_by_exactly_one_block(shape, block, low, high):
    count = np.zeros(shape, np.uint8)
    grid = BlockGrid(Box.of(shape), block, low, high)
    # Thousands of tiny blocks add nothing: the first, the last and a spread between them, all if few.
    if len(grid) > 2000:
        block = tuple(max(b, 8) for b in block)
        grid = BlockGrid(Box.of(shape), block, low, high)
    for i, found in enumerate(grid):
        assert found.index == i
        assert np.ravel_multi_index(found.at, grid.counts) == i
        count[found.write.slices] += 1
        assert found.read == found.write.grow(low, high).clip(Box.of(shape))
        assert np.empty(found.read.shape, bool)[found.trim].shape == found.write.shape
    assert (count == 1).all()


@settings(max_examples=60, deadline=None)
@given(shape=triple, block=triple, low=small, high=small, margin=small)
def test_what_all_blocks_read_is_the_sum_of_what_each_reads(shape, block, low, high, margin):
    box = Box.of(shape)
    grid = BlockGrid(box, tuple(b + 4 for b in block), low, high, box.grow(margin))
    assert grid.read_voxels == sum(b.read.size for b in grid)


@given(a=boxes, b=boxes)
def test_clip_is_the_intersection_and_contains_is_its_test(a, b):
    meet = a.clip(b)
    np.testing.assert_array_equal(mask(meet), mask(a) & mask(b))
    assert meet.size == (mask(a) & mask(b)).sum()
    if b.size:
        assert a.contains(b) == bool((mask(a) | ~mask(b)).all())


def test_a_block_larger_than_the_volume_is_the_volume():
    grid = BlockGrid(Box((2, 0, 0), (9, 20, 30)), (5000, 8, 5000))
    assert grid.block == (7, 8, 30)
    assert grid == BlockGrid(Box((2, 0, 0), (9, 20, 30)), (7, 8, 30))
    assert grid.counts == (1, 3, 1)


def test_neighbours_are_all_pairs_that_share_a_face():
    grid = BlockGrid(Box.of((5, 7, 9)), (3, 3, 3))
    for axis in range(3):
        wanted = [
            (a.index, b.index)
            for a in grid
            for b in grid
            if tuple(np.subtract(b.at, a.at)) == tuple(int(i == axis) for i in range(3))
        ]
        assert list(grid.neighbours(axis)) == wanted


def test_a_halo_is_cut_at_the_volume_and_not_at_the_box():
    grid = BlockGrid(Box((4, 4, 4), (8, 8, 8)), (2, 2, 2), (3, 3, 3), (1, 1, 1), Box.of((9, 9, 9)))
    assert grid[0] == Block(
        0, (0, 0, 0), Box((4, 4, 4), (6, 6, 6)), Box((1, 1, 1), (7, 7, 7)), Box.of((9, 9, 9))
    )
    assert grid[7].read == Box((3, 3, 3), (9, 9, 9))
    assert grid[7].trim == (slice(3, 5),) * 3


def test_a_grid_of_a_petavoxel_volume_is_a_few_integers():
    grid = BlockGrid(Box.of((10**6, 10**6, 10**6)), (100, 100, 100))
    assert len(grid) == 10**12
    assert grid[10**12 - 1].write.stop == (10**6, 10**6, 10**6)


@pytest.mark.parametrize(
    ("length", "wanted"),
    [(0.0, (0, 0, 0)), (16.0, (4, 2, 1)), (16.1, (5, 3, 2)), (12.0, (3, 2, 1)), (0.3 * 40, (3, 2, 1))],
)
def test_a_length_in_nm_becomes_enough_voxels_along_each_axis(length, wanted):
    assert voxels(length, (4.0, 8.0, 16.0)) == wanted


def test_rounding_noise_adds_no_voxel():
    assert voxels(0.1 + 0.2, (0.3, 0.1, 0.15)) == (1, 3, 2)


def test_a_box_says_where_it_is():
    assert str(Box((0, 1, 2), (3, 4, 5))) == "z 0:3, y 1:4, x 2:5"
    assert Box((0, 1, 2), (3, 4, 5)).shift((1, 1, 1)).relative_to(Box((1, 1, 1), (9, 9, 9))) == Box(
        (0, 1, 2), (3, 4, 5)
    )


@pytest.mark.parametrize("index", [-1, 8])
def test_blocks_outside_the_grid_do_not_exist(index):
    with pytest.raises(IndexError):
        BlockGrid(Box.of((4, 4, 4)), (2, 2, 2))[index]


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: BlockGrid(Box.of((4, 4, 4)), (0, 2, 2)), GridError, "at least one voxel per axis"),
        (lambda: BlockGrid(Box.of((4, 4, 4)), (2, 2, 2), (-1, 0, 0)), GridError, "halo cannot be negative"),
        (lambda: BlockGrid(Box.of((4, 0, 4)), (2, 2, 2)), GridError, "has no voxels"),
        (lambda: zyx([1, 2]), GridError, "expected three integers in z, y, x order"),
        (lambda: zyx([1, 2, 2.5]), GridError, "expected three integers"),  # type: ignore[list-item]
        (lambda: voxels(float("nan"), (1, 1, 1)), ConfigError, "finite and not negative"),
        (lambda: voxels(-1, (1, 1, 1)), ConfigError, "finite and not negative, got -1 nm"),
    ],
    ids=["empty block", "negative halo", "empty box", "two axes", "fraction", "nan", "negative"],
)
def test_bad_geometry_is_refused(make, error, says):
    with pytest.raises(error, match=says):
        make()
