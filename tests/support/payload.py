"""Map and fold functions for tests of the engine: their calls are counted, and they fail on demand."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.engine.plan import Plan
from chunkflow_liver.engine.run import run
from chunkflow_liver.engine.stage import Fold, Map, Piece, Records, Result
from chunkflow_liver.errors import DeviceLostError
from chunkflow_liver.geometry import Block, BlockGrid, Zyx
from chunkflow_liver.store.location import absolute
from chunkflow_liver.store.table import Table
from chunkflow_liver.store.volume import Volume


def note(folder: str, index: int) -> None:
    Path(folder, f"{index}-{uuid.uuid4().hex}").touch()


def calls(folder: Path) -> list[int]:
    """Blocks that were begun, once per attempt, in order of their numbers."""
    return sorted(int(p.name.partition("-")[0]) for p in folder.iterdir() if "-" in p.name)


def add(block: Block, raw: Any, *, count: str, by: int = 1, seconds: float = 0.0) -> Result:
    """`raw` + `by`; fails at block n while a file 'fail-n' exists, at every one while 'fail' does.

    Takes a file 'lost' away, and then says once that its device is lost. Kills its process at block n while a
    file 'kill-n' exists; takes a file 'stop-n' away and stops its process, as a signal does it.
    """
    note(count, block.index)
    if os.path.exists(f"{count}.lost"):
        os.remove(f"{count}.lost")
        raise DeviceLostError("the device was told to be lost")
    if os.path.exists(f"{count}.kill-{block.index}"):
        os.kill(os.getpid(), signal.SIGKILL)
    if os.path.exists(f"{count}.stop-{block.index}"):
        os.remove(f"{count}.stop-{block.index}")
        os.kill(os.getpid(), signal.SIGSTOP)
    if os.path.exists(f"{count}.fail-{block.index}") or os.path.exists(f"{count}.fail"):
        raise ZeroDivisionError(f"block {block.index} was told to fail")
    time.sleep(seconds)
    values = raw[block.trim]
    return Result((values + np.uint16(by),), {"sum": np.array([values.sum(dtype=np.int64)])})


def add_two(block: Block, raw: Any, other: Any, *, count: str, by: int = 1, seconds: float = 0.0) -> Result:
    """`add` of the first of two inputs."""
    return add(block, raw, count=count, by=by, seconds=seconds)


def total(records: Records, *, scale: int = 1) -> dict[str, Any]:
    rows = list(records)
    return {
        "block": np.array([index for index, _ in rows]),
        "sum": np.array([int(record["sum"][0]) * scale for _, record in rows]),
    }


def pieces(block: Block, raw: Volume, *, order: int, bad: str = "") -> Iterator[Piece | Result]:
    """The block in pieces of 7 x 9 x 11 voxels, in an order that `order` shuffles."""
    grid = list(BlockGrid(block.write, (7, 9, 11)))
    np.random.default_rng(order).shuffle(grid)  # type: ignore[arg-type]
    for part in grid[1 if bad == "hole" else 0 :]:
        values = raw.read(part.write) + np.uint16(1)
        yield Piece(part.write, (values.astype("f8") if bad == "dtype" else values,))
    if bad == "twice":
        yield Piece(grid[0].write, (raw.read(grid[0].write),))
    yield Result(record={"pieces": np.array([len(grid)])})


def plan_of(
    raw: Volume,
    work: Path,
    *,
    block: Zyx = (16, 16, 16),
    by: int = 1,
    scale: int = 1,
    halo: Zyx = (2, 3, 1),
    seconds: float = 0.0,
    name: str = "out",
) -> Plan:
    """A map that writes raw + by, and a fold that adds up the blocks of raw."""
    count = work.parent / f"{work.name}-{name}-calls"
    count.mkdir(exist_ok=True)
    output = raw.like(f"{absolute(work)}/{name}.ome.zarr", dtype="uint16", kind="image", block=block)
    params = {"count": str(count), "by": by, "seconds": seconds}
    stages = (
        Map(
            f"{name}/add",
            add,
            BlockGrid(output.box, block, halo, halo),
            (raw,),
            (output,),
            params=params,
            identity={"by": by},
        ),
        Fold(f"{name}/total", total, f"{name}/add", Table(f"{work}/{name}.parquet"), params={"scale": scale}),
    )
    return Plan(stages, work, output)


def stored(volume: Volume) -> dict[str, bytes]:
    """Every file of a volume's array, to compare bytes."""
    place = Path(volume.url, volume.path)
    return {str(p.relative_to(place)): p.read_bytes() for p in sorted(place.rglob("*")) if p.is_file()}


def go(plan: Plan, **options: Any) -> Plan:
    """Run a plan without a bar."""
    return run(plan, progress=False, **options)


def forget_plan(work: Path) -> None:
    """The journal as release 0.1 wrote it: what was planned stands in `run.json` alone."""
    path = work / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(line for line in lines if b'"planned":' not in line))


def sums(raw: Volume, block: Zyx = (16, 16, 16)) -> list[int]:
    """Sum of the voxels of every block."""
    return [int(raw.read(b.write).sum(dtype=np.int64)) for b in BlockGrid(raw.box, block)]
