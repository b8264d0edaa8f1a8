"""A cluster whose workers are jobs of a SLURM queue."""

from __future__ import annotations

import difflib
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

from chunkflow_liver.engine.slurm.jobs import ANSWER_SECONDS, Jobs, ask, interfaces, said
from chunkflow_liver.engine.worker import ENVIRONMENT, GPUS_PER_JOB, SILENT
from chunkflow_liver.errors import ClusterError, install


def start(
    jobs: int, memory_gib: float, gpus_per_job: int | None, folder: Path, options: dict[str, Any]
) -> tuple[Any, Jobs]:
    """A cluster of `jobs` SLURM jobs that are in the queue, and what looks after them.

    Parameters
    ----------
    jobs : int
        Number of jobs.
    memory_gib : float
        Memory of each worker process.
    gpus_per_job : int, optional
        GPUs of each job; it gets one worker process for each.
    folder : Path
        Folder that every node sees, for logs and keys of the jobs.
    options : dict
        Options of `SLURMCluster`, checked.

    Raises
    ------
    ClusterError
        If a program is missing, the controller does not answer, or the jobs are refused.
    """
    try:
        dask_jobqueue = jobqueue()
        import dask
        from distributed.security import Security

        security = options.get("security", True)
        if security is True:
            security = Security.temporary()
    except ImportError as err:
        raise ClusterError(
            f"a SLURM cluster needs {err.name or 'cryptography'!r}; {install('dask_jobqueue')}"
        ) from err
    if not security:
        raise ClusterError(
            "security=False would let every user of the SLURM cluster run code as you; leave it out"
        )
    partitions = controller(options)
    if (name := options.get("interface")) is not None and name not in (there := interfaces()):
        raise ClusterError(f"no network interface {name!r} on this machine; there are {there}")
    wanted = settings(memory_gib, gpus_per_job, folder, options)
    for place in {wanted["log_directory"], wanted["shared_temp_directory"]}:
        if len(place.split()) != 1:
            raise ClusterError(
                f"the folder {place!r} of job logs and keys has a space in its name, which job scripts "
                "cannot carry; choose one with the options log_directory and shared_temp_directory"
            )
        Path(place).mkdir(parents=True, exist_ok=True)
    pages = wanted["scheduler_options"].get("dashboard", True)
    try:
        with dask.config.set({} if pages else SILENT):
            made = dask_jobqueue.SLURMCluster(**{**wanted, "security": security})
    except (ValueError, TypeError, RuntimeError, OSError) as err:
        raise ClusterError(f"dask-jobqueue refuses the SLURM cluster: {err}") from err
    found = Jobs(made, Path(wanted["log_directory"]), wanted["job_name"], pages=pages)
    try:
        found.submit(jobs)
    except RuntimeError as err:
        asked = [line[8:] for line in made.job_header.splitlines() if line.startswith("#SBATCH ")]
        made.close()
        found.close()
        raise ClusterError(
            f"SLURM refused the job: {said(err)}; it asked for {' '.join(asked)}; "
            f"partitions are {partitions}; mend --memory-gib, --gpus-per-job or --cluster-option"
        ) from err
    return made, found


def jobqueue() -> Any:
    """The package dask_jobqueue, without what it does to Ctrl-C.

    Importing it makes Ctrl-C end a process at once, without a word and with the status of success.
    """
    before = signal.getsignal(signal.SIGINT)
    import dask_jobqueue

    if signal.getsignal(signal.SIGINT) is not before:
        signal.signal(signal.SIGINT, before)
    return dask_jobqueue


