"""The first sentence of the page states what was tested, on how many objects, and no p of a few."""

from __future__ import annotations

import re

import numpy as np
import pytest

from chunkflow_liver.kernels.centreline.necks import COLUMNS
from chunkflow_liver.kernels.centreline.windows import Near
from chunkflow_liver.ops.narrowing import tables as parts
from chunkflow_liver.reports.sections.lead import compared, lead
from chunkflow_liver.reports.sections.narrowings import Narrowed, _paired

ABOUT = {"to": "er", "gap_nm": 30.0, "window_nm": 150.0, "permutations": 999}
NEAR = Near(window_nm=150, permutations=999, draws=50)


def written(narrow, control, rest=0.1, cells=None, **settings):
    """The tables of objects with the densities `narrow` in narrowings and `control` elsewhere.

    Windows have an area of 1 um2; `rest` is the share of contact outside the narrowings' windows.
    """
    rows = {"narrow": [], "window": [], "object": []}
    for i, (necks, others) in enumerate(zip(narrow, control, strict=True)):
        own = {"label": np.uint64(i + 1), "cell": np.uint64(0 if cells is None else cells[i])}
        length = 300.0 * (len(necks) + len(others)) + 300 * (not others)
        for is_neck, density in [(True, d) for d in necks] + [(False, d) for d in others]:
            window = {"branch": 0, "position_nm": 1.0, "area_um2": 1.0, "contact_um2": density}
            rows["window"].append(own | window | {"narrow": is_neck, "tested": True})
        for _ in necks:
            place = {"branch_length_nm": length, "position_nm": length / 2, "kind": 0, "tested": True}
            rows["narrow"].append(own | dict.fromkeys(parts.COLUMNS, 0) | place)
        areas = dict(zip(parts.CONTACT, (5, sum(necks) + 4 * rest, 1, sum(necks), 4, 4 * rest), strict=True))
        rows["object"].append(dict.fromkeys(parts.OBJECT, 0) | own | {"narrowings": len(necks)} | areas)
    kinds = {
        "narrow": {"label": np.uint64, "cell": np.uint64, **COLUMNS, "kind": np.int8, "tested": np.bool_},
        "window": parts.WINDOW,
        "object": parts.OBJECT | parts.CONTACT,
    }
    record = {
        f"{table}/{name}": np.array(
            [[row[name]] if name.endswith(parts.WITH) else row[name] for row in rows[table]], kind
        )
        for table, columns in kinds.items()
        for name, kind in columns.items()
    }
    made = {
        part: function(iter([(0, record)]), near=NEAR, partners=["er"]) for part, function, _ in parts.PARTS
    }
    return made[""], made["-objects"], made["-tests"]


def said(narrow, objects, tests, **about):
    seen = compared(narrow, tests, with_cells=bool(objects["cell"].any()))
    return lead("necks", narrow, objects, tests, ABOUT | about, seen), seen


def plain(text):
    return " ".join(text.replace("\u202f", " ").split())


def test_one_object_of_many_is_no_answer_about_all():
    """34 objects with a narrowing, one with room for another window: its p is not stated, nor its shares."""
    tables = written([[0.13]] + [[0.26]] * 33, [[0.0] * 20] + [[]] * 33, rest=0.2)
    made, seen = said(*tables)
    assert not seen.tested
    assert plain(made.answer) == (
        "No test: 1 of 34 objects with a narrowing can be tested (33 without room for another window of "
        "300 nm); 6 are needed. As a description only, at narrowings 26 % of the surface lies within 30 nm "
        "of ER, on the rest of the same objects 20 % (means over 34 objects with contact)."
    )
    everywhere = plain(" ".join([*made.sentences, *made.caveats, *sum(made.tiles + made.facts, ())]))
    assert "13 %" not in everywhere
    assert "p =" not in everywhere
    assert "p-value, two-sided" not in everywhere
    assert [plain(value) for value, _ in made.tiles] == ["26 vs. 20 %", "1 of 34"]
    assert tables[2]["no_test"][0] == "fewer than 6 objects to test"
    assert tables[2]["unpaired"][0] == 33
    # Branches of 600 nm with the narrowing in the middle: half a window and a whole one fit at 100 nm.
    assert [plain(w) for w in made.warnings] == [
        "necks: 33 of 34 objects with a narrowing, without room for another window of 300 nm, are in no "
        "test. Choose a smaller window_nm (now 150) before you look at the result; at 100 about half of them "
        "would have room."
    ]


def test_six_objects_are_tested_and_counted():
    made, seen = said(
        *written([[0.3]] * 6 + [[0.4]] + [[0.0]] * 2, [[0.1, 0.0]] * 6 + [[]] + [[0.0]] * 2, 0.0)
    )
    assert seen.tested
    found = re.fullmatch(
        r"At narrowings 30 % of the surface lies within 30 nm of ER, elsewhere on the same objects 5 %"
        r": 25.0 percentage points more \(95 % interval 25 to 25 over objects of one cell, so not "
        r"how cells differ; against chance in the same objects p = [\d.]+; too few objects without "
        r"a narrowing to compare the same places on\)\. Tested: 6 of 9 objects with a "
        r"narrowing \(1 without room for another window of 300 nm, 2 without contact\)\.",
        plain(made.answer),
    )
    assert found
    assert not made.warnings
    assert "within 6 objects" in made.sentences[0]


def test_five_objects_are_not():
    tables = written([[0.3]] * 5, [[0.1, 0.0]] * 5)
    made, _ = said(*tables)
    assert "No test: 5 of 5 objects with a narrowing can be tested; 6 are needed" in made.answer
    assert np.isnan(tables[2]["p_value"]).all()
    assert not made.warnings


def test_a_window_that_is_a_share_of_the_branch_has_its_own_remedy():
    tables = written([[0.3]] * 8, [[]] * 8)
    made, _ = said(*tables, window_nm=None, window_fraction=0.3)
    assert "another window of 60 % of its branch" in plain(made.warnings[0])
    assert (
        "smaller window_fraction (now 0.3) before you look at the result; at 0.16 about" in made.warnings[0]
    )


@pytest.mark.parametrize("tested", [True, False])
def test_text_and_figure_have_the_same_means_and_all_narrowings(tested):
    """Object 1 has two narrowings, one of them and all controls without contact: both are drawn."""
    n = 6 if tested else 3
    tables = written([[0.26, 0.0], *[[0.13]] * (n - 1)], [[0.0, 0.0], *[[0.1, 0.2]] * (n - 1)])
    _, seen = said(*tables)
    assert seen.tested == tested
    assert len(seen.rows) == n + 1
    assert seen.here == pytest.approx(0.13)
    if tested:
        assert (seen.here, seen.there) == pytest.approx(
            (tables[2]["mean_narrow"][0], tables[2]["mean_control"][0])
        )
        assert seen.there == pytest.approx(0.15 * 5 / 6)
    else:
        assert seen.there == pytest.approx(0.1)
    made = Narrowed("necks")
    _paired(tables[0], ABOUT, seen, made)
    svg = made.figures[0].svg
    assert svg.count("stroke-opacity: 0.4") == n + 1
    assert f"each of the {n} objects with the mean of its" in made.figures[0].caption


def test_objects_outside_cells_are_not_in_the_means_of_a_test():
    tables = written([[0.3]] * 6 + [[0.9]], [[0.1]] * 7, cells=[1] * 6 + [0])
    made, seen = said(*tables)
    assert seen.here == pytest.approx(tables[2]["mean_narrow"][0]) == pytest.approx(0.3)
    assert "Tested: 6 of 7 objects with a narrowing (1 in no cell)" in made.answer
