"""The loop that joins voxels of equal gray level to zones."""

from __future__ import annotations

import numpy as np

from chunkflow_liver.kernels.compiled import compiled
from chunkflow_liver.kernels.intensity.level_loops import painted, room
from chunkflow_liver.xp import Array


@compiled
def find_zones(
    mask: Array,
    level: Array,
    box: Array,
    voxel: Array,
    shape: Array,
    offsets: Array,
    of: Array,
    grey: Array,
    size: Array,
) -> int:
    """Fill `of`, `grey` and `size` (int64) with object, gray level and voxels of all zones; how many.

    The objects are those of `whole.Packed`, `offsets` those of `whole.EARLIER`; voxels of one level that
    touch, with 26 neighbours, are a zone. Zones are at most as many as voxels of an object, which fit uint32.
    """
    places, most = room(voxel, shape)
    canvas, zone = np.zeros(places, np.uint16), np.empty(places, np.uint32)
    at, joined, number = np.empty(most, np.int64), np.empty(most, np.uint32), np.empty(most, np.int64)
    earlier = np.empty(12, np.uint64)
    found = 0
    for k in range(len(shape)):
        row = shape[k, 2] + 2
        plane = row * (shape[k, 1] + 2)
        for e in range(12):
            earlier[e] = np.uint64(offsets[e, 0] * plane + offsets[e, 1] * row + offsets[e, 2])
        n = painted(mask[box[k] :], level[voxel[k] : voxel[k + 1]], shape[k], canvas, at)
        known = 0
        for i in range(n):
            # Unsigned numbers need not be checked for places counted from the end.
            place = np.uint64(at[i])
            own, above = canvas[place], place - np.uint64(plane)
            if canvas[above] == own:
                # It touches all the others, which are its own already.
                zone[place] = zone[above]
                continue
            root = np.uint32(known)
            last = 4 if canvas[place - earlier[0]] == own else 12
            for e in range(last):
                if canvas[place - earlier[e]] == own:
                    other = zone[place - earlier[e]]
                    while joined[other] != other:
                        joined[other] = joined[joined[other]]
                        other = joined[other]
                    if root == known:
                        root = other
                    elif root < other:
                        joined[other] = root
                    elif other < root:
                        joined[root] = other
                        root = other
            if root == known:
                joined[root] = root
                known += 1
            zone[place] = root
        # The first zone of several that are one has the lowest number.
        for z in range(known):
            if joined[z] == z:
                number[z] = found
                of[found], size[found] = k, 0
                found += 1
            else:
                number[z] = number[joined[z]]
        for i in range(n):
            z = number[zone[at[i]]]
            grey[z] = canvas[at[i]]
            size[z] += 1
            canvas[at[i]] = 0
    return found