def controller(options: dict[str, Any]) -> str:
    """The partitions as SLURM's controller tells them, in words; asks before anything is started.

    Raises
    ------
    ClusterError
        If programs of SLURM are missing, the controller does not answer, or there is no such partition.
    """
    for program in ("sbatch", "squeue", "sinfo", "scancel"):
        if shutil.which(program) is None:
            raise ClusterError(
                f"no {program!r} on this machine: start the run on a login node of the SLURM cluster "
                "('module load slurm' on some), or without SLURM (--workers N)"
            )
    try:
        answer = ask("sinfo", "--noheader", "--all", "--format=%P %l %G")
    except (OSError, subprocess.SubprocessError) as err:
        text = getattr(err, "stderr", "") or f"no answer within {ANSWER_SECONDS} s"
        raise ClusterError(
            f"SLURM's controller does not answer: 'sinfo' says {text.strip()!r}; 'scontrol ping' tells "
            "whether it is up; try again later, or run without SLURM (--workers N): what is done is kept"
        ) from err
    rows = [line.split(None, 2) for line in answer.splitlines() if len(line.split()) == 3]
    names = {row[0].rstrip("*") for row in rows}
    elsewhere = any(d.startswith(("-M", "--clusters")) for d in options.get("job_extra_directives", ()))
    for queue in [] if elsewhere else str(options.get("queue", "")).split(","):
        if queue and names and queue not in names:
            close = difflib.get_close_matches(queue, sorted(names), n=1)
            meant = f"did you mean {close[0]!r}? " if close else ""
            raise ClusterError(f"SLURM has no partition {queue!r}; {meant}there are {sorted(names)}")
    return "; ".join(
        f"{name.rstrip('*')} ({'default, ' if name.endswith('*') else ''}up to {limit}"
        f"{'' if gres == '(null)' else f', {gres}'})"
        for name, limit, gres in rows
    )


def settings(
    memory_gib: float, gpus_per_job: int | None, folder: Path, options: dict[str, Any]
) -> dict[str, Any]:
    """All options of `SLURMCluster`: those given, over ours.

    Notes
    -----
    Lists are added to, not replaced. The scheduler listens where nodes reach it, with TLS; what it and the
    workers serve by HTTP, which knows no password, is bound to the loopback interface of each machine;
    without a `dashboard_address` that is nothing.
    """
    import dask

    # Its defaults are part of dask's configuration once it is imported.
    jobqueue()
    given = dict(options)
    section = given.get("config_name", "slurm")
    processes = given.get("processes", gpus_per_job or 1)

    def listed(name: str) -> list[str]:
        kept = dask.config.get(f"jobqueue.{section}.{name.replace('_', '-')}", default=None)
        return list(given.pop(name, None) or kept or [])

    configured = dask.config.get(f"jobqueue.{section}.scheduler-options", default=None) or {}
    scheduler = {**configured, **given.pop("scheduler_options", {})}
    scheduler |= {key: given.pop(key) for key in ("dashboard_address", "host") if key in given}
    asked = "dashboard_address" in scheduler
    scheduler = {"dashboard_address": "127.0.0.1:0", **({} if asked else {"dashboard": False}), **scheduler}
    gpus = [f"--gres=gpu:{gpus_per_job}"] if gpus_per_job else []
    exports = [f"export {name}={value}" for name, value in ENVIRONMENT.items()]
    exports += [f"export {GPUS_PER_JOB}={gpus_per_job}"] if gpus_per_job else []
    exports += [] if asked else ["export DASK_DISTRIBUTED__WORKER__HTTP__ROUTES=[]"]
    arguments = ["--preload", "chunkflow_liver.engine.worker", "--dashboard-address", "127.0.0.1:0"]
    return {
        "cores": processes,
        "processes": processes,
        "memory": f"{memory_gib * processes:g}GiB",
        "job_name": "chunkflow-liver",
        "log_directory": str(folder),
        "shared_temp_directory": str(folder),
        "job_extra_directives": [*gpus, *listed("job_extra_directives")],
        "job_directives_skip": listed("job_directives_skip"),
        "job_script_prologue": [*exports, *listed("job_script_prologue")],
        "worker_extra_args": [*arguments, *listed("worker_extra_args")],
        "scheduler_options": scheduler,
        **given,
    }
