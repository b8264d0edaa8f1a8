"""Clusters and maps find two groups that were planted, in the order of PC1."""

from __future__ import annotations

import numpy as np
import pytest

from chunkflow_liver.kernels.populations.clusters import hdbscan, mixture, umap

pytest.importorskip("sklearn")


def two(n=60):
    rng = np.random.default_rng(0)
    group = np.repeat([1, 0], n)
    return rng.normal(size=(2 * n, 2)) * 0.5 + group[:, None] * 8.0, group


def test_a_mixture_has_as_many_parts_as_there_are():
    scores, group = two()
    which, share, bic = mixture(scores, 4, seed=0)
    assert bic.argmin() == 1
    assert which.tolist() == (group + 1).tolist()
    assert (share > 0.99).all()


def test_dense_clusters_are_numbered_by_their_mean_and_the_lonely_have_none():
    scores, group = two()
    found = hdbscan(np.concatenate([scores, [[400.0, -400.0]]]), 15)
    assert found[-1] == 0
    inside = found[:-1] > 0
    assert inside.mean() > 0.9
    assert (found[:-1][inside] == group[inside] + 1).all()
    assert set(hdbscan(np.random.default_rng(1).uniform(size=(20, 2)), 15).tolist()) == {0}


@pytest.mark.proof
def test_a_map_keeps_groups_apart_and_a_seed_makes_it_the_same():
    scores, group = two(30)
    found = umap(scores, seed=1)
    assert found.shape == (60, 2)
    apart = np.linalg.norm(found[group == 1].mean(0) - found[group == 0].mean(0))
    assert apart > 2 * max(found[group == k].std() for k in (0, 1))
    np.testing.assert_array_equal(found, umap(scores, seed=1))
