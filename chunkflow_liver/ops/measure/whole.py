"""Columns from whole objects: a block reads the objects it owns, one after the other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from chunkflow_liver.engine.stage import Fold, Map, Record, Records, Result, Stage, plain
from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Block, BlockGrid, Box, Nm, Zyx, zyx
from chunkflow_liver.kernels.features.groups import Crop, Settings
from chunkflow_liver.ops.measure.groups import WHOLE
from chunkflow_liver.ops.steps.crops import centres, owned, owners
from chunkflow_liver.ops.steps.place import PathLike, arrays_at
from chunkflow_liver.store.table import Arrays, Columns
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array

NAMED = 10
"""Objects that an error names."""
BATCH_VOXELS = 1 << 20
"""Voxels of the boxes of objects that are described together."""


def whole_stages(
    inputs: tuple[Volume, ...],
    features: Sequence[str],
    *,
    settings: Settings,
    grid: BlockGrid,
    over: str,
    objects: Arrays,
    name: str,
    work: PathLike,
) -> tuple[tuple[Stage, ...], Arrays]:
    """The stages that describe every object whole, and where their columns are kept.

    Parameters
    ----------
    inputs : tuple of Volume
        Instances and, optionally, the image.
    features : sequence of str
        Keys of `WHOLE`.
    settings : Settings
        `crop_voxels` is the limit.
    grid : BlockGrid
        Blocks, without halo.
    over : str
        A map that has run when `objects` exist.
    objects : Arrays
        The columns of 'basic'.
    name, work
        Of the operation.
    """
    boxes, found = arrays_at(work, name, "boxes"), arrays_at(work, name, "whole")
    params: dict[str, Any] = {"features": list(features), "settings": plain(settings)}
    margins = (group.margin for group in (WHOLE[f] for f in features) if group.margin is not None)
    margin = max([0, *(of(settings) for of in margins)])
    bytes_per_voxel = 1 + sum(i.itemsize for i in inputs) + max(WHOLE[f].working for f in features)
    crop = min(settings.crop_voxels, inputs[0].box.size)
    near = min(math.prod(b + 2 * (b // 4) for b in grid.block), inputs[0].box.size)
    resident = int(crop * bytes_per_voxel + near * sum(i.itemsize for i in inputs))
    resident += max(WHOLE[f].fixed for f in features)
    boxed = {**params, "margin": margin, "shape": inputs[0].shape}
    described = Map(
        f"{name}/whole",
        _describe,
        grid,
        inputs,
        params={**params, "voxel_nm": inputs[0].voxel_nm},
        artefacts={"boxes": boxes},
        per_object="boxes",
        owners=owners,
        resident=resident,
        streams=True,
    )
    return (
        Fold(f"{name}/boxes", _boxes, over, boxes, params=boxed, artefacts={"objects": objects}),
        described,
        Fold(f"{name}/rows", _rows, described.name, found, params=params),
    ), found


def _boxes(
    records: Records,
    *,
    features: Sequence[str],
    settings: Mapping[str, Any],
    margin: int,
    shape: Zyx,
    objects: Arrays,
) -> Columns:
    """Bounding boxes as `owned` wants them; an object above the limit is refused by name."""
    low, high = (np.stack([objects[f"bbox_{a}_{end}"] for a in "zyx"], axis=1) for end in ("min", "max"))
    low, high = np.maximum(low - margin, 0), np.minimum(high + margin, shape)
    size, limit = (high - low).prod(axis=1), settings["crop_voxels"]
    large = np.flatnonzero(size > limit)
    if len(large):
        label = np.asarray(objects["label"])[large]
        named = ", ".join(f"{n} ({s} voxels)" for n, s in zip(label[:NAMED], size[large], strict=False))
        more = f" and {len(large) - NAMED} more" if len(large) > NAMED else ""
        raise InputError(
            f"features {list(features)} need each object whole, but the bounding boxes of {named}{more} have "
            f"more voxels than crop_voxels = {limit}; raise it in the settings where there is memory, or "
            "leave these features out: all others have no limit"
        )
    plane = centres(low, high)[:, 0]
    order = np.argsort(plane, kind="stable")
    columns = {"plane": plane, "label": np.asarray(objects["label"]), "low": low, "high": high}
    return {name: column[order] for name, column in columns.items()}


def _describe(
    block: Block,
    instances: Volume,
    raw: Volume | None = None,
    *,
    features: Sequence[str],
    settings: Mapping[str, Any],
    voxel_nm: Nm,
    boxes: Arrays,
) -> Iterator[Result]:
    options = Settings.of(settings)
    found: dict[str, list[Array]] = {}
    for crops in _batches(_crops(block, instances, raw, list(owned(block, boxes)), (voxel_nm, options))):
        rows = {"label": np.array([crop.label for crop in crops], np.uint64)}
        for feature in features:
            rows |= WHOLE[feature].rows(crops)
        for column, values in rows.items():
            found.setdefault(column, []).append(values)
    if found:
        yield Result(record={column: np.concatenate(parts) for column, parts in found.items()})


def _batches(crops: Iterator[Crop]) -> Iterator[list[Crop]]:
    """The same crops, several small ones at a time."""
    batch: list[Crop] = []
    voxels = 0
    for crop in crops:
        if batch and voxels + crop.box.size > BATCH_VOXELS:
            yield batch
            batch, voxels = [], 0
        batch.append(crop)
        voxels += crop.box.size
    if batch:
        yield batch


def _crops(
    block: Block,
    instances: Volume,
    raw: Volume | None,
    objects: list[tuple[int, Box]],
    given: tuple[Nm, Settings],
) -> Iterator[Crop]:
    """The objects of a block; those that hardly leave it are cut from one array, so chunks are read once."""
    quarter: Zyx = zyx([n // 4 for n in block.write.shape])
    around = block.write.grow(quarter)
    inside = [around.contains(box) for _, box in objects]
    if any(inside):
        boxes = [box for (_, box), here in zip(objects, inside, strict=True) if here]
        near = Box(
            zyx(np.min([b.start for b in boxes], axis=0).tolist()),
            zyx(np.max([b.stop for b in boxes], axis=0).tolist()),
        )
        labels, image = instances.read(near), None if raw is None else raw.read(near)
        for label, box in itertools.compress(objects, inside):
            part = box.relative_to(near).slices
            yield Crop(label, box, labels[part] == label, None if image is None else image[part], *given)
        del labels, image
    for (label, box), here in zip(objects, inside, strict=True):
        if not here:
            mask: Array = instances.read(box) == label
            yield Crop(label, box, mask, None if raw is None else raw.read(box), *given)


def _rows(records: Records, *, features: Sequence[str], settings: Mapping[str, Any]) -> Columns:
    """The rows of all blocks, sorted by label."""
    kinds = {"label": "uint64"}
    for feature in features:
        kinds |= WHOLE[feature].kinds(Settings.of(settings))
    parts: list[Record] = [record for _, record in records if record]
    columns = {c: np.concatenate([np.zeros(0, kind), *(p[c] for p in parts)]) for c, kind in kinds.items()}
    order = np.argsort(columns["label"], kind="stable")
    return {**{c: values[order] for c, values in columns.items()}, "columns": np.array(list(kinds))}
