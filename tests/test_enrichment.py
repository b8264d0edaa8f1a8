"""The tests of contact at narrowings find what was planted, and nothing where nothing was."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from chunkflow_liver.kernels.enrichment import EFFECT, Observed, adjusted, between_objects, within_objects

FEW = {"permutations": 199, "draws": 100, "seed": 1}


def simulated(rng, effect=0.0, objects=40, cells=5, bare=0):
    """Objects of several cells with a level each; `effect` is added at narrowings, `bare` have none."""
    rows = []
    level = rng.normal(0, 0.1, cells)
    for label in range(objects + bare):
        cell = label % cells
        own = rng.normal(0.3, 0.1) + level[cell]
        necks = 0 if label >= objects else int(rng.integers(1, 3))
        for window in range(int(rng.integers(3, 7))):
            narrow = window < necks
            rows.append((np.clip(own + rng.normal(0, 0.1) + effect * narrow, 0, 1), narrow, label, cell))
    return Observed(*(np.array(c) for c in zip(*rows, strict=True)))


def test_p_values_are_uniform_without_an_effect():
    rng = np.random.default_rng(0)
    for test, more in ((within_objects, {}), (between_objects, {"bare": 40})):
        p = [test(simulated(rng, **more), **FEW | {"seed": i})["p_value"] for i in range(150)]
        assert stats.kstest(p, "uniform").pvalue > 0.01
        assert min(p) >= 1 / 200


def test_a_planted_enrichment_is_recovered():
    rng = np.random.default_rng(1)
    inside, hits = 0, 0
    for i in range(40):
        found = within_objects(simulated(rng, effect=0.1), **FEW | {"seed": i})
        inside += found["difference_low"] <= 0.1 <= found["difference_high"]
        hits += found["p_value"] < 0.05
        assert found["ratio"] == pytest.approx(found["mean_narrow"] / found["mean_control"])
    # 40 objects in 5 cells: 95 % intervals from 5 cells are a little narrow.
    assert hits == 40
    assert inside >= 33


def test_objects_with_narrowings_are_compared_in_their_cell():
    """Cells differ more than objects: only the comparison inside cells sees the effect."""
    rng = np.random.default_rng(2)
    seen = simulated(rng, effect=0.15, objects=60, bare=60)
    found = between_objects(seen, **FEW)
    assert (found["objects"], found["cells"]) == (120, 5)
    assert found["p_value"] < 0.05
    assert found["difference_low"] < 0.15 < found["difference_high"]


def test_all_permutations_of_a_small_case_give_its_p_value():
    """Two objects of 3 and 2 windows: 6 placements of their narrowings, listed by hand."""
    density = np.array([0.9, 0.2, 0.1, 0.5, 0.4])
    label = np.array([7, 7, 7, 9, 9], np.uint64)
    seen = Observed(density, np.array([1, 0, 0, 1, 0], bool), label, np.zeros(5, int))
    found = within_objects(seen, permutations=6000, draws=50, seed=3)
    placements = []
    for i, j in itertools.product(range(3), range(3, 5)):
        first = density[i] - np.delete(density[:3], i).mean()
        placements.append((first + 2 * density[j] - density[3:].sum()) / 2)
    share = np.mean(np.abs(placements) >= abs(placements[0]) - 1e-9)
    assert found["p_value"] == pytest.approx(share, abs=0.02)
    assert found["difference"] == pytest.approx(placements[0])
    assert (found["mean_narrow"], found["mean_control"]) == pytest.approx((0.7, 0.275))
    assert found["share_greater"] == 1.0


def test_no_contact_is_missing_and_not_depleted():
    label = np.repeat([1, 2, 3, 4], 3)
    narrow = np.tile([True, False, False], 4)
    narrow[9:] = False  # 4 has no narrowing
    density = np.zeros(12)
    nothing = within_objects(Observed(density, narrow, label, np.zeros(12, int)), **FEW)
    assert set(nothing) == set(EFFECT)
    assert (nothing["objects"], nothing["missing"]) == (0, 3)
    assert math.isnan(nothing["p_value"])
    assert math.isnan(nothing["ratio"])
    density[:3] = 0.2, 0.0, 0.0
    some = within_objects(Observed(density, narrow, label, np.zeros(12, int)), **FEW)
    assert (some["objects"], some["missing"]) == (1, 2)
    assert some["ratio"] == math.inf
    assert math.isnan(some["difference_low"])
    assert 0 < some["p_value"] <= 1


def test_the_order_of_rows_changes_nothing():
    seen = simulated(np.random.default_rng(3), effect=0.05, bare=10)
    mixed = seen.of(np.random.default_rng(4).permutation(len(seen.label)))
    for test in (within_objects, between_objects):
        assert test(seen, **FEW) == test(mixed, **FEW)


def test_false_discovery_rates_are_those_of_scipy():
    p = np.random.default_rng(5).random(20) ** 3
    np.testing.assert_allclose(adjusted(p), stats.false_discovery_control(p))
    got = adjusted(np.array([0.02, np.nan, 0.03]))
    assert got[[0, 2]] == pytest.approx([0.03, 0.03])
    assert math.isnan(got[1])
    assert len(adjusted(np.zeros(0))) == 0
