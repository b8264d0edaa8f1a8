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
    """

    density: Array
    narrow: Array
    label: Array
    cell: Array

    def of(self, chosen: Array) -> Observed:
        """The chosen windows (mask or rows)."""
        return Observed(self.density[chosen], self.narrow[chosen], self.label[chosen], self.cell[chosen])


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


def within_objects(seen: Observed, *, permutations: int, draws: int, seed: int) -> dict[str, float]:
    """Narrowings against other places of the same objects.

    Parameters
    ----------
    seen : Observed
        Windows; objects without a narrowing or without another place say nothing and are left out.
    permutations, draws, seed : int
        Of the test and of the intervals.

    Returns
    -------
    dict
        The entries of `EFFECT`. `objects` (informative ones) in `cells`, `missing` (objects that have
        both kinds of window but no contact in any: 0/0), `mean_narrow`, `mean_control` (means over
        objects of the mean density of their windows), `difference` and `ratio` of these two with 95 %
        intervals (NaN for fewer than 3 objects, of which draws say nothing), `standardised` (mean over
        standard deviation of the objects' differences), `share_greater` (objects with more contact at
        narrowings, of those with any difference), `p_value` (two-sided, never 0). What cannot be said
        is NaN; a ratio to 0 is inf.

    Notes
    -----
    The test assumes nothing but that without an effect a narrowing might as well lie at any other window
    of its object: each permutation draws, in every object, as many windows as there are narrowings; the
    statistic is the mean difference, p = (1 + as extreme ones) / (1 + permutations) [1]_. Objects weigh
    the same whatever their number of windows. Intervals resample cells and then objects in cells, so
    that objects of one cell do not count as independent [2]_.

    References
    ----------
    .. [1] Phipson and Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010), doi:10.2202/1544-6115.1585
    .. [2] Saravanan, Berman and Sober, Neurons Behav. Data Anal. Theory 3 (2020), hierarchical bootstrap
    """
    seen = seen.of(np.lexsort((seen.density, ~seen.narrow, seen.label)))
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
    extreme = _extreme(seen, objects, float((narrow - control).mean()), permutations, rng)
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
    Permutations exchange objects with and without narrowings in each cell. Intervals resample cells,
    then the objects of each kind in each cell.
    """
    objects = _objects(seen.of(np.lexsort((seen.density, ~seen.narrow, seen.label))))
    treated = objects.narrow > 0
    value = np.where(
        treated, objects.narrow_total / np.maximum(objects.narrow, 1), objects.total / objects.windows
    )
    found = within_objects(
        Observed(value, treated, objects.cell, np.zeros(len(value), np.int64)),
        permutations=permutations,
        draws=1,
        seed=seed,
    )
    order = np.lexsort((value, ~treated, objects.cell))
    treated, value, cell = treated[order], value[order], objects.cell[order]
    cells, size = np.unique(cell, return_counts=True)
    some = np.bincount(np.searchsorted(cells, cell), treated)
    contact = np.bincount(np.searchsorted(cells, cell), value)
    kept = np.isin(cell, cells[(some > 0) & (some < size) & (contact > 0)])
    if not kept.any():
        return found
    group, starts, counts = np.unique(
        np.stack([cell[kept], ~treated[kept]], 1), axis=0, return_index=True, return_counts=True
    )
    means = np.zeros((draws, 2))
    rng = np.random.default_rng(seed)
    for i in range(draws):
        pairs = 2 * rng.integers(len(group) // 2, size=len(group) // 2)[:, None] + np.arange(2)
        rows, first = _drawn(starts[pairs.ravel()], counts[pairs.ravel()], rng)
        mean = np.add.reduceat(value[kept][rows], first) / counts[pairs.ravel()]
        means[i] = mean.reshape(-1, 2).mean(0)
    sizes = {"objects": int(kept.sum()), "cells": len(group) // 2}
    means = means if kept.sum() > 4 else means[:0]
    return found | sizes | _intervals(found["mean_narrow"], found["mean_control"], means)


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


def _extreme(
    seen: Observed, objects: _Objects, observed: float, permutations: int, rng: np.random.Generator
) -> int:
    """How many permutations have a mean difference at least as far from 0 as the observed one."""
    starts = np.cumsum(objects.windows) - objects.windows
    sums = np.zeros(permutations)
    for m, k in np.unique(np.stack([objects.windows, objects.narrow], 1), axis=0).tolist():
        alike = (objects.windows == m) & (objects.narrow == k)
        values = seen.density[starts[alike][:, None] + np.arange(m)]
        n = len(values)
        sums -= values.sum() / (m - k)
        step = max(1, _BATCH // (n * m))
        for begin in range(0, permutations, step):
            size = min(step, permutations - begin)
            if k == 1:
                drawn = values[np.arange(n), rng.integers(m, size=(size, n))]
            else:
                first = np.argpartition(rng.random((size, n, m)), k - 1, axis=2)[:, :, :k]
                drawn = np.take_along_axis(np.broadcast_to(values, (size, n, m)), first, 2).sum(2)
            sums[begin : begin + size] += drawn.sum(1) * (1 / k + 1 / (m - k))
    return int((np.abs(sums / len(objects.label)) >= abs(observed) - _TIE).sum())


def _effect(
    narrow: Array, control: Array, cell: Array, draws: int, rng: np.random.Generator
) -> dict[str, float]:
    """Paired effect sizes, and intervals from cells and objects drawn with replacement."""
    order = np.argsort(cell, kind="stable")
    narrow, control = narrow[order], control[order]
    _, starts, counts = np.unique(cell[order], return_index=True, return_counts=True)
    means = np.zeros((draws, 2))
    for i in range(draws):
        cells = rng.integers(len(starts), size=len(starts))
        rows, _ = _drawn(starts[cells], counts[cells], rng)
        means[i] = narrow[rows].mean(), control[rows].mean()
    difference = narrow - control
    apart = np.abs(difference) > _TIE
    return _intervals(
        float(narrow.mean()), float(control.mean()), means if len(narrow) > 2 else means[:0]
    ) | {
        "objects": len(narrow),
        "cells": len(starts),
        "standardised": _over(float(difference.mean()), float(difference.std(ddof=1)))
        if len(narrow) > 1
        else math.nan,
        "share_greater": float((difference[apart] > 0).mean()) if apart.any() else math.nan,
    }


def _drawn(starts: Array, counts: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Rows drawn with replacement from runs of rows, as many from each as it has, and where each begins."""
    size = np.repeat(counts, counts)
    rows = np.repeat(starts, counts) + (rng.random(len(size)) * size).astype(np.int64)
    return rows, np.cumsum(counts) - counts


def _intervals(narrow: float, control: float, means: Array) -> dict[str, float]:
    """Difference and ratio of two means, and the middle 95 % of those of the draws; NaN without draws."""
    apart = means[:, 0] - means[:, 1]
    # Draws without any contact have no ratio; those with contact on one side only have an infinite one.
    some = means[(means > 0).any(1)]
    ratios = np.divide(some[:, 0], some[:, 1], out=np.full(len(some), np.inf), where=some[:, 1] > 0)
    low, high = np.quantile(apart, [0.025, 0.975]) if len(apart) else (math.nan, math.nan)
    found = {"difference_low": float(low), "difference_high": float(high)}
    for name, share in (("ratio_low", 0.025), ("ratio_high", 0.975)):
        # The draw itself, not a value between two: one of them may be infinite.
        found[name] = float(np.quantile(ratios, share, method="nearest")) if len(ratios) else math.nan
    return found | {
        "mean_narrow": narrow,
        "mean_control": control,
        "difference": narrow - control,
        "ratio": _over(narrow, control),
    }


def _over(a: float, b: float) -> float:
    """a / b; NaN for 0 / 0 and inf for what is over 0."""
    if b > 0:
        return a / b
    return math.nan if a == 0 else math.copysign(math.inf, a)


def _nothing(missing: int) -> dict[str, float]:
    return dict.fromkeys(EFFECT, math.nan) | {"objects": 0, "cells": 0, "missing": missing}
