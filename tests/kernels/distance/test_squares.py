"""Squared distances are exact whole numbers, with ties told apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt
from strategies import voxel_sizes

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.kernels.distance.squares import (
    Unit,
    nearest_of,
    parabola,
    shifted,
    smallest_type,
    spread,
    squares_to,
    whole_unit,
)

WHOLE = (slice(None),) * 3


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 12)] * 3),
    seed=st.integers(0, 2**20),
    voxel_nm=voxel_sizes,
    cap_nm=st.sampled_from([0.0, 9.0, 33.0, 5000.0]),
    between=st.booleans(),
)
def test_squares_are_those_of_all_pairs(shape, seed, voxel_nm, cap_nm, between):
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) < rng.choice([0.0, 0.02, 0.5])
    unit = whole_unit(voxel_nm)
    limit = unit.squares(cap_nm)
    trim = tuple(slice(n // 3, max(n // 3 + 1, n - n // 4)) for n in shape)
    offsets = np.abs(np.argwhere(np.ones(shape))[:, None] - np.argwhere(mask)[None])
    squares = ((np.maximum(offsets - between, 0) * unit.voxel) ** 2).sum(-1)
    best = squares.min(1, initial=limit + 1).reshape(shape)
    found = squares_to(mask, unit, limit, trim, between)
    assert found.dtype == smallest_type(2 * limit + 1)
    np.testing.assert_array_equal(found, best[trim])


@pytest.mark.parametrize("shape", [(90, 7, 300), (6, 100, 290), (3, 4, 700)])
@pytest.mark.parametrize("voxel_nm", [(4.0, 8.0, 16.0), (40.0, 5.9, 5.9)])
@pytest.mark.parametrize("share", [0.0001, 0.02])
def test_long_lines_and_many_of_them_have_the_same_squares(shape, voxel_nm, share):
    mask = np.random.default_rng(2).random(shape) < share
    mask[0, 0, 0] = True
    unit = whole_unit(voxel_nm)
    wanted = np.rint(distance_transform_edt(~mask, sampling=unit.voxel) ** 2).astype(np.int64)
    trim = tuple(slice(n // 3, n - n // 4) for n in shape)
    for cap_nm in (50.0, 400.0, 3000.0):
        limit = unit.squares(cap_nm)
        found = squares_to(mask, unit, limit, trim)
        np.testing.assert_array_equal(found, np.minimum(wanted, limit + 1)[trim])


@settings(max_examples=30, deadline=None)
@given(shape=st.tuples(*[st.integers(1, 12)] * 3), seed=st.integers(0, 2**20), keys=st.sampled_from([1, 7]))
def test_whole_arrays_shifted_as_on_a_device_give_the_same(shape, seed, keys):
    rng = np.random.default_rng(seed)
    far = 101 * keys
    start = np.where(rng.random(shape) < 0.05, rng.integers(0, keys, shape), far).astype(np.uint16)
    costs = [[c * keys for c in parabola(size, 100)] for size in (1, 2, 4)]
    trim = tuple(slice(n // 3, max(n // 3 + 1, n - n // 4)) for n in shape)
    np.testing.assert_array_equal(shifted(start, costs, trim), spread(start, costs, far, trim))


def test_of_two_labels_equally_near_the_smaller_one_is_taken():
    row = np.array([[[9, 0, 0, 0, 2**63 + 5]]], np.uint64)
    squares, label = nearest_of(row, Unit(8.0, (1, 1, 1)), 4, WHOLE)
    assert squares.tolist() == [[[0, 1, 4, 1, 0]]]
    assert label.tolist() == [[[9, 9, 9, 2**63 + 5, 2**63 + 5]]]
    squares, label = nearest_of(row, Unit(8.0, (1, 1, 1)), 1, WHOLE)
    assert (squares[0, 0, 2], label[0, 0, 2]) == (2, 0)
    assert not nearest_of(np.zeros((2, 2, 2), np.uint32), Unit(8.0, (1, 1, 1)), 1, WHOLE)[1].any()


def test_units_are_worked_by_hand():
    assert whole_unit((40, 5.9, 5.9)) == Unit(0.1, (400, 59, 59))
    assert whole_unit((4, 8, 16)) == Unit(4.0, (1, 2, 4))
    assert whole_unit((15, 16, 16)).squares(17.0) == 289
    rounded = whole_unit((40.0, 5.912345678, 5.912345678))
    np.testing.assert_allclose(
        np.array(rounded.voxel) * rounded.nm, (40, 5.912345678, 5.912345678), rtol=1e-5
    )
    # Sizes that are no short decimals but fractions stand for these, whatever type they were kept in.
    assert whole_unit((40.0, 88 / 15, 88 / 15)).voxel == (75, 11, 11)
    assert whole_unit((40.0, float(np.float32(88 / 15)), 88 / 15)).voxel == (75, 11, 11)
    for size in (5.912345678, 39.12345678, 400.0):
        unit = whole_unit((40.0, size, 5.912345678))
        error = abs(unit.voxel[2] * unit.nm / 5.912345678 - 1)
        assert error <= 0.5 * 2**-20 * max(size, 40.0) / 5.912345678
    # A length that is the root of a whole number reaches it, although it is rounded.
    assert whole_unit((1, 1, 1)).squares(3**0.5) == 3


def test_what_has_no_squares_is_refused():
    with pytest.raises(ConfigError, match="positive voxel sizes"):
        whole_unit((4.0, 0.0, 16.0))
    with pytest.raises(ConfigError, match="take a smaller cap or smaller blocks"):
        nearest_of(np.ones((1, 1, 1), np.uint8), Unit(1.0, (1, 1, 1)), 2**62, WHOLE)
