"""Additive sums of every label of a block, their exact merging, and what they say of objects."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import NM_PER_UM, Nm, Zyx
from chunkflow_liver.kernels.features.device_sums import device_sums, sums_fit
from chunkflow_liver.kernels.features.exact_sums import carried, exact_sums, mean_sd
from chunkflow_liver.kernels.labels.object_runs import ObjectRuns, runs_by_object
from chunkflow_liver.kernels.labels.runs import Runs
from chunkflow_liver.kernels.rows import Gathered, reduced, starts
from chunkflow_liver.xp import Array, namespace, on_host

Sums = dict[str, Array]
"""Columns of one row per label, sorted by label."""

AXES = ("z", "y", "x")
FIRST = tuple(f"sum_{a}" for a in AXES)
SECOND = {
    "sum_zz": ("z", "z"),
    "sum_yy": ("y", "y"),
    "sum_xx": ("x", "x"),
    "sum_zy": ("z", "y"),
    "sum_zx": ("z", "x"),
    "sum_yx": ("y", "x"),
}
LOWEST = tuple(f"min_{a}" for a in AXES)
HIGHEST = tuple(f"max_{a}" for a in AXES)
COORDINATES = ("voxels", *FIRST, *SECOND, *LOWEST, *HIGHEST)
"""The columns of `run_loops.coordinate_sums`."""
EXTREMES = {
    **dict.fromkeys((*LOWEST, "intensity_min"), np.minimum),
    **dict.fromkeys((*HIGHEST, "intensity_max"), np.maximum),
}

LONGEST_SIDE = 1 << 20
_FLAT = 2.0**-48
_SLAB_VOXELS = 1 << 20
_INT64_MAX = 2**63 - 1


def block_sums(labels: Array, raw: Array | None = None) -> Sums:
    """Sums of the coordinates and of the intensities of every label of a block.

    Parameters
    ----------
    labels : ndarray of shape (Z, Y, X), integer
        Label block; 0 is background.
    raw : ndarray of shape (Z, Y, X), integer or float, optional
        Image under the labels.

    Returns
    -------
    dict of ndarray of shape (L,)
        `label` (uint64, ascending), `voxels`, `sum_z` .. `sum_yx`, `min_z` .. `max_x` (int64;
        voxels from the block's first one, extremes inclusive); with `raw` also `intensity_sum`,
        `intensity_sum2` (int64; for a float image int64 with the digits of `exact_sums` in a second
        axis), `intensity_min`, `intensity_max` (dtype of `raw`). Host arrays.

    Raises
    ------
    InputError
        If `raw` has another shape than `labels`, or a side has more than 2^20 voxels.

    Notes
    -----
    Coordinates are summed in closed form over runs along x. Exact for an integer image: where
    squares could pass int64 (32-bit images) that column holds Python integers and is slow. CuPy arrays are
    summed on their device, but for images of floats or 32-bit integers, which are copied to the host.
    """
    if raw is not None and raw.shape != labels.shape:
        raise InputError(
            f"the image block has shape {raw.shape}, its label block {labels.shape}; measure both on one grid"
        )
    if max(labels.shape) > LONGEST_SIDE:
        raise InputError(
            f"a block of {labels.shape} voxels is longer than {LONGEST_SIDE}, beyond which sums of squared "
            "coordinates of one row pass 63 bits; take a smaller block"
        )
    if namespace(labels) is not np and sums_fit(raw):
        return device_sums(labels, raw, _run_sums)
    return object_sums(runs_by_object(labels), labels, raw)


def object_sums(runs: ObjectRuns, labels: Array, raw: Array | None = None) -> Sums:
    """What `block_sums` gives, of a block on the host whose `runs` are known."""
    from chunkflow_liver.kernels.labels.run_loops import coordinate_sums

    begin = runs.begin[:-1]
    totals = coordinate_sums(runs.begin, runs.row, runs.ends, runs.height)
    sums: Sums = {"label": runs.label, **dict(zip(COORDINATES, np.ascontiguousarray(totals.T), strict=True))}
    if raw is None:
        return sums
    values = on_host(raw)[on_host(labels) != 0]
    lengths = np.empty(len(runs.order), np.int64)
    lengths[runs.order] = runs.ends[:, 1] - runs.ends[:, 0]
    offsets = _offsets(lengths)
    if values.dtype.kind != "f":
        for name, total in _intensity_sums(values, lengths).items():
            sums[name] = reduced(np.add, total[runs.order], begin)
    else:
        rank = np.empty(len(lengths), np.int32)
        rank[runs.order] = np.repeat(np.arange(len(begin), dtype=np.int32), np.diff(runs.begin))
        both = exact_sums(np.repeat(rank, lengths), values, len(begin))
        sums |= dict(zip(("intensity_sum", "intensity_sum2"), both, strict=True))
    for name, least in (("intensity_min", np.minimum), ("intensity_max", np.maximum)):
        sums[name] = reduced(least, reduced(least, values, offsets)[runs.order], begin)
    return sums


def _run_sums(runs: Runs) -> Sums:
    """Coordinate sums of each run on a device, from sum(x) and sum(x**2) in closed form."""
    n, z, y = runs.voxels, runs.z, runs.y
    last, before = runs.stop - 1, runs.start - 1
    x = n * (runs.start + last) // 2
    xx = (last * (last + 1) * (2 * last + 1) - before * (before + 1) * (2 * before + 1)) // 6
    return {
        "voxels": n,
        "sum_z": n * z,
        "sum_y": n * y,
        "sum_x": x,
        "sum_zz": n * z * z,
        "sum_yy": n * y * y,
        "sum_xx": xx,
        "sum_zy": n * z * y,
        "sum_zx": z * x,
        "sum_yx": y * x,
    }


def _intensity_sums(values: Array, lengths: Array) -> Sums:
    """Sum and sum of squares of the foreground `values` of each run, a slab of runs at a time."""
    peak = max(abs(int(values.min())), abs(int(values.max()))) if values.size else 0
    wide: Any = np.int64 if peak * values.size <= _INT64_MAX else object
    square: Any = np.int64 if peak * peak * values.size <= _INT64_MAX else object
    ends = np.cumsum(lengths)
    total: Array = np.empty(len(lengths), wide)
    total2: Array = np.empty(len(lengths), square)
    first = 0
    while first < len(lengths):
        start = int(ends[first] - lengths[first])
        stop_run = max(first + 1, int(np.searchsorted(ends, start + _SLAB_VOXELS, side="right")))
        slab = values[start : int(ends[stop_run - 1])]
        offsets = _offsets(lengths[first:stop_run])
        part = slab.astype(wide)
        total[first:stop_run] = np.add.reduceat(part, offsets)
        part = part.astype(square, copy=False)
        total2[first:stop_run] = np.add.reduceat(part * part, offsets)
        first = stop_run
    return {"intensity_sum": total, "intensity_sum2": total2}


def _offsets(lengths: Array) -> Array:
    """Where each of the consecutive segments of `lengths` starts."""
    return np.cumsum(lengths) - lengths


def merge_sums(parts: Iterable[tuple[Zyx, Sums]]) -> Sums:
    """Sums of whole objects in volume coordinates, from the sums of blocks.

    Parameters
    ----------
    parts : iterable of (origin, sums)
        First voxel of each block in the volume, and what `block_sums` gave for it. Read lazily.

    Returns
    -------
    dict of ndarray of shape (L,)
        Columns as in `block_sums`, one row per label, coordinates from the volume's first voxel.
        Sums are int64, or Python integers (object) where int64 could overflow.

    Notes
    -----
    Sums are exact and do not depend on the order of `parts`. Memory grows with the number of labels,
    not of parts.
    """
    none = block_sums(np.zeros((0, 0, 0), np.uint8))
    found = Gathered(_add, lambda sums: len(sums["label"]), none)
    for origin, sums in parts:
        found.push(_shift(origin, sums))
    total = found.whole()
    return {name: _narrow(name, column, total) for name, column in total.items()}


def _shift(origin: Zyx, sums: Sums) -> Sums:
    """`sums` of a block as if its first voxel were the volume's; exact."""
    n = sums["voxels"]
    reach = max(origin) + max((int(sums[h].max(initial=0)) for h in HIGHEST), default=0)
    wide: type = np.int64 if int(n.max(initial=0)) * (reach + 1) ** 2 <= _INT64_MAX else object
    by = dict(zip(AXES, origin, strict=True))
    shifted = dict(sums)
    first: dict[str, Array] = {a: sums[f"sum_{a}"].astype(wide) for a in AXES}
    count: Array = n.astype(wide)
    for a in AXES:
        shifted[f"sum_{a}"] = first[a] + by[a] * count
        shifted[f"min_{a}"] = sums[f"min_{a}"] + by[a]
        shifted[f"max_{a}"] = sums[f"max_{a}"] + by[a]
    for name, (a, b) in SECOND.items():
        crossed = by[a] * first[b] + by[b] * first[a] + by[a] * by[b] * count
        shifted[name] = sums[name].astype(wide) + crossed
    return shifted


def _add(parts: list[Sums]) -> Sums:
    """Rows of equal labels added, or their extremes taken."""
    names = max(parts, key=len).keys()
    if any(part.keys() != names for part in parts if len(part["label"])):
        raise InputError(
            "some blocks were measured with an image and some without; measure every block alike"
        )
    parts = [part for part in parts if part.keys() == names]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in names}
    label = columns.pop("label")
    order = np.argsort(label, kind="stable")
    begin = starts(label[order])
    added: Sums = {"label": label[order][begin], "voxels": reduced(np.add, columns["voxels"][order], begin)}
    extremes = {
        name: reduced(EXTREMES[name], column[order], begin)
        for name, column in columns.items()
        if name in EXTREMES
    }
    known = added | extremes
    for name, column in columns.items():
        if name in extremes:
            added[name] = extremes[name]
        elif name != "voxels":
            if column.ndim == 1 and column.dtype.kind == "i" and _bound(name, known) > _INT64_MAX:
                column = column.astype(object)
            added[name] = reduced(np.add, column[order], begin)
            if column.ndim == 2:
                added[name] = carried(added[name])
    return added


