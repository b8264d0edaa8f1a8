"""Where objects lie among each other and in the volume: nearest neighbours, density, border, orientation."""

from __future__ import annotations

import numpy as np

from chunkflow_liver.geometry import NM_PER_UM, Nm, Zyx
from chunkflow_liver.xp import Array

AXES = ("z", "y", "x")
_BATCH = 1 << 14
_NODES = 12


def neighbours(points_nm: Array, label: Array) -> tuple[Array, Array]:
    """Distance of every point to the nearest other one, and which that is.

    Parameters
    ----------
    points_nm : ndarray of shape (L, 3), float64
        Positions along (z, y, x), in nm.
    label : ndarray of shape (L,), uint64
        Whose they are; each once.

    Returns
    -------
    distance_nm : ndarray of shape (L,), float64
        Euclidean (Clark and Evans [1]_); NaN where there is no other point.
    nearest : ndarray of shape (L,), uint64
        The smallest label of those at that distance, 0 for none.

    References
    ----------
    .. [1] Clark and Evans, Ecology 35 (1954), doi:10.2307/1931034
    """
    n = len(points_nm)
    nearest = np.zeros(n, np.uint64)
    if n < 2:
        return np.full(n, np.nan), nearest
    # Imported late: it takes a process half a second.
    from scipy.spatial import cKDTree

    tree = cKDTree(points_nm)
    found = np.asarray(tree.query(points_nm, k=2)[0])
    reach = found[:, 1] * (1 + 1e-9)
    distance = np.empty(n)
    for first in range(0, n, _BATCH):
        here = slice(first, first + _BATCH)
        # Which of equally near points the tree gives depends on how it was built.
        near = tree.query_ball_point(points_nm[here], reach[here])
        for i, others in enumerate(near, first):
            at = np.array([o for o in others if o != i])
            apart = np.sqrt(((points_nm[at] - points_nm[i]) ** 2).sum(1))
            distance[i] = apart.min()
            nearest[i] = label[at[apart == distance[i]]].min()
    return distance, nearest


def density_per_um3(points_nm: Array, extent_nm: Nm, radius_nm: float) -> Array:
    """How many other points lie around every point, per volume that is known.

    Parameters
    ----------
    points_nm : ndarray of shape (L, 3), float64
        Positions along (z, y, x) inside the volume, in nm.
    extent_nm : tuple of float
        Sides of the volume.
    radius_nm : float
        Radius of the ball around each point.

    Returns
    -------
    ndarray of shape (L,), float64
        Other points within `radius_nm`, over the part of the ball inside the volume, in 1/um^3: what
        lies outside is unknown, not empty (edge corrections of spatial statistics in space: [1]_).

    References
    ----------
    .. [1] Baddeley et al., Appl. Stat. 42 (1993), doi:10.2307/2986181
    """
    if not len(points_nm):
        return np.zeros(0)
    from scipy.spatial import cKDTree

    tree = cKDTree(points_nm)
    # A point at exactly the radius counts, whatever its last digit.
    count = tree.query_ball_point(points_nm, radius_nm * (1 + 1e-12), return_length=True) - 1
    density: Array = count / (ball_in_box(points_nm, extent_nm, radius_nm) / NM_PER_UM**3)
    return density


