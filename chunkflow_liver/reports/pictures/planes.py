"""Planes of volumes on one grid of square pixels, in nm, read from levels coarse enough."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkflow_liver.errors import ChunkflowLiverError, InputError
from chunkflow_liver.geometry import Box, zyx
from chunkflow_liver.store.volume import Volume

Pixels = np.ndarray[Any, Any]

MOST_PIXELS = 600
MOST_VOXELS = 1 << 23
PLANES = {"xy": (1, 2), "xz": (0, 2), "yz": (0, 1)}
"""Axes (down, right) of every plane, as positions in z, y, x."""


@dataclass(frozen=True)
class View:
    """A rectangle in a plane of the volume, and its square pixels.

    Attributes
    ----------
    plane : {'xy', 'xz', 'yz'}
    at_nm : float
        Position along the axis that the plane cuts.
    low_nm, size_nm : tuple of float
        First corner and size along (down, right).
    pixel_nm : float
        Side of a pixel.
    """

    plane: str
    at_nm: float
    low_nm: tuple[float, float]
    size_nm: tuple[float, float]
    pixel_nm: float

    @property
    def shape(self) -> tuple[int, int]:
        """Pixels (down, right)."""
        rows, columns = (max(1, round(s / self.pixel_nm)) for s in self.size_nm)
        return rows, columns

    @property
    def across(self) -> int:
        """The axis that the plane cuts."""
        return across(self.plane)


def across(plane: str) -> int:
    """The axis that a plane cuts, as its position in z, y, x."""
    return next(a for a in range(3) if a not in PLANES[plane])


def corner_nm(volume: Volume, axis: int) -> float:
    """Where the first voxel begins along `axis`, in nm."""
    return volume.origin_nm[axis] - volume.voxel_nm[axis] / 2


def extent_nm(volume: Volume) -> tuple[float, float, float]:
    """Size of the volume along (z, y, x), in nm."""
    z, y, x = (n * v for n, v in zip(volume.shape, volume.voxel_nm, strict=True))
    return z, y, x


def middle(view: View, frame: Volume) -> str:
    """The middle of a view as 'z,y,x' in nm from the first corner of a volume, as the viewer takes it."""
    at = [0.0, 0.0, 0.0]
    at[view.across] = view.at_nm
    for axis, low, size in zip(PLANES[view.plane], view.low_nm, view.size_nm, strict=True):
        at[axis] = low + size / 2
    return ",".join(f"{p - corner_nm(frame, axis):.0f}" for axis, p in enumerate(at))


def views(
    frame: Volume,
    pyramids: Sequence[Sequence[Volume]],
    shares: Sequence[float] | Mapping[int, Sequence[float]],
) -> list[list[View]]:
    """For every plane with more than one voxel per axis, its views at `shares` of the depth (of each axis).

    A view is the whole plane, or its middle where some image has no level coarse enough to read the
    whole.
    """
    found = []
    for plane, axes in PLANES.items():
        if plane != "xy" and min(frame.shape[a] for a in axes) < 2:
            continue
        size = [extent_nm(frame)[a] for a in axes]
        while any(_plane_voxels(p, axes, size, _pixel(frame, axes, size)) > MOST_VOXELS for p in pyramids):
            size[size.index(max(size))] /= 2
        low = [corner_nm(frame, a) + (extent_nm(frame)[a] - s) / 2 for a, s in zip(axes, size, strict=True)]
        pixel = _pixel(frame, axes, size)
        cut = across(plane)
        depth = extent_nm(frame)[cut]
        # One voxel deep: all shares are the same plane.
        wanted = shares[cut] if isinstance(shares, Mapping) else shares
        places = wanted if frame.shape[cut] > 1 else [0.5]
        found.append(
            [
                View(
                    plane,
                    corner_nm(frame, cut) + share * depth,
                    (low[0], low[1]),
                    (size[0], size[1]),
                    pixel,
                )
                for share in places
            ]
        )
    return found


def _pixel(frame: Volume, axes: tuple[int, int], size: Sequence[float]) -> float:
    return max(max(size) / MOST_PIXELS, min(frame.voxel_nm[a] for a in axes))


def coarsest(levels: Sequence[Volume], axes: tuple[int, int], pixel_nm: float) -> int:
    """The coarsest level whose voxels are no larger than a pixel (or than they are in level 0)."""
    good = [
        i
        for i, v in enumerate(levels)
        if all(v.voxel_nm[a] <= max(pixel_nm * 1.001, levels[0].voxel_nm[a]) for a in axes)
    ]
    return good[-1]


def _plane_voxels(
    levels: Sequence[Volume], axes: tuple[int, int], size: Sequence[float], pixel: float
) -> float:
    voxel = levels[coarsest(levels, axes, pixel)].voxel_nm
    return math.prod(max(1.0, s / voxel[a]) for s, a in zip(size, axes, strict=True))


def read_plane(levels: Sequence[Volume], view: View) -> tuple[Pixels, Pixels]:
    """Voxel values under the pixels of a view, and which pixels lie inside the volume.

    Takes the level that suits the pixels, or a finer one where that level is not written.

    Raises
    ------
    InputError, ChunkError
        If no level can be read, or the plane lies outside the volume.
    """
    axes = PLANES[view.plane]
    best = coarsest(levels, axes, view.pixel_nm)
    for i in range(best, -1, -1):
        try:
            return _read(levels[i], view, axes)
        except ChunkflowLiverError:
            finer_fits = i and math.prod(levels[i - 1].shape[a] for a in axes) <= MOST_VOXELS
            if not finer_fits:
                raise
    raise InputError(f"{levels[0].url} has no level to read")


def _read(volume: Volume, view: View, axes: tuple[int, int]) -> tuple[Pixels, Pixels]:
    at = math.floor((view.at_nm - corner_nm(volume, view.across)) / volume.voxel_nm[view.across])
    if not 0 <= at < volume.shape[view.across]:
        raise InputError(f"{volume.url} does not reach the plane at {view.at_nm:g} nm")
    start, stop, index, inside = [at] * 3, [at + 1] * 3, [], []
    for axis, low, n in zip(axes, view.low_nm, view.shape, strict=True):
        nm = low + (np.arange(n) + 0.5) * view.pixel_nm
        place = np.floor((nm - corner_nm(volume, axis)) / volume.voxel_nm[axis]).astype(np.int64)
        inside.append((place >= 0) & (place < volume.shape[axis]))
        place = np.clip(place, 0, volume.shape[axis] - 1)
        start[axis], stop[axis] = int(place.min()), int(place.max()) + 1
        index.append(place - start[axis])
    voxels = volume.read(Box(zyx(start), zyx(stop))).squeeze(view.across)
    return voxels[np.ix_(*index)], inside[0][:, None] & inside[1][None, :]
