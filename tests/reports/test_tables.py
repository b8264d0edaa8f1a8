"""Columns of tables are what Arrow has, read part by part."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chunkflow_liver.engine.plan import Product
from chunkflow_liver.reports import tables
from chunkflow_liver.reports.tables import Stored, as_arrow, as_numpy
from chunkflow_liver.store.table import Table


@pytest.mark.parametrize(
    "column",
    [
        pa.array([2**63, 1, 2**64 - 1, 4, 5], pa.uint64()),
        pa.array([1.5, None, float("nan"), 4.0, -0.0], pa.float32()),
        pa.array([1, 2, 3, None, 5], pa.int64()),
        pa.array([True, False, True, True, False]),
        pa.array([True, False, None, True, None]),
        pa.array(["a", "b", "", "a", "c"]),
    ],
    ids=lambda c: f"{c.type}-{c.null_count}",
)
def test_a_column_in_parts_is_the_column(tmp_path, monkeypatch, column):
    monkeypatch.setattr(tables, "READ_AT_ONCE", 2)
    path = str(tmp_path / "table.parquet")
    pq.write_table(pa.table({"value": column}), path)
    found = Stored(Product("instance table", "table", Table(path)), path).values("value")
    wanted = column.to_numpy(zero_copy_only=False)
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)


def test_numbers_go_to_arrow_and_back():
    values = np.arange(20, dtype=np.int32)[::3]
    assert as_arrow(values).to_pylist() == values.tolist()
    np.testing.assert_array_equal(as_numpy(as_arrow(values)[2:5]), values[2:5])
    np.testing.assert_array_equal(as_numpy(pa.array([True, False, True])[1:]), [False, True])
