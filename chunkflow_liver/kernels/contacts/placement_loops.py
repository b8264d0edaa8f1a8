"""Compiled: an object laid at random places, where nothing forbids it, and its gaps to others there.

Whole numbers are places in arrays and sums of areas (`surface_areas`: below 2**63 for 2**39 voxels).
"""

from __future__ import annotations

import math

import numpy as np

from chunkflow_liver.kernels.compiled import compiled
from chunkflow_liver.xp import Array


@compiled
def at_home(
    solid: tuple[Array, Array, Array],
    middle: Array,
    ground: tuple[Array, Array, int, Array, float, Array],
    turn: Array,
    fields: Array,
    limits: Array,
    areas: Array,
    nearest: Array,
) -> tuple[int, int]:
    """Write areas by gap and the nearest gap of the object where it is, into the first row of both.

    Returns
    -------
    int
        How many of its voxels lie where none may.
    int
        The shell that its middle lies in.
    """
    voxels, surface, area = solid
    turn[:] = 0.0
    for a in range(3):
        turn[a, a] = 1.0
    allowed = _forbidden(voxels, turn, middle, ground, len(voxels), 0)
    _measure(surface, area, turn, middle, fields, limits, areas[0], nearest[0])
    return allowed, _shell(ground[3], ground[4], middle)


@compiled
def lay(
    solid: tuple[Array, Array, Array],
    at: tuple[Array, Array, int, int],
    ground: tuple[Array, Array, int, Array, float, Array],
    way: tuple[Array, Array, bool, Array, int],
    rounds: tuple[int, int, int],
    to: tuple[Array, Array],
    rng: np.random.Generator,
    areas: Array,
    nearest: Array,
) -> int:
    """Write areas by gap and the nearest gap, of the object where chance lays it.

    Parameters
    ----------
    solid : tuple of ndarray
        Voxels (n, 3) and surface voxels (m, 3), float64, from the middle of the object's box, in voxels; and
        the area of the latter, int64.
    at : tuple
        The first place where a middle may lie, and how many there are along each axis, in voxels, ndarray of
        shape (3,), float64 and int64; how many voxels may lie where none may, and the shell (`at_home`).
    ground : tuple
        Window (Z, Y, X), int32: -1 where nothing may lie, above 0 the mark of an object that was laid there;
        window of regions, int32, which may be empty, and the own region; window of distances to keep,
        float32, may be empty, and the depth of the shells in which they are kept; and how many voxels from
        either end of the window on nothing is laid in, (3, 2), int64.
    way : tuple
        Rotations (r, 3, 3) in voxels; voxel size (3,); whether rotations are free instead; work space
        (3, 3); and how often a step is tried.
    rounds : tuple
        First round, from 1 on, and end; and the mark of those that the object keeps off, and which it is
        entered with itself, or 0.
    to : tuple of ndarray
        Squared gaps to the partners, (p, Z, Y, X), uint32, and, ascending, those that steps of a curve end
        at, (g,), int64.
    rng : numpy.random.Generator
    areas : ndarray of shape (1 + k, p, g), int64, zeros
        Filled in the rows of the rounds: area of each step.
    nearest : ndarray of shape (1 + k, p), int64
        Filled: smallest squared gap.

    Returns
    -------
    int
        In how many rounds a place was found, before the first one in which none was.

    Notes
    -----
    All places of the region that are not forbidden are equally likely, by rejection: the own place of an
    object that lies at random is one of them like any other.
    """
    voxels, surface, area = solid
    first, many, allowed, shell = at
    turns, size, free, turn, tries = way
    keep, depth = ground[3], ground[4]
    begin, end, mark = rounds
    place = np.empty(3)
    for k in range(begin, end):
        found = False
        for _ in range(tries):
            for a in range(3):
                place[a] = first[a] + math.floor(rng.random() * many[a])
            if free:
                _any_turn(rng, size, turn)
            else:
                turn[:] = turns[int(rng.random() * len(turns))]
            if keep.size and _shell(keep, depth, place) != shell:
                continue
            if _forbidden(voxels, turn, place, ground, allowed, mark) <= allowed:
                found = True
                break
        if not found:
            return k - begin
        _measure(surface, area, turn, place, to[0], to[1], areas[k], nearest[k])
        if mark > 0:
            _enter(voxels, turn, place, ground[0], mark)
    return end - begin


