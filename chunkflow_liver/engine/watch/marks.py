"""Marks: which block each process is at, in small files of the work folder that outlive the process.

A process that is killed cannot say what it was doing. Its mark can: the driver finds out which block ended a
worker, and `status` what is under way.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = "running"
BYTES = 512
"""Of a mark: one length, so that it is written over in place, by one call."""
LONGEST_NAME = 200


@dataclass(frozen=True)
class Mark:
    """What a process is doing.

    Attributes
    ----------
    stage : str
    block : int
    since : float
        When it began with the block, in seconds since 1970.
    share : float
        How much of the block is done, 0 to 1, as far as is known.
    worker : str
        Address of the dask worker; empty outside dask.
    host : str
    pid : int
    """

    stage: str
    block: int
    since: float
    share: float = 0.0
    worker: str = ""
    host: str = ""
    pid: int = 0


_OF_THREAD = threading.local()


class Marker:
    """Says, while it is open as a context manager, which block this thread is at."""

    def __init__(self, work: Path) -> None:
        self._worker, self._host, self._pid = _worker(), socket.gethostname(), os.getpid()
        self._path = Path(work) / FOLDER / f"{self._host}.{self._pid}.{threading.get_ident()}"
        self._file: int | None = None
        self._names: dict[str, str] = {}
        self._begun, self._share = "", 0.0
        self._end = json.dumps({"worker": self._worker, "host": self._host, "pid": self._pid})[1:]

    def __enter__(self) -> Marker:
        _OF_THREAD.marker = self
        # A mark is worth no block: where none can be written, the work goes on without.
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(exist_ok=True)
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        return self

    def at(self, stage: str, block: int) -> None:
        """This thread begins with a block of a stage."""
        name = self._names.get(stage)
        if name is None:
            name = self._names[stage] = json.dumps(stage[:LONGEST_NAME])
        # Put together by hand: a block may take no longer than JSON does.
        self._begun = f'{{"stage": {name}, "block": {block}, "since": {time.time():.3f}, "share": '
        self._share = 0.0
        self._write()

    def add(self, share: float) -> None:
        """A further share of the block is done."""
        self._share = min(1.0, self._share + share)
        self._write()

    def _write(self) -> None:
        if self._file is None or not self._begun:
            return
        text = f"{self._begun}{self._share:.6f}, {self._end}".encode()
        if len(text) < BYTES:
            with contextlib.suppress(OSError):
                os.pwrite(self._file, text.ljust(BYTES), 0)

    def __exit__(self, *_: object) -> None:
        del _OF_THREAD.marker
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.close(self._file)
            self._path.unlink(missing_ok=True)


def advance(share: float) -> None:
    """A further share of the block that this thread is at is done."""
    if (marker := getattr(_OF_THREAD, "marker", None)) is not None:
        marker.add(share)


def read_marks(work: Path) -> dict[Path, Mark]:
    """All marks of a work folder by their files, also of processes that are gone."""
    found = {}
    for path in sorted((Path(work) / FOLDER).glob("*")):
        # A mark is removed, or still empty, while others are read.
        with contextlib.suppress(OSError, ValueError, TypeError):
            found[path] = Mark(**json.loads(path.read_bytes()))
    return found


def clear_marks(work: Path) -> None:
    """Remove what earlier runs left; one driver at a time, so nobody of this run is at work yet."""
    shutil.rmtree(Path(work) / FOLDER, ignore_errors=True)


def told(marks: Sequence[Mark], most: int = 3, *, staged: bool = False) -> str:
    """Blocks under way, for a line of text; with `staged` also the stage that each of them is in."""
    parts = []
    for mark in sorted(marks, key=lambda m: m.since)[:most]:
        share = f", {mark.share:.0%}" if mark.share else ""
        stage = f" in {mark.stage}" if staged else ""
        parts.append(f"block {mark.block}{stage} for {max(0.0, time.time() - mark.since):.0f} s{share}")
    more = f" and {len(marks) - most} more" if len(marks) > most else ""
    return ", ".join(parts) + more


def _worker() -> str:
    """Address of the dask worker that this thread works for."""
    if "distributed" not in sys.modules:
        return ""
    from distributed import get_worker

    try:
        return str(get_worker().address)
    except ValueError:
        return ""
