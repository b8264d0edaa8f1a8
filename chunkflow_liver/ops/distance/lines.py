"""Distances of any length: passes along x, y and z, in blocks of whole lines, as few as fit."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from chunkflow_liver.engine.stage import Map, Result, Stage
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import Block, BlockGrid, Box, Nm, Zyx, zyx
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
from chunkflow_liver.xp import Array

AXES = "zyx"
# Images hold whole numbers of at most 32 bits; floats hold these squares just as exactly.
_STORED = {"uint32": "uint32", "uint64": "float64"}


def longest_lines(shape: Zyx, block: Zyx) -> Zyx:
    """Voxels per block of the last stage, for blocks that hold about as many as `block`."""
    return _lines(shape, block, _groups(shape, block)[-1])


def line_stages(
    labels: Volume,
    outputs: tuple[Volume, ...],
    number: int | None,
    *,
    work: PathLike,
    block: Zyx,
    border: str,
) -> tuple[Stage, ...]:
    """Stages that make distances of any length, and flags.

    Parameters
    ----------
    labels : Volume
        Classes or instances.
    outputs : tuple of Volume
        Distances and flags, cut so that `longest_lines` are whole write units.
    number : int, optional
        Of the class that distances are measured to; every label that is not 0 by default.
    work : path
        Work folder; steps and squares between stages are kept there.
    block : Zyx
        Blocks hold about as many voxels as one of this shape.
    border : str
        As in `DistanceOptions`.

    Raises
    ------
    ConfigError
        If squares of lengths in the volume are too large.
    """
    unit, name = whole_unit(labels.voxel_nm), outputs[0].name
    try:
        kind = squares_type(labels.shape, unit)
    except ConfigError as err:
        raise ConfigError(f"{labels.url}: {err}; give a cap_nm") from err
    *kept, last = _groups(labels.shape, block)
    source, stages = labels, list[Stage]()
    for axes in kept:
        lines = _lines(labels.shape, block, axes)
        along = f"along-{AXES[axes[0]]}"
        rows = axes == (2,)
        dtype = smallest_type(2 * labels.shape[2]).name if rows else _STORED[kind.name]
        stored = labels.like(
            artefact_url(work, name, along), dtype=dtype, kind="image", block=lines, levels=1
        )
        stored = replace(stored, source=None)
        params: dict[str, Any] = {"label": number} if rows else {"voxel_nm": labels.voxel_nm}
        grid, function = BlockGrid(labels.box, lines), _steps if rows else _columns
        stages.append(
            Map(f"{name}/{along}", function, grid, (source,), (stored,), params=params, working=12.0)
        )
        source = stored
    grid = BlockGrid(labels.box, _lines(labels.shape, block, last))
    params = {"axes": last, "label": number, "voxel_nm": labels.voxel_nm}
    params |= {"known": labels.known if border == "unknown" else None}
    working = 12.0 + 2.0 * kind.itemsize
    stages.append(
        Map(f"{name}/distance", _last_lines, grid, (source,), outputs, params=params, working=working)
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


def _last_lines(
    block: Block, found: Array, *, axes: tuple[int, ...], label: int | None, voxel_nm: Nm, known: Box | None
) -> Result:
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
    flags = np.isfinite(distance)
    if known is not None:
        flags = exact_nm(distance, block.write, known, voxel_nm, np.inf)
    return Result((distance, flags.view(np.uint8)))
