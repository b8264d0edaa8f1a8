"""Runs: the same bytes for any blocks and any history, nothing done twice, nothing lost, faults named."""

from __future__ import annotations

import json
import logging
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import payload
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from payload import calls, plan_of, stored
from strategies import contents

import chunkflow_liver as cf
from chunkflow_liver.engine.execute import execute
from chunkflow_liver.engine.journal import Journal, read_rows
from chunkflow_liver.engine.progress import Progress
from chunkflow_liver.engine.run import HOPELESS, Tasks, run
from chunkflow_liver.errors import (
    InputError,
    JournalError,
    MemoryBudgetError,
    OutputError,
    RunIncompleteError,
)
from chunkflow_liver.geometry import Box
from chunkflow_liver.store.create import STATUS, create, finish, new_volume, write_volume
from chunkflow_liver.store.ngff import group_attributes
from chunkflow_liver.store.table import read_table
from chunkflow_liver.store.volume import Volume, forget_handles

BLOCKS = 3 * 3 * 4


@pytest.fixture
def count(tmp_path: Path) -> Path:
    """Folder in which the calls of `payload.add` are counted, for the work folder 'w'."""
    return tmp_path / "w-out-calls"


def go(plan, **options):
    return run(plan, progress=False, **options)


def sums(raw: Volume, block=(16, 16, 16)) -> list[int]:
    from chunkflow_liver.geometry import BlockGrid

    return [int(raw.read(b.write).sum(dtype=np.int64)) for b in BlockGrid(raw.box, block)]


def test_a_plan_writes_its_volume_and_its_table(store, voxels, tmp_path, count):
    plan = plan_of(store, tmp_path / "w")
    assert go(plan) is plan
    np.testing.assert_array_equal(cf.open_volume(plan.output.url).read(), voxels + 1)
    table = read_table(tmp_path / "w/out.parquet")
    assert table["block"].to_pylist() == list(range(BLOCKS))
    assert table["sum"].to_pylist() == sums(store)
    assert calls(count) == list(range(BLOCKS))
    assert group_attributes(plan.output.url)[0][STATUS] == {"status": "complete"}
    assert not (tmp_path / "w/failed.json").exists()
    rows = list(read_rows(tmp_path / "w"))
    assert sorted(r["block"] for _, r in rows) == list(range(BLOCKS))
    assert all(r["seconds"] > 0 and r["peak_mib"] > 20 and r["written"] > 0 for _, r in rows)


def test_a_finished_plan_is_not_run_again(store, tmp_path, count):
    go(plan_of(store, tmp_path / "w"))
    before = stored(plan_of(store, tmp_path / "w").output)
    go(plan_of(store, tmp_path / "w"))
    assert len(calls(count)) == BLOCKS
    assert stored(plan_of(store, tmp_path / "w").output) == before


@pytest.mark.parametrize("break_at", [0, 10, 35])
def test_a_run_goes_on_where_it_stopped(store, voxels, tmp_path, count, break_at):
    plan = plan_of(store, tmp_path / "w")
    Path(f"{count}.fail-{break_at}").touch()
    with pytest.raises(
        RunIncompleteError, match=rf"1 of {BLOCKS} blocks of stage 'out/add' failed 3 times"
    ) as caught:
        go(plan)
    assert "What is done is kept: mend the cause and run again" in str(caught.value)
    assert f"block {break_at} (z " in str(caught.value)
    failures = json.loads((tmp_path / "w/failed.json").read_text())
    assert [f["block"] for f in failures["blocks"]] == [break_at]
    assert "ZeroDivisionError" in failures["blocks"][0]["traceback"]
    assert group_attributes(plan.output.url)[0][STATUS] == {"status": "in-progress"}
    assert calls(count).count(break_at) == 3
    Path(f"{count}.fail-{break_at}").unlink()
    go(plan)
    assert len(calls(count)) == BLOCKS + 3
    assert calls(count).count(break_at) == 4
    np.testing.assert_array_equal(plan.output.read(), voxels + 1)
    assert read_table(tmp_path / "w/out.parquet")["sum"].to_pylist() == sums(store)
    assert not (tmp_path / "w/failed.json").exists()


