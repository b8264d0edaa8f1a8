"""One dask cluster for a run: on this machine, on its GPUs, on SLURM, or one that is running already."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from chunkflow_liver.engine.devices import gpu_count
from chunkflow_liver.errors import ClusterError

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)

WORKER_ENVIRONMENT = {
    "distributed.nanny.pre-spawn-environ": {
        "MALLOC_TRIM_THRESHOLD_": 1 << 30,
        "MALLOC_MMAP_THRESHOLD_": 1 << 30,
        "OMP_NUM_THREADS": 1,
        "MKL_NUM_THREADS": 1,
        "OPENBLAS_NUM_THREADS": 1,
    },
    "distributed.worker.preload": ["chunkflow_liver.engine.worker"],
}
"""Blocks allocate and free the same few megabytes over and over. dask's default gives each back to the
kernel at once, and faulting them in again took 65 % of the CPU time of phantom blocks; keeping them makes
those 4 times faster at the same peak."""


@contextlib.contextmanager
def cluster(
    kind: str = "local",
    *,
    workers: int | None = None,
    memory_gib: float | None = None,
    scheduler: str | None = None,
    **options: Any,
) -> Iterator[Client]:
    """A dask client for `run`, closed at the end of the `with` block.

    Parameters
    ----------
    kind : {'local', 'cuda', 'slurm'}
        One process per CPU core, one per GPU (dask-cuda), or jobs of a SLURM queue (dask-jobqueue).
    workers : int, optional
        Number of processes or jobs; one per physical core or GPU by default.
    memory_gib : float, optional
        Memory of each worker; an equal share of the machine by default.
    scheduler : str, optional
        Address of a running dask scheduler, or the path of its scheduler file; then nothing is started.
    **options
        Passed to the cluster class (for SLURM: queue, account, walltime, ...).

    Raises
    ------
    ClusterError
        If the cluster cannot be had; says what is missing.

    Notes
    -----
    All ports are bound to the loopback interface, except on SLURM, where traffic is encrypted.
    """
    from distributed import Client

    if scheduler is not None:
        key = "scheduler_file" if "://" not in scheduler and ":" not in scheduler else "address"
        if key == "scheduler_file" and not os.path.isfile(scheduler):
            # dask would wait for the file to appear, for ever.
            raise ClusterError(f"no dask scheduler file at {scheduler!r}; start the scheduler first")
        try:
            client = Client(**{key: scheduler}, timeout=30, set_as_default=False)
        except (OSError, ValueError) as err:
            raise ClusterError(f"no dask scheduler answers at {scheduler!r} within 30 s: {err}") from err
        with client:
            yield client
        return
    import dask

    with dask.config.set(WORKER_ENVIRONMENT):
        made = _start(kind, workers, memory_gib, options)
    try:
        # Not the default of this process: a client that fails would leave dask without a scheduler.
        with Client(made, set_as_default=False) as client:
            log.info("dashboard at %s", client.dashboard_link)
            yield client
    finally:
        # All is done: that a process takes long to end, and is ended, is nothing to warn of.
        nannies = logging.getLogger("distributed.nanny")
        level = nannies.level
        nannies.setLevel(logging.ERROR)
        try:
            made.close()
        except TimeoutError:
            log.warning("workers did not end in time; they end with this process")
        finally:
            nannies.setLevel(level)


def _start(kind: str, workers: int | None, memory_gib: float | None, options: dict[str, Any]) -> Any:
    memory = {} if memory_gib is None else {"memory_limit": int(memory_gib * 2**30)}
    loopback = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    if kind == "local":
        import psutil
        from distributed import LocalCluster

        n = workers or psutil.cpu_count(logical=False) or 1
        return LocalCluster(
            n_workers=n, threads_per_worker=1, processes=True, **memory, **loopback, **options
        )
    if kind == "cuda":
        try:
            from dask_cuda import LocalCUDACluster
        except (ImportError, ValueError, RuntimeError) as err:
            raise ClusterError(
                f"a GPU cluster needs dask-cuda and a CUDA driver ({err}); "
                "pip install 'chunkflow-liver[gpu]', or use --cluster local"
            ) from err
        gpus = gpu_count()
        if gpus == 0 or (workers or 0) > gpus:
            raise ClusterError(
                f"{workers or 'any number of'} GPU workers were asked for, this machine has {gpus} GPUs"
            )
        return LocalCUDACluster(n_workers=workers, threads_per_worker=1, **memory, **loopback, **options)
    if kind == "slurm":
        try:
            from dask_jobqueue import SLURMCluster
        except ImportError as err:
            raise ClusterError(
                "a SLURM cluster needs 'dask_jobqueue'; pip install 'chunkflow-liver[slurm]'"
            ) from err
        import shutil

        if shutil.which("sbatch") is None:
            raise ClusterError(
                "no 'sbatch' on this machine: start the run on a login node of the SLURM cluster"
            )
        settings: dict[str, Any] = {"cores": 1, "processes": 1, "memory": f"{memory_gib or 16:g}GiB"}
        # Any user of a shared cluster can reach a dask port, and reaching it is running code as you.
        made = SLURMCluster(**{**settings, "shared_temp_directory": None, **options}, security=True)
        made.scale(jobs=workers or 1)
        return made
    raise ClusterError(f"no cluster of kind {kind!r}; there are 'local', 'cuda' and 'slurm'")
