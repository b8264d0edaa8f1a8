"""Compiled: every label within a gap of some voxels, from cells that know what is in them."""

from __future__ import annotations

from chunkflow_liver.kernels.compiled import compiled
from chunkflow_liver.xp import Array


@compiled
def fill_cells(
    labels: Array, size: tuple[int, int, int], extremes: tuple[Array, Array], place: Array, entries: Array
) -> None:
    """Write the smallest and the largest label of every cell, and the surface voxels in it.

    Parameters
    ----------
    labels : ndarray of shape (Z, Y, X), int32
        0 for background, -1 all around; cells begin within.
    size : tuple of int
        Voxels of a cell along (z, y, x).
    extremes : tuple of ndarray, int32
        Smallest and largest, filled where there is a label: begin with more than any label, and with 0.
    place : ndarray of shape (cells + 1,), int64
        Where the voxels of each cell begin in `entries`; advanced to where they end.
    entries : ndarray of shape (E, 5), int32
        The first columns are filled with (z, y, x, label). Without rows `place[c + 1]` is raised by the
        number of voxels of cell c.
    """
    smallest, largest = extremes
    depth, height, width = labels.shape
    _, across, along = largest.shape
    for z in range(1, depth - 1):
        for y in range(1, height - 1):
            plane, line = (z - 1) // size[0], (y - 1) // size[1]
            for c in range(along):
                cell = (plane * across + line) * along + c
                low, high = smallest[plane, line, c], largest[plane, line, c]
                for x in range(c * size[2] + 1, min((c + 1) * size[2] + 1, width - 1)):
                    label = labels[z, y, x]
                    if label <= 0:
                        continue
                    low, high = min(low, label), max(high, label)
                    # A wall is no other label, but a voxel too many does no harm.
                    if (
                        labels[z, y, x - 1] == label
                        and labels[z, y, x + 1] == label
                        and labels[z, y - 1, x] == label
                        and labels[z, y + 1, x] == label
                        and labels[z - 1, y, x] == label
                        and labels[z + 1, y, x] == label
                    ):
                        continue
                    if len(entries) == 0:
                        place[cell + 1] += 1
                        continue
                    row = entries[place[cell]]
                    row[0], row[1], row[2], row[3] = z, y, x, label
                    place[cell] += 1
                smallest[plane, line, c], largest[plane, line, c] = low, high


@compiled
def meetings(
    voxels: Array,
    size: tuple[int, int, int],
    extremes: tuple[Array, Array],
    inside: tuple[Array, Array],
    offsets: Array,
    costs: tuple[Array, Array, Array],
    limit: int,
    found: Array,
    first: int,
) -> tuple[int, int]:
    """Write every label within the gap of each voxel, once, at its smallest squared gap.

    Parameters
    ----------
    voxels : ndarray of shape (N, 5), int64
        (z, y, x) of each voxel, the label there, and one that it does not meet (0 for none).
    size, extremes
        As for `fill_cells`.
    inside : tuple of ndarray
        Where the voxels of each cell begin (cells + 1, int64), and those voxels, as `fill_cells` gives them,
        sorted by label in each cell; the first of a label has in the last column how many it has there.
    offsets : ndarray of shape (K, 3), int64
        From the cell of a voxel to those that may hold what it meets, near ones first.
    costs : tuple of ndarray, int64
        Squared gap of 0, 1, .. voxels along z, y and x, as far as the cells reach, at most limit + 1.
    limit : int
        Largest squared gap, below 2**61: a sum of three costs does not wrap.
    found : ndarray of shape (M, 3), int64
        Filled with (number of the voxel, label, squared gap), ascending by voxel, the nearest label first
        and of equally near ones the smallest.
    first : int
        Voxel to begin with.

    Returns
    -------
    done : int
        The voxel to go on with: N, or the first whose labels did not fit.
    count : int
        Rows of `found` that are filled.

    Notes
    -----
    Of a label that a voxel is not in, a surface voxel is nearest: from any other there is a step closer.
    """
    smallest, largest = extremes
    begins, entries = inside
    cost_z, cost_y, cost_x = costs
    planes, lines, cells = largest.shape
    count = 0
    for i in range(first, len(voxels)):
        begin = count
        z, y, x, here, barred = voxels[i]
        home_z, home_y, home_x = (z - 1) // size[0], (y - 1) // size[1], (x - 1) // size[2]
        if here > 0 and here != barred:
            if count == len(found):
                return i, begin
            found[count, 0], found[count, 1], found[count, 2] = i, here, 0
            count += 1
        for k in range(len(offsets)):
            cz, cy, cx = home_z + offsets[k, 0], home_y + offsets[k, 1], home_x + offsets[k, 2]
            if cz < 0 or cz >= planes or cy < 0 or cy >= lines or cx < 0 or cx >= cells:
                continue
            label = largest[cz, cy, cx]
            if label == 0 or (label == barred and smallest[cz, cy, cx] == barred):
                continue
            z0, y0, x0 = cz * size[0] + 1, cy * size[1] + 1, cx * size[2] + 1
            bound = (
                cost_z[max(0, z0 - z, z - z0 - size[0] + 1)] + cost_y[max(0, y0 - y, y - y0 - size[1] + 1)]
            )
            bound += cost_x[max(0, x0 - x, x - x0 - size[2] + 1)]
            if bound > limit:
                continue
            cell = (cz * lines + cy) * cells + cx
            e = begins[cell]
            while e < begins[cell + 1]:
                label, stop = entries[e, 3], e + entries[e, 4]
                j = begin
                while j < count and found[j, 1] != label:
                    j += 1
                # What is farther than this says nothing new.
                best = limit + 1 if j == count else found[j, 2]
                nearest = best
                if label != barred and bound < best:
                    for other in range(e, stop):
                        gap = cost_z[abs(entries[other, 0] - z)] + cost_y[abs(entries[other, 1] - y)]
                        nearest = min(nearest, gap + cost_x[abs(entries[other, 2] - x)])
                e = stop
                if nearest < best:
                    if j == count:
                        if count == len(found):
                            return i, begin
                        count += 1
                    found[j, 0], found[j, 1], found[j, 2] = i, label, nearest
        best = begin
        for j in range(begin + 1, count):
            if found[j, 2] < found[best, 2] or (
                found[j, 2] == found[best, 2] and found[j, 1] < found[best, 1]
            ):
                best = j
        if best > begin:
            for c in range(1, 3):
                found[begin, c], found[best, c] = found[best, c], found[begin, c]
    return len(voxels), count
