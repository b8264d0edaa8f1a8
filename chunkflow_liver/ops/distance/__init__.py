"""The distance map: nm from every voxel to a class or to instances, exact, and flagged where it is not.

Up to a cap a block reads a halo of the cap. Without a cap passes along x, y and z, in blocks of whole lines,
hand on steps and exact squared distances.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.engine.pyramid import pyramid
from chunkflow_liver.engine.stage import Map, Result, Stage
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import Block, BlockGrid, Box, Nm, Zyx, voxels
from chunkflow_liver.kernels.distance.squares import nearest_of, smallest_type, whole_unit
from chunkflow_liver.kernels.distance.transform import distance_nm, exact_nm, inside_nm
from chunkflow_liver.ops.steps.far.lines import line_stages, longest_lines
from chunkflow_liver.ops.steps.far.unknown import away_stages
from chunkflow_liver.ops.steps.operation import operation
from chunkflow_liver.ops.steps.place import (
    PathLike,
    checked_labels,
    image_url,
    label_url,
    label_version,
    work_folder,
)
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.store.voxels.region import Known
from chunkflow_liver.xp import Array, checked_device, namespace, on_device

BORDERS = ("unknown", "background", "mirror")
LONGEST_ON_DEVICE = 1024
"""The device's transform takes at most this many voxels along an axis."""
DEVICE_WORKING = 64
"""Bytes of device memory per voxel of a cube of the longest side, which that transform fills up to."""


@dataclass(frozen=True)
class DistanceOptions:
    """What a distance map holds beside the plain distance.

    Attributes
    ----------
    signed : bool
        Negative inside: minus the distance to the nearest voxel outside the class (outside the
        instance, where distances are to instances). There is no 0 then.
    nearest : bool
        Also the label image `<name>-nearest`: the nearest instance, of two equally near the one
        with the smaller id, 0 beyond the cap.
    border : {'unknown', 'background', 'mirror'}
        What lies outside the volume: unknown, so that the flags tell which distances it could
        change; no class and no instance, so that a signed distance inside ends at the volume's end; or
        the volume mirrored at its faces. With the last two all distances are exact.
    quantum_nm : float, optional
        Store whole multiples of this instead of float32: uint16 with 65535 beyond the cap, or, where
        signed, int16 with 32767 and -32767. Stated in the image's metadata.
    """

    signed: bool = False
    nearest: bool = False
    border: str = "unknown"
    quantum_nm: float | None = None

    @property
    def dtype(self) -> str:
        """Type of the distance image."""
        if self.quantum_nm is None:
            return "float32"
        return "int16" if self.signed else "uint16"


PLAIN = DistanceOptions()


@operation
def distance(
    labels: Volume,
    *,
    to: str | int | None = None,
    cap_nm: float | None,
    name: str,
    work: PathLike,
    block: Zyx | None = None,
    into: PathLike | None = None,
    options: DistanceOptions = PLAIN,
    device: str = "cpu",
) -> Plan:
    """Plan the distance of every voxel to class `to`, or to any instance, exact up to `cap_nm` nm.

    Parameters
    ----------
    labels : Volume
        Classes or instance ids.
    to : str or int, optional
        Class name or number that distances are measured to; every label that is not 0 by default.
    cap_nm : float or None
        Largest distance wanted, in nm; it is also the halo of the blocks, so cost grows with it. None
        for all distances, in up to three stages over blocks of whole lines, which keep 2 to 10 bytes per
        voxel in the work folder; in one where a block holds the whole volume.
    name : str
        Name of the distance image; the flags are the label image `<name>-exact`.
    {work}
    {block}
    into : path or URL, optional
        Image group whose `labels` the flags join.
    options : DistanceOptions
        Sign, nearest instance, border and stored type.
    device : str
        'cpu', or 'cuda', 'cuda:1', .. for CuPy arrays and cuCIM's transform, which agree with the host to
        1e-5 of a distance. Needs a cap.

    Returns
    -------
    Plan
        Its `output` is a float32 volume: distance in nm between voxel centres, 0 inside the class,
        infinite beyond the cap. The flags are 1 where nothing outside the volume (or the region that was
        segmented) could make the distance smaller, else 0.

    Raises
    ------
    ConfigError, InputError
        If the cap is not above 0, options do not go together, the class or the device does not exist, a
        block is too long for the device, or the volume holds no labels.
    """
    if cap_nm is not None and not (math.isfinite(cap_nm) and cap_nm > 0):
        raise ConfigError(f"cap_nm must be above 0, got {cap_nm!r}")
    labels = checked_labels(labels, "classes and instances")
    number = None if to is None else labels.class_number(to)
    _check(options, number, cap_nm)
    if checked_device(device) != "cpu" and cap_nm is None:
        raise ConfigError(f"without a cap_nm distances are computed on the CPU; leave out device {device!r}")
    if cap_nm is None:
        block = block or labels.write_unit
        outputs = _outputs(labels, name, work, longest_lines(labels.shape, block), into, options)
        known = labels.seen if options.border == "unknown" else None
        beyond, away = ((), ()) if known is None else away_stages(known, labels, name, work, block)
        stages = line_stages(
            labels, outputs, number, name=f"{name}/", work=work, block=block, known=known, away=away
        )
        return _plan((*beyond, *stages), outputs, (to, None), options, work)
    outputs = _outputs(labels, name, work, block, into, options)
    halo = voxels(cap_nm, labels.voxel_nm)
    grid = BlockGrid(labels.box, block or outputs[0].write_unit, halo, halo)
    params = {
        "label": number,
        "voxel_nm": labels.voxel_nm,
        "cap_nm": float(cap_nm),
        "options": options,
        "known": labels.seen,
        "device": device,
    }
    squares = smallest_type(2 * whole_unit(labels.voxel_nm).squares(cap_nm) + 1)
    stage = Map(
        f"{name}/distance",
        _block,
        grid,
        (labels,),
        outputs,
        params=params,
        working=10.0 + 3 * squares.itemsize + 10 * options.signed + 40 * options.nearest,
        device=device,
        device_bytes=0 if device == "cpu" else _device_bytes(grid, options),
    )
    return _plan((stage,), outputs, (to, cap_nm), options, work)


