"""A bounded number of voxels of volumes of any size: which level, which boxes, what was found."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkflow_liver.geometry import BlockGrid, Box, Zyx, zyx
from chunkflow_liver.reports.words import number, percent
from chunkflow_liver.store.images import open_volume
from chunkflow_liver.store.volume import Volume

Voxels = np.ndarray[Any, Any]
MOST_VOXELS = 2_000_000
MOST_BOXES, LEAST_BOXES = 512, 64
MOST_DECODED = 200_000_000
"""Voxels of the chunks that all boxes together may touch: a chunk is decoded whole."""


@dataclass(frozen=True)
class Sample:
    """Boxes of one level of a pyramid that stand for the whole volume."""

    level: int
    shape: Zyx
    boxes: tuple[Box, ...]

    @property
    def text(self) -> str:
        share = sum(b.size for b in self.boxes) / math.prod(self.shape)
        voxels = number(math.prod(self.shape))
        if share < 1:
            return f"in {number(len(self.boxes))} random boxes, {percent(share)} of {voxels} voxels"
        coarse = f" of level {self.level}" if self.level else ""
        return f"in all {voxels} voxels{coarse}"


def levels_of(volume: Volume) -> tuple[Volume, ...]:
    """Handles to every stored level of the image that `volume` is a level of, finest first."""
    at = dict(volume.at)
    found = []
    first = _open(volume, at, 0)
    for level in range(first.levels):
        found.append(_open(volume, at, level))
    return tuple(found)


def _open(volume: Volume, at: dict[str, int], level: int) -> Volume:
    return open_volume(
        volume.url,
        level=level,
        channel=at.get("c"),
        timepoint=at.get("t"),
        missing_chunks="error" if volume.complete else "fill",
    )


def choose(levels: Sequence[Volume], most: int = MOST_VOXELS) -> Sample:
    """All of level 0 if it has at most `most` voxels, else boxes at random in random chunks of it.

    Many small boxes of level 0 represent it better than a coarse level, in which thin classes are
    lost and distances and intensities are blurred. Only where chunks are so large that few of them
    can be read, the finest level with at most `most` voxels is taken whole.
    """
    volume = levels[0]
    whole = next((v for v in levels if math.prod(v.shape) <= most), None)
    if whole is not None and (whole is volume or _count(volume) < LEAST_BOXES):
        unit = tuple(min(u, n) for u, n in zip(whole.write_unit, whole.shape, strict=True))
        return Sample(whole.level, whole.shape, tuple(b.write for b in BlockGrid(whole.box, zyx(unit))))
    return Sample(0, volume.shape, _boxes(volume, most))


def _chunks(volume: Volume) -> list[int]:
    """Number of chunks along (z, y, x)."""
    return [-(-n // c) for n, c in zip(volume.shape, volume.chunks, strict=True)]


def _count(volume: Volume) -> int:
    """How many boxes to read."""
    affordable = max(8, MOST_DECODED // math.prod(volume.chunks))
    return min(math.prod(_chunks(volume)), MOST_BOXES, affordable)


def _boxes(volume: Volume, most: int) -> tuple[Box, ...]:
    random = np.random.default_rng(0)
    n, counts = _count(volume), _chunks(volume)
    side = [min(c, s) for c, s in zip(volume.chunks, volume.shape, strict=True)]
    while math.prod(side) * n > most:
        side[side.index(max(side))] = -(-max(side) // 2)
    found = []
    for index in np.sort(random.choice(math.prod(counts), n, replace=False)):
        at = np.unravel_index(index, counts)
        start = []
        for axis in range(3):
            first = int(at[axis]) * volume.chunks[axis]
            last = min(first + volume.chunks[axis], volume.shape[axis])
            start.append(int(random.integers(first, max(first, last - side[axis]) + 1)))
        stop = zyx([a + b for a, b in zip(start, side, strict=True)])
        found.append(Box(zyx(start), stop).clip(volume.box))
    return tuple(found)


def together(sample: Sample, *pyramids: Sequence[Volume]) -> Iterator[tuple[Voxels, ...]]:
    """The voxels of several pyramids in each box of a sample; the pyramids have the same shapes."""
    for box in sample.boxes:
        yield tuple(p[sample.level].read(box) for p in pyramids)


def fits(sample: Sample, levels: Sequence[Volume]) -> bool:
    """Whether a pyramid has the sample's level on the same voxels."""
    return len(levels) > sample.level and levels[sample.level].shape == sample.shape


def surface(labels: Voxels) -> Voxels:
    """Voxels of an object with a face neighbour of another label inside the array."""
    found = np.zeros(labels.shape, bool)
    for axis in range(3):
        a = [slice(None)] * 3
        b = [slice(None)] * 3
        a[axis], b[axis] = slice(1, None), slice(None, -1)
        differ = labels[tuple(a)] != labels[tuple(b)]
        found[tuple(a)] |= differ
        found[tuple(b)] |= differ
    found &= labels != 0
    return found
