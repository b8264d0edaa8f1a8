"""Rows of sums: tables whose rows of equal keys become one, added or their extremes taken, in any order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

import numpy as np

from chunkflow_liver.xp import Array

Rows = dict[str, Array]
"""Columns of one length; some have further axes."""
Ways = Mapping[str, np.ufunc]
"""How columns come together that are not added, for example `{"low": np.minimum}`."""
P = TypeVar("P")

_BATCH_ROWS = 1 << 18


def joined(parts: Sequence[Mapping[str, Array]]) -> Rows:
    """The rows of one or more tables with the same columns, one after the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def grouped(columns: Mapping[str, Array], keys: Sequence[str], ways: Ways | None = None) -> Rows:
    """Rows of equal keys as one row, sorted by the keys.

    Parameters
    ----------
    columns : mapping of str to ndarray of shape (N, ...)
        Keys are of shape (N,). What is neither a key nor in `ways` is added: integers in 64 bits, others in
        their own dtype and in the order of the rows.
    keys : sequence of str
        Columns to group and sort by, the first one first.
    ways : mapping of str to ufunc, optional
        What to do instead of adding.

    Returns
    -------
    dict of ndarray
        The same columns, each key once.
    """
    found, ways = dict(columns), ways or {}
    if not len(found[keys[0]]):
        return found
    code = packed([found[name] for name in keys])
    # Neighbours in a volume mostly share their keys: they are added before anything is sorted, unless the
    # order of a sum matters.
    exact = all(found[n].dtype.kind in "buiO" for n in found if n not in keys and n not in ways)
    order = np.arange(len(code))
    for is_sorted in (False, True) if exact else (True,):
        if is_sorted:
            order = np.argsort(code, kind=None if exact else "stable")
            code = code[order]
        begin = starts(code)
        for name, column in found.items():
            if name in keys:
                found[name] = column[order[begin]]
            else:
                values = column[order] if is_sorted else column
                found[name] = reduced(ways.get(name, np.add), values, begin)
        code = code[begin]
    return found


def added(parts: Sequence[Mapping[str, Array]], keys: Sequence[str]) -> Rows:
    """Rows of one or more tables with equal keys added, sorted by the keys."""
    return grouped(joined(parts), keys)


def reduced(way: np.ufunc, values: Array, begin: Array) -> Array:
    """`values` (N, ...) of each group together; groups begin at `begin`."""
    wide = way is np.add and values.dtype.kind in "bui" and values.dtype != np.uint64
    if not len(begin):
        return values[:0].astype(np.int64) if wide else values[:0]
    return way.reduceat(values, begin, axis=0, dtype=np.int64 if wide else values.dtype)


def starts(*keys: Array) -> Array:
    """Where each group of equal keys begins, in columns (N,) sorted by them; int64."""
    fresh = np.zeros(len(keys[0]), bool)
    fresh[:1] = True
    for key in keys:
        fresh[1:] |= key[1:] != key[:-1]
    return np.flatnonzero(fresh)


def packed(columns: Sequence[Array]) -> Array:
    """A whole number of each row, uint64, equal and in order as the rows (N,) are."""
    if not len(columns[0]):
        return np.zeros(0, np.uint64)
    code = _whole(columns[0])
    for column in columns[1:]:
        more = _whole(column)
        if (int(code.max()) + 1) * (int(more.max()) + 1) > 1 << 63:
            code, more = _ranks(code), _ranks(more)
        code = code * np.uint64(int(more.max()) + 1) + more
    return code


def _whole(column: Array) -> Array:
    """`column` as uint64 in the same order."""
    if column.dtype.kind in "bu" or (column.dtype.kind == "i" and int(column.min()) >= 0):
        return column.astype(np.uint64)
    return _ranks(column)


def _ranks(column: Array) -> Array:
    return np.unique(column, return_inverse=True)[1].astype(np.uint64)


def distinct(labels: Array) -> tuple[Array, Array, Array]:
    """Every value of an array of objects once, and which of them each run has: runs are sorted, not voxels.

    Parameters
    ----------
    labels : ndarray, integer or bool, on the host

    Returns
    -------
    values : ndarray of shape (N,)
        Sorted; of the type of `labels`.
    rank : ndarray of shape (R,), int64
        Number in `values` of what each run of equal voxels, in C order, has.
    length : ndarray of shape (R,), int64
        Voxels of the runs: `np.repeat(rank, length)` has the rank of every voxel.
    """
    flat = np.ascontiguousarray(labels).reshape(-1)
    fresh = np.ones(flat.shape, bool)
    np.not_equal(flat[1:], flat[:-1], out=fresh[1:])
    start = np.flatnonzero(fresh)
    values, rank = np.unique(flat[start], return_inverse=True)
    return values, rank, np.diff(start, append=flat.size)


def totals(key: Array, values: Array) -> tuple[Array, Array]:
    """The keys (N,), each once and sorted, and the sum of the values of each."""
    found = grouped({"key": key, "sum": values}, ("key",))
    return found["key"], found["sum"]


class Gathered(Generic[P]):
    """Parts that come one by one, added whenever as many rows wait as are added already.

    Memory then grows with the number of keys, not of parts, and all adding costs about one sort.

    Parameters
    ----------
    add : callable
        Makes one part of several.
    size : callable
        Rows of a part.
    none : part
        What there is without any part.
    """

    def __init__(self, add: Callable[[list[P]], P], size: Callable[[P], int], none: P) -> None:
        self._add, self._size, self._whole = add, size, none
        self._pending: list[P] = []
        self._rows = 0

    def push(self, part: P) -> None:
        """Take one more part."""
        self._pending.append(part)
        # A part without rows takes memory, too.
        self._rows += self._size(part) + 1
        if self._rows >= max(_BATCH_ROWS, self._size(self._whole)):
            self.whole()

    def whole(self) -> P:
        """All parts so far as one."""
        if self._pending:
            self._whole = self._add([self._whole, *self._pending])
            self._pending, self._rows = [], 0
        return self._whole


def gather(keys: Sequence[str], none: Rows, ways: Ways | None = None) -> Gathered[Mapping[str, Array]]:
    """Where tables are pushed whose rows of equal keys become one; `none` has their columns and no row."""
    return Gathered(lambda parts: grouped(joined(parts), keys, ways), lambda part: len(part[keys[0]]), none)


def merged(
    parts: Iterable[Mapping[str, Array]], keys: Sequence[str], none: Rows, ways: Ways | None = None
) -> Rows:
    """Rows of many parts with equal keys as one; `none` has their columns and no row."""
    found = gather(keys, none, ways)
    for part in parts:
        found.push(part)
    return dict(found.whole())
