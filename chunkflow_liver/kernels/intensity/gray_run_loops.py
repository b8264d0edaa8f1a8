"""The loops that follow runs of equal gray level through whole objects."""

from __future__ import annotations

import numpy as np

from chunkflow_liver.kernels.compiled import compiled
from chunkflow_liver.kernels.intensity.emphasis_loops import emphases_of
from chunkflow_liver.kernels.intensity.level_loops import painted, room
from chunkflow_liver.xp import Array


@compiled
def lines_met(mask: Array, box: Array, shape: Array, offsets: Array, met: Array) -> None:
    """Mark in `met` (objects, directions) where an object has two voxels side by side on a line.

    `mask` holds the boxes of all objects, flat, one after the other, from `box` on.
    """
    for k in range(len(shape)):
        depth, height, width = shape[k]
        for d in range(len(offsets)):
            dz, dy, dx = offsets[d]
            step = (dz * height + dy) * width + dx
            first, last = max(0, -dx), width - max(0, dx)
            for row in range((depth - dz) * height):
                y = row % height
                if 0 <= y + dy < height:
                    start = box[k] + row * width
                    for at in range(start + first, start + last):
                        if mask[at] and mask[at + step]:
                            met[k, d] = True
                            break
                if met[k, d]:
                    break


@compiled
def run_sums(
    mask: Array,
    level: Array,
    box: Array,
    voxel: Array,
    shape: Array,
    offsets: Array,
    met: Array,
    weights: Array,
    found: Array,
) -> None:
    """Fill `found` (objects, matrices, kinds) with the sums over the runs of every object.

    The objects are those of `whole.Packed`; directions that are not `met` do not count. With as many
    matrices as directions each has one of its own; with one, directions are added with their `weights`.
    Lengths are at most the longest side of a box, and fit int32; counts are exact as float64.
    """
    places, voxels = room(voxel, shape)
    canvas, length = np.zeros(places, np.uint16), np.zeros(places, np.int32)
    at = np.empty(voxels, np.int64)
    for k in range(len(shape)):
        own = level[voxel[k] : voxel[k + 1]]
        n = painted(mask[box[k] :], own, shape[k], canvas, at)
        # A level has no run that is longer than the box or than it has voxels.
        highest, longest = 0, max(shape[k, 0], shape[k, 1], shape[k, 2])
        for i in range(n):
            highest = max(highest, own[i])
        begin = np.zeros(highest + 2, np.int64)
        for i in range(n):
            begin[own[i] + 1] += 1
        for i in range(1, len(begin)):
            # One more, which stays 0.
            begin[i] = begin[i - 1] + min(begin[i], longest) + 1
        reached = np.zeros(begin[-1], np.int64)
        counted = np.zeros(len(reached))
        level_at, size_at = np.empty(len(reached), np.int64), np.empty(len(reached), np.int64)
        n_at = np.empty(len(reached))
        by_level, by_size = np.zeros(len(begin)), np.zeros(longest + 1)
        for d in range(len(offsets)):
            if met[k, d]:
                step = (offsets[d, 0] * (shape[k, 1] + 2) + offsets[d, 1]) * (shape[k, 2] + 2) + offsets[d, 2]
                for i in range(n):
                    # Unsigned numbers need not be checked for places counted from the end.
                    here, before = np.uint64(at[i]), np.uint64(at[i] - step)
                    along = length[before] * (canvas[before] == canvas[here])
                    length[here] = along + 1
                    # A run passes here once for every length that it reaches.
                    reached[np.uint64(begin[canvas[here]] + along)] += 1
                for number in range(1, len(begin) - 1):
                    for i in range(begin[number], begin[number + 1] - 1):
                        counted[i] += weights[d] * (reached[i] - reached[i + 1])
                        reached[i] = 0
            if len(found[k]) == len(offsets) or d == len(offsets) - 1:
                entries = 0
                for number in range(1, len(begin) - 1):
                    for i in range(begin[number], begin[number + 1] - 1):
                        if counted[i]:
                            level_at[entries], size_at[entries] = number, i - begin[number] + 1
                            n_at[entries], counted[i] = counted[i], 0.0
                            entries += 1
                if entries:
                    part = slice(0, entries)
                    row = found[k, min(d, len(found[k]) - 1)]
                    emphases_of(level_at[part], size_at[part], n_at[part], by_level, by_size, row)
        for i in range(n):
            canvas[at[i]] = 0
