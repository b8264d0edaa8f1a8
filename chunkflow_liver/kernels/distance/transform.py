"""Exact Euclidean distances in nm, and where the end of the volume leaves them unknown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import Box, Nm, voxels, zyx
from chunkflow_liver.kernels.distance.squares import Trim, squares_to, whole_unit
from chunkflow_liver.xp import Array, namespace, on_host

# Ties at the border are exact; float32 distances may sit one rounding step above them.
TIE = 1 + 1e-6
_FAR = float(np.finfo(np.float32).max)

WHOLE: Trim = (slice(None), slice(None), slice(None))


def distance_nm(mask: Array, voxel_nm: Nm, cap_nm: float, trim: Trim = WHOLE) -> Array:
    """Distance of every voxel to the nearest one in `mask`, +inf beyond `cap_nm`.

    Parameters
    ----------
    mask : ndarray of shape (Z, Y, X), bool
        True inside the structure.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.
    cap_nm : float
        Largest distance wanted, in nm; farther voxels get +inf. May be infinite.
    trim : tuple of slice
        The voxels that are wanted; all by default.

    Returns
    -------
    ndarray of the trimmed shape, float32
        Distance between voxel centres in nm, 0 inside `mask`. Same array type as `mask`.

    Raises
    ------
    ConfigError
        If a voxel size is not positive or the cap is negative.

    Notes
    -----
    Exact Euclidean transform. On the host whole numbers up to a cap, which is fastest there, and edt
    without one [1]_ (SciPy where edt is not installed); cuCIM on the device [2]_. Distances agree
    to 1e-6 of their size. What lies outside the array is unknown, not background: with
    a halo of `voxels(cap_nm)` every finite value is the distance in the whole volume.

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
        return xp.full(mask[trim].shape, xp.inf, xp.float32)
    if xp is np and np.isfinite(cap_nm):
        unit = whole_unit(voxel_nm)
        limit = unit.squares(cap_nm)
        squares = squares_to(mask, unit, limit, trim)
        # Whole numbers up to 2**24 are exact in float32.
        distance = np.sqrt(squares, dtype=np.float32 if limit < 1 << 24 else np.float64)
        distance *= unit.nm
        np.copyto(distance, np.inf, where=squares > limit)
        return distance.astype(np.float32, copy=False)
    return _capped(_transform(mask, voxel_nm)[trim], cap_nm)


def inside_nm(
    labels: Array, voxel_nm: Nm, cap_nm: float, trim: Trim = WHOLE, hidden: Array | None = None
) -> Array:
    """Distance of every voxel to the nearest one with another label, +inf beyond `cap_nm`.

    Parameters
    ----------
    labels : ndarray of shape (Z, Y, X), integer or bool
        Objects; objects that touch end where they touch.
    voxel_nm, cap_nm, trim
        As for `distance_nm`.
    hidden : ndarray of shape (Z, Y, X), bool, optional
        Voxels whose label is not known (0 in `labels`): no object ends there.

    Returns
    -------
    ndarray of the trimmed shape, float32
        Distance between voxel centres in nm; 0 in the background. Same array type as `labels`; computed
        on the host.

    Notes
    -----
    Objects beside hidden voxels are measured one by one, each in its box with the cap around it.

    References
    ----------
    .. [1] Silversmith, edt, multi-label transform, doi:10.5281/zenodo.5815644
    """
    import edt

    held = np.ascontiguousarray(on_host(labels))
    distance: np.ndarray[Any, Any] = edt.edt(held, anisotropy=voxel_nm, black_border=False, parallel=1)
    if hidden is not None:
        away = distance_nm(hidden, voxel_nm, cap_nm)
        reach, whole = voxels(cap_nm, voxel_nm), Box.of(zyx(list(held.shape)))
        for value in np.unique(held[(held != 0) & (away <= distance * np.float32(TIE))]):
            at = np.nonzero(held == value)
            box = Box(zyx([int(a.min()) for a in at]), zyx([int(a.max()) + 1 for a in at]))
            part = box.grow(reach).clip(whole).slices
            own = held[part] == value
            others = distance_nm(~own & ~hidden[part], voxel_nm, cap_nm)
            np.copyto(distance[part], others, where=own)
    return namespace(labels).asarray(_capped(distance[trim], cap_nm))


def _capped(distance: Array, cap_nm: float) -> Array:
    """`distance` with +inf beyond the cap, contiguous."""
    xp = namespace(distance)
    # A distance is rounded to float32; one of just the cap must not fall to the far side of it.
    return xp.where(distance > np.float32(cap_nm * (1 + 1e-6)), np.float32(xp.inf), distance)


def _transform(mask: Array, voxel_nm: Nm) -> Array:
    """Distance to `mask`, float32, on the device where the mask lies."""
    background = ~mask
    if namespace(mask) is not np:
        from cucim.core.operations.morphology import distance_transform_edt

        return distance_transform_edt(background, sampling=voxel_nm).astype(np.float32)
    try:
        import edt
    except ImportError:
        from scipy.ndimage import distance_transform_edt

        return np.asarray(distance_transform_edt(background, sampling=voxel_nm)).astype(np.float32)
    distance: np.ndarray[Any, Any] = edt.edt(
        np.ascontiguousarray(background), anisotropy=voxel_nm, black_border=False, parallel=1
    )
    return distance


def exact_nm(
    distance: Array, box: Box, volume: Box, voxel_nm: Nm, cap_nm: float, away: Sequence[Array] = ()
) -> Array:
    """Whether each distance holds no matter what is unknown: outside the volume, or in it.

    Parameters
    ----------
    distance : ndarray of shape (Z, Y, X), float32
        Distances in nm of the voxels of `box`, of either sign; infinite beyond the cap.
    box, volume : Box
        Where `distance` lies, and the whole volume; across a single plane there is no outside.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.
    cap_nm : float
        Cap of the distances, in nm.
    away : sequence of ndarray of shape (Z, Y, X), float32
        Distances in nm to unknown voxels inside of the volume; infinite where they are farther than the cap.

    Returns
    -------
    ndarray of shape (Z, Y, X), bool
        False where the nearest voxel outside the volume, or unknown in it, is nearer than the distance, or
        than the cap where the distance is infinite (without a cap nothing infinite is exact). Same array
        type as `distance`.
    """
    xp = namespace(distance)
    ends = []
    for axis, size in enumerate(voxel_nm):
        index = np.arange(box.start[axis], box.stop[axis])
        outside = np.minimum(index - volume.start[axis] + 1, volume.stop[axis] - index) * (size * TIE)
        ends.append(np.where(volume.shape[axis] > 1, outside, _FAR).astype(np.float32))
    beside = np.minimum(ends[1][:, None], ends[2])
    lowest, beside = float(beside.min()), xp.asarray(beside)
    exact = xp.ones(distance.shape, bool)
    for plane, found, end in zip(distance, exact, ends[0], strict=True):
        # Only where the volume's end is nearer than the cap can it matter.
        if min(lowest, end) < cap_nm:
            found[:] = xp.minimum(xp.abs(plane), xp.float32(cap_nm)) <= xp.minimum(beside, end)
    for far in away:
        exact &= xp.minimum(xp.abs(distance), xp.float32(cap_nm)) <= far * xp.float32(TIE)
    return exact
