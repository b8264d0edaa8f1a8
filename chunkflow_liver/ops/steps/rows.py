"""Rows of sums in records: named by a prefix, added over all blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from chunkflow_liver.engine.stage import Record, Records
from chunkflow_liver.kernels.rows import Rows, gather


def named(prefix: str, rows: Rows) -> dict[str, Any]:
    """Record of some rows; without rows it has no arrays."""
    first = next(iter(rows))
    return {f"{prefix}_{k}": v for k, v in rows.items()} if len(rows[first]) else {}


def rows_of(record: Record, prefix: str) -> Rows:
    """The columns of a record whose names begin with `prefix`."""
    return {k[len(prefix) + 1 :]: np.asarray(v) for k, v in record.items() if k.startswith(f"{prefix}_")}


def summed(records: Records, wanted: Mapping[str, tuple[tuple[str, ...], Rows]]) -> dict[str, Rows]:
    """Rows of all blocks with equal keys added, for each prefix; memory follows the rows, not the blocks.

    Parameters
    ----------
    records : iterator of (block, record)
    wanted : mapping of str to (keys, rows)
        For each prefix the columns that tell rows apart, and the columns where there is no row.
    """
    found = {prefix: gather(keys, none) for prefix, (keys, none) in wanted.items()}
    for _, record in records:
        for prefix in wanted:
            if rows := rows_of(record, prefix):
                found[prefix].push(rows)
    return {prefix: dict(rows.whole()) for prefix, rows in found.items()}
