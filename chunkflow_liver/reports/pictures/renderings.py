"""Shaded pictures of one object in 3D, seen from the side that shows its length."""

from __future__ import annotations

from typing import Any

import numpy as np

from chunkflow_liver.geometry import Nm
from chunkflow_liver.kernels.centreline.sections import at_points

BODY = (150, 165, 185)
CONTACT = (240, 140, 40)
NECK = (70, 140, 220)

_MARGIN = 1.08
_LIGHT = np.array([-0.85, -0.45, -0.25])

Values = np.ndarray[Any, Any]


def rendering(
    signed: Values, contact: Values, neck: Values, voxel_nm: Nm, *, length_px: int = 320
) -> tuple[Values, float]:
    """An orthographic picture of an object along its shortest axis, its longest axis from left to right.

    Parameters
    ----------
    signed : ndarray of shape (Z, Y, X), float32
        Distance to its surface in nm, positive inside.
    contact, neck : ndarray of the same shape, bool
        Voxels whose surface has the colours `CONTACT` and (where both: contact) `NECK`.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.
    length_px : int
        Pixels of the longest side.

    Returns
    -------
    picture : ndarray of shape (h, w, 4), uint8
        Transparent where there is nothing.
    pixel_nm : float
    """
    points = (np.argwhere(signed > 0) + 0.5) * np.array(voxel_nm)
    middle = points.mean(0)
    axes = np.linalg.eigh(np.cov((points - middle).T, bias=True) + np.eye(3) * 1e-6)[1][:, ::-1].T
    along = (points - middle) @ axes.T
    low, high = along.min(0) - max(voxel_nm), along.max(0) + max(voxel_nm)
    centre, size = (low + high) / 2, (high - low) * _MARGIN
    pixel = float(size[:2].max()) / length_px
    u = (np.arange(int(size[0] / pixel) + 1) + 0.5) * pixel - size[0] / 2 + centre[0]
    v = (np.arange(int(size[1] / pixel) + 1) + 0.5) * pixel - size[1] / 2 + centre[1]
    step = max(0.5 * min(voxel_nm), float(size[2]) / 200)
    depth = np.full((len(v), len(u)), np.nan)
    before = np.full(depth.shape, -1.0)
    plane = middle + v[:, None, None] * axes[1] + u[None, :, None] * axes[0]
    for w in np.arange(low[2], high[2], step):
        here = at_points(signed, voxel_nm, plane + w * axes[2])
        hit = (here > 0) & np.isnan(depth)
        share = np.divide(before, before - here, out=np.zeros_like(before), where=hit)
        depth = np.where(hit, w - step * (1 - share), depth)
        before = here
    seen = np.isfinite(depth)
    surface = plane + np.nan_to_num(depth)[..., None] * axes[2]
    reach = 1.5 * max(voxel_nm)
    slope = np.stack(
        [
            at_points(signed, voxel_nm, surface + reach * a)
            - at_points(signed, voxel_nm, surface - reach * a)
            for a in axes
        ],
        -1,
    )
    slope /= np.maximum(np.linalg.norm(slope, axis=-1, keepdims=True), 1e-9)
    # The gradient points inwards; the light comes from above, to the left and from the front.
    toward = _LIGHT[[2, 1, 0]] / np.linalg.norm(_LIGHT)
    shade = 0.35 + 0.65 * np.clip(-(slope @ toward), 0, 1)
    shade = np.where(slope @ np.array([0, 0, 1.0]) > 0, shade, 0.35)
    colour = np.broadcast_to(np.array(BODY, float), (*depth.shape, 3)).copy()
    inner = surface + 0.3 * max(voxel_nm) * axes[2]
    for where, paint in ((neck, NECK), (contact, CONTACT)):
        strength = at_points(where.astype(np.float32), voxel_nm, inner)
        colour[strength > 0.4] = paint
    picture = np.zeros((*depth.shape, 4), np.uint8)
    picture[..., :3] = np.clip(colour * shade[..., None], 0, 255)
    picture[..., 3] = 255 * seen
    return picture, pixel