def test_a_block_that_fails_once_is_tried_again(store, voxels, tmp_path, count, monkeypatch, caplog):
    """The records of the blocks that were in its batch must outlive it."""
    plan = plan_of(store, tmp_path / "w")
    failing = Path(f"{count}.fail-20")
    failing.touch()
    finish = Tasks.finish

    def mend(tasks, rows, failed):
        failing.unlink(missing_ok=True) if failed else None
        finish(tasks, rows, failed)

    monkeypatch.setattr(Tasks, "finish", mend)
    with caplog.at_level(logging.WARNING):
        go(plan)
    assert "block 20 was told to fail; tried 1 time(s), trying again" in caplog.text
    assert len(calls(count)) == BLOCKS + 1
    np.testing.assert_array_equal(plan.output.read(), voxels + 1)
    assert read_table(tmp_path / "w/out.parquet")["sum"].to_pylist() == sums(store)


def test_retries_are_as_many_as_asked_for(store, tmp_path, count):
    Path(f"{count}.fail-3").touch()
    with pytest.raises(RunIncompleteError, match="failed 1 times"):
        go(plan_of(store, tmp_path / "w"), retries=0)
    assert calls(count).count(3) == 1
    assert len(calls(count)) == BLOCKS


def test_a_hopeless_stage_stops_early(store, tmp_path, count):
    Path(f"{count}.fail").touch()
    with pytest.raises(
        RunIncompleteError, match=rf"{HOPELESS} of {BLOCKS} blocks of stage 'out/add' failed 3 times"
    ):
        go(plan_of(store, tmp_path / "w"))
    assert len(calls(count)) == 3 * HOPELESS


def test_a_run_that_was_killed_goes_on(store, voxels, tmp_path, count):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import payload, chunkflow_liver as cf; from pathlib import Path\n"
        "raw = cf.open_volume(sys.argv[2])\n"
        "cf.run(payload.plan_of(raw, Path(sys.argv[3]), seconds=0.15), progress=False)\n"
    )
    plan = plan_of(store, tmp_path / "w", seconds=0.15)
    here = str(Path(__file__).parent)
    driver = subprocess.Popen([sys.executable, "-c", code, here, store.url, str(tmp_path / "w")])
    until = time.monotonic() + 60
    while len(calls(count)) < 12 and time.monotonic() < until:
        time.sleep(0.05)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    done = [row["block"] for _, row in read_rows(tmp_path / "w")]
    begun = calls(count)
    assert 0 < len(done) < BLOCKS
    go(plan)
    again = sorted(b for b in range(BLOCKS) if calls(count).count(b) > begun.count(b))
    assert not set(again) & set(done)
    np.testing.assert_array_equal(plan.output.read(), voxels + 1)
    assert read_table(tmp_path / "w/out.parquet")["sum"].to_pylist() == sums(store)


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
    with pytest.raises(JournalError, match=r"stage 'out/add' has inputs = "):
        go(plan_of(store, tmp_path / "w"))


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


def test_a_work_folder_may_be_moved(store, voxels, tmp_path):
    go(plan_of(store, tmp_path / "w"))
    (tmp_path / "w").rename(tmp_path / "moved")
    plan = plan_of(store, tmp_path / "moved")
    go(plan)
    assert calls(tmp_path / "moved-out-calls") == []
    np.testing.assert_array_equal(plan.output.read(), voxels + 1)


def test_a_second_driver_is_refused(store, tmp_path):
    with Journal(tmp_path / "w"), pytest.raises(OutputError, match="is in use by process"):
        go(plan_of(store, tmp_path / "w"))


