"""Pieces of every slice, what they share with pieces and cells of the slices after it, and their ids."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from chunkflow_liver.engine.stage import Piece, Result
from chunkflow_liver.geometry import Block, Box
from chunkflow_liver.kernels.labels.overlap import overlap
from chunkflow_liver.kernels.rows import distinct, joined, totals
from chunkflow_liver.kernels.tissue.chains import near_links
from chunkflow_liver.kernels.tissue.planes import small_pieces
from chunkflow_liver.store.planes.inside import Inside
from chunkflow_liver.store.planes.whole import Planes
from chunkflow_liver.store.table import Arrays, Columns
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array

LINK = {
    "z": np.int64,
    "step": np.int64,
    "a_piece": np.int64,
    "a_cell": np.uint64,
    "b_piece": np.int64,
    "b_cell": np.uint64,
    "shared": np.int64,
    "strength": np.float64,
}
NEAR = -1.0
"""Where links by overlap have a share, those by nearness have this, less their distance in pixels."""


@dataclass(frozen=True)
class Sizes:
    """What is a piece, in pixels, how far links reach in the plane, and over how many slices."""

    least: int
    most: int
    reach: int
    gap: int


@dataclass(frozen=True, eq=False)
class Slice:
    """Cells and pieces of a slice; which pieces are no protrusions (`large`), and how large they are."""

    cells: Array
    pieces: Array
    large: Array
    voxels: Array

    @cached_property
    def small(self) -> Array:
        """The pieces without those that are no protrusions: these are linked to nothing."""
        kept = np.where(self.large, 0, 1 + np.arange(len(self.large)))
        return np.concatenate([np.zeros(1, np.int32), kept]).astype(np.int32)[self.pieces]

    @cached_property
    def cell_sizes(self) -> tuple[Array, Array]:
        """Ids of the cells, sorted, and the pixels of each."""
        values, rank, lengths = distinct(self.cells)
        return totals(values[rank], lengths)


class Slices:
    """The slices of a task, of which the last few are kept."""

    def __init__(self, cells: Volume, interior: Volume, inside: Inside, sizes: Sizes) -> None:
        self._cells, self._interior = Planes(cells), Planes(interior)
        self._inside, self._sizes = inside, sizes
        self._held: dict[int, Slice] = {}

    def __call__(self, z: int) -> Slice:
        if z not in self._held:
            for old in [k for k in self._held if abs(k - z) > self._sizes.gap + 1]:
                del self._held[old]
            cells = np.array(self._cells(z))
            inside = self._inside(self._interior(z))
            pieces, large = small_pieces(
                inside, cells, least=max(1, self._sizes.least), most=self._sizes.most
            )
            voxels = np.bincount(pieces.ravel(), minlength=len(large) + 1)[1:]
            self._held[z] = Slice(cells, pieces, large, voxels)
        return self._held[z]


def look(block: Block, cells: Volume, interior: Volume, *, inside: Inside, sizes: Sizes) -> Iterator[Result]:
    """The pieces of the slices of a block, and links from these slices to those after them."""
    slices = Slices(cells, interior, inside, sizes)
    found: list[Columns] = []
    links: list[Columns] = [{n: np.zeros(0, t) for n, t in LINK.items()}]
    for z in range(block.write.start[0], block.write.stop[0]):
        here = slices(z)
        found.append(_places(here, z))
        for step in range(1, sizes.gap + 2):
            if z + step < cells.shape[0]:
                links += _links(slices, z, step, sizes)
    yield Result(
        record={f"piece_{k}": v for k, v in joined(found).items()}
        | {f"link_{k}": v for k, v in joined(links).items()}
    )


def _places(here: Slice, z: int) -> Columns:
    count = len(here.large)
    y, x = np.nonzero(here.pieces)
    of = here.pieces[y, x]
    return {
        "z": np.full(count, z),
        "number": 1 + np.arange(count),
        "voxels": here.voxels,
        "sum_y": np.bincount(of, y, count + 1)[1:].astype(np.int64),
        "sum_x": np.bincount(of, x, count + 1)[1:].astype(np.int64),
        "large": here.large,
    }


def _links(slices: Slices, z: int, step: int, sizes: Sizes) -> list[Columns]:
    """Links of pieces of slice `z` with pieces and cells of `z + step`, and of pieces there with cells here.

    Over missing slices only of pieces that overlap nothing on the way. What is too large to be a protrusion
    is linked to nothing, and hides nothing.
    """
    here, there = slices(z), slices(z + step)
    between = [slices(i) for i in range(z + 1, z + step)]
    out = []
    for a, b, forth in ((here, there, True), (there, here, False)):
        free = np.concatenate([[True], ~a.large])
        for other in between:
            free &= ~_touched(a, other)
        free_b = np.concatenate([[True], ~b.large])
        for other in between:
            free_b &= ~_touched(b, other)
        if forth:
            piece, other_piece, shared = _met(a, b.pieces)
            keep = free[piece] & free_b[other_piece]
            piece, other_piece, shared = piece[keep], other_piece[keep], shared[keep]
            smaller = np.minimum(a.voxels[piece - 1], b.voxels[other_piece - 1])
            out.append(_rows(z, step, piece, other_piece, False, forth, shared, shared / smaller))
        piece, cell, shared = _met(a, b.cells)
        piece, cell, shared = (v[free[piece]] for v in (piece, cell, shared))
        ids, size = b.cell_sizes
        smaller = np.minimum(a.voxels[piece - 1], size[np.searchsorted(ids, cell)])
        out.append(_rows(z, step, piece, cell, True, forth, shared, shared / smaller))
        lone = np.flatnonzero((free & ~_touched(a, b))[1:]) + 1
        if sizes.reach and len(lone):
            for of, is_cell in ((b.small, False), (b.cells, True)):
                piece, near, away = near_links(a.pieces, of, lone, sizes.reach * step)
                none = np.zeros(len(piece), np.int64)
                out.append(_rows(z, step, piece, near, is_cell, forth, none, NEAR - away))
    return out


def _met(a: Slice, labels: Array) -> tuple[Array, Array, Array]:
    """Pieces of a slice, labels of another that they overlap, and the pixels of both."""
    at = (a.pieces > 0) & (labels > 0)
    met = overlap(a.pieces[at][None, None], labels[at][None, None])
    return met["a"].astype(np.int64), met["b"].astype(labels.dtype), met["voxels"]


def _touched(a: Slice, b: Slice) -> Array:
    """By number, which pieces of a slice overlap a cell, or a piece that may be a protrusion, in another."""
    out = np.zeros(len(a.large) + 1, bool)
    out[a.pieces[(b.cells > 0) | (b.small > 0)]] = True
    out[0] = False
    return out


def _rows(
    z: int, step: int, piece: Array, other: Array, is_cell: bool, forth: bool, shared: Array, strength: Array
) -> Columns:
    """Links of pieces in the slice `z` (or, not `forth`, `z + step`) with others in the other slice."""
    count = len(piece)
    mine, theirs = ("a", "b") if forth else ("b", "a")
    none = np.zeros(count, np.int64)
    return {
        "z": np.full(count, z),
        "step": np.full(count, step),
        f"{mine}_piece": piece.astype(np.int64),
        f"{mine}_cell": none.astype(np.uint64),
        f"{theirs}_piece": none if is_cell else other.astype(np.int64),
        f"{theirs}_cell": other.astype(np.uint64) if is_cell else none.astype(np.uint64),
        "shared": shared,
        "strength": np.asarray(strength, np.float64),
    }


def apply(
    block: Block, cells: Volume, interior: Volume, *, inside: Inside, sizes: Sizes, decided: Arrays
) -> Iterator[Piece]:
    """Cells of a block, and pieces with the id of their cell."""
    slices = Slices(cells, interior, inside, sizes)
    at, label = np.asarray(decided["z"]), np.asarray(decided["label"])
    for z in range(block.write.start[0], block.write.stop[0]):
        here = slices(z)
        begin, end = np.searchsorted(at, [z, z + 1])
        lookup = np.concatenate([np.zeros(1, np.uint64), label[begin:end]])
        dtype = "uint64" if cells.itemsize == 8 else "uint32"
        out = np.where(here.pieces > 0, lookup[here.pieces], here.cells.astype(np.uint64)).astype(dtype)
        yield Piece(Box((z, 0, 0), (z + 1, *cells.shape[1:])), (out[None],))
