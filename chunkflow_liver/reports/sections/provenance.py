"""How the results were made: stages as planned and as run, failures, versions, files."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from chunkflow_liver.ops.segment.engines import ARTEFACT
from chunkflow_liver.ops.steps.place import arrays_at
from chunkflow_liver.reports.words import duration, length, number, size
from chunkflow_liver.reports.work import SLOWEST, Stage, Work, exists
from chunkflow_liver.store.location import NAME, is_local
from chunkflow_liver.store.table import Table

MIB = 2**20
MOST_FAILURES = 20
WORDS = {
    "raw": "raw image",
    "semantic": "classes",
    "instances": "instances",
    "distance": "distance map",
    "exact": "where distances are exact",
}
UNKNOWN = "–"


@dataclass(frozen=True)
class Line:
    """One stage of the table of stages, as text."""

    name: str
    state: str
    blocks: str
    worker_time: str
    cpu_time: str
    rate: str
    read: str
    written: str
    peak: str
    planned: str
    over: bool
    function: str
    fingerprint: str
    parameters: str


@dataclass(frozen=True)
class File:
    """One product: what it is, where it lies from the work folder, and how Python opens it."""

    what: str
    name: str
    path: str
    python: str
    facts: str
    there: bool
    is_table: bool


@dataclass(frozen=True)
class Provenance:
    """The second half of the page."""

    lines: tuple[Line, ...]
    totals: tuple[tuple[str, str], ...]
    slowest: tuple[tuple[str, str, str, str], ...]
    failures: tuple[tuple[str, str, str], ...]
    failed_total: int
    warnings: tuple[str, ...]
    versions: tuple[tuple[str, str], ...]
    engines: tuple[tuple[str, str], ...]
    plan_text: str
    files: tuple[File, ...]


def provenance(work: Work) -> Provenance:
    """Stages, failures, versions and files of a work folder."""
    blocks = work.failed.get("blocks", [])
    unfinished = [s.name for s in work.stages if not s.finished]
    warnings = []
    if blocks:
        warnings.append(
            f"{number(len(blocks))} blocks of stage {work.failed.get('stage', '?')} failed; what depends on "
            "them is missing. Run the plan again to try them again."
        )
    if unfinished:
        warnings.append(
            f"The run is not complete: {number(len(unfinished))} of {number(len(work.stages))} stages are "
            f"not finished ({', '.join(unfinished[:6])}{', …' if len(unfinished) > 6 else ''})."
        )
    return Provenance(
        tuple(_lines(work)),
        _totals(work),
        _slowest(work),
        tuple(
            (
                str(b.get("block", "?")),
                work.local(str(b.get("error", ""))),
                work.local(b.get("traceback", "")),
            )
            for b in blocks[:MOST_FAILURES]
        ),
        len(blocks),
        tuple(warnings),
        _versions(work),
        tuple(_engines(work)),
        # Ends with the absolute path of the work folder.
        str(work.plan.get("text", "")).partition(", work folder ")[0],
        tuple(_files(work)),
    )


def _lines(work: Work) -> Iterator[Line]:
    """The stages; a worker keeps memory of earlier ones: a peak is held against the largest plan so far."""
    largest = 0.0
    for stage in work.stages:
        largest = max(largest, stage.planned.get("task_bytes") or 0.0)
        yield _line(stage, largest)


def _line(stage: Stage, largest: float) -> Line:
    planned = stage.planned.get("task_bytes")
    fold = stage.grid is None
    rate = stage.voxels / stage.seconds / 1e6 if stage.seconds else math.nan
    return Line(
        stage.name,
        "done" if stage.finished else ("not begun" if not stage.done else "unfinished"),
        UNKNOWN if fold else f"{number(stage.done)} / {number(stage.blocks)}",
        duration(stage.seconds) if stage.done else UNKNOWN,
        duration(stage.cpu) if stage.cpu else UNKNOWN,
        number(rate),
        number(stage.read / MIB) if stage.read else UNKNOWN,
        number(stage.written / MIB) if stage.written else UNKNOWN,
        number(stage.peak_mib) if stage.peak_mib else UNKNOWN,
        number(planned / MIB) if planned else UNKNOWN,
        bool(planned and stage.peak_mib > largest / MIB),
        str(stage.description.get("function", "")),
        stage.fingerprint,
        json.dumps(_parameters(stage.description), indent=1, ensure_ascii=False),
    )


def _parameters(description: Mapping[str, Any]) -> dict[str, Any]:
    """What a person set, and the grid; long lists cut."""
    keep = {k: description[k] for k in ("params", "block", "halo", "inputs") if k in description}
    text = json.dumps(keep)
    return keep if len(text) < 20_000 else {"note": f"{len(text)} characters, see run.json"}


def _totals(work: Work) -> tuple[tuple[str, str], ...]:
    seconds = sum(s.seconds for s in work.stages)
    found = [
        ("worker time", duration(seconds)),
        ("CPU time", duration(sum(s.cpu for s in work.stages))),
        ("read", size(sum(s.read for s in work.stages))),
        ("written", size(sum(s.written for s in work.stages))),
        ("highest peak", size(max((s.peak_mib for s in work.stages), default=0.0) * MIB)),
    ]
    workers = work.plan.get("workers")
    return (*found, ("workers", str(workers))) if workers else tuple(found)


def _slowest(work: Work) -> tuple[tuple[str, str, str, str], ...]:
    """(stage, block, voxels, time) of the slowest blocks of all stages."""
    every = sorted(((t, s, b) for s in work.stages for t, b in s.slowest), key=lambda e: -e[0])
    found = []
    for seconds, stage, block in every[:SLOWEST]:
        known = stage.grid is not None and block < stage.blocks
        box = str(stage.grid[block].write) if known and stage.grid else UNKNOWN
        found.append((stage.name, str(block), box, duration(seconds)))
    return tuple(found)


def _versions(work: Work) -> tuple[tuple[str, str], ...]:
    versions = {str(k): str(v) for k, v in dict(work.plan.get("versions", {})).items()}
    ran = {str(v) for s in work.stages if (v := s.description.get("version"))}
    versions.setdefault("chunkflow-liver (run)", ", ".join(sorted(ran)) or UNKNOWN)
    versions["chunkflow-liver (this report)"] = version("chunkflow-liver")
    extra = {k: str(work.plan[k]) for k in ("created", "host", "machine", "python") if k in work.plan}
    return tuple({**extra, **versions}.items())


def _engines(work: Work) -> Iterator[tuple[str, str]]:
    """Every network's engine, and what a trial found, by the name of its classes."""
    for product in work.of("semantic"):
        if not NAME.fullmatch(product.name):
            continue  # no run of ours: nothing lies under such a name
        kept = arrays_at(work.path, product.name, ARTEFACT)
        if kept.exists():
            yield from ((product.name, str(said)) for said in kept["said"])
        elif engine := dict(product.about).get("engine"):
            yield product.name, f"{engine}, as asked for, without a trial"


def _files(work: Work) -> list[File]:
    found = []
    for product in work.products:
        handle = product.handle
        if isinstance(handle, Table):
            path = _path(work.path, handle.path)
            python = f"cf.read_table({path!r}).to_pandas()"
            facts = "Parquet; units are in the column names"
        else:
            path = _path(work.path, handle.url)
            level = f", level={handle.level}" if handle.level else ""
            python = f"cf.open_volume({path!r}{level})"
            sides = " × ".join(number(n) for n in handle.shape)
            voxel = " × ".join(length(v) for v in handle.voxel_nm)
            facts = f"{sides} voxels (z, y, x) of {voxel}; {handle.dtype}"
        what = WORDS.get(product.kind, product.kind)
        found.append(
            File(what, product.name, path, python, facts, exists(product), isinstance(handle, Table))
        )
    return found


def _path(work: Path, url: str) -> str:
    """A path from the work folder, so that the page says nothing of the machine; URLs as they are."""
    return Path(os.path.relpath(url, work)).as_posix() if is_local(url) else url
