"""Objects in two of an edit list, one after the other: flooded from two places, or cleft along pieces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from chunkflow_liver.engine.stage import Fold, Map, Records, Result, Stage
from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.geometry import Block, BlockGrid, Box, Nm, Zyx, zyx
from chunkflow_liver.kernels.instances.edits import Cleft, Cut, Step, apply_steps, two_sides
from chunkflow_liver.ops.edit.cleaving import cleft, looked_at
from chunkflow_liver.ops.edit.lists import IN_TWO, Edit, current, plain_steps, with_cuts
from chunkflow_liver.ops.edit.places import nearest_inside, place_text
from chunkflow_liver.ops.steps.objects import bounding_boxes
from chunkflow_liver.ops.steps.place import PathLike, arrays_at
from chunkflow_liver.store.images import open_volume
from chunkflow_liver.store.table import Arrays, Table
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array

MOST_CUT = 1 << 23
"""Voxels of the largest box that is flooded for a cut: about 500 MiB."""


def cuts_of(
    edits: Sequence[Edit],
    inputs: tuple[Volume, ...],
    table: Table | PathLike | None,
    name: str,
    work: PathLike,
    block: Zyx,
) -> tuple[tuple[Stage, ...], dict[str, Arrays]]:
    """The stages of all objects in two, each after those before it, and what they make by its name.

    `inputs` are the instances, and the pieces if there are any.
    """
    cuts = [edit for edit in edits if edit.action in IN_TWO]
    if not cuts:
        return (), {}
    if table is None:
        raise ConfigError(
            f"a {cuts[0].action!r} needs `table`, the table of the instances with the features 'basic'"
        )
    instances = inputs[0]
    fresh = {edit.other for edit in cuts}
    named = {i for edit in edits for i in (edit.label, edit.other) if i} - fresh
    boxes = bounding_boxes(table, sorted(named))
    steps = plain_steps(edits)
    stages: list[Stage] = []
    made: dict[str, Arrays] = {}
    for number, (edit, box) in enumerate(zip(cuts, boxes_after(edits, boxes)[0], strict=True)):
        before = steps[: steps.index(number)]
        params: dict[str, Any] = {
            "row": list(edit.row),
            "label": _now(before, edit.label),
            "nm": instances.voxel_nm,
        }
        over = f"{name}/{edit.action}-{number + 1}"
        out = arrays_at(work, name, f"{edit.action}-{number + 1}")
        if edit.action == "cleave":
            there = box.coarser(instances.reduction).clip(instances.box)
            grid = BlockGrid(there, block, high=(1, 1, 1))
            look = params | {"steps": before}
            fold = Fold(f"{name}/sides-{number + 1}", _pieces, over, out, params=params)
            stages.append(Map(over, _faces, grid, inputs, params=look, artefacts=dict(made), working=60.0))
        else:
            level, there = cut_level(instances, box)
            look = params | {"steps": before, "nm": level.voxel_nm, "reduction": level.reduction}
            grid, fold = BlockGrid(there, there.shape), Fold(f"{name}/sides-{number + 1}", _sides, over, out)
            seen: tuple[Volume, ...] = (level,)
            if any(e.action == "cleave" for e in cuts[:number]):
                seen = (level, inputs[1] if level is instances else level_like(_levels(inputs[1]), level))
            stages.append(Map(over, _side, grid, seen, params=look, artefacts=dict(made), working=60.0))
        stages.append(fold)
        made[f"cut_{number}"] = out
    return tuple(stages), made


def _now(steps: Sequence[tuple[int, int] | int], label: int) -> int:
    for step in steps:
        if not isinstance(step, int) and step[0] == label:
            label = step[1]
    return label


def _side(
    block: Block,
    labels: Array,
    pieces: Array | None = None,
    *,
    row: list[Any],
    label: int,
    steps: Any,
    nm: Nm,
    reduction: Zyx,
    **made: Any,
) -> Result:
    before = with_cuts(steps, made_cuts(made))
    cut = sides(labels, block.write, nm, reduction, _edit(row), label, before, pieces)
    about = {"label": cut.label, "new": cut.new, "start": cut.start, "reduction": cut.reduction}
    return Result(
        record={k: np.array(v, np.uint64 if k in ("label", "new") else np.int64) for k, v in about.items()}
        | {"shape": np.array(cut.sides.shape, np.int64), "sides": np.packbits(cut.sides)}
    )


def _sides(records: Records) -> dict[str, Array]:
    return next(dict(record) for _, record in records)


def _faces(
    block: Block,
    labels: Array,
    pieces: Array,
    *,
    row: list[Any],
    label: int,
    steps: Any,
    nm: Nm,
    **made: Any,
) -> Result:
    before = with_cuts(steps, made_cuts(made))
    return Result(record=looked_at(block, labels, pieces, nm, _edit(row), label, before))


def _pieces(records: Records, *, row: list[Any], label: int, nm: Nm) -> dict[str, Array]:
    found = cleft((record for _, record in records), nm, _edit(row), label)
    ends = np.array([found.label, found.new], np.uint64)
    return {"label": ends[0], "new": ends[1], "pieces": found.pieces}


def _edit(row: Sequence[Any]) -> Edit:
    action, old, new, *points = row
    return Edit(action, old, new, tuple(points))


def made_cuts(made: dict[str, Any]) -> list[Cut | Cleft]:
    """What was made of the objects in two, in order."""
    found: list[Cut | Cleft] = []
    for number in range(len(made)):
        cut = made[f"cut_{number}"]
        label, new = int(cut["label"]), int(cut["new"])
        if "pieces" in cut.names():
            found.append(Cleft(label, new, np.asarray(cut["pieces"])))
            continue
        shape = zyx(np.asarray(cut["shape"]).tolist())
        bits = np.unpackbits(np.asarray(cut["sides"]), count=int(np.prod(shape))).view(bool).reshape(shape)
        start, reduction = (zyx(np.asarray(cut[k]).tolist()) for k in ("start", "reduction"))
        found.append(Cut(label, new, start, reduction, bits))
    return found


def boxes_after(edits: Sequence[Edit], boxes: Mapping[int, Box]) -> tuple[list[Box], dict[int, Box]]:
    """Of every cut the box in which all of its object lies, and of every object its box after all edits.

    Parameters
    ----------
    edits : sequence of Edit
    boxes : mapping of Box
        Of the objects that the edits name, before them, in voxels of level 0.

    Raises
    ------
    InputError
        If `boxes` lacks an object that is cut.
    """
    known = dict(boxes)
    now: dict[int, int] = {}
    found = []
    for edit in edits:
        here = current(now, edit.label)
        if edit.action == "delete":
            known.pop(here, None)
        if edit.action == "merge" and (there := current(now, edit.other)) != here:
            sides = [known.pop(i) for i in (here, there) if i in known]
            now[max(here, there)] = min(here, there)
            # A box of one alone would not hold the other.
            if len(sides) == 2:
                known[min(here, there)] = sides[0].hull(sides[1])
        if edit.action in IN_TWO:
            if here not in known:
                raise InputError(
                    f"no bounding box of object {here} is known, which a row cuts in two: give the table of "
                    "the instances with the features 'basic'"
                )
            found.append(known[here])
            known[edit.other] = known[here]
    return found, known


def level_like(levels: Iterable[Volume], level: Volume) -> Volume:
    """The level of pieces that has the voxels of a level of instances.

    Raises
    ------
    InputError
        If there is none.
    """
    known = list(levels)
    for found in known:
        if (found.shape, found.reduction) == (level.shape, level.reduction):
            return found
    raise InputError(
        f"{known[0].url} has no level of {level.shape} voxels as {level.url} has; write both with the same "
        "levels"
    )


def cut_level(instances: Volume, box: Box) -> tuple[Volume, Box]:
    """The finest level at which a cut is flooded, and the box there.

    Raises
    ------
    InputError
        If the object is too large at every level.
    """
    for level in _levels(instances):
        there = box.coarser(level.reduction).clip(level.box)
        if there.size <= MOST_CUT:
            return level, there
    raise InputError(
        f"the object in {box} is too large to be cut: at most {MOST_CUT} voxels are flooded at the coarsest "
        "level; make more levels, or divide it by finer pieces"
    )


def _levels(volume: Volume) -> Iterator[Volume]:
    yield volume
    if volume.level == 0:
        yield from (open_volume(volume.url, level=index) for index in range(1, volume.levels))


def sides(
    labels: Array,
    box: Box,
    nm: Nm,
    reduction: Zyx,
    edit: Edit,
    label: int,
    before: Sequence[Step],
    pieces: Array | None = None,
) -> Cut:
    """The cut of an edit, from the labels around its object.

    Parameters
    ----------
    labels : ndarray of the shape of `box`
        As they are stored.
    box : Box
        In voxels of a level.
    nm : tuple of float
        Voxel size of that level along (z, y, x).
    reduction : Zyx
        Voxels of level 0 in one of these.
    edit : Edit
    label : int
        The id of the object after the steps before.
    before : sequence of Step
    pieces : ndarray of the same shape, optional
        For steps along pieces.

    Raises
    ------
    InputError
        If a point is not in the object.
    """
    wide = labels.astype(np.uint64)
    mask = apply_steps(wide, box.start, reduction, before, pieces) == np.uint64(label)
    if not mask.any():
        raise InputError(f"object {label} has no voxels in {box}, where the table has it")
    first, second = (_seed(mask, box, nm, edit.points[k : k + 3], label) for k in (0, 3))
    if first == second:
        raise InputError(f"both points in object {label} are in one voxel of {nm} nm: set them apart")
    return Cut(label, edit.other, box.start, reduction, two_sides(mask, first, second, nm))


def _seed(mask: Array, box: Box, nm: Nm, point: Sequence[float], label: int) -> Zyx:
    found = nearest_inside(mask, box.start, nm, point)
    if found is None:
        raise InputError(f"the point {place_text(point)} is not in object {label}: click on it")
    return zyx([i - a for i, a in zip(found[1], box.start, strict=True)])
