"""The surface that every voxel of an object stands for: local, additive, and right for any direction."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from chunkflow_liver.geometry import Nm, Zyx, zyx
from chunkflow_liver.xp import Array, on_host

REACH = 4
"""Largest voxel sides that the outline through a face is followed, to either side."""

_AREA_BITS = 24
_LONGEST = 1 << 10
_TILE = 32, 64, 256
_LARGEST = np.iinfo(np.int32).max


def area_step_nm2(voxel_nm: Nm) -> float:
    """Area of one step, in nm^2: six of the largest faces have 2**24, so that sums are exact."""
    return 6 * math.prod(voxel_nm) / min(voxel_nm) / (1 << _AREA_BITS)


def reach_voxels(voxel_nm: Nm) -> Zyx:
    """Halo that `surface_areas` needs around the voxels it looks at, in voxels along (z, y, x)."""
    return zyx([-(-REACH * _LONGEST // length) + 1 for length in _lengths(voxel_nm)])


def walled(labels: Array, hidden: Array | None = None) -> tuple[Array, Array | None]:
    """Labels as compiled loops take them: a voxel of -1 on all sides tells where the array ends.

    Parameters
    ----------
    labels : ndarray of shape (Z, Y, X), integer or bool
        Objects, 0 is background.
    hidden : ndarray of the same shape, bool, optional
        Voxels of which nothing is known, like those beyond the array: -1, too.

    Returns
    -------
    ndarray of shape (Z + 2, Y + 2, X + 2), int32
        The same labels, or, where they do not fit, their ranks 1, 2, .. in the block. Host array.
    values : ndarray of shape (L,), or None
        The label of each rank, ascending.
    """
    labels = on_host(labels)
    found = np.full([n + 2 for n in labels.shape], -1, np.int32)
    inner = found[1:-1, 1:-1, 1:-1]
    fits: Any = labels.dtype == bool or np.can_cast(labels.dtype, np.int32)
    if not fits and labels.size and labels.max() > _LARGEST:
        values = np.unique(labels[labels != 0])
        inner[...] = np.where(labels != 0, np.searchsorted(values, labels) + 1, 0)
    else:
        values = None
        inner[...] = labels
    if hidden is not None:
        inner[hidden] = -1
    return found, values


def surface_areas(labels: Array, bounds: tuple[Zyx, Zyx], voxel_nm: Nm) -> tuple[Array, Array]:
    """The surface voxels in a box, and the area of each.

    Parameters
    ----------
    labels : ndarray of shape (Z + 2, Y + 2, X + 2), int32
        From `walled`: a block with a halo of `reach_voxels`, cut only by the volume's border.
    bounds : tuple of Zyx
        First voxel and end of the box, in the block without walls.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.

    Returns
    -------
    at : ndarray of shape (3, M), int64
        Place of every object voxel with a face neighbour of another label, in the block without walls:
        tile by tile, so that outlines across planes stay in the processor's cache, and there in raster order.
    area : ndarray of shape (M,), int64
        In steps of `area_step_nm2`.

    Notes
    -----
    A face between a voxel and another label has the area that its shadow on the surface has: its own
    times the cosine between its axis and the surface's normal [1]_ [2]_. The normal comes from the two
    outlines through the face, in the two planes along its axis: each is followed face by face for
    `REACH` largest voxel sides forwards and backwards (less at the volume's border), and its direction
    is that from the mean place behind to the mean place ahead, weighted by d (5/4 reach - d) at a
    distance d along the outline. So the sides of a flat object and objects that touch never mix. On a
    plane the faces of the three axes add up to its area whatever its direction; what is left is the
    error of the normal, in the second order.

    Measured: docs/definitions.md. Cost: 0.08 us per face (8 nm voxels).

    References
    ----------
    .. [1] Lenoir, Malgouyres and Revenu, Fast computation of the normal vector field of the surface of a
       3-D discrete object, LNCS 1176, 1996
    .. [2] Coeurjolly, Flin, Teytaud and Tougne, Multigrid convergence and surface area estimation, LNCS
       2616, 2003
    """
    from chunkflow_liver.kernels.contacts import area_loops as surface_loops

    scale = math.sqrt(math.prod(voxel_nm) / min(voxel_nm))
    sizes = voxel_nm[0] / scale, voxel_nm[1] / scale, voxel_nm[2] / scale
    starts = [range(a, b, n) for a, b, n in zip(*bounds, _TILE, strict=True)]
    room = math.prod(min(b - a, n) for a, b, n in zip(*bounds, _TILE, strict=True))
    at, area = np.empty((3, max(0, room)), np.int64), np.empty(max(0, room), np.int64)
    found = [(at[:, :0], area[:0])]
    for start in itertools.product(*starts):
        first = zyx([a + 1 for a in start])
        end = zyx([min(a + n, b) + 1 for a, n, b in zip(start, _TILE, bounds[1], strict=True)])
        count = surface_loops.surface_voxels(
            labels, first, end, sizes, _lengths(voxel_nm), 2 * REACH * _LONGEST, at, area
        )
        found.append((at[:, :count].copy(), area[:count].copy()))
    return np.concatenate([a for a, _ in found], axis=1), np.concatenate([a for _, a in found])


def _lengths(voxel_nm: Nm) -> Zyx:
    """Whole numbers in the ratio of the voxel's sides: with them a walk round ends where it began."""
    return zyx([max(1, round(_LONGEST * size / max(voxel_nm))) for size in voxel_nm])
