"""Slices in a notebook: the pixels of the volume, overlays on them, sliders where there are any."""

from __future__ import annotations

import numpy as np
import pytest
from strategies import write

import chunkflow_liver as cf
from chunkflow_liver.errors import InputError
from chunkflow_liver.view.state import contrast

NM = (40.0, 16.0, 16.0)


def test_slices_of_a_volume_are_its_voxels(tmp_path):
    array = np.random.default_rng(0).integers(0, 255, (5, 40, 30)).astype(np.uint8)
    volume = write(tmp_path, array, "image", voxel_nm=(16, 16, 16))
    shown = cf.show(volume, at_nm=(40, 0, 479))
    black, white = contrast((volume,))
    grey = np.rint(np.clip((array.astype(float) - black) / (white - black), 0, 1) * 255).astype(np.uint8)
    np.testing.assert_array_equal(shown.pixels("xy")[..., 0], grey[2])
    np.testing.assert_array_equal(shown.pixels("xz")[..., 1], grey[:, 0])
    np.testing.assert_array_equal(shown.pixels("yz")[..., 2], grey[:, :, 29])
    page = shown._repr_html_()
    assert page.count("<img") == 3
    assert "xy, z = 40 nm" in page


def test_a_run_is_shown_with_what_it_found(finished):
    shown = cf.show(finished)
    assert [layer.name for layer in shown.layers] == ["mitos"]
    assert "<caption>lobule</caption>" in shown._repr_html_()
    pixels = shown.pixels("xy")
    assert (pixels.max(axis=2) != pixels.min(axis=2)).any()


def test_places_outside_and_runs_with_nothing_are_refused(finished, tmp_path):
    with pytest.raises(InputError, match="lies outside"):
        cf.show(finished, at_nm=(1e6, 0, 0))
    (tmp_path / "products.json").write_text("[]")
    with pytest.raises(InputError, match="has no image to look at yet"):
        cf.show(tmp_path)


def test_volumes_and_plans_describe_themselves(tmp_path):
    volume = write(tmp_path, np.ones((2, 3, 4), np.uint8), "a<b", voxel_nm=NM)
    assert "<caption>a&lt;b</caption>" in volume._repr_html_()
    assert "(40.0, 16.0, 16.0)" in volume._repr_html_()
    classes = write(tmp_path, np.ones((2, 3, 4), np.uint8))
    plan = cf.label(classes, classes=1, name="mitos", work=tmp_path / "work")
    assert "<th>mitos/components</th><td>1</td>" in plan._repr_html_()


def test_sliders_move_the_slices(tmp_path):
    ipywidgets = pytest.importorskip("ipywidgets", reason="sliders need ipywidgets")
    array = np.zeros((4, 6, 5), np.uint8)
    array[3] = 200
    array[0, 0, 0] = 100
    shown = cf.show(write(tmp_path, array, "image", voxel_nm=NM))
    box = shown.widget(ipywidgets)
    before = box.children[-1].value
    box.children[0].value = 140.0
    assert box.children[-1].value != before
    assert "z = 140 nm" in box.children[-1].value
