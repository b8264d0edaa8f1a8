"""Edits of a proofreader, applied by relabelling: merge, split, divide, delete; all other ids stay."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.engine.pyramid import pyramid
from chunkflow_liver.engine.stage import Fold, Map, Records, Result, Stage
from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.geometry import Block, BlockGrid, Zyx
from chunkflow_liver.kernels.instances.components import component_table, label_block
from chunkflow_liver.kernels.instances.union import flatten, unite
from chunkflow_liver.kernels.labels.extents import block_extents
from chunkflow_liver.kernels.labels.overlap import merge_overlaps, overlap
from chunkflow_liver.kernels.labels.relabel import relabel
from chunkflow_liver.ops.steps.numbering import Numbering
from chunkflow_liver.ops.steps.operation import operation
from chunkflow_liver.ops.steps.place import (
    PathLike,
    arrays_at,
    checked_labels,
    label_url,
    label_version,
    same_voxels,
    table_at,
    work_folder,
)
from chunkflow_liver.ops.steps.shared_planes import Seams, seam_record
from chunkflow_liver.store.table import Columns
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array

COLUMNS = ("action", "label", "other")
ACTIONS = ("merge", "split", "divide", "delete")
CONNECTIVITY = 26

Edit = tuple[str, int, int]
"""Action, id, and the id to merge it with (0 for other actions)."""


@operation
def edit(
    instances: Volume,
    edits: PathLike | Iterable[Sequence[Any]],
    *,
    pieces: Volume | None = None,
    name: str,
    work: PathLike,
    block: Zyx | None = None,
    into: PathLike | None = None,
) -> Plan:
    """Plan corrected instances: those of `instances` with a list of edits applied.

    Parameters
    ----------
    instances : Volume
        Instance ids, 0 is background.
    edits : path, or iterable of (action, label[, other])
        A CSV file with the columns `action, label, other`, or its rows. `merge`: `label` and `other` become
        one object with the smaller id, also in chains. `split`: every part of `label` that does not touch
        the others (26 neighbours) becomes an object. `divide`: every part of `label` that has an id of its
        own in `pieces` becomes an object. `delete`: `label` becomes background. The largest part of a
        split or divided object keeps its id (of equal ones the first), the others get new ids after the
        largest there is: in the order of ids and, of one object, of first voxels or ids of pieces.
    {pieces}
    name : str
        Name of the label image and, with '-edits', of the table that logs what was done.
    {work}
    {block}
    {into}

    Returns
    -------
    Plan
        Its `output` is the label volume, with the type of `instances`. The table has one row per edit:
        `row, action, label, other, voxels` (of `label` before), `into` (the id of merged objects, 0 of
        deleted ones, else the number of parts).

    Raises
    ------
    ConfigError
        If a row cannot be understood, or names an id that another row splits, divides or deletes.
    InputError
        If the file does not exist, or volumes hold no labels or do not lie on the same voxels.
    """
    rows = _checked(read_edits(edits) if isinstance(edits, str | os.PathLike) else edits, "the edits")
    instances = checked_labels(instances, "instances")
    if any(action == "divide" for action, _, _ in rows) and pieces is None:
        raise ConfigError("a 'divide' needs `pieces`, the finer objects that it divides by")
    if pieces is not None:
        same_voxels(instances, pieces, "divide needs both on the same voxels")
    output = instances.like(
        label_url(work, name, into),
        dtype="uint8" if instances.dtype == "bool" else instances.dtype,
        kind="label",
        block=block,
        ome_version=label_version(into),
    )
    split = sorted(label for action, label, _ in rows if action == "split")
    divide = sorted(label for action, label, _ in rows if action == "divide")
    cut = block or output.write_unit
    grid = BlockGrid(output.box, cut, high=(1, 1, 1) if split else (0, 0, 0))
    inputs = (instances,) if pieces is None else (instances, checked_labels(pieces, "pieces"))
    changes, log = arrays_at(work, name, "changes"), table_at(work, f"{name}-edits")
    params: dict[str, Any] = {"split": split, "divide": divide}
    stages: tuple[Stage, ...] = (
        Map(f"{name}/find", _find, grid, inputs, params=params, working=40.0),
        Fold(
            f"{name}/decide",
            _decide,
            f"{name}/find",
            changes,
            params={"rows": rows, "counts": grid.counts, "volume": output.shape, "dtype": output.dtype},
            spills=True,
        ),
        Fold(
            f"{name}/log",
            _log,
            f"{name}/find",
            log,
            params={"rows": rows},
            artefacts={"changes": changes},
            provenance={"operation": "edit", "instances": instances.name},
        ),
        Map(
            f"{name}/apply",
            _apply,
            grid,
            inputs,
            (output,),
            params=params,
            artefacts={"changes": changes},
            working=40.0,
        ),
        *pyramid(output, name),
    )
    about = (("instances", instances.name), ("edits", len(rows)))
    products = (Product("instances", name, output, about), Product("edit log", f"{name}-edits", log, about))
    return Plan(stages, work_folder(work), output, products)


def read_edits(path: PathLike) -> list[list[str]]:
    """Rows of a CSV file of edits, without its header.

    Raises
    ------
    InputError
        If there is no such file.
    ConfigError
        If its header is another one.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"no list of edits at {file}")
    with file.open(newline="", encoding="utf-8-sig") as opened:
        rows = [[cell.strip() for cell in row] for row in csv.reader(opened) if any(map(str.strip, row))]
    if not rows or tuple(rows[0][:3]) not in (COLUMNS, COLUMNS[:2]):
        raise ConfigError(f"{file} must begin with the line {','.join(COLUMNS)!r}, got {rows[:1]}")
    return rows[1:]


