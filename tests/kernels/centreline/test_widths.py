"""The width along a centre line, and how many voxels it is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from solids import dumbbell
from strategies import VOXEL_NM

from chunkflow_liver.geometry import Box
from chunkflow_liver.kernels.centreline.line import Branch, Centreline, centreline
from chunkflow_liver.kernels.centreline.necks import Neck, find_narrowings
from chunkflow_liver.kernels.centreline.skeleton import describe_skeleton
from chunkflow_liver.kernels.centreline.widths import inner_widths, smoothed, voxel_across_nm, width_profile
from chunkflow_liver.kernels.features.groups import Crop, Settings


def lines(widths, inscribed, degree):
    """One branch of points 10 nm apart along x with given widths."""
    n = len(widths)
    points = np.zeros((n, 3))
    points[:, 2] = 10.0 * np.arange(n)
    area = np.pi * (np.array(widths) / 2) ** 2
    tangents = np.tile([0.0, 0, 1], (n, 1))
    branch = Branch(0, 1, points, tangents, area, np.broadcast_to(np.array(inscribed, float), n))
    return branch, Centreline(points[[0, -1]], np.array(degree), (branch,))


def test_the_largest_voxel_side_across_a_line():
    """Voxels of (4, 8, 16) nm; half way between y and x that of the ellipse with half axes 8 and 16."""
    half = math.sqrt(0.5)
    tangents = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, half, half]])
    slanted = 1 / math.sqrt((1 / 8**2 + 1 / 16**2) / 2)
    assert voxel_across_nm(tangents, VOXEL_NM) == pytest.approx([16, 16, 8, slanted])
    some = np.random.default_rng(0).normal(size=(20, 3))
    some /= np.linalg.norm(some, axis=1, keepdims=True)
    assert voxel_across_nm(some, (12.0, 12.0, 12.0)) == pytest.approx(np.full(20, 12))


def test_round_a_branch_point_the_width_is_that_of_the_sphere_inside():
    """Spheres of 30 nm: up to 45 nm from the branch point sections count no more than 60 nm."""
    inscribed = [30.0] * 5 + [45.0] * 5 + [25.0]
    branch, line = lines([90.0] * 10 + [50.0], inscribed, (3, 1))
    assert width_profile(branch, line).tolist() == pytest.approx([60] * 5 + [90] * 5 + [50])
    branch, line = lines([90.0] * 10 + [50.0], inscribed, (1, 1))
    assert width_profile(branch, line).tolist() == pytest.approx([90] * 10 + [50])


def test_a_flat_branch_is_no_wider_where_it_comes_out():
    """Sections of 90 nm with spheres of 60 nm inside, and of 200 nm where they reach into other branches."""
    branch, line = lines([200.0] * 3 + [90.0] * 8, 30, (3, 1))
    assert width_profile(branch, line).tolist() == pytest.approx([90] * 11)


def test_half_the_largest_width_is_left_out_at_tips():
    branch, line = lines([10.0, 40, 40, 40, 40, 40, 5], 20, (1, 3))
    width, step, rows = inner_widths(branch, line)
    assert rows.tolist() == [2, 3, 4, 5, 6]
    assert width.tolist() == pytest.approx([40, 40, 40, 40, 5])
    assert step.tolist() == pytest.approx([10] * 5)
    branch, line = lines([40.0, 38, 40], 20, (1, 1))
    assert inner_widths(branch, line)[0].tolist() == pytest.approx([38])


def test_smoothing_fills_a_minimum():
    """A parabola of second derivative 2: a Gaussian of one step adds half of it, 1, at the bottom."""
    at = np.arange(-10.0, 11)
    assert smoothed(at**2)[10] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("seed", range(3))
def test_the_least_width_of_an_object_is_that_of_its_narrowest_neck(seed):
    mask, _ = dumbbell(110, seed)
    cubes = (16.0, 16.0, 16.0)
    found = find_narrowings(centreline(mask, cubes), cubes, Neck())
    table = describe_skeleton(Crop(1, Box.of(mask.shape), mask, None, cubes, Settings()))
    assert table["width_min_nm"] == found["width_nm"].min()
