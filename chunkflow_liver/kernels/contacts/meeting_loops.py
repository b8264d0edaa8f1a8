"""Compiled: every label within a gap of some voxels, from cells that know what is in them.

Offsets that are compared are those of cells in reach: below twice the gap or the gap and ten voxels, along
each axis. With a squared gap below 2**58 and voxels below 2**21 units three squares sum up below 2**62.
"""

from __future__ import annotations

import numpy as np

from chunkflow_liver.kernels.compiled import compiled
from chunkflow_liver.xp import Array

_PART = 21
"""A place is z * 2**42 + y * 2**21 + x: longer blocks are refused (`contacts.MOST_ALONG`)."""


@compiled
def by_cell(
    asked: tuple[Array, Array, Array],
    image: tuple[Array, bool],
    homes: tuple[Array, Array, Array],
    around: tuple[Array, Array],
    found: tuple[Array, Array, Array, Array],
) -> tuple[int, Array]:
    """Write what voxels meet that only one label is near to; the others cell by cell, for `meetings`.

    Parameters
    ----------
    asked : tuple of ndarray, int64
        `at` (3, M), places within the walls; `some` (N,), those that are wanted; `known` (M,), squared gap
        to the nearest label of each, within the limit for those wanted; it is not read where `same`.
    image : tuple
        `labels` (Z, Y, X), int32, 0 for background, -1 all around; and `same`, whether voxels do not meet the
        label that they are in.
    homes : tuple of ndarray, int64
        Along each axis the cell that each voxel is in.
    around : tuple of ndarray of shape (cells along z, y, x), int32
        Smallest and largest label of surface voxels in all cells that a voxel of a cell may reach.
    found : tuple of ndarray of shape (N,) or more
        Filled with `voxel` (int64, number in `at`), `label` (int32), `square` (int64) and `nearest` (bool).

    Returns
    -------
    count : int
        How many rows of `found` are filled.
    others : ndarray of shape (L, 4), int64
        Of each other voxel its cell (ascending), its number in `at`, its place in `labels` (see `_PART`) and
        `known`.
    """
    at, some, known = asked
    labels, same = image
    smallest, largest = around
    cells = smallest.shape
    voxel, label, square, nearest = found
    home, wanted = np.empty(len(some), np.int64), np.empty(len(some), np.int64)
    count = left = 0
    first, last = smallest.size, -1
    for i in range(len(some)):
        v = some[i]
        z, y, x = at[0, v] + 1, at[1, v] + 1, at[2, v] + 1
        cz, cy, cx = homes[0][z], homes[1][y], homes[2][x]
        low, high = smallest[cz, cy, cx], largest[cz, cy, cx]
        # Inside a label there is no gap.
        if same or known[v] == 0:
            here = labels[z, y, x]
            if here > 0:
                low, high = min(low, here), max(high, here)
        if low < high:
            cell = (cz * cells[1] + cy) * cells[2] + cx
            home[left], wanted[left] = cell, v
            first, last = min(first, cell), max(last, cell)
            left += 1
        elif not same:
            voxel[count], label[count], square[count], nearest[count] = v, high, known[v], True
            count += 1
    begins = np.zeros(max(0, last - first) + 2, np.int64)
    for i in range(left):
        begins[home[i] - first + 1] += 1
    begins = np.cumsum(begins)
    others = np.empty((left, 4), np.int64)
    for i in range(left):
        v, row = wanted[i], others[begins[home[i] - first]]
        begins[home[i] - first] += 1
        row[0], row[1], row[3] = home[i], v, -1 if same else known[v]
        row[2] = ((at[0, v] + 1) << 2 * _PART) + ((at[1, v] + 1) << _PART) + at[2, v] + 1
    return count, others


