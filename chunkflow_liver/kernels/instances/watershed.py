"""Touching objects of one class taken apart at their necks: a watershed of the distance to the outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from chunkflow_liver.geometry import Nm, Zyx
from chunkflow_liver.kernels.distance.transform import distance_nm
from chunkflow_liver.kernels.instances.components import label_block
from chunkflow_liver.kernels.instances.slice_links import Rule, link_slices
from chunkflow_liver.xp import Array

STEPS = 16
"""Distances are whole sixteenths of the finest voxel side, so that every block computes the same ones."""
SIGMAS = 3.0
"""Where Gaussians are cut off."""


@dataclass(frozen=True)
class Necks:
    """How a mask is taken apart; every length in nm.

    Attributes
    ----------
    depth_nm : float
        An object is cut where its neck is thinner than both sides by this: the distance at the neck is
        lower than at the deepest point of either side by at least `depth_nm` (the h of h-maxima).
    cap_nm : float
        Distances are cut off here: two bodies whose neck is wider than twice this are one.
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
    distance_smooth_nm: float = 0.0
    mask_smooth_nm: float = 0.0
    opening_nm: float = 0.0
    fill_nm: float = 0.0

    @property
    def reach_nm(self) -> float:
        """How far a voxel can be from what changes its distance."""
        smooth = SIGMAS * (self.distance_smooth_nm + self.mask_smooth_nm)
        return self.cap_nm + smooth + 2 * self.opening_nm + self.fill_nm


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
) -> Array:
    """Objects of classes, taken apart at their necks.

    Parameters
    ----------
    semantic : ndarray of shape (Z, Y, X), integer
        Classes.
    boundary : ndarray of shape (Z, Y, X), optional
        High on the walls between objects; objects then meet on its ridges instead of at necks.
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
                **how,
            )
            for z in range(len(semantic))
        ]
        return link_slices(np.concatenate(planes), slices, voxel_nm)
    out = np.zeros(semantic.shape, np.uint32)
    for number in classes:
        mask, domain, outside = _domain(semantic, number, voxel_nm=voxel_nm, necks=necks, walls=walls)
        if not mask.any():
            continue
        seeds = None
        if coarse is not None:
            array, factor = coarse
            nm: Any = tuple(v * f for v, f in zip(voxel_nm, factor, strict=True))
            _, there, beyond = _domain(array, number, voxel_nm=nm, necks=necks, walls=walls)
            seeds = _repeated(_seeds(there, beyond, voxel_nm=nm, necks=necks), factor, mask.shape)
        objects = split_mask(
            domain, voxel_nm=voxel_nm, necks=necks, outside=outside, boundary=boundary, seeds=seeds
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


def _domain(
    semantic: Array, number: int, *, voxel_nm: Nm, necks: Necks, walls: int | None
) -> tuple[Array, Array, Array | None]:
    """A class with its holes filled, what is flooded, and what distances are measured to if not the rest."""
    mask = semantic == number
    if necks.fill_nm and mask.any():
        mask |= _holes(mask, necks.fill_nm, voxel_nm) & (semantic == 0)
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
        Height on which objects meet; the negative distance by default.
    seeds : ndarray of integer, optional
        Where objects begin, instead of at the maxima of the distance. A connected component without any
        is one object; a seed in several components begins one in each.

    Returns
    -------
    ndarray of shape (Z, Y, X), uint32
        0 outside `mask`, 1..n inside.

    Notes
    -----
    Watershed [1]_ from every maximum of the distance; two basins are then united, the highest pass first,
    unless both peaks rise at least `depth_nm` above the pass. That gives the basins of the h-maxima of the
    seeds' method without a grey reconstruction, which takes seven times as long as the watershed. What
    opening and smoothing remove has no peak of its own, and keeps its voxels. The result of a connected
    component depends on nothing farther than `Necks.reach_nm` from it.

    References
    ----------
    .. [1] Beucher and Meyer, 1993, The morphological approach to segmentation.
    """
    from skimage.segmentation import watershed

    if seeds is None:
        height = _heights(mask, voxel_nm, necks, outside)
        peaks, united = _basins(mask, height, voxel_nm, necks)
        if boundary is None:
            return np.asarray(united, np.uint32)
        relief, markers = boundary, np.where(peaks > 0, united, 0)
    else:
        markers = _rooted(seeds, mask)
        relief = -_heights(mask, voxel_nm, necks, outside) if boundary is None else boundary
    return np.asarray(watershed(relief, markers, connectivity=3, mask=mask), np.uint32)


def _basins(mask: Array, height: Array, voxel_nm: Nm, necks: Necks) -> tuple[Array, Array]:
    """Peaks 1..n of a height, and the basins around them, united where no neck parts them."""
    from skimage.morphology import local_maxima
    from skimage.segmentation import watershed

    # Without an outside all around it, a plateau that fills the array would be no maximum.
    inner = np.pad(np.where(mask, height, -1), 1, constant_values=-1)
    tops = local_maxima(inner, connectivity=3)[1:-1, 1:-1, 1:-1]
    peaks, _ = label_block(tops & mask, classes=None, connectivity=26)
    basins = watershed(-height, peaks, connectivity=3, mask=mask)
    depth = max(1, round(necks.depth_nm / min(voxel_nm) * STEPS))
    return peaks, _united(basins, height, depth=depth)


