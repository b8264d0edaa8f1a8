"""What two neighbouring blocks, segmented independently, say of the voxels around the seam between them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Block, Box, Zyx
from chunkflow_liver.kernels.labels.overlap import overlap_runs
from chunkflow_liver.kernels.labels.planes import PlaneRuns, plane_runs
from chunkflow_liver.kernels.labels.runs import find_runs
from chunkflow_liver.kernels.rows import distinct, totals
from chunkflow_liver.xp import Array

AFTER: tuple[Zyx, ...] = tuple(cast(Zyx, d) for d in itertools.product((-1, 0, 1), repeat=3) if d > (0, 0, 0))
"""Where in the grid the 13 neighbours lie that share a face, edge or corner and come after a block."""

BEFORE: tuple[Zyx, ...] = tuple(cast(Zyx, tuple(-n for n in d)) for d in AFTER)
"""The 13 before it; entry i is what entry i of `AFTER` sees when it looks back."""

Columns = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True, eq=False)
class Owned:
    """The objects of a block that own voxels of its write box, numbered anew.

    Attributes
    ----------
    ids : ndarray of shape (Z, Y, X), uint32
        Of the whole array: 1..n in the raster order of each object's first owned voxel; above n for
        objects of which others own all voxels.
    voxels, first : ndarray of shape (n,), int64
        Owned voxels, and flat index of the first one in the write box.
    """

    ids: Array
    voxels: Array
    first: Array


def owned_objects(labels: Array, trim: tuple[slice, slice, slice]) -> Owned:
    """The objects of a block that own voxels of its write box.

    Parameters
    ----------
    labels : ndarray of shape (Z, Y, X), integer
        Objects of a block with its halo, any ids; 0 is background.
    trim : tuple of slice
        The write box in `labels`.

    Raises
    ------
    InputError
        If `labels` are no integers, or negative.
    """
    if labels.dtype.kind not in "bui":
        raise InputError(f"an instance function must return integer labels, got {labels.dtype}")
    if labels.dtype.kind == "i" and labels.size and labels.min() < 0:
        raise InputError(f"an instance function must return labels of 0 or more, got {labels.min()}")
    runs = find_runs(labels[trim])
    known, index, member = np.unique(runs.label, return_index=True, return_inverse=True)
    order = np.argsort(index)
    number = np.empty(len(known), np.int64)
    number[order] = np.arange(len(known))
    voxels = np.zeros(len(known), np.int64)
    np.add.at(voxels, number[member], runs.voxels)
    _, height, width = labels[trim].shape
    head = index[order]
    first = (runs.z[head] * height + runs.y[head]) * width + runs.start[head]
    return Owned(_numbered(labels, known, number), voxels, first)


def _numbered(labels: Array, known: Array, number: Array) -> Array:
    """`labels` with `known` replaced by `number` + 1 and all others numbered on from there, uint32."""
    values, member, length = distinct(labels)
    ids = np.zeros(len(values), np.uint32)
    owned = np.isin(values, known)
    ids[owned] = number + 1
    others = ~owned & (values > 0)
    ids[others] = np.arange(len(known) + 1, len(known) + 1 + others.sum())
    return np.repeat(ids[member], length).reshape(labels.shape)


def touching(ids: Array) -> Array:
    """Every two objects with a common voxel face.

    Parameters
    ----------
    ids : ndarray of shape (Z, Y, X), integer
        Objects 1..n, 0 is background; below 2**32.

    Returns
    -------
    ndarray of shape (K, 2), uint32
        Unique pairs, the smaller id first, sorted.
    """
    found = []
    for axis in range(3):
        a = np.moveaxis(ids, axis, 0)[:-1]
        b = np.moveaxis(ids, axis, 0)[1:]
        differ = (a != b) & (a > 0) & (b > 0)
        low, high = np.minimum(a[differ], b[differ]), np.maximum(a[differ], b[differ])
        found.append(np.unique(low.astype(np.uint64) << np.uint64(32) | high.astype(np.uint64)))
    packed = np.unique(np.concatenate(found))
    return np.stack([packed >> np.uint64(32), packed & np.uint64(0xFFFFFFFF)], 1).astype(np.uint32)


def shared_box(block: Block, step: Zyx, block_shape: Zyx, reach: Zyx | None) -> tuple[Box, Box]:
    """Where a block and its neighbour are compared, and the neighbour's write box.

    Parameters
    ----------
    block : Block
        Of a grid that begins at 0.
    step : Zyx
        -1, 0 or 1 along each axis: where the neighbour lies in the grid.
    block_shape : Zyx
        Block of the grid, in voxels.
    reach : Zyx
        How far beyond its write box a block is compared with others, in voxels. None where blocks share
        none: neighbours with a common face are compared in the two planes of voxels at it.

    Returns
    -------
    shared, other : Box
        The write boxes of both grown by `reach`, as far as they meet; and the neighbour's write box,
        empty where there is none. The same for both blocks.
    """
    start = tuple((a + d) * b for a, d, b in zip(block.at, step, block_shape, strict=True))
    stop = tuple(s + b for s, b in zip(start, block_shape, strict=True))
    other = Box(cast(Zyx, start), cast(Zyx, stop)).clip(block.volume)
    if min(start) < 0 or other.size == 0:
        return Box((0, 0, 0), (0, 0, 0)), Box((0, 0, 0), (0, 0, 0))
    if reach is None:
        z, y, x = map(abs, step)
        if z + y + x > 1:
            return Box((0, 0, 0), (0, 0, 0)), other
        reach = (z, y, x)
    return block.write.grow(reach).clip(other.grow(reach)).clip(block.volume), other


def views(block: Block, ids: Array, block_shape: Zyx, reach: Zyx | None) -> Columns:
    """What a block sees of the voxels that it shares with each of its 26 neighbours, as runs.

    Parameters
    ----------
    block : Block
        Its read box holds its write box grown by `reach`.
    ids : ndarray of the shape of `block.read`, uint32
        `Owned.ids`.
    block_shape, reach : Zyx
        As for `shared_box`.

    Returns
    -------
    dict of ndarray
        `starts, values` (uint32): runs of the shared boxes of the neighbours `BEFORE`, then `AFTER`, one
        after the other; `bounds` (27,): where those of each begin. `own`: which objects own voxels of the
        shared box, `crossing` (bool): whether they also reach into the neighbour's write box,
        `own_bounds` (27,). Objects that own none are in the runs all the same: what looks most like one of
        them must not be taken for the next best.
    """
    starts: list[Array] = []
    values: list[Array] = []
    own: list[Array] = []
    crossing: list[Array] = []
    known = int(ids.max(initial=0)) + 1
    for step in (*BEFORE, *AFTER):
        shared, other = shared_box(block, step, block_shape, reach)
        seen = ids[shared.relative_to(block.read).slices] if shared.size else ids[:0]
        here = _present(seen[block.write.clip(shared).relative_to(shared).slices], known)
        there = _present(seen[other.clip(shared).relative_to(shared).slices], known)
        own.append(np.flatnonzero(here).astype(np.uint32))
        crossing.append(there[here])
        start, value = plane_runs(_flattened(seen))
        starts.append(start)
        values.append(value)
    return {
        "starts": np.concatenate(starts),
        "values": np.concatenate(values),
        "bounds": np.cumsum([0, *map(len, starts)]),
        "own": np.concatenate(own),
        "crossing": np.concatenate(crossing),
        "own_bounds": np.cumsum([0, *map(len, own)]),
    }


def _present(ids: Array, known: int) -> Array:
    """Which of the objects 1..known - 1 occur; never 0."""
    found = np.zeros(known, bool)
    found[ids] = True
    found[0] = False
    return found


def _flattened(ids: Array) -> Array:
    """The box as one plane whose rows run along its longest axis, so that there are few runs."""
    return ids.transpose(np.argsort(ids.shape, kind="stable")).reshape(1, -1)


def places_in(boxes: Array, index: Array) -> Array:
    """Voxels of the volume that flat indices into the runs of shared boxes stand for.

    Parameters
    ----------
    boxes : ndarray of shape (K, 6), int64
        First voxel of each box along z, y, x, and its end.
    index : ndarray of shape (K,), integer

    Returns
    -------
    ndarray of shape (K, 3), int64
        (z, y, x)
    """
    shape = boxes[:, 3:] - boxes[:, :3]
    order = np.argsort(shape, axis=1, kind="stable")
    _, middle, last = np.take_along_axis(shape, order, 1).T
    at = np.stack([index // (middle * last), index // last % middle, index % last], 1)
    found = np.empty_like(boxes[:, :3])
    np.put_along_axis(found, order, at, 1)
    return cast(Array, found + boxes[:, :3])


def compare(a: PlaneRuns, b: PlaneRuns, size: int) -> Columns:
    """How well every object of one view fits every object of the other.

    Parameters
    ----------
    a, b : tuple of ndarray
        Runs of the shared box as each block sees it.
    size : int
        Voxels of the box.

    Returns
    -------
    dict of ndarray of shape (P,)
        One entry per two objects that share voxels: `a, b`; `voxels` shared; `voxels_a, voxels_b` of each
        in the box; `iou`; `iomin` (shared voxels by those of the smaller one); `best_a, best_b`: whether
        `b` is the object that fits `a` best by IoU, and the other way round. Ties go to more shared
        voxels, then to the smaller id.
    """
    met = overlap_runs(a, b, size)
    inside = (met["a"] > 0) & (met["b"] > 0)
    total_a, total_b = totals(met["a"], met["voxels"]), totals(met["b"], met["voxels"])
    found: Columns = {name: column[inside] for name, column in met.items()}
    for side, (labels, voxels) in (("a", total_a), ("b", total_b)):
        found[f"voxels_{side}"] = voxels[np.searchsorted(labels, found[side])]
    found["iou"] = found["voxels"] / (found["voxels_a"] + found["voxels_b"] - found["voxels"])
    found["iomin"] = found["voxels"] / np.minimum(found["voxels_a"], found["voxels_b"])
    for side, other in (("a", "b"), ("b", "a")):
        order = np.lexsort((found[other], -found["voxels"], -found["iou"], found[side]))
        ordered = found[side][order]
        head = np.ones(len(order), bool)
        head[1:] = ordered[1:] != ordered[:-1]
        found[f"best_{side}"] = np.zeros(len(order), bool)
        found[f"best_{side}"][order[head]] = True
    return found


def sizes(view: PlaneRuns, size: int, ids: Array) -> tuple[Array, Array]:
    """Voxels and first flat index, in a view, of objects that are in it."""
    starts, values = view
    length = np.diff(starts.astype(np.int64), append=size)
    known, index, member = np.unique(values, return_index=True, return_inverse=True)
    total = np.zeros(len(known), np.int64)
    np.add.at(total, member, length)
    at = np.searchsorted(known, ids)
    return total[at], starts[index[at]].astype(np.int64)
