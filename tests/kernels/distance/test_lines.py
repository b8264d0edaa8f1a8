"""Squared distances without a limit are those of the whole volume."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt
from strategies import voxel_sizes

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.kernels.distance.lines import (
    along_axis,
    nothing,
    squares_of_steps,
    squares_type,
    steps_in_rows,
)
from chunkflow_liver.kernels.distance.squares import whole_unit


@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 20)] * 3),
    seed=st.integers(0, 2**20),
    voxel_nm=voxel_sizes,
    axes=st.permutations(range(3)),
    dtype=st.sampled_from([np.dtype("u4"), np.dtype("u8")]),
)
def test_squares_along_three_axes_are_the_distance(shape, seed, voxel_nm, axes, dtype):
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) < rng.choice([0.002, 0.02, 0.5])
    unit = whole_unit(voxel_nm)
    squares = np.where(mask, 0, nothing(dtype)).astype(dtype)
    for axis in axes:
        squares = along_axis(squares, axis, unit.voxel[axis])
    if mask.any():
        wanted = distance_transform_edt(~mask, sampling=voxel_nm)
        np.testing.assert_allclose(unit.length_nm(squares), wanted, rtol=1e-9)
    else:
        assert (squares == nothing(dtype)).all()


@pytest.mark.parametrize("shape", [(90, 7, 300), (6, 100, 290), (3, 4, 700)])
@pytest.mark.parametrize("voxel_nm", [(4.0, 8.0, 16.0), (40.0, 5.9, 5.9)])
@pytest.mark.parametrize("share", [0.0001, 0.02])
def test_long_lines_and_many_of_them_have_the_same_squares(shape, voxel_nm, share):
    mask = np.random.default_rng(2).random(shape) < share
    mask[0, 0, 0] = True
    unit = whole_unit(voxel_nm)
    wanted = np.rint(distance_transform_edt(~mask, sampling=unit.voxel) ** 2).astype(np.int64)
    squares = squares_of_steps(steps_in_rows(mask), unit.voxel[2], squares_type(shape, unit))
    for axis in (1, 0):
        squares = along_axis(squares, axis, unit.voxel[axis])
    np.testing.assert_array_equal(squares, wanted)


def test_two_voxels_at_the_corners_of_a_large_plane_have_the_squares_of_scipy():
    """Rows that hold something far away: values above what one step costs, but below what two do."""
    mask = np.zeros((1, 85, 85), bool)
    mask[0, 84, 0] = mask[0, 0, 84] = True
    squares = squares_of_steps(steps_in_rows(mask), 1, np.dtype("u4"))
    found = along_axis(np.ascontiguousarray(squares), 1, 1)
    np.testing.assert_array_equal(found, np.rint(distance_transform_edt(~mask) ** 2))


def test_squares_of_any_length_need_a_type_that_holds_them():
    assert squares_type((256, 256, 256), whole_unit((8.0, 8.0, 8.0))) == np.uint32
    assert squares_type((256, 256, 256), whole_unit((40.0, 5.9, 5.9))) == np.uint64
    with pytest.raises(
        ConfigError, match=r"\(2, 2, 99999999\) voxels is too large for exact distances of any"
    ):
        squares_type((2, 2, 99_999_999), whole_unit((8.0, 8.0, 8.0)))
