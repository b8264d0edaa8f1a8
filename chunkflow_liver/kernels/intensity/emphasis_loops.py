"""The sums over a matrix of gray levels and sizes (of dependences, runs or zones)."""

from __future__ import annotations

import numpy as np

from chunkflow_liver.kernels.compiled import compiled
from chunkflow_liver.xp import Array

KINDS = (
    *("small", "large", "level_sum2", "level_share2", "size_sum2", "size_share2", "percentage"),
    *("level_variance", "size_variance", "entropy", "low", "high"),
    *("small_low", "small_high", "large_low", "large_high"),
)
"""What `emphases_of` gives, in this order."""
_EPS = np.spacing(1.0)


@compiled
def emphases_of(level: Array, size: Array, n: Array, by_level: Array, by_size: Array, found: Array) -> None:
    """Fill `found` (float64, one for each of `KINDS`) from the entries of one matrix.

    Entries have a gray level and a size (int64, from 1) each and count `n` (float64); `by_level` and
    `by_size` (float64) are zeros up to the largest of each, and are zeros again afterwards.
    """
    total, mean_level, mean_size = 0.0, 0.0, 0.0
    for k in range(len(n)):
        total += n[k]
        mean_level += n[k] * level[k]
        mean_size += n[k] * size[k]
        by_level[level[k]] += n[k]
        by_size[size[k]] += n[k]
    voxels = mean_size
    mean_level /= total
    mean_size /= total
    found[:] = 0.0
    for k in range(len(n)):
        i, j, count = float(level[k]), float(size[k]), n[k]
        ii, jj = i * i, j * j
        found[0] += count / jj
        found[1] += count * jj
        found[2] += by_level[level[k]] * by_level[level[k]]
        by_level[level[k]] = 0.0
        found[4] += by_size[size[k]] * by_size[size[k]]
        by_size[size[k]] = 0.0
        found[7] += count * (i - mean_level) * (i - mean_level)
        found[8] += count * (j - mean_size) * (j - mean_size)
        share = count / total
        found[9] -= share * np.log2(share + _EPS)
        found[10] += count / ii
        found[11] += count * ii
        found[12] += count / (ii * jj)
        found[13] += count * ii / jj
        found[14] += count * jj / ii
        found[15] += count * ii * jj
    for kind in range(16):
        if kind not in (6, 9):
            found[kind] /= total
    found[3] = found[2] / total
    found[5] = found[4] / total
    found[6] = total / voxels


@compiled
def emphases_of_groups(begin: Array, level: Array, size: Array, n: Array, found: Array) -> None:
    """Fill row k of `found` from the entries `begin[k] : begin[k + 1]`; nan where there are none."""
    by_level, by_size = np.zeros(level.max() + 1), np.zeros(size.max() + 1)
    for k in range(len(found)):
        part = slice(begin[k], begin[k + 1])
        emphases_of(level[part], size[part], n[part], by_level, by_size, found[k])
