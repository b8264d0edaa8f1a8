"""PyRadiomics' shape features of every object, from counts of cells and extreme voxels of blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chunkflow_liver.geometry import NM_PER_UM, Nm, zyx
from chunkflow_liver.kernels.features.groups import Group, Settings, Sums, View, runs_ahead
from chunkflow_liver.kernels.labels.object_runs import ObjectRuns
from chunkflow_liver.kernels.rows import Rows, added
from chunkflow_liver.kernels.shape.diameters import DIAMETERS, extreme_voxels, largest, merge_voxels
from chunkflow_liver.kernels.shape.mesh import areas, cell_sums
from chunkflow_liver.xp import Array

UNITS = {
    "shape_MeshVolume": "micrometer^3",
    "shape_VoxelVolume": "micrometer^3",
    "shape_SurfaceArea": "micrometer^2",
    "shape_SurfaceVolumeRatio": "micrometer^-1",
    "shape_Sphericity": "",
    "shape_Compactness1": "",
    "shape_Compactness2": "",
    "shape_SphericalDisproportion": "",
    "shape_Maximum3DDiameter": "micrometer",
    "shape_Maximum2DDiameterSlice": "micrometer",
    "shape_Maximum2DDiameterColumn": "micrometer",
    "shape_Maximum2DDiameterRow": "micrometer",
    "shape_MajorAxisLength": "micrometer",
    "shape_MinorAxisLength": "micrometer",
    "shape_LeastAxisLength": "micrometer",
    "shape_Elongation": "",
    "shape_Flatness": "",
}


@dataclass(frozen=True, eq=False)
class Surface:
    """The surfaces in a block: what every group of shapes begins with.

    Attributes
    ----------
    runs : ObjectRuns
        Of the block and of one voxel after it.
    sums : dict of dict of ndarray
        `cells` and `volumes`, see `shape_sums`.
    """

    runs: ObjectRuns
    sums: Sums


def surface_sums(view: View) -> Surface:
    """The marching-cubes cells that a block owns, counted."""
    write = view.block.write
    runs = view.shared(runs_ahead)
    low = zyx([int(n == 0) for n in write.start])
    cells, volumes = cell_sums(runs, low=low, owned=write.shape, origin=write.start)
    return Surface(runs, {"cells": cells, "volumes": volumes})


def shape_sums(view: View) -> Sums:
    """What a block knows of the shapes in it.

    Returns
    -------
    dict of dict of ndarray
        `cells` and `volumes` (see `mesh.cell_sums`: marching-cubes cells that the block owns, the one with
        its first corner in it, and the volume under them), `diameters` (`label` and squares in nm^2:
        objects that lie in the block as a whole) and `voxels` (extreme voxels of all others, see
        `kernels.diameters`).
    """
    surface, write = view.shared(surface_sums), view.block.write
    whole = whole_here(view)[view.rank(surface.runs.label)]
    voxels, squares = extreme_voxels(
        surface.runs, whole, owned=write.shape, origin=write.start, voxel_nm=view.voxel_nm
    )
    return {**surface.sums, "diameters": squares, "voxels": voxels}


def merge_shapes(parts: Sequence[Sums]) -> Sums:
    """The sums of several blocks as one; exact, in any order."""
    tables = {name: [part[name] for part in parts] for name in parts[0]}
    return {
        "cells": added(tables["cells"], ("label", "code")),
        "volumes": added(tables["volumes"], ("label",)),
        # An object that lies in a block as a whole has one row.
        "diameters": added(tables["diameters"], ("label",)),
        "voxels": merge_voxels(tables["voxels"]),
    }


def describe_shapes(sums: Sums, objects: Rows, voxel_nm: Nm, settings: Settings) -> Rows:
    """The shape features of whole objects, with the voxel size in um as spacing.

    Parameters
    ----------
    sums : dict of dict of ndarray
        What `merge_shapes` gave for these objects.
    objects : dict of ndarray of shape (L,)
        Columns of 'basic'.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.
    settings : Settings
        Not used: shape knows no grey values.

    Returns
    -------
    dict of ndarray of shape (L,), float64
        See `UNITS`. NaN where a feature is 0 / 0 (the elongation of a single voxel).

    Notes
    -----
    Names, definitions and numbers of PyRadiomics 3.0.1 [1]_. Its mesh has small holes where voxels meet at
    an edge only; the volume under such a mesh depends on the origin, which is one voxel before the
    object's bounding box, as in its feature extractor. Its slice is a z-plane, its column a y-plane and
    its row an x-plane. The axis lengths of a flat object are exactly 0,
    where PyRadiomics has 1e-9, NaN or a complex number.

    References
    ----------
    .. [1] van Griethuysen et al., PyRadiomics, doi:10.1158/0008-5472.CAN-17-0339, shape.py, cshape.c
    """
    label = objects["label"]
    size_um = np.array(voxel_nm) / NM_PER_UM
    area, volume = mesh_um(sums, objects, voxel_nm)
    major, middle, minor = (objects[f"axis_{k}_nm"] / NM_PER_UM for k in ("major", "middle", "minor"))
    with np.errstate(divide="ignore", invalid="ignore"):
        ball = (36 * np.pi * volume**2) ** (1 / 3)
        columns = [
            volume,
            objects["voxels"] * float(np.prod(size_um)),
            area,
            area / volume,
            ball / area,
            volume / (area**1.5 * np.sqrt(np.pi)),
            36 * np.pi * volume**2 / area**3,
            area / ball,
            *_diameters(sums, label, voxel_nm),
            major,
            middle,
            minor,
            middle / major,
            minor / major,
        ]
    return dict(zip(UNITS, columns, strict=True))


# Working memory follows the ends of runs, not the voxels. Seen: 30 bytes per voxel for noise of five labels,
# 58 where every tenth voxel is an object; more where more are, since what is known of them is as much.
SHAPE = Group(
    shape_sums,
    merge_shapes,
    describe_shapes,
    reach=((0, 0, 0), (1, 1, 1)),
    working=60.0,
    units=UNITS,
    alone=True,
)


def mesh_um(sums: Sums, objects: Rows, voxel_nm: Nm) -> tuple[Array, Array]:
    """Area (um^2) and volume (um^3) of the mesh of whole objects, from merged `cells` and `volumes`."""
    label, found = objects["label"], sums["cells"]
    # The rows of an object follow each other.
    begin = np.flatnonzero(np.diff(found["label"], prepend=np.uint64(0)))
    rank = np.searchsorted(label, found["label"][begin])
    area, halves = np.zeros(len(label)), np.zeros(len(label), np.int64)
    if len(begin):
        area[rank] = np.add.reduceat(areas(voxel_nm)[found["code"]] * found["count"], begin)
    inside = sums["volumes"]
    rank = np.searchsorted(label, inside["label"])
    halves[rank] = inside["half_voxels"]
    for axis in "zyx":
        halves[rank] -= (objects[f"bbox_{axis}_min"][rank] - 1) * inside[f"open_{axis}"]
    return area / NM_PER_UM**2, halves * (float(np.prod(np.array(voxel_nm) / NM_PER_UM)) / 48)


def whole_here(view: View) -> Array:
    """Which of the block's objects lie in it as a whole."""
    whole = np.ones(len(view.objects["label"]), bool)
    for axis, a, b in zip("zyx", view.block.write.start, view.block.write.stop, strict=True):
        whole &= (view.objects[f"bbox_{axis}_min"] >= a) & (view.objects[f"bbox_{axis}_max"] <= b)
    return whole


def _diameters(sums: Sums, label: Array, voxel_nm: Nm) -> list[Array]:
    """Diameters in space and in planes across z, y and x, in um."""
    widest = {name: np.zeros(len(label)) for name in DIAMETERS}
    # A block also sees the face to its next one: what lies in that as a whole is known better there.
    for known in (largest(sums["voxels"], voxel_nm), sums["diameters"]):
        for name, squares in widest.items():
            squares[np.searchsorted(label, known["label"])] = known[name]
    return [np.sqrt(widest[name]) / NM_PER_UM for name in ("space_sq", "slice_sq", "column_sq", "row_sq")]
