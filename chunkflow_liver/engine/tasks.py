"""The blocks of one pass, handed out in batches: here, or to the workers of a dask cluster."""

from __future__ import annotations

import itertools
import logging
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chunkflow_liver.engine.execute import execute, kept_memory
from chunkflow_liver.engine.stage import Map
from chunkflow_liver.errors import ClusterError

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)

BATCH_SECONDS = 1.0
MOST_BLOCKS_PER_BATCH = 512
TASKS_PER_WORKER = 3
COUNT_SECONDS = 10.0
"""How often the workers are counted anew."""
HOPELESS = 8
"""A stage is given up when its first so many blocks all fail: the fault is not in the blocks."""


@dataclass
class Tasks:
    """The blocks of one pass that are still to do, in batches of about `BATCH_SECONDS`."""

    pending: Iterator[int]
    workers: int
    retries: int
    remaining: int
    again: deque[int] = field(default_factory=deque)
    attempts: dict[int, int] = field(default_factory=dict)
    failed: dict[int, dict[str, Any]] = field(default_factory=dict)
    seconds: float = 0.0
    done: int = 0

    def batch(self) -> list[int]:
        """Blocks for one task; empty when there are none left to hand out."""
        if self.hopeless:
            return []
        if self.again:
            # A block that failed runs alone, so that it cannot take others with it.
            return [self.again.popleft()]
        size = 1
        if self.done:
            mean = self.seconds / self.done
            fair = max(1, self.remaining // (self.workers * 4))
            size = int(min(max(1.0, BATCH_SECONDS / max(mean, 1e-6)), MOST_BLOCKS_PER_BATCH, fair))
        blocks = list(itertools.islice(self.pending, size))
        self.remaining -= len(blocks)
        return blocks

    @property
    def hopeless(self) -> bool:
        return self.done == 0 and len(self.failed) >= HOPELESS

    def finish(self, blocks: int, seconds: float, failed: Sequence[dict[str, Any]]) -> None:
        """Count blocks that are done; those that failed come again, or are given up, at once if for good."""
        self.done += blocks
        self.seconds += seconds
        for failure in failed:
            block = failure["block"]
            self.attempts[block] = self.attempts.get(block, 0) + 1
            if self.attempts[block] <= self.retries and not failure.get("permanent"):
                log.warning("%s; tried %d time(s), trying again", failure["error"], self.attempts[block])
                self.again.append(block)
            else:
                self.failed[block] = failure


def hand_out(
    stages: Sequence[Map], tasks: Tasks, work: Path, client: Client | None
) -> Iterator[dict[str, Any]]:
    """What `execute` finds for every batch: in this process, or on the workers of `client`."""
    if client is not None:
        yield from _there(stages, tasks, work, client)
        return
    with kept_memory():
        while batch := tasks.batch():
            yield execute(stages, batch, work)


def _there(stages: Sequence[Map], tasks: Tasks, work: Path, client: Client) -> Iterator[dict[str, Any]]:
    """Keep a bounded number of tasks with the scheduler; a lost worker costs its batch an attempt."""
    from distributed import as_completed

    running: dict[Any, list[int]] = {}
    ready = as_completed(loop=client.loop)

    counted = time.monotonic()

    def submit() -> None:
        nonlocal counted
        if time.monotonic() - counted > COUNT_SECONDS:
            # Jobs of a queue start one by one.
            tasks.workers = max(1, sum(client.nthreads().values()))
            counted = time.monotonic()
        while len(running) < tasks.workers * TASKS_PER_WORKER and (batch := tasks.batch()):
            future = client.submit(execute, stages, batch, work, pure=False, retries=0)
            running[future] = batch
            ready.add(future)

    try:
        submit()
        while running:
            future = next(ready)
            batch = running.pop(future)
            if future.status == "finished":
                found = future.result()
            elif client.status != "running":
                raise ClusterError("the dask scheduler is gone; run again to go on from here")
            else:
                names = ", ".join(repr(stage.name) for stage in stages)
                text = f"stage {names}, blocks {batch[0]}-{batch[-1]}: {future.exception()!r}"
                lost = {"stage": stages[0].name, "error": text, "traceback": ""}
                found = {"done": [], "entries": [], "failed": [{"block": b} | lost for b in batch]}
            yield found
            submit()
    finally:
        if running and client.status == "running":
            client.cancel(list(running))
