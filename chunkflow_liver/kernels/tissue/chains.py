"""Pieces of slices joined to the cell that the strongest chain of overlaps leads to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chunkflow_liver.kernels.tissue.flow import opencv
from chunkflow_liver.xp import Array


@dataclass(frozen=True)
class Attached:
    """What becomes of nodes.

    Attributes
    ----------
    group : ndarray of shape (N,), int64
        Smallest node that a node is linked with.
    cell : ndarray of shape (N,), int64
        The cell that it belongs to; 0 where no chain leads to one.
    strength : ndarray of shape (N,), float64
        Of the weakest link of the chain to that cell; infinite of a cell itself, 0 without one.
    conflicts : ndarray of shape (K,), int64
        Links that join what belongs to two cells; not made.
    """

    group: Array
    cell: Array
    strength: Array
    conflicts: Array


def attach(links: Array, strength: Array, cell: Array) -> Attached:
    """Which cell every node belongs to.

    Parameters
    ----------
    links : ndarray of shape (L, 2), int64
        Nodes that touch.
    strength : ndarray of shape (L,), float64
        How surely they are one; above 0.
    cell : ndarray of shape (N,), int64
        The cell that a node is, 0 if it is a piece.

    Returns
    -------
    Attached

    Notes
    -----
    Links are made from the strongest to the weakest, those of equal strength in the order of their nodes,
    unless they would join two cells: a spanning forest [1]_, in which the chain from a piece to its cell is
    the one whose weakest link is strongest. The order of the rows changes nothing.

    References
    ----------
    .. [1] Kruskal, On the shortest spanning subtree of a graph, 1956, doi:10.2307/2033241
    """
    from chunkflow_liver.kernels.tissue.chain_loops import grow

    pairs = np.sort(np.asarray(links, np.int64).reshape(-1, 2), axis=1)
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -strength))
    count = len(cell)
    root, following, last = np.arange(count), np.full(count, -1), np.arange(count)
    owner = np.array(cell, np.int64)
    reached = np.where(owner > 0, np.inf, 0.0)
    refused = np.zeros(len(order), np.bool_)
    grow(pairs[order], strength[order].astype(np.float64), root, following, last, owner, reached, refused)
    root = _flat(root)
    return Attached(root, owner[root], reached, np.sort(order[refused]))


def _flat(root: Array) -> Array:
    """The root of every node."""
    while True:
        above = root[root]
        if (above == root).all():
            return root
        root = above


def near_links(pieces: Array, labels: Array, wanted: Array, reach: int) -> tuple[Array, Array, Array]:
    """For pieces of a slice, the label of another slice that is nearest in the plane.

    Parameters
    ----------
    pieces : ndarray of shape (Y, X), int32
        Pieces 1..n of the slice.
    labels : ndarray of shape (Y, X), integer
        What they may be linked to in the other slice; 0 is nothing.
    wanted : ndarray, int64
        Pieces that are looked at.
    reach : int
        Pixels.

    Returns
    -------
    piece, label, distance : ndarray of shape (K,)
        The piece, its nearest label within `reach` (the smallest of equals), and how far that is, in pixels.
    """
    from scipy import ndimage

    cv2 = opencv()
    found: list[tuple[int, int, float]] = []
    boxes = ndimage.find_objects(pieces) if len(wanted) else []
    for piece in np.asarray(wanted).tolist():
        y, x = boxes[piece - 1]
        here = tuple(
            slice(max(0, s.start - reach), min(n, s.stop + reach))
            for s, n in zip((y, x), pieces.shape, strict=True)
        )
        there = labels[here]
        if not there.any():
            continue
        away = cv2.distanceTransform(
            (pieces[here] != piece).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
        )
        away = np.where(there > 0, away, np.inf)
        least = away.min()
        if least <= reach:
            found.append((piece, int(there[away == least].min()), float(least)))
    rows = list(zip(*found, strict=True)) if found else ((), (), ())
    return np.array(rows[0], np.int64), np.array(rows[1], np.int64), np.array(rows[2], np.float64)
