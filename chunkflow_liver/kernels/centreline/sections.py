"""Cross-sections of one object: what rays find in planes normal to a line through it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from chunkflow_liver.geometry import Nm
from chunkflow_liver.kernels.distance.transform import distance_nm
from chunkflow_liver.xp import Array

RAYS = 48
"""Rays per section."""
_CUBE = 1 + 1e-3
_STRAIGHT = 1 - 1e-6
_OUTSIDE = 2.5
"""Diagonals of a voxel within which distances are told outside: what is interpolated half a step beyond the
last place inside is of voxels that are no farther out."""
REACH = 4.0
"""Rays end at this multiple of the inscribed radius, or of the longest voxel side, if that is more: sections
may run along a branch."""


@dataclass(frozen=True)
class Sections:
    """Cross-sections at n points of a line.

    Attributes
    ----------
    area_nm2 : ndarray of shape (n,), float64
        Area of the part of the section that can be seen from the point.
    centre_nm : ndarray of shape (n, 3), float64
        Centroid of that part; the point itself where the area is 0.
    inscribed_nm : ndarray of shape (n,), float64
        Radius of the largest sphere around the point inside the object.
    farthest_nm : ndarray of shape (n,), float64
        Distance of the point of that part that is farthest from the point on the line.
    """

    area_nm2: Array
    centre_nm: Array
    inscribed_nm: Array
    farthest_nm: Array

    @property
    def width_nm(self) -> Array:
        """Diameter of the circle of the same area, (n,)."""
        return 2.0 * np.sqrt(self.area_nm2 / np.pi)


def signed_nm(mask: Array, voxel_nm: Nm) -> Array:
    """Distance to the boundary, positive inside, float32, in nm; outside as far as lines and rays look.

    Parameters
    ----------
    mask : ndarray of shape (Z, Y, X), bool
        The object, with background on every face of the array.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.

    Notes
    -----
    Between the centres of the nearest voxels of the other side, so that a linear interpolation is 0 half
    way between an inner and an outer voxel that are each other's nearest. Where an object ends along an axis
    and is thinner across it than a voxel is long there, the outer voxel counts as no farther out than the one
    beside it is deep: else the object would end at the start of its last voxel.
    """
    # Inside nothing is farther than this.
    whole = float(np.dot(mask.shape, voxel_nm))
    reach = _OUTSIDE * float(np.linalg.norm(voxel_nm))
    outside_nm = np.minimum(distance_nm(mask, voxel_nm, reach), np.float32(reach))
    distance = np.where(mask, distance_nm(~mask, voxel_nm, whole), outside_nm)
    signed = np.where(mask, distance, -distance)
    for axis, size in enumerate(voxel_nm):
        if size <= min(voxel_nm) * _CUBE:
            continue
        field, near = np.moveaxis(signed, axis, 0), np.moveaxis(distance, axis, 0)
        outside = ~np.moveaxis(mask, axis, 0)
        for inner, outer in (
            (slice(None, -1), slice(1, None)),
            (slice(1, None), slice(None, -1)),
        ):
            # Nothing of the object is nearer than straight along the axis.
            end = outside[outer] & (near[outer] >= size * _STRAIGHT)
            np.maximum(field[outer], -near[inner], out=field[outer], where=end)
    return signed


def pitch_nm(voxel_nm: Nm) -> float:
    """Side of the cube of a voxel's volume, in nm: the step of lines, twice that of rays."""
    return math.prod(voxel_nm) ** (1 / 3)


def at_points(field: Array, voxel_nm: Nm, points_nm: Array) -> Array:
    """Values of a field of voxels (float32) at points (.., 3) in nm from the array's first corner, linear."""
    from chunkflow_liver.kernels.centreline.ray_loops import at_places

    points = np.ascontiguousarray(points_nm, np.float64)
    values = np.empty(points.shape[:-1], np.float32)
    at_places(
        np.ascontiguousarray(field), np.array(voxel_nm, float), points.reshape(-1, 3), values.reshape(-1)
    )
    return values


def sections(signed: Array, voxel_nm: Nm, points_nm: Array, tangents: Array) -> Sections:
    """The cross-sections of an object at points, in the planes normal to the tangents.

    Parameters
    ----------
    signed : ndarray of shape (Z, Y, X), float32
        What `signed_nm` gives.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.
    points_nm : ndarray of shape (n, 3), float64
        Points in nm from the array's first corner (the centre of voxel i lies at (i + 0.5) voxel).
    tangents : ndarray of shape (n, 3), float64
        Unit vectors.

    Returns
    -------
    Sections

    Notes
    -----
    Every plane is a fan of `RAYS` rays in steps of half the `pitch_nm`, each up to its first
    exit, linearly interpolated; the section is a sector of a circle around every ray.
    """
    from chunkflow_liver.kernels.centreline.ray_loops import exits

    inside = np.maximum(at_points(signed, voxel_nm, points_nm).astype(np.float64), 0.0)
    radii = np.zeros((len(points_nm), RAYS))
    first, second = across(tangents)
    angle = np.arange(RAYS) * (2 * np.pi / RAYS)
    way = np.cos(angle)[:, None] * first[:, None] + np.sin(angle)[:, None] * second[:, None]
    some = inside > 0
    found = radii[some]
    size, step = np.array(voxel_nm, float), 0.5 * pitch_nm(voxel_nm)
    reach = REACH * np.maximum(inside[some], size.max())
    exits(signed, size, points_nm[some], way[some], step, reach, found)
    radii[some] = found
    # Sectors, not triangles: a section's corners lie between rays.
    sector = 2 * np.pi / RAYS
    area = 0.5 * sector * (radii**2).sum(1)
    centre = (radii[..., None] ** 3 * way).sum(1) * (sector / 3)
    centre /= np.maximum(area, 1e-12)[:, None]
    return Sections(area, points_nm + centre, inside, radii.max(1))


def across(tangents: Array) -> tuple[Array, Array]:
    """Two unit vectors normal to each tangent and to each other, both (n, 3)."""
    axis = np.eye(3)[np.abs(tangents).argmin(1)]
    first = _cross(tangents, axis)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    return first, _cross(tangents, first)


def _cross(a: Array, b: Array) -> Array:
    """Cross products of rows, a good deal faster than NumPy's for few of them."""
    return a[:, [1, 2, 0]] * b[:, [2, 0, 1]] - a[:, [2, 0, 1]] * b[:, [1, 2, 0]]
