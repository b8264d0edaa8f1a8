"""How far a work folder is, read from its files without touching them."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from pathlib import Path

from chunkflow_liver.engine.journal import Journal, read_journal
from chunkflow_liver.engine.watch.done import Done
from chunkflow_liver.engine.watch.estimate import left_text
from chunkflow_liver.engine.watch.lease import holder_of
from chunkflow_liver.engine.watch.marks import Mark, read_marks, told
from chunkflow_liver.engine.written import read_products
from chunkflow_liver.errors import InputError
from chunkflow_liver.store.archive import archive_of
from chunkflow_liver.store.location import is_local
from chunkflow_liver.store.table import made_anew
from chunkflow_liver.store.volume import Volume

MOST_FILES = 10_000
"""Of each image so many files are looked at, at most."""
METADATA = ("zarr.json", ".zarray")


def saved_text(work: str | Path) -> str:
    """What of a run is kept, in half a line: finished stages, and blocks of the one that was under way."""
    path = Path(work) / "plan.json"
    if not path.exists():
        return "nothing was written yet"
    planned = json.loads(path.read_text())["stages"]
    done = read_journal(Path(work)).done
    known = {s["stage"]: done.get(s["stage"], Done()) for s in planned}
    text = f"{sum(of.finished for of in known.values())} of {len(planned)} stages"
    begun = [s for s in planned if not known[s["stage"]].finished and known[s["stage"]].records]
    parts = (f"{len(known[s['stage']].records)} of {s['blocks']} blocks of {s['stage']}" for s in begun)
    return " and ".join([text, *parts]) + f" are saved in {work}"


def status_text(work: str | Path) -> str:
    """A line per stage: blocks done of how many, seconds, rate, what is under way; the time left; failures.

    Raises
    ------
    InputError
        If there is no run in `work`, or its plan cannot be read.
    """
    folder = Path(work)
    path = folder / "plan.json"
    if not path.exists():
        raise InputError(f"no run in {folder}: it has no plan.json")
    try:
        planned = json.loads(path.read_text())["stages"]
    except (ValueError, KeyError, TypeError) as err:
        raise InputError(f"{path} cannot be read: {err!r}; run the plan again") from err
    seen = read_journal(folder)
    done = seen.done
    holder = holder_of(folder)
    alive = holder is not None and holder.alive
    marks = list(read_marks(folder).values()) if alive else []
    width = max((len(s["stage"]) for s in planned), default=0)
    known = {s["stage"]: done.get(s["stage"], Done()) for s in planned}
    # Stages run in order: what was under way when a run was stopped is the first that is not finished.
    first = None if alive else next((name for name, of in known.items() if not of.finished), None)
    lost = gone(seen)
    lines = [
        _line(s, known[s["stage"]], marks, alive, width, s["stage"] == first, s["stage"] in lost)
        for s in planned
    ]
    left = left_text(folder, [s for s in planned if not known[s["stage"]].finished], max(1, len(marks)))
    lines += [f"left: {left}"] if left else []
    if alive:
        lines.append(f"{holder} is at work")
    elif holder is not None:
        lines.append(f"{holder} is gone and did not end the run: run again to go on")
    failed = folder / "failed.json"
    if failed.exists():
        found = json.loads(failed.read_text())
        lines.append(f"{len(found['blocks'])} failed blocks in stage {found['stage']!r}, see {failed}")
    lines += [f"{stage}: block {block} was set aside" for stage, of in done.items() for block in of.set_aside]
    lines += [f"{stage}: {made_anew(key)}" for stage, keys in lost.items() for key in keys]
    lines += _newer(seen)
    return "\n".join(lines)


def gone(seen: Journal) -> dict[str, list[str]]:
    """Tables, arrays and images of finished stages that are not there, by stage; nothing is read of them."""
    found: dict[str, list[str]] = {}
    for stage, keys in seen.planned_handles().items():
        known = seen.stage(stage)
        lost = [] if not known.finished or known.cleaned else [k for k in sorted(keys) if _is_gone(k)]
        if lost:
            found[stage] = lost
    return found


def _is_gone(key: str) -> bool:
    if not is_local(key) or archive_of(key) is not None:
        return False
    if not os.path.isdir(key):
        return not os.path.exists(key)
    if any(os.path.exists(os.path.join(key, name)) for name in METADATA):
        return False
    # Chunks without what says how to read them; folders of other things have other names in them.
    with os.scandir(key) as entries:
        first = next(entries, None)
    return first is None or first.name == "c" or first.name.replace(".", "").isdigit()


def _newer(seen: Journal) -> list[str]:
    """A line for each image with files that are newer than the stage that made it."""
    try:
        products = read_products(seen.work)
    except InputError as err:
        return [str(err)]
    painted = {p.handle.url for p in products if p.kind == "empty labels" and isinstance(p.handle, Volume)}
    lines = []
    for stage, keys in seen.planned_handles().items():
        known = seen.stage(stage)
        for key in sorted(keys) if known.ended_ns and not known.cleaned else ():
            if key.rpartition("/")[0] not in painted and _is_newer(key, known.ended_ns):
                lines.append(f"{key} has files newer than the run: 'check' tells whether its voxels changed")
    return lines


def _is_newer(folder: str, than_ns: int) -> bool:
    """Whether one of the first files below a local folder was written after a time."""
    files = (os.path.join(at, name) for at, _, names in os.walk(folder) for name in names)
    for file in itertools.islice(files, MOST_FILES):
        with contextlib.suppress(FileNotFoundError):
            if os.stat(file).st_mtime_ns > than_ns:
                return True
    return False


def _line(
    stage: dict[str, object],
    known: Done,
    marks: list[Mark],
    alive: bool,
    width: int,
    first: bool,
    lost: bool,
) -> str:
    name, total = str(stage["stage"]), int(str(stage["blocks"]))
    here = [m for m in marks if name.startswith(m.stage)]
    count = total if known.finished else len(known.records)
    seconds = known.seconds
    begun = "running" if alive else "stopped"
    ended = "missing" if lost else "done"
    state = ended if known.finished else begun if known.records or here or first else "to do"
    line = f"{name.ljust(width)}  {state.ljust(7)}  {count} of {total} blocks"
    if seconds and "voxels" in stage:
        rate = float(str(stage["voxels"])) * len(known.records) / total / seconds / 1e6
        line += f", {seconds:.1f} s of work, {rate:.2f} Mvoxel/s per worker"
    if here and not known.finished:
        line += f", under way: {told(here)}"
    return line
