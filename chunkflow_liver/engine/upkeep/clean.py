"""What a finished run does not need any more, removed; a later stage that needs it has it made again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from chunkflow_liver.engine.journal import OUTDATED, Journal
from chunkflow_liver.engine.plan import Plan
from chunkflow_liver.engine.run import is_finished
from chunkflow_liver.engine.stage import Fold, Map, Stage
from chunkflow_liver.engine.watch.marks import FOLDER
from chunkflow_liver.engine.watch.records import record_folder
from chunkflow_liver.errors import InputError
from chunkflow_liver.store.container import unlist_label
from chunkflow_liver.store.handles import forget_handles
from chunkflow_liver.store.table import Arrays
from chunkflow_liver.store.volume import Volume

ASKED_FOR_LATER = ".instances"
"""End of the artefacts that later operations look up by the name of an image: those stay."""


@dataclass(frozen=True)
class Intermediate:
    """A file or folder that a run wrote for itself.

    Attributes
    ----------
    stage : str
        The stage that can make it again; '' of what a run left that was interrupted.
    path : Path
    nbytes : int
        What it takes on the disk.
    """

    stage: str
    path: Path
    nbytes: int

    def __str__(self) -> str:
        return f"{self.path}: {self.nbytes / 2**20:.1f} MiB"


def intermediates(plan: Plan) -> list[Intermediate]:
    """What `clean` would remove of a finished run; writes nothing.

    Raises
    ------
    JournalError, OutputError
        If the work folder belongs to another plan.
    InputError
        If the run is not finished: what is left to do may need all of it.
    """
    if not is_finished(plan):
        raise InputError(
            f"the run in {plan.work} is not finished, and what is left of it may need its intermediates; run "
            "it first"
        )
    work = Path(plan.work)
    found = [(s.name, path) for s in plan.stages if _is_spare(s, plan) for path in _of(s, work)]
    found += [("", path) for path in _left(work)]
    return [Intermediate(stage, path, _taken(path)) for stage, path in found if path.exists()]


def clean(plan: Plan) -> list[Intermediate]:
    """Remove what a finished run wrote for itself: records, artefacts between stages, images of blocks.

    Results stay: all that is listed as a product, tables, the report, and what later operations look up. The
    run stays finished. A later plan, or `repair`, that needs something of it has it made again, with the
    same bytes.

    Parameters
    ----------
    plan : Plan
        Of the run.

    Returns
    -------
    list of Intermediate
        What was removed.

    Raises
    ------
    JournalError, OutputError
        If the work folder belongs to another plan, or a run is at work in it.
    InputError
        If the run is not finished.
    """
    found = intermediates(plan)
    with Journal(Path(plan.work)) as journal:
        # Said first: what is half removed is not damage.
        for name in dict.fromkeys(entry.stage for entry in found if entry.stage):
            journal.append({"stage": name, "cleaned": True})
        # And kept, should the power fail between two removals.
        journal.force()
        for stage in (s for s in plan.maps if _is_spare(s, plan)):
            for output in stage.outputs:
                unlist_label(output)
        for entry in found:
            if entry.path.is_dir():
                shutil.rmtree(entry.path)
            else:
                entry.path.unlink(missing_ok=True)
    forget_handles()
    return found


def _is_spare(stage: Stage, plan: Plan) -> bool:
    """Whether nothing that a stage makes is looked at, or asked for by later operations."""
    if isinstance(stage, Fold):
        kept = stage.output
        return isinstance(kept, Arrays) and kept != plan.output and not kept.path.endswith(ASKED_FOR_LATER)
    return not any(_is_result(output, plan) for output in stage.outputs)


def _is_result(image: Volume, plan: Plan) -> bool:
    """Whether an image, or one that it is in, is a product, or lies elsewhere than in the work folder."""
    urls = {p.handle.url for p in plan.products if isinstance(p.handle, Volume)}
    urls |= {plan.output.url} if isinstance(plan.output, Volume) else set()
    inside = f"{Path(plan.work).absolute()}{os.sep}"
    return not image.url.startswith(inside) or any(f"{image.url}/".startswith(f"{url}/") for url in urls)


def _of(stage: Stage, work: Path) -> Iterator[Path]:
    if isinstance(stage, Map):
        yield record_folder(work, stage.name)
        yield from dict.fromkeys(Path(output.url) for output in stage.outputs)
        if stage.beside is not None:
            yield stage.beside.folder
    else:
        yield Path(stage.output.path)


def _left(work: Path) -> Iterator[Path]:
    """What runs that were interrupted left behind; nobody is at work, or the lock would not be had."""
    yield from (work / name for name in (OUTDATED, FOLDER, "scratch"))
    yield from sorted((work / "records").rglob("*.partial"))
    yield from sorted((work / "artefacts").glob("*.partial"))


def _taken(path: Path) -> int:
    """Bytes on the disk."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(p.stat().st_blocks * 512 for p in files)
