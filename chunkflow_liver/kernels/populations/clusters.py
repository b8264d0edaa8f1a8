"""Clusters and a map of objects that ask for no threshold: mixtures, HDBSCAN, UMAP."""

from __future__ import annotations

import warnings

import numpy as np

from chunkflow_liver.xp import Array


def mixture(scores: Array, most: int, seed: int) -> tuple[Array, Array, Array]:
    """A mixture of normal distributions, with as many as the smallest BIC says.

    Parameters
    ----------
    scores : ndarray of shape (n, k), float64
    most : int
        Largest number of components that is tried.
    seed : int

    Returns
    -------
    ndarray of shape (n,), int64
        Number of the likeliest component from 1 on, by ascending mean of the first score.
    ndarray of shape (n,), float64
        Its probability.
    ndarray of shape (most,), float64
        BIC for 1, 2, ... components [1]_.

    References
    ----------
    .. [1] Schwarz, Annals of Statistics 6 (1978), doi:10.1214/aos/1176344136
    """
    from sklearn.mixture import GaussianMixture

    tried = [GaussianMixture(n, random_state=seed, n_init=3).fit(scores) for n in range(1, most + 1)]
    bic = np.array([one.bic(scores) for one in tried])
    best = tried[int(bic.argmin())]
    share = best.predict_proba(scores)
    order = np.argsort(best.means_[:, 0], kind="stable")
    share = share[:, order]
    return share.argmax(1) + 1, share.max(1), bic


def hdbscan(scores: Array, least: int) -> Array:
    """Dense clusters (n,) of `least` objects or more, from 1 by ascending mean of the first score; 0: none.

    References
    ----------
    .. [1] Campello, Moulavi and Sander, PAKDD 2013, doi:10.1007/978-3-642-37456-2_14
    """
    from sklearn.cluster import HDBSCAN

    found = HDBSCAN(min_cluster_size=least, copy=True).fit(scores).labels_
    means = [scores[found == c, 0].mean() for c in range(found.max() + 1)]
    number = np.zeros(found.max() + 2, np.int64)
    number[np.argsort(means, kind="stable")] = np.arange(1, len(means) + 1)
    # Noise is -1, the last place.
    clusters: Array = number[found]
    return clusters


def umap(scaled: Array, seed: int) -> Array:
    """Z-scores (n, f) laid out in a plane by UMAP, (n, 2) float32: a picture, whose distances mean little.

    References
    ----------
    .. [1] McInnes, Healy and Melville, 2018, arXiv:1802.03426
    """
    with warnings.catch_warnings():
        # That a seed allows one thread only, and what its parametric variant would need.
        warnings.simplefilter("ignore")
        from umap import UMAP

        found: Array = UMAP(random_state=seed, n_jobs=1).fit_transform(scaled)
    return found