def _device_bytes(grid: BlockGrid, options: DistanceOptions) -> int:
    """Bytes of device memory that a block takes; refuses blocks that are too long."""
    sides = [
        min(a + b + c, n) for a, b, c, n in zip(grid.low, grid.block, grid.high, grid.box.shape, strict=True)
    ]
    if max(sides) > LONGEST_ON_DEVICE:
        raise ConfigError(
            f"blocks of {grid.block} with a halo of {grid.low} are up to {max(sides)} voxels long, and the "
            f"device's transform takes at most {LONGEST_ON_DEVICE}; take smaller blocks or device 'cpu'"
        )
    working = 14 + 10 * options.signed + 40 * options.nearest
    return math.prod(sides) * working + max(sides) ** 3 * DEVICE_WORKING


def _check(options: DistanceOptions, number: int | None, cap_nm: float | None) -> None:
    """Refuse options that do not go together."""
    if options.border not in BORDERS:
        raise ConfigError(f"border must be one of {BORDERS}, got {options.border!r}")
    if options.nearest and number is not None:
        raise ConfigError("nearest is a question to instances: leave out 'to', or label the class first")
    if cap_nm is None and (options.signed or options.nearest or options.quantum_nm is not None):
        raise ConfigError("signed, nearest and quantum_nm need a cap_nm; without one give none of them")
    if options.quantum_nm is None or cap_nm is None:
        return
    most = np.iinfo(options.dtype).max - 1
    if not options.quantum_nm > 0 or cap_nm / options.quantum_nm > most:
        raise ConfigError(
            f"quantum_nm must be above 0 and leave at most {most} steps up to the cap of {cap_nm} nm, got "
            f"{options.quantum_nm!r}; take at least {cap_nm / most:.3g}"
        )


def _outputs(
    labels: Volume,
    name: str,
    work: PathLike,
    block: Zyx | None,
    into: PathLike | None,
    options: DistanceOptions,
) -> tuple[Volume, ...]:
    """Distances, flags and, on request, nearest ids."""
    # Steps cannot be averaged where one of them means 'beyond the cap'.
    whole = 1 if options.quantum_nm is not None else None
    output = labels.like(image_url(work, name), dtype=options.dtype, kind="image", block=block, levels=whole)
    output = replace(output, source=None, quantum_nm=options.quantum_nm)
    found = [output, _labels_like(labels, f"{name}-exact", "uint8", work, block, into, (("exact", 1),))]
    if options.nearest:
        found.append(_labels_like(labels, f"{name}-nearest", labels.dtype, work, block, into))
    return tuple(found)


def _labels_like(
    labels: Volume,
    name: str,
    dtype: str,
    work: PathLike,
    block: Zyx | None,
    into: PathLike | None,
    classes: tuple[tuple[str, int], ...] = (),
) -> Volume:
    return labels.like(
        label_url(work, name, into),
        dtype=dtype,
        kind="label",
        block=block,
        classes=classes,
        ome_version=label_version(into),
    )


