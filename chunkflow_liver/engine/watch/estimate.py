"""How long a plan takes: by what its stages took before, and how sure that is."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chunkflow_liver.engine.journal import read_journal
from chunkflow_liver.engine.plan import Plan
from chunkflow_liver.engine.stage import Map, plain
from chunkflow_liver.engine.watch.done import Done

MOST_FOLDERS = 30
MOST_JOURNAL_BYTES = 64 << 20
LIKE_IT, UNLIKE = 1.5, 3.0
"""By what factor a time may be off that is of another image with the same settings, or of other settings."""
FEW = 1.1
"""The same for blocks of this run itself, at best: not all blocks are alike."""


@dataclass(frozen=True)
class Rate:
    """Seconds that a worker needs for a voxel of a stage.

    Attributes
    ----------
    seconds : float
    off : float
        By what factor that may be wrong.
    source : str
        Where it is from.
    """

    seconds: float
    off: float
    source: str


def estimate_text(
    plan: Plan, workers: int = 1, more: Iterable[Path] = (), share: Callable[[str], float] | None = None
) -> str:
    """One line: how long the blocks that are left take `workers` workers, and how sure that is.

    Parameters
    ----------
    plan : Plan
        Its work folder is looked at, and those beside it.
    workers : int
    more : iterable of Path
        Other work folders to learn from first, of a probe.
    share : callable, optional
        By the name of a stage what share of the blocks that are left will be computed, and not kept.
    """
    left = [(stage, voxels * (share(stage.name) if share else 1)) for stage, voxels in _left(plan)]
    if not left:
        return "time: nothing is left to do"
    folders = [*more, *_folders(Path(plan.work))]
    parts = [(s.name, voxels, _rate(s, Path(plan.work), folders)) for s, voxels in left]
    return "time: " + (
        _text(parts, workers)
        or "not known, no run in this folder or beside it did such stages; 'plan --probe' tries them on a "
        "small part"
    )


def left_text(work: Path, stages: Sequence[Mapping[str, Any]], workers: int) -> str:
    """How long what is left of a run takes `workers` workers, read from its work folder; '' if unknown.

    Parameters
    ----------
    work : Path
    stages : sequence of mapping
        Those of `plan.json` that are not finished: `stage`, `blocks`, `voxels`.
    workers : int
    """
    journal, described, folders = read_journal(work), dict(_described(work)), _folders(work)
    parts = []
    for stage in stages:
        name, voxels, blocks = str(stage["stage"]), float(stage.get("voxels", 0)), int(stage["blocks"])
        if not voxels:
            continue
        done = journal.stage(name)
        rate = _own(done, voxels / blocks)
        if rate is None and (told := described.get(name)) is not None:
            rate = _elsewhere(told.get("function"), told.get("params"), folders)
        parts.append((name, voxels * (1 - len(done.records) / blocks), rate))
    return _text(parts, workers)


def _text(parts: Sequence[tuple[str, float, Rate | None]], workers: int) -> str:
    """Time of the stages whose rate is known, and the names of the others; '' if that is all."""
    known = [(rate, voxels) for _, voxels, rate in parts if rate is not None]
    if not known:
        return ""
    seconds, low, high = (
        sum(rate.seconds * voxels * rate.off**power for rate, voxels in known) / workers
        for power in (0, -1, 1)
    )
    sources = list(dict.fromkeys(rate.source for rate, _ in known))
    unknown = [name for name, _, rate in parts if rate is None]
    without = f"; without {', '.join(unknown)}, of which nothing is known" if unknown else ""
    many = f"{workers} workers" if workers > 1 else "one worker"
    return (
        f"about {duration(seconds)} for {many} ({duration(low)} to {duration(high)}), by "
        f"{', '.join(sources)}{without}"
    )


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    for size, name in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {name}" if seconds < 10 * size else f"{seconds / size:.0f} {name}"
    return f"{max(1.0, seconds):.0f} s"


def _left(plan: Plan) -> list[tuple[Map, float]]:
    """Maps that are not done, and how many voxels of them are left."""
    journal = read_journal(plan.work)
    found = []
    for stage in plan.maps:
        done = journal.stage(stage.name)
        if not done.finished:
            found.append((stage, stage.grid.box.size * (1 - len(done.records) / len(stage.grid))))
    return found


def _folders(work: Path) -> list[Path]:
    """Work folders beside `work`, those of the newest runs first."""
    try:
        beside = [p.parent for p in work.absolute().parent.glob("*/run.json") if p.parent != work.absolute()]
        beside.sort(key=lambda p: -(p / "run.json").stat().st_mtime)
    except OSError:
        return []
    return beside[:MOST_FOLDERS]


def _rate(stage: Map, work: Path, folders: Iterable[Path]) -> Rate | None:
    """What is known best of a stage: from its own blocks, else from the same settings, else from others."""
    own = _own(read_journal(work).stage(stage.name), stage.grid.box.size / len(stage.grid))
    if own is not None:
        return own
    wanted = f"{stage.function.__module__}.{stage.function.__qualname__}"
    return _elsewhere(wanted, plain(stage.params if stage.identity is None else stage.identity), folders)


def _own(done: Done, voxels: float) -> Rate | None:
    """What the blocks of a stage took so far, of about `voxels` each."""
    if (found := _of(done, voxels)) is None:
        return None
    mean, spread, count = found
    return Rate(mean, FEW + 2 * spread / math.sqrt(count), "blocks of this run")


def _elsewhere(wanted: Any, settings: Any, folders: Iterable[Path]) -> Rate | None:
    """What blocks of the function `wanted` took in other runs, at best with the same settings."""
    found: Rate | None = None
    for folder in folders:
        for name, description in _described(folder):
            if description.get("function") != wanted:
                continue
            box, block = description.get("box"), description.get("block")
            done = read_journal(folder).stage(name)
            if not box or not block or (seen := _of(done, _voxels(box, block))) is None:
                continue
            alike = description.get("params") == settings
            rate = Rate(seen[0], LIKE_IT if alike else UNLIKE, folder.name)
            if alike:
                return rate
            found = found or rate
    return found


def _of(done: Done, voxels: float) -> tuple[float, float, int] | None:
    """Seconds per voxel, their relative spread over blocks, and the number of these."""
    count = len(done.records)
    if not count or not voxels:
        return None
    mean = done.seconds / count
    spread = math.sqrt(max(0.0, done.squares / count - mean * mean)) / mean if mean else 0.0
    return mean / voxels, spread, count


def _voxels(box: Any, block: Any) -> float:
    """Voxels of a block on average: those at the ends are smaller."""
    sides = [int(b) - int(a) for a, b in zip(*box, strict=True)]
    return math.prod(sides) / math.prod(-(-n // int(b)) for n, b in zip(sides, block, strict=True))


def _described(folder: Path) -> list[tuple[str, Mapping[str, Any]]]:
    """Stages of a work folder by name, with their descriptions; none of one that cannot be read."""
    try:
        if (folder / "journal.jsonl").stat().st_size > MOST_JOURNAL_BYTES:
            return []
        stages = json.loads((folder / "run.json").read_text())["stages"]
        return [(name, entry["description"]) for name, entry in stages.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
