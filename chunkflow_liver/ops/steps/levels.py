"""Levels of one image side by side: how many voxels of one lie in the other, and reading it there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Box, Zyx, zyx
from chunkflow_liver.store.images import inspect
from chunkflow_liver.store.volume import Volume


def factor_between(coarse: Volume, fine: Volume) -> Zyx | None:
    """Voxels of `fine` in one of `coarse` along each axis, if that is a whole number everywhere."""
    ratio = [c / f for c, f in zip(coarse.voxel_nm, fine.voxel_nm, strict=True)]
    factor = [max(1, round(r)) for r in ratio]
    whole = all(abs(r - f) <= 0.01 * f for r, f in zip(ratio, factor, strict=True))
    covers = all((n - 1) * f < m <= n * f for n, f, m in zip(coarse.shape, factor, fine.shape, strict=True))
    return zyx(factor) if whole and covers else None


def coarser_level(volume: Volume, level: int) -> Volume:
    """A coarser level of the image of `volume`, which may be planned only.

    Raises
    ------
    InputError
        If there is no such level.
    """
    if not volume.level < level < volume.levels:
        there = f"{volume.level + 1} to {volume.levels - 1}" if volume.level + 1 < volume.levels else "none"
        raise InputError(f"{volume.url} has no level {level} coarser than {volume.level}; there is {there}")
    if volume.exists():
        for found in inspect(volume.url)[1]:
            if found.level == level:
                return replace(found, at=volume.at, complete=volume.complete)
    return volume.pyramid()[level]


@dataclass(frozen=True)
class Repeated:
    """A coarser level read at the voxels of a finer one of `shape`: every voxel is repeated."""

    volume: Volume
    factor: Zyx
    shape: Zyx

    @property
    def itemsize(self) -> int:
        return self.volume.itemsize

    def identity(self) -> str:
        return f"{self.volume.identity()} x {self.factor}"

    def read(self, box: Box) -> np.ndarray[Any, Any]:
        """Voxels of `box`, which is in the finer voxels."""
        low = zyx([a // f for a, f in zip(box.start, self.factor, strict=True)])
        high = zyx([-(-b // f) for b, f in zip(box.stop, self.factor, strict=True)])
        found = self.volume.read(Box(low, high))
        for axis, f in enumerate(self.factor):
            at = np.arange(box.start[axis], box.stop[axis]) // f - low[axis]
            found = found.take(at, axis)
        return found
