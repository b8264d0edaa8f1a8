"""Run a plan: here, or on any dask cluster; resume what an earlier run left."""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from chunkflow_liver.engine.cluster import first_worker
from chunkflow_liver.engine.devices import check_devices
from chunkflow_liver.engine.execute import is_full
from chunkflow_liver.engine.journal import Journal, read_journal, read_made, sweep_outdated
from chunkflow_liver.engine.passes import passes
from chunkflow_liver.engine.plan import Plan
from chunkflow_liver.engine.stage import Fold, Map, Stage, handle_key, makes, needs
from chunkflow_liver.engine.tasks import Tasks, hand_out
from chunkflow_liver.engine.unchanged.pairing import Pairs, paired
from chunkflow_liver.engine.unchanged.taking import take_over
from chunkflow_liver.engine.watch.content import refuse_changed
from chunkflow_liver.engine.watch.done import seconds_of
from chunkflow_liver.engine.watch.lacking import Lacking
from chunkflow_liver.engine.watch.marks import clear_marks
from chunkflow_liver.engine.watch.progress import Progress, tell, working
from chunkflow_liver.engine.written import write_all
from chunkflow_liver.errors import ChunkError, DiskBudgetError, OutputError, RunIncompleteError
from chunkflow_liver.parameters import documented
from chunkflow_liver.store.create import create, finish, is_complete, is_there, refuse_foreign, sweep
from chunkflow_liver.store.handles import forget_handles
from chunkflow_liver.store.table import Arrays, Table
from chunkflow_liver.store.volume import Volume

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)

MAKE_ROOM = "what is done is kept: make room and run again"


@documented
def run(
    plan: Plan,
    client: Client | None = None,
    *,
    retries: int = 2,
    redo: bool = False,
    progress: bool = True,
    memory_gib: float | None = None,
) -> Plan:
    """Run every stage of `plan` that is not done yet, and return the plan.

    Parameters
    ----------
    plan : Plan
        What to do; its work folder holds the journal that a later run goes on from.
    client : distributed.Client, optional
        Where blocks run; in this process without one.
    {retries}
    {redo}
    progress : bool
        Show a bar on a terminal, elsewhere lines: in the log, or on stderr where no logging is set up.
    memory_gib : float, optional
        Memory of a worker, if it is not what dask or the operating system say.

    Raises
    ------
    MemoryBudgetError
        Before anything is written.
    DiskBudgetError
        Before anything is written if the outputs do not fit the disk; later if something else filled it.
    JournalError, OutputError
        If the work folder belongs to another plan or is in use.
    RunIncompleteError
        After all other blocks, and all stages that do not need them, are done, if some failed in every
        attempt or ended their workers; `failed.json` in the work folder lists them.
    ClusterError
        If no worker is left and none comes back.
    """
    memory = memory_gib * 2**30 if memory_gib else worker_memory(client)
    plan.check(memory)
    check_devices(plan, client)
    work = Path(plan.work)
    with working("looking at the inputs", shown=progress):
        described = _described(plan)
    if not (work / "journal.jsonl").exists():
        # Before anything is made.
        _refuse_foreign(plan, Journal(work))
    with _full_disk_told(work), Journal(work) as journal:
        _refuse_foreign(plan, journal)
        journal.adopt(described, plan.stages, redo=redo)
        _forget_damaged(plan, journal)
        _forget_lost(plan, journal)
        _make_again(plan, journal)
        _refuse_changed(plan, journal)
        todo = [stage for stage in plan.stages if not _is_done(stage, journal)]
        write_all(plan, client, journal, is_new=bool(todo))
        clear_marks(work)
        lacking, pairs = Lacking(work), paired(plan.stages)
        for together in passes(todo, memory, pairs.after()):
            if isinstance(together, Fold):
                if lacking.allows(together):
                    _run_fold(together, plan.provenance(together), journal, progress)
            elif ready := [stage for stage in together if lacking.allows(stage)]:
                lacking.add(ready, _run_pass(ready, journal, client, retries, progress, pairs))
        clear_marks(work)
        lacking.tell()
        sweep_outdated(work, {Path(key).name for stage in plan.stages for key in makes(stage)})
        made = [stage for stage in plan.maps if not journal.stage(stage.name).cleaned]
        for output in {o for s in made for o in s.outputs if o.level == 0}:
            finish(output)
        (work / "failed.json").unlink(missing_ok=True)
    return plan


