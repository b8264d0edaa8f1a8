"""Small volumes in every format that can be read, for the tests of sources."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tifffile
from PIL import Image

h5py = pytest.importorskip("h5py")
mrcfile = pytest.importorskip("mrcfile")
nibabel = pytest.importorskip("nibabel")
tensorstore = pytest.importorskip("tensorstore")

SHAPE = (5, 12, 14)

VOXEL_NM = (40.0, 5.9, 5.9)


def volume(dtype: str = "uint16", shape: tuple[int, int, int] = SHAPE) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(7)
    if dtype == "bool":
        return rng.random(shape) > 0.5
    if dtype.startswith("float"):
        return rng.normal(size=shape).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)


def slices(folder: Path, array: np.ndarray[Any, Any], name: str = "slice_{}.tif", first: int = 0) -> Path:
    folder.mkdir(exist_ok=True)
    for z, plane in enumerate(array, first):
        file = folder / name.format(z)
        if file.suffix == ".tif":
            tifffile.imwrite(file, plane, photometric="minisblack")
        else:
            Image.fromarray(plane).save(file)
    return folder


def store(path: Path, driver: str, array: np.ndarray[Any, Any], **spec: Any) -> Any:
    made = tensorstore.open(
        {"driver": driver, "kvstore": {"driver": "file", "path": str(path)}, **spec}, create=True
    ).result()
    made[tensorstore.d[:].translate_to[0]].write(array).result()
    return path


def n5(path: Path, array: np.ndarray[Any, Any], chunk: int = 4, **extra: Any) -> Path:
    metadata = {
        "dataType": str(array.dtype),
        "dimensions": array.shape[::-1],
        "blockSize": [chunk] * 3,
        "compression": {"type": "gzip"},
        **extra,
    }
    return store(path, "n5", array.T, metadata=metadata)


def precomputed(path: Path, array: np.ndarray[Any, Any]) -> Path:
    scale = {
        "size": array.shape[::-1],
        "encoding": "raw",
        "chunk_size": [4, 4, 4],
        "resolution": VOXEL_NM[::-1],
        "voxel_offset": [10, -20, 30],
    }
    kind = {"type": "image", "data_type": str(array.dtype), "num_channels": 1}
    return store(
        path, "neuroglancer_precomputed", array.T[..., None], multiscale_metadata=kind, scale_metadata=scale
    )


def zarr2(path: Path, array: np.ndarray[Any, Any], **extra: Any) -> Path:
    metadata = {"shape": array.shape, "chunks": [2, 8, 8], "dtype": array.dtype.str, **extra}
    return store(path, "zarr", array, metadata=metadata)


def zarr3(path: Path, array: np.ndarray[Any, Any], **extra: Any) -> Path:
    grid = {"name": "regular", "configuration": {"chunk_shape": [2, 8, 8]}}
    plain = [{"name": "bytes", "configuration": {"endian": "little"}}]  # or TensorStore makes shards
    metadata = {
        "shape": array.shape,
        "data_type": str(array.dtype),
        "chunk_grid": grid,
        "codecs": plain,
        **extra,
    }
    return store(path, "zarr3", array, metadata=metadata)


def mrc(path: Path, array: np.ndarray[Any, Any]) -> Path:
    with mrcfile.new(path) as file:
        file.set_data(array)
        file.set_volume()
        file.voxel_size = tuple(10 * v for v in VOXEL_NM[::-1])
    return path


def nifti(path: Path, array: np.ndarray[Any, Any], unit: str = "micron") -> Path:
    per_um = {"micron": 1.0, "mm": 1e-3, "meter": 1e-6, "unknown": 1.0}[unit]
    image = nibabel.Nifti1Image(
        array.T, np.diag([*(v / 1000 * per_um for v in VOXEL_NM[::-1]), 1]), dtype=array.dtype
    )
    image.header.set_xyzt_units(unit)
    nibabel.save(image, path)
    return path


def hdf5(path: Path, array: np.ndarray[Any, Any], name: str = "volumes/raw", **options: Any) -> Path:
    with h5py.File(path, "a") as file:
        file.create_dataset(name, data=array, **options).attrs["element_size_um"] = np.array(VOXEL_NM) / 1000
    return path


def imagej(path: Path, array: np.ndarray[Any, Any], unit: str = "nm", per_nm: float = 1.0) -> Path:
    z, y, x = (v * per_nm for v in VOXEL_NM)
    tifffile.imwrite(
        path,
        array,
        imagej=True,
        byteorder=">",
        resolution=(1 / x, 1 / y),
        metadata={"axes": "ZYX", "spacing": z, "unit": unit},
    )
    return path


def ome(
    path: Path, array: np.ndarray[Any, Any], unit: str = "nm", per_nm: float = 1.0, **options: Any
) -> Path:
    sizes = {f"PhysicalSize{a}": v * per_nm for a, v in zip("ZYX", VOXEL_NM, strict=True)}
    units = {f"PhysicalSize{a}Unit": unit for a in "ZYX"}
    metadata = {"axes": "ZYX", **sizes, **units}
    tifffile.imwrite(path, array, ome=True, photometric="minisblack", metadata=metadata, **options)
    return path


def tiff(path: Path, array: np.ndarray[Any, Any], **options: Any) -> Path:
    tifffile.imwrite(path, array, photometric="minisblack", **options)
    return path


class Format(NamedTuple):
    name: str
    make: Callable[[Path], Path]
    says_size: bool = True
    dtype: str = "uint16"

    def __str__(self) -> str:
        return self.name


FORMATS = [
    Format("tiff-folder", lambda p: slices(p / "s", volume()), says_size=False),
    Format("png-folder", lambda p: slices(p / "s", volume(), "a_{:04}.png"), says_size=False),
    Format("png8-folder", lambda p: slices(p / "s", volume("uint8"), "{}.png"), False, "uint8"),
    Format("png1-folder", lambda p: slices(p / "s", volume("bool"), "{}.png"), False, "bool"),
    Format("tiff-flat", lambda p: tiff(p / "a.tif", volume()), says_size=False),
    Format("tiff-big-endian", lambda p: tiff(p / "a.tif", volume(), byteorder=">"), says_size=False),
    Format("tiff-strips", lambda p: tiff(p / "a.tif", volume(), compression="zlib", rowsperstrip=5), False),
    Format("tiff-tiles", lambda p: tiff(p / "a.tif", volume(), tile=(16, 16), compression="zlib"), False),
    Format(
        "tiff-tiles-big-endian", lambda p: tiff(p / "a.tif", volume(), tile=(16, 16), byteorder=">"), False
    ),
    Format("bigtiff", lambda p: tiff(p / "a.tif", volume(), bigtiff=True, compression="zlib"), False),
    Format("tiff-bool", lambda p: tiff(p / "a.tif", volume("bool")), False, "bool"),
    Format("tiff-f8", lambda p: tiff(p / "a.tif", volume("float64"), compression="zlib"), False, "float64"),
    Format("imagej", lambda p: imagej(p / "a.tif", volume())),
    Format(
        "imagej-one-page",
        lambda p: tiff(p / "a.tif", volume(), imagej=True, metadata={"axes": "ZYX"}, truncate=True),
        says_size=False,
    ),
    Format("imagej-um", lambda p: imagej(p / "a.tif", volume(), "\\u00B5m", 1e-3)),
    Format("ome-tiff", lambda p: ome(p / "a.ome.tif", volume())),
    Format("ome-tiff-um", lambda p: ome(p / "a.ome.tif", volume(), "µm", 1e-3, compression="zlib")),
    Format("mrc-i1", lambda p: mrc(p / "a.mrc", volume("int8")), dtype="int8"),
    Format("mrc-u2", lambda p: mrc(p / "a.rec", volume())),
    Format("mrc-f4", lambda p: mrc(p / "a.mrc", volume("float32")), dtype="float32"),
    Format("nifti", lambda p: nifti(p / "a.nii", volume())),
    Format("nifti-mm", lambda p: nifti(p / "a.nii", volume("uint8"), "mm"), dtype="uint8"),
    Format("nifti-gz", lambda p: nifti(p / "a.nii.gz", volume("int64"), "meter"), dtype="int64"),
    Format("hdf5", lambda p: hdf5(p / "a.h5", volume())),
    Format("hdf5-chunked", lambda p: hdf5(p / "a.h5", volume(), chunks=(2, 4, 4), compression="gzip")),
    Format("hdf5-big-endian", lambda p: hdf5(p / "a.h5", volume().astype(">u2"))),
    Format("n5", lambda p: n5(p / "a.n5", volume(), resolution=VOXEL_NM[::-1], units=["nm"] * 3)),
    Format("precomputed", lambda p: precomputed(p / "a", volume("uint64")), dtype="uint64"),
    Format("zarr2", lambda p: zarr2(p / "a.zarr", volume().astype(">u2")), says_size=False),
    Format("zarr3", lambda p: zarr3(p / "a.zarr", volume("float32")), False, "float32"),
]
