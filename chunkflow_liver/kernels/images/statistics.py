"""Exact statistics of a volume from its blocks: the same bits however the volume is cut."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Box, Zyx, zyx
from chunkflow_liver.xp import Array, on_host

Record = dict[str, np.ndarray[Any, Any]]

NEVER = np.iinfo(np.int64).max
EXPONENTS = 256
SLAB_VOXELS = 1 << 20


@dataclass(frozen=True)
class Statistics:
    """What a global intensity normalisation needs to know, per channel.

    Attributes
    ----------
    crop : Box
        Smallest box around the voxels that are not zero in some channel; everything seen if there are none.
    mean, sd : tuple of float
        Of the finite voxels inside `crop`, zeros included; the sd divides by the number of voxels.
    minimum, maximum : tuple of float
        Inside `crop`.
    percentiles : tuple of tuple of float
        Per channel, the percentiles asked for; NaN for data that is not integer of at most 16 bits.
    nonfinite : int
        Voxels that are NaN or infinite, over all channels.
    nonfinite_at : Zyx, optional
        The first of them in (z, y, x) order.
    """

    crop: Box
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    minimum: tuple[float, ...]
    maximum: tuple[float, ...]
    percentiles: tuple[tuple[float, ...], ...] = ()
    nonfinite: int = 0
    nonfinite_at: Zyx | None = None


def block_statistics(array: Array, origin: Zyx = (0, 0, 0)) -> Record:
    """Additive statistics of one block.

    Parameters
    ----------
    array : ndarray of shape (C, Z, Y, X) or (Z, Y, X), any real dtype
        Voxels of the block. Integers of at most 16 bits are counted exactly as they are; everything
        else is first cast to float32, as nnU-Net does.
    origin : Zyx
        First voxel of the block in the volume.

    Returns
    -------
    dict of ndarray
        Integer sums, extremes and boxes; see `merge_statistics` for what may be done with it.

    Notes
    -----
    Small integers: one histogram, cut to the values that occur. Floats: every value is m 2^e with an
    integer |m| <= 2^24, so the sums of m and m^2 per exponent are exact integers and do not depend on
    the order of summation.
    """
    array = on_host(array)
    array = array[None] if array.ndim == 3 else array
    if array.ndim != 4 or array.dtype.kind not in "buif":
        raise InputError(
            f"statistics of an array of shape {array.shape}, dtype {array.dtype}: wanted a real array of "
            "shape (C, Z, Y, X) or (Z, Y, X)"
        )
    if array.dtype == bool:
        array = array.view(np.uint8)
    box = Box(origin, zyx(tuple(a + n for a, n in zip(origin, array.shape[1:], strict=True))))
    low, high = _bounds(array, origin)
    record = {
        "box_low": np.array(box.start, np.int64),
        "box_high": np.array(box.stop, np.int64),
        "voxels": np.array(box.size, np.int64),
        "low": low,
        "high": high,
    }
    small = array.dtype.kind in "ui" and array.dtype.itemsize <= 2
    return record | (_histograms(array) if small else _moments(array, origin))


def merge_statistics(parts: Iterable[Mapping[str, np.ndarray[Any, Any]]]) -> Record:
    """The statistics of several disjoint blocks as one; associative and commutative to the last bit.

    Parameters
    ----------
    parts : iterable of dict of ndarray
        What `block_statistics` or `merge_statistics` gave, of blocks with the same dtype and channels.

    Returns
    -------
    dict of ndarray
        Of the same kind as each part.
    """
    merged: Record = {}
    for part in parts:
        merged = _merge(merged, part) if merged else dict(part)
    if not merged:
        raise InputError("no statistics to merge: there are no blocks")
    return merged


def summarise(merged: Mapping[str, np.ndarray[Any, Any]], percentiles: Iterable[float] = ()) -> Statistics:
    """Mean, sd and extremes of a whole volume inside the box of its non-zero voxels.

    Parameters
    ----------
    merged : dict of ndarray
        What `merge_statistics` gave for all blocks of the volume.
    percentiles : iterable of float
        Wanted percentiles, 0 to 100; the value v is the smallest one that at least that share of the
        voxels does not exceed.

    Returns
    -------
    Statistics

    Raises
    ------
    InputError
        If the blocks do not tile a box: one is missing or was counted twice.
    """
    seen = Box(zyx(merged["box_low"].tolist()), zyx(merged["box_high"].tolist()))
    if seen.size != int(merged["voxels"]):
        raise InputError(
            f"statistics over the box {seen} ({seen.size} voxels) hold {int(merged['voxels'])} voxels: "
            "a block is missing or was counted twice; merge every block of the grid once"
        )
    low, high = merged["low"].tolist(), merged["high"].tolist()
    crop = seen if low[0] == NEVER else Box(zyx(low), zyx(high))
    wanted = tuple(percentiles)
    of_channel = _of_histogram if "histogram" in merged else _of_moments
    rows = [of_channel(merged, c, crop.size, wanted) for c in range(len(merged["nonfinite"]))]
    at = merged["nonfinite_at"].tolist()
    return Statistics(
        crop=crop,
        mean=tuple(row[0] for row in rows),
        sd=tuple(row[1] for row in rows),
        minimum=tuple(row[2] for row in rows),
        maximum=tuple(row[3] for row in rows),
        percentiles=tuple(row[4] for row in rows),
        nonfinite=int(merged["nonfinite"].sum()),
        nonfinite_at=None if at[0] == NEVER else zyx(at),
    )


def _bounds(array: Array, origin: Zyx) -> tuple[Array, Array]:
    """First and one-past-last voxel that is not zero in some channel; NEVER and -1 if there is none."""
    low, high = np.full(3, NEVER), np.full(3, -1)
    if not array.size:
        return low, high
    nonzero = (array != 0).any(0)
    for axis in range(3):
        where = np.flatnonzero(nonzero.any(tuple(a for a in range(3) if a != axis)))
        if where.size:
            low[axis], high[axis] = where[0] + origin[axis], where[-1] + 1 + origin[axis]
    return low, high


def _histograms(array: Array) -> Record:
    first, last = (int(array.min()), int(array.max())) if array.size else (0, 0)
    counts = np.zeros((len(array), last - first + 1), np.int64)
    for channel, row in zip(array, counts, strict=True):
        for slab in _slabs(channel):
            row += np.bincount(slab.ravel().astype(np.int64) - first, minlength=len(row))
    return {
        "first": np.array(first, np.int64),
        "histogram": counts,
        "nonfinite": np.zeros(len(array), np.int64),
        "nonfinite_at": np.full(3, NEVER),
    }


def _moments(array: Array, origin: Zyx) -> Record:
    channels = len(array)
    sums = np.zeros((channels, 3, EXPONENTS + 64), np.int64)
    nonzero, bad = np.zeros(channels, np.int64), np.zeros(channels, np.int64)
    least, most = np.full(channels, np.inf), np.full(channels, -np.inf)
    at = [NEVER] * 3
    for c, channel in enumerate(array):
        z = 0
        for slab in _slabs(channel):
            values = slab.astype(np.float32)
            finite = np.isfinite(values)
            if not finite.all():
                bad[c] += values.size - np.count_nonzero(finite)
                first = np.unravel_index(int(np.argmin(finite)), values.shape)
                at = min(
                    at,
                    [
                        origin[0] + z + int(first[0]),
                        *(o + int(i) for o, i in zip(origin[1:], first[1:], strict=True)),
                    ],
                )
            values = values[finite & (values != 0)]
            z += len(slab)
            if not values.size:
                continue
            nonzero[c] += values.size
            least[c], most[c] = min(least[c], values.min()), max(most[c], values.max())
            sums[c] += _mantissas(values)
    return {
        "sums": sums,
        "nonzero": nonzero,
        "minimum": least,
        "maximum": most,
        "nonfinite": bad,
        "nonfinite_at": np.array(at, np.int64),
    }


def _mantissas(values: Array) -> Array:
    """Sums of m, and of the low and high part of m^2, per exponent, of float32 `values` = m 2^(e - 24)."""
    fraction, exponent = np.frexp(values.astype(np.float64))
    mantissa = np.ldexp(fraction, 24)
    bins = exponent.astype(np.int64) + EXPONENTS // 2 + 32
    square = mantissa.astype(np.int64) ** 2
    length = EXPONENTS + 64
    # Below 2^29 voxels per slab the float64 bins of 24-bit integers are exact.
    rows = (mantissa, square & 0xFFFFFF, square >> 24)
    return np.stack([np.bincount(bins, row, length).astype(np.int64) for row in rows])


def _slabs(channel: Array) -> Iterable[Array]:
    """Runs of planes small enough that the working copies stay small."""
    planes = max(1, SLAB_VOXELS // max(1, math.prod(channel.shape[1:])))
    return (channel[z : z + planes] for z in range(0, len(channel), planes))


def _merge(a: Mapping[str, Array], b: Mapping[str, Array]) -> Record:
    if a.keys() != b.keys() or len(a["nonfinite"]) != len(b["nonfinite"]):
        raise InputError(
            "statistics of blocks with different dtypes or channel numbers cannot be merged: "
            f"{sorted(a)} of {len(a['nonfinite'])} channels, {sorted(b)} of {len(b['nonfinite'])}"
        )
    merged = {name: a[name] + b[name] for name in ("voxels", "nonfinite", "nonzero", "sums") if name in a}
    for name in ("box_low", "low", "minimum"):
        if name in a:
            merged[name] = np.minimum(a[name], b[name])
    for name in ("box_high", "high", "maximum"):
        if name in a:
            merged[name] = np.maximum(a[name], b[name])
    merged["nonfinite_at"] = np.array(min(a["nonfinite_at"].tolist(), b["nonfinite_at"].tolist()), np.int64)
    if "histogram" in a:
        first = min(int(a["first"]), int(b["first"]))
        stop = max(int(part["first"]) + part["histogram"].shape[1] for part in (a, b))
        counts = np.zeros((len(a["histogram"]), stop - first), np.int64)
        for part in (a, b):
            start = int(part["first"]) - first
            counts[:, start : start + part["histogram"].shape[1]] += part["histogram"]
        merged |= {"first": np.array(first, np.int64), "histogram": counts}
    return merged


Row = tuple[float, float, float, float, tuple[float, ...]]


def _of_histogram(merged: Mapping[str, Array], c: int, size: int, percentiles: tuple[float, ...]) -> Row:
    first = int(merged["first"])
    counts = {
        first + i: int(merged["histogram"][c, i]) for i in np.flatnonzero(merged["histogram"][c]).tolist()
    }
    # Every voxel that is not zero lies in the crop, so the zeros of the crop are what is left of its size.
    zeros = size - sum(n for value, n in counts.items() if value != 0)
    counts = dict(sorted(({**counts, 0: zeros} if zeros else {v: n for v, n in counts.items() if v}).items()))
    mean, sd = _mean_sd(
        Fraction(sum(v * n for v, n in counts.items())),
        Fraction(sum(v * v * n for v, n in counts.items())),
        size,
    )
    values = np.array(list(counts), np.float64)
    reached = np.cumsum(np.array(list(counts.values()), np.int64))
    ranks = (min(size, max(1, math.ceil(Fraction(p) / 100 * size))) for p in percentiles)
    found = tuple(float(values[np.searchsorted(reached, rank)]) for rank in ranks)
    return mean, sd, float(values[0]), float(values[-1]), found


def _of_moments(merged: Mapping[str, Array], c: int, size: int, percentiles: tuple[float, ...]) -> Row:
    total, squares = Fraction(0), Fraction(0)
    for at in np.flatnonzero(merged["sums"][c].any(0)).tolist():
        m, low, high = (int(v) for v in merged["sums"][c, :, at])
        unit = Fraction(2) ** (at - EXPONENTS // 2 - 32 - 24)
        total += m * unit
        squares += (low + (high << 24)) * unit * unit
    finite = size - int(merged["nonfinite"][c])
    extremes = [float(merged["minimum"][c]), float(merged["maximum"][c])] if int(merged["nonzero"][c]) else []
    if finite > int(merged["nonzero"][c]) or not extremes:
        extremes.append(0.0)
    mean, sd = _mean_sd(total, squares, finite)
    return mean, sd, min(extremes), max(extremes), (math.nan,) * len(percentiles)


def _mean_sd(total: Fraction, squares: Fraction, count: int) -> tuple[float, float]:
    if count == 0:
        return math.nan, math.nan
    mean = total / count
    return float(mean), math.sqrt(squares / count - mean * mean)
