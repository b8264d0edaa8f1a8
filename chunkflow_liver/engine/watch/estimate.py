"""How long a plan takes: by what its stages took before, and how sure that is."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chunkflow_liver.engine.journal import Done, read_journal
from chunkflow_liver.engine.plan import Plan
from chunkflow_liver.engine.stage import Map, plain

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


def estimate_text(plan: Plan, workers: int = 1, more: Iterable[Path] = ()) -> str:
    """One line: how long the blocks that are left take `workers` workers, and how sure that is.

    Parameters
    ----------
    plan : Plan
        Its work folder is looked at, and those beside it.
    workers : int
    more : iterable of Path
        Other work folders to learn from first, of a probe.
    """
    left = _left(plan)
    if not left:
        return "time: nothing is left to do"
    folders = [*more, *_folders(Path(plan.work))]
    rates = {s.name: found for s, _ in left if (found := _rate(s, Path(plan.work), folders)) is not None}
    unknown = [s.name for s, _ in left if s.name not in rates]
    if not rates:
        return (
            "time: not known, no run in this folder or beside it did such stages; 'plan --probe' tries them "
            "on a small part"
        )
    seconds = sum(rates[s.name].seconds * voxels for s, voxels in left if s.name in rates) / workers
    low = sum(rates[s.name].seconds * v / rates[s.name].off for s, v in left if s.name in rates) / workers
    high = sum(rates[s.name].seconds * v * rates[s.name].off for s, v in left if s.name in rates) / workers
    sources = list(dict.fromkeys(rate.source for rate in rates.values()))
    without = f"; without {', '.join(unknown)}, of which nothing is known" if unknown else ""
    many = f"{workers} workers" if workers > 1 else "one worker"
    return (
        f"time: about {duration(seconds)} for {many} ({duration(low)} to {duration(high)}), by "
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
    if (own := _of(read_journal(work).stage(stage.name), stage.grid.box.size / len(stage.grid))) is not None:
        mean, spread, count = own
        return Rate(mean, FEW + 2 * spread / math.sqrt(count), "blocks of this run")
    wanted = f"{stage.function.__module__}.{stage.function.__qualname__}"
    settings = plain(stage.params if stage.identity is None else stage.identity)
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
    seconds = [float(row["seconds"]) for row in done.rows]
    if not seconds or not voxels:
        return None
    mean = sum(seconds) / len(seconds)
    spread = math.sqrt(sum((s - mean) ** 2 for s in seconds) / len(seconds)) / mean if mean else 0.0
    return mean / voxels, spread, len(seconds)


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
