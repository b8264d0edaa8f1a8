"""Compiled: sums over rows with equal keys, from a table of the keys seen so far."""

from __future__ import annotations

import numpy as np

from chunkflow_liver.kernels.compiled import compiled
from chunkflow_liver.xp import Array


@compiled
def add_meetings(
    keys: tuple[Array, Array, Array],
    voxel: Array,
    area: Array,
    counted: Array,
    rows: Array,
    table: Array,
    start: tuple[int, int],
) -> tuple[int, int]:
    """Add up how many voxels, of which area, have a label, meet another one, and are that far from it.

    Parameters
    ----------
    keys : tuple of ndarray, int64
        Label of each voxel (M,); label met and squared gap of each meeting (K,). Only whether they are equal
        matters: ids are given bit by bit.
    voxel : ndarray of shape (K,), int64
        Voxel of each meeting.
    area : ndarray of shape (M,), int64
        Of each voxel.
    counted : ndarray of shape (M,), bool
        The voxels that count.
    rows : ndarray of shape (R, 5), int64
        Filled with label of the voxels, label met, squared gap, voxels, area: each key once, in the order of
        their first voxels.
    table : ndarray, int64
        A power of two above R of -1.
    start : tuple of int
        The meeting to begin with, and how many of `rows` are filled.

    Returns
    -------
    tuple of int
        The same to go on with, when `rows` are full.

    Notes
    -----
    Only the hash of a key wraps, which does no harm. Areas of a voxel are 2**24 at most (`surface_areas`):
    2**39 voxels add up without a wrap.
    """
    label, met, square = keys
    first, count = start
    mask, at = len(table) - 1, 0
    for i in range(count):
        slot = _slot(rows[i, 0], rows[i, 1], rows[i, 2], mask)
        while table[slot] >= 0:
            slot = (slot + 1) & mask
        table[slot] = i
    for k in range(first, len(voxel)):
        v = voxel[k]
        if not counted[v]:
            continue
        own, other, gap = label[v], met[k], square[k]
        # Neighbours in a volume mostly share their keys.
        if count == 0 or rows[at, 0] != own or rows[at, 1] != other or rows[at, 2] != gap:
            slot = _slot(own, other, gap, mask)
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
def shell_runs(
    square: Array, label: Array, edges: Array, counts: Array, rows: Array, start: int
) -> tuple[int, int]:
    """Count neighbouring voxels of one label and shell as one row.

    Parameters
    ----------
    square : ndarray of shape (N,), int64
        Squared distance of each voxel.
    label : ndarray of shape (N,), integer
        0 for voxels that do not count.
    edges : ndarray of shape (E,), int64
        Shell k holds edges[k] < square <= edges[k + 1].
    counts : ndarray of shape (n, N), bool
        What else is counted.
    rows : ndarray of shape (R, 3 + n), int64
        Filled with label (bit by bit), shell, voxels and the counts.
    start : int
        The voxel to begin with.

    Returns
    -------
    tuple of int
        The voxel to go on with, when `rows` are full, and how many of them are filled.
    """
    filled, last = 0, len(edges) - 1
    for v in range(start, len(square)):
        far = square[v]
        if label[v] == 0 or far <= edges[0] or far > edges[last]:
            continue
        own, shell = np.int64(label[v]), 0
        while far > edges[shell + 1]:
            shell += 1
        if filled == 0 or rows[filled - 1, 0] != own or rows[filled - 1, 1] != shell:
            if filled == len(rows):
                return v, filled
            rows[filled, 0], rows[filled, 1] = own, shell
            rows[filled, 2:] = 0
            filled += 1
        rows[filled - 1, 2] += 1
        for c in range(len(counts)):
            rows[filled - 1, 3 + c] += counts[c, v]
    return len(square), filled


@compiled
def _slot(own: int, other: int, gap: int, mask: int) -> int:
    """Where a key is looked for first in a table."""
    code = own * 0x2545F4914F6CDD1D + other * 0x5851F42D4C957F2D + gap * 0x369DEA0F31A53F85
    return (code ^ (code >> 31)) & mask
