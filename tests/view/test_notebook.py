"""Slices in a notebook: the pixels of the volume, overlays on them, sliders where there are any."""

from __future__ import annotations

from dataclasses import replace

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
    assert [layer.name for layer in shown.layers] == ["mitos", "er-distance"]
    page = shown._repr_html_()
    assert "<caption>lobule</caption>" in page
    assert "mitos: each object in a colour of its own" in page
    assert "0 to 200 nm to 2" in page
    pixels = shown.pixels("xy")
    assert (pixels.max(axis=2) != pixels.min(axis=2)).any()


def test_overlays_are_as_opaque_as_is_asked(finished):
    """By 0 the image alone, by 1 more of the overlay than by 0.5; distances begin hidden."""
    shown = cf.show(finished)
    assert shown.opacity == (0.5, 0.0)
    none, half, full = (replace(shown, opacity=(o, 0.0)).pixels("xy").astype(int) for o in (0.0, 0.5, 1.0))
    colour = lambda pixels: np.ptp(pixels, axis=2)  # noqa: E731
    assert colour(none).max() == 0
    inside = colour(half) > 0
    assert inside.any()
    assert (colour(full) >= colour(half)).all()
    assert (colour(full)[inside] > colour(half)[inside]).any()
    with_distance = replace(shown, opacity=(0.0, 0.5)).pixels("xy")
    assert colour(with_distance.astype(int)).max() > 0


def test_a_page_tells_the_scale_and_what_lies_at_the_place(finished, tmp_path):
    """1024 nm wide: a quarter is 256 nm, so that the bar is 200 nm, 78 of 400 pixels."""
    labels = cf.open_volume(finished / "results.ome.zarr/labels/mitos").read()
    shown = cf.show(finished, at_nm=(220.0, 200.0, 200.0))
    assert shown.values()["mitos"] == str(labels[5, 12, 12])
    page = shown._repr_html_()
    assert (
        f"At z, y, x = 220, 200, 200 nm: image {shown.values()['image']}, mitos {labels[5, 12, 12]}" in page
    )
    assert "width:78px" in page
    assert "200 nm</span>" in page
    assert "pip install &#x27;chunkflow-liver[notebook]&#x27;" in page
    classes = write(tmp_path, np.full((4, 4, 4), 2, np.uint8), voxel_nm=NM)
    assert cf.show(classes).values() == {"semantic": "mitochondrion"}
    # The wall of class 2 begins at y = 352 nm; 40 nm before it lies the voxel that ends 32 nm from it.
    between = cf.show(finished, at_nm=(20.0, 312.0, 8.0)).values()
    assert (between["mitos"], between["er-distance"]) == ("background", "48 nm")
    far = cf.show(finished, at_nm=(20.0, 8.0, 8.0)).values()
    assert far["er-distance"] == "beyond 200 nm"


def test_of_edited_instances_the_newest_are_shown(work):
    mitos = cf.open_volume(work / "results.ome.zarr/labels/mitos")
    cf.run(cf.edit(mitos, [("delete", 1)], name="mitos-edited", work=work), progress=False)
    shown = cf.show(work)
    assert dict(zip((i.name for i in shown.layers), shown.opacity, strict=True)) == {
        "mitos": 0.0,
        "er-distance": 0.0,
        "mitos-edited": 0.5,
    }


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
    controls, page = box.children
    places, opacities = (column.children for column in controls.children)
    assert [slider.description for slider in places] == ["z (nm)", "y (nm)", "x (nm)"]
    assert opacities == ()
    places[0].value = 140.0
    assert page.value != before
    assert "z = 140 nm" in box.children[-1].value


def test_a_slider_of_each_overlay_sets_its_opacity(finished):
    ipywidgets = pytest.importorskip("ipywidgets", reason="sliders need ipywidgets")
    controls, page = cf.show(finished).widget(ipywidgets).children
    opacities = controls.children[1].children
    assert [(s.description, s.value) for s in opacities] == [("mitos", 0.5), ("er-distance", 0.0)]
    before = page.value
    opacities[1].value = 0.8
    assert page.value != before
