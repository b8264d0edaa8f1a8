"""Gray levels: the intensities of every object in bins of its own, for many objects at once."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Zyx
from chunkflow_liver.kernels.features.groups import Settings
from chunkflow_liver.kernels.rows import Rows
from chunkflow_liver.xp import Array, namespace

BITS = 12
LOW = (1 << BITS) - 1
MOST_LEVELS = LOW
"""Gray levels of one object: a level takes 12 bits of a key."""


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


def last_bin(settings: Settings) -> float:
    """Number of the last bin, from 0."""
    return np.inf if settings.bin_count is None else settings.bin_count - 1.0


def gray_levels(values: Array, low: Array, width: Array, settings: Settings) -> Array:
    """Gray level, from 1, of `values` in bins that begin at `low`; int64, all of one shape."""
    xp = namespace(values)
    level = xp.floor((values - low) / width)
    last = last_bin(settings)
    level = xp.clip(level, 0, last)
    # Division may round across an edge; the edges themselves decide.
    level += (values >= low + (level + 1) * width) & (level < last)
    level -= values < low + level * width
    return level.astype(np.int64) + 1


def most_levels(settings: Settings, kind: str) -> int:
    """Most gray levels that an object can have in an image of the dtype `kind`."""
    if settings.bin_count is not None:
        return min(settings.bin_count, MOST_LEVELS)
    if np.dtype(kind).kind not in "bui":
        return MOST_LEVELS
    limits = (0, 1) if np.dtype(kind).kind == "b" else (np.iinfo(kind).min, np.iinfo(kind).max)
    return min(int((limits[1] - limits[0]) // settings.bin_width) + 1, MOST_LEVELS)


def check_levels(objects: Rows, settings: Settings, most: int = MOST_LEVELS) -> None:
    """Refuse objects with more gray levels than `most`."""
    ranges = Ranges.of(objects)
    low, width = bins(ranges.minimum, ranges.maximum, settings)
    levels = np.floor((ranges.maximum - low) / width) + 1
    if settings.bin_count is not None:
        levels = np.full(len(low), settings.bin_count)
    if len(levels) and levels.max() > most:
        at = int(levels.argmax())
        raise InputError(
            f"object {int(ranges.label[at])} has intensities from {ranges.minimum[at]} to "
            f"{ranges.maximum[at]}, {levels[at]:.16g} gray levels; at most {most} are told apart: choose a "
            f"{'larger bin_width, or a' if settings.bin_count is None else 'smaller'} bin_count"
        )


def level_range(ranges: Ranges, settings: Settings) -> tuple[Array, Array]:
    """Lowest and highest gray level of every object, int64 of shape (L,)."""
    low, width = bins(ranges.minimum, ranges.maximum, settings)
    lowest, highest = (gray_levels(v, low, width, settings) for v in (ranges.minimum, ranges.maximum))
    return lowest, highest


def packed(direction: Array, i: Array, j: Array) -> Array:
    """Key of a direction and two numbers of 12 bits, int64."""
    return (direction.astype(np.int64) << 2 * BITS) | (i.astype(np.int64) << BITS) | j.astype(np.int64)


def unpacked(key: Array) -> tuple[Array, Array, Array]:
    """Direction and the two numbers of a key."""
    return key >> 2 * BITS, (key >> BITS) & LOW, key & LOW
