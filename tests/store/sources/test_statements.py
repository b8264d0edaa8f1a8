"""Axes, voxel sizes and places that attributes of HDF5, N5, zarr and precomputed volumes state."""

from __future__ import annotations

import gzip
import json
import lzma
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_files import SHAPE, VOXEL_NM, hdf5, n5, precomputed, volume, zarr2, zarr3

from chunkflow_liver.errors import ChunkError, InputError
from chunkflow_liver.geometry import Box
from chunkflow_liver.store.sources import hdf5 as hdf5_module
from chunkflow_liver.store.sources import open_source

h5py = pytest.importorskip("h5py")
imagecodecs = pytest.importorskip("imagecodecs")

WHOLE = Box.of(SHAPE)


def attributes(folder: Path, **more: Any) -> Path:
    """Attributes added to an N5 group or array."""
    file = folder / "attributes.json"
    found = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(found | more))
    return folder


@pytest.mark.parametrize("tags", ["xyz", "zyx", "yxz", "xzyc", "tzyxc", "cxyz"])
def test_axistags_name_the_axes(tags, tmp_path):
    array = volume()
    stored = array.transpose(["zyx".index(n) for n in tags if n in "zyx"])
    for i, name in enumerate(tags):
        stored = np.expand_dims(stored, i) if name in "tc" else stored
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["exported_data"] = stored
        file["exported_data"].attrs["axistags"] = json.dumps({"axes": [{"key": n} for n in tags]})
        file["exported_data"].attrs["element_size_um"] = [
            dict(zip("zyx", VOXEL_NM, strict=True))[n] / 1000 for n in tags if n in "zyx"
        ]
    source = open_source(tmp_path / "a.h5")
    assert source.voxel_nm == VOXEL_NM
    np.testing.assert_array_equal(source.read(Box((1, 2, 3), SHAPE)), array[1:, 2:, 3:])