def test_too_little_memory_is_refused_before_anything_is_written(store, tmp_path, listing):
    plan = plan_of(store, tmp_path / "w")
    before = listing()
    with pytest.raises(MemoryBudgetError, match="stage 'out/add' needs"):
        go(plan, memory_gib=0.01)
    assert listing() == before


def test_an_input_that_is_not_there_is_refused_before_anything_is_written(store, tmp_path):
    shutil.rmtree(store.url)
    forget_handles()
    with pytest.raises(InputError, match=r"raw.ome.zarr/0 does not exist \(yet\): run its plan first"):
        go(plan_of(store, tmp_path / "w"))
    assert not (tmp_path / "w").exists()


def test_a_corrupt_chunk_fails_the_blocks_that_need_it_and_no_others(store, tmp_path, count):
    key = list(store.keys(store.box))[5]
    file = Path(store.url, "0", key)
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(RunIncompleteError, match=f"cannot read chunk '{key}'"):
        go(plan_of(store, tmp_path / "w", halo=(0, 0, 0)))
    assert sorted(r["block"] for _, r in read_rows(tmp_path / "w")) == [b for b in range(BLOCKS) if b != 5]


blobs = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def semantic(rng: np.random.Generator) -> np.ndarray:
    """Classes 0, 1 and 2 in blobs of a few voxels, of a shape that no block divides."""
    from scipy.ndimage import uniform_filter

    smooth = uniform_filter(rng.random((21, 40, 37)), 3)
    return np.digitize(smooth, [0.5, 0.58]).astype(np.uint8)


def results(folder: Path, classes: np.ndarray, block) -> dict[str, np.ndarray]:
    folder.mkdir()
    options = {"voxel_nm": (4, 8, 16), "kind": "label", "classes": (("a", 1), ("b", 2))}
    labels = write_volume(folder / "seg.ome.zarr", classes, **options)
    work = {"work": folder / "w", "block": block}
    instances = cf.label(labels, name="inst", min_volume_um3=3 * 512 / 1e9, **work)
    distance = cf.distance(labels, to="a", cap_nm=60, name="dist", **work)
    table = cf.measure(instances.output, raw=labels, name="table", **work)
    go(instances + distance + table)
    frame = read_table(table.output).to_pandas()
    return {
        "instances": instances.output.read(),
        "distance": distance.output.read(),
        "table": frame.drop(columns="class").to_numpy(float),
        "class": frame["class"].to_numpy(str),
    }


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rng=blobs, block=st.tuples(*[st.sampled_from([16, 32, 48])] * 3))
def test_results_do_not_depend_on_the_blocks(tmp_path, rng, block):
    classes = semantic(rng)
    number = len(list(tmp_path.iterdir()))
    one = results(tmp_path / f"{number}", classes, (64, 64, 64))
    many = results(tmp_path / f"{number + 1}", classes, block)
    assert one["instances"].max() > 0
    for key in ("instances", "distance", "class"):
        np.testing.assert_array_equal(one[key], many[key])
    np.testing.assert_allclose(one["table"], many["table"], rtol=1e-9, atol=1e-9)


def test_an_empty_volume_has_no_instances_and_no_errors(tmp_path):
    found = results(tmp_path / "e", np.zeros((21, 40, 37), np.uint8), (16, 16, 16))
    assert found["table"].shape[0] == 0
    assert not found["instances"].any()
    assert np.isinf(found["distance"]).all()


@settings(max_examples=50, deadline=None)
@given(
    n=st.integers(0, 300),
    workers=st.integers(1, 9),
    seconds=st.floats(1e-4, 3),
    bad=st.sets(st.integers(0, 299)),
)
def test_every_block_is_handed_out_until_it_is_done_or_given_up(n, workers, seconds, bad):
    tasks = Tasks(iter(range(n)), workers, retries=1, remaining=n)
    handed: dict[int, int] = {}
    while batch := tasks.batch():
        assert len(batch) * seconds <= 1.0 + seconds or len(batch) == 1
        for b in batch:
            handed[b] = handed.get(b, 0) + 1
        failed = [{"block": b, "error": "", "traceback": ""} for b in batch if b in bad]
        tasks.finish([{"block": b, "seconds": seconds} for b in batch if b not in bad], failed)
    if tasks.hopeless:
        assert all(b in bad for b in handed)
        return
    assert handed == {b: 1 + (b in bad) for b in range(n)}
    assert sorted(tasks.failed) == sorted(b for b in bad if b < n)