def _seeds(mask: Array, outside: Array | None, *, voxel_nm: Nm, necks: Necks) -> Array:
    """The peaks of a mask's distance, those of one object with one number."""
    if not mask.any():
        return np.zeros(mask.shape, np.uint32)
    peaks, united = _basins(mask, _heights(mask, voxel_nm, necks, outside), voxel_nm, necks)
    return np.where(peaks > 0, united, 0).astype(np.uint32)


def _repeated(seeds: Array, factor: Zyx, shape: tuple[int, ...]) -> Array:
    """Every voxel `factor` times along each axis, cut to `shape`."""
    for axis, (f, side) in enumerate(zip(factor, shape, strict=True)):
        seeds = seeds.take(np.arange(side) // f, axis)
    return seeds


def _rooted(seeds: Array, mask: Array) -> Array:
    """Markers of which none lies in two connected components, at least one in each; uint32."""
    whole, n = label_block(mask, classes=None, connectivity=26)
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


def _heights(mask: Array, voxel_nm: Nm, necks: Necks, outside: Array | None) -> Array:
    """Smoothed and capped distance to the outside, in steps, int32."""
    outside = ~mask if outside is None else outside
    finest = min(voxel_nm)
    if necks.mask_smooth_nm:
        sigma = [necks.mask_smooth_nm / v for v in voxel_nm]
        solid = ndimage.gaussian_filter((~outside).astype(np.float32), sigma, truncate=SIGMAS, mode="nearest")
        outside = solid <= np.float32(0.5)
    if necks.opening_nm:
        # A ball fits where the outside is farther than its radius; what it sweeps is near such a centre.
        centres = ~(distance_nm(outside, voxel_nm, necks.opening_nm) <= necks.opening_nm)
        outside = outside | ~(distance_nm(centres, voxel_nm, necks.opening_nm) <= necks.opening_nm)
    distance = np.minimum(distance_nm(outside, voxel_nm, necks.cap_nm), np.float32(necks.cap_nm))
    steps = np.rint(distance * (STEPS / finest)).astype(np.int32)
    if necks.distance_smooth_nm:
        sigma = [necks.distance_smooth_nm / v for v in voxel_nm]
        smooth = ndimage.gaussian_filter(steps.astype(np.float64), sigma, truncate=SIGMAS, mode="nearest")
        steps = np.rint(smooth).astype(np.int32)
    return steps


def _united(basins: Array, height: Array, *, depth: int) -> Array:
    """Basins 1..n with those united that no pass of `depth` parts, numbered 1..m in their order."""
    n = int(basins.max(initial=0))
    if not n:
        return basins
    peak = np.zeros(n + 1, np.int64)
    np.maximum.at(peak, basins.ravel(), height.ravel())
    first, second, height_of_pass = _passes(basins, height)
    root = list(range(n + 1))

    def find(a: int) -> int:
        while root[a] != a:
            root[a] = root[root[a]]
            a = root[a]
        return a

    top = peak.tolist()
    for a, b, level in zip(first.tolist(), second.tolist(), height_of_pass.tolist(), strict=True):
        a, b = find(a), find(b)
        if a == b or min(top[a], top[b]) - level >= depth:
            continue
        keep, gone = (a, b) if (top[a], -a) >= (top[b], -b) else (b, a)
        root[gone] = keep
    # A group is numbered by its first basin, which is the first in raster order.
    _, first, member = np.unique([find(a) for a in range(n + 1)], return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[member][basins]


def _passes(basins: Array, height: Array) -> tuple[Array, Array, Array]:
    """Every two basins that touch and the height of the highest pass between them, highest first."""
    found: list[Any] = []
    for shift in ((0, 0, 1), (0, 1, -1), (0, 1, 0), (0, 1, 1), *_NEXT_PLANE):
        here, there = _shifted(basins.shape, shift)
        a, b = basins[here], basins[there]
        met = (a != b) & (a > 0) & (b > 0)
        level = np.minimum(height[here][met], height[there][met])
        a, b = a[met], b[met]
        found.append(np.stack([np.minimum(a, b), np.maximum(a, b), level], 0).astype(np.int64))
    a, b, level = np.concatenate(found, axis=1)
    order = np.lexsort((-level, b, a))
    a, b, level = a[order], b[order], level[order]
    head = np.ones(len(a), bool)
    head[1:] = (a[1:] != a[:-1]) | (b[1:] != b[:-1])
    a, b, level = a[head], b[head], level[head]
    order = np.lexsort((b, a, -level))
    return a[order], b[order], level[order]


_NEXT_PLANE = tuple((1, y, x) for y in (-1, 0, 1) for x in (-1, 0, 1))


def _shifted(shape: tuple[int, ...], shift: tuple[int, int, int]) -> tuple[Any, Any]:
    """Slices of all voxels that have a neighbour at `shift`, and of these neighbours."""
    here = tuple(slice(max(0, -s), n - max(0, s)) for s, n in zip(shift, shape, strict=True))
    there = tuple(slice(max(0, s), n - max(0, -s)) for s, n in zip(shift, shape, strict=True))
    return here, there


def _holes(mask: Array, fill_nm: float, voxel_nm: Nm) -> Array:
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
    return keep[background]
