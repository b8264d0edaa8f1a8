"""Principal components, with a sign that does not depend on a library."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chunkflow_liver.xp import Array

SHARES = (80, 90, 95)
"""Percent of the variance for which the number of components is told."""
_BALANCED = 1e-6


@dataclass(frozen=True)
class Components:
    """Directions of the largest variance.

    Attributes
    ----------
    center : ndarray of shape (f,), float64
        Mean of the z-scores that they were fitted to: not 0 where outliers were left out.
    vectors : ndarray of shape (f, f), float64
        A component per row, of length 1, the one with the largest variance first: its loadings.
    variance : ndarray of shape (f,), float64
    """

    center: Array
    vectors: Array
    variance: Array

    @property
    def share(self) -> Array:
        """Part of the variance of each component, (f,)."""
        return self.variance / self.variance.sum()

    def scores(self, scaled: Array) -> Array:
        """Z-scores (n, f) seen along the components, (n, f)."""
        found: Array = (scaled - self.center) @ self.vectors.T
        return found

    def needed(self, percent: float) -> int:
        """How many components have at least `percent` of the variance together."""
        return int(np.argmax(np.cumsum(self.share) >= percent / 100 - 1e-12)) + 1


def fit_components(scaled: Array) -> Components:
    """All principal components of z-scores (n, f).

    Notes
    -----
    scikit-learn's PCA, by the covariance. The sign of a component is free, and libraries choose it by rules
    that changed between versions; ours is `oriented`'s.
    """
    from sklearn.decomposition import PCA

    found = PCA(svd_solver="covariance_eigh").fit(scaled)
    return Components(found.mean_, oriented(found.components_), found.explained_variance_)


def oriented(vectors: Array) -> Array:
    """Components (k, f) turned so that the cubes of the loadings of each add up to more than 0.

    Strong loadings decide, and no single one does: a component does not turn round because two features
    change places as the strongest. Where the cubes cancel, the first of the strongest loadings is above 0.
    """
    cubes = (vectors**3).sum(1)
    strongest = np.take_along_axis(vectors, np.abs(vectors).argmax(1)[:, None], 1)[:, 0]
    sign = np.where(np.abs(cubes) > _BALANCED, np.sign(cubes), np.sign(strongest))
    found: Array = vectors * sign[:, None]
    return found
