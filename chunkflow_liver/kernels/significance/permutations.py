"""Is there more contact at narrowings than elsewhere? Permutation tests, effect sizes and intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from chunkflow_liver.kernels.significance.intervals import intervals, over, spread
from chunkflow_liver.xp import Array

EFFECT = (
    "objects",
    "rarer",
    "cells",
    "missing",
    "unpaired",
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

    Returns
    -------
    dict
        The entries of `EFFECT`. `objects` (informative ones; `rarer` are as many) in `cells`, `missing`
        (objects that have both kinds of window but no contact in any: 0/0), `unpaired` (objects with a
        narrowing and no other window), `mean_narrow`, `mean_control` (means over objects of the mean density
        of their windows), `difference` and `ratio` of these two with 95 %
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
    only. There is none for two cells, or fewer than `intervals.LEAST` objects of one cell.

    References
    ----------
    .. [1] Phipson and Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010), doi:10.2202/1544-6115.1585
    .. [2] Davison and Hinkley, Bootstrap Methods and their Application (1997), section 3.8
    .. [3] Fieller, J. R. Stat. Soc. B 16 (1954), doi:10.1111/j.2517-6161.1954.tb00159.x
    """
    objects = _objects(seen := _sorted(seen, seen.label))
    both = (objects.narrow > 0) & (objects.narrow < objects.windows)
    informative = both & (objects.total > 0)
    left = {
        "missing": int((both & ~informative).sum()),
        "unpaired": int(((objects.narrow > 0) & ~both).sum()),
    }
    if not informative.any():
        return _nothing(left)
    seen = seen.of(informative[objects.row])
    objects = _objects(seen)
    narrow = objects.narrow_total / objects.narrow
    control = (objects.total - objects.narrow_total) / (objects.windows - objects.narrow)
    rng = np.random.default_rng(seed)
    p_value = _p_value(
        _deviations(seen, objects),
        np.arange(len(seen.label) + 1),
        _begins(objects.windows),
        seen.narrow.astype(np.int64),
        permutations,
        rng,
    )
    return paired_effect(narrow, control, objects.cell, draws, rng) | left | {"p_value": p_value}


def between_objects(seen: Observed, *, permutations: int, draws: int, seed: int) -> dict[str, float]:
    """Narrowings against the windows of objects that have no narrowing, in the same cells.

    Parameters
    ----------
    seen, permutations, draws, seed
        As for `within_objects`; cells that have not both kinds of object say nothing and are left out.

    Returns
    -------
    dict
        The entries of `EFFECT`, with cells in the place of objects but in `objects`, and in `rarer`, the
        objects of the kind (with or without narrowings) that there are fewer of: means over cells of
        the means of their objects, each the mean density of its narrowings or, without narrowings, of
        all its windows.
        `missing` counts the cells that have both kinds but no contact at all, `unpaired` those that have
        one kind only.

    Notes
    -----
    A permutation draws anew, in each cell, which objects have the narrowings and at which of their windows
    they lie: the value of an object with narrowings comes from less surface and varies more, and so it does
    in every permutation. Where objects of a cell, and windows of an object, may be exchanged without an
    effect, p is exact for any number of them and any distribution. Windows of unequal surface are brought
    to one variance as in `within_objects`. The statistic is the mean difference over its standard error,
    with one variance for each kind of object, so that p holds for many objects also where the two kinds
    vary unequally [1]_ [2]_. An object that has fewer windows than the narrowings it is given has all.

    Intervals draw whole cells; from one cell, objects of each kind, with the degrees of freedom of the
    rarer kind.

    References
    ----------
    .. [1] Janssen, Statistics and Probability Letters 36 (1997), doi:10.1016/S0167-7152(97)00043-6
    .. [2] Chung and Romano, Annals of Statistics 41 (2013), doi:10.1214/13-AOS1090
    """
    objects = _objects(seen := _sorted(seen, seen.label))
    treated = objects.narrow > 0
    row = np.unique(objects.cell, return_inverse=True)[1]
    some, size = np.bincount(row, treated), np.bincount(row)
    both = (some > 0) & (some < size)
    # All contact of a cell decides: it does not depend on who has the narrowings.
    kept = both & (np.bincount(row, objects.total) > 0)
    left = {"missing": int((both & ~kept).sum()), "unpaired": int((~both).sum())}
    if not kept.any():
        return _nothing(left)
    chosen = kept[row]
    seen = seen.of(chosen[objects.row])
    treated, row = treated[chosen], np.unique(row[chosen], return_inverse=True)[1]
    # Objects by cell, those with narrowings first.
    rank = np.argsort(np.lexsort((~treated, row)))
    objects = _objects(seen := _sorted(seen, rank[_objects(seen).row]))
    treated, row = objects.narrow > 0, np.sort(row)
    rng = np.random.default_rng(seed)
    p_value = _p_value(
        _levels(seen, objects) + _deviations(seen, objects),
        _begins(objects.windows),
        _begins(np.bincount(row)),
        objects.narrow,
        permutations,
        rng,
        studentised=True,
    )
    value = np.where(
        treated, objects.narrow_total / np.maximum(objects.narrow, 1), objects.total / objects.windows
    )
    cells = np.arange(row[-1] + 1)
    narrow, control = (
        np.bincount(row, value * kind) / np.bincount(row, kind) for kind in (treated, ~treated)
    )
    found = paired_effect(narrow, control, cells, draws, rng)
    rarer = int(min(treated.sum(), (~treated).sum()))
    found |= left | {"objects": len(row), "rarer": rarer, "p_value": p_value}
    if len(cells) > 1:
        return found
    around = np.zeros((2, 2))
    for kind, side in ((treated, [1.0, 0.0]), (~treated, [0.0, 1.0])):
        own = np.sort(value[kind])
        around += spread(own[:, None] * side, np.ones(len(own)), draws, rng)
    return found | intervals(found["mean_narrow"], found["mean_control"], around, rarer)


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


