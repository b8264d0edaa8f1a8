"""No silence: lines come while a block or anything else takes long, and status says what is running."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import payload
import psutil
import pytest
from payload import go, plan_of

from chunkflow_liver.engine.journal import Journal
from chunkflow_liver.engine.run import run
from chunkflow_liver.engine.watch import progress
from chunkflow_liver.engine.watch.lease import Holder, holder_of
from chunkflow_liver.engine.watch.marks import Marker, advance, read_marks
from chunkflow_liver.engine.watch.progress import Progress, working
from chunkflow_liver.engine.watch.status import status_text
from chunkflow_liver.errors import InputError, OutputError


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """Lines every fifth of a second."""
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.2)
    monkeypatch.setattr(progress, "BEAT_SECONDS", 0.02)


def test_a_line_comes_while_a_block_is_under_way(store, tmp_path, caplog):
    plan = plan_of(store, tmp_path / "w", block=(48, 48, 32), seconds=1.0)
    with caplog.at_level(logging.INFO):
        run(plan)
    said = [r.getMessage() for r in caplog.records if "under way: block 0 for" in r.getMessage()]
    assert len(said) >= 3
    assert re.match(r"out/add: 0 of 2 blocks in \d+\.\d s, under way: block 0 for \d+ s", said[0])
    assert re.search(r"out/add: 2 of 2 blocks in \d+\.\d s, 0\.\d\d Mvoxel/s", caplog.text)


def test_streaming_blocks_say_how_much_of_them_is_done(tmp_path):
    with Marker(tmp_path) as marker:
        marker.at("a", 3)
        marker.add(0.25)
        advance(0.5)
        (mark,) = read_marks(tmp_path).values()
        assert (mark.stage, mark.block, mark.share, mark.pid) == ("a", 3, 0.75, os.getpid())
    assert read_marks(tmp_path) == {}
    advance(0.5)
    assert read_marks(tmp_path) == {}


def test_in_a_pass_of_several_stages_a_block_says_which_it_is_in(tmp_path, caplog):
    with Marker(tmp_path) as marker, caplog.at_level(logging.INFO):
        for name in ("a/one", "a/one + b/two"):
            marker.at("b/two", 3)
            with Progress(name, 5, 1, shown=True, work=tmp_path):
                pass
    alone, together = [m for r in caplog.records if "of 5 blocks" in (m := r.getMessage())][-2:]
    assert re.search(r"under way: block 3 for 0 s$", alone)
    assert re.search(r"under way: block 3 in b/two for 0 s$", together)


def test_whatever_takes_long_says_so(caplog):
    with caplog.at_level(logging.INFO), working("the report"):
        time.sleep(0.5)
    assert "the report: under way for 0 s" in caplog.text
    with caplog.at_level(logging.INFO), Progress("a", 2, 0, shown=False):
        time.sleep(0.5)
    assert "a: 0 of 2" not in caplog.text


@pytest.mark.parametrize("kept", [False, True])
def test_the_first_use_says_that_loops_are_compiled(tmp_path, caplog, monkeypatch, kept):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    if kept:
        (tmp_path / "kernels").mkdir()
        (tmp_path / "kernels/loops.label-1.py311.1.nbi").touch()
    progress.tell_first_use.cache_clear()
    with caplog.at_level(logging.INFO):
        for done in (1, 0, 0):
            with Progress("out/add", 1, done, shown=True):
                assert done == 0 or "first use" not in caplog.text
    assert caplog.text.count("first use: every operation compiles its loops") == (not kept)


def test_status_says_what_is_running(store, tmp_path):
    plan = plan_of(store, tmp_path / "w", block=(48, 48, 32), seconds=1.0)
    thread = threading.Thread(target=lambda: run(plan, progress=False))
    thread.start()
    text = ""
    until = time.monotonic() + 20
    while "under way" not in text and time.monotonic() < until:
        time.sleep(0.05)
        if (tmp_path / "w/plan.json").exists():
            text = status_text(tmp_path / "w")
    thread.join()
    assert re.search(r"out/add +running +\d of 2 blocks.*, under way: block \d for \d+ s", text)
    assert f"process {os.getpid()} of " in text
    assert " is at work" in text
    after = status_text(tmp_path / "w")
    assert re.search(r"out/add +done +2 of 2 blocks", after)
    assert "left:" not in after
    assert "at work" not in after


def started(store, work, seconds):
    """A process that runs the plan, and has written it."""
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "import payload; import chunkflow_liver as cf\n"
        "store = cf.open_volume(sys.argv[2])\n"
        "cf.run(payload.plan_of(store, Path(sys.argv[3]), seconds=float(sys.argv[4])), progress=False)\n"
    )
    arguments = [str(Path(payload.__file__).parent), store.url, str(work), str(seconds)]
    driver = subprocess.Popen([sys.executable, "-c", code, *arguments])
    wait_for((work / "plan.json").exists)
    return driver


def wait_for(there):
    until = time.monotonic() + 60
    while time.monotonic() < until and not there():
        time.sleep(0.05)


def test_status_says_stopped_after_the_driver_was_killed(store, tmp_path):
    driver = started(store, tmp_path / "w", seconds=0.3)
    wait_for(lambda: " 0 of 36" not in status_text(tmp_path / "w"))
    text = status_text(tmp_path / "w")
    assert re.search(r"out/add +running", text)
    left = re.search(r"^left: about (\d+) s for one worker \(.+\), by blocks of this run$", text, re.M)
    # 36 blocks sleep 0.3 s each, and a busy machine takes longer.
    assert int(left[1]) >= 0.3 * (36 - int(re.search(r"(\d+) of 36", text)[1])) - 1
    with pytest.raises(
        OutputError, match=rf"is in use by process {driver.pid} of .*; wait for it, or stop it"
    ):
        go(plan_of(store, tmp_path / "w", seconds=0.3))
    driver.kill()
    driver.wait()
    text = status_text(tmp_path / "w")
    assert re.search(r"out/add +stopped +\d+ of 36 blocks", text)
    assert f"process {driver.pid} of " in text
    assert "is gone and did not end the run: run again to go on" in text
    assert "under way" not in text
    go(plan_of(store, tmp_path / "w"))
    assert "is gone" not in status_text(tmp_path / "w")


def test_status_says_stopped_of_a_stage_of_which_no_block_is_done(store, tmp_path):
    driver = started(store, tmp_path / "w", seconds=60)
    wait_for(lambda: "running" in status_text(tmp_path / "w"))
    driver.kill()
    driver.wait()
    wait_for(lambda: "running" not in status_text(tmp_path / "w"))
    lines = status_text(tmp_path / "w").splitlines()
    assert re.search(r"out/add +stopped +0 of 36 blocks", lines[0])
    assert re.search(r"out/total +to do +0 of 1 blocks", lines[1])


def test_a_holder_is_alive_while_its_process_or_its_lease_is(tmp_path):
    with Journal(tmp_path):
        mine = holder_of(tmp_path)
        assert mine is not None
        assert mine.alive
    assert holder_of(tmp_path) is None
    assert not replace(mine, started=mine.started - 5).alive
    gone = psutil.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert not replace(mine, pid=gone.pid).alive
    elsewhere = replace(mine, host=f"not-{socket.gethostname()}", pid=1)
    assert replace(elsewhere, seen=time.time() - 60).alive
    assert not replace(elsewhere, seen=time.time() - 3600).alive
    (tmp_path / ".lock.json").write_text(json.dumps(asdict(elsewhere)))
    assert holder_of(tmp_path) == elsewhere
    (tmp_path / ".lock.json").write_text("process 3 of someone")
    assert holder_of(tmp_path) is None
    assert isinstance(mine, Holder)


def test_a_plan_that_was_cut_off_is_named(store, tmp_path):
    go(plan_of(store, tmp_path / "w"))
    path = tmp_path / "w/plan.json"
    path.write_text(path.read_text()[:40])
    with pytest.raises(InputError, match=r"plan\.json cannot be read: .*run the plan again"):
        status_text(tmp_path / "w")
    go(plan_of(store, tmp_path / "w"))
    assert "done" in status_text(tmp_path / "w")
