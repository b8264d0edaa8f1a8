"""How many blocks a run that follows edits will compute, and how many it will keep: told before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from chunkflow_liver.engine.journal import Journal, read_journal, read_made
from chunkflow_liver.engine.plan import Plan
from chunkflow_liver.engine.stage import Fold, Map, Stage, called, handle_key, makes, needs, volume_of
from chunkflow_liver.engine.unchanged.pairing import Before, Pairs, paired
from chunkflow_liver.engine.unchanged.touched import (
    artefacts_beside,
    needed,
    owned,
    same_content,
    touched,
)
from chunkflow_liver.errors import ChunkError, InputError
from chunkflow_liver.store.table import Table
from chunkflow_liver.xp import Array


@dataclass(frozen=True)
class Again:
    """What a run does of a stage that follows edits.

    Attributes
    ----------
    stage : str
    blocks : int
        Of the stage.
    least, most : int
        Blocks that will be computed; one number, but where it is told by what the run itself makes.
    done : int
        Blocks that are done already.
    before : str
        What all others are kept from; '' where nothing is.
    """

    stage: str
    blocks: int
    least: int
    most: int
    done: int = 0
    before: str = ""


@dataclass(frozen=True)
class Foreseen:
    """The stages of a plan that follow edits, in order; or why it cannot be told how little they do."""

    stages: tuple[Again, ...]
    unknown: str = ""

    def share(self, stage: str) -> float:
        """The share of the blocks of a stage that is not kept, of what is left to do; 1 if unknown."""
        again = next((one for one in self.stages if one.stage == stage), None)
        left = 0 if again is None else again.blocks - again.done
        return 1.0 if again is None or not left else (again.least + again.most) / 2 / left

    def text(self) -> str:
        """Lines for a person; '' of a plan without edits."""
        if self.unknown:
            return f"after the edits: how few blocks are computed is told when they run: {self.unknown}"
        if not any(one.most for one in self.stages):
            return ""
        rows = [(one.stage, _range(one.least, one.most), _kept(one)) for one in self.stages]
        wide = [max(len(row[i]) for row in rows) for i in (0, 1)]
        lines = [
            f"  {name:{wide[0]}}  {count:>{wide[1]}} of {one.blocks:,} computed{kept}"
            for one, (name, count, kept) in zip(self.stages, rows, strict=True)
        ]
        least, most = (sum(getattr(one, end) for one in self.stages) for end in ("least", "most"))
        total = sum(one.blocks for one in self.stages)
        return "\n".join(
            [
                "after the edits, by stage:",
                *lines,
                f"  in all {_range(least, most)} of {total:,} blocks computed",
            ]
        )


def foreseen(plan: Plan) -> Foreseen:
    """What a run of `plan` will compute of the stages that follow edits, as its work folder is now.

    Where settings changed, what a run with `redo` will. Reads tables, and voxels of the blocks in which
    objects of the edits lie.
    """
    pairs = paired(plan.stages)
    edits = [stage for stage in pairs.maps if stage.changed_in]
    if not edits:
        return Foreseen(())
    journal = read_journal(plan.work)
    described = {s.name: (digest, d) for s, d, digest in plan.descriptions(read_made(plan.work))}
    redone = frozenset(journal.changed(described, plan.stages, redo=True))
    now = _Now(plan, pairs, journal, redone)
    try:
        changes = {stage.name: now.changes_of(stage) for stage in edits}
    except (InputError, ChunkError) as err:
        return Foreseen((), str(err))
    least, most = (_Later(now, changes, hopeful) for hopeful in (True, False))
    found = []
    for stage in _following(plan.stages, edits):
        done = now.done(stage)
        before = pairs.before.get(stage.name)
        if before is None:
            left = len(stage.grid) - int(done.sum())
            found.append(Again(stage.name, len(stage.grid), left, left, int(done.sum())))
            continue
        few, many = (
            int(((touched(pairs, seen, stage) if seen.is_there(stage, before) else True) & ~done).sum())
            for seen in (least, most)
        )
        found.append(Again(stage.name, len(stage.grid), few, many, int(done.sum()), before.name))
    return Foreseen(tuple(found))


@dataclass(frozen=True)
class _Now:
    """What is done of a plan, and will not be done again."""

    plan: Plan
    pairs: Pairs
    journal: Journal
    redone: frozenset[str]

    @cached_property
    def folds(self) -> dict[str, Fold]:
        return {key: s for s in self.plan.stages if isinstance(s, Fold) for key in makes(s)}

    def done(self, stage: Map) -> Array:
        if stage.name in self.redone:
            return np.zeros(len(stage.grid), bool)
        return self.journal.stage(stage.name).records.mask(len(stage.grid))

    def is_made(self, artefact: Any) -> bool:
        """Whether what a fold makes is there, and as the run will have it."""
        maker = self.folds.get(handle_key(artefact))
        if maker is None:
            return bool(artefact.exists())
        known = self.journal.stage(maker.name)
        return maker.name not in self.redone and known.finished and bool(artefact.exists())

    def changes_of(self, stage: Map) -> Any:
        artefact = stage.artefacts[stage.changed_in]
        if self.is_made(artefact):
            return artefact
        if stage.ahead is None:
            raise InputError(f"{stage.name} does not say before it runs")
        source = volume_of(stage.inputs[0])
        name = "" if source is None else source.name
        maker = self.pairs.maker(source)
        if maker is not None and not self.done(maker).all():
            raise InputError(f"{name!r} is to be made first")
        tables = [
            p.handle
            for p in self.plan.products
            if isinstance(p.handle, Table)
            and p.kind == "instance table"
            and dict(p.about).get("instances") == name
            and self.is_made(p.handle)
        ]
        return stage.ahead.changes(tables)


@dataclass(frozen=True)
class _Later:
    """What the journal will say: of what is not made yet, the best (`hopeful`) or the worst."""

    now: _Now
    made: Mapping[str, Any]
    hopeful: bool

    def is_there(self, stage: Map, before: Before) -> bool:
        for name in needed(self.now.pairs, before):
            # What is cleaned is made again only where something else needs it.
            if name not in self.now.redone and self.now.journal.stage(name).cleaned and not self.hopeful:
                return False
        for one, two in artefacts_beside(stage, before):
            if one == two:
                continue
            known = self.now.is_made(one) and self.now.is_made(two)
            if not (same_content(one, two) if known else self.hopeful):
                return False
        return True

    def changes(self, stage: Map) -> Any:
        return self.made[stage.name]

    def owned_by(self, stage: Map, earlier: Map, ids: Array) -> Array | None:
        if stage.owners is None:
            return np.zeros(len(stage.grid), bool)
        now, was = (m.artefacts[m.per_object] for m in (stage, earlier))
        if not self.now.is_made(was):
            return np.zeros(len(stage.grid), bool) if self.hopeful else None
        if self.now.is_made(now):
            return owned(stage, ids, now, was)
        edits = self.now.pairs.maker(volume_of(stage.inputs[0]))
        if edits is None or edits.ahead is None:
            return np.zeros(len(stage.grid), bool) if self.hopeful else None
        known, unknown = edits.ahead.rows_after(was)
        found = owned(stage, ids, known, was)
        if not self.hopeful:
            for low, high in unknown:
                ends = {"low": np.stack([low, high - 1]), "high": np.stack([low + 1, high])}
                assert stage.owners is not None
                at = np.array(np.unravel_index(stage.owners(stage.grid, ends), stage.grid.counts))
                (z, y, x), (to_z, to_y, to_x) = at[:, 0], at[:, 1] + 1
                found.reshape(stage.grid.counts)[z:to_z, y:to_y, x:to_x] = True
        return found


def _following(stages: Sequence[Stage], edits: Sequence[Map]) -> list[Map]:
    """The maps of the operations that edit, and all that read what these make, in order."""
    operations = {called(stage.name) for stage in edits}
    known: set[str] = set()
    found: list[Map] = []
    for stage in stages:
        if isinstance(stage, Fold):
            reads = {handle_key(a) for a in stage.artefacts.values()}
            mine = bool(reads & known) or stage.over in {one.name for one in found}
        else:
            mine = called(stage.name) in operations or bool(needs(stage) & known)
            found += [stage] if mine else []
        known |= set(makes(stage)) if mine else set()
    return found


def _range(least: int, most: int) -> str:
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def _kept(one: Again) -> str:
    """Why no more of a stage is computed."""
    kept = [one.blocks - one.done - n for n in (one.most, one.least)]
    texts = [f"{one.done:,} are done"] if one.done else []
    texts += [f"{_range(*kept)} kept from {one.before}"] if one.before and kept[1] else []
    return f", {', '.join(texts)}" if texts else ""
