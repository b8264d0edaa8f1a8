"""What a list of edits will change, told before it is applied: by the table, and the voxels of few blocks."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import BlockGrid, Box
from chunkflow_liver.kernels.labels.extents import block_extents
from chunkflow_liver.ops.edit.lists import IN_TWO, Edit, Row, named_before, plain_steps
from chunkflow_liver.ops.steps.objects import bounding_boxes
from chunkflow_liver.store.table import Table
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array

MOST_READ = 1 << 31
"""Voxels that are looked at, at most: a minute or so."""


@dataclass(frozen=True)
class Ahead:
    """The changes of an edit that is not made yet.

    Attributes
    ----------
    instances : Volume
    grid : BlockGrid
        Of the stage that applies the edits.
    rows : tuple of Row
    table : Table, optional
        With the bounding boxes of the instances, before all that are found elsewhere.
    """

    instances: Volume
    grid: BlockGrid
    rows: tuple[Row, ...]
    table: Table | None

    def changes(self, tables: Sequence[Table]) -> dict[str, Array]:
        """Which blocks the edits will touch: the arrays that the stage `decide` makes of them.

        Parameters
        ----------
        tables : sequence of Table
            Those of the instances that may hold their bounding boxes.

        Raises
        ------
        InputError
            If no table says where the objects lie, or too many voxels would have to be looked at.
        """
        wanted = sorted(named_before(self.rows))
        changing, named = changed_ids(self.rows), np.array(wanted, np.uint64)
        found: dict[str, list[Any]] = {"blocks": [], "low": [], "high": [], "near": []}
        for index in self._blocks(self._boxes(tables, wanted).values()):
            write = self.grid[index].write
            there = block_extents(self.instances.read(write), write.start)
            if (span := changed_span(there, changing)) is not None:
                found["blocks"].append(index)
                found["low"].append(span[0])
                found["high"].append(span[1])
            if np.isin(there["label"], named).any():
                found["near"].append(index)
        flat = {name: np.array(found[name], np.int64) for name in ("blocks", "near")}
        corners = {name: np.array(found[name], np.int64).reshape(-1, 3) for name in ("low", "high")}
        return {**flat, **corners, "ids": named}

    def _boxes(self, tables: Sequence[Table], ids: list[int]) -> dict[int, Box]:
        given = () if self.table is None else (self.table,)
        why = "no table of them is there"
        for table in (*given, *tables):
            try:
                return bounding_boxes(table, ids)
            except InputError as err:
                why = str(err)
        raise InputError(f"where the objects of {self.instances.name!r} lie is not known: {why}")

    def _blocks(self, boxes: Iterable[Box]) -> list[int]:
        """Blocks in which one of some boxes has a part, ascending."""
        grid = self.grid
        found: set[int] = set()
        for box in boxes:
            spans = [
                range((low - first) // side, -(-(high - first) // side))
                for low, high, first, side in zip(
                    box.start, box.stop, grid.box.start, grid.block, strict=True
                )
            ]
            at = np.array(list(itertools.product(*spans))).reshape(-1, 3)
            found |= set(np.ravel_multi_index(tuple(at.T), grid.counts).tolist())
        if (size := sum(grid[index].write.size for index in found)) > MOST_READ:
            raise InputError(
                f"the objects of the edits lie in boxes of {size:,} voxels, and at most {MOST_READ:,} are "
                "looked at before a run"
            )
        return sorted(found)

    def rows_after(self, before: Mapping[str, Array]) -> tuple[dict[str, Array], list[tuple[Array, Array]]]:
        """The boxes that objects will have, and boxes in which all others will lie that edits make.

        Parameters
        ----------
        before : mapping of ndarray
            `label`, `low` and `high` of all objects, in voxels, before the edits.

        Returns
        -------
        dict of ndarray
            The same of the objects that the edits name and do not part.
        list of (low, high)
            Corners of a box around each group of objects that have to do with one that is parted.
        """
        row = {int(label): at for at, label in enumerate(np.asarray(before["label"]).tolist())}
        low, high = (np.asarray(before[name]) for name in ("low", "high"))
        ends, parted = ends_of(self.rows)
        known: dict[int, list[int]] = {}
        unknown: list[tuple[Array, Array]] = []
        for group in _groups(self.rows):
            at = [row[i] for i in group if i in row]
            if at and group & parted:
                unknown.append((low[at].min(axis=0), high[at].max(axis=0)))
                continue
            for i in group & row.keys():
                if ends[i]:
                    known.setdefault(ends[i], []).append(row[i])
        boxes = [(low[at].min(axis=0), high[at].max(axis=0)) for at in known.values()]
        corners = np.array(boxes, np.int64).reshape(-1, 2, 3)
        return {
            "label": np.array(list(known), np.uint64),
            "low": corners[:, 0],
            "high": corners[:, 1],
        }, unknown


def changed_ids(rows: Sequence[Row]) -> Array:
    """Ids, ascending, of whose voxels some may get another id."""
    ends, parted = ends_of(rows)
    if any(row[0] in IN_TWO for row in rows):
        # The object of a cut may have merged before, under any of the ids.
        return np.array(sorted({i for row in rows for i in row[1:3] if i}), np.uint64)
    moved = {i for i, end in ends.items() if i != end}
    return np.array(sorted(moved | parted), np.uint64)


def changed_span(found: Mapping[str, Array], changing: Array) -> tuple[Array, Array] | None:
    """First and last corner of what changes in a block, by its extents; None where nothing does."""
    changes = np.isin(found["label"], changing)
    if not changes.any():
        return None
    return found["low"][changes].min(axis=0), found["high"][changes].max(axis=0)


def ends_of(rows: Sequence[Row]) -> tuple[dict[int, int], set[int]]:
    """What becomes of each id by merging (another one) and deletion (0), and which objects are parted."""
    ends = {i: i for row in rows for i in row[1:3] if i}
    for step in plain_steps([Edit(*row[:3]) for row in rows]):
        if isinstance(step, tuple):
            ends = {k: step[1] if v == step[0] else v for k, v in ends.items()}
    return ends, {row[1] for row in rows if row[0] in ("split", "divide", *IN_TWO)}


def _groups(rows: Sequence[Row]) -> list[set[int]]:
    """Ids that a chain of rows brings together."""
    found: list[set[int]] = []
    for row in rows:
        mine = {i for i in row[1:3] if i}
        meets = [group for group in found if group & mine]
        found = [group for group in found if not group & mine] + [mine.union(*meets)]
    return found
