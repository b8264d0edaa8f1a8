"""A run file becomes one plan: the only place where operations are strung together."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from functools import reduce
from operator import add
from typing import Any

from chunkflow_liver.anatomy import PLANNERS as OF_ANATOMY
from chunkflow_liver.config import INSTANCES, LISTS, RunFile, read_training_file
from chunkflow_liver.config.images import Existing
from chunkflow_liver.config.lobule import Geodesic
from chunkflow_liver.config.sections import (
    Contacts,
    Distance,
    Edit,
    Label,
    Link,
    Measure,
    Narrowing,
    Placement,
    Profiles,
    Propagate,
    Refine,
    Split,
    Stitch,
)
from chunkflow_liver.config.studies import Calibrate, Compare, Evaluate, Population, Suggest
from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.kernels.centreline.necks import Neck
from chunkflow_liver.kernels.centreline.windows import Near
from chunkflow_liver.kernels.contacts.placements import Chance
from chunkflow_liver.kernels.instances.smoothing import Shapes
from chunkflow_liver.kernels.populations.forms import Forms
from chunkflow_liver.kernels.significance.boundaries import Boundary
from chunkflow_liver.ops.calibrate import calibrate
from chunkflow_liver.ops.compare import Sample, compare
from chunkflow_liver.ops.contacts import contacts
from chunkflow_liver.ops.distance import DistanceOptions, distance
from chunkflow_liver.ops.edit import edit
from chunkflow_liver.ops.evaluate import evaluate
from chunkflow_liver.ops.label import label
from chunkflow_liver.ops.link import link
from chunkflow_liver.ops.measure import measure
from chunkflow_liver.ops.narrowing import narrowing
from chunkflow_liver.ops.placement import placement
from chunkflow_liver.ops.population import population
from chunkflow_liver.ops.population.options import Search, Select
from chunkflow_liver.ops.profiles import profiles
from chunkflow_liver.ops.propagate import propagate
from chunkflow_liver.ops.refine import refine
from chunkflow_liver.ops.refine.choosing import Keep
from chunkflow_liver.ops.segment import segment
from chunkflow_liver.ops.segment.models import check_models
from chunkflow_liver.ops.split import split
from chunkflow_liver.ops.steps.place import table_at, work_folder
from chunkflow_liver.ops.stitch import stitch
from chunkflow_liver.ops.suggest import Evidence, suggest
from chunkflow_liver.planning import Made, Problems, as_image, as_labels, options_of
from chunkflow_liver.store.images import open_volume
from chunkflow_liver.store.location import refuse_work_inside
from chunkflow_liver.store.volume import Volume

_BOUNDARY = {f.name for f in fields(Boundary)}


def plan_run(run_file: RunFile) -> Plan:
    """The plan of a run file; reads metadata only.

    Raises
    ------
    ChunkflowLiverError
        Whatever cannot work is refused here, before anything is written; a ConfigError with `problems`
        if there are several.
    """
    found = Problems(run_file)
    plans, made = _begin(run_file, found)
    made.products += [product for plan in plans for product in plan.products]
    for place, entry in run_file.entries():
        with found.at(*place):
            made.check_class(entry)
            plan = PLANNERS[str(place[0])](entry, made.for_entry(entry))
            plans.append(plan)
            made.products += plan.products
            if entry.makes_instances:
                made.volumes[entry.name] = plan.output
            if isinstance(entry, Distance | Geodesic):
                made.maps[entry.name] = plan.output
    found.tell()
    with found.at():
        plan = reduce(add, plans, Plan((), work_folder(run_file.work), None))
        if not plan.stages:
            raise ConfigError(f"nothing to do: the run file has neither segment nor {', '.join(LISTS[1:])}")
        _check_outputs(plan, made.opened)
    found.tell()
    return plan


def _begin(run_file: RunFile, found: Problems) -> tuple[list[Plan], Made]:
    """The image and its classes, which other entries need."""
    made = Made(run_file)
    plans: list[Plan] = []
    with found.at("input"):
        if run_file.input is not None:
            made.images["raw"] = as_image(open_volume(**run_file.input.model_dump()))
            made.opened.append(made.raw)
        if run_file.segment is None and (seen := made.intensities) is not None:
            plans.append(Plan((), work_folder(run_file.work), seen, (Product("raw", seen.name, seen),)))
        if made.into is not None and made.raw.level != 0:
            raise ConfigError(
                f"into_source needs level 0: labels have the levels of their image; got {made.raw.level}"
            )
    if run_file.segment is None and run_file.semantic is None:
        return plans, made
    with found.at("semantic" if run_file.segment is None else "segment"):
        plan = _semantic(run_file, made)
        plans.append(plan)
        made.images["semantic"] = made.volumes[plan.output.name] = plan.output
    return plans, made


def _existing(entry: Existing, made: Made) -> Plan:
    found = made.on_voxels(entry.path, entry.level, entry.name, entry.missing_chunks)
    volume = replace(as_labels(found, stated=entry.labels), called=entry.name)
    return Plan((), work_folder(made.run_file.work), volume, (Product("instances", entry.name, volume),))


def _label(entry: Label, made: Made) -> Plan:
    return label(made.semantic, into=made.into, **entry.model_dump(), **made.at)


def _split(entry: Split, made: Made) -> Plan:
    return split(made.semantic, into=made.into, **entry.model_dump(), **made.at)


def _link(entry: Link, made: Made) -> Plan:
    slices = made.on_voxels(entry.slices, entry.level, entry.name)
    return link(slices, into=made.into, **entry.model_dump(exclude={"slices", "level"}), **made.at)


def _stitch(entry: Stitch, made: Made) -> Plan:
    options = entry.model_dump(exclude={"labels", "level", "function", "allow_code"})
    options |= {"into": made.into, "work": made.run_file.work}
    if entry.labels is None:
        options["block"] = entry.block or made.run_file.block
        return stitch(made.raw, _function(entry.function or ""), **options)
    labels = made.on_voxels(entry.labels, entry.level, entry.name)
    return stitch(labels, **options)


def _function(place: str) -> Any:
    """The function `module:name`, which the run file allows to run."""
    module, _, name = place.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as err:
        raise ConfigError(
            f"no function {place!r}: {err}; install its module, or add its folder to PYTHONPATH, on every "
            "machine that works"
        ) from err


def _propagate(entry: Propagate, made: Made) -> Plan:
    options = entry.model_dump(exclude={"masks", "truth", "block"})
    masks, truth = (
        None if path is None else made.on_voxels(path, None, entry.name)
        for path in (entry.masks, entry.truth)
    )
    source = made.raw if entry.guide is None else made.semantic
    at = made.at | {"block": entry.block or made.run_file.block}
    return propagate(source, masks=masks, truth=truth, into=made.into, **options, **at)


def _refine(entry: Refine, made: Made) -> Plan:
    shapes, keep = options_of(entry, Shapes), options_of(entry, Keep)
    source = made.instances(entry.instances)
    return refine(source, shapes=shapes, keep=keep, into=made.into, name=entry.name, **made.at)


def _edit(entry: Edit, made: Made) -> Plan:
    options = entry.model_dump(include={"edits", "table", "name"})
    source, pieces = made.instances(entry.instances), made.parents(entry.pieces)
    return edit(source, pieces=pieces, into=made.into, **options, **made.at)


def _distance(entry: Distance, made: Made) -> Plan:
    kinds = options_of(entry, DistanceOptions)
    asked = entry.model_dump(include={"name", "to", "cap_nm", "device"})
    return distance(made.instances(entry.instances), into=made.into, options=kinds, **asked, **made.at)


def _contacts(entry: Contacts, made: Made) -> Plan:
    own, other = made.instances(entry.instances), made.instances(entry.other)
    sides = ("scores", "partner_scores")
    options = entry.model_dump(exclude={"instances", "other", *_BOUNDARY, *(f"{s}_of" for s in sides)})
    options |= {side: _scores(entry, made, side) for side in sides}
    return contacts(own, other, boundary=options_of(entry, Boundary), **options, **made.at)


def _scores(entry: Contacts | Measure | Narrowing, made: Made, side: str = "scores") -> list[Volume] | None:
    """The images that say how sure boundaries are: given, or kept by the network of this run."""
    paths, named = getattr(entry, side), getattr(entry, f"{side}_of")
    if named is None:
        return None if paths is None else [_score(path, made) for path in paths]
    kept = {p.name: p.handle for p in made.products if p.kind == "score" and isinstance(p.handle, Volume)}
    given = made.run_file.segment
    wanted = "" if given is None else dict(zip(given.scores, kept, strict=False)).get(named, "")
    if wanted not in kept:
        stored = [] if given is None else list(given.scores)
        raise ConfigError(
            f"{entry.name!r} reads the scores of {named!r}, and 'segment' keeps those of {stored}; name the "
            f"class there under 'scores', or give images as {side!r}"
        )
    return [made.part(kept[wanted])]


def _score(path: str, made: Made) -> Volume:
    """An image of scores, or labels of one of several networks."""
    frame = made.frame
    found = made.part(open_volume(path, level=None if frame is None else frame.level))
    made.opened.append(found)
    return found


def _profiles(entry: Profiles, made: Made) -> Plan:
    options = entry.model_dump(exclude={"instances", "parents"})
    own, parents = made.instances(entry.instances), made.parents(entry.parents)
    return profiles(own, made.semantic, parents=parents, **options, **made.at)


def _measure(entry: Measure, made: Made) -> Plan:
    options = entry.model_dump(exclude={"instances", "parents", "scores_of"})
    options["scores"] = _scores(entry, made)
    own, parents = made.instances(entry.instances), made.parents(entry.parents)
    return measure(own, raw=made.intensities, parents=parents, **options, **made.at)


def _narrowing(entry: Narrowing, made: Made) -> Plan:
    return narrowing(
        made.instances(entry.instances),
        er=None if entry.to is None else made.semantic,
        near=options_of(entry, Near),
        axis=entry.axis,
        neck=options_of(entry, Neck),
        boundary=options_of(entry, Boundary),
        scores=_scores(entry, made),
        parents=made.parents(entry.parents),
        name=entry.name,
        **made.at,
    )


def _placement(entry: Placement, made: Made) -> Plan:
    own, other = made.instances(entry.instances), made.instances(entry.other)
    return placement(
        own,
        other,
        to=entry.to,
        chance=options_of(entry, Chance),
        avoid=entry.avoid,
        parents=made.parents(entry.parents),
        keep=made.map(entry.keep, entry.name),
        name=entry.name,
        **made.at,
    )


def _population(entry: Population, made: Made) -> Plan:
    work = made.run_file.work
    return population(
        [*(table_at(work, table) for table in entry.tables), *entry.files],
        forms=options_of(entry, Forms),
        search=options_of(entry, Search),
        select=options_of(entry, Select),
        windows=None if entry.windows is None else table_at(work, entry.windows),
        work=work,
        **entry.model_dump(include={"columns", "classes", "border", "cell", "by", "model", "name"}),
    )


def _compare(entry: Compare, made: Made) -> Plan:
    samples = [Sample(**sample.model_dump()) for sample in entry.samples]
    return compare(samples, work=made.run_file.work, **entry.model_dump(exclude={"samples"}))


def _evaluate(entry: Evaluate, made: Made) -> Plan:
    planned = {e.name for key in INSTANCES for e in getattr(made.run_file, key)}
    classless = made.run_file.segment is None and made.run_file.semantic is None
    known = made.run_file.is_complete and (classless or "semantic" in made.images)
    if known and entry.found not in planned | made.volumes.keys():
        there = sorted(planned | made.volumes.keys())
        raise ConfigError(f"{entry.name!r} compares {entry.found!r}; this run makes {there}")
    truth = made.part(open_volume(entry.truth, level=made.frame.level if made.frame else None))
    made.opened.append(truth)
    options = entry.model_dump(exclude={"found", "truth"})
    found = made.instances(entry.found)
    raw = made.intensities
    same = raw is not None and raw.shape == truth.shape
    return evaluate(found, truth, raw=raw if same else None, **options, **made.at)


def _calibrate(entry: Calibrate, made: Made) -> Plan:
    level = made.frame.level if made.frame else None
    scores, truth = (made.part(open_volume(path, level=level)) for path in (entry.scores, entry.truth))
    made.opened += [scores, truth]
    return calibrate(scores, truth, **entry.model_dump(include={"to", "cap_nm", "name"}), **made.at)


def _suggest(entry: Suggest, made: Made) -> Plan:
    training = None if entry.training is None else read_training_file(entry.training)
    box_nm = entry.box_nm if training is None else entry.box_nm or training.window_nm()
    evidence = Evidence.of_products(
        (Product("raw", made.raw.name, made.raw), *made.products),
        labels=[made.on_voxels(path, None, entry.name) for path in entry.labels],
        painted=() if training is None else training.arguments()["sources"],
    )
    options = entry.model_dump(exclude={"training", "labels", "box_nm"})
    return suggest(evidence, box_nm=box_nm, **options, **made.at)


PLANNERS: Mapping[str, Callable[[Any, Made], Plan]] = {
    "existing": _existing,
    "label": _label,
    "split": _split,
    "link": _link,
    "stitch": _stitch,
    "propagate": _propagate,
    "refine": _refine,
    "edit": _edit,
    "distance": _distance,
    "contacts": _contacts,
    "profiles": _profiles,
    "measure": _measure,
    "narrowing": _narrowing,
    "placement": _placement,
    "population": _population,
    "compare": _compare,
    "evaluate": _evaluate,
    "calibrate": _calibrate,
    "suggest": _suggest,
    **OF_ANATOMY,
}
"""What plans an entry, by the key that it stands under."""


def _check_outputs(plan: Plan, opened: list[Volume]) -> None:
    """Refuse a run that would write over an image of the run file, or into it, read by a stage or not."""
    refuse_work_inside(plan.work, (v.url for v in opened))
    lost = {v.url for v in opened} & {o.url for stage in plan.maps for o in stage.outputs}
    if lost:
        raise ConfigError(f"the run would write its own result over {min(lost)}, which it reads; rename it")


def _semantic(run_file: RunFile, made: Made) -> Plan:
    """The semantic volume: planned by a network, or one that exists."""
    given, there = run_file.segment, run_file.semantic
    if given is not None:
        options = given.model_dump(exclude={"segmenter", "block", "roi_nm", "mask"})
        within = given.roi_nm if given.mask is None else open_volume(given.mask)
        if "raw" not in made.images:
            check_models(
                given.model if isinstance(given.model, str) else options["model"], given.segmenter, options
            )
        at: dict[str, Any] = {**made.at, "block": given.block or run_file.block, "into": made.into}
        return segment(made.raw, given.segmenter, within=within, **at, **options)
    assert there is not None
    found = made.on_voxels(there.path, there.level, "semantic", there.missing_chunks)
    # Who says which class has which number says that these are labels.
    found = as_labels(found, stated=there.labels or bool(there.classes))
    classes = tuple((there.classes or dict(found.classes)).items())
    raw = made.intensities
    source = found.source if raw is None else raw.url
    semantic = replace(found, classes=classes, source=source)
    products = (Product("semantic", semantic.name, semantic, (("classes", classes),)),)
    return Plan((), work_folder(run_file.work), semantic, products)
