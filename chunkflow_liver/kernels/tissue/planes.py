"""The cells of one slice: a flood of its interior from what was carried to it, over boundary and contours."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.kernels.tissue.carrying import distance_to, edges
from chunkflow_liver.kernels.tissue.flow import opencv
from chunkflow_liver.xp import Array

MODES = ("mask", "boundary", "contours", "selective", "recursive")
LEVELS = 4096
STEPS = 4
"""Levels of the flood: a quarter of a pixel of depth each; deeper than a thousand pixels all is one level."""


@dataclass(frozen=True)
class Cutting:
    """How the cells of a slice are told apart; lengths in nm, areas in um2.

    Attributes
    ----------
    mode : str
        'mask': floods meet at necks of the interior. 'boundary': also where the boundary is, where it lies
        inside. 'contours': also at the contours of the carried cells. 'selective': at these only where no
        boundary is near. 'recursive': as 'selective', and every slice gets the result of the one before.
    core : float
        A marker is what of a carried piece lies deeper than this share of its deepest point.
    near_nm : float
        A boundary nearer than this stands in for a carried contour.
    min_marker_um2 : float
        Carried pieces below this area (their rim not counted) are no markers.
    small_um2 : float
        Parts of the interior below this area are kept apart: pieces, which `protrusions` joins to cells. From
        this area on, what no marker reaches is a cell of its own.
    threshold : float
        Interior and boundary are where their maps reach this share of their range (1, or 255 of uint8).
    """

    mode: str = "selective"
    core: float = 0.5
    near_nm: float = 50.0
    min_marker_um2: float = 0.0
    small_um2: float = 1.0
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ConfigError(f"mode is one of {list(MODES)} or 'volume', got {self.mode!r}")
        for name in ("core", "threshold"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(f"{name} is a share above 0 and up to 1, got {getattr(self, name)!r}")
        for name in ("near_nm", "min_marker_um2", "small_um2"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"{name} must be 0 or more, got {value!r}")

    @property
    def moves(self) -> bool:
        """Whether labels are carried along the motion of the image."""
        return self.mode not in ("mask", "boundary")

    @property
    def walls(self) -> bool:
        """Whether cells are parted by the boundary, if there is one."""
        return self.mode != "mask"


def plane_cells(
    carried: Array, inside: Array, wall: Array | None, cutting: Cutting, *, pixel_nm: float, fresh: int
) -> tuple[Array, int]:
    """The cells of a slice.

    Parameters
    ----------
    carried : ndarray of shape (Y, X), int32
        Cells as they were carried here, 0 is background.
    inside : ndarray of shape (Y, X), bool
        Interior of cells.
    wall : ndarray of shape (Y, X), bool, optional
        Boundary between cells.
    cutting : Cutting
        How.
    pixel_nm : float
        Side of a pixel, in nm.
    fresh : int
        Number of the first cell that was not carried here; larger than all that were.

    Returns
    -------
    cells : ndarray of shape (Y, X), int32
        Of every pixel of the interior its cell; 0 outside, and in small parts.
    new : int
        How many are numbered from `fresh` on, in raster order.

    Notes
    -----
    A flood [1]_ in the order of depth, that of pixels where two cells must not pass last, along 4 neighbours.
    A boundary thicker than a pixel is flooded from both sides and shared at its middle,
    which is its skeleton.

    References
    ----------
    .. [1] Beucher and Meyer, 1993, The morphological approach to segmentation.
    """
    from chunkflow_liver.kernels.tissue.plane_loops import flood

    area = (pixel_nm / 1000) ** 2
    parts, pixels = _parts(inside, 8)
    inside = inside & (pixels * area >= cutting.small_um2)[parts]
    free = inside if wall is None or not cutting.walls else inside & ~wall
    open_ = free
    if cutting.moves:
        contour = edges(carried)
        if wall is not None and cutting.mode != "contours":
            contour &= distance_to(wall) * np.float32(pixel_nm) > cutting.near_nm
        open_ = free & ~contour
    markers = _markers(carried, cutting, area)
    markers[~open_] = 0
    new = _add_new(markers, free, cutting, area, fresh)
    depth = distance_to(~open_)
    level = np.full([n + 2 for n in inside.shape], LEVELS, np.uint16)
    # Pixels of no cut lie lower, the deeper the lower; those of a cut come last.
    steps = np.minimum(np.rint(depth * np.float32(STEPS)), LEVELS - 2).astype(np.uint16)
    level[1:-1, 1:-1] = np.where(inside, np.uint16(LEVELS - 1) - steps, np.uint16(LEVELS))
    labels = np.pad(markers, 1)
    wide = labels.shape[1]
    flood(labels.ravel(), level.ravel(), LEVELS, np.array([-wide, -1, 1, wide]))
    return np.ascontiguousarray(labels[1:-1, 1:-1]), new


def _parts(mask: Array, connectivity: int) -> tuple[Array, Array]:
    """Connected parts (Y, X), int32, of a mask, and the pixels of each, background first."""
    cv2: Any = opencv()
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=connectivity)
    return np.asarray(parts), np.asarray(stats[:count, cv2.CC_STAT_AREA], np.int64)


def _markers(carried: Array, cutting: Cutting, area: float) -> Array:
    """The deep part of every piece of a carried cell."""
    from chunkflow_liver.kernels.tissue.plane_loops import part_peaks

    rim = edges(carried)
    parts, pixels = _parts((carried > 0) & ~rim, 4)
    depth = distance_to(rim)
    peaks = np.zeros(len(pixels), np.float32)
    part_peaks(parts.ravel(), depth.ravel(), peaks)
    # Numbers of no piece: a depth that no pixel has.
    least = np.where(pixels * area >= cutting.min_marker_um2, np.float32(cutting.core) * peaks, np.inf)
    least[0] = np.inf
    return np.where(depth >= least.astype(np.float32)[parts], carried, 0).astype(np.int32)


def _add_new(markers: Array, free: Array, cutting: Cutting, area: float, fresh: int) -> int:
    """Make a marker of every large part of the interior between boundaries that has none; how many."""
    parts, pixels = _parts(free, 4)
    has = np.zeros(len(pixels), bool)
    has[parts[markers > 0]] = True
    new = np.flatnonzero(~has & (pixels * area >= cutting.small_um2))
    new = new[new > 0]
    if not len(new):
        return 0
    numbers = np.zeros(len(pixels), np.int32)
    numbers[_in_order(new, parts)] = fresh + np.arange(len(new), dtype=np.int32)
    found = numbers[parts]
    markers[found > 0] = found[found > 0]
    return len(new)


def small_pieces(inside: Array, cells: Array, *, least: int, most: int) -> tuple[Array, Array]:
    """Pieces of the interior that are in no cell, by size.

    Parameters
    ----------
    inside : ndarray of shape (Y, X), bool
        Interior.
    cells : ndarray of shape (Y, X), integer
        Cells; 0 is none.
    least, most : int
        Pixels of a piece.

    Returns
    -------
    pieces : ndarray of shape (Y, X), int32
        Numbers 1..n of all pieces of `least` pixels or more, in raster order; 8 neighbours.
    large : ndarray of shape (n,), bool
        Which have more than `most`.
    """
    parts, pixels = _parts(inside & (cells == 0), 8)
    keep = pixels >= least
    keep[0] = False
    chosen = np.flatnonzero(keep)
    numbers = np.zeros(len(pixels), np.int32)
    chosen = _in_order(chosen, parts)
    numbers[chosen] = 1 + np.arange(len(chosen), dtype=np.int32)
    return numbers[parts], pixels[chosen] > most


def _in_order(chosen: Array, parts: Array) -> Array:
    """Some numbers of parts, in the raster order of their first pixels."""
    if len(chosen) < 2:
        return chosen
    from chunkflow_liver.kernels.tissue.plane_loops import first_pixels

    first = np.full(int(chosen.max()) + 1, -1)
    first_pixels(parts.ravel(), first)
    return np.asarray(chosen[np.argsort(first[chosen])])