@compiled
def meetings(
    others: Array,
    image: tuple[Array, bool],
    grid: tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]],
    inside: tuple[Array, Array],
    offsets: Array,
    metric: tuple[tuple[int, int, int, int], int],
    found: tuple[Array, Array, Array, Array],
    start: tuple[int, int],
) -> tuple[int, int]:
    """Write every label within the gap of each voxel, once, at its smallest squared gap.

    Parameters
    ----------
    others, image
        As for `by_cell`.
    grid : tuple
        Voxels of a cell, number of cells, and how many of them lie before the first voxel, along (z, y, x).
    inside : tuple of ndarray
        `begins` and `entries` of `cell_loops.fill_cells`.
    offsets : ndarray of shape (K, 4), int64
        From the cell of a voxel to those that may hold what it meets, near ones first: along (z, y, x), and
        in the order of cells.
    metric : tuple
        Size of a voxel along (z, y, x) and by how much a gap is less than an offset (1 between boxes of
        voxels, 0 between centres); and the largest squared gap.
    found : tuple of ndarray of shape (R,)
        As for `by_cell`; `nearest` tells whether it is the nearest label of its voxel, of equally near ones
        the smallest.
    start : tuple of int
        The one of `others` to begin with, and how many rows of `found` are filled.

    Returns
    -------
    tuple of int
        The same to go on with, when `found` has no room for what the next voxels meet.

    Notes
    -----
    Of a label that a voxel is not in, a surface voxel is nearest: from any other there is a step closer.
    The voxels of one cell look for them together: what is farther from the box of them all than another of
    its label is from its farthest corner is nearest to none. The rest are tried one by one. Where the gap to
    the nearest label is known and no other has it, it is that of the last one.
    """
    labels, same = image
    size, cells, before = grid
    mask = (1 << _PART) - 1
    # (z, y, x) of the voxels of one cell, the label there, the known gap, and the row of the nearest label.
    mine = np.empty((6, size[0] * size[1] * size[2]), np.int64)
    beside = np.empty((len(offsets), 3), np.int64)
    slots, groups, sites = np.empty((0, 3), np.int64), np.empty((0, 4), np.int64), np.empty((3, 0), np.int64)
    i, count = start
    while i < len(others):
        home, n = others[i, 0], 0
        low, high = (mask, mask, mask), (0, 0, 0)
        nobody, only = -1, 0
        while i + n < len(others) and others[i + n, 0] == home:
            place = others[i + n, 2]
            z, y, x = place >> 2 * _PART, place >> _PART & mask, place & mask
            low = min(z, low[0]), min(y, low[1]), min(x, low[2])
            high = max(z, high[0]), max(y, high[1]), max(x, high[2])
            mine[0, n], mine[1, n], mine[2, n], mine[3, n], mine[4, n] = z, y, x, 0, others[i + n, 3]
            # Inside a label there is no gap.
            if same or others[i + n, 3] == 0:
                here = labels[z, y, x]
                mine[3, n] = here
                if nobody != here:
                    nobody = here if nobody < 0 else 0
                if here > 0 and only != here:
                    only = -1 if only else here
            n += 1
        corner = (
            (home // (cells[1] * cells[2]) - before[0]) * size[0] + 1,
            (home // cells[2] % cells[1] - before[1]) * size[1] + 1,
            (home % cells[2] - before[2]) * size[2] + 1,
        )
        near = held = 0
        for k in range(len(offsets)):
            there = home + offsets[k, 3]
            number = inside[0][there + 1] - inside[0][there]
            if number == 0:
                continue
            z, y, x = (
                corner[0] + offsets[k, 0] * size[0],
                corner[1] + offsets[k, 1] * size[1],
                corner[2] + offsets[k, 2] * size[2],
            )
            end_z, end_y, end_x = z + size[0] - 1, y + size[1] - 1, x + size[2] - 1
            bound = _square(
                max(z - high[0], low[0] - end_z),
                max(y - high[1], low[1] - end_y),
                max(x - high[2], low[2] - end_x),
                metric[0],
            )
            if bound <= metric[1]:
                beside[near, 0], beside[near, 1] = there, bound
                beside[near, 2] = _square(
                    max(z - low[0], high[0] - end_z, (high[0] - low[0] + 1) // 2),
                    max(y - low[1], high[1] - end_y, (high[1] - low[1] + 1) // 2),
                    max(x - low[2], high[2] - end_x, (high[2] - low[2] + 1) // 2),
                    metric[0],
                )
                near += 1
                held += number
        if held > len(groups):
            room = 2 * held
            slots, groups = np.empty((room, 3), np.int64), np.empty((room, 4), np.int64)
            sites = np.empty((3, room), np.int64)
        several = _by_label(beside[:near], inside, nobody if same else 0, slots, groups)
        if several != 1 or same or only not in (0, slots[0, 0]):
            several = _nearest_sites(slots[:several], groups, inside[1], (low, high), metric, sites)
        if count + n * (several + 1) > len(found[0]):
            break
        count = _meet(others[i : i + n, 1], mine[:, :n], slots[:several], sites, metric, found, count)
        i += n
    return i, count


@compiled
def _meet(
    some: Array,
    mine: Array,
    slots: Array,
    sites: Array,
    metric: tuple[tuple[int, int, int, int], int],
    found: tuple[Array, Array, Array, Array],
    count: int,
) -> int:
    """Write what the voxels of one cell meet, and return how many rows of `found` are filled then."""
    lengths, limit = metric
    voxel, label, square, nearest = found
    mine_z, mine_y, mine_x, here, known, best = mine[0], mine[1], mine[2], mine[3], mine[4], mine[5]
    for j in range(len(some)):
        best[j] = -1
        if here[j] > 0 and known[j] == 0:
            voxel[count], label[count], square[count], nearest[count] = some[j], here[j], 0, True
            best[j] = count
            count += 1
    for s in range(len(slots)):
        begin, end = slots[s, 1], slots[s, 2]
        site_z, site_y, site_x = sites[0, begin:end], sites[1, begin:end], sites[2, begin:end]
        for j in range(len(some)):
            if here[j] == slots[s, 0]:
                continue
            least = limit + 1 if best[j] < 0 else square[best[j]]
            if s == len(slots) - 1 and known[j] >= 0 and known[j] < least:
                gap = known[j]
            else:
                z, y, x, gap = mine_z[j], mine_y[j], mine_x[j], limit + 1
                for c in range(end - begin):
                    apart = _square(abs(site_z[c] - z), abs(site_y[c] - y), abs(site_x[c] - x), lengths)
                    gap = min(gap, apart)
                if gap > limit:
                    continue
            voxel[count], label[count], square[count], nearest[count] = some[j], slots[s, 0], gap, False
            if gap < least or (gap == least and slots[s, 0] < label[best[j]]):
                nearest[count] = True
                if best[j] >= 0:
                    nearest[best[j]] = False
                best[j] = count
            count += 1
    return count


@compiled
def _by_label(beside: Array, inside: tuple[Array, Array], nobody: int, slots: Array, groups: Array) -> int:
    """Chain what the cells `beside` (number, bounds) hold by label, and return how many labels there are.

    `slots` is filled with (label, first and last of its groups), and `groups` with (first entry, both bounds
    of its cell, next group of the label, -1 for none). Without the label `nobody`.
    """
    begins, entries = inside
    number = labels = 0
    for k in range(len(beside)):
        cell = beside[k, 0]
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
                groups[slots[s, 2], 3] = number
            slots[s, 2] = number
            groups[number, 0], groups[number, 3] = begin, -1
            groups[number, 1], groups[number, 2] = beside[k, 1], beside[k, 2]
            number += 1
    return labels


@compiled
def _nearest_sites(
    slots: Array,
    groups: Array,
    entries: Array,
    box: tuple[tuple[int, int, int], tuple[int, int, int]],
    metric: tuple[tuple[int, int, int, int], int],
    sites: Array,
) -> int:
    """Write (z, y, x) of what can be nearest to a voxel of the box, label by label, into columns of `sites`.

    Where those of a label begin and end replaces the groups in `slots`. Labels of which there is nothing are
    dropped; returns how many are left.
    """
    low, high = box
    lengths, limit = metric
    entry_z, entry_y, entry_x = entries[0], entries[1], entries[2]
    site_z, site_y, site_x = sites[0], sites[1], sites[2]
    apart = np.empty(sites.shape[1], np.int64)
    end = labels = 0
    for s in range(len(slots)):
        begin, g, farthest = end, slots[s, 1], limit
        while g >= 0:
            e = groups[g, 0]
            if groups[g, 2] < farthest:
                stop = e + entries[4, e]
                group_z, group_y, group_x = entry_z[e:stop], entry_y[e:stop], entry_x[e:stop]
                for c in range(stop - e):
                    far = _square(
                        max(group_z[c] - low[0], high[0] - group_z[c]),
                        max(group_y[c] - low[1], high[1] - group_y[c]),
                        max(group_x[c] - low[2], high[2] - group_x[c]),
                        lengths,
                    )
                    farthest = min(farthest, far)
            g = groups[g, 3]
        g = slots[s, 1]
        while g >= 0:
            e = groups[g, 0]
            if groups[g, 1] <= farthest:
                stop = e + entries[4, e]
                group_z, group_y, group_x = entry_z[e:stop], entry_y[e:stop], entry_x[e:stop]
                for c in range(stop - e):
                    apart[c] = _square(
                        max(group_z[c] - high[0], low[0] - group_z[c]),
                        max(group_y[c] - high[1], low[1] - group_y[c]),
                        max(group_x[c] - high[2], low[2] - group_x[c]),
                        lengths,
                    )
                for c in range(stop - e):
                    # It is overwritten if it is too far, which takes no branch.
                    site_z[end], site_y[end], site_x[end] = group_z[c], group_y[c], group_x[c]
                    end += apart[c] <= farthest
            g = groups[g, 3]
        if end > begin:
            slots[labels, 0], slots[labels, 1], slots[labels, 2] = slots[s, 0], begin, end
            labels += 1
    return labels


@compiled
def _square(z: int, y: int, x: int, lengths: tuple[int, int, int, int]) -> int:
    """Squared gap of an offset in voxels, 0 or less being none."""
    a = max(z - lengths[3], 0) * lengths[0]
    b = max(y - lengths[3], 0) * lengths[1]
    c = max(x - lengths[3], 0) * lengths[2]
    return a * a + b * b + c * c
