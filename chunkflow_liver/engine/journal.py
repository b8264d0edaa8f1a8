"""The journal of a work folder: what was planned (with fingerprints) and which blocks are done.

One writer, the driver, appends one line per finished batch; every line carries its own checksum, so
that a line torn by a crash is recognised and dropped.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import time
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xxhash
from filelock import FileLock, Timeout

from chunkflow_liver.engine.stage import Map, Records, Stage, called, makes, volume_of
from chunkflow_liver.engine.watch.changes import redone, refusal
from chunkflow_liver.engine.watch.done import Done, rows_of
from chunkflow_liver.engine.watch.lease import Lease, holder_of
from chunkflow_liver.engine.watch.lines import entries_of, line_of, read_entries
from chunkflow_liver.engine.watch.records import load_records, record_folder, sweep_records
from chunkflow_liver.errors import JournalError, OutputError
from chunkflow_liver.store.table import SUMS

log = logging.getLogger(__name__)

SCHEMA = 1
FSYNC_SECONDS = 1.0
RUN = "run.json"
"""File of what was planned: every stage in all that its answer depends on, and its fingerprint."""
OUTDATED = "outdated"
"""Folder of tables that a later run does anew, until that is done."""


@dataclass
class Journal:
    """Open journal of one work folder; hold it as a context manager.

    Attributes
    ----------
    work : Path
    done : dict of str to Done
        By stage.
    files : dict of str to str
        Checksum of what the driver wrote last beside it, by name.
    planned : dict of str to dict
        Of every stage its fingerprint, operation and what it makes, should `run.json` be damaged.
    """

    work: Path
    done: dict[str, Done] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    planned: dict[str, Any] = field(default_factory=dict)
    _file: Any = None
    _lock: FileLock | None = None
    _lease: Lease | None = None
    _synced: float = 0.0

    def __enter__(self) -> Journal:
        self.work.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self.work / ".lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout as err:
            who = holder_of(self.work) or "another process"
            raise OutputError(f"{self.work} is in use by {who}; wait for it, or stop it") from err
        try:
            self._lease = Lease(self.work)
            self._lease.take()
            self._load()
            self._file = (self.work / "journal.jsonl").open("ab")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self.force()
            self._file.close()
        if self._lease is not None:
            self._lease.give_up()
        if self._lock is not None:
            self._lock.release()

    def _load(self) -> None:
        """Replay the lines; cut off a torn tail, put a flipped bit right, refuse a damaged middle."""
        path = self.work / "journal.jsonl"
        if not path.exists():
            return
        good = 0
        with path.open("r+b") as file:
            total = os.fstat(file.fileno()).st_size
            for entry, end in entries_of(file, total, path):
                self._apply(entry)
                good = end
            if good < total:
                file.truncate(good)

    def _apply(self, entry: Mapping[str, Any]) -> None:
        if "files" in entry:
            self.files |= entry["files"]
            self.planned |= entry.get("planned", {})
        elif entry.get("reset"):
            self.done.pop(entry["stage"], None)
        elif "forget" not in entry or entry["stage"] in self.done:
            self.done.setdefault(entry["stage"], Done()).apply(entry)

    def append(self, entry: Mapping[str, Any]) -> None:
        """Hand one line to the operating system; lines are forced onto the disk once a second."""
        self._apply(entry)
        self._file.write(line_of(entry))
        self._file.flush()
        if time.monotonic() - self._synced > FSYNC_SECONDS:
            self.force()

    def force(self) -> None:
        """Have all lines on the disk: before something is done that cannot be undone without them."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def now_ns(self) -> int:
        """When the last line was written, by the clock of the disk: all that it tells of lay there before."""
        return os.fstat(self._file.fileno()).st_mtime_ns

    def note(self, *names: str, planned: Mapping[str, Any] | None = None) -> None:
        """Keep the checksums of files of the work folder as they are now, and what was `planned`."""
        sums = {name: found for name in names if (found := self._sum(name)) != self.files.get(name)}
        fresh = {name: of for name, of in (planned or {}).items() if self.planned.get(name) != of}
        if sums or fresh:
            self.append({"stage": "", "files": sums, "planned": fresh})

    def wrong_files(self) -> list[str]:
        """Names of files beside the journal that are gone, or not as the driver wrote them."""
        return [name for name, known in self.files.items() if self._sum(name) != known]

    def _sum(self, name: str) -> str:
        try:
            return xxhash.xxh3_128_hexdigest((self.work / name).read_bytes())
        except OSError:
            return ""

    def stage(self, name: str) -> Done:
        return self.done.get(name, Done())

    def forget_lost_records(self, name: str) -> int:
        """Have the blocks of a stage done again whose records are gone; how many there are."""
        folder, known = record_folder(self.work, name), self.stage(name)
        there = {"", *(os.listdir(folder) if folder.is_dir() else ())}
        gone = [b for b, file in known.records.items() if file not in there]
        if gone:
            self.append({"stage": name, "forget": gone})
        return len(gone)

    def sweep_records(self, name: str) -> None:
        """Remove records of a stage that belong to no block that is done; nobody is at work on it."""
        sweep_records(record_folder(self.work, name), self.stage(name).records.files())

    def records(self, name: str, without: Container[int] = ()) -> Records:
        """(block index, record) of a finished map, in the order of blocks, but for some blocks."""
        folder = record_folder(self.work, name)
        loaded: tuple[str, Any] = ("", None)
        for block, file in self.stage(name).records.items():
            if block in without:
                continue
            if not file:
                yield block, {}
                continue
            if loaded[0] != file:
                loaded = (file, load_records(folder / file, name))
            yield block, loaded[1].get(block, {})

    def unreadable_records(self, name: str) -> dict[int, str]:
        """What is wrong with the records of the blocks of a stage, by block, where something is."""
        folder, known = record_folder(self.work, name), self.stage(name)
        found: dict[int, str] = {}
        for file in sorted(known.records.files()):
            try:
                load_records(folder / file, name)
            except JournalError as err:
                found |= {block: str(err) for block, of in known.records.items() if of == file}
        return found

    def made(self) -> dict[str, str]:
        """Fingerprint of the stage that made each handle of this folder, for stages that are done."""
        return {
            self._expanded(key): entry["fingerprint"]
            for name, entry in self._planned().items()
            if self.stage(name).finished
            for key in entry.get("makes", ())
        }

    def planned_handles(self) -> dict[str, set[str]]:
        """Keys of everything that each stage planned in this folder makes, done or not."""
        return {
            name: {self._expanded(key) for key in entry.get("makes", ())}
            for name, entry in self._planned().items()
        }

    def check_maker(self, key: str, stage: Stage) -> None:
        """Refuse to make the handle `key` by a stage of one operation if another one planned it here.

        Raises
        ------
        OutputError
            Also where work is to be redone: that is for new settings, not for new results.
        """
        for name, entry in self._planned().items():
            # Release 0.1.0 did not note the operation: that such a folder is refused is for `changed` to say.
            operation = entry.get("operation", stage.operation)
            same = operation == stage.operation and called(name) == called(stage.name)
            if not same and key in map(self._expanded, entry.get("makes", ())):
                raise OutputError(
                    f"{key} is a result of this run ({self.work}, stage {name!r}), and "
                    f"{called(stage.name)!r} would write over it; choose another name"
                )

    def _expanded(self, key: str) -> str:
        """A stored key as it is now: what lies in the work folder moves with it."""
        return f"{self.work}/{key.removeprefix('/./')}" if key.startswith("/./") else key

    def _shortened(self, key: str) -> str:
        inside = f"{self.work}/"
        return f"/./{key.removeprefix(inside)}" if key.startswith(inside) else key

    def _planned(self) -> dict[str, Any]:
        path = self.work / RUN
        if self.planned and self._sum(RUN) != self.files.get(RUN):
            return {name: {"description": {}, **entry} for name, entry in self.planned.items()}
        try:
            found: dict[str, Any] = json.loads(path.read_text())["stages"] if path.exists() else {}
        except (ValueError, KeyError) as err:
            raise JournalError(
                f"{path} cannot be read: {err}; run in a new work folder, or delete this one"
            ) from err
        return found

    def changed(
        self,
        stages: Mapping[str, tuple[str, dict[str, Any]]],
        planned: Sequence[Stage] = (),
        *,
        redo: bool,
    ) -> list[str]:
        """Stages that have work here and were planned differently; refused if they are not to be redone.

        Raises
        ------
        JournalError
            Names the first difference, and the stages that would be redone.
        """
        before, unknown = self._planned(), {"fingerprint": "", "description": {}}
        marks = {name: digest for name, (digest, _) in stages.items() if name in self.done}
        found = [name for name, mark in marks.items() if before.get(name, unknown)["fingerprint"] != mark]
        if found and not redo:
            name, again = found[0], [*found, *self._follow(found, before, stages)]
            was, now = before.get(name, unknown)["description"], stages[name][1]
            reads = _inputs(next((s for s in planned if s.name == name), None))
            raise JournalError(refusal(self.work, name, was, now, reads) + redone(self.work, again))
        return found

    def _follow(
        self, changed: Sequence[str], before: Mapping[str, Any], stages: Mapping[str, object]
    ) -> list[str]:
        """Stages of other plans in this folder that were made from what is to be done again."""
        stale = {before[name]["fingerprint"] for name in changed if name in before}
        found: list[str] = []
        for name, entry in before.items():
            # Made from it or from what was made from it: its description names what it read.
            if name in stages or name in found or name not in self.done:
                continue
            told = json.dumps(entry["description"])
            # Where nothing tells what it read, it may have been that.
            if any(mark and (mark in told or not entry["description"]) for mark in stale):
                found.append(name)
                stale.add(entry["fingerprint"])
        return found

    def adopt(
        self,
        stages: Mapping[str, tuple[str, dict[str, Any]]],
        planned: Sequence[Stage] = (),
        *,
        redo: bool,
    ) -> None:
        """Write `run.json` for a plan that agrees with what this folder was made by.

        Raises
        ------
        JournalError
            If a stage with finished work was planned differently and `redo` is not set.
        """
        before = self._planned()
        changed = self.changed(stages, planned, redo=redo)
        follow = self._follow(changed, before, stages)
        tables = {Path(k).stem for n in follow for k in before[n].get("makes", ()) if k.endswith(".parquet")}
        if tables:
            log.warning(
                "made from what is done again, and so out of date: %s; they lie in %s until the run that "
                "makes them is run again (--redo)",
                ", ".join(sorted(tables)),
                self.work / OUTDATED,
            )
        for name in [*changed, *follow]:
            set_aside(self.work, map(self._expanded, before.get(name, {}).get("makes", ())))
            self.append({"stage": name, "reset": True})
        by_name = {stage.name: stage for stage in planned}
        entries = self._planned() | {
            n: {
                "fingerprint": f,
                "description": d,
                "operation": by_name[n].operation if n in by_name else "",
                "makes": [self._shortened(k) for k in makes(by_name[n])] if n in by_name else [],
            }
            for n, (f, d) in stages.items()
        }
        path = self.work / RUN
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps({"schema": SCHEMA, "stages": entries}, indent=1, sort_keys=True))
        os.replace(partial, path)
        kept = ("fingerprint", "operation", "makes")
        self.note(RUN, planned={n: {k: e[k] for k in kept if k in e} for n, e in entries.items()})


