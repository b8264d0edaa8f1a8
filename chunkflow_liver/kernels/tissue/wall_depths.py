"""Holes of a thin wall measured through its depth: voxels that the wall lacks, counted in whole layers."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from chunkflow_liver.geometry import Nm, Zyx, voxels
from chunkflow_liver.xp import Array

AROUND = 4.0
"""How far around a hole the wall is looked at, and its channel goes aside, in longest sides of a voxel."""
LEAST_WALL = 20
"""Voxels of wall that a middle, of six terms, is fitted to."""
WHOLE = 0.95
"""Least part of a mean layer that an outermost layer of the wall has: a rough surface is left out."""
LEAST_LAYERS = 2
"""A single layer is no better than the rim."""
TRUSTED = 1.0
"""Longest sides that diameters at the rim and through the depth may differ by: by chance they do by 0.2."""


def span_nm(most_nm: float, voxel_nm: Nm) -> float:
    """Longest side of the box of a hole that is measured through the depth of its wall."""
    return 1.1 * most_nm + max(voxel_nm)


def reach_nm(most_nm: float, voxel_nm: Nm) -> float:
    """What is looked at around such a box; a wall is looked at up to this thickness."""
    return 0.25 * most_nm + AROUND * max(voxel_nm)


def count_through(
    hole: Array, wall: Array, known: Array | None, faces: tuple[int, int, int], nm: tuple[float, Nm]
) -> tuple[int, int]:
    """Voxels that a wall lacks where a hole is, and in how many layers they were counted.

    Parameters
    ----------
    hole, wall : ndarray of shape (Z, Y, X), bool
        Voxels of one hole just outside the lumen, and of the wall, within `reach_nm` of the hole.
    known : ndarray of shape (Z, Y, X), bool, optional
        Where something is known; None is everywhere.
    faces : tuple of int
        Faces that span the hole along z, y, x, less those that look the other way.
    nm : tuple
        Largest diameter of a hole, and voxel size along (z, y, x), in nm.

    Returns
    -------
    tuple of int
        Voxels and layers; (0, 0) where the wall around is no smooth sheet of two layers or more.

    Notes
    -----
    The middle of the wall around the hole is fitted by a polynomial of second degree over the plane across
    the hole's axis. Counted is what is no wall in a slab around this middle and hangs together (26
    neighbours) with the hole's mouth. Voxels of a column along that axis of the volume that the hole's axis
    is nearest to are `layer_nm` apart in depth, so a slab of n such layers has n voxels of every column,
    wherever it begins: the thickness of the wall, and where in it the slab lies, have no part in the area.
    What is left by chance is which columns the rim cuts, in every layer anew: of n layers that it crosses at
    different places the variance is an nth of that of one. (Along an axis of the volume all layers are the
    same, and nothing is gained.)
    """
    most_nm, voxel_nm = nm
    side, axis = max(voxel_nm), axis_of(faces, voxel_nm)
    if not axis.any():
        return 0, 0
    own: Array = np.argwhere(hole)
    plane = _across(axis)
    # Places count from the hole's first corner, and sums go in one order: no cut into blocks has a say.
    corner = own.min(0)
    own_nm = (own - corner) * np.array(voxel_nm)
    middle: Array = own_nm.mean(0)
    mouth = (own_nm - middle) @ plane.T
    at = np.argwhere(np.ones(hole.shape, bool) if known is None else known)
    place = (at - corner) * np.array(voxel_nm) - middle
    height, flat = place @ axis, place @ plane.T
    wide = np.sqrt((mouth**2).sum(1).max()) + AROUND * side
    near = (np.round(np.abs(height), 6) < reach_nm(most_nm, voxel_nm)) & (
        (flat**2).sum(1) < (wide + side) ** 2
    )
    at, height, flat = at[near], height[near], flat[near]
    apart: Array = np.asarray(cKDTree(mouth).query(flat, distance_upper_bound=(AROUND + 1) * side)[0])
    near = np.round(apart, 6) < AROUND * side
    at, height, flat, apart = at[near], height[near], flat[near], apart[near]
    is_wall = wall[tuple(at.T)]
    if is_wall.sum() < LEAST_WALL:
        return 0, 0
    depth = _depths(height, flat / wide, is_wall) / float(layer_nm(axis, voxel_nm))
    layers = _whole_layers(depth[is_wall])
    if layers < LEAST_LAYERS:
        return 0, 0
    missing = ~is_wall & (_places(depth, layers) >= 0)
    count = _connected(hole.shape, at[missing], apart[missing] < 0.75 * side)
    rim, through = rim_nm2(faces, voxel_nm), area_nm2(count, layers, axis, voxel_nm)
    apart_nm = 2 * abs(math.sqrt(float(through) / math.pi) - math.sqrt(float(rim) / math.pi))
    return (count, layers) if count and apart_nm <= TRUSTED * side else (0, 0)


def rim_nm2(faces: tuple[int, int, int] | Array, voxel_nm: Nm) -> Array:
    """Area that faces span: the length of the sum of their vectors, of which the rim alone decides."""
    return np.sqrt((_vectors(faces, voxel_nm) ** 2).sum(0))


def axis_of(faces: tuple[int, int, int] | Array, voxel_nm: Nm) -> Array:
    """Unit vectors along which such faces look, of shape (3, ...); 0 where they look nowhere."""
    vector, area = _vectors(faces, voxel_nm), rim_nm2(faces, voxel_nm)
    return np.divide(vector, area, out=np.zeros_like(vector), where=area > 0)


def layer_nm(axis: Array, voxel_nm: Nm) -> Array:
    """Depth between voxels that follow each other along the axis of the volume nearest to `axis` (3, ...)."""
    sides = np.reshape(np.array(voxel_nm), (3,) + (1,) * (np.ndim(axis) - 1))
    return (np.abs(axis) * sides).max(0)


def area_nm2(count: int | Array, layers: int | Array, axis: Array, voxel_nm: Nm) -> Array:
    """Area of what was counted in layers."""
    return np.asarray(count) * math.prod(voxel_nm) / (np.asarray(layers) * layer_nm(axis, voxel_nm))


def _vectors(faces: tuple[int, int, int] | Array, voxel_nm: Nm) -> Array:
    face = np.array([math.prod(voxel_nm) / side for side in voxel_nm])
    return np.stack([count * f for count, f in zip(faces, face, strict=True)]).astype(np.float64)


def _across(axis: Array) -> Array:
    """Two unit vectors across another one, of shape (2, 3)."""
    first = np.cross(axis, np.eye(3)[np.abs(axis).argmin()])
    first /= np.sqrt((first**2).sum())
    return np.stack([first, np.cross(axis, first)])


def _depths(height: Array, flat: Array, is_wall: Array) -> Array:
    """Heights above a polynomial of second degree in the two columns of `flat`, fitted to the wall."""
    one, two = flat.T
    terms = np.stack([np.ones_like(one), one, two, one * one, one * two, two * two])
    of_wall = terms[:, is_wall]
    products = (of_wall[:, None] * of_wall).sum(-1)
    # Two rows of voxels alone have no second degree: the least change that they ask for is taken.
    found = np.linalg.pinv(products, hermitian=True) @ (of_wall * height[is_wall]).sum(-1)
    return height - (found[:, None] * terms).sum(0)


def _whole_layers(depth: Array) -> int:
    """Layers around the middle of a wall in which it is whole; depths are in layers."""
    layers = int(math.sqrt(12 * float((depth**2).mean())))
    while layers > 1:
        place = _places(depth, layers)
        count = np.bincount(place[place >= 0], minlength=layers)
        if min(count[0], count[-1]) >= WHOLE * count.mean():
            break
        layers -= 1
    return layers


def _places(depth: Array, layers: int) -> Array:
    """Which of so many layers around depth 0 a depth, in layers, is in; -1 where in none."""
    # A flat wall has all its voxels at a few depths: rounding errors must not part them.
    place = np.floor(np.round(depth + layers / 2, 6)).astype(np.int64)
    return np.where((place >= 0) & (place < layers), place, -1)


def _connected(shape: Zyx, at: Array, begins: Array) -> int:
    """How many voxels hang together (26 neighbours) with those that begin."""
    mask = np.zeros(shape, bool)
    mask[tuple(at.T)] = True
    labels, n = ndimage.label(mask, np.ones((3, 3, 3)))
    label = labels[tuple(at.T)]
    kept = np.zeros(n + 1, bool)
    kept[label[begins]] = True
    return int(kept[label].sum())


def margin_of(most_nm: float, voxel_nm: Nm) -> Zyx:
    """Voxels around a hole's box that `count_through` looks at."""
    return voxels(reach_nm(most_nm, voxel_nm), voxel_nm)
