"""An evaluation file becomes one plan: networks, objects, comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from operator import add
from typing import Any

from chunkflow_liver.config.evaluation_file import EvaluationFile, Found, Truth
from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.ops.evaluate import evaluate
from chunkflow_liver.ops.label import label
from chunkflow_liver.ops.segment import segment
from chunkflow_liver.ops.steps.place import work_folder
from chunkflow_liver.store.images import open_volume
from chunkflow_liver.store.volume import Volume


def plan_evaluation(given: EvaluationFile) -> Plan:
    """The plan of an evaluation file; reads metadata only.

    Raises
    ------
    ChunkflowLiverError
        Whatever cannot work is refused here, before anything is written.
    """
    plans = []
    for i, truth in enumerate(given.truth):
        labels = open_volume(truth.labels, level=truth.level)
        raw = None if truth.image is None else _on(labels, truth.image)
        if raw is not None:
            plans.append(Plan((), work_folder(given.work), raw, (Product("raw", truth.name, raw),)))
        at: dict[str, Any] = {"work": given.work, "into": work_folder(given.work) / f"{truth.name}.ome.zarr"}
        for found in given.found:
            plans += _compared(given, truth, found, (labels, raw), i, at)
    return reduce(add, plans)


def _compared(
    given: EvaluationFile,
    truth: Truth,
    entry: Found,
    images: tuple[Volume, Volume | None],
    index: int,
    at: dict[str, Any],
) -> list[Plan]:
    """What compares one result with one truth."""
    labels, raw = images
    name = entry.name if len(given.truth) == 1 else f"{entry.name}-{truth.name}"
    plans: list[Plan] = []
    if entry.segment is None:
        assert entry.labels is not None
        found = _on(labels, entry.labels[index])
    else:
        assert raw is not None
        if entry.segment.roi_nm is not None or entry.segment.mask is not None:
            raise ConfigError(f"{entry.name!r}: all of an image is segmented; leave 'roi_nm' and 'mask' out")
        options = entry.segment.model_dump(exclude={"name", "segmenter", "roi_nm", "mask"})
        plans.append(segment(raw, entry.segment.segmenter, name=name, **at, **options))
        found = plans[-1].output
    shared: dict[str, Any] = {
        "per_slice": given.per_slice,
        "raw": raw,
        "ignore": truth.ignore,
        "slices": truth.slices,
        "work": given.work,
        "block": given.block,
    }
    if given.iou is None or given.objects_of is not None:
        kinds: dict[str, Any] = {"classes": given.classes, "surfaces_nm": given.surfaces_nm}
        mine, there = replace(found, called=entry.name), replace(labels, called=truth.name)
        plans.append(evaluate(mine, there, name=name, **kinds, **shared))
    if given.iou is None:
        return plans
    if given.objects_of is not None:
        sides = []
        for side, of in ((found, name), (labels, truth.name)):
            known = _named(side, given.classes)
            plans.append(
                label(
                    known,
                    classes=[given.objects_of],
                    connectivity=given.connectivity,
                    name=f"{of}-objects",
                    **at,
                )
            )
            sides.append(plans[-1].output)
        found, labels = sides
    found, labels = replace(found, called=entry.name), replace(labels, called=truth.name)
    plans.append(evaluate(found, labels, iou=given.iou, name=f"{name}-instances", **shared))
    return plans


def _on(labels: Volume, path: str) -> Volume:
    """The level of an image with the voxels of the truth; its finest where none has them."""
    first = open_volume(path)
    levels = (first, *(open_volume(path, level=n) for n in range(1, first.levels)))
    return next((v for v in levels if v.shape == labels.shape), first)


def _named(volume: Volume, classes: Mapping[str, int] | None) -> Volume:
    """A volume that states no classes, with those of the file."""
    if not classes or any(n for _, n in volume.classes):
        return volume
    return replace(volume, kind="label", classes=tuple(classes.items()))
