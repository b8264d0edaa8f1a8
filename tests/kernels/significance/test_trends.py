"""Trends with place: by hand, planted ones found, and uniform p-values without one, in cells that differ."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from chunkflow_liver.kernels.significance.trends import trends, zone_means

AT = {"permutations": 999, "level": 0.05, "seed": 0}


def tissue(rng, cells, objects, icc=0.3):
    """Objects of cells along a lobule: the place of their cell, and values that are alike in a cell."""
    cell = np.repeat(np.arange(cells), objects)
    place = rng.random(cells)[cell]
    value = np.sqrt(icc) * rng.normal(size=cells)[cell] + np.sqrt(1 - icc) * rng.normal(size=len(cell))
    return place, value, cell


def test_a_line_through_means_of_cells_by_hand():
    # Cells at 0, 0.5 and 1 with means 1, 2 and 6: slope 5, whatever a cell holds.
    place = np.array([0, 0, 0, 0.5, 1.0, 1.0])
    value = np.array([0.0, 1, 2, 2, 5, 7])
    found = trends(place, value[:, None], np.array([4, 4, 4, 9, 2, 2]), within=False, **AT)
    assert found["slope"].tolist() == [5.0]
    assert (found["cells"][0], found["objects"][0], found["arrangements"][0]) == (3, 6, 6)
    line = stats.linregress([0, 0.5, 1], [1, 2, 6])
    half = stats.t.ppf(0.975, 1) * line.stderr
    np.testing.assert_allclose([found["slope_low"][0], found["slope_high"][0]], [5 - half, 5 + half])
    assert found["correlation"][0] == pytest.approx(line.rvalue)
    assert found["no_test"][0].startswith("too few cells (3)")
    assert np.isnan(found["p_value"][0])


def test_slopes_within_cells_by_hand():
    # Slopes 2 and 4; the third cell has two objects only, the fourth one place.
    place = np.array([0, 0.5, 1, 0, 0.25, 0.5, 0, 1, 0.5, 0.5, 0.5])
    value = np.array([0, 1, 2, 10, 11, 12, 0, 90.0, 1, 2, 3])
    found = trends(place, value[:, None], np.repeat([1, 2, 3, 4], [3, 3, 2, 3]), within=True, **AT)
    assert found["cells"].tolist() == [2]
    assert found["slope"].tolist() == [3.0]
    assert found["correlation"].tolist() == [1.0]
    assert np.isnan(found["slope_low"][0])


def test_all_orders_of_five_cells_are_taken():
    rng = np.random.default_rng(3)
    place, value = np.arange(5.0) / 4, rng.normal(size=5)
    found = trends(place, value[:, None], np.arange(5), within=False, **AT)
    wanted = stats.permutation_test(
        (value,),
        lambda v: abs(np.corrcoef(place, v)[0, 1]),
        permutation_type="pairings",
        alternative="greater",
    )
    assert found["p_value"][0] == pytest.approx(wanted.pvalue)


def test_all_signs_of_six_slopes_are_taken():
    rng = np.random.default_rng(4)
    cell = np.repeat(np.arange(6), 9)
    place, value = rng.random(54), rng.normal(size=54)
    found = trends(place, value[:, None], cell, within=True, **AT)
    slopes = [stats.linregress(place[cell == c], value[cell == c]).slope for c in range(6)]
    wanted = stats.permutation_test((slopes,), np.mean, permutation_type="samples")
    assert found["p_value"][0] == pytest.approx(wanted.pvalue)
    np.testing.assert_allclose(
        [found["slope_low"][0], found["slope_high"][0]],
        stats.t.interval(0.95, 5, np.mean(slopes), stats.sem(slopes)),
    )


@pytest.mark.parametrize("within", [False, True])
def test_p_values_are_uniform_without_a_trend(within):
    rng = np.random.default_rng(7)
    p = []
    for _ in range(1500):
        place, value, cell = tissue(rng, 12, 20)
        if within:
            place = rng.random(len(place))
        p.append(trends(place, value[:, None], cell, within=within, **AT)["p_value"][0])
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert 0.035 < np.mean(np.array(p) <= 0.05) < 0.065


def test_objects_taken_as_independent_find_trends_that_are_not_there():
    rng = np.random.default_rng(8)
    studies = [tissue(rng, 12, 200) for _ in range(200)]
    naive = [stats.linregress(place, value).pvalue for place, value, _ in studies]
    assert np.mean(np.array(naive) <= 0.05) > 0.5


@pytest.mark.parametrize("within", [False, True])
def test_intervals_hold_a_planted_slope(within):
    rng = np.random.default_rng(9)
    inside, found_at_all = [], []
    for _ in range(600):
        place, value, cell = tissue(rng, 12, 20)
        if within:
            place = rng.random(len(place))
        value = value + 2.0 * place
        found = trends(place, value[:, None], cell, within=within, **AT)
        inside.append(found["slope_low"][0] <= 2.0 <= found["slope_high"][0])
        found_at_all.append(found["p_value"][0] <= 0.05)
    assert 0.93 < np.mean(inside) < 0.97
    assert np.mean(found_at_all) > 0.6


def test_missing_values_leave_out_an_object_of_that_column_only():
    place, cell = np.linspace(0, 1, 6), np.arange(6)
    values = np.stack([place, np.where(cell == 5, np.nan, 3 * place), np.full(6, np.nan)], 1)
    found = trends(place, values, cell, within=False, **AT)
    assert found["objects"].tolist() == [6, 5, 0]
    np.testing.assert_allclose(found["slope"][:2], [1, 3])
    assert found["no_test"][2] == "no object has a value and a place"
    assert np.isfinite(found["q_value"]).tolist() == [True, True, False]
    flat = trends(np.zeros(6), values, cell, within=False, **AT)
    assert flat["no_test"][0] == "all cells are at one place"


def test_means_of_zones_by_hand():
    # Zone 1: cells with means 1 and 3; zone 2: cells with means 2, 4 and 6; one object lies in no zone.
    zone = np.array([1, 1, 1, 2, 2, 2, 0])
    cell = np.array([1, 1, 2, 1, 2, 3, 3])
    value = np.array([0.0, 2, 3, 2, 4, 6, 1000])
    found = zone_means(zone, value[:, None], cell, 3)
    assert found["mean"][0, :2].tolist() == [2.0, 4.0]
    assert found["cells"].tolist() == [[2, 3, 0]]
    assert found["objects"].tolist() == [[3, 3, 0]]
    np.testing.assert_allclose(found["sd"][0, :2], [np.sqrt(2), 2])
    assert np.isnan(found["low"][0, 0])
    np.testing.assert_allclose(
        [found["low"][0, 1], found["high"][0, 1]], stats.t.interval(0.95, 2, 4, 2 / np.sqrt(3))
    )
    assert np.isnan(found["mean"][0, 2])
