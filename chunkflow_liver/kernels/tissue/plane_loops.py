"""Loops over the pixels of a slice: labels pulled along a displacement, and a flood from markers."""

from __future__ import annotations

from typing import Any

import numpy as np

from chunkflow_liver.kernels.compiled import compiled


@compiled
def pull_labels(labels: Any, by: Any, reduce: int, out: Any) -> None:
    """Labels at the pixel nearest to p + by(p); `by` (2, h, w) is of cells of `reduce` x `reduce` pixels."""
    height, width = labels.shape
    most_y, most_x = by.shape[1] - 1, by.shape[2] - 1
    for y in range(height):
        at_y = (y + 0.5) / reduce - 0.5
        top = min(max(int(np.floor(at_y)), 0), most_y)
        low = min(top + 1, most_y)
        fy = min(max(at_y - top, 0.0), 1.0)
        for x in range(width):
            at_x = (x + 0.5) / reduce - 0.5
            left = min(max(int(np.floor(at_x)), 0), most_x)
            right = min(left + 1, most_x)
            fx = min(max(at_x - left, 0.0), 1.0)
            dy = (1 - fy) * ((1 - fx) * by[0, top, left] + fx * by[0, top, right]) + fy * (
                (1 - fx) * by[0, low, left] + fx * by[0, low, right]
            )
            dx = (1 - fy) * ((1 - fx) * by[1, top, left] + fx * by[1, top, right]) + fy * (
                (1 - fx) * by[1, low, left] + fx * by[1, low, right]
            )
            from_y = min(max(int(np.floor(y + dy * reduce + 0.5)), 0), height - 1)
            from_x = min(max(int(np.floor(x + dx * reduce + 0.5)), 0), width - 1)
            out[y, x] = labels[from_y, from_x]


@compiled
def flood(labels: Any, level: Any, levels: int, links: Any) -> None:
    """Flood a slice from its markers, lowest level first, at one level first come first served.

    Parameters
    ----------
    labels : ndarray of shape (N,), integer
        Markers; 0 where none is. Becomes the result.
    level : ndarray of shape (N,), uint16
        Of every pixel of the slice with a rim of one pixel, which has the level `levels` like all that is not
        flooded.
    levels : int
        Levels are below it.
    links : ndarray of shape (K,), int64
        Steps from a pixel to its neighbours.

    Notes
    -----
    Lower pixels behind a pass are taken before the flood goes on at the pass: the order of a heap of (level,
    age), which costs a logarithm more. Queues of all levels are lists through the pixels, so memory is that
    of the slice.
    """
    following = np.zeros(len(labels), np.int32)
    first = np.zeros(levels, np.int32)
    last = np.zeros(levels, np.int32)
    lowest = levels
    # Pixel 0 is of the rim, so 0 ends a list.
    for p in range(len(labels)):
        if labels[p] == 0 or level[p] >= levels:
            continue
        edge = False
        for k in links:
            q = p + k
            if labels[q] == 0 and level[q] < levels:
                edge = True
        if edge:
            at = level[p]
            if first[at] == 0:
                first[at] = p
            else:
                following[last[at]] = p
            last[at] = p
            if at < lowest:
                lowest = at
    now = lowest
    while now < levels:
        p = first[now]
        if p == 0:
            now += 1
            continue
        first[now] = following[p]
        following[p] = 0
        for k in links:
            q = p + k
            if labels[q] != 0 or level[q] >= levels:
                continue
            labels[q] = labels[p]
            at = level[q]
            if at < now:
                now = at
            if first[at] == 0:
                first[at] = q
            else:
                following[last[at]] = q
            last[at] = q


@compiled
def part_peaks(parts: Any, depth: Any, peaks: Any) -> None:
    """The largest depth of every part; `parts` holds numbers below `len(peaks)`, flat as `depth`."""
    for p in range(len(parts)):
        n = parts[p]
        if depth[p] > peaks[n]:
            peaks[n] = depth[p]


@compiled
def first_pixels(parts: Any, first: Any) -> None:
    """Where every part begins; `first` is -1 before, and knows the lower numbers only."""
    for p in range(len(parts)):
        n = parts[p]
        if n < len(first) and first[n] < 0:
            first[n] = p
