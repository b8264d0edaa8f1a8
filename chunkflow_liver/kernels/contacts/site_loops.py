"""Compiled: runs of voxels that are given one by one, and sums over the components that the runs make."""

from __future__ import annotations

import numpy as np

from chunkflow_liver.kernels.compiled import compiled
from chunkflow_liver.xp import Array


@compiled
def voxel_runs(at: Array, value: Array, rows: Array) -> tuple[Array, Array, Array, Array]:
    """Order of some voxels by row and place, and the runs of equal values that they make.

    Parameters
    ----------
    at : ndarray of shape (2, K), int64
        Row of each voxel, and its place along the row; no voxel twice, those of a row mostly in order.
    value : ndarray of shape (K,), uint64
    rows : ndarray of shape (rows + 1,), int64
        Zeros; filled with the first run of every row, and how many runs there are.

    Returns
    -------
    order : ndarray of shape (K,), int64
    start, stop : ndarray of shape (R,), uint32
        Half-open range of each run along its row.
    first : ndarray of shape (R + 1,), int64
        Where the voxels of each run begin in `order`, and K.
    """
    voxels = at.shape[1]
    row, place = at[0], at[1]
    begins = np.zeros(len(rows), np.int64)
    for k in range(voxels):
        begins[row[k] + 1] += 1
    begins = np.cumsum(begins)
    ends = begins.copy()
    order = np.empty(voxels, np.int64)
    for k in range(voxels):
        i = ends[row[k]]
        ends[row[k]] += 1
        while i > begins[row[k]] and place[order[i - 1]] > place[k]:
            order[i] = order[i - 1]
            i -= 1
        order[i] = k
    start, stop = np.empty(voxels, np.uint32), np.empty(voxels, np.uint32)
    first = np.empty(voxels + 1, np.int64)
    runs = 0
    for r in range(len(rows) - 1):
        rows[r] = runs
        last = -1
        for i in range(begins[r], begins[r + 1]):
            k = order[i]
            if last < 0 or place[k] != place[last] + 1 or value[k] != value[last]:
                start[runs], first[runs] = place[k], i
                runs += 1
            stop[runs - 1] = place[k] + 1
            last = k
    rows[len(rows) - 1] = runs
    first[runs] = voxels
    return order, start[:runs].copy(), stop[:runs].copy(), first[: runs + 1].copy()


@compiled
def part_sums(
    order: Array, first: Array, label: Array, square: Array, weights: Array, counted: Array, sums: Array
) -> None:
    """Add up the voxels of every component.

    Parameters
    ----------
    order, first : ndarray
        From `voxel_runs`.
    label : ndarray of shape (R,), uint32
        Component of each run, 1..n in the order of first runs.
    square : ndarray of shape (K,), int64
    weights : ndarray of shape (W, K), int64
    counted : ndarray of shape (K,), bool
    sums : ndarray of shape (n, 3 + W), int64
        Zeros; filled with the first voxel of each component, its smallest square, and of the counted
        voxels their number and the sums of their weights.
    """
    seen = 0
    for r in range(len(label)):
        row = sums[label[r] - 1]
        if label[r] > seen:
            seen += 1
            row[0], row[1] = order[first[r]], square[order[first[r]]]
        for i in range(first[r], first[r + 1]):
            k = order[i]
            row[1] = min(row[1], square[k])
            if counted[k]:
                row[2] += 1
                for w in range(len(weights)):
                    row[3 + w] += weights[w, k]
