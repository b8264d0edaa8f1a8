"""The groups 'surroundings' and 'morphology': what PyRadiomics does not say of an object."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from chunkflow_liver.geometry import NM_PER_UM, Nm, Zyx
from chunkflow_liver.kernels.features.groups import Group, Settings, Sums, View
from chunkflow_liver.kernels.features.neighbours import border_nm, density_per_um3, directions_deg, neighbours
from chunkflow_liver.kernels.rows import Rows, added
from chunkflow_liver.kernels.shape.diameters import extreme_voxels, merge_voxels
from chunkflow_liver.kernels.shape.hulls import Z_PLANES, hulls
from chunkflow_liver.kernels.shape.mesh import CODES, CORNERS
from chunkflow_liver.kernels.shape.pyradiomics_shape import mesh_um, surface_sums, whole_here
from chunkflow_liver.xp import Array


def surroundings(objects: Rows, shape: Zyx, voxel_nm: Nm, settings: Settings) -> Rows:
    """Where every object lies in the volume and among the others.

    Parameters
    ----------
    objects : dict of ndarray of shape (L,)
        The columns of 'basic' of all objects.
    shape : Zyx
        Voxels of the volume.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.
    settings : Settings
        `radius_nm` of the density.

    Returns
    -------
    dict of ndarray of shape (L,)
        `border_distance_nm` (from the object's surface to the nearest face of the volume),
        `neighbour_distance_nm`, `neighbour_label` (centroid to centroid; NaN and 0 without another
        object), `neighbour_certain` (bool: no object beyond the border can be nearer) and
        `density_per_um3` (other centroids within `radius_nm`, per known volume).
    """
    low, high = (np.stack([objects[f"bbox_{a}_{end}"] for a in "zyx"], axis=1) for end in ("min", "max"))
    centroid = np.stack([objects[f"centroid_{a}_nm"] for a in "zyx"], axis=1)
    extent = np.array(shape) * np.array(voxel_nm)
    distance, nearest = neighbours(centroid, objects["label"])
    # Across a single plane nothing is missing that the image could have shown.
    room = np.where(np.array(shape) > 1, np.minimum(centroid, extent - centroid), np.inf).min(axis=1)
    return {
        "border_distance_nm": border_nm(low, high, shape, voxel_nm),
        "neighbour_distance_nm": distance,
        "neighbour_label": nearest,
        "neighbour_certain": distance <= room,
        "density_per_um3": density_per_um3(centroid, (extent[0], extent[1], extent[2]), settings.radius_nm),
    }


def morphology_sums(view: View) -> Sums:
    """What a block knows of holes, hulls and surfaces of the objects in it.

    Returns
    -------
    dict of dict of ndarray
        `cells`, `volumes` as in `kernels.shape`; `hulls` of the objects that lie in the block as a
        whole, and `voxels`: extreme voxels of the z-planes of all others.
    """
    surface = view.shared(surface_sums)
    write, none = view.block.write, np.zeros(len(surface.runs.label), bool)
    voxels, _ = extreme_voxels(
        surface.runs, none, owned=write.shape, origin=write.start, voxel_nm=view.voxel_nm, kinds=(Z_PLANES,)
    )
    inside = whole_here(view)[view.rank(voxels["label"])]
    return {
        **surface.sums,
        "hulls": hulls({name: column[inside] for name, column in voxels.items()}, view.voxel_nm),
        "voxels": {name: column[~inside] for name, column in voxels.items()},
    }


def merge_morphology(parts: Sequence[Sums]) -> Sums:
    """The sums of several blocks as one; exact, in any order."""
    tables = {name: [part[name] for part in parts] for name in parts[0]}
    return {
        "cells": added(tables["cells"], ("label", "code")),
        "volumes": added(tables["volumes"], ("label",)),
        # An object that lies in a block as a whole has one row.
        "hulls": added(tables["hulls"], ("label",)),
        "voxels": merge_voxels(tables["voxels"]),
    }


def describe_morphology(sums: Sums, objects: Rows, voxel_nm: Nm, settings: Settings) -> Rows:
    """Holes, convexity and orientation of whole objects.

    Parameters
    ----------
    sums : dict of dict of ndarray
        What `merge_morphology` gave for these objects.
    objects : dict of ndarray of shape (L,)
        Columns of 'basic'.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.
    settings : Settings
        Not used.

    Returns
    -------
    dict of ndarray of shape (L,)
        `euler_number` (int64): objects - tunnels + cavities, voxels joined by 26 neighbours and the
        background by 6 [1]_. `solidity`: volume of the marching-cubes mesh over that of its convex hull;
        `convexity`: area of the hull over that of the mesh [2]_. Both are 1 for a convex object; the
        convexity of thin arms in several directions may be above 1. `tilt_deg`, `azimuth_deg`: direction
        of the longest principal axis, see `kernels.neighbours.directions_deg`.

    References
    ----------
    .. [1] Toriwaki and Yonekura, Forma 17 (2002) 183-209
    .. [2] Zunic and Rosin, A new convexity measure for polygons, doi:10.1109/TPAMI.2004.19
    """
    label, found = objects["label"], sums["cells"]
    eighths = np.zeros(len(label), np.int64)
    rank = np.searchsorted(label, found["label"])
    np.add.at(eighths, rank, euler_eighths()[found["code"]] * found["count"])
    area, volume = mesh_um(sums, objects, voxel_nm)
    convex = {name: np.zeros(len(label)) for name in ("hull_nm3", "hull_nm2")}
    for part in (sums["hulls"], hulls(sums["voxels"], voxel_nm)):
        for name, values in convex.items():
            values[np.searchsorted(label, part["label"])] = part[name]
    axis = np.stack([objects[f"major_{a}"] for a in "zyx"], axis=1)
    tilt, azimuth = directions_deg(axis, objects["axis_major_nm"], objects["axis_middle_nm"])
    return {
        "euler_number": eighths // 8,
        "solidity": volume / (convex["hull_nm3"] / NM_PER_UM**3),
        "convexity": convex["hull_nm2"] / NM_PER_UM**2 / area,
        "tilt_deg": tilt,
        "azimuth_deg": azimuth,
    }


@cache
def euler_eighths() -> Array:
    """Eight times what a cell of every code adds to the Euler number, int64 of shape (256,).

    Notes
    -----
    Voxels are closed cubes that share faces, edges and corners: V - E + F - C. The corner in the middle of
    a cell belongs to it alone, of its 6 edges a half, of its 12 faces a quarter, of its 8 cubes an
    eighth each; a part is there if one of the voxels that it bounds is.
    """
    inside = (np.arange(CODES)[:, None] >> np.arange(8)) & 1 == 1
    at = np.array(CORNERS)
    parts = np.zeros(CODES, np.int64)
    for fixed in np.ndindex(3, 3, 3):
        # 0 and 1: on one side of the middle; 2: across it. The part bounds all voxels that agree.
        bounded = ((np.array(fixed) == 2) | (at == fixed)).all(axis=1)
        across = fixed.count(2)
        parts += (-1) ** (3 - across) * 2**across * inside[:, bounded].any(axis=1)
    return parts


MORPHOLOGY = Group(
    morphology_sums,
    merge_morphology,
    describe_morphology,
    reach=((0, 0, 0), (1, 1, 1)),
    working=60.0,
    alone=True,
)