@contextlib.contextmanager
def _full_disk_told(work: Path) -> Iterator[None]:
    """A full disk as an error that says so, whatever could not be written."""
    try:
        yield
    except (OSError, OutputError) as err:
        if isinstance(err, DiskBudgetError) or not is_full(err):
            raise
        raise DiskBudgetError(f"a disk is full: {err} (work folder {work}); {MAKE_ROOM}") from err


def check_folder(plan: Plan, *, redo: bool = False) -> None:
    """Refuse a plan that its work folder does not go on with; reads only, before a cluster is started.

    Raises
    ------
    JournalError, OutputError
        As `run` would.
    """
    seen = read_journal(plan.work)
    _refuse_foreign(plan, seen)
    seen.changed(_described(plan), plan.stages, redo=redo)


def is_finished(plan: Plan, *, redo: bool = False) -> bool:
    """Whether a run of `plan` would do nothing; reads only.

    Raises
    ------
    JournalError, OutputError
        As `run` would.
    """
    check_folder(plan, redo=redo)
    seen = read_journal(plan.work)
    if seen.changed(_described(plan), redo=True) or not all(_is_done(s, seen) for s in plan.stages):
        return False
    _refuse_changed(plan, seen)
    there = [stage for stage in plan.stages if not seen.stage(stage.name).cleaned]
    outputs = [o for stage in there if isinstance(stage, Map) for o in stage.outputs]
    if not all(is_there(o) and (o.level != 0 or is_complete(o)) for o in outputs):
        return False
    try:
        for stage in there:
            if isinstance(stage, Fold) and isinstance(stage.output, Arrays):
                stage.output.check()
    except ChunkError:
        return False
    return not (seen.wrong_files() or (Path(plan.work) / "failed.json").exists())


def _described(plan: Plan) -> dict[str, tuple[str, dict[str, Any]]]:
    """Fingerprint and description of every stage, by its name."""
    return {s.name: (digest, d) for s, d, digest in plan.descriptions(read_made(plan.work))}


def _refuse_foreign(plan: Plan, journal: Journal) -> None:
    """Refuse to replace what another run, or another operation of this work folder, made or will make."""
    ours = journal.planned_handles()
    for stage in plan.stages:
        for key in makes(stage):
            journal.check_maker(key, stage)
    for stage in plan.maps:
        for output in (o for o in stage.outputs if o.level == 0):
            if handle_key(output) in ours.get(stage.name, ()):
                continue
            if output.exists():
                raise OutputError(
                    f"{output.url} exists, and this work folder ({journal.work}) did not make it; "
                    "choose another name, or remove it"
                )
            refuse_foreign(output)


def _refuse_changed(plan: Plan, journal: Journal) -> None:
    """Refuse to go on from images that were painted over, but for those that are there to be painted."""
    stages = [s for s in plan.maps if s.outputs and (k := journal.stage(s.name)).finished and not k.cleaned]
    stages = [s for s in stages if not is_for_painting(plan, s)]
    refuse_changed(journal.work, stages, [journal.stage(s.name) for s in stages])


def is_for_painting(plan: Plan, stage: Map) -> bool:
    """Whether a stage makes images that people are to change."""
    empty = {p.handle.url for p in plan.products if p.kind == "empty labels" and isinstance(p.handle, Volume)}
    return any(output.url in empty for output in stage.outputs)


