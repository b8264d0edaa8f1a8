"""`uv run scripts/soak.py --minutes N [--kills W D] [--seed S] [--json FILE]`: runs to which all happens.

Workers and drivers are killed at random moments, workers and drivers stopped, a second driver started, the
disk filled (a small tmpfs, where one may be mounted), files of results, records, artefacts and inputs damaged
or deleted. After each accident the run is begun again, or repaired, until it ends; its bytes are then those
of a run to which nothing happened. It goes on for N minutes, and with `--kills` until so many workers and
drivers were killed, for twice the time at most. Each accident is a line of stdout, as it happens.
Exits with 1 if bytes differ or something ended without a reason.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import dask
import psutil
from soak_plan import chunks_and, digest, plan_in, write_source

import chunkflow_liver as cf
from chunkflow_liver.engine.journal import read_rows
from chunkflow_liver.engine.watch.marks import read_marks
from chunkflow_liver.engine.worker import ENVIRONMENT
from chunkflow_liver.errors import ChunkflowLiverError

LONGEST_S = 600.0
"""A driver that takes longer hangs."""
TMPFS_MIB = 24
REFUSED = 2
TAKEN = ("DiskBudgetError", "RunIncompleteError", "OutputError", "ClusterError")
"""What a run may end with while something happens to it; anything else is a failure of the run."""
OF_INPUT = (*TAKEN, "JournalError", "ChunkError", "InputError", "BlockError")
"""What it may end with while an input is damaged."""
MOST_STRIKES = 25
IDLE = "between stages"
SERVER: Any = forkserver._forkserver
"""Workers are forked from one process that has all modules: a new one takes 0.3 s, not 5 of CPU."""


class Driver:
    """A run in a process of its own, forked: nothing of zarr or dask may have been used here."""

    def __init__(self, folder: Path, work: Path, *, workers: int = 0, verb: str = "run") -> None:
        self.code: int | None = None
        self.told = folder / f"said-{time.monotonic_ns()}"
        self.pid = os.fork()
        if self.pid == 0:
            os._exit(self._drive(folder, work, workers, verb))

    def _drive(self, folder: Path, work: Path, workers: int, verb: str) -> int:
        logging.getLogger().addHandler(logging.NullHandler())
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - as long as the process lives
        try:
            if verb == "source":
                write_source(folder)
                return 0
            plan = plan_in(folder, work)
            # It runs already, and is no child of this process: `waitpid` would fail.
            SERVER.ensure_running = lambda: None  # type: ignore[method-assign]
            dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})
            nothing: Any = contextlib.nullcontext()
            with cf.cluster("local", workers=workers, memory_gib=1) if workers else nothing as client:
                if verb == "repair":
                    cf.repair(plan, progress=False)
                else:
                    cf.run(plan, client, progress=False, redo=verb == "redo")
        except ChunkflowLiverError as err:
            self.told.write_text(f"{type(err).__name__}: {err}")
            return REFUSED
        except BaseException:  # noqa: BLE001 - written down, and counted as a failure
            self.told.write_text(traceback.format_exc())
            return 1
        return 0

    def workers(self) -> list[psutil.Process]:
        """Its worker processes, as far as they have begun."""
        try:
            children = psutil.Process(SERVER._forkserver_pid).children()
            return [p for p in children if p.status() != "zombie"]
        except psutil.Error:
            return []

    def stage(self, work: Path) -> str:
        """What it works at, for the count."""
        marks = sorted(read_marks(work).values(), key=lambda mark: mark.since)
        # Marks of those that died lie there until the driver has seen them.
        return marks[-1].stage.split("/")[-1] if marks else IDLE

    def is_over(self, within_s: float) -> bool:
        """Whether it ended within that time."""
        if self.code is not None:
            return True
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
                return True
            time.sleep(0.01)
        return False

    def kill(self) -> None:
        """End it and what it started, without a word."""
        below = self.workers()
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        for process in below:
            with contextlib.suppress(psutil.Error):
                process.kill()

    @property
    def said(self) -> str:
        return self.told.read_text() if self.told.exists() else ""


class Soak:
    """Lives of work folders, one after the other; what happened to them, and what became of it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.random = folder, random.Random(seed)
        self.happened: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.failures: list[str] = []
        self.broken: list[str] = []
        self.lives = 0
        self.verb = "run"
        self.begun = time.monotonic()
        self.at_stage: dict[str, Counter[str]] = {"workers killed": Counter(), "drivers killed": Counter()}
        self.tmpfs = self._mounted()

    def note(self, what: str, stage: str = "") -> None:
        """Count what happened, and say it."""
        self.happened[what] += 1
        if stage:
            self.at_stage[what][stage] += 1
        print(f"{time.monotonic() - self.begun:7.1f} s  {what}{f' at {stage}' if stage else ''}", flush=True)

    def is_enough(self, until: float, kills: tuple[int, int]) -> bool:
        """Whether the time is over and enough were killed, or twice the time is over."""
        now = time.monotonic()
        enough = self.happened["workers killed"] >= kills[0] and self.happened["drivers killed"] >= kills[1]
        return now > until and (enough or now - self.begun > 2 * (until - self.begun))

    def _mounted(self) -> Path | None:
        place = self.folder / "small"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_MIB}m", "tmpfs", str(place)]
        try:
            done = subprocess.run(command, capture_output=True, check=False).returncode == 0
        except OSError:
            done = False
        return place if done else None

    def prepare(self) -> None:
        """The source, and a run to which nothing happens: how long it takes, and its bytes."""
        self._to_end(Driver(self.folder, self.folder, verb="source"), "source")
        self._to_end(Driver(self.folder, self.folder / "first"), "first")
        start = time.monotonic()
        self._to_end(Driver(self.folder, self.folder / "whole"), "whole")
        self.seconds = time.monotonic() - start
        self.wanted = digest(self.folder / "whole")

    def _to_end(self, driver: Driver, what: str, taken: tuple[str, ...] = TAKEN) -> bool:
        """Wait for a driver; note what it ended with. True if it is done."""
        if not driver.is_over(LONGEST_S):
            driver.kill()
            self.failures.append(f"{what}: hangs")
            return False
        if driver.code == 0:
            return True
        first = driver.said.strip().partition(":")[0]
        if driver.code == REFUSED and first in taken:
            self.reasons[f"{what}: {first}"] += 1
        else:
            self.failures.append(f"{what}: exit {driver.code}: {driver.said[-500:]}")
        return False

    def begin(self, work: Path, workers: int = 0) -> Driver:
        return Driver(self.folder, work, workers=workers, verb=self.verb)

    def live(self) -> None:
        """One work folder from its beginning to its end."""
        self.verb, self.broken = "run", []
        full = self.tmpfs is not None and self.random.random() < 0.15
        work = (self.tmpfs if full and self.tmpfs else self.folder) / "work"
        shutil.rmtree(work, ignore_errors=True)
        for _ in range(self.random.randint(2, 8)):
            kinds = ["driver"] * 9 + ["worker"] * 8 + ["damage"] * 2
            kinds += ["input", "two drivers", "stopped", "driver stopped"]
            kind = "disk full" if full and self.random.random() < 0.6 else self.random.choice(kinds)
            self._happen(kind, work)
        done = any(self._to_end(self.begin(work), "last run") for _ in range(3))
        if done and not self._equal(work):  # damaged while nobody looked: for `repair`
            self._to_end(Driver(self.folder, work, verb="repair"), "repair")
        if done and not self._equal(work):
            found = digest(work)
            differ = sorted(
                k for k in found.keys() | self.wanted.keys() if found.get(k) != self.wanted.get(k)
            )
            self.failures.append(
                f"bytes differ: {differ[:5]} of {len(differ)}; broken, and repaired, were {self.broken}"
            )
            return
        self.lives += done
        shutil.rmtree(work, ignore_errors=True)

    def _equal(self, work: Path) -> bool:
        return digest(work) == self.wanted

    def _happen(self, kind: str, work: Path) -> None:
        match kind:
            case "driver":
                driver = self.begin(work)
                if not driver.is_over(self.random.uniform(0, self.seconds)):
                    self._kill(driver, work)
            case "worker" | "stopped":
                # Not always in the first stage: some of the work is done before.
                if not (driver := self.begin(work)).is_over(self.random.uniform(0, self.seconds)):
                    self._kill(driver, work)
                self._strike(self.begin(work, 3 if kind == "worker" else 2), kind, work)
            case "two drivers":
                first = self.begin(work)
                first.is_over(self.random.uniform(0, self.seconds / 2))
                self._to_end(self.begin(work), "two drivers")
                self._to_end(first, "two drivers")
                self.note("two drivers")
            case "driver stopped":
                self._stop_driver(work)
            case "input":
                self._damage_input(work)
            case "disk full":
                self._fill(work)
            case _:
                self._damage(work)

    def _strike(self, driver: Driver, kind: str, work: Path) -> None:
        """Kill workers while they start and work, one after the other; or stop one, and let it be."""
        for _ in range(MOST_STRIKES if kind == "worker" else 1):
            # One that dies while the first ones start ends the run with that reason: mostly, wait for work.
            begun, most = time.monotonic(), self.random.choice([5.0] + 5 * [LONGEST_S])
            while not (over := driver.is_over(0.2)) and time.monotonic() < begun + most:
                if driver.stage(work) != IDLE:
                    break
            if over or driver.is_over(self.random.uniform(0, 1.5)):
                break
            if workers := driver.workers():
                struck, at = self.random.choice(workers), driver.stage(work)
                with contextlib.suppress(psutil.Error):
                    struck.send_signal(signal.SIGKILL if kind == "worker" else signal.SIGSTOP)
                self.note(*(("workers killed", at) if kind == "worker" else ("workers stopped",)))
        if kind == "worker" and driver.code is None and self.random.random() < 0.6:
            self._kill(driver, work)
        else:
            self._to_end(driver, kind)

    def _kill(self, driver: Driver, work: Path) -> None:
        at = driver.stage(work)
        driver.kill()
        self.note("drivers killed", at)

    def _stop_driver(self, work: Path) -> None:
        """Let a driver stand still while another one comes, and go on."""
        first = self.begin(work)
        if first.is_over(self.random.uniform(0, self.seconds)):
            return
        os.kill(first.pid, signal.SIGSTOP)
        self._to_end(self.begin(work), "second driver")
        time.sleep(self.random.uniform(0, 5))
        os.kill(first.pid, signal.SIGCONT)
        self._to_end(first, "driver stopped")
        self.note("drivers stopped")

    def _damage_input(self, work: Path) -> None:
        """Flip, cut off or delete a chunk of an input while a run works on it; put it back afterwards."""
        chunks = [p for n in ("classes", "raw") for p in (self.folder / f"{n}.ome.zarr").rglob("*")]
        path = self.random.choice(sorted(p for p in chunks if p.is_file() and "/c/" in p.as_posix()))
        whole = path.read_bytes()
        driver = None
        if self.random.random() < 0.5:
            driver = self.begin(work)
            driver.is_over(self.random.uniform(0, self.seconds))
        how = self._break(path)
        self._to_end(driver or self.begin(work), f"input {how}", OF_INPUT)
        path.write_bytes(whole)
        self.verb = "redo"
        self.note(f"inputs {how}")

    def _break(self, path: Path) -> str:
        """Delete a file, cut it off or flip a bit of it; which of these."""
        whole = path.read_bytes()
        at = self.random.randrange(max(1, len(whole)))
        how = self.random.choice(["deleted", "cut off", "flipped"])
        if how == "deleted" or not whole:
            path.unlink()
            return "deleted"
        flipped = whole[:at] + bytes([whole[at] ^ (1 << self.random.randrange(8))]) + whole[at + 1 :]
        path.write_bytes(whole[:at] if how == "cut off" else flipped)
        return how

    def _fill(self, work: Path) -> None:
        """Let the disk become full while a run writes to it; make room afterwards."""
        filler = work.parent / "filler"
        driver = self.begin(work)
        over = driver.is_over(self.random.uniform(0, self.seconds))
        with contextlib.suppress(OSError), filler.open("wb") as file:
            file.write(bytes(shutil.disk_usage(work.parent).free))
        if not over:
            self._to_end(driver, "disk full")
            self.note("disk full")
        filler.unlink(missing_ok=True)

    def _damage(self, work: Path) -> None:
        """Flip, cut off or delete files; find that out and repair it."""
        files = chunks_and(work, (".npz", ".npy", ".parquet"))
        if not files:
            return
        for path in self.random.sample(files, min(len(files), self.random.randint(1, 3))):
            self.note(f"files {self._break(path)}")
            self.broken.append(str(path.relative_to(work)))
        # A run that began with a damaged input is to be redone, not repaired; one that was killed before its
        # first block has nothing to repair.
        begun = any(read_rows(work))
        taken = OF_INPUT if self.verb == "redo" or not begun else TAKEN
        self._to_end(Driver(self.folder, work, verb="repair"), "repair", taken)

    def close(self) -> None:
        if self.tmpfs is not None:
            subprocess.run(["umount", str(self.tmpfs)], capture_output=True, check=False)


