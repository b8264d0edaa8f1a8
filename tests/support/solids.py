"""Solids of known shape in voxels: tubes of any radius along any line, ellipsoids, turned at random."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

Array = np.ndarray[Any, Any]
CUBES = (16.0, 16.0, 16.0)


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


def flat_ended(half_nm: Any, voxel_nm: Any, axes: Array, *, round_: bool, pad_nm: float = 60.0) -> Array:
    """Voxels whose centres lie in a box with half sides `half_nm` along the rows of `axes`, or in the
    cylinder with half length and radii `half_nm`."""
    reach = np.abs(axes.T * np.array(half_nm)).sum(1) + pad_nm
    sides = [(np.arange(int(2 * r / v)) + 0.5) * v - r for r, v in zip(reach, voxel_nm, strict=True)]
    points = np.abs(np.stack(np.meshgrid(*sides, indexing="ij"), -1) @ axes.T) / np.array(half_nm)
    across = np.hypot(points[..., 1], points[..., 2]) if round_ else points[..., 1:].max(-1)
    return (points[..., 0] <= 1) & (across <= 1)


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


def dumbbell(neck_nm: float, seed: int, voxel_nm: Any = CUBES) -> tuple[Array, Array]:
    """Two bodies of 340 nm with a neck between them, and the place of the neck."""
    along, line = straight(900.0, turned(seed))
    mask, line = tube(line, 170 - (170 - neck_nm / 2) / (1 + (along / 120) ** 2) ** 2, voxel_nm)
    return mask, line[len(line) // 2]


def scene(seed: int = 0) -> tuple[Array, Array, Array, list[Array]]:
    """Two dumbbells and a rod one behind the other along x, a ring of ER round the first neck, two cells."""
    parts = [
        dumbbell(110, seed)[0],
        dumbbell(130, seed + 1)[0],
        tube(straight(900.0, turned(seed))[1], 140.0, CUBES)[0],
    ]
    middles = [dumbbell(110, seed)[1], dumbbell(130, seed + 1)[1]]
    shape = (
        max(p.shape[0] for p in parts),
        max(p.shape[1] for p in parts),
        sum(p.shape[2] for p in parts) + 4,
    )
    labels, at, places = np.zeros(shape, np.uint32), 0, []
    for i, part in enumerate(parts):
        labels[: part.shape[0], : part.shape[1], at : at + part.shape[2]][part] = (3, 7, 12)[i]
        if i < 2:
            places.append(middles[i] + np.array([0, 0, at * 16.0]))
        at += part.shape[2]
    points = (np.indices(shape).reshape(3, -1).T + 0.5) * 16.0
    ring = np.linalg.norm(points - places[0], axis=1).reshape(shape) < 150
    er = (ring & (labels == 0)).astype(np.uint8)
    cells = np.ones(shape, np.uint16)
    cells[:, :, parts[0].shape[2] :] = 5
    return labels, er, cells, places


NM = (16.0, 8.0, 8.0)


def balls(shape, centres, radius_nm, voxel_nm=NM):
    """Balls of one radius around centres (voxels), as a mask."""
    at = np.stack(np.indices(shape), -1) * np.array(voxel_nm)
    near = [((at - np.array(c) * voxel_nm) ** 2).sum(-1) <= radius_nm**2 for c in centres]
    return np.any(near, axis=0)


def chain(seed, shape=(10, 26, 26)):
    """A few touching balls, some in chains."""
    rng = np.random.default_rng(seed)
    return balls(shape, rng.random((6, 3)) * shape, 40.0)


def grey(shape: tuple[int, ...], seed: int, dtype: Any = np.uint8) -> Array:
    """Smooth noise, as EM has it, over the range of a byte."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.0)
    return ((noise - noise.min()) / max(np.ptp(noise), 1e-9) * 255).astype(dtype)
