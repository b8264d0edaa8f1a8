"""Blocks that an edit left as they were: what was done on them before it is taken over, not done again.

A stage that edits an image knows in which blocks its output differs from its input. A later stage of the same
plan may do on the edited image what another one did on the image before it (a measurement, a level of the
pyramid): of a block that reads nothing that differs, function, parameters and voxels are the same, so output
and record are, too.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from chunkflow_liver.engine.journal import Journal
from chunkflow_liver.engine.pyramid import is_pyramid
from chunkflow_liver.engine.stage import Map, Readable, Stage, handle_key, makes, plain, volume_of
from chunkflow_liver.engine.watch.done import batch
from chunkflow_liver.engine.watch.records import record_folder
from chunkflow_liver.errors import ChunkError, InputError
from chunkflow_liver.geometry import Box
from chunkflow_liver.store.create import copy_units
from chunkflow_liver.store.table import Arrays, Table
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array

log = logging.getLogger(__name__)

COPIERS = 8
"""Threads that copy; they wait for the disk."""
Boxes = tuple[Array, Array]
AT_ONCE = 512
"""Blocks that are copied before the journal says so."""


@dataclass(frozen=True)
class Before:
    """What a stage of an edited image does again.

    Attributes
    ----------
    name : str
        Who did it: a stage, or the image before the edit.
    stage : Map or None
        That stage; None where the outputs alone are taken over.
    outputs : tuple of Volume
        What it made, in the order of the outputs of the new stage.
    """

    name: str
    stage: Map | None
    outputs: tuple[Volume, ...]


class Unchanged:
    """What the stages of a plan can take over from others.

    Parameters
    ----------
    stages : sequence of Map and Fold
        All stages of the plan, in order.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._maps = [stage for stage in stages if isinstance(stage, Map)]
        self._makers = {key: stage for stage in self._maps for key in makes(stage)}
        self.before: dict[str, Before] = {}
        for stage in self._maps:
            # What streams may read anything, unless it says what.
            unknown = (stage.streams and stage.owners is None) or stage.beside is not None
            if not unknown and (found := self._before(stage)):
                self.before[stage.name] = found

    def _before(self, stage: Map) -> Before | None:
        if stage.changed_in:
            edited = volume_of(stage.inputs[0])
            return None if edited is None else Before(edited.name, None, (edited,))
        inputs = tuple(self._unedited(source) for source in stage.inputs)
        if inputs == stage.inputs:
            return None
        wanted = replace(stage, inputs=inputs)
        for other in self._maps:
            if other is not stage and _alike(wanted, other):
                return Before(other.name, other, other.outputs)
        if is_pyramid(stage) and (below := volume_of(inputs[0])) is not None:
            # The map that made the image may have made its next level along with it.
            levels = [v for v in below.pyramid() if v.level == stage.outputs[0].level]
            if levels and (maker := self._makers.get(handle_key(levels[0]))) is not None:
                made = tuple(o for o in maker.outputs if handle_key(o) == handle_key(levels[0]))
                if _looks(made) == _looks(stage.outputs):
                    return Before(maker.name, None, made)
        return None

    def _unedited(self, source: Readable) -> Readable:
        """`source` as it was before the edit that it depends on; itself, if there is none."""
        volume = volume_of(source)
        maker = None if volume is None else self._makers.get(handle_key(volume))
        if volume is None or maker is None or maker.name not in self.before:
            return source
        at = [handle_key(output) for output in maker.outputs].index(handle_key(volume))
        outputs = self.before[maker.name].outputs
        if at >= len(outputs):
            return source
        # Of both the same part is looked at.
        earlier = replace(
            outputs[at],
            region=volume.region,
            mask=volume.mask,
            blank=volume.blank,
            ids=volume.ids,
            complete=volume.complete,
        )
        return earlier if source is volume else replace(source, volume=earlier)  # type: ignore[type-var]

    def notes(self) -> list[str]:
        """What a person should know of it before a run."""
        return [
            f"{name}: blocks that no edit touches are taken over from {before.name}"
            for name, before in self.before.items()
        ]

    def after(self) -> dict[str, str]:
        """Which stage each stage takes over from, by name: that one is to be done before."""
        return {name: b.stage.name for name, b in self.before.items() if b.stage is not None}

    def take_over(self, stage: Map, journal: Journal) -> int:
        """Copy outputs and records of the blocks of `stage` that are not done and need not be.

        The outputs of `stage` must have been created. Nothing is taken over if what was done before is not
        finished, was removed, or was done with other artefacts.

        Returns
        -------
        int
            How many blocks were taken over.
        """
        before = self.before.get(stage.name)
        if before is None or not self._is_there(stage, before, journal):
            return 0
        try:
            touched = self._touched(stage, journal)
        except ChunkError:
            # Where the edits changed something was removed, as `clean` does: all is done again.
            return 0
        wanted = ~touched & ~journal.stage(stage.name).records.mask(len(stage.grid))
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

    def _is_there(self, stage: Map, before: Before, journal: Journal) -> bool:
        if before.stage is None:
            maker = self._makers.get(handle_key(before.outputs[0]))
            names = [] if maker is None else [maker.name]
        else:
            names = [before.stage.name]
            for key, artefact in stage.artefacts.items():
                if key != stage.per_object and not _same_content(artefact, before.stage.artefacts[key]):
                    return False
        known = [journal.stage(name) for name in names]
        return all(k.finished and not k.cleaned for k in known) and all(o.exists() for o in before.outputs)

    def _touched(self, stage: Map, journal: Journal) -> Array:
        """Which blocks of a stage of `before` read what differs, or may; all, if it took nothing over."""
        if stage.changed_in:
            found = np.zeros(len(stage.grid), bool)
            changes = stage.artefacts[stage.changed_in]
            assert isinstance(changes, Arrays)
            found[np.asarray(changes["blocks"])] = True
            return found
        if not self._is_there(stage, self.before[stage.name], journal):
            # Done anew with other artefacts, as where ids are numbered again, every block may differ.
            return np.ones(len(stage.grid), bool)
        if stage.per_object:
            return self._with_objects(stage).reshape(-1)
        reads = np.zeros(stage.grid.counts, bool)
        for source in stage.inputs:
            volume = volume_of(source)
            maker = None if volume is None else self._makers.get(handle_key(volume))
            if volume is None or maker is None or maker.name not in self.before:
                continue
            if maker.changed_in:
                changes = maker.artefacts[maker.changed_in]
                assert isinstance(changes, Arrays)
                differs = (np.asarray(changes["low"]), np.asarray(changes["high"]))
            else:
                differs = _boxes(maker, self._touched(maker, journal))
            reads |= _reads(stage, source, volume, maker, differs)
        return reads.reshape(-1)

    def _with_objects(self, stage: Map) -> Array:
        """Which blocks depend on objects that differ, or may: all, where it cannot be told by their ids."""
        earlier = self.before[stage.name].stage
        makers = [v and self._makers.get(handle_key(v)) for v in map(volume_of, stage.inputs)]
        edits = makers[0]
        every = np.ones(stage.grid.counts, bool)
        if earlier is None or not edits or not edits.changed_in:
            return every
        if any(other and other.name in self.before for other in makers[1:]):
            return every
        now, was = stage.artefacts[stage.per_object], earlier.artefacts[stage.per_object]
        changes = edits.artefacts[edits.changed_in]
        assert isinstance(now, Arrays)
        assert isinstance(was, Arrays)
        assert isinstance(changes, Arrays)
        ids = np.asarray(changes["ids"])
        differ = differing_rows(now, was)
        if differ is None or not np.isin(differ, ids).all():
            return every
        if stage.owners is None:
            there = np.zeros(len(edits.grid), bool)
            there[np.asarray(changes["near"])] = True
            volume = volume_of(stage.inputs[0])
            assert volume is not None
            return _reads(stage, stage.inputs[0], volume, edits, _boxes(edits, there))
        found = np.zeros(stage.grid.counts, bool)
        for rows in (now, was):
            mine = np.isin(rows["label"], ids)
            found.reshape(-1)[stage.owners(stage.grid, rows)[mine]] = True
        return found


