from __future__ import annotations

import base64
import hashlib
import json
import math
import shutil
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import chunkflow_liver as cf
from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.errors import InputError, OutputError
from chunkflow_liver.reports import report
from chunkflow_liver.reports.figures import Bars, even_edges, histogram, log_edges
from chunkflow_liver.reports.planes import coarsest, read_plane, views
from chunkflow_liver.reports.samples import choose, surface
from chunkflow_liver.reports.slices import (
    distance_colours,
    instance_colours,
    label_colours,
    pictures,
    scale_bar_nm,
)
from chunkflow_liver.reports.words import duration, heading, number, percent, several, size
from chunkflow_liver.reports.work import read_work
from chunkflow_liver.store.table import Table
from chunkflow_liver.store.volume import Volume

VOXEL_NM = (4.0, 8.0, 16.0)
EVIL = '</title><script>alert(1)</script><img src="https://x.org/y" onerror=alert(2)>'


class Page(HTMLParser):
    """All tags with attributes, all text, and the text of scripts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self._in = ""
        self.feed(self.source)
        self.text = " ".join(" ".join(self.words).replace("\u202f", " ").split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._in = tag

    def handle_data(self, data):
        if self._in == "script":
            self.scripts.append(data)
        elif self._in != "style":
            self.words.append(data)

    def handle_endtag(self, tag):
        self._in = ""

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [a for t, a in self.tags if t == tag]


def make_run(folder: Path, *, shape=(12, 40, 48), name="mito", empty=False, border=True) -> Plan:
    """A finished run of label, distance and measure on a few boxes of class 1 and 2."""
    semantic = np.zeros(shape, np.uint8)
    if not empty:
        semantic[..., 2:10, 4:20] = 1
        semantic[..., 20:31, 25:33] = 1
        if not border and shape[0] > 1:
            semantic[0] = semantic[-1] = 0
        semantic[..., 34:36, 3:45] = 2
    raw = (np.random.default_rng(1).integers(90, 160, shape) - 60 * (semantic == 1)).astype(np.uint8)
    raw_volume = cf.write_volume(folder / "raw.ome.zarr", raw, voxel_nm=VOXEL_NM)
    classes = [(name, 1), ("er", 2)]
    cf.write_volume(folder / "truth.ome.zarr", semantic, voxel_nm=VOXEL_NM, kind="label", classes=classes)
    truth = cf.open_volume(folder / "truth.ome.zarr")
    at = {"work": folder / "run"}
    mitos = cf.label(truth, classes=[1], name="mitos", **at)
    plan = mitos
    plan += cf.distance(truth, to="er", cap_nm=100.0, name="er-distance", **at)
    plan += cf.measure(mitos.output, raw=raw_volume, name="mito-table", **at)
    contacts = Table(str(folder / "run" / "tables" / "mito-er.parquet"))
    contacts.write(
        {
            "label_a": np.array([] if empty else [1], np.uint64),
            "label_b": np.array([] if empty else [2], np.uint64),
            "area_a_um2": np.array([] if empty else [0.25]),
            "gap_min_nm": np.array([] if empty else [8.0]),
        }
    )
    about = (("a", "mitos"), ("b", "er"), ("gap_nm", 30.0))
    products = (
        Product("raw", "raw", raw_volume),
        Product("semantic", "organelles", truth),
        *plan.products,
        Product("contact table", "mito-er", contacts, about),
    )
    return cf.run(replace(plan, products=products), progress=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    return Path(make_run(tmp_path_factory.mktemp("report")).work)


@pytest.fixture
def work(finished, tmp_path) -> Path:
    """A copy of the finished run whose journal and tables a test may change."""
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    entries = json.loads((copy / "products.json").read_text())
    for entry in entries:
        key = "url" if entry["type"] == "Volume" else "path"
        entry["handle"][key] = entry["handle"][key].replace(str(finished), str(copy))
    (copy / "products.json").write_text(json.dumps(entries))
    return copy


@pytest.fixture(scope="module")
def page(finished) -> Page:
    return Page(report(finished))


# ---- the page


def test_a_page_loads_nothing_from_anywhere(page):
    for tag, attributes in page.tags:
        assert tag not in {"link", "iframe", "object", "embed", "base", "form"}
        for key in ("src", "href", "xlink:href", "action", "srcset", "data"):
            target = attributes.get(key)
            assert target is None or target.startswith(("#", "data:image/")), (tag, key, target)
    styles = page.source.split("<style>")[1].split("</style>")[0]
    assert "url(" not in styles
    assert "@import" not in styles


def test_only_the_pages_own_script_may_run(page):
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert len(page.scripts) == 1
    digest = base64.b64encode(hashlib.sha256(page.scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert not [a for _, a in page.tags if any(k.startswith("on") for k in a)]


def test_ids_of_a_page_are_unique_and_every_reference_has_its_target(page):
    ids = [a["id"] for _, a in page.tags if a.get("id")]
    figures = [
        i
        for i in ids
        if not i.startswith(("text_", "line", "patch_", "axes_", "figure_", "matplotlib", "xtick", "ytick"))
    ]
    assert len(figures) == len(set(figures))
    for _, attributes in page.tags:
        target = attributes.get("href")
        if target and target.startswith("#"):
            assert target[1:] in ids


def test_the_summary_says_what_was_found_in_words(page):
    tissue = math.prod(n * v for n, v in zip((12, 40, 48), VOXEL_NM, strict=True)) / 1e9
    share = (12 * 8 * 16 + 12 * 11 * 8) / (12 * 40 * 48)
    assert (
        f"2 mito objects in {number(tissue)} µm³ of tissue; {percent(share)} of the volume".replace(
            "\u202f", " "
        )
        in page.text
    )
    assert "50 % of the mito objects come within 30 nm of ER" in page.text
    assert "2 of 2 objects in mito-table (100 %) touch the border of the volume" in page.text
    assert "may be too large, because ER outside the volume could be nearer" in page.text


def test_the_same_run_gives_the_same_page(finished, tmp_path):
    a = report(finished, to=tmp_path / "a.html")
    b = report(str(finished), to=str(tmp_path / "deeper" / "b.html"))
    assert a.read_bytes() == b.read_bytes()
    assert b.parent.name == "deeper"


def test_a_plan_can_be_given_instead_of_its_folder(finished):
    assert report(Plan((), finished, None)) == finished / "report.html"


def test_the_page_tells_no_paths_of_this_machine(page, finished):
    assert str(finished) not in page.text.replace(" ", "")
    assert "cf.read_table('tables/mito-table.parquet').to_pandas()" in page.text
    assert "cf.open_volume('results.ome.zarr/labels/mitos')" in page.text
    assert "../raw.ome.zarr" in page.text


def test_what_clean_up_and_edits_did_is_said(tmp_path):
    labels = np.zeros((6, 8, 8), np.uint16)
    labels[2:5, 2:5, 2:5], labels[3, 6, 6], labels[0, 0, 0] = 9, 4, 2
    labels[2, 6:8, 1:3] = 6
    at = {"work": tmp_path / "work"}
    volume = cf.write_volume(tmp_path / "found.ome.zarr", labels, voxel_nm=VOXEL_NM, kind="label")
    keep = cf.Keep(min_volume_um3=2 * 512e-9, border=False)
    clean = cf.refine(volume, keep=keep, name="clean", **at)
    final = cf.edit(clean.output, [("delete", 1)], name="final", **at)
    cf.run(clean + final, progress=False)
    text = Page(report(tmp_path / "work")).text
    assert "1 of 4 objects of found stay in clean; 2 touch the end of the volume, 1 are too small." in text
    assert "Edits that make final of clean: 1 delete." in text
    assert "clean-ids" in text


def test_names_are_text_never_markup(work):
    entries = json.loads((work / "products.json").read_text())
    for entry in entries:
        entry["name"] = f"{entry['name']}{EVIL}"
        if "to" in entry["about"]:
            entry["about"]["to"] = EVIL
        if entry["kind"] == "contact table":
            entry["about"] |= {"a": EVIL, "b": EVIL}
    (work / "products.json").write_text(json.dumps(entries))
    Table(str(work / "tables" / "mito-table.parquet")).write(
        {
            "label": np.array([1]),
            "class": np.array([EVIL]),
            "volume_um3": np.array([0.1]),
            EVIL: np.array([1]),
        }
    )
    (work / "failed.json").write_text(
        json.dumps({"stage": EVIL, "blocks": [{"block": 3, "error": EVIL, "traceback": EVIL}]})
    )
    (work / "plan.json").write_text(json.dumps({"host": EVIL, "text": EVIL, "versions": {EVIL: EVIL}}))
    page = Page(report(work))
    assert len(page.all("script")) == 1
    assert not page.all("img")
    assert page.source.count("<title>") == 1
    assert "<script>alert" not in page.source
    assert "<script>alert(1)</script>" in page.text


def test_a_class_name_from_an_image_is_text_too(tmp_path):
    page = Page(report(make_run(tmp_path, name=EVIL)))
    assert len(page.all("script")) == 1
    assert not page.all("img")
    assert EVIL in page.text


# ---- incomplete runs


def test_a_run_that_has_not_begun_gives_a_page_that_says_so(tmp_path):
    (tmp_path / "run.json").write_text(
        '{"schema": 1, "stages": {"mitos/apply": {"description": {}, "fingerprint": "ab"}}}'
    )
    page = Page(report(tmp_path))
    assert "This run has no instance table yet" in page.text
    assert "1 of 1 stages are not finished (mitos/apply)" in page.text
    assert "No plan.json in the work folder" in page.text


def test_results_that_are_not_there_are_listed(work):
    shutil.rmtree(work / "er-distance.ome.zarr")
    (work / "tables" / "mito-table.parquet").unlink()
    # What lay in the first folder must not stand in for it.
    page = Page(report(work))
    assert "Instance table: table 'mito-table' is not written yet." in page.text
    assert "Distance 'er-distance' is not written yet." in page.text
    assert "1 objects of mitos have a contact" in page.text
    assert "not written yet" in page.text.partition("Paths are seen from")[2]


def test_an_image_with_missing_chunks_is_named_and_the_rest_is_drawn(work):
    shutil.rmtree(work / "er-distance.ome.zarr" / "0" / "c")
    page = Page(report(work))
    assert "Distance 'er-distance' is not shown in full" in page.text
    assert "is missing" in page.text
    assert "mitos, xy plane" in [a.get("aria-label") for a in page.all("svg")]


def test_failed_blocks_are_shown_with_their_traceback(work):
    failed = [{"block": b, "error": f"stage 'x', block {b}: boom", "traceback": "line 7"} for b in range(30)]
    (work / "failed.json").write_text(json.dumps({"stage": "mitos/apply", "blocks": failed}))
    page = Page(report(work))
    assert "30 blocks of stage mitos/apply failed" in page.text
    assert "Block 0: stage 'x', block 0: boom" in page.text
    assert "the first 20 are shown" in page.text
    assert "Block 20:" not in page.text


def test_an_empty_instance_table_counts_nothing(tmp_path):
    page = Page(report(make_run(tmp_path, empty=True)))
    assert "No instances were found in" in page.text
    assert "no rows" in page.text


def test_a_single_plane_has_one_picture_per_layer(tmp_path):
    page = Page(report(make_run(tmp_path, shape=(1, 40, 48))))
    names = [a["aria-label"] for a in page.all("svg") if a.get("aria-label")]
    assert [n for n in names if n.endswith("xy plane")] == [
        f"{n}, xy plane" for n in ("raw image", "organelles", "mitos", "er-distance")
    ]
    assert len([n for n in names if n.endswith("plane")]) == 4


def test_a_moved_work_folder_is_read_where_it_lies_now(tmp_path):
    first = Path(make_run(tmp_path / "a").work)
    shutil.move(first, tmp_path / "b")
    products = read_work(tmp_path / "b").products
    assert {p.name for p in products if str(tmp_path / "b") in str(p.handle)} == {
        "mitos", "er-distance", "er-distance-exact", "mito-table", "mito-er",
    }  # fmt: skip
    assert "2 mito objects" in Page(report(tmp_path / "b")).text


def test_a_large_table_is_shown_by_its_first_rows(work):
    n = 50_000
    Table(str(work / "tables" / "mito-table.parquet")).write(
        {
            "label": np.arange(1, n + 1),
            "class": np.where(np.arange(n) % 3, "mito", "er"),
            "volume_um3": np.random.default_rng(0).lognormal(size=n),
        }
    )
    page = Page(report(work))
    assert f"first 200 of {n} rows" in page.text
    assert len(page.source) < 3_000_000
    assert page.source.count("<tr>") < 400
    assert "33 333 mito objects" in page.text
    assert "16 667 ER" in page.text


# ---- what was run


def journal_line(entry) -> bytes:
    text = json.dumps(entry).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def test_stages_add_up_what_the_journal_says(tmp_path):
    description = {"box": [[0, 0, 0], [8, 8, 8]], "block": [8, 8, 4], "params": {"cap_nm": 5}}
    (tmp_path / "run.json").write_text(
        json.dumps(
            {"stages": {"a": {"description": description, "fingerprint": "f00"}, "b": {"description": {}}}}
        )
    )
    row = {"seconds": 2.0, "cpu": 1.0, "read": 100, "written": 50, "peak_mib": 10.0}
    lines = [
        {"stage": "a", "rows": [row | {"block": 0}], "record": ""},
        {"stage": "a", "reset": True},
        {"stage": "a", "rows": [row | {"block": 0}, row | {"block": 1, "peak_mib": 12.0, "seconds": 3.0}]},
        {"stage": "a", "finished": True},
        {"stage": "b", "finished": True, "seconds": 0.5},
    ]
    torn = journal_line({"stage": "a", "rows": [row | {"block": 7}]})[:-4]
    (tmp_path / "journal.jsonl").write_bytes(b"".join(journal_line(e) for e in lines) + torn)
    a, b = read_work(tmp_path).stages
    assert (a.done, a.blocks, a.finished, a.seconds, a.cpu, a.read, a.written) == (
        2,
        2,
        True,
        5.0,
        2.0,
        200,
        100,
    )
    assert (a.peak_mib, a.voxels, sorted(a.slowest)) == (12.0, 512, [(2.0, 0), (3.0, 1)])
    assert (b.done, b.finished, b.seconds, b.grid) == (1, True, 0.5, None)
    (tmp_path / "plan.json").write_text(
        json.dumps({"workers": 3, "stages": [{"stage": "b"}, {"stage": "a", "task_bytes": 11 * 2**20}]})
    )
    assert [s.name for s in read_work(tmp_path).stages] == ["b", "a"]
    page = Page(report(tmp_path))
    assert any("over" in (a.get("class") or "") for a in page.all("td"))
    assert "z 0:8, y 0:8, x 4:8" in page.text


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"is no work folder: it has neither run\.json nor products\.json"):
        report(tmp_path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[{", "cannot be read"),
        ("{}", "holds a dict, wanted a list"),
        ('[{"kind": "raw"}]', "an entry that is no product"),
        (
            '[{"kind": "raw", "name": "r", "type": "Volume", "handle": {"url": "x"}, "about": {}}]',
            "no product",
        ),
    ],
)
def test_damaged_files_of_a_run_are_named(tmp_path, text, says):
    (tmp_path / "products.json").write_text(text)
    with pytest.raises(InputError, match=rf"products\.json.*{says}"):
        report(tmp_path)


def test_a_place_that_cannot_be_written_is_refused(finished, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write the report to"):
        report(finished, to=tmp_path / "file" / "report.html")


# ---- pictures


def test_pictures_have_the_sides_of_the_tissue(finished):
    drawn = pictures(read_work(finished))
    assert [plane for plane, _ in drawn.planes] == ["xy", "xz", "yz"]
    z, y, x = (n * v for n, v in zip((12, 40, 48), VOXEL_NM, strict=True))
    wanted = {"xy": y / x, "xz": z / x, "yz": z / y}
    for plane, rows in drawn.planes:
        assert [round(100 * r.share) for r in rows] == [25, 50, 75]
        for row in rows:
            assert len(row.panels) == 4
            down, right = row.view.shape
            assert down / right == pytest.approx(wanted[plane], rel=0.05)
            for p in row.panels:
                assert p.height / 600 == pytest.approx(wanted[plane])
                assert p.bar / 600 == pytest.approx(p.bar_nm / row.view.size_nm[1])


def test_a_plane_shows_the_voxels_under_its_pixels(tmp_path):
    array = np.random.default_rng(2).integers(0, 9, (6, 10, 7), dtype=np.uint8)
    volume = cf.write_volume(tmp_path / "a.ome.zarr", array, voxel_nm=VOXEL_NM)
    for (view,) in views(volume, [[volume]], [0.6]):
        got, inside = read_plane([volume], view)
        assert inside.all()
        down, right = (np.arange(n) + 0.5 for n in view.shape)
        at = {
            "xy": (3, slice(None), slice(None)),
            "xz": (slice(None), 6, slice(None)),
            "yz": (slice(None), slice(None), 4),
        }
        plane = array[at[view.plane]]
        axes = {"xy": (8, 16), "xz": (4, 16), "yz": (4, 8)}[view.plane]
        rows = (down * view.pixel_nm / axes[0]).astype(int)
        columns = (right * view.pixel_nm / axes[1]).astype(int)
        np.testing.assert_array_equal(got, plane[rows][:, columns])


def test_a_volume_that_lies_elsewhere_is_drawn_where_it_is(tmp_path):
    frame = cf.write_volume(tmp_path / "a.ome.zarr", np.zeros((4, 8, 8), np.uint8), voxel_nm=(8, 8, 8))
    part = cf.write_volume(tmp_path / "b.ome.zarr", np.ones((4, 4, 4), np.uint8), voxel_nm=(8, 8, 8))
    moved = replace(part, origin_nm=(0.0, 32.0, 16.0))
    view = views(frame, [[frame]], [0.5])[0][0]
    _, inside = read_plane([moved], view)
    wanted = np.zeros((8, 8), bool)
    wanted[4:8, 2:6] = True
    np.testing.assert_array_equal(inside, wanted)
    with pytest.raises(InputError, match="does not reach the plane"):
        read_plane([replace(part, origin_nm=(400.0, 0.0, 0.0))], view)


def test_planes_come_from_a_level_as_coarse_as_the_pixels():
    finest = Volume("x", "0", (100, 9600, 9600), "uint8", (40, 5, 5), (64, 64, 64))
    levels = [finest] + [
        replace(finest, shape=(100, 9600 >> i, 9600 >> i), voxel_nm=(40, 5 * 2**i, 5 * 2**i), level=i)
        for i in (1, 2, 3, 4, 5)
    ]
    xy, xz, _ = (v[0] for v in views(finest, [levels], [0.5]))
    assert xy.shape == (600, 600)
    assert coarsest(levels, (1, 2), xy.pixel_nm) == 4
    assert xz.shape == (50, 600)


def test_without_coarse_levels_only_the_middle_is_shown():
    huge = Volume("x", "0", (1, 100_000, 200_000), "uint8", (40, 10, 10), (1, 256, 256))
    (view,) = (v[0] for v in views(huge, [[huge]], [0.5]))
    down, right = (s / 10 for s in view.size_nm)
    assert down * right <= 2**23
    assert view.low_nm[0] == pytest.approx(-5 + (100_000 - down) * 5)
    assert view.low_nm[1] == pytest.approx(-5 + (200_000 - right) * 5)


@given(st.floats(1.0, 1e9))
def test_a_scale_bar_is_a_round_length_that_fits(width_nm):
    bar = scale_bar_nm(width_nm)
    assert width_nm / 10.01 <= bar <= width_nm / 4 * (1 + 1e-6)
    assert f"{bar:e}"[0] in "125"


def test_an_instance_keeps_its_colour_and_neighbours_differ():
    few, many = instance_colours(np.array([7, 8])), instance_colours(np.arange(1, 100))
    assert few[7] == many[7]
    assert sum(abs(a - b) for a, b in zip(few[7], few[8], strict=True)) > 60


def test_labels_are_clear_outside_and_solid_at_their_rims():
    labels = np.zeros((5, 6), np.uint32)
    labels[1:4, 1:5] = 9
    rgba = label_colours(labels, {0: (0, 0, 0), 9: (10, 20, 30)})
    assert (rgba[labels == 0, 3] == 0).all()
    assert rgba[2, 2].tolist() == [10, 20, 30, 125]
    assert rgba[1, 1].tolist() == [10, 20, 30, 255]


def test_distances_are_clear_in_the_class_and_grey_beyond_the_cap():
    distance = np.array([[0.0, 50.0, np.inf]], np.float32)
    yes = np.ones((1, 3), bool)
    rgba = distance_colours(distance, yes, yes, 100.0)
    assert rgba[0, 0, 3] == 0
    assert rgba[0, 2, :3].tolist() == [60, 60, 66]
    assert distance_colours(distance, ~yes, yes, 100.0)[0, 1].tolist() == [255, 255, 255, 170]
    assert (distance_colours(distance, yes, ~yes, 100.0)[..., 3] == 0).all()


# ---- samples, figures and words


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 5000)] * 3),
    chunks=st.tuples(*[st.integers(1, 300)] * 3),
    most=st.integers(1000, 100_000),
)
def test_a_sample_is_inside_the_volume_and_small_enough(shape, chunks, most):
    volume = Volume("x", "0", shape, "uint8", (8, 8, 8), chunks)
    sample = choose([volume], most)
    assert sum(b.size for b in sample.boxes) <= max(most, len(sample.boxes))
    assert all(volume.box.contains(b) and b.size for b in sample.boxes)
    assert len(set(sample.boxes)) == len(sample.boxes)
    if math.prod(shape) <= most:
        assert sum(b.size for b in sample.boxes) == volume.box.size


def test_a_volume_of_few_huge_chunks_is_sampled_in_a_coarser_level():
    finest = Volume("x", "0", (1, 40_000, 40_000), "uint8", (40, 5, 5), (1, 20_000, 20_000))
    coarse = replace(finest, shape=(1, 1000, 1000), chunks=(1, 1000, 1000), level=1)
    assert choose([finest, coarse]).level == 1
    assert "of level 1" in choose([finest, coarse]).text


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_surface_voxel_has_a_face_neighbour_of_another_label(seed):
    labels = np.random.default_rng(seed).integers(0, 3, (4, 5, 6))
    footprint = ndimage.generate_binary_structure(3, 1)
    low = ndimage.minimum_filter(labels, footprint=footprint, mode="nearest")
    high = ndimage.maximum_filter(labels, footprint=footprint, mode="nearest")
    np.testing.assert_array_equal(surface(labels), (low != high) & (labels != 0))


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=30))
def test_logarithmic_edges_hold_all_values(values):
    edges = log_edges(np.array(values))
    assert np.histogram(values, edges)[0].sum() == len(values)
    assert len(edges) <= 45


@given(low=st.floats(-1e4, 1e4), span=st.floats(1e-3, 1e4))
def test_even_edges_are_round_and_cover_the_range(low, span):
    edges = even_edges(low, low + span)
    step = edges[1] - edges[0]
    assert edges[0] <= low + step * 1e-6
    assert edges[-1] >= low + span - step * 1e-6
    assert len(edges) <= 43


def test_a_figure_takes_the_colour_of_the_text_and_loads_nothing():
    svg = histogram([Bars(np.arange(4.0), np.array([1, 2, 3]), "#123456")], x="x (nm)", y="n")
    assert svg.startswith("<svg")
    assert "currentColor" in svg
    assert "http" not in svg
    assert "x (nm)" in svg
    assert histogram([Bars(np.arange(4.0), np.zeros(3), "#123456")], x="x", y="n") == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234567, "1 234 567"), (0.0, "0"), (0.12345, "0.123"), (12.345, "12.3"), (1234.5, "1 234"),
        (3.2e-7, "3.20 × 10⁻⁷"), (2.5e12, "2.50 × 10¹²"), (math.nan, "–"), (math.inf, "∞"),
        (-0.5, "-0.500"),
    ],
)  # fmt: skip
def test_numbers_have_three_digits(value, text):
    assert number(value).replace("\u202f", " ") == text


def test_shares_are_never_rounded_to_none_or_all():
    shares = [0, 1e-5, 0.051, 0.38, 0.9999, 1]
    texts = ["0 %", "under 0.1 %", "5.1 %", "38 %", "over 99.9 %", "100 %"]
    assert [percent(s).replace("\u202f", " ") for s in shares] == texts


def test_words_for_a_reader():
    assert several("mitochondrion") == "mitochondria"
    assert several("lipid_droplet") == "lipid droplets"
    assert several("peroxisome") == "peroxisome objects"
    assert heading("area_a_um2") == ("area a", "µm²")
    assert heading("bbox_z_min") == ("bbox z min", "voxels")
    assert [duration(s).replace("\u202f", " ") for s in (1.5, 150, 7200)] == ["1.50 s", "2.5 min", "2.0 h"]
    assert size(3 * 2**20).replace("\u202f", " ") == "3.00 MiB"
