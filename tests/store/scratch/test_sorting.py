"""Rows come in order whatever part of them fits in memory."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkflow_liver.store.scratch import sorting


@settings(deadline=None)
@given(count=st.integers(0, 60), most=st.integers(1, 70), keys=st.integers(1, 3), seed=st.integers(0, 2**20))
def test_rows_come_in_the_order_of_their_first_columns(count, most, keys, seed):
    rows = np.random.default_rng(seed).integers(-3, 4, (count, 3))
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorting, "MOST", most)
        parts = list(sorting.sorted_rows(rows, Path(folder) / "sorted", keys=keys))
    found = np.concatenate([np.zeros((0, 3), np.int64), *parts])
    assert [tuple(r) for r in found[:, :keys].tolist()] == sorted(map(tuple, rows[:, :keys].tolist()))
    assert sorted(map(tuple, found.tolist())) == sorted(map(tuple, rows.tolist()))
    assert all(len(part) <= most + 60 // most for part in parts) or keys < 3
