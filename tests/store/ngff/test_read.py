"""OME-Zarr metadata: what is right is read in nm, and what is written is what is read."""

from __future__ import annotations

import json

import numpy as np
import pytest
import zarr
from ngff_files import SHAPES, build, ome

from chunkflow_liver.errors import InputError
from chunkflow_liver.store.images import open_volume
from chunkflow_liver.store.ngff import group_attributes, read_image
from chunkflow_liver.store.ngff.write import image_attributes, label_entry, pyramid_factors


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize(
    "axes", ["yx", "zyx", "xyz", "xy", "yzx", "cyx", "tyx", "czyx", "tcyx", "tcxyz", "tczyx"]
)
def test_any_valid_order_of_axes_is_read_as_zyx(tmp_path, axes, version):
    url = build(tmp_path / "a.ome.zarr", ome(axes), version)
    data = np.arange(np.prod([SHAPES[a] for a in axes]), dtype=np.uint8).reshape([SHAPES[a] for a in axes])
    zarr.open_array(url / "0", mode="r+")[:] = data
    volume = open_volume(url)
    spatial = [a for a in axes if a in "zyx"]
    wanted = data.reshape([SHAPES[a] for a in spatial]).transpose(
        [spatial.index(a) for a in "zyx" if a in axes]
    )
    np.testing.assert_array_equal(volume.read(), wanted.reshape(volume.shape))
    assert volume.shape == (4 if "z" in axes else 1, 6, 8)
    assert volume.voxel_nm == (4.0 if "z" in axes else 16.0, 8.0, 16.0)
    assert volume.ome_version == version


@pytest.mark.parametrize(
    ("unit", "nm"),
    [
        ("nanometer", 1.0),
        ("nm", 1.0),
        ("micrometer", 1e3),
        ("µm", 1e3),
        ("μm", 1e3),
        ("um", 1e3),
        ("Micron", 1e3),
        ("angstrom", 0.1),
        ("Å", 0.1),
        ("picometer", 1e-3),
    ],
)
def test_every_unit_becomes_nm(tmp_path, unit, nm):
    image = ome(unit=unit)
    metadata = read_image(str(build(tmp_path / "a", image)))
    assert metadata.levels[0].voxel_nm == pytest.approx((4 * nm, 8 * nm, 16 * nm))


def test_millimetres_become_nm(tmp_path):
    image = ome(unit="millimeter")
    image["datasets"][0]["coordinateTransformations"][0]["scale"] = [4e-6, 8e-6, 16e-6]
    assert read_image(str(build(tmp_path / "a", image))).levels[0].voxel_nm == pytest.approx((4, 8, 16))


def test_units_may_differ_between_axes(tmp_path):
    image = ome()
    image["axes"][0]["unit"] = "micrometer"
    assert open_volume(build(tmp_path / "a", image)).voxel_nm == (4000.0, 8.0, 16.0)


def test_a_unit_can_be_given_where_the_file_states_none(tmp_path):
    url = build(tmp_path / "a", ome(unit=None))
    assert open_volume(url, unit="um").voxel_nm == (4000.0, 8000.0, 16000.0)


def test_translations_and_the_scale_of_the_image_are_composed(tmp_path):
    image = ome(levels=2)
    image["coordinateTransformations"] = [
        {"type": "scale", "scale": [2, 2, 2]},
        {"type": "translation", "translation": [1, 2, 3]},
    ]
    image["datasets"][1]["coordinateTransformations"].append(
        {"type": "translation", "translation": [2, 4, 8]}
    )
    first, second = read_image(str(build(tmp_path / "a", image))).levels
    assert (first.voxel_nm, first.origin_nm) == ((8, 16, 32), (1, 2, 3))
    assert (second.voxel_nm, second.origin_nm) == ((16, 32, 64), (5, 10, 19))


def test_classes_are_read_from_our_properties_and_from_those_of_others(tmp_path):
    folder = build(tmp_path / "a", ome())
    node = json.loads((folder / "zarr.json").read_text())
    node["attributes"]["ome"]["image-label"] = {
        "properties": [
            {"label-value": 1, "class": "er"},
            {"label-value": 2.0, "name": "nucleus"},
            {"label-value": 3},
        ]
    }
    (folder / "zarr.json").write_text(json.dumps(node))
    volume = open_volume(folder)
    assert (volume.kind, volume.classes) == ("label", (("er", 1), ("nucleus", 2)))
    assert [volume.class_number(c) for c in ("er", 2)] == [1, 2]
    with pytest.raises(InputError, match=r"has no class 'golgi'; it has \['er', 'nucleus'\]"):
        volume.class_number("golgi")
    with pytest.raises(InputError, match=r"has no class 7; it has \{'er': 1, 'nucleus': 2\}"):
        volume.class_number(7)


@pytest.mark.parametrize(
    ("shape", "voxel_nm", "wanted"),
    [
        # Voxels of (40, 5, 5) nm: y and x are halved until they reach z's size.
        ((100, 2000, 2000), (40, 5, 5), [(1, 1, 1), (1, 2, 2), (1, 4, 4), (1, 8, 8)]),
        ((600, 600, 600), (8, 8, 8), [(1, 1, 1), (2, 2, 2), (4, 4, 4)]),
        ((1, 600, 600), (8, 8, 8), [(1, 1, 1), (1, 2, 2), (1, 4, 4)]),
        ((256, 256, 256), (8, 8, 8), [(1, 1, 1)]),
    ],
)
def test_a_pyramid_becomes_isotropic_before_z_is_halved(shape, voxel_nm, wanted):
    assert pyramid_factors(shape, voxel_nm, None) == wanted


def test_a_pyramid_stops_where_nothing_is_left_to_halve():
    assert pyramid_factors((1, 2, 3), (8, 8, 8), 9) == [(1, 1, 1), (1, 2, 2), (1, 2, 4)]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_what_is_written_is_what_is_read(tmp_path, version):
    levels = [("0", (4.0, 8.0, 16.0), (1.0, 2.0, 3.0)), ("1", (8.0, 16.0, 16.0), (3.0, 6.0, 3.0))]
    attributes = image_attributes(
        version=version,
        name="mitos",
        axes=("t", "c", "z", "y", "x"),
        levels=levels,
        label=label_entry((("er", 1), ("mito", 4)), "../.."),
        method="mode",
    )
    zarr.open_group(tmp_path / "a", mode="w", zarr_format=3 if version == "0.5" else 2, attributes=attributes)
    metadata = read_image(str(tmp_path / "a"))
    assert metadata.problems == ()
    assert [(x.path, x.voxel_nm, x.origin_nm) for x in metadata.levels] == levels
    assert metadata.classes == (("er", 1), ("mito", 4))
    ome_ = group_attributes(str(tmp_path / "a"))[0]
    label = (ome_["ome"] if version == "0.5" else ome_)["image-label"]
    assert label["source"] == {"image": "../.."}
    assert [c["label-value"] for c in label["colors"]] == [1, 4]
    assert label["properties"] == [{"label-value": 1, "class": "er"}, {"label-value": 4, "class": "mito"}]
