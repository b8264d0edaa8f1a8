"""Shards written here are those of zarr, and what is not as it should be is left to zarr."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import write

from chunkflow_liver.errors import ChunkError
from chunkflow_liver.geometry import Box, zyx
from chunkflow_liver.store.shards import Shards, shards_of


def sharded(folder, shape, *, chunk=(4, 8, 16), shard=(8, 8, 32), dtype="uint32", fill=0, **options):
    array = zarr.create_array(
        str(folder),
        shape=shape,
        chunks=chunk,
        shards=shard,
        dtype=dtype,
        fill_value=fill,
        compressors=zarr.codecs.ZstdCodec(level=1, checksum=options.pop("checksum", True)),
        config={"write_empty_chunks": True},
        overwrite=True,
        **options,
    )
    return array, shards_of(array, str(folder.parent), folder.name)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(1, 70)),
    dtype=st.sampled_from(["bool", "uint8", "int16", "uint32", "uint64", "float32"]),
    most=st.sampled_from([1, 2, 1000]),
    seed=st.integers(0, 999),
)
def test_zarr_reads_what_is_written_here_and_the_other_way_round(tmp_path_factory, shape, dtype, most, seed):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, most, shape).astype(dtype)
    array, shards = sharded(tmp_path_factory.mktemp("s"), shape, dtype=dtype)
    array[:] = values
    low = rng.integers(0, shape)
    high = [int(rng.integers(a, n)) + 1 for a, n in zip(low, shape, strict=True)]
    box = Box(zyx(low.tolist()), zyx(high))
    np.testing.assert_array_equal(shards.read(box), values[box.slices])
    other, made = sharded(tmp_path_factory.mktemp("s"), shape, dtype=dtype)
    made.write(Box.of(shape), values)
    np.testing.assert_array_equal(other[:], values)
    np.testing.assert_array_equal(made.read(box), values[box.slices])


def test_a_shard_is_written_whole_and_leaves_no_other_file(tmp_path):
    array, shards = sharded(tmp_path, (16, 8, 32))
    shards.write(Box((8, 0, 0), (16, 8, 32)), np.full((8, 8, 32), 7, np.uint32))
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("c/**/*") if p.is_file()] == ["c/1/0/0"]
    assert array[8:].min() == 7
    assert shards.read(Box.of((16, 8, 32))) is None


@pytest.mark.parametrize(
    "options",
    [
        {"checksum": False},
        {"chunk_key_encoding": {"name": "v2", "separator": "/"}},
        {"chunk_key_encoding": {"name": "default", "separator": "."}},
        {"serializer": zarr.codecs.BytesCodec(endian="big")},
        {"filters": [zarr.codecs.TransposeCodec(order=(2, 1, 0))]},
    ],
    ids=str,
)
def test_arrays_of_another_form_are_left_to_zarr(options, tmp_path):
    assert sharded(tmp_path, (16, 8, 32), **options)[1] is None


def test_arrays_without_shards_are_left_to_zarr(tmp_path):
    array = zarr.create_array(str(tmp_path / "a"), shape=(8, 8, 8), chunks=(8, 8, 8), dtype="uint8")
    assert shards_of(array, str(tmp_path), "a") is None
    array = zarr.create_array(
        str(tmp_path / "b"), shape=(8, 8, 8), chunks=(8, 8, 8), dtype="uint8", zarr_format=2
    )
    assert shards_of(array, str(tmp_path), "b") is None


def test_a_disk_that_fails_leaves_no_part_of_a_shard(tmp_path, monkeypatch):
    _, shards = sharded(tmp_path, (8, 8, 32))

    def full(*_):
        raise OSError(28, "no space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="no space left"):
        shards.write(Box.of((8, 8, 32)), np.ones((8, 8, 32), np.uint32))
    assert [p for p in tmp_path.rglob("c/**/*") if p.is_file()] == []


def damaged_index(data: bytes) -> bytes:
    return data[:-8] + bytes([data[-8] ^ 1]) + data[-7:]


def damaged_chunk(data: bytes) -> bytes:
    return data[:20] + bytes([data[20] ^ 255]) + data[21:]


@pytest.mark.parametrize("damage", [damaged_index, damaged_chunk, lambda data: data[:100], lambda data: b""])
def test_damage_is_never_voxels(damage, tmp_path):
    values = np.random.default_rng(0).integers(0, 200, (16, 64, 64)).astype(np.uint8)
    volume = write(tmp_path, np.kron(values, np.ones((1, 5, 5), np.uint8)), "c", kind="image", classes=())
    assert isinstance(shards_of(zarr.open_array(f"{volume.url}/0"), volume.url, "0"), Shards)
    file = next(p for p in Path(volume.url, "0").rglob("c/**/*") if p.is_file())
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ChunkError, match="cannot read chunk"):
        volume.read()
