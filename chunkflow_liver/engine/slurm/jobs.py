"""The jobs of a SLURM queue that a cluster has: submitted, looked after, replaced when their time is up."""

from __future__ import annotations

import getpass
import logging
import os
import subprocess
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

LOOK_SECONDS = 30.0
"""Between two looks at the queue; controllers are shared, and sites ask not to ask often."""
ANSWER_SECONDS = 60
"""How long the controller may take to answer."""
MOST_MISSES = 3
"""Jobs in a row that end before their worker reports; then no more of them are submitted."""
LIVE = {"PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING"}
LIVE |= {"STAGE_OUT", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
"""States of jobs that run, or will."""


@dataclass
class Jobs:
    """The jobs of a cluster, looked at every `LOOK_SECONDS` in a thread of its own until `stop`.

    A job whose time is up, whose node fails or that is preempted is submitted again. One that somebody
    cancels is not, nor, after `MOST_MISSES` in a row, one that ends before its worker reports.

    Attributes
    ----------
    text : str
        States of the jobs, in words.
    ended : str
        Why no job is left; '' as long as one is.
    """

    cluster: Any
    folder: Path
    name: str
    pages: bool = False
    text: str = "submitted"
    ended: str = ""
    misses: int = 0
    last: str = ""
    said: str = ""
    seen: set[str] = field(default_factory=set)
    client: Any = None
    stopping: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None

    @property
    def dashboard_link(self) -> str:
        """Where the dashboard is, seen from this machine."""
        server = self.cluster.scheduler.http_server
        if server.address in ("0.0.0.0", "::"):
            return str(self.cluster.dashboard_link)
        return f"http://{server.address}:{server.port}/status"

    def submit(self, jobs: int) -> None:
        """Put jobs into the queue until there are `jobs`; raises RuntimeError with what sbatch says."""
        while len(self.cluster.worker_spec) < jobs:
            self.cluster.worker_spec.update(self.cluster.new_worker_spec())
        self.cluster.sync(self._settle)
        numbers = ", ".join(sorted(str(job.job_id) for job in self.cluster.workers.values()))
        log.info("SLURM jobs in the queue: %s; their logs are in %s", numbers, self.folder)

    def watch(self, client: Any) -> None:
        """Begin to look; `client` is closed when no job is left, so that nothing waits for workers."""
        self.client = client
        self.thread = threading.Thread(target=self._watch, name="chunkflow-liver-slurm", daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """Look no more."""
        self.stopping.set()
        if self.thread is not None:
            self.thread.join(ANSWER_SECONDS)

    def close(self) -> None:
        """Take away the files with the keys of the workers."""
        for key in ("ca_file", "cert", "key"):
            if (file := getattr(self.cluster, f"_job_{key}", None)) is not None:
                file.close()

    def _watch(self) -> None:
        # Soon after the start: most mistakes end jobs at once.
        wait = min(5.0, LOOK_SECONDS)
        while not self.stopping.wait(wait):
            wait = LOOK_SECONDS
            try:
                states = job_states()
            except (OSError, subprocess.SubprocessError) as err:
                log.debug("squeue failed: %s", err)
                continue
            self.look(states)
            if self.ended:
                log.error("%s", self.ended)
                self.client.close()
                return

    def look(self, states: dict[str, tuple[str, str]]) -> None:
        """Compare the jobs with `states` (state and reason by number), and submit what is missing."""
        self.cluster.sync(self._look, states)

    async def _look(self, states: dict[str, tuple[str, str]]) -> None:
        spec, workers = self.cluster.worker_spec, self.cluster.workers
        connected = [str(worker.name) for worker in self.cluster.scheduler.workers.values()]
        counts: Counter[str] = Counter()
        for name in list(spec):
            number = str(getattr(workers.get(name), "job_id", None) or "")
            if number and any(c == str(name) or c.startswith(f"{name}-") for c in connected):
                self.seen.add(number)
                self.misses = 0
            state, reason = states.get(number, ("GONE", ""))
            if number and state in LIVE:
                counts[state if reason in ("", "None") else f"{state} ({reason})"] += 1
                continue
            workers.pop(name, None)
            if number:
                self._lost(name, number, state)
        if missing := len(set(spec) - set(workers)):
            try:
                await self._settle()
                counts["submitted"] = missing
            except RuntimeError as err:
                # Limits on jobs, or a controller that is restarted: tried again at the next look.
                counts["not submitted"] = missing
                if (text := said(err)) != self.said:
                    log.warning("a SLURM job cannot be submitted now: %s", text)
                self.said = text
        self.text = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
        if not spec:
            self.ended = f"no SLURM job is left ({self.last}); what is done is kept, run again to go on"

    def _lost(self, name: Any, number: str, state: str) -> None:
        """Tell of a job that ended, and leave it out from now on if it is not to be submitted again."""
        if number not in self.seen:
            self.misses += 1
        cancelled = state.startswith("CANCELLED")
        again = not cancelled and self.misses < MOST_MISSES
        if not again:
            del self.cluster.worker_spec[name]
        what = f"job {number} {'is gone' if state == 'GONE' else f'ended: {state}'}"
        self.last = what + ("" if cancelled else self._log_of(number))
        after = "another one is submitted" if again else f"jobs left: {len(self.cluster.worker_spec)}"
        log.warning("SLURM %s; %s", what, after)

    def _log_of(self, number: str) -> str:
        """The last lines that job `number` wrote, and where they stand."""
        path = self.folder / f"{self.name}-{number}.err"
        try:
            lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
        except OSError:
            return f"; no log at {path}: do all nodes see this folder, and is it there that jobs may write?"
        where = "" if number in self.seen else _reach()
        return f"; its log {path} ends with {' / '.join(lines[-2:])!r}{where}"

    async def _settle(self) -> None:
        """Submit what is missing; a cluster cannot be closed with jobs that look as if they will start."""
        from distributed.core import Status

        try:
            await self.cluster
        except RuntimeError:
            for job in self.cluster.workers.values():
                if not job.job_id:
                    job.status = Status.failed
            raise


def job_states() -> dict[str, tuple[str, str]]:
    """State and reason of every job of this user that SLURM remembers, by number."""
    answer = ask("squeue", "--noheader", f"--user={getpass.getuser()}", "--states=all", "--format=%i|%T|%r")
    rows = [line.strip().split("|", 2) for line in answer.splitlines() if line.count("|") >= 2]
    return {number: (state, reason) for number, state, reason in rows}


def ask(*command: str) -> str:
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=ANSWER_SECONDS, stdin=subprocess.DEVNULL
    )
    return done.stdout


def said(err: RuntimeError) -> str:
    """What a command that dask-jobqueue ran wrote to stderr."""
    lines = str(err).partition("stderr:\n")[2].strip().splitlines() or str(err).splitlines()
    return " ".join(line.removeprefix("sbatch: error: ").strip() for line in lines)


def interfaces() -> list[str]:
    import psutil

    return sorted(name for name, state in psutil.net_if_stats().items() if state.isup)


def _reach() -> str:
    return (
        f"; if it could not reach this machine ({os.uname().nodename}), name the network that the nodes "
        f"share with the option interface=NAME: {interfaces()}"
    )
