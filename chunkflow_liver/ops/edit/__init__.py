"""Edits of a proofreader, applied by relabelling: merge, split, divide, delete; all other ids stay."""

from __future__ import annotations

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
from chunkflow_liver.kernels.instances.edits import apply_steps
from chunkflow_liver.kernels.labels.extents import block_extents
from chunkflow_liver.kernels.labels.overlap import merge_overlaps, overlap
from chunkflow_liver.kernels.labels.relabel import relabel
from chunkflow_liver.ops.edit.ahead import Ahead, changed_ids, changed_span, ends_of
from chunkflow_liver.ops.edit.classes import edited_classes
from chunkflow_liver.ops.edit.cutting import cuts_of, made_cuts
from chunkflow_liver.ops.edit.lists import (
    IN_TWO,
    SAID,
    Row,
    checked,
    plain_steps,
    read_edits,
    rows_naming,
    with_cuts,
)
from chunkflow_liver.ops.steps.numbering import Numbering
from chunkflow_liver.ops.steps.objects import as_table
from chunkflow_liver.ops.steps.operation import operation
from chunkflow_liver.ops.steps.place import (
    EDITS,
    PathLike,
    arrays_at,
    checked_labels,
    known_of,
    label_url,
    label_version,
    refuse_part,
    same_voxels,
    table_at,
    work_folder,
)
from chunkflow_liver.ops.steps.shared_planes import Seams, seam_record
from chunkflow_liver.store.table import Arrays, Columns, Table
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array

CONNECTIVITY = 6
"""As `label` has it where nothing is said: a `split` parts what `label` itself would part."""


