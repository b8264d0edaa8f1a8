"""Necks that no section of the stack shows: what one section off its place makes of a rod."""

from __future__ import annotations

import numpy as np

from chunkflow_liver.geometry import Nm
from chunkflow_liver.kernels.centreline.line import Branch, Centreline
from chunkflow_liver.xp import Array

BESIDE = 1
"""Sections to either side of a neck in which it may be seen."""
TREND = 3
"""Sections to either side over which the direction of the line is taken."""
STEEP = 0.8
"""Least cosine of the angle to the stack's axis: across it, sections cut what lies beside the neck, too."""
LONGEST = 5.0
"""Voxels along the line that a section off its place makes narrow at most."""
THICKER = 1.3
"""Where even the thinnest section is this many times the neck's area, the neck lies between sections."""


def between_sections(mask: Array, line: Centreline, narrow: dict[str, Array], voxel_nm: Nm) -> Array:
    """Whether each neck is thinner than the object is in every section of the stack beside it.

    Parameters
    ----------
    mask : ndarray of shape (Z, Y, X), bool
        The object.
    line : Centreline
        Its centre line, from the array's first corner.
    narrow : dict of ndarray of shape (k,)
        What `find_narrowings` gives.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.

    Returns
    -------
    ndarray of shape (k,), bool

    Notes
    -----
    A section is the part (8 neighbours) of the plane z nearest to the line there, as seen along the line's
    trend. A neck of the object is one of its sections, too; where a section lies off its place, each is as
    large as ever and only the way from one to the next is narrow. Lines that are not `STEEP` and necks above
    `LONGEST` are not looked at.
    """
    names = ("branch", "position_nm", "width_nm", "neck_length_voxels")
    rows = zip(*(narrow[n].tolist() for n in names), strict=True)
    found = [
        long <= LONGEST and _thinner(mask, line.branches[b], at, width, voxel_nm)
        for b, at, width, long in rows
    ]
    return np.array(found, bool)


def _thinner(mask: Array, branch: Branch, at_nm: float, width_nm: float, voxel_nm: Nm) -> bool:
    from scipy.ndimage import label

    points, z_nm = branch.points_nm, voxel_nm[0]
    row = int(np.abs(branch.position_nm - at_nm).argmin())
    near = np.flatnonzero(np.abs(points[:, 0] - points[row, 0]) <= TREND * z_nm)
    # Only the stretch around the neck, should the line come back.
    begin = row - next((i for i, r in enumerate(range(row, -1, -1)) if r not in near), row + 1) + 1
    end = (
        row + next((i for i, r in enumerate(range(row, len(points))) if r not in near), len(points) - row) - 1
    )
    trend = points[end] - points[begin]
    steep = abs(trend[0]) / max(float(np.linalg.norm(trend)), 1e-9)
    middle = int(points[row, 0] // z_nm)
    if steep < STEEP:
        return False
    least = np.inf
    for z in range(max(0, middle - BESIDE), min(len(mask), middle + BESIDE + 1)):
        parts, count = label(mask[z], np.ones((3, 3)))
        if not count:
            return False
        beside = int(np.abs(points[begin : end + 1, 0] - (z + 0.5) * z_nm).argmin()) + begin
        pixels = np.argwhere(parts)
        away = ((pixels + 0.5) * voxel_nm[1:] - points[beside, 1:]) ** 2
        own = parts[tuple(pixels[int(away.sum(1).argmin())])]
        least = min(least, float((parts == own).sum()) * voxel_nm[1] * voxel_nm[2])
    return bool(least * steep > THICKER * np.pi * width_nm**2 / 4)
