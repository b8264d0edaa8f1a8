"""Fields that depend only on a key and a position: hashes, smooth noise, distances to shapes."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from scipy.special import ndtri

Field = np.ndarray[Any, Any]
Axes = tuple[Field, Field, Field]

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_FAR = np.float32(1e6)

# Only + - * / sqrt, floor, minimum and maximum are used per voxel: IEEE 754 fixes their results to
# the last bit, so a voxel is the same whatever the array around it looks like.


def mix(values: Field) -> Field:
    """The splitmix64 finaliser of every element [1]_.

    Parameters
    ----------
    values : ndarray, uint64
        Counters; neighbouring counters give unrelated results.

    Returns
    -------
    ndarray, uint64
        Same shape, equidistributed bits.

    References
    ----------
    .. [1] Steele, Lea, Flood, Fast splittable pseudorandom number generators, OOPSLA 2014,
       doi:10.1145/2660193.2660195
    """
    values = values ^ (values >> np.uint64(30))
    values *= _MIX_1
    values ^= values >> np.uint64(27)
    values *= _MIX_2
    values ^= values >> np.uint64(31)
    return values


def key(seed: int, stream: int) -> int:
    """One 64-bit key per (seed, stream), as a Python int."""
    start = np.array([(seed * 0xD1342543DE82EF95 + stream * _GOLDEN + 1) & _MASK], np.uint64)
    return int(mix(start)[0])


def hashed(key: int, *counters: Field) -> Field:
    """Hash of integer arrays that broadcast together, uint64; negative counters are fine."""
    out = np.array([key & _MASK], np.uint64)
    for counter in counters:
        out = mix(out + counter.astype(np.int64).view(np.uint64) * np.uint64(_GOLDEN))
    return out


def uniform(key: int, *counters: Field) -> Field:
    """Uniform numbers in [0, 1), float64, one per broadcast element of `counters`."""
    return (hashed(key, *counters) >> np.uint64(11)).astype(np.float64) * 2.0**-53


@cache
def _normal_table() -> Field:
    return ndtri((np.arange(65536) + 0.5) / 65536).astype(np.float32)


def white_noise(key: int, start: tuple[int, int, int], shape: tuple[int, int, int]) -> Field:
    """Independent standard normal numbers of the voxels of a box.

    Parameters
    ----------
    key : int
        Which noise.
    start, shape : tuple of int
        First voxel of the box and its shape, in voxels of the whole volume.

    Returns
    -------
    ndarray of shape `shape`, float32
        Depends on `key` and the global voxel index alone.

    Notes
    -----
    One 64-bit hash serves four voxels along x, 16 bits each through a table of quantiles.
    """
    z, y, x = (np.arange(a, a + n) for a, n in zip(start, shape, strict=True))
    first = start[2] // 4
    groups = np.arange(first, (start[2] + shape[2] - 1) // 4 + 1)
    rows = hashed(key, z[:, None], y[None, :])
    bits = mix(rows[:, :, None] + groups.view(np.uint64) * np.uint64(_GOLDEN))
    quarters = bits.astype("<u8", copy=False).view("<u2")
    cut = start[2] - 4 * first
    out: Field = _normal_table()[quarters[:, :, cut : cut + len(x)]]
    return out


def _spline(at: Field, pitch_nm: float) -> tuple[Field, tuple[Field, Field, Field]]:
    """First of three node indices, and quadratic B-spline weights, of positions in nm."""
    u = at / pitch_nm
    node = np.floor(u)
    t = u - node
    weights = (0.5 * (1 - t) ** 2, 0.75 - (t - 0.5) ** 2, 0.5 * t**2)
    return node.astype(np.int64) - 1, weights


def smooth_noise(key: int, axes: Axes, pitch_nm: float) -> Field:
    """Smooth noise of mean 0 and standard deviation about 1 on a grid of positions.

    Parameters
    ----------
    key : int
        Which noise.
    axes : tuple of ndarray of shape (Z,), (Y,), (X,), float64
        Positions along each axis, in nm.
    pitch_nm : float
        Distance of the random nodes, in nm; bumps are about twice as wide.

    Returns
    -------
    ndarray of shape (Z, Y, X), float32
        Quadratic B-spline of hashed node values.
    """
    splines = [_spline(a, pitch_nm) for a in axes]
    spans = [np.arange(first.min(), first.max() + 3) for first, _ in splines]
    grid = np.ix_(*spans)
    # 4.25 undoes the averaging: sd of uniform(-1, 1) is 0.58, of the spline of it about 0.41 of that.
    values = ((uniform(key, *grid) * 2 - 1) * 4.25).astype(np.float32)
    for axis in (2, 1, 0):
        first, weights = splines[axis]
        first = first - spans[axis][0]
        wide = [1, 1, 1]
        wide[axis] = len(first)
        total = np.take(values, first, axis) * weights[0].astype(np.float32).reshape(wide)
        for k in (1, 2):
            part = np.take(values, first + k, axis)
            part *= weights[k].astype(np.float32).reshape(wide)
            total += part
        values = total
    return values


def wave(key: int, at: Field, pitch_nm: float) -> Field:
    """One-dimensional smooth noise of sd about 1 at positions in nm, float64."""
    first, weights = _spline(at, pitch_nm)
    nodes = (uniform(key, np.stack([first, first + 1, first + 2])) * 2 - 1) * 2.3
    out: Field = nodes[0] * weights[0] + nodes[1] * weights[1] + nodes[2] * weights[2]
    return out


def _outer(parts: list[Field]) -> Field:
    """Sum of one float32 array per axis over the whole grid."""
    z, y, x = (p.astype(np.float32) for p in parts)
    return (z[:, None] + y[None, :])[:, :, None] + x


def dot(axes: Axes, origin: Field, direction: Field) -> Field:
    """(position - origin) . direction on a grid, float32, in nm for a unit direction."""
    return _outer([(a - o) * d for a, o, d in zip(axes, origin, direction, strict=True)])


def squared(axes: Axes, origin: Field) -> Field:
    """Squared distance to `origin` on a grid, float32, nm^2."""
    return _outer([(a - o) ** 2 for a, o in zip(axes, origin, strict=True)])


def capsule(axes: Axes, ends: Field, radius_nm: float, dip: tuple[float, float, float]) -> Field:
    """Distance to a capsule whose radius may dip, negative inside.

    Parameters
    ----------
    axes : tuple of ndarray
        Positions along z, y, x, in nm.
    ends : ndarray of shape (2, 3), float64
        Ends of the axis, in nm.
    radius_nm : float
        Radius away from the dip.
    dip : tuple of float
        Depth, position along the axis and width, in nm; depth 0 for none.

    Returns
    -------
    ndarray of shape (Z, Y, X), float32
        Distance in nm: exact without a dip. A cross-section of the inside at position s along the
        axis is a disc of radius `radius_nm - depth / (1 + ((s - position) / width)^2)^2`.
    """
    length = float(np.sqrt(((ends[1] - ends[0]) ** 2).sum()))
    along = dot(axes, ends[0], (ends[1] - ends[0]) / length)
    square = squared(axes, ends[0])
    s = np.clip(along, np.float32(0), np.float32(length))
    along *= 2
    along -= s
    along *= s
    square -= along
    np.maximum(square, 0, out=square)
    np.sqrt(square, out=square)
    square -= np.float32(radius_nm)
    depth, position, width = dip
    if depth > 0:
        s -= np.float32(position)
        s /= np.float32(width)
        s *= s
        s += 1
        s *= s
        square += np.float32(depth) / s
    return square


def spheroid(axes: Axes, centre: Field, axis: Field, semi_nm: tuple[float, float]) -> Field:
    """Distance to a spheroid, negative inside; first order away from the surface.

    Parameters
    ----------
    axes : tuple of ndarray
        Positions along z, y, x, in nm.
    centre, axis : ndarray of shape (3,)
        Centre in nm and unit vector of the axis of revolution.
    semi_nm : tuple of float
        Semi-axis along `axis` and across it; equal ones give the exact distance to a sphere.

    Returns
    -------
    ndarray of shape (Z, Y, X), float32
        Distance in nm.
    """
    a, b = semi_nm
    square = squared(axes, centre)
    if a == b:
        return np.sqrt(square, out=square) - np.float32(b)
    along = dot(axes, centre, axis)
    along *= along
    across = np.maximum(square - along, 0)
    scaled = np.sqrt(along / np.float32(a**2) + across / np.float32(b**2))
    slope = np.sqrt(along / np.float32(a**4) + across / np.float32(b**4))
    out: Field = scaled * (scaled - 1) / np.maximum(slope, np.float32(1e-9))
    return out


def blur_in_plane(image: Field, weights: tuple[float, float, float]) -> Field:
    """`image` blurred along y and x with five taps; two pixels are lost on each of their sides."""
    centre, near, far = (np.float32(w) for w in weights)
    rows = image[:, 2:-2] * centre
    rows += (image[:, 1:-3] + image[:, 3:-1]) * near
    rows += (image[:, :-4] + image[:, 4:]) * far
    out = rows[:, :, 2:-2] * centre
    out += (rows[:, :, 1:-3] + rows[:, :, 3:-1]) * near
    out += (rows[:, :, :-4] + rows[:, :, 4:]) * far
    return out
