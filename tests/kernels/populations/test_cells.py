"""Rows of cells and tests between cells: by hand, against SciPy, and under the null."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from chunkflow_liver.kernels.populations.between import between_cells, detectable
from chunkflow_liver.kernels.populations.cells import summaries


def test_two_cells_by_hand():
    # Cell 3: 1, 3; cell 8: 5, 7. Means 2 and 6, grand mean 4; between 4 x 4 = 16, within 4 x 1 = 4.
    values, cell = np.array([1.0, 5.0, 3.0, 7.0]), np.array([3, 8, 3, 8])
    found = between_cells(values, cell)
    assert found["anova_f"] == pytest.approx(16 / (4 / 2))
    assert found["eta_squared"] == pytest.approx(16 / 20)
    # MSb 16, MSw 2, cells of 2: (16 - 2) / (16 + 2)
    assert found["icc"] == pytest.approx(14 / 18)
    assert found["cells_sd"] == pytest.approx(math.sqrt(8))
    form = np.array([0, 2, 0, 1])
    rows = summaries(cell, {"PC1": values}, form, {"size": values * 10})
    assert rows["cell"].tolist() == [3, 8]
    assert rows["objects"].tolist() == [2, 2]
    assert rows["PC1_mean"].tolist() == [2.0, 6.0]
    assert rows["PC1_p25"].tolist() == [1.5, 5.5]
    assert rows["constricted_fraction"].tolist() == [1.0, 0.0]
    assert rows["intermediate_fraction"].tolist() == [0.0, 0.5]
    assert rows["elongated_fraction"].tolist() == [0.0, 0.5]
    assert rows["size_sd"].tolist() == pytest.approx([10 * math.sqrt(2)] * 2)
    assert np.isnan(rows["PC1_alpha"]).all(), "two objects have no distribution"


def planted(icc, cells, objects, seed):
    rng = np.random.default_rng(seed)
    cell = rng.integers(0, cells, objects)
    own = rng.normal(size=cells) * math.sqrt(icc)
    return own[cell] + rng.normal(size=objects) * math.sqrt(1 - icc), cell


def test_tests_are_those_of_scipy_and_statsmodels():
    values, cell = planted(0.2, 7, 150, 1)
    values = np.round(values, 1)
    parts = [values[cell == c] for c in np.unique(cell)]
    found = between_cells(values, cell)
    assert (found["anova_f"], found["anova_p"]) == pytest.approx(stats.f_oneway(*parts))
    assert (found["kruskal_h"], found["kruskal_p"]) == pytest.approx(stats.kruskal(*parts))
    # Its default optimisers stop too early.
    models = pytest.importorskip("statsmodels.regression.mixed_linear_model")
    model = models.MixedLM(values, np.ones((150, 1)), groups=cell).fit(reml=True, method="powell")
    assert found["mixed_cells_variance"] == pytest.approx(float(model.cov_re[0, 0]), rel=1e-3)
    assert found["mixed_objects_variance"] == pytest.approx(float(model.scale), rel=1e-3)
    sum_of_squares = float(((values - values.mean()) ** 2).sum())
    alone = -0.5 * (149 * (1 + math.log(2 * math.pi * sum_of_squares / 149)) + math.log(150))
    assert found["mixed_p"] == pytest.approx(0.5 * stats.chi2.sf(2 * (model.llf - alone), 1), rel=1e-2)


def test_a_planted_intraclass_correlation_lies_in_the_interval_as_often_as_it_says():
    found = [between_cells(*planted(0.3, 20, 200, seed)) for seed in range(40)]
    icc = np.array([f["icc"] for f in found])
    assert abs(icc.mean() - 0.3) < 0.05
    inside = sum(f["icc_low"] <= 0.3 <= f["icc_high"] for f in found)
    assert inside >= 34
    mixed = np.array([f["mixed_icc"] for f in found])
    assert np.abs(mixed - icc).max() < 0.08


def test_p_values_are_uniform_where_cells_are_alike():
    found = [between_cells(*planted(0.0, 6, 60, seed)) for seed in range(300)]
    for name in ("anova_p", "kruskal_p"):
        assert stats.kstest([f[name] for f in found], "uniform").pvalue > 0.01
    # Half of the likelihood ratios are 0, and of those p says 1.
    assert 0.01 <= np.mean([f["mixed_p"] < 0.05 for f in found]) <= 0.1


def test_the_smallest_effect_that_would_be_found_is_found_with_the_power_it_says():
    # Two groups: F is the square of t, whose power SciPy has.
    n, eta = 40, detectable(40, 2)
    shift = math.sqrt(eta / (1 - eta) * n)
    reach = stats.t.ppf(0.975, n - 2)
    power = stats.nct.sf(reach, n - 2, shift) + stats.nct.cdf(-reach, n - 2, shift)
    assert power == pytest.approx(0.8, abs=1e-3)
    assert detectable(37_920, 150) < 0.01 < detectable(300, 5)


@pytest.mark.parametrize("values", [[1.0, 2.0], [3.0, 3.0], []])
def test_what_cannot_be_said_is_missing(values):
    found = between_cells(np.array(values), np.zeros(len(values), int))
    assert math.isnan(found["anova_p"])
    assert found["objects"] == len(values)
