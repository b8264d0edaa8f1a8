"""Compiled: how scores fall across the faces of objects, and where several networks see the boundary."""

from __future__ import annotations

import math

import numpy as np

from chunkflow_liver.kernels.compiled import compiled
from chunkflow_liver.xp import Array

LONGEST = 64
"""Voxels that are followed to either side of a face at most."""


@compiled
def errors_at(
    labels: Array,
    stack: tuple[Array, Array, Array],
    at: Array,
    sizes: Array,
    reach: Array,
    cap_nm: float,
    levels: int,
    sums: Array,
) -> None:
    """Add up the squared errors of the boundary at the faces of some voxels: see `local_errors`.

    Parameters
    ----------
    labels : ndarray of shape (Z, Y, X), integer, C-contiguous
        0 is background.
    stack : tuple of ndarray
        Codes (N, Z, Y, X) of N images, unsigned, C-contiguous; the value of each code (float64); which are
        scores (N,).
    at : ndarray of shape (3, M), int64
        Voxels of objects.
    sizes : ndarray of shape (3,), float64
        Of a voxel, in nm.
    reach : ndarray of shape (3,), int64
        Voxels that are followed along each axis, inside the object and in the background before the next one;
        `LONGEST` at most.
    cap_nm : float
        Larger errors count as this.
    levels : int
        Steps of the square of `cap_nm`.
    sums : ndarray of shape (3, M), int64
        Filled: weight, squares, capped.
    """
    codes, table, scores = stack
    count, shape = len(codes), labels.shape
    steps = (shape[1] * shape[2], shape[2], 1)
    flat, images = labels.reshape(-1), codes.reshape(count, -1)
    values, slope, place = np.empty(2 * LONGEST), np.empty(3), np.empty(3, np.int64)
    fall, places = np.empty(2), np.empty(count)
    unit, any_scores = 256 * sizes.min(), scores.any()
    for m in range(at.shape[1]):
        for k in range(3):
            place[k] = at[k, m]
        here = place[0] * steps[0] + place[1] * steps[1] + place[2]
        for face in range(6):
            axis, sign = face // 2, 2 * (face % 2) - 1
            there = here + sign * steps[axis]
            if not 0 <= place[axis] + sign < shape[axis] or flat[there] != 0:
                continue
            for k in range(3):
                slope[k] = 0.0
            for i in range(count):
                _add_slope(images[i], table, (here, there), place, (axis, sign), (shape, steps), sizes, slope)
            own, first, second = abs(slope[axis]), abs(slope[axis - 2]), abs(slope[axis - 1])
            # The surface is covered once by the faces across the axis nearest to its normal.
            if slope[axis] * sign >= 0 or own < max(first, second):
                continue
            cosine = own / math.sqrt(own**2 + first**2 + second**2)
            step_nm = sizes[axis] * cosine
            behind, ahead = place[axis] + 1, shape[axis] - 1 - place[axis]
            if sign < 0:
                behind, ahead = ahead + 1, behind - 1
            most = min(reach[axis], LONGEST)
            way = (here, sign * steps[axis], min(behind, most), min(ahead, most), most)
            known, said, mean, square, is_known, is_capped = 0, 0, 0.0, 0.0, False, False
            for i in range(count):
                _follow(flat, images[i], table, way, values, fall)
                is_known |= math.isfinite(fall[0])
                if not math.isnan(fall[0]):
                    far = fall[0] * step_nm
                    is_capped |= count > 1 and abs(far) > cap_nm
                    places[known] = min(max(far, -cap_nm), cap_nm)
                    mean += places[known]
                    known += 1
                if scores[i] and not math.isnan(fall[1]):
                    wide = fall[1] * step_nm
                    is_capped |= wide > cap_nm
                    square += min(wide, cap_nm) ** 2
                    said += 1
            if not is_known or (any_scores and said == 0) or (count > 1 and known < 2):
                continue
            square /= max(said, 1)
            if count > 1:
                mean /= known
                spread = 0.0
                for i in range(known):
                    spread += (places[i] - mean) ** 2
                square += spread / (known - 1) * (1 + 1 / known)
            is_capped |= square > cap_nm**2
            weight = np.int64(np.rint(unit / (sizes[axis] * max(cosine, 0.5))))
            sums[0, m] += weight
            sums[1, m] += weight * np.int64(np.rint(min(square / cap_nm**2, 1.0) * levels))
            sums[2, m] += weight * is_capped


