"""A duct and the cells around it: sections along it, and where each cell lies in its section."""

from __future__ import annotations

import math

import numpy as np

from chunkflow_liver.geometry import Nm
from chunkflow_liver.kernels.rows import Rows, grouped
from chunkflow_liver.xp import Array

SECTION, CELL = ("section",), ("label",)
STEP_NM = 1 / 16
"""Lengths are added as whole multiples of this, in nm."""
WAYS = {"least": np.minimum, "most": np.maximum}
"""How rows of one cell come together where they are not added."""
PLACES = ("sum_z", "sum_y", "sum_x")


def no_sections() -> Rows:
    """No sections."""
    return {name: np.zeros(0, np.int64) for name in (*SECTION, "lumen", "wall", "border", *PLACES)}


def no_cells() -> Rows:
    """No cells."""
    sums = ("voxels", "reached", "along", *PLACES, "border", "least", "most")
    return {"label": np.zeros(0, np.uint64)} | {name: np.zeros(0, np.int64) for name in sums}


def section_sums(
    lumen: Array, cells: Array, along: Array, ends: Array, start: tuple[int, int, int], step_nm: float
) -> Rows:
    """Voxels of every section, and the place of its lumen.

    Parameters
    ----------
    lumen : ndarray of shape (Z, Y, X), bool
    cells : ndarray of shape (Z, Y, X), integer
        The cells of the wall.
    along : ndarray of shape (Z, Y, X), float32
        Length along the duct, in nm; infinite beyond it.
    ends : ndarray of shape (Z, Y, X), bool
        Voxels beside which nothing is known.
    start : tuple of int
        First voxel, in the volume.
    step_nm : float
        Length of a section.

    Returns
    -------
    dict of ndarray of shape (s,), int64
        `section` (from 0), voxels of `lumen`, of `wall` and of both at the `border`, and sums of the places
        of lumen voxels.
    """
    at = np.nonzero((lumen | (cells > 0)) & np.isfinite(along))
    inside = lumen[at].astype(np.int64)
    rows: Rows = {"section": (along[at].astype(np.float64) // step_nm).astype(np.int64)}
    rows |= {"lumen": inside, "wall": 1 - inside, "border": ends[at].astype(np.int64)}
    rows |= {name: (p + s) * inside for name, p, s in zip(PLACES, at, start, strict=True)}
    return grouped(rows, SECTION)


def cell_sums(cells: Array, along: Array, away: Array, ends: Array, start: tuple[int, int, int]) -> Rows:
    """Sums over the voxels of every cell.

    Parameters
    ----------
    cells, along, ends, start
        As for `section_sums`.
    away : ndarray of shape (Z, Y, X), float32
        Distance to the lumen, in nm.

    Returns
    -------
    dict of ndarray of shape (n,)
        `label` (uint64), `voxels`, `reached` (with both lengths), of those `along` (sum), sums of places,
        voxels at the `border`, `least` and `most` distance to the lumen, all lengths in `STEP_NM`; int64.
    """
    at = np.nonzero(cells)
    known = np.isfinite(along[at]) & np.isfinite(away[at])
    lengths = [np.rint(np.where(known, given[at], 0) / STEP_NM).astype(np.int64) for given in (along, away)]
    never = np.iinfo(np.int64)
    rows: Rows = {
        "label": cells[at].astype(np.uint64),
        "voxels": np.ones(len(known), np.int64),
        "reached": known.astype(np.int64),
        "along": lengths[0],
        "border": ends[at].astype(np.int64),
        "least": np.where(known, lengths[1], never.max),
        "most": np.where(known, lengths[1], never.min),
    }
    rows |= {name: (p + s) * known for name, p, s in zip(PLACES, at, start, strict=True)}
    return grouped(rows, CELL, WAYS)


def describe_sections(rows: Rows, step_nm: float, voxel_nm: Nm) -> dict[str, Array]:
    """Radius and wall of every section.

    Returns
    -------
    dict of ndarray of shape (s,)
        `from_nm`, `to_nm` (length along the duct), `lumen_um3`, `wall_um3`, the centre of the lumen `z_nm`,
        `y_nm`, `x_nm` (from the volume's corner; NaN without one), `length_nm` (of the line through the
        centres), `radius_nm` (of a disk with the area of the lumen), `thickness_nm` (of a ring around it with
        that of the wall), `touches_border` (its lumen or wall does: both are of what is known). The lengths
        are NaN unless two sections lie before and after it: those at the ends are not whole.

    Notes
    -----
    A section's area is its volume over the length that its centre goes (Pappus): it does not matter that
    paths are a little longer than straight, or cut the corner of a bend.
    """
    volume = math.prod(voxel_nm)
    lumen, wall = rows["lumen"] * volume, rows["wall"] * volume
    section, count = rows["section"], np.where(rows["lumen"] > 0, rows["lumen"], np.nan)
    found = {
        "from_nm": section * step_nm,
        "to_nm": (section + 1) * step_nm,
        "lumen_um3": lumen / 1e9,
        "wall_um3": wall / 1e9,
    }
    for a, side in zip("zyx", voxel_nm, strict=True):
        found[f"{a}_nm"] = (rows[f"sum_{a}"] / count + 0.5) * side
    length = np.full(len(section), np.nan)
    centres = np.stack([found[f"{a}_nm"] for a in "zyx"], 1)
    apart = np.linalg.norm(np.diff(centres, axis=0), axis=1)
    follows = np.diff(section) == 1
    for k in range(2, len(section) - 2):
        if follows[k - 2 : k + 2].all():
            length[k] = (apart[k - 1] + apart[k]) / 2
    radius = np.sqrt(lumen / (math.pi * length))
    thickness = np.sqrt((lumen + wall) / (math.pi * length)) - radius
    lengths = {"length_nm": length, "radius_nm": radius, "thickness_nm": thickness}
    return found | lengths | {"touches_border": rows["border"] > 0}


def around(centres: Array, section: Array, places: Array) -> Array:
    """Angle of places around the line through the centres of sections, in degrees from 0 to 360.

    Parameters
    ----------
    centres : ndarray of shape (s, 3), float64
        Of sections that follow each other, in nm; two or more.
    section : ndarray of shape (n,), int64
        Section of each place, as a row of `centres`.
    places : ndarray of shape (n, 3), float64

    Returns
    -------
    ndarray of shape (n,), float64
        Seen along the line, clockwise or not as the axes z, y, x have it. The direction of 0 does not turn
        around the line from section to section.
    """
    ends = np.arange(len(centres))
    axis = centres[np.minimum(ends + 1, len(centres) - 1)] - centres[np.maximum(ends - 1, 0)]
    axis /= np.linalg.norm(axis, axis=1)[:, None]
    zero = np.zeros_like(axis)
    last = np.eye(3)[int(np.argmin(np.abs(axis[0])))]
    for k, own in enumerate(axis):
        last = last - (last @ own) * own
        last = zero[k] = last / np.linalg.norm(last)
    away = places - centres[section]
    side = np.cross(axis, zero)[section]
    angle = np.degrees(np.arctan2((away * side).sum(1), (away * zero[section]).sum(1)))
    return np.asarray(angle % 360)
