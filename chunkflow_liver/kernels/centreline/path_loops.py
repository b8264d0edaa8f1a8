"""Loops along paths through an object: the cheapest ways through its voxels, and what lies near a line."""

from __future__ import annotations

import numpy as np

from chunkflow_liver.kernels.compiled import compiled
from chunkflow_liver.xp import Array


@compiled
def cheapest(
    cost: Array,
    place: Array,
    row: Array,
    steps: Array,
    lengths: Array,
    start: int,
    before: Array,
    total: Array,
) -> None:
    """Fill `total` with the cost of the cheapest path from voxel `start` to every voxel of an object.

    Parameters
    ----------
    cost : ndarray of shape (V,), float64
        Of every voxel; a step costs its length times the mean of both.
    place : ndarray of shape (V,), int64
        Of every voxel in `row`.
    row : ndarray of shape (N,), int32
        Voxel at each place of the flattened box around the object and a margin, -1 outside the object.
    steps, lengths : ndarray of shape (26,), int64 and float64
        To the neighbours.
    start : int
        First voxel.
    before : ndarray of shape (V,), int32
        Filled with the voxel before each one on its path, -1 where there is none.
    total : ndarray of shape (V,), float64
        Infinite where no path leads.

    Notes
    -----
    Dijkstra's method with a binary heap that knows where its entries are. Of two equally cheap paths the
    one that was found first stays.
    """
    count = len(place)
    before[:], total[:] = -1, np.inf
    heap, where = np.empty(count, np.int32), np.full(count, -1, np.int32)
    heap[0], where[start], total[start] = start, 0, 0.0
    size = 1
    while size:
        node = heap[0]
        here, own = total[node], cost[node]
        size -= 1
        if size:
            # The last entry sinks from the top to where both below it cost as much or more.
            moved, at = heap[size], 0
            while 2 * at + 1 < size:
                child = 2 * at + 1
                if child + 1 < size and total[heap[child + 1]] < total[heap[child]]:
                    child += 1
                if total[moved] <= total[heap[child]]:
                    break
                heap[at] = heap[child]
                where[heap[at]] = at
                at = child
            heap[at] = moved
            where[moved] = at
        for k in range(len(steps)):
            # Unsigned numbers need not be checked for places counted from the end.
            other = row[np.uint64(place[node] + steps[k])]
            # What was left earlier is not farther, and what is outside is nothing.
            if other < 0 or total[np.uint32(other)] <= here:
                continue
            reached = here + lengths[k] * 0.5 * (own + cost[np.uint32(other)])
            if reached < total[np.uint32(other)]:
                total[other], before[other] = reached, node
                at = where[other]
                if at < 0:
                    at = size
                    size += 1
                while at > 0 and reached < total[heap[(at - 1) // 2]]:
                    heap[at] = heap[(at - 1) // 2]
                    where[heap[at]] = at
                    at = (at - 1) // 2
                heap[at] = other
                where[other] = at


@compiled
def way_back(before: Array, target: int, way: Array) -> int:
    """Fill `way` with the voxels from `target` back to the first one of its path; how many there are."""
    n = 0
    while target >= 0:
        way[n] = target
        target = before[target]
        n += 1
    return n


@compiled
def near_line(line: Array, reach: Array, points: Array, wanted: Array, found: Array) -> None:
    """Mark in `found` the `wanted` points (n, 3) within `reach` (m,) of the nearest one of `line` (m, 3)."""
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    most = 0.0
    for i in range(len(line)):
        most = max(most, reach[i])
        for axis in range(3):
            low[axis], high[axis] = min(low[axis], line[i, axis]), max(high[axis], line[i, axis])
    low -= most
    high += most
    for k in range(len(points)):
        if not wanted[k]:
            continue
        z, y, x = points[k, 0], points[k, 1], points[k, 2]
        # Most points are beyond the reach of the whole line.
        inside = low[0] <= z <= high[0] and low[1] <= y <= high[1] and low[2] <= x <= high[2]
        if not inside:
            continue
        nearest, best = 0, np.inf
        for i in range(len(line)):
            dz, dy, dx = z - line[i, 0], y - line[i, 1], x - line[i, 2]
            square = dz * dz + dy * dy + dx * dx
            if square < best:
                nearest, best = i, square
        found[k] = np.sqrt(best) <= reach[nearest]
