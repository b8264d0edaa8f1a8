"""What a narrowing is: a constriction, two bodies that touch in one label, or made by the volume's face."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chunkflow_liver.geometry import NM_PER_UM, Box, Nm
from chunkflow_liver.xp import Array

CONSTRICTION, BODIES, FACE = range(3)
KINDS = ("constriction", "two bodies", "face of the volume")
"""By number, as tables name them."""
SHARP = 1.5
"""Least `sharpness` of two bodies: half as much again as that of a catenoid, the neck of least surface.

In three volumes of UroCell 4 of the 6 narrowings above it lie in objects that experts flag as contacting, and
14 of the 44 below.
"""


def sharpness(narrow: dict[str, Array]) -> Array:
    """Curvature of the outline along the object times the neck's radius, (k,): none of a cylinder."""
    return np.asarray(narrow["curvature_per_um"] * narrow["width_nm"] / (2 * NM_PER_UM))


def kinds_of(
    narrow: dict[str, Array], box: Box, known: Box, voxel_nm: Nm, cuts: Sequence[Array] = ()
) -> Array:
    """What each narrowing is, as a number of `KINDS`.

    Parameters
    ----------
    narrow : dict of ndarray of shape (k,)
        What `find_narrowings` gives, in nm from the first corner of `box`.
    box : Box
        Of the object, in the volume.
    known : Box
        What was looked at; an axis of one voxel has no faces.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.
    cuts : sequence of three ndarray of int, optional
        Planes along each axis, in voxels from the first of `box`, in which a mask cuts the object.

    Returns
    -------
    ndarray of shape (k,), int8

    Notes
    -----
    A narrowing nearer than half its flank's width to a face that cuts the object may be the cut's: sections
    there miss a part. Two round bodies that touch meet in a groove that is sharp beside its radius, which a
    constriction is not (`sharpness`); what is not known to be sharp, as on the straight axis, counts as a
    constriction.
    """
    found = np.where(np.nan_to_num(sharpness(narrow)) >= SHARP, BODIES, CONSTRICTION).astype(np.int8)
    for axis, name in enumerate("zyx"):
        if known.shape[axis] == 1:
            continue
        at = narrow[f"{name}_nm"]
        reach = np.nan_to_num(narrow["flank_width_nm"]) / 2
        long = box.shape[axis] * voxel_nm[axis]
        if box.start[axis] <= known.start[axis]:
            found[at < reach] = FACE
        if box.stop[axis] >= known.stop[axis]:
            found[long - at < reach] = FACE
        for plane in cuts[axis] if cuts else ():
            found[np.abs(at - plane * voxel_nm[axis]) < reach] = FACE
    return found
