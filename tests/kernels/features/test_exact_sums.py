"""Sums of float values are exact integers: order, cutting and size do not change a bit."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chunkflow_liver.kernels.features import exact_sums as module
from chunkflow_liver.kernels.features.exact_sums import carried, exact_sums, mean_sd

singles = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=30)
# Below 1e-20 a float64 may have bits that no float32 has.
sizes = st.floats(1e-20, 1e30)
doubles = st.lists(sizes | sizes.map(lambda v: -v) | st.just(0.0), min_size=1, max_size=30)
arrays = singles.map(lambda v: np.array(v, np.float32)) | doubles.map(np.array)


@settings(max_examples=150, deadline=None)
@given(array=arrays, cut=st.integers(0, 30))
@example(array=1e9 + np.array([0.25, 3.5, 9.125]), cut=1)
def test_mean_and_sd_are_those_of_rational_numbers(array, cut):
    one = exact_sums(np.zeros(len(array), int), array, 1)
    parts = [exact_sums(np.zeros(len(p), int), p, 1) for p in (array[cut:], array[:cut])]
    added = [carried(a + b) for a, b in zip(*parts, strict=True)]
    for a, b in zip(added, one, strict=True):
        np.testing.assert_array_equal(a, carried(b))
    exact = [Fraction(float(v)) for v in array]
    mean = sum(exact) / len(exact)
    variance = sum((v - mean) ** 2 for v in exact) / len(exact)
    found = mean_sd(np.array([len(array)]), *one)
    assert found[0][0] == float(mean)
    assert found[1][0] == pytest.approx(float(variance) ** 0.5, rel=1e-15)


def test_digits_do_not_overflow_when_sums_are_added_again_and_again():
    values = np.full(3, np.float32(2**24 - 1))
    first, second = exact_sums(np.zeros(3, int), values, 1)
    for _ in range(60):
        first, second = carried(first + first), carried(second + second)
    mean, sd = mean_sd(np.array([3 << 60], object), first, second)
    assert (mean[0], sd[0]) == (2**24 - 1, 0.0)


def test_values_of_many_objects_are_taken_in_slabs(monkeypatch):
    rng = np.random.default_rng(0)
    rank, values = rng.integers(0, 5, 100), rng.normal(size=100).astype(np.float32)
    whole = exact_sums(rank, values, 6)
    monkeypatch.setattr(module, "_SLAB", 7)
    for a, b in zip(exact_sums(rank, values, 6), whole, strict=True):
        np.testing.assert_array_equal(carried(a), carried(b))
