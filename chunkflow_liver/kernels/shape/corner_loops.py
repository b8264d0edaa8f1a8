"""Loops of `kernels.diameters`: corners of the hulls of the planes of objects, from their runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from chunkflow_liver.kernels.compiled import compiled
from chunkflow_liver.kernels.labels.run_loops import longer
from chunkflow_liver.kernels.shape.diameter_loops import farther, widen
from chunkflow_liver.xp import Array

# Of a compiled function's own integers; Python's `int` would leave another type as it is.
_integer: Any = np.int64

# Beyond all voxels.
_NEVER = 1 << 30
# A plain 0 would be a type of its own, and every function be compiled for it as well.
_NONE = _integer(0)


@compiled
def object_corners(
    begin: Array,
    row: Array,
    ends: Array,
    shape: tuple[int, int, int, int],
    kinds: int,
    whole: Array,
    size: Array,
) -> tuple[Array, Array]:
    """Corners of the hulls of all planes of objects, from their runs.

    `begin`, `row`, `ends` are those of `object_runs.ObjectRuns`; `shape` are the voxels that the block owns
    along (z, y, x), from the first of the array on, and the rows of a plane; bit k of `kinds` asks for
    planes of kind k.

    Returns object, kind, plane, u, v (int32, shape (P, 5)) of the corners of objects that are not `whole`,
    sorted by object, kind and plane, and the four squared diameters of those that are (float64, `size`
    being that of a voxel in nm).
    """
    objects, most = len(begin) - 1, _NONE
    for n in range(objects):
        most = max(most, begin[n + 1] - begin[n])
    squares, out, made = np.zeros((objects, 4)), np.empty((1 << 10, 5), np.int32), _NONE
    # z, y or x, first and last of the others; a run is in two rows between planes at most.
    lines = np.empty((most, 4), np.int32)
    points, ordered = np.empty((2 * most, 4), np.int32), np.empty((2 * most, 4), np.int32)
    tally, edges = np.zeros(max(shape) + 2, np.int64), np.empty((2, shape[2]), np.int32)
    for x in range(shape[2]):
        edges[0, x], edges[1, x] = _NEVER, -1
    planes, around = np.empty((0, 3), np.int64), np.empty((0, 3))
    for n in range(objects):
        runs, start = (begin[n], begin[n + 1]), made
        long = _lines(row, ends, runs, shape, lines)
        middle, between = made, (_NONE, _integer(_NEVER))
        for step in range(6):
            # Of what is whole the planes of voxels come first: they spare nearly all of the others.
            kind = 2 * (step % 3) + step // 3 if whole[n] else step
            if not kinds >> kind & 1:
                continue
            if whole[n] and kind & 1:
                if step == 3:
                    planes, around = widen(out, start, made, size, squares[n])
                    middle = made
                between = farther(out, planes, around, kind - 1, size, squares[n, kind >> 1])
                if between[0] > between[1]:
                    continue
            used = long
            if kind & 1 and kind < 4:
                used = _line_differences(row, ends, runs, shape, kind, between, points)
            elif kind >= 4:
                points, used = _columns(row, ends, runs, shape, kind, between, edges, points)
            some = points if kind & 1 or kind >= 4 else lines
            if kind >= 2:
                if len(ordered) < used:
                    ordered = np.empty((2 * used, 4), np.int32)
                _by_plane(some, used, tally, ordered)
                some = ordered
            out, made = _hulls(some, used, (n, kind), out, made)
        if whole[n]:
            _ = widen(out, middle, made, size, squares[n])
            made = start
    return out[:made], squares


@compiled
def merged_corners(group: Array, u: Array, v: Array) -> Array:
    """Corners of the hull of the points of each group (int32, shape (P, 5)), in the last two columns.

    The points are sorted by group, u and v; the third column has their group.
    """
    points, used = np.empty((len(group), 4), np.int32), -1
    for i in range(len(group)):
        if i == 0 or group[i] != group[i - 1] or u[i] != u[i - 1]:
            used += 1
            points[used, 0], points[used, 1], points[used, 2] = group[i], u[i], v[i]
        points[used, 3] = v[i]
    out, made = _hulls(points, used + 1, (_NONE, _NONE), np.empty((2 * len(group), 5), np.int32), _NONE)
    return out[:made]


@compiled
def _lines(
    row: Array, ends: Array, runs: tuple[int, int], shape: tuple[int, int, int, int], lines: Array
) -> Any:
    """Rows of an object along x: z, y, first and last voxel into `lines`; returns how many there are."""
    used, i, z = _NONE, runs[0], _NONE
    while i < runs[1]:
        here, low, high = _integer(row[i]), _integer(ends[i, 0]), _NONE
        while here >= (z + 1) * shape[3]:
            z += 1
        while i < runs[1] and row[i] == here:
            if ends[i, 0] < shape[2]:
                high = min(_integer(ends[i, 1]), shape[2])
            i += 1
        y = here - z * shape[3]
        if z < shape[0] and y < shape[1] and low < shape[2]:
            lines[used, 0], lines[used, 1], lines[used, 2], lines[used, 3] = z, y, low, high - 1
            used += 1
    return used


@compiled
def _line_differences(
    row: Array,
    ends: Array,
    runs: tuple[int, int],
    shape: tuple[int, int, int, int],
    kind: int,
    between: tuple[int, int],
    points: Array,
) -> Any:
    """First and last x at which rows and the next ones along z (`kind` 1) or y (3) differ.

    Only planes from the first to the last of `between` are wanted.
    """
    next_, used = shape[3] if kind == 1 else 1, _NONE
    # What differs from nothing behind the last row of the array is no longer than the row itself.
    rows = shape[1] if kind == 1 else min(shape[1], shape[3] - 1)
    flat = ends.reshape(2 * len(ends))
    i = j = runs[0]
    while i < runs[1] or j < runs[1]:
        here = _integer(row[i]) if i < runs[1] else _integer(row[j]) - next_
        if j < runs[1]:
            here = min(here, _integer(row[j]) - next_)
        a, b = i, j
        while i < runs[1] and row[i] == here:
            i += 1
        while j < runs[1] and row[j] == here + next_:
            j += 1
        z, y = here // shape[3], here % shape[3]
        plane = z if kind == 1 else y
        if here < 0 or z >= shape[0] or y >= rows or plane < between[0] or plane > between[1]:
            continue
        low, high, inside = _NEVER, -1, False
        at, beside = 2 * a, 2 * b
        while True:
            # From one end of a run to the next: there the rows begin to differ, or to be alike.
            x = _integer(flat[at]) if at < 2 * i else _NEVER
            other = _integer(flat[beside]) if beside < 2 * j else _NEVER
            if min(x, other) >= shape[2]:
                break
            if x != other:
                inside = not inside
                low = min(low, x, other)
                if not inside:
                    high = min(x, other) - 1
            at, beside = at + _integer(x <= other), beside + _integer(other <= x)
        if inside:
            high = shape[2] - 1
        if high >= 0:
            points[used, 0], points[used, 1], points[used, 2], points[used, 3] = z, y, low, high
            used += 1
    return used


@compiled
def _columns(
    row: Array,
    ends: Array,
    runs: tuple[int, int],
    shape: tuple[int, int, int, int],
    kind: int,
    between: tuple[int, int],
    edges: Array,
    points: Array,
) -> tuple[Array, int]:
    """First and last y of the columns of an object, in planes across x (`kind` 4) or between two (5).

    Between planes, only those from the first to the last of `between` are wanted. `edges` (2, x) is a row of
    _NEVER and one of -1, and is left so. Returns `points`, longer if need be.
    """
    used, i, z = _NONE, runs[0], _NONE
    while i < runs[1]:
        while row[i] >= (z + 1) * shape[3]:
            z += 1
        first, last = shape[2], _NONE - 1
        while i < runs[1] and row[i] < (z + 1) * shape[3]:
            y = np.int32(row[i] - z * shape[3])
            start, stop = _integer(ends[i, 0]), min(_integer(ends[i, 1]), shape[2])
            i += 1
            if z >= shape[0] or y >= shape[1] or start > stop:
                continue
            if kind == 4:
                for x in range(start, stop):
                    edges[0, x] = min(edges[0, x], y)
                    edges[1, x] = y
            else:
                start -= 1
                if between[0] <= start <= between[1]:
                    edges[0, start] = min(edges[0, start], y)
                    edges[1, start] = y
                if ends[i - 1, 1] <= shape[2] and between[0] <= stop - 1 <= between[1]:
                    edges[0, stop - 1] = min(edges[0, stop - 1], y)
                    edges[1, stop - 1] = y
            first, last = min(first, max(_NONE, start)), max(last, stop - 1)
        if used + last - first >= len(points):
            points = longer(points, used, 2 * len(points) + last - first)
        for x in range(first, last + 1):
            if edges[1, x] >= 0:
                points[used, 0], points[used, 1] = z, x
                points[used, 2], points[used, 3] = edges[0, x], edges[1, x]
                used += 1
                edges[0, x], edges[1, x] = _NEVER, -1
    return points, used


@compiled
def _by_plane(points: Array, used: int, tally: Array, ordered: Array) -> None:
    """Sort points by their second column into `ordered`, as the first there; `tally` is work space."""
    if used == 0:
        return
    low, high = points[0, 1], points[0, 1]
    for i in range(used):
        low, high = min(low, points[i, 1]), max(high, points[i, 1])
    for plane in range(low, high + 2):
        tally[plane] = 0
    for i in range(used):
        tally[points[i, 1] + 1] += 1
    for plane in range(low, high + 1):
        tally[plane + 1] += tally[plane]
    for i in range(used):
        plane = points[i, 1]
        to = tally[plane]
        tally[plane] = to + 1
        ordered[to, 0], ordered[to, 1] = plane, points[i, 0]
        ordered[to, 2], ordered[to, 3] = points[i, 2], points[i, 3]


@compiled
def _hulls(points: Array, used: int, name: tuple[int, int], out: Array, made: int) -> tuple[Array, int]:
    """Append the corners of the hull of every plane, each once, to `out`; returns it, longer if need be.

    `points` (plane, u, smallest and largest v) are sorted by plane and u.
    """
    if made + 2 * used > len(out):
        out = longer(out, made, 2 * (made + used))
    first = _NONE
    while first < used:
        plane, last = points[first, 0], first + 1
        while last < used and points[last, 0] == plane:
            last += 1
        begin, made = made, _half(points, (first, last), 2, out, made)
        middle, made = made, _half(points, (first, last), 3, out, made)
        # The halves share their ends where these are one voxel wide.
        if points[last - 1, 2] == points[last - 1, 3]:
            made -= 1
        if made > middle and points[first, 2] == points[first, 3]:
            made -= 1
            for i in range(middle, made):
                out[i, 3], out[i, 4] = out[i + 1, 3], out[i + 1, 4]
        for i in range(begin, made):
            out[i, 0], out[i, 1], out[i, 2] = name[0], name[1], plane
        first = last
    return out, made


@compiled
def _half(points: Array, plane: tuple[int, int], column: int, out: Array, made: int) -> int:
    """Append the corners of one half of the hull of a plane, that of the smallest (2) or largest v (3).

    Coordinates are below 2**31 and not negative: products are below 2**62, their differences below 2**63.
    """
    begin, sign = made, 5 - 2 * column
    for i in range(plane[0], plane[1]):
        u, v = _integer(points[i, 1]), _integer(points[i, column])
        while made - begin > 1:
            u_before, v_before = _integer(out[made - 2, 3]), _integer(out[made - 2, 4])
            du, dv = out[made - 1, 3] - u_before, out[made - 1, 4] - v_before
            # A point that lies on a line between two others, or inside it, is no corner.
            if sign * (dv * (u - u_before) - (v - v_before) * du) < 0:
                break
            made -= 1
        out[made, 3], out[made, 4] = u, v
        made += 1
    return made
