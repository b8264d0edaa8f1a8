"""Runs of a label block say the same as its voxels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkflow_liver.kernels.labels.runs import find_runs


def painted(runs, shape, dtype):
    volume = np.zeros(shape, dtype)
    rows = zip(runs.z, runs.y, runs.start, runs.stop, runs.label, strict=True)
    for z, y, start, stop, label in rows:
        assert not volume[z, y, start:stop].any()
        volume[z, y, start:stop] = label
    return volume


@settings(max_examples=50, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 7)] * 3),
    seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from(["bool", "uint8", "uint32", "uint64", "int16"]),
)
def test_painting_the_runs_gives_the_block_back(shape, seed, dtype):
    rng = np.random.default_rng(seed)
    labels = (rng.integers(1, 3, shape) * (rng.random(shape) < 0.7)).astype(dtype)
    runs = find_runs(labels)
    np.testing.assert_array_equal(painted(runs, shape, dtype), labels)
    same_row = (np.diff(runs.z) == 0) & (np.diff(runs.y) == 0)
    touching = same_row & (runs.stop[:-1] == runs.start[1:])
    assert not (touching & (runs.label[:-1] == runs.label[1:])).any(), "runs are maximal"
    flat = (runs.z * shape[1] + runs.y) * shape[2] + runs.start
    assert (np.diff(flat) > 0).all(), "runs are in raster order"


def test_a_run_ends_with_its_row():
    labels = np.zeros((2, 2, 3), np.uint32)
    labels[0, 0, 1:] = 5
    labels[0, 1, :2] = 5
    labels[1, 1] = (7, 7, 9)
    runs = find_runs(labels)
    assert runs.z.tolist() == [0, 0, 1, 1]
    assert runs.y.tolist() == [0, 1, 1, 1]
    assert runs.start.tolist() == [1, 0, 0, 2]
    assert runs.stop.tolist() == [3, 2, 2, 3]
    assert runs.label.tolist() == [5, 5, 7, 9]
    assert runs.voxels.tolist() == [2, 2, 2, 1]


@pytest.mark.parametrize("shape", [(0, 3, 3), (3, 0, 3), (3, 3, 0), (2, 2, 2)])
def test_a_block_without_labels_has_no_runs(shape):
    assert len(find_runs(np.zeros(shape, np.uint8))) == 0


def test_a_transposed_view_has_the_runs_of_its_copy():
    labels = np.arange(24).reshape(2, 3, 4).T % 3
    view, copy = find_runs(labels), find_runs(np.ascontiguousarray(labels))
    np.testing.assert_array_equal(view.start, copy.start)
    np.testing.assert_array_equal(view.label, copy.label)


def test_labels_above_2_to_53_are_kept():
    labels = np.full((1, 1, 2), 2**63 + 1, np.uint64)
    assert find_runs(labels).label.tolist() == [2**63 + 1]
