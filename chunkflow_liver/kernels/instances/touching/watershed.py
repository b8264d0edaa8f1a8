"""Touching objects of one class taken apart at their necks: a watershed of the distance to the outside."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from chunkflow_liver.geometry import Nm, Zyx
from chunkflow_liver.kernels.distance.squares import nearest_of, whole_unit
from chunkflow_liver.kernels.distance.transform import WHOLE, distance_nm
from chunkflow_liver.kernels.instances.components import label_block
from chunkflow_liver.kernels.instances.slice_links import Rule, link_slices
from chunkflow_liver.kernels.instances.touching.basins import (
    Basins,
    find_basins,
    flooded,
    inner_steps,
    join_by_area,
)
from chunkflow_liver.xp import Array

STEPS = 16
"""Distances are whole sixteenths of the finest voxel side, so that every block computes the same ones."""
SIGMAS = 3.0
"""Where Gaussians are cut off."""
WALLS = 256
"""Levels of a boundary map, below those of distances."""


@dataclass(frozen=True)
class Necks:
    """How a mask is taken apart; every length in nm.

    Attributes
    ----------
    depth_nm : float
        A neck is thinner than both its sides by this: the distance there is lower than at the deepest point
        of either side by at least `depth_nm` (the h of h-maxima).
    cap_nm : float
        Distances are cut off here: two bodies whose neck is wider than twice this are one.
    steepness : float
        From a neck the distance rises, on both its sides, to some peak by at least this per length of way:
        two balls of radius R that meet in a neck of half-width a rise by sqrt((R - a) / (R + a)) per nm, a
        body that narrows slowly by less. 0 to cut by `depth_nm` alone.
    contact : float
        Not 0: cut by the area of necks instead, where half-widths are too few voxels to say much: two
        objects are one if they touch over at least this share of the section of a ball as large as the
        smaller of them.
    connectivity : {6, 26}
        Voxels that touch: across faces; faces, edges and corners.
    wall : float
        Where a boundary map is this or higher there is a wall: distances end there, and objects meet on the
        highest part of it. A share of what its type holds; of floats the value.
    distance_smooth_nm : float
        Sigma of the Gaussian over the distances.
    mask_smooth_nm : float
        Sigma of the Gaussian over the mask, which is then taken above a half.
    opening_nm : float
        Radius of a ball; what is thinner is no seed.
    fill_nm : float
        Holes whose bounding box has no longer side are filled.
    """

    depth_nm: float
    cap_nm: float
    steepness: float = 0.6
    contact: float = 0.0
    connectivity: int = 6
    wall: float = 0.5
    distance_smooth_nm: float = 0.0
    mask_smooth_nm: float = 0.0
    opening_nm: float = 0.0
    fill_nm: float = 0.0

    @property
    def reach_nm(self) -> float:
        """How far a voxel can be from what changes its distance."""
        smooth = SIGMAS * (self.distance_smooth_nm + self.mask_smooth_nm)
        return self.cap_nm + smooth + 2 * self.opening_nm + self.fill_nm

    @property
    def reach_in_mask_nm(self) -> float:
        """The same near the end of a mask, where smoothing takes what is hidden for what is nearest to it."""
        hidden = math.sqrt(3) * SIGMAS * (self.distance_smooth_nm + self.mask_smooth_nm)
        return self.reach_nm + hidden


def split_block(
    semantic: Array,
    boundary: Array | None = None,
    *,
    voxel_nm: Nm,
    classes: list[int],
    necks: Necks,
    walls: int | None = None,
    slices: Rule | None = None,
    coarse: tuple[Array, Zyx] | None = None,
    hidden: Array | None = None,
) -> Array:
    """Objects of classes, taken apart at their necks.

    Parameters
    ----------
    semantic : ndarray of shape (Z, Y, X), integer
        Classes.
    boundary : ndarray of shape (Z, Y, X), optional
        High on the walls between objects (see `Necks.wall`): seeds are in what lies between them, and
        objects meet on their ridges.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.
    classes : list of int
        Classes to take apart, each on its own.
    necks : Necks
        How.
    walls : int, optional
        Class that distances are measured to, instead of everything that is not the class; other classes
        between the walls belong to the object for the flood, not in the result.
    slices : Rule, optional
        Take every slice apart by itself, and link the objects of slices by this rule.
    coarse : tuple of ndarray and Zyx, optional
        The classes at a coarser level, of which seeds are taken, and how many voxels of `semantic` lie in
        one of its voxels, counted from the first voxel of both.
    hidden : ndarray of shape (Z, Y, X), bool, optional
        Voxels of which nothing is known, as beyond the ends of the array: no outside that distances could be
        measured to, and no hole.

    Returns
    -------
    ndarray of shape (Z, Y, X), uint32
        Objects; every voxel of the classes is in one, and the holes that were filled.
    """
    how: dict[str, Any] = {"voxel_nm": voxel_nm, "classes": classes, "necks": necks, "walls": walls}
    if slices is not None:
        planes = [
            split_block(
                semantic[z : z + 1],
                None if boundary is None else boundary[z : z + 1],
                coarse=None if coarse is None else (coarse[0][z : z + 1], coarse[1]),
                hidden=None if hidden is None else hidden[z : z + 1],
                **how,
            )
            for z in range(len(semantic))
        ]
        return link_slices(np.concatenate(planes), slices, voxel_nm)
    out = np.zeros(semantic.shape, np.uint32)
    for number in classes:
        mask, domain, outside = domain_of(
            semantic, number, voxel_nm=voxel_nm, necks=necks, walls=walls, hidden=hidden
        )
        if not mask.any():
            continue
        seeds = None
        if coarse is not None:
            array, factor = coarse
            nm: Any = tuple(v * f for v, f in zip(voxel_nm, factor, strict=True))
            # Of a larger voxel something is known if it is of any of the smaller ones.
            unseen = None if hidden is None else ~_highest(~hidden, factor)
            array = array if unseen is None else np.where(unseen, array.dtype.type(0), array)
            at: dict[str, Any] = {"voxel_nm": nm, "necks": necks, "hidden": unseen}
            _, there, beyond = domain_of(array, number, walls=walls, **at)
            high = None if boundary is None else _highest(boundary, factor)
            seeds = _repeated(_seeds(there, beyond, high, **at), factor, mask.shape)
        objects = split_mask(
            domain,
            voxel_nm=voxel_nm,
            necks=necks,
            outside=outside,
            boundary=boundary,
            seeds=seeds,
            hidden=hidden,
        )
        inside = mask & (out == 0)
        out[inside] = objects[inside] + out.max()
    return out


def split_seeded(
    semantic: Array, coarse: Array, boundary: Array | None = None, *, factor: Zyx, **how: Any
) -> Array:
    """`split_block` with the seeds of a coarser level, every voxel of which is repeated `factor` times."""
    at = tuple(slice(None, None, f) for f in factor)
    return split_block(semantic, boundary, coarse=(coarse[at], factor), **how)


def domain_of(
    semantic: Array,
    number: int,
    *,
    voxel_nm: Nm,
    necks: Necks,
    walls: int | None,
    hidden: Array | None = None,
) -> tuple[Array, Array, Array | None]:
    """A class with its holes filled, what is flooded, and what distances are measured to if not the rest."""
    mask = semantic == number
    if necks.fill_nm and mask.any():
        mask |= _holes(mask, necks.fill_nm, voxel_nm, hidden) & (semantic == 0)
    if walls is None:
        return mask, mask, None
    # What other classes lie inside an object must not stand in the way of the flood.
    return mask, mask | ((semantic > 0) & (semantic != walls)), semantic == walls


def split_mask(
    mask: Array,
    *,
    voxel_nm: Nm,
    necks: Necks,
    outside: Array | None = None,
    boundary: Array | None = None,
    seeds: Array | None = None,
    hidden: Array | None = None,
) -> Array:
    """The connected components of a mask, taken apart at their necks.

    Parameters
    ----------
    mask : ndarray of shape (Z, Y, X), bool
        Inside objects.
    voxel_nm, necks
        As for `split_block`.
    outside : ndarray of bool, optional
        What distances are measured to; everything outside `mask` by default.
    boundary : ndarray, optional
        High on the walls between objects.
    seeds : ndarray of integer, optional
        Where objects begin, instead of at the maxima of the distance. A connected component without any
        is one object; a seed in several components begins one in each.
    hidden : ndarray of bool, optional
        Voxels of which nothing is known, none of them in `mask`: they are no outside.

    Returns
    -------
    ndarray of shape (Z, Y, X), uint32
        0 outside `mask`, 1..n inside, in the raster order of peaks.

    Notes
    -----
    Basins [1]_ of every maximum of the distance; two of them are united, the highest pass first, unless the
    pass is a neck. What opening and smoothing remove has no peak of its own, and keeps its voxels. The
    result of a connected component depends on nothing farther than `Necks.reach_nm` from it.

    References
    ----------
    .. [1] Beucher and Meyer, 1993, The morphological approach to segmentation.
    """
    level, base = levels(mask, voxel_nm, necks, outside, boundary, hidden)
    if seeds is not None:
        markers = _rooted(seeds, mask, necks.connectivity)
        return np.asarray(flooded(level, markers, voxel_nm, necks.connectivity), np.uint32)
    basins = find_basins(level, voxel_nm, necks.connectivity)
    number = united(basins, base, voxel_nm, necks)
    return number[basins.label]


def united(basins: Basins, base: int, voxel_nm: Nm, necks: Necks) -> Array:
    """Number of the object of every basin, uint32; numbered by their first basins."""
    from chunkflow_liver.kernels.instances.touching.basin_loops import join_gentle

    step = min(voxel_nm) / STEPS
    # Levels of walls are all as high as what lies outside.
    top, low = (np.maximum(v.astype(np.int64) - base, 0) for v in (basins.top, basins.pass_level))
    depth = max(1, round(necks.depth_nm / step))
    steep = 0.0 if necks.contact else necks.steepness
    passes, peaks = (low * step, basins.pass_nm), (basins.begin, basins.peak_nm)
    # Half a step less than the depth, so that rounding decides nothing.
    group = join_gentle(basins.pairs, passes, top * step, peaks, (depth - 0.5) * step, steep)
    if necks.contact:
        group = join_by_area(basins, group, voxel_nm, necks.contact)
    _, first, member = np.unique(group, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[member].astype(np.uint32)


def levels(
    mask: Array,
    voxel_nm: Nm,
    necks: Necks,
    outside: Array | None,
    boundary: Array | None,
    hidden: Array | None = None,
) -> tuple[Array, int]:
    """What is flooded from the highest level down, 0 outside the mask; and the level of distance 0."""
    if boundary is None:
        height = _heights(outside, mask, voxel_nm, necks, hidden)
        height += 1
        height *= mask
        return height, 1
    full = float(np.iinfo(boundary.dtype).max) if np.issubdtype(boundary.dtype, np.integer) else 1.0
    wall = boundary >= necks.wall * full
    height = _heights(wall | (~mask if outside is None else outside), mask, voxel_nm, necks, hidden)
    # From the foot of a wall to its ridge, on which two objects meet.
    share = (np.clip(boundary / full, necks.wall, 1) - necks.wall) / (1 - necks.wall)
    low = WALLS - np.rint(share * (WALLS - 1)).astype(np.int32)
    return np.where(mask, np.where(wall, low, height + WALLS + 1), 0).astype(np.int32), WALLS + 1


def _seeds(
    mask: Array,
    outside: Array | None,
    boundary: Array | None,
    *,
    voxel_nm: Nm,
    necks: Necks,
    hidden: Array | None,
) -> Array:
    """The peaks of a mask's distance, those of one object with one number."""
    level, base = levels(mask, voxel_nm, necks, outside, boundary, hidden)
    basins = find_basins(level, voxel_nm, necks.connectivity)
    found = united(basins, base, voxel_nm, necks)[basins.label]
    return np.where(level == basins.top[basins.label], found, 0).astype(np.uint32)


