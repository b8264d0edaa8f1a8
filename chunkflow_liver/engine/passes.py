"""Passes: stages that read the same volume in the same blocks share one read of it.

Distances, contacts and measurements of one volume then read it from storage once; what each of them computes
and records is as if it ran alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chunkflow_liver.engine.stage import PROCESS_BYTES, Fold, Map, Stage, makes, needs, volumes
from chunkflow_liver.store.volume import Volume


def passes(
    stages: Sequence[Stage],
    memory_bytes: float | None = None,
    after: Mapping[str, str] | None = None,
) -> list[tuple[Map, ...] | Fold]:
    """`stages` in the order in which they run, those that share a read together.

    A map joins the first earlier one that has the same blocks and reads a volume that it reads too, if all
    that it needs is made before, and if a worker has the memory for both; not the one that it comes `after`
    (by their names), from which it takes blocks over.
    """
    after = after or {}
    found: list[tuple[Map, ...] | Fold] = []
    left = list(stages)
    while left:
        first = left.pop(0)
        if isinstance(first, Fold):
            found.append(first)
            continue
        together = [first]
        coming = {key for stage in (first, *left) for key in makes(stage)}
        names = {stage.name for stage in (first, *left)}
        for stage in [s for s in left if isinstance(s, Map)]:
            more = [*together, stage]
            fits = memory_bytes is None or pass_bytes(more) <= memory_bytes
            waits = after.get(stage.name) in names or needs(stage) & coming
            if fits and _shares(first, stage) and not waits:
                together = more
                left.remove(stage)
        found.append(tuple(together))
    return found


def _shares(one: Map, two: Map) -> bool:
    """Whether two maps have the same blocks and read one volume."""
    same = one.grid.box == two.grid.box and one.grid.block == two.grid.block
    return same and not set(volumes(one)).isdisjoint(volumes(two))


def pass_bytes(stages: Sequence[Map]) -> int:
    """Bytes that one task of a pass needs: its largest stage, and what is held for those that follow."""
    shared: dict[Volume, int] = {}
    for stage in stages if len(stages) > 1 else ():
        for source in volumes(stage):
            shared[source] = max(
                shared.get(source, 0), stage.largest_read(stage.grid.block) * source.itemsize
            )
    resident = sum(stage.resident for stage in stages)
    most = max(stage.task_bytes - stage.resident for stage in stages)
    return max(PROCESS_BYTES, most) + resident + sum(shared.values())
