"""A bounded number of voxels of volumes of any size: which level, which boxes, what was found."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from chunkflow_liver.geometry import Box, Zyx
from chunkflow_liver.report.words import number, percent
from chunkflow_liver.store.images import open_volume
from chunkflow_liver.store.volume import Volume

Voxels = np.ndarray[Any, Any]
MOST_VOXELS = 2_000_000
SIDE = 96


@dataclass(frozen=True)
class Sample:
    """Boxes of one level of a pyramid that stand for the whole volume."""

    level: int
    shape: Zyx
    boxes: tuple[Box, ...]

    @property
    def text(self) -> str:
        share = sum(b.size for b in self.boxes) / math.prod(self.shape)
        part = "all" if share == 1 else f"{percent(share)} of the"
        voxels = number(math.prod(self.shape))
        return f"from {part} {voxels} voxels of level {self.level}"


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
    """The finest level with at most `most` voxels, or boxes spread at random over the coarsest."""
    for i, volume in enumerate(levels):
        if math.prod(volume.shape) <= most:
            return Sample(i, volume.shape, (volume.box,))
    volume = levels[-1]
    side = cast(Zyx, tuple(min(c, SIDE, n) for c, n in zip(volume.chunks, volume.shape, strict=True)))
    counts = [-(-n // c) for n, c in zip(volume.shape, volume.chunks, strict=True)]
    total = math.prod(counts)
    wanted = min(total, max(1, most // math.prod(side)))
    picked = np.random.default_rng(0).choice(total, wanted, replace=False)
    boxes = []
    for index in np.sort(picked):
        at = np.unravel_index(index, counts)
        start = cast(Zyx, tuple(int(a) * c for a, c in zip(at, volume.chunks, strict=True)))
        stop = cast(Zyx, tuple(s + n for s, n in zip(start, side, strict=True)))
        boxes.append(Box(start, stop).clip(volume.box))
    return Sample(len(levels) - 1, volume.shape, tuple(boxes))


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
    return found & (labels != 0)
