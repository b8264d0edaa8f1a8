"""The runs of a block are sorted by object, and sums over them are those over voxels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import seeds

from chunkflow_liver.kernels.labels.object_runs import runs_by_object


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    seed=seeds,
    labels=st.sampled_from([1, 3, 400]),
    dtype=st.sampled_from(["bool", "uint8", "uint16", "int32", "uint64"]),
)
def test_runs_are_those_of_a_loop_over_rows(shape, seed, labels, dtype):
    rng = np.random.default_rng(seed)
    array = rng.integers(0, labels + 1, shape) * (rng.random(shape) < rng.choice([0.2, 0.9]))
    array = array.astype(dtype)
    wanted, order = {}, 0
    for row, line in enumerate(array.reshape(-1, shape[2]).tolist()):
        x = 0
        while x < len(line):
            stop = x + 1
            while stop < len(line) and line[stop] == line[x]:
                stop += 1
            if line[x]:
                wanted.setdefault(int(line[x]), []).append((row, x, stop, order))
                order += 1
            x = stop
    runs = runs_by_object(array)
    assert runs.label.dtype == np.uint64
    assert runs.label.tolist() == sorted(wanted)
    assert runs.height == shape[1]
    for n, label in enumerate(runs.label.tolist()):
        own = slice(runs.begin[n], runs.begin[n + 1])
        rows = zip(runs.row[own], runs.ends[own, 0], runs.ends[own, 1], runs.order[own], strict=True)
        assert [tuple(map(int, row)) for row in rows] == wanted[label]


def test_so_many_objects_that_tables_grow_keep_their_runs():
    """20,000 labels, each in two rows of a block, and ids above 2^53."""
    first = np.arange(1, 20001, dtype=np.uint64) + np.uint64(2**63)
    array = np.stack([first, first[::-1]]).reshape(2, 200, 100)
    runs = runs_by_object(array)
    np.testing.assert_array_equal(runs.label, first)
    np.testing.assert_array_equal(np.diff(runs.begin), 2)
    n = np.arange(20000)
    np.testing.assert_array_equal(runs.row[::2], n // 100)
    np.testing.assert_array_equal(runs.row[1::2], 200 + (19999 - n) // 100)
    np.testing.assert_array_equal(runs.ends[:, 1] - runs.ends[:, 0], 1)


@pytest.mark.parametrize("shape", [(0, 4, 5), (3, 4, 0), (3, 4, 5)], ids=str)
def test_a_block_without_objects_has_no_runs(shape):
    runs = runs_by_object(np.zeros(shape, np.int32))
    assert len(runs.label) == len(runs.row) == len(runs.ends) == 0
    assert runs.begin.tolist() == [0]


def test_a_view_has_the_runs_of_its_copy():
    labels = np.random.default_rng(0).integers(0, 3, (5, 6, 7)).astype(np.uint16)
    view = runs_by_object(labels[1:, ::2, 1:-1])
    copy = runs_by_object(labels[1:, ::2, 1:-1].copy())
    for name in ("label", "begin", "row", "ends", "order"):
        np.testing.assert_array_equal(getattr(view, name), getattr(copy, name))
