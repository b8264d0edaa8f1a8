"""A run as layers of napari, prompts and painted labels back; with napari itself where it is installed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from strategies import write

import chunkflow_liver as cf
from chunkflow_liver.errors import InputError
from chunkflow_liver.store.create import create, new_volume
from chunkflow_liver.view.in_napari.layers import (
    Lazy,
    get_reader,
    read_labels,
    read_run,
    write_boxes,
    write_painted,
    write_points,
)

NM = (40.0, 16.0, 16.0)


def test_a_lazy_level_slices_like_the_array(tmp_path):
    array = np.random.default_rng(3).integers(0, 9, (5, 6, 7)).astype(np.uint8)
    lazy = Lazy(write(tmp_path, array, "image"))
    for key in (3, -1, (2, slice(1, 4)), (slice(None), 4, slice(1, 7, 2)), (Ellipsis, -2), slice(4, 4)):
        np.testing.assert_array_equal(lazy[key], array[key])
    np.testing.assert_array_equal(np.asarray(lazy), array)


def test_a_run_has_its_layers_with_tables_and_colours(finished):
    layers = {about["name"]: (data, about, kind) for data, about, kind in read_run(finished)}
    _, about, kind = layers["mitos"]
    assert kind == "labels"
    assert about["scale"] == NM
    table = cf.read_table(finished / "tables/mito-table.parquet").to_pandas()
    assert about["features"]["index"].tolist() == table.label.tolist()
    assert "volume_um3" in about["features"]
    sites, about, kind = layers["contact sites: mito-er-sites"]
    assert kind == "points"
    rows = cf.read_table(finished / "tables/mito-er-sites.parquet").to_pandas()
    np.testing.assert_allclose(sites, rows[["z_nm", "y_nm", "x_nm"]].to_numpy())
    assert layers["er-distance"][1]["contrast_limits"] == (0.0, 200.0)


def test_readers_take_runs_and_label_images_only(finished, tmp_path):
    labels = finished / "results.ome.zarr/labels/mitos"
    (one,) = get_reader(str(labels))(str(labels))
    assert one[1]["features"]["index"].tolist()
    assert get_reader(str(finished)) is not None
    assert get_reader(str(tmp_path)) is None
    assert get_reader([str(finished)]) is None


def test_classes_have_names_and_colours(tmp_path):
    array = np.array([[[0, 1, 2]]], np.uint8)
    classes = cf.write_volume(
        tmp_path / "c.ome.zarr", array, voxel_nm=NM, kind="label", classes=[("mitochondrion", 1), ("er", 2)]
    )
    _, about, _ = read_labels(classes.url)
    assert about["features"] == {"index": [1, 2], "class": ["mitochondrion", "er"]}
    assert about["colormap"][1].startswith("#")


def test_points_and_boxes_become_prompts_in_nm(tmp_path):
    """The middle of voxel (3, 4, 5) lies 3.5, 4.5, 5.5 voxels from the first corner."""
    about = {
        "scale": NM,
        "translate": (20, 8, 8),
        "features": {"object": ["cell-a", "cell-a"], "inside": [True, False]},
    }
    (file,) = write_points(str(tmp_path / "p.tsv"), [[3, 4, 5], [3, 8, 9]], about)
    (prompt,) = cf.read_prompts(file)
    assert (prompt.object, prompt.z_nm) == ("cell-a", 140.0)
    assert prompt.points_nm == ((72.0, 88.0, True), (136.0, 152.0, False))
    square = [[2, 1, 1], [2, 1, 5], [2, 7, 5], [2, 7, 1]]
    (file,) = write_boxes(str(tmp_path / "b.tsv"), [square], {"scale": NM, "translate": (20, 8, 8)})
    (prompt,) = cf.read_prompts(file)
    assert (prompt.z_nm, prompt.box_nm) == (100.0, (24.0, 24.0, 120.0, 88.0))
    with pytest.raises(InputError, match="shape 1 reaches over several slices"):
        write_boxes(str(tmp_path / "c.tsv"), [[[1, 1, 1], [2, 7, 5]]], {"scale": NM})
    with pytest.raises(InputError, match="three dimensions"):
        write_points(str(tmp_path / "d.tsv"), [[1, 2]], {})


def test_the_world_of_napari_begins_at_the_first_corner_whatever_the_origin(tmp_path):
    """A layer that a person adds has a scale, and no origin of ours: its places are right all the same."""
    plain = new_volume(str(tmp_path / "moved.ome.zarr"), (6, 10, 12), "uint8", NM, kind="label")
    volume = replace(plain, origin_nm=(4000.0, 1600.0, 320.0))
    create(volume)
    assert cf.open_volume(volume.url).origin_nm == (4000.0, 1600.0, 320.0)
    _, about, _ = read_labels(volume.url)
    assert about["translate"] == (20.0, 8.0, 8.0)
    # A click on the middle of voxel (3, 4, 5), in a layer of its own: of any scale, at any place.
    world = np.array(about["translate"]) + np.array([3, 4, 5]) * NM
    for number, own in enumerate(({}, {"scale": NM}, {"scale": NM, "translate": (7.0, 9.0, 11.0)})):
        data = (world - own.get("translate", 0)) / own.get("scale", 1)
        (file,) = write_points(str(tmp_path / f"{number}.tsv"), [data], own)
        (prompt,) = cf.read_prompts(file)
        assert (prompt.z_nm, prompt.points_nm) == (140.0, ((72.0, 88.0, True),))


def test_painted_labels_go_back_and_what_is_around_stays(tmp_path):
    before = np.random.default_rng(5).integers(0, 4, (6, 10, 12)).astype(np.uint8)
    volume = write(tmp_path, before, "labels", kind="label", chunks=(4, 4, 4))
    painted = np.full((3, 5, 6), 9, np.uint8)
    about = {"metadata": {"chunkflow_liver": {"url": volume.url, "start": (2, 3, 1)}}}
    assert write_painted("x.painted", painted, about) == [volume.url]
    wanted = before.copy()
    wanted[2:5, 3:8, 1:7] = 9
    np.testing.assert_array_equal(cf.open_volume(volume.url).read(), wanted)
    with pytest.raises(InputError, match="holds 300, which uint8"):
        write_painted("x.painted", np.full((1, 1, 1), 300), about)
    with pytest.raises(InputError, match="nowhere to write it back"):
        write_painted("x.painted", painted, {"metadata": {}})
    large = np.zeros((9, 9, 9), np.uint8)
    with pytest.raises(InputError, match="the layer covers"):
        write_painted("x.painted", large, about)


def test_boxes_to_paint_are_drawn_on_each_of_their_slices(tmp_path):
    """A box of 2 x 3 x 4 voxels: two rectangles, at the centres of its slices, with its corners in nm."""
    raw = write(tmp_path, np.zeros((6, 9, 12), np.uint8), "raw", voxel_nm=NM)
    labels = write(tmp_path, np.ones((6, 9, 12), np.uint8), "labels", kind="label", voxel_nm=NM)
    source = {"image": raw.url, "labels": labels.url, "boxes_nm": [[[0, 0, 0], [40, 16, 16]]]}
    evidence = cf.Evidence(raw=raw, painted=[source])
    box = [n * v for n, v in zip((2, 3, 4), NM, strict=True)]
    plan = cf.suggest(evidence, boxes=1, box_nm=box, name="next", work=tmp_path / "work")
    cf.run(plan, progress=False)
    row = {k: v[0] for k, v in cf.read_table(tmp_path / "work/tables/next.parquet").to_pydict().items()}
    (found,) = [layer for layer in read_run(tmp_path / "work") if layer[2] == "shapes"]
    shapes, about, _ = found
    assert about["name"] == "boxes to paint: next"
    assert about["features"]["why"].tolist() == [row["why"]] * 2
    for i, shape in enumerate(shapes):
        assert shape[:, 0].tolist() == [(row["z_start"] + i + 0.5) * NM[0]] * 4
        for axis, name in ((1, "y"), (2, "x")):
            assert {shape[:, axis].min(), shape[:, axis].max()} == {
                row[f"{name}_start"] * NM[axis],
                row[f"{name}_stop"] * NM[axis],
            }
    assert len(shapes) == 2


@pytest.mark.filterwarnings("default")
def test_napari_opens_a_run_and_saves_prompts(finished, tmp_path, monkeypatch):
    """Its viewer without a window: a canvas needs OpenGL, which Qt's offscreen platform has not."""
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    pytest.importorskip("napari", reason="needs the extra 'napari'")
    from napari.components import ViewerModel
    from npe2 import PluginManager

    PluginManager.instance().discover()
    viewer = ViewerModel()
    opened = viewer.open(str(finished), plugin="chunkflow-liver")
    assert {"mitos", "er-distance"} <= {layer.name for layer in opened}
    labels = viewer.layers["mitos"]
    table = cf.read_table(finished / "tables/mito-table.parquet").to_pandas()
    np.testing.assert_allclose(labels.features["volume_um3"], table.volume_um3)
    at = table.loc[0, ["centroid_z_nm", "centroid_y_nm", "centroid_x_nm"]].to_numpy(float)
    value = labels.get_value(at, world=True)
    assert np.ravel(np.array(value, object))[-1] == table.label[0]
    points = viewer.add_points([[3.5, 4.5, 5.5]], scale=NM, name="marks")
    saved = points.save(str(tmp_path / "marks.tsv"), plugin="chunkflow-liver")
    assert cf.read_prompts(saved[0])[0].z_nm == 140.0
