"""Workers that are killed, stopped, or die while they start: the run ends, and says the truth."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import dask
import dying_worker
import numpy as np
import pytest
from distributed import Future, KilledWorker
from distributed.utils import get_mp_context
from payload import calls, plan_of, stored

from chunkflow_liver.engine.cluster import WORKER_ENVIRONMENT, cluster
from chunkflow_liver.engine.journal import read_journal
from chunkflow_liver.engine.run import run
from chunkflow_liver.engine.watch import workforce
from chunkflow_liver.engine.watch.status import status_text
from chunkflow_liver.errors import ClusterError, RunIncompleteError

pytestmark = [
    pytest.mark.network,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def dying(tmp_path_factory):
    """A file: while it exists, workers die as they start."""
    flag = tmp_path_factory.mktemp("dying") / "flag"
    before = dict(WORKER_ENVIRONMENT)
    os.environ["DYING_WORKER"] = str(flag)
    preloads = [*before["distributed.worker.preload"], str(dying_worker.__file__)]
    WORKER_ENVIRONMENT["distributed.worker.preload"] = preloads
    yield flag
    WORKER_ENVIRONMENT.update(before)
    del os.environ["DYING_WORKER"]


@pytest.fixture(scope="module")
def forked(dying):
    """Workers are forked from one process that has all modules: spawned, each took 5 s of CPU to begin."""
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        modules = [
            "distributed",
            "chunkflow_liver.engine.execute",
            "chunkflow_liver.engine.worker",
            "payload",
        ]
        get_mp_context().set_forkserver_preload(modules)
        yield


@pytest.fixture(scope="module")
def client(forked):
    with cluster("local", workers=2, memory_gib=4) as found:
        found.wait_for_workers(2, timeout=120)
        yield found


@pytest.fixture(autouse=True)
def clean(client, dying):
    """Both workers there at the beginning and at the end of every test."""
    yield
    dying.unlink(missing_ok=True)
    force = workforce.Workforce(client, Path("nowhere"), most=2)
    until = time.monotonic() + 100
    with pytest.MonkeyPatch.context() as patched:
        # Nobody waits here for a process that was told to die, nor half a minute before it is begun again.
        patched.setattr(workforce, "STARTING_SECONDS", 2.0)
        patched.setattr(workforce, "LOOK_SECONDS", 0.2)
        while len(client.scheduler_info(n_workers=-1)["workers"]) < 2 and time.monotonic() < until:
            force.look()
            time.sleep(0.2)
    force.close()


def flag(folder: Path, work: str, what: str) -> Path:
    path = Path(f"{folder}/{work}-out-calls.{what}")
    path.touch()
    return path


def test_a_block_that_kills_its_worker_is_set_aside_by_name_and_tried_again(client, store, voxels, tmp_path):
    plan = plan_of(store, tmp_path / "w")
    kills = flag(tmp_path, "w", "kill-7")
    with pytest.raises(RunIncompleteError) as caught:
        run(plan, client, progress=False)
    says = str(caught.value)
    assert (
        "1 of 36 blocks of stage 'out/add' failed 3 times; the first: stage 'out/add', block 7 (z 0:16"
        in says
    )
    assert "3 workers ended while they were at it" in says
    assert "Left out, because it needs them: out/total." in says
    assert calls(tmp_path / "w-out-calls").count(7) == 3
    assert sorted(set(calls(tmp_path / "w-out-calls"))) == list(range(36))
    known = read_journal(tmp_path / "w").stage("out/add")
    assert list(known.set_aside) == [7]
    assert len(known.records) == 35
    assert json.loads((tmp_path / "w/failed.json").read_text())["blocks"][0]["deaths"] == 3
    assert "block 7 was set aside" in status_text(tmp_path / "w")
    kills.unlink()
    run(plan, client, progress=False)
    np.testing.assert_array_equal(plan.output.read(), voxels + 1)
    assert read_journal(tmp_path / "w").stage("out/add").set_aside == {}
    assert not (tmp_path / "w/failed.json").exists()
    assert not (tmp_path / "w/running").exists()


def test_a_worker_that_is_stopped_is_ended_and_replaced(client, store, voxels, tmp_path, monkeypatch):
    monkeypatch.setattr(workforce, "STOPPED_SECONDS", 2.0)
    plan = plan_of(store, tmp_path / "w")
    flag(tmp_path, "w", "stop-7")
    run(plan, client, progress=False, retries=0)
    np.testing.assert_array_equal(plan.output.read(), voxels + 1)


def test_a_worker_that_ends_before_its_result_is_fetched_costs_one_batch(
    client, store, voxels, tmp_path, monkeypatch
):
    """distributed (2026.7.1) raises KilledWorker from `result()` of a future that says 'finished'."""
    fetched, gone = Future.result, ["tcp://127.0.0.1:1"]

    def result(future, *rest, **how):
        if gone:
            raise KilledWorker(future.key, SimpleNamespace(address=gone.pop()), 0)
        return fetched(future, *rest, **how)

    monkeypatch.setattr(Future, "result", result)
    plan = plan_of(store, tmp_path / "w")
    run(plan, client, progress=False, retries=0)
    np.testing.assert_array_equal(plan.output.read(), voxels + 1)
    assert not gone
    done = calls(tmp_path / "w-out-calls")
    assert sorted(set(done)) == list(range(36))
    assert len(done) > 36


@pytest.mark.slow
def test_workers_that_die_while_they_start_are_replaced(client, dying, store, tmp_path, monkeypatch):
    monkeypatch.setattr(workforce, "STARTING_SECONDS", 1.0)
    here = run(plan_of(store, tmp_path / "here"), progress=False)
    plan = plan_of(store, tmp_path / "there", seconds=0.05)
    pids = list(client.run(os.getpid).values())

    def kill() -> None:
        until = time.monotonic() + 60
        while len(calls(tmp_path / "there-out-calls")) < 8 and time.monotonic() < until:
            time.sleep(0.02)
        dying.touch()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        # Longer than dask waits before it gives a worker up.
        time.sleep(17)
        dying.unlink()

    thread = threading.Thread(target=kill)
    thread.start()
    run(plan, client, progress=False)
    thread.join()
    assert stored(plan.output) == stored(here.output)


def test_a_run_without_workers_ends_with_the_reason(client, dying, store, tmp_path, monkeypatch):
    monkeypatch.setattr(workforce, "NONE_LEFT_SECONDS", 6.0)
    monkeypatch.setattr(workforce, "STARTING_SECONDS", 1.0)
    plan = plan_of(store, tmp_path / "w")
    flag(tmp_path, "w", "kill-0")
    flag(tmp_path, "w", "kill-1")
    dying.touch()
    start = time.monotonic()
    says = r"no worker is left of the 2 that began, and none came back within 6 s; one ended at block [01] of"
    with pytest.raises(ClusterError, match=says + r" 'out/add'.*run again to go on"):
        run(plan, client, progress=False)
    assert time.monotonic() - start < 60


def test_a_full_worker_that_takes_no_work_is_begun_anew(monkeypatch):
    ended = []
    monkeypatch.setattr(workforce.Workforce, "_end", lambda self, address, why: ended.append((address, why)))
    monkeypatch.setattr(workforce, "PAUSED_SECONDS", 5.0)
    force = workforce.Workforce(client=None, work=Path("nowhere"))  # type: ignore[arg-type]
    idle, busy = {"task_counts": {}}, {"task_counts": {"executing": 1}}
    workers = {"a": {"status": "paused", "metrics": idle}, "b": {"status": "paused", "metrics": busy}}
    workers["c"] = {"status": "running", "metrics": idle}
    force._end_paused(workers, 0.0)
    assert ended == []
    force._end_paused(workers, 6.0)
    assert ended == [("a", "it has taken no work for 6 s, its memory is full")]
    workers["a"]["status"] = "running"
    force._end_paused(workers, 7.0)
    workers["a"]["status"] = "paused"
    force._end_paused(workers, 8.0)
    assert len(ended) == 1


def test_workers_that_never_begin_a_block_end_the_run():
    force = workforce.Workforce(client=None, work=Path("nowhere"))  # type: ignore[arg-type]
    for _ in range(workforce.MOST_UNEXPLAINED):
        force.died("somewhere", explained=False)
    with pytest.raises(ClusterError, match="21 workers one after the other ended before they began a block"):
        force.died("somewhere", explained=False)
    force.works()
    force.died("somewhere", explained=False)