def _sorted(seen: Observed, label: Array) -> Observed:
    """Windows by object, its narrowings first; with `label` in the place of theirs."""
    order = np.lexsort((seen.area, seen.density, ~seen.narrow, label))
    return replace(seen, label=label).of(order)


def _begins(sizes: Array) -> Array:
    return np.concatenate([[0], np.cumsum(sizes)])


def _levels(seen: Observed, objects: _Objects) -> Array:
    """Contact per surface of the object of each window."""
    area, contact = (np.bincount(objects.row, v) for v in (seen.area, seen.density * seen.area))
    return np.asarray((contact / area)[objects.row])


def _deviations(seen: Observed, objects: _Objects) -> Array:
    """Densities less the level of their object, at one variance if theirs goes as 1 / area."""
    others = np.bincount(objects.row, seen.area)[objects.row] - seen.area
    # What has no other window is its object's level.
    some = objects.windows[objects.row] > 1
    scale = np.sqrt((objects.windows[objects.row] - 1) * seen.area / np.where(some, others, 1.0))
    return np.asarray((seen.density - _levels(seen, objects)) * scale)


def _p_value(
    values: Array,
    windows: Array,
    groups: Array,
    roles: Array,
    permutations: int,
    rng: np.random.Generator,
    *,
    studentised: bool = False,
) -> float:
    """Two-sided, of a design against random ones; see `permutation_loops.differences`."""
    from chunkflow_liver.kernels.significance import permutation_loops

    sums = np.zeros((1 + permutations, 3))
    permutation_loops.differences(values.copy(), windows, groups, roles, rng, sums)
    statistic = np.abs(sums[:, 0])
    counts = np.stack(
        [np.add.reduceat(kind.astype(np.int64), groups[:-1]) for kind in (roles > 0, roles == 0)]
    )
    free = (counts - 1).sum(1)
    if studentised and (free > 0).all():
        error = np.sqrt(np.maximum(sums[:, 1:], 0.0) @ ((1 / counts).sum(1) / free))
        statistic = statistic / np.maximum(error, _TIE)
    extreme = int((statistic[1:] >= statistic[0] * (1 - _TIE) - _TIE * len(roles)).sum())
    return (1 + extreme) / (1 + permutations)


def paired_effect(
    narrow: Array, control: Array, cell: Array, draws: int, rng: np.random.Generator
) -> dict[str, float]:
    """Paired effect sizes, and intervals from whole cells (or, of one cell, objects)."""
    values = np.stack([narrow, control], 1)
    cells, row = np.unique(cell, return_inverse=True)
    weight = np.ones(len(values))
    if len(cells) > 1:
        weight = np.bincount(row).astype(np.float64)
        values = np.stack([np.bincount(row, side) for side in (narrow, control)], 1) / weight[:, None]
    around = spread(values, weight, draws, rng)
    difference = narrow - control
    apart = np.abs(difference) > _TIE
    return intervals(float(narrow.mean()), float(control.mean()), around, len(values)) | {
        "objects": len(narrow),
        "rarer": len(narrow),
        "cells": len(cells),
        "standardised": over(float(difference.mean()), float(difference.std(ddof=1)))
        if len(narrow) > 1
        else math.nan,
        "share_greater": float((difference[apart] > 0).mean()) if apart.any() else math.nan,
    }


def _nothing(left: dict[str, int]) -> dict[str, float]:
    return dict.fromkeys(EFFECT, math.nan) | {"objects": 0, "rarer": 0, "cells": 0} | left