def main() -> None:
    """Soak for some minutes, and say what happened."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--kills", type=int, nargs=2, default=(0, 0), metavar=("WORKERS", "DRIVERS"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    os.environ.update({name: str(value) for name, value in ENVIRONMENT.items()})
    multiprocessing.set_forkserver_preload(["distributed", __name__, "chunkflow_liver.engine.execute"])
    SERVER.ensure_running()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    soak = Soak(folder, given.seed)
    begun = time.monotonic()
    try:
        soak.prepare()
        until = begun + 60 * given.minutes
        while not soak.failures and not soak.is_enough(until, tuple(given.kills)):
            soak.live()
    finally:
        soak.close()
    summary = {
        "minutes": round((time.monotonic() - begun) / 60, 1),
        "seed": given.seed,
        "undisturbed_s": round(soak.seconds, 1),
        "lives": soak.lives,
        "happened": dict(sorted(soak.happened.items())),
        "killed_at": {what: dict(sorted(at.items())) for what, at in soak.at_stage.items()},
        "ended_with": dict(sorted(soak.reasons.items())),
        "failures": soak.failures,
        "tmpfs": soak.tmpfs is not None,
    }
    print(json.dumps(summary, indent=1))
    if given.json:
        given.json.write_text(json.dumps(summary) + "\n")
    if soak.failures:
        sys.exit(f"kept for a look: {folder}")
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
