"""A column on disk holds what was appended, and nothing that its type would change."""

from __future__ import annotations

import numpy as np
import pytest

from chunkflow_liver.engine.execute import kept_memory
from chunkflow_liver.store.scratch.spill import Spill


def test_pieces_become_one_column_that_can_be_changed_in_place(tmp_path):
    column = Spill(tmp_path / "ids", "uint64")
    assert (len(column), column.array().tolist()) == (0, [])
    column.append(np.zeros(0, np.uint64))
    assert column.array().dtype == np.uint64
    column.append(np.array([1, 2**64 - 1], np.uint64))
    column.append(np.array([7], np.uint8))
    assert (len(column), column.array().tolist()) == (3, [1, 2**64 - 1, 7])
    column.array()[0] = 5
    column.append(np.array([9], np.uint32))
    assert column.array().tolist() == [5, 2**64 - 1, 7, 9]


def test_a_value_that_would_change_is_refused(tmp_path):
    with pytest.raises(TypeError, match="safe"):
        Spill(tmp_path / "ids", "uint32").append(np.array([2**32], np.uint64))
    with pytest.raises(TypeError, match="safe"):
        Spill(tmp_path / "ids", "int64").append(np.array([1.5]))
    assert len(Spill(tmp_path / "ids", "int64")) == 0


def test_memory_is_kept_inside_and_an_error_comes_through():
    def fail():
        with kept_memory():
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        fail()