@operation
def edit(
    instances: Volume,
    edits: PathLike | Iterable[Sequence[Any]],
    *,
    pieces: Volume | None = None,
    table: Table | PathLike | None = None,
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
    edits : path, or iterable of (action, label[, other[, places]])
        A CSV file with the columns `action, label, other`, or its rows, which apply one after the other.
        `merge`: `label` and `other` become one object with the smaller id, also in chains. `delete`: `label`
        becomes background. `class`: `label` gets the class `other`, a name or number, known or new. `cut`:
        `label` becomes two objects, and the part with the second of two places gets the id `other`, which
        must be new; the places are the further columns `z_nm, y_nm, x_nm, to_z_nm, to_y_nm, to_x_nm`, from
        the volume's first corner. `cleave`: the same along `pieces`, which stay whole. `split`: every part
        of `label` that shares no face with the others (6 neighbours) becomes an object. `divide`: every part
        of `label` that has an id of its own in `pieces` becomes an object. The largest part of a split or
        divided object keeps its id (of equal ones the first), the others get new ids after the largest there
        is: in the order of ids and, of one object, of first voxels or ids of pieces.
    {pieces}
    table : Table or path, optional
        Table of the instances with their bounding boxes (features 'basic'), for `cut` and `cleave`.
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
        deleted ones, else the number of parts), and `who, when, why` where a list says them.

    Raises
    ------
    ConfigError
        If a row cannot be understood, names an id that an earlier one deletes, or one that another splits or
        divides.
    InputError
        If the file does not exist, volumes hold no labels or do not lie on the same voxels, or the table
        lacks the bounding box of an object that is cut or cleft.

    Notes
    -----
    A cut is a watershed of the distance to the outside from both places (`two_sides` in
    `kernels.instances.edits`), on the finest level at which the box of the object has at most
    `cutting.MOST_CUT` voxels. An object is cleft on the finest level, block by block: each of its pieces
    goes to the place whose piece is nearer over pieces that touch, where a step is 1 over the area in nm^2
    over which two touch (`second_side` in `kernels.instances.cleaving`). Equally near ones go to the piece
    with the smaller id. Pieces that touch neither, and voxels in no piece, keep the id.
    """
    refuse_part("edit", EDITS, instances, pieces)
    found = checked(read_edits(edits) if isinstance(edits, str | os.PathLike) else edits, "the edits")
    rows = [edit.row for edit in found]
    instances = checked_labels(instances, "instances")
    along = next((edit.action for edit in found if edit.action in ("divide", "cleave")), None)
    if along and pieces is None:
        raise ConfigError(f"a {along!r} needs `pieces`, the finer objects that it goes along")
    if pieces is not None:
        same_voxels(instances, pieces, f"{along or 'divide'} needs both on the same voxels")
    output = instances.like(
        label_url(work, name, into),
        dtype="uint8" if instances.dtype == "bool" else instances.dtype,
        kind="label",
        block=block,
        ome_version=label_version(into),
    )
    split = sorted(e.label for e in found if e.action == "split")
    divide = sorted(e.label for e in found if e.action == "divide")
    cut = block or output.write_unit
    grid = BlockGrid(output.box, cut, high=(1, 1, 1) if split else (0, 0, 0))
    inputs = (instances,) if pieces is None else (instances, checked_labels(pieces, "pieces"))
    changes, log = arrays_at(work, name, "instances"), table_at(work, f"{name}-edits")
    params: dict[str, Any] = {"split": split, "divide": divide}
    cutting, sides_of = cuts_of(found, inputs, table, name, work, grid.block)
    if cutting:
        params["steps"] = plain_steps(found)
    said = [edit.said for edit in found]
    stages: tuple[Stage, ...] = (
        *cutting,
        Map(f"{name}/find", _find, grid, inputs, params={"split": split, "divide": divide}, working=40.0),
        Fold(
            f"{name}/decide",
            _decide,
            f"{name}/find",
            changes,
            params={"rows": rows, "counts": grid.counts, "volume": output.shape, "dtype": output.dtype},
            artefacts={"made": known_of(work, instances)},
            spills=True,
        ),
        Fold(
            f"{name}/log",
            _log,
            f"{name}/find",
            log,
            params={"rows": rows} | ({"said": said} if any(map(any, said)) else {}),
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
            artefacts={"changes": changes, **sides_of},
            working=40.0,
            changed_in="changes",
            ahead=Ahead(instances, grid, tuple(rows), None if table is None else as_table(table)),
        ),
        *pyramid(output, name),
    )
    about = (("instances", instances.name), ("edits", len(rows)))
    products = (Product("instances", name, output, about), Product("edit log", f"{name}-edits", log, about))
    return Plan(stages, work_folder(work), output, products)


def _picked(labels: Array, ids: Sequence[int]) -> Array:
    """`labels` with all but `ids` as background."""
    wanted = np.array(ids, np.uint64)
    return relabel(labels, wanted, wanted)


def _find(
    block: Block, labels: Array, pieces: Array | None = None, *, split: list[int], divide: list[int]
) -> Result:
    own = labels[block.trim]
    found = block_extents(own, block.write.start)
    record: dict[str, Any] = dict(found)
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
    records: Records, *, rows: list[Row], counts: Zyx, volume: Zyx, dtype: str, made: Arrays, scratch: Path
) -> dict[str, Array]:
    """New ids of merged and deleted objects, and of every part of those that are cut."""
    numbering = Numbering(scratch, int(np.prod([int(n) for n in volume])))
    fresh = {row[2] for row in rows if row[0] in IN_TWO}
    named = np.unique(np.array([i for row in rows for i in row[1:3] if i], np.uint64))
    voxels, largest = np.zeros(len(named), np.int64), 0
    old, new = _moved(rows)
    changing = changed_ids(rows)
    blocks: list[int] = []
    low: list[Array] = []
    high: list[Array] = []
    near: list[int] = []
    pieces: list[Any] = []
    seams = Seams(counts, scratch / "seams")
    for index, record in records:
        here = np.isin(record["label"], named)
        np.add.at(voxels, np.searchsorted(named, record["label"][here]), record["voxels"][here])
        largest = max(largest, int(record["label"].max(initial=0)))
        if (span := changed_span(record, changing)) is not None:
            blocks.append(index)
            low.append(span[0])
            high.append(span[1])
        if here.any():
            near.append(index)
        if "piece_a" in record:
            pieces.append({k: record[f"piece_{k}"] for k in ("a", "b", "voxels")})
        empty = np.zeros(0, np.int64)
        parts = (record.get(f"part_{k}", empty) for k in ("voxels", "first", "label"))
        offset = numbering.add(*parts)
        for pairs in seams.meet(index, offset, record):
            numbering.join(pairs)
    there = set(named[voxels > 0].tolist())
    if missing := rows_naming(rows, set(named.tolist()) - there - fresh):
        raise InputError(f"the edits name ids that the instances do not have: {missing}")
    if taken := rows_naming(rows, fresh & there):
        raise InputError(
            f"the edits give parts that they cut off ids that the instances have already: {taken}"
        )
    largest = max(largest, *fresh, 0)
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
    whose = list(
        zip(
            np.concatenate([labels, divided["a"]]).tolist(),
            np.concatenate([part_ids, piece_ids]).tolist(),
            strict=True,
        )
    )
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
        "blocks": np.array(blocks, np.int64),
        "low": np.array(low, np.int64).reshape(-1, 3),
        "high": np.array(high, np.int64).reshape(-1, 3),
        "near": np.array(near, np.int64),
        "ids": np.unique(np.concatenate([named, part_ids[1:], piece_ids])),
        **edited_classes(made, last, rows, whose),
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


def _moved(rows: list[Row]) -> tuple[Array, Array]:
    """Ids that merge or go, ascending, and what becomes of them."""
    ends = ends_of(rows)[0]
    ids = sorted({i for row in rows if row[0] in ("merge", "delete") for i in row[1:3] if i})
    return np.array(ids, np.uint64), np.array([ends[i] for i in ids], np.uint64)


def _log(records: Records, *, rows: list[Row], changes: Any, said: Any = ()) -> Columns:
    label = np.array([row[1] for row in rows], np.uint64)
    moved = dict(zip(changes["old"].tolist(), changes["new"].tolist(), strict=True))
    parts, count = np.unique(changes["cut"], return_counts=True)
    number = dict(zip(parts.tolist(), count.tolist(), strict=True))

    named = [row[3] if row[0] == "class" else "" for row in rows]

    def into(row: Row) -> int:
        if row[0] in (*IN_TWO, "class"):
            return int(row[1]) if row[0] == "class" else 2
        return int(moved[row[1]] if row[1] in moved else number[row[1]])

    return {
        "row": np.arange(1, len(rows) + 1),
        "action": np.array([row[0] for row in rows]),
        "label": label,
        "other": np.array([row[2] for row in rows], np.uint64),
        "voxels": changes["voxels"][np.searchsorted(changes["named"], label)],
        "into": np.array([into(row) for row in rows], np.uint64),
        **({"class": np.array(named)} if any(named) else {}),
        **{name: np.array([one[i] for one in said]) for i, name in enumerate(SAID) if said},
    }


def _apply(
    block: Block,
    labels: Array,
    pieces: Array | None = None,
    *,
    split: list[int],
    divide: list[int],
    changes: Any,
    steps: Any = (),
    **made: Any,
) -> Result:
    own = labels[block.trim]
    new = changes["new"]
    if made:
        finer = None if pieces is None else pieces[block.trim]
        out = apply_steps(own, block.write.start, (1, 1, 1), with_cuts(steps, made_cuts(made)), finer)
    else:
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
