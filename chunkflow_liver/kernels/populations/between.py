"""Do cells differ? Analysis of variance by rank and by value, the intraclass correlation, a mixed model."""

from __future__ import annotations

import math

import numpy as np

from chunkflow_liver.kernels.significance.power import detectable_noncentrality
from chunkflow_liver.xp import Array

TESTED = (
    "objects",
    "cells",
    "mean",
    "sd",
    "cells_sd",
    "anova_f",
    "anova_p",
    "kruskal_h",
    "kruskal_p",
    "eta_squared",
    "omega_squared",
    "epsilon_squared",
    "icc",
    "icc_low",
    "icc_high",
    "mixed_cells_variance",
    "mixed_objects_variance",
    "mixed_icc",
    "mixed_p",
    "detectable_eta_squared",
)
"""What is said of a column; see `between_cells`."""
_STEPS = 101
SMALL = 0.01
"""Cohen's small effect: a part of 0.01 of the variance lies between cells."""


def between_cells(values: Array, cell: Array) -> dict[str, float]:
    """How a column differs between cells: tests, and how much.

    Parameters
    ----------
    values : ndarray of shape (n,), float64
    cell : ndarray of shape (n,), integer

    Returns
    -------
    dict
        The entries of `TESTED`: `sd` of all objects and `cells_sd` of the cells' means (n - 1);
        one-way analysis of variance and Kruskal and Wallis's test; `eta_squared` (part of the sum of squares
        between cells), `omega_squared` (the same without its bias), `epsilon_squared` (of ranks,
        (H - k + 1) / (n - k)); ICC(1) with a 95 % interval; variances of a model with cells as random effect
        (REML) and the p-value of its likelihood ratio; and the smallest `eta_squared` that these numbers of
        objects and cells would find with a power of 0.8 at the level 0.05. What cannot be said, for one cell
        or for cells of one object each, is NaN.

    Notes
    -----
    ICC(1) = (MSb - MSw) / (MSb + (m - 1) MSw) with m = (n - sum n_i^2 / n) / (k - 1), which is the mean size
    where cells are equal [1]_; the interval is that of F [1]_, exact for equal cells.
    The p-values ask whether these cells differ, which those of any tissue do: with enough objects all of
    them are small.

    References
    ----------
    .. [1] Searle, Casella and McCulloch, Variance Components (1992), sections 3.5 and 3.6
    """
    cells, row, sizes = np.unique(cell, return_inverse=True, return_counts=True)
    n, k = len(values), len(cells)
    found = dict.fromkeys(TESTED, math.nan) | {"objects": n, "cells": k}
    if not n:
        return found
    found["mean"] = float(values.mean())
    found["sd"] = float(values.std(ddof=1)) if n > 1 else math.nan
    means = np.bincount(row, values) / sizes
    if k < 2 or n <= k:
        return found
    found["cells_sd"] = float(means.std(ddof=1))
    between = float((sizes * (means - values.mean()) ** 2).sum())
    within = float(((values - means[row]) ** 2).sum())
    if not within > 0:
        return found
    return found | _variance(between, within, sizes) | _ranks(values, row, sizes) | mixed(values, row)


def _variance(between: float, within: float, sizes: Array) -> dict[str, float]:
    from scipy.stats import f

    n, k = int(sizes.sum()), len(sizes)
    ms_between, ms_within = between / (k - 1), within / (n - k)
    ratio = ms_between / ms_within
    size = (n - float((sizes.astype(float) ** 2).sum()) / n) / (k - 1)
    low, high = (ratio / float(f.ppf(p, k - 1, n - k)) for p in (0.975, 0.025))

    def icc(value: float) -> float:
        return (value - 1) / (value + size - 1)

    return {
        "anova_f": ratio,
        "anova_p": float(f.sf(ratio, k - 1, n - k)),
        "eta_squared": between / (between + within),
        "omega_squared": (between - (k - 1) * ms_within) / (between + within + ms_within),
        "icc": icc(ratio),
        "icc_low": icc(low),
        "icc_high": icc(high),
        "detectable_eta_squared": detectable(n, k),
    }


def _ranks(values: Array, row: Array, sizes: Array) -> dict[str, float]:
    from scipy.stats import chi2, rankdata

    n, k = len(values), len(sizes)
    rank = rankdata(values)
    sums = np.bincount(row, rank)
    ties = np.unique(values, return_counts=True)[1].astype(float)
    correction = 1 - float((ties**3 - ties).sum()) / (n**3 - n)
    h = (12 / (n * (n + 1)) * float((sums**2 / sizes).sum()) - 3 * (n + 1)) / correction
    return {
        "kruskal_h": h,
        "kruskal_p": float(chi2.sf(h, k - 1)),
        "epsilon_squared": (h - k + 1) / (n - k),
    }


def mixed(values: Array, row: Array) -> dict[str, float]:
    """Variances between and within cells by REML, and the p-value of the likelihood ratio.

    Parameters
    ----------
    values : ndarray of shape (n,), float64
    row : ndarray of shape (n,), integer
        Number of the cell, 0, 1, ...

    Returns
    -------
    dict
        `mixed_cells_variance, mixed_objects_variance, mixed_icc, mixed_p`.

    Notes
    -----
    With one random effect the restricted likelihood is a function of the intraclass correlation alone, whose
    largest value is looked for from 0 to 1, both ends included: where cells differ less than by chance
    it is 0, which general optimisers miss. Without a difference the variance lies at the end of its range, so
    that twice the log of the likelihood ratio is 0 in half of all samples, and as chi2 with one degree of
    freedom in the others [1]_.

    References
    ----------
    .. [1] Self and Liang, Journal of the American Statistical Association 82 (1987),
       doi:10.1080/01621459.1987.10478472
    """
    from scipy.optimize import minimize_scalar
    from scipy.stats import chi2

    n, sizes = len(values), np.bincount(row).astype(np.float64)
    means = np.bincount(row, values) / sizes
    within = float(((values - means[row]) ** 2).sum())

    def at(icc: float) -> tuple[float, float]:
        """-2 log likelihood, but for a constant, and the variance within."""
        ratio = icc / (1 - icc)
        weight = sizes / (1 + sizes * ratio)
        around = means - (weight * means).sum() / weight.sum()
        variance = (within + float((weight * around**2).sum())) / (n - 1)
        spread = float(np.log1p(sizes * ratio).sum()) + math.log(float(weight.sum()))
        return (n - 1) * math.log(variance) + spread, variance

    grid = np.linspace(0, 1 - 1e-9, _STEPS)
    tried = [at(icc)[0] for icc in grid.tolist()]
    best = int(np.argmin(tried))
    ends = (grid[max(best - 1, 0)], grid[min(best + 1, _STEPS - 1)])
    fine = minimize_scalar(lambda x: at(x)[0], bounds=ends, method="bounded", options={"xatol": 1e-10})
    icc = float(fine.x) if fine.fun < tried[0] else 0.0
    least, variance = at(icc)
    ratio = max(0.0, tried[0] - least)
    return {
        "mixed_cells_variance": variance * icc / (1 - icc),
        "mixed_objects_variance": variance,
        "mixed_icc": icc,
        "mixed_p": 1.0 if ratio == 0 else 0.5 * float(chi2.sf(ratio, 1)),
    }


def detectable(objects: int, groups: int) -> float:
    """Smallest part of the variance between groups that an analysis of variance finds with `power.POWER`."""
    squared = detectable_noncentrality(groups - 1, objects - groups) / objects
    # Cohen's f^2 is noncentrality / n, and eta^2 = f^2 / (1 + f^2).
    return squared / (1 + squared)
