"""Distances of any length: passes along x, y and z, in blocks of whole lines, as few as fit."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from chunkflow_liver.engine.stage import Map, Readable, Result, Stage
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import Block, BlockGrid, Nm, Zyx, zyx
from chunkflow_liver.kernels.distance.lines import (
    along_axis,
    nothing,
    squares_of_steps,
    squares_type,
    steps_in_rows,
)
from chunkflow_liver.kernels.distance.squares import Unit, smallest_type, whole_unit
from chunkflow_liver.kernels.distance.transform import exact_nm
from chunkflow_liver.ops.steps.place import PathLike, artefact_url
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.store.voxels.region import Known
from chunkflow_liver.xp import Array

AXES = "zyx"
# Images hold whole numbers of at most 32 bits; floats hold these squares just as exactly.
_STORED = {"uint32": "uint32", "uint64": "float64"}


def longest_lines(shape: Zyx, block: Zyx) -> Zyx:
    """Voxels per block of the last stage, for blocks that hold about as many as `block`."""
    return _lines(shape, block, _groups(shape, block)[-1])


def line_stages(
    source: Readable,
    outputs: tuple[Volume, ...],
    number: int | None,
    *,
    name: str,
    work: PathLike,
    block: Zyx,
    known: Known | None = None,
    away: tuple[Volume, ...] | None = None,
) -> tuple[Stage, ...]:
    """Stages that make distances of any length and flags, or those to unknown voxels that flags need.

    Parameters
    ----------
    source : Volume or Unknown
        Classes or instances, or what is unknown.
    outputs : tuple of Volume
        Distances and flags, cut so that `longest_lines` are whole write units.
    number : int, optional
        Of the class that distances are measured to; every label that is not 0 by default.
    name : str
        What names of stages begin with, and, after a dot for a slash, those of steps and squares between
        them.
    work : path
        Work folder; steps and squares are kept there.
    block : Zyx
        Blocks hold about as many voxels as one of this shape.
    known : Known, optional
        What flags ask for; all distances are exact without.
    away : tuple of Volume, optional
        Distances to unknown voxels that flags ask for, of `away_stages`; without, `outputs` are distances
        alone.

    Raises
    ------
    ConfigError
        If squares of lengths in the volume are too large.
    """
    like = outputs[0]
    unit = whole_unit(like.voxel_nm)
    try:
        kind = squares_type(like.shape, unit)
    except ConfigError as err:
        raise ConfigError(
            f"distances in {like.shape} voxels: {err}; give a cap_nm, and roi_nm for a mask"
        ) from err
    *kept, last = _groups(like.shape, block)
    stages = list[Stage]()
    operation, _, what = name.partition("/")
    for axes in kept:
        lines = _lines(like.shape, block, axes)
        along = f"{what}along-{AXES[axes[0]]}"
        rows = axes == (2,)
        dtype = smallest_type(2 * like.shape[2]).name if rows else _STORED[kind.name]
        url = artefact_url(work, operation, along)
        stored = replace(like.like(url, dtype=dtype, kind="image", block=lines, levels=1), source=None)
        params: dict[str, Any] = {"label": number} if rows else {"voxel_nm": like.voxel_nm}
        grid, function = BlockGrid(like.box, lines), _steps if rows else _columns
        stages.append(
            Map(f"{operation}/{along}", function, grid, (source,), (stored,), params=params, working=12.0)
        )
        source = stored
    grid = BlockGrid(like.box, _lines(like.shape, block, last))
    params = {"axes": last, "label": number, "voxel_nm": like.voxel_nm}
    params |= {} if away is None else {"known": known}
    working = 12.0 + 2.0 * kind.itemsize + 6.0 * len(away or ())
    stages.append(
        Map(
            f"{operation}/{what}distance",
            _lengths if away is None else _flagged,
            grid,
            (source, *(away or ())),
            outputs,
            params=params,
            working=working,
        )
    )
    return tuple(stages)


def _groups(shape: Zyx, block: Zyx) -> list[tuple[int, ...]]:
    """Axes that are gone along together: as many as blocks of the size of `block` hold whole lines of."""
    most = math.prod(min(b, n) for b, n in zip(block, shape, strict=True))
    fewer: list[list[tuple[int, ...]]] = [[(2, 1, 0)], [(2,), (1, 0)]]
    for groups in fewer:
        if all(math.prod(_lines(shape, block, axes)) <= most for axes in groups):
            return groups
    return [(2,), (1,), (0,)]


def _lines(shape: Zyx, block: Zyx, axes: tuple[int, ...]) -> Zyx:
    """Block of whole lines along `axes` with about as many voxels as `block`."""
    sides = [min(b, n) for b, n in zip(block, shape, strict=True)]
    most = math.prod(sides)
    for axis in axes:
        sides[axis] = shape[axis]
    others = [a for a in range(3) if a not in axes]
    while others and math.prod(sides) > most:
        widest = max(others, key=lambda a: sides[a])
        if sides[widest] % 2 or sides[widest] <= 16:
            break
        sides[widest] //= 2
    return zyx(sides)


def _steps(block: Block, labels: Array, *, label: int | None) -> Result:
    return Result((steps_in_rows(labels != 0 if label is None else labels == label),))


def _columns(block: Block, steps: Array, *, voxel_nm: Nm) -> Result:
    squares = _along_columns(steps, block, whole_unit(voxel_nm))
    return Result((squares.astype(_STORED[squares.dtype.name], copy=False),))


def _along_columns(steps: Array, block: Block, unit: Unit) -> Array:
    """Squares along x and y, from the steps along x."""
    squares = squares_of_steps(steps, unit.voxel[2], squares_type(block.volume.shape, unit))
    return along_axis(squares, 1, unit.voxel[1])


def _distances(
    block: Block, found: Array, axes: tuple[int, ...], label: int | None, voxel_nm: Nm
) -> np.ndarray[Any, Any]:
    """Distances in nm, from what the passes before have left."""
    unit = whole_unit(voxel_nm)
    if 2 in axes:
        found = steps_in_rows(found != 0 if label is None else found == label)
    if 1 in axes:
        found = _along_columns(found, block, unit)
    kind = squares_type(block.volume.shape, unit)
    squares = along_axis(found.astype(kind, copy=False), 0, unit.voxel[0])
    distance = np.empty(squares.shape, np.float32)
    for plane, lengths in zip(squares, distance, strict=True):
        lengths[:] = unit.length_nm(plane)
        lengths[plane == nothing(plane.dtype)] = np.inf
    return distance


def _lengths(block: Block, found: Array, *, axes: tuple[int, ...], label: int | None, voxel_nm: Nm) -> Result:
    return Result((_distances(block, found, axes, label, voxel_nm),))


def _flagged(
    block: Block,
    found: Array,
    *away: Array,
    axes: tuple[int, ...],
    label: int | None,
    voxel_nm: Nm,
    known: Known | None,
) -> Result:
    distance = _distances(block, found, axes, label, voxel_nm)
    flags = np.isfinite(distance)
    if known is not None:
        flags = exact_nm(distance, block.write, known.box, voxel_nm, np.inf, away)
    return Result((distance, flags.view(np.uint8)))
