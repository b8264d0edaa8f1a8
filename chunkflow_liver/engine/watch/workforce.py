"""The workers of a run: those that die are replaced, those that hang are ended, and none left ends the run.

dask starts a worker again that dies at work. It does not if the new one dies while it starts, or takes
long: after `distributed.deploy.lost-worker-timeout` the cluster closes the nanny, and nobody opens another.
A client whose workers are all gone waits for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from chunkflow_liver.engine.cluster import WORKER_ENVIRONMENT
from chunkflow_liver.engine.watch.marks import Mark, read_marks
from chunkflow_liver.engine.watch.progress import tell
from chunkflow_liver.errors import ClusterError

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
NONE_LEFT_SECONDS = 120.0
"""A run without any worker for so long is ended."""
PAUSED_SECONDS = 60.0
"""A worker that takes no work for want of memory for so long, and does none, is begun anew."""
STOPPED_SECONDS, SILENT_SECONDS = 30.0, 300.0
"""A worker that has not been heard of for so long is begun anew: where its process is seen to be stopped, and
where that cannot be seen."""
STARTING_SECONDS = 30.0
"""A nanny without a process for so long is given up."""
REFILL_SECONDS = 180.0
"""How long workers that are opened in place of others may take."""
AGAIN_SECONDS = 90.0
"""After so long a worker that did not end is told so again."""
LINE_SECONDS = 30.0
MOST_UNEXPLAINED = 20
"""Workers that die one after the other before they begin a block end the run."""


@dataclass
class Workforce:
    """The workers of `client`, looked after while a pass of the run in the folder `work` waits for them."""

    client: Client
    work: Path
    most: int = 0
    _looked: float = 0.0
    _said: float = field(default_factory=time.monotonic)
    _any: float = field(default_factory=time.monotonic)
    _paused: dict[str, float] = field(default_factory=dict)
    _without: dict[Any, float] = field(default_factory=dict)
    _ended: dict[str, float] = field(default_factory=dict)
    _refill: Future[None] | None = None
    _why: str = ""
    _last: Mark | None = None
    _unexplained: int = 0
    _oom: int = field(default_factory=lambda: _ended_by_kernel())

    def look(self) -> None:
        """See who is there, at most every `LOOK_SECONDS`, and do what is to be done about it.

        Raises
        ------
        ClusterError
            If no worker is left, and none came back within `NONE_LEFT_SECONDS`; says why, as far as known.
        """
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS or self.client.status != "running":
            return
        self._looked = now
        try:
            workers = self.client.scheduler_info(n_workers=-1)["workers"]
        except OSError:
            # What is under way fails in a moment, and with better words.
            return
        self.most = max(self.most, len(workers))
        if len(workers) < self.most or not workers:
            self._replace({w["name"] for w in workers.values()}, now)
        self._end_paused(workers, now)
        self._end_silent(workers)
        if workers:
            self._any = now
            return
        if now - self._any > NONE_LEFT_SECONDS and not self._queued:
            raise ClusterError(self._text())
        if now - self._said > LINE_SECONDS:
            self._said = now
            tell("no worker is left for %.0f s, waiting for one", now - self._any)

    def mark(self, address: str) -> Mark | None:
        """The mark that a worker left which is gone, taken away; None if it left none."""
        for path, mark in read_marks(self.work).items():
            if mark.worker == address:
                path.unlink(missing_ok=True)
                self._last = mark
                return mark
        return None

    def ended(self, address: str) -> bool:
        """Whether a worker was ended from here, so that no block is to blame."""
        return address in self._ended

    def died(self, address: str, *, explained: bool) -> None:
        """Count a worker that is gone; those that end before any block begins are not replaced for ever.

        Raises
        ------
        ClusterError
        """
        self._unexplained = 0 if explained or address in self._ended else self._unexplained + 1
        if self._unexplained > MOST_UNEXPLAINED:
            raise ClusterError(
                f"{self._unexplained} workers one after the other ended before they began a block; the log "
                f"of the workers says why{self._memory()}. What is done is kept: mend the cause and run again"
            )

    def works(self) -> None:
        """A block is done: whatever happened before, workers can work."""
        self._unexplained = 0

    def close(self) -> None:
        """Stop what is under way."""
        if self._refill is not None:
            self._refill.cancel()

    @property
    def _queued(self) -> bool:
        """Whether workers are jobs of a queue, which may be long."""
        return hasattr(self.client.cluster, "job_cls")

    def _replace(self, names: set[Any], now: float) -> None:
        """Have a cluster of ours start what it lacks; one attempt at a time, in its own thread."""
        cluster = self.client.cluster
        if not hasattr(cluster, "worker_spec"):
            return
        if self._refill is not None:
            if not self._refill.done():
                return
            if not self._refill.cancelled() and (err := self._refill.exception()):
                self._why = f"{type(err).__name__}: {err}"
        gone = []
        for name, worker in list(cluster.workers.items()):
            if name in names or not hasattr(worker, "is_alive") or worker.is_alive():
                self._without.pop(name, None)
            elif now - self._without.setdefault(name, now) > STARTING_SECONDS or worker.status.name in (
                "closed",
                "failed",
            ):
                gone.append(name)
                del self._without[name]
        if gone or set(cluster.worker_spec) - set(cluster.workers):
            loop = cluster.loop.asyncio_loop
            self._refill = asyncio.run_coroutine_threadsafe(_refilled(cluster, gone), loop)

    def _end_paused(self, workers: dict[str, Any], now: float) -> None:
        """Begin workers anew that take no work: their memory is full, and what they hold they keep."""
        paused = {a: w for a, w in workers.items() if w["status"] == "paused"}
        self._paused = {a: self._paused.get(a, now) for a in paused}
        for address, since in self._paused.items():
            busy = paused[address]["metrics"].get("task_counts", {}).get("executing", 0)
            if now - since > PAUSED_SECONDS and not busy:
                self._end(address, f"it has taken no work for {now - since:.0f} s, its memory is full")

    def _end_silent(self, workers: dict[str, Any]) -> None:
        for address, worker in workers.items():
            silent = time.time() - worker["last_seen"]
            why = f"it has said nothing for {silent:.0f} s"
            process = self._stopped(address, worker) if silent > STOPPED_SECONDS else None
            if process is not None:
                # At once, and without asking it: its nanny starts another.
                log.warning("the worker at %s is ended and begun anew: %s, it is stopped", address, why)
                self._ended[address] = time.monotonic()
                with contextlib.suppress(psutil.Error):
                    process.kill()
            elif silent > SILENT_SECONDS:
                self._end(address, why)

    def _stopped(self, address: str, worker: dict[str, Any]) -> psutil.Process | None:
        """The process of a worker on this machine, if it is stopped, as a signal does it."""
        nanny = getattr(self.client.cluster, "workers", {}).get(worker["name"])
        here = socket.gethostname()
        pids = [m.pid for m in read_marks(self.work).values() if m.worker == address and m.host == here]
        for pid in [*pids, getattr(nanny, "pid", None)]:
            if isinstance(pid, int):
                with contextlib.suppress(psutil.Error):
                    process = psutil.Process(pid)
                    if process.status() == psutil.STATUS_STOPPED:
                        return process
        return None

    def _end(self, address: str, why: str) -> None:
        """End a worker and start another in its place, in a thread: a hanging one takes its time."""
        now = time.monotonic()
        if now - self._ended.get(address, -AGAIN_SECONDS) < AGAIN_SECONDS:
            return
        self._ended[address] = now
        log.warning("the worker at %s is ended and begun anew: %s", address, why)

        def restart() -> None:
            try:
                self.client.restart_workers([address], timeout=60, raise_for_error=False)
            except (OSError, ValueError, RuntimeError, TimeoutError) as err:
                log.warning("the worker at %s could not be begun anew: %s", address, err)

        threading.Thread(target=restart, name="chunkflow-liver-restart", daemon=True).start()

    def _text(self) -> str:
        place = (
            "" if self._last is None else f"; one ended at block {self._last.block} of {self._last.stage!r}"
        )
        why = f"; starting another failed: {self._why}" if self._why else ""
        return (
            f"no worker is left of the {self.most} that began, and none came back within "
            f"{NONE_LEFT_SECONDS:.0f} s{place}{why}{self._memory()}. What is done is kept: run again to go on"
        )

    def _memory(self) -> str:
        killed = _ended_by_kernel() - self._oom
        if killed < 1:
            return ""
        return (
            f"; meanwhile the kernel ended {killed} process(es) of this machine for want of memory: fewer "
            "workers, or smaller blocks"
        )


async def _refilled(cluster: Any, gone: list[Any]) -> None:
    """Forget the nannies of `gone`, and let the cluster open what it was asked to have."""
    import dask

    for name in gone:
        worker = cluster.workers.pop(name, None)
        if worker is not None:
            # One that died while it started may never finish closing.
            await asyncio.wait([asyncio.ensure_future(worker.close())], timeout=5)
    with dask.config.set(WORKER_ENVIRONMENT):
        task = cluster._correct_state()
        try:
            # It holds the cluster's lock: one that never starts would keep the cluster from being closed.
            if not (await asyncio.wait([task], timeout=REFILL_SECONDS))[0]:
                raise TimeoutError(f"no worker within {REFILL_SECONDS:.0f} s")
            task.result()
        finally:
            task.cancel()


def _ended_by_kernel() -> int:
    """Processes that the kernel of this machine has ended for want of memory (Linux; 0 elsewhere)."""
    with contextlib.suppress(OSError, ValueError), open("/proc/vmstat") as file:
        for line in file:
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
