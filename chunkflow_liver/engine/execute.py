"""What happens in a worker: a batch of blocks is read, worked on, written and recorded."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import itertools
import logging
import os
import resource
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.engine.code.of_stage import check_code
from chunkflow_liver.engine.stage import Map, Piece, Readable, Result, volumes
from chunkflow_liver.engine.watch.content import content_sum, sum_of
from chunkflow_liver.engine.watch.done import batch
from chunkflow_liver.engine.watch.marks import Marker
from chunkflow_liver.engine.watch.records import record_folder, save_records
from chunkflow_liver.errors import (
    BlockError,
    ConfigError,
    DeviceLostError,
    GridError,
    InputError,
    TrainingError,
)
from chunkflow_liver.geometry import Block, BlockGrid, Box
from chunkflow_liver.store.handles import forget_handles
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array, on_host

log = logging.getLogger(__name__)

KEPT_BYTES, GLIBC_BYTES = 1 << 30, 128 << 10
"""Below what size freed memory is kept: while blocks run here, and glibc's default."""
MOST_WAITING = 2
"""Pieces that wait to be written while the next one is made."""
PERMANENT = (InputError, ConfigError, GridError, TrainingError)
"""Faults of the data or of what was asked for: the same block fails again in the same way."""
_AT: dict[str, tuple[str, ...]] = {}
"""The stages that this process is at."""
DEVICE_LOST = 70
"""Exit status of a worker whose device is lost."""


