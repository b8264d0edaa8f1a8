"""Bytes of images wherever these lie, whole or in part."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from strategies import write

import chunkflow_liver as cf
from chunkflow_liver.store.location import read_key
from chunkflow_liver.view.serving import PART, Outside, Unsatisfiable, stored


def body(url, key, asked=None):
    async def all_parts():
        answer = await stored(url, key, asked)
        return None if answer is None else b"".join([part async for part in answer.parts()])

    return asyncio.run(all_parts())


def test_an_object_store_is_served_like_a_folder():
    array = np.random.default_rng(0).integers(0, 255, (4, 5, 6)).astype(np.uint8)
    volume = cf.write_volume("memory://served/image.ome.zarr", array, voxel_nm=(8, 8, 8))
    key = next(iter(volume.keys(volume.box)))
    wanted = read_key(volume.url, f"0/{key}")
    assert body(volume.url, f"0/{key}") == wanted
    assert body(volume.url, f"0/{key}", "bytes=2-4") == wanted[2:5]
    assert body(volume.url, f"0/{key}", "bytes=-3") == wanted[-3:]
    assert body(volume.url, "0/c/9/9/9") is None
    with pytest.raises(Outside):
        body(volume.url, "../other/zarr.json")


def test_a_large_file_comes_in_parts_and_wrong_ranges_are_told(tmp_path):
    volume = write(tmp_path, np.zeros((1, 2, 3), np.uint8), "image")
    content = np.random.default_rng(0).bytes(2 * PART + 17)
    (tmp_path / "image.ome.zarr/0/large").write_bytes(content)
    assert body(volume.url, "0/large") == content
    assert body(volume.url, "0/large", f"bytes={PART - 1}-{PART + 1}") == content[PART - 1 : PART + 2]
    # Several ranges at once, and units that there are not, are answered with all of it.
    assert body(volume.url, "0/large", "bytes=0-1,4-5") == content
    assert body(volume.url, "0/large", "lines=0-1") == content
    for asked in (f"bytes={len(content)}-", "bytes=5-4", "bytes=-0"):
        with pytest.raises(Unsatisfiable):
            body(volume.url, "0/large", asked)
