"""Final ids of pieces that blocks found: which pieces are one object, and its place in the order of ids.

Pieces are nodes 0, 1, 2, ... in the order of blocks. Everything that has a row per piece lies on disk, and
is worked on part by part: a table of pieces may be larger than memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.errors import InputError
from chunkflow_liver.kernels.instances.union import BATCH, flatten, unite
from chunkflow_liver.store.scratch.spill import Spill, SpilledTable, filled
from chunkflow_liver.store.table import Columns
from chunkflow_liver.xp import Array

BINS = 1 << 16
"""Ranges of first voxels that are counted before objects are sorted range by range."""


@dataclass
class Numbering:
    """Pieces and the pairs that join them, gathered block by block.

    Attributes
    ----------
    scratch : Path
        Empty folder for the tables.
    extent : int
        Number of voxels of the volume; first voxels are below it.
    """

    scratch: Path
    extent: int
    offsets: list[int] = field(default_factory=lambda: [0])
    _pieces: list[tuple[Array, Array, Array]] = field(default_factory=list)
    _pairs: list[Array] = field(default_factory=list)
    _waiting: int = 0

    def __post_init__(self) -> None:
        self.parents = Spill(self.scratch / "parents", "int64")
        self.voxels = Spill(self.scratch / "voxels", "int64")
        self.first = Spill(self.scratch / "first", "int64")
        self.value = Spill(self.scratch / "value", "int64")

    def add(self, voxels: Array, first: Array, value: Array) -> int:
        """Add the pieces of the next block; returns the number of its first piece.

        Parameters
        ----------
        voxels, first, value : ndarray of shape (n,), integer
            Size of each piece, the index of its first voxel in the volume, and its class (any 64 bits; the
            largest of the pieces is that of the object).
        """
        begin = self.offsets[-1]
        self.offsets.append(begin + len(voxels))
        if len(voxels):
            self._pieces.append((voxels, first, np.asarray(value).astype(np.int64)))
            self._wait(len(voxels))
        return begin

    def join(self, pairs: Array) -> None:
        """Make one object of the two pieces of every row of `pairs` (K, 2)."""
        if len(pairs):
            self._pairs.append(pairs)
            self._wait(len(pairs))

    def _wait(self, rows: int) -> None:
        self._waiting += rows
        if self._waiting >= BATCH:
            self._spill()

    def _spill(self) -> None:
        """Take what was gathered into the tables on disk."""
        if self._pieces:
            known = len(self.parents)
            for column, values in zip(
                (self.voxels, self.first, self.value), zip(*self._pieces, strict=True), strict=True
            ):
                column.append(np.concatenate(values))
            self.parents.append(np.arange(known, len(self.voxels)))
        if self._pairs:
            unite(self.parents.array(), np.concatenate(self._pairs))
        self._pieces, self._pairs, self._waiting = [], [], 0

    def finish(self, *, min_voxels: int, dtype: str) -> Columns:
        """Ids 1..n of the objects, in the raster order of their first voxels.

        Parameters
        ----------
        min_voxels : int
            Objects with fewer voxels get id 0.
        dtype : str
            Type of the ids.

        Returns
        -------
        dict of ndarray
            `offsets`: where the pieces of each block begin. `final`: id of every piece. `voxels`, `value`:
            size and class of every id. Memory-mapped files of `scratch`.

        Raises
        ------
        InputError
            If there are more objects than `dtype` can number.
        """
        self._spill()
        parents, voxels, first = self.parents.array(), self.voxels.array(), self.first.array()
        value = self.value.array()
        flatten(parents)
        for part, roots in _parts(parents):
            below = np.flatnonzero(roots != np.arange(part.start, part.stop))
            np.add.at(voxels, roots[below], voxels[part][below])
            np.minimum.at(first, roots[below], first[part][below])
            np.maximum.at(value, roots[below], value[part][below])
        final = Spill(self.scratch / "final", dtype)
        for _, roots in _parts(parents):
            final.append(np.zeros(len(roots), dtype))
        size, kind = Spill(self.scratch / "size", "int64"), Spill(self.scratch / "kind", "int64")
        ids, last, most = final.array(), 0, int(np.iinfo(dtype).max)
        for objects in self._ordered(parents, voxels, first, max(1, min_voxels)):
            if last + len(objects) > most:
                raise InputError(
                    f"there are more than {most} instances, which {dtype} ids cannot number; ask for "
                    "dtype='uint64', or raise min_volume_um3"
                )
            ids[objects] = np.arange(last + 1, last + 1 + len(objects)).astype(dtype)
            last += len(objects)
            size.append(voxels[objects])
            kind.append(value[objects])
        for part, roots in _parts(parents):
            ids[part] = ids[roots]
        return {
            "offsets": np.array(self.offsets),
            "final": ids,
            "voxels": size.array(),
            "value": kind.array(),
        }

    def _ordered(self, parents: Array, voxels: Array, first: Array, least: int) -> Iterator[Array]:
        """Roots of objects of `least` voxels or more in the order of their first voxels, part by part."""
        width = -(-self.extent // BINS)
        kept = Spill(self.scratch / "kept", "int64")
        count: np.ndarray[Any, Any] = np.zeros(BINS, np.int64)
        for part, roots in _parts(parents):
            node = np.arange(part.start, part.stop)
            chosen = node[(roots == node) & (voxels[part] >= least)]
            count += np.bincount(first[chosen] // width, minlength=BINS)
            kept.append(chosen)
        # Neighbouring ranges share a part as long as it fits in memory.
        owner = np.maximum(np.cumsum(count) - 1, 0) // BATCH
        owner = np.unique(owner, return_inverse=True)[1]
        sorted_parts = [Spill(self.scratch / f"part-{i}", "int64") for i in range(int(owner.max()) + 1)]
        for _, objects in _parts(kept.array()):
            into = owner[first[objects] // width]
            for i in np.unique(into).tolist():
                sorted_parts[i].append(objects[into == i])
        for found in sorted_parts:
            objects = np.asarray(found.array())
            yield objects[np.argsort(first[objects])]


def _parts(column: Array) -> Iterator[tuple[slice, Array]]:
    """A long column in parts that fit in memory, each with its place."""
    for start in range(0, len(column), BATCH):
        part = np.array(column[start : start + BATCH])
        yield slice(start, start + len(part)), part


def id_dtype(most: int) -> str:
    """Type of ids when there can be `most` objects: 64 bits only where 32 might not do."""
    return "uint32" if most <= np.iinfo(np.uint32).max else "uint64"


def spilled_roots(pairs: SpilledTable, count: int, path: Path) -> Array:
    """Smallest member of the group of each of `count` nodes, joined by the columns `a` and `b`; on disk."""
    roots = filled(path, count, "int64")
    for begin in range(0, count, BATCH):
        roots[begin : begin + BATCH] = np.arange(begin, min(count, begin + BATCH))
    for _, part in pairs.parts(BATCH):
        unite(roots, np.stack([part["a"], part["b"]], 1))
    flatten(roots)
    return roots
