"""What the report says of networks: every number stands in the summary, or is published."""

from __future__ import annotations

import re

import numpy as np
import pytest
from strategies import done, write

import chunkflow_liver as cf
from chunkflow_liver.geometry import Box
from chunkflow_liver.kernels.phantom.tubes import lattice, paint_tubes
from chunkflow_liver.reports.pictures.networks import MOST_POINTS, longest, seen_from_aside
from chunkflow_liver.reports.sections.networks import networks
from chunkflow_liver.reports.words import number, percent
from chunkflow_liver.reports.work import read_work

VOXEL_NM = (80.0, 80.0, 80.0)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("network")
    tubes = lattice((90, 90, 90), VOXEL_NM, spacing_nm=2400, radii_nm=(240, 400), seed=4)
    mask = paint_tubes(tubes, Box.of((90, 90, 90)), VOXEL_NM).astype(np.uint8)
    volume = write(folder, mask, "tubes", kind="label", voxel_nm=VOXEL_NM)
    plan = cf.network(volume, widest_nm=1100, name="sinusoids", work=folder / "work")
    empty = write(folder, np.zeros((4, 8, 8), np.uint8), "none", kind="label", voxel_nm=VOXEL_NM)
    plan += cf.network(empty, widest_nm=1100, name="nothing", work=folder / "work")
    done(plan)
    return folder / "work"


def test_every_number_stands_in_the_summary(work):
    told = {n.name: n for n in networks(read_work(work))}
    table = cf.read_table(work / "tables/sinusoids-summary.parquet").to_pydict()
    known = {"90", "100"}
    for value in table["value"]:
        known |= {number(value), number(value / 1000), percent(value)}
        known |= {number(int(value))} if np.isfinite(value) else set()
    found = told["sinusoids"]
    assert len(found.sentences) == 5
    assert not found.missing
    numbers = {n.strip() for text in known for n in re.findall(r"\d[\d,.]*\d|\d", text)}
    for text in found.sentences:
        for n in re.findall(r"(?<![a-z])\d[\d,.]*\d|(?<![a-z])\d", text):
            assert n in numbers, (n, text)
    assert [f.title for f in found.figures] == [
        "Centre lines of sinusoids",
        "Diameters, lengths, angles of sinusoids",
    ]
    assert [t.name for t in found.tables][:2] == ["sinusoids: beside published ranges", "sinusoids"]


def test_no_network_is_told_without_figures(work):
    told = {n.name: n for n in networks(read_work(work))}
    assert not told["nothing"].figures
    assert told["nothing"].sentences[0].startswith("0 branches meet at 0 branch points")


def test_the_page_has_both(work):
    page = cf.report(work).read_text()
    assert '<section id="networks">' in page
    assert "beside published ranges" in page


def test_a_lump_and_a_missing_table_are_told(work, tmp_path):
    ball = np.linalg.norm(np.indices((40, 40, 40)) - 20, axis=0) < 15
    volume = write(tmp_path, ball.astype(np.uint8), "ball", kind="label", voxel_nm=VOXEL_NM)
    done(cf.network(volume, widest_nm=500, name="lump", work=tmp_path / "work"))
    (told,) = networks(read_work(tmp_path / "work"))
    assert "1 node is a lump wider than 500 nm" in told.caveats[0]
    (tmp_path / "work/tables/lump-summary.parquet").unlink()
    (told,) = networks(read_work(tmp_path / "work"))
    assert told.missing


def test_depth_and_height_of_the_view():
    """What is higher in z is lower on the page; what is nearer in y is nearer to the eye."""
    _, up, near = seen_from_aside(np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float64))
    assert up[1] < up[0]
    assert near[2] < near[0]


def test_of_too_many_points_the_longest_branches_are_drawn():
    many = MOST_POINTS // 2 + 1
    points = {"branch": np.repeat(np.array([1, 2], np.uint64), many)}
    drawn = longest(points, {"length_nm": np.array([5.0, 9.0])})
    assert drawn.tolist() == [False] * many + [True] * many
