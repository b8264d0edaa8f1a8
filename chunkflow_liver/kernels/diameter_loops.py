"""Loops of `kernels.diameters`: hulls of the planes of objects, and the farthest of their corners."""

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
# Above what rounding can do to a bound.
_ABOVE = 1 + 1e-9
_NEVER = 1 << 30
# A plain 0 would be a type of its own, and every function be compiled for it as well.
_NONE = _integer(0)


@compiled
def object_corners(
    begin: Array,
    row: Array,
    x: Array,
    code: Array,
    frame: tuple[int, int, int, int, int, int],
    kinds: int,
    whole: Array,
    size: Array,
) -> tuple[Array, Array, Array, Array, Array, Array]:
    """Corners of the hulls of all planes of objects, from their cells in raster order.

    `begin`, `row`, `x`, `code` are those of `mesh_loops.by_object`, with the uniform cells at the edges of
    the block; `frame` is the number of cells along (z, y, x) and the first cell that begins with a
    voxel of the block, along each; bit k of `kinds` asks for planes of kind k.

    Returns object, kind, plane, u, v of the corners (of objects that are not `whole`; int32, cells), and
    the four squared diameters of those that are (float64, `size` being that of a voxel in nm).
    """
    nz, ny, nx, _, low_y, low_x = frame
    objects = len(begin) - 1
    cells = 0
    for n in range(objects):
        cells = max(cells, begin[n + 1] - begin[n])
    # No more than two points per row that a kind of planes has, nor than 18 per cell.
    nodes = np.empty((min(18 * cells, 2 * nz * (4 * ny + 2 * nx)), 3), np.int32)
    heads = np.full((12, max(nz, ny, nx)), -1, np.int32)
    near, far = np.full((2, nx + 1), _NEVER), np.full((2, nx + 1), -1)
    squares = np.zeros((objects, 4))
    out, made = np.empty((1 << 10, 5), np.int32), _NONE
    low, high = np.full(4, _NEVER), np.full(4, -1)
    starts, stops = np.empty(3, np.int64), np.empty(3, np.int64)
    for n in range(objects):
        used, last, z, y = _NONE, -1, _NONE, _NONE
        first_x, last_x = nx, -1
        for axis in range(3):
            starts[axis], stops[axis] = _NEVER, -1
        for i in range(begin[n], begin[n + 1] + 1):
            here = _integer(row[i]) if i < begin[n + 1] else -1
            if here != last:
                if last >= 0:
                    # A row has ended: its first and last points may be corners.
                    for kind in range(4):
                        # Rows of voxels lie in the planes across z and y.
                        points = 0 if kind == 2 else kind
                        if high[points] >= 0 and kinds >> kind & 1:
                            plane, u = (z, y) if kind < 2 else (y, z)
                            used = _push(nodes, heads, 2 * kind, plane, u, low[points], used)
                            used = _push(nodes, heads, 2 * kind + 1, plane, u, high[points], used)
                    for points in range(4):
                        low[points], high[points] = _NEVER, -1
                if here < 0 or here // ny != z:
                    for plane in range(first_x, last_x + 1):
                        for kind in range(4, 6):
                            if far[kind - 4, plane] >= 0:
                                if kinds >> kind & 1:
                                    a, b = near[kind - 4, plane], far[kind - 4, plane]
                                    used = _push(nodes, heads, 2 * kind, plane, z, a, used)
                                    used = _push(nodes, heads, 2 * kind + 1, plane, z, b, used)
                                near[kind - 4, plane], far[kind - 4, plane] = _NEVER, -1
                    first_x, last_x = nx, -1
                if here < 0:
                    break
                last, z, y = here, here // ny, here % ny
                starts[0], stops[0] = min(starts[0], z), z
                starts[1], stops[1] = min(starts[1], y), max(stops[1], y)
            at, bits = _integer(x[i]), _integer(code[i])
            starts[2], stops[2] = min(starts[2], at), max(stops[2], at)
            first_x, last_x = min(first_x, at), max(last_x, at)
            inside = bits & 1
            if (bits >> 1 & 1) != inside:
                # A face across x: the voxel before or after it ends a run, unless another block owns it.
                end = at + 1 - inside
                if end < nx:
                    low[0], high[0] = min(low[0], end), max(high[0], end)
                near[1, at], far[1, at] = min(near[1, at], y), max(far[1, at], y)
            if (bits >> 3 & 1) != inside:
                end = y + 1 - inside
                if end < ny:
                    near[0, at], far[0, at] = min(near[0, at], end), max(far[0, at], end)
                low[3], high[3] = min(low[3], at), max(high[3], at)
            if (bits >> 4 & 1) != inside:
                low[1], high[1] = min(low[1], at), max(high[1], at)
            if inside:
                # Where the block is cut a run ends without a face.
                if at == low_x or at == nx - 1:
                    low[0], high[0] = min(low[0], at), max(high[0], at)
                if y == low_y or y == ny - 1:
                    near[0, at], far[0, at] = min(near[0, at], y), max(far[0, at], y)
        start = made
        if made + used > len(out):
            out = _longer(out, made, 2 * made + used)
        for kind in range(6):
            for plane in range(starts[kind // 2], stops[kind // 2] + 1):
                made = _emit(nodes, heads, (n, kind, plane), out, made)
        if whole[n]:
            _diameters(out, start, made, size, squares[n])
            made = start
    return out[:made, 0], out[:made, 1], out[:made, 2], out[:made, 3], out[:made, 4], squares


@compiled
def merged_corners(group: Array, u: Array, v: Array) -> tuple[Array, Array, Array]:
    """Corners of the hull of the points of each group, of points sorted by group (int64), u, v (int32)."""
    nodes, heads = np.empty((2 * len(group), 3), np.int32), np.full((2, 1), -1, np.int32)
    out, made, used = np.empty((2 * len(group), 5), np.int32), _NONE, _NONE
    kept = np.empty(2 * len(group), np.int64)
    for i in range(len(group)):
        first = i == 0 or group[i] != group[i - 1]
        if first:
            used = _NONE
        at, across = _integer(u[i]), _integer(v[i])
        if first or u[i] != u[i - 1]:
            used = _push(nodes, heads, _NONE, _NONE, at, across, used)
        final = i + 1 == len(group) or group[i] != group[i + 1]
        if final or u[i] != u[i + 1]:
            used = _push(nodes, heads, _NONE + 1, _NONE, at, across, used)
        if final:
            begin = made
            made = _emit(nodes, heads, (_NONE, _NONE, _NONE), out, made)
            for k in range(begin, made):
                kept[k] = group[i]
    return kept[:made], out[:made, 3], out[:made, 4]


@compiled
def diameters(begin: Array, points: Array, size: Array) -> Array:
    """The four squared diameters of objects (float64), in the order of `kernels.diameters.DIAMETERS`.

    `points` (int32) are rows of a number, kind, plane, u and v, sorted by object, kind and plane; those of
    object n begin at `begin[n]`. `size` is that of a voxel along (z, y, x), in nm.
    """
    squares = np.zeros((len(begin) - 1, 4))
    for n in range(len(squares)):
        _diameters(points, begin[n], begin[n + 1], size, squares[n])
    return squares


@compiled
def _push(nodes: Array, heads: Array, half: int, plane: int, u: int, v: int, used: int) -> int:
    """Add a point to the lower (`half` even) or upper half of the hull of a plane, with u above all others.

    A half is a list of `nodes` (u, v, the one before it) that ends at `heads[half, plane]`; -1 is none.
    Coordinates are below 2**31 and not negative: products are below 2**62, their differences below 2**63.
    """
    last = heads[half, plane]
    sign = 1 - 2 * (half & 1)
    while last >= 0 and nodes[last, 2] >= 0:
        before = nodes[last, 2]
        du, dv = nodes[last, 0] - nodes[before, 0], nodes[last, 1] - nodes[before, 1]
        # A point that lies on a line between two others, or inside it, is no corner.
        if sign * (dv * (u - nodes[before, 0]) - (v - nodes[before, 1]) * du) < 0:
            break
        last = before
    nodes[used, 0], nodes[used, 1], nodes[used, 2] = u, v, last
    heads[half, plane] = used
    return used + 1


@compiled
def _emit(nodes: Array, heads: Array, name: tuple[int, int, int], out: Array, made: int) -> int:
    """Write the corners of a plane to `out`, each once, and forget them; one end of its rows may be both."""
    _, kind, plane = name
    begin = made
    for half in range(2 * kind, 2 * kind + 2):
        at = heads[half, plane]
        heads[half, plane] = -1
        stop = made
        while at >= 0:
            u, v, at = nodes[at, 0], nodes[at, 1], nodes[at, 2]
            # The halves share their ends where these are one voxel wide: the first and last written.
            if half & 1 and (
                (out[begin, 3] == u and out[begin, 4] == v)
                or (out[stop - 1, 3] == u and out[stop - 1, 4] == v)
            ):
                continue
            out[made, 0], out[made, 1], out[made, 2], out[made, 3], out[made, 4] = *name, u, v
            made += 1
    return made


@compiled
def _longer(rows: Array, used: int, length: int) -> Array:
    """A copy of the first rows of a table with room for `length` of them."""
    made = np.empty((length, rows.shape[1]), rows.dtype)
    for i in range(used):
        for j in range(rows.shape[1]):
            made[i, j] = rows[i, j]
    return made


@compiled
def _diameters(points: Array, begin: int, end: int, size: Array, best: Array) -> None:
    """Raise `best` (in planes across z, y and x, in space) to the squared diameters of one object."""
    reach, widest = np.zeros(3), np.zeros((3, 2), np.int64)
    # Of every axis the plane that looks widest comes first: what it gives spares most of the others.
    for turn in range(2):
        first = begin
        while first < end:
            kind, plane, last = _integer(points[first, 1]), points[first, 2], first + 1
            low, high = _integer(points[first, 4]), _integer(points[first, 4])
            while last < end and points[last, 1] == kind and points[last, 2] == plane:
                low, high = min(low, _integer(points[last, 4])), max(high, _integer(points[last, 4]))
                last += 1
            axis = kind >> 1
            scale = (0.0, size[1 if axis == 0 else 0], size[1 if axis == 2 else 2])
            if turn:
                best[axis] = _widest(points, first, last, scale, 1.0 - (kind & 1), best[axis])
            elif kind & 1 == 0:
                # Rows of a half are sorted by u.
                long, wide = (points[first, 3] - points[last - 1, 3]) * scale[1], (high - low) * scale[2]
                if long * long + wide * wide > reach[axis]:
                    reach[axis] = long * long + wide * wide
                    widest[axis, 0], widest[axis, 1] = first, last
            first = last
        for axis in range(0 if turn else 3):
            scale = (0.0, size[1 if axis == 0 else 0], size[1 if axis == 2 else 2])
            best[axis] = _widest(points, widest[axis, 0], widest[axis, 1], scale, 1.0, best[axis])
    best[3] = max(best[0], best[1], best[2])
    last = begin
    while last < end and points[last, 1] == 0:
        last += 1
    best[3] = _widest(points, begin, last, (size[0], size[1], size[2]), 1.0, best[3])


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
    start = far
    for _ in range(2):
        found = -1.0
        for i in range(begin, end):
            apart = _apart(points, start, i, scale, grown)
            if apart > found:
                far, found = i, apart
        best, start = max(best, found), far
    # The ends of a longer one are as far from the middle as it is long, less the radius.
    least = math.sqrt(best) / _ABOVE - slack - radius
    kept = np.empty(end - begin, np.int64)
    count = 0
    for i in range(begin, end):
        kept[count] = i
        count += _integer(_from(points, i, middle, scale) >= least)
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
    far, radius = begin, -1.0
    for i in range(begin, end):
        apart = _from(points, i, middle, scale)
        if apart > radius:
            far, radius = i, apart
    return middle, radius, far


@compiled
def _from(
    points: Array, i: int, middle: tuple[float, float, float], scale: tuple[float, float, float]
) -> float:
    """Distance of a point from another place."""
    a, b, c = points[i, 2] - middle[0], points[i, 3] - middle[1], points[i, 4] - middle[2]
    return math.sqrt((a * scale[0]) ** 2 + (b * scale[1]) ** 2 + (c * scale[2]) ** 2)


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
