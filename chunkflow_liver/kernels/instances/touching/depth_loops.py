"""Loops over the voxels of a mask: how deep in it they lie."""

from __future__ import annotations

from typing import Any

import numpy as np

from chunkflow_liver.kernels.compiled import compiled

Whole = np.ndarray[Any, np.dtype[Any]]


@compiled
def depth_in_rows(solid: Whole, size: int, far: int, out: Whole) -> None:
    """Squared distance along x to the next voxel that is not solid, `far` where no such one is in reach.

    Parameters
    ----------
    solid : ndarray of shape (M, N), bool
        What lies beyond the ends of a row is unknown.
    size : int
        Voxel size along x, in units.
    far : int
        Above every square that is wanted.
    out : ndarray of shape (M, N), uint32 or uint64
        0 where not solid.
    """
    rows, n = solid.shape
    for r in range(rows):
        line, found = solid[r], out[r]
        at = 0
        while at < n:
            if not line[at]:
                found[at] = 0
                at += 1
                continue
            after = at
            while after < n and line[after]:
                after += 1
            for i in range(at, after):
                square = far
                if at > 0:
                    square = min(square, ((i - at + 1) * size) ** 2)
                if after < n:
                    square = min(square, ((after - i) * size) ** 2)
                found[i] = square
            at = after


@compiled
def depth_across(found: Whole, size: int, out: Whole) -> None:
    """Smallest of `found` along the middle axis plus the squared distance to it; 0 where `found` is 0.

    Parameters
    ----------
    found, out : ndarray of shape (G, N, B), uint32 or uint64, C-contiguous
        Squares in units. Of the voxels that are not 0 only those up to the next 0 on either side matter.
    size : int
        Voxel size along the middle axis, in units.
    """
    groups, n, across = found.shape
    for g in range(groups):
        for i in range(n):
            for k in range(across):
                best = np.int64(found[g, i, k])
                if best == 0:
                    out[g, i, k] = 0
                    continue
                d, cost = 1, np.int64(size) * size
                before, after = True, True
                while cost < best and (before or after):
                    if before:
                        if i < d:
                            before = False
                        else:
                            value = np.int64(found[g, i - d, k])
                            best = min(best, value + cost)
                            if value == 0:
                                before = False
                    if after:
                        if i + d >= n:
                            after = False
                        else:
                            value = np.int64(found[g, i + d, k])
                            best = min(best, value + cost)
                            if value == 0:
                                after = False
                    d += 1
                    cost = np.int64(d * size) * (d * size)
                out[g, i, k] = best


@compiled
def rounded_roots(squares: Whole, unit: float, cap: float, step: float, out: Whole) -> None:
    """Roots of squares in units, at most `cap`, in whole steps; `out` has the squares' shape (V,), int32."""
    for at in range(len(squares)):
        square = squares[at]
        out[at] = 0 if square == 0 else np.rint(min(np.sqrt(np.float64(square)) * unit, cap) / step)
