"""The report says what was found at narrowings, and draws it; the figures lie beside it as SVG."""

from __future__ import annotations

import json
import re
import shutil
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import ndimage
from solids import CUBES, ellipsoid, scene, turned
from strategies import done, write

import chunkflow_liver as cf
from chunkflow_liver.engine.plan import Product
from chunkflow_liver.kernels.centreline.sections import signed_nm
from chunkflow_liver.reports.pictures import narrowing_examples as pictured
from chunkflow_liver.reports.pictures.narrowing_examples import chosen, side_plane
from chunkflow_liver.reports.pictures.renderings import BODY, CONTACT, NECK, rendering
from chunkflow_liver.reports.pictures.slices import pictures
from chunkflow_liver.reports.sections.narrowings import narrowings
from chunkflow_liver.reports.work import read_work

FEW = {"permutations": 99, "draws": 20}


def run(folder, labels, er):
    classes = np.where(labels > 0, 2, er).astype(np.uint8)
    volume = write(folder, classes, voxel_nm=CUBES, classes=[("er", 1), ("mitochondrion", 2)])
    at = {"work": folder / "work"}
    mitos = cf.label(volume, classes=["mitochondrion"], name="mitos", **at)
    necks = cf.narrowing(mitos.output, er=volume, near=cf.Near(window_nm=120, **FEW), name="necks", **at)
    # The classes are a result to look at as they would be in a run file's plan.
    plan = mitos + necks
    semantic = cf.Plan((), plan.work, volume, (product("semantic", volume),))
    done(semantic + plan)
    return folder / "work"


def product(kind, volume):
    return Product(kind, volume.name, volume, (("classes", list(volume.classes)),))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("necks")
    labels, er, _, _ = scene()
    work = run(folder, labels, er)
    cf.report(work)
    return work


def test_the_page_says_what_was_found_and_tested(finished):
    page = (finished / "report.html").read_text()
    section = page[page.index('<section id="narrowings">') :]
    text = " ".join(re.sub(r"<[^>]+>", " ", section).split())
    assert re.search(r"2 narrowings in 2 of 3 objects \(67\s%\)", text)
    assert re.search(r"within 30\snm of ER, on the rest of the same objects [\d.]+\s%", text)
    assert "No p-value belongs to this difference" in text
    assert "p-value, two-sided" not in text
    assert "necks-tests" in text
    assert "necks-cells" in text


def test_figures_lie_beside_the_page_as_svg(finished):
    files = {p.name: p for p in (finished / "figures").iterdir()}
    assert {"necks-widths.svg", "necks-paired.svg", "necks-enrichment.svg"} < files.keys()
    objects = [name for name in files if name.startswith("necks-object-")]
    assert len(objects) == 2
    for name, path in files.items():
        root = ElementTree.fromstring(path.read_text())
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        pictures = root.findall(".//{http://www.w3.org/2000/svg}image")
        assert len(pictures) == (name in objects)
        assert "currentColor" not in path.read_text()


def test_the_same_run_gives_the_same_page(finished, tmp_path):
    again = cf.report(finished, to=tmp_path / "again.html")
    assert again.read_bytes() == (finished / "report.html").read_bytes()


def test_the_answer_stands_at_the_top_of_the_page(finished):
    page = (finished / "report.html").read_text()
    top = page[: page.index("<section")]
    text = " ".join(re.sub(r"<[^>]+>", " ", top[top.index("<main>") :]).split())
    # This run counts no objects: narrowings alone are the headline, and what could not be tested is below.
    assert re.search(r"2 narrowings in 2 of 3 objects \(67\s%\)\. 2 narrowings, in 67", text)
    assert re.search(
        r"necks: No test: 1 of 2 objects with a narrowing can be tested \(1 without contact\); 6 are "
        r"needed\. As a description only, at narrowings [\d.]+\s% of",
        text,
    )
    assert re.search(
        r"on the rest of the same objects [\d.]+\s% \(means over 1 object with contact\)\.", text
    )
    assert text.index("in 67") < text.index("No test")


def test_the_table_begins_with_place_width_and_enrichment(finished):
    page = (finished / "report.html").read_text()
    table = page[page.index("<summary>necks <span") :]
    heads = re.findall(r'<button type="button">([^<]+)</button>', table)
    assert heads[:8] == ["label", "z", "y", "x", "width", "near density", "far density", "enrichment"]


