"""Pairs, dependences and differences of gray levels: integers per object that merge exactly over blocks.

A row counts one key of one object: a direction where there is one, and two numbers of 12 bits (two gray
levels, or a gray level and a number of neighbours).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chunkflow_liver.geometry import Zyx
from chunkflow_liver.kernels.features import Rows, Settings, Sums, View, add_rows
from chunkflow_liver.kernels.texture.levels import Graded, Ranges, grade, half_offsets
from chunkflow_liver.xp import Array, namespace, on_host

BITS = 12
LOW = (1 << BITS) - 1
_SLAB = 1 << 16


def halo(settings: Settings) -> tuple[Zyx, Zyx]:
    """Voxels beyond a block that hold neighbours of its own."""
    n = max(settings.distances)
    return (n, n, n), (n, n, n)


def graded_view(view: View) -> Graded:
    """The gray levels of a block, with a margin as wide as the halo."""
    margin = max(view.settings.distances)
    return grade(view.labels, view.raw, Ranges.of(view.objects), view.settings, margin)


def merge(parts: Sequence[Sums]) -> Sums:
    """The counts of several blocks as one; exact, whatever their order."""
    return {table: add_rows([part[table] for part in parts], ("label", "key")) for table in parts[0]}


def pair_sums(view: View) -> Sums:
    """How often a voxel of the block and a neighbour in its object have which gray levels.

    Parameters
    ----------
    view : View
        A block with the halo `halo`.

    Returns
    -------
    dict
        `pairs`: rows of `label`, `key` (direction, level, neighbour's level; the lower level first where
        pairs count both ways) and `n`, int64. Host arrays.

    Notes
    -----
    Cost follows the voxels of the objects, not of the block: 13 gathers for each of them [1]_.

    References
    ----------
    .. [1] Haralick et al., Textural features for image classification, 1973, doi:10.1109/TSMC.1973.4309314
    """
    graded = view.shared(graded_view)
    xp = namespace(graded.code)
    centres, of = graded.within(view.block.trim)
    steps = _steps(graded, view.settings)
    squares = graded.levels * graded.levels
    before = xp.cumsum(squares) - squares
    total = int(squares.sum())
    # A table of all possible pairs is faster than sorting, as long as it is not larger than the data.
    dense = total * len(steps) <= max(4 * len(centres), 1 << 20)
    counted = xp.zeros((len(steps), total if dense else 0), np.int64)
    sparse: list[list[Array]] = [[] for _ in steps]
    slab = max(_SLAB, total) if dense else _SLAB
    for begin in range(0, len(centres), slab):
        at, own = centres[begin : begin + slab], of[begin : begin + slab]
        code, first, levels = _ranges(graded, at, own)
        row = before[own] + (code - first) * graded.levels[own] - first
        for direction, step in enumerate(steps):
            other = graded.code[at + step]
            key = (row + other)[_inside(other - first, levels)]
            if dense:
                counted[direction] += xp.bincount(key, minlength=total)
            else:
                sparse[direction].append(key)
    parts = []
    for direction in range(len(steps)):
        if dense:
            key = xp.flatnonzero(counted[direction])
            n = counted[direction][key]
        else:
            key, n = xp.unique(xp.concatenate([before[:0], *sparse[direction]]), return_counts=True)
        parts.append(_pair_rows(view, graded, direction, on_host(key), on_host(n)))
    return {"pairs": add_rows(parts, ("label", "key"))}


def _pair_rows(view: View, graded: Graded, direction: int, place: Array, n: Array) -> Rows:
    """Rows of one direction, from places in the table of all possible pairs of all objects."""
    levels = on_host(graded.levels)
    before = np.cumsum(levels * levels) - levels * levels
    of = np.searchsorted(before, place, side="right") - 1
    i, j = np.divmod(place - before[of], np.maximum(levels[of], 1))
    if view.settings.symmetrical_glcm:
        i, j = np.minimum(i, j), np.maximum(i, j)
    return {
        "label": view.objects["label"][of].astype(np.uint64),
        "key": packed(np.full(len(i), direction), i + 1, j + 1),
        "n": n.astype(np.int64),
    }


def dependence_sums(view: View) -> Sums:
    """How many neighbours of a voxel have its gray level, within `gldm_a`.

    Parameters
    ----------
    view : View
        A block with the halo `halo`.

    Returns
    -------
    dict
        `dependences`: rows of `label`, `key` (0, level, number of such neighbours) and `n` [1]_.

    References
    ----------
    .. [1] Sun and Wee, Neighboring gray level dependence matrix, 1983, doi:10.1016/0734-189X(83)90032-4
    """
    code, dependent, _, _ = view.shared(_neighbours)
    return {"dependences": _sizes(view, code, dependent, None)}


def tone_sums(view: View) -> Sums:
    """How far the gray level of a voxel is from the mean of its neighbours.

    Parameters
    ----------
    view : View
        A block with the halo `halo`.

    Returns
    -------
    dict
        `tones`: rows of `label`, `key` (0, level, number of neighbours), `n`, and `sum` of
        |neighbours * level - sum of the neighbours' levels|, a whole number [1]_.

    References
    ----------
    .. [1] Amadasun and King, Textural features corresponding to textural properties, 1989,
       doi:10.1109/21.44046
    """
    code, _, neighbours, differences = view.shared(_neighbours)
    return {"tones": _sizes(view, code, neighbours, abs(differences))}


def _neighbours(view: View) -> tuple[Array, Array, Array, Array]:
    """Of every voxel: its code, numbers of dependent and of all neighbours, sum of their differences."""
    graded = view.shared(graded_view)
    xp = namespace(graded.code)
    centres, of = graded.within(view.block.trim)
    dependent, neighbours = xp.zeros(len(centres), np.int16), xp.zeros(len(centres), np.int16)
    differences = xp.zeros(len(centres), np.int32)
    for begin in range(0, len(centres), _SLAB):
        part = slice(begin, begin + _SLAB)
        at = centres[part]
        code, first, levels = _ranges(graded, at, of[part])
        for step in _steps(graded, view.settings):
            for other in (graded.code[at + step], graded.code[at - step]):
                same = _inside(other - first, levels)
                difference = (other - code) * same
                dependent[part] += same & (abs(difference) <= view.settings.gldm_a)
                neighbours[part] += same
                differences[part] += difference
    return graded.code[centres], dependent, neighbours, differences


def _steps(graded: Graded, settings: Settings) -> list[int]:
    """How far in the flattened block the neighbours lie, one of each opposite two."""
    _, height, width = graded.shape
    return [(z * height + y) * width + x for z, y, x in half_offsets(settings.distances)]


def _ranges(graded: Graded, at: Array, of: Array) -> tuple[Array, Array, Array]:
    """Code of every voxel, first code of its object, and number of codes of its object."""
    return graded.code[at], (graded.base[of] + 1).astype(np.int32), graded.levels[of].astype(np.uint32)


def _inside(above: Array, levels: Array) -> Array:
    """Whether codes, counted from an object's first one, are of this object."""
    # Background and objects before it are negative, which as unsigned numbers is above the range.
    inside: Array = above.view(np.uint32) < levels
    return inside


