"""Opening images: the level that was asked for, here and in object stores."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from zarr.core.sync import sync

from chunkflow_liver.errors import ChunkError, InputError, OutputError
from chunkflow_liver.geometry import Box
from chunkflow_liver.store.create import write_volume
from chunkflow_liver.store.images import inspect, nearest_level, open_volume, validate
from chunkflow_liver.store.location import open_store


@pytest.fixture(scope="module")
def tall(tmp_path_factory):
    """An image with levels of (4, 8, 16), (8, 16, 16), (16, 32, 32) and (32, 64, 64) nm."""
    values = np.random.default_rng(0).integers(0, 255, (9, 1100, 20), dtype=np.uint8)
    return write_volume(tmp_path_factory.mktemp("tall") / "a.ome.zarr", values, voxel_nm=(4, 8, 16))


def test_a_level_is_found_by_its_number(tall):
    sizes = [open_volume(tall.url, level=i).voxel_nm for i in range(4)]
    assert sizes == [(4, 8, 16), (8, 8, 16), (16, 16, 16), (32, 32, 32)]
    assert [open_volume(tall.url, level=i).shape[1] for i in range(4)] == [1100, 1100, 550, 275]
    assert open_volume(tall.url).level == 0


def test_a_level_is_found_by_its_voxel_size(tall):
    _, volumes, _ = inspect(tall.url)
    assert nearest_level(volumes, (7, 9, 16)) == 1
    assert open_volume(tall.url, voxel_nm=(16, 20, 16)).level == 2
    for far in ((4000, 4000, 4000), (16, 8, 4), (4, 8, 25)):
        with pytest.raises(
            InputError, match=r"no level of about .* nm \(z, y, x\): its levels have \(4.0, 8.0, 16"
        ):
            open_volume(tall.url, voxel_nm=far)


def test_every_level_knows_its_place(tall):
    _, volumes, problems = inspect(tall.url)
    assert problems == []
    assert [v.level for v in volumes] == list(range(len(volumes)))
    assert {v.levels for v in volumes} == {len(volumes)}
    assert [v.reduction for v in volumes[:4]] == [(1, 1, 1), (2, 1, 1), (4, 2, 1), (8, 4, 2)]
    # The centre of the first voxel of a coarse level is the mean of the centres under it.
    assert volumes[2].origin_nm == (6.0, 4.0, 0.0)


@pytest.mark.parametrize("nm", [(0, 8, 16), (4, 8), (4, 8, float("nan")), (-4, 8, 16)])
def test_a_voxel_size_that_is_none_is_refused(tall, nm):
    with pytest.raises(InputError, match="voxel_nm must be three sizes above 0"):
        open_volume(tall.url, voxel_nm=nm)


def test_validate_has_nothing_to_say_of_a_good_image(tall):
    assert validate(tall.url, deep=True) == []


def test_planning_with_an_image_reads_its_metadata_only(tall, monkeypatch):
    monkeypatch.setattr("zarr.Array.__getitem__", lambda *_: pytest.fail("voxels were read"))
    assert open_volume(tall.url).shape == (9, 1100, 20)


@pytest.fixture(params=["memory", pytest.param("s3", marks=pytest.mark.network)])
def remote(request: pytest.FixtureRequest) -> str:
    """A place in an object store, a new one for every test."""
    place = request.node.name.replace("[", "-").replace("]", "")
    return f"{request.getfixturevalue('bucket')}/{place}" if request.param == "s3" else f"memory://{place}"


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_an_image_in_an_object_store_is_written_and_read(remote, voxels, version):
    url = f"{remote}/raw.ome.zarr"
    made = write_volume(url, voxels, voxel_nm=(4, 8, 16), ome_version=version)
    opened = open_volume(url)
    np.testing.assert_array_equal(opened.read(), voxels)
    part = Box((3, 4, 5), (20, 40, 44))
    np.testing.assert_array_equal(opened.read(part), voxels[part.slices])
    assert validate(url, deep=True) == []
    assert opened.identity() == made.identity()
    with pytest.raises(OutputError, match="exists already"):
        write_volume(url, voxels, voxel_nm=(4, 8, 16))
    sync(open_store(url).delete(f"0/{next(opened.keys(opened.box))}"))
    with pytest.raises(ChunkError, match=r"cannot read chunk .* is missing"):
        open_volume(url).read()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_an_image_that_is_not_in_the_object_store_is_refused(remote):
    with pytest.raises(InputError, match=r"is not a zarr group: it has neither zarr.json nor .zgroup"):
        open_volume(f"{remote}/none.ome.zarr")


@pytest.mark.network
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_labels_join_an_image_in_an_object_store(bucket, voxels):
    url = f"{bucket}/with-labels.ome.zarr"
    write_volume(url, voxels, voxel_nm=(4, 8, 16))
    write_volume(f"{url}/labels/mitos", voxels, voxel_nm=(4, 8, 16), kind="label")
    assert open_volume(f"{url}/labels/mitos").kind == "label"
    with pytest.raises(InputError, match=r"it lists the label images \['mitos'\], open one of them"):
        open_volume(f"{url}/labels")


@pytest.mark.network
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_bucket_that_does_not_exist_is_named(bucket):
    with pytest.raises(InputError, match=r"no-such-bucket/raw"):
        open_volume("s3://no-such-bucket/raw")


def test_obstore_is_named_where_it_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    open_store.cache_clear()
    with pytest.raises(
        InputError, match=r"reading s3:// needs 'obstore'; pip install 'chunkflow-liver\[s3\]'"
    ):
        open_volume("s3://em/raw")


def test_the_labels_beside_one_that_is_not_there_are_told(tmp_path):
    """Where a name is wrong by a letter, or 'labels' is left out, what is there helps."""
    group = tmp_path / "results.ome.zarr"
    values = np.zeros((4, 8, 8), np.uint8)
    write_volume(group, values, voxel_nm=(4, 8, 8))
    for name in ("mitos", "cells"):
        write_volume(group / "labels" / name, values, voxel_nm=(4, 8, 8), kind="label")
    for asked, there in (
        ("labels/mito", "cells, mitos"),
        ("mitos", "labels/cells, labels/mitos"),
        ("more/mitos", "labels/cells, labels/mitos"),
    ):
        where = group / "labels" if asked.startswith("labels") else group
        with pytest.raises(InputError) as told:
            open_volume(group / asked)
        assert str(told.value) == f"no such file or folder: {group / asked}; {where} has {there}"
    with pytest.raises(InputError, match=r"no such file or folder: .*/results.ome$"):
        open_volume(tmp_path / "results.ome")
