"""Foreign volumes: every format gives the voxels, order, type and size that were written."""

from __future__ import annotations

import gzip
import json
import pickle
import struct
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import mrcfile
import nibabel
import numpy as np
import pytest
import tensorstore
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from chunkflow_liver.errors import ChunkError, ChunkflowLiverError, InputError
from chunkflow_liver.geometry import Box
from chunkflow_liver.store.sources import Source, flat, open_source
from chunkflow_liver.store.sources.source import size_nm, voxel_type

SHAPE = (5, 12, 14)
VOXEL_NM = (40.0, 5.9, 5.9)
DATA = Path(__file__).parents[2] / "shared/data"


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


@pytest.mark.parametrize("case", FORMATS, ids=str)
def test_every_format_gives_back_voxels_type_and_voxel_size(case: Format, tmp_path: Path) -> None:
    source = pickle.loads(pickle.dumps(open_source(case.make(tmp_path))))
    expected = volume(case.dtype)
    assert source.shape == SHAPE
    assert source.dtype == case.dtype
    assert source.voxel_nm == (VOXEL_NM if case.says_size else None)
    assert all(1 <= c <= n for c, n in zip(source.chunks, SHAPE, strict=True))
    for box in (Box.of(SHAPE), Box((1, 3, 2), (4, 11, 13)), Box((4, 11, 13), SHAPE)):
        got = source.read(box)
        np.testing.assert_array_equal(got, expected[box.slices])
        assert got.dtype.isnative
        assert got.flags.c_contiguous
        assert got.flags.writeable
    with pytest.raises(InputError, match="does not lie inside"):
        source.read(Box((0, 0, 0), (6, 12, 14)))
    with pytest.raises(InputError, match="does not lie inside"):
        source.read(Box((1, 1, 1), (1, 2, 2)))


@pytest.mark.parametrize("case", FORMATS, ids=str)
def test_identity_is_the_same_elsewhere_and_changes_with_the_content(case: Format, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    path = case.make(tmp_path / "one")
    before = open_source(path).identity()
    (tmp_path / "one").rename(tmp_path / "two")
    moved = tmp_path / "two" / path.name
    assert open_source(moved).identity() == before
    files = [moved] if moved.is_file() else sorted(f for f in moved.rglob("*") if f.is_file())
    source = open_source(moved)
    with files[-1].open("ab") as file:
        file.write(b"\0")
    assert source.identity() != before


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Source, np.ndarray[Any, Any]]]:
    found = []
    for case in FORMATS:
        source = open_source(case.make(tmp_path_factory.mktemp("f")))
        found.append((source, volume(case.dtype)))
    return found


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), which=st.integers(0, len(FORMATS) - 1))
def test_any_box_of_any_format_is_that_part_of_the_array(
    many: list[tuple[Source, np.ndarray[Any, Any]]], data: st.DataObject, which: int
) -> None:
    source, expected = many[which]
    start = tuple(data.draw(st.integers(0, n - 1)) for n in SHAPE)
    stop = tuple(data.draw(st.integers(a + 1, n)) for a, n in zip(start, SHAPE, strict=True))
    box = Box(start, stop)
    np.testing.assert_array_equal(source.read(box), expected[box.slices])


def test_slices_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    array = np.arange(12, dtype="uint8")[:, None, None] * np.ones((1, 3, 4), "uint8")
    source = open_source(slices(tmp_path / "s", array, "run2_slice_{}.png"))
    assert source.names[2] == "run2_slice_2.png"  # type: ignore[attr-defined]
    np.testing.assert_array_equal(source.read(Box.of(source.shape)), array)


