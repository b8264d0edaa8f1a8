"""Loops of `kernels.mesh`: the cells at surfaces, object by object, and what is counted of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from chunkflow_liver.kernels.compiled import compiled
from chunkflow_liver.xp import Array

# Of a compiled function's own integers; Python's `int` would leave another type as it is.
_integer: Any = np.int64

# Cells per word of flags, and 2**64 divided by the golden ratio, which spreads consecutive labels.
_WORD = 8
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


@compiled
def surface_cells(
    labels: Array,
    edges: tuple[Array, ...],
    wanted: tuple[int, int],
    row: Array,
    x: Array,
    code: Array,
    slot: Array,
) -> tuple[int, Array, Array]:
    """Write the cells of `labels` (Z, Y, X) that are not uniform, once per label in them, in raster order.

    `row` (int32, z * (Y - 1) + y), `x` (int32), `code` (uint8) and `slot` (int32, number of the label) take
    the cells of the labels whose slots lie in the range `wanted`, as many as fit. A uniform cell of an
    object counts as well if its y is in `edges[0]` or its x in `edges[1]`. Labels are numbered as
    they are met.

    Returns how many cells of the wanted labels there are, the cells of every slot (int64), and its label.
    Numbers of cells and slots are at most 8 times the number of voxels: nothing can overflow.
    """
    nz, ny, nx = labels.shape
    flat = labels.reshape(nz * ny * nx)
    words = (nx + _WORD - 1) // _WORD
    differs, mixed = np.zeros(nx + 1, np.uint8), np.zeros(words * _WORD, np.uint8)
    in_words, places = mixed.view(np.uint64), np.zeros(words * _WORD + 1, np.int64)
    # Memory is used as it is written to: there is room for as many labels as voxels.
    names, cells, slots = np.empty(len(flat), labels.dtype), np.empty(len(flat), np.int64), 0
    table = np.zeros(1 << 12, np.int32)
    # A zero of the labels' own type: uint64 and int64 together would become floats.
    nothing = labels.dtype.type(0)
    last_label, last_slot, found = nothing, 0, 0
    for z in range(nz - 1):
        for y in range(ny - 1):
            # Room for 8 new labels in every cell of the row; the table stays at most half full.
            while 2 * (slots + 8 * nx) > len(table):
                table = np.zeros(2 * len(table), np.int32)
                for known in range(slots):
                    table[_place(table, names, names[known])] = known + 1
            begin = (z * ny + y) * nx
            a, b = flat[begin : begin + nx], flat[begin + nx : begin + 2 * nx]
            above = begin + ny * nx
            c, d = flat[above : above + nx], flat[above + nx : above + 2 * nx]
            for i in range(nx):
                differs[i] = (a[i] != b[i]) | (a[i] != c[i]) | (a[i] != d[i])
            for i in range(nx - 1):
                mixed[i] = differs[i] | differs[i + 1] | np.uint8(a[i] != a[i + 1])
            for i in edges[1]:
                mixed[i] |= np.uint8(a[i] != 0)
            for i in edges[0]:
                if i == y:
                    for j in range(nx - 1):
                        mixed[j] |= np.uint8(a[j] != 0)
            there = 0
            for word in range(words):
                if in_words[word] != 0:
                    # No branch per cell: the processor could not foresee it.
                    for i in range(word * _WORD, word * _WORD + _WORD):
                        places[there] = i
                        there += _integer(mixed[i])
            for n in range(there):
                i = places[n]
                # In the order of `CORNERS`.
                c0, c1, c2, c3 = a[i], a[i + 1], b[i + 1], b[i]
                c4, c5, c6, c7 = c[i], c[i + 1], d[i + 1], d[i]
                label = max(max(max(c0, c1), max(c2, c3)), max(max(c4, c5), max(c6, c7)))
                while label != nothing:
                    if label != last_label:
                        at = _place(table, names, label)
                        if table[at] == 0:
                            names[slots], cells[slots] = label, 0
                            slots += 1
                            table[at] = slots
                        last_label, last_slot = label, _integer(table[at]) - 1
                    cells[last_slot] += 1
                    if wanted[0] <= last_slot < wanted[1]:
                        if found < len(row):
                            bits = _integer(c0 == label) | _integer(c1 == label) << 1
                            bits |= _integer(c2 == label) << 2 | _integer(c3 == label) << 3
                            bits |= _integer(c4 == label) << 4 | _integer(c5 == label) << 5
                            bits |= _integer(c6 == label) << 6 | _integer(c7 == label) << 7
                            row[found], x[found] = z * (ny - 1) + y, i
                            code[found], slot[found] = bits, last_slot
                        found += 1
                    # The labels of a cell are taken from the highest to the lowest.
                    below = c0 if c0 < label else nothing
                    below = max(below, c1 if c1 < label else nothing)
                    below = max(below, c2 if c2 < label else nothing)
                    below = max(below, c3 if c3 < label else nothing)
                    below = max(below, c4 if c4 < label else nothing)
                    below = max(below, c5 if c5 < label else nothing)
                    below = max(below, c6 if c6 < label else nothing)
                    label = max(below, c7 if c7 < label else nothing)
    return found, cells[:slots], names[:slots]


@compiled
def _place(table: Array, names: Array, label: int) -> int:
    """Where `table` has the number (from 1) of a label, or 0 in its stead."""
    # The upper half of the product is the one that all bits of the label have had a part in.
    place: int = _integer((np.uint64(label) * _SPREAD) >> np.uint64(32)) & (len(table) - 1)
    while table[place] > 0 and names[table[place] - 1] != label:
        place = (place + 1) & (len(table) - 1)
    return place


@compiled
def by_object(place: Array, row: Array, x: Array, code: Array, slot: Array) -> tuple[Array, Array, Array]:
    """Copies of `row`, `x` and `code` in which the cells of a slot follow each other, from `place[slot]` on.

    The order within a slot stays; `place` (int64) is moved to where each slot ends.
    """
    rows, xs, codes = np.empty_like(row), np.empty_like(x), np.empty_like(code)
    for i in range(len(slot)):
        to = place[slot[i]]
        place[slot[i]] = to + 1
        rows[to], xs[to], codes[to] = row[i], x[i], code[i]
    return rows, xs, codes


@compiled
def tally(
    begin: Array, row: Array, x: Array, code: Array, frame: tuple[int, int, int, int], volumes: Array
) -> tuple[Array, Array, Array, Array, Array]:
    """Cells of every object and code, and 48 times the volume under them.

    `begin` (int64, one more than there are objects) says where the cells of each object start; `frame` is
    the cells of a row along y and the volume's coordinates (z, y, x) of cell 0; `volumes` (256, 4) is
    what a code adds by itself and per voxel along z, y and x. Cells of code 255 have no surface.

    Returns object, code and count of the rows that are not 0; total and cells at the surface of every
    object. A sum that passes int64 wraps there and back: the volume of the whole object, seen from a
    point near it, is below 2**63, and additions of wrapped numbers are exact modulo 2**64.
    """
    objects = len(begin) - 1
    most = min(len(code), 254 * objects)
    which, codes, counts = np.empty(most, np.int64), np.empty(most, np.uint8), np.empty(most, np.int64)
    total, surface = np.zeros(objects, np.int64), np.zeros(objects, np.int64)
    count = np.zeros(256, np.int64)
    ny, oz, oy, ox = frame
    rows = 0
    for n in range(objects):
        last, z, y, sum_ = -1, 0, 0, 0
        for i in range(begin[n], begin[n + 1]):
            if row[i] != last:
                last = row[i]
                z, y = last // ny + oz, last % ny + oy
            kind = code[i]
            sum_ += volumes[kind, 0] + z * volumes[kind, 1] + y * volumes[kind, 2]
            sum_ += (x[i] + ox) * volumes[kind, 3]
            count[kind] += 1
        total[n], surface[n] = sum_, begin[n + 1] - begin[n] - count[255]
        for k in range(256):
            if count[k]:
                if k != 255:
                    which[rows], codes[rows], counts[rows] = n, k, count[k]
                    rows += 1
                count[k] = 0
    return which[:rows], codes[:rows], counts[:rows], total, surface
