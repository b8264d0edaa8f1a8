"""Holes of a thin wall around a lumen: where they are, and how large, from the faces that span them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from chunkflow_liver.geometry import Box, Nm, Zyx, voxels, zyx
from chunkflow_liver.kernels.contacts.areas import reach_voxels, surface_areas, walled
from chunkflow_liver.kernels.distance.transform import distance_nm
from chunkflow_liver.kernels.instances.components import label_block, merge_pairs
from chunkflow_liver.kernels.rows import Rows, grouped, joined
from chunkflow_liver.kernels.tissue.wall_depths import (
    area_nm2,
    axis_of,
    count_through,
    margin_of,
    rim_nm2,
    span_nm,
)
from chunkflow_liver.xp import Array

SUMS = ("voxels", "border", "face_z", "face_y", "face_x", "sum_z", "sum_y", "sum_x", "through", "layers")
"""What is added over the voxels of a hole: `face_*` counts faces that look away from the lumen along an axis,
less those that look the other way; `through` and `layers` (see `count_through`) stand at the first voxel."""


@dataclass(frozen=True, eq=False)
class Holes:
    """Holes of a block.

    Attributes
    ----------
    labels : ndarray of shape (Z, Y, X), uint32
        Holes of the block and one plane after it on every axis, 1..n; the voxels just outside the lumen.
    rows : dict of ndarray of shape (n,), int64
        `first` (smallest index of a voxel in the volume) and `SUMS`, of the voxels that the block owns.
    surface : int
        Surface of the lumen with all holes closed, of the block's own voxels, in steps of `area_step_nm2`.
    """

    labels: Array
    rows: Rows
    surface: int


def halo_of(most_nm: float, voxel_nm: Nm) -> Zyx:
    """Halo that `find_holes` needs, in voxels."""
    ball = voxels(_radius(most_nm), voxel_nm)
    deep = zyx([a + b for a, b in zip(_whole(most_nm, voxel_nm), margin_of(most_nm, voxel_nm), strict=True)])
    return zyx([max(2 * n + m, d) for n, m, d in zip(ball, _around(voxel_nm), deep, strict=True)])


def _around(voxel_nm: Nm) -> Zyx:
    """What surfaces and faces look at around a block, in voxels."""
    return zyx([max(n, 2) for n in reach_voxels(voxel_nm)])


def _whole(most_nm: float, voxel_nm: Nm) -> Zyx:
    """How far around a block a hole may go on of which it has the first voxel, with a voxel beside."""
    return zyx([n + 1 for n in voxels(span_nm(most_nm, voxel_nm), voxel_nm)])


def _radius(most_nm: float) -> float:
    """Radius of the ball that rolls over holes: into the largest one it sinks by a fifth of its diameter."""
    return 0.75 * most_nm


def find_holes(
    lumen: Array,
    wall: Array,
    read: Box,
    write: Box,
    volume: Box,
    nm: tuple[float, Nm],
    hidden: Array | None = None,
) -> Holes:
    """The holes of a wall in a block.

    Parameters
    ----------
    lumen, wall : ndarray of shape (Z, Y, X), bool
        Voxels of `read`, which is `write` with `halo_of`, cut only by the volume.
    read, write, volume : Box
        What is there, what the block owns, and all that is known.
    nm : tuple
        Largest diameter of a hole, and voxel size along (z, y, x), in nm.
    hidden : ndarray of shape (Z, Y, X), bool, optional
        Voxels of `read` of which nothing is known, as of what lies outside the volume: neither lumen, nor
        wall, nor hole. A hole of which one of 26 neighbours is hidden may go on there.

    Returns
    -------
    Holes

    Notes
    -----
    A hole is a connected set (26 neighbours) of voxels that are neither lumen nor wall and share a face with
    the lumen. The sum of the vectors of these faces depends on the rim alone, not on how the faces between
    go: its length is the area of the hole seen along its axis, whatever its direction, and whether the voxels
    in the hole are called lumen or tissue. Holes that no end cuts, in a wall of two layers of voxels or more,
    are measured through the wall's depth (see `count_through`). The surface is that of the lumen without
    what a ball that is too wide for holes cannot enter, so that it does not matter there either.
    """
    most_nm, voxel_nm = nm
    around = zyx([max(a, b) for a, b in zip(_around(voxel_nm), _whole(most_nm, voxel_nm), strict=True)])
    box = write.grow(around).clip(volume)
    inner = box.relative_to(read).slices
    canvas = write.grow((0, 0, 0), (1, 1, 1)).clip(volume)
    at = canvas.relative_to(box).slices
    known = None if hidden is None else ~hidden
    lumen, wall = (lumen, wall) if known is None else (lumen & known, wall & known)
    near, free = lumen[inner], ~(lumen | wall)[inner]
    if known is not None:
        free &= known[inner]
    faces, seen = np.zeros((3, *near.shape), np.int8), np.zeros(near.shape, bool)
    for axis in range(3):
        for way in (1, -1):
            # A free voxel one step away from a lumen voxel along the axis.
            here = free & _moved(near, axis, way)
            seen |= here
            faces[axis] += here * np.int8(way)
    labels, n = label_block(seen[at].astype(np.uint8), classes=None, connectivity=26)
    owned = write.relative_to(canvas).slices
    ends = _ends(box, volume, None if known is None else ~known[inner])
    rows = _sums(np.asarray(labels), n, owned, faces[(slice(None), *at)], canvas, volume, ends[at])
    if n:
        of_first = _through(box, write, (seen, faces, ends), (wall, known), read, nm)
        for place, counted in of_first.items():
            row = int(labels[tuple(p - start for p, start in zip(place, canvas.start, strict=True))]) - 1
            rows["through"][row], rows["layers"][row] = counted
    own = write.relative_to(box)
    smooth = _opened(lumen, voxel_nm, _radius(most_nm), hidden)[inner]
    bare = walled(smooth, None if known is None else ~known[inner])[0]
    area = surface_areas(bare, (own.start, own.stop), voxel_nm)[1]
    return Holes(np.asarray(labels).astype(np.uint32), rows, int(area.sum()))


def _ends(box: Box, volume: Box, hidden: Array | None) -> Array:
    """Voxels of a box at the end of the volume, or beside what is hidden."""
    ends = np.zeros(box.shape, bool)
    for axis in range(3):
        if volume.shape[axis] == 1:
            continue
        for plane in (volume.start[axis], volume.stop[axis] - 1):
            if box.start[axis] <= plane < box.stop[axis]:
                ends[(slice(None),) * axis + (plane - box.start[axis],)] = True
    if hidden is not None:
        ends |= ndimage.binary_dilation(hidden, np.ones((3, 3, 3), bool))
    return ends


def _through(
    box: Box,
    write: Box,
    found: tuple[Array, Array, Array],
    tissue: tuple[Array, Array | None],
    read: Box,
    nm: tuple[float, Nm],
) -> dict[Zyx, tuple[int, int]]:
    """What `count_through` finds of holes whose first voxel `write` has and that are whole in `box`."""
    (seen, faces, ends), (wall, known) = found, tissue
    most_nm, voxel_nm = nm
    span, margin = voxels(span_nm(most_nm, voxel_nm), voxel_nm), margin_of(most_nm, voxel_nm)
    labels = np.asarray(label_block(seen.astype(np.uint8), classes=None, connectivity=26)[0]).view(np.int32)
    counted: dict[Zyx, tuple[int, int]] = {}
    for hole, slices in enumerate(ndimage.find_objects(labels), 1):
        own = Box(zyx([part.start for part in slices]), zyx([part.stop for part in slices])).shift(box.start)
        mask = labels[slices] == hole
        first = np.unravel_index(int(mask.argmax()), mask.shape)
        place = zyx([start + int(i) for start, i in zip(own.start, first, strict=True)])
        # A hole that goes on beyond the box has its first voxel elsewhere, or is longer than the span.
        if (
            any(n > most for n, most in zip(own.shape, span, strict=True))
            or not all(a <= p < b for a, p, b in zip(write.start, place, write.stop, strict=True))
            or ends[slices][mask].any()
        ):
            continue
        crop = own.grow(margin).clip(read)
        inside = np.zeros(crop.shape, bool)
        inside[own.relative_to(crop).slices] = mask
        there = crop.relative_to(read).slices
        z, y, x = (int(part[slices][mask].sum(dtype=np.int64)) for part in faces)
        counted[place] = count_through(
            inside, wall[there], None if known is None else known[there], (z, y, x), nm
        )
    return counted


def _opened(lumen: Array, voxel_nm: Nm, radius_nm: float, hidden: Array | None) -> Array:
    """What a ball that stays in the lumen reaches; beyond the end of the array the lumen goes on.

    So it does where nothing is known, but no ball has its centre there.
    """
    others = ~lumen if hidden is None else ~(lumen | hidden)
    inside = lumen & ~(distance_nm(others, voxel_nm, radius_nm) <= radius_nm)
    return lumen & (distance_nm(inside, voxel_nm, radius_nm) <= radius_nm)


def _moved(mask: Array, axis: int, way: int) -> Array:
    """The mask one step on along an axis; nothing comes in from outside."""
    found = np.zeros_like(mask)
    ahead, behind = [slice(None)] * 3, [slice(None)] * 3
    ahead[axis], behind[axis] = (
        (slice(1, None), slice(None, -1)) if way > 0 else (slice(None, -1), slice(1, None))
    )
    found[tuple(ahead)] = mask[tuple(behind)]
    return found


def _sums(
    labels: Array,
    n: int,
    owned: tuple[slice, ...],
    faces: Array,
    canvas: Box,
    volume: Box,
    ends: Array,
) -> Rows:
    at = np.stack(np.nonzero(labels))
    label = labels[tuple(at)].astype(np.int64) - 1
    place = at + np.array(canvas.start)[:, None]
    mine = np.ones(len(label), bool)
    for p, part in zip(at, owned, strict=True):
        mine &= p < part.stop
    values = {
        "voxels": np.ones(len(label), np.int64),
        "border": ends[tuple(at)].astype(np.int64),
    }
    for axis, a in enumerate("zyx"):
        values[f"face_{a}"] = faces[axis][tuple(at)].astype(np.int64)
        values[f"sum_{a}"] = place[axis]
    found: Rows = {name: np.zeros(n, np.int64) for name in SUMS}
    for name in values:
        np.add.at(found[name], label[mine], values[name][mine])
    first = np.full(n, np.iinfo(np.int64).max)
    index = np.ravel_multi_index(tuple(place - np.array(volume.start)[:, None]), volume.shape)
    np.minimum.at(first, label, index)
    return {"first": first} | found


def merge_holes(parts: list[Rows], pairs: list[Array]) -> Rows:
    """The rows of whole holes, in the order of their first voxels.

    Parameters
    ----------
    parts : list of dict
        Rows of the blocks, one after the other.
    pairs : list of ndarray of shape (K, 2), int64
        Parts that are one, as places 0, 1, .. in all parts.
    """
    none = {name: np.zeros(0, np.int64) for name in ("first", *SUMS)}
    rows = joined([none, *parts])
    roots = np.arange(len(rows["first"]))
    nodes, smallest = merge_pairs(np.concatenate([np.zeros((0, 2), np.int64), *pairs]))
    roots[nodes] = smallest
    found = grouped({"root": roots} | rows, ("root",), {"first": np.minimum})
    found.pop("root")
    order = np.argsort(found.pop("first"))
    return {name: column[order] for name, column in found.items()}


def describe_holes(rows: Rows, voxel_nm: Nm) -> dict[str, Array]:
    """Area, diameter, axis and place of every hole.

    Returns
    -------
    dict of ndarray of shape (n,)
        `area_nm2` (through the wall's depth where it could be measured there, or of the rim), `diameter_nm`
        (of a disk of that area), `layers` (of voxels that it was measured in, 0: at the rim), `axis_z`,
        `axis_y`, `axis_x` (unit vector away from the lumen), `z_nm`, `y_nm`, `x_nm` (mean of the voxels just
        outside the lumen, from the volume's corner).
    """
    faces = np.stack([rows[f"face_{a}"] for a in "zyx"])
    axis, area, layers = axis_of(faces, voxel_nm), rim_nm2(faces, voxel_nm), rows["layers"]
    deep = layers > 0
    area[deep] = area_nm2(rows["through"][deep], layers[deep], axis[:, deep], voxel_nm)
    found = {"area_nm2": area, "diameter_nm": 2 * np.sqrt(area / math.pi), "layers": layers}
    for a, part, side in zip("zyx", axis, voxel_nm, strict=True):
        found[f"axis_{a}"] = part
        found[f"{a}_nm"] = (rows[f"sum_{a}"] / rows["voxels"] + 0.5) * side
    return found
