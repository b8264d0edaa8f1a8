"""Sums over boxes of one size that lie half a box apart, from blocks that know nothing of these boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import Box, Zyx, zyx
from chunkflow_liver.xp import Array


@dataclass(frozen=True)
class Lattice:
    """All boxes of one size that lie inside `known`, half a box apart along every axis.

    Attributes
    ----------
    known : Box
        Voxels that boxes may hold.
    cell : Zyx
        Voxels from one box to the next.
    steps : Zyx
        Cells in a box: 2, or 1 along an axis where a box is one voxel thick or as long as `known`.
    """

    known: Box
    cell: Zyx
    steps: Zyx

    @classmethod
    def of(cls, known: Box, side: Zyx) -> Lattice:
        """Boxes of `side` voxels; odd sides above 1 are one voxel longer, so that they can be halved.

        Raises
        ------
        ConfigError
            If such a box is larger than `known`.
        """
        if min(side) < 1 or any(n > most for n, most in zip(side, known.shape, strict=True)):
            raise ConfigError(
                f"boxes of {tuple(side)} voxels (z, y, x) do not fit into {known.shape} voxels; ask for "
                "smaller boxes"
            )
        whole = [n == 1 or n == most for n, most in zip(side, known.shape, strict=True)]
        cell = [n if w else (n + 1) // 2 for n, w in zip(side, whole, strict=True)]
        return cls(known, zyx(cell), zyx([1 if w else 2 for w in whole]))

    @property
    def side(self) -> Zyx:
        """Voxels of a box."""
        return zyx([c * s for c, s in zip(self.cell, self.steps, strict=True)])

    @property
    def cells(self) -> Zyx:
        """Whole cells along every axis."""
        return zyx([n // c for n, c in zip(self.known.shape, self.cell, strict=True)])

    @property
    def counts(self) -> Zyx:
        """Boxes along every axis."""
        return zyx([n - s + 1 for n, s in zip(self.cells, self.steps, strict=True)])

    def start(self, at: tuple[int, ...]) -> Zyx:
        """First voxel of the box, or cell, number `at` along every axis."""
        return zyx([a + i * c for a, i, c in zip(self.known.start, at, self.cell, strict=True)])

    def box(self, at: tuple[int, ...]) -> Box:
        """The box number `at` along every axis."""
        start = self.start(at)
        return Box(start, zyx([a + n for a, n in zip(start, self.side, strict=True)]))

    def met(self, box: Box) -> Box:
        """Cells (in cells) that a box of voxels meets; empty if none."""
        part = box.clip(Box(self.known.start, self.start(self.cells)))
        if not part.size:
            return Box((0, 0, 0), (0, 0, 0))
        z, y, x = self.known.start
        return part.shift((-z, -y, -x)).coarser(self.cell)


def cell_sums(values: Array, box: Box, lattice: Lattice) -> Array:
    """Sum of whole numbers over every cell of a lattice that a block meets.

    Parameters
    ----------
    values : ndarray of shape box.shape, bool or integer
    box : Box
        Where the block lies.
    lattice : Lattice

    Returns
    -------
    ndarray of shape lattice.met(box).shape, int64
        Of the part of each cell that lies in the block: those of all blocks add up to that of the volume.
    """
    met = lattice.met(box)
    if not met.size:
        return np.zeros((0, 0, 0), np.int64)
    found = values[box.clip(Box(lattice.known.start, lattice.start(lattice.cells))).relative_to(box).slices]
    for axis in (a for a in (2, 1, 0) if lattice.cell[a] > 1):
        first = max(box.start[axis], lattice.known.start[axis])
        edges = lattice.known.start[axis] + np.arange(met.start[axis], met.stop[axis]) * lattice.cell[axis]
        found = np.add.reduceat(found, np.maximum(edges - first, 0), axis=axis, dtype=np.int64)
    return found.astype(np.int64, copy=False)


def over_boxes(cells: Array, lattice: Lattice, combine: np.ufunc = np.add) -> Array:
    """What the cells of every box of a lattice give together: their sum, or with `np.maximum` the largest.

    Parameters
    ----------
    cells : ndarray of shape lattice.cells

    Returns
    -------
    ndarray of shape lattice.counts
    """
    for axis, steps in enumerate(lattice.steps):
        if steps == 2:
            low = cells.take(range(cells.shape[axis] - 1), axis)
            cells = combine(low, cells.take(range(1, cells.shape[axis]), axis))
    return cells


def extents(mask: Array, box: Box, lattice: Lattice) -> dict[str, Array]:
    """The tight box of what is True in every cell that a block meets, for the cells where anything is.

    Parameters
    ----------
    mask : ndarray of shape box.shape, bool
    box : Box
    lattice : Lattice

    Returns
    -------
    dict
        'cell' (index in raster order of `lattice.cells`), 'low' and 'high' (rows of z, y, x in voxels,
        half-open), int64.
    """
    rows: list[tuple[int, list[int], list[int]]] = []
    met = lattice.met(box)
    for at in np.ndindex(*met.shape):
        cell = zyx([a + b for a, b in zip(at, met.start, strict=True)])
        start = lattice.start(cell)
        part = Box(start, zyx([a + n for a, n in zip(start, lattice.cell, strict=True)])).clip(box)
        seen = mask[part.relative_to(box).slices]
        if not seen.any():
            continue
        along = [np.flatnonzero(seen.any(tuple(a for a in range(3) if a != axis))) for axis in range(3)]
        low = [int(n[0]) + s for n, s in zip(along, part.start, strict=True)]
        high = [int(n[-1]) + 1 + s for n, s in zip(along, part.start, strict=True)]
        rows.append((int(np.ravel_multi_index(cell, lattice.cells)), low, high))
    return {
        "cell": np.array([row[0] for row in rows], np.int64),
        "low": np.array([row[1] for row in rows], np.int64).reshape(-1, 3),
        "high": np.array([row[2] for row in rows], np.int64).reshape(-1, 3),
    }


def merge_extents(parts: list[dict[str, Array]]) -> tuple[Array, Array]:
    """First and end corners, (n, 3) int64, of the boxes that `extents` found, parts of a cell united."""
    if not parts:
        return np.zeros((0, 3), np.int64), np.zeros((0, 3), np.int64)
    cell, low, high = (np.concatenate([part[key] for part in parts]) for key in ("cell", "low", "high"))
    cells, index = np.unique(cell, return_inverse=True)
    first = np.full((len(cells), 3), np.iinfo(np.int64).max)
    last = np.zeros((len(cells), 3), np.int64)
    np.minimum.at(first, index, low)
    np.maximum.at(last, index, high)
    return first, last
