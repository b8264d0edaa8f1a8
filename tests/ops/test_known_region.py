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
from chunkflow_liver.reports.sections.sentences import tissue_um3
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


def test_where_the_box_cuts_an_object_there_is_no_surface(pair, tmp_path):
    """Contacts, sites, profiles, shells and contact at narrowings are those of the box alone."""
    found = []
    for volume, work in zip(pair, ("a", "b"), strict=True):
        at = {"work": tmp_path / work}
        labels = cf.label(volume, classes=["mitochondrion"], connectivity=6, name="mitos", **at)
        done(labels)
        instances = labels.output
        at["block"] = (5, 7, 8) if volume.region else (8, 8, 9)
        contacts = cf.contacts(instances, volume, to="er", gap_nm=15.0, name="c", sites=True, **at)
        own = cf.contacts(instances, instances, gap_nm=20.0, name="own", **at)
        shells = {"cap_nm": 20.0, "shells_nm": [10.0, 20.0], "parents": instances}
        profiles = cf.profiles(instances, volume, to="er", name="p", **shells, **at)
        near = cf.Near(gap_nm=15.0, window_nm=20.0, permutations=9, draws=9)
        necks = cf.narrowing(instances, er=volume, near=near, name="n", **at)
        tables = []
        for plan in (contacts, own, profiles, necks):
            done(plan)
            for product in plan.products:
                if isinstance(product.handle, Volume):
                    image = product.handle.read()
                else:
                    tables.append((product.name, cf.read_table(product.handle).to_pydict()))
        found.append((tables, image if volume.region is None else image[REGION.slices]))
    (here, image), (alone, alone_image) = found
    np.testing.assert_array_equal(image, alone_image)
    assert image.any()
    names = dict(alone)
    assert len(names) == 17
    assert any(names["n-objects"]["touches_border"])
    for (name, got), (_, wanted) in zip(here, alone, strict=True):
        assert list(got) == list(wanted)
        for column, values in wanted.items():
            shift = dict(
                zip(("z_nm", "y_nm", "x_nm"), np.multiply(REGION.start, pair[1].voxel_nm), strict=True)
            )
            if values and isinstance(values[0], str):
                assert got[column] == values
            else:
                moved = np.array(values) + shift.get(column, 0)
                np.testing.assert_allclose(got[column], moved, rtol=1e-12, err_msg=f"{name} {column}")


def solid(pair):
    """Both volumes filled with ER but for a corner."""
    for volume in pair:
        array = np.zeros(volume.shape, np.uint8)
        array[volume.known.slices] = volume.class_number("er")
        z, y, x = volume.known.start
        array[z : z + 3, y : y + 3, x : x + 4] = 0
        replace(volume, complete=True).write(volume.box, array)


def test_signed_distances_do_not_end_at_the_box(pair, tmp_path):
    solid(pair)
    for border in ("unknown", "mirror"):
        found = []
        for volume, work in zip(pair, ("a", "b"), strict=True):
            options = cf.DistanceOptions(signed=True, border=border)
            at = {"work": tmp_path / work, "cap_nm": 40.0, "options": options}
            classes = done(cf.distance(volume, to="er", name=f"c-{border}", **at)).read()
            labels = cf.label(volume, classes=["er"], connectivity=6, name="er", work=at["work"])
            done(labels)
            each = done(cf.distance(labels.output, name=f"i-{border}", **at)).read()
            found.append((classes, each))
        for here, alone in zip(*found, strict=True):
            assert (alone < 0).any()
            np.testing.assert_array_equal(here[REGION.slices], alone)


def test_objects_are_not_opened_nor_split_at_the_box(pair, tmp_path):
    solid(pair)
    found = []
    for volume, work in zip(pair, ("a", "b"), strict=True):
        at = {"work": tmp_path / work, "block": (8, 8, 8)}
        labels = cf.label(volume, classes=["er"], connectivity=6, name="er", **at)
        done(labels)
        shapes = cf.Shapes(open_nm=20.0, close_nm=12.0, smooth_nm=16.0)
        opened = done(cf.refine(labels.output, shapes=shapes, name="opened", **at)).read()
        parts = [done(cf.split(volume, classes=["er"], depth_nm=30.0, cap_nm=60.0, name="s", **at)).read()]
        if volume.region is not None:
            for image in (opened, *parts):
                outside = image.copy()
                outside[REGION.slices] = 0
                assert not outside.any()
            opened, *parts = (image[REGION.slices] for image in (opened, *parts))
        found.append((opened, *parts))
    for here, alone in zip(*found, strict=True):
        assert alone.any()
        np.testing.assert_array_equal(here, alone)


def test_what_is_unknown_in_either_volume_is_unknown_to_both(pair, tmp_path):
    """Objects over all of the volume and a class that was looked for in a box: as if both end with it."""
    known, part = pair
    everywhere = np.ones(SHAPE, np.uint8)
    everywhere[4:6, 4:9, 5:8] = 0
    big = write(tmp_path, everywhere, "all", kind="label")
    small = write(tmp_path, everywhere[REGION.slices], "inside", kind="label")
    found = []
    for instances, volume, work in ((big, known, "a"), (small, part, "b")):
        at = {"work": tmp_path / work}
        near = cf.Near(gap_nm=15.0, permutations=9, draws=9)
        plans = (
            cf.contacts(instances, volume, to="er", gap_nm=15.0, name="c", **at),
            cf.profiles(instances, volume, to="er", cap_nm=20.0, name="p", **at),
            cf.narrowing(instances, er=volume, near=near, name="n", block=(4, 4, 4), **at),
        )
        tables = [done(plan) for plan in plans][:2]
        objects = cf.read_table(plans[2].products[1].handle).to_pydict()
        found.append([cf.read_table(t).to_pydict() for t in tables])
        found[-1].append((objects["area_um2"], objects["contact_um2"], objects["touches_border"]))
    np.testing.assert_equal(found[0], found[1])
    assert found[0][0]["voxels"][0] > 0
    assert objects["touches_border"] == [True]


def test_boxes_that_do_not_meet_are_refused(pair, tmp_path):
    known = pair[0]
    apart = replace(known, region=Box((9, 0, 0), SHAPE))
    at = {"name": "x", "work": tmp_path / "w"}
    for plan in (
        lambda: cf.contacts(known, apart, of="er", to="er", gap_nm=5, **at),
        lambda: cf.profiles(known, apart, to="er", cap_nm=5, **at),
        lambda: cf.narrowing(known, er=apart, **at),
    ):
        with pytest.raises(InputError, match=r"nothing is known of the same voxels: .*roi_nm"):
            plan()


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


def test_the_ends_of_the_box_are_no_surface(pair, tmp_path):
    found = []
    for volume, work in zip(pair, ("a", "b"), strict=True):
        at = {"work": tmp_path / work}
        labels = cf.label(volume, classes=["er"], connectivity=6, name="er", **at)
        done(labels)
        found.append(table(cf.measure(labels.output, features=["surface"], name="t", block=(5, 7, 8), **at)))
    assert found[0]["surface_um2"] == found[1]["surface_um2"]
    np.testing.assert_array_equal(found[0]["sphericity"], found[1]["sphericity"])
