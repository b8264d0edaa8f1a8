"""Whoever does what a refusal says gets there: no message leads in a circle."""

from __future__ import annotations

import gzip
import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import nibabel
import numpy as np
import pytest
import tifffile
from foreign_files import SHAPE, hdf5, mrc, n5, nifti, precomputed, slices, tiff, volume, zarr2
from PIL import Image
from strategies import done

import chunkflow_liver as cf
from chunkflow_liver.errors import InputError, RunIncompleteError

ARRAY = volume("uint8")
FLAGS = {
    "--allow-gaps": {"allow_gaps": True},
    "--allow-constant": {"allow_constant": True},
    "--allow-overlaps": {"allow_overlaps": True},
    "--stored-values": {"stored_values": True},
    "--labels": {"kind": "label"},
}
Obey = Callable[[Path, str], Any]


class Advice(NamedTuple):
    """A refusal: what is refused, what it says, how to do that, and what comes out.

    `obey` gets the folder and the message, and returns what to convert then; without it the options that the
    message names are given. `right` is the array that comes out.
    """

    name: str
    make: Callable[[Path], Any]
    says: str
    right: Any = ARRAY
    obey: Obey | None = None
    options: dict[str, Any] = {}  # noqa: RUF012  never changed

    def __str__(self) -> str:
        return self.name


def obeyed(message: str) -> dict[str, Any]:
    """The options that a message names."""
    found: dict[str, Any] = {}
    for flag, option in FLAGS.items():
        if flag in message:
            found |= option
    if axes := re.search(r"--axes ([xyztc]+)", message):
        found["axes"] = axes[1]
    return found


def named(folder: Path, message: str) -> str:
    """The path that a message gives as an example."""
    found = re.search(r"as in (\S+?)[;,]? ?(?:it has.*)?$", message) or re.search(r"as in (\S+?);", message)
    assert found, message
    return found[1]


def grey(folder: Path, message: str) -> Path:
    """What Fiji does with Image > Type > 8-bit, and any program that saves grey values."""
    to = folder / "grey"
    to.mkdir()
    for z, plane in enumerate(ARRAY):
        Image.fromarray(plane).save(to / f"s{z}.png")
    return to


def saved(write: Callable[[Path], Any]) -> Obey:
    """The array saved in another way."""
    return lambda folder, message: write(folder)


def colour(path: Path, ending: str) -> Path:
    path.mkdir()
    for z, plane in enumerate(ARRAY):
        Image.fromarray(np.stack([plane] * 3, axis=-1)).save(path / f"s{z}.{ending}")
    return path


def multi_tiff(path: Path, **how: Any) -> Path:
    tifffile.imwrite(path, ARRAY[:3], **how)
    return path


def oblique(path: Path) -> Path:
    affine = np.eye(4)
    affine[:2, :2] = [[0.006, -0.008], [0.008, 0.006]]
    nibabel.save(nibabel.Nifti1Image(ARRAY.T, affine), path)
    return path


def two_datasets(path: Path) -> Path:
    hdf5(path, ARRAY, "volumes/raw")
    return hdf5(path, ARRAY + 1, "volumes/second")


def two_arrays(path: Path) -> Path:
    n5(path / "a/s0", ARRAY)
    n5(path / "b/s0", ARRAY + 1)
    (path / "attributes.json").write_text("{}")
    return path


def two_series(path: Path) -> Path:
    with tifffile.TiffWriter(path) as tif:
        tif.write(ARRAY, photometric="minisblack", compression="zlib")
        tif.write(ARRAY[:2, :5], photometric="minisblack", compression="zlib")
    return path


def lost(path: Path) -> Path:
    precomputed(path, ARRAY)
    next(path.glob("*/22-24_-12--8_34-35")).unlink()
    return path


def gap(folder: Path) -> Path:
    slices(folder, ARRAY)
    (folder / "slice_2.tif").unlink()
    return folder


def raw_with_header(folder: Path, message: str) -> Path:
    """A .nhdr of the fields that the message lists."""
    fields = re.search(r"\.nhdr: ([^)]*)\)", message)
    assert fields
    assert [f.split(":")[0].strip() for f in fields[1].split(",")][:3] == [
        "type",
        "dimension",
        "sizes",
    ]
    size = " ".join(map(str, SHAPE[::-1]))
    header = f"NRRD0004\ntype: uint8\ndimension: 3\nsizes: {size}\nendian: little\nencoding: raw\n"
    header += "data file: a.raw\n"
    (folder / "a.nhdr").write_text(header)
    return folder / "a.nhdr"