def _checked(rows: Iterable[Sequence[Any]], where: str) -> list[Edit]:
    """The rows as actions and numbers, each id cut or deleted at most once and then not merged."""
    found: list[Edit] = []
    for number, row in enumerate(rows, 1):
        action, *ids = [c for c in row if c not in ("", None)] or [""]
        wanted = 2 if action == "merge" else 1
        whole = all(isinstance(i, int | np.integer) or (str(i).isascii() and str(i).isdigit()) for i in ids)
        if action not in ACTIONS or len(ids) != wanted or not whole or min(map(int, ids)) < 1:
            raise ConfigError(
                f"row {number} of {where} is {list(row)!r}; wanted is merge,ID,ID or one of "
                f"{ACTIONS[1:]} and an ID, with IDs from 1"
            )
        found.append((action, int(ids[0]), int(ids[1]) if wanted == 2 else 0))
    if not found:
        raise ConfigError(f"{where} hold no row: there is nothing to change")
    merged = {i for action, *both in found if action == "merge" for i in both}
    once = [label for action, label, _ in found if action != "merge"]
    for label in once:
        if label in merged or once.count(label) > 1:
            raise ConfigError(
                f"{where} split, divide or delete {label} and name it in another row as well: which comes "
                "first? Apply them one after the other, each to the result of the other"
            )
    return found


def _picked(labels: Array, ids: Sequence[int]) -> Array:
    """`labels` with all but `ids` as background."""
    wanted = np.array(ids, np.uint64)
    return relabel(labels, wanted, wanted)


def _find(
    block: Block, labels: Array, pieces: Array | None = None, *, split: list[int], divide: list[int]
) -> Result:
    own = labels[block.trim]
    found = block_extents(own, block.write.start)
    record: dict[str, Any] = {"label": found["label"], "voxels": found["voxels"]}
    if split:
        parts, n = label_block(_picked(labels, split), classes=None, connectivity=CONNECTIVITY)
        table = component_table(parts, n, block.write.shape)
        record["part_voxels"] = table["voxels"]
        record["part_first"] = _in_volume(table["first"], labels.shape, block)
        record["part_label"] = labels.ravel()[table["first"]].astype(np.uint64)
        record |= seam_record(block, parts, block.read.stop)
    if divide and pieces is not None:
        both = overlap(_picked(own, divide), pieces[block.trim])
        inside = both["a"] > 0
        record |= {f"piece_{k}": v[inside] for k, v in both.items()}
    return Result(record=record)


def _in_volume(first: Array, shape: Zyx, block: Block) -> Array:
    """Index in the volume of a voxel that has the index `first` in the block."""
    z, y, x = (a + b for a, b in zip(np.unravel_index(first, shape), block.read.start, strict=True))
    _, ny, nx = block.volume.shape
    return (z.astype(np.int64) * ny + y) * nx + x


def _decide(
    records: Records, *, rows: list[Edit], counts: Zyx, volume: Zyx, dtype: str, scratch: Path
) -> dict[str, Array]:
    """New ids of merged and deleted objects, and of every part of those that are cut."""
    numbering = Numbering(scratch, int(np.prod([int(n) for n in volume])))
    named = np.unique(np.array([i for _, *ids in rows for i in ids if i], np.uint64))
    voxels, largest = np.zeros(len(named), np.int64), 0
    pieces: list[Any] = []
    seams = Seams(counts, scratch / "seams")
    for index, record in records:
        here = np.isin(record["label"], named)
        np.add.at(voxels, np.searchsorted(named, record["label"][here]), record["voxels"][here])
        largest = max(largest, int(record["label"].max(initial=0)))
        if "piece_a" in record:
            pieces.append({k: record[f"piece_{k}"] for k in ("a", "b", "voxels")})
        empty = np.zeros(0, np.int64)
        parts = (record.get(f"part_{k}", empty) for k in ("voxels", "first", "label"))
        offset = numbering.add(*parts)
        for pairs in seams.meet(index, offset, record):
            numbering.join(pairs)
    missing = named[voxels == 0].tolist()
    if missing:
        raise InputError(f"the edits name ids that the instances do not have: {missing[:10]}")
    whole = numbering.finish(min_voxels=1, dtype="uint64")
    labels, sizes = np.asarray(whole["value"]).view(np.uint64), whole["voxels"]
    part_ids, last = _new_ids(labels, sizes, largest)
    divided = merge_overlaps(pieces)
    piece_ids, last = _new_ids(divided["a"], divided["voxels"], last)
    if last > np.iinfo(dtype).max:
        raise InputError(
            f"the largest new id would be {last}, which {dtype} cannot hold; number the instances anew with "
            "refine first, or edit a copy of a wider type"
        )
    old, new = _moved(rows)
    # Piece 0 is none: ids of parts follow at 1.
    part_ids = np.concatenate([np.zeros(1, np.uint64), part_ids])
    return {
        "old": old,
        "new": new.astype(dtype),
        "offsets": whole["offsets"],
        "part": part_ids[whole["final"].astype(np.int64)].astype(dtype),
        "piece_a": divided["a"],
        "piece_b": divided["b"],
        "piece": piece_ids.astype(dtype),
        "named": named,
        "voxels": voxels,
        "cut": np.concatenate([labels, divided["a"]]),
    }


