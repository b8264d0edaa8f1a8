"""Loops over the voxels of a mask: the basins around the maxima of their depth, and the passes between them.

They take arrays of a box with one voxel around it that is outside, so that every voxel has all its
neighbours; voxels are indices into the raveled box. What is not in the mask is passed over once per loop.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chunkflow_liver.kernels.compiled import compiled

Whole = np.ndarray[Any, np.dtype[Any]]

NOTHING = -1
_MIX = -7046029254386353131
"""An odd number whose bits look random: the golden ratio of 64 bits (Knuth, Art of Programming 3, 6.4)."""


@compiled
def find_peaks(level: Whole, steps: Whole, label: Whole, queue: Whole) -> int:
    """Number the plateaus that are higher than all around them, 1.. in raster order; returns how many.

    Parameters
    ----------
    level : ndarray of shape (V,), int32
        1.. in the mask, 0 elsewhere.
    steps : ndarray of shape (S,), int64
        From a voxel to its neighbours.
    label : ndarray of shape (V,), int32
        Zeros; of peaks their numbers afterwards, 0 elsewhere.
    queue : ndarray of shape (V,), int32
        Room to work in.
    """
    count = 0
    for first in range(len(level)):
        here = level[first]
        if here == 0 or label[first] != 0:
            continue
        higher = False
        for step in steps:
            if level[first + step] > here:
                higher = True
                break
        if higher:
            continue
        # No neighbour of this voxel is higher; whether that is so of its plateau decides.
        label[first] = NOTHING
        queue[0] = first
        done, filled, top = 0, 1, True
        while done < filled:
            at = queue[done]
            done += 1
            for step in steps:
                near = at + step
                if level[near] > here:
                    top = False
                elif level[near] == here and label[near] == 0:
                    label[near] = NOTHING
                    queue[filled] = near
                    filled += 1
        if top:
            count += 1
            for i in range(filled):
                label[queue[i]] = count
    for at in range(len(label)):
        if label[at] == NOTHING:
            label[at] = 0
    return count


@compiled
def flood(level: Whole, steps: Whole, label: Whole, ends: Whole, after: Whole) -> None:
    """Give every voxel of the mask the label from which it is reached at the highest level, in turn.

    Parameters
    ----------
    level : ndarray of shape (V,), int32
        1..L in the mask, 0 elsewhere.
    steps : ndarray of shape (S,), int64
        From a voxel to its neighbours.
    label : ndarray of shape (V,), int32
        Labels where the flood begins, 0 elsewhere; of the whole mask afterwards.
    ends : ndarray of shape (2, L + 1), int32
        First and last voxel of the queue of each level: `NOTHING`.
    after : ndarray of shape (V,), int32
        Room to work in: the next voxel in its queue.

    Notes
    -----
    Meyer's flood [1]_ with a queue for each level, so that nothing is sorted.

    References
    ----------
    .. [1] Meyer, 1994, Topographic distance and watershed lines, doi:10.1016/0165-1684(94)90060-4
    """
    for at in range(len(label)):
        if label[at] != 0:
            _wait(at, level[at], ends, after)
    now = ends.shape[1] - 1
    while now > 0:
        at = ends[0, now]
        if at == NOTHING:
            now -= 1
            continue
        ends[0, now] = after[at]
        if after[at] == NOTHING:
            ends[1, now] = NOTHING
        for step in steps:
            near = at + step
            if level[near] != 0 and label[near] == 0:
                label[near] = label[at]
                # What is higher and was not reached from there is reached over this pass.
                _wait(near, min(level[near], now), ends, after)


@compiled
def _wait(at: int, level: int, ends: Whole, after: Whole) -> None:
    """Put a voxel at the end of a queue."""
    after[at] = NOTHING
    last = ends[1, level]
    if last == NOTHING:
        ends[0, level] = at
    else:
        after[last] = at
    ends[1, level] = at


@compiled
def rims_of_peaks(label: Whole, level: Whole, steps: Whole, rim: Whole) -> int:
    """Voxels of peaks with a lower neighbour, in raster order, into `rim`; returns how many.

    Parameters
    ----------
    label : ndarray of shape (V,), int32
        As `find_peaks` leaves them.
    level, steps
        As for `find_peaks`.
    rim : ndarray of shape (V,), int32
        Room for them.
    """
    count = 0
    for at in range(len(label)):
        if label[at] == 0:
            continue
        for step in steps:
            if level[at + step] < level[at]:
                rim[count] = at
                count += 1
                break
    return count


@compiled
def find_passes(
    label: Whole, level: Whole, steps: Whole, area: Whole, key: Whole, found: tuple[Whole, Whole, Whole]
) -> int:
    """Every two labels that touch, the highest pass between them, and the area over which they touch.

    Parameters
    ----------
    label, level : ndarray of shape (V,), int32
    steps : ndarray of shape (S,), int64
        From a voxel to those of its neighbours that come later.
    area : ndarray of shape (S,), float64
        Of the face between the two; 0 across edges and corners.
    key : ndarray of shape (K,), int64
        `NOTHING`; K is a power of two. The smaller of two labels times 2**32 and the larger one.
    found : three ndarray of shape (K,), int32, int64, float64
        Zeros; level of the pass (that of the lower of two voxels), its first voxel, the area.

    Returns
    -------
    int
        How many pairs there are; `NOTHING` if there are more than K / 2.
    """
    last, count = len(key) - 1, 0
    top, place, wide = found
    for at in range(len(label)):
        one = label[at]
        if one == 0:
            continue
        for k in range(len(steps)):
            near = at + steps[k]
            two = label[near]
            if two == 0 or two == one:
                continue
            pair = (np.int64(min(one, two)) << 32) | np.int64(max(one, two))
            slot = ((pair * _MIX) >> 20) & last
            while key[slot] != pair:
                if key[slot] == NOTHING:
                    if 2 * count >= len(key):
                        return NOTHING
                    key[slot] = pair
                    count += 1
                    break
                slot = (slot + 1) & last
            low = min(level[at], level[near])
            if low > top[slot]:
                top[slot], place[slot] = low, at
            wide[slot] += area[k]
    return count


@compiled
def join_gentle(
    pairs: Whole,
    passes: tuple[Whole, Whole],
    top: Whole,
    peaks: tuple[Whole, Whole],
    depth: float,
    steepness: float,
) -> Whole:
    """Join basins over passes, the first pass first, unless both sides rise from it, far and steeply.

    Parameters
    ----------
    pairs : ndarray of shape (P, 2), int64
        Two basins each, 1..n, the highest pass first.
    passes : tuple of ndarray of shape (P,) and (P, 3), float64
        Height of the pass, and where it is.
    top : ndarray of shape (n + 1,), float64
        Height of the peak of every basin.
    peaks : tuple of ndarray of shape (n + 2,), int64, and (M, 3), float64
        Where the voxels of a basin's peak begin in the list of all, and where they are.
    depth : float
        Least rise from a pass to the highest peak of either side.
    steepness : float
        Least rise from a pass to some peak of either side, over their distance.

    Returns
    -------
    ndarray of shape (n + 1,), int64
        Of every basin one of its group, the same for all of a group.
    """
    n = len(top)
    rise, where = passes
    root, after, last = np.arange(n), np.full(n, NOTHING), np.arange(n)
    highest = top.copy()
    # The passes that were kept, in a list for each group.
    other, further = np.empty(2 * len(pairs), np.int64), np.empty(2 * len(pairs), np.int64)
    first, final = np.full(n, NOTHING), np.full(n, NOTHING)
    kept = 0
    for p in range(len(pairs)):
        a, b = _root(root, pairs[p, 0]), _root(root, pairs[p, 1])
        if a == b:
            continue
        if min(highest[a], highest[b]) - rise[p] >= depth:
            # Two groups are judged at their highest pass; a lower one between them joins nothing.
            apart = False
            at = first[a]
            while at != NOTHING and not apart:
                apart = _root(root, other[at]) == b
                at = further[at]
            if apart:
                continue
            if _is_steep(a, rise[p], where[p], top, peaks, after, steepness) and _is_steep(
                b, rise[p], where[p], top, peaks, after, steepness
            ):
                for one, two in ((a, b), (b, a)):
                    other[kept], further[kept] = two, NOTHING
                    if first[one] == NOTHING:
                        first[one] = kept
                    else:
                        further[final[one]] = kept
                    final[one] = kept
                    kept += 1
                continue
        root[b] = a
        highest[a] = max(highest[a], highest[b])
        after[last[a]] = b
        last[a] = last[b]
        if first[b] != NOTHING:
            if first[a] == NOTHING:
                first[a] = first[b]
            else:
                further[final[a]] = first[b]
            final[a] = final[b]
    for i in range(n):
        root[i] = _root(root, i)
    return root


@compiled
def _is_steep(
    member: int,
    rise: float,
    where: Whole,
    top: Whole,
    peaks: tuple[Whole, Whole],
    after: Whole,
    steepness: float,
) -> bool:
    """Whether the height of a group rises that steeply from a pass to one of its peaks."""
    begin, place = peaks
    while member != NOTHING:
        up = top[member] - rise
        if up > 0:
            for i in range(begin[member], begin[member + 1]):
                square = 0.0
                for k in range(3):
                    square += (place[i, k] - where[k]) ** 2
                if up * up >= steepness * steepness * square:
                    return True
        member = after[member]
    return False


@compiled
def _root(root: Whole, a: int) -> int:
    while root[a] != a:
        root[a] = root[root[a]]
        a = root[a]
    return a