def execute(
    stages: Sequence[Map], indices: Sequence[int], work: Path, code: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run one batch of blocks of the stages of a pass; a block that fails is reported and the others go on.

    A worker whose device is lost ends: no later block could use it. Its nanny starts another process, and
    dask gives the batch to a worker that lives. With `code`, by stage, a process that has other code than
    the one that planned the run refuses the batch.

    Returns
    -------
    dict
        'done' (blocks that all stages finished), 'voxels' (that these own), 'entries' (one per stage, as
        `watch.done.batch` makes it) and 'failed' (block, stage, error text, traceback, whether it is
        'permanent': a second try cannot mend it, and whether the disk is 'full').
    """
    check_code(stages, code or {})
    with Marker(work) as marker:
        return _execute(stages, indices, work, marker)


def _execute(stages: Sequence[Map], indices: Sequence[int], work: Path, marker: Marker) -> dict[str, Any]:
    reset_peak([stage.name for stage in stages])
    # A living worker may have seen an earlier array at the same place.
    forget_handles()
    done: list[int] = []
    rows: dict[str, list[dict[str, Any]]] = {stage.name: [] for stage in stages}
    records: dict[str, dict[str, Any]] = {stage.name: {} for stage in stages}
    failed = []
    voxels = 0
    for index in indices:
        blocks = [stage.grid[index] for stage in stages]
        reads = Reads(stages, blocks)
        made: dict[str, tuple[dict[str, Any], Any]] = {}
        for stage, block in zip(stages, blocks, strict=True):
            marker.at(stage.name, index)
            try:
                made[stage.name] = _timed(stage, block, reads, marker)
            except Exception as err:  # noqa: BLE001 - the one place: block and box are added, and reported
                text = f"stage {stage.name!r}, block {index} ({block.write}): {type(err).__name__}: {err}"
                if isinstance(err, DeviceLostError) and _replaceable():
                    log.error("%s; this worker ends, and another one does the block", text)
                    logging.shutdown()
                    os._exit(DEVICE_LOST)
                trace = traceback.format_exc()
                failure = {"block": index, "stage": stage.name, "error": text, "traceback": trace}
                failed.append(failure | {"permanent": _is_permanent(err), "full": is_full(err)})
                break
        else:
            done.append(index)
            voxels += blocks[0].write.size
            for name, (row, record) in made.items():
                rows[name].append(row)
                if record:
                    records[name].update({f"{index}.{key}": values for key, values in record.items()})
    peak = round(peak_mib(), 1)
    for row in itertools.chain.from_iterable(rows.values()):
        row["peak_mib"] = peak
    # Named by a block that is in it: a block that failed comes again alone, under its own number.
    entries = [
        batch(
            name,
            save_records(found, record_folder(work, name), done[0]) if (found := records[name]) else "",
            of,
        )
        for name, of in rows.items()
        if done
    ]
    return {"done": done, "entries": entries, "failed": failed, "voxels": voxels}


def _is_permanent(err: BaseException | None) -> bool:
    """Whether a second try cannot succeed; what storage or the network did stands behind some errors."""
    permanent = isinstance(err, PERMANENT)
    while permanent and err is not None:
        permanent = not isinstance(err, OSError)
        err = err.__cause__
    return permanent


def is_full(err: BaseException | None) -> bool:
    """Whether a full disk, or a quota that is used up, stands behind an error."""
    while err is not None:
        if isinstance(err, OSError) and err.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        err = err.__cause__ or err.__context__
    return False


def _timed(stage: Map, block: Block, reads: Reads, marker: Marker) -> tuple[dict[str, Any], Any]:
    """Do one block of one stage; what it took, and its record."""
    start, cpu, before = time.perf_counter(), time.process_time(), reads.nbytes
    record, content = _block(stage, block, reads, marker)
    streamed = block.read.size * sum(i.itemsize for i in stage.inputs) if stage.streams else 0
    row = {
        "block": block.index,
        "seconds": round(time.perf_counter() - start, 6),
        "cpu": round(time.process_time() - cpu, 6),
        "read": streamed + reads.nbytes - before,
        "sum": content,
        "written": sum(block.write.coarser(stage.factor(o)).size * o.itemsize for o in stage.outputs),
    }
    return row, record


def _block(stage: Map, block: Block, reads: Reads, marker: Marker) -> tuple[Any, int]:
    """The record of a block, and the checksum of what it wrote."""
    extra = {**stage.artefacts, **stage.params}
    if stage.streams:
        assemblies = [
            Assembly(output, n, block.write.coarser(stage.factor(output)))
            for n, output in enumerate(stage.outputs)
        ]
        record: Any = {}
        with Writer() as writer:
            for piece in stage.function(block, *stage.inputs, **extra):
                if isinstance(piece, Result):
                    record = piece.record
                    continue
                for assembly, array in zip(assemblies, piece.outputs, strict=True):
                    # On the host before the next piece is made: that may use the device's memory again.
                    writer.do(assembly.add, Piece(piece.box, (on_host(array),)))
                marker.add(piece.box.size / block.write.size)
        for assembly in assemblies:
            assembly.close(block)
        return record, sum_of(assembly.sum for assembly in assemblies)
    arrays = [reads.read(source, block.read) for source in stage.inputs]
    result = stage.function(block, *arrays, **extra)
    sums = []
    for number, (output, array) in enumerate(zip(stage.outputs, result.outputs, strict=True)):
        box, values = block.write.coarser(stage.factor(output)), on_host(array)
        output.write(box, values)
        sums.append(content_sum(output, box, values, number))
    return result.record, sum_of(sums)


class Reads:
    """Inputs of one block: what several stages of a pass read comes from storage once.

    Attributes
    ----------
    nbytes : int
        Bytes read from storage so far.
    """

    def __init__(self, stages: Sequence[Map], blocks: Sequence[Block]) -> None:
        self.nbytes = 0
        self._wanted: dict[Volume, list[Box]] = {}
        self._held: dict[Volume, tuple[Box, np.ndarray[Any, Any]]] = {}
        for stage, block in zip(stages, blocks, strict=True):
            for source in volumes(stage):
                self._wanted.setdefault(source, []).append(block.read)

    def read(self, source: Readable, box: Box) -> np.ndarray[Any, Any]:
        """Voxels of `box`, in an array that only its reader has: it may write into it."""
        if not isinstance(source, Volume):
            return self._stored(source, box)
        wanted = self._wanted[source]
        if source not in self._held:
            whole = functools.reduce(Box.hull, wanted)
            self._held[source] = (whole, self._stored(source, whole))
        whole, found = self._held[source]
        wanted.remove(box)
        if wanted:
            return found[box.relative_to(whole).slices].copy()
        del self._held[source]
        return np.ascontiguousarray(found[box.relative_to(whole).slices])

    def _stored(self, source: Readable, box: Box) -> np.ndarray[Any, Any]:
        self.nbytes += box.size * source.itemsize
        return source.read(box)


def _replaceable() -> bool:
    """Whether this is a process of a dask worker that a nanny watches over."""
    if "distributed" not in sys.modules:
        return False
    from distributed import get_worker

    try:
        return get_worker().nanny is not None
    except ValueError:
        return False


class Writer:
    """A thread that writes pieces in order while the next ones are made; its errors fail the block."""

    def __init__(self) -> None:
        self.thread = ThreadPoolExecutor(1, "chunkflow-liver-write")
        self.waiting: deque[Future[None]] = deque()

    def do(self, function: Callable[[Piece], None], piece: Piece) -> None:
        """Have `function(piece)` called later; waits while too many pieces wait."""
        while len(self.waiting) >= MOST_WAITING:
            self.waiting.popleft().result()
        self.waiting.append(self.thread.submit(function, piece))

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, failed: object, *_: object) -> None:
        try:
            while self.waiting and failed is None:
                self.waiting.popleft().result()
        finally:
            # After a failure nothing more is begun; what is under way ends before the block is tried again.
            self.thread.shutdown(wait=True, cancel_futures=True)


class Assembly:
    """Pieces of a block in any order, written as soon as a write unit is whole; `sum` is of all of them."""

    def __init__(self, output: Volume, number: int, whole: Box) -> None:
        self.output, self.number, self.whole, self.sum = output, number, whole, 0
        self.units = BlockGrid(output.box, output.write_unit)
        self.open: dict[int, tuple[Array, int]] = {}
        self.written = 0

    def add(self, piece: Piece) -> None:
        values = piece.outputs[0]
        if values.shape != piece.box.shape or not np.can_cast(values.dtype, self.output.dtype, "safe"):
            raise GridError(
                f"a piece of {values.dtype} voxels of shape {values.shape} does not fit {piece.box} of "
                f"{self.output.url}, which holds {self.output.dtype}"
            )
        for index in self._units(piece.box):
            unit = self.units[index].write
            part = piece.box.clip(unit)
            buffer, missing = self.open.get(index) or (np.zeros(unit.shape, self.output.dtype), unit.size)
            buffer[part.relative_to(unit).slices] = values[part.relative_to(piece.box).slices]
            missing -= part.size
            if missing:
                self.open[index] = (buffer, missing)
            else:
                self.open.pop(index, None)
                self.output.write(unit, buffer)
                self.sum += content_sum(self.output, unit, buffer, self.number, self.whole)
                self.written += unit.size

    def close(self, block: Block) -> None:
        if self.open or self.written != block.write.size:
            raise BlockError(
                f"block {block.index}: the pieces filled {self.written} of {block.write.size} voxels of "
                f"{self.output.url}, and {len(self.open)} write units in part"
            )

    def _units(self, box: Box) -> list[int]:
        _, ny, nx = self.units.counts
        spans = [
            range(a // u, -(-b // u)) for a, b, u in zip(box.start, box.stop, self.units.block, strict=True)
        ]
        return [(z * ny + y) * nx + x for z in spans[0] for y in spans[1] for x in spans[2]]


@contextlib.contextmanager
def kept_memory() -> Iterator[None]:
    """Let the C library keep what blocks free, for the blocks that follow, and give it back at the end.

    Arrays of some 10 MB come and go with every block; faulting their pages in again took half of the CPU
    time of components of 256^3 voxels. Does nothing where the C library is not glibc.
    """
    try:
        library = ctypes.CDLL(None)
        tune, trim = library.mallopt, library.malloc_trim
    except (OSError, AttributeError, TypeError):
        yield
        return
    trim_threshold, mmap_threshold = -1, -3
    tune(trim_threshold, KEPT_BYTES)
    tune(mmap_threshold, KEPT_BYTES)
    try:
        yield
    finally:
        tune(trim_threshold, GLIBC_BYTES)
        tune(mmap_threshold, GLIBC_BYTES)
        trim(0)


def reset_peak(stages: Sequence[str] = ()) -> None:
    """Let the kernel count the peak memory of this process anew (Linux; elsewhere it only grows).

    Where `stages` are others than those before, what these freed is given back first: it is kept for blocks
    that are alike, and would be counted as the peak of later stages.
    """
    if stages and _AT.get("stages") != (now := tuple(stages)):
        _AT["stages"] = now
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def peak_mib() -> float:
    """Peak resident memory of this process in MiB, since `reset_peak` where that works."""
    with contextlib.suppress(OSError), open("/proc/self/status") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 2**20 if sys.platform == "darwin" else most / 1024
