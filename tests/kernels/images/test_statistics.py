from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import BlockGrid, Box
from chunkflow_liver.kernels.images.statistics import block_statistics, merge_statistics, summarise

DTYPES = ["uint8", "int8", "uint16", "int16", "bool", "int32", "float16", "float32", "float64", ">u2"]


def volume(seed: int, dtype: str, channels: int = 1, shape: tuple[int, ...] = (7, 9, 8)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    array = rng.normal(40, 30, (channels, *shape)).clip(0 if dtype[-2] in "u8" else -100, 120)
    array[:, : seed % 3] = 0
    array[:, :, :, 6:] = 0
    return (array * (rng.random(array.shape) < 0.8)).astype(dtype)


def cut(array: np.ndarray, block: tuple[int, int, int]) -> list[dict[str, np.ndarray]]:
    grid = BlockGrid(Box.of(array.shape[1:]), block)
    return [block_statistics(array[(slice(None), *b.write.slices)], b.write.start) for b in grid]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 99),
    dtype=st.sampled_from(DTYPES),
    block=st.tuples(*[st.integers(1, 9)] * 3),
    order=st.randoms(use_true_random=False),
)
def test_statistics_do_not_depend_on_the_grid_or_the_order(seed, dtype, block, order):
    array = volume(seed, dtype, channels=2)
    parts = cut(array, block)
    order.shuffle(parts)
    half = len(parts) // 2
    tree = [merge_statistics(p) for p in (parts[:half], parts[half:]) if p]
    whole = summarise(block_statistics(array), (1, 50, 99))
    assert repr(summarise(merge_statistics(tree), (1, 50, 99))) == repr(whole)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 99), dtype=st.sampled_from(DTYPES))
def test_statistics_are_those_of_the_cropped_volume_with_its_zeros(seed, dtype):
    array = volume(seed, dtype, channels=2)
    got = summarise(merge_statistics(cut(array, (3, 4, 5))), (25, 75))
    cropped = array[(slice(None), *got.crop.slices)].astype(np.float64)
    where = np.argwhere((array != 0).any(0))
    assert got.crop == Box(tuple(where.min(0)), tuple(where.max(0) + 1))
    for c, channel in enumerate(cropped):
        assert got.mean[c] == pytest.approx(channel.mean(), rel=1e-6 if "float" in dtype else 1e-12)
        assert got.sd[c] == pytest.approx(channel.std(), rel=1e-6 if "float" in dtype else 1e-12)
        assert got.minimum[c] == pytest.approx(channel.min(), rel=1e-6)
        assert got.maximum[c] == pytest.approx(channel.max(), rel=1e-6)
        if array.dtype.itemsize <= 2 and array.dtype.kind != "f":
            assert got.percentiles[c] == tuple(np.percentile(channel, (25, 75), method="inverted_cdf"))


def test_a_small_example_by_hand():
    array = np.zeros((4, 2, 3), np.uint8)
    array[1, 0, 1], array[2, 1, 1] = 10, 30
    got = summarise(block_statistics(array, (5, 0, 0)), (50, 75, 100))
    assert got.crop == Box((6, 0, 1), (8, 2, 2))  # 4 voxels: 10, 0, 0, 30
    assert got.mean == (10.0,)
    assert got.sd == (math.sqrt(1000 / 4 - 100),)
    assert (got.minimum, got.maximum) == ((0.0,), (30.0,))
    assert got.percentiles == ((0.0, 10.0, 30.0),)
    assert got.nonfinite_at is None


def test_floats_of_very_different_size_are_summed_exactly():
    values = np.array([1e30, 1.0, -1e30, 2.0, 1e-40, 1e-45], np.float32).reshape(1, 2, 3)
    got = summarise(block_statistics(values))
    assert got.mean[0] == math.fsum(float(v) for v in values.ravel()) / 6
    assert got.sd[0] == pytest.approx(math.sqrt(2 / 6) * float(np.float32(1e30)), rel=1e-14)


def test_an_empty_volume_keeps_its_whole_box():
    got = summarise(merge_statistics(cut(np.zeros((1, 4, 4, 4), np.uint16), (2, 4, 4))))
    assert got.crop == Box.of((4, 4, 4))
    assert (got.mean, got.sd, got.minimum, got.maximum) == ((0.0,), (0.0,), (0.0,), (0.0,))


@pytest.mark.parametrize("block", [(4, 5, 6), (2, 2, 6), (1, 3, 2)])
def test_the_first_voxel_that_is_not_finite_is_named(block):
    array = np.ones((2, 4, 5, 6), np.float32)
    array[1, 2, 3, 1], array[0, 3, 0, 0], array[0, 2, 3, 4] = np.nan, np.inf, -np.inf
    got = summarise(merge_statistics(cut(array, block)))
    assert (got.nonfinite, got.nonfinite_at) == (3, (2, 3, 1))
    assert got.mean == (1.0, 1.0)


def test_a_missing_block_is_noticed():
    parts = cut(volume(1, "uint8"), (3, 9, 8))
    with pytest.raises(InputError, match="a block is missing or was counted twice"):
        summarise(merge_statistics([parts[0], parts[2]]))


def test_nothing_to_merge_is_refused():
    with pytest.raises(InputError, match="there are no blocks"):
        merge_statistics([])


def test_blocks_of_different_kinds_are_not_merged():
    parts = [block_statistics(volume(1, dtype)) for dtype in ("uint8", "float32")]
    with pytest.raises(InputError, match="cannot be merged"):
        merge_statistics(parts)


def test_complex_numbers_are_refused():
    with pytest.raises(InputError, match="wanted a real array"):
        block_statistics(np.zeros((2, 2, 2), complex))
