"""The tests of contact at narrowings find what was planted, and nothing where nothing was."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from chunkflow_liver.kernels.significance.permutations import (
    EFFECT,
    Observed,
    adjusted,
    between_objects,
    within_objects,
)

FEW = {"permutations": 199, "draws": 100, "seed": 1}


def alike(density, narrow, label, cell):
    """Windows with as much surface each."""
    return Observed(*map(np.asarray, (density, narrow, label, cell)), np.ones(len(density)))


def patches(rng, narrow_area, objects, *, windows=8, each=1.2, effect=0.0):
    """Patches of contact strewn over the surface; one window per object is a neck with less of it."""
    narrow = np.arange(windows) == 0
    area = np.tile(np.where(narrow, narrow_area, 1.0), (objects, 1))
    density = 0.02 * rng.poisson(each * area * (1 + effect * narrow)) / area
    label = np.repeat(np.arange(objects), windows)
    return Observed(density.ravel(), np.tile(narrow, objects), label, 0 * label, area.ravel())


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
    return alike(*zip(*rows, strict=True))


def test_p_values_are_uniform_without_an_effect():
    rng = np.random.default_rng(0)
    for test, more in ((within_objects, {}), (between_objects, {"bare": 40})):
        p = [test(simulated(rng, **more), **FEW | {"seed": i})["p_value"] for i in range(150)]
        assert stats.kstest(p, "uniform").pvalue > 0.01
        assert min(p) >= 1 / 200


def share_small(**options):
    """Share of p-values up to 0.05, in 300 simulations."""
    p = [
        within_objects(patches(np.random.default_rng(i), **options), permutations=99, draws=1, seed=i)
        for i in range(300)
    ]
    return np.mean([found["p_value"] <= 0.05 for found in p])


def test_necks_with_less_surface_are_no_enrichment():
    """Densities of small windows vary more; exchanged as they are, 0.12 and 0.2 of p are up to 0.05."""
    shares = {
        (area, objects): share_small(narrow_area=area, objects=objects)
        for area in (1.0, 0.72, 0.5, 0.25)
        for objects in (14, 100)
    }
    # Standard deviation of one: 0.013, of their mean: 0.0045.
    assert min(shares.values()) > 0.01, shares
    assert max(shares.values()) < 0.085, shares
    assert 0.036 < np.mean(list(shares.values())) < 0.064, shares
    # The power is kept: half as many patches again, with the variance known, are seen nearly always.
    assert share_small(narrow_area=0.5, objects=100, effect=0.6) > 0.9


def strewn(
    rng,
    *,
    objects=(50, 50, 50, 50),
    share=0.2,
    neck=0.7,
    necks=1,
    each=1.2,
    empty=0.0,
    cells_vary=0.3,
    vary=(0.5, 0.5),
    effect=0.0,
):
    """Patches of contact strewn over two to eight windows of each object of some cells.

    A `share` of the objects has one to `necks` narrowings of `neck` times the surface; contact differs
    between cells, and between objects with and without narrowings as `vary` says; `empty` is the share of
    objects without any.
    """
    cell = np.repeat(np.arange(len(objects)), objects)
    n, at = len(cell), np.arange(8)
    treated = rng.random(n) < np.broadcast_to(share, len(objects))[cell]
    count = rng.integers(2, 9, n)
    narrow = at < np.where(treated, np.minimum(rng.integers(1, necks + 1, n), count), 0)[:, None]
    area = rng.uniform(0.8, 1.2, (n, 8)) * np.where(narrow, neck, 1.0)
    spread = np.where(treated, *vary)
    level = rng.gamma(spread**-2, spread**2) * rng.gamma(cells_vary**-2, cells_vary**2, len(objects))[cell]
    level *= rng.random(n) >= empty
    density = 0.02 * rng.poisson(each * level[:, None] * area * (1 + effect * narrow)) / area
    there = at < count[:, None]
    of = np.repeat(np.arange(n), count)
    return Observed(density[there], narrow[there], of, cell[of], area[there])


DESIGNS = {
    "one object in five": {},
    "half of the objects": {"share": 0.5},
    "necks with a third of the surface": {"neck": 0.3},
    "up to three narrowings": {"necks": 3},
    "25 objects of one cell": {"objects": (25,)},
    "10 objects of one cell": {"objects": (10,), "share": 0.3},
    "unequal cells and shares": {"objects": (10, 20, 100), "share": (0.5, 0.1, 0.2)},
    "cells that differ much": {"objects": (15,) * 8, "share": 0.3, "cells_vary": 1.0},
    "most objects without contact": {"empty": 0.6, "each": 0.6},
    "few patches": {"each": 0.15},
    "kinds that vary unequally": {"vary": (1.2, 0.3)},
}


def small_p(test, times, **design):
    """How many p-values of `times` simulations are up to 0.05, and how many there are."""
    p = [
        # Numbers of its own: those that made the data would choose the same objects again.
        test(strewn(np.random.default_rng((1, i)), **design), permutations=99, draws=1, seed=i)["p_value"]
        for i in range(times)
    ]
    return np.array([np.sum(np.array(p) <= 0.05), np.isfinite(p).sum()])


@pytest.mark.parametrize("test", [within_objects, between_objects])
def test_one_p_value_in_twenty_is_small_without_an_effect(test):
    """Whatever the design: within the error of 400 simulations, and of all of them together."""
    counts = {name: small_p(test, 400, **design) for name, design in DESIGNS.items()}
    for name, (small, known) in counts.items():
        low, high = stats.binom.ppf([0.0005, 0.9995], known, 0.05)
        assert low <= small <= high, (name, small, known)
        assert known > 370, name
    # Standard deviation: 0.0033; `within_objects` errs to the large side.
    small, known = np.sum(list(counts.values()), axis=0)
    assert 0.035 < small / known < 0.06


def test_objects_that_are_exchanged_give_exact_p_values():
    """Equal windows: a narrowing is any window of any object, so no p-value is too often reached."""
    p = []
    for i in range(1000):
        rng = np.random.default_rng((2, i))
        seen = strewn(rng, objects=(12, 8), share=0.3, neck=1.0, each=0.5)
        p.append(between_objects(replace(seen, area=np.ones(len(seen.area))), **FEW | {"seed": i})["p_value"])
    for level in (0.05, 0.1, 0.2):
        assert np.sum(np.array(p) <= level) <= stats.binom.ppf(0.9995, len(p), level)


def test_planted_effects_are_found():
    """Twice the patches at 40 necks of 200 objects (0.98 and 0.87 of them), and two and a half times."""
    for test, effect, power in (
        (within_objects, 1.0, 0.9),
        (between_objects, 1.0, 0.8),
        (between_objects, 1.5, 0.9),
    ):
        small, known = small_p(test, 150, effect=effect)
        assert small / known > power


def test_deviations_of_unequal_windows_by_hand():
    """Contact 6 on surface 1 + 2 + 3: level 1; deviations 2, -0.5, -1/3 times sqrt(2 a / (6 - a)).

    Of three windows each is drawn as the narrowing in a third of the permutations: those of the
    windows' own deviations 1.265, -0.5, -0.471 differ by 1.75, -0.897, -0.854 from the others' mean.
    """
    density, area = np.array([3.0, 0.5, 2 / 3]), np.array([1.0, 2.0, 3.0])
    for narrow, extreme in ((0, 1 / 3), (1, 2 / 3), (2, 1.0)):
        seen = Observed(density, np.arange(3) == narrow, np.zeros(3, int), np.zeros(3, int), area)
        found = within_objects(seen, permutations=6000, draws=1, seed=0)
        assert found["p_value"] == pytest.approx(extreme, abs=0.02)


def hierarchical(rng, cells, per, between, within, true=0.1):
    """Objects with one narrowing and one other window; the difference varies between cells and in them."""
    cell = np.repeat(np.arange(cells), per)
    control = 0.4 + rng.normal(0, within, len(cell))
    narrow = control + true + rng.normal(0, between, cells)[cell] + rng.normal(0, within, len(cell))
    two = np.repeat(np.arange(len(cell)), 2)
    density = np.stack([narrow, control], 1).ravel()
    return alike(density, np.tile([True, False], len(cell)), two, cell[two])


@pytest.mark.parametrize(("cells", "per"), [(3, 1), (3, 20), (5, 4), (20, 5), (1, 3), (1, 20)])
def test_intervals_cover_the_true_difference_and_ratio(cells, per):
    """95 % of them, from three cells on, or from three objects of one cell."""
    sure = ratio = 0
    between = 0.05 if cells > 1 else 0.0
    for i in range(400):
        seen = hierarchical(np.random.default_rng(i), cells, per, between, 0.05)
        found = within_objects(seen, permutations=1, draws=300, seed=i)
        sure += found["difference_low"] <= 0.1 <= found["difference_high"]
        ratio += found["ratio_low"] <= 1.25 <= found["ratio_high"]
    # Standard deviation of the share: 0.011.
    assert 0.92 < sure / 400 < 0.98
    assert 0.92 < ratio / 400 < 0.98


def test_an_interval_is_that_of_t_on_cells_or_on_objects_of_one_cell():
    """Against the closed form that many draws come to; unequal cells, weighted by their objects."""
    rng = np.random.default_rng(8)
    for seen in (hierarchical(rng, 6, [1, 2, 3, 4, 5, 6], 0.1, 0.05), hierarchical(rng, 1, 9, 0, 0.05)):
        found = within_objects(seen, permutations=1, draws=40000, seed=0)
        narrow, control = seen.density[::2], seen.density[1::2]
        cell = seen.cell[::2] if found["cells"] > 1 else np.arange(len(narrow))
        units = len(np.unique(cell))
        difference = narrow - control
        left = np.bincount(cell, difference - difference.mean())
        error = math.sqrt((left**2).sum() * units / (units - 1)) / len(narrow)
        half = stats.t.ppf(0.975, units - 1) * error
        # Linear in the number of objects drawn: exact for equal cells.
        loose = 0.03 if found["cells"] == 1 else 0.15
        assert (found["difference_high"] - found["difference_low"]) / 2 == pytest.approx(half, rel=loose)
        assert found["difference"] == pytest.approx(difference.mean())
        assert found["standardised"] == pytest.approx(difference.mean() / difference.std(ddof=1))


def test_two_cells_or_two_objects_have_no_interval():
    rng = np.random.default_rng(9)
    for cells, per in ((2, 30), (1, 2)):
        found = within_objects(hierarchical(rng, cells, per, 0.05, 0.05), **FEW)
        assert (found["cells"], found["objects"]) == (cells, cells * per)
        assert all(math.isnan(v) for k, v in found.items() if k.endswith(("_low", "_high")))
        assert math.isfinite(found["p_value"])


def test_a_ratio_has_no_upper_end_where_the_controls_may_have_no_contact():
    """Three objects; contact elsewhere in one of them only."""
    density = np.array([0.5, 0.1, 0.6, 0.0, 0.7, 0.0])
    seen = alike(density, np.tile([True, False], 3), np.repeat([1, 2, 3], 2), np.zeros(6, int))
    found = within_objects(seen, permutations=9, draws=2000, seed=0)
    assert found["ratio"] == pytest.approx(18)
    assert 0 < found["ratio_low"] < 18
    assert found["ratio_high"] == math.inf


@pytest.mark.parametrize(("cells", "per"), [(4, 10), (1, 12)])
def test_intervals_between_objects_cover_the_true_difference(cells, per):
    """`per` objects of either kind in a cell; cells differ in their level and in their effect."""
    sure = 0
    for i in range(400):
        rng = np.random.default_rng(i)
        cell = np.repeat(np.arange(cells), 2 * per)
        treated = np.tile(np.arange(2 * per) < per, cells)
        effect = 0.1 + rng.normal(0, 0.05 if cells > 1 else 0.0, cells)[cell]
        level = rng.normal(0.5, 0.1, cells)[cell]
        density = level + effect * treated + rng.normal(0, 0.05, len(cell))
        found = between_objects(
            alike(density, treated, np.arange(len(cell)), cell), permutations=1, draws=300, seed=i
        )
        sure += found["difference_low"] <= 0.1 <= found["difference_high"]
    assert 0.92 < sure / 400 < 0.98


def test_a_planted_enrichment_is_recovered():
    rng = np.random.default_rng(1)
    inside, hits = 0, 0
    for i in range(40):
        found = within_objects(simulated(rng, effect=0.1), **FEW | {"seed": i})
        inside += found["difference_low"] <= 0.1 <= found["difference_high"]
        hits += found["p_value"] < 0.05
        assert found["ratio"] == pytest.approx(found["mean_narrow"] / found["mean_control"])
    assert hits == 40
    assert inside >= 36


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
    seen = alike(density, np.array([1, 0, 0, 1, 0], bool), label, np.zeros(5, int))
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
    nothing = within_objects(alike(density, narrow, label, np.zeros(12, int)), **FEW)
    assert set(nothing) == set(EFFECT)
    assert (nothing["objects"], nothing["missing"]) == (0, 3)
    assert math.isnan(nothing["p_value"])
    assert math.isnan(nothing["ratio"])
    density[:3] = 0.2, 0.0, 0.0
    some = within_objects(alike(density, narrow, label, np.zeros(12, int)), **FEW)
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


def test_objects_without_another_window_are_counted():
    """Two objects have both kinds of window, three a narrowing only; 9 has none and is in neither count."""
    label = np.array([1, 1, 2, 2, 3, 4, 5, 9])
    narrow = np.array([True, False, True, False, True, True, True, False])
    seen = alike(np.full(8, 0.2), narrow, label, np.array([1, 1, 1, 1, 2, 2, 3, 3]))
    found = within_objects(seen, **FEW)
    assert (found["objects"], found["missing"], found["unpaired"]) == (2, 0, 3)
    # Cell 3 has both kinds of object.
    found = between_objects(seen, **FEW)
    assert (found["objects"], found["missing"], found["unpaired"]) == (2, 0, 2)
