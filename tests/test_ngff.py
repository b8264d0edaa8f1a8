"""OME-Zarr metadata: what is right is read in nm, what is wrong is named, and nothing is made by looking."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chunkflow_liver.errors import InputError
from chunkflow_liver.store.images import inspect, open_volume, validate
from chunkflow_liver.store.ngff import group_attributes, read_image
from chunkflow_liver.store.ngff_write import image_attributes, label_entry, pyramid_factors

SHAPES = {"t": 1, "c": 1, "z": 4, "y": 6, "x": 8}


def ome(axes: str = "zyx", unit: str | None = "nanometer", levels: int = 1) -> dict[str, Any]:
    """The 'multiscales' entry of an image with voxels of (4, 8, 16) of `unit`, halved at every level."""
    kinds = {"t": "time", "c": "channel"}
    sizes = {"z": 4.0, "y": 8.0, "x": 16.0}
    scales = [[sizes.get(a, 1.0) * (2**i if a in sizes else 1) for a in axes] for i in range(levels)]
    return {
        "axes": [
            {"name": a, "type": kinds[a]}
            if a in kinds
            else {"name": a, "type": "space"} | ({"unit": unit} if unit else {})
            for a in axes
        ],
        "datasets": [
            {"path": str(i), "coordinateTransformations": [{"type": "scale", "scale": s}]}
            for i, s in enumerate(scales)
        ],
        "name": "test",
    }


def build(folder: Path, image: dict[str, Any] | None, version: str = "0.5", **arrays: Any) -> Path:
    """An image group with `image` as its metadata and an array (uint8, all ones) per level."""
    form: Any = 3 if version == "0.5" else 2
    group = zarr.open_group(folder, mode="w", zarr_format=form)
    if image is not None:
        content: dict[str, Any] = {"multiscales": [image]}
        group.attrs.update({"ome": {"version": version, **content}} if form == 3 else content)
        if form == 2:
            group.attrs["multiscales"] = [{"version": version, **image}]
    axes = [a["name"] for a in (image or ome())["axes"]] if not arrays else []
    for i, entry in enumerate((image or ome())["datasets"]) if not arrays else ():
        shape = [max(1, SHAPES[a.lower()] >> (i if a in "zyx" else 0)) for a in axes]
        array = group.create_array(entry["path"], shape=shape, chunks=shape, dtype="uint8")
        array[:] = 1
    for name, settings_ in arrays.items():
        group.create_array(name.removeprefix("_"), **settings_)
    return folder


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
    assert volume.zarr_format == (3 if version == "0.5" else 2)


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


def set_in(*keys: Any, to: Any = None, drop: bool = False) -> Callable[[dict[str, Any]], None]:
    def change(image: dict[str, Any]) -> None:
        place: Any = image
        for key in keys[:-1]:
            place = place[key]
        if drop:
            del place[keys[-1]]
        else:
            place[keys[-1]] = to

    return change


SCALE = ("datasets", 0, "coordinateTransformations", 0, "scale")
BAD_METADATA = {
    "no levels": (set_in("datasets", to=[]), "'datasets' is empty: the image has no levels"),
    "level without path": (set_in("datasets", 0, "path", drop=True), "level 0 has no path"),
    "level not on disk": (
        set_in("datasets", 0, "path", to="7"),
        "'7' is listed as a level but .* no zarr array",
    ),
    "path leaves the image": (set_in("datasets", 0, "path", to="../other/0"), "points outside the image"),
    "path is absolute": (set_in("datasets", 0, "path", to="/etc/passwd"), "points outside the image"),
    "path with a null": (set_in("datasets", 0, "path", to="a\0"), "null byte"),
    "path is the group": (
        set_in("datasets", 0, "path", to="."),
        "shape must be a list of integers, got None",
    ),
    "no voxel size": (set_in("datasets", 0, "coordinateTransformations", drop=True), "states no scale"),
    "scale of 0": (
        set_in(*SCALE, to=[0, 8, 16]),
        r"level 0 \('0'\): scale for axis z is 0.0; it must be above 0",
    ),
    "negative scale": (set_in(*SCALE, to=[4, -8, 16]), "scale for axis y is -8.0"),
    "scale is NaN": (set_in(*SCALE, to=[float("nan"), 8, 16]), "scale for axis z is nan"),
    "scale is infinite": (set_in(*SCALE, to=[4, 8, float("inf")]), "scale for axis x is inf"),
    "scale of strings": (set_in(*SCALE, to=["4", "8", "16"]), "scale must be 3 numbers, got"),
    "scale of booleans": (set_in(*SCALE, to=[True, True, True]), "scale must be 3 numbers"),
    "scale too long": (set_in(*SCALE, to=[1, 4, 8, 16]), "scale must be 3 numbers"),
    "scale beyond floats": (set_in(*SCALE, to=[10**400, 8, 16]), "scale must be 3 numbers"),
    "transformations no list": (
        set_in("datasets", 0, "coordinateTransformations", to={"scale": 1}),
        "coordinateTransformations must be a list",
    ),
    "rotation": (
        set_in("datasets", 0, "coordinateTransformations", to=[{"type": "affine"}]),
        "transformation 'affine' is not supported",
    ),
    "translation is NaN": (
        set_in(
            "coordinateTransformations", to=[{"type": "translation", "translation": [float("nan"), 0, 0]}]
        ),
        "translation .* is not finite",
    ),
    "more axes than the array": (
        set_in("axes", to=ome("czyx")["axes"]),
        "the array has 3 axes, the metadata 4",
    ),
    "repeated axes": (set_in("axes", 1, "name", to="z"), "axis names repeat"),
    "unknown axis": (
        set_in("axes", 0, "name", to="depth"),
        "axis 0 is named 'depth'; known are t, c, z, y, x",
    ),
    "space before channel": (
        set_in("axes", to=[*ome("zy")["axes"], {"name": "c", "type": "channel"}]),
        "out of order: time, then channel, then space",
    ),
    "no y": (set_in("axes", to=ome("tcx")["axes"]), "lack y or x"),
    "axes missing": (set_in("axes", drop=True), "'axes' must list 2 to 5 axes, got None"),
    "six axes": (set_in("axes", to=ome("tczyx")["axes"] * 2), "'axes' must list 2 to 5 axes"),
    "no unit": (set_in("axes", to=ome(unit=None)["axes"]), "axis z has no unit; state one"),
    "unknown unit": (set_in("axes", 2, "unit", to="foo"), "axis x has unit 'foo'; known are"),
    "unit of time": (set_in("axes", 0, "unit", to="second"), "axis z has unit 'second'"),
    "voxels of metres": (
        set_in("axes", to=ome(unit="meter")["axes"]),
        "a voxel of 4e.09 nm along z is not credible",
    ),
    "version of tomorrow": (set_in("version", to="9.9"), "OME-Zarr version '9.9'; supported are 0.4 and 0.5"),
}


@pytest.mark.parametrize("case", BAD_METADATA)
def test_bad_metadata_are_named_and_nothing_is_made(tmp_path, listing, case):
    change, says = BAD_METADATA[case]
    image = ome()
    folder = build(tmp_path / "a.ome.zarr", image)
    change(image)
    node = json.loads((folder / "zarr.json").read_text())
    version = image.pop("version", "0.5")
    node["attributes"] = {"ome": {"version": version, "multiscales": [image]}}
    (folder / "zarr.json").write_text(json.dumps(node))
    before = listing()
    with pytest.raises(InputError, match=says):
        open_volume(folder)
    assert any(validate(folder))
    assert listing() == before


def test_all_problems_are_listed_at_once(tmp_path):
    image = ome(unit=None)
    image["datasets"][0]["coordinateTransformations"][0]["scale"] = [0, 8, 16]
    with pytest.raises(InputError, match=r"4 problem\(s\): \(1\) axis z has no unit.*\(4\) level 0"):
        open_volume(build(tmp_path / "a", image))


def test_levels_from_coarse_to_fine_are_refused(tmp_path):
    image = ome(levels=2)
    folder = build(tmp_path / "a", image)
    image["datasets"].reverse()
    zarr.open_group(folder, mode="r+").attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    with pytest.raises(InputError, match="levels are not ordered from fine to coarse"):
        open_volume(folder)


BAD_ARRAYS: dict[str, tuple[dict[str, Any], str]] = {
    "no voxels along an axis": ({"shape": [0, 6, 8]}, "an axis has length 0; 1 to"),
    "an axis of 1e18": ({"shape": [10**18, 6, 8]}, "an axis has length 1000000000000000000"),
    "too many voxels": ({"shape": [2**30, 2**30, 2]}, "more voxels than the limit"),
    "absurdly many voxels": ({"shape": [10**300, 10**300, 10**300]}, "more voxels than the limit"),
    "negative shape": ({"shape": [-4, 6, 8]}, "an axis has length -4"),
    "fractional shape": ({"shape": [4.5, 6, 8]}, "shape must be a list of integers"),
    "boolean shape": ({"shape": [True, 6, 8]}, "shape must be a list of integers"),
    "shape of another rank": ({"shape": [6, 8]}, "the array has 2 axes, the metadata 3"),
    "chunk of 0": (
        {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [0, 6, 8]}}},
        "chunk shape must be integers from 1, got",
    ),
    "chunk of 1e18": (
        {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, 10**9, 10**9]}}},
        "one chunk of .* is at least 931322574 GiB; chunks above 2 GiB cannot be read out of core",
    ),
    "no chunks": (
        {"chunk_grid": {"name": "regular", "configuration": 3}},
        "chunk shape must be integers from 1",
    ),
    "chunk grid no object": ({"chunk_grid": [1]}, "chunk shape must be integers from 1"),
    "inner chunk of 1e18": (
        {"codecs": [{"name": "sharding_indexed", "configuration": {"chunk_shape": [10**9, 10**9, 1]}}]},
        "one chunk of",
    ),
    "shard without settings": (
        {"codecs": [{"name": "sharding_indexed"}]},
        "chunk shape must be integers from 1",
    ),
    "codecs no list": ({"codecs": 3}, "cannot be opened"),
    "unknown codec": (
        {"codecs": [{"name": "bytes", "configuration": {}}, {"name": "jpeg-xyz"}]},
        "cannot be opened",
    ),
    "unknown dtype": ({"data_type": "uint13"}, "cannot be opened"),
    "complex voxels": (
        {"data_type": "complex64", "fill_value": [0, 0]},
        "an image must be one of bool, uint8",
    ),
    "other names": (
        {"dimension_names": ["x", "y", "z"]},
        r"dimension_names \['x', 'y', 'z'\] differ from axes",
    ),
    "names of another rank": ({"dimension_names": ["x", "y"]}, "2 dimension_names for 3 axes"),
    "must understand": ({"wonderful": {"must_understand": True}}, "cannot be opened"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_absurd_arrays_are_named_before_a_voxel_is_read(tmp_path, listing, case):
    change, says = BAD_ARRAYS[case]
    folder = build(tmp_path / "a.ome.zarr", ome())
    node = json.loads((folder / "0/zarr.json").read_text())
    (folder / "0/zarr.json").write_text(json.dumps(node | change))
    before = listing()
    with pytest.raises(InputError, match=says):
        open_volume(folder)
    assert listing() == before


def test_levels_of_different_dtypes_are_refused(tmp_path):
    small = {"shape": (2, 3, 4), "chunks": (2, 3, 4)}
    big = {"shape": (4, 6, 8), "chunks": (4, 6, 8)}
    url = build(tmp_path / "a", ome(levels=2), _0={**big, "dtype": "u1"}, _1={**small, "dtype": "u2"})
    with pytest.raises(InputError, match=r"levels have different dtypes: \['uint8', 'uint16'\]"):
        open_volume(url)


def plain_file(folder: Path) -> Path:
    (folder / "a.tif").write_bytes(b"II*\0")
    return folder / "a.tif"


def bare_array(folder: Path, form: Any = 3) -> Path:
    zarr.create_array(folder / "a", shape=(2, 2), chunks=(2, 2), dtype="u1", zarr_format=form)
    return folder / "a"


def with_json(text: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "a").mkdir()
        (folder / "a/zarr.json").write_bytes(text)
        return folder / "a"

    return make


def group_with(attributes: dict[str, Any]) -> Callable[[Path], Path]:
    return with_json(json.dumps({"node_type": "group", "zarr_format": 3, "attributes": attributes}).encode())


NO_IMAGE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "nothing": (lambda f: f / "none.ome.zarr", "no such file or folder: .*none.ome.zarr"),
    "empty folder": (lambda f: f, "is not a zarr group: it has neither zarr.json nor .zgroup"),
    "TIFF": (plain_file, "is a file, not an OME-Zarr folder; run 'chunkflow-liver convert'"),
    "bare array": (bare_array, "is a bare zarr array without OME metadata"),
    "bare v2 array": (lambda f: bare_array(f, 2), "is a bare zarr array without OME metadata"),
    "no multiscales": (group_with({"ome": {"version": "0.5"}}), "it has no 'multiscales'"),
    "multiscales of strings": (group_with({"ome": {"multiscales": ["a"]}}), "it has no 'multiscales'"),
    "ome no object": (group_with({"ome": [1]}), "'ome' must be a JSON object, got list"),
    "labels group": (
        group_with({"ome": {"labels": ["mito"]}}),
        r"it lists the label images \['mito'\], open one",
    ),
    "plate": (group_with({"ome": {"plate": {}}}), "it is a collection, open one of the images inside"),
    "empty JSON": (with_json(b""), "zarr.json is not valid JSON: Expecting value: line 1 column 1"),
    "cut JSON": (with_json(b'{"node'), "zarr.json is not valid JSON"),
    "not UTF-8": (with_json(b"\xff\xfe\x00"), "zarr.json is not valid JSON"),
    "JSON list": (with_json(b"[1]"), "zarr.json holds list, expected a JSON object"),
    "deep JSON": (with_json(b"[" * 200_000), "nested too deeply"),
    "huge JSON": (with_json(b" " * (5 << 20)), "metadata above 4194304 is refused"),
}


@pytest.mark.parametrize("case", NO_IMAGE)
def test_what_is_no_image_is_refused_and_nothing_is_made(tmp_path, listing, case):
    make, says = NO_IMAGE[case]
    path = make(tmp_path)
    before = listing()
    with pytest.raises(InputError, match=says):
        open_volume(path)
    assert len(validate(path)) == 1
    assert listing() == before


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_metadata_in_the_wrong_zarr_format_are_refused(tmp_path, version):
    url = build(tmp_path / "a", ome(), "0.5" if version == "0.4" else "0.4")
    group = zarr.open_group(url, mode="r+")
    image = {"version": version, **ome()}
    group.attrs.update({"ome": {"version": version, "multiscales": [image]}, "multiscales": [image]})
    with pytest.raises(InputError, match=f"OME-Zarr {version} metadata in zarr v"):
        open_volume(url)


@pytest.mark.parametrize("to", ["inside", "outside", "beside"])
def test_a_level_that_is_a_link_out_of_the_image_is_refused(tmp_path, to):
    folder = build(tmp_path / "a.zarr", ome())
    target = {"inside": folder / "real", "outside": tmp_path / "b", "beside": tmp_path / "a.zarr-2"}[to]
    (folder / "0").rename(target)
    (folder / "0").symlink_to(target)
    if to == "inside":
        assert open_volume(folder).shape == (4, 6, 8)
        return
    with pytest.raises(InputError, match="is a link that leads out of the image"):
        open_volume(folder)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "axis t has 2 entries; choose one with 'timepoint'"),
        ({"timepoint": 2, "channel": 0}, "timepoint 2 does not exist; axis t has 2 entries"),
        ({"timepoint": 0, "channel": -1}, "channel -1 does not exist; axis c has 3 entries"),
        ({"timepoint": 0}, "axis c has 3 entries; choose one with 'channel'"),
    ],
)
def test_times_and_channels_must_be_chosen(tmp_path, options, says):
    array = {"shape": (2, 3, 4, 6, 8), "chunks": (1, 1, 4, 6, 8), "dtype": "u1"}
    url = build(tmp_path / "a", ome("tczyx"), _0=array)
    with pytest.raises(InputError, match=says):
        open_volume(url, **options)


def test_a_bad_selection_is_refused(tmp_path):
    url = build(tmp_path / "a", ome())
    with pytest.raises(InputError, match="has levels 0 to 0, not 1"):
        open_volume(url, level=1)
    with pytest.raises(InputError, match="not by both"):
        open_volume(url, level=0, voxel_nm=(4, 8, 16))
    with pytest.raises(InputError, match="missing_chunks must be 'error' or 'fill', got 'zero'"):
        open_volume(url, missing_chunks="zero")
    with pytest.raises(InputError, match="channel 1 does not exist"):
        open_volume(url, channel=1)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), value=json_values)
def test_any_damage_to_metadata_is_an_input_error_or_no_harm(tmp_path, data, value):
    folder = tmp_path / "a"
    if not folder.exists():
        build(folder, ome("czyx"))
        for key in ("zarr.json", "0/zarr.json"):
            (folder / key).rename(folder / f"{key}.good")
    key = data.draw(st.sampled_from(["zarr.json", "0/zarr.json"]))
    for name in ("zarr.json", "0/zarr.json"):
        (folder / name).write_text((folder / f"{name}.good").read_text())
    node = json.loads((folder / key).read_text())
    place, path = node, []
    while isinstance(place, dict | list) and place:
        step = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        path.append(step)
        if data.draw(st.booleans()) and len(path) > 1:
            break
        place = place[step]
    set_in(*path, to=deepcopy(value))(node)
    (folder / key).write_text(json.dumps(node))
    try:
        volume = open_volume(folder)
    except InputError:
        return
    assert all(size > 0 for size in volume.voxel_nm)
    assert all(n > 0 for n in (*volume.shape, *volume.chunks))


GOOD_SAMPLES = (
    "BioImageTools_ome-zarr-examples/data/valid/image-01.zarr",
    "BioImageTools_ome-zarr-examples/data/valid/image-02.zarr",
    "BioImageTools_ome-zarr-examples/data/valid/image-03.zarr",
    "BioImageTools_ome-zarr-examples/data/valid/image-04.zarr",
    "BioImageTools_ome-zarr-examples/data/valid/plate-01.zarr/A/1/0",
    "BioImageTools_ome-zarr-examples/data/valid/plate-01.zarr/B/2/0",
    "neuroglancer/testdata/datasource/zarr/ome_zarr/simple_0.4",
    "neuroglancer/testdata/datasource/zarr/ome_zarr/simple_0.5",
    "ome-zarr-models-py/tests/data/examples/v04/hcs_example.ome.zarr/B/03/0",
    "ome2024-ngff-challenge/tests/data/hcs.zarr/A/1/0",
    # Their axes have no units, so a unit is given.
    "fideus-labs_rfc4-validation/conformance/cases/SC-01_quadruped_valid.ome.zarr",
    "ome2024-ngff-challenge/tests/data/2d.zarr",
    "ome2024-ngff-challenge/tests/data/bf2raw.zarr/0",
    # RFC 4 (orientation of axes) is not looked at: we are more lenient than its validator here.
    "fideus-labs_rfc4-validation/conformance/cases/SC-03_channel_orientation.ome.zarr",
    "fideus-labs_rfc4-validation/conformance/cases/SC-05_missing_value.ome.zarr",
    "fideus-labs_rfc4-validation/conformance/cases/SC-06_bad_type.ome.zarr",
    "fideus-labs_rfc4-validation/conformance/cases/SC-07_duplicate_pair.ome.zarr",
)
BAD_SAMPLES = {
    "BioImageTools_ome-zarr-examples/data/invalid/image-01.zarr": "has no 'multiscales'|not a zarr group",
    "BioImageTools_ome-zarr-examples/data/invalid/image-02.zarr": "it has no 'multiscales'",
    "BioImageTools_ome-zarr-examples/data/invalid/image-03.zarr": "'0' is listed as a level",
    "BioImageTools_ome-zarr-examples/data/invalid/image-04.zarr": "the array has 2 axes, the metadata 3",
    "ome_ngff-spec/tests/zarr/spec/invalid/image/no_multiscales.ome.zarr": "it has no 'multiscales'",
    "yaozarrs/tests/data/broken/broken_v05.ome.zarr/A/1/0": "'0' is listed as a level",
    "yaozarrs/tests/data/broken/broken_v05.ome.zarr/A/1/1/labels/annotations": "bare zarr array",
    "yaozarrs/tests/data/broken/broken_v05.ome.zarr/B/1/0/labels/annotations": "labels must be one of",
    "yaozarrs/tests/data/broken/broken_v05.ome.zarr/C/2/0": "it has no 'multiscales'",
    # Valid, but stricter here: labels are exact, so images of 64-bit integers are refused.
    "BioImageTools_ome-zarr-examples/data/warning/image-01.zarr": "an image must be one of",
    # 0.6 is not read yet, neither its valid nor its invalid examples.
    "ome_ngff-spec/tests/zarr/strict/valid/image/image.ome.zarr": "OME-Zarr version '0.6rc0'; supported are",
    "ome_ngff-spec/tests/zarr/spec/invalid/image/no_axes.ome.zarr": "OME-Zarr version '0.6rc0'",
    "neuroglancer/testdata/datasource/zarr/ome_zarr/all_0.6/basic/scale.zarr": "version '0.6.dev1'",
    "ome-zarr-models-py/tests/data/examples/v06/stitched_tiles_2d.zarr/tile_0": "version '0.6.dev4'",
}


@pytest.fixture(scope="module")
def samples(em_data, tmp_path_factory) -> Path:
    """The corpus of NGFF samples, unpacked; only the folders that are looked at."""
    folder = tmp_path_factory.mktemp("ngff")
    wanted = tuple(f"ngff/{name}/" for name in (*GOOD_SAMPLES, *BAD_SAMPLES))
    with tarfile.open(em_data / "ngff/ngff_samples.tar.gz") as archive:
        members = [m for m in archive if f"{m.name}/".startswith(wanted)]
        archive.extractall(folder, members, filter="data")
    return folder / "ngff"


@pytest.mark.parametrize("name", GOOD_SAMPLES)
@pytest.mark.filterwarnings("ignore")
def test_valid_samples_of_other_projects_are_read(samples, name):
    channel = 0 if any(part in name for part in ("hcs.zarr", "2d.zarr", "SC-03")) else None
    metadata, volumes, problems = inspect(samples / name, channel=channel, unit="nm")
    assert problems == []
    assert len(volumes) == len(metadata.levels) > 0
    array = zarr.open_array(samples / name / volumes[0].path, mode="r")
    assert sorted(array.shape)[-1] == max(volumes[0].shape)
    assert volumes[0].dtype == array.dtype.name


@pytest.mark.parametrize("name", BAD_SAMPLES)
@pytest.mark.filterwarnings("ignore")
def test_invalid_samples_of_other_projects_are_refused(samples, name):
    assert (samples / name).is_dir()
    with pytest.raises(InputError, match=BAD_SAMPLES[name]):
        open_volume(samples / name, unit="nm")


def test_classes_are_read_from_our_properties_and_from_those_of_others(tmp_path):
    folder = build(tmp_path / "a", ome())
    node = json.loads((folder / "zarr.json").read_text())
    node["attributes"]["ome"]["image-label"] = {
        "properties": [
            {"label-value": 1, "class": "er"},
            {"label-value": 2.0, "name": "nucleus"},
            {"label-value": "x", "class": "bad"},
            {"label-value": 3},
            7,
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
