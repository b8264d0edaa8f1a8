"""Loops of the shortest paths through regions: Dijkstra's method on the voxels of a block."""

from __future__ import annotations

import numpy as np

from chunkflow_liver.kernels.compiled import compiled
from chunkflow_liver.xp import Array


@compiled
def relax(
    region: Array,
    total: Array,
    seeds: Array,
    steps: Array,
    lengths: Array,
    between: Array,
    most: Array,
    far: int,
) -> bool:
    """Shorten `total` until no step from any voxel makes another one shorter; False if a path is too long.

    Parameters
    ----------
    region : ndarray of shape (N,), int32
        Flattened: 0 where no path goes, -1 where paths begin, else the region; 0 as far around as steps go.
    total : ndarray of shape (N,), uint32
        Length of a path to every voxel, `far` without one; changed in place.
    seeds : ndarray of shape (M,), int64
        Voxels whose lengths may make others shorter, each once.
    steps, lengths : ndarray of shape (K,), int64
        To the neighbours, and how long each is.
    between : ndarray of shape (K, 4), int64
        Steps to the voxels that each step passes between, which must be of the region, too.
    most : ndarray of shape (K,), int64
        How many those are.
    far : int
        What every path is shorter than.

    Notes
    -----
    A binary heap that knows where its entries are: no voxel stands in it twice, so that it never holds more
    than there are voxels.
    """
    heap, where = np.empty(len(region), np.int32), np.full(len(region), -1, np.int32)
    size = 0
    for seed in seeds:
        heap[size], where[seed] = seed, size
        _rise(heap, where, total, size)
        size += 1
    while size:
        node = np.int64(heap[0])
        here, own = np.int64(total[node]), region[node]
        where[node] = -1
        size -= 1
        if size:
            heap[0] = heap[size]
            where[heap[0]] = 0
            _sink(heap, where, total, size)
        for k in range(len(steps)):
            other = node + steps[k]
            target = region[other]
            if target <= 0 or (own > 0 and target != own):
                continue
            reached = here + lengths[k]
            if reached >= np.int64(total[other]):
                if reached >= far:
                    return False
                continue
            free = True
            for b in range(most[k]):
                passed = region[node + between[k, b]]
                free = free and (passed == target or passed == -1)
            if not free:
                continue
            total[other] = reached
            at = where[other]
            if at < 0:
                at = size
                heap[at], where[other] = other, at
                size += 1
            _rise(heap, where, total, at)
    return True


@compiled
def _rise(heap: Array, where: Array, total: Array, at: int) -> None:
    """Move an entry up to where the one above it is not longer."""
    moved = heap[at]
    while at > 0 and total[moved] < total[heap[(at - 1) // 2]]:
        heap[at] = heap[(at - 1) // 2]
        where[heap[at]] = at
        at = (at - 1) // 2
    heap[at], where[moved] = moved, at


@compiled
def _sink(heap: Array, where: Array, total: Array, size: int) -> None:
    """Move the first entry down to where both below it are not shorter."""
    moved, at = heap[0], 0
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size and total[heap[child + 1]] < total[heap[child]]:
            child += 1
        if total[moved] <= total[heap[child]]:
            break
        heap[at] = heap[child]
        where[heap[at]] = at
        at = child
    heap[at], where[moved] = moved, at