def test_progress_is_a_line_where_there_is_no_terminal(caplog):
    with caplog.at_level(logging.INFO), Progress("a", 10, 4, shown=True) as shown:
        shown.add(3, 3_000_000, 1)
    assert "a: 7 of 10 blocks in" in caplog.text
    assert "1 failed attempts, 4 from an earlier run, about" in caplog.text


def peak_of(code: str, *arguments: str) -> tuple[int, int]:
    """(measured peak, estimate) in bytes without the process itself, as `code` prints them."""
    out = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    ).stdout
    peak, estimate = out.split()[-2:]
    return int(float(peak)), int(float(estimate))


PEAK = """
import sys, numpy as np, chunkflow_liver as cf
from chunkflow_liver.engine.execute import peak_mib
from chunkflow_liver.engine.journal import read_rows
from chunkflow_liver.engine.stage import PROCESS_BYTES
labels, work, what = cf.open_volume(sys.argv[1]), sys.argv[2], sys.argv[3]
at = dict(work=work, block=(256, 256, 256))
plan = {
    "label": lambda: cf.label(labels, name="x", **at),
    "measure": lambda: cf.measure(labels, raw=labels, name="x", **at),
    "texture": lambda: cf.measure(labels, raw=labels, features=["glcm", "gldm", "ngtdm"], name="x", **at),
    "runs": lambda: cf.measure(labels, raw=labels, features=["glrlm", "glszm"], name="x", **at),
    "distance": lambda: cf.distance(labels, to="a", cap_nm=80, name="x", **at),
    "contacts": lambda: cf.contacts(labels, labels, to="b", gap_nm=30, name="x", **at),
    "link": lambda: cf.link(labels, name="x", **at),
    "fill": lambda: cf.refine(labels, shapes=cf.Shapes(fill_holes=True), name="x", **at),
    "smooth": lambda: cf.refine(labels, shapes=cf.Shapes(8, 16, 16), name="x", **at),
    "evaluate": lambda: cf.evaluate(labels, labels, name="x", **at),
}[what]()
before = peak_mib() * 2**20
cf.run(plan, progress=False)
print(max(r["peak_mib"] for _, r in read_rows(work)) * 2**20 - before, plan.task_bytes - PROCESS_BYTES)
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> str:
    """256^3 voxels of classes in blobs: what label volumes look like, not what compresses best."""
    small = np.random.default_rng(0).random((32, 32, 32))
    classes = np.digitize(np.kron(small, np.ones((8, 8, 8))), [0.6, 0.8]).astype(np.uint8)
    path = tmp_path_factory.mktemp("large") / "seg.ome.zarr"
    write_volume(path, classes, voxel_nm=(8, 8, 8), kind="label", classes=(("a", 1), ("b", 2)))
    return str(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "what",
    ["label", "measure", "texture", "runs", "distance", "contacts", "evaluate", "link", "fill", "smooth"],
)
def test_a_task_needs_no_more_memory_than_the_plan_says(large, tmp_path, what):
    peak, estimate = peak_of(PEAK, large, str(tmp_path / "w"), what)
    assert peak <= estimate


def test_payload_calls_are_counted(tmp_path):
    (tmp_path / "c").mkdir()
    payload.note(str(tmp_path / "c"), 3)
    assert calls(tmp_path / "c") == [3]


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
        found = execute(stage, range(len(stage.grid)), tmp_path / "records")
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
    with pytest.raises(JournalError, match="stage 'out/add' has inputs = "):
        go(plan_of(raw, tmp_path / "w", block=(32, 64, 64)))
