"""The group that label images lie in is an image of its own, and mends itself."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import chunkflow_liver as cf
from chunkflow_liver.store.container import MOST_KEPT
from chunkflow_liver.store.create import create, finish, write_volume
from chunkflow_liver.store.images import inspect, open_volume, validate
from chunkflow_liver.store.ngff import group_attributes

NM = (40.0, 8.0, 8.0)
VERSIONS = ["0.4", "0.5", "0.6"]


def labelled(work: Path, raw: cf.Volume, name: str = "mitos", version: str = "0.5") -> cf.Volume:
    """An empty label image in the results of a work folder, made as a run makes it."""
    url = str(work / f"results.ome.zarr/labels/{name}")
    volume = raw.like(url, dtype="uint32", kind="label", ome_version=version)
    create(volume)
    for level in volume.pyramid():
        level.write(level.box, np.ones(level.shape, np.uint32))
    finish(volume)
    return volume


@pytest.fixture
def raw(tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (20, 600, 300), dtype=np.uint8)
    return write_volume(tmp_path / "raw.ome.zarr", values, voxel_nm=NM)


@pytest.mark.parametrize("version", VERSIONS)
def test_results_are_an_image_with_labels(tmp_path, raw, version):
    labels = labelled(tmp_path, raw, version=version)
    overview = open_volume(tmp_path / "results.ome.zarr")
    assert overview.ome_version == version
    assert validate(overview.url, deep=True) == validate(labels.url, deep=True) == []
    # It is level 1 of the image, the first that is small enough, and lies where that does.
    coarse = open_volume(raw.url, level=1)
    np.testing.assert_array_equal(overview.read(), coarse.read())
    assert overview.levels == labels.levels == 3
    assert overview.voxel_nm == coarse.voxel_nm == (40, 16, 16)
    assert overview.origin_nm == coarse.origin_nm == (0, 4, 4)
    assert [v.url for v in inspect(labels.url)[1]] == [labels.url] * labels.levels


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("version", VERSIONS)
def test_validators_and_readers_accept_the_results(tmp_path, version):
    values = np.ones((20, 600, 300), np.uint8)
    image = write_volume(tmp_path / "image.ome.zarr", values, voxel_nm=NM, ome_version=version)
    labelled(tmp_path, image, version=version)
    url = str(tmp_path / "results.ome.zarr")
    if version != "0.6":
        ome_zarr_models = pytest.importorskip("ome_zarr_models")
        import yaozarrs

        pytest.importorskip("ome_zarr")
        from ome_zarr.io import parse_url
        from ome_zarr.reader import Reader

        yaozarrs.validate_zarr_store(url)
        assert type(ome_zarr_models.open_ome_zarr(zarr.open_group(url, mode="r"))).__name__ == "Image"
        nodes = list(Reader(parse_url(url))())
        assert {"results.ome.zarr", "labels", "mitos"} <= {Path(n.zarr.path).name for n in nodes}
    ngff_zarr = pytest.importorskip("ngff_zarr")
    for part in ("", "/labels/mitos"):
        found = ngff_zarr.from_ngff_zarr(url + part, validate=True).images[0]
        assert found.data.shape == open_volume(url + part).shape


@pytest.mark.parametrize("version", ["0.4", "0.6"])
def test_an_image_of_another_version_is_named_by_the_overview(tmp_path, version):
    """yaozarrs refuses labels whose image it cannot read as one of their own version."""
    import yaozarrs

    values = np.ones((8, 300, 300), np.uint8)
    image = write_volume(tmp_path / "image.ome.zarr", values, voxel_nm=NM, ome_version=version)
    labels = labelled(tmp_path, image)
    yaozarrs.validate_zarr_store(str(tmp_path / "results.ome.zarr"))
    yaozarrs.validate_zarr_store(labels.url)
    assert group_attributes(labels.url)[0]["ome"]["image-label"]["source"] == {"image": "../.."}
    [shown] = group_attributes(str(tmp_path / "results.ome.zarr"))[0]["ome"]["multiscales"]
    assert shown["metadata"]["image"] == "../image.ome.zarr"


def test_a_second_label_image_joins_and_the_overview_stays(tmp_path, raw):
    labelled(tmp_path, raw, "a")
    array = tmp_path / "results.ome.zarr/overview-0/zarr.json"
    before = array.stat().st_mtime_ns
    labelled(tmp_path, raw, "b")
    assert array.stat().st_mtime_ns == before
    assert group_attributes(str(tmp_path / "results.ome.zarr/labels"))[0]["ome"]["labels"] == ["a", "b"]


def test_an_image_of_its_own_is_left_alone(tmp_path, raw):
    before = (Path(raw.url) / "zarr.json").read_bytes()
    create(raw.like(f"{raw.url}/labels/mitos", dtype="uint8", kind="label"))
    assert (Path(raw.url) / "zarr.json").read_bytes() == before
    assert not (Path(raw.url) / "overview-0").exists()


def test_of_a_large_image_without_levels_a_part_of_the_voxels_is_shown(tmp_path):
    """A level 0 alone, of more voxels than an overview has: every second along the finest axes."""
    values = np.random.default_rng(0).integers(0, 255, (34, 300, 256), dtype=np.uint8)
    raw = write_volume(tmp_path / "raw.ome.zarr", values, voxel_nm=NM)
    node = json.loads((Path(raw.url) / "zarr.json").read_text())
    del node["attributes"]["ome"]["multiscales"][0]["datasets"][1:]
    (Path(raw.url) / "zarr.json").write_text(json.dumps(node))
    assert values.size > MOST_KEPT
    labelled(tmp_path, raw)
    overview = open_volume(tmp_path / "results.ome.zarr")
    np.testing.assert_array_equal(overview.read(), values[:, ::2])
    assert overview.voxel_nm == (40, 16, 8)


@pytest.mark.parametrize("missing", ["source", "chunks", "no source"])
def test_without_an_image_to_show_the_overview_is_black(tmp_path, raw, missing, caplog):
    if missing == "source":
        raw = replace(raw, url=str(tmp_path / "gone.ome.zarr"))
    elif missing == "no source":
        raw = replace(raw, kind="label", source=None)
    else:
        for level in "0123":
            shutil.rmtree(Path(raw.url) / level / "c", ignore_errors=True)
    labelled(tmp_path, raw)
    overview = open_volume(tmp_path / "results.ome.zarr")
    assert not overview.read().any()
    extent = [n * v for n, v in zip(raw.shape, raw.voxel_nm, strict=True)]
    assert [n * v for n, v in zip(overview.shape, overview.voxel_nm, strict=True)] == pytest.approx(extent)
    assert ("no overview of" in caplog.text) == (missing != "no source")


def damaged(file: Path, how: str) -> None:
    if how == "deleted":
        file.unlink()
    elif how == "cut off":
        file.write_bytes(file.read_bytes()[:40])
    elif how == "empty":
        file.write_bytes(b"")
    else:
        file.write_text("[]")


@pytest.mark.parametrize("how", ["deleted", "cut off", "empty", "no object"])
@pytest.mark.parametrize("place", ["labels/mitos", "labels", ""])
def test_metadata_of_a_finished_run_that_are_lost_are_written_again(tmp_path, place, how):
    values = np.zeros((8, 40, 40), np.uint8)
    values[2:5, 5:9, 5:9] = values[2:5, 20:30, 20:30] = 1
    semantic = write_volume(tmp_path / "s.ome.zarr", values, voxel_nm=NM, kind="label", classes={"m": 1})
    plan = cf.label(semantic, classes=["m"], name="mitos", work=tmp_path / "run")
    cf.run(plan, progress=False)
    group = tmp_path / "run/results.ome.zarr" / place
    before = group_attributes(str(group))[0]
    labels = plan.output.read()
    damaged(group / "zarr.json", how)
    cf.run(plan, progress=False)
    after: dict[str, Any] = group_attributes(str(group))[0]
    assert after == before
    assert validate(plan.output.url, deep=True) == []
    np.testing.assert_array_equal(open_volume(plan.output.url).read(), labels)
