"""The report shows every feature with its extreme objects, and a gallery of a bounded number of them."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from report_pages import Page
from strategies import done, write

import chunkflow_liver as cf
from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.geometry import Box
from chunkflow_liver.reports import report
from chunkflow_liver.reports.pictures import gallery as galleries
from chunkflow_liver.reports.pictures import thumbnails
from chunkflow_liver.reports.pictures.gallery import group_of
from chunkflow_liver.reports.pictures.planes import PLANES, across, corner_nm
from chunkflow_liver.reports.pictures.thumbnails import OUTLINE, bars, best_plane, thumbnail

SHAPE = (9, 60, 80)


def make_run(folder, n=(3, 4), features=("basic", "surroundings")):
    """A finished run with a grid of boxes, larger to the right, on a grey ramp."""
    labels = np.zeros(SHAPE, np.uint32)
    for i in range(n[0]):
        for j in range(n[1]):
            labels[2:6, 3 + 14 * i : 9 + 14 * i, 3 + 16 * j : 6 + 18 * j] = 1 + i * n[1] + j
    raw = np.broadcast_to(np.arange(SHAPE[2], dtype=np.uint8), SHAPE).copy()
    image = write(folder, raw, "raw")
    mitos = write(folder, labels, "mitos", kind="label")
    table = cf.measure(mitos, raw=image, features=features, name="t", work=folder / "work")
    products = (Product("raw", "raw", image), Product("instances", "mitos", mitos), *table.products)
    plan = Plan(table.stages, table.work, table.output, products)
    done(plan)
    return plan, labels


def picture(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")).astype(
        int
    )


def cards(page):
    return [a for a in page.all("figure") if "data-v" in a]


def test_every_feature_has_its_distribution_and_its_extremes(tmp_path):
    plan, _ = make_run(tmp_path)
    page = Page(report(plan))
    table = cf.read_table(plan.output).to_pydict()
    options = [a["value"] for a in page.all("option")]
    assert options == [str(i) for i in range(len(options))]
    names = [
        "voxels",
        "volume_um3",
        "axis_major_nm",
        "intensity_mean",
        "border_distance_nm",
        "density_per_um3",
    ]
    for name in names:
        title = name.removesuffix("_nm").removesuffix("_per_um3").removesuffix("_um3").replace("_", " ")
        assert f"distribution of {title}" in page.source
    assert "density (1/µm³)" in page.text
    largest = table["label"][int(np.argmax(table["voxels"]))]
    row = page.text[page.text.index("largest voxels") :]
    assert f"{max(table['voxels'])} label {largest}" in row[:120]
    assert not page.scripts[0].count("http")


def test_cards_hold_numbers_and_texts_of_every_feature(tmp_path):
    plan, _ = make_run(tmp_path)
    page = Page(report(plan))
    table = cf.read_table(plan.output).to_pydict()
    found = cards(page)
    assert len(found) == 12
    assert sorted(json.loads(a["data-v"])[0] for a in found) == sorted(table["voxels"])
    n = len(page.all("option"))
    for a in found:
        assert len(json.loads(a["data-v"])) == len(json.loads(a["data-t"])) == n
    uris = [a["href"] for a in page.all("image") if str(a.get("id", "")).startswith("o0-")]
    assert len(uris) == 12
    used = [a["href"] for a in page.all("use") if str(a["href"]).startswith("#o0-")]
    assert {u[1:] for u in used} == {
        a["id"] for a in page.all("image") if str(a.get("id", "")).startswith("o0-")
    }


def test_extreme_objects_are_shown_with_their_pictures_and_a_click_sorts_the_gallery(tmp_path):
    plan, _ = make_run(tmp_path)
    page = Page(report(plan))
    table = cf.read_table(plan.output).to_pydict()
    largest = [table["label"][i] for i in np.argsort([-v for v in table["volume_um3"]], kind="stable")[:5]]
    part = page.source[page.source.index("The largest of t") : page.source.index("The smallest of t")]
    assert [int(n) for n in re.findall(r'aria-label="object (\d+)"', part)] == largest
    buttons = [a["data-sort"] for a in page.all("button") if "data-sort" in a]
    assert buttons == [a["value"] for a in page.all("option")]
    (features,) = (a["data-gallery"] for a in page.all("div") if "data-gallery" in a)
    assert [a["id"] for a in page.all("div") if a.get("class") == "gallery"] == [features]


def test_cards_have_a_scale_bar_of_a_round_length(tmp_path):
    plan, labels = make_run(tmp_path)
    page = Page(report(plan))
    box = np.argwhere(labels == 1)
    height, width = (np.ptp(box[:, a]) + 1 for a in (1, 2))
    side = 1.35 * max(max(height, 8) * 8.0, max(width, 8) * 16.0)
    card = page.source[page.source.index('aria-label="object 1"', page.source.index('id="gallery-1"')) :][
        :600
    ]
    assert float(re.findall(r'width="([0-9.]+)" height="3"', card)[0]) == pytest.approx(
        96 * 50 / side, abs=0.1
    )
    assert ">label 1</a><br>bar 50\u202fnm" in card


def test_the_number_of_pictures_is_bounded_and_the_extremes_are_among_them(tmp_path, monkeypatch):
    monkeypatch.setattr(galleries, "MOST_OBJECTS", 8)
    monkeypatch.setattr(galleries, "TYPICAL", 3)
    plan, _ = make_run(tmp_path)
    page = Page(report(plan))
    table = cf.read_table(plan.output).to_pydict()
    voxels = [json.loads(a["data-v"])[0] for a in cards(page)]
    assert len(voxels) == 8
    assert {min(table["voxels"]), max(table["voxels"])} <= set(voxels)
    assert "8 of 12 objects: even steps" in page.text


def test_missing_values_are_neither_drawn_nor_sorted(tmp_path):
    plan, _ = make_run(tmp_path, n=(1, 1))
    page = Page(report(plan))
    assert "neighbour distance nm · 1 without" in page.text
    names = [f for f in cf.read_table(plan.output).column_names if f == "neighbour_distance_nm"]
    assert names
    assert None in json.loads(cards(page)[0]["data-v"])


def test_a_picture_shows_the_object_in_the_plane_with_most_of_it(tmp_path):
    labels = np.zeros((5, 40, 40), np.uint32)
    labels[1, 10:14, 10:14] = 7
    labels[3, 5:35, 5:35] = 7
    raw = np.zeros(labels.shape, np.uint8)
    raw[3] = 200
    size = {"voxel_nm": (8.0, 8.0, 8.0)}
    volume = write(tmp_path, labels, "mitos", kind="label", **size)
    image = write(tmp_path, raw, "raw", **size)
    box = Box((1, 5, 5), (4, 35, 35))
    found = thumbnail([volume], [image], 7, box, grey=(0.0, 200.0))
    assert (found.plane, found.side_nm) == ("xy", 1.35 * 30 * 8)
    shown = picture(found.picture)
    assert shown.shape == (96, 96, 3)
    middle = shown[48, 48]
    assert middle.min() > 235  # white: the plane of the large part
    assert OUTLINE[0] - OUTLINE[2] > 150
    outline = shown[..., 0] - shown[..., 2] > 60
    # The outline lies on a square 1 / 1.35 as wide as the picture.
    rows, columns = np.nonzero(outline)
    for at in (rows, columns):
        assert abs(at.min() - 48 * (1 - 1 / 1.35)) <= 3
        assert abs(at.max() - 48 * (1 + 1 / 1.35)) <= 3


@pytest.mark.parametrize(
    ("plane", "cut", "place"),
    [
        # Voxels of (4, 8, 16) nm: a bar of 80 x 8 x 10 voxels is 320 x 64 x 160 nm.
        ("xz", (slice(5, 85), slice(20, 28), slice(12, 22)), 20.5 * 8),
        ("yz", (slice(5, 85), slice(6, 36), slice(12, 14)), 12.5 * 16),
        # Seen from the front it is 240 x 96 nm; across the slices, 112 x 240 nm are not a fifth more.
        ("xy", (slice(5, 33), slice(6, 36), slice(12, 18)), 5.5 * 4),
    ],
)
def test_long_objects_are_seen_from_the_side(plane, cut, place, tmp_path):
    labels = np.zeros((90, 40, 40), np.uint32)
    labels[cut] = 7
    size = (4.0, 8.0, 16.0)
    volume = write(tmp_path, labels, "mitos", kind="label", voxel_nm=size)
    box = Box(tuple(s.start for s in cut), tuple(s.stop for s in cut))
    found, at = best_plane([volume], 7, box)
    assert (found, at - corner_nm(volume, across(found))) == (plane, place)
    shown = thumbnail([volume], None, 7, box, grey=(0.0, 1.0))
    sides = [box.shape[a] * size[a] for a in PLANES[plane]]
    assert shown.plane == plane
    assert shown.side_nm == pytest.approx(1.35 * max(sides))
    yellow = picture(shown.picture)
    rows, columns = np.nonzero(yellow[..., 0] - yellow[..., 2] > 60)
    for filled, side in zip((rows, columns), sides, strict=True):
        assert np.ptp(filled) == pytest.approx(96 * side / shown.side_nm, abs=4)


def test_an_object_too_large_to_look_at_is_cut_across_its_shortest_side(tmp_path, monkeypatch):
    monkeypatch.setattr(thumbnails, "MOST_VOXELS", 0)
    volume = write(tmp_path, np.zeros((90, 40, 40), np.uint32), "mitos", kind="label", voxel_nm=(4, 8, 16))
    plane, at = best_plane([volume], 7, Box((0, 10, 0), (90, 20, 40)))
    assert (plane, at - corner_nm(volume, 1)) == ("xz", 15 * 8.0)


def run_at_border(folder, cut):
    """Boxes of which the first `cut` touch the border of the volume."""
    labels = np.zeros((8, 60, 40), np.uint32)
    for i in range(6):
        labels[0 if i < cut else 2 : 6, 2 + 9 * i : 9 + 9 * i, 4 : 10 + 4 * i] = 1 + i
    mitos = write(folder, labels, "mitos", kind="label")
    table = cf.measure(mitos, features=["basic", "shape"], name="t", work=folder / "work")
    products = (Product("instances", "mitos", mitos), *table.products)
    done(Plan(table.stages, table.work, table.output, products))
    return folder / "work"


def test_whole_objects_stand_first_and_a_switch_shows_those_at_the_border(tmp_path):
    source = report(run_at_border(tmp_path, cut=2)).read_text(encoding="utf-8")
    text = " ".join(re.sub(r"<[^>]+>", " ", source).split())
    assert text.count("4 of 6 objects are whole; 2 go on outside the volume.") == 3
    assert source.count('<input type="checkbox" data-whole checked>') == 3
    # The largest objects: the four that are whole, and five of all.
    largest, every = re.split(r'<div class="every">', source)[:2]
    assert "The largest of t" in largest
    assert "The largest of t" in every
    rows = re.findall(r'<td class="n" data-v="(\d+)">\1</td><td data-v="', largest)
    assert set(rows) == {"3", "4", "5", "6"}
    assert "2" in re.findall(r'aria-label="object (\d+)"', every)
    # The ends of a feature, and the cards.
    row = source[source.index("distribution of voxels") :].partition("</tr>")[0]
    whole, both = (
        re.findall(r'class="end whole".*?label (\d+)', row),
        re.findall(r'"end every".*?label (\d+)', row),
    )
    assert (whole, both) == (["3", "6"], ["1", "6"])
    assert source.count('<figure class="every" data-v=') == 2


@pytest.mark.parametrize(
    ("cut", "said"), [(0, None), (6, "None of 6 objects is whole: all go on outside the volume.")]
)
def test_there_is_no_switch_where_there_is_no_choice(cut, said, tmp_path):
    source = report(run_at_border(tmp_path, cut)).read_text(encoding="utf-8")
    assert "data-whole>" not in source
    assert 'type="checkbox" data-whole' not in source
    assert 'class="every"' not in source
    assert (said is None) or said in source


def test_features_are_folded_by_group_and_the_first_is_open(tmp_path):
    source = report(run_at_border(tmp_path, cut=0)).read_text(encoding="utf-8")
    features = source[source.index('<section id="features">') :].partition("</section>")[0]
    titles = re.findall(r'<details class="group"( open)?>\s*<summary>([^<]+) <span', features)
    assert titles == [(" open", "Basics"), ("", "Shape")]
    shape = features[features.index("<summary>Shape") :]
    assert "distribution of shape SurfaceArea" in shape
    assert "distribution of voxels" not in shape


def test_groups_by_hand():
    names = (
        "volume_um3",
        "glcm_Id",
        "firstorder_10Percentile",
        "wavelet-LLH_glcm_Idm",
        "neighbour_distance_nm",
    )
    assert [group_of(n) for n in names] == [
        "Basics",
        "Texture: co-occurrence (GLCM)",
        "Grey values, first order",
        "wavelet-LLH_glcm",
        "Form and surroundings",
    ]


def test_an_object_at_the_border_has_no_outline_beyond_it(tmp_path):
    labels = np.zeros((3, 30, 30), np.uint32)
    labels[:, :10] = 3
    volume = write(tmp_path, labels, "mitos", kind="label", voxel_nm=(8.0, 8.0, 8.0))
    found = thumbnail([volume], None, 3, Box((0, 0, 0), (3, 10, 30)), grey=(0.0, 1.0))
    shown = picture(found.picture)
    grey = np.abs(shown - 128).sum(2) < 20
    # 30 voxels fill 96 / 1.35 pixels; above and beside them the volume has ended.
    assert grey[:20].all()
    assert grey[:, :8].all()


@pytest.mark.parametrize("lost", ["raw", "mitos"])
def test_what_cannot_be_read_leaves_the_numbers(lost, tmp_path):
    plan, _ = make_run(tmp_path)
    shutil.rmtree(tmp_path / f"{lost}.ome.zarr")
    page = Page(report(plan))
    assert len(cards(page)) == 12
    pictures = [a for a in page.all("image") if str(a.get("id", "")).startswith("o0-")]
    assert len(pictures) == (12 if lost == "raw" else 0)
    if lost == "mitos":
        assert "No pictures:" in page.text


def test_a_table_without_boxes_has_no_pictures(tmp_path):
    plan, _ = make_run(tmp_path, features=["surroundings"])
    page = Page(report(plan))
    assert "No pictures: the table has no columns ['bbox_z_min'" in page.text
    assert len(cards(page)) == 12


def test_bars_by_hand():
    assert bars(np.array([np.nan, np.inf])) == ""
    path = bars(np.array([0.0, 0.0, 1.0]), count=2)
    assert path == "M0.0 26V0.0H50.0V26ZM50.0 26V13.0H100.0V26Z"
    assert bars(np.full(5, 3.0)).count("M") == 1
