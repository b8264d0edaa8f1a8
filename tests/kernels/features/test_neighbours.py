"""Neighbours, densities and directions, against brute force and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from chunkflow_liver.kernels.features.neighbours import (
    ball_in_box,
    border_nm,
    density_per_um3,
    directions_deg,
    neighbours,
)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(2, 60), seed=st.integers(0, 999), side=st.integers(2, 40))
def test_neighbours_are_those_of_all_pairs_and_the_smallest_of_equals(n, seed, side):
    rng = np.random.default_rng(seed)
    points = rng.integers(0, side, (n, 3)) * np.array([4.0, 8.0, 16.0])
    label = (rng.permutation(n) + 2**53).astype(np.uint64)
    distance, nearest = neighbours(points, label)
    apart = cdist(points, points)
    np.fill_diagonal(apart, np.inf)
    np.testing.assert_allclose(distance, apart.min(1))
    wanted = [min(label[np.isclose(row, row.min())].tolist()) for row in apart]
    assert nearest.tolist() == wanted


def test_a_single_object_has_no_neighbour():
    distance, nearest = neighbours(np.zeros((1, 3)), np.array([7], np.uint64))
    assert np.isnan(distance).all()
    assert nearest.tolist() == [0]
    assert len(neighbours(np.zeros((0, 3)), np.zeros(0, np.uint64))[0]) == 0


def test_balls_in_corners_edges_faces_and_boxes_have_known_volumes():
    ball = 4 / 3 * np.pi * 100**3
    wide = (1e4, 1e4, 1e4)
    for centre, share in (([0, 0, 0], 1 / 8), ([0, 0, 500], 1 / 4), ([500, 500, 0], 1 / 2), ([500] * 3, 1)):
        assert ball_in_box(np.array([centre], float), wide, 100.0)[0] == pytest.approx(share * ball, rel=1e-9)
    cap = np.pi * 100 * 40**2 - np.pi * 40**3 / 3  # height 40
    assert ball_in_box(np.array([[60.0, 500, 500]]), wide, 100.0)[0] == pytest.approx(ball - cap, rel=1e-6)
    assert ball_in_box(np.array([[1.0, 2, 3]]), (4.0, 5, 6), 100.0)[0] == pytest.approx(120.0)


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 999), radius=st.sampled_from([200.0, 600.0, 1500.0]))
def test_balls_in_boxes_agree_with_counted_points(seed, radius):
    rng = np.random.default_rng(seed)
    sides = np.array([500.0, 1000.0, 1500.0])
    centre = rng.random(3) * sides
    points = rng.random((200_000, 3)) * sides
    share = (((points - centre) ** 2).sum(1) <= radius**2).mean()
    got = ball_in_box(centre[None], (500.0, 1000.0, 1500.0), radius)[0] / sides.prod()
    assert abs(got - share) < 6e-3


def test_the_density_by_hand():
    """Three points on a line of 100 nm steps in the middle of a large volume, and one in its corner."""
    points = np.array([[5000.0, 5000, 4900], [5000, 5000, 5000], [5000, 5000, 5100], [0, 0, 0]])
    ball = 4 / 3 * np.pi * 0.1**3
    got = density_per_um3(points, (1e4, 1e4, 1e4), 100.0)
    np.testing.assert_allclose(got, np.array([1, 2, 1, 0]) / ball)
    got = density_per_um3(np.array([[0.0, 0, 0], [0, 0, 50]]), (1e4, 1e4, 1e4), 100.0)
    assert got[0] == pytest.approx(8 / ball)


def test_the_border_is_counted_from_the_surface_along_every_deep_axis():
    low, high = np.array([[2, 3, 1], [0, 3, 3]]), np.array([[4, 5, 2], [1, 5, 5]])
    assert border_nm(low, high, (9, 9, 9), (4.0, 8.0, 16.0)).tolist() == [8.0, 0.0]
    assert border_nm(low[1:], high[1:], (1, 9, 9), (4.0, 8.0, 16.0)).tolist() == [24.0]


def test_directions_by_hand():
    half = np.sqrt(0.5)
    axis = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0], [0, -half, half], [half, 0, half], [1, 0, 0]])
    longest = np.array([2.0, 2, 2, 2, 2, 1])
    tilt, azimuth = directions_deg(axis, longest, np.ones(6))
    np.testing.assert_allclose(tilt, [0, 90, 90, 90, 45, np.nan])
    np.testing.assert_allclose(azimuth, [np.nan, 0, 90, 135, 0, np.nan])
