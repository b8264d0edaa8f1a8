"""Exact Euclidean distances in nm, and where the end of the volume leaves them unknown."""

from __future__ import annotations

from typing import Any

import numpy as np

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import Box, Nm
from chunkflow_liver.xp import Array, namespace

# Ties at the border are exact; float32 distances may sit one rounding step above them.
_TIE = 1 + 1e-6


def distance_nm(mask: Array, voxel_nm: Nm, cap_nm: float) -> Array:
    """Distance of every voxel to the nearest one in `mask`, +inf beyond `cap_nm`.

    Parameters
    ----------
    mask : ndarray of shape (Z, Y, X), bool
        True inside the structure.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.
    cap_nm : float
        Largest distance wanted, in nm; farther voxels get +inf. May be infinite.

    Returns
    -------
    ndarray of shape (Z, Y, X), float32
        Distance between voxel centres in nm, 0 inside `mask`. Same array type as `mask`.

    Raises
    ------
    ConfigError
        If a voxel size is not positive or the cap is negative.

    Notes
    -----
    Exact Euclidean transform: edt on the host, one thread [1]_, cuCIM on the device [2]_. Both
    calculate in float32, so distances agree to 1e-6 of their size. What lies outside the array
    is unknown, not background: with a halo of `voxels(cap_nm)` every finite value is the
    distance in the whole volume.

    References
    ----------
    .. [1] Felzenszwalb and Huttenlocher, 2012, doi:10.4086/toc.2012.v008a019
    .. [2] Cao et al., Parallel Banding Algorithm, I3D 2010, doi:10.1145/1730804.1730818
    """
    if min(voxel_nm) <= 0 or not cap_nm >= 0:
        raise ConfigError(
            f"distances need positive voxel sizes and a cap of 0 nm or more, got {voxel_nm} and {cap_nm} nm"
        )
    xp = namespace(mask)
    mask = mask.astype(bool, copy=False)
    if not mask.any():
        return xp.full(mask.shape, xp.inf, xp.float32)
    distance = _transform(mask, voxel_nm)
    # A distance is rounded to float32; one of just the cap must not fall to the far side of it.
    distance[distance > np.float32(cap_nm * (1 + 1e-6))] = xp.inf
    return distance


def _transform(mask: Array, voxel_nm: Nm) -> Array:
    """Distance to `mask`, float32, on the device where the mask lies."""
    background = ~mask
    if namespace(mask) is not np:
        from cucim.core.operations.morphology import distance_transform_edt

        return distance_transform_edt(background, sampling=voxel_nm).astype(np.float32)
    import edt

    distance: np.ndarray[Any, Any] = edt.edt(
        np.ascontiguousarray(background), anisotropy=voxel_nm, black_border=False, parallel=1
    )
    return distance


def exact_nm(distance: Array, box: Box, volume: Box, voxel_nm: Nm, cap_nm: float) -> Array:
    """Whether each distance holds no matter what lies outside the volume.

    Parameters
    ----------
    distance : ndarray of shape (Z, Y, X), float32
        Distances in nm of the voxels of `box`; +inf beyond the cap.
    box, volume : Box
        Where `distance` lies, and the whole volume.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.
    cap_nm : float
        Cap of the distances, in nm.

    Returns
    -------
    ndarray of shape (Z, Y, X), bool
        False where the nearest voxel outside the volume is nearer than the distance, or than the
        cap where the distance is +inf. Same array type as `distance`.
    """
    xp = namespace(distance)
    exact = xp.ones(distance.shape, bool)
    needed = xp.minimum(distance, xp.float32(cap_nm))
    for axis, size in enumerate(voxel_nm):
        index = xp.arange(box.start[axis], box.stop[axis])
        steps = xp.minimum(index - volume.start[axis] + 1, volume.stop[axis] - index)
        outside = (steps * (size * _TIE)).astype(xp.float32)
        exact &= needed <= outside.reshape([-1 if a == axis else 1 for a in range(3)])
    return exact
