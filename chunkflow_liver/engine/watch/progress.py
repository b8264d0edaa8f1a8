"""Progress of a stage: a bar on a terminal, a plain line every half minute elsewhere, also within a block.

Lines go to the log. Where nobody set up logging, in a script or a notebook, they go to stderr.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from chunkflow_liver.engine.watch.marks import Mark, read_marks, told

log = logging.getLogger(__name__)

LINE_SECONDS = 30.0
"""Nothing that takes long is silent for longer."""
BEAT_SECONDS = 0.5
BAR_SECONDS = 1.0


def tell(text: str, *values: object) -> None:
    """Log a line, or write it to a stderr that is no terminal where no handler would take it."""
    if log.hasHandlers():
        log.info(text, *values)
    elif not sys.stderr.isatty():
        sys.stderr.write(f"{text % values}\n")
        sys.stderr.flush()


@functools.cache
def tell_first_use() -> None:
    """Say why the first blocks take longer, where nothing is compiled yet; once per process."""
    package = Path(__file__).parents[2]
    kept = os.environ.get("NUMBA_CACHE_DIR")
    # Where the package cannot be written to, what is compiled lies in a folder that only Numba knows.
    known = bool(kept) or os.access(package, os.W_OK)
    if known and not any(Path(kept or package).rglob("*.nbi")):
        tell(
            "first use: every operation compiles its loops, once per environment, so that first blocks take "
            "up to a minute longer"
        )


class Beat:
    """Calls `line` in the background whenever `every` seconds went by in which nobody called `said`."""

    def __init__(self, line: Callable[[], None], every: float | None = None) -> None:
        self._line = line
        self._every = LINE_SECONDS if every is None else every
        self._last = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chunkflow-liver-progress", daemon=True)

    def said(self) -> None:
        """Something was said just now."""
        self._last = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time for a line."""
        return time.monotonic() - self._last > self._every

    def _run(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            if self.due:
                self.said()
                self._line()

    def __enter__(self) -> Beat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


@contextlib.contextmanager
def working(what: str, *, shown: bool = True) -> Iterator[None]:
    """Say every half minute that `what` is still under way; not on a terminal, where nothing scrolls by."""
    start = time.monotonic()

    def line() -> None:
        tell("%s: under way for %.0f s", what, time.monotonic() - start)

    with Beat(line) if shown else contextlib.nullcontext():
        yield


class Progress:
    """Counts blocks and voxels of one stage; use as a context manager.

    With `work`, lines also say which blocks are under way, and for how long.
    """

    def __init__(self, name: str, total: int, done: int, *, shown: bool, work: Path | None = None) -> None:
        self.name, self.total, self.done, self.resumed = name, total, done, done
        self.voxels = 0
        self.failed = 0
        self.start = time.monotonic()
        self.work = work
        self.beat: Beat | None = None
        self.bar: Any = None
        self.shown = shown

    def __enter__(self) -> Progress:
        if self.shown and self.done < self.total:
            tell_first_use()
        if self.shown and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self.bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[done]}/{task.total} blocks {task.fields[rate]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self.bar.start()
            self.task = self.bar.add_task(
                self.name, total=self.total, completed=self.done, done=self.done, rate=""
            )
            self.beat = Beat(self._move, BAR_SECONDS)
        elif self.shown:
            self.beat = Beat(self._line)
        if self.beat is not None:
            self.beat.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self.beat is not None:
            self.beat.__exit__()
        if self.bar is not None:
            self.bar.stop()
        elif self.shown:
            self._line()

    def add(self, blocks: int, voxels: int, failed: int) -> None:
        self.done += blocks
        self.voxels += voxels
        self.failed += failed
        self._move()

    def _move(self) -> None:
        """Bring the bar up to date, shares of blocks under way included."""
        if self.bar is not None:
            shares = sum(mark.share for mark in self._marks())
            self.bar.update(self.task, completed=self.done + shares, done=self.done, rate=self.rate)

    def _marks(self) -> list[Mark]:
        return [] if self.work is None else list(read_marks(self.work).values())

    @property
    def rate(self) -> str:
        """Voxels per second since this run began; nothing before the first block."""
        spent = max(1e-9, time.monotonic() - self.start)
        return f"{self.voxels / spent / 1e6:.2f} Mvoxel/s" if self.voxels else ""

    def _line(self) -> None:
        spent = time.monotonic() - self.start
        here = self.done - self.resumed
        more = f", {self.failed} failed attempts" if self.failed else ""
        more += f", {self.resumed} were there before" if self.resumed else ""
        if marks := self._marks():
            # In a pass of several stages the time of a block is that of one of them.
            more += f", under way: {told(marks, staged=' + ' in self.name)}"
        if here and self.done < self.total:
            more += f", about {spent / here * (self.total - self.done):.0f} s left"
        more = f", {self.rate}{more}" if self.voxels else more
        tell("%s: %d of %d blocks in %.1f s%s", self.name, self.done, self.total, spent, more)
