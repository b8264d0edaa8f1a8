"""Voxel sizes, axes and names as the headers of foreign files tell them."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from foreign_files import (
    SHAPE,
    VOXEL_NM,
    hdf5,
    mrc,
    n5,
    nifti,
    precomputed,
    store,
    volume,
    zarr2,
    zarr3,
)

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Box
from chunkflow_liver.store.sources import open_source
from chunkflow_liver.store.sources.source import size_nm

mrcfile = pytest.importorskip("mrcfile")


def test_imod_bytes_are_unsigned_where_it_says_so(tmp_path: Path) -> None:
    path = mrc(tmp_path / "a.st", volume("int8"))
    raw = bytearray(path.read_bytes())
    raw[152:160] = struct.pack("<2i", 1146047817, 0)
    path.write_bytes(bytes(raw))
    np.testing.assert_array_equal(open_source(path).read(Box.of(SHAPE)), volume("int8").view("uint8"))


def test_a_big_endian_mrc_is_read(tmp_path: Path) -> None:
    array = volume("float32")
    path = mrc(tmp_path / "a.mrc", array.astype(">f4"))
    assert path.read_bytes()[212:214] == b"\x11\x11"
    got = open_source(path)
    assert got.voxel_nm == VOXEL_NM
    np.testing.assert_array_equal(got.read(Box.of(SHAPE)), array)


def test_a_voxel_of_one_angstrom_or_without_unit_says_nothing(tmp_path: Path) -> None:
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(volume())
        file.set_volume()
        file.voxel_size = 1.0
    assert open_source(tmp_path / "a.mrc").voxel_nm is None
    assert open_source(nifti(tmp_path / "a.nii", volume(), "unknown")).voxel_nm is None
    assert open_source(n5(tmp_path / "a.n5", volume(), resolution=[5, 5, 40])).voxel_nm is None


@pytest.mark.parametrize(
    ("values", "units", "expected"),
    [
        ((0.04, 0.0059, 0.0059), "microns", (40.0, 5.9, 5.9)),
        ((0.04, 0.0059, 0.0059), "\N{MICRO SIGN}m", (40.0, 5.9, 5.9)),
        ((0.04, 0.0059, 0.0059), "\N{GREEK SMALL LETTER MU}m", (40.0, 5.9, 5.9)),
        ((400, 59, 59), "\N{ANGSTROM SIGN}", (40.0, 5.9, 5.9)),
        ((400, 59, 59), "Å", (40.0, 5.9, 5.9)),
        ((4e-5, 5.9, 5.9), ("mm", "nm", "Nanometers"), (40.0, 5.9, 5.9)),
        ((40, 5.9, 5.9), "pixel", None),
        ((40, 5.9, 5.9), "", None),
        ((0, 5.9, 5.9), "nm", None),
        ((-40, 5.9, 5.9), "nm", None),
        ((float("nan"), 5.9, 5.9), "nm", None),
        ((None, 5.9, 5.9), "nm", None),
        ((5.9, 5.9), "nm", None),
    ],
)
def test_lengths_become_nm_or_nothing(values: Any, units: Any, expected: Any) -> None:
    assert size_nm(values, units) == expected


def test_n5_and_zarr_attributes_give_the_voxel_size(tmp_path: Path) -> None:
    pixel = n5(tmp_path / "p.n5", volume())
    found = json.loads((pixel / "attributes.json").read_text())
    found["pixelResolution"] = {"dimensions": [5.9, 5.9, 40], "unit": "nm"}
    (pixel / "attributes.json").write_text(json.dumps(found))
    assert open_source(pixel).voxel_nm == VOXEL_NM
    found = {k: v for k, v in found.items() if k != "pixelResolution"}
    found["transform"] = {"axes": ["z", "y", "x"], "scale": list(VOXEL_NM), "units": ["nm"] * 3}
    (pixel / "attributes.json").write_text(json.dumps(found))
    assert open_source(pixel).voxel_nm == VOXEL_NM
    plain = zarr2(tmp_path / "a.zarr", volume())
    (plain / ".zattrs").write_text(json.dumps({"resolution": VOXEL_NM, "units": ["nm"] * 3}))
    assert open_source(plain).voxel_nm == VOXEL_NM


def test_a_zarr_array_that_names_its_axes_xyz_is_turned(tmp_path: Path) -> None:
    array = volume()
    path = zarr3(tmp_path / "a.zarr", np.ascontiguousarray(array.T), dimension_names=["x", "y", "z"])
    source = open_source(path)
    assert source.shape == SHAPE
    assert source.chunks == (5, 8, 2)
    np.testing.assert_array_equal(source.read(Box((1, 2, 3), SHAPE)), array[1:, 2:, 3:])


def test_a_sharded_zarr_is_read_by_its_inner_chunks(tmp_path: Path) -> None:
    array = volume("uint16", (4, 16, 16))
    inner = {"chunk_shape": [2, 4, 8], "codecs": [{"name": "bytes", "configuration": {"endian": "big"}}]}
    path = zarr3(tmp_path / "a.zarr", array, codecs=[{"name": "sharding_indexed", "configuration": inner}])
    source = open_source(path)
    assert source.chunks == (2, 4, 8)
    np.testing.assert_array_equal(source.read(Box((1, 2, 3), (4, 9, 16))), array[1:, 2:9, 3:])


def test_leading_axes_of_length_one_are_dropped(tmp_path: Path) -> None:
    array = volume()
    grid = {"name": "regular", "configuration": {"chunk_shape": [1, 1, 2, 8, 8]}}
    metadata = {"shape": (1, 1, *SHAPE), "data_type": "uint16", "chunk_grid": grid}
    path = store(tmp_path / "a.zarr", "zarr3", array[None, None], metadata=metadata)
    for source in (open_source(path), open_source(hdf5(tmp_path / "a.h5", array[None], "a"), dataset="a")):
        assert source.shape == SHAPE
        np.testing.assert_array_equal(source.read(Box((1, 2, 3), SHAPE)), array[1:, 2:, 3:])


def test_dataset_chooses_an_array_scale_or_series(tmp_path: Path) -> None:
    array = volume()
    n5(tmp_path / "a.n5/raw/s0", array)
    n5(tmp_path / "a.n5/raw/s1", array[::2])
    (tmp_path / "a.n5/attributes.json").write_text('{"n5": "2.0.0"}')
    assert open_source(tmp_path / "a.n5", dataset="raw/s1").shape == (3, 12, 14)
    assert open_source(tmp_path / "a.n5/raw/s0").shape == SHAPE
    with pytest.raises(
        InputError,
        match=r"holds 2 arrays, so one must be named, as in .*a\.n5::raw/s0; it has 'raw/s0', 'raw/s1'",
    ):
        open_source(tmp_path / "a.n5")
    with pytest.raises(InputError, match="has no array 'raw/s9'"):
        open_source(tmp_path / "a.n5", dataset="raw/s9")
    with pytest.raises(InputError, match="leads out of"):
        open_source(tmp_path / "a.n5", dataset="../b")
    with tifffile.TiffWriter(tmp_path / "two.tif") as tif:
        tif.write(array, photometric="minisblack", compression="zlib")
        tif.write(array[:2, :5], photometric="minisblack", compression="zlib")
    second = open_source(tmp_path / "two.tif", dataset="1")
    np.testing.assert_array_equal(second.read(Box.of(second.shape)), array[:2, :5])
    with pytest.raises(InputError, match="holds 2 image series and no choice was made"):
        open_source(tmp_path / "two.tif")
    path = precomputed(tmp_path / "p", array)
    key = json.loads((path / "info").read_text())["scales"][0]["key"]
    for scale in ("0", key):
        assert open_source(path, dataset=scale).shape == SHAPE
    with pytest.raises(InputError, match="has no scale '3'"):
        open_source(path, dataset="3")
    hdf5(tmp_path / "a.h5", array)
    hdf5(tmp_path / "a.h5", array[0], "plane")
    assert open_source(tmp_path / "a.h5").stored.dataset == "volumes/raw"  # type: ignore[attr-defined]
    hdf5(tmp_path / "a.h5", array, "volumes/labels")
    with pytest.raises(InputError, match="holds 2 3-D datasets, so one must be named"):
        open_source(tmp_path / "a.h5")
    with pytest.raises(InputError, match="has no dataset 'x'"):
        open_source(tmp_path / "a.h5", dataset="x")
