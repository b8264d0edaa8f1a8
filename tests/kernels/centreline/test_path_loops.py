"""Cheapest paths, nearness to lines and rays are those of independent implementations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates
from scipy.spatial import cKDTree

from chunkflow_liver.kernels.centreline.sections import at_points, sections, signed_nm
from chunkflow_liver.kernels.centreline.tracing import largest_part, near, trace

VOXEL_NM = (4.0, 8.0, 16.0)


def uneven(seed: int) -> np.ndarray:
    """One crooked object with background on every face."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(16, 20, 24)), 2.0)
    return np.pad(largest_part(noise > 0.01), 1)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_ways_are_as_long_and_paths_as_cheap_as_those_of_scikit_image(seed):
    from skimage.graph import MCP_Geometric

    signed = signed_nm(uneven(seed), VOXEL_NM)
    paths, inside = trace(signed, VOXEL_NM), signed > 0
    root = int(np.flatnonzero(paths.far == 0)[0])
    index = np.argwhere(inside)
    np.testing.assert_allclose(paths.points, (index + 0.5) * VOXEL_NM)
    far, _ = MCP_Geometric(np.where(inside, 1.0, -1.0), sampling=VOXEL_NM).find_costs([index[root]])
    np.testing.assert_array_equal(paths.far, far[inside])
    cost = np.where(inside, (signed.max() / np.maximum(signed, 1e-6)) ** 2, -1.0).astype(float)
    cheapest, _ = MCP_Geometric(cost, sampling=VOXEL_NM).find_costs([index[root]])
    for target in np.random.default_rng(seed).integers(0, len(index), 20).tolist():
        way = paths.to(target)
        assert (way[0], way[-1]) == (root, target)
        assert np.abs(np.diff(index[way], axis=0)).max(initial=0) <= 1
        steps = np.linalg.norm(np.diff(paths.points[way], axis=0), axis=1)
        along = cost[inside][way]
        paid = (steps * (along[1:] + along[:-1]) / 2).sum()
        assert paid == pytest.approx(cheapest[inside][target], rel=1e-9)


def test_distances_to_the_surface_are_those_of_both_sides():
    mask = uneven(3)
    both = distance_transform_edt(mask, VOXEL_NM) - distance_transform_edt(~mask, VOXEL_NM)
    found = signed_nm(mask, VOXEL_NM)
    np.testing.assert_allclose(found[mask], both[mask], rtol=1e-6)
    # Outside they are no more than that, less where the object ends and is thinner than a voxel is long.
    assert (found[~mask] < 0).all()
    assert (found[~mask] >= both[~mask] * (1 + 1e-6)).all()
    cubes = distance_transform_edt(mask) - distance_transform_edt(~mask)
    # Farther out than two and a half diagonals of a voxel nothing looks.
    reach = 2.5 * 3**0.5
    assert cubes.min() < -reach
    np.testing.assert_allclose(signed_nm(mask, (1.0, 1.0, 1.0)), np.maximum(cubes, -reach), rtol=1e-6)


def test_points_near_a_line_are_those_of_a_tree():
    rng = np.random.default_rng(4)
    line, points = rng.random((9, 3)) * 50, rng.random((400, 3)) * 100
    reach, wanted = rng.random(9) * 30, rng.random(400) < 0.7
    distance, nearest = cKDTree(line).query(points)
    np.testing.assert_array_equal(near(line, points, reach, wanted), (distance <= reach[nearest]) & wanted)
    np.testing.assert_array_equal(near(line, points, 20.0, wanted), (distance <= 20) & wanted)


def test_values_between_voxels_are_those_of_scipy():
    rng = np.random.default_rng(5)
    field = rng.normal(size=(5, 6, 7)).astype(np.float32)
    points = rng.uniform(-20, 140, (300, 3))
    expected = map_coordinates(field, (points / VOXEL_NM - 0.5).T, order=1, mode="nearest")
    np.testing.assert_array_equal(at_points(field, VOXEL_NM, points), expected)
    assert at_points(field, VOXEL_NM, points.reshape(2, 150, 3)).shape == (2, 150)


def test_a_section_ends_where_the_field_does_and_at_four_radii():
    """A slab 40 nm thick, cut along its plane: nothing ends within four radii."""
    mask = np.zeros((12, 40, 20), bool)
    mask[1:11, 1:39, 1:19] = True
    signed = signed_nm(mask, VOXEL_NM)
    middle = np.array([[6 * 4.0, 20 * 8.0, 10 * 16.0]])
    found = sections(signed, VOXEL_NM, middle, np.array([[1.0, 0.0, 0.0]]))
    assert found.inscribed_nm[0] == pytest.approx(20, abs=2.1)
    circle = np.pi * (4 * found.inscribed_nm[0]) ** 2
    assert found.area_nm2[0] == pytest.approx(circle, rel=1e-9)
    np.testing.assert_allclose(found.centre_nm, middle, atol=1e-6)
