"""Cheapest paths along the middle of an object, voxel by voxel, from one end of it."""

from __future__ import annotations

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
    index : ndarray of shape (n, 3), int64
        Where each voxel lies in `rows`.
    rows : ndarray of shape (Z, Y, X), int64
        Row of each voxel in the other arrays, -1 outside.
    costs : skimage.graph.MCP_Geometric
        Costs from the root, which knows the way back.
    """

    points: Array
    far: Array
    size: Array
    index: Array
    rows: Array
    costs: Any

    def to(self, target: int) -> Array:
        """Rows of the voxels from the root to row `target`."""
        way = np.array(self.costs.traceback(tuple(self.index[target])))
        return self.rows[tuple(way.T)]


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
    middle. Three runs of Dijkstra's method over at most `MOST_NODES` voxels, more only if coarser voxels
    would tear the object.
    """
    from skimage.graph import MCP_Geometric

    coarse, size = _coarsened(signed, voxel_nm)
    inside = coarse > 0
    rows = np.full(coarse.shape, -1, np.int64)
    rows[inside] = np.arange(int(inside.sum()))
    index = np.argwhere(inside)
    even = np.where(inside, 1.0, -1.0)

    def lengths(start: int) -> Array:
        return MCP_Geometric(even, sampling=tuple(size)).find_costs([index[start]])[0][inside]

    root = int(lengths(int(coarse[inside].argmax())).argmax())
    far = lengths(root)
    # Relative to the largest radius of all, so that a path keeps to the middle of a neck, too.
    cost = np.where(inside, (coarse.max() / np.maximum(coarse, 1e-6)) ** 2, -1.0)
    costs = MCP_Geometric(cost, sampling=tuple(size))
    costs.find_costs([index[root]])
    return Paths((index + 0.5) * size, far, size, index, rows, costs)


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
    from scipy.spatial import cKDTree

    found = np.zeros(len(points), bool)
    distance, nearest = cKDTree(line).query(points[wanted])
    found[wanted] = distance <= np.broadcast_to(reach, len(line))[nearest]
    return found
