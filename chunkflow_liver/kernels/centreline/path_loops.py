"""Loops along paths through an object: the cheapest ways through its voxels, and what lies near a line."""

from __future__ import annotations

import numpy as np

from chunkflow_liver.kernels.compiled import compiled
from chunkflow_liver.xp import Array

MOST_BUCKETS = 1 << 16
"""Of a ring; where costs differ by more, buckets are wider."""


@compiled
def cheapest(
    cost: Array | None,
    place: Array,
    row: Array,
    steps: Array,
    lengths: Array,
    start: int,
    before: Array | None,
    total: Array,
) -> None:
    """Fill `total` with the cost of the cheapest path from voxel `start` to every voxel of an object.

    Parameters
    ----------
    cost : ndarray of shape (V,), float64
        Of every voxel, above 0; a step costs its length times the mean of both. None: all cost 1.
    place : ndarray of shape (V,), int64
        Of every voxel in `row`.
    row : ndarray of shape (N,), int32
        Voxel at each place of the flattened box around the object and a margin, -1 outside the object.
    steps, lengths : ndarray of shape (26,), int64 and float64
        To the neighbours.
    start : int
        First voxel.
    before : ndarray of shape (V,), int32
        Filled with the voxel before each one on its path, the first of those that cost the same; -1 where
        there is none. None: costs alone are asked for.
    total : ndarray of shape (V,), float64
        Infinite where no path leads.

    Notes
    -----
    Voxels wait in a ring of buckets as wide as the cheapest step (Dial, Commun. ACM 12, 1969,
    doi:10.1145/363269.363610): from one bucket a path leads to a later one, so those in it need no order.
    Where rounding, or wider buckets, let a path lead back into its own, a voxel is looked at again: what is
    found is what Dijkstra's method finds.
    """
    count = len(place)
    total[:] = np.inf
    if before is not None:
        before[:] = -1
    width, widest = lengths.min(), lengths.max()
    if cost is not None:
        width, widest = width * cost.min(), widest * cost.max()
    width = max(width, widest / MOST_BUCKETS)
    many = int(widest / width) + 2
    # Of each bucket the first voxel, of each voxel those beside it there; -2 before one that waits nowhere.
    head = np.full(many, -1, np.int32)
    after, ahead = np.empty(count, np.int32), np.full(count, -2, np.int32)
    total[start], after[start], ahead[start], head[0] = 0.0, -1, -1, start
    bucket, waiting = 0, 1
    while waiting:
        slot = bucket % many
        node = head[slot]
        if node < 0:
            bucket += 1
            continue
        head[slot] = after[node]
        if after[node] >= 0:
            ahead[after[node]] = -1
        ahead[node] = -2
        waiting -= 1
        here = total[node]
        for k in range(len(steps)):
            # Unsigned numbers need not be checked for places counted from the end.
            other = row[np.uint64(place[node] + steps[k])]
            if other < 0:
                continue
            known = total[np.uint32(other)]
            # What was left earlier is not farther.
            if known <= here:
                continue
            length = lengths[k]
            if cost is not None:
                length *= 0.5 * (cost[np.uint32(node)] + cost[np.uint32(other)])
            reached = here + length
            if reached >= known:
                if before is not None and reached == known and node < before[np.uint32(other)]:
                    before[other] = node
                continue
            if ahead[other] > -2:
                if ahead[other] >= 0:
                    after[ahead[other]] = after[other]
                else:
                    head[int(known / width) % many] = after[other]
                if after[other] >= 0:
                    ahead[after[other]] = ahead[other]
                waiting -= 1
            total[other] = reached
            if before is not None:
                before[other] = node
            slot = int(reached / width) % many
            after[other], ahead[other] = head[slot], -1
            if head[slot] >= 0:
                ahead[head[slot]] = other
            head[slot] = other
            waiting += 1


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
