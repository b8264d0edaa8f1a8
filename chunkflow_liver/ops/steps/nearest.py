"""The nearest partner of every object, however far: stages that search where a gap or cap found none."""

from __future__ import annotations

from collections.abc import Iterator
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
from chunkflow_liver.kernels.distance.squares import whole_unit
from chunkflow_liver.kernels.labels.extents import merge_extents
from chunkflow_liver.ops.steps.crops import centres
from chunkflow_liver.ops.steps.place import PathLike, arrays_at
from chunkflow_liver.store.table import Arrays, Columns
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array

KEPT_CELLS = 256
"""Cells whose voxels are kept while the objects of a block are searched."""
Numbers = tuple[int | None, int | None]


def nearest_stages(
    volumes: tuple[Volume, ...],
    *,
    numbers: Numbers,
    sides: str,
    known: Box,
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
    known : Box
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
    cells whose voxels are read.
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
        Map(f"{name}/cells", _cells, around, volumes, params=params | {"cell": cell}, working=16.0),
        Fold(f"{name}/cell-table", _cell_table, f"{name}/cells", cells),
        Map(
            f"{name}/search",
            _search,
            grid,
            volumes,
            params=params | {"sides": sides, "voxel_nm": voxel_nm},
            artefacts={"cells": cells, "met": met},
            resident=(64 << 20) + 400 * count,
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
        exact[:] = nearest <= _outside(boxes, far["known"], voxel_nm)[at] * (1 + 1e-9)
        found["nearest_exact"] = exact & np.isfinite(nearest)
    return found


def _outside(boxes: Parts, known: Box, voxel_nm: Nm) -> Array:
    """Gap in nm from each box to what is unknown; across a single plane nothing is missing."""
    low = (boxes["low"] - np.array(known.start)) * np.array(voxel_nm)
    high = (np.array(known.stop) - boxes["high"]) * np.array(voxel_nm)
    away = np.where(np.array(known.shape) > 1, np.minimum(low, high), np.inf)
    return np.asarray(away.min(1))


def _objects(labels: Array, number: int | None) -> Array:
    if number is not None:
        return (labels == number) * np.min_scalar_type(number).type(number)
    return labels.view(np.uint8) if labels.dtype == bool else labels


def _cells(
    block: Block,
    own: Array,
    other: Array | None = None,
    *,
    numbers: Numbers,
    same: bool,
    known: Box,
    cell: Zyx,
) -> Result:
    box, wide = block.write.clip(known), block.read.clip(known)
    if not box.size:
        return Result()
    inner, trim = wide.relative_to(block.read).slices, box.relative_to(wide).slices
    record: dict[str, Array] = {}
    read = [own] if same else [own, own if other is None else other]
    for side, labels, number in zip("ab", read, numbers, strict=False):
        objects = _objects(labels[inner], number)
        for kind, values in (("", objects), ("edge_", objects * on_surface(objects))):
            parts = cell_parts(values[trim], box.start, cell)
            record |= {f"{side}_{kind}{k}": v for k, v in parts.items()}
    return Result(record=record)


def _cell_table(records: Records) -> Columns:
    """Parts of all blocks, those of an object together; of one labelling there are no `b_*`.

    `*_edge_*` are those of the objects' surfaces.
    """
    parts: dict[str, list[Parts]] = {side: [no_parts()] for side in ("a", "a_edge", "b", "b_edge")}
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
    known: Box,
    voxel_nm: Nm,
    cells: Arrays,
    met: Arrays,
) -> Iterator[Result]:
    record: dict[str, Array] = {}
    partners = {"a": _side(cells, "a"), "b": _side(cells, "a" if same else "b")}
    for side in sides:
        away = "b" if side == "a" else "a"
        found = _of_side(
            block,
            (volumes[0 if side == "a" else -1], volumes[-1 if side == "a" else 0]),
            (_side(cells, f"{side}_edge"), partners[away], _boxes(_side(cells, side))),
            numbers=numbers if side == "a" else (numbers[1], numbers[0]),
            same=same,
            known=known,
            voxel_nm=voxel_nm,
            met=np.asarray(met[side]),
        )
        record |= {f"{side}_{k}": v for k, v in found.items()}
    yield Result(record=record)


def _of_side(
    block: Block,
    volumes: tuple[Volume, Volume],
    parts: tuple[Parts, Parts, Parts],
    *,
    numbers: Numbers,
    same: bool,
    known: Box,
    voxel_nm: Nm,
    met: Array,
) -> dict[str, Array]:
    own, other, boxes = parts
    middle = centres(boxes["low"], boxes["high"])
    mine = ((middle >= block.write.start) & (middle < block.write.stop)).all(1)
    wanted = boxes["label"][mine & ~np.isin(boxes["label"], met)]
    rows: list[tuple[int, int, int]] = []
    if len(wanted):
        partners = Partners(other, whole_unit(voxel_nm))

        @lru_cache(KEPT_CELLS)
        def voxels(row: int) -> Array:
            label = int(other["label"][row])
            box = Box(zyx(other["low"][row].tolist()), zyx(other["high"][row].tolist()))
            return np.argwhere(_objects(volumes[1].read(box), numbers[1]) == label) + np.array(box.start)

        for label in wanted.tolist():
            begin, end = np.searchsorted(own["label"], [label, label + 1])
            part = {k: v[begin:end] for k, v in own.items()}
            if begin == end:
                continue

            @lru_cache(KEPT_CELLS)
            def surface(row: int, label: int = label, part: Parts = part) -> Array:
                box = Box(zyx(part["low"][row].tolist()), zyx(part["high"][row].tolist()))
                return _surface(volumes[0], numbers[0], label, box, known)

            hit = partners.nearest(part, label if same else None, surface, voxels)
            if hit is not None:
                rows.append((label, hit.label, hit.square))
    columns = zip(*rows, strict=True) if rows else ((), (), ())
    kinds = {"label": np.uint64, "partner": np.uint64, "square": np.int64}
    return {k: np.array(c, kind) for (k, kind), c in zip(kinds.items(), columns, strict=True)}


def _surface(volume: Volume, number: int | None, label: int, box: Box, known: Box) -> Array:
    """Voxels of an object in a box that have a face neighbour of another label."""
    wide = box.grow((1, 1, 1)).clip(known)
    labels = _objects(volume.read(wide), number)
    found = (on_surface(labels) & (labels == label))[box.relative_to(wide).slices]
    return np.argwhere(found) + np.array(box.start)


def _nearest(records: Records) -> Columns:
    kinds = {"label": np.uint64, "partner": np.uint64, "square": np.int64}
    found: dict[str, list[Array]] = {
        f"{side}_{k}": [np.zeros(0, kind)] for side in "ab" for k, kind in kinds.items()
    }
    for _, record in records:
        for name, values in record.items():
            found[name].append(np.asarray(values))
    columns: dict[str, Array] = {}
    for side in "ab":
        whole = {k: np.concatenate(found[f"{side}_{k}"]) for k in kinds}
        order = np.argsort(whole["label"], kind="stable")
        columns |= {f"{side}_{k}": v[order] for k, v in whole.items()}
    return columns