def _inputs(stage: Stage | None) -> list[tuple[str, str]]:
    """Where the inputs of a map and their masks lie; '' of what is no image."""
    volumes = map(volume_of, stage.inputs if isinstance(stage, Map) else ())
    return [("" if v is None else v.url, "" if v is None or v.mask is None else v.mask.url) for v in volumes]


def set_aside(work: Path, keys: Iterable[str]) -> None:
    """Move the tables and artefacts among `keys` that lie in `work` into its folder 'outdated'.

    What they say is no longer so from the moment on at which their stage is to be done again.
    """
    for path in (Path(key) for key in keys if key.startswith(f"{work}/")):
        if path.suffix == ".parquet" or (path / SUMS).exists():
            place = work / OUTDATED / path.name
            place.parent.mkdir(exist_ok=True)
            if place.is_dir():
                shutil.rmtree(place)
            with contextlib.suppress(FileNotFoundError):
                os.replace(path, place)


def sweep_outdated(work: Path, made: Container[str]) -> None:
    """Remove what was set aside and is `made` anew, by its name; what another plan is to make again stays."""
    folder = work / OUTDATED
    for path in sorted(folder.glob("*")):
        if path.name in made:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()


def read_rows(work: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(stage, row) of every finished block, read without taking the lock."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for entry in read_entries(work):
        rows = found.setdefault(entry["stage"], [])
        if entry.get("reset"):
            rows.clear()
        elif gone := set(entry.get("forget", ())):
            rows[:] = [row for row in rows if row["block"] not in gone]
        else:
            rows += rows_of(entry)
    for stage, rows in found.items():
        yield from ((stage, row) for row in rows)


def read_made(work: Path) -> dict[str, str]:
    """Fingerprint of the stage that made each handle of `work`, for stages that are done."""
    return read_journal(work).made()


def read_journal(work: Path) -> Journal:
    """The journal of `work` as it is at this moment, without the lock: to look at, not to append to."""
    seen = Journal(Path(work))
    for entry in read_entries(work):
        seen._apply(entry)
    return seen