def ball_in_box(centres: Array, sides: Nm, radius: float) -> Array:
    """Volume of the part of each ball that lies in the box from 0 to `sides`.

    Parameters
    ----------
    centres : ndarray of shape (L, 3), float64
        Inside the box.
    sides : tuple of float
    radius : float

    Returns
    -------
    ndarray of shape (L,), float64
        Exact area of every slice, integrated between the kinks: relative error below 1e-6.
    """
    volume = np.full(len(centres), 4 / 3 * np.pi * radius**3)
    cut = np.flatnonzero(((centres < radius) | (centres > np.array(sides) - radius)).any(1))
    node, weight = np.polynomial.legendre.leggauss(_NODES)
    for first in range(0, len(cut), _BATCH):
        rows = cut[first : first + _BATCH]
        low, high = -centres[rows], np.array(sides) - centres[rows]
        edges = np.abs(np.stack([low[:, 1], high[:, 1], low[:, 2], high[:, 2]], 1))
        corners = np.hypot(edges[:, :2, None], edges[:, None, 2:]).reshape(len(rows), 4)
        # Beyond these heights a slice of the ball no longer meets an edge or a corner.
        kinks = np.sqrt(np.maximum(radius**2 - np.concatenate([edges, corners], 1) ** 2, 0))
        limits = np.clip([low[:, 0], high[:, 0]], -radius, radius)
        breaks = np.clip(np.concatenate([-kinks, kinks, limits.T], 1), *limits[:, :, None])
        # In the angle of latitude the slices end smoothly at the poles.
        angle = np.arcsin(np.sort(breaks, 1) / radius)
        half = np.diff(angle, axis=1)[:, :, None] / 2
        at = angle[:, :-1, None] + half * (node + 1)
        slices = _disc_in_rectangle(radius * np.cos(at), *(e[:, None, None] for e in edges.T))
        volume[rows] = (slices * radius * np.cos(at) * half * weight).sum((1, 2))
    return volume


def _disc_in_rectangle(r: Array, down: Array, up: Array, left: Array, right: Array) -> Array:
    """Area of discs around 0 in rectangles that reach so far on each side."""
    parts = [_quarter(r, a, b) for a in (down, up) for b in (left, right)]
    return parts[0] + parts[1] + parts[2] + parts[3]


def _quarter(r: Array, a: Array, b: Array) -> Array:
    """Area of a quarter disc of radius r in the rectangle from 0 to (a, b)."""
    a, b = np.minimum(a, r), np.minimum(b, r)
    inside = a**2 + b**2 <= r**2
    # Below the chord at height b the whole width to sqrt(r^2 - b^2), then under the circle up to a.
    x = np.where(inside, a, np.sqrt(np.maximum(r**2 - b**2, 0)))
    return np.where(inside, a * b, x * b + _under(r, a) - _under(r, x))


def _under(r: Array, x: Array) -> Array:
    """Area under the circle of radius r from 0 to x."""
    safe = np.where(r > 0, r, 1)
    return (x * np.sqrt(np.maximum(r**2 - x**2, 0)) + r**2 * np.arcsin(np.clip(x / safe, 0, 1))) / 2


def border_nm(low: Array, high: Array, shape: Zyx, voxel_nm: Nm) -> Array:
    """Shortest distance from objects to the faces of the volume.

    Parameters
    ----------
    low, high : ndarray of shape (L, 3), int64
        Bounding boxes, in voxels, half-open.
    shape : Zyx
        Voxels of the volume.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.

    Returns
    -------
    ndarray of shape (L,), float64
        In nm; 0 for an object that touches a face. A plane one voxel deep has no faces across it;
        inf where no axis has any.
    """
    deep = np.array(shape) > 1
    room = np.minimum(low, np.array(shape) - high) * np.array(voxel_nm)
    nearest: Array = np.where(deep, room, np.inf).min(1)
    return nearest


def directions_deg(axis: Array, longest: Array, next_longest: Array) -> tuple[Array, Array]:
    """Orientation of objects in the frame of the volume.

    Parameters
    ----------
    axis : ndarray of shape (L, 3), float64
        Unit vectors along (z, y, x): the longest principal axes.
    longest, next_longest : ndarray of shape (L,), float64
        Lengths of the first two principal axes.

    Returns
    -------
    tilt, azimuth : ndarray of shape (L,), float64
        Polar angle from the z axis (0 to 90) and azimuth in the xy plane from x towards y (0 to
        below 180), in degrees, of the axis without sign (ISO 80000-2, 2-17.3). NaN where an object has no
        longest axis; the azimuth of an axis along z is NaN too.
    """
    z, y, x = axis.T
    flat = np.hypot(y, x)
    tilt = np.degrees(np.arctan2(flat, np.abs(z)))
    # Twice, because -1e-20 % 180 is 180.
    azimuth = np.degrees(np.arctan2(y, x)) % 180.0 % 180.0
    known = longest > next_longest * (1 + 1e-9)
    return np.where(known, tilt, np.nan), np.where(known & (flat > 1e-9), azimuth, np.nan)