def test_narrowings_are_seen_from_the_side_in_the_raw_image(finished, tmp_path):
    entries = json.loads((finished / "products.json").read_text())
    shape = next(e for e in entries if e["name"] == "mitos")["handle"]["shape"]
    grey = np.random.default_rng(0).integers(60, 200, shape, dtype=np.uint8)
    raw = cf.write_volume(tmp_path / "raw.ome.zarr", grey, voxel_nm=CUBES)
    work = shutil.copytree(finished, tmp_path / "work")
    read = read_work(finished)
    pictured = replace(read, products=(*read.products, Product("raw", "raw", raw)), path=work)
    made = narrowings(pictured, pictures(pictured))[0]
    seen = {f.title: f for f in made.examples if "the raw image at the narrowing" in f.title}
    assert len(seen) == 2
    narrow = pq.read_table(finished / "tables/necks.parquet").to_pydict()
    for row, label in enumerate(narrow["label"]):
        caption = seen[f"Object {label}: the raw image at the narrowing"].caption
        at = [int(narrow[f"{a}_nm"][row] // CUBES[0]) for a in "zyx"]
        assert f"z, y, x = {at[0]}, {at[1]}, {at[2]} voxels" in caption
        across = re.match(r"(xy|xz|yz) plane, slice ([zyx]) = (\d+)\.", caption)
        assert across[2] not in across[1]
        assert int(across[3]) == at["zyx".index(across[2])]
        svg = ElementTree.fromstring(made.files[f"necks-em-{label}.svg"])
        assert len(svg.findall(".//{http://www.w3.org/2000/svg}image")) == 1


@pytest.mark.parametrize(
    ("tangent", "plane"),
    [
        ((0.0, 0.6, 0.8), "xy"),
        ((1.0, 0.0, 0.0), "xz"),
        ((0.8, 0.6, 0.0), "yz"),
        ((0.8, 0.0, 0.6), "xz"),
        ((0.62, 0.55, 0.56), "xy"),
    ],
)
def test_the_plane_is_the_one_that_the_centre_line_lies_in(tangent, plane):
    assert side_plane(np.array(tangent)) == plane


def test_the_most_enriched_is_so_by_near_over_far():
    """A difference names another: 0.50 - 0.20 is more than 0.10 - 0.01, but 2.5 times is less than 10."""
    narrow = {
        "label": np.array([1, 2, 3, 4, 5]),
        "width_nm": np.array([100.0, 90.0, 80.0, 70.0, 75.0]),
        "width_ratio": np.array([0.9, 0.65, 0.52, 0.4, 0.45]),
        "near_density": np.array([0.5, 0.1, 0.1, 0.0, 0.1]),
        "far_density": np.array([0.2, 0.01, 0.2, 0.0, 0.1]),
    }
    narrow |= {"resolved": np.ones(5, bool), "touches_border": np.zeros(5, bool)}
    assert chosen(narrow, "ER") == [
        (2, "typical, its width relative to its flank is the median"),
        (3, "the narrowest relative to its flank"),
        (1, "most enriched in ER, near over far"),
        (4, "its relative width is next to the median"),
        (0, "its relative width is next to the median"),
    ]


def test_what_is_not_resolved_is_no_example_of_a_thin_neck():
    narrow = {
        "label": np.array([1, 2, 3]),
        "width_ratio": np.array([0.05, 0.4, 0.3]),
        "width_nm": np.array([12.0, 100.0, 110.0]),
        "resolved": np.array([False, True, True]),
        "touches_border": np.array([False, False, False]),
    }
    assert chosen(narrow, "ER") == [
        (2, "typical, its width relative to its flank is the median"),
        (1, "the thinnest in nm"),
        (0, "its relative width is next to the median"),
    ]
    narrow["resolved"][:] = False
    assert chosen(narrow, "ER")[1] == (0, "the narrowest relative to its flank")


def test_typical_is_a_whole_object_with_a_resolved_neck():
    """The median of the ratios is 0.5, which two have: one is cut by the volume, one is not resolved."""
    narrow = {
        "label": np.array([1, 2, 3, 4, 5]),
        "width_ratio": np.array([0.5, 0.5, 0.6, 0.3, 0.8]),
        "width_nm": np.array([90.0, 80.0, 100.0, 70.0, 110.0]),
        "resolved": np.array([True, False, True, True, True]),
        "touches_border": np.array([True, False, False, False, False]),
    }
    assert chosen(narrow, "ER")[0][0] == 2
    narrow["touches_border"][:] = True
    assert chosen(narrow, "ER")[0][0] == 0


def test_the_page_says_how_many_voxels_a_neck_has_and_what_that_is_worth(finished, tmp_path):
    text = " ".join((finished / "report.html").read_text().split())
    found = pq.read_table(finished / "tables/necks.parquet").to_pydict()
    for width in found["width_voxels"]:
        assert re.search(rf"\({width:.2g}[\d.]* voxels across\)", text)
    assert "not resolved" not in text
    path = finished / "tables/necks.parquet"
    table, written = pq.read_table(path), path.read_bytes()
    column = table.column_names.index("resolved")
    try:
        pq.write_table(table.set_column(column, "resolved", [[False, True]]), path)
        text = " ".join(cf.report(finished, to=tmp_path / "page.html").read_text().split())
    finally:
        path.write_bytes(written)
    assert "1 of the narrowings is thinner or shorter than two voxels" in text
    assert re.search(r"Width [\d.]+ nm \([\d.]+ voxels across, not resolved\)", text)


def test_objects_that_were_left_out_are_named(tmp_path):
    labels = scene()[0]
    volume = write(tmp_path, labels, "mitos", kind="label", voxel_nm=CUBES)
    sizes = [np.prod([b.stop - b.start for b in box]) for box in ndimage.find_objects(labels) if box]
    neck = cf.Neck(crop_voxels=int(max(sizes)) - 1)
    made = cf.narrowing(volume, neck=neck, name="necks", work=tmp_path / "work")
    done(made)
    text = " ".join(cf.report(tmp_path / "work").read_text().split())
    gone = np.unique(labels)[1:][int(np.argmax(sizes))]
    assert "in 1 of 2 objects" in text or "in 2 of 2 objects" in text
    assert re.search(
        rf"1 object was left out, because their bounding boxes are above .*: {gone}\. Raise it", text
    )


def test_without_narrowings_the_page_says_so(tmp_path):
    blob = np.pad(ellipsoid((200, 150, 120), CUBES, turned(0)), 2).astype(np.uint32)
    page = cf.report(run(tmp_path, blob, np.zeros(blob.shape, np.uint8))).read_text()
    assert "0 narrowings in 0 of 1 object " in page
    assert "there is nothing to test" in " ".join(page.split())


def test_a_table_that_is_gone_is_listed(finished, tmp_path):
    table = finished / "tables/necks-objects.parquet"
    table.rename(tmp_path / "away")
    try:
        page = cf.report(finished, to=tmp_path / "page.html").read_text()
    finally:
        (tmp_path / "away").rename(table)
    assert "Narrowings &#39;necks&#39;: table &#39;necks-objects&#39; is not written yet" in page


def test_a_rendering_shows_the_silhouette_and_the_colours():
    """An ellipsoid from the side of its two longest axes: an ellipse of known area, half of it in contact."""
    axes = turned(2)
    mask = ellipsoid((300, 200, 120), CUBES, axes)
    half = np.zeros(mask.shape, bool)
    points = np.stack(np.indices(mask.shape), -1) * 16.0
    half[(points - points.mean((0, 1, 2))) @ axes[0] > 0] = True
    picture, pixel = rendering(signed_nm(mask, CUBES), half, np.zeros(mask.shape, bool), CUBES)
    seen = picture[..., 3] > 0
    assert seen.sum() * pixel**2 == pytest.approx(np.pi * 300 * 200, rel=0.03)
    warm = picture[..., 0] > picture[..., 2]
    assert (seen & warm).sum() / seen.sum() == pytest.approx(0.5, abs=0.05)
    assert warm[:, : warm.shape[1] // 3][seen[:, : warm.shape[1] // 3]].mean() in (
        pytest.approx(0, abs=0.05),
        pytest.approx(1, abs=0.05),
    )
    neck, _ = rendering(signed_nm(mask, CUBES), np.zeros(mask.shape, bool), mask, CUBES)
    assert (neck[seen][:, 2] > neck[seen][:, 0]).all()
    assert BODY != CONTACT != NECK


def test_a_figure_that_a_new_page_does_not_show_is_removed(finished, tmp_path, monkeypatch):
    page = cf.report(finished, to=tmp_path / "page.html")
    (tmp_path / "figures/notes.txt").write_text("mine")
    before = {p.name for p in (tmp_path / "figures").iterdir()}
    monkeypatch.setattr(pictured, "EXAMPLES", 1)
    assert cf.report(finished, to=page) == page
    gone = before - {p.name for p in (tmp_path / "figures").iterdir()}
    assert len(gone) == 1
    assert all(name.startswith("necks-object-") for name in gone)


def test_a_table_of_an_earlier_version_is_said_to_be_one(finished, tmp_path):
    path = finished / "tables/necks-tests.parquet"
    table, written = pq.read_table(path), path.read_bytes()
    try:
        pq.write_table(table.drop_columns(["unpaired"]), path)
        page = cf.report(finished, to=tmp_path / "page.html").read_text()
    finally:
        path.write_bytes(written)
    assert "table &#39;necks-tests&#39; is of an earlier version and has no column &#39;unpaired&#39;" in page
