"""The page shows contacts, sites, profiles and shells, and says what it lacks."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from strategies import write

import chunkflow_liver as cf
from chunkflow_liver.engine.plan import Product
from chunkflow_liver.reports.pictures.slices import SITES, pictures
from chunkflow_liver.reports.work import read_work


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    small = np.random.default_rng(2).random((6, 6, 6))
    array = np.kron(np.digitize(small, [0.6, 0.8]), np.ones((4, 4, 4))).astype(np.uint8)
    volume, at = write(folder, array), {"work": folder / "work", "block": (16, 16, 16)}
    mitos = cf.label(volume, classes=["mitochondrion"], name="mitos", **at)
    plan = mitos + cf.contacts(mitos.output, volume, to="er", gap_nm=20, name="c", sites=True, **at)
    plan += cf.profiles(mitos.output, volume, to="er", cap_nm=60, shells_nm=[20, 40], name="p", **at)
    plan += cf.distance(volume, to="er", cap_nm=None, name="all", **at)
    options = cf.DistanceOptions(signed=True, nearest=True, quantum_nm=0.5)
    plan += cf.distance(mitos.output, cap_nm=40, name="near", options=options, **at)
    cf.run(plan, progress=False)
    return plan


def test_every_table_has_its_figure_and_its_rows(plan):
    page = cf.report(plan).read_text(encoding="utf-8")
    for title in (
        "Share of the surface in contact (c-objects)",
        "Contact sites (c-sites)",
        "Distance of surfaces to ER (p)",
        "ER around mitos (p-shells)",
        "Distance to instances",
    ):
        assert title in page
    for name in ("c-objects", "c-sites", "p-shells"):
        assert f"{name} <span" in page or f">{name}<" in page
    assert "distance to ER" in page


def test_distances_are_those_of_the_instances_that_the_tables_are_about(tmp_path):
    labels = np.zeros((6, 12, 12), np.uint8)
    labels[1:4, 2:5, 2:5], labels[1:4, 8:11, 2:5], labels[:, :, 9] = 2, 2, 1
    volume, at = write(tmp_path, labels), {"work": tmp_path / "work"}
    found = cf.label(volume, classes=["mitochondrion"], name="found", **at)
    clean = cf.refine(found.output, keep=cf.Keep(border=True), name="clean", **at)
    near = cf.distance(volume, to="er", cap_nm=100, name="far", **at)
    cf.run(found + clean + near, progress=False)

    def legend():
        page = cf.report(tmp_path / "work", to=tmp_path / "page.html").read_text(encoding="utf-8")
        return re.findall(r"surface of (\w+)", page)

    assert legend() == ["clean"]
    table = cf.measure(clean.output, name="table", **at)
    cf.run(found + clean + near + table, progress=False)
    edited = cf.edit(clean.output, [("delete", 1)], name="edited", **at)
    cf.run(edited, progress=False)
    assert legend() == ["clean"]


def test_a_table_that_is_gone_is_listed_as_missing(plan, tmp_path):
    path = plan.work / "tables/c-sites.parquet"
    kept = path.read_bytes()
    path.unlink()
    try:
        assert "Contact sites: table &#39;c-sites&#39; is not written yet" in cf.report(
            plan, to=tmp_path / "page.html"
        ).read_text(encoding="utf-8")
    finally:
        path.write_bytes(kept)


def test_shells_are_compared_with_the_whole_volume(tmp_path):
    array = np.zeros((6, 10, 10), np.uint8)
    array[2:4, 2:4, 2:4], array[:, 8] = 2, 1
    volume, at = write(tmp_path, array), {"work": tmp_path / "work"}
    mitos = cf.label(volume, classes=["mitochondrion"], name="mitos", **at)
    profile = cf.profiles(mitos.output, volume, to="er", cap_nm=60, shells_nm=[20, 40], name="p", **at)
    cf.run(mitos + profile, progress=False)
    # Without an image of classes in the run there is nothing to compare with.
    assert "whole volume (dashed)" not in cf.report(tmp_path / "work").read_text(encoding="utf-8")
    semantic = Product("semantic", "classes", volume)
    cf.run(replace(mitos + profile, products=(semantic,)), progress=False)
    page = cf.report(tmp_path / "work").read_text(encoding="utf-8")
    figure = page[page.index("ER around mitos (p-shells)") :].partition("</figure>")[0]
    assert "of the whole volume, mitos included, it is 10\u202f%." in figure
    assert figure.count("stroke-dasharray: 7,5.6") == 1
    assert "whole volume (dashed)" in figure


def test_contact_sites_lie_on_the_classes_that_touch(tmp_path):
    array = np.zeros((4, 12, 12), np.uint8)
    array[:, 2:6, 2:10], array[:, 6:8, 5:7] = 2, 1
    volume, at = write(tmp_path, array), {"work": tmp_path / "work"}
    mitos = cf.label(volume, classes=["mitochondrion"], name="mitos", **at)
    sites = cf.contacts(mitos.output, volume, to="er", gap_nm=0, name="c", sites=True, **at)
    semantic = Product("semantic", "classes", volume)
    cf.run(replace(mitos + sites, products=(semantic, *(mitos + sites).products)), progress=False)
    drawn = pictures(read_work(tmp_path / "work"))
    panels = {p.layer.name: p for p in dict(drawn.planes)["xy"][1].panels}
    shown = {
        name: np.asarray(
            Image.open(io.BytesIO(base64.b64decode(panels[name].over.partition(",")[2]))).convert("RGBA")
        )
        for name in ("classes", "c")
    }
    at_site = (shown["c"] == (*SITES, 255)).all(-1)
    labels = cf.open_volume(tmp_path / "work/results.ome.zarr/labels/c").read()[2] > 0
    assert labels.any()
    assert (at_site == np.kron(labels, np.ones((1, 2)))).all()
    np.testing.assert_array_equal(shown["c"][~at_site], shown["classes"][~at_site])
    assert "c: contact sites (yellow) on the classes" in cf.report(tmp_path / "work").read_text(
        encoding="utf-8"
    )


def test_touching_parents_and_tables_of_one_pair_are_told_apart(tmp_path):
    """Two gaps of one pair; a class image in the place of the raw one; two cells with unequal ER."""
    array = np.zeros((6, 12, 24), np.uint8)
    array[2:4, 2:6, 2:6], array[2:4, 2:6, 14:18] = 2, 2
    array[:, 6, 2:6], array[:, 9:11, 14:20] = 1, 1
    cells = np.ones(array.shape, np.uint8)
    cells[:, :, 12:] = 5
    volume, at = write(tmp_path, array), {"work": tmp_path / "work"}
    parents = write(tmp_path, cells, "cells", kind="label")
    mitos = cf.label(volume, classes=["mitochondrion"], name="mitos", **at)
    plan = mitos + cf.measure(mitos.output, name="table", **at)
    for name, gap in (("touching", 0), ("near", 30)):
        plan += cf.contacts(mitos.output, volume, to="er", gap_nm=gap, name=name, **at)
    profile = {"to": "er", "cap_nm": 60, "shells_nm": [20, 40], "parents": parents}
    plan += cf.profiles(mitos.output, volume, name="p", **profile, **at)
    plan += cf.distance(volume, to="er", cap_nm=100, name="far", **at)
    grey = (array == 1).astype(np.uint8)
    raw = cf.write_volume(tmp_path / "raw.ome.zarr", grey, voxel_nm=volume.voxel_nm)
    classes = Product("semantic", "classes", volume)
    plan = replace(plan, products=(Product("raw", "raw", raw), classes, *plan.products))
    cf.run(plan, progress=False)
    page = cf.report(plan).read_text(encoding="utf-8").replace("\u202f", " ")
    assert re.search(r"50 % of the mitochondria touch ER\.", page)
    assert "pairs that touch" in page
    assert "within 0 nm" not in page
    for name in ("touching", "near"):
        assert f"<h3>mitos and ER ({name})</h3>" in page
    share = (array == 1).mean()
    assert f"{100 * share:.1f} % of the volume is ER itself" in page
    figure = page[page.index("in each of cells (p-parent-shells)") :].partition("</figure>")[0]
    assert "cells 1<" in figure
    assert "cells 5<" in figure
    assert "in each of 2 cells." in figure
    assert "Median over the surface of each of mitos;" in page
    assert "Median over the surface of mitos in each of cells;" in page


def test_an_image_of_few_bright_voxels_is_not_black_as_white(tmp_path):
    array = np.zeros((3, 40, 40), np.uint8)
    array[1, 3, 3] = 200
    volume, at = write(tmp_path, (array > 0).astype(np.uint8) * 2), {"work": tmp_path / "work"}
    raw = cf.write_volume(tmp_path / "raw.ome.zarr", array, voxel_nm=volume.voxel_nm)
    mitos = cf.label(volume, classes=["mitochondrion"], name="mitos", **at)
    plan = replace(mitos, products=(Product("raw", "raw", raw), *mitos.products))
    cf.run(plan, progress=False)
    page = cf.report(plan).read_text(encoding="utf-8")
    assert "Pictures show 0 as black and 200 as white" in page
