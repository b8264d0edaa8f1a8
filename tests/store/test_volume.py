"""Volumes: boxes go in and come out exactly, and damage is an error that names the chunk, never zeros."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zarr.codecs import ZstdCodec

from chunkflow_liver.errors import ChunkError, GridError, InputError
from chunkflow_liver.geometry import BlockGrid, Box
from chunkflow_liver.store.create import create, finish, new_volume, write_volume
from chunkflow_liver.store.handles import forget_handles
from chunkflow_liver.store.images import open_volume, validate
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.store.write_units import units

NM = (4.0, 8.0, 16.0)
WHOLE = Box.of((37, 45, 50))


def made(
    folder: Path, version: str = "0.5", shards: tuple[int, int, int] | None = None, **more: Any
) -> Volume:
    """An empty volume of (37, 45, 50) uint16 voxels in chunks of 16."""
    volume = new_volume(str(folder / "a.ome.zarr"), WHOLE.shape, "uint16", NM, ome_version=version)
    volume = replace(volume, chunks=(16, 16, 16), shards=shards, levels=1, **more)
    create(volume)
    return volume


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(starts=st.tuples(*[st.integers(0, 30)] * 3), sides=st.tuples(*[st.integers(1, 20)] * 3))
def test_any_box_reads_the_voxels_that_were_written(store, voxels, starts, sides):
    box = Box(starts, tuple(a + n for a, n in zip(starts, sides, strict=True))).clip(store.box)  # type: ignore[arg-type]
    got = store.read(box)
    np.testing.assert_array_equal(got, voxels[box.slices])
    assert got.flags.c_contiguous


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("shards", [None, (32, 32, 32)])
def test_blocks_written_one_by_one_make_the_whole(tmp_path, voxels, version, shards):
    volume = made(tmp_path, version, shards if version == "0.5" else None)
    grid = BlockGrid(volume.box, volume.write_unit)
    for block in reversed(list(grid)):
        volume.write(block.write, voxels[block.write.slices])
    np.testing.assert_array_equal(volume.read(), voxels)
    assert volume.missing() == []
    assert sorted(volume.keys(volume.box)) == sorted(
        str(p.relative_to(Path(volume.url, "0")))
        for p in Path(volume.url, "0").rglob("*")
        if p.name.isdigit() and p.is_file()
    )


def test_chunks_of_background_are_stored_too(tmp_path):
    volume = made(tmp_path)
    volume.write(volume.box, np.zeros(volume.shape, np.uint16))
    assert volume.missing() == []
    assert not volume.read().any()


def test_big_endian_and_fortran_arrays_are_stored_in_native_c_order(tmp_path, voxels):
    volume = made(tmp_path)
    volume.write(volume.box, np.asfortranarray(voxels.astype(">u2")))
    got = volume.read()
    np.testing.assert_array_equal(got, voxels)
    assert got.dtype.isnative


@pytest.mark.parametrize(
    ("axes", "chunk"), [("czyx", 1), ("tczyx", 1), ("cyx", 1), ("xyz", 0), ("tcxyz", 1), ("czyx", 3)]
)
def test_a_box_is_written_on_any_axes_at_the_channel_that_was_chosen(tmp_path, axes, chunk):
    sizes = {"t": 2, "c": 3, "z": 5, "y": 6, "x": 7}
    group = zarr.open_group(tmp_path / "a", mode="w")
    scale = {"type": "scale", "scale": [1.0] * len(axes)}
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [
            {
                "axes": [
                    {"name": a} if a in "tc" else {"name": a, "type": "space", "unit": "nm"} for a in axes
                ],
                "datasets": [{"path": "0", "coordinateTransformations": [scale]}],
            }
        ],
    }
    stored = group.create_array(
        "0",
        shape=[sizes[a] for a in axes],
        chunks=[chunk if a in "tc" else sizes[a] for a in axes],
        dtype="u1",
    )
    stored[:] = 9
    channel = {"channel": 1} if "c" in axes else {}
    volume = open_volume(tmp_path / "a", timepoint=1 if "t" in axes else None, **channel)
    values = np.random.default_rng(0).integers(0, 99, volume.shape, np.uint8)
    assert volume.missing() == []
    assert volume.identity() != replace(volume, at=(("c", 2), ("t", 1))).identity() or "c" not in axes
    if chunk == 3:
        with pytest.raises(GridError, match="hold several channels or times"):
            volume.write(volume.box, values)
        return
    volume.write(volume.box, values)
    np.testing.assert_array_equal(volume.read(), values)
    index = tuple({"t": 1, "c": 1}.get(a, slice(None)) for a in axes)
    spatial = [a for a in axes if a in "zyx"]
    wanted = (values if "z" in axes else values[0]).transpose(
        [[a for a in "zyx" if a in axes].index(a) for a in spatial]
    )
    np.testing.assert_array_equal(stored[index], wanted)
    assert (stored[:] == 9).sum() >= stored.size - volume.box.size


@pytest.mark.parametrize(
    ("box", "array", "says"),
    [
        (
            Box((0, 0, 0), (8, 16, 16)),
            np.zeros((8, 16, 16), "u2"),
            r"cuts through write units of \(16, 16, 16\)",
        ),
        (Box((16, 0, 0), (37, 20, 50)), np.zeros((21, 20, 50), "u2"), "cuts through write units"),
        (
            Box((0, 0, 0), (16, 16, 16)),
            np.zeros((16, 16, 15), "u2"),
            r"an array of \(16, 16, 15\) voxels cannot",
        ),
        (
            Box((0, 0, 0), (16, 16, 16)),
            np.zeros((16, 16, 16), "u4"),
            "uint32 voxels do not fit .* holds uint16",
        ),
        (Box((0, 0, 0), (16, 16, 16)), np.zeros((16, 16, 16), "f4"), "float32 voxels do not fit"),
        (Box((0, 0, 0), (16, 16, 16)), np.zeros((16, 16, 16), "i1"), "int8 voxels do not fit"),
    ],
    ids=["half a chunk", "cut at the end", "shape", "wider", "float", "signed"],
)
def test_what_does_not_fit_is_not_written(tmp_path, box, array, says):
    volume = made(tmp_path)
    with pytest.raises(GridError, match=says):
        volume.write(box, array)
    assert len(volume.missing()) == 3 * 3 * 4


@pytest.mark.parametrize("voxel_nm", [(40, 8, 8), (40, 5.9, 5.9), (5.9, 40, 8)])
def test_coarser_levels_refuse_no_block_that_level_0_takes(tmp_path, voxel_nm):
    """Half of 100 is 50, and half of that has no chunk of a useful size."""
    for block in ((100, 160, 160), (160, 100, 50), (48, 100, 1000)):
        chunks, shards = units((200, 300, 300), voxel_nm, block, 3)
        volume = Volume(str(tmp_path), "0", (200, 300, 300), "uint8", voxel_nm, chunks, shards, levels=3)
        for level in volume.pyramid():
            assert all(u % c == 0 for u, c in zip(level.write_unit, level.chunks, strict=True))
            assert min(level.chunks) >= 8


@pytest.mark.parametrize("box", [((0, 10), (0, 10), (0, 10)), np.s_[0:10, 0:10, 0:10], ()])
def test_what_is_no_box_is_not_read(store, box):
    with pytest.raises(
        GridError, match=r"read takes a Box\(start, stop\).* like Box\(\(0, 0, 0\), \(37, 45, 50\)\)"
    ):
        store.read(box)


@pytest.mark.parametrize(
    "box", [Box((0, 0, 0), (38, 1, 1)), Box((-1, 0, 0), (2, 2, 2)), Box((9, 9, 60), (10, 10, 61))]
)
def test_a_box_outside_is_refused(store, box):
    with pytest.raises(
        GridError, match=re.escape(f"cannot read {box} of {store.url}: it has (37, 45, 50) voxels")
    ):
        store.read(box)


def test_a_torn_boundary_shard_is_written_anew(tmp_path, voxels):
    volume = made(tmp_path, shards=(32, 32, 32))
    block = BlockGrid(volume.box, volume.write_unit)[7]
    assert block.write.shape == (5, 13, 18)
    volume.write(block.write, voxels[block.write.slices])
    file = Path(volume.url, "0", next(volume.keys(block.write)))
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ChunkError):
        volume.read(block.write)
    volume.write(block.write, voxels[block.write.slices])
    np.testing.assert_array_equal(volume.read(block.write), voxels[block.write.slices])


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size * 2 // 3)


def empty(file: Path) -> None:
    os.truncate(file, 0)


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 16
    file.write_bytes(data)


def nul(file: Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def delete(file: Path) -> None:
    file.unlink()


def folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("damage", [cut, empty, flip, nul, delete, folder])
@pytest.mark.parametrize("kind", ["0.4", "0.5", "0.5 sharded"])
def test_a_damaged_chunk_is_an_error_that_names_it_and_never_zeros(tmp_path, voxels, kind, damage):
    volume = made(tmp_path, kind[:3], (32, 32, 32) if "sharded" in kind else None)
    volume.write(volume.box, voxels)
    finish(volume)
    unit = volume.write_unit[0]
    bad = BlockGrid(volume.box, volume.write_unit, volume=volume.box)
    block = next(b for b in bad if b.at == (1, 1, 1))
    key = next(volume.keys(block.write))
    damage(Path(volume.url, "0", key))
    opened = open_volume(volume.url)
    good = Box((0, 0, 0), (unit, unit, unit))
    np.testing.assert_array_equal(opened.read(good), voxels[good.slices])
    says = rf"cannot read chunk '{key}' of {re.escape(volume.url)}/0 \(voxels {block.write}\): .+"
    with pytest.raises(ChunkError, match=says) as caught:
        opened.read()
    hint = "missing_chunks: fill" if damage is delete else "restore the file or convert the volume again"
    assert hint in str(caught.value)
    assert any(key in problem for problem in validate(volume.url, deep=True))


@pytest.mark.parametrize("kind", ["0.4", "0.5", "0.5 sharded"])
@pytest.mark.parametrize("missing_chunks", ["error", "fill"])
def test_a_chunk_that_lies_outside_the_image_is_not_read(tmp_path, voxels, kind, missing_chunks):
    volume = made(tmp_path, kind[:3], (32, 32, 32) if "sharded" in kind else None)
    volume.write(volume.box, voxels)
    finish(volume)
    key = next(volume.keys(volume.box))
    file = Path(volume.url, "0", key)
    file.rename(tmp_path / "elsewhere")
    for target in (tmp_path / "elsewhere", tmp_path / "nowhere", Path("/dev/zero")):
        file.symlink_to(target)
        opened = open_volume(volume.url, missing_chunks=missing_chunks)
        with pytest.raises(ChunkError, match=f"{key} is a link that leads out of the image; if you trust"):
            opened.read()
        with pytest.raises(InputError, match="is a link that leads out"):
            opened.identity()
        for deep in (False, True):
            found = validate(volume.url, deep=deep, missing_chunks=missing_chunks)
            assert bool(found) == (deep or missing_chunks == "error")
        file.unlink()
    (tmp_path / "elsewhere").rename(Path(volume.url, "voxels"))
    file.symlink_to(Path(volume.url, "voxels"))
    np.testing.assert_array_equal(open_volume(volume.url).read(), voxels)
    assert validate(volume.url, deep=True) == []


def test_every_byte_of_a_sharded_chunk_is_guarded(tmp_path):
    """A flipped bit gives an error or the right voxels (in bytes that mean nothing), never wrong ones."""
    volume = replace(made(tmp_path, shards=(32, 32, 32)), shape=(32, 32, 32))
    create(volume)
    values = np.random.default_rng(1).integers(0, 9, volume.shape, np.uint16)
    volume.write(volume.box, values)
    file = Path(volume.url, "0", next(volume.keys(volume.box)))
    good = file.read_bytes()
    wrong = []
    for at in np.linspace(0, len(good) - 1, 60).astype(int):
        data = bytearray(good)
        data[at] ^= 1 << (at % 8)
        file.write_bytes(data)
        try:
            if not np.array_equal(volume.read(), values):
                wrong.append(at)
        except ChunkError:
            pass
    assert wrong == []


def test_missing_chunks_are_filled_only_on_request(tmp_path, voxels):
    volume = made(tmp_path)
    first = Box((0, 0, 0), (16, 16, 16))
    volume.write(first, voxels[first.slices])
    finish(volume)
    with pytest.raises(
        ChunkError, match=r"chunk '0/c/0/0/1' is missing; if the writer left out empty chunks"
    ):
        open_volume(volume.url).read()
    got = open_volume(volume.url, missing_chunks="fill").read()
    np.testing.assert_array_equal(got[first.slices], voxels[first.slices])
    assert not got[16:].any()
    assert any("35 of 36 chunks are missing, the first is" in p for p in validate(volume.url))


def test_a_deep_look_finds_voxels_that_are_no_numbers(tmp_path):
    values = np.zeros((4, 20, 20), np.float32)
    values[1, 17, 3] = np.nan
    values[2, 0, 0] = np.inf
    write_volume(tmp_path / "a", values, voxel_nm=NM, chunks=(16, 16, 16))
    assert validate(tmp_path / "a") == []
    found = validate(tmp_path / "a", deep=True)
    assert any("1 voxels are NaN or infinite, the first at (z, y, x) = (1, 17, 3)" in p for p in found)


def test_a_deep_look_finds_labels_below_0(tmp_path):
    write_volume(tmp_path / "a", np.full((2, 3, 4), -1, np.int32), voxel_nm=NM, kind="label")
    assert validate(tmp_path / "a", deep=True) == ["level 0: labels below 0 in z 0:2, y 0:3, x 0:4"]


def test_a_volume_that_was_not_made_yet_cannot_be_read_and_is_not_made_by_trying(tmp_path, listing):
    volume = new_volume(str(tmp_path / "a.ome.zarr"), WHOLE.shape, "uint16", NM)
    with pytest.raises(InputError, match=r"a.ome.zarr/0 does not exist \(yet\): run its plan first"):
        volume.read()
    assert not volume.exists()
    assert listing() == []


def test_identity_is_that_of_the_voxels_and_not_of_the_path(tmp_path, voxels):
    volume = made(tmp_path)
    volume.write(volume.box, voxels)
    shutil.copytree(volume.url, tmp_path / "b.ome.zarr")
    copy = replace(volume, url=str(tmp_path / "b.ome.zarr"))
    assert copy.identity() == volume.identity()
    first = Box((0, 0, 0), (16, 16, 16))
    copy.write(first, voxels[first.slices] + 1)
    assert copy.identity() != volume.identity()


def test_a_foreign_array_with_fill_value_and_empty_chunks_left_out(tmp_path):
    """Many writers leave out chunks of background; inside a shard they are known to be empty."""
    volume = made(tmp_path, shards=(32, 32, 32))
    array = zarr.create_array(
        Path(volume.url, "0"),
        shape=volume.shape,
        chunks=(16, 16, 16),
        shards=(32, 32, 32),
        dtype="u2",
        fill_value=0,
        compressors=ZstdCodec(checksum=True),
        config={"write_empty_chunks": False},
        overwrite=True,
    )
    array[:] = 0
    array[::32, ::32, ::32] = 5
    forget_handles()
    np.testing.assert_array_equal(volume.read(), array[:])


@pytest.mark.parametrize("kind", ["0.4", "0.5", "0.5 sharded"])
def test_a_file_of_no_bytes_is_an_error_for_the_box_that_it_fills(tmp_path, voxels, kind):
    """A power loss leaves such files; a shard that is read whole is asked for without a byte range."""
    volume = made(tmp_path, kind[:3], (32, 32, 32) if "sharded" in kind else None)
    volume.write(volume.box, voxels)
    finish(volume)
    inner = Box((0, 0, 0), volume.write_unit)
    key = next(volume.keys(inner))
    empty(Path(volume.url, "0", key))
    opened = open_volume(volume.url)
    for box in (inner, opened.box):
        with pytest.raises(ChunkError, match=rf"cannot read chunk '{key}' .*(missing|empty)"):
            opened.read(box)
    (found,) = validate(volume.url, deep=True)
    assert key in found