@compiled
def _forbidden(
    voxels: Array,
    turn: Array,
    middle: Array,
    ground: tuple[Array, Array, int, Array, float, Array],
    most: int,
    mark: int,
) -> int:
    """Voxels that lie where they may not; counting ends above `most`, and on what has the mark."""
    taken, regions, home, _, _, off = ground
    bottom, top, left = off[0, 0], off[1, 0], off[2, 0]
    depth, height, width = taken.shape[0] - off[0, 1], taken.shape[1] - off[1, 1], taken.shape[2] - off[2, 1]
    count = 0
    for i in range(len(voxels)):
        p, q, r = voxels[i, 0], voxels[i, 1], voxels[i, 2]
        z = math.floor(turn[0, 0] * p + turn[0, 1] * q + turn[0, 2] * r + middle[0] + 0.5)
        y = math.floor(turn[1, 0] * p + turn[1, 1] * q + turn[1, 2] * r + middle[1] + 0.5)
        x = math.floor(turn[2, 0] * p + turn[2, 1] * q + turn[2, 2] * r + middle[2] + 0.5)
        if z < bottom or y < top or x < left or z >= depth or y >= height or x >= width:
            # Beyond the volume nothing can be laid, however much of the object is forbidden where it is.
            return len(voxels) + 1
        here = taken[z, y, x]
        if mark > 0 and here == mark:
            return len(voxels) + 1
        if here < 0 or (regions.size > 0 and regions[z, y, x] != home):
            count += 1
            if count > most:
                return count
    return count


@compiled
def _enter(voxels: Array, turn: Array, middle: Array, taken: Array, mark: int) -> None:
    """Enter an object in the window, but where nothing may lie."""
    for i in range(len(voxels)):
        p, q, r = voxels[i, 0], voxels[i, 1], voxels[i, 2]
        z = math.floor(turn[0, 0] * p + turn[0, 1] * q + turn[0, 2] * r + middle[0] + 0.5)
        y = math.floor(turn[1, 0] * p + turn[1, 1] * q + turn[1, 2] * r + middle[1] + 0.5)
        x = math.floor(turn[2, 0] * p + turn[2, 1] * q + turn[2, 2] * r + middle[2] + 0.5)
        if taken[z, y, x] >= 0:
            taken[z, y, x] = mark


@compiled
def _shell(keep: Array, depth: float, middle: Array) -> int:
    """In which shell of the distance that is kept the middle of the object lies; -1 beyond the window."""
    if keep.size == 0:
        return 0
    z, y, x = math.floor(middle[0]), math.floor(middle[1]), math.floor(middle[2])
    if z < 0 or y < 0 or x < 0 or z >= keep.shape[0] or y >= keep.shape[1] or x >= keep.shape[2]:
        return -1
    far = keep[z, y, x] / depth
    return math.floor(far) if far < 1e15 else 1 << 60


@compiled
def _any_turn(rng: np.random.Generator, size: Array, turn: Array) -> None:
    """A rotation of any angle, all equally likely (a random quaternion), in voxels of `size`."""
    u, v, w = rng.random(), 2 * math.pi * rng.random(), 2 * math.pi * rng.random()
    a, b = math.sqrt(1 - u) * math.sin(v), math.sqrt(1 - u) * math.cos(v)
    c, d = math.sqrt(u) * math.sin(w), math.sqrt(u) * math.cos(w)
    turn[0, 0], turn[0, 1], turn[0, 2] = 1 - 2 * (b * b + c * c), 2 * (a * b - c * d), 2 * (a * c + b * d)
    turn[1, 0], turn[1, 1], turn[1, 2] = 2 * (a * b + c * d), 1 - 2 * (a * a + c * c), 2 * (b * c - a * d)
    turn[2, 0], turn[2, 1], turn[2, 2] = 2 * (a * c - b * d), 2 * (b * c + a * d), 1 - 2 * (a * a + b * b)
    for i in range(3):
        for j in range(3):
            turn[i, j] *= size[j] / size[i]


@compiled
def _measure(
    surface: Array,
    area: Array,
    turn: Array,
    middle: Array,
    fields: Array,
    limits: Array,
    areas: Array,
    nearest: Array,
) -> None:
    """Area by step of the gap, and the smallest squared gap, to each partner."""
    partners, depth, height, width = fields.shape
    nearest[:] = np.iinfo(np.int64).max
    for i in range(len(surface)):
        p, q, r = surface[i, 0], surface[i, 1], surface[i, 2]
        z = math.floor(turn[0, 0] * p + turn[0, 1] * q + turn[0, 2] * r + middle[0] + 0.5)
        y = math.floor(turn[1, 0] * p + turn[1, 1] * q + turn[1, 2] * r + middle[1] + 0.5)
        x = math.floor(turn[2, 0] * p + turn[2, 1] * q + turn[2, 2] * r + middle[2] + 0.5)
        z, y, x = min(max(z, 0), depth - 1), min(max(y, 0), height - 1), min(max(x, 0), width - 1)
        for f in range(partners):
            square = np.int64(fields[f, z, y, x])
            nearest[f] = min(nearest[f], square)
            if square > limits[-1]:
                continue
            low, high = 0, len(limits) - 1
            while low < high:
                half = (low + high) // 2
                if limits[half] >= square:
                    high = half
                else:
                    low = half + 1
            areas[f, low] += area[i]