def _new_ids(labels: Array, sizes: Array, last: int) -> tuple[Array, int]:
    """Ids of the parts of objects: the largest keeps its own, the others follow `last`; and the last id."""
    ids = labels.astype(np.uint64)
    order = np.lexsort((np.arange(len(labels)), -sizes, labels))
    keeps = np.zeros(len(labels), bool)
    keeps[order[np.unique(labels[order], return_index=True)[1]]] = True
    fresh = np.flatnonzero(~keeps)
    fresh = fresh[np.argsort(labels[fresh], kind="stable")]
    # Without any, `last` may be the largest number there is; too many of them are refused by the caller.
    if len(fresh) and last + len(fresh) < 1 << 64:
        ids[fresh] = np.arange(len(fresh), dtype=np.uint64) + np.uint64(last + 1)
    return ids, last + len(fresh)


def _moved(rows: list[Edit]) -> tuple[Array, Array]:
    """Ids that merge or go, ascending, and what becomes of them."""
    pairs = [(a, b) for action, a, b in rows if action == "merge"]
    gone = [a for action, a, _ in rows if action == "delete"]
    ids = np.unique(np.array([i for pair in pairs for i in pair], np.uint64))
    parents: np.ndarray[Any, Any] = np.arange(len(ids))
    unite(parents, np.searchsorted(ids, np.array(pairs, np.uint64).reshape(-1, 2)))
    flatten(parents)
    old = np.concatenate([ids, np.array(gone, np.uint64)])
    new = np.concatenate([ids[parents], np.zeros(len(gone), np.uint64)])
    order = np.argsort(old)
    return old[order], new[order]


def _log(records: Records, *, rows: list[Edit], changes: Any) -> Columns:
    label = np.array([a for _, a, _ in rows], np.uint64)
    moved = dict(zip(changes["old"].tolist(), changes["new"].tolist(), strict=True))
    parts, count = np.unique(changes["cut"], return_counts=True)
    number = dict(zip(parts.tolist(), count.tolist(), strict=True))
    return {
        "row": np.arange(1, len(rows) + 1),
        "action": np.array([action for action, _, _ in rows]),
        "label": label,
        "other": np.array([b for _, _, b in rows], np.uint64),
        "voxels": changes["voxels"][np.searchsorted(changes["named"], label)],
        "into": np.array([moved[a] if a in moved else number[a] for _, a, _ in rows], np.uint64),
    }


def _apply(
    block: Block,
    labels: Array,
    pieces: Array | None = None,
    *,
    split: list[int],
    divide: list[int],
    changes: Any,
) -> Result:
    own = labels[block.trim]
    new = changes["new"]
    out = relabel(own, changes["old"], np.asarray(new), keep=True)
    if split:
        parts, n = label_block(_picked(labels, split), classes=None, connectivity=CONNECTIVITY)
        begin, end = changes["offsets"][block.index : block.index + 2]
        ids = np.zeros(n + 1, new.dtype)
        ids[1:] = changes["part"][begin:end]
        mine = parts[block.trim]
        out = np.where(mine > 0, ids[mine], out)
    if divide and pieces is not None:
        for label in set(divide) & set(np.unique(own).tolist()):
            begin, end = (np.searchsorted(changes["piece_a"], np.uint64(label), s) for s in ("left", "right"))
            old, ids = np.asarray(changes["piece_b"][begin:end]), np.asarray(changes["piece"][begin:end])
            at = own == label
            finer = pieces[block.trim][at]
            out[at] = relabel(finer, old, ids)
            # What has no piece is a part too.
            out[at & (pieces[block.trim] == 0)] = ids[0] if len(old) and old[0] == 0 else 0
    return Result((out,))