def without(array: np.ndarray[Any, Any], where: Any) -> np.ndarray[Any, Any]:
    array = array.copy()
    array[where] = 0
    return array


def scaled_mask(path: Path) -> Path:
    nibabel.save(nibabel.Nifti1Image((ARRAY % 3).T, np.eye(4)), path)
    raw = bytearray(path.read_bytes())
    raw[112:120] = struct.pack("<2f", 0.3, 0)
    path.write_bytes(bytes(raw))
    return path


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def pair(path: Path) -> Path:
    nibabel.save(nibabel.Nifti1Pair(ARRAY.T, np.eye(4)), path.with_suffix(".img"))
    return path


def packed(path: Path) -> Path:
    return written(path, gzip.compress(mrc(path.with_name("x.mrc"), ARRAY.view("int8")).read_bytes()))


IDS = volume("uint64")
ADVICE = [
    Advice("png-rgb", lambda p: colour(p / "s", "png"), "save it as greyscale", obey=grey),
    Advice("webp", lambda p: colour(p / "s", "webp"), "save it as greyscale PNG", obey=grey),
    Advice("tiff-rgb", lambda p: multi_tiff(p / "a.tif", photometric="rgb", planarconfig="separate"),
           "if they are z slices, say so with axes= .--axes zyx.", ARRAY[:3]),
    Advice("tiff-channels", lambda p: multi_tiff(p / "a.tif", imagej=True, metadata={"axes": "CYX"}),
           "3 channels", ARRAY[:3]),
    Advice("tiff-white-is-zero", lambda p: multi_tiff(p / "a.tif", photometric="miniswhite"),
           "save it with black as 0", ARRAY, saved(lambda p: tiff(p / "b.tif", ARRAY))),
    Advice("tiff-series", lambda p: two_series(p / "a.tif"), "pass the number of one as the dataset",
           obey=lambda p, m: f"{p / 'a.tif'}::{re.search(r'[(]([0-9]+): [(]5', m)[1]}"),
    Advice("imagej-curve", lambda p: multi_tiff(p / "a.tif", imagej=True, metadata={"axes": "ZYX", "cf": 4}),
           "no straight line", ARRAY[:3]),
    Advice("nifti-oblique", lambda p: oblique(p / "a.nii"), "is oblique"),
    Advice("nifti-pair", lambda p: pair(p / "a.hdr"),
           "header of a NIfTI pair",
           obey=lambda p, m: nibabel.save(nibabel.load(p / "a.hdr"), p / "a.nii") or p / "a.nii"),
    Advice("nifti-scaled-labels", lambda p: scaled_mask(p / "a.nii"), "is no label", ARRAY % 3, None,
           {"kind": "label"}),
    Advice("hdf5-two", lambda p: two_datasets(p / "a.h5"), "one must be named", obey=named),
    Advice("n5-two", lambda p: two_arrays(p / "a.n5"), "one must be named", obey=named),
    Advice("hdf5-4d", lambda p: hdf5(p / "a.h5", np.stack([ARRAY, ARRAY + 1], -1), "v").with_name("a.h5::v"),
           "save one channel", obey=saved(lambda p: hdf5(p / "b.h5", ARRAY, "v"))),
    Advice("lost-chunk", lambda p: lost(p / "a"), "is missing", without(ARRAY, np.s_[4:, 8:, 12:])),
    Advice("lost-slice", lambda p: gap(p / "s"), "1 numbers are missing: 2", without(ARRAY, 2)),
    Advice("gzip", lambda p: packed(p / "a.mrc.gz"),
           "unpack it first: gunzip a.mrc.gz", ARRAY.view("int8"),
           lambda p, m: written(p / "a.mrc", gzip.decompress((p / "a.mrc.gz").read_bytes()))),
    Advice("raw", lambda p: written(p / "a.raw", ARRAY.tobytes()), "write it as NRRD, with a header",
           obey=raw_with_header),
    Advice("npz", lambda p: np.savez(p / "a.npz", v=ARRAY) or p / "a.npz", r"numpy\.save\('a\.npy', array\)",
           obey=lambda p, m: np.save(p / "a.npy", np.load(p / "a.npz")["v"]) or p / "a.npy"),
    Advice("ids-as-image", lambda p: tiff(p / "a.tif", IDS), "if they are ids, say kind='label'", IDS),
    Advice("constant", lambda p: tiff(p / "a.tif", ARRAY * 0 + 5), "same value in all voxels", ARRAY * 0 + 5),
    Advice("no-zero", lambda p: tiff(p / "a.tif", ARRAY % 2 + 1), "is nowhere 0", ARRAY % 2 + 1, None,
           {"kind": "label"}),
]  # fmt: skip