def test_a_time_stamp_beside_the_slice_number_does_not_order_the_slices(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    for z, stamp in enumerate((90, 70, 80, 10)):
        Image.fromarray(np.full((2, 2), z, "uint8")).save(folder / f"t{stamp}_z{z}.png")
    assert open_source(folder).read(Box((0, 0, 0), (4, 1, 1))).ravel().tolist() == [0, 1, 2, 3]


def test_names_without_numbers_come_in_alphabetical_order(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    for z, name in enumerate(("bottom", "middle", "top")):
        Image.fromarray(np.full((2, 2), z, "uint8")).save(folder / f"{name}.png")
    assert open_source(folder).read(Box((0, 0, 0), (3, 1, 1))).ravel().tolist() == [0, 1, 2]


def test_hidden_files_and_other_files_are_ignored_and_listed(tmp_path: Path) -> None:
    folder = slices(tmp_path / "s", volume())
    for name in (".slice_9.tif", "notes.txt", "Thumbs.db"):
        (folder / name).write_bytes(b"x")
    source = open_source(folder)
    assert source.ignored == (".slice_9.tif", "Thumbs.db", "notes.txt")  # type: ignore[attr-defined]
    assert source.shape == SHAPE


def test_missing_numbers_are_refused_and_listed_or_become_zeros(tmp_path: Path) -> None:
    array = volume("uint8", (9, 3, 4))
    folder = slices(tmp_path / "s", array, first=3)
    for z in (5, 7, 8):
        (folder / f"slice_{z}.tif").unlink()
    with pytest.raises(InputError, match=r"6 slices numbered 3 to 11, but 3 numbers are missing: 5, 7-8;"):
        open_source(folder)
    source = open_source(folder, allow_gaps=True)
    array[[2, 4, 5]] = 0
    np.testing.assert_array_equal(source.read(Box.of((9, 3, 4))), array)


def test_a_jpeg_slice_is_near_what_was_saved(tmp_path: Path) -> None:
    plane = np.add.outer(np.arange(40), np.arange(50)).astype("uint8")
    Image.fromarray(plane).save(tmp_path / "a.jpg", quality=95)
    source = open_source(tmp_path / "a.jpg")
    assert source.shape == (1, 40, 50)
    got = source.read(Box.of(source.shape))[0]
    assert np.abs(got.astype(int) - plane).max() <= 4


@pytest.mark.parametrize("suffix", ["png", "tif", "h5", "nii"])
def test_a_single_image_is_a_volume_of_one_slice(suffix: str, tmp_path: Path) -> None:
    plane = volume()[0]
    path = tmp_path / f"a.{suffix}"
    if suffix == "png":
        Image.fromarray(plane).save(path)
    elif suffix == "tif":
        tiff(path, plane)
    elif suffix == "h5":
        hdf5(path, plane, "plane")
    else:
        nibabel.save(nibabel.Nifti1Image(plane.T, np.eye(4)), path)
    source = open_source(path, dataset="plane" if suffix == "h5" else None)
    assert source.shape == (1, 12, 14)
    np.testing.assert_array_equal(source.read(Box((0, 2, 3), (1, 9, 14))), plane[None, 2:9, 3:])


def test_a_slice_larger_than_the_decompression_bomb_limit_is_read(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    folder = slices(tmp_path / "s", volume("uint8"), "{}.png")
    np.testing.assert_array_equal(open_source(folder).read(Box.of(SHAPE)), volume("uint8"))


# reading a box reads the box


def test_slices_outside_the_box_are_not_read(tmp_path: Path) -> None:
    folder = slices(tmp_path / "s", volume(), "slice_{}.png")
    source = open_source(folder)
    for z in (0, 1, 3, 4):
        (folder / f"slice_{z}.png").write_bytes(b"gone")
    np.testing.assert_array_equal(source.read(Box((2, 0, 0), (3, 12, 14))), volume()[2:3])
    with pytest.raises(ChunkError, match=r"slice_3\.png: slice 3 cannot be read"):
        source.read(Box((2, 0, 0), (4, 12, 14)))


def test_tiles_outside_the_box_are_not_decoded(tmp_path: Path) -> None:
    array = volume("uint16", (3, 40, 40))
    path = tiff(tmp_path / "a.tif", array, tile=(16, 16), compression="zlib")
    with tifffile.TiffFile(path) as tif:
        spans = [
            list(zip(page.aspage().dataoffsets, page.aspage().databytecounts, strict=True))
            for page in tif.pages
        ]
    source = open_source(path)
    raw = bytearray(path.read_bytes())
    for z, page in enumerate(spans):
        for tile, (offset, count) in enumerate(page):
            if (z, tile) not in {(1, 4), (1, 5)}:  # row 1, columns 1 and 2
                raw[offset : offset + count] = b"\xff" * count
    path.write_bytes(bytes(raw))
    box = Box((1, 17, 20), (2, 32, 40))
    np.testing.assert_array_equal(source.read(box), array[box.slices])
    with pytest.raises(ChunkError, match=r"slice 1 \(page 1\) cannot be read"):
        source.read(Box((1, 15, 20), (2, 32, 40)))


@pytest.mark.parametrize("name", ["n5", "precomputed", "zarr2", "zarr3"])
def test_an_absent_chunk_is_an_error_and_only_for_boxes_that_need_it(name: str, tmp_path: Path) -> None:
    make = {"n5": n5, "precomputed": precomputed, "zarr2": zarr2, "zarr3": zarr3}[name]
    path = make(tmp_path / f"a.{name}", volume())
    last = {
        "n5": path / "3/2/1",
        "precomputed": next(iter(path.glob("*/22-24_-12--8_34-35")), path),
        "zarr2": path / "2.1.1",
        "zarr3": path / "c/2/1/1",
    }[name]
    source = open_source(path)
    last.unlink()
    near = Box((0, 0, 0), (4, 8, 8))
    np.testing.assert_array_equal(source.read(near), volume()[near.slices])
    with pytest.raises(ChunkError, match="missing"):
        source.read(Box.of(SHAPE))
    filled = open_source(path, allow_gaps=True).read(Box.of(SHAPE))
    assert filled[4, 11, 13] == 0
    np.testing.assert_array_equal(filled[near.slices], volume()[near.slices])
    last.write_bytes(b"abc")
    with pytest.raises(ChunkError, match=r"cannot be read in the box z 4:5"):
        open_source(path, allow_gaps=True).read(Box((4, 11, 13), SHAPE))


@pytest.mark.parametrize("suffix", ["tif", "mrc", "nii", "h5"])
def test_memory_is_the_box_and_not_the_file(suffix: str, tmp_path: Path) -> None:
    array = np.zeros((64, 256, 256), "uint16")
    make = {"tif": tiff, "mrc": mrc, "nii": nifti, "h5": hdf5}[suffix]
    source = open_source(make(tmp_path / f"a.{suffix}", array))
    box = Box((30, 10, 10), (32, 250, 250))
    source.read(box)
    tracemalloc.start()
    try:
        source.read(box)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * box.size * 2 < array.nbytes / 8


def test_a_gzip_slab_is_read_without_the_slices_behind_it(tmp_path: Path) -> None:
    array = volume("uint16", (64, 64, 64))
    path = nifti(tmp_path / "a.nii.gz", array)
    source = open_source(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    np.testing.assert_array_equal(source.read(Box((2, 0, 0), (6, 64, 64))), array[2:6])
    with pytest.raises(ChunkError, match="cannot be decompressed up to slices 60 to 63"):
        source.read(Box((60, 0, 0), (64, 64, 64)))


# damaged files


@pytest.mark.parametrize("part", [0.2, 0.5, 0.8, 0.97])
@pytest.mark.parametrize("kind", ["flat", "zlib", "tiles", "imagej", "fiji", "ome", "mrc", "nii", "h5"])
def test_a_file_that_was_cut_off_is_an_error_and_never_a_shorter_volume(
    kind: str, part: float, tmp_path: Path
) -> None:
    path = {
        "flat": lambda: tiff(tmp_path / "a.tif", volume()),
        "zlib": lambda: tiff(tmp_path / "a.tif", volume(), compression="zlib"),
        "tiles": lambda: tiff(tmp_path / "a.tif", volume(), tile=(16, 16)),
        "imagej": lambda: imagej(tmp_path / "a.tif", volume()),
        # one page entry for all slices, as ImageJ writes stacks above 4 GiB
        "fiji": lambda: tiff(
            tmp_path / "a.tif", volume(), imagej=True, metadata={"axes": "ZYX"}, truncate=True
        ),
        "ome": lambda: ome(tmp_path / "a.ome.tif", volume()),
        "mrc": lambda: mrc(tmp_path / "a.mrc", volume()),
        "nii": lambda: nifti(tmp_path / "a.nii", volume()),
        "h5": lambda: hdf5(tmp_path / "a.h5", volume()),
    }[kind]()
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * part)])
    with pytest.raises((InputError, ChunkError), match=path.name):
        open_source(path).read(Box.of(SHAPE))


def test_a_flat_file_that_shrinks_after_opening_is_named(tmp_path: Path) -> None:
    path = nifti(tmp_path / "a.nii", volume())
    source = open_source(path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ChunkError, match=r"a\.nii changed since it was opened"):
        source.read(Box.of(SHAPE))


# what single formats say


def test_imod_bytes_are_unsigned_where_the_header_says_so(tmp_path: Path) -> None:
    path = mrc(tmp_path / "a.st", volume("int8"))
    raw = bytearray(path.read_bytes())
    raw[152:160] = struct.pack("<2i", 1146047817, 0)
    path.write_bytes(bytes(raw))
    np.testing.assert_array_equal(open_source(path).read(Box.of(SHAPE)), volume("int8").view("uint8"))
    raw[152:160] = struct.pack("<2i", 1146047817, 1)
    path.write_bytes(bytes(raw))
    assert open_source(path).dtype == "int8"


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
    with pytest.raises(InputError, match="holds 2 arrays, so one must be named; it has 'raw/s0', 'raw/s1'"):
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
    assert open_source(tmp_path / "a.h5").dataset == "volumes/raw"  # type: ignore[attr-defined]
    hdf5(tmp_path / "a.h5", array, "volumes/labels")
    with pytest.raises(InputError, match="holds 2 3-D datasets, so one must be named"):
        open_source(tmp_path / "a.h5")
    with pytest.raises(InputError, match="has no dataset 'x'"):
        open_source(tmp_path / "a.h5", dataset="x")


# refusals


def _two_slices(path: Path, one: np.ndarray[Any, Any], two: np.ndarray[Any, Any]) -> Path:
    slices(path, one[None], "s_{}.png")
    return slices(path, two[None], "s_{}.png", first=1)


def _written(path: Path, content: bytes) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def _mixed(path: Path) -> Path:
    slices(path, volume(), "a_{}.png")
    return slices(path, volume(), "a_{}.tif")


def _patterns(path: Path) -> Path:
    slices(path, volume(), "raw_{}.png")
    return slices(path, volume(), "overview{}.png")


def _tiles(path: Path) -> Path:
    for row in (0, 1):
        slices(path, volume()[:2], f"r{row}_c{{}}.png")
    return path


def _complex(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file["a"] = np.zeros((2, 2, 2), "complex64")
    return path


def _scaled(path: Path) -> Path:
    image = nibabel.Nifti1Image(volume("int16").T, np.eye(4))
    image.header.set_slope_inter(0.5, 3)
    nibabel.save(image, path)
    return path


def _turned(path: Path) -> Path:
    mrc(path, volume())
    with mrcfile.open(path, "r+") as file:
        file.header.mapc, file.header.maps = 3, 1
    return path


def _channels(path: Path) -> Path:
    metadata = {"type": "image", "data_type": "uint8", "num_channels": 3}
    scale = {"size": [4, 4, 4], "encoding": "raw", "chunk_size": [4, 4, 4], "resolution": [1, 1, 1]}
    data = np.zeros((4, 4, 4, 3), "uint8")
    return store(path, "neuroglancer_precomputed", data, multiscale_metadata=metadata, scale_metadata=scale)


def _ome_zarr(path: Path) -> Path:
    return _written(
        path / "zarr.json", b'{"zarr_format": 3, "node_type": "group", "attributes": {"ome": {}}}'
    ).parent


class Refusal(NamedTuple):
    name: str
    make: Callable[[Path], Path]
    says: str

    def __str__(self) -> str:
        return self.name


U8 = np.zeros((4, 5), "uint8")
RGB = np.zeros((4, 5, 3), "uint8")
REFUSALS = [
    Refusal("absent", lambda p: p / "absent.tif", r"nothing is at .*absent\.tif; give the path of a folder"),
    Refusal("empty-folder", lambda p: p, "holds no slices .no files at all.; TIFF, PNG or JPEG"),
    Refusal("no-images", lambda p: _written(p / "a.txt", b"x").parent, r"holds no slices .only a\.txt"),
    Refusal(
        "unknown", lambda p: _written(p / "a.czi", b"ZISRAW"), "in no format that can be converted .it has 6"
    ),
    Refusal(
        "empty-file", lambda p: _written(p / "a.tif", b""), "in no format that can be converted .it has 0"
    ),
    Refusal("packed", lambda p: _written(p / "a.mrc.gz", gzip.compress(b"x")), "converted: unpack it first"),
    Refusal("mixed-formats", lambda p: _mixed(p / "s"), r"mixes formats: 5 PNG \(a_0\.png\), 5 TIFF"),
    Refusal(
        "patterns", lambda p: _patterns(p / "s"), "2 naming patterns, such as 'overview0.png', 'raw_0.png'"
    ),
    Refusal("tiles", lambda p: _tiles(p / "s"), "no number that differs in every file"),
    Refusal(
        "odd-shape",
        lambda p: _two_slices(p / "s", U8, U8[:, 1:]),
        r"s_1\.png is 4 x 4 uint8, but .*s_0\.png .* are 4 x 5 uint8",
    ),
    Refusal(
        "odd-dtype", lambda p: _two_slices(p / "s", U8, U8.astype("uint16")), r"s_1\.png is 4 x 5 uint16"
    ),
    Refusal(
        "rgb-slice", lambda p: _two_slices(p / "s", U8, RGB), r"s_1\.png holds colour or alpha .mode RGB"
    ),
    Refusal(
        "palette",
        lambda p: _two_slices(p / "s", U8, U8) and _palette(p / "s/s_1.png"),
        "colour or alpha .mode P",
    ),
    Refusal("rgb-tiff", lambda p: _rgb_tiff(p / "a.tif"), "3 values per pixel"),
    Refusal(
        "broken-slice", lambda p: _written(slices(p / "s", volume()) / "slice_2.tif", b"no").parent, "slice_2"
    ),
    Refusal(
        "stack-in-folder",
        lambda p: tiff(slices(p / "s", volume()) / "slice_2.tif", volume()).parent,
        "is a stack of its own",
    ),
    Refusal("white-is-zero", lambda p: _inverted(p / "a.tif"), "stores white as 0"),
    Refusal("channels", lambda p: _axes(p / "a.tif", "CYX"), "5 channels .axes CYX, shape"),
    Refusal("time-points", lambda p: _axes(p / "a.tif", "TYX"), "5 time points"),
    Refusal(
        "tiff-complex",
        lambda p: tiff(p / "a.tif", np.zeros((2, 4, 4), "complex64")),
        "holds complex64 voxels",
    ),
    Refusal(
        "tiff-garbage", lambda p: _written(p / "a.tif", b"II*\0\x08\0\0\0zz"), "a.tif is cut off or damaged"
    ),
    Refusal(
        "mrc-garbage", lambda p: _written(p / "a.mrc", b"x" * 2000), "its mode 2021161080 is an unknown type"
    ),
    Refusal(
        "mrc-short", lambda p: _written(p / "a.mrc", b"x"), "a.mrc is no MRC file: it ends within its header"
    ),
    Refusal(
        "mrc-complex",
        lambda p: mrc(p / "a.mrc", np.zeros((2, 3, 4), "complex64")),
        "mode 4 is complex64 voxels",
    ),
    Refusal("mrc-turned", lambda p: _turned(p / "a.mrc"), r"in the order \(3, 2, 1\)"),
    Refusal("nifti-scaled", lambda p: _scaled(p / "a.nii"), "slope 0.5, intercept 3"),
    Refusal("nifti-garbage", lambda p: _written(p / "a.nii", b"x" * 400), "a.nii is no readable NIfTI file"),
    Refusal("nifti-gz-garbage", lambda p: _written(p / "a.nii.gz", b"\x1f\x8bxx"), "no readable NIfTI file"),
    Refusal(
        "hdf5-garbage", lambda p: _written(p / "a.h5", b"\x89HDF\r\n\x1a\n" + b"\0" * 90), "no readable HDF5"
    ),
    Refusal("hdf5-complex", lambda p: _complex(p / "a.h5"), "holds 0 3-D datasets.*'a' .2, 2, 2. complex64"),
    Refusal("hdf5-4d", lambda p: hdf5(p / "a.h5", np.zeros((2, 2, 2, 2)), "a"), "holds 0 3-D datasets"),
    Refusal("zarr-4d", lambda p: _four(p / "a.zarr"), r"has shape \(2, 2, 2, 2\); one volume"),
    Refusal(
        "zarr-empty",
        lambda p: _written(p / "a.zarr/.zgroup", b"{}").parent,
        "holds 0 arrays.*no array at all",
    ),
    Refusal(
        "zarr-axes", lambda p: zarr3(p / "a.zarr", volume(), dimension_names=list("yxz")), "orders its axes"
    ),
    Refusal(
        "zarr-json", lambda p: _written(p / "a.zarr/zarr.json", b"{").parent, "zarr.json is no readable JSON"
    ),
    Refusal("ome-zarr", lambda p: _ome_zarr(p / "a.zarr"), "is an OME-Zarr image already; use open_volume"),
    Refusal(
        "n5-empty",
        lambda p: _written(p / "a.n5/attributes.json", b'{"n5": "2.0.0"}').parent,
        "holds 0 arrays",
    ),
    Refusal("precomputed-rgb", lambda p: _channels(p / "a"), "has 3 channels"),
]


def _palette(path: Path) -> Path:
    Image.fromarray(U8).convert("P").save(path)
    return path.parent


def _rgb_tiff(path: Path) -> Path:
    tifffile.imwrite(path, np.stack([RGB] * 3), photometric="rgb")
    return path


def _inverted(path: Path) -> Path:
    tifffile.imwrite(path, volume(), photometric="miniswhite")
    return path


def _axes(path: Path, axes: str) -> Path:
    tifffile.imwrite(path, volume(), imagej=True, metadata={"axes": axes})
    return path


def _four(path: Path) -> Path:
    metadata = {"shape": [2, 2, 2, 2], "chunks": [2, 2, 2, 2], "dtype": "|u1"}
    return store(path, "zarr", np.zeros((2, 2, 2, 2), "uint8"), metadata=metadata)


@pytest.mark.parametrize("case", REFUSALS, ids=str)
def test_what_cannot_be_read_is_refused_with_its_path_and_a_way_out(case: Refusal, tmp_path: Path) -> None:
    path = case.make(tmp_path)
    with pytest.raises(InputError, match=case.says) as caught:
        open_source(path)
    assert str(tmp_path) in str(caught.value)


def test_an_address_and_a_needless_dataset_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="only local files are converted"):
        open_source("gs://bucket/volume")
    with pytest.raises(InputError, match="a folder of slices, so it has no dataset 'raw'"):
        open_source(slices(tmp_path / "s", volume()), dataset="raw")
    with pytest.raises(InputError, match="a file with one volume, so it has no dataset 'raw'"):
        open_source(mrc(tmp_path / "a.mrc", volume()), dataset="raw")


def test_a_large_gzip_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flat, "GZIP_LIMIT_BYTES", 100)
    with pytest.raises(InputError, match="in one gzip stream, which can only be read from its start; gunzip"):
        open_source(nifti(tmp_path / "a.nii.gz", volume()))


