"""Copy outputs and records of blocks that an edit left as they were."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from chunkflow_liver.engine.journal import Journal
from chunkflow_liver.engine.stage import Map
from chunkflow_liver.engine.unchanged.pairing import Before, Pairs
from chunkflow_liver.engine.unchanged.touched import AsDone, touched
from chunkflow_liver.engine.watch.done import batch
from chunkflow_liver.engine.watch.records import record_folder
from chunkflow_liver.errors import ChunkError, InputError
from chunkflow_liver.geometry import Box
from chunkflow_liver.store.create import copy_units

log = logging.getLogger(__name__)

COPIERS = 8
"""Threads that copy; they wait for the disk."""
AT_ONCE = 512
"""Blocks that are copied before the journal says so."""


def take_over(pairs: Pairs, stage: Map, journal: Journal) -> int:
    """Copy outputs and records of the blocks of `stage` that are not done and need not be.

    The outputs of `stage` must have been created. Nothing is taken over if what was done before is not
    finished, was removed, or was done with other artefacts.

    Returns
    -------
    int
        How many blocks were taken over.
    """
    before, seen = pairs.before.get(stage.name), AsDone(pairs, journal)
    if before is None or not seen.is_there(stage, before):
        return 0
    try:
        differs = touched(pairs, seen, stage)
    except ChunkError:
        # Where the edits changed something was removed, as `clean` does: all is done again.
        return 0
    wanted = ~differs & ~journal.stage(stage.name).records.mask(len(stage.grid))
    blocks = np.flatnonzero(wanted).tolist()
    taken, placed = 0, set[str]()
    with ThreadPoolExecutor(COPIERS, "chunkflow-liver-copy") as copiers:
        for first in range(0, len(blocks), AT_ONCE):
            part = blocks[first : first + AT_ONCE]
            copied = list(copiers.map(lambda block: _copied(stage, before, block), part))
            done = [block for block, good in zip(part, copied, strict=True) if good]
            taken += _noted(stage, before, done, journal, placed)
    if taken:
        log.info(
            "%s: %d of %d blocks are as before the edits, taken over from %s",
            *(stage.name, taken, len(stage.grid), before.name),
        )
    return taken


def _copied(stage: Map, before: Before, block: int) -> bool:
    """Whether all outputs of a block could be copied."""
    write: Box = stage.grid[block].write
    try:
        return all(
            copy_units(source, target, write.coarser(stage.factor(target)))
            for source, target in zip(before.outputs, stage.outputs, strict=True)
        )
    except (ChunkError, InputError):
        # Then it is done again, and what is wrong is said there.
        return False


def _noted(stage: Map, before: Before, blocks: Sequence[int], journal: Journal, placed: set[str]) -> int:
    """Take over the records of blocks whose outputs were, and say in the journal that they are done.

    `placed` are the files that were copied for this stage now: one that lay there before may be of blocks
    that were done again since, or damaged.
    """
    by_file: dict[str, list[int]] = {}
    if before.stage is None:
        by_file[""] = list(blocks)
    else:
        records = journal.stage(before.stage.name).records
        for block in blocks:
            by_file.setdefault(records[block], []).append(block)
    taken = 0
    for file, some in by_file.items():
        if not some:
            continue
        name = f"taken-{file}" if file else ""
        if file and before.stage is not None:
            folders = (record_folder(journal.work, s.name) for s in (before.stage, stage))
            places = [folder / n for folder, n in zip(folders, (file, name), strict=True)]
            if name not in placed and not _placed(*places):
                continue
            placed.add(name)
        row = {"seconds": 0, "cpu": 0, "read": 0, "written": 0, "peak_mib": 0}
        # Where one stage did what another one does, it wrote the same.
        sums = None if before.stage is None else journal.stage(before.stage.name).sums
        rows = [{"block": b, **row, "sum": 0 if sums is None else sums.get(b)} for b in some]
        journal.append(batch(stage.name, name, rows) | {"from": before.name})
        taken += len(some)
    return taken


def _placed(source: Path, target: Path) -> bool:
    """Copy a file of records, under a temporary name; False if it is gone."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    try:
        shutil.copyfile(source, partial)
    except FileNotFoundError:
        return False
    os.replace(partial, target)
    return True
