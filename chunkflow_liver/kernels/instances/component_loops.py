"""Connected components from runs along x: loops that follow one another, voxel by voxel and run by run.

Runs are numbered in raster order; `rows[z * ny + y]` is the first run of a row. Runs, their ends and the
numbers of components are uint32: a run is at least one voxel, and `label_block` refuses blocks of more than
2**32 - 1 voxels, so none of them wraps. Offsets of voxels are int64.
"""

from __future__ import annotations

import numpy as np

from chunkflow_liver.kernels.compiled import compiled
from chunkflow_liver.xp import Array


@compiled
def root_of(parent: Array, run: int) -> int:
    """The first run of a component; makes the way to it shorter."""
    while parent[run] != run:
        parent[run] = parent[parent[run]]
        run = parent[run]
    return run


@compiled
def unite(parent: Array, a: int, b: int) -> None:
    """Make one component of those of two runs; the earlier root stays one."""
    if parent[a] == parent[b]:
        return
    a, b = root_of(parent, a), root_of(parent, b)
    if a < b:
        parent[b] = a
    else:
        parent[a] = b


@compiled
def join_runs(
    value: Array, height: int, rows: Array, start: Array, stop: Array, reach: Array, parent: Array
) -> None:
    """Unite the runs of one value that touch.

    Parameters
    ----------
    value : ndarray of shape (R,), uint64
        Value of each run, or nothing if there is only one beside 0.
    height : int
        Rows of a plane.
    rows, start, stop : ndarray
        As `fill_runs` gives them.
    reach : ndarray of shape (4,), int64
        For the rows before a row, at (z, y) of (0, -1), (-1, -1), (-1, 0) and (-1, 1): how many voxels
        apart along x runs may be and still touch (1 across edges or corners), -1 for not at all.
    parent : ndarray of shape (R,), uint32
        Of every run an earlier run of its component, or itself; 0, 1, ... to begin with.
    """
    depth = (len(rows) - 1) // height
    for z in range(depth):
        for y in range(height):
            begin, end = rows[z * height + y], rows[z * height + y + 1]
            if begin == end:
                continue
            for side in range(4):
                dz = 0 if side == 0 else -1
                dy = -1 if side == 0 else side - 2
                gap = reach[side]
                if gap < 0 or z + dz < 0 or y + dy < 0 or y + dy >= height:
                    continue
                row = (z + dz) * height + y + dy
                a, b, last = begin, rows[row], rows[row + 1]
                while a < end and b < last:
                    begin_a, end_a = np.int64(start[a]), np.int64(stop[a])
                    begin_b, end_b = np.int64(start[b]), np.int64(stop[b])
                    if begin_a < end_b + gap and begin_b < end_a + gap:
                        if len(value) == 0:
                            unite(parent, a, b)
                        else:
                            if value[a] == value[b]:
                                unite(parent, a, b)
                            # Where both end together, each may touch the run after the other.
                            meets = end_a == end_b and b + 1 < last and start[b + 1] < end_a + gap
                            if meets and value[a] == value[b + 1]:
                                unite(parent, a, b + 1)
                    ahead = end_b < end_a
                    b += ahead
                    a += not ahead


@compiled
def number_runs(parent: Array) -> int:
    """Replace every parent by the number of its component, 1.. in raster order; returns the highest."""
    count = 0
    for run in range(len(parent)):
        # Parents come before their children, so they are numbers already.
        if parent[run] == run:
            count += 1
            parent[run] = count
        else:
            parent[run] = parent[parent[run]]
    return count


@compiled
def tally(
    rows: Array, start: Array, stop: Array, label: Array, width: int, first: Array, voxels: Array
) -> None:
    """First voxel (index into the raveled block) and voxels of every component, into `first`, `voxels`."""
    for row in range(len(rows) - 1):
        for run in range(rows[row], rows[row + 1]):
            at = label[run] - 1
            if voxels[at] == 0:
                first[at] = row * width + start[run]
            voxels[at] += np.int64(stop[run]) - np.int64(start[run])


@compiled
def paint(rows: Array, start: Array, stop: Array, label: Array, ids: Array, out: Array) -> None:
    """Write `ids[label]` to the voxels of every run, 0 between them; `out` is (rows, width)."""
    width = out.shape[1]
    for row in range(len(rows) - 1):
        line = out[row]
        at = np.int64(0)
        for run in range(rows[row], rows[row + 1]):
            value = ids[label[run]]
            a, b = np.int64(start[run]), np.int64(stop[run])
            line[at:a] = 0
            line[a:b] = value
            at = b
        line[at:width] = 0


@compiled
def ends(rows: Array, start: Array, stop: Array, label: Array, width: int, out: Array) -> None:
    """Labels of the first and last voxel of every row along x, into `out` (2, rows) of zeros."""
    for row in range(len(rows) - 1):
        begin, end = rows[row], rows[row + 1]
        if begin < end:
            if start[begin] == 0:
                out[0, row] = label[begin]
            if stop[end - 1] == width:
                out[1, row] = label[end - 1]


@compiled
def meet(plane: Array, value: Array, canvas: Array, canvas_value: Array, reach: int, pairs: Array) -> int:
    """Which components of a plane touch those of the plane before it.

    Parameters
    ----------
    plane : ndarray of shape (M, N), int64
        Components 1.. of a block's first plane, 0 outside.
    value : ndarray of shape (n + 1,), int64
        Value of every component.
    canvas : ndarray of shape (M + 2, N + 2), int64
        Nodes of the plane before it, with the voxels around; -1 outside.
    canvas_value : ndarray of the shape of `canvas`, int64
        Value of the voxels of the canvas.
    reach : {0, 1, 2}
        Steps inside the plane that voxels which touch can be apart: faces; and edges; and corners.
    pairs : ndarray of shape (K, 2), int64
        Filled with (node, component) from the front.

    Returns
    -------
    int
        How many pairs there are, more than K if they did not fit. A pair can be there several times.
    """
    height, width = plane.shape
    count = 0
    seen_node, seen_label = np.full(9, -1), np.zeros(9, np.int64)
    for y in range(height):
        for x in range(width):
            label = plane[y, x]
            if label == 0:
                continue
            for dy in range(-1, 2):
                for dx in range(-1, 2):
                    if abs(dy) + abs(dx) > reach:
                        continue
                    node = canvas[y + 1 + dy, x + 1 + dx]
                    side = 3 * dy + dx + 4
                    if node < 0 or (node == seen_node[side] and label == seen_label[side]):
                        continue
                    if canvas_value[y + 1 + dy, x + 1 + dx] != value[label]:
                        continue
                    seen_node[side], seen_label[side] = node, label
                    if count < len(pairs):
                        pairs[count, 0], pairs[count, 1] = node, label
                    count += 1
    return count
