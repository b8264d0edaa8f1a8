"""Tubes along straight lines between nodes: a network of which every length, radius and angle is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chunkflow_liver.geometry import Box, Nm, Zyx
from chunkflow_liver.xp import Array


@dataclass(frozen=True)
class Tubes:
    """Nodes and the tubes between them.

    Attributes
    ----------
    nodes_nm : ndarray of shape (n, 3), float64
        Places (z, y, x), in nm.
    ends : ndarray of shape (m, 2), int64
        Nodes at the ends of each tube.
    radius_nm : ndarray of shape (m,), float64
    """

    nodes_nm: Array
    ends: Array
    radius_nm: Array

    @property
    def length_nm(self) -> Array:
        """Of each tube, from node to node."""
        return np.asarray(
            np.linalg.norm(self.nodes_nm[self.ends[:, 1]] - self.nodes_nm[self.ends[:, 0]], axis=1)
        )

    @property
    def degree(self) -> Array:
        """Tubes at each node."""
        return np.bincount(self.ends.reshape(-1), minlength=len(self.nodes_nm))


def lattice(
    shape: Zyx, voxel_nm: Nm, *, spacing_nm: float, radii_nm: tuple[float, float], seed: int
) -> Tubes:
    """A random network in a volume: nodes of a shaken lattice, and some of the tubes between neighbours.

    Parameters
    ----------
    shape : Zyx
        Voxels of the volume.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.
    spacing_nm : float
        Between neighbours of the lattice, in nm.
    radii_nm : tuple of float
        Smallest and largest radius, in nm.
    seed : int

    Returns
    -------
    Tubes
        Two of three neighbours are joined, at random; no tube ends where just one other goes on, so that all
        nodes can be told, and none comes nearer to the end of the volume than its radius and two voxels.
    """
    rng = np.random.default_rng(seed)
    size = np.array(shape) * voxel_nm
    counts = np.maximum(1, np.floor(size / spacing_nm)).astype(int)
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in counts], indexing="ij"), -1).reshape(-1, 3)
    margin = radii_nm[1] + 2 * max(voxel_nm)
    nodes = (grid + 0.5) * (size / counts) + rng.uniform(-0.15, 0.15, grid.shape) * spacing_nm
    nodes = np.clip(nodes, margin, size - margin)
    number = np.arange(len(grid)).reshape(counts)
    pairs = [
        np.stack([np.delete(number, -1, a).ravel(), np.delete(number, 0, a).ravel()], 1) for a in range(3)
    ]
    ends = np.concatenate(pairs)
    ends = ends[rng.random(len(ends)) < 2 / 3]
    while len(two := np.flatnonzero(np.bincount(ends.ravel(), minlength=len(grid)) == 2)):
        # Without one of its two tubes such a node is an end.
        ends = np.delete(ends, int(np.flatnonzero((ends == two[0]).any(1))[0]), 0)
    used = np.unique(ends)
    ends = np.searchsorted(used, ends)
    return Tubes(nodes[used], ends, rng.uniform(*radii_nm, len(ends)))


def paint_tubes(tubes: Tubes, box: Box, voxel_nm: Nm) -> Array:
    """The voxels of a box whose centres lie in a tube or in the ball at its end; bool (Z, Y, X)."""
    found = np.zeros(box.shape, bool)
    for (a, b), radius in zip(tubes.nodes_nm[tubes.ends], tubes.radius_nm, strict=True):
        low = np.floor((np.minimum(a, b) - radius) / voxel_nm).astype(int)
        high = np.ceil((np.maximum(a, b) + radius) / voxel_nm).astype(int) + 1
        low, high = np.maximum(low, box.start), np.minimum(high, box.stop)
        if (low >= high).any():
            continue
        z, y, x = (
            ((np.arange(i, j) + 0.5) * s).astype(np.float64)
            for i, j, s in zip(low, high, voxel_nm, strict=True)
        )
        p = (z[:, None, None] - a[0], y[None, :, None] - a[1], x[None, None, :] - a[2])
        way = b - a
        along = np.clip(sum(q * w for q, w in zip(p, way, strict=True)) / (way @ way), 0, 1)
        square = sum((q - along * w) ** 2 for q, w in zip(p, way, strict=True))
        part = tuple(slice(i - o, j - o) for i, j, o in zip(low, high, box.start, strict=True))
        found[part] |= square <= radius**2
    return found
