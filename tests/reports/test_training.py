"""The page of a training: curves, the split as drawn, held-out windows, and windows as they were seen."""

from __future__ import annotations

import numpy as np
import pytest
from painted_images import SMALL, stored
from report_pages import Page
from strategies import done

import chunkflow_liver as cf
from chunkflow_liver.errors import InputError
from chunkflow_liver.reports.pictures.errors import KEYS
from chunkflow_liver.reports.pictures.splits import COLOURS, drawing
from chunkflow_liver.reports.training import PALETTE, single_slices, training_report

SOURCE = {"shape": [10, 20, 20], "voxel_nm": [40, 16, 16], "slices": [0, 2, 9], "boxes_nm": None}


def parts(side, kind):
    return [(p.x, p.y, p.width, p.height) for p in side.parts if p.colour == COLOURS[kind]]


def test_a_split_is_drawn_to_scale():
    """400 nm in z and 320 in y and x: 420 pixels are 400 nm."""
    held = [{"start": [8, 0, 0], "stop": [10, 20, 20]}]
    found = drawing("a", SOURCE, held, [80.0, 0.0, 0.0])
    # From above, what is held out hides everything.
    assert [s.plane for s in found.sides] == ["xz"]
    side = found.sides[0]
    assert (side.width, side.height, side.size) == (pytest.approx(336), 420, ("320\u202fnm", "400\u202fnm"))
    np.testing.assert_allclose(parts(side, "painted"), [(0, y, 336, 42) for y in (0, 84, 378)])
    np.testing.assert_allclose(parts(side, "near"), [(0, 252, 336, 168)])
    np.testing.assert_allclose(parts(side, "held"), [(0, 336, 336, 84)])
    boxes = SOURCE | {"slices": None, "boxes_nm": [[[0, 0, 0], [400, 160, 160]]]}
    both = drawing("a", boxes, [{"start": [0, 0, 0], "stop": [10, 5, 5]}], [None] * 3)
    assert [s.plane for s in both.sides] == ["xz", "xy"]
    # One voxel of 16 nm beside 5 of them.
    np.testing.assert_allclose(parts(both.sides[1], "near"), [(0, 0, 126, 126)])


@pytest.mark.parametrize("by", ["slab", "none"])
def test_the_page_of_a_training(by, tmp_path):
    plan = cf.train(
        [stored(tmp_path)],
        name="m",
        work=tmp_path / "work",
        split={"by": by, "folds": 4},
        augment="em",
        **SMALL,
    )
    done(plan)
    page = Page(training_report(plan.output.path, plan.output.runs, to=tmp_path / "page.html"))
    images = [a["alt"] for a in page.all("img")]
    # Six windows as they were read, and as they were seen.
    assert sum("as it was read" in (alt or "") for alt in images) == 6
    assert sum("as the network saw it" in (alt or "") for alt in images) == 6
    assert images.count("difference") == (0 if by == "none" else 4)
    assert ("Nothing was held out" in page.text) == (by == "none")
    assert ("counted from 0 (the last is fold 3)" in page.text) == (by == "slab")
    assert "a single slice" not in page.text
    assert page.source.count('class="windows heads"') == (by == "slab")
    drawn = [a.get("fill") for a in page.all("rect")]
    assert (COLOURS["held"] in drawn) == (by == "slab")
    assert COLOURS["painted"] in drawn
    for text in ("Curves", "What was painted", "What the network saw", "dark", "bright"):
        assert text in page.text
    assert str(tmp_path) not in page.source


def test_no_colour_means_two_things():
    assert not {*PALETTE} & {*COLOURS.values(), *(colour for _, colour in KEYS)}
    assert not {*COLOURS.values()} & {colour for _, colour in KEYS}


def test_a_single_slice_that_is_held_out_is_told():
    def settings(**source):
        boxes = {"2": [[{"start": [5, 0, 0], "stop": [10, 20, 20]}]]}
        return {"sources": [SOURCE | source], "split": {"held_out": boxes}}

    assert single_slices(settings()) == ["2"]
    assert single_slices(settings(slices=[0, 6, 9])) == single_slices(settings(slices=None)) == []


def test_a_training_that_did_not_end_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"there is no training to report in .*run it to its end first"):
        training_report(tmp_path, tmp_path, to=tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
