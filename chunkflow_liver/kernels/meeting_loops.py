"""Compiled: every label within a gap of some voxels, from cells that know what is in them."""

from __future__ import annotations

import math

import numpy as np

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
def by_cell(
    at: Array,
    some: Array,
    barred: Array,
    labels: Array,
    size: tuple[int, int, int],
    cells: tuple[int, int, int],
) -> tuple[Array, Array]:
    """The voxels for `meetings`, those of one cell one after the other.

    Parameters
    ----------
    at : ndarray of shape (3, M), int64
        Voxels within the walls.
    some : ndarray of shape (N,), int64
        Those that are wanted.
    barred : ndarray of shape (N,), int32
        Label that each does not meet.
    labels, size, cells
        As for `fill_cells` and `meetings`.

    Returns
    -------
    voxels : ndarray of shape (N, 5), int64
    order : ndarray of shape (N,), int64
        Which of `some` each is.
    """
    home = np.empty(len(some), np.int64)
    begins = np.zeros(cells[0] * cells[1] * cells[2] + 1, np.int64)
    for i in range(len(some)):
        z, y, x = at[0, some[i]], at[1, some[i]], at[2, some[i]]
        home[i] = (z // size[0] * cells[1] + y // size[1]) * cells[2] + x // size[2]
        begins[home[i] + 1] += 1
    begins = np.cumsum(begins)
    voxels, order = np.empty((len(some), 5), np.int64), np.empty(len(some), np.int64)
    for i in range(len(some)):
        z, y, x = at[0, some[i]] + 1, at[1, some[i]] + 1, at[2, some[i]] + 1
        row = begins[home[i]]
        begins[home[i]] += 1
        order[row] = i
        voxels[row, 0], voxels[row, 1], voxels[row, 2] = z, y, x
        voxels[row, 3], voxels[row, 4] = labels[z, y, x], barred[i]
    return voxels, order


@compiled
def meetings(
    voxels: Array,
    size: tuple[int, int, int],
    cells: tuple[int, int, int],
    inside: tuple[Array, Array],
    offsets: Array,
    lengths: tuple[int, int, int],
    limit: int,
    found: Array,
    first: int,
) -> tuple[int, int]:
    """Write every label within the gap of each voxel, once, at its smallest squared gap.

    Parameters
    ----------
    voxels : ndarray of shape (N, 5), int64
        (z, y, x) of each voxel, the label there, and one that it does not meet (0 for none); those of one
        cell one after the other.
    size, cells : tuple of int
        Voxels of a cell, and number of cells, along (z, y, x).
    inside : tuple of ndarray
        Where the voxels of each cell begin (cells + 1, int64), and those voxels, columns of what `fill_cells`
        gives, sorted by label in each cell; the first of a label has in the last row how many it has there.
    offsets : ndarray of shape (K, 3), int64
        From the cell of a voxel to those that may hold what it meets, near ones first.
    lengths : tuple of int
        Size of a voxel along (z, y, x).
    limit : int
        Largest squared gap, below 2**60.
    found : ndarray of shape (M, 3), int64
        Filled with (number of the voxel, label, squared gap), voxel by voxel, the nearest label first and of
        equally near ones the smallest.
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
    The voxels of one cell look for them together: what is farther from the box of them all than another of
    its label is from its farthest corner is nearest to none. The rest are tried one by one.
    """
    begins, entries = inside
    beside = np.empty((len(offsets), 2), np.int64)
    slots, groups, sites = np.empty((0, 4), np.int64), np.empty((0, 3), np.int64), np.empty((3, 0), np.int64)
    count, i = 0, first
    while i < len(voxels):
        home = (
            (voxels[i, 0] - 1) // size[0],
            (voxels[i, 1] - 1) // size[1],
            (voxels[i, 2] - 1) // size[2],
        )
        low = high = voxels[i, 0], voxels[i, 1], voxels[i, 2]
        nobody, stop = voxels[i, 4], i
        while stop < len(voxels):
            z, y, x = voxels[stop, 0], voxels[stop, 1], voxels[stop, 2]
            if ((z - 1) // size[0], (y - 1) // size[1], (x - 1) // size[2]) != home:
                break
            low = min(z, low[0]), min(y, low[1]), min(x, low[2])
            high = max(z, high[0]), max(y, high[1]), max(x, high[2])
            if voxels[stop, 4] != nobody:
                nobody = 0
            stop += 1
        near = held = 0
        for k in range(len(offsets)):
            cz, cy, cx = home[0] + offsets[k, 0], home[1] + offsets[k, 1], home[2] + offsets[k, 2]
            if cz < 0 or cz >= cells[0] or cy < 0 or cy >= cells[1] or cx < 0 or cx >= cells[2]:
                continue
            cell = (cz * cells[1] + cy) * cells[2] + cx
            z, y, x = cz * size[0] + 1, cy * size[1] + 1, cx * size[2] + 1
            bound = _square(
                max(z - high[0], low[0] - z - size[0] + 1),
                max(y - high[1], low[1] - y - size[1] + 1),
                max(x - high[2], low[2] - x - size[2] + 1),
                lengths,
                limit,
            )
            if bound <= limit and begins[cell] < begins[cell + 1]:
                beside[near, 0], beside[near, 1] = cell, bound
                near += 1
                held += begins[cell + 1] - begins[cell]
        if held > len(groups):
            room = 2 * held
            slots, groups = np.empty((room, 4), np.int64), np.empty((room, 3), np.int64)
            sites = np.empty((3, room), np.int64)
        labels = _by_label(beside[:near], inside, nobody, slots, groups)
        _nearest_sites(slots[:labels], groups, entries, (low, high), lengths, limit, sites)
        while i < stop:
            begin = best = count
            z, y, x, here, barred = voxels[i, 0], voxels[i, 1], voxels[i, 2], voxels[i, 3], voxels[i, 4]
            for s in range(-1, labels):
                if s < 0:
                    label, nearest = here, 0
                    if here <= 0 or here == barred:
                        continue
                else:
                    label, nearest = slots[s, 0], limit + 1
                    if label in (barred, here):
                        continue
                    a, b = slots[s, 1], slots[s, 2]
                    site_z, site_y, site_x = sites[0, a:b], sites[1, a:b], sites[2, a:b]
                    for c in range(b - a):
                        gap = _square(
                            abs(site_z[c] - z), abs(site_y[c] - y), abs(site_x[c] - x), lengths, limit
                        )
                        nearest = min(nearest, gap)
                    if nearest > limit:
                        continue
                if count == len(found):
                    return i, begin
                found[count, 0], found[count, 1], found[count, 2] = i, label, nearest
                if nearest < found[best, 2] or (nearest == found[best, 2] and label < found[best, 1]):
                    best = count
                count += 1
            if best > begin:
                for c in range(1, 3):
                    found[begin, c], found[best, c] = found[best, c], found[begin, c]
            i += 1
    return len(voxels), count


@compiled
def _by_label(beside: Array, inside: tuple[Array, Array], nobody: int, slots: Array, groups: Array) -> int:
    """Chain what the cells `beside` (number, bound) hold by label, and return how many labels there are.

    `slots` is filled with (label, first and last of its groups), and `groups` with (first entry, bound of
    its cell, next group of the label, -1 for none). Without the label `nobody`.
    """
    begins, entries = inside
    number = labels = 0
    for k in range(len(beside)):
        cell, bound = beside[k, 0], beside[k, 1]
        e = begins[cell]
        while e < begins[cell + 1]:
            label, begin = entries[3, e], e
            e += entries[4, e]
            if label == nobody:
                continue
            s = 0
            while s < labels and slots[s, 0] != label:
                s += 1
            if s == labels:
                slots[s, 0], slots[s, 1] = label, number
                labels += 1
            else:
                groups[slots[s, 2], 2] = number
            slots[s, 2] = number
            groups[number, 0], groups[number, 1], groups[number, 2] = begin, bound, -1
            number += 1
    return labels


@compiled
def _nearest_sites(
    slots: Array,
    groups: Array,
    entries: Array,
    box: tuple[tuple[int, int, int], tuple[int, int, int]],
    lengths: tuple[int, int, int],
    limit: int,
    sites: Array,
) -> None:
    """Write (z, y, x) of what can be nearest to a voxel of the box, label by label, into columns of `sites`.

    Where those of a label begin and end replaces the groups in `slots`.
    """
    low, high = box
    entry_z, entry_y, entry_x = entries[0], entries[1], entries[2]
    site_z, site_y, site_x = sites[0], sites[1], sites[2]
    apart = np.empty(sites.shape[1], np.int64)
    end = 0
    for s in range(len(slots)):
        begin, g, farthest = end, slots[s, 1], limit
        while g >= 0:
            e = groups[g, 0]
            if groups[g, 1] <= farthest:
                for c in range(e, e + entries[4, e]):
                    far = _square(
                        max(entry_z[c] - low[0], high[0] - entry_z[c]),
                        max(entry_y[c] - low[1], high[1] - entry_y[c]),
                        max(entry_x[c] - low[2], high[2] - entry_x[c]),
                        lengths,
                        limit,
                    )
                    farthest = min(farthest, far)
            g = groups[g, 2]
        g = slots[s, 1]
        while g >= 0:
            e = groups[g, 0]
            if groups[g, 1] <= farthest:
                for c in range(e, e + entries[4, e]):
                    apart[c - e] = _square(
                        max(entry_z[c] - high[0], low[0] - entry_z[c]),
                        max(entry_y[c] - high[1], low[1] - entry_y[c]),
                        max(entry_x[c] - high[2], low[2] - entry_x[c]),
                        lengths,
                        limit,
                    )
                for c in range(e, e + entries[4, e]):
                    # It is overwritten if it is too far, which takes no branch.
                    site_z[end], site_y[end], site_x[end] = entry_z[c], entry_y[c], entry_x[c]
                    end += apart[c - e] <= farthest
            g = groups[g, 2]
        slots[s, 1], slots[s, 2] = begin, end


@compiled
def _square(z: int, y: int, x: int, lengths: tuple[int, int, int], limit: int) -> int:
    """Squared gap of an offset in voxels, 0 or less being none; if it is above `limit`, some number above.

    Each length is cut where its square is above `limit`: below 2**61 each, three sum up below 2**63.
    """
    most = int(math.sqrt(limit)) + 2
    a = min(max(z - 1, 0) * lengths[0], most)
    b = min(max(y - 1, 0) * lengths[1], most)
    c = min(max(x - 1, 0) * lengths[2], most)
    return a * a + b * b + c * c
