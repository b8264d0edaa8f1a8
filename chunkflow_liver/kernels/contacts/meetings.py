"""Which labels of a block lie within a gap of a voxel: cells keep what has to be looked at small."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from chunkflow_liver.geometry import Zyx, zyx
from chunkflow_liver.kernels.distance.squares import Unit
from chunkflow_liver.xp import Array

_CELL = 4
_ROOM = 1 << 10

Met = tuple[Array, Array, Array, Array]
"""Columns `voxel`, `met`, `square` and `nearest` of `contacts.Near`."""


@dataclass(frozen=True, eq=False)
class Search:
    """Looks for all labels within the gap of a voxel.

    Attributes
    ----------
    labels : ndarray of shape (Z + 2, Y + 2, X + 2), int32
        From `walled`.
    homes, around
        See `meeting_loops.by_cell`.
    grid, inside, offsets, metric
        See `meeting_loops.meetings`.
    """

    labels: Array
    homes: tuple[Array, Array, Array]
    grid: tuple[Zyx, Zyx, Zyx]
    around: tuple[Array, Array]
    inside: tuple[Array, Array]
    offsets: Array
    metric: tuple[tuple[int, int, int, int], int]

    @classmethod
    def of(cls, labels: Array, unit: Unit, limit: int, *, centres: bool = False) -> Search:
        """Search of `labels` up to the squared gap `limit` between boxes, or centres, of voxels."""
        reach = [math.isqrt(limit) // length + 1 for length in unit.voxel]
        size = zyx([max(_CELL, -(-r // 2)) for r in reach])
        # Around them lie cells without voxels, so that none in reach is missing.
        far = zyx([-(-r // s) for r, s in zip(reach, size, strict=True)])
        cells = zyx([-(-(n - 2) // s) + 2 * f for n, s, f in zip(labels.shape, size, far, strict=True)])
        z, y, x = ((np.arange(n) - 1) // s + f for n, s, f in zip(labels.shape, size, far, strict=True))
        inside, smallest, largest = _inside(labels, (z, y, x), cells)
        around = _spread(smallest, far, np.minimum), _spread(largest, far, np.maximum)
        offsets = np.stack(np.meshgrid(*(np.arange(-f, f + 1) for f in far), indexing="ij"), -1)
        bound = ((np.maximum((abs(offsets) - 1) * size, 0) * unit.voxel) ** 2).sum(axis=-1)
        offsets = offsets[bound <= limit][np.argsort(bound[bound <= limit], kind="stable")]
        offsets = np.column_stack([offsets, offsets @ (cells[1] * cells[2], cells[2], 1)])
        metric = (*unit.voxel, 0 if centres else 1), limit
        return cls(labels, (z, y, x), (size, cells, far), around, inside, offsets, metric)

    def met(self, at: Array, some: Array, known: Array | None) -> Met:
        """What the voxels `some` of `at` (3, M) meet; `known` (M,) is the square to the nearest label.

        Without these the voxels belong to the labelling themselves, and do not meet their own label.
        """
        from chunkflow_liver.kernels.contacts import meeting_loops

        image = self.labels, known is None
        known = np.zeros(0, np.int64) if known is None else known
        n = len(some) + len(some) // 4 + _ROOM
        found: Met = np.empty(n, np.int64), np.empty(n, np.int32), np.empty(n, np.int64), np.empty(n, bool)
        count, others = meeting_loops.by_cell((at, some, known), image, self.homes, self.around, found)
        search, done = (self.grid, self.inside, self.offsets, self.metric), 0
        while True:
            done, count = meeting_loops.meetings(others, image, *search, found, (done, count))
            if done == len(others):
                break
            found = cast(Met, tuple(_longer(column, count) for column in found))
        voxel, met, square, nearest = (column[:count] for column in found)
        return voxel, met, square, nearest


def _inside(
    labels: Array, homes: tuple[Array, Array, Array], cells: Zyx
) -> tuple[tuple[Array, Array], Array, Array]:
    """Surface voxels by cell (see `cell_loops.fill_cells`), the smallest and the largest label of each."""
    from chunkflow_liver.kernels.contacts.cell_loops import fill_cells, list_surface

    depth, height, width = labels.shape
    voxels = np.zeros(math.prod(cells), np.int64)
    smallest, largest = (
        np.full(len(voxels), np.iinfo(np.int32).max, np.int32),
        np.zeros(len(voxels), np.int32),
    )
    words = np.zeros(-(-width // 8), np.uint64)
    flags = words.view(np.uint8), words
    found = np.empty((labels.size // 16 + width, 4), np.int32)
    row = count = 0
    while True:
        row, count = list_surface(
            labels, homes, cells, flags, (voxels, smallest, largest), found, (row, count)
        )
        if row == (depth - 2) * (height - 2):
            break
        found = _longer(found, count)
    begins = np.concatenate([[0], np.cumsum(voxels)])
    entries = np.empty((5, count), np.int32)
    fill_cells(found[:count], homes, cells, (voxels, smallest, largest), begins, entries)
    return (begins, entries), smallest.reshape(cells), largest.reshape(cells)


def _longer(column: Array, filled: int) -> Array:
    """A column of twice the length and more, of which the first rows are filled."""
    wider = np.empty((2 * len(column) + _ROOM, *column.shape[1:]), column.dtype)
    wider[:filled] = column[:filled]
    return wider


def _spread(found: Array, far: Sequence[int], extreme: np.ufunc) -> Array:
    """Extreme of every cell and those up to `far` beside it along each axis."""
    for axis in range(3):
        lead = (slice(None),) * axis
        before, after = (*lead, slice(None, -1)), (*lead, slice(1, None))
        for _ in range(far[axis]):
            wider = found.copy()
            extreme(wider[before], found[after], out=wider[before])
            extreme(wider[after], found[before], out=wider[after])
            found = wider
    return found
