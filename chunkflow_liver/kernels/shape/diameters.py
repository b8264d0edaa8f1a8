"""Largest distances between mesh vertices, in space and in planes, from a few extreme voxels per plane."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chunkflow_liver.geometry import Nm, Zyx
from chunkflow_liver.kernels.labels.object_runs import ObjectRuns
from chunkflow_liver.kernels.rows import Rows, joined
from chunkflow_liver.xp import Array

DIAMETERS = ("slice_sq", "column_sq", "row_sq", "space_sq")
KINDS = 6

# The axes (u, v) that span the planes across z, y and x.
_ACROSS = ((1, 2), (0, 2), (0, 1))


def extreme_voxels(
    runs: ObjectRuns,
    whole: Array,
    *,
    owned: Zyx,
    origin: Zyx,
    voxel_nm: Nm,
    kinds: Sequence[int] = range(KINDS),
) -> tuple[Rows, Rows]:
    """The voxels of a block that can end a diameter of an object, or the diameters where they are known.

    Parameters
    ----------
    runs : ObjectRuns
        Of the block and of one voxel after it on each axis, where the volume has one.
    whole : ndarray of shape (L,), bool
        Which of the objects of `runs` lie in the block as a whole.
    owned : Zyx
        Voxels of the block along each axis.
    origin : Zyx
        First voxel of the block in the volume.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.
    kinds : sequence of int
        Which kinds of planes; the diameters need all.

    Returns
    -------
    voxels : dict of ndarray of shape (P,)
        Of objects that are not `whole`: `label` (uint64); `kind` (int8): 2 a for the plane of voxels `plane`
        across axis a, 2 a + 1 for the plane between the voxels `plane` and `plane + 1`; `plane`, `u`, `v`
        (int32, voxels of the volume): the corners of the convex hull of each plane. Sorted by label, kind
        and plane.
    squares : dict of ndarray
        Of those that are: `label` and the columns of `largest`.

    Notes
    -----
    A mesh vertex is the middle of a face between a voxel inside and one outside. The hull of those
    in a plane of voxels is the hull of the voxels' centres and half a voxel more along both axes, so
    that corners of the hull of the centres are enough, and these end a run; a plane between two
    layers has the centres of the voxels that are in one layer only. What is a corner in space is one
    in its plane.
    """
    from chunkflow_liver.kernels.shape.corner_loops import object_corners

    shape, asked = (*owned, runs.height), sum(1 << kind for kind in kinds)
    size = np.array(voxel_nm, np.float64)
    corners, squares = object_corners(runs.begin, runs.row, runs.ends, shape, asked, whole, size)
    of, kind, plane, u, v = corners.T
    start, axes, across = np.array(origin), kind // 2, np.array(_ACROSS)
    voxels = {
        "label": runs.label[of],
        "kind": kind.astype(np.int8),
        "plane": (plane + start[axes]).astype(np.int32),
        "u": (u + start[across[axes, 0]]).astype(np.int32),
        "v": (v + start[across[axes, 1]]).astype(np.int32),
    }
    known = dict(zip(DIAMETERS, squares[whole].T, strict=True))
    return voxels, {"label": runs.label[whole], **known}


def merge_voxels(parts: Sequence[Rows]) -> Rows:
    """The extreme voxels of several blocks as one: again the corners of the hull of each plane."""
    from chunkflow_liver.kernels.shape.corner_loops import merged_corners

    rows = joined(parts)
    order = np.lexsort([rows[name] for name in ("v", "u", "plane", "kind", "label")])
    rows = {name: column[order] for name, column in rows.items()}
    new = np.zeros(len(order), bool)
    new[:1] = True
    for name in ("label", "kind", "plane"):
        new[1:] |= rows[name][1:] != rows[name][:-1]
    first = np.flatnonzero(new)
    corners = merged_corners(np.cumsum(new) - 1, rows["u"], rows["v"])
    group, u, v = corners[:, 2:].T
    return {**{name: rows[name][first[group]] for name in ("label", "kind", "plane")}, "u": u, "v": v}


def largest(voxels: Rows, voxel_nm: Nm) -> Rows:
    """Squared diameters of objects, from all of their extreme voxels.

    Parameters
    ----------
    voxels : dict of ndarray of shape (P,)
        What `extreme_voxels` or `merge_voxels` gave, sorted.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.

    Returns
    -------
    dict of ndarray of shape (L,)
        `label` (uint64, ascending); `slice_sq`, `column_sq`, `row_sq` (in planes across z, y and x) and
        `space_sq`, float64 in nm^2. Exact up to the rounding of one sum, and the same bits for any
        two voxels that are as far apart.
    """
    from chunkflow_liver.kernels.shape.diameter_loops import diameters

    label, begin = np.unique(voxels["label"], return_index=True)
    points = np.stack(
        [np.zeros(len(voxels["u"]), np.int32), *(voxels[c] for c in ("kind", "plane", "u", "v"))], axis=1
    )
    squares = diameters(np.append(begin, len(points)), points, np.array(voxel_nm, np.float64))
    return {"label": label, **dict(zip(DIAMETERS, squares.T, strict=True))}
