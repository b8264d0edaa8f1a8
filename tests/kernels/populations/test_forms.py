"""Planted forms are found again, signs follow the rule, fits and indices are those of SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.kernels.populations.components import fit_components, oriented
from chunkflow_liver.kernels.populations.forms import FORMS, Forms, fit_forms, stability
from chunkflow_liver.kernels.populations.index import FITTED, RANKED, fit_index, fit_skew_normal, ks_distance
from chunkflow_liver.kernels.populations.standard import fit_standard

pytest.importorskip("sklearn")

NAMES = ("round", "long", "size", "noise")


def planted(n, seed=0):
    """Two forms: in the second half 'long' is 4 more and 'round' 4 less."""
    rng = np.random.default_rng(seed)
    long = np.repeat([0.0, 4.0], [n // 2, n - n // 2])
    noise = rng.normal(size=(n, 4))
    return np.stack([-long, long, long, np.zeros(n)], 1) + noise, long > 0


def test_z_scores_and_components_by_hand():
    # Two columns, (1, -2) and (3, 2) signed: mean 2 and 0, standard deviation 1 and 2.
    standard = fit_standard(("a", "b"), np.array([[1.0, 2.0], [3.0, -2.0]]), ("b",))
    np.testing.assert_array_equal(standard.mean, [2.0, 0.0])
    np.testing.assert_array_equal(standard.sd, [1.0, 2.0])
    np.testing.assert_array_equal(standard.scaled(np.array([[4.0, 2.0]])), [[2.0, -1.0]])
    found = fit_components(np.array([[1.0, 1], [-1, -1], [1, 1], [-1, -1], [0.5, -0.5], [-0.5, 0.5]]))
    half = np.sqrt(0.5)
    np.testing.assert_allclose(np.abs(found.vectors), half)
    assert (found.vectors[0] > 0).all()
    # 4 x 2 and 2 x 0.5 squares along the diagonals, of 5 degrees of freedom.
    np.testing.assert_allclose(found.variance, [8 / 5, 1 / 5])
    assert [found.needed(p) for p in (80, 88, 90, 95)] == [1, 1, 2, 2]


@given(st.integers(0, 2**20))
def test_the_sign_of_a_component_does_not_depend_on_its_sign(seed):
    vectors = np.random.default_rng(seed).normal(size=(3, 5))
    np.testing.assert_array_equal(oriented(vectors), oriented(-vectors))
    assert ((oriented(vectors) ** 3).sum(1) > 0).all()


def test_balanced_loadings_begin_above_zero():
    np.testing.assert_array_equal(oriented(np.array([[-0.6, 0.6, 0.0]])), [[0.6, -0.6, 0.0]])


@pytest.mark.parametrize("alpha", [-4.0, 1.5, 8.0])
def test_a_skew_normal_fit_is_as_likely_as_that_of_scipy(alpha):
    values = stats.skewnorm.rvs(alpha, 3, 2, size=800, random_state=np.random.default_rng(1))
    found = fit_skew_normal(values)
    theirs = stats.skewnorm.fit(values)
    ours = stats.skewnorm.logpdf(values, found.alpha, found.loc, found.scale).sum()
    assert ours >= stats.skewnorm.logpdf(values, *theirs).sum() - 1e-3
    reference = stats.kstest(values, "skewnorm", args=(found.alpha, found.loc, found.scale))
    assert ks_distance(np.sort(values), found) == pytest.approx(reference.statistic, abs=1e-9)
    np.testing.assert_allclose(
        found.cdf(values), stats.skewnorm.cdf(values, found.alpha, found.loc, found.scale), atol=1e-9
    )


def test_an_index_goes_by_percentile_where_the_fit_is_bad_and_says_so():
    rng = np.random.default_rng(0)
    two = np.concatenate([rng.normal(-5, 1, 200), rng.normal(5, 1, 300)])
    found = fit_index(two, 0.05)
    assert found.by == RANKED
    assert found.reason.endswith("off, more than 0.05")
    # (rank - 1) / (n - 1)
    np.testing.assert_allclose(found.of(np.sort(two)), np.linspace(0, 1, 500), atol=1e-12)
    assert np.isnan(found.of(np.array([np.nan])))[0]
    assert fit_index(rng.normal(size=500), 0.05).by == FITTED
    # Half of a normal distribution: the likelihood grows with alpha without end.
    ended = fit_index(np.abs(rng.normal(size=60)), 0.05)
    assert (ended.by, ended.reason) == (RANKED, "the skew-normal fit failed")


def test_planted_forms_are_found_and_stay():
    values, long = planted(600)
    model, outlier = fit_forms(NAMES, values, Forms(negated=("round",)))
    assert not outlier.any()
    assert model.components.vectors[0, :3] == pytest.approx(np.sqrt(1 / 3), abs=0.03)
    form = model.form(model.scores(values))
    ends = form != 1
    assert ((form == 2) == long)[ends].mean() > 0.99
    assert FORMS[2] == "elongated-like"
    same, drawn = stability(model, values, None, draws=20, seed=0)
    assert same.mean() > 0.9
    assert drawn["jaccard"].shape == (20, 3)
    assert (drawn["jaccard"][:, [0, 2]].mean(0) > 0.9).all()
    assert (drawn["congruence"][:, 0] > 0.99).all()


def test_without_structure_classes_are_less_stable_over_cells():
    values, _ = planted(300)
    cell = np.repeat(np.arange(6), 50)
    model, _ = fit_forms(NAMES, values, Forms(negated=("round",)))
    by_object, _ = stability(model, values, None, draws=20, seed=0)
    by_cell, _ = stability(model, values, cell, draws=20, seed=0)
    assert by_cell.mean() < by_object.mean()


@settings(max_examples=20)
@given(st.integers(0, 2**20), st.floats(0.1, 100), st.floats(-50, 50))
def test_units_and_offsets_of_columns_do_not_matter(seed, scale, offset):
    values, _ = planted(60, seed)
    found, _ = fit_forms(NAMES, values, Forms(negated=("round",)))
    other, _ = fit_forms(NAMES, values * scale + offset, Forms(negated=("round",)))
    np.testing.assert_allclose(found.scores(values), other.scores(values * scale + offset), atol=1e-6)


def test_an_outlier_is_scored_and_has_no_part_in_the_components():
    values, _ = planted(200)
    far = np.concatenate([values, [[0.0, 0.0, 0.0, 900.0]]])
    model, outlier = fit_forms(NAMES, far, Forms(negated=("round",)))
    assert outlier.nonzero()[0].tolist() == [200]
    assert np.isfinite(model.scores(far)).all()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.zeros((5, 4)), "5 objects have all of the 4 columns; .* need at least 6"),
        (np.c_[np.arange(9.0), np.ones(9)], "columns \\['long'\\] have the same value in every object"),
    ],
)
def test_populations_without_components_are_refused(values, says):
    with pytest.raises(InputError, match=says):
        fit_forms(NAMES[: values.shape[1]], values, Forms())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"low": 0.7}, "low and high must ascend"),
        ({"outlier_z": 0}, "outlier_z must be above 0, got 0"),
        ({"ks_distance": 2}, "ks_distance must lie within 0 to 1, got 2"),
    ],
)
def test_thresholds_that_contradict_are_refused(options, says):
    with pytest.raises(ConfigError, match=says):
        Forms(**options)
