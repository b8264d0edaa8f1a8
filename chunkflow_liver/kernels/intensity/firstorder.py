"""PyRadiomics' first-order features of every object, from histograms of blocks that merge exactly."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np

from chunkflow_liver.geometry import NM_PER_UM, Nm
from chunkflow_liver.kernels.features.groups import Group, Settings, Sums, View
from chunkflow_liver.kernels.intensity.levels import Ranges, bins, check_levels, gray_levels
from chunkflow_liver.kernels.labels.runs import find_runs
from chunkflow_liver.kernels.rows import Rows, added
from chunkflow_liver.xp import Array, on_host

UNITS = {
    "firstorder_Energy": "",
    "firstorder_TotalEnergy": "micrometer^3",
    "firstorder_Entropy": "bit",
    "firstorder_Minimum": "",
    "firstorder_10Percentile": "",
    "firstorder_90Percentile": "",
    "firstorder_Maximum": "",
    "firstorder_Mean": "",
    "firstorder_Median": "",
    "firstorder_InterquartileRange": "",
    "firstorder_Range": "",
    "firstorder_MeanAbsoluteDeviation": "",
    "firstorder_RobustMeanAbsoluteDeviation": "",
    "firstorder_RootMeanSquared": "",
    "firstorder_StandardDeviation": "",
    "firstorder_Skewness": "",
    "firstorder_Kurtosis": "",
    "firstorder_Variance": "",
    "firstorder_Uniformity": "",
}
STEPS = 4096
"""Steps between the smallest and the largest value of an object in the histogram of wide values."""

MOMENTS = ("one", "two", "three", "four", "absolute")

_SLAB = 1 << 18
_HALF = 26
MOST_BINS = 1 << 53
"""Numbers of bins are exact up to here."""


def firstorder_sums(view: View) -> Sums:
    """Histograms of the intensities of the objects of a block.

    Returns
    -------
    dict of dict of ndarray
        `values` (`label, value, count`): of an image of at most 16 bits every grey value; of others the
        `STEPS` equal steps from the object's smallest to its largest value. Others also have `levels`
        (`label, level, count`: the bins of `Settings`) and `moments`: `label` and, for each of
        `MOMENTS`, two integers that sum powers of the distance from the mean, see `_powers`. Intensities
        under objects are finite.
    """
    objects = view.objects["label"]
    none = np.zeros(0, np.int64)
    wide = view.raw is not None and not _small(view.raw.dtype)
    parts: dict[str, list[Rows]] = {"values": [_counted(objects, none, none, "value")]}
    if wide:
        parts["levels"] = [_counted(objects, none, none, "level")]
        parts["moments"] = [_powers(view, none, none)]
    for rank, values in _slabs(view):
        if not wide:
            parts["values"].append(_counted(objects, rank, values.astype(np.int64), "value"))
            continue
        values = values.astype(np.float64)
        ranges = Ranges.of(view.objects)
        span = np.where(ranges.maximum > ranges.minimum, ranges.maximum - ranges.minimum, 1.0)
        step = np.floor((values - ranges.minimum[rank]) / span[rank] * STEPS)
        parts["values"].append(_counted(objects, rank, np.minimum(step, STEPS - 1).astype(np.int64), "value"))
        low, width = bins(ranges.minimum, ranges.maximum, view.settings)
        level = gray_levels(values, low[rank], width[rank], view.settings)
        parts["levels"].append(_counted(objects, rank, level, "level"))
        parts["moments"].append(_powers(view, rank, values))
    return _added(parts)


def merge_firstorder(parts: Sequence[Sums]) -> Sums:
    """The histograms of several blocks as one; exact, in any order."""
    return _added({name: [part[name] for part in parts] for name in parts[0]})


def describe_firstorder(sums: Sums, objects: Rows, voxel_nm: Nm, settings: Settings) -> Rows:
    """The first-order features of whole objects.

    Parameters
    ----------
    sums : dict of dict of ndarray
        What `merge_firstorder` gave for these objects.
    objects : dict of ndarray of shape (L,)
        Columns of 'basic'.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm; TotalEnergy is per um^3.
    settings : Settings
        Bins of the entropy and the uniformity.

    Returns
    -------
    dict of ndarray of shape (L,), float64
        See `UNITS`; grey values have no unit. NaN where a feature is 0 / 0 (the robust deviation of
        two voxels, none of which lies between the percentiles).

    Notes
    -----
    Names, definitions and numbers of PyRadiomics 3.0.1 on float64 images [1]_; on uint8 ones its
    arithmetic wraps around under NumPy 2. Images of at most 16 bits: exact. All others: percentiles and
    their differences are within (maximum - minimum) / 4096, one of `STEPS` steps, the robust deviation
    is that of the same steps, the rest is exact to rounding. A flat object has skewness and kurtosis 0.

    References
    ----------
    .. [1] van Griethuysen et al., PyRadiomics, doi:10.1158/0008-5472.CAN-17-0339, firstorder.py
    """
    rows = sums["values"]
    label = objects["label"]
    rank = np.searchsorted(label, rows["label"])
    begin = np.searchsorted(rows["label"], label)
    ranges = Ranges.of(objects)
    n, count = objects["voxels"], rows["count"]
    if "moments" in sums:
        span = ranges.maximum - ranges.minimum
        value = ranges.minimum[rank] + (rows["value"] + 0.5) * (span[rank] / STEPS)
        levels = sums["levels"]
        mean, central, absolute = _from_powers(sums["moments"], objects)
    else:
        value = rows["value"].astype(np.float64)
        mean = _sums(rows["value"] * count, begin) / n
        off = value - mean[rank]
        central = [_sums(off**k * count, begin) / n for k in (2, 3, 4)]
        absolute = _sums(np.abs(off) * count, begin) / n
        low, width = bins(ranges.minimum, ranges.maximum, settings)
        level = gray_levels(value, low[rank], width[rank], settings)
        levels = added([{"label": rows["label"], "level": level, "count": count}], ("label", "level"))
    m2, m3, m4 = central
    share = levels["count"] / n[np.searchsorted(label, levels["label"])]
    starts = np.searchsorted(levels["label"], label)
    tenth, first, median, third, ninth = (
        _percentile(value, count, begin, n, q) for q in (0.1, 0.25, 0.5, 0.75, 0.9)
    )
    inside = (value >= tenth[rank]) & (value <= ninth[rank])
    kept = np.where(inside, count, 0)
    energy = (m2 + mean**2) * n
    with np.errstate(divide="ignore", invalid="ignore"):
        middle = _sums(value * kept, begin) / _sums(kept, begin)
        robust = _sums(np.abs(value - middle[rank]) * kept, begin) / _sums(kept, begin)
        skewness = np.where(m2 > 0, m3 / m2**1.5, 0.0)
        kurtosis = np.where(m2 > 0, m4 / m2**2, 0.0)
    columns = [
        energy,
        energy * (float(np.prod(voxel_nm)) / NM_PER_UM**3),
        -_sums(share * np.log2(share + np.spacing(1.0)), starts),
        ranges.minimum,
        tenth,
        ninth,
        ranges.maximum,
        mean,
        median,
        third - first,
        ranges.maximum - ranges.minimum,
        absolute,
        robust,
        np.sqrt(m2 + mean**2),
        np.sqrt(m2),
        skewness,
        kurtosis,
        m2,
        _sums(share**2, starts),
    ]
    return dict(zip(UNITS, columns, strict=True))


def _working(settings: Settings, kind: str) -> float:
    """Bytes per voxel; of 16 bits or more every voxel of a small object may have a value of its own."""
    return 60.0 if np.dtype(kind).itemsize == 1 else 110.0


FIRSTORDER = Group(
    firstorder_sums,
    merge_firstorder,
    describe_firstorder,
    image=True,
    bins=True,
    working=_working,
    units=UNITS,
    check=functools.partial(check_levels, most=MOST_BINS),
)


def _small(dtype: np.dtype[np.generic]) -> bool:
    """Whether every grey value can be counted."""
    return dtype.kind in "bui" and dtype.itemsize <= 2


def _slabs(view: View) -> Iterator[tuple[Array, Array]]:
    """Row of `objects`, and intensity, of the block's own voxels, about a million at a time."""
    if view.raw is None:
        return
    own = on_host(view.own)
    values = on_host(view.raw)[view.block.trim][own != 0]
    runs = find_runs(own)
    rank, ends = view.rank(runs.label), np.cumsum(runs.voxels)
    first = 0
    while first < len(runs):
        start = int(ends[first] - runs.voxels[first])
        last = max(first + 1, int(np.searchsorted(ends, start + _SLAB, side="right")))
        yield np.repeat(rank[first:last], runs.voxels[first:last]), values[start : int(ends[last - 1])]
        first = last


