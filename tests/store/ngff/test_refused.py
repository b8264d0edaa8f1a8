"""OME-Zarr metadata: what is wrong is named, and nothing is made by looking."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ngff_files import build, ome

from chunkflow_liver.errors import InputError
from chunkflow_liver.store.images import open_volume, validate


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
    "axes missing": (set_in("axes", drop=True), r"'axes' must list 2 to 5 axes, got \(\)"),
    "six axes": (set_in("axes", to=ome("tczyx")["axes"] * 2), "'axes' must list 2 to 5 axes"),
    "no unit": (set_in("axes", to=ome(unit=None)["axes"]), "axis z has no unit; state one"),
    "unknown unit": (set_in("axes", 2, "unit", to="foo"), "axis x has unit 'foo'; known are"),
    "unit of time": (set_in("axes", 0, "unit", to="second"), "axis z has unit 'second'"),
    "voxels of metres": (
        set_in("axes", to=ome(unit="meter")["axes"]),
        "a voxel of 4e.09 nm along z is not credible",
    ),
    "version of tomorrow": (
        set_in("version", to="9.9"),
        "OME-Zarr version '9.9'; supported are 0.1 0.2 0.3 0.4 0.5 0.6",
    ),
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
        {
            "data_type": "complex64",
            "fill_value": [0, 0],
            "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        },
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