def _forget_lost(plan: Plan, journal: Journal) -> None:
    """Do images again of which something was deleted: what the journal says of them is no longer so.

    Level 0 makes its image anew, so all stages that write to a lost image are done again, and with them
    the other images that these stages write.
    """
    known = {s.name: journal.stage(s.name) for s in plan.maps}
    begun = [s for s in plan.maps if known[s.name].finished or known[s.name].records]
    begun = [s for s in begun if not known[s.name].cleaned]
    lost = {o.url for s in begun if not all(map(is_there, s.outputs)) for o in s.outputs}
    lost |= {o.url for s in plan.maps for o in s.outputs if s not in begun and o.level == 0}
    again: list[Map] = []
    while more := [s for s in begun if s not in again and any(o.url in lost for o in s.outputs)]:
        again += more
        lost |= {o.url for s in more for o in s.outputs}
    for stage in again:
        log.warning("%s: its outputs are gone, doing it again", stage.name)
        journal.append({"stage": stage.name, "reset": True})


def _forget_damaged(plan: Plan, journal: Journal) -> None:
    """Make artefacts anew that are not as they were written, and blocks whose records a fold lacks."""
    for fold in [stage for stage in plan.stages if isinstance(stage, Fold)]:
        cleaned = journal.stage(fold.name).cleaned
        if isinstance(fold.output, Arrays) and _is_done(fold, journal) and not cleaned:
            try:
                fold.output.check()
            except ChunkError as err:
                log.warning("%s: doing it again: %s", fold.name, err)
                journal.append({"stage": fold.name, "reset": True})
        if _is_done(fold, journal) or journal.stage(fold.over).cleaned:
            continue
        if gone := journal.forget_lost_records(fold.over):
            log.warning("%s: the records of %d blocks are gone, doing them again", fold.over, gone)


def _make_again(plan: Plan, journal: Journal) -> None:
    """Do stages again whose results were removed as not needed, where a stage to be done needs them."""
    while True:
        todo = [stage for stage in plan.stages if not _is_done(stage, journal)]
        wanted = {stage.over for stage in todo if isinstance(stage, Fold)}
        for stage in todo:
            handles = {handle_key(a) for a in stage.artefacts.values()}
            wanted |= needs(stage) if isinstance(stage, Map) else handles
        again = [s for s in plan.stages if journal.stage(s.name).cleaned and wanted & {s.name, *makes(s)}]
        if not again:
            return
        for stage in again:
            log.info("%s: was removed as not needed, and is needed now: doing it again", stage.name)
            journal.append({"stage": stage.name, "reset": True})


def worker_memory(client: Client | None) -> float:
    """Bytes of memory of the smallest worker, or what is free on this machine."""
    if client is None:
        return min(float(psutil.virtual_memory().available), _memory_limit())
    workers = client.scheduler_info(n_workers=-1)["workers"]
    if not workers:
        first_worker(client)
        workers = client.scheduler_info(n_workers=-1)["workers"]
    total = psutil.virtual_memory().total
    return float(min((w["memory_limit"] or total) / w["nthreads"] for w in workers.values()))


def _memory_limit() -> float:
    """Memory limit of the control group (a container, a SLURM job) that this process is in, in bytes."""
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            return float(Path(path).read_text())
    return float("inf")


def _is_done(stage: Stage, journal: Journal) -> bool:
    known = journal.stage(stage.name)
    return known.finished and (isinstance(stage, Map) or known.cleaned or stage.output.exists())


def _run_fold(stage: Fold, provenance: dict[str, Any], journal: Journal, progress: bool) -> None:
    start = time.monotonic()
    with working(stage.name, shown=progress), _scratch(stage, journal.work) as extra:
        columns = stage.function(journal.records(stage.over), **stage.artefacts, **stage.params, **extra)
        stage.output.write(columns, provenance)
        # Some network file systems keep files that are still mapped.
        del columns
    # Pages of a table have checksums, its names, units and types have none; arrays keep theirs beside them.
    seal = {"content": stage.output.identity()} if isinstance(stage.output, Table) else {}
    seconds = round(time.monotonic() - start, 3)
    journal.append({"stage": stage.name, "finished": True, "seconds": seconds} | seal)
    if progress:
        tell("%s: done in %.1f s", stage.name, time.monotonic() - start)


@contextlib.contextmanager
def _scratch(stage: Fold, work: Path) -> Iterator[dict[str, Path]]:
    """The argument `scratch` of a fold that spills: an empty folder, gone afterwards."""
    if not stage.spills:
        yield {}
        return
    folder = work / "scratch"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield {"scratch": folder}
    finally:
        shutil.rmtree(folder)