def differing_rows(one: Arrays, two: Arrays) -> Array | None:
    """Labels whose rows are not the same in both, or only in one; None if they differ in more than rows.

    Parameters
    ----------
    one, two : Arrays
        With an array 'label', and others, of which those that are as long are columns.
    """
    if one.names() != two.names():
        return None
    labels = [np.asarray(arrays["label"]) for arrays in (one, two)]
    both, *at = np.intersect1d(labels[0], labels[1], assume_unique=True, return_indices=True)
    differ = np.zeros(len(both), bool)
    for name in one.names():
        a, b = (np.asarray(arrays[name]) for arrays in (one, two))
        if (len(a), len(b)) != (len(labels[0]), len(labels[1])):
            if a.shape != b.shape or not (a == b).all():
                return None
            continue
        a, b = a[at[0]], b[at[1]]
        same = (a == b) | ((a != a) & (b != b))
        differ |= ~same.all(axis=tuple(range(1, same.ndim)))
    return np.union1d(both[differ], np.setxor1d(labels[0], labels[1]))


def _reads(stage: Map, source: Readable, volume: Volume, maker: Map, differs: Boxes) -> Array:
    """Which blocks of `stage` read, of `volume`, what differs of it; of the shape of its grid.

    `differs` are the first corners of boxes and those after the last, in voxels of the grid of the `maker`.
    """
    under = (lambda box: box) if source is volume else getattr(source, "under", None)
    if under is None:
        # It does not say which voxels it reads for a box.
        return np.ones(stage.grid.counts, bool)
    ends: list[list[int]] = []
    grid, steps = stage.grid, (stage.grid.counts[1] * stage.grid.counts[2], stage.grid.counts[2], 1)
    for axis, (count, step) in enumerate(zip(grid.counts, steps, strict=True)):
        reads = [under(grid[i * step].read) for i in range(count)]
        # Along an axis blocks read from ever farther on.
        start, stop = (np.array([getattr(b, e)[axis] for b in reads]) for e in ("start", "stop"))
        low, high = (corner[:, axis] / maker.factor(volume)[axis] for corner in differs)
        ends.append(np.searchsorted(stop, low, side="right").tolist())
        ends.append(np.searchsorted(start, high, side="left").tolist())
    found = np.zeros(grid.counts, bool)
    for z, to_z, y, to_y, x, to_x in zip(*ends, strict=True):
        found[z:to_z, y:to_y, x:to_x] = True
    return found


