"""Where an object is narrow: minima of the width along its centre line, or the narrowest straight slice."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import NM_PER_UM, Nm
from chunkflow_liver.kernels.centreline.line import Branch, Centreline
from chunkflow_liver.kernels.centreline.sections import pitch_nm
from chunkflow_liver.kernels.centreline.widths import (
    RESOLVED,
    smoothed,
    voxel_across_nm,
    voxel_along_nm,
    width_profile,
)
from chunkflow_liver.xp import Array

Narrowings = dict[str, Array]
"""One row per narrowing, sorted by branch and position; see `find_narrowings`."""

COLUMNS = {
    "branch": np.int64,
    "position_nm": np.float64,
    "z_nm": np.float64,
    "y_nm": np.float64,
    "x_nm": np.float64,
    "width_nm": np.float64,
    "width_voxels": np.float64,
    "neck_length_nm": np.float64,
    "neck_length_voxels": np.float64,
    "resolved": np.bool_,
    "width_ratio": np.float64,
    "prominence_nm": np.float64,
    "flank_width_nm": np.float64,
    "curvature_per_um": np.float64,
    "bend_per_um": np.float64,
    "branch_length_nm": np.float64,
}

# The bottom of a narrowing, up to this share of its prominence, gives its place and width.
_BOTTOM = 0.3


@dataclass(frozen=True)
class Neck:
    """What counts as a narrowing.

    Attributes
    ----------
    min_prominence_nm : float, optional
        Least rise of the width on both sides; twice the side of a cube of a voxel's volume by default.
    max_ratio : float
        Largest width relative to the lower of the two maxima beside it; on the major axis, largest area
        relative to the median area.
    slices : int
        On the major axis: slices of equal thickness from end to end of the object.
    end_fraction : float
        On the major axis: share of the slices at either end that are left out.
    crop_voxels : int
        Objects are taken whole: those with a larger bounding box are left out and marked `too_large`.
    """

    min_prominence_nm: float | None = None
    max_ratio: float = 0.8
    slices: int = 20
    end_fraction: float = 0.1
    crop_voxels: int = 1 << 25

    def __post_init__(self) -> None:
        if not 0 < self.max_ratio <= 1:
            raise ConfigError(f"max_ratio must be above 0 and at most 1, got {self.max_ratio!r}")
        least = self.min_prominence_nm
        if least is not None and not (math.isfinite(least) and least > 0):
            raise ConfigError(f"min_prominence_nm must be positive and finite, got {least!r}")
        if self.crop_voxels < 1:
            raise ConfigError(f"crop_voxels must be 1 or more, got {self.crop_voxels!r}")
        if not (self.slices >= 3 and 0 <= self.end_fraction < 0.5):
            raise ConfigError(
                f"the major axis needs 3 slices or more and less than half of them left out at an end, got "
                f"{self.slices!r} and {self.end_fraction!r}"
            )

    def least_rise_nm(self, voxel_nm: Nm) -> float:
        """Least prominence on voxels of `voxel_nm`: the one given, or what is meant without one."""
        least = self.min_prominence_nm
        return 2 * pitch_nm(voxel_nm) if least is None else float(least)


def find_narrowings(line: Centreline, voxel_nm: Nm, neck: Neck) -> Narrowings:
    """The narrowings of one object along its centre line.

    Parameters
    ----------
    line : Centreline
        What `centreline` gives.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.
    neck : Neck
        What counts.

    Returns
    -------
    dict of ndarray of shape (k,)
        `branch` (row of `line.branches`), `position_nm` (from the start of the branch), `z_nm, y_nm,
        x_nm` (on the centre line, as in `line`), `width_nm` (least `width_profile` there),
        `width_voxels` (the same over the largest side of a voxel across the line, `voxel_across_nm`),
        `neck_length_nm` (how far along the line the width is less than half its rise above the least),
        `neck_length_voxels` (the same over the side of a voxel along the line, `voxel_along_nm`), `resolved`
        (whether both are `RESOLVED` voxels or more [1]_), `width_ratio` (to the lower flank),
        `prominence_nm` (lower flank minus width), `flank_width_nm` (the lower of the two maxima beside
        it), `curvature_per_um` (of the outline along the object: second derivative of the radius),
        `bend_per_um` (curvature of the centre line), `branch_length_nm`.

    Notes
    -----
    A flank is the largest width between the narrowing and the next place that is as narrow, or the end
    of the branch. Tips have no flank beyond them, so the taper of an end is none, and a narrowing nearer
    to a tip than half its flank's width is left out. Minima and flanks are those of the `smoothed` widths.

    References
    ----------
    .. [1] Shannon, Communication in the presence of noise, Proc. IRE 37 (1949),
       doi:10.1109/JRPROC.1949.232969
    """
    rows = [
        (i, *row)
        for i, branch in enumerate(line.branches)
        for row in _of_branch(branch, line, voxel_nm, neck)
    ]
    columns = zip(*rows, strict=True) if rows else ((),) * len(COLUMNS)
    return {name: np.array(c, kind) for (name, kind), c in zip(COLUMNS.items(), columns, strict=True)}


def _of_branch(branch: Branch, line: Centreline, voxel_nm: Nm, neck: Neck) -> list[tuple[float, ...]]:
    from scipy.signal import find_peaks

    at = branch.position_nm
    sections = width_profile(branch, line)
    width = smoothed(sections)
    voxel = voxel_across_nm(branch.tangents, voxel_nm)
    bottoms, found = find_peaks(-width, prominence=neck.least_rise_nm(voxel_nm), plateau_size=0)
    rows = []
    for i, prominence in zip(bottoms.tolist(), found["prominences"].tolist(), strict=True):
        flank = float(width[i] + prominence)
        tips = [e for node, e in ((branch.start, at[0]), (branch.stop, at[-1])) if line.degree[node] == 1]
        if width[i] > neck.max_ratio * flank or any(abs(at[i] - e) < flank / 2 for e in tips):
            continue
        part = _bottom(width, i, float(prominence))
        low, high = _around(width, i, width[i] + prominence / 2)
        long = float(at[high] - at[low])
        voxels_long = long / float(voxel_along_nm(branch.tangents[i : i + 1], voxel_nm)[0])
        position, sharpness = _parabola(at, width, i, part)
        bottom = float(sections[part].min())
        point = [float(np.interp(position, at, branch.points_nm[:, a])) for a in range(3)]
        bend = float(np.interp(position, at, _bend(branch)))
        rows.append(
            (
                position,
                *point,
                bottom,
                bottom / voxel[i],
                long,
                voxels_long,
                bottom / voxel[i] >= RESOLVED and voxels_long >= RESOLVED,
                bottom / flank,
                flank - bottom,
                flank,
                sharpness / 2 * NM_PER_UM,
                bend * NM_PER_UM,
                float(at[-1]),
            )
        )
    return rows


def _bottom(width: Array, i: int, prominence: float) -> slice:
    """The rows of the bottom of a narrowing."""
    low, high = _around(width, i, width[i] + _BOTTOM * prominence)
    # Five points at least: fewer say nothing about the place between them.
    return slice(max(0, min(low, i - 2)), min(len(width), max(high, i + 2) + 1))


def _around(width: Array, i: int, level: float) -> tuple[int, int]:
    """The first and last row of those around `i` whose width is at most `level`."""
    low = high = i
    while low > 0 and width[low - 1] <= level:
        low -= 1
    while high < len(width) - 1 and width[high + 1] <= level:
        high += 1
    return low, high


def _parabola(at: Array, width: Array, i: int, part: slice) -> tuple[float, float]:
    """Place and second derivative of the parabola through the bottom of a narrowing."""
    place = at[part] - at[i]
    reach = float(np.abs(place).max())
    if len(np.unique(place)) < 3:
        return float(at[i]), 0.0
    # Of places between -1 and 1, so that the fit is well conditioned.
    a, b, _ = np.polyfit(place / reach, width[part], 2).tolist()
    if a <= 0:
        return float(at[i]), 0.0
    shift = float(np.clip(-b / (2 * a) * reach, place[0], place[-1]))
    return float(at[i]) + shift, 2 * a / reach**2


def _bend(branch: Branch) -> Array:
    """Curvature of the centre line at each point, per nm."""
    step = branch.length_nm / (len(branch.points_nm) - 1)
    return np.linalg.norm(np.gradient(branch.tangents, max(step, 1e-9), axis=0), axis=1)


def major_line(mask: Array, voxel_nm: Nm, slices: int) -> Centreline:
    """The straight line along the longest axis of one object, with the areas of slices across it.

    Parameters
    ----------
    mask : ndarray of shape (Z, Y, X), bool
        The object.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.
    slices : int
        Slices of equal thickness from end to end.

    Returns
    -------
    Centreline
        One branch with a point in the middle of every slice; `area_nm2` is the volume of the slice over
        its thickness, `inscribed_nm` NaN.

    Notes
    -----
    The axis is the first eigenvector of the covariance of the voxels' centres, through their centroid. For
    bent and branched objects slices are no cross-sections.
    """
    points = (np.argwhere(mask) + 0.5) * np.array(voxel_nm)
    middle = points.mean(0)
    axis = np.linalg.eigh(np.cov((points - middle).T, bias=True))[1][:, -1]
    axis = axis * (-1.0 if axis[np.abs(axis).argmax()] < 0 else 1.0)
    along = (points - middle) @ axis
    low, thickness = float(along.min()), float(np.ptp(along)) / slices
    if thickness > 0:
        index = np.minimum(((along - low) / thickness).astype(np.int64), slices - 1)
        area = np.bincount(index, minlength=slices) * (math.prod(voxel_nm) / thickness)
    else:
        area = np.zeros(slices)
    places = middle + (low + (np.arange(slices) + 0.5) * thickness)[:, None] * axis
    branch = Branch(0, 1, places, np.tile(axis, (slices, 1)), area, np.full(slices, np.nan))
    return Centreline(places[[0, -1]], np.ones(2, np.int64), (branch,))


def narrowest_slice(line: Centreline, voxel_nm: Nm, neck: Neck) -> Narrowings:
    """The narrowest slice of a `major_line`, if it is narrow: the definition of the liver study.

    Parameters
    ----------
    line : Centreline
        What `major_line` gives.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.
    neck : Neck
        `max_ratio` and `end_fraction` count.

    Returns
    -------
    dict of ndarray of shape (0,) or (1,)
        The columns of `find_narrowings`: `position_nm` from the middle of the first slice, `width_ratio`
        the *area* over the median area of the slices that are not empty; what the definition does not
        know is NaN.

    Notes
    -----
    For comparison only. There is no condition on either side, so that most ellipsoids have a "narrowing"
    at the end of the range; empty slices, which thin slices may be, do not count.
    """
    (branch,) = line.branches
    area = branch.area_nm2
    if not area.any():
        return {name: np.zeros(0, kind) for name, kind in COLUMNS.items()}
    left_out = round(neck.end_fraction * len(area))
    inner = np.where(area > 0, area, np.inf)[left_out : len(area) - left_out]
    at = int(inner.argmin()) + left_out
    ratio = float(inner.min() / np.median(area[area > 0]))
    if not ratio <= neck.max_ratio:
        return {name: np.zeros(0, kind) for name, kind in COLUMNS.items()}
    voxels = float(branch.width_nm[at] / voxel_across_nm(branch.tangents[at : at + 1], voxel_nm)[0])
    row = dict.fromkeys(COLUMNS, math.nan) | {
        "branch": 0,
        "position_nm": float(branch.position_nm[at]),
        **{f"{a}_nm": float(branch.points_nm[at, i]) for i, a in enumerate("zyx")},
        "width_nm": float(branch.width_nm[at]),
        "width_voxels": voxels,
        "resolved": voxels >= RESOLVED,
        "width_ratio": ratio,
        "branch_length_nm": branch.length_nm,
    }
    return {name: np.array([row[name]], kind) for name, kind in COLUMNS.items()}
