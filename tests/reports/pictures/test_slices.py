"""Pictures of planes in a report: true to scale, drawn from coarse levels, in the colours they promise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_pages import VOXEL_NM, make_run

import chunkflow_liver as cf
from chunkflow_liver.engine.plan import Product
from chunkflow_liver.errors import InputError
from chunkflow_liver.reports.pictures.planes import coarsest, read_plane, views
from chunkflow_liver.reports.pictures.slices import (
    distance_colours,
    instance_colours,
    label_colours,
    pictures,
    scale_bar_nm,
)
from chunkflow_liver.reports.work import read_work
from chunkflow_liver.store.volume import Volume


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    return Path(make_run(tmp_path_factory.mktemp("report")).work)


def test_pictures_have_the_sides_of_the_tissue(finished):
    drawn = pictures(read_work(finished))
    assert [plane for plane, _ in drawn.planes] == ["xy", "xz", "yz"]
    z, y, x = (n * v for n, v in zip((12, 40, 48), VOXEL_NM, strict=True))
    wanted = {"xy": y / x, "xz": z / x, "yz": z / y}
    for plane, rows in drawn.planes:
        # One in each third: where most of the labels are.
        assert [int(3 * r.share) for r in rows] == [0, 1, 2]
        for row in rows:
            assert len(row.panels) == 4
            down, right = row.view.shape
            assert down / right == pytest.approx(wanted[plane], rel=0.05)
            for p in row.panels:
                assert p.height / 600 == pytest.approx(wanted[plane])
                assert p.bar / 600 == pytest.approx(p.bar_nm / row.view.size_nm[1])


def test_black_and_white_are_those_of_all_planes(tmp_path, finished):
    """The planes in the middle lie in a dark wall; tissue beside it is not burnt out."""
    array = np.full((40, 40, 40), 100, np.uint8)
    array[:, ::2] = 60
    array[20] = array[:, 20] = array[:, :, 20] = 3
    raw = cf.write_volume(tmp_path / "raw.ome.zarr", array, voxel_nm=(8, 8, 8))
    drawn = pictures(replace(read_work(finished), products=(Product("raw", "raw", raw),)))
    assert (drawn.black, drawn.white) == (3, 100)


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


def test_tall_planes_are_drawn_small(tmp_path):
    array = np.zeros((60, 8, 12), np.uint8)
    volume = cf.write_volume(tmp_path / "a.ome.zarr", array, voxel_nm=VOXEL_NM)
    work = read_work(done_with(tmp_path / "work", volume))
    for plane, rows in pictures(work).planes:
        down, right = {"xy": (64, 192), "xz": (240, 192), "yz": (240, 64)}[plane]
        for panel in (p for row in rows for p in row.panels):
            assert panel.height / panel.width == pytest.approx(down / right)
            assert panel.width == pytest.approx({"xy": 600, "xz": 480, "yz": 160}[plane])


def done_with(work: Path, raw: Volume) -> Path:
    """The folder of a run that did nothing and knows an image."""
    cf.run(cf.Plan((), work, raw, (Product("raw", "raw", raw),)), progress=False)
    return work
