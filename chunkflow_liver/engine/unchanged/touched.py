"""Which blocks of a stage read what an edit changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from chunkflow_liver.engine.journal import Journal
from chunkflow_liver.engine.stage import Map, Readable, volume_of
from chunkflow_liver.engine.unchanged.pairing import Before, Pairs
from chunkflow_liver.errors import ChunkError, InputError
from chunkflow_liver.store.table import Arrays, Table
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array

Boxes = tuple[Array, Array]
"""First corners, and those after the last, each of shape (N, 3)."""


class Seen(Protocol):
    """What is known of a run: what its journal says, or what it will say."""

    def is_there(self, stage: Map, before: Before) -> bool:
        """Whether all is done that `stage` would take over, with the same artefacts."""
        ...

    def changes(self, stage: Map) -> Any:
        """Of a map that edits: its artefact `changed_in`, or arrays of the same names."""
        ...

    def owned_by(self, stage: Map, earlier: Map, ids: Array) -> Array | None:
        """Which blocks own an object that differs; none of a map without owners. None where any may."""
        ...


@dataclass(frozen=True)
class AsDone:
    """What the journal of a run says at this moment."""

    pairs: Pairs
    journal: Journal

    def is_there(self, stage: Map, before: Before) -> bool:
        known = [self.journal.stage(name) for name in needed(self.pairs, before)]
        pairs = artefacts_beside(stage, before)
        return (
            all(k.finished and not k.cleaned for k in known)
            and all(same_content(one, two) for one, two in pairs)
            and all(o.exists() for o in before.outputs)
        )

    def changes(self, stage: Map) -> Any:
        return stage.artefacts[stage.changed_in]

    def owned_by(self, stage: Map, earlier: Map, ids: Array) -> Array | None:
        now, was = (m.artefacts[m.per_object] for m in (stage, earlier))
        assert isinstance(now, Arrays)
        assert isinstance(was, Arrays)
        differ = differing_rows(now, was)
        if differ is None or not np.isin(differ, ids).all():
            return None
        return owned(stage, ids, now, was)


def needed(pairs: Pairs, before: Before) -> list[str]:
    """The stages that must be done before something is taken over."""
    if before.stage is not None:
        return [before.stage.name]
    maker = pairs.maker(before.outputs[0])
    return [] if maker is None else [maker.name]


def artefacts_beside(stage: Map, before: Before) -> list[tuple[Arrays | Table, Arrays | Table]]:
    """The artefacts of a stage, but for that of its objects, each beside that of the stage before."""
    earlier = {} if before.stage is None else before.stage.artefacts
    return [(a, earlier[k]) for k, a in stage.artefacts.items() if k != stage.per_object and k in earlier]


def owned(stage: Map, ids: Array, *rows: Any) -> Array:
    """Blocks that own an object of `ids` in some rows: arrays 'label' and what owners are told by."""
    found = np.zeros(len(stage.grid), bool)
    if stage.owners is not None:
        for one in rows:
            found[stage.owners(stage.grid, one)[np.isin(one["label"], ids)]] = True
    return found


def touched(pairs: Pairs, seen: Seen, stage: Map) -> Array:
    """Which blocks of a stage of `pairs` read what differs, or may; all, if it takes nothing over."""
    if stage.changed_in:
        found = np.zeros(len(stage.grid), bool)
        found[np.asarray(seen.changes(stage)["blocks"])] = True
        return found
    if not seen.is_there(stage, pairs.before[stage.name]):
        # Done anew with other artefacts, as where ids are numbered again, every block may differ.
        return np.ones(len(stage.grid), bool)
    if stage.per_object:
        return _with_objects(pairs, seen, stage)
    found = np.zeros(len(stage.grid), bool)
    for source in stage.inputs:
        volume = volume_of(source)
        maker = pairs.maker(volume)
        if volume is None or maker is None or maker.name not in pairs.before:
            continue
        if maker.changed_in:
            changes = seen.changes(maker)
            differs = (np.asarray(changes["low"]), np.asarray(changes["high"]))
        else:
            differs = boxes_of(maker, touched(pairs, seen, maker))
        found |= reading(stage, source, volume, maker, differs).reshape(-1)
    return found


def _with_objects(pairs: Pairs, seen: Seen, stage: Map) -> Array:
    """Which blocks depend on objects that differ, or may: all, where it cannot be told by their ids."""
    earlier = pairs.before[stage.name].stage
    makers = [pairs.maker(volume_of(source)) for source in stage.inputs]
    edits, volume = makers[0], volume_of(stage.inputs[0])
    every = np.ones(len(stage.grid), bool)
    if earlier is None or edits is None or volume is None or not edits.changed_in:
        return every
    if any(other and other.name in pairs.before for other in makers[1:]):
        return every
    changes = seen.changes(edits)
    found = seen.owned_by(stage, earlier, np.asarray(changes["ids"]))
    if found is None:
        return every
    if stage.owners is None:
        there = np.zeros(len(edits.grid), bool)
        there[np.asarray(changes["near"])] = True
        return reading(stage, stage.inputs[0], volume, edits, boxes_of(edits, there)).reshape(-1)
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


def reading(stage: Map, source: Readable, volume: Volume, maker: Map, differs: Boxes) -> Array:
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


def boxes_of(maker: Map, differs: Array) -> Boxes:
    """The boxes of blocks."""
    low = np.argwhere(differs.reshape(maker.grid.counts)) * maker.grid.block + maker.grid.box.start
    return low, np.minimum(low + maker.grid.block, maker.grid.box.stop)


def same_content(one: Arrays | Table, two: Arrays | Table) -> bool:
    if one == two:
        return True
    try:
        if isinstance(one, Table) and isinstance(two, Table):
            return one.identity() == two.identity()
        return isinstance(one, Arrays) and isinstance(two, Arrays) and one.sums() == two.sums()
    except (InputError, ChunkError):
        return False
