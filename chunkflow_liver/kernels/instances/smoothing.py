"""Smoother objects: opening, closing and majority, each object by itself, and no two joined."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import Box, Nm, Zyx, voxels, zyx
from chunkflow_liver.kernels.distance.transform import distance_nm, inside_nm
from chunkflow_liver.kernels.labels.extents import block_extents
from chunkflow_liver.xp import Array

# A distance in float32 of just the radius must not fall to the far side of it.
_TIE = 1 + 1e-6


@dataclass(frozen=True)
class Shapes:
    """How the shapes of objects change, in this order; lengths in nm, 0 for not at all.

    Attributes
    ----------
    smooth_nm : float
        Every voxel gets the most frequent id (background counts too) of a box that reaches as far.
    open_nm : float
        Parts of an object go that a ball of this radius does not fit in.
    close_nm : float
        Gaps and dents of an object are filled that a ball of this radius does not fit in; what two objects
        close over stays background.
    fill_holes : bool
        Whether background that one object encloses becomes part of it. What reaches the end of the volume,
        or touches two objects, is no hole; background joins across faces.
    """

    smooth_nm: float = 0.0
    open_nm: float = 0.0
    close_nm: float = 0.0
    fill_holes: bool = False

    def __post_init__(self) -> None:
        check_not_negative({"smooth_nm": self.smooth_nm, "open_nm": self.open_nm, "close_nm": self.close_nm})

    @property
    def moves(self) -> bool:
        """Whether any voxel may change but those of holes."""
        return bool(self.smooth_nm or self.open_nm or self.close_nm)

    def halo(self, voxel_nm: Nm) -> Zyx:
        """Voxels around a block that its answer depends on."""
        reaches = [voxels(r, voxel_nm) for r in (self.smooth_nm, *[self.open_nm, self.close_nm] * 2)]
        return zyx([sum(r[axis] for r in reaches) for axis in range(3)])

    def apply(self, labels: Array, voxel_nm: Nm, hidden: Array | None = None) -> Array:
        """The objects of a block in their new shapes, holes aside.

        Of voxels that are `hidden` nothing is known, like beyond the array; they are 0 and stay so.
        """
        if self.smooth_nm:
            # The box does not reach farther than the length asked for.
            reach = zyx([int(self.smooth_nm / v + 1e-9) for v in voxel_nm])
            labels = majority(labels, reach, hidden)
        if self.open_nm:
            labels = opened(labels, self.open_nm, voxel_nm, hidden)
        if self.close_nm:
            labels = closed(labels, self.close_nm, voxel_nm)
            labels = labels if hidden is None else np.where(hidden, labels.dtype.type(0), labels)
        return labels


def check_not_negative(values: Mapping[str, float]) -> None:
    """Refuse a value that is negative or not finite, by its name.

    Raises
    ------
    ConfigError
    """
    for what, value in values.items():
        if not (math.isfinite(value) and value >= 0):
            raise ConfigError(f"{what} must be 0 or more, got {value!r}")


def opened(labels: Array, radius_nm: float, voxel_nm: Nm, hidden: Array | None = None) -> Array:
    """The part of every object that a ball of `radius_nm` inside it can reach.

    Parameters
    ----------
    labels : ndarray of shape (Z, Y, X), integer
        Object ids, 0 is background.
    radius_nm : float
        Radius of the ball in nm, between voxel centres.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.
    hidden : ndarray of shape (Z, Y, X), bool, optional
        Voxels of which nothing is known; objects go on there.

    Returns
    -------
    ndarray of shape (Z, Y, X), dtype of `labels`

    Notes
    -----
    Two Euclidean transforms for all objects together: a voxel farther than the radius from any other id
    is a centre of the ball, and no centre of another object is within the radius of an object's voxel.
    Objects go on beyond the array. Exact with a halo of two radii.
    """
    import edt

    if not labels.any():
        return labels
    if hidden is None:
        depth = edt.edt(np.ascontiguousarray(labels), anisotropy=voxel_nm, black_border=False, parallel=1)
    else:
        depth = inside_nm(labels, voxel_nm, 2 * radius_nm, hidden=hidden)
    centres = (labels != 0) & (depth > np.float32(radius_nm * _TIE))
    return np.where(np.isfinite(distance_nm(centres, voxel_nm, radius_nm)), labels, labels.dtype.type(0))


def closed(labels: Array, radius_nm: float, voxel_nm: Nm) -> Array:
    """Every object with the background that a ball of `radius_nm` outside it cannot reach.

    Parameters
    ----------
    labels : ndarray of shape (Z, Y, X), integer
        Object ids, 0 is background.
    radius_nm : float
        Radius of the ball in nm, between voxel centres.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.

    Returns
    -------
    ndarray of shape (Z, Y, X), dtype of `labels`
        Background that two objects close over stays background.

    Notes
    -----
    Object by object in its own box. Beyond the array there is background. Exact with a halo of two radii.
    """
    reach = voxels(radius_nm, voxel_nm)
    claims: np.ndarray[Any, Any] = np.zeros(labels.shape, np.uint8)
    filled = labels.copy()
    for value, box in _objects(labels):
        mask = np.pad(labels[box.slices] == value, [(n, n) for n in reach])
        near = np.isfinite(distance_nm(mask, voxel_nm, radius_nm))
        inside = ~np.isfinite(distance_nm(~near, voxel_nm, radius_nm))
        inside = inside[tuple(slice(n, n + side) for n, side in zip(reach, box.shape, strict=True))]
        fresh = inside & (labels[box.slices] == 0)
        # Two claims are as good as more: a count must not come back to 1.
        claims[box.slices][fresh] = np.minimum(claims[box.slices][fresh] + 1, 2)
        filled[box.slices][fresh] = value
    return np.where(claims > 1, labels, filled)


def majority(labels: Array, reach: Zyx, hidden: Array | None = None) -> Array:
    """The most frequent id, background included, in a box around every voxel.

    Parameters
    ----------
    labels : ndarray of shape (Z, Y, X), integer
        Object ids, 0 is background.
    reach : Zyx
        Voxels from the centre of the box to its side along (z, y, x).
    hidden : ndarray of shape (Z, Y, X), bool, optional
        Voxels that do not count, and stay 0.

    Returns
    -------
    ndarray of shape (Z, Y, X), dtype of `labels`
        Of several ids that are equally frequent the voxel's own, else the smallest. Voxels beyond the
        array do not count. Exact with a halo of `reach`.
    """
    best_count = box_sums(labels == 0 if hidden is None else (labels == 0) & ~hidden, reach)
    best = np.zeros_like(labels)
    own = np.where(labels == 0, best_count, 0)
    whole = Box.of(zyx(list(labels.shape)))
    for value, box in _objects(labels):
        around = box.grow(reach).clip(whole).slices
        is_own = labels[around] == value
        count = box_sums(is_own, reach)
        own[around] += np.where(is_own, count, 0)
        better = count > best_count[around]
        best_count[around][better] = count[better]
        best[around][better] = value
    found = np.where(own == best_count, labels, best)
    return found if hidden is None else np.where(hidden, labels.dtype.type(0), found)


def box_sums(mask: Array, reach: Zyx) -> Array:
    """How many voxels of `mask` lie in a box of `reach` voxels around every voxel, int32."""
    total: np.ndarray[Any, Any] = mask.astype(np.int32)
    for axis, n in enumerate(reach):
        side = mask.shape[axis]
        running = np.concatenate(
            [np.zeros_like(np.take(total, [0], axis)), np.cumsum(total, axis, dtype=np.int32)], axis
        )
        high = np.minimum(np.arange(side) + n + 1, side)
        low = np.maximum(np.arange(side) - n, 0)
        total = np.take(running, high, axis) - np.take(running, low, axis)
    return total


def _objects(labels: Array) -> Iterator[tuple[Any, Box]]:
    """Id and box of every object of a block, in ascending order of ids."""
    found = block_extents(labels, (0, 0, 0))
    for value, low, high in zip(found["label"], found["low"].tolist(), found["high"].tolist(), strict=True):
        yield value.astype(labels.dtype), Box(zyx(low), zyx(high))
