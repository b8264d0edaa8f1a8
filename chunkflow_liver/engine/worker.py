"""What a worker process of a cluster of ours sets up when it starts; dask loads this module there."""

from __future__ import annotations

import logging
import os
import signal
from typing import Any

ENVIRONMENT = {
    "MALLOC_TRIM_THRESHOLD_": 1 << 30,
    "MALLOC_MMAP_THRESHOLD_": 1 << 30,
    "OMP_NUM_THREADS": 1,
    "MKL_NUM_THREADS": 1,
    "OPENBLAS_NUM_THREADS": 1,
}
"""Blocks allocate and free the same few megabytes over and over. dask's default gives each back to the
kernel at once, and faulting them in again took 65 % of the CPU time of phantom blocks; keeping them makes
those 4 times faster at the same peak."""
SILENT: dict[str, list[str]] = {
    f"distributed.{who}.http.routes": [] for who in ("scheduler", "worker", "nanny")
}
"""Pages of dask: what runs, and on which machine, is for nobody else of it who asks. dask knows no token."""
GPUS_PER_JOB = "CHUNKFLOW_LIVER_GPUS_PER_JOB"
"""Variable with the number of GPUs that the workers of a job share out among them."""


def dask_setup(worker: Any) -> None:
    """Leave Ctrl-C to the process that started the workers.

    A terminal sends it to all of them. The first process keeps what is done and ends the workers; each would
    print a traceback of its own.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A run that ends early cancels its tasks; dask warns of each that it cannot stop.
    logging.getLogger("distributed.worker.state_machine").setLevel(logging.ERROR)
    # A scheduler that is closed first leaves workers without an answer; they end in a moment.
    logging.getLogger("distributed.worker").addFilter(lambda r: "during heartbeat" not in r.getMessage())
    if int(os.environ.get(GPUS_PER_JOB, 0)) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = own_gpu(str(worker.name), os.environ["CUDA_VISIBLE_DEVICES"])


def own_gpu(name: str, visible: str) -> str:
    """The one of the `visible` GPUs of a job that is for worker `name`; its name ends in its number.

    To be set before CUDA is first used in the process.
    """
    gpus = visible.split(",")
    return gpus[int(name.rpartition("-")[2]) % len(gpus)]
