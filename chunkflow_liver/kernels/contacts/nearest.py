"""The nearest partner of an object however far it is: boxes of parts first, then the voxels of few parts."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkflow_liver.geometry import Nm, Zyx, zyx
from chunkflow_liver.kernels.distance.squares import Unit
from chunkflow_liver.kernels.labels.extents import block_extents
from chunkflow_liver.xp import Array

Parts = dict[str, Array]
"""`label` (uint64) and `low`, `high` (int64 of shape (n, 3), half-open): boxes of what lies in one cell."""

LEAST_SIDE = 16
"""Voxels along the side of a cell of cubic voxels, at least."""
MOST_CELLS = 1 << 20

Points = Callable[[int], Array]
"""Voxels (m, 3) of the part of a row."""


def cell_side(shape: Zyx, voxel_nm: Nm) -> Zyx:
    """Voxels along the sides of a cell, about a cube in nm: the same for every block of a volume."""
    voxels = max(LEAST_SIDE**3, -(-int(np.prod(shape, dtype=object)) // MOST_CELLS))
    side = float(voxels * np.prod(voxel_nm)) ** (1 / 3)
    return zyx([max(1, round(side / size)) for size in voxel_nm])


def cell_parts(labels: Array, start: Zyx, cell: Zyx) -> Parts:
    """The boxes of every label in every cell of a block.

    Parameters
    ----------
    labels : ndarray of shape (Z, Y, X), integer
        0 is background.
    start : Zyx
        First voxel of the block in the volume.
    cell : Zyx
        Voxels along the sides of a cell; cells count from the volume's first voxel.
    """
    found = [no_parts()]
    cuts = [_cuts(first, n, side) for first, n, side in zip(start, labels.shape, cell, strict=True)]
    for z0, z1 in cuts[0]:
        for y0, y1 in cuts[1]:
            row = labels[z0:z1, y0:y1]
            if not row.any():
                continue
            for x0, x1 in cuts[2]:
                part = row[:, :, x0:x1]
                if part.any():
                    origin = zyx([a + b for a, b in zip(start, (z0, y0, x0), strict=True)])
                    found.append(block_extents(np.ascontiguousarray(part), origin))
    return {name: np.concatenate([p[name] for p in found]) for name in found[0]}


def on_surface(labels: Array, hidden: Array | None = None) -> Array:
    """Voxels with a face neighbour of another label, bool; the array's end and `hidden` are no surface."""
    found = np.zeros(labels.shape, bool)
    for axis in range(3):
        first, second = (np.moveaxis(labels, axis, 0)[part] for part in (slice(1, None), slice(-1)))
        differ, seen = first != second, np.moveaxis(found, axis, 0)
        if hidden is not None:
            unknown = np.moveaxis(hidden, axis, 0)
            differ &= ~(unknown[1:] | unknown[:-1])
        seen[1:] |= differ
        seen[:-1] |= differ
    return found


def no_parts() -> Parts:
    """No parts."""
    corner = np.zeros((0, 3), np.int64)
    return {"label": np.zeros(0, np.uint64), "low": corner, "high": corner}


def _cuts(first: int, n: int, side: int) -> list[tuple[int, int]]:
    """Where cells begin and end along an axis of a block, from its first voxel."""
    ends = [0, *range(side - first % side, n, side), n]
    return [(a, b) for a, b in itertools.pairwise(ends) if b > a]


@dataclass(frozen=True)
class Found:
    """The nearest partner: its label, of equally near ones the smallest, and the squared gap in units."""

    label: int
    square: int


