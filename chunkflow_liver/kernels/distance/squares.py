"""Squared distances as whole numbers: exact, the same for every block, and ties can be told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import Nm, Zyx, zyx
from chunkflow_liver.kernels.rows import distinct
from chunkflow_liver.xp import Array, namespace

Trim = tuple[slice, slice, slice]

_LARGEST_SIZE = 1 << 20
_TIE = 1 + 1e-9
_LARGEST_PART = 1000
_SAME = Fraction(1, 10**7)
"""Sizes are fractions of nm with denominators up to 1000 if they are that near to them."""


@dataclass(frozen=True)
class Unit:
    """A length of which all voxel sizes are whole multiples.

    Attributes
    ----------
    nm : float
        The length, in nm.
    voxel : Zyx
        Voxel size along (z, y, x), in units.
    """

    nm: float
    voxel: Zyx

    def squares(self, length_nm: float) -> int:
        """Largest squared distance, in units, within `length_nm`; rounding does not lose a tie."""
        return math.floor((length_nm / self.nm) ** 2 * _TIE)

    def length_nm(self, squares: Array) -> Array:
        """Distance of each squared distance, in nm, float64."""
        return namespace(squares).sqrt(squares.astype(np.float64)) * self.nm


def whole_unit(voxel_nm: Nm) -> Unit:
    """The largest unit of a voxel size.

    Parameters
    ----------
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm, taken as the decimal numbers that they print as.

    Returns
    -------
    Unit
        For (40, 5.9, 5.9) nm 0.1 nm and (400, 59, 59). Sizes with so many digits that one is above
        2**20 units are taken as the fractions that they stand for, to a ten-millionth: 5.8666666667 as
        88 / 15, and (75, 11, 11) with 40 nm. If they are none, they are rounded by half of 2**-20 of the
        largest size: of the smallest one 4.8e-7 times the ratio of the two.
    """
    if min(voxel_nm) <= 0 or not all(map(math.isfinite, voxel_nm)):
        raise ConfigError(f"distances need positive voxel sizes, got {voxel_nm}")
    sizes = [Fraction(repr(float(v))) for v in voxel_nm]
    if max(sizes) / (unit := _common(sizes)) > _LARGEST_SIZE:
        simple = [s.limit_denominator(_LARGEST_PART) for s in sizes]
        if all(abs(a - b) <= _SAME * b for a, b in zip(simple, sizes, strict=True)):
            sizes = simple
        unit = max(_common(sizes), max(sizes) / _LARGEST_SIZE)
    return Unit(float(unit), zyx([max(1, round(s / unit)) for s in sizes]))


def _common(sizes: Sequence[Fraction]) -> Fraction:
    """The largest length of which all sizes are whole multiples."""
    whole = math.lcm(*(s.denominator for s in sizes))
    return Fraction(math.gcd(*(int(s * whole) for s in sizes)), whole)


def parabola(size: int, limit: int, between: bool = False) -> list[int]:
    """Squares of 1, 2, .. steps of `size` units, up to `limit`.

    With `between` it is the steps between two voxels that count, one less than their offset.
    """
    return [(d * size) ** 2 for d in range(0 if between else 1, math.isqrt(limit) // size + 1)]


def spread(start: Array, costs: Sequence[Sequence[int]], far: int, trim: Trim) -> Array:
    """Smallest of `start` over the neighbours of each voxel, plus the cost of getting there.

    Parameters
    ----------
    start : ndarray of shape (Z, Y, X), unsigned integer
        0 where something is (or keys, below every step of the costs), `far` elsewhere.
    costs : three sequences of int
        Cost of 1, 2, .. voxels along z, y and x, not decreasing; farther ones are out of reach.
    far : int
        Above every sum that is wanted. Sums of `far` and a cost must fit the type.
    trim : tuple of slice
        The voxels that are wanted.

    Returns
    -------
    ndarray of the trimmed shape, type of `start`
        Smallest sum, `far` where nothing is in reach.

    Notes
    -----
    With squares as costs this is the exact Euclidean transform, one axis after the other; what lies
    beside the wanted voxels is dropped after its axis.
    """
    if namespace(start) is not np:
        return shifted(start, costs, trim)
    from chunkflow_liver.kernels.distance.transform_loops import across_rows, along_rows

    kind = start.dtype
    steps = [np.array([0, *c], kind) for c in costs]
    ends = [s.indices(n) for s, n in zip(trim, start.shape, strict=True)]
    z, y, x = (stop - first for first, stop, _ in ends)
    z0, y0, x0 = (first for first, _, _ in ends)
    depth, height, width = start.shape
    rows = np.empty((depth * height, x), kind)
    along_rows(np.ascontiguousarray(start).reshape(-1, width), rows, steps[2], kind.type(far), x0)
    planes = np.empty((depth, y, x), kind)
    across_rows(rows.reshape(depth, height, x), planes, steps[1], y0)
    found = np.empty((1, z, y * x), kind)
    across_rows(planes.reshape(1, depth, y * x), found, steps[0], z0)
    return found.reshape(z, y, x)


def shifted(start: Array, costs: Sequence[Sequence[int]], trim: Trim) -> Array:
    """`spread` on the device, where whole arrays are shifted."""
    xp = namespace(start)
    found = start
    for axis in (2, 1, 0):
        highest = int(found.max()) if found.size else 0
        best, moved = found.copy(), xp.empty_like(found)
        for steps, cost in enumerate(costs[axis], 1):
            if steps >= found.shape[axis] or cost >= highest:
                break
            xp.add(found, found.dtype.type(cost), out=moved)
            lead = (slice(None),) * axis
            before, after = (*lead, slice(None, -steps)), (*lead, slice(steps, None))
            xp.minimum(best[after], moved[before], out=best[after])
            xp.minimum(best[before], moved[after], out=best[before])
        found = best[(*(slice(None),) * axis, trim[axis])]
    return xp.ascontiguousarray(found)


def squares_to(mask: Array, unit: Unit, limit: int, trim: Trim, between: bool = False) -> Array:
    """Squared distance of the voxels of `trim` to `mask`, in units.

    Parameters
    ----------
    mask : ndarray of shape (Z, Y, X), bool
        What distances are measured to.
    unit : Unit
        Of the voxel size.
    limit : int
        Largest square wanted; farther voxels get `limit` + 1.
    trim : tuple of slice
        The voxels that are wanted.
    between : bool
        Measure between the boxes of two voxels, not their centres: 0 where they touch.

    Returns
    -------
    ndarray of the trimmed shape, uint16, uint32 or uint64
        As small a type as holds them. Same array type as `mask`.
    """
    xp = namespace(mask)
    kind = smallest_type(2 * limit + 1)
    costs = [parabola(size, limit, between) for size in unit.voxel]
    # A product takes a fifth of the time that a choice between two numbers takes.
    start = xp.multiply(~mask, kind.type(limit + 1), dtype=kind)
    return spread(start, costs, limit + 1, trim)


def nearest_of(labels: Array, unit: Unit, limit: int, trim: Trim) -> tuple[Array, Array]:
    """Squared distance of the voxels of `trim` to the nearest label, and that label.

    Parameters
    ----------
    labels : ndarray of shape (Z, Y, X), integer
        Objects, 0 is background.
    unit, limit, trim
        As for `squares_to`.

    Returns
    -------
    squares : ndarray of the trimmed shape, int64
        `limit` + 1 beyond the limit.
    label : ndarray of the trimmed shape, type of `labels`
        Of two that are equally near the smaller; 0 beyond the limit.

    Notes
    -----
    The key (square, rank of the label) is one whole number, so that ties are settled by the label
    whatever the order of work.
    """
    xp = namespace(labels)
    if xp is np:
        values, rank, length = distinct(labels)
        rank = np.repeat(rank, length)
    else:
        values, rank = xp.unique(labels, return_inverse=True)
    if len(values) and values[0] == 0:
        values, rank = values[1:], rank - 1
    count = max(1, len(values))
    far = (limit + 1) * count
    if far >= 1 << 62:
        raise ConfigError(
            f"{count} objects within {limit} squared units of {unit.nm} nm have too many keys; "
            "take a smaller cap or smaller blocks"
        )
    rank = rank.reshape(labels.shape)
    kind = smallest_type(2 * far)
    costs = [[c * count for c in parabola(size, limit)] for size in unit.voxel]
    keys = spread(xp.where(rank >= 0, rank, far).astype(kind), costs, far, trim)
    near = keys < far
    squares = xp.where(near, keys // kind.type(count), kind.type(limit + 1)).astype(np.int64)
    if not len(values):
        return squares, xp.zeros(squares.shape, labels.dtype)
    return squares, xp.where(near, values[(keys % kind.type(count)).astype(np.int64)], labels.dtype.type(0))


def smallest_type(largest: int) -> np.dtype[Any]:
    """The smallest unsigned type with at least 16 bits that holds `largest`."""
    return next(t for t in map(np.dtype, ("u2", "u4", "u8")) if largest <= np.iinfo(t).max)
