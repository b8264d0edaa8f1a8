"""Whole slices one after the other: how they are read, and blocks of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import BlockGrid, Box, Zyx
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array

SLAB_BYTES = 256 << 20
"""Of the slices of one image so many bytes are read at once: chunks are as thick as many slices."""
UNIT_BYTES = 256 << 20
MOST_PLANES = 16
UNIT_SIDE = 1024


@dataclass
class Planes:
    """The slices of a volume, one by one in any order; those next to each other are read together."""

    volume: Volume
    _first: int = -1
    _slab: Array = field(default_factory=lambda: np.zeros((0, 0, 0)))

    @property
    def depth(self) -> int:
        return slab_depth(self.volume)

    def __call__(self, z: int) -> np.ndarray[Any, Any]:
        """Slice `z` of shape (Y, X); not to be written into."""
        begin = z // self.depth * self.depth
        if begin != self._first:
            height, width = self.volume.shape[1:]
            # The slab that was is freed before the next one is read.
            self._slab = np.zeros((0, 0, 0))
            self._slab = self.volume.read(
                Box((begin, 0, 0), (min(begin + self.depth, self.volume.shape[0]), height, width))
            )
            self._first = begin
        return np.asarray(self._slab[z - begin])


def slab_depth(volume: Volume) -> int:
    """Slices that are read at once: of one layer of chunks, as many as may be held."""
    plane = volume.shape[1] * volume.shape[2] * volume.itemsize
    return max(1, min(volume.chunks[0], SLAB_BYTES // max(1, plane)))


def plane_units(volume: Volume, block: Zyx | None) -> Volume:
    """A new volume in write units of whole slices' parts, so that a task may write a few slices."""
    plane = volume.shape[1] * volume.shape[2] * volume.itemsize
    deep = min(MOST_PLANES, max(1, UNIT_BYTES // max(1, plane))) if block is None else block[0]
    if deep < 1:
        raise ConfigError(f"a block has 1 slice or more, got {block}")
    deep = min(deep, volume.shape[0])
    height, width = (min(UNIT_SIDE, n) for n in volume.shape[1:])
    return replace(volume, chunks=(deep, height, width), shards=None)


def plane_grid(volume: Volume, low: int = 0, high: int = 0) -> BlockGrid:
    """Blocks of whole slices, as thick as a write unit."""
    block = (volume.write_unit[0], *volume.shape[1:])
    return BlockGrid(volume.box, block, (low, 0, 0), (high, 0, 0))


def plane_bytes(*volumes: Volume) -> int:
    """Bytes of what `Planes` of some volumes hold."""
    return sum(slab_depth(v) * v.shape[1] * v.shape[2] * v.itemsize for v in volumes)
