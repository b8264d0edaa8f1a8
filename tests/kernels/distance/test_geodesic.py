"""Shortest paths through regions: by hand, straight where nothing is in the way, and never through walls."""

from __future__ import annotations

import numpy as np
import pytest

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.kernels.distance.geodesic import FAR, START, regions, shorten, steps_of


def lengths_nm(region, voxel_nm):
    """Paths from all starts, in nm; infinite without one."""
    steps = steps_of(voxel_nm)
    total = np.where(region == START, 0, FAR).astype(np.uint32)
    shorten(region, total, region == START, steps)
    return np.where(total == FAR, np.inf, total * steps.unit_nm)


def test_a_way_round_a_wall_by_hand():
    # Steps of 8 nm along y and 16 nm along x; the wall leaves a way at the far end only.
    region = np.ones((1, 3, 4), np.int32)
    region[0, 1, :3] = 0
    region[0, 0, 0] = START
    found = lengths_nm(region, (4.0, 8.0, 16.0))[0]
    edge = np.hypot(8, 16)
    np.testing.assert_allclose(found[0], [0, 16, 32, 48])
    np.testing.assert_allclose(found[1, 3], 32 + edge, rtol=5e-4)
    # Across the edge to (1, 3), and across the next one back: not through the wall.
    np.testing.assert_allclose(found[2, 3], min(32 + edge + 8, 48 + 16), rtol=5e-4)
    np.testing.assert_allclose(found[2, 2], 32 + 2 * edge, rtol=5e-4)
    np.testing.assert_allclose(found[2, 0], 64 + 2 * edge, rtol=5e-4)
    assert np.isinf(found[1, :3]).all()


@pytest.mark.parametrize("voxel_nm", [(8.0, 8.0, 8.0), (16.0, 8.0, 8.0), (4.0, 8.0, 16.0)])
def test_a_free_path_is_as_long_as_straight_within_the_stated_factor(voxel_nm):
    region = np.ones((21, 21, 21), np.int32)
    region[10, 10, 10] = START
    straight = np.sqrt(
        ((np.indices(region.shape) - 10) ** 2 * np.square(voxel_nm)[:, None, None, None]).sum(0)
    )
    found, away = lengths_nm(region, voxel_nm), straight > 0
    ratio = found[away] / straight[away]
    assert ratio.min() > 1 - 5e-4
    assert ratio.max() < steps_of(voxel_nm).longest + 5e-4
    # The bound is reached, not only kept.
    assert ratio.max() > 1 + 0.95 * (steps_of(voxel_nm).longest - 1)


def test_cubic_voxels_have_a_stated_error_of_5_percent():
    assert steps_of((8.0, 8.0, 8.0)).longest == pytest.approx(1.0494, abs=1e-4)
    assert len(steps_of((8.0, 8.0, 8.0)).lengths) == 98


def test_paths_stay_in_their_region_and_begin_where_it_meets_a_start():
    # Two cells side by side; the start touches the first one only.
    region = np.ones((1, 1, 8), np.int32)
    region[..., 4:] = 2
    region[..., 0] = START
    found = lengths_nm(region, (8.0, 8.0, 8.0))[0, 0]
    np.testing.assert_allclose(found[:4], [0, 8, 16, 24])
    assert np.isinf(found[4:]).all()


def test_long_steps_do_not_jump_over_walls_of_one_voxel():
    region = np.ones((5, 5, 9), np.int32)
    region[:, :, 4] = 0
    region[2, 2, 0] = START
    assert np.isinf(lengths_nm(region, (8.0, 8.0, 8.0))[:, :, 5:]).all()


def test_ids_that_do_not_fit_are_ranks():
    labels = np.array([[[0, 2**40, 2**40, 7, 2**63]]], np.uint64)
    found = regions(labels, np.array([[[True, False, False, False, False]]]))
    assert found.tolist() == [[[START, 2, 2, 1, 3]]]


def test_paths_too_long_and_voxels_without_size_are_refused():
    region = np.ones((1, 1, 4), np.int32)
    total = np.full(region.shape, FAR, np.uint32)
    total[..., 0] = FAR - 100
    with pytest.raises(ConfigError, match=r"longer than .* mm; take a coarser level"):
        shorten(region, total, total < FAR, steps_of((8.0, 8.0, 8.0)))
    with pytest.raises(ConfigError, match="positive voxel sizes"):
        steps_of((8.0, 0.0, 8.0))
