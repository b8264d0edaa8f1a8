"""The loop of `chains` along lines of voxels."""

from __future__ import annotations

import numpy as np

from chunkflow_liver.kernels.compiled import compiled
from chunkflow_liver.xp import Array


@compiled
def walk(beside: Array, order: Array, ends: Array) -> int:
    """Put voxels of lines in order, line after line; how many lines there are.

    Parameters
    ----------
    beside : ndarray of shape (n, 2), int64
        Rows of the two neighbours of each voxel, -1 for one that is no row.
    order : ndarray of shape (n,), int64
        Gets the rows.
    ends : ndarray of shape (n,), int64
        Gets, line by line, how many voxels were put when it ended.
    """
    n = len(beside)
    seen = np.zeros(n, np.bool_)
    put, lines = 0, 0
    # Lines with ends first; what is left are closed ones.
    for closed in range(2):
        for first in range(n):
            if seen[first] or (closed == 0 and beside[first, 0] >= 0 and beside[first, 1] >= 0):
                continue
            at = first
            while at >= 0:
                seen[at] = True
                order[put] = at
                put += 1
                one, two = beside[at, 0], beside[at, 1]
                at = -1
                if one >= 0 and not seen[one]:
                    at = one
                elif two >= 0 and not seen[two]:
                    at = two
            ends[lines] = put
            lines += 1
    return lines
