"""Loops that turn the intensities of objects into gray levels, and paint them into a canvas."""

from __future__ import annotations

import numpy as np

from chunkflow_liver.kernels.compiled import compiled
from chunkflow_liver.xp import Array


@compiled
def levels_of(value: Array, begin: Array, low: Array, width: Array, last: float, level: Array) -> None:
    """Fill `level` (uint16) with what `levels.gray_levels` gives, object by object.

    Object k has the intensities `value[begin[k] : begin[k + 1]]` (float64) and bins of `width[k]` from
    `low[k]` on; bin `last` is the last one. `check_levels` refused what uint16 does not hold.
    """
    for k in range(len(low)):
        for i in range(begin[k], begin[k + 1]):
            bin_ = min(max(np.floor((value[i] - low[k]) / width[k]), 0.0), last)
            # Division may round across an edge; the edges themselves decide.
            if value[i] >= low[k] + (bin_ + 1) * width[k] and bin_ < last:
                bin_ += 1
            if value[i] < low[k] + bin_ * width[k]:
                bin_ -= 1
            level[i] = np.uint16(bin_ + 1)


@compiled
def room(voxel: Array, shape: Array) -> tuple[int, int]:
    """Places of the largest canvas, and voxels of the largest object: `whole.Packed` says of which."""
    places, voxels = 0, 0
    for k in range(len(shape)):
        places = max(places, (shape[k, 0] + 2) * (shape[k, 1] + 2) * (shape[k, 2] + 2))
        voxels = max(voxels, voxel[k + 1] - voxel[k])
    return places, voxels


@compiled
def painted(mask: Array, level: Array, shape: Array, canvas: Array, at: Array) -> int:
    """Paint an object into a canvas of zeros with a margin of one voxel; how many voxels it has.

    `mask` (flat, bool) has the three sides `shape`; the voxels in it get `level` in raster order, and
    `at` their places in the canvas.
    """
    depth, height, width = shape
    n, source = 0, 0
    for z in range(depth):
        for y in range(height):
            target = ((z + 1) * (height + 2) + y + 1) * (width + 2) + 1
            for x in range(width):
                if mask[source + x]:
                    canvas[target + x] = level[n]
                    at[n] = target + x
                    n += 1
            source += width
    return n