def _sizes(view: View, code: Array, sizes: Array, weights: Array | None) -> Rows:
    """Voxels, and sum of weights, of every code and size."""
    xp, graded = namespace(code), view.shared(graded_view)
    most = 2 * len(half_offsets(view.settings.distances)) + 1
    place = code.astype(np.int64) * most + sizes
    total = int(place.max()) + 1 if len(place) else 0
    if total <= max(4 * len(place), 1 << 20):
        n = xp.bincount(place, minlength=total)
        seen = xp.flatnonzero(n)
        n = n[seen]
        # Sums of integers below 2**53 are exact as float64.
        sums = None if weights is None else xp.bincount(place, weights, minlength=total)[seen]
    else:
        seen, place = xp.unique(place, return_inverse=True)
        n = xp.bincount(place)
        sums = None if weights is None else xp.bincount(place, weights)
    number, size = np.divmod(on_host(seen), most)
    base = on_host(graded.base)
    of = np.searchsorted(base, number - 1, side="right") - 1
    rows = {
        "label": view.objects["label"][of].astype(np.uint64),
        "key": packed(np.zeros(len(of)), number - base[of], size),
        "n": on_host(n).astype(np.int64),
    }
    return rows if sums is None else rows | {"sum": on_host(sums).astype(np.int64)}


def packed(direction: Array, i: Array, j: Array) -> Array:
    """Key of a direction and two numbers of 12 bits, int64."""
    return (direction.astype(np.int64) << 2 * BITS) | (i.astype(np.int64) << BITS) | j.astype(np.int64)


def unpacked(key: Array) -> tuple[Array, Array, Array]:
    """Direction and the two numbers of a key."""
    return key >> 2 * BITS, (key >> BITS) & LOW, key & LOW
