"""Is there more contact at narrowings than elsewhere? Permutation tests, effect sizes and intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from chunkflow_liver.xp import Array

EFFECT = (
    "objects",
    "cells",
    "missing",
    "mean_narrow",
    "mean_control",
    "difference",
    "difference_low",
    "difference_high",
    "ratio",
    "ratio_low",
    "ratio_high",
    "standardised",
    "share_greater",
    "p_value",
)
"""What a test says; see `within_objects`."""

LEAST = 3
"""Fewest cells, or objects where there is one cell, from which an interval is given."""

_BATCH = 1 << 21
# Sums that differ by less are equal: the order of additions may not decide.
_TIE = 1e-12


@dataclass(frozen=True)
class Observed:
    """Contact densities (0 to 1) of windows.

    Attributes
    ----------
    density : ndarray of shape (w,), float64
    narrow : ndarray of shape (w,), bool
        Whether the window is at a narrowing.
    label : ndarray of shape (w,), integer
        Object of the window.
    cell : ndarray of shape (w,), integer
        Cell of that object; one number for all if there are none.
    area : ndarray of shape (w,), float64
        Surface of the window, above 0, in any unit.
    """

    density: Array
    narrow: Array
    label: Array
    cell: Array
    area: Array

    def of(self, chosen: Array) -> Observed:
        """The chosen windows (mask or rows)."""
        columns = (self.density, self.narrow, self.label, self.cell, self.area)
        return Observed(*(column[chosen] for column in columns))


@dataclass(frozen=True)
class _Objects:
    """Windows summed by object, one row each."""

    label: Array
    cell: Array
    row: Array
    windows: Array
    narrow: Array
    total: Array
    narrow_total: Array


def within_objects(
    seen: Observed,
    *,
    permutations: int,
    draws: int,
    seed: int | tuple[int, int],
    studentised: bool = False,
) -> dict[str, float]:
    """Narrowings against other places of the same objects.

    Parameters
    ----------
    seen : Observed
        Windows; objects without a narrowing or without another place say nothing and are left out.
    permutations, draws : int
        Of the test and for the intervals.
    seed : int or tuple of int
        Of the random numbers of both.
    studentised : bool
        Whether the mean difference is divided by its standard error, of two variances that all objects
        share, before it is compared; for objects of many windows.

    Returns
    -------
    dict
        The entries of `EFFECT`. `objects` (informative ones) in `cells`, `missing` (objects that have
        both kinds of window but no contact in any: 0/0), `mean_narrow`, `mean_control` (means over
        objects of the mean density of their windows), `difference` and `ratio` of these two with 95 %
        intervals, `standardised` (mean over standard deviation of the objects' differences),
        `share_greater` (objects with more contact at narrowings, of those with any difference),
        `p_value` (two-sided, never 0). What cannot be said is NaN; a ratio to 0 is inf.

    Notes
    -----
    Without an effect a narrowing might as well lie at any other window of its object, but for its size:
    a neck has less surface, and the density of a smaller window varies more, as 1 / area where contact
    comes in patches. Exchanged as they are, such densities give small p-values too often. So the
    windows' deviations from their object's contact per surface are first brought to one variance
    (times the square root of (m - 1) a / (A - a), with a the area of the window and A that of all m
    windows: 1 where all are equal). Each permutation draws, in every object, as many windows as there
    are narrowings; the statistic is the mean difference of the deviations,
    p = (1 + as extreme ones) / (1 + permutations) [1]_. Where density varies less with area than this,
    the test errs towards large p-values. Objects weigh the same whatever their number of windows.

    Intervals are those of t with one degree of freedom less than there are cells, and with the
    covariance of the two means when whole cells are drawn with replacement [2]_; that of the ratio is
    Fieller's [3]_. From one cell whole objects are drawn, and the interval is about objects of this cell
    only. There is none for two cells, or fewer than `LEAST` objects of one cell.

    References
    ----------
    .. [1] Phipson and Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010), doi:10.2202/1544-6115.1585
    .. [2] Davison and Hinkley, Bootstrap Methods and their Application (1997), section 3.8
    .. [3] Fieller, J. R. Stat. Soc. B 16 (1954), doi:10.1111/j.2517-6161.1954.tb00159.x
    """
    seen = seen.of(np.lexsort((seen.area, seen.density, ~seen.narrow, seen.label)))
    objects = _objects(seen)
    both = (objects.narrow > 0) & (objects.narrow < objects.windows)
    informative = both & (objects.total > 0)
    missing = int((both & ~informative).sum())
    if not informative.any():
        return _nothing(missing)
    seen = seen.of(informative[objects.row])
    objects = _objects(seen)
    narrow = objects.narrow_total / objects.narrow
    control = (objects.total - objects.narrow_total) / (objects.windows - objects.narrow)
    rng = np.random.default_rng(seed)
    extreme = _extreme(_deviations(seen, objects), objects, permutations, rng, studentised=studentised)
    return _effect(narrow, control, objects.cell, draws, rng) | {
        "missing": missing,
        "p_value": (1 + extreme) / (1 + permutations),
    }


def between_objects(seen: Observed, *, permutations: int, draws: int, seed: int) -> dict[str, float]:
    """Narrowings against the windows of objects that have no narrowing, in the same cells.

    Parameters
    ----------
    seen, permutations, draws, seed
        As for `within_objects`; cells that have not both kinds of object say nothing and are left out.

    Returns
    -------
    dict
        The entries of `EFFECT`, with cells in the place of objects but in `objects`: means over cells of
        the means of their objects, each the mean density of its narrowings or, without narrowings, of
        all its windows.
        `missing` counts the cells that have both kinds but no contact at all.

    Notes
    -----
    Permutations exchange objects with and without narrowings in each cell. Intervals draw whole cells;
    from one cell, objects of each kind, with the degrees of freedom of the rarer kind.

    The value of an object with narrowings comes from less surface and varies more, so that what is
    permuted is the difference over its standard error, with one variance for each kind of object [1]_:
    the mean difference alone gives small p-values too often where few objects have a narrowing (0.24 to
    0.3 of them up to 0.05 in simulations without an effect; with its error 0.02 to 0.11).

    References
    ----------
    .. [1] Janssen, Statistics and Probability Letters 36 (1997), doi:10.1016/S0167-7152(97)00043-6
    """
    objects = _objects(seen.of(np.lexsort((seen.density, ~seen.narrow, seen.label))))
    treated = objects.narrow > 0
    value = np.where(
        treated, objects.narrow_total / np.maximum(objects.narrow, 1), objects.total / objects.windows
    )
    pooled = Observed(value, treated, objects.cell, np.zeros(len(value), np.int64), np.ones(len(value)))
    found = within_objects(pooled, permutations=permutations, draws=1, seed=seed, studentised=True)
    row = np.unique(objects.cell, return_inverse=True)[1]
    some, size = np.bincount(row, treated), np.bincount(row)
    total, contact = np.bincount(row, value * treated), np.bincount(row, value)
    kept = (some > 0) & (some < size) & (contact > 0)
    if not kept.any():
        return found
    rng = np.random.default_rng(seed)
    if kept.sum() > 1:
        means = np.stack([total / np.maximum(some, 1), (contact - total) / np.maximum(size - some, 1)], 1)
        units, spread = int(kept.sum()), _spread(means[kept], np.ones(kept.sum()), draws, rng)
    else:
        units = int(min(some[kept][0], (size - some)[kept][0]))
        spread = np.zeros((2, 2))
        for kind, side in ((treated, [1.0, 0.0]), (~treated, [0.0, 1.0])):
            own = np.sort(value[kept[row] & kind])
            spread += _spread(own[:, None] * side, np.ones(len(own)), draws, rng)
    sizes = {"objects": int(size[kept].sum()), "cells": int(kept.sum())}
    return found | sizes | _intervals(found["mean_narrow"], found["mean_control"], spread, units)


def adjusted(p_values: Array) -> Array:
    """Benjamini and Hochberg's q-values, (n,): the false discovery rate; NaN stays and does not count.

    References
    ----------
    .. [1] Benjamini and Hochberg, J. R. Stat. Soc. B 57 (1995), doi:10.1111/j.2517-6161.1995.tb02031.x
    """
    q = np.full(len(p_values), np.nan)
    known = np.flatnonzero(np.isfinite(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    scaled = p_values[order] * len(order) / np.arange(1, len(order) + 1)
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q


def _objects(seen: Observed) -> _Objects:
    """Windows, which are sorted by object, summed by object."""
    label, first, row, windows = np.unique(
        seen.label, return_index=True, return_inverse=True, return_counts=True
    )
    n = len(label)
    return _Objects(
        label,
        seen.cell[first],
        row,
        windows,
        np.bincount(row, seen.narrow, n).astype(np.int64),
        np.bincount(row, seen.density, n),
        np.bincount(row, seen.density * seen.narrow, n),
    )


def _deviations(seen: Observed, objects: _Objects) -> Array:
    """Densities less that of all windows of their object, at one variance if theirs goes as 1 / area."""
    n = len(objects.label)
    area = np.bincount(objects.row, seen.area, n)
    level = (np.bincount(objects.row, seen.density * seen.area, n) / area)[objects.row]
    others = area[objects.row] - seen.area
    scale = np.sqrt((objects.windows[objects.row] - 1) * seen.area / others)
    return np.asarray((seen.density - level) * scale)


def _extreme(
    deviation: Array,
    objects: _Objects,
    permutations: int,
    rng: np.random.Generator,
    *,
    studentised: bool,
) -> int:
    """How many permutations have a mean difference at least as far from 0 as the observed one."""
    starts = np.cumsum(objects.windows) - objects.windows
    # Of the observed windows and of every permutation: the difference of the two means, and the squares of
    # narrowings and of controls around theirs.
    sums = np.zeros((1 + permutations, 3))
    free, share = np.zeros(2), np.zeros(2)
    for m, k in np.unique(np.stack([objects.windows, objects.narrow], 1), axis=0).tolist():
        alike = (objects.windows == m) & (objects.narrow == k)
        values = deviation[starts[alike][:, None] + np.arange(m)]
        n = len(values)
        free += n * np.array([k - 1, m - k - 1])
        share += n * np.array([1 / k, 1 / (m - k)])
        # Narrowings come first in their object.
        sums[:1] += _differences(values[None, :, :k], values)
        step = max(1, _BATCH // (n * m))
        for begin in range(1, 1 + permutations, step):
            size = min(step, 1 + permutations - begin)
            if k == 1:
                drawn = values[np.arange(n), rng.integers(m, size=(size, n))][:, :, None]
            else:
                first = np.argpartition(rng.random((size, n, m)), k - 1, axis=2)[:, :, :k]
                drawn = np.take_along_axis(np.broadcast_to(values, (size, n, m)), first, 2)
            sums[begin : begin + size] += _differences(drawn, values)
    statistic = np.abs(sums[:, 0])
    if studentised and (free > 0).all():
        error = np.sqrt(np.maximum(sums[:, 1:], 0.0) @ (share / free))
        statistic = statistic / np.maximum(error, _TIE)
    return int((statistic[1:] >= statistic[0] - _TIE * len(objects.label)).sum())


def _differences(narrow: Array, values: Array) -> Array:
    """Sums over objects (p, 3) for `narrow` windows (p, n, k) of the n objects' `values` (n, m)."""
    k, others = narrow.shape[2], values.shape[1] - narrow.shape[2]
    total, squares = narrow.sum(2), (narrow**2).sum(2)
    rest = values.sum(1) - total
    around = squares - total**2 / k, (values**2).sum(1) - squares - rest**2 / others
    return np.stack([(total / k - rest / others).sum(1), *(side.sum(1) for side in around)], 1)


