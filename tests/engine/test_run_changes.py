"""A run after something was changed or deleted: refused and named, or done again where it must be."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from payload import calls, go, plan_of, sums
from strategies import contents

import chunkflow_liver as cf
from chunkflow_liver.engine.execute import execute
from chunkflow_liver.errors import (
    JournalError,
    RunIncompleteError,
)
from chunkflow_liver.geometry import Box
from chunkflow_liver.store.create import STATUS, create, finish, new_volume, write_volume
from chunkflow_liver.store.handles import forget_handles
from chunkflow_liver.store.ngff import group_attributes
from chunkflow_liver.store.table import read_table
from chunkflow_liver.store.volume import Volume

BLOCKS = 3 * 3 * 4


def test_a_changed_parameter_is_refused_and_named(store, tmp_path):
    go(plan_of(store, tmp_path / "w"))
    with pytest.raises(JournalError, match=r"stage 'out/add' has params.by = 1 there and 2 in this plan"):
        go(plan_of(store, tmp_path / "w", by=2))
    with pytest.raises(JournalError, match=r"\[16, 16, 16\] there and \[32, 16, 16\] in this plan"):
        go(plan_of(store, tmp_path / "w", block=(32, 16, 16)))
    with pytest.raises(JournalError, match=r"stage 'out/total' has params.scale = 1 there and 2"):
        go(plan_of(store, tmp_path / "w", scale=2))


def test_a_changed_input_is_refused(store, tmp_path):
    go(plan_of(store, tmp_path / "w"))
    store.write(store.box, store.read() + np.uint16(1))
    with pytest.raises(JournalError, match=r"stage 'out/add' read other voxels of .*raw.ome.zarr, which was"):
        go(plan_of(store, tmp_path / "w"))


def test_a_changed_mask_is_refused_and_named(store, tmp_path):
    mask = write_volume(tmp_path / "mask.ome.zarr", np.ones(store.shape, np.uint8), voxel_nm=store.voxel_nm)
    go(plan_of(store.within(mask), tmp_path / "w"))
    mask.write(mask.box, mask.read() * np.uint8(2))
    with pytest.raises(
        JournalError, match=r"stage 'out/add' read other voxels of .*mask.ome.zarr, which was"
    ):
        go(plan_of(store.within(mask), tmp_path / "w"))


def test_redo_does_only_what_changed_and_what_follows(store, voxels, tmp_path, count):
    def both(**options):
        return plan_of(store, tmp_path / "w", **options) + plan_of(store, tmp_path / "w", name="other")

    go(both())
    go(both(scale=3), redo=True)
    assert len(calls(count)) == BLOCKS
    assert read_table(tmp_path / "w/out.parquet")["sum"].to_pylist() == [3 * n for n in sums(store)]
    go(both(scale=3, by=5), redo=True)
    assert len(calls(count)) == 2 * BLOCKS
    assert len(calls(tmp_path / "w-other-calls")) == BLOCKS
    np.testing.assert_array_equal(both().output.read(), voxels + 1)
    np.testing.assert_array_equal(plan_of(store, tmp_path / "w").output.read(), voxels + 5)


@pytest.mark.parametrize("when", ["finished", "half"])
def test_outputs_that_were_deleted_are_made_again(store, voxels, tmp_path, count, when):
    plan = plan_of(store, tmp_path / "w")
    if when == "half":
        Path(f"{count}.fail-30").touch()
        with pytest.raises(RunIncompleteError):
            go(plan)
        Path(f"{count}.fail-30").unlink()
    else:
        go(plan)
    shutil.rmtree(plan.output.url)
    (tmp_path / "w/out.parquet").unlink(missing_ok=True)
    go(plan)
    np.testing.assert_array_equal(cf.open_volume(plan.output.url).read(), voxels + 1)
    assert read_table(tmp_path / "w/out.parquet")["sum"].to_pylist() == sums(store)


def test_the_last_operation_alone_is_the_same_plan_as_at_the_end_of_a_longer_one(tmp_path):
    mask = np.zeros((8, 12, 12), np.uint8)
    mask[2:5, 2:9, 3:7] = 1
    semantic = cf.write_volume(
        tmp_path / "s.ome.zarr", mask, voxel_nm=(4, 8, 16), kind="label", classes=[("mito", 1)]
    )
    at = {"work": tmp_path / "run"}
    mitos = cf.label(semantic, name="mitos", **at)
    table = cf.measure(mitos.output, name="table", **at)
    cf.run(mitos + table)
    before = (tmp_path / "run" / "journal.jsonl").read_bytes()
    cf.run(cf.measure(mitos.output, name="table", **at))
    assert (tmp_path / "run" / "journal.jsonl").read_bytes() == before
    cf.run(cf.measure(mitos.output, name="another", **at))
    assert cf.read_table(tmp_path / "run" / "tables" / "another.parquet").num_rows == 1


def test_a_living_worker_sees_the_array_that_replaced_another_one(store, voxels, tmp_path):
    """The driver makes the array anew for other blocks; the worker still holds a handle to the old one."""
    first, second = (plan_of(store, tmp_path / "w", block=b).maps[0] for b in ((32, 32, 64), (32, 64, 32)))
    aside = plan_of(store, tmp_path / "aside", block=(32, 64, 32)).output
    assert first.outputs[0].write_unit != second.outputs[0].write_unit
    create(aside)
    create(first.outputs[0])
    for stage in (first, second):
        # Not by `create`, which clears the handles of this process.
        if stage is second:
            shutil.rmtree(stage.outputs[0].url)
            shutil.move(aside.url, stage.outputs[0].url)
        found = execute([stage], range(len(stage.grid)), tmp_path)
        assert found["failed"] == []
    forget_handles()
    np.testing.assert_array_equal(second.outputs[0].read(), voxels + 1)
    assert cf.validate(second.outputs[0].url, deep=True) == []


@pytest.fixture
def tall(tmp_path) -> Volume:
    """Labels of so many rows that their images have three levels."""
    classes = (np.random.default_rng(2).random((3, 530, 6)) > 0.7).astype(np.uint8)
    options = {"voxel_nm": (16, 8, 8), "kind": "label", "classes": (("a", 1),)}
    return write_volume(tmp_path / "tall.ome.zarr", classes, **options)


def images(work: Path) -> dict[str, bytes]:
    """Every file of every image of a work folder."""
    return {name: data for name, data in contents(work).items() if ".ome.zarr/" in name}


def test_a_deleted_output_is_made_again_with_all_levels_of_all_outputs(tall, tmp_path):
    work = tmp_path / "w"

    def plan():
        return cf.distance(tall, to="a", cap_nm=40, name="d", work=work, block=(3, 256, 6))

    go(plan())
    before = images(work)
    exact = work / "results.ome.zarr/labels/d-exact"
    assert plan().output.levels == cf.open_volume(exact).levels == 3
    shutil.rmtree(exact)
    go(plan())
    for image in (work / "d.ome.zarr", exact):
        # The distance is infinite beyond the cap, which a deep look reports of an image.
        assert [p for p in cf.validate(image, deep=True) if "NaN or infinite" not in p] == []
        assert group_attributes(str(image))[0][STATUS] == {"status": "complete"}
    assert images(work) == before


@pytest.mark.parametrize("level", [1, 2])
def test_a_deleted_level_is_made_again(tall, tmp_path, level):
    work = tmp_path / "w"

    def plan():
        return cf.label(tall, name="m", work=work, block=(3, 256, 6))

    go(plan())
    before = images(work)
    gone = work / f"results.ome.zarr/labels/m/{level}"
    assert any(gone.iterdir())
    shutil.rmtree(gone)
    go(plan())
    assert images(work) == before


def test_a_changed_voxel_size_of_the_input_is_refused(store, tmp_path, count):
    for _ in range(2):
        go(plan_of(cf.open_volume(store.url), tmp_path / "w"))
    assert len(calls(count)) == BLOCKS
    group = Path(store.url, "zarr.json")
    document = json.loads(group.read_text())
    (level,) = document["attributes"]["ome"]["multiscales"][0]["datasets"]
    level["coordinateTransformations"][0]["scale"][0] = 4.5
    group.write_text(json.dumps(document))
    changed = cf.open_volume(store.url)
    assert changed.voxel_nm == (4.5, 8.0, 16.0)
    with pytest.raises(JournalError, match="was written by a different plan: stage 'out/add' has "):
        go(plan_of(changed, tmp_path / "w"))


@pytest.mark.parametrize("at", [(0, 0, 1), (2, 1, 3), (3, 3, 3)])
@pytest.mark.parametrize("shards", [None, (16, 16, 16)], ids=["chunks", "shards"])
def test_a_change_of_one_unit_of_many_is_refused(tmp_path, shards, at):
    """In noise, as in EM, the changed chunk is as long as it was, so that its length does not tell."""
    values = np.random.default_rng(0).integers(1, 60000, (64, 64, 64), dtype=np.uint16)
    raw = new_volume(str(tmp_path / "raw.ome.zarr"), values.shape, "uint16", (8, 8, 8))
    raw = replace(raw, chunks=(8, 8, 8) if shards else (16, 16, 16), shards=shards, levels=1)
    create(raw)
    raw.write(raw.box, values)
    finish(raw)
    go(plan_of(raw, tmp_path / "w", block=(32, 64, 64)))
    box = Box(tuple(16 * i for i in at), tuple(16 * i + 16 for i in at))  # type: ignore[arg-type]
    raw.write(box, values[box.slices] + np.uint16(1))
    with pytest.raises(JournalError, match=r"stage 'out/add' read other voxels of .*raw.ome.zarr, which was"):
        go(plan_of(raw, tmp_path / "w", block=(32, 64, 64)))
