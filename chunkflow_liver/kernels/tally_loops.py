"""Compiled: sums over rows with equal keys, from a table of the keys seen so far."""

from __future__ import annotations

import numpy as np

from chunkflow_liver.kernels.compiled import compiled
from chunkflow_liver.xp import Array


@compiled
def pair_sums(
    label: Array, area: Array, counted: Array, voxel: Array, met: Array, square: Array
) -> tuple[Array, int]:
    """How many voxels, of which area, have each label, meet each other one, and are that far from it.

    Parameters
    ----------
    label, area : ndarray of shape (M,), int64
        Of each voxel. Only whether labels are equal matters: ids are given bit by bit.
    counted : ndarray of shape (M,), bool
        The voxels that count.
    voxel, met, square : ndarray of shape (K,), int64
        Voxel, label and squared gap of each meeting.

    Returns
    -------
    rows : ndarray of shape (R, 5), int64
        Label of the voxels, label met, squared gap, voxels, area; the first `count` are filled, each key is
        there once, in the order of their first voxels.
    count : int

    Notes
    -----
    Only the hash of a key wraps, which does no harm. Areas of a voxel are below 2**24 (`surface_areas`):
    2**39 voxels add up without a wrap.
    """
    rows, count = np.empty((1 << 10, 5), np.int64), 0
    table = np.full(1 << 12, -1, np.int64)
    keys = label, met, square
    k, count = _add(keys, area, counted, voxel, rows, table, 0, 0)
    while k < len(voxel):
        more = np.empty((4 * count, 5), np.int64)
        more[:count] = rows
        rows = more
        table = np.full(4 * len(rows), -1, np.int64)
        for i in range(count):
            slot = _slot(rows[i, 0], rows[i, 1], rows[i, 2], table)
            while table[slot] >= 0:
                slot = (slot + 1) & (len(table) - 1)
            table[slot] = i
        k, count = _add(keys, area, counted, voxel, rows, table, k, count)
    return rows, count


@compiled
def _add(
    keys: tuple[Array, Array, Array],
    area: Array,
    counted: Array,
    voxel: Array,
    rows: Array,
    table: Array,
    first: int,
    count: int,
) -> tuple[int, int]:
    """Add meetings from `first` on until `rows` are full; where it stopped, and how many rows are filled.

    The rows are no arrays of its own, so that their references are not counted at every step.
    """
    label, met, square = keys
    mask, at = len(table) - 1, 0
    for k in range(first, len(voxel)):
        v = voxel[k]
        if not counted[v]:
            continue
        own, other, gap = label[v], met[k], square[k]
        # Neighbours in a volume mostly share their keys.
        if count == 0 or rows[at, 0] != own or rows[at, 1] != other or rows[at, 2] != gap:
            slot = _slot(own, other, gap, table)
            at = table[slot]
            while at >= 0 and (rows[at, 0] != own or rows[at, 1] != other or rows[at, 2] != gap):
                slot = (slot + 1) & mask
                at = table[slot]
            if at < 0:
                if count == len(rows):
                    return k, count
                at = table[slot] = count
                rows[at, 0], rows[at, 1], rows[at, 2], rows[at, 3], rows[at, 4] = own, other, gap, 0, 0
                count += 1
        rows[at, 3] += 1
        rows[at, 4] += area[v]
    return len(voxel), count


@compiled
def _slot(own: int, other: int, gap: int, table: Array) -> int:
    """Where a key is looked for first in a table of a power of two of slots."""
    code = own * 0x2545F4914F6CDD1D + other * 0x5851F42D4C957F2D + gap * 0x369DEA0F31A53F85
    return (code ^ (code >> 31)) & (len(table) - 1)