def _boxes(maker: Map, differs: Array) -> Boxes:
    """The boxes of blocks."""
    low = np.argwhere(differs.reshape(maker.grid.counts)) * maker.grid.block + maker.grid.box.start
    return low, np.minimum(low + maker.grid.block, maker.grid.box.stop)


def _alike(one: Map, two: Map) -> bool:
    """Whether two maps do the same on the same voxels, but for their artefacts, and make things alike."""
    if one.function is not two.function or one.grid != two.grid or one.device != two.device:
        return False
    if len(one.inputs) != len(two.inputs) or one.artefacts.keys() != two.artefacts.keys():
        return False
    settings = (plain(m.params if m.identity is None else m.identity) for m in (one, two))
    return (
        _looks(one.outputs) == _looks(two.outputs)
        and all(_same_voxels(a, b) for a, b in zip(one.inputs, two.inputs, strict=True))
        and next(settings) == next(settings)
    )


def _looks(outputs: Sequence[Volume]) -> list[Volume]:
    """Outputs without where they lie and whose labels they are."""
    return [replace(o, url="", source=None, called=None) for o in outputs]


def _same_voxels(one: Readable, two: Readable) -> bool:
    if one == two:
        return True
    a, b = volume_of(one), volume_of(two)
    if a is None or b is None or type(one) is not type(two) or one.shape != two.shape:
        return False
    kept = ("at", "dtype", "shape", "voxel_nm", "origin_nm", "region", "mask", "blank", "ids", "complete")
    seen = ((handle_key(v), *(getattr(v, name) for name in kept)) for v in (a, b))
    return next(seen) == next(seen)


def _same_content(one: Arrays | Table, two: Arrays | Table) -> bool:
    if one == two:
        return True
    try:
        if isinstance(one, Table) and isinstance(two, Table):
            return one.identity() == two.identity()
        return isinstance(one, Arrays) and isinstance(two, Arrays) and one.sums() == two.sums()
    except (InputError, ChunkError):
        return False


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