def _effect(
    narrow: Array, control: Array, cell: Array, draws: int, rng: np.random.Generator
) -> dict[str, float]:
    """Paired effect sizes, and intervals from whole cells (or, of one cell, objects)."""
    values = np.stack([narrow, control], 1)
    cells, row = np.unique(cell, return_inverse=True)
    weight = np.ones(len(values))
    if len(cells) > 1:
        weight = np.bincount(row).astype(np.float64)
        values = np.stack([np.bincount(row, side) for side in (narrow, control)], 1) / weight[:, None]
    spread = _spread(values, weight, draws, rng)
    difference = narrow - control
    apart = np.abs(difference) > _TIE
    return _intervals(float(narrow.mean()), float(control.mean()), spread, len(values)) | {
        "objects": len(narrow),
        "cells": len(cells),
        "standardised": _over(float(difference.mean()), float(difference.std(ddof=1)))
        if len(narrow) > 1
        else math.nan,
        "share_greater": float((difference[apart] > 0).mean()) if apart.any() else math.nan,
    }


def _spread(values: Array, weight: Array, draws: int, rng: np.random.Generator) -> Array:
    """Covariance (2, 2) of the weighted mean of units (u, 2) that are drawn with replacement."""
    units = len(values)
    if units < LEAST or draws < 2:
        return np.full((2, 2), math.nan)
    sums = np.concatenate([values * weight[:, None], weight[:, None]], 1)
    step = max(1, _BATCH // units)
    parts = [
        sums[rng.integers(units, size=(min(step, draws - begin), units))].sum(1)
        for begin in range(0, draws, step)
    ]
    found = np.concatenate(parts)
    # Drawn units vary by a share of 1 / u less than new ones would.
    return np.cov((found[:, :2] / found[:, 2:]).T) * (units / (units - 1))


def _intervals(narrow: float, control: float, spread: Array, units: int) -> dict[str, float]:
    """Difference and ratio of two means, with 95 % intervals from their covariance; NaN without one."""
    from scipy.stats import t

    found = {
        "mean_narrow": narrow,
        "mean_control": control,
        "difference": narrow - control,
        "ratio": _over(narrow, control),
    }
    if not np.isfinite(spread).all():
        names = ("difference_low", "difference_high", "ratio_low", "ratio_high")
        return found | dict.fromkeys(names, math.nan)
    reach = float(t.ppf(0.975, units - 1))
    (one, both), (_, other) = spread.tolist()
    half = reach * math.sqrt(max(one - 2 * both + other, 0.0))
    low, high = _ratios(narrow, control, reach**2 * spread)
    return found | {
        "difference_low": narrow - control - half,
        "difference_high": narrow - control + half,
        "ratio_low": low,
        "ratio_high": high,
    }


def _ratios(narrow: float, control: float, reach: Array) -> tuple[float, float]:
    """Ratios r from 0 on for which narrow - r control lies within reach of 0: the smallest and the largest.

    Notes
    -----
    That is a r^2 - 2 b r + c <= 0. If control itself may be 0 (a <= 0) there is no largest.
    """
    a, b, c = control**2 - reach[1, 1], narrow * control - reach[0, 1], narrow**2 - reach[0, 0]
    root = math.sqrt(max(b * b - a * c, 0.0))
    if a > 0:
        return max((b - root) / a, 0.0), max((b + root) / a, 0.0)
    # At 0 the expression is c: where that is above 0 the ratios begin at its positive root.
    return (c / (b + root) if c > 0 and b + root > 0 else 0.0), math.inf


def _over(a: float, b: float) -> float:
    """a / b; NaN for 0 / 0 and inf for what is over 0."""
    if b > 0:
        return a / b
    return math.nan if a == 0 else math.copysign(math.inf, a)


def _nothing(missing: int) -> dict[str, float]:
    return dict.fromkeys(EFFECT, math.nan) | {"objects": 0, "cells": 0, "missing": missing}
