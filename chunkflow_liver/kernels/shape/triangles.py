"""The closed triangle mesh around an object, from boxes of its voxels."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from chunkflow_liver.geometry import Zyx
from chunkflow_liver.xp import Array, on_host


def box_triangles(mask: Array, origin: Zyx) -> Array:
    """Triangles of the cells between the voxels of a box.

    Parameters
    ----------
    mask : ndarray of shape (Z, Y, X), bool
        Voxels of the box, with one layer of the next box on each side that goes on and one empty
        layer where the object ends.
    origin : Zyx
        Its first voxel.

    Returns
    -------
    ndarray of shape (T, 3, 3), int64
        (z, y, x) of three vertices in half voxels (2 i is the centre of voxel i), counterclockwise seen from
        outside in a right-handed (x, y, z) frame.

    Notes
    -----
    Lorensen and Cline's table as scikit-image has it, with vertices halfway along edges. Unlike the cells of
    `kernels.mesh`, which are PyRadiomics', cells that meet in an ambiguous face join without a hole;
    where there is no such face, area and volume are the same.
    """
    from skimage.measure import marching_cubes

    mask = on_host(mask)
    if min(mask.shape) < 2 or mask.all() or not mask.any():
        return np.zeros((0, 3, 3), np.int64)
    vertices, faces, _, _ = marching_cubes(
        mask.astype(np.float32), 0.5, method="lorensen", gradient_direction="descent"
    )
    halves = np.rint(2 * vertices).astype(np.int64) + 2 * np.array(origin)
    triangles: Array = halves[faces]
    return triangles


def join_triangles(parts: Iterable[Array]) -> tuple[Array, Array]:
    """The triangles of all boxes as one mesh.

    Returns
    -------
    vertices : ndarray of shape (V, 3), int64
        Each once, in half voxels along (z, y, x), sorted.
    faces : ndarray of shape (T, 3), int64
        Rows of `vertices`, sorted: the same mesh for any boxes.
    """
    triangles = np.concatenate([np.zeros((0, 3, 3), np.int64), *parts])
    vertices, index = np.unique(triangles.reshape(-1, 3), axis=0, return_inverse=True)
    faces = index.reshape(-1, 3)
    # The same corner first, whichever box gave the triangle.
    first = faces.argmin(axis=1)
    faces = np.take_along_axis(faces, (first[:, None] + np.arange(3)) % 3, axis=1)
    return vertices, faces[np.lexsort(faces.T[::-1])]
