"""Start a cluster so that Ctrl-C is heard at once by this process, and by none of those it starts."""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, TimeoutError
from multiprocessing import resource_tracker
from typing import Any

from chunkflow_liver.errors import ClusterError

POLL_SECONDS = 0.2
LONGEST_S = 300.0
"""Longest wait for all workers of this machine: dask would wait for ever for one that stands still."""


def started(start: Callable[..., Any], *arguments: Any) -> Any:
    """What `start(*arguments)` returns; it runs in a thread in which SIGINT is blocked.

    Threads and processes that begin there have it blocked too. A terminal sends Ctrl-C to all processes: one
    that is only starting would print a traceback of its own.

    Raises
    ------
    ClusterError
        If a worker ends while it starts, or has not begun after `LONGEST_S`: one that stands still.
    KeyboardInterrupt
        At Ctrl-C; what was started is ended.
    """
    before = set(multiprocessing.active_children())
    found: Future[Any] = Future()

    def run() -> None:
        # Python's own tracker unblocks the signal in the thread that first needs it.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            found.set_result(start(*arguments))
        except BaseException as err:  # noqa: BLE001 - raised in the thread that waits
            found.set_exception(err)

    threading.Thread(target=run, name="chunkflow-liver-start", daemon=True).start()
    until = time.monotonic() + LONGEST_S
    try:
        while True:
            try:
                return found.result(timeout=POLL_SECONDS)
            except TimeoutError:
                if found.done():
                    raise
            if time.monotonic() > until:
                _abandon(before)
                raise ClusterError(
                    f"the workers have not begun within {LONGEST_S:g} s: one of them may be stopped, or the "
                    "machine be too busy; run again, or with fewer workers"
                )
    except KeyboardInterrupt:
        _abandon(before)
        raise
    except (RuntimeError, TimeoutError, OSError) as err:
        if isinstance(err, ClusterError):
            raise
        raise ClusterError(
            f"the workers did not start: {type(err).__name__}: {err}; run again, or with fewer workers"
        ) from err


def _abandon(before: set[Any]) -> None:
    """End the processes of a cluster that is half started; dask would close it at exit, and fail."""
    from distributed.deploy.spec import SpecCluster

    for cluster in list(SpecCluster._instances):
        if cluster.status.name != "running":
            SpecCluster._instances.discard(cluster)
    for process in set(multiprocessing.active_children()) - before:
        process.kill()
