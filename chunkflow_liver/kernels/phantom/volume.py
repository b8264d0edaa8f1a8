"""Synthetic electron microscopy of liver with a known truth, of any size, made box by box."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from chunkflow_liver.errors import GridError
from chunkflow_liver.geometry import BlockGrid, Box
from chunkflow_liver.kernels.phantom.cells import Phantom, wall_field
from chunkflow_liver.kernels.phantom.fields import (
    Field,
    blur_in_plane,
    key,
    smooth_noise,
    white_noise,
)
from chunkflow_liver.kernels.phantom.objects import CLEAR_NM, KINDS, Bodies, plan
from chunkflow_liver.kernels.phantom.paint import (
    CLASSES,
    Canvas,
    neck_of,
    paint_ball,
    paint_mitochondrion,
    paint_nuclei,
    paint_sheets,
    paint_tubules,
    paint_wall,
)

__all__ = ["CLASSES", "KINDS", "Phantom", "Rendered", "render", "truth_table"]

_WALL_NM = 66.0
_BRICK = (32, 128, 128)
_BLUR = (0.5697, 0.2054, 0.0097)  # Gaussian of sd 0.7 pixel
_GRAIN = np.array([26, 15, 17, 20, 5, 16], np.float32)  # sd of the grain before the blur, by class
_NOISE = 8.0


@dataclass(frozen=True)
class Rendered:
    """The voxels of one box of a phantom.

    Attributes
    ----------
    raw : ndarray of shape (Z, Y, X), uint8
        Grey values; membranes are dark.
    semantic : ndarray of shape (Z, Y, X), uint8
        Numbers of `CLASSES`.
    instances : ndarray of shape (Z, Y, X), uint32
        Mitochondria by their label in the truth table, 0 elsewhere.
    """

    raw: np.ndarray[Any, Any]
    semantic: np.ndarray[Any, Any]
    instances: np.ndarray[Any, Any]


def render(phantom: Phantom, box: Box) -> Rendered:
    """Image and truth of one box of a phantom.

    Parameters
    ----------
    phantom : Phantom
        What to draw.
    box : Box
        Which voxels, inside the volume.

    Returns
    -------
    Rendered
        A voxel is the same to the last bit whichever box it is rendered in.

    Raises
    ------
    GridError
        If the box is empty or not inside the volume.

    Notes
    -----
    Overlaps: nucleus > lipid droplet > mitochondrion > cell boundary > ER > cytoplasm; the first
    four never meet by plan. Beyond the planted ER, no ER comes nearer to a mitochondrion than
    60 nm. Memory: the result and one brick of 0.5 Mvoxel.
    """
    volume = Box.of(phantom.shape)
    if box.size == 0 or not volume.contains(box):
        raise GridError(f"cannot render the box {box}: it must lie in the volume {volume}")
    out = Rendered(
        np.empty(box.shape, np.uint8),
        np.empty(box.shape, np.uint8),
        np.empty(box.shape, np.uint32),
    )
    corners = _corners(phantom)
    for brick in BlockGrid(box, _BRICK):
        here = brick.write.relative_to(box).slices
        raw, semantic, instances = _brick(phantom, brick.write, corners)
        out.raw[here] = raw
        out.semantic[here] = semantic
        out.instances[here] = instances
    return out


@lru_cache(maxsize=8)
def _corners(phantom: Phantom) -> list[tuple[Bodies, Field, Field]]:
    """Mitochondria, and droplets with peroxisomes, with the corners of their boxes in nm."""
    return [(bodies, *bodies.bounds()) for bodies in plan(phantom)]


def _brick(
    phantom: Phantom, box: Box, corners: list[tuple[Bodies, Field, Field]]
) -> tuple[Field, Field, Field]:
    wide = box.grow((0, 2, 2))
    v = phantom.voxel_nm
    z, y, x = ((np.arange(a, b) + 0.5) * s for a, b, s in zip(wide.start, wide.stop, v, strict=True))
    axes = (z, y, x)
    low = np.array([a[0] for a in axes])
    high = np.array([a[-1] for a in axes])
    shade = smooth_noise(key(phantom.seed, 1), axes, 330.0)
    grey = shade * np.float32(5)
    grey += 152
    canvas = Canvas(
        wide,
        axes,
        v,
        shade,
        grey,
        np.zeros(wide.shape, np.uint8),
        np.zeros(wide.shape, np.uint32),
        np.full(wide.shape, np.float32(1e6)),
    )
    wall = wall_field(phantom, axes, _WALL_NM)
    if wall is not None:
        paint_wall(canvas, wall)
    paint_nuclei(phantom, canvas, low, high)
    (mitochondria, m_low, m_high), (balls, b_low, b_high) = corners
    for row in np.nonzero((b_low <= high).all(1) & (b_high >= low).all(1))[0]:
        paint_ball(canvas, balls, int(row), b_low[row], b_high[row])
    for row in np.nonzero((m_low <= high).all(1) & (m_high >= low).all(1))[0]:
        paint_mitochondrion(canvas, mitochondria, int(row), m_low[row], m_high[row])
    free = (canvas.semantic == 0) & (canvas.depth > np.float32(CLEAR_NM))
    if wall is not None:
        free &= wall > np.float32(25)
    paint_sheets(phantom, canvas, free)
    paint_tubules(phantom, canvas, free, low, high)
    grain = white_noise(key(phantom.seed, 2), wide.start, wide.shape)
    # glycogen: coarser grain in the shaded parts of the cytoplasm
    grain *= _GRAIN[canvas.semantic] - np.minimum(canvas.shade, 0) * np.float32(6)
    canvas.grey[:] += grain
    image = blur_in_plane(canvas.grey, _BLUR)
    image += white_noise(key(phantom.seed, 3), box.start, box.shape) * np.float32(_NOISE)
    np.clip(image, 0, 255, out=image)
    np.rint(image, out=image)
    inner = (slice(None), slice(2, -2), slice(2, -2))
    return image.astype(np.uint8), canvas.semantic[inner], canvas.instances[inner]


def truth_table(phantom: Phantom) -> dict[str, np.ndarray[Any, Any]]:
    """What was planned for every mitochondrion, one row each.

    Parameters
    ----------
    phantom : Phantom
        Any size; nothing is rendered.

    Returns
    -------
    dict of ndarray of shape (n,)
        label : uint32, 1..n, as in `Rendered.instances`. kind : str, one of `KINDS`.
        centre_{z,y,x}_nm : a point of its axis, always inside the volume.
        centroid_{z,y,x}_nm : centroid of the whole body, cut by the volume's faces or not.
        length_nm : length of the axis (all arms) and one radius at either end.
        radius_nm : radius away from necks. neck_{z,y,x}_nm, neck_width_nm : where a dumbbell is
        narrowest, and the diameter there; NaN for others. er_gap_nm : gap from membrane to planted
        ER; NaN where none was planted, and then no ER is nearer than 60 nm. touches : uint32, label
        of the mitochondrion in face contact with it, 0 for none.

    Notes
    -----
    Mitochondria whose centre lies outside the volume do not exist. Lengths are those of bodies
    that the volume's faces do not cut.
    """
    bodies, _ = plan(phantom)
    n = len(bodies)
    lengths = np.sqrt(((bodies.segments[:, :, 1] - bodies.segments[:, :, 0]) ** 2).sum(-1))
    lengths *= np.arange(lengths.shape[1]) < bodies.count[:, None]
    total = lengths.sum(1)
    mid = (bodies.segments.mean(2) * lengths[..., None]).sum(1) / total[:, None]
    dipped = bodies.dip[:, 0] > 0
    neck = np.full((n, 3), np.nan)
    for row in np.nonzero(dipped)[0]:
        neck[row] = neck_of(bodies, int(row))
    width = np.where(dipped, 2 * (bodies.radius - bodies.dip[:, 0]), np.nan)
    columns: dict[str, np.ndarray[Any, Any]] = {
        "label": np.arange(1, n + 1, dtype=np.uint32),
        "kind": np.array(KINDS)[bodies.kind],
    }
    for name, points in (("centre", bodies.centre), ("centroid", mid), ("neck", neck)):
        columns |= {f"{name}_{a}_nm": points[:, i] for i, a in enumerate("zyx")}
    columns["neck_width_nm"] = width
    columns["length_nm"] = total + 2 * bodies.radius
    columns["radius_nm"] = bodies.radius
    columns["er_gap_nm"] = bodies.er_gap
    columns["touches"] = (bodies.partner + 1).astype(np.uint32)
    return columns