@pytest.mark.parametrize(
    ("module", "make"),
    [("nibabel", lambda p: nifti(p / "a.nii", volume())),
     ("h5py", lambda p: hdf5(p / "a.h5", volume())), ("tensorstore", lambda p: n5(p / "a.n5", volume()))],
)  # fmt: skip
def test_an_absent_package_is_named_with_the_extra_that_brings_it(
    module: str, make: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(InputError, match=rf"needs '{module}'; pip install 'chunkflow-liver\[formats\]'"):
        open_source(path)


@pytest.mark.parametrize("dtype", ["complex128", "S4", "O", "datetime64[s]", [("r", "u1")]])
def test_other_voxel_types_are_refused(dtype: Any) -> None:
    with pytest.raises(InputError, match="supported are bool, uint8/16/32/64"):
        voxel_type(np.dtype(dtype), "somewhere")


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), which=st.sampled_from(["tif", "png", "mrc", "nii", "h5"]))
def test_a_damaged_header_raises_only_our_own_errors(
    data: st.DataObject, which: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("f")
    path = folder / f"a.{which}"
    if which == "png":
        Image.fromarray(volume()[0]).save(path)
    else:
        {"tif": tiff, "mrc": mrc, "nii": nifti, "h5": hdf5}[which](path, volume())
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(4, 400))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(raw))
    try:
        source = open_source(path)
        if np.prod([float(n) for n in source.shape]) < 1e6:
            source.read(Box.of(source.shape))
    except ChunkflowLiverError:
        pass  # any other error fails the test


