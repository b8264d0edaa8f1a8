"""Slices of windows as 8-bit pixels, read slab by slab from the level that fits."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Box
from chunkflow_liver.kernels.images.windows import Window, shrunk
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array

READ_BYTES = 256 << 20
"""Of an image's voxels so many are held while they are made smaller."""


@dataclass(frozen=True)
class Greys:
    """How voxels become grey values 0 to 255: between two limits, or a class of a label image as white."""

    low: float = 0.0
    high: float = 255.0
    number: int | None = None

    def __call__(self, voxels: Array, factor: int) -> np.ndarray[Any, Any]:
        if self.number is not None:
            scaled = shrunk(voxels == self.number, factor) * np.float32(255)
        else:
            scaled = (shrunk(voxels, factor) - np.float32(self.low)) * np.float32(
                255 / (self.high - self.low)
            )
            if not np.isfinite(scaled).all():
                raise InputError(
                    "the image holds voxels that are NaN or infinite where slices are to be carried: these "
                    "are no grey values; put numbers there ('convert' an image without them)"
                )
        found: np.ndarray[Any, Any] = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
        return found


@dataclass
class Slices:
    """The slices of any window.

    Attributes
    ----------
    levels : sequence of (Volume, int)
        The image with factor 1, and coarser levels with voxels `factor` times as wide and as thick.
    greys : Greys
    depth : int
        Slices that are read at once.
    kept : int
        Windows whose slabs are kept.
    """

    levels: Sequence[tuple[Volume, int]]
    greys: Greys
    depth: int
    kept: int
    _slabs: OrderedDict[tuple[Window, int], Array] = field(default_factory=OrderedDict)

    def plane(self, window: Window, z: int) -> Array:
        """Grey values of slice `z`, uint8 of shape (S, S); beyond the image its edge goes on."""
        key = (window, z // self.depth)
        if key not in self._slabs:
            while len(self._slabs) >= self.kept:
                self._slabs.popitem(last=False)
            self._slabs[key] = self._slab(*key)
        self._slabs.move_to_end(key)
        found: Array = self._slabs[key][z - key[1] * self.depth]
        return found

    def _slab(self, window: Window, index: int) -> Array:
        volume, wide = max(
            ((v, f) for v, f in self.levels if window.factor % f == 0), key=lambda level: level[1]
        )
        factor = window.factor // wide
        begin, end = index * self.depth, min((index + 1) * self.depth, volume.shape[0])
        inner = [slice(min(n // wide, most - 1), min(-(-(n + window.voxels) // wide), most))
                 for n, most in zip((window.y, window.x), volume.shape[1:], strict=True)]  # fmt: skip
        pads = [(0, factor * window.side - (s.stop - s.start)) for s in inner]
        plane = (factor * window.side) ** 2 * volume.itemsize
        step = max(1, READ_BYTES // plane)
        out = np.empty((end - begin, window.side, window.side), np.uint8)
        for z in range(begin, end, step):
            stop = min(end, z + step)
            box = Box((z, inner[0].start, inner[1].start), (stop, inner[0].stop, inner[1].stop))
            voxels = np.pad(volume.read(box), [(0, 0), *pads], mode="edge")
            out[z - begin : stop - begin] = self.greys(voxels, factor)
        return out
