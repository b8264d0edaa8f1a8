"""Loops that look up a field of voxels between its voxels, at points and along rays."""

from __future__ import annotations

import numpy as np

from chunkflow_liver.kernels.compiled import compiled
from chunkflow_liver.xp import Array


@compiled
def between(field: Array, z: float, y: float, x: float) -> float:
    """Value of `field` (float32) at a place in voxels, linear, that of its edge beyond it; as float32."""
    depth, height, width = field.shape
    z, y, x = min(max(z, 0.0), depth - 1.0), min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    # The last voxel has no next one, which then has no weight.
    k, j, i = int(z), int(y), int(x)
    k1, j1, i1 = (
        np.uint64(min(k + 1, depth - 1)),
        np.uint64(min(j + 1, height - 1)),
        np.uint64(min(i + 1, width - 1)),
    )
    # Unsigned numbers need not be checked for places counted from the end.
    k0, j0, i0 = np.uint64(k), np.uint64(j), np.uint64(i)
    a0, b0, c0 = 1.0 - (z - k), 1.0 - (y - j), 1.0 - (x - i)
    a1, b1, c1 = 1.0 - a0, 1.0 - b0, 1.0 - c0
    value = field[k0, j0, i0] * a0 * b0 * c0
    value += field[k0, j0, i1] * a0 * b0 * c1
    value += field[k0, j1, i0] * a0 * b1 * c0
    value += field[k0, j1, i1] * a0 * b1 * c1
    value += field[k1, j0, i0] * a1 * b0 * c0
    value += field[k1, j0, i1] * a1 * b0 * c1
    value += field[k1, j1, i0] * a1 * b1 * c0
    value += field[k1, j1, i1] * a1 * b1 * c1
    return np.float64(np.float32(value))


@compiled
def at_places(field: Array, size: Array, points: Array, value: Array) -> None:
    """Fill `value` (float32) with what `field` is at points (n, 3); voxels of `size` (3,) begin at 0."""
    for n in range(len(points)):
        value[n] = between(
            field, points[n, 0] / size[0] - 0.5, points[n, 1] / size[1] - 0.5, points[n, 2] / size[2] - 0.5
        )


@compiled
def exits(
    field: Array, size: Array, points: Array, way: Array, step: float, reach: Array, radius: Array
) -> None:
    """Fill `radius` (n, rays) with how far it is along each ray to where the field is no longer positive.

    Rays go from points (n, 3), where the field is positive, along unit vectors `way` (n, rays, 3) in
    steps, and end at `reach` (n,).
    """
    for n in range(len(points)):
        z, y, x = points[n, 0], points[n, 1], points[n, 2]
        first = between(field, z / size[0] - 0.5, y / size[1] - 0.5, x / size[2] - 0.5)
        for r in range(way.shape[1]):
            here, at = first, 0
            radius[n, r] = reach[n]
            while at * step < reach[n]:
                at += 1
                far = at * step
                next_ = between(
                    field,
                    (z + way[n, r, 0] * far) / size[0] - 0.5,
                    (y + way[n, r, 1] * far) / size[1] - 0.5,
                    (x + way[n, r, 2] * far) / size[2] - 0.5,
                )
                if next_ <= 0:
                    share = here / max(here - next_, 1e-12)
                    radius[n, r] = min((at - 1 + min(max(share, 0.0), 1.0)) * step, reach[n])
                    break
                here = next_