def attempt(source: Any, to: Path, **options: Any) -> Any:
    plan = cf.convert(source, to, **{"voxel_nm": (40, 8, 8)} | options)
    return cf.open_volume(done(plan).url).read()


@pytest.mark.parametrize("case", ADVICE, ids=str)
def test_doing_what_a_refusal_says_works(case, tmp_path):
    source = case.make(tmp_path)
    with pytest.raises((InputError, RunIncompleteError), match=case.says) as refused:
        attempt(source, tmp_path / "v.ome.zarr", **case.options)
    message = str(refused.value)
    if case.obey is None:
        options = obeyed(message)
        assert options, message
    else:
        source, options = case.obey(tmp_path, message), {}
    got = attempt(source, tmp_path / "w.ome.zarr", **case.options | options)
    np.testing.assert_array_equal(got, case.right)


def test_a_voxel_size_that_is_missing_is_asked_for_by_its_option(tmp_path):
    with pytest.raises(InputError, match="give it in nm as --voxel-nm Z Y X"):
        cf.convert(tiff(tmp_path / "a.tif", ARRAY), tmp_path / "v.ome.zarr")
    attempt(tmp_path / "a.tif", tmp_path / "v.ome.zarr")


FOREIGN = {
    "slices": lambda p: slices(p / "s", ARRAY),
    "tif": lambda p: tiff(p / "a.tif", ARRAY),
    "nii": lambda p: nifti(p / "a.nii", ARRAY),
    "h5": lambda p: hdf5(p / "a.h5", ARRAY),
    "n5": lambda p: n5(p / "a.n5", ARRAY),
    "precomputed": lambda p: precomputed(p / "a", ARRAY),
    "zarr": lambda p: zarr2(p / "a.zarr", ARRAY),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_no_image_of_ours_says_convert_and_convert_takes_it(name, tmp_path):
    path = FOREIGN[name](tmp_path)
    with pytest.raises(InputError, match="run 'chunkflow-liver convert' on it"):
        cf.open_volume(path)
    np.testing.assert_array_equal(attempt(path, tmp_path / "v.ome.zarr"), ARRAY)


def test_an_image_or_one_of_its_arrays_is_converted(tmp_path):
    """An array alone is no image, and says what to do; the image is used as it is, or written anew."""
    path = cf.write_volume(tmp_path / "a.ome.zarr", ARRAY, voxel_nm=(40, 8, 8)).url
    np.testing.assert_array_equal(cf.open_volume(path).read(), ARRAY)
    with pytest.raises(InputError, match="run 'chunkflow-liver convert' on it"):
        cf.open_volume(f"{path}/0")
    for source, to in ((f"{path}/0", "v.ome.zarr"), (path, "w.ome.zarr")):
        np.testing.assert_array_equal(attempt(source, tmp_path / to), ARRAY)
        assert cf.open_volume(tmp_path / to).voxel_nm == (40, 8, 8)


def test_a_filter_that_is_missing_is_taken_off_as_it_is_told(tmp_path, monkeypatch):
    """h5repack -f GZIP=1, done with h5py."""
    path = hdf5(tmp_path / "a.h5", ARRAY, "v", chunks=(2, 4, 4), compression="lzf")
    available = h5py.h5z.filter_avail
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda n: n != 32000 and available(n))
    with pytest.raises(InputError, match="h5repack -f GZIP=1"):
        attempt(path, tmp_path / "v.ome.zarr")
    with h5py.File(path) as old, h5py.File(tmp_path / "b.h5", "w") as new:
        new.create_dataset("v", data=old["v"][:], compression="gzip")
    np.testing.assert_array_equal(attempt(tmp_path / "b.h5", tmp_path / "v.ome.zarr"), ARRAY)


def test_axistags_that_cannot_be_read_may_be_deleted(tmp_path):
    path = hdf5(tmp_path / "a.h5", ARRAY, "v")
    with h5py.File(path, "r+") as file:
        file["v"].attrs["axistags"] = json.dumps({"axes": 3})
    with pytest.raises(InputError, match="mend that attribute, or delete it"):
        attempt(path, tmp_path / "v.ome.zarr")
    with h5py.File(path, "r+") as file:
        del file["v"].attrs["axistags"]
    np.testing.assert_array_equal(attempt(path, tmp_path / "v.ome.zarr"), ARRAY)
