"""Shortest paths through regions of a volume, block by block: the same lengths however it is cut."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import Nm
from chunkflow_liver.xp import Array

REACH = 2
"""Voxels that a step goes along an axis at most, and the halo that a block needs."""
FAR = 2**32 - 1
"""Length in whole units of what no path leads to."""
START = -1
"""In regions: where paths begin."""

_FINE = 1 << 10


@dataclass(frozen=True)
class Steps:
    """The steps that paths are made of.

    Attributes
    ----------
    offsets : ndarray of shape (K, 3), int64
        Along (z, y, x): to all voxels within `REACH` that no other voxel lies in front of, 98.
    lengths : ndarray of shape (K,), int64
        In whole units.
    between : ndarray of shape (K, 4, 3), int64
        Voxels that a step passes between; the last is repeated.
    most : ndarray of shape (K,), int64
        How many those are, 0 for the 26 neighbours.
    unit_nm : float
        Length of a unit: a 1024th of the smallest voxel side, so that steps are off by 0.05 % at most.
    longest : float
        How many times its straight length a path may have where nothing is in its way.
    """

    offsets: Array
    lengths: Array
    between: Array
    most: Array
    unit_nm: float
    longest: float


@lru_cache
def steps_of(voxel_nm: Nm) -> Steps:
    """The steps between voxels of a size.

    Parameters
    ----------
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.

    Raises
    ------
    ConfigError
        If a voxel size is not positive.

    Notes
    -----
    Straight lines between two steps become both of them by turns, which is longer: most in the middle of the
    three that span the widest cone. What a path of unit length reaches is the convex hull of all steps
    divided by their lengths; the largest factor is one over the radius of the ball in it. With cubic voxels
    that is 4.9 % (12.8 % with the 26 neighbours alone), and more the longer voxels are than wide.

    References
    ----------
    .. [1] Borgefors, Distance transformations in arbitrary dimensions, CVGIP 27 (1984) 321-345,
       doi:10.1016/0734-189X(84)90035-5
    """
    from scipy.spatial import ConvexHull

    if min(voxel_nm) <= 0:
        raise ConfigError(f"paths need positive voxel sizes, got {voxel_nm} nm")
    sides = range(-REACH, REACH + 1)
    offsets = np.array([d for d in itertools.product(sides, repeat=3) if math.gcd(*d) == 1])
    straight = np.sqrt(((offsets * np.array(voxel_nm)) ** 2).sum(1))
    unit_nm = min(voxel_nm) / _FINE
    between, most = np.zeros((len(offsets), 4, 3), np.int64), np.zeros(len(offsets), np.int64)
    for k, offset in enumerate(offsets.tolist()):
        if max(map(abs, offset)) > 1:
            # Half way the straight line lies in one voxel, on the face of two, or on the edge of four.
            halves = [sorted({math.floor(d / 2), math.ceil(d / 2)}) for d in offset]
            passed = list(itertools.product(*halves))
            most[k] = len(passed)
            between[k] = [passed[min(i, len(passed) - 1)] for i in range(4)]
    hull = ConvexHull(offsets * np.array(voxel_nm) / straight[:, None])
    longest = 1 / float((-hull.equations[:, 3]).min())
    return Steps(offsets, np.rint(straight / unit_nm).astype(np.int64), between, most, unit_nm, longest)


def regions(labels: Array, starts: Array) -> Array:
    """Regions as `shorten` takes them.

    Parameters
    ----------
    labels : ndarray of shape (Z, Y, X), integer or bool
        Paths stay within one label; 0 is no way.
    starts : ndarray of shape (Z, Y, X), bool
        Where paths begin, whatever the label.

    Returns
    -------
    ndarray of shape (Z, Y, X), int32
        The labels, or their ranks where they do not fit; `START` where paths begin.
    """
    if labels.dtype.kind == "u" and labels.dtype.itemsize >= 4 and int(labels.max(initial=0)) >= 1 << 31:
        values = np.unique(labels[labels != 0])
        labels = np.where(labels != 0, np.searchsorted(values, labels) + 1, 0)
    found = labels.astype(np.int32)
    found[starts] = START
    return found


def shorten(region: Array, total: Array, seeds: Array, steps: Steps) -> None:
    """Shorten the paths in a block as far as steps within it can.

    Parameters
    ----------
    region : ndarray of shape (Z, Y, X), int32
        From `regions`, with a halo of `REACH`.
    total : ndarray of shape (Z, Y, X), uint32
        Length of the shortest path known to every voxel, in units of `steps`, `FAR` without one. Changed in
        place, in the halo, too.
    seeds : ndarray of shape (Z, Y, X), bool
        Voxels whose lengths may make others shorter.
    steps : Steps

    Raises
    ------
    ConfigError
        If a path is too long for its type: 4e6 voxel sides.

    Notes
    -----
    A step from a voxel of a region leads to a voxel of that region, one from a start into any. Lengths are
    whole and every step has one, so there is one answer that no step shortens: the lengths of shortest paths.
    Blocks that are done again whenever a neighbour changed come to it in any order.
    """
    from chunkflow_liver.kernels.distance.geodesic_loops import relax

    wide = [n + 2 * REACH for n in region.shape]
    inner = tuple(slice(REACH, -REACH) for _ in range(3))
    walled, lengths = np.zeros(wide, np.int32), np.full(wide, FAR, np.uint32)
    walled[inner], lengths[inner] = region, total
    strides = np.array([wide[1] * wide[2], wide[2], 1])
    where = np.nonzero(seeds)
    first = np.stack(where, 1).astype(np.int64) @ strides + REACH * int(strides.sum())
    # Sorted, each rises no farther than where it is.
    first = first[np.argsort(total[where], kind="stable")]
    fits = relax(
        walled.reshape(-1),
        lengths.reshape(-1),
        first,
        steps.offsets @ strides,
        steps.lengths,
        steps.between @ strides,
        steps.most,
        FAR,
    )
    if not fits:
        raise ConfigError(
            f"a path is longer than {FAR * steps.unit_nm / 1e6:.3g} mm; take a coarser level, whose units "
            "are larger"
        )
    total[...] = lengths[inner]
