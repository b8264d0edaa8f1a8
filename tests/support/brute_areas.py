"""Surface areas face by face, slowly, as a referee."""

from __future__ import annotations

import itertools
import math

import numpy as np


def voxel_areas(labels, voxel_nm):
    """Surface of each voxel in nm2, from faces as pairs (voxel inside, voxel outside) and their places.

    Of voxels below 0 nothing is known: they are no surface, as if the volume ended there.
    """
    areas = np.zeros(labels.shape)
    for inside in map(tuple, np.argwhere(labels > 0)):
        for axis, sign in itertools.product(range(3), (-1, 1)):
            outside = moved(inside, axis, sign)
            if not within(labels, outside) or labels[outside] == labels[inside]:
                continue
            slopes = [
                slope(labels, inside, outside, axis, along, voxel_nm) for along in range(3) if along != axis
            ]
            face = math.prod(voxel_nm) / voxel_nm[axis]
            areas[inside] += face / math.sqrt(1 + sum(s * s for s in slopes))
    return areas


def moved(voxel, axis, by):
    return tuple(v + by * (a == axis) for a, v in enumerate(voxel))


def within(labels, voxel):
    return all(0 <= v < n for v, n in zip(voxel, labels.shape, strict=True)) and labels[voxel] >= 0


def slope(labels, inside, outside, axis, along, voxel_nm):
    """Rise over run of the chord between the mean places of the faces behind and ahead."""
    lengths = [round(1024 * v / max(voxel_nm)) for v in voxel_nm]
    reach = 4 * 1024
    place = np.add(inside, outside) / 2
    chord = np.zeros(3)
    for way in (-1, 1):
        face, heading, walked = (np.array(inside), np.array(outside)), np.eye(3, dtype=int)[along] * way, 0
        while walked < reach:
            own, beside = (tuple(f + heading) for f in face)
            if not (within(labels, own) and within(labels, beside)):
                break
            kept = face
            label = labels[tuple(face[0])]
            if labels[beside] == label:
                face = np.array(beside), face[1]
            elif labels[own] == label:
                face = np.array(own), np.array(beside)
            else:
                face = face[0], np.array(own)
            # Both half faces lie in the plane: what a face is long is its size across its own axis.
            before, after = (long_side(f, axis, along, lengths) for f in (kept, face))
            walked += (before + after) / 2
            step = (face[0] + face[1]) / 2 - (kept[0] + kept[1]) / 2
            # It goes on to the side of the new face where the old one is not.
            edge = (kept[0] + kept[1]) / 2 + heading / 2
            heading = np.rint(2 * ((face[0] + face[1]) / 2 - edge)).astype(int)
            assert np.abs(step).sum() == 1
            offset = (face[0] + face[1]) / 2 - place
            chord += way * after * walked * (1.25 * reach - walked) * offset
    # All sums are whole numbers up to here: a walk round gives just 0.
    chord = chord * voxel_nm
    return chord[axis] / chord[along] if chord[along] > 0 else 0.0


def long_side(face, axis, along, lengths):
    normal = int(np.argmax(np.abs(face[0] - face[1])))
    return lengths[along if normal == axis else axis]