def _run_pass(
    stages: Sequence[Map],
    journal: Journal,
    client: Client | None,
    retries: int,
    progress: bool,
    pairs: Pairs,
) -> list[dict[str, Any]]:
    """Run all blocks that one of `stages` lacks; those that failed for good."""
    for stage in stages:
        for output in stage.outputs:
            if output.level == 0 and not (journal.stage(stage.name).records and is_there(output)):
                create(output)
        for artefact in stage.artefacts.values():
            # Said once, and not by every block that reads it.
            artefact.check()
    forget_handles()
    for stage in stages:
        take_over(pairs, stage, journal)
    workers = 1 if client is None else max(1, sum(client.nthreads().values()))
    failed: list[dict[str, Any]] = []
    torn = any(journal.stage(stage.name).records for stage in stages)
    portions = list(_portions(stages, journal))
    for lacking, blocks, count in portions:
        tasks = Tasks(blocks, workers, retries, count)
        # Of several portions each is counted alone: what the others do was not there before.
        total = len(stages[0].grid) if len(portions) == 1 else count
        name = " + ".join(stage.name for stage in lacking)
        shown = Progress(name, total, total - count, shown=progress, work=journal.work)
        failed += _run_blocks(lacking, tasks, journal, client, shown)
        torn |= bool(tasks.attempts or tasks.deaths or tasks.suspicions)
    if torn:
        for output in {o for stage in stages for o in stage.outputs}:
            sweep(output)
    for stage in stages:
        journal.sweep_records(stage.name)
        missing = len(stage.grid) - len(journal.stage(stage.name).records)
        if missing and not failed:
            raise RunIncompleteError(
                f"{missing} blocks of stage {stage.name!r} were never handed out; run again"
            )
        if not missing:
            journal.append({"stage": stage.name, "finished": True, "ended_ns": journal.now_ns()})
    return failed


def _portions(stages: Sequence[Map], journal: Journal) -> Iterator[tuple[list[Map], Iterator[int], int]]:
    """The blocks that are left, by the stages that lack them: nearly always all lack the same ones."""
    total = len(stages[0].grid)
    if not any(journal.stage(stage.name).records for stage in stages):
        yield list(stages), iter(range(total)), total
        return
    lacking = ~np.stack([journal.stage(stage.name).records.mask(total) for stage in stages])
    whole = lacking.all(0)
    by_lack: dict[tuple[int, ...], list[int]] = {}
    for block in np.flatnonzero(lacking.any(0) & ~whole).tolist():
        by_lack.setdefault(tuple(np.flatnonzero(lacking[:, block]).tolist()), []).append(block)
    for lack, blocks in by_lack.items():
        yield [stages[i] for i in lack], iter(blocks), len(blocks)
    if left := int(whole.sum()):
        yield list(stages), iter(array("q", np.flatnonzero(whole).tobytes())), left


def _run_blocks(
    stages: Sequence[Map], tasks: Tasks, journal: Journal, client: Client | None, progress: Progress
) -> list[dict[str, Any]]:
    with (
        progress as shown,
        contextlib.closing(hand_out(stages, tasks, journal.work, client)) as finds,
    ):
        for found in finds:
            for entry in found["entries"]:
                journal.append(entry)
            if full := [failure["error"] for failure in found["failed"] if failure.get("full")]:
                # Every other block would fail as well.
                raise DiskBudgetError(f"a disk is full: {full[0]}; {MAKE_ROOM}")
            done = found["done"]
            tasks.finish(len(done), sum(map(seconds_of, found["entries"])), found["failed"])
            shown.add(len(done), found["voxels"], len(found["failed"]))
    failed = []
    for block, failure in sorted(tasks.failed.items()):
        if "deaths" in failure:
            journal.append({"stage": failure["stage"], "set_aside": block, "error": failure["error"]})
        failed.append({**failure, "times": tasks.attempts.get(block, failure.get("deaths", 1))})
    return failed
