"""Place is no neck: ER that likes the middle or the tips of objects gives no small p, ER at necks does."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from lines_with_contact import DESIGNS, REACH_NM, simulated
from scipy import stats

from chunkflow_liver.kernels.significance.permutations import EFFECT, within_objects
from chunkflow_liver.kernels.significance.places import Along, same_places

REACH = (REACH_NM, 0.0)


def p_values(design, times, **more):
    found = [
        same_places(simulated((3, i), design, **more)[0], REACH, permutations=199, draws=1, seed=i)["p_value"]
        for i in range(times)
    ]
    return np.array(found)


@pytest.mark.proof
@pytest.mark.parametrize("design", DESIGNS)
def test_three_to_seven_p_values_in_a_hundred_are_small_in_every_design_without_a_relation(design):
    assert 0.03 <= (p_values(design, 1000) <= 0.05).mean() <= 0.07


@pytest.mark.proof
def test_the_power_is_that_of_the_test_that_takes_place_for_granted_or_more():
    """150 objects with 45 narrowings, of which 15, 30 and 60 % carry a patch."""
    for carried, least in ((0.15, 0.09), (0.3, 0.25), (0.6, 0.9)):
        power = (p_values("uniform", 200, carried=carried) <= 0.05).mean()
        other = [
            within_objects(
                simulated((3, i), "uniform", carried=carried)[1], permutations=199, draws=1, seed=i
            )
            for i in range(200)
        ]
        assert power >= least
        # Standard deviation of the difference: 0.04 at most.
        assert power >= np.mean([f["p_value"] <= 0.05 for f in other]) - 0.08


def test_what_likes_the_middle_is_no_neck():
    """Within objects half of these p-values are small, because necks lie near the middle."""
    small = (p_values("middle", 40) <= 0.05).sum()
    assert small <= stats.binom.ppf(0.999, 40, 0.05)
    plain = [
        within_objects(simulated((3, i), "middle")[1], permutations=199, draws=1, seed=i)["p_value"]
        for i in range(40)
    ]
    assert np.mean(np.array(plain) <= 0.05) > 0.2


def test_contact_at_necks_is_found():
    assert (p_values("uniform", 20, carried=0.8) <= 0.05).mean() >= 0.9


def by_hand():
    """Three lines of 1,000 nm: contact at 500 nm of the first, where its neck is, and at one end of all."""
    at = np.arange(0, 1001, 50.0)
    label = np.repeat([1, 2, 3], len(at))
    position = np.tile(at, 3)
    contact = ((label == 1) & (position == 500)) | (position == 0)
    return Along(
        label,
        0 * label,
        position,
        np.ones(len(label)),
        contact.astype(float),
        np.array([1]),
        np.array([0]),
        np.array([500.0]),
        np.array([], int),
        {1: 4, 2: 4, 3: 4},
    )


def test_means_by_hand():
    """Windows of 200 nm hold five points: 1/5 at the neck; elsewhere 1/16, and 0 - 1/16 of the others."""
    found = same_places(by_hand(), (100, 0.0), permutations=999, draws=10, seed=0)
    assert set(EFFECT) | {"matched"} == set(found)
    assert (found["objects"], found["rarer"], found["matched"], found["cells"]) == (1, 1, 1, 1)
    assert found["mean_narrow"] == pytest.approx(1 / 5)
    # Of the object itself 1/16 elsewhere, of the others 1/16 less at the place than elsewhere.
    assert found["mean_control"] == pytest.approx(1 / 16 - 1 / 16)
    assert found["difference"] == pytest.approx(1 / 5)
    # The neck is one of three objects: each as likely.
    assert found["p_value"] == pytest.approx(1 / 3, abs=0.05)


def test_who_cannot_be_compared_is_counted():
    seen = by_hand()
    nothing = same_places(replace(seen, barred=np.array([2, 3])), (100, 0.0), permutations=9, draws=2, seed=0)
    assert (nothing["objects"], nothing["unpaired"], nothing["matched"]) == (0, 1, 0)
    assert math.isnan(nothing["p_value"])
    apart = same_places(replace(seen, cells={1: 4, 2: 5, 3: 5}), (100, 0.0), permutations=9, draws=2, seed=0)
    assert (apart["objects"], apart["unpaired"]) == (0, 1)
    short = same_places(seen, (300, 0.0), permutations=9, draws=2, seed=0)
    assert (short["objects"], short["unpaired"]) == (0, 1)
    none = same_places(replace(seen, contact=0 * seen.contact), (100, 0.0), permutations=9, draws=2, seed=0)
    assert (none["missing"], none["unpaired"]) == (3, 0)


def test_large_ids_of_cells_are_cells_of_their_own():
    """Beyond 2^53 not every whole number is a float64."""
    seen, _ = simulated(0, "two cells", objects=60)
    small = same_places(seen, REACH, permutations=9, draws=20, seed=0)
    assert small["cells"] == 2
    large = replace(seen, cells={label: (1 << 63) + cell for label, cell in seen.cells.items()})
    assert repr(same_places(large, REACH, permutations=9, draws=20, seed=0)) == repr(small)
