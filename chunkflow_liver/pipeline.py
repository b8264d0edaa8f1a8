"""A run file becomes one plan: the only place where operations are strung together."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import reduce
from operator import add
from typing import Any

from chunkflow_liver.config import RunFile
from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.kernels.clean import Shapes
from chunkflow_liver.kernels.narrowing import Neck
from chunkflow_liver.kernels.windows import Near
from chunkflow_liver.ops.contacts import contacts
from chunkflow_liver.ops.distance import DistanceOptions, distance
from chunkflow_liver.ops.evaluate import evaluate
from chunkflow_liver.ops.label import label
from chunkflow_liver.ops.link import link
from chunkflow_liver.ops.measure import measure
from chunkflow_liver.ops.narrowing import narrowing
from chunkflow_liver.ops.place import work_folder
from chunkflow_liver.ops.profiles import profiles
from chunkflow_liver.ops.refine import Keep, refine
from chunkflow_liver.ops.segment import segment
from chunkflow_liver.ops.split import split
from chunkflow_liver.store.images import open_volume
from chunkflow_liver.store.volume import Volume

SAME_VOXEL = 0.01
"""Voxel sizes that differ by a larger share are not those of one image."""


def plan_run(run_file: RunFile) -> Plan:
    """The plan of a run file; reads metadata only.

    Raises
    ------
    ChunkflowLiverError
        Whatever cannot work is refused here, before anything is written.
    """
    raw = open_volume(**run_file.input.model_dump())
    at: dict[str, Any] = {"work": run_file.work, "block": run_file.block}
    into = raw.url if run_file.into_source else None
    if into is not None and raw.level != 0:
        raise ConfigError(
            f"into_source needs level 0, because labels have the levels of their image; got {raw.level}"
        )
    plans, semantic = _semantic(run_file, raw, into)
    opened = [raw] if run_file.segment else [raw, semantic]
    volumes = {semantic.name: semantic}
    for entry in run_file.label:
        plans.append(label(semantic, into=into, **entry.model_dump(), **at))
        volumes[entry.name] = plans[-1].output
    for cut in run_file.split:
        plans.append(split(semantic, into=into, **cut.model_dump(), **at))
        volumes[cut.name] = plans[-1].output
    for linked in run_file.link:
        slices = _on_voxels(linked.slices, linked.level, raw, linked.name)
        opened.append(slices)
        plans.append(link(slices, into=into, **linked.model_dump(exclude={"slices", "level"}), **at))
        volumes[linked.name] = plans[-1].output
    for wish in run_file.refine:
        shapes = Shapes(**wish.model_dump(include={f.name for f in fields(Shapes)}))
        keep = Keep(**wish.model_dump(include={f.name for f in fields(Keep)}, exclude_none=True))
        source = volumes[wish.instances]
        plans.append(refine(source, shapes=shapes, keep=keep, into=into, name=wish.name, **at))
        volumes[wish.name] = plans[-1].output
    for distance_entry in run_file.distance:
        source = semantic if distance_entry.instances is None else volumes[distance_entry.instances]
        kinds = distance_entry.model_dump(exclude={"name", "to", "instances", "cap_nm"})
        asked = distance_entry.model_dump(include={"name", "to", "cap_nm"})
        plans.append(distance(source, into=into, options=DistanceOptions(**kinds), **asked, **at))
    for contact in run_file.contacts:
        other = semantic if contact.other is None else volumes[contact.other]
        own = semantic if contact.instances is None else volumes[contact.instances]
        options = contact.model_dump(exclude={"instances", "other"})
        plans.append(contacts(own, other, **options, **at))
    for profile in run_file.profiles:
        parents = None if profile.parents is None else volumes[profile.parents]
        options = profile.model_dump(exclude={"instances", "parents"})
        plans.append(profiles(volumes[profile.instances], semantic, parents=parents, **options, **at))
    for table in run_file.measure:
        parents = None if table.parents is None else volumes[table.parents]
        options = table.model_dump(exclude={"instances", "parents"})
        plans.append(measure(volumes[table.instances], raw=raw, parents=parents, **options, **at))
    for narrow in run_file.narrowing:
        near = Near(**narrow.model_dump(include={f.name for f in fields(Near)}, exclude_none=True))
        neck = Neck(**narrow.model_dump(include={f.name for f in fields(Neck)}))
        plans.append(
            narrowing(
                volumes[narrow.instances],
                er=None if narrow.to is None else semantic,
                near=near,
                axis=narrow.axis,
                neck=neck,
                parents=None if narrow.parents is None else volumes[narrow.parents],
                name=narrow.name,
                **at,
            )
        )
    for check in run_file.evaluate:
        if check.found not in volumes:
            raise ConfigError(f"{check.name!r} compares {check.found!r}; this run makes {sorted(volumes)}")
        truth = open_volume(check.truth, level=raw.level)
        opened.append(truth)
        plans.append(evaluate(volumes[check.found], truth, iou=check.iou, name=check.name, **at))
    made = reduce(add, plans)
    if not made.stages:
        raise ConfigError(
            "nothing to do: the run file has neither segment, label, split, link, distance, contacts "
            "nor evaluate"
        )
    _check_outputs(made, opened)
    return made


def _check_outputs(plan: Plan, opened: list[Volume]) -> None:
    """Refuse a run that would write over an image of the run file, read by a stage or not."""
    lost = {v.url for v in opened} & {o.url for stage in plan.maps for o in stage.outputs}
    if lost:
        raise ConfigError(f"the run would write its own result over {min(lost)}, which it reads; rename it")


def _semantic(run_file: RunFile, raw: Volume, into: str | None) -> tuple[list[Plan], Volume]:
    """The semantic volume: planned by a network, or one that exists."""
    if run_file.segment is not None:
        given = run_file.segment
        options = given.model_dump(exclude={"segmenter", "block", "roi_nm", "mask"})
        within = given.roi_nm if given.mask is None else open_volume(given.mask)
        block = given.block or run_file.block
        at: dict[str, Any] = {"work": run_file.work, "block": block, "into": into, "within": within}
        plan = segment(raw, given.segmenter, **at, **options)
        return [plan], plan.output
    there = run_file.semantic
    if there is None:
        raise ConfigError("give either 'segment' or 'semantic'")
    found = _on_voxels(there.path, there.level, raw, "semantic", there.missing_chunks)
    classes = tuple((there.classes or dict(found.classes)).items())
    semantic = replace(found, kind="label", classes=classes, source=raw.url)
    about = (("classes", classes),)
    products = (Product("raw", raw.name, raw), Product("semantic", semantic.name, semantic, about))
    return [Plan((), work_folder(run_file.work), semantic, products)], semantic


def _on_voxels(path: str, level: int | None, raw: Volume, what: str, missing_chunks: str = "error") -> Volume:
    """A label image whose voxels are those of the image; `what` needs it."""
    level = raw.level if level is None else level
    found = open_volume(path, level=level, missing_chunks=missing_chunks)
    if found.shape != raw.shape or any(
        abs(a - b) > SAME_VOXEL * b for a, b in zip(found.voxel_nm, raw.voxel_nm, strict=True)
    ):
        raise ConfigError(
            f"{found.url} level {level} has {found.shape} voxels of {found.voxel_nm} nm, the image "
            f"{raw.shape} of {raw.voxel_nm} nm: choose the level of {what!r} that matches, or mend "
            "its scale"
        )
    return found
