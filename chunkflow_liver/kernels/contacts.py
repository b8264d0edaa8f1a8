"""Where the surface of one object comes close to another object: gaps, areas and partners, voxel by voxel."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.geometry import Nm, Zyx, zyx
from chunkflow_liver.kernels.extents import block_extents
from chunkflow_liver.kernels.squares import Trim, Unit, parabola, squares_to, whole_unit
from chunkflow_liver.kernels.surface_areas import reach_voxels, surface_areas, walled
from chunkflow_liver.xp import Array, on_host

_SLAB = 1 << 18
_LOOKUPS = 1 << 15
_CELL = 4
# Cost of one look-up, one voxel of a transform, and one object, for choosing the cheaper way; in ns.
_LOOKUP_COST, _VOXEL_COST, _OBJECT_COST = 10.0, 20.0, 2e5
Found = list[tuple[Array, Array, Array]]
"""Groups of (surface voxel, label met, squared gap); a voxel meets a label once."""


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
    found : list of tuple
        Groups of (voxel, label met, squared gap in units); a voxel meets a label once.
    """

    at: Array
    label: Array
    area: Array
    found: Found


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

    Yields
    ------
    Near
        Some planes at a time, in order.

    Raises
    ------
    ConfigError
        If the gap is negative or not finite.
    InputError
        If the blocks differ in shape.

    Notes
    -----
    A surface voxel has a face neighbour of another label; the volume's border is no surface. The gap
    between two voxels is the shortest distance between their boxes,
    sqrt(sum((max(abs(d_i) - 1, 0) * voxel_i)**2)) for an offset of d voxels: 0 where they touch, if
    only by a corner, or overlap. It is kept as a whole number of squared units.

    The area is that of `surface_areas`.

    An exact transform of `other` gives the gap to the nearest object, whatever the gap. Where a
    voxel can meet several objects, each has a transform of its own around it, or all offsets
    within the gap are looked up, whichever costs less.
    """
    halo_voxels(gap_nm, voxel_nm)
    own, other = on_host(own), on_host(other)
    if own.shape != other.shape:
        raise InputError(
            f"the blocks of the two labellings have shapes {own.shape} and {other.shape}; "
            "read both over one box"
        )
    bounds = [s.indices(n)[:2] for s, n in zip(trim, own.shape, strict=True)]
    if not _any(own, bounds):
        return
    unit = whole_unit(voxel_nm)
    reach = _reach(unit, gap_nm)
    meeting = _Meeting(other, unit, unit.squares(gap_nm), reach, None if same else _only(other))
    squares = None
    if not same and other.any():
        squares = squares_to(other != 0, unit, meeting.limit, trim, between=True)
    outlined = walled(own)
    (z0, z1), (y0, y1), (x0, x1) = bounds
    depth = max(4 * reach[0], _SLAB // max(1, (y1 - y0) * (x1 - x0)))
    for first in range(z0, z1, depth):
        planes = (first, y0, x0), (min(first + depth, z1), y1, x1)
        at, area = surface_areas(outlined, planes, voxel_nm)
        if not at.shape[1]:
            continue
        label = own[tuple(at)]
        found: Found = []
        if same:
            found = meeting.several(at, np.arange(len(label)), label)
        elif squares is not None:
            square = squares[tuple(at - np.array([[z0], [y0], [x0]]))].astype(np.int64)
            found = meeting.nearest(at, np.flatnonzero(square <= meeting.limit), square)
        yield Near(at - np.array([[z0], [y0], [x0]]), label, area, found)


def _any(own: Array, bounds: Sequence[tuple[int, int]]) -> bool:
    return bool(own[tuple(slice(a, b) for a, b in bounds)].any())


def _only(other: Array) -> Any:
    """The label of the only object, or None."""
    label = other.max(initial=0)
    return label if label and ((other == 0) | (other == label)).all() else None


def _halves(axis: int) -> tuple[Any, Any]:
    """Indices of all voxels with a successor along `axis`, and of their successors."""
    lead = (slice(None),) * axis
    return (*lead, slice(None, -1)), (*lead, slice(1, None))


@dataclass(frozen=True, eq=False)
class _Meeting:
    """Which labels of `other` lie within the gap of a voxel."""

    other: Array
    unit: Unit
    limit: int
    reach: Zyx
    single: Any

    def nearest(self, at: Array, near: Array, square: Array) -> Found:
        """The labels within the gap of voxels `near`, whose nearest label is at `square`."""
        if not len(near):
            return []
        if self.single is not None:
            return [(near, np.full(len(near), self.single, self.other.dtype), square[near])]
        smallest, largest = self._around(at[:, near])
        alone = smallest == largest
        only = near[alone]
        return [(only, largest[alone], square[only]), *self.several(at, near[~alone])]

    def several(self, at: Array, some: Array, label: Array | None = None) -> Found:
        """All labels within the gap of the voxels `some`, except, where given, their own."""
        if label is not None and len(some):
            smallest, largest = self._around(at[:, some])
            some = some[(largest != 0) & ((smallest != label[some]) | (largest != label[some]))]
        if not len(some):
            return []
        low = [max(0, int(a[some].min()) - r) for a, r in zip(at, self.reach, strict=True)]
        high = [int(a[some].max()) + r + 1 for a, r in zip(at, self.reach, strict=True)]
        window = self.other[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        place = at[:, some] - np.array(low)[:, None]
        barred = None if label is None else label[some]
        boxes = block_extents(window, (0, 0, 0))
        start = np.maximum(boxes["low"] - self.reach, 0)
        stop = np.minimum(boxes["high"] + self.reach, window.shape)
        transforms = (stop - start).prod(axis=1).sum() * _VOXEL_COST
        transforms += len(start) * (_OBJECT_COST + 6.0 * len(some))
        # About as many offsets as fill the ellipsoid of the gap.
        ball = math.prod(2 * r + 1 for r in self.reach) * math.pi / 6
        if len(some) * ball * _LOOKUP_COST < transforms:
            found = _looked_up(window, place, self.reach, _offsets(self.unit, self.limit), barred)
        else:
            found = self._transformed(window, place, (boxes["label"], start, stop), barred)
        return [(some[voxel], met, square) for voxel, met, square in found]

    def _transformed(
        self, window: Array, place: Array, boxes: tuple[Array, Array, Array], barred: Array | None
    ) -> Found:
        """Labels met, by a transform around each label."""
        found: Found = []
        for value, start, stop in zip(*boxes, strict=True):
            inside = (place >= start[:, None]).all(axis=0) & (place < stop[:, None]).all(axis=0)
            if barred is not None:
                inside &= barred != value
            voxel = np.flatnonzero(inside)
            if not len(voxel):
                continue
            crop = window[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] == value
            local = place[:, voxel] - start[:, None]
            low = local.min(axis=1)
            trim = tuple(slice(int(a), int(b) + 1) for a, b in zip(low, local.max(axis=1), strict=True))
            squares = squares_to(crop, self.unit, self.limit, trim, between=True)  # type: ignore[arg-type]
            square = squares[tuple(local - low[:, None])].astype(np.int64)
            near = square <= self.limit
            label = np.full(int(near.sum()), value, window.dtype)
            found.append((voxel[near], label, square[near]))
        return found

    def _around(self, at: Array) -> tuple[Array, Array]:
        """Smallest and largest label near the voxels `at` (3, M), both 0 where there is none.

        The window is cut into cells no smaller than the reach, so that everything that a voxel can
        meet lies in its own cell or a neighbour of it.
        """
        low = [max(0, int(a.min()) - r) for a, r in zip(at, self.reach, strict=True)]
        high = [int(a.max()) + r + 1 for a, r in zip(at, self.reach, strict=True)]
        other = self.other[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        size = [max(r, _CELL) for r in self.reach]
        start = [np.arange(0, n, s) for n, s in zip(other.shape, size, strict=True)]
        largest = np.zeros([len(s) for s in start], other.dtype)
        smallest = np.zeros_like(largest)
        top = other.dtype.type(1) if other.dtype == bool else np.iinfo(other.dtype).max
        for cell, z in enumerate(start[0]):
            slab = other[z : z + size[0]]
            for found, ufunc in ((largest, np.maximum), (smallest, np.minimum)):
                plane = ufunc.reduce(np.where(slab == 0, top, slab) if found is smallest else slab)
                found[cell] = ufunc.reduceat(ufunc.reduceat(plane, start[1]), start[2], axis=1)
        where = tuple((a - b) // s for a, b, s in zip(at, low, size, strict=True))
        most = _with_neighbours(largest, np.maximum)[where]
        least = _with_neighbours(smallest, np.minimum)[where]
        return np.where(most == 0, most, least), most


def _with_neighbours(found: Array, extreme: np.ufunc) -> Array:
    """Extreme of every cell and its 26 neighbours."""
    for axis in range(3):
        before, after = _halves(axis)
        wider = found.copy()
        extreme(wider[before], found[after], out=wider[before])
        extreme(wider[after], found[before], out=wider[after])
        found = wider
    return found


@cache
def _offsets(unit: Unit, limit: int) -> list[tuple[Zyx, int]]:
    """Every offset within the gap with its squared gap, nearest first."""
    costs = [(0, *parabola(size, limit, between=True)) for size in unit.voxel]
    ball = []
    for offset in itertools.product(*(range(1 - len(c), len(c)) for c in costs)):
        square = sum(c[abs(d)] for c, d in zip(costs, offset, strict=True))
        if square <= limit:
            ball.append((zyx(offset), square))
    return sorted(ball, key=lambda entry: entry[1])


def _looked_up(
    window: Array,
    place: Array,
    reach: Zyx,
    ball: list[tuple[Zyx, int]],
    barred: Array | None,
) -> Found:
    """Labels met, by looking at every offset within the gap."""
    # Zeros all around keep every offset inside, so that one flat index reaches it.
    padded = np.pad(window, [(r, r) for r in reach])
    strides = [padded.shape[1] * padded.shape[2], padded.shape[2], 1]
    centre = sum((a + r) * s for a, r, s in zip(place, reach, strides, strict=True))
    steps = [(sum(d * s for d, s in zip(offset, strides, strict=True)), square) for offset, square in ball]
    flat = padded.reshape(-1)
    found: Found = []
    for start in range(0, len(centre), _LOOKUPS):
        part = slice(start, start + _LOOKUPS)
        met = _met(flat, centre[part], 0 if barred is None else barred[part], steps)
        found += [(voxel + start, label, square) for voxel, label, square in met]
    return found


def _met(flat: Array, centre: Array, own: Array | int, steps: list[tuple[int, int]]) -> Found:
    """Labels met by some voxels, each kept once at its smallest gap.

    Place k of a voxel holds the k-th label that it met; most voxels never need a second one.
    """
    places: list[tuple[Array, Array]] = []
    for step, square in steps:
        seen = flat[centre + step]
        new = (seen != 0) & (seen != own)
        if places:
            new &= seen != places[0][0]
        voxel = np.flatnonzero(new)
        for label, nearest in places:
            free = voxel[label[voxel] == 0]
            label[free], nearest[free] = seen[free], square
            voxel = voxel[label[voxel] != seen[voxel]]
        if len(voxel):
            label, nearest = np.zeros_like(seen), np.zeros(len(seen), np.int64)
            label[voxel], nearest[voxel] = seen[voxel], square
            places.append((label, nearest))
    found = []
    for label, nearest in places:
        voxel = np.flatnonzero(label)
        found.append((voxel, label[voxel], nearest[voxel]))
    return found
