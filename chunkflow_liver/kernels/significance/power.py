"""How large an effect must be for a test to find it."""

from __future__ import annotations

import math

POWER, LEVEL = 0.8, 0.05
"""How often an effect is to be found, and how often one that there is not may be."""


def detectable_noncentrality(between: int, within: int, level: float = LEVEL) -> float:
    """Noncentrality of an F statistic that exceeds the limit of `level` with a probability of `POWER`.

    Parameters
    ----------
    between, within : int
        Degrees of freedom.
    level : float

    Returns
    -------
    float
        Cohen's f squared times the number of observations (Statistical Power Analysis, 1988, chapter 8);
        NaN without a degree of freedom.
    """
    from scipy.optimize import brentq
    from scipy.stats import f, ncf

    if between < 1 or within < 1:
        return math.nan
    least = float(f.ppf(1 - level, between, within))

    def lack(noncentrality: float) -> float:
        return float(ncf.sf(least, between, within, noncentrality)) - POWER

    most = 1.0
    while lack(most) < 0:
        most *= 2
    return float(brentq(lack, 0, most))