def _plan(
    stages: tuple[Stage, ...],
    outputs: tuple[Volume, ...],
    asked: tuple[str | int | None, float | None],
    options: DistanceOptions,
    work: PathLike,
) -> Plan:
    """Stages with the levels of what they make."""
    for output in outputs:
        stages += pyramid(output, output.name)
    about: dict[str, Any] = {"to": "instances" if asked[0] is None else asked[0]}
    about |= {} if asked[1] is None else {"cap_nm": asked[1]}
    about |= {} if options.quantum_nm is None else {"quantum_nm": options.quantum_nm}
    name = outputs[0].name
    products = (
        Product("distance", name, outputs[0], tuple(about.items())),
        Product("exact", outputs[1].name, outputs[1], (("of", name),)),
        *(Product("instances", o.name, o, (("of", name),)) for o in outputs[2:]),
    )
    return Plan(stages, work_folder(work), outputs[0], products)


def _block(
    block: Block,
    labels: Array,
    *,
    label: int | None,
    voxel_nm: Nm,
    cap_nm: float,
    options: DistanceOptions,
    known: Known,
    device: str,
) -> Result:
    hidden = None if options.border == "background" else known.hidden(block.read)
    labels = on_device(labels, device)
    xp = namespace(labels)
    mask = labels != 0 if label is None else labels == label
    outputs: tuple[Array, ...]
    if options.nearest:
        unit = whole_unit(voxel_nm)
        limit = unit.squares(cap_nm)
        squares, ids = nearest_of(labels, unit, limit, block.trim)
        near = xp.where(squares <= limit, unit.length_nm(squares), np.inf).astype(np.float32)
        outputs = (near, ids)
    else:
        outputs = (distance_nm(mask, voxel_nm, cap_nm, block.trim),)
    if options.signed:
        solid = labels if label is None else mask
        inside = _inside(block, solid, voxel_nm, cap_nm, options.border, known.box, hidden)
        outputs = (xp.where(mask[block.trim], -inside, outputs[0]), *outputs[1:])
    flags = xp.ones(block.write.shape, np.uint8)
    if options.border == "unknown":
        away = []
        if hidden is not None:
            away.append(distance_nm(on_device(hidden, device), voxel_nm, cap_nm, block.trim))
        flags = exact_nm(outputs[0], block.write, known.box, voxel_nm, cap_nm, away).view(np.uint8)
    return Result((_stored(outputs[0], options), flags, *outputs[1:]))


def _inside(
    block: Block,
    solid: Array,
    voxel_nm: Nm,
    cap_nm: float,
    border: str,
    known: Box,
    hidden: Array | None,
) -> Array:
    """Distance to the nearest voxel that is not of the same object; anything where nothing is known."""
    xp = namespace(solid)
    if border == "background":
        ends = [
            (int(r0 == v0), int(r1 == v1))
            for r0, v0, r1, v1 in zip(
                block.read.start, block.volume.start, block.read.stop, block.volume.stop, strict=True
            )
        ]
        z, y, x = (slice(s.start + low, s.stop + low) for s, (low, _) in zip(block.trim, ends, strict=True))
        return _to_others(xp.pad(solid, ends), voxel_nm, cap_nm, (z, y, x), None)
    # Beyond the known is no background that an object ends at.
    seen = block.within(known)
    found = xp.zeros(block.write.shape, np.float32)
    if seen.write.size:
        inner = seen.read.relative_to(block.read).slices
        solid, hidden = solid[inner], None if hidden is None else hidden[inner]
        found[seen.write.relative_to(block.write).slices] = _to_others(
            solid, voxel_nm, cap_nm, seen.trim, hidden
        )
    return found


def _to_others(
    solid: Array, voxel_nm: Nm, cap_nm: float, trim: tuple[slice, slice, slice], hidden: Array | None
) -> Array:
    if solid.dtype == bool:
        others = ~solid if hidden is None else ~solid & ~namespace(solid).asarray(hidden)
        return distance_nm(others, voxel_nm, cap_nm, trim)
    return inside_nm(solid, voxel_nm, cap_nm, trim, hidden)


def _stored(distance: Array, options: DistanceOptions) -> Array:
    """`distance` as it is stored."""
    if options.quantum_nm is None:
        return distance
    xp, most = namespace(distance), np.iinfo(options.dtype).max
    steps = xp.rint(distance / options.quantum_nm)
    return xp.where(xp.isfinite(distance), steps, xp.copysign(most, distance)).astype(options.dtype)
