"""The processes that train one network together: started, listened to, and all ended when one ends."""

from __future__ import annotations

import copy
import json
import logging
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TextIO

from chunkflow_liver import errors
from chunkflow_liver.errors import ChunkflowLiverError, ConfigError, TrainingError
from chunkflow_liver.training import checkpoints
from chunkflow_liver.training.fit import Fit, Outcome
from chunkflow_liver.training.together import Group

log = logging.getLogger(__name__)

PATIENCE = timedelta(hours=2)
"""How long a process waits for the others: one of them may be choosing the precision or writing."""
BETWEEN_SECONDS = 0.5
GIVEN, OUTCOME, MEETING = "fit.pickle", "outcome.pt", "meeting"
LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
"""Processes of one machine talk to each other there, and nobody else can."""


def trained(fit: Fit) -> Outcome:
    """Train to the end, by as many processes as the recipe says.

    Raises
    ------
    ConfigError
        If there are fewer GPUs than processes.
    TrainingError
        If a process ends otherwise than by itself, besides all that `Fit.run` raises.
    """
    size = fit.recipe.processes
    if size == 1:
        return fit.run()
    if fit.recipe.device != "cpu":
        import torch

        there = torch.cuda.device_count()
        if there < size:
            raise ConfigError(
                f"{fit.name}: {size} processes need as many GPUs, and there are {there}; say "
                f"processes: {there}"
            )
    fit.discard()
    with tempfile.TemporaryDirectory(prefix="chunkflow-liver-") as made:
        folder = Path(made)
        given = copy.copy(fit)
        given.advance = _nothing
        (folder / GIVEN).write_bytes(pickle.dumps(given))
        with _processes(folder, size) as running:
            _watch(fit, folder, running)
        found = checkpoints.load(folder / OUTCOME)
    if found is None:
        raise TrainingError(f"{fit.name}: no process left its weights behind; run again to go on")
    return Outcome(**found)


@contextmanager
def _processes(folder: Path, size: int) -> Iterator[list[subprocess.Popen[str]]]:
    """The processes; none is left when this ends, however it does."""
    running: list[subprocess.Popen[str]] = []
    try:
        for rank in range(size):
            with (folder / f"said_{rank}").open("wb") as said:
                running.append(
                    subprocess.Popen(
                        [sys.executable, "-m", __name__, str(folder), str(rank), str(size)],
                        env={**os.environ, **LOOPBACK, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=said,
                        text=True,
                    )
                )
        yield running
    finally:
        for process in running:
            process.kill()
        for process in running:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


def _watch(fit: Fit, folder: Path, running: list[subprocess.Popen[str]]) -> None:
    """Pass on what the processes say until all have ended; the first that fails ends it for all."""
    said: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()

    def read(rank: int) -> None:
        pipe = running[rank].stdout
        assert pipe is not None
        for line in pipe:
            said.put((rank, line))
        said.put((rank, ""))

    readers = [threading.Thread(target=read, args=(rank,), daemon=True) for rank in range(len(running))]
    for reader in readers:
        reader.start()
    left = len(running)
    while left:
        rank, line = said.get()
        if not line:
            left -= 1
            if running[rank].wait():
                # Where one is killed, others may say first that they miss it.
                rank = next((i for i, other in enumerate(running) if (other.poll() or 0) < 0), rank)
                status = running[rank].wait()
                text = (folder / f"said_{rank}").read_text(errors="replace").strip().splitlines()
                how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
                raise TrainingError(
                    f"{fit.name}: process {rank} of {len(running)} {how}: "
                    f"{text[-1][:300] if text else 'it said nothing'}; run again to go on from the last "
                    "checkpoint"
                )
            continue
        told = json.loads(line)
        if "error" in told:
            raise getattr(errors, told["error"])(told["text"])
        if "log" in told:
            log.info("%s", told["log"])
        fit.advance(told.get("advance", 0.0))


def _nothing(share: float) -> None:
    """Nobody is told."""


class _Teller(logging.Handler):
    """Log lines as the process that started this one reads them."""

    def __init__(self, to: TextIO) -> None:
        super().__init__()
        self.to = to

    def emit(self, record: logging.LogRecord) -> None:
        _tell(self.to, log=record.getMessage())


def _tell(to: TextIO, **what: Any) -> None:
    to.write(json.dumps(what) + "\n")


def _until_alone() -> None:
    """End with the process that started this one: its end of the pipe is closed then."""
    sys.stdin.read()
    os._exit(1)


def main(folder: Path, rank: int, size: int) -> None:
    """Be one of the processes of a training."""
    # Libraries print, too: their lines go where errors go.
    told = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    from torch import cuda, distributed

    # Ctrl-C reaches all processes of a terminal; the first one decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_until_alone, daemon=True).start()
    fit: Fit = pickle.loads((folder / GIVEN).read_bytes())
    gpu = fit.recipe.device != "cpu"
    if gpu:
        fit.recipe = replace(fit.recipe, device=f"cuda:{rank}")
        cuda.set_device(rank)
    if rank == 0:
        logging.getLogger("chunkflow_liver").addHandler(_Teller(told))
        logging.getLogger("chunkflow_liver").setLevel(logging.INFO)
        fit.advance = advance = _Advance(told)
    distributed.init_process_group(
        "nccl" if gpu else "gloo",
        init_method=f"file://{folder / MEETING}",
        rank=rank,
        world_size=size,
        timeout=PATIENCE,
    )
    try:
        fit.group = Group(rank, size)
        outcome = fit.run()
    except ChunkflowLiverError as err:
        _tell(told, error=type(err).__name__, text=str(err))
        # Not before the others, whose end would be told instead: whoever reads this ends all.
        threading.Event().wait()
    if rank == 0:
        _tell(told, advance=advance.share)
        checkpoints.save(vars(outcome), folder / OUTCOME)
    distributed.barrier()
    distributed.destroy_process_group()


class _Advance:
    """Tells the share that was done now and then, not after each of many quick steps."""

    def __init__(self, to: TextIO) -> None:
        self.to = to
        self.share, self.at = 0.0, time.monotonic()

    def __call__(self, share: float) -> None:
        self.share += share
        if time.monotonic() - self.at > BETWEEN_SECONDS:
            _tell(self.to, advance=self.share)
            self.share, self.at = 0.0, time.monotonic()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
