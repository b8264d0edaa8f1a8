"""Extremes of whole planes are those of the whole volume inside its crop, for any grid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import blocks, seeds, shapes

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import BlockGrid, Box
from chunkflow_liver.kernels.images.plane_extremes import block_extremes, merge_extremes, plane_extremes
from chunkflow_liver.kernels.images.statistics import block_statistics, summarise


@given(
    shape=shapes, block=blocks, seed=seeds, axis=st.integers(0, 2), dtype=st.sampled_from(["u1", "i2", "f4"])
)
def test_extremes_do_not_depend_on_the_grid(shape, block, seed, axis, dtype):
    rng = np.random.default_rng(seed)
    array = (rng.integers(1, 100, (2, *shape)) - (60 if dtype != "u1" else 0)).astype(dtype)
    array[rng.random(array.shape) < rng.choice([0.0, 0.5, 0.95])] = 0
    crop = summarise(block_statistics(array)).crop
    parts = [
        block_extremes(array[(slice(None), *b.write.slices)], axis, b.write.start)
        for b in BlockGrid(Box.of(shape), block)
    ]
    rng.shuffle(parts)
    low, high = plane_extremes(merge_extremes(parts), axis, crop)
    inside = array[(slice(None), *crop.slices)]
    across = tuple(a + 1 for a in range(3) if a != axis)
    np.testing.assert_array_equal(low, inside.min(across))
    np.testing.assert_array_equal(high, inside.max(across))


def test_zeros_outside_the_crop_do_not_count():
    array = np.zeros((1, 3, 4, 4), np.uint8)
    array[0, 1:, 1:3, 1:3] = [[[5, 6], [7, 8]], [[9, 0], [3, 4]]]
    low, high = plane_extremes(block_extremes(array, 0), 0, Box((1, 1, 1), (3, 3, 3)))
    assert (low.tolist(), high.tolist()) == ([[5, 0]], [[8, 9]])


def test_a_missing_block_is_an_error():
    part = block_extremes(np.ones((1, 4, 2, 2), np.uint8), 0)
    with pytest.raises(InputError, match="planes 0 to 7 across axis 0 are wanted, but a block is missing"):
        plane_extremes(part, 0, Box.of((8, 2, 2)))