def test_several_channels_are_refused_by_name(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["p"] = np.zeros((4, 5, 6, 2), "uint8") + 1
        file["p"].attrs["axistags"] = json.dumps({"axes": [{"key": n} for n in "zyxc"]})
    for dataset in ("p", None):
        with pytest.raises(
            InputError, match=r"has 2 channels .axes z, y, x, c.* array\[:, :, :, 0\] in Python"
        ):
            open_source(tmp_path / "a.h5", dataset=dataset)


def test_dimension_scales_give_names_spacing_place_and_direction(tmp_path):
    array = volume()
    with h5py.File(tmp_path / "a.nc", "w") as file:
        data = file.create_dataset("v", data=array.transpose(2, 0, 1))
        for i, (name, step, start) in enumerate((("x", 5.9, 59.0), ("z", 40.0, 0.0), ("y", -5.9, 64.9))):
            scale = file.create_dataset(name, data=start + step * np.arange(data.shape[i]))
            scale.make_scale(name)
            scale.attrs["units"] = "nm"
            data.dims[i].attach_scale(scale)
    source = open_source(tmp_path / "a.nc")
    assert source.voxel_nm == VOXEL_NM
    assert source.origin == pytest.approx((0.0, 0.0, 10.0))
    np.testing.assert_array_equal(source.read(WHOLE), array[:, ::-1])


def test_the_dims_of_an_emd_group_are_read_and_uneven_ones_say_no_size(tmp_path):
    array = volume()
    for name, steps in (("a", np.arange(14) * 5.9), ("b", np.arange(14) ** 2.0)):
        with h5py.File(tmp_path / f"{name}.emd", "w") as file:
            group = file.create_group("data/v")
            group.attrs["emd_group_type"] = 1
            group["data"] = array
            for i, places in enumerate((np.arange(5) * 40.0, np.arange(2) * 5.9, steps)):
                group[f"dim{i + 1}"] = places
                group[f"dim{i + 1}"].attrs["name"] = np.bytes_("zyx"[i])
                group[f"dim{i + 1}"].attrs["units"] = np.bytes_("[n_m]")
    assert open_source(tmp_path / "a.emd").voxel_nm == VOXEL_NM
    assert open_source(tmp_path / "b.emd").voxel_nm is None
    np.testing.assert_array_equal(open_source(tmp_path / "b.emd").read(WHOLE), array)


def test_a_matlab_file_has_its_axes_in_the_order_of_its_images(tmp_path):
    array = volume("uint8")
    with h5py.File(tmp_path / "a.mat", "w", userblock_size=512) as file:
        # A(row, column, slice) of MATLAB, whose first axis runs fastest
        file["A"] = array.transpose(0, 2, 1)
        file["A"].attrs["MATLAB_class"] = np.bytes_("uint8")
    with open(tmp_path / "a.mat", "r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    np.testing.assert_array_equal(open_source(tmp_path / "a.mat").read(WHOLE), array)
    np.testing.assert_array_equal(
        open_source(tmp_path / "a.mat", axes="zyx").read(Box.of((5, 14, 12))), array.transpose(0, 2, 1)
    )


def _image(path: Path, version: str) -> Path:
    """An OME-Zarr image with axes c, x, y, z, of 2 levels."""
    steps = [
        {"type": "scale", "scale": [1, 5.9, 5.9, 40]},
        {"type": "translation", "translation": [0, 59, 0, 80]},
    ]
    axes = [{"name": "c", "type": "channel"}] + [{"name": n, "unit": "nanometer"} for n in "xyz"]
    image = {"axes": axes, "datasets": [{"path": "s/0", "coordinateTransformations": steps}]}
    stored = volume().T[None]
    if version == "0.4":
        zarr2(path / "s/0", stored, chunks=[1, 8, 8, 2])
        (path / ".zgroup").write_text('{"zarr_format": 2}')
        (path / ".zattrs").write_text(json.dumps({"multiscales": [image]}))
    else:
        grid = {"name": "regular", "configuration": {"chunk_shape": [1, 8, 8, 2]}}
        zarr3(path / "s/0", stored, chunk_grid=grid)
        told = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": {"multiscales": [image]}}}
        (path / "zarr.json").write_text(json.dumps(told))
    return path


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_an_inner_array_has_the_axes_that_its_image_states(version, tmp_path):
    path = _image(tmp_path / "a.zarr", version)
    for source in (open_source(path / "s/0"), open_source(path, dataset="s/0")):
        assert (source.shape, source.voxel_nm) == (SHAPE, VOXEL_NM)
        assert source.origin == pytest.approx((2.0, 0.0, 10.0))
        np.testing.assert_array_equal(source.read(WHOLE), volume())


def test_trailing_axes_of_length_one_are_dropped(tmp_path):
    hdf5(tmp_path / "a.h5", volume()[..., None, None], "v")
    np.testing.assert_array_equal(open_source(tmp_path / "a.h5").read(WHOLE), volume())


def test_factors_of_n5_levels_multiply_the_voxel_size(tmp_path):
    root = tmp_path / "a.n5"
    pixel = {"dimensions": [5.9, 5.9, 40], "unit": "nm"}
    for level, factors in enumerate(([1, 1, 1], [2, 2, 1], [4, 4, 2])):
        attributes(n5(root / f"g/s{level}", volume()), pixelResolution=pixel, downsamplingFactors=factors)
    attributes(root, n5="2.5.0")
    finest, half, quarter = (open_source(root, dataset=f"g/s{i}") for i in range(3))
    assert (finest.voxel_nm, finest.origin) == (VOXEL_NM, (0.0, 0.0, 0.0))
    assert (half.voxel_nm, half.origin) == ((40.0, 11.8, 11.8), (0.0, 0.25, 0.25))
    assert (quarter.voxel_nm, quarter.origin) == ((80.0, 23.6, 23.6), (0.25, 0.375, 0.375))


def test_a_group_may_state_size_and_factors_of_its_levels(tmp_path):
    root = tmp_path / "a.n5"
    n5(root / "g/s1", volume())
    pixel = {"dimensions": [0.0059, 0.0059, 0.04], "unit": "um"}
    attributes(root / "g", pixelResolution=pixel, scales=[[1, 1, 1], [2, 4, 1]])
    attributes(root, n5="2.5.0")
    assert open_source(root, dataset="g/s1").voxel_nm == (40.0, 23.6, 11.8)


def test_what_cosem_writes_is_of_the_level_itself(tmp_path):
    frame = {"axes": ["z", "y", "x"], "scale": [80, 8, 16], "translate": [40, 0, 4], "units": ["nm"] * 3}
    pixel = {"dimensions": [16.0, 8.0, 80.0], "unit": "nm"}
    path = attributes(n5(tmp_path / "s1", volume()), transform=frame, pixelResolution=pixel)
    source = open_source(path)
    assert (source.voxel_nm, source.origin) == ((80.0, 8.0, 16.0), (0.5, 0.0, 0.25))


def test_where_a_precomputed_volume_lies_is_told(tmp_path):
    assert open_source(precomputed(tmp_path / "a", volume())).origin == (30.0, -20.0, 10.0)


def packed(path: Path, ending: str) -> Path:
    """Chunks of a precomputed volume in files that are compressed as such."""
    pack = {
        ".gz": gzip.compress,
        ".br": imagecodecs.brotli_encode,
        ".zst": imagecodecs.zstd_encode,
        ".xz": lzma.compress,
    }[ending]
    for file in path.glob("*/*-*"):
        file.with_name(file.name + ending).write_bytes(bytes(pack(file.read_bytes())))
        file.unlink()
    return path


@pytest.mark.parametrize("ending", [".gz", ".br", ".zst", ".xz"])
def test_chunks_of_other_names_are_read_and_lost_ones_named(ending, tmp_path):
    array = volume("uint64")
    path = packed(precomputed(tmp_path / "a", array), ending)
    source = open_source(path)
    for box in (WHOLE, Box((1, 2, 3), (4, 9, 13)), Box((4, 11, 13), SHAPE)):
        np.testing.assert_array_equal(source.read(box), array[box.slices])
    next(path.glob(f"*/22-24_-12--8_34-35{ending}")).unlink()
    with pytest.raises(ChunkError, match=r"22-24_-12--8_34-35.* is missing.*--allow-gaps"):
        open_source(path).read(WHOLE)
    gaps = open_source(path, allow_gaps=True).read(WHOLE)
    expected = array.copy()
    expected[4:, 8:, 12:] = 0
    np.testing.assert_array_equal(gaps, expected)
    broken = next(path.glob(f"*/10-14_-20--16_30-34{ending}"))
    broken.write_bytes(broken.read_bytes()[:20])
    with pytest.raises(ChunkError, match="cannot be read in the box"):
        open_source(path, allow_gaps=True).read(WHOLE)


@pytest.mark.parametrize("name", ["n5", "precomputed", "zarr2", "zarr3"])
@pytest.mark.parametrize("how", ["gone", "renamed"])
def test_a_volume_without_any_chunk_is_an_error_whatever_is_allowed(name, how, tmp_path):
    make = {"n5": n5, "precomputed": precomputed, "zarr2": zarr2, "zarr3": zarr3}[name]
    path = make(tmp_path / "a", volume())
    kept = {"attributes.json", "info", ".zarray", "zarr.json"}
    for file in [f for f in path.rglob("*") if f.is_file() and f.name not in kept]:
        if how == "gone":
            file.unlink()
        else:
            file.rename(file.with_name(f"chunk_{file.name}.lz4"))
    for allow in (False, True):
        with pytest.raises(InputError, match=r"has none of its chunks .* with or without --allow-gaps"):
            open_source(path, allow_gaps=allow)


def test_the_separator_that_an_array_states_decides_where_its_chunks_are(tmp_path):
    path = zarr2(tmp_path / "a", volume(), dimension_separator="/")
    assert open_source(path).shape == SHAPE
    told = json.loads((path / ".zarray").read_text())
    (path / ".zarray").write_text(json.dumps(told | {"dimension_separator": "."}))
    with pytest.raises(InputError, match=r"names like '0\.0\.0' are wanted.*such as '\d/\d/\d'"):
        open_source(path, allow_gaps=True)


def test_hdf5_that_would_read_as_zeros_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("never", SHAPE, "uint8", chunks=(2, 4, 4))
        layout = h5py.VirtualLayout(SHAPE, "uint8")
        layout[:2] = h5py.VirtualSource(tmp_path / "b.h5", "v", (2, *SHAPE[1:]))
        file.create_virtual_dataset("virtual", layout)
    with pytest.raises(InputError, match=r"a\.h5::never was never written"):
        open_source(tmp_path / "a.h5", dataset="never")
    with pytest.raises(InputError, match=r"1 other files, of which 1 are not there \(.*b\.h5\)"):
        open_source(tmp_path / "a.h5", dataset="virtual")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["v"] = np.full((2, *SHAPE[1:]), 7, "uint8")
    assert open_source(tmp_path / "a.h5", dataset="virtual").read(WHOLE)[1, 2, 3] == 7


def test_a_filter_that_is_not_here_is_named_when_the_file_is_opened(tmp_path, monkeypatch):
    path = hdf5(tmp_path / "a.h5", volume(), chunks=(2, 4, 4), compression="gzip")
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda number: False)
    monkeypatch.setitem(hdf5_module._FILTERS, 1, "Blosc")
    with pytest.raises(InputError, match=r"HDF5 filter 1 \(Blosc\).*chunkflow-liver\[formats\].*h5repack"):
        open_source(path)
