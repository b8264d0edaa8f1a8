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
