"""What of a run is damaged, and those blocks done again: all that it wrote is read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chunkflow_liver.engine.journal import Journal, read_journal
from chunkflow_liver.engine.plan import Plan
from chunkflow_liver.engine.run import check_folder, is_for_painting, run
from chunkflow_liver.engine.stage import Fold, Map
from chunkflow_liver.engine.watch.content import read_sum, sum_of
from chunkflow_liver.engine.watch.done import Sums
from chunkflow_liver.engine.watch.progress import Progress
from chunkflow_liver.errors import ChunkError, InputError
from chunkflow_liver.store.container import wrong_around
from chunkflow_liver.store.create import is_stated, is_there
from chunkflow_liver.store.handles import forget_handles
from chunkflow_liver.store.table import Arrays, Table, made_anew, read_table

if TYPE_CHECKING:
    from distributed import Client

AT_ONCE = 4
"""Blocks that wait to be read, per thread."""


@dataclass(frozen=True)
class Damage:
    """Something that a run wrote and that cannot be read as it was written.

    Attributes
    ----------
    stage : str
        The stage that made it; of what the run itself wrote, the name of the file.
    block : int, optional
        The block of that stage; None of a table or an artefact, which are made whole.
    what : str
        What is wrong, and where: array, chunk and voxels, or the file.
    metadata : bool
        Whether it is the metadata of an image, which a run mends by itself: it writes those of a group again,
        and makes an image anew of which an array cannot be opened.
    """

    stage: str
    block: int | None
    what: str
    metadata: bool = False

    def __str__(self) -> str:
        at = self.stage if self.block is None else f"{self.stage}, block {self.block}"
        return f"{at}: {self.what}"


def damage(plan: Plan, *, progress: bool = True) -> list[Damage]:
    """Read all that a run has written so far, against its checksums; writes nothing.

    Parameters
    ----------
    plan : Plan
        Of the run; its work folder holds the journal that says what was written.
    progress : bool
        Show a bar on a terminal, elsewhere lines.

    Returns
    -------
    list of Damage
        Chunks of images, records and files beside them that are missing or damaged, block by block, tables
        and artefacts, in the order of the stages; before them what the run wrote of itself.

    Raises
    ------
    JournalError, OutputError
        If the work folder belongs to another plan.
    InputError
        If nothing was run in it.
    """
    check_folder(plan)
    seen = read_journal(plan.work)
    if not seen.done:
        raise InputError(f"nothing was run in {plan.work} yet: there is nothing to check")
    forget_handles()
    found = [
        Damage(name, None, f"{Path(plan.work) / name} is damaged or gone: it is written again", metadata=True)
        for name in seen.wrong_files()
    ]
    for stage in plan.stages:
        known = seen.stage(stage.name)
        if known.cleaned:
            continue
        if isinstance(stage, Fold):
            if known.finished and (what := _of_fold(stage, known.content)):
                found.append(Damage(stage.name, None, what))
        elif written := sorted(known.records):
            found += _of_metadata(stage)
            found += _of_map(stage, written, progress, None if is_for_painting(plan, stage) else known.sums)
            unreadable = seen.unreadable_records(stage.name)
            found += [Damage(stage.name, block, what) for block, what in sorted(unreadable.items())]
            if stage.beside is not None:
                for block, record in seen.records(stage.name, unreadable):
                    found += [Damage(stage.name, block, what) for what in stage.beside.wrong(record)]
    return found


def repair(
    plan: Plan, client: Client | None = None, *, progress: bool = True, **options: Any
) -> list[Damage]:
    """Do the damaged blocks, tables and artefacts of a run again, and what of it is not done yet.

    A block depends on its inputs alone, so what is made again has the bytes that were lost, and nothing
    that was made from it changes.

    Parameters
    ----------
    plan : Plan
    client : distributed.Client, optional
        Where blocks run; in this process without one.
    progress : bool
        Show a bar on a terminal, elsewhere lines.
    **options
        Of `run`.

    Returns
    -------
    list of Damage
        What was damaged.

    Raises
    ------
    JournalError, OutputError, InputError
        As `damage`, before anything is changed.
    """
    found = damage(plan, progress=progress)
    forget(plan, found)
    run(plan, client, progress=progress, **options)
    return found


def forget(plan: Plan, found: Sequence[Damage]) -> None:
    """Note in the journal that what is damaged is not done, so that `run` does it."""
    lost: dict[str, set[int]] = {}
    for entry in found:
        if entry.block is not None:
            lost.setdefault(entry.stage, set()).add(entry.block)
    with Journal(Path(plan.work)) as journal:
        whole = (entry.stage for entry in found if entry.block is None and not entry.metadata)
        for name in dict.fromkeys(whole):
            journal.append({"stage": name, "reset": True})
        for name, blocks in lost.items():
            journal.append({"stage": name, "forget": sorted(blocks)})


def _of_fold(stage: Fold, content: str) -> str:
    """What is wrong with a table or an artefact; nothing if it is what was written."""
    if not stage.output.exists():
        return made_anew(stage.output.path)
    try:
        if isinstance(stage.output, Arrays):
            stage.output.check()
        elif isinstance(stage.output, Table):
            read_table(stage.output)
            if content and stage.output.identity() != content:
                return f"{stage.output.path} is damaged: its bytes are not those that were written"
    except (ChunkError, InputError) as err:
        return str(err)
    return ""


def _of_metadata(stage: Map) -> Iterator[Damage]:
    """Images of a stage of which an array cannot be opened, or whose group states what it should not."""
    for output in stage.outputs:
        if not is_there(output):
            what = f"{output.url}/{output.path} is gone, or its metadata are damaged"
            yield Damage(stage.name, None, f"{what}: the image is made anew", metadata=True)
        elif output.level == 0 and (what := wrong_around(output)):
            yield Damage(stage.name, None, f"{what}: it is written again", metadata=True)
        elif output.level == 0 and not is_stated(output):
            what = f"the metadata of {output.url} are damaged, or state other levels or voxel sizes"
            yield Damage(stage.name, None, f"{what}: they are written again", metadata=True)


def _of_map(stage: Map, written: list[int], progress: bool, sums: Sums | None) -> Iterator[Damage]:
    """Damaged blocks of the images of a stage, and those with other voxels than `sums` say."""
    outputs = [output for output in stage.outputs if is_there(output)]
    if not outputs:
        return

    def wrong(block: int) -> list[str]:
        said: list[str] = []
        found: list[int] = []
        for number, output in enumerate(stage.outputs):
            if output not in outputs:
                continue
            try:
                found.append(read_sum(stage, block, number, output))
            except ChunkError as err:
                said.append(str(err))
        wrote = 0 if sums is None or said or len(outputs) < len(stage.outputs) else sums.get(block)
        if wrote and sum_of(found) != wrote:
            names = " and ".join(f"{output.url}/{output.path}" for output in outputs)
            at = stage.grid[block].write.coarser(stage.factor(outputs[0]))
            said.append(
                f"{names} has other voxels in {at} than were written: somebody changed them. 'repair' writes "
                "the old ones again; copy the image first if the change is wanted"
            )
        return said

    threads = os.cpu_count() or 1
    with (
        ThreadPoolExecutor(threads) as pool,
        Progress(f"{stage.name} (check)", len(written), 0, shown=progress) as shown,
    ):
        for first in range(0, len(written), AT_ONCE * threads):
            part = written[first : first + AT_ONCE * threads]
            for block, said in zip(part, pool.map(wrong, part), strict=True):
                yield from (Damage(stage.name, block, text) for text in said)
                shown.add(1, stage.grid[block].write.size, 0)
