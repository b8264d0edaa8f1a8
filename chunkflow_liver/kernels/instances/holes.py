"""Holes of objects: background that one object encloses, found block by block and joined."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from chunkflow_liver.geometry import Box
from chunkflow_liver.kernels.instances.components import label_block
from chunkflow_liver.kernels.instances.union import BATCH
from chunkflow_liver.xp import Array

LARGEST = np.iinfo(np.uint64).max


def background(labels: Array) -> tuple[Array, int]:
    """Components of what is not an object, joined across faces, and how many there are."""
    return label_block(labels == 0, classes=None, connectivity=6)


def surroundings(
    labels: Array, spaces: Array, n: int, box: Box, volume: Box, hidden: Array | None = None
) -> dict[str, Array]:
    """What lies around the background components of a block.

    Parameters
    ----------
    labels : ndarray of shape (Z, Y, X), unsigned integer
        Object ids, 0 is background.
    spaces : ndarray of shape (Z, Y, X), uint32
        Components 1..n of the background.
    n : int
        Number of components.
    box, volume : Box
        Where the block lies, and the whole volume.
    hidden : ndarray of shape (Z, Y, X), bool, optional
        Voxels of which nothing is known: what reaches them is open.

    Returns
    -------
    dict of ndarray of shape (n,)
        `lowest` and `highest` (uint64): smallest and largest id across a face; the largest and the smallest
        number there is where no object touches. `open` (bool): whether it reaches the end of the volume.
    """
    found: dict[str, Array] = {
        "lowest": np.full(n, LARGEST, np.uint64),
        "highest": np.zeros(n, np.uint64),
        "open": np.zeros(n, bool),
    }
    for axis in range(3):
        front, back = (_cut(axis, part) for part in (slice(None, -1), slice(1, None)))
        for here, there in ((front, back), (back, front)):
            at = (spaces[here] != 0) & (labels[there] != 0)
            space, label = spaces[here][at] - 1, labels[there][at].astype(np.uint64)
            np.minimum.at(found["lowest"], space, label)
            np.maximum.at(found["highest"], space, label)
        if box.start[axis] == volume.start[axis]:
            _mark(found["open"], np.take(spaces, 0, axis))
        if box.stop[axis] == volume.stop[axis]:
            _mark(found["open"], np.take(spaces, -1, axis))
    if hidden is not None:
        _mark(found["open"], spaces[hidden])
    return found


def enclosing(parts: dict[str, Array], roots: Array) -> Iterator[Array]:
    """The object that each piece of background is a hole of, part by part in the order of pieces.

    Parameters
    ----------
    parts : dict of ndarray of shape (N,)
        `surroundings` of all blocks, one after the other; may be memory-mapped, changed in place.
    roots : ndarray of shape (N,), int64
        Piece that stands for the component of the background that each piece is part of.

    Yields
    ------
    ndarray of shape (n,), uint64
        Id of the one object around it; 0 where there are several or none, or the volume ends.
    """
    lowest, highest, is_open = (parts[k] for k in ("lowest", "highest", "open"))
    every = [slice(begin, begin + BATCH) for begin in range(0, len(roots), BATCH)]
    for part in every:
        np.minimum.at(lowest, roots[part], np.array(lowest[part]))
        np.maximum.at(highest, roots[part], np.array(highest[part]))
        np.logical_or.at(is_open, roots[part], np.array(is_open[part]))
    for part in every:
        root = roots[part]
        is_hole = ~is_open[root] & (lowest[root] == highest[root])
        yield np.where(is_hole, highest[root], np.uint64(0))


def _cut(axis: int, part: slice) -> tuple[slice, ...]:
    return tuple(part if a == axis else slice(None) for a in range(3))


def _mark(flags: Array, plane: Array) -> None:
    """Set the flags of the components on a plane."""
    flags[np.unique(plane[plane != 0]) - 1] = True
