"""Small pictures of single objects: the raw image with the outline of the object."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkflow_liver.geometry import Box, zyx
from chunkflow_liver.reports.pictures.planes import PLANES, Pixels, View, across, corner_nm, read_plane
from chunkflow_liver.store.volume import Volume

SIDE = 96
"""Pixels of a thumbnail."""
MARGIN = 1.35
"""How much wider than the object a thumbnail is."""
MOST_VOXELS = 1 << 21
"""Voxels that are looked at to find the plane that shows most of an object."""
LEAD = 1.2
"""How much more of an object a plane across slices must show than the best slice does, to be taken."""
OUTLINE = (255, 205, 60)


@dataclass(frozen=True)
class Thumbnail:
    """A small picture: a data URI, its plane, and its width and height in nm."""

    picture: str
    plane: str
    side_nm: float


def thumbnail(
    labels: Sequence[Volume],
    raw: Sequence[Volume] | None,
    label: int,
    box: Box,
    *,
    grey: tuple[float, float],
) -> Thumbnail:
    """The plane that shows most of an object.

    Parameters
    ----------
    labels, raw : sequence of Volume
        Levels of the instances and of the image, finest first.
    label : int
        The object.
    box : Box
        Its bounding box in voxels of level 0.
    grey : tuple of float
        Grey values that are black and white.

    Raises
    ------
    InputError, ChunkError
        If the planes cannot be read.
    """
    view = object_view(labels, label, box, SIDE)
    return Thumbnail(jpeg(outlined(labels, raw, label, view, grey=grey)), view.plane, view.size_nm[0])


def object_view(labels: Sequence[Volume], label: int, box: Box, pixels: int) -> View:
    """The square around an object, in the plane that shows most of it."""
    plane, at_nm = best_plane(labels, label, box)
    size, axes = labels[0].voxel_nm, PLANES[plane]
    side = MARGIN * max(max(box.shape[a], 8) * size[a] for a in axes)
    low = [corner_nm(labels[0], a) + (box.start[a] + box.stop[a]) / 2 * size[a] - side / 2 for a in axes]
    return View(plane, at_nm, (low[0], low[1]), (side, side), side / pixels)


def outlined(
    labels: Sequence[Volume],
    raw: Sequence[Volume] | None,
    label: int,
    view: View,
    *,
    grey: tuple[float, float],
    over: Pixels | None = None,
) -> Pixels:
    """The raw image in a view with the outline of an object, as (rows, columns, 3), float64, 0 to 255.

    Parameters
    ----------
    labels, raw, label, grey
        As for `thumbnail`.
    view : View
        Which part of which plane, and its pixels.
    over : ndarray of shape (rows, columns, 4), uint8, optional
        What is laid over the image, below the outline.
    """
    seen, within = read_plane(labels, view)
    inside = (seen == label) & within
    picture = np.full((*view.shape, 3), 128.0)
    if raw is not None:
        values, known = read_plane(raw, view)
        black, white = grey
        shown = np.clip((np.nan_to_num(values.astype(np.float64)) - black) / max(white - black, 1e-9), 0, 1)
        picture[known] = 255 * shown[known][:, None]
    if over is not None:
        opaque = over[..., 3:] / 255
        picture = (1 - opaque) * picture + opaque * over[..., :3]
    picture[_rim(inside) & within] = OUTLINE
    if raw is None:
        picture[inside] = 0.6 * np.array(OUTLINE)
    return picture


def best_plane(labels: Sequence[Volume], label: int, box: Box) -> tuple[str, float]:
    """The plane with most of an object, in nm², and where it cuts its axis, in nm.

    That of the slices, xy, unless another shows `LEAD` times as much: it has the sharpest pixels.
    An object that is too large to look at is cut in the middle, across the shortest side of its box.
    """
    size = labels[0].voxel_nm
    low = [corner_nm(labels[0], a) for a in range(3)]
    best: dict[str, tuple[float, float]] = {}
    for volume in labels:
        shrink, nm = volume.reduction, volume.voxel_nm
        start = [a // r for a, r in zip(box.start, shrink, strict=True)]
        stop = [min(-(-b // r), n) for b, r, n in zip(box.stop, shrink, volume.shape, strict=True)]
        here = Box(zyx(start), zyx(stop))
        if 0 < here.size <= MOST_VOXELS:
            solid = volume.read(here) == label
            for plane, axes in PLANES.items():
                cut = across(plane)
                shown = solid.sum(axis=axes)
                at = low[cut] + (here.start[cut] + int(shown.argmax()) + 0.5) * nm[cut]
                best[plane] = (float(shown.max()) * nm[axes[0]] * nm[axes[1]], at)
            break
    else:
        for plane, axes in PLANES.items():
            cut = across(plane)
            at = low[cut] + (box.start[cut] + box.stop[cut]) / 2 * size[cut]
            best[plane] = (math.prod(box.shape[a] * size[a] for a in axes), at)
    plane = max(best, key=lambda p: best[p][0] * (LEAD if p == "xy" else 1.0))
    return plane, best[plane][1]


def _rim(inside: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Pixels outside an object that touch it, so that small objects stay visible."""
    wide = np.pad(inside, 1)
    near = wide[:-2, 1:-1] | wide[2:, 1:-1] | wide[1:-1, :-2] | wide[1:-1, 2:]
    rim: np.ndarray[Any, Any] = near & ~inside
    return rim


def jpeg(picture: np.ndarray[Any, Any]) -> str:
    """A data URI of a picture (rows, columns, 3), 0 to 255."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(np.rint(picture).astype(np.uint8)).save(out, "JPEG", quality=80, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()


def bars(values: np.ndarray[Any, Any], count: int = 28) -> str:
    """A path of the heights of a histogram in a box of 100 by 26; '' if nothing is finite.

    The bars reach over the middle 99 % of the values; what lies beyond stands in the first and last.
    """
    values = values[np.isfinite(values)]
    if not len(values):
        return ""
    low, high = span(values)
    heights = np.histogram(np.clip(values, low, high), count, (low, high))[0] / 1.0
    heights *= 26 / heights.max()
    width = 100 / count
    parts = [
        f"M{i * width:.1f} 26V{26 - h:.1f}H{(i + 1) * width:.1f}V26Z" for i, h in enumerate(heights) if h
    ]
    return "".join(parts)


def span(values: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Where the bars of finite values begin and end: around the middle 99 %, wider than nothing."""
    low, high = (float(v) for v in np.percentile(values, [0.5, 99.5]))
    if math.isclose(low, high, rel_tol=1e-12, abs_tol=1e-300):
        return low - 0.5, high + 0.5
    return low, high
