"""Rows in order, for more rows than memory holds."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from chunkflow_liver.store.scratch.noticed import save
from chunkflow_liver.xp import Array

MOST = 1 << 19
"""Rows in memory at once."""


def sorted_rows(rows: Array, scratch: Path, *, keys: int) -> Iterator[Array]:
    """The rows of a table in the order of their first columns, part by part.

    Parameters
    ----------
    rows : ndarray of shape (K, C), int64
        May be memory-mapped.
    scratch : Path
        Folder for sorted parts, as many bytes as the table.
    keys : int
        How many columns are compared, the first one first; rows that are equal in them come in any order.

    Yields
    ------
    ndarray of shape (N, C), int64
        No row of a part comes before one of an earlier part.

    Notes
    -----
    Merge sort: parts of `MOST` rows are sorted and written, then read side by side.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    runs: list[Array] = []
    for begin in range(0, len(rows), MOST):
        part = _in_order(np.array(rows[begin : begin + MOST]), keys)
        if len(rows) <= MOST:
            yield part
            return
        save(scratch / f"{len(runs)}.npy", part)
        runs.append(np.load(scratch / f"{len(runs)}.npy", mmap_mode="r"))
    step, at = max(1, MOST // max(1, len(runs))), [0] * len(runs)
    while True:
        heads = [run[begin : begin + step] for run, begin in zip(runs, at, strict=True)]
        ends = [_key(head[-1], keys) for head in heads if len(head)]
        if not ends:
            return
        # Every row up to the first of these ends is in one of the heads.
        end = min(ends)
        upto = [bisect_right(head, end, key=lambda row: _key(row, keys)) for head in heads]
        at = [a + n for a, n in zip(at, upto, strict=True)]
        yield _in_order(np.concatenate([head[:n] for head, n in zip(heads, upto, strict=True)]), keys)


def _in_order(rows: Array, keys: int) -> Array:
    return rows[np.lexsort(rows[:, :keys].T[::-1])]


def _key(row: Array, keys: int) -> tuple[int, ...]:
    return tuple(row[:keys].tolist())
