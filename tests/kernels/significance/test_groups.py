"""Animals are the units: exact p-values by hand, the level held where objects as units do not hold it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from chunkflow_liver.kernels.significance.groups import Nested, arrangements, between_animals, detectable

TEST = {"permutations": 9999, "level": 0.05, "seed": 0}


def test_a_design_by_hand():
    # Animal 0 has cells 0 (1, 3) and 1 (8): means 2 and 8, so 5; animal 1 has one cell of 4, 6: 5; 2 has 11.
    nested = Nested(np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 0, 0, 0]), np.array([0, 0, 1]))
    values = np.array([[1.0], [3.0], [8.0], [4.0], [6.0], [11.0]])
    np.testing.assert_array_equal(nested.means(values), [[5.0], [5.0], [11.0]])
    shares = nested.shares(values)[:, 0]
    # Grand mean 5.5; conditions 4.4 and 11; animals 4 and 5; cells 2 and 8.
    total = sum((v - 5.5) ** 2 for v in (1, 3, 8, 4, 6, 11))
    sums = [
        5 * (4.4 - 5.5) ** 2 + (11 - 5.5) ** 2,
        3 * (4 - 4.4) ** 2 + 2 * (5 - 4.4) ** 2,
        2 * (2 - 4) ** 2 + (8 - 4) ** 2,
        1 + 1 + 1 + 1,
    ]
    assert sum(sums) == pytest.approx(total)
    np.testing.assert_allclose(shares, np.array(sums) / total)


def test_four_against_four_by_hand():
    condition = np.repeat([0, 1], 4)
    means = np.array([1.0, 2, 3, 4, 5, 6, 7, 8])[:, None]
    found = {name: values[0] for name, values in between_animals(means, condition, **TEST).items()}
    # No arrangement is as extreme but the one that changes places.
    assert found["arrangements"] == math.comb(8, 4) == 70
    assert found["p_value"] == pytest.approx(2 / 70)
    assert found["statistic"] == 4.0
    sd = math.sqrt(5 / 3)
    assert found["animal_sd"] == pytest.approx(sd)
    assert found["standardised"] == pytest.approx(4 / sd)
    half = stats.t.ppf(0.975, 6) * sd * math.sqrt(1 / 2)
    assert (found["difference_low"], found["difference_high"]) == pytest.approx((4 - half, 4 + half))


@pytest.mark.parametrize("sizes", [(3, 4), (2, 2, 2)])
def test_every_arrangement_is_taken_once(sizes):
    condition = np.repeat(np.arange(len(sizes)), sizes)
    means = np.random.default_rng(0).normal(size=(len(condition), 2))
    found = between_animals(means, condition, permutations=9999, level=1.0, seed=0)

    def between(labels, column):
        grand = means[:, column].mean()
        return sum(
            (labels == k).sum() * (means[labels == k, column].mean() - grand) ** 2 for k in range(len(sizes))
        )

    every = [np.array(p) for p in set(itertools.permutations(condition.tolist()))]
    assert len(every) == arrangements(np.array(sizes))
    for column in range(2):
        own = between(condition, column)
        extreme = sum(between(labels, column) >= own - 1e-12 for labels in every)
        assert found["p_value"][column] == pytest.approx(extreme / len(every))


def simulated(columns, seed):
    """5 against 6 cells of 200 objects, intraclass correlation 0.3, no effect; each column another study."""
    rng = np.random.default_rng(seed)
    own = rng.normal(size=(11, columns)) * math.sqrt(0.3)
    noise = rng.normal(size=(11, 200, columns)) * math.sqrt(0.7)
    return own[:, None] + noise, np.repeat([0, 1], [5, 6])


def test_objects_as_units_find_what_is_not_there_and_cells_hold_the_level():
    studies = 500
    rates = {"objects": [], "ours": []}
    for seed in range(8):
        objects, condition = simulated(studies, seed)
        flat = [objects[condition == k].reshape(-1, studies) for k in (0, 1)]
        rates["objects"].append((stats.ttest_ind(*flat, equal_var=False).pvalue < 0.05).mean())
        nested = Nested(np.repeat(np.arange(11), 200), np.zeros(2200, int), condition)
        p_values = between_animals(nested.means(objects.reshape(-1, studies)), condition, **TEST)["p_value"]
        rates["ours"].append((p_values <= 0.05).mean())
        if seed == 0:
            assert stats.kstest(p_values, "uniform").pvalue > 0.01
    assert np.mean(rates["objects"]) > 0.7
    assert 0.04 <= np.mean(rates["ours"]) <= 0.06


def test_drawn_arrangements_give_p_values_that_are_never_zero():
    condition = np.repeat([0, 1], 12)
    means = np.linspace(0, 1, 24)[:, None]
    found = between_animals(means, condition, permutations=199, level=0.05, seed=0)
    assert found["p_value"][0] == 1 / 200
    again = between_animals(means, condition, permutations=199, level=0.05, seed=0)
    assert all(np.array_equal(found[name], again[name], equal_nan=name != "no_test") for name in found)


def test_too_few_animals_are_described_and_not_tested():
    means = np.array([1.0, 2, 3, 7, 8, 9])[:, None]
    found = between_animals(means, np.repeat([0, 1], 3), **TEST)
    assert np.isnan(found["p_value"][0])
    assert found["smallest_p"][0] == pytest.approx(2 / 20)
    assert (
        found["no_test"][0] == "too few animals (3 and 3): no p-value could be below 0.1, the level is 0.05"
    )
    assert found["statistic"][0] == 6.0
    one = between_animals(means[:2], np.array([0, 1]), **TEST)
    assert np.isnan(one["detectable"][0])
    assert np.isnan(one["difference_low"][0])


def test_equal_animals_have_no_p_value():
    found = between_animals(np.ones((8, 1)), np.repeat([0, 1], 4), **TEST)
    assert found["no_test"][0] == "all animals have the same value"
    assert np.isnan(found["p_value"][0])


def test_the_smallest_effect_has_the_power_it_says():
    d = detectable(np.array([5, 6]))
    shift, reach = d / math.sqrt(1 / 5 + 1 / 6), stats.t.ppf(0.975, 9)
    power = stats.nct.sf(reach, 9, shift) + stats.nct.cdf(-reach, 9, shift)
    assert power == pytest.approx(0.8, abs=1e-3)
