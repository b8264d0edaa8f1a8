"""Shortest paths through a whole volume, a block in memory at a time."""

from __future__ import annotations

import heapq
import itertools
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

import numpy as np

from chunkflow_liver.engine.stage import Piece, Result
from chunkflow_liver.geometry import Block, BlockGrid, Box, Nm, Zyx, voxels, zyx
from chunkflow_liver.kernels.distance.geodesic import FAR, REACH, regions, shorten, steps_of
from chunkflow_liver.kernels.distance.transform import distance_nm, exact_nm
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.store.voxels.region import Known
from chunkflow_liver.xp import Array


@dataclass(frozen=True)
class Target:
    """Where paths lead, and where they stay.

    Attributes
    ----------
    number : int
        Class that they lead to.
    within : tuple of int, optional
        Classes that are the region; every instance is one by itself without.
    gap_nm : float
        How far they begin across what is of neither.
    """

    number: int
    within: tuple[int, ...] | None
    gap_nm: float


def blocks_of(labels: Volume, block: Zyx) -> BlockGrid:
    """The blocks that are worked on: no side shorter than what a neighbour reads of it."""
    return BlockGrid(labels.box, zyx([max(n, REACH) for n in block]), (REACH,) * 3, (REACH,) * 3)


def block_bytes(cut: BlockGrid, gap: Zyx, itemsize: int) -> int:
    """Bytes that a block needs: regions, lengths, the heap of its voxels, and what is written at the end."""
    wide = math.prod(n + 4 * REACH for n in cut.block)
    # What is read across the gap is held for a moment, before there is a heap.
    across = math.prod(n + 2 * g for n, g in zip(cut.block, gap, strict=True))
    return max(wide * (40 + itemsize), across * (24 + itemsize)) + math.prod(cut.block) * 30 + (64 << 20)


def solved(
    block: Block,
    *volumes: Volume,
    cut: Zyx,
    target: Target,
    voxel_nm: Nm,
    known: Known,
    scratch: str,
) -> Iterator[Piece | Result]:
    """Lengths of the shortest paths, and whether nothing outside the volume could shorten them.

    Yields a piece per block of `cut`, and how often blocks were done in all. Of `volumes` the last ones are
    the distances to what masks leave out.
    """
    given = len(volumes) - len(known.by_mask())
    volumes, away = volumes[:given], volumes[given:]
    labels, steps = volumes[0], steps_of(voxel_nm)
    grid = blocks_of(labels, cut)
    with tempfile.TemporaryFile(dir=scratch) as file:
        lengths = _Lengths(file, labels.shape)
        waiting = _Waiting()
        for one in grid:
            begun = _begun(one, volumes, target, voxel_nm, known)
            if (begun < FAR).any():
                lengths.write(one.write, begun)
                waiting.add(one.index, 0)
        done = np.zeros(len(grid), bool)
        visits = 0
        while (index := waiting.next()) is not None:
            one = grid[index]
            read = one.read
            total = lengths.read(read)
            before = total[one.trim].copy()
            seeds = total < FAR
            if done[index]:
                # Nothing of its own is left to do: only what the neighbours have found since.
                seeds[one.trim] = False
            shorten(_regions(volumes, read, target, known), total, seeds, steps)
            after = total[one.trim]
            lengths.write(one.write, after)
            # At first what it began with is new to the neighbours, too.
            shorter = after < before if done[index] else after < FAR
            for beside, length in _reached(one, after, shorter, grid.counts):
                waiting.add(beside, length)
            done[index], visits = True, visits + 1
        for one in grid:
            whole = lengths.read(one.write)
            distance = (whole * steps.unit_nm).astype(np.float32)
            distance[whole == FAR] = np.inf
            far = [volume.read(one.write) for volume in away]
            flags = exact_nm(distance, one.write, known.box, voxel_nm, math.inf, far)
            yield Piece(one.write, (distance, flags.view(np.uint8)))
    yield Result(record={"visits": np.array([visits]), "blocks": np.array([int(done.sum())])})


class _Lengths:
    """Lengths of the paths to all voxels, in a file that has holes where none leads yet."""

    def __init__(self, file: IO[bytes], shape: Zyx) -> None:
        self.file, self.shape = file, shape
        file.truncate(4 * math.prod(shape))

    def _all(self) -> Array:
        # Mapped anew each time, so that pages which were touched count for no longer than they are used.
        return np.memmap(self.file, np.uint32, "r+", shape=self.shape)

    def read(self, box: Box) -> Array:
        return np.asarray(np.uint32(FAR) - self._all()[box.slices])

    def write(self, box: Box, values: Array) -> None:
        self._all()[box.slices] = np.uint32(FAR) - values


class _Waiting:
    """Blocks that wait to be done, those with the shortest new paths first."""

    def __init__(self) -> None:
        self.length: dict[int, int] = {}
        self.heap: list[tuple[int, int]] = []

    def add(self, index: int, length: int) -> None:
        if length < self.length.get(index, FAR):
            self.length[index] = length
            heapq.heappush(self.heap, (length, index))

    def next(self) -> int | None:
        while self.heap:
            length, index = heapq.heappop(self.heap)
            if self.length.get(index) == length:
                del self.length[index]
                return index
        return None


def _read(volumes: Sequence[Volume], box: Box, target: Target, known: Known) -> tuple[Array, Array]:
    """Labels of regions, and where paths begin; neither where nothing was looked at."""
    labels = volumes[0].read(box)
    starts = (volumes[1].read(box) if len(volumes) > 1 else labels) == target.number
    if target.within is not None:
        labels = np.isin(labels, target.within)
    if known.masks or not known.box.contains(box):
        seen = known(box)
        labels, starts = labels * seen, starts & seen
    return labels, starts


def _regions(volumes: Sequence[Volume], box: Box, target: Target, known: Known) -> Array:
    return regions(*_read(volumes, box, target, known))


def _begun(one: Block, volumes: Sequence[Volume], target: Target, voxel_nm: Nm, known: Known) -> Array:
    """Lengths with which the paths of a block begin: 0 in the class, straight across the gap beside it."""
    found = np.full(one.write.shape, FAR, np.uint32)
    gap = voxels(target.gap_nm, voxel_nm) if target.gap_nm else (0, 0, 0)
    box = one.write.grow(gap).clip(one.volume)
    labels, starts = _read(volumes, box, target, known)
    own = one.write.relative_to(box).slices
    if target.gap_nm and starts.any():
        near = distance_nm(starts, voxel_nm, target.gap_nm, own)
        across = np.isfinite(near) & (labels[own] != 0)
        found[across] = np.rint(near[across] / steps_of(voxel_nm).unit_nm).astype(np.uint32)
    found[starts[own]] = 0
    return found


def _reached(one: Block, after: Array, shorter: Array, counts: Zyx) -> Iterator[tuple[int, int]]:
    """Neighbours that see a path which became shorter, and the shortest of these."""
    if not shorter.any():
        return
    ends = {-1: slice(None, REACH), 0: slice(None), 1: slice(-REACH, None)}
    for way in itertools.product((-1, 0, 1), repeat=3):
        at = [a + w for a, w in zip(one.at, way, strict=True)]
        if way == (0, 0, 0) or any(not 0 <= a < n for a, n in zip(at, counts, strict=True)):
            continue
        seen = tuple(ends[w] for w in way)
        if shorter[seen].any():
            index = (at[0] * counts[1] + at[1]) * counts[2] + at[2]
            yield index, int(after[seen][shorter[seen]].min())