def _counted(objects: Array, rank: Array, value: Array, name: str) -> Rows:
    """How often each value occurs in each object, as rows."""
    low = int(value.min(initial=0))
    side = int(value.max(initial=0)) - low + 1
    key = rank * side + (value - low)
    if len(objects) * side <= 4 * len(key):
        count = np.bincount(key, minlength=len(objects) * side)
        found = np.flatnonzero(count)
        count = count[found]
    else:
        found, count = np.unique(key, return_counts=True)
    row, value = np.divmod(found, side)
    return {"label": objects[row], name: value + low, "count": count.astype(np.int64)}


def _powers(view: View, rank: Array, values: Array) -> Rows:
    """Sums of powers of (value - mean) / R, in units of 2^-26 and 2^-52, of every object of the slab.

    R is the largest distance from the mean (the one of 'basic'); every term is rounded to 2^-52 before it is
    summed, so that the sums are integers and do not depend on the order.
    """
    label = view.objects["label"]
    seen = np.unique(rank)
    table: Rows = {"label": label[seen]}
    if len(rank):
        mean, reach = _scale(view.objects)
        off = (values - mean[rank]) / reach[rank]
    else:
        off = np.zeros(0)
    for name, term in zip(MOMENTS, (off, off**2, off**3, off**4, np.abs(off)), strict=True):
        whole = np.rint(np.ldexp(term, 2 * _HALF)).astype(np.int64)
        high, low = whole >> _HALF, whole & ((1 << _HALF) - 1)
        # Below 2^26 values per slab the float64 sums of integers of 27 bits are exact.
        for end, part in (("high", high), ("low", low)):
            table[f"{name}_{end}"] = np.bincount(rank, part, minlength=len(label))[seen].astype(np.int64)
    return table


