"""Compiled: the surface voxels of a label block, with the surface that each stands for."""

from __future__ import annotations

import math

import numpy as np

from chunkflow_liver.kernels.compiled import compiled
from chunkflow_liver.xp import Array

_OVER = 96
"""First row of walks that the end of the volume has ended, in the table of turns."""

_BATCH = 512
"""Outlines that are walked in turns: what is known of them stays in the processor's first cache."""

_SHORTEST = 64
"""Shortest side of voxels whose squares are walked in turns: below, two sums of 32 bits may overflow."""


@compiled
def _onward(steps: tuple[int, int, int], lengths: tuple[int, int, int]) -> tuple[Array, Array]:
    """How outlines go on from each of the 24 ways that one can go, so that a walk need not branch.

    Way 12 * turn + 4 * plane + side: planes are along (z, y), (z, x) and (y, x); the outside is on side 0,
    1, 2 or 3 of (+, +, -, -) those axes; the outline goes on to the next side (turn 0) or the one before.

    Returns
    -------
    looks : ndarray of shape (2, 25)
        Steps to the voxel ahead, and to the one beside that, outside.
    turns : ndarray of shape (6, 100)
        For 4 * way, + 2 if the voxel ahead is of the object, + 1 if the one beside that is: step of the
        voxel, new way, length from face to face, steps of the place along both axes in half voxels, length
        of the new face. From `_OVER` on nothing moves.
    """
    looks, turns = np.zeros((2, 25), np.int64), np.zeros((6, _OVER + 4), np.int64)
    turns[1, _OVER:] = _OVER // 4
    along_p, along_q = np.array([1, 0, -1, 0]), np.array([0, 1, 0, -1])
    for way in range(24):
        p, q = (0, 0, 1)[way % 12 // 4], (1, 2, 2)[way % 12 // 4]
        sides = np.array([steps[p], steps[q], -steps[p], -steps[q]])
        longs = np.array([lengths[q], lengths[p], lengths[q], lengths[p]])
        side, turn = way & 3, 3 if way >= 12 else 1
        head = (side + turn) & 3
        looks[0, way], looks[1, way] = sides[head], sides[head] + sides[side]
        for seen in range(4):
            if seen & 1:
                after, step = (side - turn) & 3, looks[1, way]
            elif seen:
                after, step = side, sides[head]
            else:
                after, step = head, 0
            onward, row = (after + turn) & 3, 4 * way + seen
            turns[0, row], turns[1, row] = step, way - side + after
            turns[2, row], turns[5, row] = longs[side] + longs[after], longs[after]
            turns[3, row] = along_p[head] + along_p[onward]
            turns[4, row] = along_q[head] + along_q[onward]
    return looks, turns


@compiled
def _slope(flat: Array, voxel: int, way: int, ways: tuple[Array, Array], reach: int) -> float:
    """Slope, in voxels, of the outline through one face, which goes the way `way` there (see `_onward`).

    The outline is walked face by face, forwards and backwards at once: both walks wait for memory, not for
    each other. It ends where the voxel ahead, or the one beside it, is not known. Places count from the
    first face, in half voxels, and lengths in whole units of which `reach` has 2**13: sums are whole, below
    2**57.
    """
    looks, turns = ways
    label, top = flat[voxel], reach + reach // 4
    one, two, way_one, way_two = voxel, voxel, np.uint64(way), np.uint64(way + 12)
    p_one = q_one = p_two = q_two = far_one = far_two = chord_p = chord_q = 0
    go_one = go_two = True
    while go_one or go_two:
        if go_one:
            ahead, beside = flat[np.uint64(one + looks[0, way_one])], flat[np.uint64(one + looks[1, way_one])]
            row = np.uint64(4) * way_one + np.uint64(2 * np.int64(ahead == label) + np.int64(beside == label))
            go_one = (ahead | beside) >= 0
            if go_one:
                one += turns[0, row]
                far_one += turns[2, row]
                p_one += turns[3, row]
                q_one += turns[4, row]
                weight = turns[5, row] * far_one * (top - far_one)
                chord_p += weight * p_one
                chord_q += weight * q_one
                way_one = np.uint64(turns[1, row])
                go_one = far_one < reach
        if go_two:
            ahead, beside = flat[np.uint64(two + looks[0, way_two])], flat[np.uint64(two + looks[1, way_two])]
            row = np.uint64(4) * way_two + np.uint64(2 * np.int64(ahead == label) + np.int64(beside == label))
            go_two = (ahead | beside) >= 0
            if go_two:
                two += turns[0, row]
                far_two += turns[2, row]
                p_two += turns[3, row]
                q_two += turns[4, row]
                weight = turns[5, row] * far_two * (top - far_two)
                chord_p -= weight * p_two
                chord_q -= weight * q_two
                way_two = np.uint64(turns[1, row])
                go_two = far_two < reach
    return _rise(chord_p, chord_q, way)


@compiled
def _rise(chord_p: int, chord_q: int, way: int) -> float:
    """Slope of a chord at a face: ahead is + or - one axis, by the side."""
    if way & 1:
        rise, run = chord_q, (chord_p if way & 2 else -chord_p)
    else:
        rise, run = chord_p, (-chord_q if way & 2 else chord_q)
    # Small things are walked round: there the face counts as it is.
    return rise / run if run > 0 else 0.0


@compiled
def _shares(length: int, turns: Array, reach: int) -> Array:
    """Share that each step has in the chord of an outline whose faces all have one length.

    Returns
    -------
    ndarray of shape (steps, 100), int64
        For the row of each step in `turns`: what it adds to 2**32 * chord_p + chord_q, as it moves the places
        of all faces from there on. A chord is below 2**31 from `_SHORTEST` on.
    """
    steps, top = -(-reach // (2 * length)), reach + reach // 4
    shares = np.zeros((steps, turns.shape[1]), np.int64)
    weight = 0
    for k in range(steps - 1, -1, -1):
        weight += (k + 1) * (top - 2 * length * (k + 1))
        for row in range(_OVER):
            share = weight * ((turns[3, row] << 32) + turns[4, row])
            shares[k, row] = share if row < _OVER // 2 else -share
    return shares


@compiled
def _walk(
    flat: Array,
    voxels: Array,
    begin: Array,
    turn: int,
    ways: tuple[Array, Array],
    shares: Array,
    chords: Array,
) -> Array:
    """Add what outlines have on one side of the faces, walked step by step in turns, to their chords.

    One walk waits for what it reads at every step; in turns they do not wait for each other. Returns the ways
    that they end with; the chord of one that the end of the volume ended (`_OVER // 4`) is not of use.
    """
    looks, turns = ways
    look_ahead, look_beside = looks[0], looks[1]
    step, after = turns[0], turns[1]
    at, way, label = np.empty_like(voxels), np.empty_like(voxels), np.empty(len(voxels), np.int32)
    for i in range(len(voxels)):
        at[i], way[i], label[i] = voxels[i], begin[i] + turn, flat[voxels[i]]
    for k in range(len(shares)):
        share = shares[k]
        for i in range(len(voxels)):
            here, place = np.uint64(way[i]), at[i]
            ahead = flat[np.uint64(place + look_ahead[here])]
            beside = flat[np.uint64(place + look_beside[here])]
            seen = 2 * np.int64(ahead == label[i]) + np.int64(beside == label[i])
            row = np.uint64(4) * here + np.uint64(seen)
            if (ahead | beside) < 0:
                row = np.uint64(_OVER)
            chords[i] += share[row]
            at[i] = place + step[row]
            way[i] = after[row]
    return way


@compiled
def _areas(
    flat: Array,
    voxels: Array,
    outlines: Array,
    known: tuple[tuple[Array, Array], Array, Array, int, Array],
    areas: Array,
) -> None:
    """Write the area of some voxels, from both outlines through each of their faces.

    Parameters
    ----------
    outlines : ndarray of shape (2, N), int64
        Number of the voxel and way of each; the two of a face follow each other.
    known : tuple
        What `_onward` gives; whether each plane's voxels are squares, and `_shares` of them; the reach; and,
        by way, what slopes count in nm and the area of the face, (12, 2).
    """
    ways, squares, shares, reach, face = known
    owner, way = outlines
    many = 0
    lanes = np.empty(len(way), np.int64)
    at, begin = np.empty_like(lanes), np.empty_like(lanes)
    for i in range(len(way)):
        lanes[many], at[many], begin[many] = i, voxels[owner[i]], way[i]
        many += squares[way[i] >> 2]
    chords, slopes = np.zeros(many, np.int64), np.full(len(way), np.nan)
    forth = _walk(flat, at[:many], begin[:many], 0, ways, shares, chords)
    back = _walk(flat, at[:many], begin[:many], 12, ways, shares, chords)
    for n in range(many):
        chord_q = (chords[n] + (1 << 31) & 0xFFFFFFFF) - (1 << 31)
        if max(forth[n], back[n]) != _OVER // 4:
            slopes[lanes[n]] = _rise(chords[n] - chord_q >> 32, chord_q, begin[n])
    totals = np.zeros(len(voxels))
    for i in range(0, len(way), 2):
        for j in range(i, i + 2):
            # Of voxels that are no squares, and at the end of the volume.
            if math.isnan(slopes[j]):
                slopes[j] = _slope(flat, voxels[owner[j]], way[j], ways, reach)
            slopes[j] *= face[way[j], 0]
        root = math.sqrt(1.0 + slopes[i] * slopes[i] + slopes[i + 1] * slopes[i + 1])
        totals[owner[i]] += face[way[i], 1] / root
    for n in range(len(voxels)):
        areas[n] = int(totals[n] * (float(1 << 24) / 6.0) + 0.5)


@compiled
def surface_voxels(
    labels: Array,
    low: tuple[int, int, int],
    high: tuple[int, int, int],
    sizes: tuple[float, float, float],
    lengths: tuple[int, int, int],
    reach: int,
    at: Array,
    area: Array,
) -> int:
    """Write the surface voxels of a box in raster order, and return how many there are.

    Parameters
    ----------
    labels : ndarray of shape (Z, Y, X), int32, contiguous
        Objects, 0 for background, -1 all around.
    low, high : tuple of int
        The box, within the -1.
    sizes : tuple of float
        Voxel size along (z, y, x); the largest face of a voxel has the area 1.
    lengths : tuple of int
        The same, the largest 2**10.
    reach : int
        Twice the length that an outline is followed to either side.
    at : ndarray of shape (3, M), int64
        Filled: place, within the -1.
    area : ndarray of shape (M,), int64
        Filled: in steps of 2**-24 of six largest faces.

    Notes
    -----
    Indices are int64 and below the size of the array; areas are 2**24 at most.
    """
    flat = labels.reshape(-1)
    step_y = labels.shape[2]
    step_z = labels.shape[1] * step_y
    ways = _onward((step_z, step_y, 1), lengths)
    # The two ways that outlines go through the faces on the sides +z, -z, +y, -y, +x and -x.
    through = np.array([[0, 4], [2, 6], [1, 8], [3, 10], [5, 9], [7, 11]])
    face = np.empty((12, 2))
    for side in range(6):
        axis = side // 2
        for c in range(2):
            along = c if axis == 2 else (2 * c if axis == 1 else 1 + c)
            across = 3 - axis - along
            face[through[side, c], 0] = sizes[axis] / sizes[along]
            face[through[side, c], 1] = sizes[along] * sizes[across]
    length = lengths[1] if lengths[0] == lengths[1] else lengths[2]
    long = length >= _SHORTEST
    squares = np.array(
        [
            long and lengths[0] == lengths[1],
            long and lengths[0] == lengths[2],
            long and lengths[1] == lengths[2],
        ]
    )
    known = (ways, squares, _shares(max(length, _SHORTEST), ways[1], reach), reach, face)
    voxels, outlines = np.empty(_BATCH, np.int64), np.empty((2, _BATCH), np.int64)
    count = first = held = 0
    for z in range(low[0], high[0]):
        for y in range(low[1], high[1]):
            row = z * step_z + y * step_y
            for voxel in range(row + low[2], row + high[2]):
                label = flat[voxel]
                if label <= 0:
                    continue
                a, b = flat[voxel + step_z], flat[voxel - step_z]
                c, d = flat[voxel + step_y], flat[voxel - step_y]
                e, f = flat[voxel + 1], flat[voxel - 1]
                if a == label and b == label and c == label and d == label and e == label and f == label:
                    continue
                before = held
                for side, beside in enumerate((a, b, c, d, e, f)):
                    outlines[0, held], outlines[1, held] = count - first, through[side, 0]
                    outlines[0, held + 1], outlines[1, held + 1] = count - first, through[side, 1]
                    held += 2 * (beside != label and beside >= 0)
                if held == before:
                    continue
                voxels[count - first] = voxel
                at[0, count], at[1, count], at[2, count] = z - 1, y - 1, voxel - row - 1
                count += 1
                if held > _BATCH - 12:
                    _areas(flat, voxels[: count - first], outlines[:, :held], known, area[first:count])
                    first, held = count, 0
    _areas(flat, voxels[: count - first], outlines[:, :held], known, area[first:count])
    return count
