"""Zarr arrays are read in the order of axes that the image around them states, or they themselves."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from foreign_files import volume, zarr3
from ngff_files import SHAPES, build, ome

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Box
from chunkflow_liver.ops.convert import convert
from chunkflow_liver.store.images import open_volume
from chunkflow_liver.store.sources import open_source


@pytest.fixture
def foreign(em_data: Path) -> Path:
    """Files that other programs wrote, with the right values."""
    return em_data / "foreign_files"


def filled(folder: Path, axes: str, version: str) -> np.ndarray[Any, Any]:
    """An OME-Zarr image with those axes; its voxels as (z, y, x)."""
    build(folder, ome(axes), version)
    array = zarr.open_array(folder / "0", mode="r+")
    array[:] = np.arange(array.size, dtype=np.uint8).reshape(array.shape)
    spatial = [a for a in axes if a in "zyx"]
    voxels = np.asarray(array).reshape([SHAPES[a] for a in spatial])
    return voxels.transpose([spatial.index(a) for a in "zyx"])


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize(
    "axes", [*map("".join, itertools.permutations("zyx")), "tczyx", "cxyz", "zyxc", "zyxtc"]
)
def test_a_level_is_read_as_its_image_names_the_axes(tmp_path, axes, version):
    wanted = filled(tmp_path / "a.ome.zarr", axes, version)
    box = Box((1, 2, 3), (4, 5, 8))
    for source in (
        open_source(tmp_path / "a.ome.zarr/0"),
        open_source(tmp_path / "a.ome.zarr"),
        open_source(tmp_path / "a.ome.zarr", dataset="0"),
    ):
        assert source.voxel_nm == (4, 8, 16)
        assert source.chunks == source.shape == (4, 6, 8)
        np.testing.assert_array_equal(source.read(Box.of(source.shape)), wanted)
        np.testing.assert_array_equal(source.read(box), wanted[box.slices])
    # Axes of length 1 may stand anywhere, here and where the image itself is opened.
    np.testing.assert_array_equal(open_volume(tmp_path / "a.ome.zarr").read(), wanted)


@pytest.mark.parametrize("axes", [*map("".join, itertools.permutations("zyx"))])
def test_an_array_that_names_its_own_axes_is_turned(tmp_path, axes):
    wanted = volume()
    turned = np.ascontiguousarray(wanted.transpose(["zyx".index(a) for a in axes]))
    alone = zarr3(tmp_path / "a.zarr", turned, dimension_names=list(axes))
    trailing = zarr.create_array(
        tmp_path / "b.zarr", data=turned[..., np.newaxis], dimension_names=[*axes, "c"]
    )
    older = zarr.create_array(tmp_path / "c.zarr", data=turned[np.newaxis], zarr_format=2)
    older.attrs["_ARRAY_DIMENSIONS"] = ["c", *axes]
    assert trailing.shape[-1] == older.shape[0] == 1
    for path in (alone, tmp_path / "b.zarr", tmp_path / "c.zarr"):
        source = open_source(path)
        np.testing.assert_array_equal(source.read(Box.of(source.shape)), wanted)


def test_channels_of_a_level_are_refused(tmp_path):
    array = {"shape": (2, 4, 6, 8), "chunks": (1, 4, 6, 8), "dtype": "u1"}
    url = build(tmp_path / "a", ome("czyx"), _0=array)
    zarr.open_array(url / "0", mode="r+")[:] = 1
    with pytest.raises(
        InputError,
        match=r"has 2 channels .*; one volume is needed: save one of them alone, such as array\[0, :, :, :\]",
    ):
        open_source(url / "0")


def test_the_size_of_an_image_that_contradicts_itself_is_not_taken(tmp_path):
    image = ome()
    image["datasets"][0]["coordinateTransformations"] *= 2
    assert open_source(build(tmp_path / "a", image) / "0").voxel_nm is None


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("kept", [False, True])
def test_an_array_without_a_single_chunk_is_an_error_even_with_gaps_allowed(tmp_path, version, kept):
    url = build(tmp_path / "a.ome.zarr", ome(), _0={"shape": (4, 6, 8), "chunks": (2, 6, 8), "dtype": "u1"})
    if kept:
        zarr.open_array(url / "0", mode="r+")[:2] = 7
        voxels = open_source(url / "0", allow_gaps=True).read(Box.of((4, 6, 8)))
        assert (voxels[:2] == 7).all()
        assert not voxels[2:].any()
        assert open_volume(url, missing_chunks="fill").read()[0, 0, 0] == 7
        return
    with pytest.raises(InputError, match=r"has none of its chunks in .* would be the fill value"):
        open_source(url / "0", allow_gaps=True)
    with pytest.raises(InputError, match=r"not one chunk of .* is there"):
        open_volume(url, missing_chunks="fill")


@pytest.mark.filterwarnings("ignore")
def test_an_image_with_axes_c_x_y_z_of_another_program_is_read(foreign):
    """As zarr 2 wrote it (ids.ome.zarr of the foreign files)."""
    wanted = np.load(foreign / "axes/a.npy")
    source = open_source(foreign / "axes/ids.ome.zarr/0")
    voxels = source.read(Box.of(source.shape))
    assert source.voxel_nm == (40, 5.9, 5.9)
    np.testing.assert_array_equal(voxels, wanted[0].T)


@pytest.mark.parametrize("version", ["v01", "v02", "v03"])
@pytest.mark.filterwarnings("ignore")
def test_images_of_old_versions_are_refused_and_converted_as_the_message_says(foreign, tmp_path, version):
    image = foreign / f"ngff/{version}.ome.zarr"
    with pytest.raises(
        InputError, match=r"states no scale, as OME-Zarr 0.\d cannot: .* convert IMAGE NEW --voxel-nm"
    ):
        open_volume(image)
    with pytest.raises(InputError, match="does not state a voxel size; give it in nm as --voxel-nm"):
        convert(image, tmp_path / "a.ome.zarr")
    made = convert(image, tmp_path / "a.ome.zarr", voxel_nm=(40, 8, 8)).output
    stored = zarr.open_array(image / "0", mode="r")
    assert made.shape == stored.shape[-3:]
    source = open_source(image)
    np.testing.assert_array_equal(source.read(Box.of(source.shape)), np.asarray(stored).reshape(made.shape))
