"""Levels of one image side by side: how many voxels of one lie in the other, and reading it there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chunkflow_liver.engine.stage import Readable
from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Box, Zyx, zyx
from chunkflow_liver.store.images import inspect
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.store.voxels.region import AtVoxels, Known


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

    def under(self, box: Box) -> Box:
        """Voxels of the coarser level that are read for `box`, which is in the finer ones."""
        return box.coarser(self.factor)

    def read(self, box: Box) -> np.ndarray[Any, Any]:
        """Voxels of `box`, which is in the finer voxels."""
        coarse = self.under(box)
        found = self.volume.read(coarse)
        for axis, f in enumerate(self.factor):
            at = np.arange(box.start[axis], box.stop[axis]) // f - coarse.start[axis]
            found = found.take(at, axis)
        return found


def map_on(volume: Volume, given: Volume) -> Readable:
    """A map of distances at the voxels of a volume.

    Raises
    ------
    InputError
        If it is no map of distances from 0 on, or lies on other voxels and on no coarser level of them.
    """
    kind = np.dtype(given.dtype).kind
    if (kind == "u" and given.quantum_nm is None) or kind not in "fu":
        raise InputError(
            f"{given.url} holds {given.dtype} voxels and is no map of distances from 0 on: give one of "
            "'distance' (not signed) or 'geodesic'"
        )
    factor = factor_between(given, volume)
    if factor is None:
        raise InputError(
            f"{given.url} has {given.shape} voxels of {given.voxel_nm} nm, {volume.url} {volume.shape} of "
            f"{volume.voxel_nm} nm: positions need both on the same voxels, or the map on a coarser one"
        )
    return given if factor == (1, 1, 1) else Repeated(given, factor, volume.shape)


def known_with(volume: Volume, maps: Sequence[Volume]) -> Known:
    """The voxels that were looked at in a volume and in maps that `map_on` takes.

    Raises
    ------
    InputError
        If there are none.
    """
    found = volume.known
    masks: list[Volume | AtVoxels] = [] if volume.mask is None else [volume.mask]
    for given in maps:
        factor = factor_between(given, volume) or (1, 1, 1)
        ends = [
            [n * f for n, f in zip(end, factor, strict=True)] for end in (given.known.start, given.known.stop)
        ]
        found = found.clip(Box(zyx(ends[0]), zyx(ends[1])))
        if given.mask is not None:
            # A voxel of a coarser map has its centre in the mask, or none of the finer ones in it is known.
            own = factor == (1, 1, 1)
            masks.append(given.mask if own else AtVoxels(given.mask, given.shape, given.voxel_nm))
    if not found.size:
        raise InputError(f"nothing is known of the same voxels of {[volume.url, *(m.url for m in maps)]}")
    return Known(found, volume.voxel_nm, tuple(dict.fromkeys(masks)))
