"""Instance functions for the tests of stitching: they live in a module, so that a worker can import them."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

Array = np.ndarray[Any, Any]


def voronoi(shape: tuple[int, int, int], count: int, seed: int, voxel_nm: Any = (16, 8, 8)) -> Array:
    """Cells that fill a box and touch each other everywhere, labels 1..count, uint32."""
    rng = np.random.default_rng(seed)
    centres = rng.random((count, 3)) * np.array(shape) * voxel_nm
    points = np.stack(np.indices(shape).reshape(3, -1), -1) * np.array(voxel_nm)
    return (cKDTree(centres).query(points)[1] + 1).reshape(shape).astype(np.uint32)


def same(labels: Array, *, voxel_nm: Any) -> Array:
    """The truth, with ids of its own in every block."""
    ids = np.unique(labels[labels > 0])
    shuffled = np.random.default_rng(zlib.crc32(labels.tobytes())).permutation(len(ids)) + 1
    lookup = np.zeros(int(labels.max(initial=0)) + 1, np.int64)
    lookup[ids] = shuffled * 10**12
    return lookup[labels]


def wobbling(labels: Array, *, voxel_nm: Any, voxels: float) -> Array:
    """The truth with walls that every block draws anew, off by about `voxels`, and ids of its own."""
    rng = np.random.default_rng(zlib.crc32(labels.tobytes()))
    at = np.indices(labels.shape).astype(np.float32)
    for axis, side in enumerate(labels.shape):
        shift = ndimage.gaussian_filter(rng.standard_normal(labels.shape).astype(np.float32), 2.0)
        at[axis] += shift * np.float32(voxels / max(float(shift.std()), 1e-6))
        np.clip(at[axis], 0, side - 1, out=at[axis])
    z, y, x = np.rint(at).astype(int)
    return same(labels[z, y, x], voxel_nm=voxel_nm)


def components(labels: Array, *, voxel_nm: Any) -> Array:
    """Components of the foreground across faces."""
    return np.asarray(ndimage.label(labels > 0)[0], np.int64)


def negative(labels: Array, *, voxel_nm: Any) -> Array:
    return labels.astype(np.int64) - 1


def real(labels: Array, *, voxel_nm: Any) -> Array:
    return labels.astype(np.float32)


def flat(labels: Array, *, voxel_nm: Any) -> Array:
    return labels[0]
