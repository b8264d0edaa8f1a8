"""Loops that count which gray levels the neighbours of voxels have, object by object.

Runs are rows (z, y, first, last + 1) of voxels in a block, the objects' one after the other, and `level` the
gray levels of their voxels in that order. An object is painted into a canvas of zeros around its own box, so
what is not 0 is of the object. Levels are at most 4,095: two of them fit int32 as one number, and keys are
those of `levels.packed`: a direction, at most 364, and twice 12 bits.
"""

from __future__ import annotations

import numpy as np

from chunkflow_liver.kernels.compiled import compiled
from chunkflow_liver.kernels.intensity.levels import BITS
from chunkflow_liver.xp import Array

LANES = 16
"""Voxels that are looked at together."""


@compiled
def gathered(image: Array, runs: Array, value: Array) -> None:
    """Fill `value` (float64) with what `image` (Z, Y, X) holds along the runs."""
    n = 0
    for r in range(len(runs)):
        z, y, first, last = runs[r]
        for x in range(first, last):
            value[n] = image[z, y, x]
            n += 1


@compiled
def placed(
    runs: Array, level: Array, low: Array, sides: Array, trim: Array, canvas: Array, own: Array
) -> int:
    """Paint an object whose canvas begins at `low` and has three `sides`; how many voxels it has.

    Row r of `own` becomes the place in the canvas, and the number, of those voxels of a run that lie
    inside `trim` (first and last + 1 along each axis).
    """
    n = 0
    for r in range(len(runs)):
        z, y, first, last = runs[r]
        row = ((z - low[0]) * sides[1] + y - low[1]) * sides[2] - low[2]
        for x in range(first, last):
            canvas[row + x] = level[n]
            n += 1
        begin, end = max(first, trim[2, 0]), min(last, trim[2, 1])
        inside = trim[0, 0] <= z < trim[0, 1] and trim[1, 0] <= y < trim[1, 1]
        own[r, 0] = row + begin
        own[r, 1] = max(end - begin, 0) if inside else 0
    return n


@compiled
def wiped(runs: Array, low: Array, sides: Array, canvas: Array) -> None:
    """Make what `placed` painted 0 again."""
    for r in range(len(runs)):
        z, y, first, last = runs[r]
        row = ((z - low[0]) * sides[1] + y - low[1]) * sides[2] - low[2]
        canvas[row + first : row + last] = 0


@compiled
def highest(numbers: Array) -> int:
    """Largest of one or more numbers."""
    # Of their own type, so that many are compared at once.
    most = numbers[0]
    for number in numbers:
        most = max(most, number)
    return int(most)


@compiled
def places(sides: Array) -> int:
    """Voxels of the largest box."""
    most = 0
    for k in range(len(sides)):
        most = max(most, sides[k, 0] * sides[k, 1] * sides[k, 2])
    return most


@compiled
def count_pairs(
    runs: Array,
    begin: Array,
    level: Array,
    boxes: Array,
    trim: Array,
    offsets: Array,
    ordered: bool,
    found: Array,
    ends: Array,
) -> None:
    """Fill the columns of `found` (2, rows; int64): key of direction and two levels, and pairs that have it.

    Object k has the runs `begin[k] : begin[k + 1]`; `boxes[k]` are first voxel and sides of its canvas. Its
    columns end before `ends[k]`, and ascend by direction and levels; the lower level comes first, unless
    pairs are `ordered` from a voxel to its neighbour at an offset.
    """
    low, sides = boxes[:, 0], boxes[:, 1]
    canvas = np.zeros(places(sides), np.uint16)
    own = np.empty((len(runs), 2), np.int64)
    wide = np.int32(highest(level) + 1)
    counted = np.zeros(wide * wide, np.int32)
    seen = np.empty(min(len(counted), len(level)) + 1, np.int32)
    rows, voxel = 0, 0
    for k in range(len(low)):
        part = slice(begin[k], begin[k + 1])
        voxel += placed(runs[part], level[voxel:], low[k], sides[k], trim, canvas, own[part])
        for d in range(len(offsets)):
            step = (offsets[d, 0] * sides[k, 1] + offsets[d, 1]) * sides[k, 2] + offsets[d, 2]
            known = 0
            for r in range(begin[k], begin[k + 1]):
                first, last = own[r, 0], own[r, 0] + own[r, 1]
                centre, other = canvas[first:last], canvas[first + step : last + step]
                for x in range(len(centre)):
                    i, j = np.int32(centre[x]), np.int32(other[x])
                    if not ordered:
                        i, j = min(i, j), max(i, j)
                    # Unsigned numbers need not be checked for places counted from the end.
                    pair = np.uint64(i * wide + j)
                    if counted[pair] == 0:
                        seen[known] = pair
                        known += 1
                    counted[pair] += 1
            seen[:known].sort()
            for pair in seen[:known]:
                i, j = pair // wide, pair % wide
                # Level 0 is not of the object.
                if i > 0 and j > 0:
                    found[0, rows], found[1, rows] = (d << 2 * BITS) | (i << BITS) | j, counted[pair]
                    rows += 1
                counted[pair] = 0
        ends[k] = rows
        wiped(runs[part], low[k], sides[k], canvas)


