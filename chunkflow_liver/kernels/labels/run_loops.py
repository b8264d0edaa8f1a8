"""Loops of `kernels.object_runs`: the runs of a block, object by object, and sums over them."""

from __future__ import annotations

from typing import Any

import numpy as np

from chunkflow_liver.kernels.compiled import compiled
from chunkflow_liver.xp import Array

# Of a compiled function's own integers; Python's `int` would leave another type as it is.
_integer: Any = np.int64

# 2**64 divided by the golden ratio, which spreads consecutive labels.
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_FIRST = 1 << 12


@compiled
def list_runs(image: Array) -> tuple[Array, Array, Array]:
    """Runs of equal values other than 0 in `image` (Z, Y, X), in raster order; a run ends with its row.

    Returns row (z * Y + y), start, stop and slot of every run (int32, shape (R, 4)); value of every slot,
    numbered as they are met; runs of every slot (int64). An axis has less than 2**31 voxels, and so
    have the rows of a block that fits in memory.
    """
    depth, height, width = image.shape
    differs = np.zeros(-(-width // 8) * 8, np.uint8)
    words = differs.view(np.uint64)
    at = np.empty(len(differs) + 1, np.int32)
    # Memory is used as it is written to.
    runs, made = np.empty((max(_FIRST, image.size // 32), 4), np.int32), 0
    names, lengths, slots = np.empty(_FIRST, image.dtype), np.zeros(_FIRST, np.int64), 0
    table = np.zeros(4 * _FIRST, np.int32)
    for z in range(depth):
        for y in range(height):
            line = image[z, y]
            for x in range(width - 1):
                differs[x] = line[x] != line[x + 1]
            differs[width - 1] = 1
            # Eight voxels at once where nothing ends, and no branch where something does.
            found = 0
            for word in range(len(words)):
                if words[word] != 0:
                    for x in range(8 * word, 8 * word + 8):
                        at[found] = x + 1
                        found += _integer(differs[x])
            if made + found > len(runs):
                runs = longer(runs, made, 2 * made + found)
            if slots + found > len(names):
                more, counts = np.empty(2 * slots + found, image.dtype), np.zeros(2 * slots + found, np.int64)
                for known in range(slots):
                    more[known], counts[known] = names[known], lengths[known]
                names, lengths = more, counts
                # At most half full.
                size = len(table)
                while size < 2 * len(names):
                    size *= 2
                table = np.zeros(size, np.int32)
                for known in range(slots):
                    table[_place(table, names, names[known])] = known + 1
            first = np.int32(0)
            for i in range(found):
                value = line[first]
                if value != 0:
                    place = _place(table, names, value)
                    if table[place] == 0:
                        names[slots] = value
                        slots += 1
                        table[place] = slots
                    slot = table[place] - 1
                    lengths[slot] += 1
                    runs[made, 0], runs[made, 1], runs[made, 2] = z * height + y, first, at[i]
                    runs[made, 3] = slot
                    made += 1
                first = at[i]
    return runs[:made], names[:slots], lengths[:slots]


@compiled
def longer(rows: Array, used: int, length: int) -> Array:
    """A copy of the first rows of a table with room for `length` of them."""
    made = np.empty((length, rows.shape[1]), rows.dtype)
    for i in range(used):
        for j in range(rows.shape[1]):
            made[i, j] = rows[i, j]
    return made


@compiled
def _place(table: Array, names: Array, value: int) -> int:
    """Where `table` has the number (from 1) of a value, or 0 in its stead."""
    # The upper half of the product is the one that all bits of the value have had a part in.
    place: int = _integer((np.uint64(value) * _SPREAD) >> np.uint64(32)) & (len(table) - 1)
    while table[place] > 0 and names[table[place] - 1] != value:
        place = (place + 1) & (len(table) - 1)
    return place


@compiled
def sort_runs(runs: Array, place: Array) -> tuple[Array, Array, Array]:
    """The runs of `list_runs` slot after slot, those of a slot from `place[slot]` on (int64; is moved).

    Returns row (int32), ends (int32, shape (R, 2)) and the former number (int32) of every run.
    """
    row, ends = np.empty(len(runs), np.int32), np.empty((len(runs), 2), np.int32)
    order = np.empty(len(runs), np.int32)
    for i in range(len(runs)):
        slot = runs[i, 3]
        to = place[slot]
        place[slot] = to + 1
        row[to], ends[to, 0], ends[to, 1], order[to] = runs[i, 0], runs[i, 1], runs[i, 2], i
    return row, ends, order


@compiled
def coordinate_sums(begin: Array, row: Array, ends: Array, height: int) -> Array:
    """Sums over the voxels of every object (int64): the columns of `kernels.moments.COORDINATES`.

    `begin` says where the runs of an object begin, and the last ones end; `height` is the rows per plane.
    No sum passes 2**63 in a block: it has below 2**40 voxels, less than 2**11 along two of the axes; a
    single row may have 2**20.
    """
    sums = np.zeros((len(begin) - 1, 16), np.int64)
    for n in range(len(sums)):
        count = sz = sy = sx = szz = syy = sxx = szy = szx = syx = _integer(0)
        low_y, high_y, low_x, high_x = 1 << 40, -1, 1 << 40, -1
        for i in range(begin[n], begin[n + 1]):
            z, y = _integer(row[i]) // height, _integer(row[i]) % height
            start, last = _integer(ends[i, 0]), _integer(ends[i, 1]) - 1
            long = last - start + 1
            x = long * (start + last) // 2
            # Of the squares from 0 to the last, and to the one before the first.
            upto = last * (last + 1) * (2 * last + 1) // 6
            sxx += upto - (start - 1) * start * (2 * start - 1) // 6
            count += long
            sz += long * z
            sy += long * y
            sx += x
            szz += long * z * z
            syy += long * y * y
            szy += long * z * y
            szx += z * x
            syx += y * x
            low_y, high_y = min(low_y, y), max(high_y, y)
            low_x, high_x = min(low_x, start), max(high_x, last)
        low_z, high_z = row[begin[n]] // height, row[begin[n + 1] - 1] // height
        sums[n, 0], sums[n, 1], sums[n, 2], sums[n, 3] = count, sz, sy, sx
        sums[n, 4], sums[n, 5], sums[n, 6] = szz, syy, sxx
        sums[n, 7], sums[n, 8], sums[n, 9] = szy, szx, syx
        sums[n, 10], sums[n, 11], sums[n, 12] = low_z, low_y, low_x
        sums[n, 13], sums[n, 14], sums[n, 15] = high_z, high_y, high_x
    return sums
