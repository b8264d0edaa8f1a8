"""Loops of `thinning` over the voxels of a box."""

from __future__ import annotations

import numpy as np

from chunkflow_liver.kernels.compiled import compiled
from chunkflow_liver.xp import Array


def _around() -> tuple[Array, Array, Array]:
    """Offsets (z, y, x) of the 26 neighbours; for each, as bits, the others that touch it and share faces.

    Only the 18 that share an edge or a face with the middle have others across faces.
    """
    offsets = np.array([(z, y, x) for z in (-1, 0, 1) for y in (-1, 0, 1) for x in (-1, 0, 1) if z or y or x])
    touching, facing = np.zeros(26, np.int64), np.zeros(26, np.int64)
    near = np.abs(offsets).sum(1) <= 2
    for i, one in enumerate(offsets):
        for j, two in enumerate(offsets):
            apart = np.abs(one - two)
            if i != j and apart.max() == 1:
                touching[i] |= 1 << j
            if apart.sum() == 1 and near[i] and near[j]:
                facing[i] |= 1 << j
    return offsets, touching, facing


_OFFSETS, _TOUCHING, _FACING = _around()
_FACES = int(sum(1 << i for i, o in enumerate(_OFFSETS) if np.abs(o).sum() == 1))
_NEAR = int(sum(1 << i for i, o in enumerate(_OFFSETS) if np.abs(o).sum() <= 2))
_ALL = (1 << 26) - 1


@compiled
def _lowest(bits: int) -> int:
    """Number of the lowest bit that is set."""
    found = 0
    while not (bits >> found) & 1:
        found += 1
    return found


@compiled
def _flooded(within: int, start: int, across: Array) -> int:
    """The bits of `within` that can be reached from the bit `start`."""
    reached, waiting = start, start
    while waiting:
        lowest = waiting & -waiting
        waiting ^= lowest
        new = across[_lowest(lowest)] & within & ~reached
        reached |= new
        waiting |= new
    return reached


@compiled
def removable(inside: int) -> bool:
    """Whether a voxel with these neighbours can go: the topology stays, and it is no end of a line.

    Parameters
    ----------
    inside : int
        Bits of the 26 neighbours that belong to the object, in the order of `_around`.
    """
    # One neighbour or none: an end, or all that is left.
    if inside & (inside - 1) == 0:
        return False
    outside = ~inside & _NEAR
    faces = outside & _FACES
    if faces == 0:
        return False
    if _flooded(outside, faces & -faces, _FACING) & _FACES != faces:
        return False
    return _flooded(inside, inside & -inside, _TOUCHING) == inside


@compiled
def removable_at_end(inside: int, goes_on: int) -> bool:
    """Whether a voxel beside which nothing is known can go.

    Parameters
    ----------
    inside : int
        Bits of the neighbours, those not known unset: the topology of what is there must stay.
    goes_on : int
        The same as if what lies beside the end went on beyond it: there, the tubes of the object do.
    """
    alone = inside != 0 and inside & (inside - 1) == 0
    return (alone or removable(inside)) and removable(goes_on)


@compiled
def _beside(hidden: Array, z: int, y: int, x: int) -> bool:
    """Whether a neighbour of a voxel is hidden."""
    seen = False
    for i in range(26):
        seen |= hidden[z + _OFFSETS[i, 0], y + _OFFSETS[i, 1], x + _OFFSETS[i, 2]] != 0
    return seen


@compiled
def _repeated(state: Array, hidden: Array, z: int, y: int, x: int, dz: int, dy: int, dx: int) -> bool:
    """Whether a hidden neighbour of a voxel is of the object if what lies beside it were repeated there.

    It is what is known with as few steps less as need be: one, two, or all three (the voxel itself); of
    several any. Where a plane ends what is known that is the voxel in that plane.
    """
    for steps in range(1, 4):
        seen = False
        for kept in range(8):
            a, b, c = dz * (kept & 1), dy * (kept >> 1 & 1), dx * (kept >> 2 & 1)
            if abs(dz - a) + abs(dy - b) + abs(dx - c) != steps:
                continue
            if not hidden[z + a, y + b, x + c]:
                seen = True
                if state[z + a, y + b, x + c] != 0:
                    return True
        if seen:
            return False
    return False


@compiled
def sweep(
    state: Array, border: Array, rows: Array, limit: int, passes: Array, ends: Array, hidden: Array
) -> int:
    """One sweep in place; how many voxels went.

    Parameters
    ----------
    state : ndarray of shape (Z, Y, X), unsigned integer
        Squared distances of the voxels that are left, 0 elsewhere; the outermost voxels are 0.
    border : ndarray of the same shape, uint8
    rows : ndarray of shape (Z, Y), int64
        Both are written over.
    limit : int
        Only voxels of at most this square may go.
    passes : ndarray of shape (8, 3), int64
        First voxel of each subfield, 1 or 2 along every axis, in the order in which they have their turn.
    ends : ndarray of shape (3, 2), int64
        First and last plane along every axis of what was looked at; -1 where that is not in the array.
    hidden : ndarray of the shape of `state`, or of no voxels, uint8
        Not 0 where nothing is known, inside of these planes; 0 in the outermost voxels.
    """
    masked = hidden.size > 0
    depth, height, width = state.shape
    for z in range(1, depth - 1):
        for y in range(1, height - 1):
            seen = 0
            for x in range(1, width - 1):
                square = state[z, y, x]
                open_ = (
                    square > 0
                    and square <= limit
                    and (
                        state[z, y, x - 1] == 0
                        or state[z, y, x + 1] == 0
                        or state[z, y - 1, x] == 0
                        or state[z, y + 1, x] == 0
                        or state[z - 1, y, x] == 0
                        or state[z + 1, y, x] == 0
                    )
                )
                border[z, y, x] = open_
                seen += open_
            rows[z, y] = seen
    gone = 0
    for k in range(8):
        for z in range(passes[k, 0], depth - 1, 2):
            for y in range(passes[k, 1], height - 1, 2):
                if rows[z, y] == 0:
                    continue
                for x in range(passes[k, 2], width - 1, 2):
                    if not border[z, y, x]:
                        continue
                    inside = 0
                    for i in range(26):
                        if state[z + _OFFSETS[i, 0], y + _OFFSETS[i, 1], x + _OFFSETS[i, 2]] != 0:
                            inside |= 1 << i
                    at_end = (
                        z == ends[0, 0]
                        or z == ends[0, 1]
                        or y == ends[1, 0]
                        or y == ends[1, 1]
                        or x == ends[2, 0]
                        or x == ends[2, 1]
                        or (masked and _beside(hidden, z, y, x))
                    )
                    if at_end:
                        goes_on = 0
                        for i in range(26):
                            a, b, c = z + _OFFSETS[i, 0], y + _OFFSETS[i, 1], x + _OFFSETS[i, 2]
                            if (z == ends[0, 0] and a < z) or (z == ends[0, 1] and a > z):
                                a = z
                            if (y == ends[1, 0] and b < y) or (y == ends[1, 1] and b > y):
                                b = y
                            if (x == ends[2, 0] and c < x) or (x == ends[2, 1] and c > x):
                                c = x
                            if masked and hidden[a, b, c]:
                                goes_on |= _repeated(state, hidden, z, y, x, a - z, b - y, c - x) << i
                            elif state[a, b, c] != 0:
                                goes_on |= 1 << i
                        goes = removable_at_end(inside, goes_on)
                    else:
                        goes = removable(inside)
                    if goes:
                        state[z, y, x] = 0
                        gone += 1
    return gone
