"""Memory of the process that drives a run while objects of many blocks are joined, against their number."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.geometry import Block, BlockGrid, Box, zyx
from chunkflow_liver.ops.steps import blockwise
from chunkflow_liver.ops.steps.seams.vetoes import refused_links
from chunkflow_liver.store.scratch.spill import SpilledTable

BLOCK, REACH, CELL = (32, 32, 32), (4, 4, 4), 4
SIDES = tuple(int(n) for n in os.environ.get("DRIVER_BLOCKS", "5,11,24").split(","))
"""Blocks along each axis: 9.1e4, 9.7e5 and 1.0e7 pieces."""
NODES = tuple(int(float(n)) for n in os.environ.get("DRIVER_NODES", "1e5,1e6,1e7").split(","))


class Watched:
    """Peak of the memory that belongs to this process alone (not mapped files), seen every 20 ms."""

    def __enter__(self) -> Watched:
        self.before = self.peak = self._now()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        self._start = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._start[0]
        self.cpu_seconds = time.process_time() - self._start[1]
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            self.peak = max(self.peak, self._now())

    def _now(self) -> float:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) / 1024
        raise OSError("this kernel does not say how much memory is anonymous")


def cells(block: Block, shift: int) -> Any:
    """Cells of 4 x 4 x 4 voxels half of which lie in each of two blocks at a seam."""
    at = [(np.arange(a, b) + shift) // CELL for a, b in zip(block.read.start, block.read.stop, strict=True)]
    many = 1 + max(int(n[-1]) for n in at)
    z, y, x = np.ix_(*at)
    return ((z * many + y) * many + x + 1).astype(np.uint32)


def records(grid: BlockGrid, branches: bool) -> Iterator[tuple[int, Any]]:
    """What every block would record; computed once for each kind of place in the volume."""
    known: dict[Any, tuple[int, Any]] = {}
    _, ny, nx = grid.box.shape
    for block in grid:
        kind = tuple((a == 0) + 2 * (a == n - 1) for a, n in zip(block.at, grid.counts, strict=True))
        z, y, x = block.write.start
        place = (z * ny + y) * nx + x
        if kind not in known:
            made = blockwise._blocks(
                block, cells(block, CELL // 2), function=_same, params={}, classes=[1],
                shape=grid.block, reach=REACH, branches=branches,
            )  # fmt: skip
            known[kind] = (place, dict(made.record))
        first, record = known[kind]
        yield block.index, record | {"first": record["first"] + (place - first)}


def _same(labels: Any) -> Any:
    return labels


def joined(folder: Path, side: int, branches: bool) -> dict[str, Any]:
    """All pieces of side^3 blocks joined."""
    shape = zyx([n * side for n in BLOCK])
    grid = BlockGrid(Box.of(shape), BLOCK, REACH, REACH)
    scratch = folder / f"join-{side}-{branches}"
    scratch.mkdir()
    with Watched() as seen:
        found = blockwise._join(
            records(grid, branches), grid=grid, reach=REACH, rules=blockwise.Rules(branches=branches),
            min_voxels=0, dtype="uint32", names=[("cells", 1)], scratch=scratch,
        )  # fmt: skip
    wanted = int(np.prod([(n + CELL // 2 - 1) // CELL + 1 for n in shape]))
    return _row(
        f"stitch, {side}^3 blocks{', branches' if branches else ''}", len(found["final"]), seen, scratch,
        seams=len(found["seam_block_a"]), ok=len(found["voxels"]) == wanted,
    )  # fmt: skip


def vetoed(folder: Path, nodes: int, strict: bool) -> dict[str, Any]:
    """As many random links as objects: nearly all in one group, which is made again link by link."""
    scratch = folder / f"veto-{nodes}-{strict}"
    rng = np.random.default_rng(0)
    links = SpilledTable(scratch / "links", {"a": "int64", "b": "int64", "iou": "float64"})
    apart = SpilledTable(scratch / "apart", {"a": "int64", "b": "int64"})
    for begin in range(0, nodes, 1 << 17):
        count = min(1 << 17, nodes - begin)
        ends = rng.integers(0, nodes, (2, count))
        links.append({"a": ends.min(0), "b": ends.max(0), "iou": rng.random(count) + 0.01})
        apart.append(dict(zip("ab", rng.integers(0, nodes, (2, count)), strict=True)))
    offsets = list(range(0, nodes + 1, 100))
    with Watched() as seen:
        found = refused_links(links, scratch / "v", offsets=offsets, apart=None if strict else apart)
    case = f"veto, {'no block twice' if strict else 'pairs apart'}"
    return _row(case, nodes, seen, scratch, refused=int(found.sum()), ok=True)


def _row(case: str, pieces: int, seen: Watched, scratch: Path, **more: Any) -> dict[str, Any]:
    disk = sum(p.stat().st_blocks * 512 for p in scratch.rglob("*") if p.is_file())
    return {
        "name": "driver", "tool": "chunkflow_liver", "case": case, "pieces": pieces,
        "seconds": seen.seconds, "cpu_seconds": seen.cpu_seconds, "peak_mib": seen.peak,
        "value": seen.peak - seen.before, "unit": "MiB more than before", "disk_mib": disk / 2**20, **more,
    }  # fmt: skip


def bench(folder: Path) -> Iterator[dict[str, Any]]:
    """Joining over more and more blocks; the veto alone on more and more links."""
    for branches in (False, True):
        for side in SIDES:
            yield joined(folder, side, branches)
    for strict in (True, False):
        for nodes in NODES:
            yield vetoed(folder, nodes, strict)


CASES: dict[str, Callable[..., Iterator[dict[str, Any]]]] = {"driver": bench}
