"""Area in contact as a function of the gap: at every gap asked for, from exact histograms of squared gaps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.kernels.distance.squares import Unit
from chunkflow_liver.kernels.rows import Rows
from chunkflow_liver.xp import Array

Bands = Sequence[tuple[float, float]]
"""Gaps from and to, in nm."""


def checked_bands(bands_nm: Bands, most_nm: float, name: str) -> tuple[tuple[float, float], ...]:
    """Bands as floats; `name` is the option that says how far gaps are looked at.

    Raises
    ------
    ConfigError
        If one is no pair of ascending gaps of 0 nm or more, stands there twice, or ends beyond `most_nm`.
    """
    found = []
    for band in bands_nm:
        ends = tuple(map(float, band)) if isinstance(band, list | tuple) else ()
        if len(ends) != 2 or not 0 <= ends[0] < ends[1] < math.inf:
            raise ConfigError(
                f"bands_nm holds pairs of gaps in nm, from and to, such as [24, 56]; got {band!r}"
            )
        if ends[1] > most_nm:
            raise ConfigError(
                f"the band {list(band)} of bands_nm ends beyond {name} = {most_nm:g}, the largest gap "
                f"that is looked at; raise {name}"
            )
        found.append((ends[0], ends[1]))
    if len(set(found)) < len(found):
        raise ConfigError(f"bands_nm names a band twice: {[list(b) for b in bands_nm]}")
    return tuple(found)


def band_name(band_nm: tuple[float, float]) -> str:
    """How the columns of a band begin: `within_30_nm` where it begins at 0, else `from_24_to_56_nm`."""
    low, high = band_nm
    return f"within_{high:g}_nm" if low == 0 else f"from_{low:g}_to_{high:g}_nm"


def every_nm(cap_nm: float) -> Array:
    """The gaps of a curve: 0, 1, .. nm up to `cap_nm`, float64."""
    return np.arange(math.floor(cap_nm) + 1, dtype=np.float64)


def curve(rows: Rows, row: Array, count: int, gaps_nm: Array, unit: Unit, what: str = "area") -> Array:
    """What of each object lies within each gap.

    Parameters
    ----------
    rows : dict of ndarray of shape (N,)
        `square`, in units, and the column `what`: a histogram for each object.
    row : ndarray of shape (N,), int64
        Object of each row, 0 to `count` - 1.
    count : int
        Number of objects.
    gaps_nm : ndarray of shape (G,), float64
        Ascending, in nm.
    unit : Unit
        Of the squares.
    what : str
        Column that is added: `area`, or `voxels`.

    Returns
    -------
    ndarray of shape (count, G), int64
        Exact: gaps are compared as whole squares, and sums are whole.
    """
    limits = np.array([unit.squares(gap) for gap in gaps_nm.tolist()], np.int64)
    step = np.searchsorted(limits, rows["square"])
    kept = step < len(limits)
    found = np.zeros((count, len(limits)), np.int64)
    np.add.at(found, (row[kept], step[kept]), rows[what][kept])
    return np.cumsum(found, axis=1)


def within_own(rows: Rows, row: Array, gap_nm: Array, unit: Unit, what: str = "area") -> Array:
    """What of each object lies within a gap of its own, (count,), in nm; nothing within one below 0."""
    limit = np.floor((np.maximum(gap_nm, 0.0) / unit.nm) ** 2 * (1 + 1e-9))
    kept = (rows["square"] <= limit[row]) & (gap_nm[row] >= 0)
    found = np.zeros(len(gap_nm), np.int64)
    np.add.at(found, row[kept], rows[what][kept])
    return found


def in_bands(rows: Rows, row: Array, count: int, bands_nm: Bands, unit: Unit) -> dict[str, Array]:
    """Area of each object at a gap in each band, by `band_name`; int64 (count,).

    A band begins beyond its first gap and ends at its last; one that begins at 0 holds what touches.
    """
    ends = np.unique([gap for band in bands_nm for gap in band])
    sums = dict(zip(ends.tolist(), curve(rows, row, count, ends, unit).T, strict=True))
    return {
        band_name((low, high)): sums[high] - (sums[low] if low > 0 else 0)
        for low, high in map(tuple, bands_nm)
    }
