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
from chunkflow_liver.engine.run import check_folder, run
from chunkflow_liver.engine.stage import Fold, Map
from chunkflow_liver.engine.watch.progress import Progress
from chunkflow_liver.errors import ChunkError, InputError
from chunkflow_liver.store.handles import forget_handles
from chunkflow_liver.store.table import Arrays, Table, read_table

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
        The stage that made it.
    block : int, optional
        The block of that stage; None of a table or an artefact, which are made whole.
    what : str
        What is wrong, and where: array, chunk and voxels, or the file.
    """

    stage: str
    block: int | None
    what: str

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
        Chunks of images and records that are missing or damaged, block by block, tables and artefacts; in
        the order of the stages. An image that was deleted as a whole is made anew by `run` and not listed;
        nor is the overview for viewers, which no number comes from.

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
    found: list[Damage] = []
    for stage in plan.stages:
        if isinstance(stage, Fold):
            if seen.stage(stage.name).finished and (what := _of_fold(stage)):
                found.append(Damage(stage.name, None, what))
        elif written := sorted(seen.stage(stage.name).records):
            found += _of_map(stage, written, progress)
            unreadable = seen.unreadable_records(stage.name)
            found += [Damage(stage.name, block, what) for block, what in sorted(unreadable.items())]
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
        for name in dict.fromkeys(entry.stage for entry in found if entry.block is None):
            journal.append({"stage": name, "reset": True})
        for name, blocks in lost.items():
            journal.append({"stage": name, "forget": sorted(blocks)})


def _of_fold(stage: Fold) -> str:
    """What is wrong with a table or an artefact; nothing if it can be read."""
    try:
        if isinstance(stage.output, Arrays):
            stage.output.check()
        elif isinstance(stage.output, Table):
            read_table(stage.output)
    except (ChunkError, InputError) as err:
        return str(err)
    return ""


def _of_map(stage: Map, written: list[int], progress: bool) -> Iterator[Damage]:
    """Damaged blocks of the images of a stage."""
    outputs = [output for output in stage.outputs if output.exists()]
    if not outputs:
        return

    def wrong(block: int) -> list[str]:
        said = []
        for output in outputs:
            try:
                output.read(stage.grid[block].write.coarser(stage.factor(output)))
            except ChunkError as err:
                said.append(str(err))
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
