"""What of a volume is looked at: a box in nm, or a mask of any voxel size. All else is unknown.

A volume that is restricted so reads 0 elsewhere, and what is made of it names the same box and mask. `Known`
tells operations what lies outside: it is no background, like what lies outside the volume.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.geometry import Box, Nm, Zyx, zyx
from chunkflow_liver.xp import Array

Corners = tuple[Nm, Nm]
"""First and opposite corner (z, y, x), in nm from the volume's first corner."""

OF_MASK = ("url", "path", "shape", "dtype", "voxel_nm", "chunks", "shards", "axes", "ome_version")
"""What an image states of the mask that it was made in, so that it can be opened where the mask is gone."""


class Mask(Protocol):
    """A label image, not 0 where voxels are wanted; over the same extent, with voxels of any size."""

    @property
    def url(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def origin_nm(self) -> Nm: ...
    @property
    def shape(self) -> Zyx: ...
    @property
    def voxel_nm(self) -> Nm: ...
    @property
    def dtype(self) -> str: ...
    def read(self, box: Box) -> Array: ...


@dataclass(frozen=True)
class Known:
    """The voxels that were looked at: those of a box whose centre lies in every mask.

    Attributes
    ----------
    box : Box
        In voxels of the volume.
    voxel_nm : Nm
        Of the volume.
    masks : tuple of Mask
        Non-zero where voxels are known. In fingerprints their content stands with the inputs, not their path.
    """

    box: Box
    voxel_nm: Nm
    masks: tuple[Any, ...] = field(default=(), metadata={"plain": False})

    def __call__(self, box: Box) -> Array:
        """Which voxels of `box` are known, bool."""
        found: Array = np.zeros(box.shape, bool)
        part = box.clip(self.box)
        if part.size:
            wanted: Any = True
            for mask in self.masks:
                wanted = wanted & in_mask(mask, part, self.voxel_nm)
            found[part.relative_to(box).slices] = wanted
        return found

    def by_mask(self) -> dict[Any, tuple[Any, ...]]:
        """The masks as they are stored, and for each how it is read, at one voxel size or at several."""
        found: dict[Any, tuple[Any, ...]] = {}
        for mask in self.masks:
            stored = mask.mask if isinstance(mask, AtVoxels) else mask
            found[stored] = (*found.get(stored, ()), mask)
        return found

    def beside(self, box: Box) -> Array:
        """Voxels of `box`, a part of the known box, across a face of which nothing is known, bool.

        Across a single plane nothing is missing.
        """
        found = np.zeros(box.shape, bool)
        for axis in range(3):
            if self.box.shape[axis] > 1 and box.size:
                planes = np.moveaxis(found, axis, 0)
                planes[0] |= box.start[axis] == self.box.start[axis]
                planes[-1] |= box.stop[axis] == self.box.stop[axis]
        around = box.grow((1, 1, 1)).clip(self.box)
        if (hidden := self.hidden(around)) is not None:
            found |= next_to(hidden)[box.relative_to(around).slices]
        return found

    def hidden(self, box: Box) -> Array | None:
        """Voxels of `box` that a mask leaves out, bool; None where there are none, or no mask."""
        if not self.masks or not box.size:
            return None
        found = ~self(box)
        return found if found.any() else None


@dataclass(frozen=True)
class AtVoxels:
    """A mask as it is seen by an image of larger voxels, of which each is known or not as a whole.

    Attributes
    ----------
    mask : Mask
    shape, voxel_nm
        Of that image.
    """

    mask: Any
    shape: Zyx
    voxel_nm: Nm

    @property
    def url(self) -> str:
        return str(self.mask.url)

    @property
    def dtype(self) -> str:
        return "bool"

    def read(self, box: Box) -> Array:
        return in_mask(self.mask, box, self.voxel_nm)


def next_to(hidden: Array) -> Array:
    """Voxels with a face neighbour that is hidden, bool."""
    found = np.zeros(hidden.shape, bool)
    for axis in range(3):
        here, there = np.moveaxis(found, axis, 0), np.moveaxis(hidden, axis, 0)
        here[1:] |= there[:-1]
        here[:-1] |= there[1:]
    return found


def in_mask(mask: Mask, box: Box, voxel_nm: Nm) -> Array:
    """Which voxels of `box`, of `voxel_nm`, have their centre in a voxel of `mask` that is not 0."""
    at = []
    for axis in range(3):
        scale = voxel_nm[axis] / mask.voxel_nm[axis]
        index = np.floor((np.arange(box.start[axis], box.stop[axis]) + 0.5) * scale + 1e-9).astype(np.int64)
        at.append(np.clip(index, 0, mask.shape[axis] - 1))
    low, high = zyx([int(a[0]) for a in at]), zyx([int(a[-1]) + 1 for a in at])
    values = mask.read(Box(low, high)) != 0
    found: Array = values[np.ix_(*(a - n for a, n in zip(at, low, strict=True)))]
    return found


def box_of(corners: Corners, shape: Zyx, voxel_nm: Nm, known: Box, url: str) -> Box:
    """The voxels of `known` whose centre lies between two corners.

    Raises
    ------
    ConfigError
        If these are no two corners in order, or no voxel lies between them.
    """
    if not (
        isinstance(corners, Sequence)
        and [len(c) if isinstance(c, Sequence) else 0 for c in corners] == [3, 3]
        and all(isinstance(v, int | float) and not isinstance(v, bool) for corner in corners for v in corner)
    ):
        raise ConfigError(
            f"what is wanted is a mask (a Volume) or two corners (z, y, x) in nm, got {corners!r}"
        )
    low, high = corners
    if not all(math.isfinite(v) for v in (*low, *high)) or any(
        a >= b for a, b in zip(low, high, strict=True)
    ):
        raise ConfigError(
            f"roi_nm is two corners (z, y, x) in nm, the second beyond the first; got {corners}"
        )
    start, stop = (
        zyx([math.ceil(round(v / size - 0.5, 9)) for v, size in zip(end, voxel_nm, strict=True)])
        for end in (low, high)
    )
    box = Box(start, stop).clip(known)
    if box.size == 0:
        extent = tuple(n * v for n, v in zip(shape, voxel_nm, strict=True))
        seen = "" if known == Box.of(shape) else f", and of which {known} was looked at"
        raise ConfigError(f"roi_nm {corners} holds no voxel of {url}, which is {extent} nm large{seen}")
    return box


def check_mask(mask: Mask, volume: Mask, before: Mask | None = None) -> None:
    """Refuse a mask that does not cover the extent of `volume`, holds no labels, or is a second one.

    Raises
    ------
    ConfigError, InputError
    """
    # What an image states of its own mask is less than what the mask itself does.
    if before is not None and (before.url, before.path) != (mask.url, mask.path):
        raise ConfigError(f"there is the mask {before.url} already; draw it and {mask.url} into one image")
    for axis, name in enumerate("zyx"):
        sizes = mask.voxel_nm[axis], volume.voxel_nm[axis]
        there, here = (v.shape[axis] * v.voxel_nm[axis] for v in (mask, volume))
        if abs(here - there) >= max(sizes):
            raise InputError(
                f"the mask {mask.url} is {there:.6g} nm long along {name}, the volume {here:.6g} nm: a "
                "mask covers the same extent, at any voxel size"
            )
        # The outer faces of the first voxels, whose centres are half a voxel inside.
        there, here = (v.origin_nm[axis] - v.voxel_nm[axis] / 2 for v in (mask, volume))
        if abs(here - there) > max(sizes) / 2:
            raise InputError(
                f"the mask {mask.url} begins at {there:.6g} nm along {name}, {volume.url} at {here:.6g} nm: "
                "a mask covers the same place; mend the translation in the metadata of the one that is wrong"
            )
    if np.dtype(mask.dtype).kind not in "bui":
        raise InputError(f"the mask {mask.url} holds {mask.dtype} voxels; it must hold integers")
