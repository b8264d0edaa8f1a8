"""Boxes by the mean of their ranks, spread out so that all find room."""

from __future__ import annotations

import itertools
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from strategies import seeds

from chunkflow_liver.geometry import Box
from chunkflow_liver.kernels.images.box_choice import (
    distance_to,
    mean_rank,
    most_apart,
    ranks,
    side_by_side,
    spread_out,
)
from chunkflow_liver.kernels.images.box_sums import Lattice

NM = (4.0, 8.0, 16.0)


def test_ranks_are_shares_of_what_is_smaller():
    assert ranks(np.array([3.0, 1.0, 1.0, 9.0])).tolist() == [2 / 3, 1 / 6, 1 / 6, 1.0]
    assert ranks(np.array([[7.0]])).tolist() == [[0.5]]


def test_units_and_skew_of_a_criterion_do_not_count():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 4, 5)), rng.random((2, 4, 5))
    weights = {"a": 2.0, "b": 1.0}
    found = mean_rank({"a": a, "b": b}, weights)
    np.testing.assert_allclose(found, (2 * ranks(a) + ranks(b)) / 3)
    np.testing.assert_allclose(found, mean_rank({"a": np.exp(9 * a), "b": b * 1e6}, weights))


def test_distances_are_between_faces():
    lattice = Lattice.of(Box.of((2, 4, 8)), (1, 2, 2))
    low, high = np.array([[0.0, 0, 0], [0, 0, 0]]), np.array([[1.0, 2, 2], [1, 1, 2]])
    distance, share = distance_to(low[:1], high[:1], lattice, NM)
    # A voxel of 8 nm along y and two of 16 nm along x lie between the last but one box and the first.
    assert distance[1, 0, 0] == 0
    assert distance[0, 2, 4] == math.hypot(0, 2 * 16)
    assert share[0, :2, :2].tolist() == [[1.0, 0.5], [0.5, 0.25]]
    assert share[1].max() == 0
    # What several hold counts more than once.
    assert distance_to(low, high, lattice, NM)[1][0, 1, 1] == 0.25
    assert distance_to(low, high, lattice, NM)[1][0, 0, 1] == 0.75
    assert np.isinf(distance_to(low[:0], high[:0], lattice, NM)[0]).all()


@given(
    shape=st.tuples(*[st.integers(8, 24)] * 3),
    side=st.tuples(*[st.integers(1, 4)] * 3),
    boxes=st.integers(1, 12),
    seed=seeds,
)
def test_all_boxes_find_room_whichever_come_first(shape, side, boxes, seed):
    lattice = Lattice.of(Box.of(shape), side)
    apart = most_apart(lattice, NM, boxes)
    tiles = side_by_side(lattice)
    assert (apart >= 0) == (boxes <= tiles.sum())
    if apart < 0:
        return
    apart = 0.0 if boxes == 1 else apart
    free = np.ones(lattice.counts, bool) if apart or boxes == 1 else tiles
    score = np.round(np.random.default_rng(seed).random(lattice.counts), 1)
    found = spread_out(score, free, lattice, NM, boxes=boxes, apart_nm=apart)
    assert len(found) == boxes
    assert score[found[0]] == score[free].max()
    step = np.array(lattice.cell) * NM
    for a, b in itertools.combinations(found, 2):
        away = np.abs(np.subtract(a, b))
        assert (away >= lattice.steps).any()
        assert math.hypot(*(away * step)) >= apart * (1 - 1e-9)


def test_boxes_stand_in_a_grid_at_twice_the_least_distance():
    # 9 places of 10 nm along y and x, one along z: 4 boxes stand at the corners, 80 nm apart.
    lattice = Lattice.of(Box.of((1, 10, 10)), (1, 2, 2))
    assert most_apart(lattice, (10, 10, 10), 4) == 40
    assert most_apart(lattice, (10, 10, 10), 25) == 0
    assert most_apart(lattice, (10, 10, 10), 26) == -1