@compiled
def count_neighbours(
    runs: Array,
    begin: Array,
    level: Array,
    boxes: Array,
    trim: Array,
    offsets: Array,
    alike: int,
    found: tuple[Array, Array],
    ends: Array,
) -> None:
    """Fill the columns of both tables of `found`, (2, rows) and (3, rows), ascending by object and key.

    `dependences`: key of level and number of neighbours whose level is at most `alike` away, voxels.
    `tones`: key of level and number of neighbours, voxels, sum of |neighbours * level - sum of their levels|.
    Those of object k end before `ends[0, k]` and `ends[1, k]`. All are int64. `offsets` lead to one
    neighbour of each opposite two.
    """
    low, sides = boxes[:, 0], boxes[:, 1]
    # A row of voxels is taken `LANES` at a time, beyond its end where need be.
    canvas = np.zeros(places(sides) + LANES, np.uint16)
    own = np.empty((len(runs), 2), np.int64)
    dependences, tones = found
    wide, most = highest(level) + 1, 2 * len(offsets) + 1
    dependent, near = np.zeros((wide, most), np.int64), np.zeros((wide, most), np.int64)
    apart = np.zeros((wide, most), np.int64)
    row = highest(sides[:, 2]) + LANES
    total, alikes, others = np.empty(row, np.int32), np.empty(row, np.int16), np.empty(row, np.int16)
    steps, most_apart = np.empty(2 * len(offsets), np.int64), np.int32(alike)
    rows, lines, voxel = 0, 0, 0
    for k in range(len(low)):
        part = slice(begin[k], begin[k + 1])
        n = placed(runs[part], level[voxel:], low[k], sides[k], trim, canvas, own[part])
        top = highest(level[voxel : voxel + n])
        voxel += n
        for i in range(len(offsets)):
            step = (offsets[i, 0] * sides[k, 1] + offsets[i, 1]) * sides[k, 2] + offsets[i, 2]
            steps[2 * i], steps[2 * i + 1] = step, -step
        for r in range(begin[k], begin[k + 1]):
            at, many = own[r, 0], own[r, 1]
            if many == 0:
                continue
            reach = -(-many // LANES) * LANES
            total[:reach], alikes[:reach], others[:reach] = 0, 0, 0
            centre = canvas[at : at + reach]
            for step in steps:
                # Before the canvas there is nothing to read: its margin is as wide as the farthest offset.
                other = canvas[at + step : at + step + reach]
                for x in range(reach):
                    total[x] += other[x]
                    others[x] += other[x] != 0
                    difference = abs(np.int32(other[x]) - np.int32(centre[x]))
                    alikes[x] += (other[x] != 0) & (difference <= most_apart)
            for x in range(many):
                i = centre[x]
                dependent[i, alikes[x]] += 1
                near[i, others[x]] += 1
                apart[i, others[x]] += abs(total[x] - np.int32(i) * np.int32(others[x]))
        for i in range(1, top + 1):
            for j in range(most):
                if dependent[i, j]:
                    dependences[0, rows], dependences[1, rows] = (i << BITS) | j, dependent[i, j]
                    dependent[i, j] = 0
                    rows += 1
                if near[i, j]:
                    tones[0, lines], tones[1, lines], tones[2, lines] = (
                        (i << BITS) | j,
                        near[i, j],
                        apart[i, j],
                    )
                    near[i, j], apart[i, j] = 0, 0
                    lines += 1
        ends[0, k], ends[1, k] = rows, lines
        wiped(runs[part], low[k], sides[k], canvas)
