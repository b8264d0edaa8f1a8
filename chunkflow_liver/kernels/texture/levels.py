"""Gray levels: the intensities of every object in bins of its own, for many objects at once."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Zyx
from chunkflow_liver.kernels.features import Rows, Settings
from chunkflow_liver.kernels.runs import Runs, find_runs
from chunkflow_liver.xp import Array, namespace, on_host

MOST_LEVELS = (1 << 12) - 1
"""Gray levels of one object: a level takes 12 bits of a key."""
_SLAB = 1 << 18


@dataclass(frozen=True, eq=False)
class Ranges:
    """The objects to look at, and the range of their intensities.

    Attributes
    ----------
    label : ndarray of shape (L,), uint64
        Ascending.
    minimum, maximum : ndarray of shape (L,), float64
        Of the whole object.
    """

    label: Array
    minimum: Array
    maximum: Array

    @classmethod
    def of(cls, objects: Rows) -> Ranges:
        """The ranges of objects given by their columns of 'basic'."""
        label = objects["label"]
        # A volume without objects has no columns of intensities either.
        low, high = (objects.get(f"intensity_{end}", np.zeros(len(label))) for end in ("min", "max"))
        return cls(label, np.asarray(low, np.float64), np.asarray(high, np.float64))


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


def half_offsets(distances: tuple[int, ...]) -> list[Zyx]:
    """Offsets to the neighbours at `distances` (infinity norm), one of each opposite two.

    In the order of PyRadiomics: the first offset that is not 0 is positive, larger ones come first.
    """
    reach = range(max(distances), -max(distances) - 1, -1)
    found = [
        (z, y, x)
        for z, y, x in itertools.product(reach, repeat=3)
        if max(abs(z), abs(y), abs(x)) in distances
    ]
    return found[: len(found) // 2]


def bins(minimum: Array, maximum: Array, settings: Settings) -> tuple[Array, Array]:
    """Lower edge of the first bin, and width of a bin, of every object (float64 of shape (L,)).

    The edges are those that PyRadiomics gets from `numpy.arange` and `numpy.histogram`, to the last bit.
    """
    xp = namespace(minimum)
    if settings.bin_count is None:
        low = minimum - minimum % settings.bin_width
        return low, (low + settings.bin_width) - low
    flat = minimum == maximum
    low, high = xp.where(flat, minimum - 0.5, minimum), xp.where(flat, maximum + 0.5, maximum)
    return low, (high - low) / settings.bin_count


def gray_levels(values: Array, low: Array, width: Array, settings: Settings) -> Array:
    """Gray level, from 1, of `values` in bins that begin at `low`; int64, all of one shape."""
    xp = namespace(values)
    level = xp.floor((values - low) / width)
    last = np.inf if settings.bin_count is None else settings.bin_count - 1
    level = xp.clip(level, 0, last)
    # Division may round across an edge; the edges themselves decide.
    level += (values >= low + (level + 1) * width) & (level < last)
    level -= values < low + level * width
    return level.astype(np.int64) + 1


def check_levels(objects: Rows, settings: Settings) -> None:
    """Refuse objects with more gray levels than `MOST_LEVELS`."""
    ranges = Ranges.of(objects)
    low, width = bins(ranges.minimum, ranges.maximum, settings)
    spans = (ranges.maximum - low) / width
    if len(spans) and spans.max() >= MOST_LEVELS:
        at = int(spans.argmax())
        raise InputError(
            f"object {int(ranges.label[at])} has intensities from {ranges.minimum[at]} to "
            f"{ranges.maximum[at]}, {int(spans[at]) + 1} gray levels; textures take at most "
            f"{MOST_LEVELS}: choose a larger bin_width, or a bin_count"
        )


def level_range(ranges: Ranges, settings: Settings) -> tuple[Array, Array]:
    """Lowest and highest gray level of every object, int64 of shape (L,)."""
    low, width = bins(ranges.minimum, ranges.maximum, settings)
    lowest, highest = (gray_levels(v, low, width, settings) for v in (ranges.minimum, ranges.maximum))
    return lowest, highest


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
