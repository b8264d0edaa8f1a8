"""Everything that is wrong with a run file, as far as can be told before the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chunkflow_liver.config import (
    Place,
    RunFile,
    is_evaluation_file,
    is_training_file,
    read_evaluation_file,
    read_parts,
    read_training_file,
)
from chunkflow_liver.config.declaring import Refers
from chunkflow_liver.config.sections import Edit
from chunkflow_liver.engine.devices import check_devices
from chunkflow_liver.engine.plan import Plan
from chunkflow_liver.engine.stage import Fold, Map, volume_of
from chunkflow_liver.errors import ChunkflowLiverError, ConfigError
from chunkflow_liver.evaluation import plan_evaluation
from chunkflow_liver.ops.edit.lists import named_before, rows_naming
from chunkflow_liver.ops.train import train
from chunkflow_liver.pipeline import plan_run
from chunkflow_liver.store.images import numbers_absent, validate
from chunkflow_liver.store.slice_faults import glance
from chunkflow_liver.store.table import Arrays, read_table
from chunkflow_liver.store.volume import Volume


@dataclass(frozen=True)
class Validation:
    """A run file, looked at: how many stages it has, every problem found, and what the run reads."""

    stages: int
    problems: tuple[str, ...]
    sources: tuple[Volume, ...] = ()


def validate_run(path: str | Path, *, deep: bool = False) -> Validation:
    """Every problem of the run file, training or evaluation file, at `path`; writes nothing.

    Parameters
    ----------
    path : str or path
        YAML file.
    deep : bool
        Also read every chunk of the images that the run reads, and look for classes without a voxel.
    """
    problems: list[str] = []
    run_file = plan = None
    try:
        if is_training_file(path):
            plan = train(**read_training_file(path).arguments())
        elif is_evaluation_file(path):
            plan = plan_evaluation(read_evaluation_file(path))
        else:
            run_file, problems = read_parts(path)
            plan = None if run_file is None else plan_run(run_file)
    except ChunkflowLiverError as err:
        several = err.problems if isinstance(err, ConfigError) else ()
        return Validation(0, (*problems, *(several or (str(err),))))
    if plan is None or problems:
        return Validation(0, tuple(problems))
    checks: tuple[Callable[[Plan], None], ...] = (Plan.check, check_devices)
    for check in checks:
        try:
            check(plan)
        except ChunkflowLiverError as err:
            problems.append(str(err))
    if run_file is not None:
        problems += _unknown_objects(run_file, plan, deep)
    if deep:
        damaged = list(_damage(plan))
        problems += damaged or ([] if run_file is None else _absent_classes(run_file, plan))
    return Validation(len(plan.stages), tuple(problems), plan.sources)


def glances(plan: Plan) -> Iterator[str]:
    """What a glance at the images that a plan reads shows: faults of slices; reads few chunks of each."""
    for volume in plan.sources:
        try:
            for text in glance(volume):
                yield f"{volume.url}: {text} (seen at a glance; validate --deep looks at all slices)"
        except ChunkflowLiverError as err:
            yield f"{volume.url}: its slices cannot be looked at: {err}"


def _damage(plan: Plan) -> Iterator[str]:
    """Problems of the voxels of all images that exist and that the run reads."""
    made = {output.url for stage in plan.maps for output in stage.outputs}
    read = [p.handle for p in plan.products if isinstance(p.handle, Volume)]
    read += [v for s in plan.maps for i in s.inputs if (v := volume_of(i))]
    for url, volume in {v.url: v for v in read if v.url not in made}.items():
        at = dict(volume.at)
        gaps = "error" if volume.complete else "fill"
        selection = {"channel": at.get("c"), "timepoint": at.get("t")}
        for problem in validate(url, deep=True, missing_chunks=gaps, **selection):
            yield f"{url}: {problem}"


def _unknown_objects(run_file: RunFile, plan: Plan, deep: bool) -> Iterator[str]:
    """Rows of edits with ids that the instances do not have, as far as these are known now."""
    stages = {stage.name: stage for stage in plan.stages}
    for place, entry in run_file.entries():
        if not isinstance(entry, Edit):
            continue
        find, decide = stages[f"{entry.name}/find"], stages[f"{entry.name}/decide"]
        assert isinstance(find, Map)
        assert isinstance(decide, Fold)
        rows, made, instances = decide.params["rows"], decide.artefacts["made"], find.inputs[0]
        missing, source = named_before(rows), ""
        if entry.table is not None and Path(entry.table).exists():
            there, source = read_table(entry.table)["label"].to_numpy(), f"the table {entry.table}"
            missing = {i for i in missing if not (there == np.uint64(i)).any()}
        elif isinstance(made, Arrays) and made.exists() and "value" in made.names():
            source = f"{entry.instances!r}, as it is in {run_file.work} now,"
            missing = {i for i in missing if i > len(made["value"])}
        elif deep and isinstance(instances, Volume) and instances.exists():
            missing, source = numbers_absent(instances, missing)[0], instances.url
        if source and missing:
            text = f"{entry.edits} names ids that {source} does not have: {rows_naming(rows, missing)}"
            yield run_file.at((*place, "edits"), text)


def _absent_classes(run_file: RunFile, plan: Plan) -> list[str]:
    """Classes that the run file gives or asks for, and that no voxel of the classes has."""
    there = run_file.semantic
    if there is None:
        return []
    semantic = next(p.handle for p in plan.products if p.kind == "semantic")
    assert isinstance(semantic, Volume)
    # Each number is told once, where it stands first.
    wanted: dict[int, Place] = {}
    for name, number in (there.classes or {}).items():
        wanted.setdefault(number, ("semantic", "classes", name))
    for place, entry in run_file.entries():
        for key, given in entry.referred(Refers.CLASS):
            for of in given if isinstance(given, tuple) else (given,):
                wanted.setdefault(semantic.class_number(of), (*place, key))
    absent, seen = numbers_absent(semantic, wanted)
    there_are = ", ".join(map(str, seen))
    return [
        run_file.at(place, f"no voxel of {semantic.url} has the class number {number}; there are {there_are}")
        for number, place in wanted.items()
        if number in absent
    ]
