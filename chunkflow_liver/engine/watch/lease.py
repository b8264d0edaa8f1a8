"""Who holds a work folder, and whether that process is still there."""

from __future__ import annotations

import getpass
import json
import os
import socket
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

RENEWED_SECONDS = 20.0
STALE_SECONDS = 300.0
"""A holder on another machine that has said nothing for so long counts as gone; clocks differ."""


@dataclass(frozen=True)
class Holder:
    """The process that works in a folder.

    Attributes
    ----------
    pid : int
    user, host : str
    started : float
        When the process began: another one may have its number later.
    seen : float
        When it last said that it is there, in seconds since 1970 by its own clock.
    """

    pid: int
    user: str
    host: str
    started: float
    seen: float

    @property
    def alive(self) -> bool:
        """Whether it still works, as far as can be told from this machine."""
        if self.host != socket.gethostname():
            return time.time() - self.seen < STALE_SECONDS
        try:
            process = psutil.Process(self.pid)
            return process.create_time() == self.started and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def __str__(self) -> str:
        return f"process {self.pid} of {self.user} on {self.host}"


class Lease:
    """States in a file who holds the folder, and renews that until it is given up."""

    def __init__(self, work: Path) -> None:
        now = time.time()
        started = psutil.Process().create_time()
        self._path = _path(work)
        self._holder = Holder(os.getpid(), _user(), socket.gethostname(), started, now)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="chunkflow-liver-lease", daemon=True)

    def take(self) -> None:
        """Write the file, and keep it fresh in the background."""
        self._write()
        self._thread.start()

    def give_up(self) -> None:
        """Remove the file."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._path.unlink(missing_ok=True)

    def _renew(self) -> None:
        while not self._ended.wait(RENEWED_SECONDS):
            try:
                self._write()
            except OSError:
                # A full disk fails the run itself, with its own words; the lease only grows old.
                continue

    def _write(self) -> None:
        partial = self._path.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(replace(self._holder, seen=time.time()))))
        os.replace(partial, self._path)


def holder_of(work: Path) -> Holder | None:
    """Who holds a work folder, or held it when it ended without a word; None if nobody."""
    try:
        return Holder(**json.loads(_path(work).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _path(work: Path) -> Path:
    return Path(work) / ".lock.json"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"
