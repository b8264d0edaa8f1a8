"""What lies outside the box that was segmented is as unknown as what lies outside the volume."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from strategies import done, semantic, table, write

import chunkflow_liver as cf
from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Box
from chunkflow_liver.reports.findings import tissue_um3
from chunkflow_liver.store.create import create, finish
from chunkflow_liver.store.volume import Volume

REGION = Box((1, 2, 3), (9, 10, 12))
SHAPE = (10, 14, 15)


@pytest.fixture
def pair(tmp_path):
    """Classes known in a box of a volume, and the same box as a volume of its own."""
    classes = semantic(REGION.shape, 5)
    around = np.zeros(SHAPE, np.uint8)
    around[REGION.slices] = classes
    part = write(tmp_path, classes)
    planned = replace(
        part.like(str(tmp_path / "known.ome.zarr"), dtype="uint8", kind="label"), classes=part.classes
    )
    planned = replace(planned, shape=SHAPE, chunks=SHAPE, shards=None, levels=2, region=REGION, source=None)
    create(planned)
    planned.write(planned.box, around)
    for level in planned.pyramid()[1:]:
        level.write(level.box, np.zeros(level.shape, np.uint8))
    finish(planned)
    return cf.open_volume(planned.url), part


def test_an_image_says_what_is_known_of_it(pair, tmp_path):
    known, part = pair
    assert (known.region, known.known, known.box) == (REGION, REGION, Box.of(SHAPE))
    assert (part.region, part.known) == (None, part.box)
    coarse = cf.open_volume(known.url, level=1)
    assert coarse.reduction == (2, 1, 1)
    assert coarse.known == Box((0, 2, 3), (5, 10, 12)) == known.pyramid()[1].known
    derived = cf.label(known, classes=["er"], name="er", work=tmp_path / "w").output
    assert isinstance(derived, Volume)
    assert derived.known == REGION
    assert tissue_um3(known) == tissue_um3(part)


@pytest.mark.parametrize("cap_nm", [20.0, None])
def test_distances_are_sure_where_they_are_in_the_box_alone(pair, cap_nm, tmp_path):
    flags, found = [], []
    for volume, work in zip(pair, ("a", "b"), strict=True):
        plan = cf.distance(volume, to="er", cap_nm=cap_nm, name="d", work=tmp_path / work)
        found.append(done(plan).read())
        flags.append(cf.open_volume(tmp_path / work / "results.ome.zarr/labels/d-exact").read())
    assert flags[1].any()
    np.testing.assert_array_equal(flags[0][REGION.slices], flags[1])
    np.testing.assert_array_equal(found[0][REGION.slices], found[1])
    flags[0][REGION.slices] = 0
    assert not flags[0].any()


def test_objects_that_the_box_cuts_are_marked(pair, tmp_path):
    marked = []
    for volume, work in zip(pair, ("a", "b"), strict=True):
        at = {"work": tmp_path / work}
        labels = cf.label(volume, classes=["er"], connectivity=6, name="er", **at)
        done(labels)
        names = ["basic", "surroundings"]
        rows = table(cf.measure(labels.output, features=names, name="rows", **at))
        lines = cf.narrowing(labels.output, name="lines", **at)
        done(lines)
        objects = cf.read_table(lines.products[1].handle).to_pydict()
        kept = cf.refine(labels.output, keep=cf.Keep(border=False), name="inner", **at)
        inner = done(kept).read()
        marked.append(
            [
                rows["touches_border"],
                rows["border_distance_nm"],
                rows["neighbour_certain"],
                objects["touches_border"],
                inner if volume.region is None else inner[REGION.slices],
            ]
        )
    assert 0 < sum(marked[1][0]) < len(marked[1][0])
    for here, alone in zip(*marked, strict=True):
        np.testing.assert_allclose(here, alone)


def test_shells_are_sure_where_they_are_in_the_box_alone(pair, tmp_path):
    found = []
    for volume, work in zip(pair, ("a", "b"), strict=True):
        at = {"work": tmp_path / work}
        labels = cf.label(volume, classes=["mitochondrion"], connectivity=6, name="mitos", **at)
        done(labels)
        plan = cf.profiles(
            labels.output, volume, to="er", cap_nm=20.0, shells_nm=[10.0, 20.0], name="p", **at
        )
        done(plan)
        rows = cf.read_table(plan.products[1].handle).to_pydict()
        sure = zip(rows["label"], rows["to_nm"], rows["exact_voxels"], strict=True)
        found.append([row for row in sure if row[2]])
    assert found[0] == found[1] != []


@pytest.mark.parametrize(
    ("region", "says"),
    [
        ([[0, 0, 0]], r"'region' must be two corners of whole voxels \(z, y, x\), got"),
        ([[0, 0, 0], [1, 2, 99]], r"'region' z 0:1, y 0:2, x 0:99 does not lie in the \(10, 14, 15\) voxels"),
    ],
)
def test_a_region_that_cannot_be_is_refused(pair, region, says):
    path = f"{pair[0].url}/zarr.json"
    with open(path) as file:
        document = json.load(file)
    document["attributes"]["chunkflow_liver"]["region"] = region
    with open(path, "w") as file:
        json.dump(document, file)
    with pytest.raises(InputError, match=says):
        cf.open_volume(pair[0].url)
