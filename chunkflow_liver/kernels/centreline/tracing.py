"""Cheapest paths along the middle of an object, voxel by voxel, from one end of it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkflow_liver.geometry import Nm
from chunkflow_liver.xp import Array

MOST_NODES = 60_000
"""Objects of more voxels are traced on coarser ones."""


@dataclass(frozen=True)
class Paths:
    """Cheapest paths from one end of an object, the root, to its voxels.

    Attributes
    ----------
    points : ndarray of shape (n, 3), float64
        Centres of the voxels of the object, in nm; the voxels are coarser where the object is large.
    far : ndarray of shape (n,), float64
        Length of the shortest way from the root inside the object, in nm.
    size : ndarray of shape (3,), float64
        Sides of these voxels, in nm.
    before : ndarray of shape (n,), int32
        The voxel before each one on the cheapest path from the root, -1 at the root.
    """

    points: Array
    far: Array
    size: Array
    before: Array

    def to(self, target: int) -> Array:
        """Rows of the voxels from the root to row `target`."""
        from chunkflow_liver.kernels.centreline.path_loops import way_back

        way = np.empty(len(self.before), np.int64)
        return way[: way_back(self.before, target, way)][::-1]


def largest_part(mask: Array) -> Array:
    """The part (26 neighbours) of a mask with most voxels, the first of equal ones; bool (Z, Y, X)."""
    import cc3d

    labels, n = cc3d.connected_components(mask, connectivity=26, return_N=True)
    if n < 2:
        return mask
    return labels == np.bincount(labels.ravel())[1:].argmax() + 1


def trace(signed: Array, voxel_nm: Nm) -> Paths:
    """Cheapest paths through the middle of an object from the end of it that is farthest from its core.

    Parameters
    ----------
    signed : ndarray of shape (Z, Y, X), float32
        Distance to the surface in nm, positive inside one connected object.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.

    Notes
    -----
    The cost of a voxel falls with the square of its distance to the surface, so that paths keep to the
    middle. Three searches over at most `MOST_NODES` voxels, more only if coarser voxels would tear the
    object.
    """
    from chunkflow_liver.kernels.centreline.path_loops import cheapest

    coarse, size = _coarsened(signed, voxel_nm)
    inside = coarse > 0
    # A margin of one voxel, so that every voxel has all neighbours.
    row = np.full([n + 2 for n in inside.shape], -1, np.int32)
    index = np.argwhere(inside)
    row[1:-1, 1:-1, 1:-1][inside] = np.arange(len(index))
    place = np.flatnonzero(row.reshape(-1) >= 0)
    way = np.array([step for step in itertools.product((-1, 0, 1), repeat=3) if any(step)])
    lengths = np.sqrt(((way * size) ** 2).sum(axis=1))
    voxels = (place, row.reshape(-1), way @ (row[0].size, row.shape[2], 1), lengths)

    def costs(start: int, cost: Array | None = None, before: Array | None = None) -> Array:
        total = np.empty(len(index))
        cheapest(cost, *voxels, start, before, total)
        return total

    depth = coarse[inside]
    root = int(costs(int(depth.argmax())).argmax())
    far = costs(root)
    before = np.empty(len(index), np.int32)
    # Relative to the largest radius of all, so that a path keeps to the middle of a neck, too.
    costs(root, ((coarse.max() / np.maximum(depth, 1e-6)) ** 2).astype(np.float64), before)
    return Paths(np.ascontiguousarray((index + 0.5) * size), far, size, before)


def _coarsened(signed: Array, voxel_nm: Nm) -> tuple[Array, Array]:
    """Distances to the surface on voxels as coarse as a large object allows, <= 0 outside; their size."""
    import cc3d

    factors = [np.ones(3, np.int64)]
    left = int((signed > 0).sum())
    while left > MOST_NODES:
        finest = int((factors[-1] * voxel_nm).argmin())
        factors.append(factors[-1] * np.where(np.arange(3) == finest, 2, 1))
        left //= 2
    for factor in reversed(factors):
        pad = [(0, int(-n % f)) for n, f in zip(signed.shape, factor, strict=True)]
        wide = np.pad(signed, pad, constant_values=-1.0)
        shape = [m for n, f in zip(wide.shape, factor, strict=True) for m in (n // f, f)]
        cells = wide.reshape(shape)
        filled = (cells > 0).mean((1, 3, 5)) >= 0.5
        # Coarser voxels must not tear a neck.
        if factor.max() == 1 or cc3d.connected_components(filled, connectivity=26, return_N=True)[1] == 1:
            break
    return np.where(filled, cells.max((1, 3, 5)), -1.0), factor * np.array(voxel_nm)


def near(line: Array, points: Array, reach: Any, wanted: Array) -> Array:
    """Which of the wanted points are nearer than `reach` to the nearest point of a line, bool."""
    from chunkflow_liver.kernels.centreline.path_loops import near_line

    reaches = np.full(len(line), reach, np.float64)
    found = np.zeros(len(points), bool)
    near_line(np.ascontiguousarray(line), reaches, np.ascontiguousarray(points), wanted, found)
    return found
