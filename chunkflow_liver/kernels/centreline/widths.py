"""The width of an object along its centre line, for all that is said of it."""

from __future__ import annotations

import numpy as np

from chunkflow_liver.geometry import Nm
from chunkflow_liver.kernels.centreline.line import Branch, Centreline
from chunkflow_liver.kernels.centreline.sections import across
from chunkflow_liver.xp import Array

RESOLVED = 2.0
"""Voxels across what is resolved: the two samples of the sampling theorem."""
# Round a branch point, up to this multiple of the radius there, sections reach into other branches.
_JUNCTION = 1.5


def width_profile(branch: Branch, line: Centreline) -> Array:
    """The width of an object at every point of a branch.

    Parameters
    ----------
    branch : Branch
        One of `line.branches`.
    line : Centreline

    Returns
    -------
    ndarray of shape (n,), float64
        Diameter of the circle with the area of the cross-section, in nm; round a branch point, where
        sections reach into the other branches, at most that of the largest sphere inside, times what
        the one is of the other where the branch comes out (more than 1 in a flat branch).

    """
    width = branch.width_nm
    for node, end in ((branch.start, 0), (branch.stop, -1)):
        if line.degree[node] > 2:
            reach = _JUNCTION * branch.inscribed_nm[end]
            away = np.abs(branch.position_nm - branch.position_nm[end])
            out = int(np.where(away > reach, away, np.inf).argmin())
            sphere = 2 * branch.inscribed_nm
            flat = max(1.0, width[out] / max(sphere[out], 1e-9)) if (away > reach).any() else 1.0
            width = np.where(away <= reach, np.minimum(width, flat * sphere), width)
    return width


def smoothed(width: Array) -> Array:
    """A width profile without the noise of single sections: a Gaussian of one step.

    Notes
    -----
    It fills a minimum by half the second derivative times the square of the step, 5 to 15 nm in necks of
    100 nm on voxels of 16 to 40 nm: for finding minima, not for what they measure.
    """
    from scipy.ndimage import gaussian_filter1d

    return np.asarray(gaussian_filter1d(width, 1.0, mode="nearest"))


def inner_widths(branch: Branch, line: Centreline) -> tuple[Array, Array, Array]:
    """Widths of a branch away from its tips, the length of line that each stands for, in nm, and their rows.

    Notes
    -----
    Half the largest width is left out at every tip, where an object is thin whatever its form.
    """
    at, width = branch.position_nm, width_profile(branch, line)
    end = float(width.max()) / 2
    low = end if line.degree[branch.start] == 1 else 0.0
    high = at[-1] - (end if line.degree[branch.stop] == 1 else 0.0)
    inner = (at >= low) & (at <= high)
    if not inner.any():
        # Shorter than it is wide: the middle is all there is.
        inner = np.arange(len(at)) == len(at) // 2
    return width[inner], np.gradient(at)[inner], np.flatnonzero(inner)


def voxel_across_nm(tangents: Array, voxel_nm: Nm) -> Array:
    """Largest side of a voxel across a line, in nm.

    Parameters
    ----------
    tangents : ndarray of shape (n, 3), float64
        Unit vectors along the line.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.

    Returns
    -------
    ndarray of shape (n,), float64
        The longer half axis of the section, normal to the tangent, of the ellipsoid with half axes
        `voxel_nm`: that of z for a line in the plane, the larger one of y and x for a line along z.
    """
    plane = np.stack(across(tangents), 1)
    form = (plane / np.square(voxel_nm)) @ plane.transpose(0, 2, 1)
    return np.asarray(1 / np.sqrt(np.linalg.eigvalsh(form)[:, 0]))


def voxel_along_nm(tangents: Array, voxel_nm: Nm) -> Array:
    """Side of a voxel along a line, in nm.

    Parameters
    ----------
    tangents : ndarray of shape (n, 3), float64
        Unit vectors along the line.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.

    Returns
    -------
    ndarray of shape (n,), float64
        Half the ellipsoid's chord along the tangent, of the ellipsoid with half axes `voxel_nm`.
    """
    return np.asarray(1 / np.linalg.norm(tangents / np.array(voxel_nm), axis=1))
