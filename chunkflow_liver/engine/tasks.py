"""The blocks of one pass, handed out in batches: here, or to the workers of a dask cluster."""

from __future__ import annotations

import itertools
import logging
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chunkflow_liver.engine.code.of_stage import code_text
from chunkflow_liver.engine.execute import execute, kept_memory
from chunkflow_liver.engine.stage import Map
from chunkflow_liver.engine.watch.marks import Mark
from chunkflow_liver.engine.watch.workforce import Workforce
from chunkflow_liver.errors import ClusterError

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)

BATCH_SECONDS = 1.0
MOST_BLOCKS_PER_BATCH = 512
TASKS_PER_WORKER = 3
COUNT_SECONDS = 10.0
"""How often the workers are counted anew."""
WAIT_SECONDS = 0.1
MOST_DEATHS = 3
"""A block at which so many workers ended is set aside; the run goes on without it."""
MOST_SUSPICIONS = 12
"""The same for a block that was lost alone so often, where nothing tells which block it was."""
HOPELESS = 8
"""A stage is given up when its first so many blocks all fail: the fault is not in the blocks."""


NOTHING: dict[str, Any] = {"done": [], "entries": [], "voxels": 0}
"""Of what `execute` finds, where a batch was lost."""


@dataclass
class Tasks:
    """The blocks of one pass that are still to do, in batches of about `BATCH_SECONDS`."""

    pending: Iterator[int]
    workers: int
    retries: int
    remaining: int
    again: deque[list[int]] = field(default_factory=deque)
    attempts: dict[int, int] = field(default_factory=dict)
    deaths: dict[int, int] = field(default_factory=dict)
    suspicions: dict[int, int] = field(default_factory=dict)
    left: dict[str, Mark] = field(default_factory=dict)
    failed: dict[int, dict[str, Any]] = field(default_factory=dict)
    seconds: float = 0.0
    done: int = 0

    def batch(self) -> list[int]:
        """Blocks for one task; empty when there are none left to hand out."""
        if self.hopeless:
            return []
        if self.again:
            return self.again.popleft()
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
                # A block that failed runs alone, so that it cannot take others with it.
                self.again.append([block])
            else:
                self.failed[block] = failure

    def lose(self, blocks: Sequence[int], culprit: int | None, stage: Map, *, begun: bool) -> None:
        """Blocks whose worker ended come again; one at which several workers ended is set aside.

        Parameters
        ----------
        blocks : sequence of int
            What the worker had.
        culprit : int or None
            The one it was at; None if that is not known, or if it was at none of them.
        stage : Map
            The stage that it was at.
        begun : bool
            Whether it may have been at one of `blocks`.
        """
        if culprit is None and begun and len(blocks) == 1:
            self.suspicions[blocks[0]] = self.suspicions.get(blocks[0], 0) + 1
            if self.suspicions[blocks[0]] >= MOST_SUSPICIONS:
                culprit, self.deaths[blocks[0]] = blocks[0], self.suspicions[blocks[0]]
        if culprit is None:
            self.again.extend([b] for b in blocks) if begun else self.again.append(list(blocks))
            return
        self.deaths[culprit] = times = self.deaths.get(culprit, 0) + 1
        if rest := [b for b in blocks if b != culprit]:
            self.again.append(rest)
        text = f"stage {stage.name!r}, block {culprit} ({stage.grid[culprit].write})"
        if times < MOST_DEATHS:
            log.warning("%s: its worker ended while it was at it, time %d; trying again", text, times)
            self.again.append([culprit])
            return
        why = (
            f"{text}: {times} workers ended while they were at it (a crash of a library, too little memory, "
            "or a signal), so it is set aside"
        )
        log.warning("%s", why)
        failure = {"block": culprit, "stage": stage.name, "error": why, "traceback": "", "deaths": times}
        self.failed[culprit] = failure


def hand_out(
    stages: Sequence[Map], tasks: Tasks, work: Path, client: Client | None
) -> Generator[dict[str, Any], None, None]:
    """What `execute` finds for every batch: in this process, or on the workers of `client`."""
    if client is not None:
        yield from _there(stages, tasks, work, client)
        return
    with kept_memory():
        while batch := tasks.batch():
            yield execute(stages, batch, work)


def _there(stages: Sequence[Map], tasks: Tasks, work: Path, client: Client) -> Iterator[dict[str, Any]]:
    """Keep a bounded number of tasks with the scheduler; what a dead worker had is handed out again."""
    from distributed import KilledWorker, as_completed

    running: dict[Any, list[int]] = {}
    ready = as_completed(loop=client.loop)
    force = Workforce(client, work)
    code = {stage.name: code_text(stage) for stage in stages}
    counted = time.monotonic()

    def submit() -> None:
        nonlocal counted
        if time.monotonic() - counted > COUNT_SECONDS:
            # Jobs of a queue start one by one.
            tasks.workers = max(1, sum(client.nthreads().values()))
            counted = time.monotonic()
        while len(running) < tasks.workers * TASKS_PER_WORKER and (batch := tasks.batch()):
            future = client.submit(execute, stages, batch, work, code, pure=False, retries=0)
            running[future] = batch
            ready.add(future)

    try:
        submit()
        while running:
            while not ready.has_ready():
                force.look()
                with ready.thread_condition:
                    ready.thread_condition.wait(timeout=WAIT_SECONDS)
            future = next(ready)
            batch = running.pop(future)
            found, err = _outcome(future, client)
            if found is not None:
                force.works()
                yield found
            elif isinstance(err, KilledWorker):
                _lost(stages, tasks, batch, err.last_worker.address, force)
                yield NOTHING | {"failed": []}
            elif isinstance(err, ClusterError):
                raise err
            else:
                names = ", ".join(repr(stage.name) for stage in stages)
                text = f"stage {names}, blocks {batch[0]}-{batch[-1]}: {err!r}"
                lost = {"stage": stages[0].name, "error": text, "traceback": ""}
                yield NOTHING | {"failed": [{"block": b} | lost for b in batch]}
            submit()
    finally:
        force.close()
        if running and client.status == "running":
            client.cancel(list(running))


def _outcome(future: Any, client: Client) -> tuple[dict[str, Any] | None, BaseException | None]:
    """What a task found, or its error; a worker may end when it is done, before its result is fetched."""
    from distributed import KilledWorker

    if future.status == "finished":
        try:
            return future.result(), None
        except KilledWorker as err:
            return None, err
    if client.status != "running":
        raise ClusterError("the dask scheduler is gone; run again to go on from here")
    return None, future.exception()


def _lost(stages: Sequence[Map], tasks: Tasks, batch: list[int], address: str, force: Workforce) -> None:
    """A worker ended that had `batch`; the block that it was at is found by the mark it left."""
    if address not in tasks.left and (mark := force.mark(address)) is not None:
        tasks.left[address] = mark
    left = tasks.left.get(address)
    force.died(address, explained=left is not None)
    if left is None or force.ended(address):
        tasks.lose(batch, None, stages[0], begun=left is None)
        return
    stage = next((s for s in stages if s.name.startswith(left.stage)), stages[0])
    tasks.lose(batch, left.block if left.block in batch else None, stage, begun=False)
