"""Slices come in the order that people number them, and only what a box needs is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from foreign_files import (
    SHAPE,
    hdf5,
    n5,
    precomputed,
    slices,
    tiff,
    volume,
    zarr2,
    zarr3,
)
from PIL import Image

from chunkflow_liver.errors import ChunkError, InputError
from chunkflow_liver.geometry import Box
from chunkflow_liver.store.sources import open_source

nibabel = pytest.importorskip("nibabel")


def test_slices_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    array = np.arange(12, dtype="uint8")[:, None, None] * np.ones((1, 3, 4), "uint8")
    source = open_source(slices(tmp_path / "s", array, "run2_slice_{}.png"))
    assert source.stored.names[2] == "run2_slice_2.png"  # type: ignore[attr-defined]
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
    assert source.stored.ignored == (".slice_9.tif", "Thumbs.db", "notes.txt")  # type: ignore[attr-defined]
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
    with pytest.raises(ChunkError, match=r"cannot be read in the box (4:5, 11:12, 13:14|13:14, 11:12, 4:5)"):
        open_source(path, allow_gaps=True).read(Box((4, 11, 13), SHAPE))
