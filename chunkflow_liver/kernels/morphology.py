"""The groups 'surroundings' and 'morphology': what PyRadiomics does not say of an object."""

from __future__ import annotations

import numpy as np

from chunkflow_liver.geometry import Nm, Zyx
from chunkflow_liver.kernels.features import Rows, Settings
from chunkflow_liver.kernels.neighbours import border_nm, density_per_um3, neighbours


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
