"""A chunk that says it becomes far more than its voxels is refused before it is decoded."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import zarr
from numcodecs import Blosc, GZip, Zstd
from strategies import VOXEL_NM, most_resident

import chunkflow_liver as cf
from chunkflow_liver.errors import ChunkError
from chunkflow_liver.geometry import Box
from chunkflow_liver.store import shards as module
from chunkflow_liver.store.shards import shards_of
from chunkflow_liver.store.voxels.promised import HEAD, promised_bytes

CODECS = {
    "zstd": (zarr.codecs.ZstdCodec(level=1), Zstd(1)),
    "gzip": (zarr.codecs.GzipCodec(level=1), GZip(1)),
    "blosc": (zarr.codecs.BloscCodec(), Blosc("zstd", 1)),
}


@pytest.mark.parametrize("size", [0, 1, 200, 255, 256, 300, 65535, 65536, 70000, 1 << 20])
@pytest.mark.parametrize("codec", CODECS)
def test_what_codecs_write_says_what_it_becomes(codec, size):
    data = bytes(size) if size % 2 else np.random.default_rng(size).bytes(size)
    packed = bytes(CODECS[codec][1].encode(data)) if size or codec != "blosc" else b""
    promised = promised_bytes(packed[:HEAD], packed[-4:])
    assert promised == size if packed else promised is None


@pytest.mark.parametrize("cut", range(HEAD))
def test_cut_off_bytes_promise_nothing_or_something(cut):
    for _, codec in CODECS.values():
        head = bytes(codec.encode(bytes(5000)))[:cut]
        assert promised_bytes(head, head[-4:]) is None or promised_bytes(head, head[-4:]) >= 0


@pytest.mark.parametrize("codec", CODECS)
def test_a_small_file_that_becomes_gigabytes_takes_no_memory(codec, tmp_path):
    shape = (16, 16, 16)
    path = tmp_path / "a.ome.zarr"
    cf.write_volume(path, np.ones(shape, np.uint8), voxel_nm=VOXEL_NM, chunks=shape)
    shutil.rmtree(path / "0")
    pipeline, encoder = CODECS[codec]
    store = zarr.storage.LocalStore(str(path))
    names = ("z", "y", "x")
    array = zarr.create_array(
        store, name="0", shape=shape, chunks=shape, dtype="u1", compressors=pipeline, dimension_names=names
    )
    array[:] = 3
    volume = cf.open_volume(path)
    assert (volume.read() == 3).all()
    (path / "0/c/0/0/0").write_bytes(encoder.encode(bytes(1 << 28)))

    def read():
        with pytest.raises(ChunkError, match=r"'c/0/0/0' of .* would become 268435456 bytes.* are 4096"):
            volume.read()

    assert most_resident(read) < 32 << 20


def test_a_chunk_of_a_shard_that_becomes_gigabytes_is_refused(tmp_path, monkeypatch):
    array = zarr.create_array(
        str(tmp_path / "a"),
        shape=(8, 8, 32),
        chunks=(4, 8, 16),
        shards=(8, 8, 32),
        dtype="u1",
        compressors=zarr.codecs.ZstdCodec(level=1, checksum=True),
    )
    shards = shards_of(array, str(tmp_path), "a")
    whole = Box.of((8, 8, 32))
    large = Zstd(1).encode(bytes(1 << 28))
    with monkeypatch.context() as patched:
        patched.setattr(module, "Zstd", lambda **_: SimpleNamespace(encode=lambda _: large))
        shards.write(whole, np.ones(whole.shape, np.uint8))

    def read():
        with pytest.raises(ChunkError, match="would become more than its 512 bytes"):
            shards.read(whole)

    assert most_resident(read) < 32 << 20
