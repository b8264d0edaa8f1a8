"""Solids of known shape in voxels: tubes of any radius along any line, ellipsoids, turned at random."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial import cKDTree

Array = np.ndarray[Any, Any]


def turned(seed: int) -> Array:
    """Three unit vectors at right angles, (3, 3)."""
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.sign(np.diag(r))


def tube(line: Array, radius: Array | float, voxel_nm: Any, pad_nm: float = 60.0) -> tuple[Array, Array]:
    """Voxels whose centres are nearer to a line (n, 3) than the radius at its nearest point, and the line
    in their array."""
    radius = np.broadcast_to(radius, len(line))
    line = line - ((line - radius[:, None]).min(0) - pad_nm)
    size = np.array(voxel_nm)
    shape = np.ceil(((line + radius[:, None]).max(0) + pad_nm) / size).astype(int)
    points = (np.indices(tuple(shape)).reshape(3, -1).T + 0.5) * size
    distance, nearest = cKDTree(line).query(points, distance_upper_bound=float(radius.max()) + 1)
    inside = distance <= np.append(radius, -1.0)[nearest]
    return inside.reshape(shape), line


def ellipsoid(half_nm: Any, voxel_nm: Any, axes: Array, pad_nm: float = 60.0) -> Array:
    """Voxels whose centres lie in an ellipsoid with half axes `half_nm` along the rows of `axes`."""
    reach = max(half_nm) + pad_nm
    sides = [(np.arange(int(2 * reach / v)) + 0.5) * v - reach for v in voxel_nm]
    points = np.stack(np.meshgrid(*sides, indexing="ij"), -1)
    return (((points @ axes.T) / np.array(half_nm)) ** 2).sum(-1) <= 1


def straight(length_nm: float, axes: Array) -> tuple[Array, Array]:
    """Distances from the middle, and points, of a straight line along the first axis."""
    along = np.linspace(-length_nm / 2, length_nm / 2, int(length_nm / 4) + 1)
    return along, along[:, None] * axes[0]


def arc(length_nm: float, bend_nm: float, axes: Array) -> tuple[Array, Array]:
    """The same of an arc with radius of curvature `bend_nm` in the plane of the first two axes."""
    along = np.linspace(-length_nm / 2, length_nm / 2, int(length_nm / 4) + 1)
    angle = along / bend_nm
    return along, bend_nm * (np.cos(angle)[:, None] * axes[0] + np.sin(angle)[:, None] * axes[1])


def star(length_nm: float, axes: Array) -> Array:
    """Points of three arms from one centre, 120 degrees apart."""
    away = np.linspace(0, length_nm, int(length_nm / 4) + 1)[:, None]
    ways = [np.cos(a) * axes[0] + np.sin(a) * axes[1] for a in np.arange(3) * 2 * np.pi / 3]
    return np.concatenate([away * way for way in ways])
