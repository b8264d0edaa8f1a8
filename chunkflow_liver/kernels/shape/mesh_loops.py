"""Loops of `kernels.mesh`: the 2 x 2 x 2 cells at the surface of objects, counted from runs of voxels."""

from __future__ import annotations

from typing import Any

import numpy as np

from chunkflow_liver.kernels.compiled import compiled
from chunkflow_liver.xp import Array

# Of a compiled function's own integers; Python's `int` would leave another type as it is.
_integer: Any = np.int64

# Beyond all voxels.
_NEVER = 1 << 40


@compiled
def count_cells(
    begin: Array, row: Array, ends: Array, frame: Array, sides: Array, volumes: Array
) -> tuple[Array, Array, Array, Array]:
    """Cells of every object and code that are not uniform, and 48 times the volume under them.

    `begin`, `row`, `ends` are those of `object_runs.ObjectRuns`; `frame` (int64, shape (4, 3)) has the
    rows of a plane; along (z, y, x) the first cell that counts, the one after the last, and the volume's
    coordinates of voxel 0. Bit k of a number p stands for row k of (z, y), (z, y + 1), (z + 1, y),
    (z + 1, y + 1): `sides[0, p]` are the bits of a code for voxels of these rows at the cell's x,
    `sides[1, p]` at x + 1. `volumes` (256, 4) is what a code adds by itself and per voxel along z, y and x.

    Returns object, code and count of the rows that are not 0; the volume of every object, and what one voxel
    along z, y and x adds to it (shape (4, L)). A sum that passes int64 wraps there and back: the volume of
    the whole object, seen from a point near it, is below 2**63, and additions of wrapped numbers are exact
    modulo 2**64.
    """
    objects, height, most = len(begin) - 1, frame[0, 0], 0
    for n in range(objects):
        # Both ends of a run are met with four pairs of rows, and each begins two codes.
        most += min(254, 16 * (begin[n + 1] - begin[n]))
    which, codes, counts = np.empty(most, np.int64), np.empty(most, np.uint8), np.empty(most, np.int64)
    totals, count, rows = np.zeros((4, objects), np.int64), np.zeros(256, np.int64), 0
    flat = ends.reshape(2 * len(ends))
    for n in range(objects):
        stop, sum_ = begin[n + 1], _integer(0)
        # Runs of the plane z from `low` on, of the next one from `mid` to `high`.
        low = mid = begin[n]
        z = _integer(row[low]) // height - 1
        while low < stop:
            high = mid
            while high < stop and row[high] < (z + 2) * height:
                high += 1
            if low == high:
                # No runs in two planes: on to the next that has some.
                low = mid = high
                z = _integer(row[high]) // height - 1
                continue
            if frame[1, 0] <= z < frame[2, 0]:
                b, d = low, mid
                a_begin = a_end = c_begin = c_end = low
                y = _NEVER
                if low < mid:
                    y = _integer(row[low]) - z * height - 1
                if mid < high:
                    y = min(y, _integer(row[mid]) - (z + 1) * height - 1)
                while True:
                    b_begin, d_begin = b, d
                    while b < mid and row[b] == z * height + y + 1:
                        b += 1
                    while d < high and row[d] == (z + 1) * height + y + 1:
                        d += 1
                    if b_begin < b or d_begin < d or a_begin < a_end or c_begin < c_end:
                        if frame[1, 1] <= y < frame[2, 1]:
                            quad = (a_begin, a_end, b_begin, b, c_begin, c_end, d_begin, d)
                            sum_ += _between(flat, quad, (z, y), frame, sides, volumes, count)
                    elif b == mid and d == high:
                        break
                    a_begin, a_end, c_begin, c_end = b_begin, b, d_begin, d
                    y += 1
            low, mid, z = mid, high, z + 1
        for k in range(256):
            if count[k]:
                which[rows], codes[rows], counts[rows] = n, k, count[k]
                rows += 1
                sum_ += count[k] * volumes[k, 0]
                for axis in range(1, 4):
                    totals[axis, n] += count[k] * volumes[k, axis]
                count[k] = 0
        totals[0, n] = sum_
    return which[:rows], codes[:rows], counts[:rows], totals


@compiled
def _between(
    flat: Array,
    quad: tuple[int, int, int, int, int, int, int, int],
    place: tuple[int, int],
    frame: Array,
    sides: Array,
    volumes: Array,
    count: Array,
) -> Any:
    """Add the cells between four rows to `count`; returns what their places add to 48 times the volume.

    `quad` are the first run and the one after the last of each row, `flat` the ends of all runs.
    """
    a, b, c, d = 2 * quad[0], 2 * quad[2], 2 * quad[4], 2 * quad[6]
    a_end, b_end, c_end, d_end = 2 * quad[1], 2 * quad[3], 2 * quad[5], 2 * quad[7]
    at_a, at_b = _end(flat, a, a_end), _end(flat, b, b_end)
    at_c, at_d = _end(flat, c, c_end), _end(flat, d, d_end)
    first, stop, origin = frame[1, 2], frame[2, 2], frame[3, 2]
    inside, along_z, along_y, along_x = 0, _integer(0), _integer(0), _integer(0)
    x = min(min(at_a, at_b), min(at_c, at_d))
    while x <= stop:
        # All rows that begin or end here.
        hits = _integer(at_a == x) | _integer(at_b == x) << 1
        hits |= _integer(at_c == x) << 2 | _integer(at_d == x) << 3
        a, b, c, d = a + (hits & 1), b + (hits >> 1 & 1), c + (hits >> 2 & 1), d + (hits >> 3)
        at_a, at_b = _end(flat, a, a_end), _end(flat, b, b_end)
        at_c, at_d = _end(flat, c, c_end), _end(flat, d, d_end)
        beyond = min(min(at_a, at_b), min(at_c, at_d))
        if x > first:
            code = sides[0, inside] | sides[1, inside ^ hits]
            count[code] += 1
            along_z += volumes[code, 1]
            along_y += volumes[code, 2]
            along_x += (x - 1 + origin) * volumes[code, 3]
        inside ^= hits
        if 0 < inside < 15:
            begin, end = max(x, first), min(beyond - 1, stop)
            if begin < end:
                code, cells = sides[0, inside] | sides[1, inside], end - begin
                count[code] += cells
                along_z += cells * volumes[code, 1]
                # Surfaces that are alike along x do not look along x.
                along_y += cells * volumes[code, 2]
        x = beyond
    return (place[0] + frame[3, 0]) * along_z + (place[1] + frame[3, 1]) * along_y + along_x


@compiled
def _end(flat: Array, at: int, stop: int) -> int:
    """Where a row changes next, beyond all voxels if it does no more."""
    return _integer(flat[at]) if at < stop else _NEVER
