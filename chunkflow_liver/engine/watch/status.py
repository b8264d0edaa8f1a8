"""How far a work folder is, read from its files without touching them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from chunkflow_liver.engine.journal import Done, read_finished, read_journal, read_rows
from chunkflow_liver.engine.watch.lease import holder_of
from chunkflow_liver.engine.watch.marks import Mark, read_marks, told
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
    """One line per stage: blocks done of how many, seconds, rate, what is under way; and failed blocks.

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
    done = read_journal(folder).done
    holder = holder_of(folder)
    alive = holder is not None and holder.alive
    marks = list(read_marks(folder).values()) if alive else []
    width = max((len(s["stage"]) for s in planned), default=0)
    known = {s["stage"]: done.get(s["stage"], Done()) for s in planned}
    # Stages run in order: what was under way when a run was stopped is the first that is not finished.
    first = None if alive else next((name for name, of in known.items() if not of.finished), None)
    lines = [_line(s, known[s["stage"]], marks, alive, width, s["stage"] == first) for s in planned]
    if alive:
        lines.append(f"{holder} is at work")
    elif holder is not None:
        lines.append(f"{holder} is gone and did not end the run: run again to go on")
    failed = folder / "failed.json"
    if failed.exists():
        found = json.loads(failed.read_text())
        lines.append(f"{len(found['blocks'])} failed blocks in stage {found['stage']!r}, see {failed}")
    lines += [f"{stage}: block {block} was set aside" for stage, of in done.items() for block in of.set_aside]
    return "\n".join(lines)


def _line(
    stage: dict[str, object], known: Done, marks: list[Mark], alive: bool, width: int, first: bool
) -> str:
    name, total = str(stage["stage"]), int(str(stage["blocks"]))
    here = [m for m in marks if name.startswith(m.stage)]
    count = total if known.finished else len(known.records)
    seconds = sum(r["seconds"] for r in known.rows)
    begun = "running" if alive else "stopped"
    state = "done" if known.finished else begun if known.records or here or first else "to do"
    line = f"{name.ljust(width)}  {state.ljust(7)}  {count} of {total} blocks"
    if seconds and "voxels" in stage:
        rate = float(str(stage["voxels"])) * len(known.records) / total / seconds / 1e6
        line += f", {seconds:.1f} s of work, {rate:.2f} Mvoxel/s per worker"
    if here and not known.finished:
        line += f", under way: {told(here)}"
    return line
