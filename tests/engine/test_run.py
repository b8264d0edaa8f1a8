"""Runs: nothing done twice, nothing lost, faults named."""

from __future__ import annotations

import json
import logging
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import payload
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from payload import calls, go, plan_of, stored, sums

import chunkflow_liver as cf
from chunkflow_liver.engine.journal import Journal, read_rows
from chunkflow_liver.engine.tasks import HOPELESS, Tasks
from chunkflow_liver.engine.watch.progress import Progress
from chunkflow_liver.errors import (
    ChunkError,
    ConfigError,
    GridError,
    InputError,
    MemoryBudgetError,
    OutputError,
    RunIncompleteError,
)
from chunkflow_liver.store.create import STATUS
from chunkflow_liver.store.handles import forget_handles
from chunkflow_liver.store.ngff import group_attributes
from chunkflow_liver.store.table import read_table

BLOCKS = 3 * 3 * 4


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

    def mend(tasks, blocks, seconds, failed):
        failing.unlink(missing_ok=True) if failed else None
        finish(tasks, blocks, seconds, failed)

    monkeypatch.setattr(Tasks, "finish", mend)
    with caplog.at_level(logging.WARNING):
        go(plan)
    assert "block 20 was told to fail; tried 1 time(s), trying again" in caplog.text
    assert len(calls(count)) == BLOCKS + 1
    np.testing.assert_array_equal(plan.output.read(), voxels + 1)
    assert read_table(tmp_path / "w/out.parquet")["sum"].to_pylist() == sums(store)


def test_retries_are_as_many_as_asked_for(store, tmp_path, count):
    Path(f"{count}.fail-3").touch()
    with pytest.raises(RunIncompleteError, match="of stage 'out/add' failed; the first:"):
        go(plan_of(store, tmp_path / "w"), retries=0)
    assert calls(count).count(3) == 1
    assert len(calls(count)) == BLOCKS


@pytest.mark.parametrize(
    ("err", "cause", "permanent"),
    [
        (InputError("two masks overlap"), None, True),
        (ConfigError("too large"), None, True),
        (GridError("does not fit"), ValueError("x"), True),
        (InputError("cannot be read"), TimeoutError("the server is slow"), False),
        (ChunkError("is missing"), None, False),
        (ValueError("of a function"), None, False),
    ],
)
def test_only_what_a_second_try_could_mend_is_tried_again(
    store, tmp_path, monkeypatch, err, cause, permanent
):
    err.__cause__ = cause
    tried = []

    def refuse(block, *_, **__):
        tried.append(block.index)
        raise err

    monkeypatch.setattr(payload, "add", refuse)
    says = rf"failed{'' if permanent else ' 3 times'}; the first: stage 'out/add', block 0"
    with pytest.raises(RunIncompleteError, match=says):
        go(plan_of(store, tmp_path / "w", block=(48, 48, 64)))
    assert tried == [0] * (1 if permanent else 3)


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
    here = str(Path(payload.__file__).parent)
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
        good = len(batch) - len(failed)
        tasks.finish(good, good * seconds, failed)
    if tasks.hopeless:
        assert all(b in bad for b in handed)
        return
    assert handed == {b: 1 + (b in bad) for b in range(n)}
    assert sorted(tasks.failed) == sorted(b for b in bad if b < n)


def test_progress_is_a_line_where_there_is_no_terminal(caplog):
    with caplog.at_level(logging.INFO), Progress("a", 10, 4, shown=True) as shown:
        shown.add(3, 3_000_000, 1)
    assert "a: 7 of 10 blocks in" in caplog.text
    assert "1 failed attempts, 4 were there before, about" in caplog.text


@pytest.mark.parametrize(
    ("progress", "says"), [(True, ["out/add: 36 of 36 blocks in", "out/total: done"]), (False, [])]
)
def test_a_script_without_logging_is_told_on_stderr_how_far_it_is(store, tmp_path, progress, says):
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "import payload; import chunkflow_liver as cf\n"
        "store = cf.open_volume(sys.argv[2])\n"
        f"cf.run(payload.plan_of(store, Path(sys.argv[3])), progress={progress})\n"
    )
    arguments = [str(Path(payload.__file__).parent), store.url, str(tmp_path / "w")]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    lines = done.stderr.splitlines()
    assert len(lines) == len(says)
    assert all(line.startswith(start) for line, start in zip(lines, says, strict=True))


def test_payload_calls_are_counted(tmp_path):
    (tmp_path / "c").mkdir()
    payload.note(str(tmp_path / "c"), 3)
    assert calls(tmp_path / "c") == [3]


def test_what_a_killed_writer_left_is_swept_away_when_the_run_goes_on(store, tmp_path, count):
    """zarr 3 writes `<chunk>.<uuid>.partial` and renames it; a SIGKILL in between leaves it for good."""
    plan = plan_of(store, tmp_path / "w")
    (tmp_path / "w-out-calls.fail-3").touch()
    with pytest.raises(RunIncompleteError):
        go(plan, retries=0)
    (tmp_path / "w-out-calls.fail-3").unlink()
    left = next(Path(plan.output.url).rglob("c/**")) / "0.0123456789abcdef.partial"
    left.write_bytes(b"half a chunk")
    go(plan)
    assert not left.exists()
    assert list(Path(plan.output.url).rglob("*.partial")) == []
