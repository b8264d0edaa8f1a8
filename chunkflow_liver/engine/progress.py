"""Progress of a stage: a bar on a terminal, a plain line every half minute elsewhere.

Lines go to the log. Where nobody set up logging, in a script or a notebook, they go to stderr.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

log = logging.getLogger(__name__)

LINE_SECONDS = 30.0


def tell(text: str, *values: object) -> None:
    """Log a line, or write it to a stderr that is no terminal where no handler would take it."""
    if log.hasHandlers():
        log.info(text, *values)
    elif not sys.stderr.isatty():
        sys.stderr.write(f"{text % values}\n")
        sys.stderr.flush()


class Progress:
    """Counts blocks and voxels of one stage; use as a context manager."""

    def __init__(self, name: str, total: int, done: int, *, shown: bool) -> None:
        self.name, self.total, self.done, self.resumed = name, total, done, done
        self.voxels = 0
        self.failed = 0
        self.start = self.said = time.monotonic()
        self.bar: Any = None
        self.shown = shown

    def __enter__(self) -> Progress:
        if self.shown and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self.bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed}/{task.total} blocks {task.fields[rate]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self.bar.start()
            self.task = self.bar.add_task(self.name, total=self.total, completed=self.done, rate="")
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()
        elif self.shown:
            self._line()

    def add(self, blocks: int, voxels: int, failed: int) -> None:
        self.done += blocks
        self.voxels += voxels
        self.failed += failed
        if self.bar is not None:
            self.bar.update(self.task, completed=self.done, rate=f"{self.rate / 1e6:.2f} Mvoxel/s")
        elif self.shown and time.monotonic() - self.said > LINE_SECONDS:
            self.said = time.monotonic()
            self._line()

    @property
    def rate(self) -> float:
        """Voxels per second since this run began."""
        return self.voxels / max(1e-9, time.monotonic() - self.start)

    def _line(self) -> None:
        spent = time.monotonic() - self.start
        here = self.done - self.resumed
        more = f", {self.failed} failed attempts" if self.failed else ""
        more += f", {self.resumed} from an earlier run" if self.resumed else ""
        if here and self.done < self.total:
            more += f", about {spent / here * (self.total - self.done):.0f} s left"
        tell(
            "%s: %d of %d blocks in %.1f s, %.2f Mvoxel/s%s",
            self.name,
            self.done,
            self.total,
            spent,
            self.rate / 1e6,
            more,
        )
