"""Where a person should paint next: boxes where a model is unsure, results differ, and nothing is painted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.engine.stage import Fold, Map, Readable, Result, Stage
from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.geometry import Block, BlockGrid, Box, Nm, Zyx, zyx
from chunkflow_liver.kernels.images.box_choice import most_apart, side_by_side
from chunkflow_liver.kernels.images.box_sums import Lattice
from chunkflow_liver.ops.steps.far.unknown import unknown_of
from chunkflow_liver.ops.steps.operation import operation
from chunkflow_liver.ops.steps.place import (
    PathLike,
    arrays_at,
    known_in_all,
    label_url,
    table_at,
    work_folder,
)
from chunkflow_liver.ops.suggest.choosing import choose, rows_of
from chunkflow_liver.ops.suggest.evidence import Evidence
from chunkflow_liver.ops.suggest.looking import look
from chunkflow_liver.ops.suggest.painted import painted_parts
from chunkflow_liver.ops.suggest.sheets import Sheets
from chunkflow_liver.store.table import Arrays
from chunkflow_liver.store.volume import Volume

__all__ = ["Evidence", "suggest"]

CRITERIA = ("uncertainty", "disagreement", "seams", "distance")
BOX = (8, 192, 192)
"""Voxels of a box if nothing is said: what a network with a window of this kind sees, painted in minutes."""


@operation
def suggest(
    evidence: Evidence | PathLike,
    *,
    boxes: int = 10,
    box_nm: Sequence[float] | None = None,
    apart_nm: float | None = None,
    weights: Mapping[str, float] | None = None,
    name: str,
    work: PathLike,
    block: Zyx | None = None,
) -> Plan:
    """Plan boxes in which painting helps most, and empty labels that are painted there.

    Parameters
    ----------
    evidence : Evidence or path
        What speaks for a place; of the work folder of a run, all that it has.
    boxes : int
        How many.
    box_nm : sequence of float, optional
        Size of a box along (z, y, x), in nm, rounded to voxels; 8 x 192 x 192 voxels if not given, or what
        there is.
    apart_nm : float, optional
        Least distance of the centres of two boxes; half the spacing of as many in a regular grid if not
        given. Boxes never overlap; at 0 they lie in a grid, side by side.
    weights : mapping of str to float, optional
        How much each criterion counts: 'uncertainty', 'disagreement', 'seams', 'distance'; 1 if not given.
    name : str
        Name of the table and of the label image.
    {work}
    {block}

    Returns
    -------
    Plan
        Its `output` is a `Table`, the best box first: `rank, score`, the box in voxels (half-open) and in
        nm, each criterion, and `why` in words. The same rows are `tables/<name>.tsv`, and
        `<name>.yaml` is the entry of a training file. The label image holds 0 in the boxes, and
        elsewhere 255 (65535 where a class has that number), which `ignore` states there.

    Raises
    ------
    ConfigError
        If boxes do not fit, or weights make no sense.
    InputError
        If nothing speaks for any place, or images cannot be used.

    Notes
    -----
    Boxes lie half a box apart. Of each, the criteria are the mean uncertainty; the share of pairs of results
    that differ in a voxel (classes; of instances, foreground and the faces between objects); 1 minus the
    lowest score of a seam whose worst place it holds; the distance to what is painted. They are combined by
    the weighted mean of ranks (`mean_rank`), and chosen greedily, the least distance apart (`spread_out`). A
    box of which a quarter is painted is not suggested; one of which a mask leaves out a voxel is none at all.
    One pass over the images; beside it, memory of some 40 bytes per box and criterion. The label image has
    one level: what is painted would be missing in coarser ones.
    """
    given = evidence if isinstance(evidence, Evidence) else Evidence.of_run(evidence)
    given = given.checked()
    frame = given.frame()
    seen_in = known_in_all(frame, *given.images)
    known = seen_in.box
    if not isinstance(boxes, int) or isinstance(boxes, bool) or boxes < 1:
        raise ConfigError(f"boxes is a whole number from 1 on, got {boxes!r}")
    lattice = Lattice.of(known, _side(box_nm, frame, known))
    limit = _limit(lattice, frame.voxel_nm, boxes, apart_nm)
    painted, masks, sources = painted_parts(given.painted, given.raw.url, frame)
    joined = given.joined(work)
    there = {
        "uncertainty": bool(given.uncertainty or given.scores),
        "disagreement": bool(given.compared),
        "seams": bool(joined),
        "distance": bool(painted or masks),
    }
    criteria = _weights(weights, [key for key in CRITERIA if there[key]], given)
    classes = tuple((c, n) for c, n in (given.labels[0].classes if given.labels else ()) if n)
    wide = max((n for _, n in classes), default=0) >= np.iinfo(np.uint8).max
    ignore = int(np.iinfo(np.uint16 if wide else np.uint8).max)
    labels = replace(
        frame.like(
            label_url(work, name),
            dtype="uint16" if wide else "uint8",
            kind="label",
            block=block,
            classes=classes,
            levels=1,
        ),
        region=None,
        mask=None,
        source=given.raw.url,
    )
    halo = (1, 1, 1) if given.compared and not given.compared[0].classes else (0, 0, 0)
    hidden = unknown_of(seen_in, frame.shape)
    inputs: tuple[Readable, ...] = (*given.images, *(volume for volume, _ in masks), *hidden)
    numbers = {
        c: i for i, c in enumerate(dict.fromkeys(c for v in given.compared for c, n in v.classes if n), 1)
    }
    seen: dict[str, Any] = {
        "lattice": lattice,
        "uncertain": len(given.uncertainty),
        "scored": len(given.scores),
        "classes": [[(n, numbers[c]) for c, n in v.classes if n] for v in given.compared],
        "ignore": [number for _, number in masks],
        "hidden": len(hidden),
    }
    decide: dict[str, Any] = {
        "lattice": lattice,
        "voxel_nm": frame.voxel_nm,
        "maps": len(given.uncertainty) + len(given.scores),
        "compared": len(given.compared),
        "painted": painted,
        "criteria": criteria,
        "boxes": boxes,
        "apart_nm": limit,
    }
    chosen, output = arrays_at(work, name, "boxes"), table_at(work, name)
    sheets = Sheets(str(work_folder(work) / f"{name}.yaml"), given.raw, labels, ignore)
    about = {"operation": "suggest", "weights": criteria, "apart_nm": limit}
    scan = f"{name}/look"
    # Without images, what is known of places is known of all at once.
    cut = (block or zyx(list((*given.images, frame)[0].write_unit))) if inputs else frame.shape
    grid = BlockGrid(frame.box, cut, high=halo)
    made: dict[str, Any] = {"params": {"criteria": list(criteria)}, "artefacts": {"chosen": chosen}}
    notes = _notes(lattice, frame.voxel_nm, limit, given, sources)
    stages: tuple[Stage, ...] = (
        Map(
            scan,
            look,
            grid,
            inputs,
            params=seen,
            working=30.0 + 2 * len(given.compared) if inputs else 0.0,
            notes=notes,
        ),
        Fold(f"{name}/choose", choose, scan, chosen, params=decide, artefacts=joined),
        Fold(f"{name}/table", rows_of, scan, output, provenance=about, **made),
        # Before the labels are made: it refuses to empty what someone has painted.
        Fold(f"{name}/sheets", rows_of, scan, sheets, **made),
        Map(
            f"{name}/labels",
            _labels,
            BlockGrid(labels.box, block or labels.write_unit),
            (),
            (labels,),
            params={"ignore": ignore},
            artefacts={"chosen": chosen},
        ),
    )
    shown = {"labels": name, "image": given.raw.name, "box_nm": _nm(lattice.side, frame.voxel_nm)}
    products = (
        Product("raw", given.raw.name, given.raw),
        Product("suggestions", name, output, tuple(shown.items())),
        Product("empty labels", name, labels, (("ignore", ignore),)),
    )
    return Plan(stages, work_folder(work), output, products)


def _side(box_nm: Sequence[float] | None, frame: Volume, known: Box) -> Zyx:
    """Size of a box in voxels."""
    if box_nm is None:
        return zyx([min(n, most) for n, most in zip(BOX, known.shape, strict=True)])
    if len(box_nm) != 3 or not all(math.isfinite(n) and n > 0 for n in box_nm):
        raise ConfigError(f"box_nm is three sizes above 0 (z, y, x), got {tuple(box_nm)}")
    side = zyx([max(1, round(n / v)) for n, v in zip(box_nm, frame.voxel_nm, strict=True)])
    if any(n > most for n, most in zip(side, known.shape, strict=True)):
        raise ConfigError(
            f"boxes of {tuple(box_nm)} nm (z, y, x) are larger than what there is, "
            f"{_nm(known.shape, frame.voxel_nm)} nm; ask for a smaller box_nm"
        )
    return side


def _nm(sides: Zyx, voxel_nm: Nm) -> tuple[float, ...]:
    return tuple(round(n * v, 6) for n, v in zip(sides, voxel_nm, strict=True))


def _limit(lattice: Lattice, voxel_nm: Nm, boxes: int, apart_nm: float | None) -> float:
    """Least distance of two centres that leaves room for all boxes, whichever are chosen first."""
    most = most_apart(lattice, voxel_nm, boxes)
    if most < 0:
        fit = int(side_by_side(lattice).sum())
        raise ConfigError(
            f"{boxes} boxes of {lattice.side} voxels do not fit into {lattice.known.shape}: there is room "
            f"for {fit}; ask for fewer, or for a smaller box_nm"
        )
    if apart_nm is None:
        return most if math.isfinite(most) else 0.0
    if not (math.isfinite(apart_nm) and apart_nm >= 0):
        raise ConfigError(f"apart_nm is a length of 0 or more, got {apart_nm!r}")
    if apart_nm > most:
        raise ConfigError(
            f"{boxes} boxes may not find room {apart_nm:g} nm apart: at most {most:g} nm leave room for all, "
            "whichever are chosen first; ask for fewer boxes or a smaller apart_nm"
        )
    return float(apart_nm)


def _weights(weights: Mapping[str, float] | None, there: Sequence[str], given: Evidence) -> dict[str, float]:
    """Weight of every criterion that counts."""
    if not there:
        raise InputError(
            f"nothing tells one place of {given.raw.name!r} from another: segment with 'uncertainty: "
            "entropy' (or 'scores'), give a second label image to compare, or the sources of the training"
        )
    asked = dict(weights or {})
    odd = [key for key in asked if key not in there]
    if odd:
        raise ConfigError(
            f"weights name {odd[0]!r}, of which nothing is known here; what counts is {list(there)}"
        )
    bad = [v for v in asked.values() if not (isinstance(v, int | float) and math.isfinite(v) and v >= 0)]
    found = {key: float(asked.get(key, 1.0)) for key in there} if not bad else {}
    if bad or not any(found.values()):
        raise ConfigError(f"weights are numbers of 0 or more, not all 0; got {asked}")
    return {key: value for key, value in found.items() if value}


def _notes(lattice: Lattice, voxel_nm: Nm, apart_nm: float, given: Evidence, sources: int) -> tuple[str, ...]:
    """What is chosen from, and sources that say nothing of this image."""
    counts = math.prod(lattice.counts)
    text = (
        f"{counts} boxes of {'x'.join(map(str, lattice.side))} voxels "
        f"({'x'.join(f'{n:g}' for n in _nm(lattice.side, voxel_nm))} nm), half a box apart; centres of "
        f"chosen ones at least {apart_nm:g} nm apart"
    )
    if given.painted and not sources:
        return (text, f"no source of the training is of {given.raw.name}, so all places are equally far")
    return (text,)


def _labels(block: Block, *, ignore: int, chosen: Arrays) -> Result:
    """Empty labels: 0 in the boxes, `ignore` elsewhere."""
    found = np.full(block.write.shape, ignore, np.min_scalar_type(ignore))
    for row in zip(*(chosen[f"{a}_{end}"] for end in ("start", "stop") for a in "zyx"), strict=True):
        part = Box(zyx(list(row[:3])), zyx(list(row[3:]))).clip(block.write)
        if part.size:
            found[part.relative_to(block.write).slices] = 0
    return Result((found,))
