"""What is done with scores in one pass is, to the bit, what arrays do one by one."""

from __future__ import annotations

import numpy as np
import pytest

from chunkflow_liver.segmenters.streaming.score_loops import add_weighted, all_finite, largest_head


def test_a_box_is_weighted_and_added_as_arrays_are():
    rng = np.random.default_rng(0)
    planes = rng.normal(size=(5, 3, 11, 37)).astype(np.float32)
    scores = rng.normal(size=(3, 4, 9, 33)).astype(np.float32)
    z, y, x = (rng.random(n).astype(np.float32) for n in (3, 7, 31))
    wanted = planes.copy()
    box = scores[:, 1:4, 2:9, 1:32] * (z[:, None, None] * y[None, :, None] * x)
    wanted[2:5, :, 3:10, 5:36] += box.swapaxes(0, 1)
    add_weighted(planes, scores, (2, 3, 5), (1, 2, 1), (z, y, x))
    np.testing.assert_array_equal(planes, wanted)


@pytest.mark.parametrize("heads", [1, 2, 7])
def test_the_first_of_the_largest_is_found(heads):
    values = np.random.default_rng(heads).integers(-2, 3, size=(heads, 19, 35)).astype(np.float32)
    found = np.full((19, 35), 9, np.uint8)
    largest_head(values, found)
    np.testing.assert_array_equal(found, values.argmax(0))


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_no_number_is_found(odd):
    values = np.zeros((2, 5, 70), np.float32)
    values[0, 0, 0] = np.finfo(np.float32).max
    assert all_finite(values)
    values[1, 4, 66] = odd
    assert not all_finite(values)
