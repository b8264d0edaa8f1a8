"""How far a work folder is, read from its files without touching them."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from chunkflow_liver.engine.journal import read_finished, read_rows
from chunkflow_liver.errors import InputError


def saved_text(work: str | Path) -> str:
    """What of a run is kept, in half a line: finished stages, and blocks of the one that was under way."""
    path = Path(work) / "plan.json"
    if not path.exists():
        return "nothing was written yet"
    planned = json.loads(path.read_text())["stages"]
    finished = read_finished(Path(work))
    rows = Counter(stage for stage, _ in read_rows(Path(work)))
    text = f"{sum(s['stage'] in finished for s in planned)} of {len(planned)} stages"
    begun = [s for s in planned if s["stage"] not in finished and rows[s["stage"]]]
    parts = (f"{rows[s['stage']]} of {s['blocks']} blocks of {s['stage']}" for s in begun)
    return " and ".join([text, *parts]) + f" are saved in {work}"


def status_text(work: str | Path) -> str:
    """One line per stage: blocks done of how many, seconds, rate; and failed blocks.

    Raises
    ------
    InputError
        If there is no run in `work`.
    """
    folder = Path(work)
    path = folder / "plan.json"
    if not path.exists():
        raise InputError(f"no run in {folder}: it has no plan.json")
    planned = json.loads(path.read_text())
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for stage, row in read_rows(folder):
        rows[stage].append(row)
    finished = read_finished(folder)
    begun = "running" if (folder / ".lock.json").exists() else "stopped"
    width = max(len(s["stage"]) for s in planned["stages"])
    lines = []
    for stage in planned["stages"]:
        done = rows[stage["stage"]]
        total = stage["blocks"]
        count = total if stage["stage"] in finished else len(done)
        seconds = sum(r["seconds"] for r in done)
        state = "done" if stage["stage"] in finished else begun if done else "to do"
        line = f"{stage['stage'].ljust(width)}  {state.ljust(7)}  {count} of {total} blocks"
        if seconds and "voxels" in stage:
            rate = stage["voxels"] * len(done) / total / seconds / 1e6
            line += f", {seconds:.1f} s of work, {rate:.2f} Mvoxel/s per worker"
        lines.append(line)
    failed = folder / "failed.json"
    if failed.exists():
        found = json.loads(failed.read_text())
        lines.append(f"{len(found['blocks'])} failed blocks in stage {found['stage']!r}, see {failed}")
    return "\n".join(lines)