def _highest(array: Array, factor: Zyx) -> Array:
    """The highest of every `factor` voxels along each axis."""
    for axis, f in enumerate(factor):
        array = np.maximum.reduceat(array, np.arange(0, array.shape[axis], f), axis)
    return array


def _repeated(seeds: Array, factor: Zyx, shape: tuple[int, ...]) -> Array:
    """Every voxel `factor` times along each axis, cut to `shape`."""
    for axis, (f, side) in enumerate(zip(factor, shape, strict=True)):
        seeds = seeds.take(np.arange(side) // f, axis)
    return seeds


def _rooted(seeds: Array, mask: Array, connectivity: int) -> Array:
    """Markers of which none lies in two connected components, at least one in each; uint32."""
    whole, n = label_block(mask, classes=None, connectivity=connectivity)
    at = np.flatnonzero(mask & (seeds > 0))
    part = whole.ravel()[at].astype(np.int64)
    known, member = np.unique(part * (int(seeds.max(initial=0)) + 1) + seeds.ravel()[at], return_inverse=True)
    markers = np.zeros(mask.size, np.uint32)
    markers[at] = member + 1
    bare = np.ones(n + 1, bool)
    bare[part] = bare[0] = False
    lone = np.flatnonzero(bare[whole])
    markers[lone] = whole.ravel()[lone] + len(known)
    return markers.reshape(mask.shape)


def _heights(outside: Array | None, mask: Array, voxel_nm: Nm, necks: Necks, hidden: Array | None) -> Array:
    """Smoothed and capped distance to the outside, in steps, int32."""
    solid = mask if outside is None else ~outside
    if necks.mask_smooth_nm:
        solid = _smoothed(solid.astype(np.float32), necks.mask_smooth_nm, voxel_nm, hidden) > np.float32(0.5)
    if necks.opening_nm:
        solid = solid if hidden is None else solid | hidden
        # A ball fits where the outside is farther than its radius; what it sweeps is near such a centre.
        centres = ~(distance_nm(~solid, voxel_nm, necks.opening_nm) <= necks.opening_nm)
        centres = centres if hidden is None else centres & ~hidden
        solid = solid & (distance_nm(centres, voxel_nm, necks.opening_nm) <= necks.opening_nm)
    solid = solid if hidden is None else solid | hidden
    steps = inner_steps(solid, voxel_nm, necks.cap_nm, min(voxel_nm) / STEPS)
    if necks.distance_smooth_nm:
        smooth = _smoothed(steps.astype(np.float64), necks.distance_smooth_nm, voxel_nm, hidden)
        steps = np.rint(smooth).astype(np.int32)
    return steps


def _smoothed(values: Array, sigma_nm: float, voxel_nm: Nm, hidden: Array | None) -> Array:
    """Values after a Gaussian; beyond what is known they go on as they are at its end."""
    if hidden is not None:
        unit = whole_unit(voxel_nm)
        reach = math.hypot(*(SIGMAS * sigma_nm + v / 2 for v in voxel_nm))
        whole = np.where(hidden, 0, values.astype(np.int32) + 1)
        near = nearest_of(whole, unit, unit.squares(reach), WHOLE)[1]
        values = np.maximum(near - 1, 0).astype(values.dtype)
    sigma = [sigma_nm / v for v in voxel_nm]
    found: Array = ndimage.gaussian_filter(values, sigma, truncate=SIGMAS, mode="nearest")
    return found


def _holes(mask: Array, fill_nm: float, voxel_nm: Nm, hidden: Array | None) -> Array:
    """Background that a mask encloses on all sides, if its bounding box is no longer than `fill_nm`."""
    background, n = label_block(~mask, classes=None, connectivity=6)
    keep = np.zeros(n + 1, bool)
    # In a single slice a hole is open above and below.
    first = 1 if len(mask) == 1 else 0
    for i, box in enumerate(ndimage.find_objects(background)):
        edges = list(zip(box, mask.shape, strict=True))[first:]
        inside = all(s.start > 0 and s.stop < side for s, side in edges)
        keep[i + 1] = inside and all(
            (s.stop - s.start) * v <= fill_nm for s, v in zip(box, voxel_nm, strict=True)
        )
    if hidden is not None:
        keep[background[hidden]] = False
    return keep[background]
