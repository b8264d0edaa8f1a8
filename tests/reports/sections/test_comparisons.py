"""Results side by side against truths: rows and means of the table, bars, colours, and pictures of errors."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image
from report_pages import Page
from strategies import done, write

import chunkflow_liver as cf
from chunkflow_liver.errors import ChunkError
from chunkflow_liver.reports import report
from chunkflow_liver.reports.pictures.errors import FOUND_ONLY, RIGHT, TRUTH_ONLY, overlay
from chunkflow_liver.reports.sections.comparisons import comparisons
from chunkflow_liver.reports.work import read_work

CLASSES = (("er", 1), ("lipid_droplet", 2))
SHAPE = (4, 16, 24)


@pytest.fixture
def compared(tmp_path):
    """Two truths and two results: 'good' is right but for half of the lipid, 'bad' has no lipid at all."""
    truth = np.zeros(SHAPE, np.uint8)
    truth[:, :8], truth[:, 8:12] = 1, 2
    good, bad = truth.copy(), truth.copy()
    good[:, 8:10], bad[bad == 2] = 0, 0
    bad[:, 12:14] = 1
    about = {"kind": "label", "classes": CLASSES}
    images = {
        n: write(tmp_path, v, n, **about)
        for n, v in {"good": good, "bad": bad, "one": truth, "two": truth[::-1].copy()}.items()
    }
    raw = write(tmp_path, np.random.default_rng(0).integers(0, 255, SHAPE).astype(np.uint8), "raw")
    plans = [
        cf.evaluate(
            images[result],
            images[of],
            raw=raw,
            per_slice=True,
            surfaces_nm=(8, 100),
            name=f"{result}-{of}",
            work=tmp_path / "work",
        )
        for of in ("one", "two")
        for result in ("good", "bad")
    ]
    plan = plans[0] + plans[1] + plans[2] + plans[3]
    done(plan)
    return plan


def test_rows_and_means(compared):
    (found,) = comparisons(read_work(compared.work), [])
    rows = {
        tuple(text for text, _ in row[:3]): dict(zip(found.table.columns, row, strict=True))
        for row in found.table.rows
    }
    dice = ("Dice", "", True)
    assert rows["good", "one", "ER"][dice][0] == "1.00"
    # 2 of 4 rows of the lipid: Dice 2 * 2 / (2 + 4).
    assert rows["good", "one", "lipid droplet"][dice][0] == "0.667"
    assert rows["bad", "two", "lipid droplet"][dice][0] == "0"
    assert rows["good", "one", "mean of classes"][dice][0] == "0.833"
    assert rows["good", "mean of volumes", "mean of classes"][dice][0] == "0.833"
    assert rows["good", "mean of volumes", "ER"][("voxels found", "", True)][0] == "–"
    assert rows["good", "one", "lipid droplet"][("Dice, mean of slices", "", True)][0] == "0.667"
    assert rows["good", "one", "ER"][("surface distance, mean", "nm", True)][0] == "0"
    assert len(found.table.rows) == 4 * 3 + 2 * 3
    bars = {bar.what: [(name, round(share, 3)) for name, _, share, _ in bar.bars] for bar in found.bars}
    assert bars["lipid droplet · one"] == [("good", 0.667), ("bad", 0.0)]
    assert [name for name, _ in found.heat[:2]] == ["ER · good · one", "ER · bad · one"]
    assert [title for title, _ in found.slices] == [
        f"{c} · {t}" for t in ("one", "two") for c in ("ER", "lipid droplet")
    ]


def test_every_result_is_shown_at_the_same_places(compared):
    (found,) = comparisons(read_work(compared.work), [])
    assert [truth for truth, _ in found.places] == ["one", "two"]
    for place in found.places[0][1]:
        assert [p.title for p in place.pictures] == ["image", "good", "bad"]
    first = found.places[0][1][0]
    assert first.title.startswith("lipid droplet: slice 0, from y 0, x 0;")
    assert (
        first.pictures[1].caption
        == "48 pixels right, 0 found and not true, 48 true and not found: Dice 0.667"
    )
    picture = Image.open(io.BytesIO(base64.b64decode(first.pictures[2].picture.split(",")[1])))
    assert picture.size == SHAPE[:0:-1]
    page = Page(report(compared))
    for text in (
        "Compared with the truth",
        "Where most is wrong in two",
        "mean of volumes",
        "slice by slice",
    ):
        assert text in page.text
    assert "There is nothing to count" not in page.text
    assert len(re.findall(r'<i style="width:[\d.]+%;background:#', page.source)) == len(found.bars) * 2


def test_objects_that_match_are_right(tmp_path):
    truth = np.zeros(SHAPE, np.uint32)
    truth[1, 2:6, 2:12], truth[1, 10:14, 2:12] = 5, 6
    found = np.zeros(SHAPE, np.uint32)
    found[1, 2:6, 2:10], found[1, 10:14, 2:5] = 9, 8
    a, b = (write(tmp_path, v, n, kind="label") for n, v in (("found", found), ("truth", truth)))
    done(cf.evaluate(a, b, iou=[0.5, 0.9], per_slice=True, name="e", work=tmp_path / "work"))
    (made,) = comparisons(read_work(tmp_path / "work"), [])
    assert [(row[2][0], row[3][0]) for row in made.table.rows] == [
        ("from IoU 0.5", "0.500"),
        ("from IoU 0.9", "0"),
    ]
    ((_, (place,)),) = made.places
    # 8 of 10 columns of object 5 are right; object 8 is 3 of 10 columns of object 6, which is no match.
    assert place.pictures[0].caption.startswith(
        "32 pixels right, 12 found and not true, 48 true and not found"
    )


def test_images_that_are_gone_are_said_to_be_missing(compared):
    import shutil

    shutil.rmtree(compared.work.parent / "two.ome.zarr/0/c", ignore_errors=False)
    missing: list[str] = []
    (found,) = comparisons(read_work(compared.work), missing)
    assert [truth for truth, _ in found.places] == ["one"]
    assert len(missing) == 1
    assert missing[0].startswith("No pictures of errors against two: ")
    with pytest.raises(ChunkError):
        cf.open_volume(compared.work.parent / "two.ome.zarr").read()


def test_the_colours_of_an_overlay():
    base = np.zeros((1, 4, 3))
    found = np.array([[True, True, False, True]])
    true = np.array([[True, False, True, True]])
    known = np.array([[True, True, True, False]])
    made = overlay(base, found, true, found & true, known)
    for i, colour in enumerate((RIGHT, FOUND_ONLY, TRUTH_ONLY)):
        np.testing.assert_allclose(made[0, i], 0.55 * np.array(colour))
    assert (made[0, 3] == made[0, 3][0]).all()
