"""Arrays come in the order in which a file stores them, and are turned by the names that it gives."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from foreign_files import volume
from hypothesis import given
from hypothesis import strategies as st

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Box
from chunkflow_liver.store.sources import open_source

SIDES = (5, 6, 9)
VOXELS = np.arange(5 * 6 * 9, dtype=np.uint16).reshape(SIDES)


def whole(source: Any) -> np.ndarray[Any, Any]:
    return source.read(Box.of(source.shape))


ORDERS = sorted("".join(o) for o in itertools.permutations("XYZ"))


@pytest.mark.parametrize("packing", [None, "zlib"])
@pytest.mark.parametrize("order", ORDERS)
def test_axes_that_tifffile_names_are_turned(order: str, packing: str | None, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, VOXELS, metadata={"axes": order}, compression=packing)
    with tifffile.TiffFile(path) as tif:
        assert tif.series[0].axes == order
    expected = VOXELS.transpose([order.index(a) for a in "ZYX"])
    np.testing.assert_array_equal(whole(open_source(path)), expected)
    np.testing.assert_array_equal(whole(open_source(path, axes=order.lower())), expected)
    np.testing.assert_array_equal(whole(open_source(path, axes="zyx")), VOXELS)
    source = open_source(path)
    middle = Box((1, 1, 1), tuple(n - 1 for n in source.shape))
    np.testing.assert_array_equal(source.read(middle), expected[middle.slices])


@pytest.mark.parametrize("order", ["ZYX", "XYZ"])
def test_the_resolution_is_that_of_columns_and_rows(order: str, tmp_path: Path) -> None:
    told = {"axes": order, "spacing": 40, "unit": "nm"}
    tifffile.imwrite(tmp_path / "a.tif", VOXELS, metadata=told, resolution=(1 / 8, 1 / 8))
    assert open_source(tmp_path / "a.tif").voxel_nm == ((40.0, 8.0, 8.0) if order == "ZYX" else None)


@pytest.mark.parametrize(
    ("units", "x", "y", "z"),
    [
        ({"unit": "um"}, 0.004, 0.008, 0.04),
        ({"unit": "um", "zunit": "nm"}, 0.004, 0.008, 40),
        ({"unit": "nm", "yunit": "um"}, 4, 0.008, 40),
        ({"unit": "nm", "yunit": "um", "zunit": "um"}, 4, 0.008, 0.04),
    ],
)
def test_imagejs_units_of_y_and_z_count_where_they_are_stated(
    units: dict[str, str], x: float, y: float, z: float, tmp_path: Path
) -> None:
    told = {"axes": "ZYX", "spacing": z, **units}
    tifffile.imwrite(tmp_path / "a.tif", VOXELS, imagej=True, metadata=told, resolution=(1 / x, 1 / y))
    assert open_source(tmp_path / "a.tif").voxel_nm == pytest.approx((40, 8, 4), rel=1e-6)


@pytest.mark.parametrize("shape", [(4, 6, 9), (1, 4, 6, 9), (4, 6, 9, 1), (1, 1, 4, 6, 9), (6, 9), (4, 1, 9)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_of_numpy_is_what_numpy_loads_whatever_its_order(
    shape: tuple[int, ...], order: str, tmp_path: Path
) -> None:
    array = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    np.save(tmp_path / "a.npy", np.array(array, order=order))
    expected = array.reshape((4, 1, 9) if shape == (4, 1, 9) else (1, 6, 9) if shape == (6, 9) else (4, 6, 9))
    np.testing.assert_array_equal(whole(open_source(tmp_path / "a.npy")), expected)
    if len(shape) == 3:
        np.testing.assert_array_equal(whole(open_source(tmp_path / "a.npy", axes="zyx")), array)
        turned = open_source(tmp_path / "a.npy", axes="xyz")
        np.testing.assert_array_equal(whole(turned), array.transpose(2, 1, 0))


@given(st.data())
def test_any_box_of_a_fortran_array_is_that_of_the_array(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("f") / "a.npy"
    array = volume("uint8")
    np.save(path, np.asfortranarray(array))
    start = [data.draw(st.integers(0, n - 1)) for n in array.shape]
    stop = [data.draw(st.integers(a + 1, n)) for a, n in zip(start, array.shape, strict=True)]
    box = Box(tuple(start), tuple(stop))
    np.testing.assert_array_equal(open_source(path).read(box), array[box.slices])


def test_a_series_has_the_size_of_its_own_image_where_the_files_of_others_are_elsewhere(
    tmp_path: Path,
) -> None:
    xml = """<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">"""
    for name, nm, uuid in (("a", 8, '<UUID FileName="gone.ome.tif">urn:uuid:9</UUID>'), ("b", 16, "")):
        xml += (
            f'<Image ID="Image:{nm}" Name="{name}"><Pixels ID="Pixels:{nm}" DimensionOrder="XYZCT" '
            f'Type="uint16" SizeX="9" SizeY="6" SizeZ="5" SizeC="1" SizeT="1" '
            f'PhysicalSizeX="{nm}" PhysicalSizeXUnit="nm" '
            f'PhysicalSizeY="{nm}" PhysicalSizeYUnit="nm" PhysicalSizeZ="{5 * nm}" PhysicalSizeZUnit="nm">'
            f'<TiffData IFD="0" PlaneCount="5">{uuid}</TiffData></Pixels></Image>'
        )
    with tifffile.TiffWriter(tmp_path / "b.ome.tif") as tif:
        for i, plane in enumerate(VOXELS):
            tif.write(plane, metadata=None, description=(xml + "</OME>").encode() if i == 0 else None)
    source = open_source(tmp_path / "b.ome.tif")
    assert source.voxel_nm == (80.0, 16.0, 16.0)
    np.testing.assert_array_equal(whole(source), VOXELS)


@pytest.mark.parametrize("packing", [None, "zlib"])
@pytest.mark.parametrize("folder", [False, True])
def test_a_bool_mask_that_tifffile_wrote_is_read(folder: bool, packing: str | None, tmp_path: Path) -> None:
    mask = volume("bool", (5, 12, 14))
    if folder:
        (tmp_path / "s").mkdir()
        for z, plane in enumerate(mask):
            tifffile.imwrite(tmp_path / f"s/{z}.tif", plane, compression=packing)
    else:
        tifffile.imwrite(tmp_path / "s", mask, compression=packing)
    source = open_source(tmp_path / "s")
    assert source.dtype == "bool"
    np.testing.assert_array_equal(whole(source), mask)


def test_a_mask_of_another_program_with_white_as_0_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", volume("bool", (5, 12, 14)), software="fax")
    with pytest.raises(InputError, match=r"stores white as 0 .*photometric='minisblack'"):
        open_source(tmp_path / "a.tif")
