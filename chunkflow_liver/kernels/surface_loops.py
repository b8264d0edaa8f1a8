"""Compiled: the surface voxels of a label block, with the surface that each stands for."""

from __future__ import annotations

import math

import numpy as np

from chunkflow_liver.kernels.compiled import compiled
from chunkflow_liver.xp import Array


@compiled
def _ways(steps: tuple[int, int, int], lengths: tuple[int, int, int]) -> tuple[Array, Array]:
    """How outlines go on from each of the 24 ways that one can go, so that a walk need not branch.

    Way 8 * plane + 4 * turn + side: planes are along (z, y), (z, x) and (y, x); the outside is on the side 0,
    1, 2 or 3 of (+, +, -, -) those axes; the outline goes on to the next side (turn 0) or the one before.

    Returns
    -------
    looks : ndarray of shape (24, 2)
        Steps to the voxel ahead, and to the one beside that, outside.
    turns : ndarray of shape (96, 6)
        For 4 * way, + 2 if the voxel ahead is of the object, + 1 if the one beside that is: step of the
        voxel, new way, length from face to face, steps of the place along both axes in half voxels, length
        of the new face.
    """
    looks, turns = np.empty((24, 2), np.int64), np.empty((96, 6), np.int64)
    along_p, along_q = np.array([1, 0, -1, 0]), np.array([0, 1, 0, -1])
    for way in range(24):
        p, q = (0, 0, 1)[way // 8], (1, 2, 2)[way // 8]
        sides = np.array([steps[p], steps[q], -steps[p], -steps[q]])
        longs = np.array([lengths[q], lengths[p], lengths[q], lengths[p]])
        side, turn = way & 3, 3 if way & 4 else 1
        head = (side + turn) & 3
        looks[way, 0], looks[way, 1] = sides[head], sides[head] + sides[side]
        for seen in range(4):
            if seen & 1:
                after, step = (side - turn) & 3, looks[way, 1]
            elif seen:
                after, step = side, sides[head]
            else:
                after, step = head, 0
            onward, row = (after + turn) & 3, turns[4 * way + seen]
            row[0], row[1], row[2] = step, way - side + after, longs[side] + longs[after]
            row[3], row[4] = along_p[head] + along_p[onward], along_q[head] + along_q[onward]
            row[5] = longs[after]
    return looks, turns


@compiled
def _slope(flat: Array, voxel: int, way: int, ways: tuple[Array, Array], reach: int) -> float:
    """Slope, in voxels, of the outline through one face, which goes the way `way` there (see `_ways`).

    The outline is walked face by face, forwards and backwards at once: both walks wait for memory, not for
    each other. Places count from the first face, in half voxels, and lengths in whole units of which `reach`
    has 2**13: sums are whole, below 2**57.
    """
    looks, turns = ways
    label, top = flat[voxel], reach + reach // 4
    one, two, way_one, way_two = voxel, voxel, np.uint64(way), np.uint64(way + 4)
    p_one = q_one = p_two = q_two = far_one = far_two = chord_p = chord_q = 0
    go_one = go_two = True
    while go_one or go_two:
        if go_one:
            ahead, beside = flat[np.uint64(one + looks[way_one, 0])], flat[np.uint64(one + looks[way_one, 1])]
            row = np.uint64(4) * way_one + np.uint64(2 * np.int64(ahead == label) + np.int64(beside == label))
            go_one = (ahead | beside) >= 0
            if go_one:
                one += turns[row, 0]
                far_one += turns[row, 2]
                p_one += turns[row, 3]
                q_one += turns[row, 4]
                weight = turns[row, 5] * far_one * (top - far_one)
                chord_p += weight * p_one
                chord_q += weight * q_one
                way_one = np.uint64(turns[row, 1])
                go_one = far_one < reach
        if go_two:
            ahead, beside = flat[np.uint64(two + looks[way_two, 0])], flat[np.uint64(two + looks[way_two, 1])]
            row = np.uint64(4) * way_two + np.uint64(2 * np.int64(ahead == label) + np.int64(beside == label))
            go_two = (ahead | beside) >= 0
            if go_two:
                two += turns[row, 0]
                far_two += turns[row, 2]
                p_two += turns[row, 3]
                q_two += turns[row, 4]
                weight = turns[row, 5] * far_two * (top - far_two)
                chord_p -= weight * p_two
                chord_q -= weight * q_two
                way_two = np.uint64(turns[row, 1])
                go_two = far_two < reach
    # Ahead is + or - one axis, by the side. Small things are walked round: there the face counts as it is.
    if way & 1:
        rise, run = chord_q, (chord_p if way & 2 else -chord_p)
    else:
        rise, run = chord_p, (-chord_q if way & 2 else chord_q)
    return rise / run if run > 0 else 0.0


@compiled
def surface_voxels(
    labels: Array,
    low: tuple[int, int, int],
    high: tuple[int, int, int],
    sizes: tuple[float, float, float],
    lengths: tuple[int, int, int],
    reach: int,
    index: Array,
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
    index, area : ndarray of shape (M,), int64
        Filled: index in `labels.ravel()`; area in steps of 2**-24 of six largest faces.

    Notes
    -----
    Indices are int64 and below the size of the array; areas are below 2**24.
    """
    flat = labels.reshape(-1)
    step_y = labels.shape[2]
    step_z = labels.shape[1] * step_y
    size_z, size_y, size_x = sizes
    steps = float(1 << 24) / 6.0
    ways = _ways((step_z, step_y, 1), lengths)
    count = 0
    for z in range(low[0], high[0]):
        for y in range(low[1], high[1]):
            row = z * step_z + y * step_y
            for voxel in range(row + low[2], row + high[2]):
                label = flat[voxel]
                if label <= 0:
                    continue
                if (
                    flat[voxel + 1] == label
                    and flat[voxel - 1] == label
                    and flat[voxel + step_y] == label
                    and flat[voxel - step_y] == label
                    and flat[voxel + step_z] == label
                    and flat[voxel - step_z] == label
                ):
                    continue
                total, exposed = 0.0, False
                for face in range(6):
                    sign = 1 - 2 * (face & 1)
                    # With the ways of the outlines through a face on its positive side.
                    if face < 2:
                        out, size, size_a, size_b, one, two = sign * step_z, size_z, size_y, size_x, 0, 8
                    elif face < 4:
                        out, size, size_a, size_b, one, two = sign * step_y, size_y, size_z, size_x, 1, 16
                    else:
                        out, size, size_a, size_b, one, two = sign, size_x, size_z, size_y, 9, 17
                    if flat[voxel + out] == label or flat[voxel + out] < 0:
                        continue
                    exposed = True
                    back = 2 * (face & 1)
                    slope_a = _slope(flat, voxel, one + back, ways, reach) * size / size_a
                    slope_b = _slope(flat, voxel, two + back, ways, reach) * size / size_b
                    total += size_a * size_b / math.sqrt(1.0 + slope_a * slope_a + slope_b * slope_b)
                if exposed:
                    index[count] = voxel
                    area[count] = int(total * steps + 0.5)
                    count += 1
    return count
