"""Cells of a pyramid level are the mean or the majority of their voxels."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.geometry import BlockGrid, Box
from chunkflow_liver.kernels.images.downsample import mean, mode

shapes = st.tuples(*[st.integers(1, 9)] * 3)
factors = st.tuples(*[st.integers(1, 4)] * 3)
seeds = st.integers(0, 2**32 - 1)


def by_cell(array, factors, function):
    out = np.empty([-(-n // f) for n, f in zip(array.shape, factors, strict=True)], array.dtype)
    for at in itertools.product(*map(range, out.shape)):
        cell = tuple(slice(i * f, (i + 1) * f) for i, f in zip(at, factors, strict=True))
        out[at] = function(array[cell])
    return out


def exact_mean(cell):
    return round(Fraction(sum(map(int, cell.ravel())), cell.size))


def first_of_the_most_frequent(cell):
    values, counts = np.unique(cell, return_counts=True)
    return values[counts.argmax()]


@settings(max_examples=50, deadline=None)
@given(
    shape=shapes,
    factors=factors,
    seed=seeds,
    dtype=st.sampled_from(["uint8", "uint16", "int8", "int16", "uint32", "int32"]),
)
def test_the_mean_of_integers_is_exact(shape, factors, seed, dtype):
    info = np.iinfo(dtype)
    low, high = np.random.default_rng(seed).choice([(info.min, info.max), (0, 3)])
    array = np.random.default_rng(seed).integers(low, high, shape, dtype, endpoint=True)
    got = mean(array, factors)
    assert got.dtype == array.dtype
    np.testing.assert_array_equal(got, by_cell(array, factors, exact_mean))


@settings(max_examples=25, deadline=None)
@given(shape=shapes, factors=factors, seed=seeds)
def test_the_mean_of_floats_stays_float(shape, factors, seed):
    array = np.random.default_rng(seed).random(shape, np.float32)
    got = mean(array, factors)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, by_cell(array, factors, np.mean), rtol=1e-6)


@settings(max_examples=50, deadline=None)
@given(
    shape=shapes,
    factors=factors,
    seed=seeds,
    dtype=st.sampled_from(["bool", "uint8", "uint32", "uint64"]),
)
def test_the_mode_is_the_most_frequent_label(shape, factors, seed, dtype):
    labels = np.random.default_rng(seed).integers(0, 4, shape).astype(dtype)
    if dtype == "uint64":
        labels += np.uint64(2**63)
    got = mode(labels, factors)
    assert got.dtype == labels.dtype
    np.testing.assert_array_equal(got, by_cell(labels, factors, first_of_the_most_frequent))


@settings(max_examples=25, deadline=None)
@given(shape=shapes, factors=factors, seed=seeds, cells=st.tuples(*[st.integers(1, 3)] * 3))
def test_blocks_of_whole_cells_give_the_same_level(shape, factors, seed, cells):
    array = np.random.default_rng(seed).integers(0, 5, shape).astype(np.uint8)
    block = tuple(f * c for f, c in zip(factors, cells, strict=True))
    for function in (mean, mode):
        expected = function(array, factors)
        got = np.empty_like(expected)
        for b in BlockGrid(Box.of(shape), block):
            part = function(array[b.write.slices], factors)
            start = [a // f for a, f in zip(b.write.start, factors, strict=True)]
            got[tuple(slice(a, a + n) for a, n in zip(start, part.shape, strict=True))] = part
        np.testing.assert_array_equal(got, expected)


def test_halves_are_rounded_to_even():
    array = np.array([[[0, 1, 2, 1, 4, 5]]], np.uint8)
    assert mean(array, (1, 1, 2)).tolist() == [[[0, 2, 4]]]
    assert mean(array.astype(np.int16) - 3, (1, 1, 2)).tolist() == [[[-2, -2, 2]]]


def test_ties_go_to_the_smallest_label():
    labels = np.array([[[9, 4, 0, 7, 7, 7, 3]]], np.uint32)
    assert mode(labels, (1, 1, 2)).tolist() == [[[4, 0, 7, 3]]]


def test_a_factor_below_one_is_refused():
    with pytest.raises(ConfigError, match="factors are 1 or more"):
        mode(np.zeros((2, 2, 2), np.uint8), (1, 0, 2))


@pytest.mark.parametrize("dtype", ["bool", "uint64", "int64"])
def test_the_mean_of_labels_is_refused(dtype):
    with pytest.raises(InputError, match=r"labels need mode\(\)"):
        mean(np.zeros((2, 2, 2), dtype), (2, 2, 2))
