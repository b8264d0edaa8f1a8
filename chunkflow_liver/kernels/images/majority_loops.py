"""The most frequent label of every cell of a few voxels: one loop over cells."""

from __future__ import annotations

import numpy as np

from chunkflow_liver.kernels.compiled import compiled
from chunkflow_liver.xp import Array


@compiled
def majority(labels: Array, factors: tuple[int, int, int], out: Array) -> None:
    """Fill `out` with the most frequent label of every cell, the smallest of several.

    Parameters
    ----------
    labels : ndarray of shape (Z, Y, X), integer
    factors : tuple of int
        Voxels per cell along (z, y, x).
    out : ndarray of shape (ceil(Z / fz), ceil(Y / fy), ceil(X / fx)), dtype of `labels`
        Cells at a ragged end count the voxels that exist.
    """
    depth, height, width = labels.shape
    fz, fy, fx = factors
    cell = np.empty(fz * fy * fx, labels.dtype)
    differs = np.empty(width, np.uint8)
    for z in range(out.shape[0]):
        last_z = min(depth, (z + 1) * fz)
        for y in range(out.shape[1]):
            last_y = min(height, (y + 1) * fy)
            head = labels[z * fz, y * fy]
            # Whole rows are compared first: nearly all cells hold one label.
            differs[:] = 0
            for k in range(z * fz, last_z):
                for j in range(y * fy, last_y):
                    row = labels[k, j]
                    for x in range(width):
                        differs[x] |= row[x] != head[x]
            for x in range(out.shape[2]):
                first, last_x = x * fx, min(width, (x + 1) * fx)
                mixed = differs[first]
                for i in range(first + 1, last_x):
                    mixed |= differs[i] | (head[i] != head[first])
                if not mixed:
                    out[z, y, x] = head[first]
                    continue
                count = 0
                for k in range(z * fz, last_z):
                    for j in range(y * fy, last_y):
                        for i in range(first, last_x):
                            # Sorted as they come: a cell has few voxels.
                            value, at = labels[k, j, i], count
                            while at > 0 and cell[at - 1] > value:
                                cell[at] = cell[at - 1]
                                at -= 1
                            cell[at] = value
                            count += 1
                best, most, run = cell[0], 1, 1
                for i in range(1, count):
                    run = run + 1 if cell[i] == cell[i - 1] else 1
                    if run > most:
                        best, most = cell[i], run
                out[z, y, x] = best
