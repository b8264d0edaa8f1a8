"""Compiled: how scores fall across the faces of objects."""

from __future__ import annotations

import numpy as np

from chunkflow_liver.kernels.compiled import compiled
from chunkflow_liver.xp import Array

LONGEST = 64
"""Voxels that are followed to either side of a face at most."""


@compiled
def add_slopes(labels: Array, image: Array, table: Array, at: Array, sizes: Array, slopes: Array) -> None:
    """Add how `table[image]` changes per nm at every face between a voxel and background.

    Parameters
    ----------
    labels : ndarray of shape (Z, Y, X), integer
        0 is background.
    image : ndarray of the same shape, unsigned
        Where in `table` the value of a voxel stands.
    table : ndarray, float64
    at : ndarray of shape (3, M), int64
        Voxels of objects.
    sizes : ndarray of shape (3,), float64
        Of a voxel, in nm.
    slopes : ndarray of shape (M, 6, 3), float64
        Per voxel and face (axis by axis, the lower one first), along (z, y, x). Faces to other objects, and
        to where the array ends, are left as they are.

    Notes
    -----
    Across the face it is the difference of its two voxels, along it the mean of theirs, from neighbour to
    neighbour: exact where the value is linear, and in the middle of the face.
    """
    shape = labels.shape
    place, other, low, high = np.empty(3, np.int64), np.empty(3, np.int64), np.empty(3, np.int64), 0
    for m in range(at.shape[1]):
        place[:] = at[:, m]
        here = table[image[place[0], place[1], place[2]]]
        for face in range(6):
            axis, sign = face // 2, 2 * (face % 2) - 1
            other[:] = place
            other[axis] += sign
            if not 0 <= other[axis] < shape[axis] or labels[other[0], other[1], other[2]] != 0:
                continue
            there = table[image[other[0], other[1], other[2]]]
            slopes[m, face, axis] += sign * (there - here) / sizes[axis]
            for along in range(3):
                if along == axis:
                    continue
                for side in (place, other):
                    low[:] = side
                    first, last = max(side[along] - 1, 0), min(side[along] + 1, shape[along] - 1)
                    high = last - first
                    if high == 0:
                        continue
                    low[along] = first
                    before = table[image[low[0], low[1], low[2]]]
                    low[along] = last
                    after = table[image[low[0], low[1], low[2]]]
                    slopes[m, face, along] += (after - before) / (2 * high * sizes[along])


@compiled
def follow(
    labels: Array, image: Array, table: Array, at: Array, faces: Array, reach: Array, found: Array
) -> None:
    """Follow `table[image]` from some faces, inwards and outwards, to where it falls from 1 to 0 to -1.

    Parameters
    ----------
    labels, image, table, at
        As for `add_slopes`.
    faces : ndarray of shape (F, 2), int64
        Voxel (of `at`) and face.
    reach : ndarray of shape (3,), int64
        Voxels that are followed along each axis, inside the object and in the background before the next one;
        `LONGEST` at most.
    found : ndarray of shape (F, 2), float64
        Filled. Where it falls through 0, in voxels from the face, outwards; infinite where it does not
        within the reach, NaN where an object or the array ends before. And how far from there it falls by 1,
        the mean of the two sides, or the one that is known; infinite and NaN as before.

    Notes
    -----
    Between two voxels values are linear.
    """
    shape = labels.shape
    values = np.empty(2 * LONGEST)
    place = np.empty(3, np.int64)
    for f in range(len(faces)):
        m, face = faces[f]
        axis, sign = face // 2, 2 * (face % 2) - 1
        most = min(reach[axis], LONGEST)
        place[:] = at[:, m]
        own, begin = labels[place[0], place[1], place[2]], place[axis]
        # The face lies between the values `most - 1` and `most`.
        ends, far = np.zeros(2, np.int64), np.ones(2, np.bool_)
        for out in range(2):
            wanted = own * 0 if out else own
            for step in range(most):
                place[axis] = begin + sign * (step + 1 if out else -step)
                if not 0 <= place[axis] < shape[axis] or labels[place[0], place[1], place[2]] != wanted:
                    far[out] = False
                    break
                value = table[image[place[0], place[1], place[2]]]
                values[most + step if out else most - 1 - step] = value
                ends[out] += 1
        first, last = most - ends[0], most + ends[1] - 1
        zero = -1
        for step in range(most):
            for i in (most - 1 - step, most - 1 + step):
                if zero < 0 and first <= i < last and values[i] > 0 >= values[i + 1]:
                    zero = i
        if zero < 0:
            inside = values[most - 1] > 0
            known = far[1] if inside else far[0]
            found[f, 0] = (np.inf if inside else -np.inf) if known else np.nan
            found[f, 1] = np.nan
            continue
        middle = zero + values[zero] / (values[zero] - values[zero + 1])
        found[f, 0] = middle + 0.5 - most
        total, sides, open_ = 0.0, 0, 0
        i = zero
        while i >= first and values[i] < 1:
            i -= 1
        if i >= first:
            total += middle - (i + (values[i] - 1) / (values[i] - values[i + 1]))
            sides += 1
        else:
            open_ += far[0]
        i = zero + 1
        while i <= last and values[i] > -1:
            i += 1
        if i <= last:
            total += i - (-1 - values[i]) / (values[i - 1] - values[i]) - middle
            sides += 1
        else:
            open_ += far[1]
        if sides > 0:
            found[f, 1] = total / sides
        else:
            found[f, 1] = np.inf if open_ > 0 else np.nan