def _bound(name: str, sums: Sums) -> int:
    """Largest size that sum `name` of any label can have."""
    voxels = int(sums["voxels"].max(initial=0))
    if name.startswith("intensity"):
        low = int(sums["intensity_min"].min(initial=0))
        peak = max(abs(low), int(sums["intensity_max"].max(initial=0)))
        return voxels * (peak * peak if name == "intensity_sum2" else peak)
    reach = max(int(sums[h].max(initial=0)) for h in HIGHEST)
    return voxels * (reach**2 if name in SECOND else reach)


def _narrow(name: str, column: Array, sums: Sums) -> Array:
    """`column` as int64 where the totals fit, so that its type does not depend on the blocks."""
    if column.dtype != object or _bound(name, sums) > _INT64_MAX:
        return column
    return column.astype(np.int64)


def describe(sums: Sums, voxel_nm: Nm, volume_shape: Zyx, origin: Zyx = (0, 0, 0)) -> dict[str, Array]:
    """Size, place, shape and intensity of every object, in physical units.

    Parameters
    ----------
    sums : dict of ndarray of shape (L,)
        What `merge_sums` gives for the whole volume.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.
    volume_shape, origin : Zyx
        Voxels of what is known, and the first of them, to mark the objects that its ends cut.

    Returns
    -------
    dict of ndarray of shape (L,)
        `label` (uint64), `voxels` (int64), `volume_um3`, `centroid_{z,y,x}_nm` (voxel centres lie
        at index + 0.5), `bbox_{z,y,x}_{min,max}` (int64 voxels, half-open),
        `axis_{major,middle,minor}_nm`, `major_{z,y,x}` (unit vector, its largest component
        positive), `intensity_{mean,sd,min,max}` if there was an image, `touches_border` (bool).

    Notes
    -----
    An axis length is 4 sqrt(eigenvalue) of the population covariance of the voxel centres [1]_;
    one voxel has length 0 and an arbitrary direction. Variances are taken from exact integers and
    rounded once, so they do not suffer from far-away origins.

    References
    ----------
    .. [1] van Griethuysen et al., PyRadiomics, doi:10.1158/0008-5472.CAN-17-0339
    """
    n = sums["voxels"]
    table: dict[str, Array] = {"label": sums["label"], "voxels": n}
    table["volume_um3"] = n * (float(np.prod(voxel_nm)) / NM_PER_UM**3)
    for a, size in zip(AXES, voxel_nm, strict=True):
        table[f"centroid_{a}_nm"] = ((sums[f"sum_{a}"] / n).astype(np.float64) + 0.5) * size
    for end, names, beyond in (("min", LOWEST, 0), ("max", HIGHEST, 1)):
        table |= {f"bbox_{name[-1]}_{end}": sums[name] + beyond for name in names}
    table |= _axes(sums, voxel_nm)
    if "intensity_sum" in sums:
        first, second = sums["intensity_sum"], sums["intensity_sum2"]
        if first.ndim == 2:
            table["intensity_mean"], table["intensity_sd"] = mean_sd(n, first, second)
        else:
            table["intensity_mean"] = (first / n).astype(np.float64)
            table["intensity_sd"] = np.sqrt(np.maximum(_covariance(n, second, first, first), 0.0))
        table |= {name: sums[name] for name in ("intensity_min", "intensity_max")}
    touches = np.zeros(len(n), bool)
    for a, length, begin in zip(AXES, volume_shape, origin, strict=True):
        # Across a single plane nothing can be cut off that the image could have shown.
        if length > 1:
            touches |= (sums[f"min_{a}"] == begin) | (sums[f"max_{a}"] + 1 == begin + length)
    return table | {"touches_border": touches}