class Partners:
    """Parts of possible partners, to be searched for the nearest one of an object.

    Parameters
    ----------
    parts : Parts
        Of all partners.
    unit : Unit
        Of squared gaps.
    """

    def __init__(self, parts: Parts, unit: Unit) -> None:
        from scipy.spatial import cKDTree

        self.parts, self.unit = parts, unit
        self.size = np.array(unit.voxel, np.float64)
        self.tree = cKDTree(self._centres(parts)) if len(parts["label"]) else None
        self.half = self._half(parts)

    def nearest(self, own: Parts, label: int | None, points: Points, others: Points) -> Found | None:
        """The nearest partner of an object with the parts `own`.

        Parameters
        ----------
        own : Parts
            Of one object.
        label : int, optional
            Of the object, where it is itself among the partners.
        points, others : callable
            Surface voxels of a row of `own`, and all voxels of a row of the partners' parts.

        Notes
        -----
        The gap is that of `near_surface`: between the boxes of voxels, which is the distance of centres to
        what is reached from the partner by one step to any of 26 neighbours. Boxes of parts bound it from
        below; parts are looked at from the least bound on, until the next bound is above what was found.
        """
        pairs = self._candidates(own, label)
        if pairs is None:
            return None
        mine, theirs, bound = pairs
        order = np.lexsort([self.parts["label"][theirs], bound])
        best: tuple[int, int] | None = None
        for i in order.tolist():
            partner = int(self.parts["label"][theirs[i]])
            if best is not None and (int(bound[i]), partner) >= best:
                if int(bound[i]) > best[0]:
                    break
                continue
            square = self._square(points(int(mine[i])), others(int(theirs[i])))
            if square is not None and (best is None or (square, partner) < best):
                best = (square, partner)
        return None if best is None else Found(best[1], best[0])

    def _centres(self, parts: Parts) -> Array:
        return np.asarray((parts["low"] + parts["high"] - 1) * 0.5 * self.size)

    def _half(self, parts: Parts) -> float:
        """Half the longest diagonal between the centres of voxels of a part."""
        sides = (parts["high"] - parts["low"] - 1) * self.size
        return float(np.sqrt((sides**2).sum(1)).max(initial=0)) / 2

    def _candidates(self, own: Parts, label: int | None) -> tuple[Array, Array, Array] | None:
        """Pairs of rows that may hold the nearest voxels, and the least squared gap of each."""
        if self.tree is None:
            return None
        centres, labels = self._centres(own), self.parts["label"]
        least, k = np.inf, 1
        while True:
            gap, row = self.tree.query(centres, k=min(k, self.tree.n))
            gap = np.asarray(gap).reshape(len(centres), -1)
            row = np.asarray(row).reshape(len(centres), -1)
            alien = np.ones(row.shape, bool) if label is None else labels[row] != label
            if alien.any():
                least = float(gap[alien].min())
                break
            if k >= self.tree.n:
                return None
            k *= 4
        # Gaps between boxes are less than distances of centres by a diagonal of a voxel at most.
        reach = least + 2 * (self.half + self._half(own)) + float(np.sqrt((self.size**2).sum()))
        hits: Any = self.tree.query_ball_point(centres, reach)
        mine = np.repeat(np.arange(len(centres)), [len(h) for h in hits])
        theirs = np.concatenate([np.asarray(h, np.int64) for h in hits])
        if label is not None:
            kept = labels[theirs] != label
            mine, theirs = mine[kept], theirs[kept]
        apart = np.maximum(
            self.parts["low"][theirs] - own["high"][mine], own["low"][mine] - self.parts["high"][theirs]
        )
        bound = ((np.maximum(apart, 0) * np.array(self.unit.voxel)) ** 2).sum(1)
        return mine, theirs, bound

    def _square(self, own: Array, other: Array) -> int | None:
        """Least squared gap between two sets of voxels."""
        from scipy.spatial import cKDTree

        if not len(own) or not len(other):
            return None
        low, high = other.min(0) - 1, other.max(0) + 2
        wide = np.zeros(high - low, bool)
        for step in np.ndindex(3, 3, 3):
            wide[tuple((other - low - 1 + step).T)] = True
        points = np.argwhere(wide) + low
        # Whole numbers below 2**53: the nearest by floats is the nearest.
        size = np.array(self.unit.voxel)
        far, row = cKDTree(points * self.size).query(own * self.size)
        at = int(np.argmin(far))
        return int((((own[at] - points[np.asarray(row)[at]]) * size) ** 2).sum())
