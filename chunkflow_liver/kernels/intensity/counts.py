"""Pairs, dependences and differences of gray levels: integers per object that merge exactly over blocks.

A row counts one key of one object: a direction where there is one, and two numbers of 12 bits (two gray
levels, or a gray level and a number of neighbours).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Nm, Zyx
from chunkflow_liver.kernels.features.groups import Settings, Sums, View, runs_seen
from chunkflow_liver.kernels.intensity import device_counts
from chunkflow_liver.kernels.intensity.levels import Ranges, bins, half_offsets, last_bin
from chunkflow_liver.kernels.rows import Rows, added
from chunkflow_liver.xp import Array, namespace


@dataclass(frozen=True, eq=False)
class Listed:
    """The objects of a block of the host, one after the other, run by run.

    Attributes
    ----------
    rank : ndarray of shape (L,), int64
        Row of each object among those of the view, ascending.
    runs : ndarray of shape (R, 4), int64
        z, y, first and last + 1 along x of every run, in voxels of the block.
    begin : ndarray of shape (L + 1,), int64
        First run of each object.
    level : ndarray of shape (V,), uint16
        Gray levels of the voxels of the runs.
    voxel : ndarray of shape (L + 1,), int64
        First voxel of each object in `level`.
    boxes : ndarray of shape (L, 2, 3), int64
        First voxel and sides of the box around each object, with a margin as wide as the halo.
    """

    rank: Array
    runs: Array
    begin: Array
    level: Array
    voxel: Array
    boxes: Array


def halo(settings: Settings, voxel_nm: Nm) -> tuple[Zyx, Zyx]:
    """Voxels beyond a block that hold neighbours of its own."""
    n = max(settings.distances)
    return (n, n, n), (n, n, n)


def merge(parts: Sequence[Sums]) -> Sums:
    """The counts of several blocks as one; exact, whatever their order."""
    merged = {}
    for table in parts[0]:
        # Rows of one block are sorted, and no two have one key.
        held = [part[table] for part in parts if len(part[table]["n"])] or [parts[0][table]]
        merged[table] = held[0] if len(held) == 1 else added(held, ("label", "key"))
    return merged


def pair_sums(view: View) -> Sums:
    """How often a voxel of the block and a neighbour in its object have which gray levels.

    Parameters
    ----------
    view : View
        A block with the halo `halo`.

    Returns
    -------
    dict
        `pairs`: rows of `label`, `key` (direction, level, neighbour's level; the lower level first where
        pairs count both ways) and `n`, int64. Host arrays.

    Notes
    -----
    Cost follows the voxels of the objects, not of the block: 13 looks for each of them [1]_.

    References
    ----------
    .. [1] Haralick et al., Textural features for image classification, 1973, doi:10.1109/TSMC.1973.4309314
    """
    if namespace(view.labels) is not np:
        return {"pairs": device_counts.pair_rows(view)}
    from chunkflow_liver.kernels.intensity.neighbour_loops import count_pairs

    listed, offsets = view.shared(listed_view), np.array(half_offsets(view.settings.distances))
    most = np.maximum.reduceat(listed.level, listed.voxel[:-1]).astype(np.int64) if len(listed.rank) else 0
    # Not all of this is ever used, and what is not takes no memory.
    room = len(offsets) * int(np.minimum(most * most, np.diff(listed.voxel)).sum())
    found, ends = np.empty((2, room), np.int64), np.zeros(len(listed.rank), np.int64)
    if room:
        count_pairs(*_given(view, listed), offsets, not view.settings.symmetrical_glcm, found, ends)
    return {"pairs": _rows(view, listed, ends, found)}


def dependence_sums(view: View) -> Sums:
    """How many neighbours of a voxel have its gray level, within `gldm_a`.

    Parameters
    ----------
    view : View
        A block with the halo `halo`.

    Returns
    -------
    dict
        `dependences`: rows of `label`, `key` (0, level, number of such neighbours) and `n` [1]_.

    References
    ----------
    .. [1] Sun and Wee, Neighboring gray level dependence matrix, 1983, doi:10.1016/0734-189X(83)90032-4
    """
    device = namespace(view.labels) is not np
    return {"dependences": device_counts.dependence_rows(view) if device else view.shared(_neighbours)[0]}


def tone_sums(view: View) -> Sums:
    """How far the gray level of a voxel is from the mean of its neighbours.

    Parameters
    ----------
    view : View
        A block with the halo `halo`.

    Returns
    -------
    dict
        `tones`: rows of `label`, `key` (0, level, number of neighbours), `n`, and `sum` of
        |neighbours * level - sum of the neighbours' levels|, a whole number [1]_.

    References
    ----------
    .. [1] Amadasun and King, Textural features corresponding to textural properties, 1989,
       doi:10.1109/21.44046
    """
    device = namespace(view.labels) is not np
    return {"tones": device_counts.tone_rows(view) if device else view.shared(_neighbours)[1]}


def _neighbours(view: View) -> tuple[Rows, Rows]:
    """Rows of dependences and of tones."""
    from chunkflow_liver.kernels.intensity.neighbour_loops import count_neighbours

    listed, offsets = view.shared(listed_view), np.array(half_offsets(view.settings.distances))
    room = len(listed.level)
    dependences, tones = np.empty((2, room), np.int64), np.empty((3, room), np.int64)
    ends = np.zeros((2, len(listed.rank)), np.int64)
    if room:
        alike = view.settings.gldm_a
        count_neighbours(*_given(view, listed), offsets, alike, (dependences, tones), ends)
    return _rows(view, listed, ends[0], dependences), _rows(view, listed, ends[1], tones)


def _given(view: View, listed: Listed) -> tuple[Array, Array, Array, Array, Array]:
    """What all loops are given first."""
    trim = np.array([(axis.start, axis.stop) for axis in view.block.trim])
    return listed.runs, listed.begin, listed.level, listed.boxes, trim


def _rows(view: View, listed: Listed, ends: Array, found: Array) -> Rows:
    """Rows from columns of key, number and perhaps sum, of which those of each object end at `ends`."""
    label = np.repeat(view.objects["label"].astype(np.uint64)[listed.rank], np.diff(ends, prepend=0))
    return {"label": label} | dict(zip(("key", "n", "sum"), found[:, : len(label)], strict=False))


def listed_view(view: View) -> Listed:
    """The objects of a block, and the gray levels of their voxels.

    Raises
    ------
    InputError
        If there is no image.
    """
    from chunkflow_liver.kernels.intensity.level_loops import levels_of
    from chunkflow_liver.kernels.intensity.neighbour_loops import gathered

    if view.raw is None:
        raise InputError("textures need the image under the labels")
    ranges, settings = Ranges.of(view.objects), view.settings
    runs = view.shared(runs_seen)
    rank: Array = np.searchsorted(ranges.label, runs.label)
    known = rank < len(ranges.label)
    known[known] = ranges.label[rank[known]] == runs.label[known]
    lengths = np.diff(runs.begin)
    kept = np.repeat(known, lengths)
    z, y = np.divmod(runs.row[kept].astype(np.int64), max(1, runs.height))
    table = np.column_stack([z, y, runs.ends[kept]])
    rank, begin = rank[known], np.concatenate([[0], np.cumsum(lengths[known])])
    voxel = np.concatenate([[0], np.cumsum(table[:, 3] - table[:, 2])])[begin]
    value, level = np.empty(voxel[-1]), np.empty(voxel[-1], np.uint16)
    gathered(_plain(view.raw), table, value)
    low, width = bins(ranges.minimum[rank], ranges.maximum[rank], settings)
    levels_of(value, voxel, low, width, last_bin(settings), level)
    margin = max(settings.distances)
    boxes = np.zeros((len(rank), 2, 3), np.int64)
    if len(rank):
        ends = table[:, [0, 1, 3]] + (1, 1, 0)
        boxes[:, 0] = np.minimum.reduceat(table[:, :3], begin[:-1]) - margin
        boxes[:, 1] = np.maximum.reduceat(ends, begin[:-1]) + margin - boxes[:, 0]
    return Listed(rank, table, begin, level, voxel, boxes)


def _plain(raw: Array) -> Array:
    """An image as compiled loops take it."""
    kind = np.dtype(np.float32) if raw.dtype == np.float16 else raw.dtype.newbyteorder("=")
    return np.ascontiguousarray(raw, kind)