def _axes(sums: Sums, voxel_nm: Nm) -> dict[str, Array]:
    """Principal axes of the objects: three lengths in nm, and the direction of the longest."""
    n = sums["voxels"]
    size = dict(zip(AXES, voxel_nm, strict=True))
    matrix = np.empty((len(n), 3, 3))
    # Sums about the object's own corner: small numbers, so that squares stay in int64.
    first = {a: sums[f"sum_{a}"] - sums[f"min_{a}"] * n for a in AXES}
    for name, (a, b) in SECOND.items():
        low_a, low_b = sums[f"min_{a}"].astype(sums[name].dtype), sums[f"min_{b}"]
        second = sums[name] - low_a * sums[f"sum_{b}"] - low_b * first[a]
        i, j = AXES.index(a), AXES.index(b)
        matrix[:, i, j] = _covariance(n, second, first[a], first[b]) * (size[a] * size[b])
        matrix[:, j, i] = matrix[:, i, j]
    values, vectors = np.linalg.eigh(matrix)
    # Of a flat object what is left is rounding: two layers 2^20 voxels long are still far above it.
    values = np.where(values > _FLAT * values[:, 2:], values, 0.0)
    lengths = 4.0 * np.sqrt(values)
    major = vectors[:, :, 2]
    largest = np.abs(major).argmax(axis=1, keepdims=True)
    major = major * np.where(np.take_along_axis(major, largest, axis=1) < 0, -1.0, 1.0)
    axes = {f"axis_{k}_nm": lengths[:, i] for i, k in ((2, "major"), (1, "middle"), (0, "minor"))}
    return axes | {f"major_{a}": major[:, i] for i, a in enumerate(AXES)}


def _covariance(n: Array, second: Array, first_a: Array, first_b: Array) -> Array:
    """Population covariance from integer sums, float64; rounded only in the division."""
    sizes = [np.abs(column.astype(np.float64)) for column in (n, second, first_a, first_b)]
    large = np.maximum(sizes[0], sizes[1]) * sizes[0] >= 2.0**61
    large |= sizes[2] * sizes[3] >= 2.0**61
    covariance = np.empty(len(n))
    for rows, kind in ((~large, np.int64), (large, object)):
        count, ab, a, b = (column[rows].astype(kind) for column in (n, second, first_a, first_b))
        covariance[rows] = (count * ab - a * b) / (count * count)
    return covariance
