"""One page of a run: what it says, that it is safe, and what it does when results are missing."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from report_pages import VOXEL_NM, Page, make_run

import chunkflow_liver as cf
from chunkflow_liver.engine.plan import Plan
from chunkflow_liver.reports import report
from chunkflow_liver.reports.words import number, percent
from chunkflow_liver.reports.work import read_work
from chunkflow_liver.store.table import Table

EVIL = '</title><script>alert(1)</script><img src="https://x.org/y" onerror=alert(2)>'


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
    assert "1 of 4 objects of found stays in clean; 2 touch the end of the volume, 1 are too small." in text
    assert "Edits that make final of clean: 1 delete." in text
    assert "clean-ids" in text


def test_what_was_found_before_edits_is_told_from_what_is_after_them(tmp_path):
    labels = np.zeros((6, 8, 8), np.uint16)
    labels[2:5, 2:5, 2:5], labels[2:4, 6:8, 1:3], labels[1, 1, 6:8] = 1, 2, 3
    at = {"work": tmp_path / "work"}
    volume = cf.write_volume(tmp_path / "found.ome.zarr", labels, voxel_nm=VOXEL_NM, kind="label")
    once = cf.edit(volume, [("delete", 1)], name="once", **at)
    twice = cf.edit(once.output, [("delete", 2), ("class", 3, "lysosome")], name="twice", **at)
    plan = once + twice
    for name, instances in (("a", volume), ("b", once.output), ("c", twice.output)):
        plan += cf.measure(instances, features=["basic"], name=name, **at)
    cf.run(plan, progress=False)
    text = Page(report(tmp_path / "work")).text
    for said in (
        "3 objects before edits (found); median",
        "2 objects after 1 edit and before further edits (once) in",
        "1 lysosome after 2 edits (twice) in",
        "lysosome objects, after 2 edits (twice)",
    ):
        assert said in text
    assert "Object 2 of once is background of twice; xy plane" in text
    assert "class: object 3" not in text
    # The heading is about what the last edits made, and the page begins with it.
    assert text.index("after 2 edits (twice) in") < text.index("before edits (found); median")
    assert "objects, before edits" not in text
    assert "objects, after 1 edit" not in text


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
    # The pictures of classes are the page's own.
    assert all((a["src"] or "").startswith("data:image/") and "onerror" not in a for a in page.all("img"))
    assert page.source.count("<title>") == 1
    assert "<script>alert" not in page.source
    assert "<script>alert(1)</script>" in page.text


def test_a_class_name_from_an_image_is_text_too(tmp_path):
    page = Page(report(make_run(tmp_path, name=EVIL)))
    assert len(page.all("script")) == 1
    # The pictures of classes are the page's own.
    assert all((a["src"] or "").startswith("data:image/") and "onerror" not in a for a in page.all("img"))
    assert EVIL in page.text


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
