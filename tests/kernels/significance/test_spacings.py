"""Narrowings that follow each other evenly are told from those that chance lays, and from few."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from chunkflow_liver.kernels.significance.spacings import evenness, spacings


def rows(rng, objects, *, even=None, clustered=False, least=100.0):
    """Branches of 3 to 7 narrowings: laid by chance `least` apart, or a wavelength apart with a jitter."""
    label, position = [], []
    for one in range(1, objects + 1):
        many = int(rng.integers(3, 8))
        # Every object has a wavelength of its own.
        wave = rng.uniform(250, 600)
        if even is None:
            parts = rng.exponential(size=many + 1) ** (3.0 if clustered else 1.0)
            at = np.cumsum(parts / parts.sum())[:many] * wave * many + least * np.arange(many)
        else:
            at = wave * (np.arange(many) + rng.normal(0, even, many))
        label.append(np.full(many, one))
        position.append(at)
    label, position = np.concatenate(label), np.concatenate(position)
    return label, 0 * label, position, np.ones(len(label), bool)


def p_values(times, objects, **how):
    found = []
    for i in range(times):
        seen = spacings(*rows(np.random.default_rng((4, i)), objects, **how))
        found.append(evenness(seen, permutations=199, seed=i)["p_value"])
    return np.array(found)


@pytest.mark.slow
@pytest.mark.parametrize(("objects", "least"), [(12, 0.0), (12, 100.0), (60, 100.0)])
def test_three_to_seven_p_values_in_a_hundred_are_small_where_chance_lays_them(objects, least):
    assert 0.03 <= (p_values(1000, objects, least=least) <= 0.05).mean() <= 0.07


def test_small_p_are_rare_where_chance_lays_them():
    small = (p_values(200, 20) <= 0.05).sum()
    assert small <= stats.binom.ppf(0.999, 200, 0.05)


@pytest.mark.parametrize("how", [{"even": 0.1}, {"clustered": True}], ids=str)
def test_pearls_and_clusters_are_found(how):
    assert (p_values(20, 20, **how) <= 0.05).mean() >= 0.9
    seen = spacings(*rows(np.random.default_rng(1), 20, **how))
    found = evenness(seen, permutations=199, seed=0)
    assert (found["spread"] < found["low_spread"]) == ("even" in how)
    assert (found["spread"] > found["high_spread"]) == ("clustered" in how)


def test_rows_by_hand():
    """Rows of 100, 100, 200 and of 100, 300 nm of one object, and of 200, 200 of another."""
    label = np.repeat([3, 5], [8, 6])
    branch = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 4, 4, 4])
    at = np.array([0, 100, 200, 400, 0, 100, 400, 900, 300, 100, 500, 0, 50, 70.0])
    tested = np.array([1] * 7 + [0, 1, 1, 1, 1, 0, 1], bool)
    seen = spacings(label, branch, at, tested)
    assert seen.nm.tolist() == [100, 100, 200, 100, 300, 200, 200]
    assert np.diff(seen.row).astype(bool).tolist() == [False, False, True, False, True, False]
    assert seen.label.tolist() == [3] * 5 + [5] * 2
    found = evenness(seen, permutations=999, seed=0)
    assert (found["objects"], found["rows"], found["spacings"]) == (2, 3, 7)
    assert (found["least_nm"], found["median_nm"]) == (100, 200)
    # 0.25^2 + 0.25^2 + 0.5^2 of two free ones, 0.5^2 + 0.5^2 of one; 0 of the other object.
    assert found["spread"] == pytest.approx(math.sqrt((0.375 + 0.5) / 3 / 2))
    # A row of two: the first is uniform between 100 and 300 of 400, a variance of 1 / 12 of 1 mean squared
    # on either side; of 200 + 200 that is the same.
    assert 0 < found["p_value"] <= 1


def test_chance_varies_as_a_uniform_division_does():
    """Three branches of three narrowings on 1,000 nm: 100 and 900, 500 and 500, 500 and 500 apart.

    The least of the 6 distances, 100, lies above the bound by about 1/5 of their mean excess over it,
    400 / 5, so that the bound is 20 nm and the middle narrowing uniform between 20 and 980.
    """
    at = np.array([0, 100.0, 1000, 0, 500, 1000, 0, 500, 1000])
    seen = spacings(np.repeat([1, 2, 3], 3), np.zeros(9), at, np.ones(9, bool))
    found = evenness(seen, permutations=20_000, seed=0)
    # (s / 500 - 1)^2 of both, 2 x 0.96^2 / 3 on average, over one that is free.
    assert found["expected_spread"] == pytest.approx(math.sqrt(2 * 0.96**2 / 3), rel=0.01)
    assert found["spread"] == pytest.approx(math.sqrt(2 * 0.8**2 / 3))


def test_nothing_in_a_row_is_no_test():
    for many in (0, 2):
        seen = spacings(np.ones(many), np.zeros(many), np.arange(many) * 100.0, np.ones(many, bool))
        found = evenness(seen, permutations=9, seed=0)
        assert (found["objects"], found["rows"], found["spacings"]) == (0, 0, 0)
        assert math.isnan(found["p_value"])


def test_the_order_of_rows_changes_nothing():
    columns = rows(np.random.default_rng(2), 9)
    mixed = np.random.default_rng(3).permutation(len(columns[0]))
    one, two = (
        evenness(spacings(*c), permutations=99, seed=1) for c in (columns, [x[mixed] for x in columns])
    )
    assert one == two