# real files


def _real(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"real data {name} is not in ../shared/data")
    return path


@pytest.mark.parametrize(
    "name",
    [
        "celegans_em_crop/raw.tif",
        "urocell_labels/fv_instance_fib1-3-2-1.tif",
        "cdeep3m_sbem_mito/train_z10-29_raw.tif",
    ],
)
def test_a_real_stack_is_read_like_tifffile_reads_it(name: str) -> None:
    path = _real(name)
    whole = tifffile.imread(path)
    source = open_source(path)
    assert (source.shape, source.dtype) == (whole.shape, whole.dtype.name)
    box = Box((3, 17, 40), (9, 203, 211))
    np.testing.assert_array_equal(source.read(box), whole[box.slices])


def test_a_real_n5_volume_is_read(tmp_path: Path) -> None:
    archive = _real("ngff/ngff_samples.tar.gz")
    with tarfile.open(archive) as tar:
        inside = "ngff/elf_n5/data/label_multiset/test.n5"
        tar.extractall(tmp_path, [m for m in tar.getmembers() if m.name.startswith(inside)], filter="data")
    source = open_source(tmp_path / inside, dataset="range")
    assert (source.shape, source.dtype) == ((32, 32, 32), "uint64")
    reference = tensorstore.open(
        {"driver": "n5", "kvstore": {"driver": "file", "path": str(tmp_path / inside / "range")}}
    ).result()
    np.testing.assert_array_equal(source.read(Box.of((32, 32, 32))), reference.read().result().T)
    with pytest.raises(InputError, match="holds 2 arrays"):
        open_source(tmp_path / inside)
