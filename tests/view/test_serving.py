"""Bytes of images wherever these lie, whole or in part."""

from __future__ import annotations

import asyncio
import json
import urllib.request

import numpy as np
import pytest
from strategies import write
from view_runs import NM, served, tissue

import chunkflow_liver as cf
from chunkflow_liver.store.location import read_key
from chunkflow_liver.view.answers import Run
from chunkflow_liver.view.serving import PART, Outside, Unsatisfiable, stored

SHAPE = (12, 48, 64)


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


@pytest.mark.network
def test_a_run_whose_volumes_lie_on_s3_is_looked_at_and_corrected(bucket, tmp_path):
    """Image and instances there; journal, tables and edits here, as runs with `into` are."""
    raw = np.random.default_rng(0).integers(0, 255, SHAPE).astype(np.uint8)
    image = cf.write_volume(f"{bucket}/seen/raw.ome.zarr", raw, voxel_nm=NM)
    classes = cf.write_volume(
        f"{bucket}/seen/classes.ome.zarr",
        tissue(),
        voxel_nm=NM,
        kind="label",
        classes=(("mito", 1), ("er", 2)),
    )
    at = {"work": tmp_path / "run", "block": (12, 24, 32)}
    mitos = cf.label(classes, classes=["mito"], name="mitos", into=image.url, **at)
    cf.run(
        mitos + cf.measure(mitos.output, raw=image, features=["basic"], name="table", **at), progress=False
    )
    assert mitos.output.url.startswith("s3://")
    run = Run(tmp_path / "run", "ada")
    with served(run) as address:
        base, _, token = address.partition("/?")

        def asked(path, **headers):
            request = urllib.request.Request(f"{base}{path}?{token}", headers=headers)
            with urllib.request.urlopen(request) as answer:
                return answer.read()

        names = {layer["name"]: layer["source"] for layer in json.loads(asked("/api/run"))["state"]["layers"]}
        assert {"image", "mitos"} <= names.keys()
        for name, volume in (("image", image), ("mitos", mitos.output)):
            key = f"0/{next(iter(volume.keys(volume.box)))}"
            wanted = read_key(volume.url, key)
            assert asked(f"/data/done/{name}/{key}") == wanted
            assert asked(f"/data/done/{name}/{key}", Range="bytes=1-3") == wanted[1:4]
        run.told("edit", {"image": "mitos", "action": "delete", "label": 1})
        shown = np.frombuffer(asked("/edited/any/mitos/0/c/0/0/0"), mitos.output.dtype).reshape(64, 64, 64)
        labels = mitos.output.read()
        z, y, x = SHAPE
        np.testing.assert_array_equal(shown[:z, :y, :x], np.where(labels == 1, 0, labels))
        assert len(asked("/meshes/any/mitos/2")) > 100
