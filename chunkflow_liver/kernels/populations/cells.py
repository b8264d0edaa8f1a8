"""A row per cell: how many objects, where their scores lie, and which forms they have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from chunkflow_liver.kernels.populations.forms import FORMS
from chunkflow_liver.kernels.populations.index import fit_skew_normal, ks_distance
from chunkflow_liver.xp import Array

PERCENTILES = (5, 25, 50, 75, 95)
LEAST_FIT = 20
"""Fewest objects of a cell whose scores are given a skew-normal distribution."""


def summaries(
    cell: Array, scores: Mapping[str, Array], form: Array, features: Mapping[str, Array]
) -> dict[str, Array]:
    """One row per cell.

    Parameters
    ----------
    cell : ndarray of shape (n,), integer
        Cell of each object.
    scores : mapping of str to ndarray of shape (n,), float64
        Told in full: mean, standard deviation (n - 1), percentiles, and of the first the skew-normal
        distribution of cells with at least `LEAST_FIT` objects.
    form : ndarray of shape (n,), integer
        Number in `FORMS`.
    features : mapping of str to ndarray of shape (n,), float64
        Told by mean and standard deviation.

    Returns
    -------
    dict of str to ndarray of shape (c,)
        `cell` (ascending), `objects`, `<score>_mean`, `<score>_sd`, `<score>_p5` ... `<score>_p95`,
        `<first>_alpha`, `<first>_loc`, `<first>_scale`, `<first>_ks`, `<form>_fraction`, `<feature>_mean`,
        `<feature>_sd`; a standard deviation of one object is NaN.
    """
    order = np.argsort(cell, kind="stable")
    cells, begins, counts = np.unique(cell[order], return_index=True, return_counts=True)
    parts = np.split(order, begins[1:]) if len(cells) else []
    found: dict[str, Array] = {"cell": cells, "objects": counts}
    for i, (name, values) in enumerate(scores.items()):
        found |= _spread(name, values, parts)
        levels = np.array([np.percentile(values[part], PERCENTILES) for part in parts])
        for p, level in zip(PERCENTILES, levels.reshape(len(parts), -1).T, strict=True):
            found[f"{name}_p{p}"] = level
        if i == 0:
            found |= _skewed(name, values, parts)
    for kind, name in enumerate(FORMS):
        found[f"{name.removesuffix('-like')}_fraction"] = _means(parts, form == kind)
    for name, values in features.items():
        found |= _spread(name, values, parts)
    return found


def _spread(name: str, values: Array, parts: Sequence[Array]) -> dict[str, Array]:
    return {
        f"{name}_mean": _means(parts, values),
        f"{name}_sd": np.array([values[p].std(ddof=1) if len(p) > 1 else np.nan for p in parts], float),
    }


def _means(parts: Sequence[Array], values: Array) -> Array:
    return np.array([values[p].mean() for p in parts], np.float64)


def _skewed(name: str, values: Array, parts: Sequence[Array]) -> dict[str, Array]:
    rows = np.full((len(parts), 4), np.nan)
    for row, part in zip(rows, parts, strict=True):
        own = np.sort(values[part])
        fit = fit_skew_normal(own) if len(own) >= LEAST_FIT else None
        if fit is not None:
            row[:] = fit.alpha, fit.loc, fit.scale, ks_distance(own, fit)
    return {f"{name}_{what}": rows[:, i] for i, what in enumerate(("alpha", "loc", "scale", "ks"))}
