"""Rows of blocks become one row per object: groups are merged block by block and described when complete."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from chunkflow_liver.engine.stage import Records
from chunkflow_liver.geometry import Block, BlockGrid, Box, Nm, Zyx, zyx
from chunkflow_liver.kernels.features.groups import Settings, Sums, View
from chunkflow_liver.kernels.rows import Rows
from chunkflow_liver.kernels.significance.boundaries import SOURCES
from chunkflow_liver.ops.measure.groups import AMONG, GROUPS
from chunkflow_liver.store.table import Arrays, Columns
from chunkflow_liver.xp import Array

ROWS = 1 << 20
"""Rows of a group that may wait before complete objects are described and dropped."""


def flat(sums: Mapping[str, Sums]) -> dict[str, Array]:
    """The tables of several groups as one record."""
    return {
        f"{group}/{table}/{column}": values
        for group, tables in sums.items()
        for table, columns in tables.items()
        for column, values in columns.items()
    }


def gathered(pieces: Arrays) -> dict[str, Array]:
    """All records of the blocks that were read again, as one: see `once.piece_stages`."""
    return {name: np.asarray(pieces[name.replace("/", ".")]) for name in pieces["names"].tolist()}


def join(  # noqa: PLR0913
    records: Records,
    *,
    features: Sequence[str],
    voxel_nm: Nm,
    shape: Zyx,
    known: Box,
    block: Zyx,
    settings: Mapping[str, Any],
    raw: str | None,
    objects: Arrays,
    source: str = "",
    **more: Arrays,
) -> Columns:
    """The instance table: the columns of 'basic' if asked for, of every other group, and `more`.

    `more` are columns of all objects, sorted by label, their names in `columns`; beside them `pieces`: the
    sums of objects that a block took for whole and that were not, instead of those of its record. With a
    `source` of errors of boundaries the rows have some, and the column `boundary_source` says whose they are.

    Objects are described as soon as the last block that their bounding box meets has been read, so
    that memory follows the objects that a plane of blocks cuts, not all of them.
    """
    basic = {str(name): np.asarray(objects[str(name)]) for name in objects["columns"]}
    last = _last_blocks(basic, BlockGrid(Box.of(shape), block))
    groups = {name: GROUPS[name] for name in features if name in GROUPS}
    options = Settings.of(settings)
    waits, described = np.ones(len(basic["label"]), bool), dict[str, Array]()
    empty = _nothing({name: column[:0] for name, column in basic.items()}, voxel_nm, options, raw, source)
    waiting = {name: [group.sums(empty)] for name, group in groups.items()}
    mended: Mapping[str, Array] = gathered(more.pop("pieces")) if "pieces" in more else {}
    doubts = [np.asarray(objects[f"doubt_{of}"]) if mended else np.zeros(0) for of in ("block", "label")]
    for name in groups if mended else ():
        waiting[name].append(_tables(mended, name))
    rows, limit = 0, ROWS
    for index, record in _until_end(records):
        wrong = doubts[1][doubts[0] == index]
        for name in groups:
            if tables := _tables(record, name):
                waiting[name].append(_without(tables, wrong))
                rows += _rows(waiting[name][-1])
        if index is not None and rows < limit:
            continue
        done = np.flatnonzero(waits & (True if index is None else last <= index))
        waits[done] = False
        here = {name: column[done] for name, column in basic.items()}
        for name, group in groups.items():
            complete, open_ = _split(group.merge(waiting[name]), here["label"])
            _fill(described, group.describe(complete, here, voxel_nm, options), done, len(waits))
            waiting[name] = [open_]
        rows = sum(_rows(part) for parts in waiting.values() for part in parts)
        # What stays open is merged again each time: wait for as many rows as there are of it.
        limit = rows + max(ROWS, rows)
    first = basic if "basic" in features else {name: basic[name] for name in ("label", "class")}
    placed = _placed(basic, known, voxel_nm)
    among = {
        k: v
        for f in features
        if f in AMONG
        for k, v in AMONG[f](placed, known.shape, voxel_nm, options).items()
    }
    added = {str(name): np.asarray(part[str(name)]) for part in more.values() for name in part["columns"]}
    if "boundary_scored" in described:
        scored = described.pop("boundary_scored")
        described["boundary_source"] = np.where(scored, source, SOURCES[-1]).astype(object)
    return {**first, **described, **among, **{k: v for k, v in added.items() if k != "label"}}


def _placed(basic: Rows, known: Box, voxel_nm: Nm) -> Rows:
    """Columns of 'basic' with places counted from the first voxel that is known."""
    found = dict(basic)
    for axis, first, size in zip("zyx", known.start, voxel_nm, strict=True):
        for end in ("min", "max"):
            found[f"bbox_{axis}_{end}"] = basic[f"bbox_{axis}_{end}"] - first
        found[f"centroid_{axis}_nm"] = basic[f"centroid_{axis}_nm"] - first * size
    return found


def _fill(described: Rows, columns: Rows, rows: Array, objects: int) -> None:
    """Put `columns` into the given rows of `described`, whose columns have a row for every object."""
    for name, values in columns.items():
        described.setdefault(name, np.zeros(objects, values.dtype))[rows] = values


def _until_end(records: Records) -> Iterator[tuple[int | None, Mapping[str, Array]]]:
    yield from records
    yield None, {}


def _last_blocks(basic: Rows, grid: BlockGrid) -> Array:
    """Index of the last block that the bounding box of each object meets."""
    high = [(basic[f"bbox_{a}_max"] - 1) // n for a, n in zip("zyx", grid.block, strict=True)]
    _, ny, nx = grid.counts
    last: Array = (high[0] * ny + high[1]) * nx + high[2]
    return last


def _tables(record: Mapping[str, Array], group: str) -> Sums:
    tables: Sums = {}
    for key, values in record.items():
        name, *place = key.split("/")
        if place and name == group:
            table, column = place
            tables.setdefault(table, {})[column] = values
    return tables


def _rows(sums: Sums) -> int:
    return sum(len(columns["label"]) for columns in sums.values())


def _split(sums: Sums, label: Array) -> tuple[Sums, Sums]:
    """The rows of the objects `label` (sorted), and all others."""
    inside, outside = {}, {}
    for table, columns in sums.items():
        known = np.isin(columns["label"], label)
        inside[table] = {name: values[known] for name, values in columns.items()}
        outside[table] = {name: values[~known] for name, values in columns.items()}
    return inside, outside


def _without(sums: Sums, label: Array) -> Sums:
    """The rows of all objects but `label`."""
    if not len(label):
        return sums
    kept = {table: ~np.isin(columns["label"], label) for table, columns in sums.items()}
    return {t: {name: values[kept[t]] for name, values in columns.items()} for t, columns in sums.items()}


def _nothing(objects: Rows, voxel_nm: Nm, settings: Settings, raw: str | None, source: str) -> View:
    """A block without objects: a volume without any has all columns too."""
    box = Box.of((1, 1, 1))
    image = None if raw is None else np.zeros(box.shape, raw)
    block = Block(0, zyx([0, 0, 0]), box, box, box)
    images = () if source else None
    return View(block, np.zeros(box.shape, np.uint64), image, objects, voxel_nm, settings, images=images)
