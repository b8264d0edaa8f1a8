"""Convex hulls of objects, from the extreme voxels of their planes."""

from __future__ import annotations

import itertools

import numpy as np

from chunkflow_liver.geometry import Nm
from chunkflow_liver.kernels.rows import Rows
from chunkflow_liver.xp import Array

Z_PLANES = 0
"""The kind of extreme voxels (see `kernels.diameters`) that a hull follows from."""


def hulls(voxels: Rows, voxel_nm: Nm) -> Rows:
    """Volume and area of the convex hull of every object.

    Parameters
    ----------
    voxels : dict of ndarray of shape (P,)
        Extreme voxels of kind `Z_PLANES`, all of each object, sorted by label.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.

    Returns
    -------
    dict of ndarray of shape (L,)
        `label` (uint64, ascending), `hull_nm3` and `hull_nm2` (float64): of the hull of the vertices of
        the marching-cubes mesh.

    Notes
    -----
    The mesh has its vertices half a voxel beyond voxels along one axis, so that its hull is the one of
    all voxel centres moved by half a voxel both ways along each axis [1]_. Coordinates count from the
    first voxel of the object: the same numbers wherever it lies.

    References
    ----------
    .. [1] Barber et al., Quickhull, ACM TOMS 22 (1996), doi:10.1145/235815.235821
    """
    from scipy.spatial import ConvexHull

    label, begin = np.unique(voxels["label"], return_index=True)
    at = np.stack([voxels[c].astype(np.int64) for c in ("plane", "u", "v")], axis=1)
    halves = np.concatenate([np.eye(3, dtype=np.int64), -np.eye(3, dtype=np.int64)])
    volume, area = np.zeros(len(label)), np.zeros(len(label))
    for i, (a, b) in enumerate(itertools.pairwise([*begin, len(at)])):
        own = at[a:b] - at[a:b].min(axis=0)
        points: Array = (2 * own[:, None] + halves).reshape(-1, 3) * (np.array(voxel_nm) / 2)
        hull = ConvexHull(points)
        volume[i], area[i] = hull.volume, hull.area
    return {"label": label, "hull_nm3": volume, "hull_nm2": area}
