"""Exports: other programs read back the voxels and the voxel size; nothing half-written stays."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import heaps
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkflow_liver.engine.run import run
from chunkflow_liver.errors import ChunkError, ConfigError, InputError, OutputError
from chunkflow_liver.geometry import Box, Zyx
from chunkflow_liver.ops.convert import convert, export
from chunkflow_liver.store.exports import images as exports
from chunkflow_liver.store.exports.images import write_nifti, write_tiff
from chunkflow_liver.store.sources import open_source

nibabel = pytest.importorskip("nibabel")

VOXEL_NM = (40.0, 5.9, 5.9)
SHAPE = (7, 9, 11)
WRITERS = [(write_tiff, "a.ome.tif"), (write_nifti, "a.nii"), (write_nifti, "a.nii.gz")]
each_writer = pytest.mark.parametrize(("write", "name"), WRITERS, ids=["tiff", "nii", "nii.gz"])


def volume(dtype: str, shape: Zyx = SHAPE) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(3)
    if dtype == "bool":
        return rng.random(shape) > 0.5
    if dtype.startswith("float"):
        return rng.normal(size=shape).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype)


def reader(array: np.ndarray[Any, Any]) -> Callable[[Box], np.ndarray[Any, Any]]:
    return lambda box: array[box.slices]


@each_writer
@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "uint16", "uint32", "int8", "int16", "int32", "float16", "float32", "float64"]
)
def test_an_export_reads_back_with_its_voxel_size(write: Any, name: str, dtype: str, tmp_path: Path) -> None:
    array = volume(dtype)
    path = write(reader(array), SHAPE, dtype, tmp_path / name, voxel_nm=VOXEL_NM, slab=3)
    assert path == tmp_path / name
    source = open_source(path)
    assert source.shape == SHAPE
    assert source.dtype == {"bool": "uint8", "float16": "float32"}.get(dtype, dtype)
    assert source.voxel_nm == VOXEL_NM
    np.testing.assert_array_equal(source.read(Box.of(SHAPE)), array)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_other_programs_see_axes_and_voxel_size_of_a_tiff(tmp_path: Path) -> None:
    array = volume("uint16")
    path = write_tiff(reader(array), SHAPE, "uint16", tmp_path / "a.tif", voxel_nm=(4, 8, 16))
    with tifffile.TiffFile(path) as tif:
        assert tif.is_ome
        assert tif.series[0].axes == "ZYX"
        np.testing.assert_array_equal(tif.series[0].asarray(), array)
        pixels = ElementTree.fromstring(tif.ome_metadata or "").find(".//{*}Pixels")
        assert pixels is not None
        assert [pixels.get(f"PhysicalSize{a}") for a in "ZYX"] == ["4", "8", "16"]
        assert {pixels.get(f"PhysicalSize{a}Unit") for a in "ZYX"} == {"nm"}
        x, y = (tif.pages.first.tags[code].value for code in (282, 283))
        assert x[0] / x[1] == pytest.approx(1e7 / 16)
        assert y[0] / y[1] == pytest.approx(1e7 / 8)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("dtype", ["uint8", "uint64", "int64", "float32"])
def test_nibabel_sees_axes_and_voxel_size_of_a_nifti(name: str, dtype: str, tmp_path: Path) -> None:
    array = volume(dtype)
    path = write_nifti(reader(array), SHAPE, dtype, tmp_path / name, voxel_nm=(4, 8, 16), slab=2)
    image = nibabel.load(path)
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), array.T)
    assert image.header.get_xyzt_units()[0] == "micron"
    np.testing.assert_allclose(image.header.get_zooms(), (0.016, 0.008, 0.004))
    np.testing.assert_allclose(image.affine, np.diag([0.016, 0.008, 0.004, 1]))


def test_the_place_of_the_first_voxel_is_written(tmp_path: Path) -> None:
    place: dict[str, Any] = {"voxel_nm": (40, 8, 16), "origin_nm": (400, -160, 80.5)}
    array = volume("uint8", (2, 3, 4))
    image = nibabel.load(write_nifti(reader(array), array.shape, "uint8", tmp_path / "a.nii", **place))
    for affine in (image.get_qform(), image.get_sform()):
        np.testing.assert_allclose(affine[:3, 3], (0.0805, -0.16, 0.4), rtol=1e-6)
    with tifffile.TiffFile(
        write_tiff(reader(array), array.shape, "uint8", tmp_path / "a.tif", **place)
    ) as tif:
        planes = ElementTree.fromstring(tif.ome_metadata or "").findall(".//{*}Plane")
    assert [[p.get(f"Position{a}") for a in "ZYX"] for p in planes] == [
        ["400", "-160", "80.5"],
        ["440", "-160", "80.5"],
    ]
    assert {p.get(f"Position{a}Unit") for p in planes for a in "ZYX"} == {"nm"}
    with pytest.raises(
        ConfigError, match=r"origin_nm must be three finite places \(z, y, x\) in nm, got \(nan,"
    ):
        write_tiff(
            reader(array), array.shape, "uint8", tmp_path / "b.tif", **place | {"origin_nm": (np.nan, 0, 0)}
        )


@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=3)))
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_an_export_of_a_nifti_lies_over_its_source(tmp_path: Path, signs: Zyx, order: Zyx) -> None:
    """Voxels have the world coordinates that they had, whichever way the source stores them."""
    sitk = pytest.importorskip("SimpleITK")
    stored = np.zeros((6, 7, 8), np.uint8)
    stored[2, 3, 1], stored[4, 1, 5] = 3, 4
    affine = np.zeros((4, 4))
    affine[list(order), range(3)] = np.array((0.008, 0.016, 0.04)) * signs
    affine[:, 3] = 0.08, -0.16, 0.4, 1
    image = nibabel.Nifti1Image(stored, affine)
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "in.nii")
    plan = convert(tmp_path / "in.nii", tmp_path / "a.ome.zarr", kind="label")
    run(plan)
    exported = nibabel.load(export(plan.output, tmp_path / "out.nii"))
    images = image, exported
    opened = [sitk.ReadImage(str(tmp_path / name)) for name in ("in.nii", "out.nii")]
    for value in (3, 4):
        at = [np.argwhere(np.asarray(i.dataobj) == value)[0] for i in images]
        was, now = (nibabel.affines.apply_affine(i.affine, a) for i, a in zip(images, at, strict=True))
        np.testing.assert_allclose(now, was, atol=1e-7)
        was, now = (i.TransformIndexToPhysicalPoint(a.tolist()) for i, a in zip(opened, at, strict=True))
        np.testing.assert_allclose(now, was, atol=1e-10)  # mm


def test_a_side_beyond_nifti_1_becomes_nifti_2(tmp_path: Path) -> None:
    array = volume("uint8", (1, 2, 40000))
    path = write_nifti(reader(array), array.shape, "uint8", tmp_path / "a.nii", voxel_nm=VOXEL_NM)
    assert isinstance(nibabel.load(path), nibabel.Nifti2Image)
    source = open_source(path)
    assert source.voxel_nm == VOXEL_NM
    np.testing.assert_array_equal(source.read(Box.of(array.shape)), array)


def test_a_large_tiff_becomes_a_bigtiff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = volume("uint16")
    small = write_tiff(reader(array), SHAPE, "uint16", tmp_path / "small.tif", voxel_nm=VOXEL_NM)
    monkeypatch.setattr(exports, "BIGTIFF_BYTES", 100)
    big = write_tiff(reader(array), SHAPE, "uint16", tmp_path / "big.tif", voxel_nm=VOXEL_NM)
    assert (small.read_bytes()[2], big.read_bytes()[2]) == (42, 43)
    np.testing.assert_array_equal(open_source(big).read(Box.of(SHAPE)), array)
    assert open_source(big).voxel_nm == VOXEL_NM


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    slab=st.integers(1, 8),
    writer=st.sampled_from(WRITERS),
)
def test_the_slab_changes_neither_voxels_nor_bytes(
    tmp_path_factory: pytest.TempPathFactory, shape: Zyx, slab: int, writer: Any
) -> None:
    write, name = writer
    folder = tmp_path_factory.mktemp("f")
    array = volume("uint16", shape)
    one = write(reader(array), shape, "uint16", folder / f"one-{name}", voxel_nm=VOXEL_NM, slab=slab)
    two = write(reader(array), shape, "uint16", folder / f"two-{name}", voxel_nm=VOXEL_NM, slab=1)
    np.testing.assert_array_equal(open_source(one).read(Box.of(shape)), array)
    assert one.read_bytes() == two.read_bytes()


@each_writer
def test_memory_is_a_slab_and_not_the_volume(write: Any, name: str, tmp_path: Path) -> None:
    shape, slab = (64, 256, 256), 2
    asked: list[Zyx] = []

    def read(box: Box) -> np.ndarray[Any, Any]:
        asked.append(box.shape)
        return np.full(box.shape, box.start[0], "uint16")

    write(read, (2, 8, 8), "uint16", tmp_path / f"warm-{name}", voxel_nm=VOXEL_NM)
    asked.clear()
    with heaps.peak() as highest:
        write(read, shape, "uint16", tmp_path / name, voxel_nm=VOXEL_NM, slab=slab)
    assert asked == [(2, 256, 256)] * 32
    assert highest[0] < 64 * 256 * 256 * 2 / 4


@each_writer
def test_a_failing_read_leaves_nothing_behind_and_keeps_its_error(
    write: Any, name: str, tmp_path: Path
) -> None:
    def read(box: Box) -> np.ndarray[Any, Any]:
        if box.start[0] >= 4:
            raise ChunkError("chunk 4 is missing")
        return volume("uint8")[box.slices]

    with pytest.raises(ChunkError, match="chunk 4 is missing"):
        write(read, SHAPE, "uint8", tmp_path / name, voxel_nm=VOXEL_NM, slab=2)
    assert not list(tmp_path.iterdir())


@each_writer
def test_an_existing_file_is_never_overwritten(write: Any, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists; delete it, or write to another name"):
        write(reader(volume("uint8")), SHAPE, "uint8", path, voxel_nm=VOXEL_NM)
    assert path.read_bytes() == b"mine"

    def rival(box: Box) -> np.ndarray[Any, Any]:
        (tmp_path / f"late-{name}").write_bytes(b"theirs")
        return volume("uint8")[box.slices]

    with pytest.raises(OutputError, match="was written by someone else meanwhile"):
        write(rival, SHAPE, "uint8", tmp_path / f"late-{name}", voxel_nm=VOXEL_NM)
    assert (tmp_path / f"late-{name}").read_bytes() == b"theirs"
    assert len(list(tmp_path.iterdir())) == 2


@each_writer
@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"voxel_nm": (40, 0, 5)}, ConfigError, "voxel_nm must be three finite positive lengths"),
        ({"voxel_nm": (40, float("nan"), 5)}, ConfigError, "voxel_nm must be three finite positive lengths"),
        ({"slab": 0}, ConfigError, "shape and slab must be at least 1"),
        ({"path": "a.zip"}, ConfigError, r"a\.zip must end in \."),
        ({"path": "no/such/NAME"}, OutputError, "does not exist; create it"),
        ({"dtype": "uint16"}, InputError, "gave uint8 voxels of shape .* but uint16 of shape"),
        ({"shape": (7, 9, 12)}, InputError, r"of shape \(7, 9, 11\), but uint8 of shape \(7, 9, 12\)"),
    ],
)
def test_what_cannot_be_exported_is_refused(
    write: Any, name: str, change: dict[str, Any], error: type[Exception], says: str, tmp_path: Path
) -> None:
    given = {"shape": SHAPE, "dtype": "uint8", "path": name, "voxel_nm": VOXEL_NM} | change
    path = tmp_path / given.pop("path").replace("NAME", name)
    shape, dtype = given.pop("shape"), given.pop("dtype")
    with pytest.raises(error, match=says):
        write(reader(volume("uint8")), shape, dtype, path, **given)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_a_tiff_of_64_bit_integers_is_refused(dtype: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"cannot hold {dtype}: OME-TIFF ends at 32-bit integers"):
        write_tiff(reader(volume(dtype)), SHAPE, dtype, tmp_path / "a.tif", voxel_nm=VOXEL_NM)


def test_a_nifti_without_nibabel_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "nibabel", None)
    with pytest.raises(ConfigError, match=r"needs 'nibabel'; pip install 'chunkflow-liver\[formats\]'"):
        write_nifti(reader(volume("uint8")), SHAPE, "uint8", tmp_path / "a.nii", voxel_nm=VOXEL_NM)