@compiled
def mark_some(at: Array, start: Array, every: int, found: Array) -> None:
    """Fill `found` (M,) with one of `every` voxels, by a mix of the bits of `at` (3, M) + `start`."""
    for m in range(len(found)):
        mixed = np.uint64(0)
        for k in range(3):
            mixed = (mixed ^ np.uint64(at[k, m] + start[k])) * np.uint64(0x9E3779B97F4A7C15)
            mixed ^= mixed >> np.uint64(29)
        found[m] = (mixed >> np.uint64(32)) % np.uint64(every) == np.uint64(0)


@compiled
def _add_slope(
    image: Array,
    table: Array,
    pair: tuple[int, int],
    place: Array,
    face: tuple[int, int],
    grid: tuple[tuple[int, int, int], tuple[int, int, int]],
    sizes: Array,
    slope: Array,
) -> None:
    """Add how `table[image]` changes per nm at the face between the two voxels `pair`.

    Across the face it is the difference of its voxels, along it the mean of theirs, from neighbour to
    neighbour: exact where the value is linear.
    """
    here, there = pair
    shape, steps = grid
    axis, sign = face
    slope[axis] += (table[image[there]] - table[image[here]]) / (sign * sizes[axis])
    for along in range(3):
        if along == axis:
            continue
        last = min(1, shape[along] - 1 - place[along])
        first = -min(1, place[along])
        if first == last:
            continue
        ahead, back = last * steps[along], first * steps[along]
        found = table[image[here + ahead]] - table[image[here + back]]
        found += table[image[there + ahead]]
        found -= table[image[there + back]]
        slope[along] += found / (2 * (last - first) * sizes[along])


@compiled
def _follow(
    labels: Array, image: Array, table: Array, way: tuple[int, int, int, int, int], values: Array, fall: Array
) -> None:
    """Follow `table[image]` from a face, inwards and outwards, to where it falls from 1 to 0 to -1.

    `way` is the voxel before the face, the step across it, how many voxels there are inwards, that one
    included, and outwards, and how many of either are followed at most.

    Fills `fall`: where it falls through 0, in voxels from the face, outwards; infinite where it does not
    within the most, NaN where an object or the array ends before. And how far from there it falls by 1, the
    mean of the two sides, or the one that is known; infinite and NaN as before. Linear between two voxels.
    """
    here, step, behind, ahead, most = way
    # The face lies between the values `most - 1` and `most`; they are read as far as they are wanted.
    own, origin = labels[here], here - (most - 1) * step
    first, last, inside, outside = most, most - 1, True, True
    zero = -1
    for n in range(most):
        if inside:
            inside = n < behind and labels[here - n * step] == own
            if inside:
                first -= 1
                values[first] = table[image[here - n * step]]
        if outside:
            outside = n < ahead and labels[here + (n + 1) * step] == 0
            if outside:
                last += 1
                values[last] = table[image[here + (n + 1) * step]]
        for i in (most - 1 - n, most - 1 + n):
            if zero < 0 and first <= i < last and values[i] > 0 >= values[i + 1]:
                zero = i
        if zero >= 0 or not (inside or outside):
            break
    if zero < 0:
        high = values[most - 1] > 0
        known = outside if high else inside
        fall[0] = (np.inf if high else -np.inf) if known else np.nan
        fall[1] = np.nan
        return
    middle = zero + values[zero] / (values[zero] - values[zero + 1])
    fall[0] = middle + 0.5 - most
    total, sides = 0.0, 0
    i = zero
    while values[i] < 1:
        i -= 1
        if i < first:
            inside = inside and i >= most - behind and labels[origin + i * step] == own
            if not inside:
                break
            values[i] = table[image[origin + i * step]]
            first = i
    if i >= first:
        total += middle - (i + (values[i] - 1) / (values[i] - values[i + 1]))
        sides += 1
    far = i < 0
    i = zero + 1
    while values[i] > -1:
        i += 1
        if i > last:
            outside = outside and i < most + ahead and labels[origin + i * step] == 0
            if not outside:
                break
            values[i] = table[image[origin + i * step]]
            last = i
    if i <= last:
        total += i - (-1 - values[i]) / (values[i - 1] - values[i]) - middle
        sides += 1
    far |= i >= 2 * most
    if sides > 0:
        fall[1] = total / sides
    else:
        fall[1] = np.inf if far else np.nan
