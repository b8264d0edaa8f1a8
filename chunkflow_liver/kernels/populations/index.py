"""A score as an index of 0 to 1: its place in a skew-normal distribution, or in the population."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from chunkflow_liver.xp import Array

FITTED, RANKED = "skew-normal", "percentile"
MOST_NODES = 2001
"""Values that a percentile index is read from: the scores themselves up to this number, else quantiles."""
STEEPEST = 50.0
"""A shape parameter at this bound is a fit that has failed: half of the normal distribution is missing."""
_SKEWEST = 0.99
"""Largest skewness that a fit begins at; a skew-normal distribution has at most 0.9953."""


@dataclass(frozen=True)
class SkewNormal:
    """Azzalini's distribution: density 2 / scale phi(z) Phi(alpha z), z = (x - loc) / scale."""

    alpha: float
    loc: float
    scale: float

    def cdf(self, x: Array) -> Array:
        from scipy.special import ndtr, owens_t

        z = (x - self.loc) / self.scale
        found: Array = np.clip(ndtr(z) - 2 * owens_t(z, self.alpha), 0.0, 1.0)
        return found


@dataclass(frozen=True)
class Index:
    """How the scores on a component become an index.

    Attributes
    ----------
    fit : SkewNormal
        Of largest likelihood; NaN where there is none.
    distance : float
        Kolmogorov and Smirnov's: the largest between the fit and the population.
    by : str
        `FITTED` or `RANKED`.
    reason : str
        Why by percentile; '' by the fit.
    nodes : ndarray of shape (k,), float64
        Ascending scores at even steps of the population: where percentiles are read.
    """

    fit: SkewNormal
    distance: float
    by: str
    reason: str
    nodes: Array

    def of(self, scores: Array) -> Array:
        """Scores (n,) as index (n,), 0 to 1; NaN stays."""
        if self.by == FITTED:
            return self.fit.cdf(scores)
        at = np.interp(scores, self.nodes, np.linspace(0.0, 1.0, len(self.nodes)))
        return np.where(np.isnan(scores), np.nan, at)


def fit_index(scores: Array, most_distance: float) -> Index:
    """The index of a population's scores (n,).

    Parameters
    ----------
    scores : ndarray of shape (n,), float64
    most_distance : float
        Largest Kolmogorov-Smirnov distance of the fit; beyond it the index is the percentile
        (rank - 1) / (n - 1) in this population.

    Notes
    -----
    The distance is no test: parameters are fitted to the same scores, and with many objects any distance
    would be significant. It says by how much the index may differ from the share of objects below.
    """
    ordered = np.sort(scores)
    nodes = ordered if len(ordered) <= MOST_NODES else np.quantile(ordered, np.linspace(0, 1, MOST_NODES))
    found = fit_skew_normal(ordered)
    if found is None:
        none = SkewNormal(math.nan, math.nan, math.nan)
        return Index(none, math.nan, RANKED, "the skew-normal fit failed", nodes)
    distance = ks_distance(ordered, found)
    if distance > most_distance:
        reason = f"the skew-normal fit is {distance:.3f} off, more than {most_distance:g}"
        return Index(found, distance, RANKED, reason, nodes)
    return Index(found, distance, FITTED, "", nodes)


def ks_distance(ordered: Array, fit: SkewNormal) -> float:
    """Largest distance between a distribution and ascending values (n,), 0 to 1."""
    below, n = fit.cdf(ordered), len(ordered)
    steps = np.arange(n + 1) / n
    return float(max((steps[1:] - below).max(), (below - steps[:-1]).max()))


def fit_skew_normal(values: Array) -> SkewNormal | None:
    """The skew-normal distribution of largest likelihood; None where none is largest or values are equal.

    Notes
    -----
    Begins at the moments. The likelihood may grow without bound in `alpha` (few values, or a distribution
    that ends at once): such a fit has failed.

    References
    ----------
    .. [1] Azzalini, Scandinavian Journal of Statistics 12 (1985), 171-178
    """
    from scipy.optimize import minimize
    from scipy.special import log_ndtr

    mean, sd = float(values.mean()), float(values.std())
    if len(values) < 3 or not sd > 0:
        return None
    u = (values - mean) / sd

    def loss(at: Array) -> tuple[float, Array]:
        loc, log_scale, alpha = at
        z = (u - loc) * math.exp(-log_scale)
        tail = log_ndtr(alpha * z)
        hazard = np.exp(-0.5 * (alpha * z) ** 2 - 0.5 * math.log(2 * math.pi) - tail)
        value = log_scale + 0.5 * float((z * z).mean()) - float(tail.mean())
        along = z - alpha * hazard
        slope = [-along.mean() * math.exp(-log_scale), 1 - (z * along).mean(), -(z * hazard).mean()]
        return value, np.array(slope)

    skewness = float((u**3).mean())
    bounds = [(None, None), (None, None), (-STEEPEST, STEEPEST)]
    found = minimize(
        loss,
        _begin(skewness),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"ftol": 1e-13, "gtol": 1e-8},
    )
    loc, log_scale, alpha = found.x.tolist()
    if not np.isfinite(found.fun) or abs(alpha) >= STEEPEST * (1 - 1e-6):
        return None
    return SkewNormal(alpha, mean + sd * loc, sd * math.exp(log_scale))


def _begin(skewness: float) -> Array:
    """Location, log scale and shape of the moments 0, 1 and `skewness`.

    Not at shape 0, where the likelihood is level in one direction whatever the values.
    """
    size = min(max(abs(skewness), 0.05), _SKEWEST) ** (2 / 3)
    delta = math.sqrt(math.pi / 2 * size / (size + ((4 - math.pi) / 2) ** (2 / 3)))
    delta = math.copysign(min(delta, 0.995), skewness)
    scale = 1 / math.sqrt(1 - 2 * delta**2 / math.pi)
    return np.array(
        [-scale * delta * math.sqrt(2 / math.pi), math.log(scale), delta / math.sqrt(1 - delta**2)]
    )
