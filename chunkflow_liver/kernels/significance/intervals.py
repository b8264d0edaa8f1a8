"""Two means and their 95 % intervals: of the difference by t, of the ratio by Fieller's theorem."""

from __future__ import annotations

import math

import numpy as np

from chunkflow_liver.xp import Array

LEAST = 3
"""Fewest cells, or objects where there is one cell, from which an interval is given."""

_BATCH = 1 << 21


def spread(values: Array, weight: Array, draws: int, rng: np.random.Generator) -> Array:
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


def intervals(narrow: float, control: float, spread: Array, units: int) -> dict[str, float]:
    """Difference and ratio of two means, with 95 % intervals from their covariance; NaN without one."""
    from scipy.stats import t

    found = {
        "mean_narrow": narrow,
        "mean_control": control,
        "difference": narrow - control,
        "ratio": over(narrow, control),
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


def over(a: float, b: float) -> float:
    """a / b; NaN for 0 / 0 and inf for what is over 0."""
    if b > 0:
        return a / b
    return math.nan if a == 0 else math.copysign(math.inf, a)
