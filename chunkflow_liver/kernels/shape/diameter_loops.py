"""Loops of `kernels.diameters`: the farthest of some points in space and in planes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chunkflow_liver.kernels.compiled import compiled
from chunkflow_liver.xp import Array

# Of a compiled function's own integers; Python's `int` would leave another type as it is.
_integer: Any = np.int64

# So many points that lie close to each other are ruled out together; of so few all pairs are looked at.
_GROUP, _FEW = 16, 64
# Bits per axis of the cells that bring them together.
_BITS = 3
# Beyond all planes.
_NEVER = 1 << 30
# Above what rounding can do to a bound.
_ABOVE = 1 + 1e-9


@compiled
def diameters(begin: Array, points: Array, size: Array) -> Array:
    """The four squared diameters of objects (float64), in the order of `kernels.diameters.DIAMETERS`.

    `points` (int32) are rows of a number, kind, plane, u and v, sorted by object, kind and plane; those of
    object n begin at `begin[n]`. `size` is that of a voxel along (z, y, x), in nm.
    """
    squares = np.zeros((len(begin) - 1, 4))
    for n in range(len(squares)):
        _ = widen(points, begin[n], begin[n + 1], size, squares[n])
    return squares


@compiled
def widen(points: Array, begin: int, end: int, size: Array, best: Array) -> tuple[Array, Array]:
    """Raise `best` (in planes across z, y and x, in space) to the squared diameters of one object.

    Returns its planes: first point, the one after the last, and the one farthest from the middle (int64);
    middle along u and v, in nm, and how far that point is from it.
    """
    some, around = np.empty((end - begin, 3), np.int64), np.empty((end - begin, 3))
    count, lead = 0, np.full(3, -1)
    first = begin
    while first < end:
        kind, plane, last = _integer(points[first, 1]), points[first, 2], first + 1
        while last < end and points[last, 1] == kind and points[last, 2] == plane:
            last += 1
        axis = kind >> 1
        scale = _scale(size, axis)
        middle, radius, far = _middle(points, first, last, scale)
        some[count, 0], some[count, 1], some[count, 2] = first, last, far
        around[count, 0], around[count, 1] = middle[1] * scale[1], middle[2] * scale[2]
        around[count, 2] = radius
        if kind & 1 == 0 and (lead[axis] < 0 or radius > around[lead[axis], 2]):
            lead[axis] = count
        count, first = count + 1, last
    # Of every axis the plane that looks widest comes first: what it gives spares most of the others.
    for k in range(-3, count):
        plane = k if k >= 0 else lead[k]
        if plane >= 0:
            first = some[plane, 0]
            kind = _integer(points[first, 1])
            axis, grown = kind >> 1, 1.0 - (kind & 1)
            scale = _scale(size, axis)
            if (2 * around[plane, 2] + grown * max(scale)) ** 2 * _ABOVE >= best[axis]:
                best[axis] = _widest(points, first, some[plane, 1], scale, grown, best[axis])
    best[3] = max(best[3], best[0], best[1], best[2])
    last = begin
    while last < end and points[last, 1] == 0:
        last += 1
    best[3] = _widest(points, begin, last, (size[0], size[1], size[2]), 1.0, best[3])
    return some[:count], around[:count]


@compiled
def farther(
    points: Array, some: Array, around: Array, kind: int, size: Array, best: float
) -> tuple[int, int]:
    """First and last plane of a `kind` of which corners are farther than `best` from some of the next plane.

    `some` and `around` are what `widen` gave. The last is before the first if there is none.
    """
    scale = _scale(size, kind >> 1)
    low, high = _NEVER, -1
    for k in range(1, len(some)):
        first, middle, last = some[k - 1, 0], some[k, 0], some[k, 1]
        if points[first, 1] != kind or points[middle, 1] != kind or points[first, 2] + 1 != points[middle, 2]:
            continue
        apart = (around[k, 0] - around[k - 1, 0]) ** 2 + (around[k, 1] - around[k - 1, 1]) ** 2
        if (math.sqrt(apart) + around[k - 1, 2] + around[k, 2]) ** 2 * _ABOVE < best:
            continue
        for i in range(first, middle):
            place = (0.0, float(points[i, 3]), float(points[i, 4]))
            for j in range(middle, last):
                if high < points[first, 2] and _square(points, j, place, scale) * _ABOVE > best:
                    low, high = min(low, _integer(points[first, 2])), _integer(points[first, 2])
    return low, high


@compiled
def _scale(size: Array, axis: int) -> tuple[float, float, float]:
    """Size of a voxel along plane, u and v, for distances in planes across an axis."""
    return 0.0, size[1 if axis == 0 else 0], size[1 if axis == 2 else 2]


@compiled
def _widest(
    points: Array, begin: int, end: int, scale: tuple[float, float, float], grown: float, best: float
) -> float:
    """The largest squared distance of two of some points (plane, u, v in the last columns), if above `best`.

    If `grown` is 1, and not 0, both ends are half a voxel farther out along some axis.
    """
    if begin == end:
        return best
    slack = grown * max(scale[0], scale[1], scale[2])
    middle, radius, far = _middle(points, begin, end, scale)
    if (2 * radius + slack) ** 2 * _ABOVE < best:
        return best
    # A pair that is far apart: the point farthest from the middle, and the one farthest from that.
    for _ in range(2):
        start, most = far, -1.0
        place = (float(points[far, 2]), float(points[far, 3]), float(points[far, 4]))
        for i in range(begin, end):
            apart = _square(points, i, place, scale)
            if apart > most:
                far, most = i, apart
        best = max(best, _apart(points, start, far, scale, grown))
    if end - begin <= _FEW:
        return _of_few(points, begin, end, scale, grown, best)
    # The ends of a longer one are as far from the middle as it is long, less the radius.
    least = max(0.0, math.sqrt(best) / _ABOVE - slack - radius) ** 2
    kept = np.empty(end - begin, np.int64)
    count = 0
    for i in range(begin, end):
        kept[count] = i
        count += _integer(_square(points, i, middle, scale) >= least)
    if count > _FEW:
        kept = _near_each_other(points, kept[:count])
    at = np.empty((3, count))
    for k in range(count):
        for axis in range(3):
            at[axis, k] = points[kept[k], axis + 2] * scale[axis]
    groups = (count + _GROUP - 1) // _GROUP
    box = np.empty((groups, 6))
    for g in range(groups):
        for axis in range(3):
            part = at[axis, g * _GROUP : min(count, g * _GROUP + _GROUP)]
            box[g, axis], box[g, axis + 3] = part.min(), part.max()
    for g in range(groups):
        for h in range(g, groups):
            needed = max(0.0, math.sqrt(best) / _ABOVE - slack) ** 2
            total = 0.0
            for axis in range(3):
                total += max(box[g, axis + 3] - box[h, axis], box[h, axis + 3] - box[g, axis]) ** 2
            if total < needed:
                continue
            last = min(count, h * _GROUP + _GROUP)
            for i in range(g * _GROUP, min(count, g * _GROUP + _GROUP)):
                z, y, x = at[0, i], at[1, i], at[2, i]
                hits = 0
                for j in range(h * _GROUP, last):
                    a, b, c = at[0, j] - z, at[1, j] - y, at[2, j] - x
                    hits += _integer(a * a + b * b + c * c >= needed)
                for j in range(h * _GROUP, last if hits else 0):
                    best = max(best, _apart(points, kept[i], kept[j], scale, grown))
    return best


@compiled
def _middle(
    points: Array, begin: int, end: int, scale: tuple[float, float, float]
) -> tuple[tuple[float, float, float], float, int]:
    """The middle of the box around some points, how far the farthest is from it, and which it is."""
    a, b, c = points[begin, 2], points[begin, 3], points[begin, 4]
    aa, bb, cc = a, b, c
    for i in range(begin, end):
        a, b, c = min(a, points[i, 2]), min(b, points[i, 3]), min(c, points[i, 4])
        aa, bb, cc = max(aa, points[i, 2]), max(bb, points[i, 3]), max(cc, points[i, 4])
    middle = ((a + aa) / 2, (b + bb) / 2, (c + cc) / 2)
    far, most = begin, -1.0
    for i in range(begin, end):
        apart = _square(points, i, middle, scale)
        if apart > most:
            far, most = i, apart
    return middle, math.sqrt(most), far


@compiled
def _square(
    points: Array, i: int, place: tuple[float, float, float], scale: tuple[float, float, float]
) -> float:
    """Squared distance of a point from a place."""
    a, b, c = points[i, 2] - place[0], points[i, 3] - place[1], points[i, 4] - place[2]
    total: float = (a * scale[0]) ** 2 + (b * scale[1]) ** 2 + (c * scale[2]) ** 2
    return total


@compiled
def _of_few(
    points: Array, begin: int, end: int, scale: tuple[float, float, float], grown: float, best: float
) -> float:
    """What `_widest` does, from all pairs."""
    slack = grown * max(scale[0], scale[1], scale[2])
    needed = max(0.0, math.sqrt(best) / _ABOVE - slack) ** 2
    for i in range(begin, end):
        place = (float(points[i, 2]), float(points[i, 3]), float(points[i, 4]))
        for j in range(begin, i):
            if _square(points, j, place, scale) >= needed:
                best = max(best, _apart(points, i, j, scale, grown))
    return best


@compiled
def _near_each_other(points: Array, kept: Array) -> Array:
    """Some points in an order in which neighbours follow each other: by the bits of z, y, x in turn."""
    low, high = np.empty(3, np.int64), np.empty(3, np.int64)
    for axis in range(3):
        low[axis] = high[axis] = points[kept[0], axis + 2]
    for i in kept:
        for axis in range(3):
            at = _integer(points[i, axis + 2])
            low[axis], high[axis] = min(low[axis], at), max(high[axis], at)
    cells = np.zeros((1 << 3 * _BITS) + 1, np.int64)
    cell = np.empty(len(kept), np.int64)
    for k in range(len(kept)):
        code = 0
        for bit in range(_BITS):
            for axis in range(3):
                part = ((points[kept[k], axis + 2] - low[axis]) << _BITS) // (high[axis] - low[axis] + 1)
                code |= (part >> bit & 1) << (3 * bit + axis)
        cell[k] = code
        cells[code + 1] += 1
    for code in range(1, len(cells)):
        cells[code] += cells[code - 1]
    order = np.empty(len(kept), np.int64)
    for k in range(len(kept)):
        order[cells[cell[k]]] = kept[k]
        cells[cell[k]] += 1
    return order


@compiled
def _apart(points: Array, i: int, j: int, scale: tuple[float, float, float], grown: float) -> float:
    """Squared distance of two points, see `_widest`."""
    a = abs(points[i, 2] - points[j, 2]) * scale[0]
    b = abs(points[i, 3] - points[j, 3]) * scale[1]
    c = abs(points[i, 4] - points[j, 4]) * scale[2]
    aa, bb, cc = a * a, b * b, c * c
    total: float = aa + bb + cc
    if grown == 0:
        return total
    best: float = total - aa + (a + scale[0]) ** 2
    best = max(best, total - bb + (b + scale[1]) ** 2)
    best = max(best, total - cc + (c + scale[2]) ** 2)
    # Or half a voxel along one axis at one end, and along another at the other.
    a, b, c = a + scale[0] / 2, b + scale[1] / 2, c + scale[2] / 2
    best = max(best, total - bb - aa + b * b + a * a)
    best = max(best, total - cc - aa + c * c + a * a)
    best = max(best, total - cc - bb + c * c + b * b)
    return best
