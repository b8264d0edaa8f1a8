"""Runs of equal values along x, read voxel by voxel.

Runs are numbered in raster order; `rows[z * ny + y]` is the first run of a row. Runs and their ends are
uint32: a run is at least one voxel, and no block has more than 2**32 - 1 voxels, so none of them wraps.
"""

from __future__ import annotations

import numpy as np

from chunkflow_liver.kernels.compiled import compiled
from chunkflow_liver.xp import Array


@compiled
def count_runs(image: Array) -> int:
    """Runs of equal values other than 0 in `image` (Z, Y, X); a run ends with its row."""
    depth, height, width = image.shape
    count = 0
    for z in range(depth):
        for y in range(height):
            row = image[z, y]
            inside = 0
            for x in range(1, width):
                inside += (row[x] != 0) & (row[x] != row[x - 1])
            count += inside + (row[0] != 0)
    return count


@compiled
def fill_runs(image: Array, rows: Array, start: Array, stop: Array) -> bool:
    """Fill `rows`, `start` and `stop` with the runs that `count_runs` counted; whether values differ."""
    depth, height, width = image.shape
    ends = np.zeros(-(-width // 8) * 8, np.uint8)
    words = ends.view(np.uint64)
    at = np.empty(len(ends) + 1, np.uint32)
    run = 0
    several = False
    value = image[0, 0, 0]
    for z in range(depth):
        for y in range(height):
            row = image[z, y]
            rows[z * height + y] = run
            for x in range(width - 1):
                ends[x] = row[x] != row[x + 1]
            ends[width - 1] = 1
            # Eight voxels at once where nothing ends, and no branch where something does.
            found = 0
            for word in range(len(words)):
                if words[word] != 0:
                    for x in range(8 * word, 8 * word + 8):
                        at[found] = x + 1
                        found += ends[x]
            first = np.uint32(0)
            for i in range(found):
                if row[first] != 0:
                    if run == 0:
                        value = row[first]
                    several |= row[first] != value
                    start[run] = first
                    stop[run] = at[i]
                    run += 1
                first = at[i]
    rows[depth * height] = run
    return several
