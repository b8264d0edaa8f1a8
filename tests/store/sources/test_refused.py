"""What cannot be read, or was damaged, is refused with its path and a way out."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tifffile
from foreign_files import (
    SHAPE,
    hdf5,
    imagej,
    mrc,
    n5,
    nifti,
    ome,
    slices,
    store,
    tiff,
    volume,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from chunkflow_liver.errors import ChunkError, ChunkflowLiverError, InputError
from chunkflow_liver.geometry import Box
from chunkflow_liver.store.sources import open_source
from chunkflow_liver.store.sources.flat import array as flat
from chunkflow_liver.store.sources.source import voxel_type

h5py = pytest.importorskip("h5py")
mrcfile = pytest.importorskip("mrcfile")


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


def _turned(path: Path) -> Path:
    mrc(path, volume())
    with mrcfile.open(path, "r+") as file:
        file.header.mapc = 3
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
    Refusal("empty-folder", lambda p: p, "holds no slices .no files at all.; TIFF, PNG, JPEG"),
    Refusal("no-images", lambda p: _written(p / "a.txt", b"x").parent, r"holds no slices .only a\.txt"),
    Refusal(
        "unknown",
        lambda p: _written(p / "a.czi", b"ZISRAW"),
        "in no format that can be converted .it has 6 .*bfconvert a.czi",
    ),
    Refusal(
        "empty-file", lambda p: _written(p / "a.tif", b""), "in no format that can be converted .it has 0"
    ),
    Refusal(
        "packed", lambda p: _written(p / "a.mrc.gz", gzip.compress(b"x")), "unpack it first: gunzip a.mrc.gz"
    ),
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
        r"s_1\.png has another colour table than .*s_0\.png",
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
    Refusal("mrc-axes", lambda p: _turned(p / "a.mrc"), r"maps columns, rows and sections .* \(3, 2, 3\)"),
    Refusal("nifti-garbage", lambda p: _written(p / "a.nii", b"x" * 400), "a.nii is no readable NIfTI file"),
    Refusal("nifti-gz-garbage", lambda p: _written(p / "a.nii.gz", b"\x1f\x8bxx"), "no readable NIfTI file"),
    Refusal(
        "hdf5-garbage", lambda p: _written(p / "a.h5", b"\x89HDF\r\n\x1a\n" + b"\0" * 90), "no readable HDF5"
    ),
    Refusal("hdf5-complex", lambda p: _complex(p / "a.h5"), "holds 0 3-D datasets.*'a' .2, 2, 2. complex64"),
    Refusal(
        "hdf5-4d",
        lambda p: hdf5(p / "a.h5", np.zeros((2, 2, 2, 2)), "a"),
        r"has shape \(2, 2, 2, 2\); one volume",
    ),
    Refusal("zarr-4d", lambda p: _four(p / "a.zarr"), r"has shape \(2, 2, 2, 2\); one volume"),
    Refusal(
        "zarr-empty",
        lambda p: _written(p / "a.zarr/.zgroup", b"{}").parent,
        "holds 0 arrays.*no array at all",
    ),
    Refusal(
        "zarr-json", lambda p: _written(p / "a.zarr/zarr.json", b"{").parent, "zarr.json is no readable JSON"
    ),
    Refusal("ome-zarr", lambda p: _ome_zarr(p / "a.zarr"), "is an OME-Zarr image already.*no array at all"),
    Refusal(
        "n5-empty",
        lambda p: _written(p / "a.n5/attributes.json", b'{"n5": "2.0.0"}').parent,
        "holds 0 arrays",
    ),
    Refusal("precomputed-rgb", lambda p: _channels(p / "a"), "has 3 channels"),
]


def _palette(path: Path) -> Path:
    image = Image.fromarray(U8, "P")
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.save(path)
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
