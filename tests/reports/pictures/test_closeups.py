"""Contacts and classes are pictured, tables can be kept, and nothing is loaded for it."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image
from report_pages import Page
from strategies import done, write

import chunkflow_liver as cf
from chunkflow_liver.reports.pictures.closeups import PARTNER, class_pictures, contact_pictures
from chunkflow_liver.reports.pictures.slices import pictures
from chunkflow_liver.reports.tables import stored
from chunkflow_liver.reports.work import read_work


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("closeups")
    classes = np.zeros((9, 60, 60), np.uint8)
    classes[2:6, 10:30, 10:30] = 2
    classes[3:5, 30:34, 8:40] = 1
    classes[6, 40:50, 40:50] = 3
    volume = write(folder, classes, voxel_nm=(16.0, 8.0, 8.0))
    semantic = cf.Plan(
        (), (folder / "work").absolute(), volume, (cf.engine.plan.Product("semantic", "semantic", volume),)
    )
    mitos = cf.label(volume, classes=["mitochondrion"], name="mitos", work=folder / "work")
    near = cf.contacts(mitos.output, volume, to="er", gap_nm=30, name="near", work=folder / "work")
    plan = semantic + mitos + near
    done(plan)
    return folder / "work"


def pixels(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")).astype(
        int
    )


def test_the_largest_site_is_pictured_with_its_partner(run):
    work = read_work(run)
    table = stored(next(p for p in work.products if p.name == "near"))
    (found,) = contact_pictures(table, work, pictures(work))
    assert found.title == "Object 1 and ER"
    picture = pixels(found.picture)
    assert picture.shape == (288, 288, 3)
    blue = (np.abs(picture - np.array(PARTNER)) < 60).all(-1)
    assert 0.02 < blue.mean() < 0.5


def test_each_class_is_pictured_where_most_of_it_is(run):
    work = read_work(run)
    drawn = pictures(work)
    layer = next(one for one in drawn.layers if one.kind == "semantic")
    found = class_pictures(layer, work, drawn)
    assert [c.title for c in found] == ["ER", "mitochondrion", "lipid"]
    assert "at 72.2 % of the depth" in found[2].caption


def test_the_page_enlarges_pictures_and_keeps_tables_without_a_network(run):
    page = Page(cf.report(run))
    images = [a["src"] for a in page.all("img")]
    assert len(images) == 4
    assert all(src.startswith("data:") for src in images)
    (script,) = page.scripts
    assert "showModal" in script
    assert "text/csv" in script
    assert "fetch(" not in script
    names = {a.get("data-name"): a.get("data-in") for a in page.all("table")}
    # A link into the viewer names the table, whatever stands above its rows.
    assert (names["near"], names["The largest contacts"]) == ("near", "near")
