"""Compiled: the surface voxels of all objects of a block, sorted into cells."""

from __future__ import annotations

from chunkflow_liver.kernels.compiled import compiled
from chunkflow_liver.xp import Array


@compiled
def list_surface(
    labels: Array,
    homes: tuple[Array, Array, Array],
    cells: tuple[int, int, int],
    flags: tuple[Array, Array],
    numbers: tuple[Array, Array, Array],
    found: Array,
    start: tuple[int, int],
) -> tuple[int, int]:
    """Write the surface voxels of all objects, and how many and which labels every cell has of them.

    Parameters
    ----------
    labels : ndarray of shape (Z, Y, X), int32
        0 for background, -1 all around.
    homes : tuple of ndarray, int64
        Along each axis the cell that each voxel is in.
    cells : tuple of int
        Number of cells along (z, y, x).
    flags : tuple of ndarray
        Zeros for X voxels or more, uint8, and the same memory as uint64.
    numbers : tuple of ndarray of shape (cells,), int64, int32 and int32
        Number of voxels of every cell, smallest and largest label: begin with 0, more than any label, and 0.
    found : ndarray of shape (M, 4), int32
        Filled with (z, y, x, label).
    start : tuple of int
        Row (of those between the walls, in raster order) to begin with, and how many of `found` are filled.

    Returns
    -------
    tuple of int
        The same to go on with, when `found` has no room for another row.
    """
    _, height, width = labels.shape
    voxels, smallest, largest = numbers
    marks, words = flags
    first, count = start
    rows = (labels.shape[0] - 2) * (height - 2)
    for line in range(first, rows):
        if count + width > len(found):
            return line, count
        z, y = line // (height - 2) + 1, line % (height - 2) + 1
        row, above, below = labels[z, y], labels[z, y - 1], labels[z, y + 1]
        before, after = labels[z - 1, y], labels[z + 1, y]
        # A wall is no other label, but a voxel too many does no harm.
        for x in range(1, width - 1):
            label = row[x]
            marks[x] = (label > 0) & (
                (label != row[x - 1])
                | (label != row[x + 1])
                | (label != above[x])
                | (label != below[x])
                | (label != before[x])
                | (label != after[x])
            )
        home = (homes[0][z] * cells[1] + homes[1][y]) * cells[2]
        # Eight voxels at once where there is no surface.
        for word in range(len(words)):
            if words[word] == 0:
                continue
            for x in range(8 * word, 8 * word + 8):
                if marks[x] == 0:
                    continue
                cell, label = home + homes[2][x], row[x]
                found[count, 0], found[count, 1], found[count, 2], found[count, 3] = z, y, x, label
                count += 1
                voxels[cell] += 1
                smallest[cell] = min(smallest[cell], label)
                largest[cell] = max(largest[cell], label)
    return rows, count


@compiled
def fill_cells(
    found: Array,
    homes: tuple[Array, Array, Array],
    cells: tuple[int, int, int],
    numbers: tuple[Array, Array, Array],
    begins: Array,
    entries: Array,
) -> None:
    """Sort the voxels of `list_surface` by cell, and those of a cell by label.

    Parameters
    ----------
    found, homes, cells
        As for `list_surface`; all rows of `found` are filled.
    numbers : tuple of ndarray
        As `list_surface` left them; the numbers of voxels are counted down to 0.
    begins : ndarray of shape (cells + 1,), int64
        Where the voxels of each cell begin.
    entries : ndarray of shape (5, E), int32
        Filled with (z, y, x, label) of each voxel, those of one label in a cell one after the other; the
        first of them has in the last row how many they are.
    """
    left, smallest, largest = numbers
    for i in range(len(found)):
        cell = (homes[0][found[i, 0]] * cells[1] + homes[1][found[i, 1]]) * cells[2] + homes[2][found[i, 2]]
        at = begins[cell + 1] - left[cell]
        left[cell] -= 1
        for c in range(4):
            entries[c, at] = found[i, c]
    for cell in range(len(begins) - 1):
        begin, stop = begins[cell], begins[cell + 1]
        while begin < stop:
            end = stop
            if smallest[cell] < largest[cell]:
                end = begin + 1
                for e in range(end, stop):
                    if entries[3, e] == entries[3, begin]:
                        for c in range(4):
                            entries[c, e], entries[c, end] = entries[c, end], entries[c, e]
                        end += 1
            entries[4, begin] = end - begin
            begin = end
