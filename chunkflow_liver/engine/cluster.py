"""One dask cluster for a run: on this machine, on its GPUs, on SLURM, or one that is running already."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from chunkflow_liver.engine.devices import gpu_count
from chunkflow_liver.engine.options import check_options
from chunkflow_liver.engine.slurm import start as start_slurm
from chunkflow_liver.engine.slurm.jobs import Jobs
from chunkflow_liver.engine.watch.starting import started
from chunkflow_liver.engine.worker import ENVIRONMENT, SILENT
from chunkflow_liver.errors import ClusterError, install
from chunkflow_liver.parameters import documented

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)

WORKER_ENVIRONMENT = {
    "distributed.nanny.pre-spawn-environ": ENVIRONMENT,
    "distributed.worker.preload": ["chunkflow_liver.engine.worker"],
    # A task whose worker dies comes back at once: the run itself counts which block it was.
    "distributed.scheduler.allowed-failures": 0,
}
UNWATCHED = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "500ms",
    "distributed.admin.system-monitor.interval": "5s",
}
"""Where no page of dask shows them: for these figures each process woke up 150 times a second."""
MINUTE = 60.0
"""Between two lines that tell what is waited for."""

PATIENCE = {"distributed.deploy.lost-worker-timeout": 10**7}
"""dask gives up a worker that does not come back within 15 s, also one that is only slow to start again.
Who is lost the run decides itself: `watch.workforce` on this machine, SLURM for its jobs."""
CLOSE_SECONDS = 30
ANSWER_SECONDS = 30.0
"""Longest wait for a scheduler that runs already."""


@contextlib.contextmanager
@documented
def cluster(
    kind: str = "local",
    *,
    workers: int | None = None,
    memory_gib: float | None = None,
    scheduler: str | None = None,
    wait_s: float | None = None,
    gpus_per_job: int | None = None,
    folder: str | Path = ".",
    **options: Any,
) -> Iterator[Client]:
    """A dask client for `run`, closed at the end of the `with` block.

    Parameters
    ----------
    kind : {'local', 'cuda', 'slurm'}
        One process per CPU core, one per GPU (dask-cuda), or jobs of a SLURM queue (dask-jobqueue).
    workers : int, optional
        Number of processes or jobs; one per physical core or GPU by default.
    {worker_gib}
    {scheduler}
    wait_s : float, optional
        Longest time to wait for the first worker of a SLURM cluster or a running scheduler, in s; as long as
        it takes by default. Each minute a line of the log tells what is waited for.
    gpus_per_job : int, optional
        GPUs of each SLURM job; a job runs one worker process for each.
    folder : path
        Folder that all nodes of a SLURM cluster see, for logs and keys of its jobs.
    **options
        Passed to the cluster class (for SLURM: queue, account, walltime, ...).

    Raises
    ------
    ClusterError
        If the cluster cannot be had; says what is missing. Later, inside of the `with` block, if no job of a
        SLURM cluster is left; says why.

    Notes
    -----
    All ports are bound to the loopback interface, except on SLURM, where those of dask are reached by the
    nodes, over TLS with keys that only the jobs get. Elsewhere `security=True` has TLS too, with keys that
    are made for this cluster and lie in memory only: without it other users of the machine can run code
    through its ports. There is a dashboard if `dashboard_address` is given, such as '127.0.0.1:8787'; dask
    can ask for no password, so every user of the machine sees it.
    """
    if gpus_per_job is not None and (kind != "slurm" or scheduler is not None):
        raise ClusterError(
            f"gpus_per_job={gpus_per_job} is for clusters of kind 'slurm', got "
            f"{repr(kind) if scheduler is None else 'a running scheduler'}; 'cuda' has a worker for every GPU"
        )
    if scheduler is not None and options:
        raise ClusterError(f"a scheduler that runs already takes no options, got {sorted(options)}")
    from distributed import Client

    if scheduler is not None:
        with _running(scheduler) as client:
            first_worker(client, wait_s)
            yield client
        return
    if kind not in ("local", "cuda", "slurm"):
        raise ClusterError(f"no cluster of kind {kind!r}; there are 'local', 'cuda' and 'slurm'")
    import dask

    options = check_options(kind, options)
    jobs = None
    if kind == "slurm":
        place = Path(folder).absolute()
        made, jobs = start_slurm(workers or 1, memory_gib or 16, gpus_per_job, place, options)
    else:
        with dask.config.set(
            WORKER_ENVIRONMENT | ({} if "dashboard_address" in options else SILENT | UNWATCHED)
        ):
            # Others start no processes here.
            start = started if kind == "local" else _called
            made = start(_start, kind, workers, memory_gib, options)
    try:
        # Not the default of this process: a client that fails would leave dask without a scheduler.
        with dask.config.set(PATIENCE), Client(made, set_as_default=False) as client:
            if find_spec("bokeh") is not None and (
                "dashboard_address" in options if jobs is None else jobs.pages
            ):
                _tell_dashboard(client.dashboard_link if jobs is None else jobs.dashboard_link)
            if jobs is None:
                yield client
            else:
                with _looked_after(jobs, client):
                    first_worker(client, wait_s, jobs)
                    yield client
    finally:
        # All is done: that a process takes long to end, and is ended, is nothing to warn of.
        nannies = logging.getLogger("distributed.nanny")
        level = nannies.level
        nannies.setLevel(logging.ERROR)
        try:
            # A nanny whose worker died while it started may never finish closing.
            made.close(timeout=CLOSE_SECONDS)
        except TimeoutError:
            log.warning("workers did not end in time; they end with this process")
        finally:
            nannies.setLevel(level)
            if jobs is not None:
                jobs.close()


def _tell_dashboard(link: str) -> None:
    """Say where the dashboard is, and who else can look at it: dask knows neither password nor token."""
    if urlsplit(link).hostname in ("127.0.0.1", "localhost", "::1"):
        log.info("dashboard at %s; it has no password: every user of this machine can open it", link)
    else:
        log.warning(
            "dashboard at %s; it has no password: whoever reaches this machine can open it; "
            "dashboard_address=127.0.0.1:8787 and 'ssh -L 8787:127.0.0.1:8787 MACHINE' keep it to its users",
            link,
        )


def _running(scheduler: str) -> Client:
    """A client of a scheduler that runs already."""
    from distributed import Client

    key = "scheduler_file" if "://" not in scheduler and ":" not in scheduler else "address"
    if key == "scheduler_file" and not os.path.isfile(scheduler):
        # dask would wait for the file to appear, for ever.
        raise ClusterError(f"no dask scheduler file at {scheduler!r}; start the scheduler first")
    try:
        return Client(**{key: scheduler}, timeout=ANSWER_SECONDS, set_as_default=False)
    except (OSError, ValueError) as err:
        raise ClusterError(
            f"no dask scheduler answers at {scheduler!r} within {ANSWER_SECONDS:g} s: {err}"
        ) from err


def _called(start: Callable[..., Any], *arguments: Any) -> Any:
    return start(*arguments)


def _start(kind: str, workers: int | None, memory_gib: float | None, options: dict[str, Any]) -> Any:
    if "dashboard_address" not in options:
        # A port is opened all the same: nothing is behind it.
        options = {"scheduler_kwargs": {"dashboard": False}} | options
    if options.get("security") is True:
        options = options | {"security": _own_keys()}
    settings = {"threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"} | options
    if memory_gib is not None:
        settings["memory_limit"] = int(memory_gib * 2**30)
    if kind == "local":
        import psutil
        from distributed import LocalCluster

        n = workers or psutil.cpu_count(logical=False) or 1
        return LocalCluster(n_workers=n, **{"processes": True, **settings})
    try:
        from dask_cuda import LocalCUDACluster
    except (ImportError, ValueError, RuntimeError) as err:
        raise ClusterError(
            f"a GPU cluster needs dask-cuda and a CUDA driver ({err}); "
            f"{install('dask_cuda')}, or use --cluster local"
        ) from err
    gpus = gpu_count()
    if gpus == 0 or (workers or 0) > gpus:
        raise ClusterError(
            f"{workers or 'any number of'} GPU workers were asked for, this machine has {gpus} GPUs"
        )
    return LocalCUDACluster(n_workers=workers, **settings)


def _own_keys() -> Any:
    """Keys for one cluster, which nobody else gets."""
    from distributed.security import Security

    try:
        return Security.temporary()
    except ImportError as err:
        raise ClusterError(
            f"security=True needs {err.name or 'cryptography'!r}; {install('cryptography')}"
        ) from err


@contextlib.contextmanager
def _looked_after(jobs: Jobs, client: Client) -> Iterator[None]:
    """Have jobs that end replaced; when none is left, what fails for it says why."""
    jobs.watch(client)
    try:
        yield
    except (RuntimeError, OSError) as err:
        if jobs.ended and not (isinstance(err, ClusterError) and str(err) == jobs.ended):
            raise ClusterError(jobs.ended) from err
        raise
    finally:
        jobs.stop()


def first_worker(client: Client, wait_s: float | None = None, jobs: Jobs | None = None) -> None:
    """Wait until `client` has a worker, for `wait_s` s at most; a line of the log each minute says so.

    Raises
    ------
    ClusterError
        If none came in time, or none can come any more.
    """
    begun = told = time.monotonic()
    end = math.inf if wait_s is None else begun + wait_s
    while True:
        try:
            client.wait_for_workers(1, timeout=min(5.0, MINUTE, max(0.1, end - time.monotonic())))
            return
        except TimeoutError:
            now = time.monotonic()
        if jobs is not None and jobs.ended:
            raise ClusterError(jobs.ended)
        if client.status == "closed":
            raise ClusterError("the dask scheduler is gone; start it, and run again")
        what = "" if jobs is None else f" (SLURM jobs: {jobs.text})"
        if now >= end:
            raise ClusterError(
                f"the dask cluster has no workers, and none came within {wait_s:g} s{what}; "
                "wait longer (--wait), or without a limit"
            )
        if now - told >= MINUTE:
            told = now
            log.info("no worker yet after %.0f min, waiting%s", (now - begun) / MINUTE, what)
