"""Where objects lie at random p is small as often as it should be; where they do not they are found."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace

import pytest
from places import ROOT
from scipy import stats


@pytest.fixture(scope="module")
def phantoms():
    spec = importlib.util.spec_from_file_location("placed", ROOT / "scripts/calibrate_placement.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["placed"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("apart", [False, True])
def test_small_p_are_rare_without_a_relation(phantoms, apart):
    """60 here, 1,000 in the script."""
    *small, known = phantoms.small(60, phantoms.Design(20, (24, 48, 48), region_nm=400), apart=apart)
    assert known == 60
    assert max(small) <= stats.binom.ppf(0.999, 60, 0.05)


@pytest.mark.proof
@pytest.mark.parametrize("design", ["cubes", "one cube", "shells"])
def test_five_p_in_a_hundred_are_small_without_a_relation(phantoms, design):
    """Exactly so many by right, with 39 placements; both sides are bounded."""
    *small, known = phantoms.small(1000, phantoms.DESIGNS[design], apart=True, placements=39)
    low, high = stats.binom.interval(0.999, 1000, 0.05)
    assert known == 1000
    assert low <= min(small) <= max(small) <= high


def test_where_both_follow_a_third_structure_only_the_null_that_keeps_it_holds(phantoms):
    """60 with nine tenths of objects and class near a face: with the distance to it kept, and without."""
    shells = phantoms.DESIGNS["shells"]
    more, _, _ = phantoms.small(60, replace(shells, keep_nm=None), apart=True, placements=39)
    *small, _ = phantoms.small(60, shells, apart=True, placements=39)
    most = stats.binom.ppf(0.999, 60, 0.05)
    assert max(small) <= most < more


@pytest.mark.parametrize("apart", [False, True])
def test_an_attraction_of_a_fifth_of_200_objects_is_found(phantoms, apart):
    *small, known = phantoms.small(4, phantoms.ATTRACTED, apart=apart)
    assert (small, known) == ([4, 4], 4)
