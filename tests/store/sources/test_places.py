"""Where a volume lies and how it is turned, as funlib, CREMI and xarray state it beside their arrays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from foreign_files import n5, volume, zarr2

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Box
from chunkflow_liver.store.sources import open_source

h5py = pytest.importorskip("h5py")

VOXELS = volume()
NM, PLACE_NM = (40.0, 16.0, 8.0), (400.0, 160.0, -80.0)
ORIGIN = (10.0, 10.0, -10.0)


def whole(source: Any) -> np.ndarray[Any, Any]:
    return source.read(Box.of(source.shape))


def in_order(order: str) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
    """The array, and what funlib.persistence writes of it, in an order of the axes; c is a channel."""
    space = [a for a in order if a != "c"]
    array = VOXELS.transpose(["zyx".index(a) for a in space])
    if "c" in order:
        array = np.expand_dims(array, order.index("c"))
    by_name = dict(zip("zyx", zip(NM, PLACE_NM, strict=True), strict=True))
    return array, {
        "voxel_size": [by_name[a][0] for a in space],
        "offset": [by_name[a][1] for a in space],
        "axis_names": [a.replace("c", "c^") for a in order],
        "units": ["nm"] * 3,
    }


@pytest.mark.parametrize("order", ["zyx", "xyz", "yzx", "czyx", "cxyz"])
@pytest.mark.parametrize("name", ["a.zarr", "a.n5", "a.h5"])
def test_funlibs_axes_sizes_and_offsets_are_taken(name: str, order: str, tmp_path: Path) -> None:
    array, told = in_order(order)
    path = tmp_path / name
    if name == "a.h5":
        with h5py.File(path, "w") as file:
            file.create_dataset("raw", data=array).attrs.update(told)
    elif name == "a.zarr":
        zarr2(path, array, chunks=list(array.shape))
        (path / ".zattrs").write_text(json.dumps(told))
    else:
        n5(path, array, blockSize=list(array.shape[::-1]))
        file = path / "attributes.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | told))
    source = open_source(path)
    assert (source.voxel_nm, source.origin, source.frame) == (NM, ORIGIN, "")
    np.testing.assert_array_equal(whole(source), VOXELS)


def test_cremis_offset_needs_no_unit(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("raw", data=VOXELS).attrs.update({"resolution": NM, "offset": PLACE_NM})
    source = open_source(tmp_path / "a.h5")
    assert (source.voxel_nm, source.origin) == (None, ORIGIN)


def xarray_like(path: Path, version: int, unit: str | None, y: np.ndarray[Any, Any]) -> Path:
    """What xarray writes: an array that names its axes, and the coordinates along them beside it."""
    group = zarr.open_group(path, mode="w", zarr_format=version)

    def add(name: str, data: np.ndarray[Any, Any], names: list[str]) -> Any:
        more = {"dimension_names": names} if version == 3 else {}
        array = group.create_array(name, data=data, **more)
        if version == 2:
            array.attrs["_ARRAY_DIMENSIONS"] = names
        return array

    add("raw", VOXELS[:, ::-1], ["z", "y", "x"])
    for name, places in (("z", 400 + 40.0 * np.arange(5)), ("y", y), ("x", 8.0 * np.arange(14))):
        coordinates = add(name, places, [name])
        if unit is not None:
            coordinates.attrs["units"] = unit
    return path / "raw"


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("unit", ["nm", None])
def test_coordinates_of_xarray_give_spacing_place_and_direction(
    version: int, unit: str | None, tmp_path: Path
) -> None:
    source = open_source(xarray_like(tmp_path / "a.zarr", version, unit, 160 + 16.0 * np.arange(12)[::-1]))
    assert source.voxel_nm == (None if unit is None else (40.0, 16.0, 8.0))
    assert (source.origin, source.turned) == ((10.0, 10.0, 0.0), True)
    np.testing.assert_array_equal(whole(source), VOXELS)
    stored = open_source(tmp_path / "a.zarr/raw", axes="zyx")
    assert (stored.origin, stored.turned) == ((0.0, 0.0, 0.0), False)
    np.testing.assert_array_equal(whole(stored), VOXELS[:, ::-1])


def test_uneven_coordinates_say_no_size(tmp_path: Path) -> None:
    source = open_source(xarray_like(tmp_path / "a.zarr", 2, "nm", np.arange(12.0) ** 2))
    assert source.voxel_nm is None
    np.testing.assert_array_equal(whole(source), VOXELS[:, ::-1])


def test_coordinates_that_are_lost_are_refused(tmp_path: Path) -> None:
    path = xarray_like(tmp_path / "a.zarr", 2, "nm", 16.0 * np.arange(12)[::-1])
    (tmp_path / "a.zarr/y/0").unlink()
    with pytest.raises(InputError, match=r"places of its voxels along 'y' in .* cannot be read: .*--axes"):
        open_source(path)


def test_dimension_scales_without_a_unit_give_direction_and_place(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.nc", "w") as file:
        data = file.create_dataset("v", data=VOXELS[:, ::-1])
        for i, (name, step) in enumerate((("z", 40.0), ("y", -16.0), ("x", 8.0))):
            scale = file.create_dataset(name, data=step * np.arange(data.shape[i]))
            scale.make_scale(name)
            data.dims[i].attach_scale(scale)
    source = open_source(tmp_path / "a.nc")
    assert (source.voxel_nm, source.origin) == (None, (0.0, -11.0, 0.0))
    np.testing.assert_array_equal(whole(source), VOXELS)
