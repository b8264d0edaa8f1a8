"""Where the surface of one object comes close to another object: gaps, areas and partners, voxel by voxel."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.geometry import Nm, Zyx, zyx
from chunkflow_liver.kernels.contacts.areas import reach_voxels, surface_areas, walled
from chunkflow_liver.kernels.contacts.meetings import Search
from chunkflow_liver.kernels.distance.squares import Trim, Unit, squares_to, whole_unit
from chunkflow_liver.xp import Array, on_host

MOST_ALONG = (1 << 21) - 3
"""Voxels of a block along an axis: three places, with a wall, share 63 bits (`meeting_loops`)."""

_SLAB = 1 << 18


@dataclass(frozen=True, eq=False)
class Near:
    """Surface voxels of some planes, and what they are near to.

    Attributes
    ----------
    at : ndarray of shape (3, M), int64
        Place of each surface voxel, in voxels of the trimmed box.
    label : ndarray of shape (M,)
        Object that each belongs to.
    area : ndarray of shape (M,), int64
        Surface that each stands for, in steps of `area_step_nm2`.
    voxel : ndarray of shape (K,), int64
        Surface voxel of each meeting with another object; a voxel meets an object once.
    met : ndarray of shape (K,)
        Label met.
    square : ndarray of shape (K,), int64
        Squared gap in units.
    nearest : ndarray of shape (K,), bool
        Whether it is the nearest object of its voxel, of equally near ones that with the smallest label.
    """

    at: Array
    label: Array
    area: Array
    voxel: Array
    met: Array
    square: Array
    nearest: Array

    def within(self, limit: int) -> Near:
        """The same voxels, with what they meet up to the squared gap `limit` only."""
        kept = self.square <= limit
        if kept.all():
            return self
        names = ("voxel", "met", "square", "nearest")
        return replace(self, **{name: getattr(self, name)[kept] for name in names})


def halo_voxels(gap_nm: float, voxel_nm: Nm) -> Zyx:
    """Halo that `near_surface` needs around the voxels it counts, in voxels along (z, y, x).

    It reaches every voxel whose box is within `gap_nm`, and all that the areas look at.
    """
    if not (math.isfinite(gap_nm) and gap_nm >= 0) or min(voxel_nm) <= 0:
        raise ConfigError(
            f"contacts need a finite gap of 0 nm or more and positive voxel sizes, got {gap_nm} nm "
            f"and {voxel_nm}"
        )
    reach = _reach(whole_unit(voxel_nm), gap_nm)
    return zyx([max(pair) for pair in zip(reach, reach_voxels(voxel_nm), strict=True)])


def _reach(unit: Unit, gap_nm: float) -> Zyx:
    """Offset, in voxels, of the farthest voxel within the gap."""
    return zyx([math.isqrt(unit.squares(gap_nm)) // size + 1 for size in unit.voxel])


def near_surface(
    own: Array,
    other: Array,
    *,
    voxel_nm: Nm,
    gap_nm: float,
    trim: Trim,
    same: bool = False,
    centres: bool = False,
    hidden: Array | None = None,
) -> Iterator[Near]:
    """Surface voxels of the objects in `own`, and every object in `other` within the gap of each.

    Parameters
    ----------
    own, other : ndarray of shape (Z, Y, X), integer or bool
        Label blocks with a halo of at least `halo_voxels`, cut only by the volume's border;
        0 is background.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.
    gap_nm : float
        Largest gap, in nm.
    trim : tuple of slice
        The voxels of `own` to look at.
    same : bool
        Whether `own` and `other` are one labelling, so that equal labels are one object.
    centres : bool
        Gaps are between the centres of voxels, not between their boxes.
    hidden : ndarray of the same shape, bool, optional
        Voxels of which nothing is known: no object lies there, and none has a surface towards them.

    Yields
    ------
    Near
        Some planes at a time, in order.

    Raises
    ------
    ConfigError
        If the gap is negative or not finite.
    InputError
        If the blocks differ in shape, or have more than `MOST_ALONG` voxels along an axis.

    Notes
    -----
    A surface voxel has a face neighbour of another label; the volume's border is no surface. The gap
    between two voxels is the shortest distance between their boxes,
    sqrt(sum((max(abs(d_i) - 1, 0) * voxel_i)**2)) for an offset of d voxels: 0 where they touch, if
    only by a corner, or overlap. With `centres` it is sqrt(sum((d_i voxel_i)**2)). It is kept as a whole
    number of squared units.

    The area is that of `surface_areas`.

    An exact transform of `other` gives the gap to the nearest object, whatever the gap. Where a
    voxel can meet several objects, all surface voxels within the gap are looked at, cell by cell.
    """
    halo_voxels(gap_nm, voxel_nm)
    own, other = on_host(own), on_host(other)
    if own.shape != other.shape:
        raise InputError(
            f"the blocks of the two labellings have shapes {own.shape} and {other.shape}; "
            "read both over one box"
        )
    if max(own.shape) > MOST_ALONG:
        raise InputError(
            f"a block of {own.shape} voxels, halo included, has more than {MOST_ALONG} along an axis; take a "
            "smaller block"
        )
    bounds = [s.indices(n)[:2] for s, n in zip(trim, own.shape, strict=True)]
    if not _any(own, bounds):
        return
    if hidden is not None:
        own, other = (np.where(hidden, labels.dtype.type(0), labels) for labels in (own, other))
    unit = whole_unit(voxel_nm)
    reach = _reach(unit, gap_nm)
    limit = unit.squares(gap_nm)
    outlined, values = walled(own, hidden)
    single = None if same else _only(other)
    search, squares = None, None
    if same:
        search = Search.of(outlined, unit, limit, centres=centres)
    else:
        squares = squares_to(other != 0, unit, limit, trim, between=not centres)
        if single is None:
            within, values = walled(other)
            search = Search.of(within, unit, limit, centres=centres)
    (z0, z1), (y0, y1), (x0, x1) = bounds
    depth = max(4 * reach[0], _SLAB // max(1, (y1 - y0) * (x1 - x0)))
    for first in range(z0, z1, depth):
        planes = (first, y0, x0), (min(first + depth, z1), y1, x1)
        at, area = surface_areas(outlined, planes, voxel_nm)
        if not at.shape[1]:
            continue
        place = at - np.array([[z0], [y0], [x0]])
        near, square = np.arange(at.shape[1]), np.zeros(0, np.int64)
        if squares is not None:
            _, height, width = squares.shape
            square = squares.ravel()[(place[0] * height + place[1]) * width + place[2]].astype(np.int64)
            near = np.flatnonzero(square <= limit)
        if search is None:
            voxel, met, square = near, np.full(len(near), single), square[near]
            nearest = np.ones(len(near), bool)
        else:
            voxel, met, square, nearest = search.met(at, near, None if same else square)
        if search is not None:
            met = met.astype(other.dtype) if values is None else values[met - 1]
        yield Near(place, own[tuple(at)], area, voxel, met, square, nearest)


def _any(own: Array, bounds: Sequence[tuple[int, int]]) -> bool:
    return bool(own[tuple(slice(a, b) for a, b in bounds)].any())


def _only(other: Array) -> Any:
    """The label of the only object, 0 if there is none, None if there are more."""
    only = other.dtype.type(0)
    for plane in other:
        label = plane.max(initial=0)
        if label and (only not in (0, label) or ((plane != 0) & (plane != label)).any()):
            return None
        only = label or only
    return only
