"""Loops of the exact distance transform, one axis after the other, compiled."""

from __future__ import annotations

from typing import Any

import numpy as np

from chunkflow_liver.kernels.compiled import compiled

Whole = np.ndarray[Any, np.dtype[Any]]

_STRIP = 256
_TILE = 16


@compiled
def along_rows(start: Whole, out: Whole, costs: Whole, far: Any, first: int) -> None:
    """Write the smallest of `start` plus the cost of getting there along each row.

    Parameters
    ----------
    start : ndarray of shape (M, N), unsigned integer
        `far` where nothing is; other values are all 0, or below every step of the costs, so that only the
        next one on either side can be the smallest.
    out : ndarray of shape (M, W), type of `start`
        For the voxels `first` to `first` + W of each row; `far` where nothing is in reach.
    costs : ndarray of shape (R + 1,), type of `start`
        Cost of 0, 1, .. R steps. A value and a cost must fit the type together.
    far : number of that type
        Above every sum.
    first : int
        The first voxel that is wanted.
    """
    rows, n = start.shape
    reach, wanted = len(costs) - 1, out.shape[1]
    row = np.empty(n, start.dtype)
    for r in range(rows):
        line = start[r]
        before = -1
        at = 0
        while at < n:
            if line[at] < far:
                row[at] = line[at]
                before = at
                at += 1
                continue
            after = at
            while after < n and line[after] >= far:
                row[after] = far
                after += 1
            if before >= 0:
                value = line[before]
                for i in range(at, min(after, before + reach + 1)):
                    row[i] = value + costs[i - before]
            if after < n:
                value = line[after]
                for i in range(max(at, after - reach), after):
                    row[i] = min(row[i], value + costs[after - i])
            at = after
        # Not as a slice: Numba compiles 2.4 s of text for the case that two shapes differ.
        for i in range(wanted):
            out[r, i] = row[first + i]


@compiled
def across_rows(found: Whole, out: Whole, costs: Whole, first: int) -> None:
    """Write the smallest of `found` plus the cost of getting there along the middle axis.

    Parameters
    ----------
    found : ndarray of shape (G, N, B), unsigned integer, C-contiguous
        Sums so far.
    out : ndarray of shape (G, W, B), type of `found`
        For the planes `first` to `first` + W.
    costs : ndarray of shape (R + 1,), type of `found`
        Cost of 0, 1, .. R steps, not decreasing. A sum and a cost must fit the type together.
    first : int
        The first plane that is wanted.
    """
    groups, _, across = found.shape
    for g in range(groups):
        for a in range(0, across, _STRIP):
            _shifted(found, out, (g, a), costs, first, False)


@compiled
def whole_lines(found: Whole, out: Whole, costs: Whole, size: int, far: int) -> None:
    """Write the smallest of `found` along the middle axis plus the squared distance to it, without a limit.

    Parameters
    ----------
    found : ndarray of shape (G, N, B), uint32 or uint64, C-contiguous
        Squares in units; `far` where there is nothing.
    out : ndarray of shape (G, N, B), type of `found`
        `far` where a line holds nothing.
    costs : ndarray of shape (R + 1,), type of `found`
        Square of 0, 1, .. R steps. A square that is not `far` and a cost must fit the type together.
    size : int
        Voxel size along the middle axis, in units.
    far : int
        Above every square.

    Notes
    -----
    Where R steps are enough, rows are shifted; elsewhere lower envelopes are taken.
    """
    groups, _, across = found.shape
    for g in range(groups):
        for a in range(0, across, _STRIP):
            if not _shifted(found, out, (g, a), costs, 0, True):
                _envelopes(found, out, (g, a), size, far)


@compiled
def _shifted(
    found: Whole, out: Whole, place: tuple[int, int], costs: Whole, first: int, finish: bool
) -> bool:
    """`across_rows` of a strip; whether no more steps could lower a sum. With `finish` ends where one could.

    Rows are shifted against each other, which the processor does for many voxels at once; a shift that
    cannot lower anything is left out. For distances of some hundred voxels that is several times as fast as
    lower envelopes.
    """
    g, a = place
    n, b = found.shape[1], min(a + _STRIP, found.shape[2])
    reach, wanted, across = len(costs) - 1, out.shape[1], b - a
    lowest = np.empty(n, found.dtype)
    # A sum is put into an element of the array's type: Numba's own sums have 64 bits, and few fit a register.
    total = np.empty(1, found.dtype)
    for i in range(n):
        row = found[g, i, a:b]
        least = row[0]
        for k in range(across):
            least = min(least, row[k])
        lowest[i] = least
    for i in range(wanted):
        at = i + first
        row, line = found[g, at, a:b], out[g, i, a:b]
        highest = row[0]
        for k in range(across):
            line[k] = row[k]
            highest = max(highest, row[k])
        done = False
        for d in range(1, reach + 1):
            cost = costs[d]
            if cost >= highest:
                done = True
                break
            before = at >= d and lowest[at - d] + cost < highest
            after = at + d < n and lowest[at + d] + cost < highest
            if before and after:
                one, two = found[g, at - d, a:b], found[g, at + d, a:b]
                for k in range(across):
                    total[0] = min(one[k], two[k]) + cost
                    line[k] = min(line[k], total[0])
            elif before or after:
                one = found[g, at - d if before else at + d, a:b]
                for k in range(across):
                    total[0] = one[k] + cost
                    line[k] = min(line[k], total[0])
            else:
                continue
            if d % 4 == 1:
                highest = line[0]
                for k in range(across):
                    highest = max(highest, line[k])
        if finish and not done and reach < n - 1:
            highest = line[0]
            for k in range(across):
                highest = max(highest, line[k])
            if highest > costs[reach]:
                return False
    return True


@compiled
def _envelopes(found: Whole, out: Whole, place: tuple[int, int], size: int, far: int) -> None:
    """`whole_lines` of a strip, by lower envelopes of parabolas in whole numbers [1]_: linear in N.

    Sums are of 64 bits, and the squares of a volume end below 2**53.

    References
    ----------
    .. [1] Meijster, Roerdink and Hesselink, 2000, doi:10.1007/0-306-47025-X_36
    """
    g, first = place
    n, last = found.shape[1], min(first + _STRIP, found.shape[2])
    weight = size * size
    # Lines that lie side by side in memory are read and written together.
    lines, lowered = np.empty((_TILE, n), np.int64), np.empty((_TILE, n), np.int64)
    site, begin = np.empty(n, np.int64), np.empty(n + 1, np.int64)
    for a in range(first, last, _TILE):
        beside = min(_TILE, last - a)
        for i in range(n):
            for k in range(beside):
                lines[k, i] = found[g, i, a + k]
        for k in range(beside):
            line, low = lines[k], lowered[k]
            top = -1
            for u in range(n):
                value = line[u]
                if value == far:
                    continue
                while top >= 0:
                    s, t = site[top], begin[top]
                    if line[s] + weight * (t - s) * (t - s) <= value + weight * (t - u) * (t - u):
                        break
                    top -= 1
                meet = 0
                if top >= 0:
                    s = site[top]
                    ahead = weight * (u * u - s * s) + value - line[s]
                    meet = 1 + ahead // (2 * weight * (u - s))
                if meet < n:
                    top += 1
                    site[top], begin[top] = u, meet
            begin[top + 1] = n
            if top < 0:
                low[:] = far
            for j in range(top + 1):
                s = site[j]
                for i in range(begin[j], begin[j + 1]):
                    low[i] = line[s] + weight * (i - s) * (i - s)
        for i in range(n):
            for k in range(beside):
                out[g, i, a + k] = lowered[k, i]
