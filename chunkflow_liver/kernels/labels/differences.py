"""Where two labellings differ: overlaps of windows of single slices, and the worst of these."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from chunkflow_liver.geometry import Zyx
from chunkflow_liver.kernels.labels.overlap import Overlap, overlap
from chunkflow_liver.kernels.rows import merged
from chunkflow_liver.xp import Array

PLACE = ("z", "y", "x")
KEYS = (*PLACE, "a", "b")
APART = 3
"""Slices between two windows at the same place that are both shown: neighbours look alike."""


def overlap_by_window(
    a: Array, b: Array, known: Array | None, origin: Zyx, side: int
) -> dict[str, np.ndarray[Any, Any]]:
    """Voxels shared by every pair of labels that meet, in windows of single slices.

    Parameters
    ----------
    a, b : ndarray of shape (Z, Y, X), integer
        Two labellings of the same voxels; 0 counts as a label.
    known : ndarray of shape (Z, Y, X), bool, optional
        Voxels that are compared; all if not given.
    origin : tuple of int
        Place of the first voxel in the volume.
    side : int
        Rows and columns of a window. Windows begin at multiples of it in the volume, not in the block.

    Returns
    -------
    dict of ndarray of shape (P,)
        `z`, `y`, `x`: first voxel of the window (int64); `a`, `b`, `voxels` as of `overlap`. Sorted by these.
    """
    parts = []
    for rows in _tiles(origin[1], a.shape[1], side):
        for columns in _tiles(origin[2], a.shape[2], side):
            corner = [
                (at + first) // side * side
                for at, first in zip(origin[1:], (rows.start, columns.start), strict=True)
            ]
            for z in range(a.shape[0]):
                here = (slice(z, z + 1), rows, columns)
                if known is None:
                    met = overlap(a[here], b[here])
                else:
                    seen = known[here]
                    met = overlap(a[here][seen][None, None], b[here][seen][None, None])
                place = dict(zip(PLACE, (origin[0] + z, *corner), strict=True))
                parts.append({k: np.full(len(met["a"]), v, np.int64) for k, v in place.items()} | met)
    return merge_windows(parts)


def _tiles(start: int, length: int, side: int) -> list[slice]:
    """Parts of an axis of a block that lie in different windows."""
    ends = [start, *range((start // side + 1) * side, start + length, side), start + length]
    return [slice(p - start, q - start) for p, q in itertools.pairwise(ends)]


def merge_windows(parts: Iterable[Mapping[str, Array]]) -> dict[str, np.ndarray[Any, Any]]:
    """The overlaps by window of several disjoint blocks as one; exact in any order."""
    none = {k: np.zeros(0, np.int64) for k in PLACE} | {k: np.zeros(0, np.uint64) for k in ("a", "b")}
    return merged(parts, KEYS, none | {"voxels": np.zeros(0, np.int64)})


def whole(windows: Mapping[str, Array]) -> dict[str, np.ndarray[Any, Any]]:
    """The overlap of all windows together."""
    empty = {"a": np.zeros(0, np.uint64), "b": np.zeros(0, np.uint64), "voxels": np.zeros(0, np.int64)}
    return merged([{k: windows[k] for k in empty}], ("a", "b"), empty)


def by_slice(windows: Mapping[str, Array]) -> Iterable[tuple[int, Overlap]]:
    """Every slice with something to compare, and the overlap in it."""
    for z, first, last in _runs(windows["z"]):
        yield z, whole({k: v[first:last] for k, v in windows.items()})


def _runs(values: Array) -> Iterable[tuple[int, int, int]]:
    """Value, first row and end of every run of a sorted column."""
    found, first = np.unique(values, return_index=True)
    ends = np.append(first, len(values))
    return zip(found.tolist(), ends.tolist(), ends[1:].tolist(), strict=False)


def worst_windows(
    windows: Mapping[str, Array], is_found: Array, is_true: Array, right: Array, most: int
) -> dict[str, np.ndarray[Any, Any]]:
    """Windows with most wrong voxels, the worst first.

    Parameters
    ----------
    windows : mapping
        Rows of `overlap_by_window`.
    is_found, is_true, right : ndarray of shape (P,), bool
        Rows whose voxels were found, are true, and both in agreement.
    most : int
        Windows wanted. Of those that lie less than `APART` slices above each other, the worst is taken.

    Returns
    -------
    dict of ndarray of shape (W,)
        `z`, `y`, `x`: first voxel; `right`, `found_only`, `truth_only`: voxels.
    """
    counts = [np.where(mask, windows["voxels"], 0) for mask in (right, is_found & ~right, is_true & ~right)]
    place = np.stack([windows[k] for k in PLACE], 1)
    places, group = np.unique(place, axis=0, return_inverse=True)
    sums = np.zeros((3, len(places)), np.int64)
    for total, values in zip(sums, counts, strict=True):
        np.add.at(total, group.ravel(), values)
    wrong = sums[1] + sums[2]
    taken: list[int] = []
    for i in np.argsort(-wrong, kind="stable").tolist():
        if len(taken) == most or not wrong[i]:
            break
        near = (
            (places[i, 1:] == places[j, 1:]).all() and abs(places[i, 0] - places[j, 0]) < APART for j in taken
        )
        if not any(near):
            taken.append(i)
    names = (*PLACE, "right", "found_only", "truth_only")
    columns = [*places.T, *sums]
    return {name: column[taken].astype(np.int64) for name, column in zip(names, columns, strict=True)}
