"""The counts of `counts` on a device: array operations over all voxels of objects, and the same numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Zyx
from chunkflow_liver.kernels.features.groups import Settings, View
from chunkflow_liver.kernels.intensity.levels import (
    Ranges,
    bins,
    gray_levels,
    half_offsets,
    level_range,
    packed,
)
from chunkflow_liver.kernels.labels.runs import Runs, find_runs
from chunkflow_liver.kernels.rows import Rows, added
from chunkflow_liver.xp import Array, namespace, on_host

_SLAB = 1 << 18


@dataclass(frozen=True, eq=False)
class Graded:
    """A label block as codes: an object's gray levels are consecutive numbers, background is 0.

    Attributes
    ----------
    code : ndarray of shape (N,), int32
        `base[object] + level` of every voxel of the block inside a margin of background, flattened.
    shape : Zyx
        Of the block with its margin.
    base, levels : ndarray of shape (L,), int64
        First code less one, and number of codes, of every object.
    runs : Runs
        The runs of these objects; their label is the object's position in `Ranges`.
    margin : int
        Voxels of background around the block.
    """

    code: Array
    shape: Zyx
    base: Array
    levels: Array
    runs: Runs
    margin: int

    def within(self, trim: tuple[slice, slice, slice]) -> tuple[Array, Array]:
        """Flat index in `code`, and object, of every voxel of an object inside `trim`."""
        z, y, x = trim
        runs, xp = self.runs, namespace(self.code)
        start, stop = xp.maximum(runs.start, x.start), xp.minimum(runs.stop, x.stop)
        kept = (runs.z >= z.start) & (runs.z < z.stop) & (runs.y >= y.start) & (runs.y < y.stop)
        kept &= start < stop
        first = _flat(runs.z[kept], runs.y[kept], start[kept], self.shape, self.margin)
        length = (stop - start)[kept]
        return _expanded(first, length) + _counted(length), _expanded(runs.label[kept], length)


def graded_view(view: View) -> Graded:
    """The gray levels of a block, with a margin as wide as the halo."""
    margin = max(view.settings.distances)
    return grade(view.labels, view.raw, Ranges.of(view.objects), view.settings, margin)


def pair_rows(view: View) -> Rows:
    """Rows of `counts.pair_sums`: a gather for every direction [1]_.

    References
    ----------
    .. [1] Haralick et al., Textural features for image classification, 1973, doi:10.1109/TSMC.1973.4309314
    """
    graded = view.shared(graded_view)
    xp = namespace(graded.code)
    centres, of = graded.within(view.block.trim)
    squares = graded.levels * graded.levels
    before = xp.cumsum(squares) - squares
    rows = []
    for direction, step in enumerate(_steps(graded, view.settings)):
        keys = [before[:0]]
        for begin in range(0, len(centres), _SLAB):
            at, own = centres[begin : begin + _SLAB], of[begin : begin + _SLAB]
            code, first, levels = _ranges(graded, at, own)
            other = graded.code[at + step]
            key = before[own] + (code - first) * graded.levels[own] - first + other
            keys.append(key[_inside(other - first, levels)])
        place, n, _ = _tally(xp.concatenate(keys), int(squares.sum()))
        rows.append(_pair_rows(view, graded, direction, on_host(place), on_host(n)))
    return added(rows, ("label", "key"))


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


def dependence_rows(view: View) -> Rows:
    """Rows of `counts.dependence_sums`."""
    code, dependent, _, _ = view.shared(_neighbours)
    return _sizes(view, code, dependent, None)


def tone_rows(view: View) -> Rows:
    """Rows of `counts.tone_sums`."""
    code, _, neighbours, differences = view.shared(_neighbours)
    return _sizes(view, code, neighbours, abs(differences))


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
    graded = view.shared(graded_view)
    most = 2 * len(half_offsets(view.settings.distances)) + 1
    place = code.astype(np.int64) * most + sizes
    seen, n, sums = _tally(place, int(place.max()) + 1 if len(place) else 0, weights)
    number, size = np.divmod(on_host(seen), most)
    base = on_host(graded.base)
    of = np.searchsorted(base, number - 1, side="right") - 1
    rows = {
        "label": view.objects["label"][of].astype(np.uint64),
        "key": packed(np.zeros(len(of)), number - base[of], size),
        "n": on_host(n).astype(np.int64),
    }
    return rows if sums is None else rows | {"sum": on_host(sums).astype(np.int64)}


def _tally(place: Array, total: int, weights: Array | None = None) -> tuple[Array, Array, Array | None]:
    """Distinct places below `total`, how often each is there, and the sum of its weights."""
    xp = namespace(place)
    # A table of all places is faster than sorting, as long as it is not larger than the data.
    if total <= max(4 * len(place), 1 << 20):
        n = xp.bincount(place, minlength=total)
        seen = xp.flatnonzero(n)
        # Sums of integers below 2**53 are exact as float64.
        return seen, n[seen], None if weights is None else xp.bincount(place, weights, minlength=total)[seen]
    seen, place = xp.unique(place, return_inverse=True)
    return seen, xp.bincount(place), None if weights is None else xp.bincount(place, weights)


def grade(labels: Array, raw: Array | None, ranges: Ranges, settings: Settings, margin: int) -> Graded:
    """The gray levels of the voxels of all objects of a block.

    Parameters
    ----------
    labels : ndarray of shape (Z, Y, X), integer or bool
        Label block; what is not among `ranges` is background.
    raw : ndarray of shape (Z, Y, X), integer or float
        Intensities; taken as float64, whatever their type.
    ranges : Ranges
        The objects.
    settings : Settings
    margin : int
        Voxels of background to put around the block.

    Returns
    -------
    Graded
        Same array type as `labels`.

    Raises
    ------
    InputError
        If there is no image.
    """
    if raw is None:
        raise InputError("textures need the image under the labels")
    xp = namespace(labels)
    runs = find_runs(labels)
    known = xp.asarray(ranges.label)
    place = xp.searchsorted(known, runs.label.astype(np.uint64))
    found = place < len(known)
    found[found] = known[place[found]] == runs.label[found].astype(np.uint64)
    z, y, start, stop = (a[found] for a in (runs.z, runs.y, runs.start, runs.stop))
    runs = Runs(z, y, start, stop, place[found])
    _, levels = level_range(ranges, settings)
    levels = xp.asarray(levels)
    base = xp.cumsum(levels) - levels
    low, width = (xp.asarray(a) for a in bins(ranges.minimum, ranges.maximum, settings))
    shape: Any = tuple(n + 2 * margin for n in labels.shape)
    code = xp.zeros(int(np.prod(shape)), np.int32)
    source = _flat(runs.z, runs.y, runs.start, labels.shape, 0)
    target = _flat(runs.z, runs.y, runs.start, shape, margin)
    image = raw.reshape(-1)
    ends = on_host(xp.cumsum(runs.voxels))
    first = 0
    while first < len(runs):
        begin = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, begin + _SLAB, side="right")))
        length = runs.voxels[first:last]
        along, of = _counted(length), _expanded(runs.label[first:last], length)
        values = image[_expanded(source[first:last], length) + along].astype(np.float64)
        level = gray_levels(values, low[of], width[of], settings)
        code[_expanded(target[first:last], length) + along] = (base[of] + level).astype(np.int32)
        first = last
    return Graded(code, shape, base, levels, runs, margin)


def _flat(z: Array, y: Array, x: Array, shape: Zyx, margin: int) -> Array:
    """Index in a flattened array of `shape` of voxels that lie `margin` further along every axis."""
    return ((z + margin) * shape[1] + y + margin) * shape[2] + x + margin


def _expanded(values: Array, lengths: Array) -> Array:
    """Every value as often as its length says."""
    xp = namespace(values)
    if not len(values):
        return values
    steps = xp.zeros(int(lengths.sum()), values.dtype)
    # Lengths on the device cannot be repeats there; a sum over steps does it on both sides.
    steps[xp.cumsum(lengths) - lengths] = xp.concatenate([values[:1], values[1:] - values[:-1]])
    return xp.cumsum(steps)


def _counted(lengths: Array) -> Array:
    """0, 1, 2, ... within each of the consecutive segments of `lengths`."""
    xp = namespace(lengths)
    return xp.arange(int(lengths.sum())) - _expanded(xp.cumsum(lengths) - lengths, lengths)
