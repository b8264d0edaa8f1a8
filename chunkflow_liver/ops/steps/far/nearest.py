"""The nearest partner of every object, however far: stages that search where a gap or cap found none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from chunkflow_liver.engine.stage import Fold, Map, Records, Result, Stage
from chunkflow_liver.geometry import Block, BlockGrid, Box, Nm, Zyx, zyx
from chunkflow_liver.kernels.contacts.nearest import (
    MOST_CELLS,
    Partners,
    Parts,
    cell_parts,
    cell_side,
    no_parts,
    on_surface,
)
from chunkflow_liver.kernels.distance.squares import Unit, whole_unit
from chunkflow_liver.kernels.labels.extents import merge_extents
from chunkflow_liver.ops.steps.crops import centres
from chunkflow_liver.ops.steps.place import PathLike, arrays_at
from chunkflow_liver.store.table import Arrays, Columns
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.store.voxels.region import Known, next_to
from chunkflow_liver.xp import Array

KEPT_CELLS = 256
"""Cells whose voxels are kept while the objects of a block are searched."""
Numbers = tuple[int | None, int | None]


def nearest_stages(
    volumes: tuple[Volume, ...],
    *,
    numbers: Numbers,
    sides: str,
    known: Known,
    block: Zyx,
    name: str,
    work: PathLike,
    met: Arrays,
) -> tuple[tuple[Stage, ...], dict[str, Arrays]]:
    """Stages that find the nearest partner of every object that has none so far.

    Parameters
    ----------
    volumes : tuple of Volume
        Objects A, and objects B where these lie in another volume.
    numbers : tuple of int, optional
        Class that is A, or B, taken as one object.
    sides : str
        'a', or 'ab' where the partners of B are wanted, too. Where A and B are one labelling, 'a'.
    known : Known
        Voxels that are known in all volumes.
    block : Zyx
        Voxels per block.
    name, work
        Of the operation, and its folder.
    met : Arrays
        Labels that have a partner: `a`, `b`, ascending.

    Returns
    -------
    tuple of stages
        Cells, which parts of objects lie in them, and the search.
    dict of Arrays
        `cells` and `nearest`, for `nearest_columns`.

    Notes
    -----
    A block searches the objects whose box has its centre in it. Of every cell (16 voxels a side, more in a
    volume of more than a million of them) the boxes of the labels in it are kept; from them follow the few
    cells whose voxels are read. What a mask leaves out is one more partner, which says how far it is.
    """
    voxel_nm = volumes[0].voxel_nm
    same = len(volumes) == 1 and numbers[0] == numbers[1]
    grid = BlockGrid(volumes[0].box, block)
    around = BlockGrid(volumes[0].box, block, (1, 1, 1), (1, 1, 1))
    cells, found = arrays_at(work, name, "cells"), arrays_at(work, name, "nearest")
    cell = cell_side(volumes[0].shape, voxel_nm)
    params: dict[str, Any] = {"numbers": numbers, "same": same, "known": known}
    count = min(MOST_CELLS, volumes[0].box.size)
    stages: tuple[Stage, ...] = (
        Map(
            f"{name}/cells",
            _cells,
            around,
            volumes,
            params=params | {"cell": cell},
            working=16.0 + 4 * bool(known.masks),
        ),
        Fold(f"{name}/cell-table", _cell_table, f"{name}/cells", cells),
        Map(
            f"{name}/search",
            _search,
            grid,
            volumes,
            params=params | {"sides": sides, "voxel_nm": voxel_nm},
            artefacts={"cells": cells, "met": met},
            resident=(64 << 20) + 400 * count * (2 if known.masks else 1),
            streams=True,
        ),
        Fold(f"{name}/nearest", _nearest, f"{name}/search", found),
    )
    return stages, {"cells": cells, "nearest": found}


def nearest_columns(
    labels: Array, side: str, within: tuple[Array, Array, Array], far: Any, voxel_nm: Nm
) -> Columns:
    """Columns of the nearest partner of every object.

    Parameters
    ----------
    labels : ndarray of shape (n,), uint64
        The objects, ascending.
    side : {'a', 'b'}
    within : label, partner and squared gap (k,)
        Every pair within the gap, sorted by label.
    far : mapping, optional
        `cells`, `nearest` and `known`, of `nearest_stages`: what was found beyond the gap.
    voxel_nm : tuple of float

    Returns
    -------
    dict of ndarray
        `nearest_nm` (infinite where there is no partner), `nearest_label` (0 there, of equally near ones the
        smallest), and with `far` `nearest_exact`: whether nothing beyond what is known can be nearer.
    """
    own, partner, square = within
    order = np.lexsort([partner, square, own])
    own, first = np.unique(own[order], return_index=True)
    whom, gap = partner[order][first], whole_unit(voxel_nm).length_nm(square[order][first])
    if far is not None:
        searched = far["nearest"][f"{side}_label"]
        own = np.concatenate([own, searched])
        whom = np.concatenate([whom, far["nearest"][f"{side}_partner"]])
        gap = np.concatenate([gap, whole_unit(voxel_nm).length_nm(far["nearest"][f"{side}_square"])])
        order = np.argsort(own, kind="stable")
        own, whom, gap = own[order], whom[order], gap[order]
    nearest, label = np.full(len(labels), np.inf), np.zeros(len(labels), np.uint64)
    kept = np.isin(own, labels)
    at = np.asarray(np.searchsorted(labels, own[kept]))
    nearest[at], label[at] = gap[kept], whom[kept]
    found: dict[str, Array] = {"nearest_nm": nearest, "nearest_label": label}
    if far is not None:
        exact = np.zeros(len(labels), bool)
        boxes = _boxes(_side(far["cells"], side))
        at = np.asarray(np.searchsorted(boxes["label"], labels))
        outside = _outside(boxes, far["known"], voxel_nm)
        near = np.searchsorted(boxes["label"], far["nearest"][f"{side}_away_label"])
        away = whole_unit(voxel_nm).length_nm(far["nearest"][f"{side}_away_square"])
        outside[near] = np.minimum(outside[near], away)
        exact[:] = nearest <= outside[at] * (1 + 1e-9)
        found["nearest_exact"] = exact & np.isfinite(nearest)
    return found


def _outside(boxes: Parts, known: Box, voxel_nm: Nm) -> Array:
    """Gap in nm from each box to what is unknown; across a single plane nothing is missing."""
    low = (boxes["low"] - np.array(known.start)) * np.array(voxel_nm)
    high = (np.array(known.stop) - boxes["high"]) * np.array(voxel_nm)
    away = np.where(np.array(known.shape) > 1, np.minimum(low, high), np.inf)
    return np.asarray(away.min(1))


def _objects(labels: Array, number: int | None, hidden: Array | None) -> Array:
    """Labels of objects, of which none lies where nothing is known."""
    if number is not None:
        labels = (labels == number) * np.min_scalar_type(number).type(number)
    labels = labels.view(np.uint8) if labels.dtype == bool else labels
    return labels if hidden is None else np.where(hidden, labels.dtype.type(0), labels)


def _cells(
    block: Block,
    own: Array,
    other: Array | None = None,
    *,
    numbers: Numbers,
    same: bool,
    known: Known,
    cell: Zyx,
) -> Result:
    box, wide = block.write.clip(known.box), block.read.clip(known.box)
    if not box.size:
        return Result()
    inner, trim = wide.relative_to(block.read).slices, box.relative_to(wide).slices
    hidden = known.hidden(wide)
    found: dict[str, Array] = {}
    read = [own] if same else [own, own if other is None else other]
    for side, labels, number in zip("ab", read, numbers, strict=False):
        objects = _objects(labels[inner], number, hidden)
        found |= {side: objects, f"{side}_edge": objects * on_surface(objects, hidden)}
        if hidden is not None:
            found[f"{side}_cut"] = objects * next_to(hidden)
    if hidden is not None:
        # The voxel nearest to an object that lies in what is known is one of the rim.
        found["unknown"] = (hidden & next_to(~hidden)).view(np.uint8)
    record: dict[str, Array] = {}
    for what, values in found.items():
        parts = cell_parts(values[trim], box.start, cell)
        record |= {f"{what}_{k}": v for k, v in parts.items()}
    return Result(record=record)


def _cell_table(records: Records) -> Columns:
    """Parts of all blocks, those of an object together; of one labelling there are no `b_*`.

    `*_edge_*` are those of the objects' surfaces, `*_cut_*` of their voxels beside what a mask leaves out,
    and `unknown_*` of the rim of that.
    """
    kinds = [f"{side}{what}" for side in "ab" for what in ("", "_edge", "_cut")]
    parts: dict[str, list[Parts]] = {kind: [no_parts()] for kind in (*kinds, "unknown")}
    for _, record in records:
        for side, found in parts.items():
            if f"{side}_label" in record:
                found.append({k: np.asarray(record[f"{side}_{k}"]) for k in found[0]})
    columns: dict[str, Array] = {}
    for side, found in parts.items():
        whole = {k: np.concatenate([p[k] for p in found]) for k in found[0]}
        order = np.argsort(whole["label"], kind="stable")
        columns |= {f"{side}_{k}": v[order] for k, v in whole.items()}
    return columns


def _side(cells: Any, side: str) -> Parts:
    return {k: np.asarray(cells[f"{side}_{k}"]) for k in ("label", "low", "high")}


def _boxes(parts: Parts) -> Parts:
    """The box of every object, from those of its parts."""
    return merge_extents([parts | {"voxels": np.zeros(len(parts["label"]), np.int64)}])


def _search(
    block: Block,
    *volumes: Volume,
    numbers: Numbers,
    same: bool,
    sides: str,
    known: Known,
    voxel_nm: Nm,
    cells: Arrays,
    met: Arrays,
) -> Iterator[Result]:
    record: dict[str, Array] = {}
    unit = whole_unit(voxel_nm)
    sources = (volumes[0], volumes[-1])
    for side in sides:
        at, to = (0, 1) if side == "a" else (1, 0)
        own = _Objects(sources[at], numbers[at], known)
        boxes = _boxes(_side(cells, side))
        middle = centres(boxes["low"], boxes["high"])
        mine = ((middle >= block.write.start) & (middle < block.write.stop)).all(1)
        labels = boxes["label"][mine]
        edge = _side(cells, f"{side}_edge")
        partners = _side(cells, "a" if same else "ba"[at])
        others = _Objects(sources[to], numbers[to], known)
        wanted = labels[~np.isin(labels, np.asarray(met[side]))]
        found = _of_side(wanted, own, edge, (partners, unit), others.voxels, alike=same)
        record |= {f"{side}_{k}": v for k, v in found.items()}
        if known.masks:
            cut = np.intersect1d(labels, np.asarray(cells[f"{side}_cut_label"]))
            rim = _side(cells, "unknown")
            rest = labels[~np.isin(labels, cut)]
            far = _of_side(rest, own, edge, (rim, unit), own.unknown, alike=False)
            record[f"{side}_away_label"] = np.concatenate([cut, far["label"]])
            record[f"{side}_away_square"] = np.concatenate([np.zeros(len(cut), np.int64), far["square"]])
    yield Result(record=record)


class _Objects:
    """Voxels of objects, read part by part."""

    def __init__(self, volume: Volume, number: int | None, known: Known) -> None:
        self.volume, self.number, self.known = volume, number, known

    def voxels(self, label: int, box: Box) -> Array:
        labels = _objects(self.volume.read(box), self.number, self.known.hidden(box))
        return np.argwhere(labels == label) + np.array(box.start)

    def surface(self, label: int, box: Box) -> Array:
        """Those that have a face neighbour of another label."""
        wide = box.grow((1, 1, 1)).clip(self.known.box)
        hidden = self.known.hidden(wide)
        labels = _objects(self.volume.read(wide), self.number, hidden)
        found = (on_surface(labels, hidden) & (labels == label))[box.relative_to(wide).slices]
        return np.argwhere(found) + np.array(box.start)

    def unknown(self, _: int, box: Box) -> Array:
        """Voxels of which nothing is known."""
        return np.argwhere(~self.known(box)) + np.array(box.start)


def _of_side(
    wanted: Array,
    own: _Objects,
    edge: Parts,
    other: tuple[Parts, Unit],
    read: Callable[[int, Box], Array],
    *,
    alike: bool,
) -> dict[str, Array]:
    """The nearest partner of objects; `alike` if they are partners themselves."""
    parts = other[0]
    rows: list[tuple[int, int, int]] = []
    if len(wanted):
        partners = Partners(*other)

        @lru_cache(KEPT_CELLS)
        def voxels(row: int) -> Array:
            return read(int(parts["label"][row]), _box(parts, row))

        for label in wanted.tolist():
            # Unsigned as they are: a signed number beside them makes NumPy compare both as float64.
            begin, end = (
                np.searchsorted(edge["label"], np.uint64(label), side) for side in ("left", "right")
            )
            part = {k: v[begin:end] for k, v in edge.items()}
            if begin == end:
                continue

            @lru_cache(KEPT_CELLS)
            def surface(row: int, label: int = label, part: Parts = part) -> Array:
                return own.surface(label, _box(part, row))

            hit = partners.nearest(part, label if alike else None, surface, voxels)
            if hit is not None:
                rows.append((label, hit.label, hit.square))
    columns = zip(*rows, strict=True) if rows else ((), (), ())
    kinds = {"label": np.uint64, "partner": np.uint64, "square": np.int64}
    return {k: np.array(c, kind) for (k, kind), c in zip(kinds.items(), columns, strict=True)}


def _box(parts: Parts, row: int) -> Box:
    return Box(zyx(parts["low"][row].tolist()), zyx(parts["high"][row].tolist()))


def _nearest(records: Records) -> Columns:
    """`*_label`, `*_partner` and `*_square` of the nearest partners; `*_away_*` of what a mask leaves out."""
    groups = {
        "": {"label": np.uint64, "partner": np.uint64, "square": np.int64},
        "away_": {"label": np.uint64, "square": np.int64},
    }
    found: dict[str, list[Array]] = {
        f"{side}_{what}{k}": [np.zeros(0, kind)]
        for side in "ab"
        for what, kinds in groups.items()
        for k, kind in kinds.items()
    }
    for _, record in records:
        for name, values in record.items():
            found[name].append(np.asarray(values))
    columns: dict[str, Array] = {}
    for side in "ab":
        for what, kinds in groups.items():
            whole = {k: np.concatenate(found[f"{side}_{what}{k}"]) for k in kinds}
            order = np.argsort(whole["label"], kind="stable")
            columns |= {f"{side}_{what}{k}": v[order] for k, v in whole.items()}
    return columns