def _scale(objects: Rows) -> tuple[Array, Array]:
    """Mean and largest distance from it, 1 where that is 0, of every object."""
    ranges = Ranges.of(objects)
    # Of float64 values too small for float32 the mean of 'basic' is 0, beside all of them.
    mean = np.clip(objects["intensity_mean"], ranges.minimum, ranges.maximum)
    reach = np.maximum(ranges.maximum - mean, mean - ranges.minimum)
    return mean, np.where(reach > 0, reach, 1.0)


def _from_powers(moments: Rows, objects: Rows) -> tuple[Array, list[Array], Array]:
    """Mean, central moments 2 to 4, and mean absolute deviation."""
    n = objects["voxels"]
    mean, reach = _scale(objects)
    one, two, three, four, absolute = (
        (moments[f"{name}_high"] + np.ldexp(moments[f"{name}_low"].astype(np.float64), -_HALF))
        * (2.0**-_HALF / n)
        for name in MOMENTS
    )
    # `one` is how far the mean is from the one that was known (rounding, or values too small for it).
    m2 = np.maximum(two - one**2, 0.0)
    m3 = three - 3 * one * two + 2 * one**3
    m4 = four - 4 * one * three + 6 * one**2 * two - 3 * one**4
    return mean + one * reach, [m2 * reach**2, m3 * reach**3, m4 * reach**4], absolute * reach


def _added(parts: dict[str, list[Rows]]) -> Sums:
    keys = {"values": ("label", "value"), "levels": ("label", "level"), "moments": ("label",)}
    return {name: added(tables, keys[name]) for name, tables in parts.items()}


def _sums(values: Array, begin: Array) -> Array:
    return np.add.reduceat(values, begin) if len(begin) else values[:0]


def _percentile(value: Array, count: Array, begin: Array, n: Array, share: float) -> Array:
    """Quantile of every object's values by linear interpolation between the two next to it."""
    if not len(begin):
        return np.zeros(0)
    ends = np.cumsum(count)
    before = ends[begin] - count[begin]
    place = share * (n - 1)
    lower = np.floor(place).astype(np.int64)
    a, b = (
        value[np.searchsorted(ends, before + k, side="right")] for k in (lower, np.minimum(lower + 1, n - 1))
    )
    return a + (b - a) * (place - lower)
