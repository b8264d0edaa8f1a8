"""The page states what is observed, what chance gives, interval and null beside p, and draws both curves."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from report_pages import Page
from strategies import done, write

import chunkflow_liver as cf
from chunkflow_liver.reports.sections.chance import _sentences


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chance")
    rng = np.random.default_rng(1)
    own, classes = np.zeros((20, 50, 50), np.uint32), np.zeros((20, 50, 50), np.uint8)
    label = 0
    for z in (4, 13):
        for y in range(5, 45, 12):
            for x in range(5, 45, 12):
                label += 1
                a, b, c = np.array([z, y, x]) + rng.integers(-2, 3, 3)
                own[a : a + 3, b : b + 3, c : c + 3] = label
                classes[a : a + 3, b + 3, c : c + 3] = 1
    at = {"voxel_nm": (8.0, 8.0, 8.0)}
    chance = cf.Chance(gap_nm=0, cap_nm=20, placements=40, region_nm=100, draws=50)
    plan = cf.placement(
        write(folder, own, "own", kind="label", **at),
        write(folder, classes, **at),
        to="er",
        chance=chance,
        name="p",
        work=folder / "work",
    )
    done(plan)
    return Page(cf.report(plan))


def test_the_top_states_interval_and_null_beside_p(page):
    assert "of the surface of own touches ER; laid at random" in page.text
    assert "95 % of the placements:" in page.text
    assert "95 % interval" in page.text
    assert "from 32 objects); p = 0.049, q = 0.049." in page.text


def test_the_curve_has_both_bands_and_says_what_they_are(page):
    assert "Near ER: as it is, and by chance (p)" in page.text
    assert "of chance, where 95 % of 40 placements lie" in page.text
    assert "laid at random" in page.text


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        (1, "(no interval: too few of 40 objects have any)"),
        # Contact of all objects, and none the less no interval.
        (2, "(no interval: two cells do not say how cells differ)"),
        (5, "(no interval: too few of 40 objects have any)"),
    ],
)
def test_why_there_is_no_interval(cells, says):
    numbers = {"observed": 0.2, "expected": 0.1, "low": 0.05, "high": 0.15, "difference": 0.1}
    numbers |= {"difference_low": np.nan, "difference_high": np.nan, "p_value": 0.01, "q_value": 0.01}
    numbers |= {"objects": 40, "cells": cells}
    tests = {name: np.array([value] * 2) for name, value in numbers.items()}
    tests |= {"partner": np.array(["er"] * 2), "no_test": np.array([""] * 2)}
    product = SimpleNamespace(about=(("a", "mitos"), ("gap_nm", 30.0)))
    assert says in _sentences(product, tests)[0]
