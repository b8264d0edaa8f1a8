"""Clusters: dask runs write the bytes of a serial run, also when workers die; what is missing is said."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from distributed import Client
from payload import calls, plan_of, stored
from strategies import contents

import chunkflow_liver as cf
from chunkflow_liver.engine.cluster import cluster, first_worker
from chunkflow_liver.engine.run import run, worker_memory
from chunkflow_liver.engine.tasks import Tasks, hand_out
from chunkflow_liver.errors import ClusterError, MemoryBudgetError, RunIncompleteError
from chunkflow_liver.store.create import create
from chunkflow_liver.store.table import read_table

pytestmark = [
    pytest.mark.network,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def client():
    """Two workers on this machine, shared by the tests of this file."""
    with cluster("local", workers=2, memory_gib=4) as found:
        found.wait_for_workers(2, timeout=120)
        yield found


def test_all_ports_are_on_the_loopback_interface(client):
    assert client.scheduler.address.startswith("tcp://127.0.0.1:")
    assert "//127.0.0.1:" in client.dashboard_link
    workers = client.scheduler_info(n_workers=-1)["workers"]
    assert len(workers) == 2
    assert all(address.startswith("tcp://127.0.0.1:") for address in workers)
    assert worker_memory(client) == 4 * 2**30


def test_workers_write_the_bytes_of_a_serial_run(client, store, tmp_path, caplog):
    here = run(plan_of(store, tmp_path / "here"), progress=False)
    with caplog.at_level(logging.INFO):
        there = run(plan_of(store, tmp_path / "there"), client, progress=False)
    assert stored(there.output) == stored(here.output)
    assert read_table(tmp_path / "there/out.parquet").equals(read_table(tmp_path / "here/out.parquet"))
    assert calls(tmp_path / "there-out-calls") == list(range(36))
    assert "cancel 0 keys" not in caplog.text


def test_operations_write_the_bytes_of_a_serial_run(client, store, tmp_path):
    rng = np.random.default_rng(0)
    classes = (rng.random((20, 40, 40)) > 0.7).astype(np.uint8)
    options = {"voxel_nm": (4, 8, 16), "kind": "label", "classes": (("a", 1),)}
    labels = cf.write_volume(tmp_path / "seg.ome.zarr", classes, **options)
    found = []
    for name, where in (("here", None), ("there", client)):
        plan = cf.label(labels, name="inst", work=tmp_path / name, block=(16, 16, 16))
        instances = plan.output
        at = {"work": tmp_path / name, "block": (16, 16, 16)}
        for more in (
            cf.distance(labels, to="a", cap_nm=40, name="far", **at),
            cf.contacts(instances, instances, gap_nm=16, name="near", **at),
            cf.measure(instances, name="table", **at),
        ):
            plan += more
        assert str(plan).count("in one pass") == 2
        run(plan, where, progress=False)
        found.append((stored(plan.stages[2].outputs[0]), read_table(plan.output)))
        found[-1] += (contents(tmp_path / name / "tables"), contents(tmp_path / name / "far.ome.zarr"))
    assert found[0][0] == found[1][0]
    assert found[0][1].equals(found[1][1])
    assert found[0][2:] == found[1][2:]


def listening():
    """Addresses at which this process and those below it listen."""
    here = psutil.Process()
    return [
        c.laddr
        for p in [here, *here.children(recursive=True)]
        for c in p.net_connections(kind="inet")
        if c.status == psutil.CONN_LISTEN
    ]


def test_nothing_listens_beyond_this_machine_and_no_page_is_served(client, store, tmp_path):
    seen = []

    def look():
        while not done.wait(0.05):
            seen.extend(listening())

    done = threading.Event()
    looking = threading.Thread(target=look)
    looking.start()
    run(plan_of(store, tmp_path / "w"), client, progress=False)
    done.set()
    looking.join()
    assert {address.ip for address in seen} == {"127.0.0.1"}
    # The scheduler and two workers with their nannies, each with a port for dask and one for pages.
    ports = sorted({address.port for address in seen})
    assert 5 <= len(ports) <= 10
    for port in ports:
        for page in ("/status", "/info/main/workers.html", "/json/identity.json", "/metrics", "/sysmon"):
            with (
                contextlib.suppress(OSError, http.client.HTTPException),
                contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=0.5)) as asked,
            ):
                asked.request("GET", page)
                assert asked.getresponse().status == 404


def test_a_cluster_with_tls_does_the_same_and_lets_no_stranger_in(store, voxels, tmp_path):
    with cluster("local", workers=1, memory_gib=1, security=True) as client:
        assert client.scheduler.address.startswith("tls://127.0.0.1:")
        plan = plan_of(store, tmp_path / "w")
        run(plan, client, progress=False)
        np.testing.assert_array_equal(plan.output.read(), voxels + 1)
        plain = client.scheduler.address.replace("tls://", "tcp://")
        with pytest.raises(OSError, match=r"Timed out|closed"):
            Client(plain, timeout="2s", set_as_default=False)


def test_a_failing_block_is_reported_and_the_rest_is_kept(client, store, voxels, tmp_path):
    plan = plan_of(store, tmp_path / "w")
    failing = Path(f"{tmp_path}/w-out-calls.fail-7")
    failing.touch()
    with pytest.raises(RunIncompleteError, match=r"1 of 36 blocks .*block 7 \(z 0:16, y 16:32, x 48:50\)"):
        run(plan, client, progress=False, retries=1)
    failing.unlink()
    before = calls(tmp_path / "w-out-calls")
    assert before.count(7) == 2
    run(plan, client, progress=False)
    assert len(calls(tmp_path / "w-out-calls")) == len(before) + 1
    np.testing.assert_array_equal(plan.output.read(), voxels + 1)


def test_a_plan_that_does_not_fit_a_worker_is_refused(client, store, tmp_path, monkeypatch):
    plan = plan_of(store, tmp_path / "w")
    monkeypatch.setattr(sys.modules["chunkflow_liver.engine.run"], "worker_memory", lambda _: 2.0**20)
    with pytest.raises(MemoryBudgetError, match=r"but a worker has 0.00 GiB"):
        run(plan, client, progress=False)


def test_workers_that_come_later_get_their_share(client, store, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["chunkflow_liver.engine.tasks"], "COUNT_SECONDS", 0.0)
    plan = plan_of(store, tmp_path / "w")
    create(plan.output)
    tasks = Tasks(iter(range(36)), 1, 0, 36)
    found = list(hand_out(plan.maps[:1], tasks, tmp_path / "w", client))
    assert sorted(block for batch in found for block in batch["done"]) == list(range(36))
    assert tasks.workers == 2


def test_a_client_without_workers_is_waited_for_and_told(monkeypatch, caplog):
    answers = iter([TimeoutError, TimeoutError, None])

    def wait(*_, **how):
        time.sleep(0.02)
        if answer := next(answers):
            raise answer

    monkeypatch.setattr(sys.modules["chunkflow_liver.engine.cluster"], "MINUTE", 0.01)
    with caplog.at_level(logging.INFO):
        first_worker(SimpleNamespace(wait_for_workers=wait, status="running"))
    assert caplog.text.count("no worker yet after") == 2
    answers = iter([TimeoutError])
    with pytest.raises(ClusterError, match="the dask scheduler is gone"):
        first_worker(SimpleNamespace(wait_for_workers=wait, status="closed"))
    answers = iter([TimeoutError] * 99)
    with pytest.raises(ClusterError, match=r"no workers, and none came within 0.1 s; wait longer \(--wait\)"):
        first_worker(SimpleNamespace(wait_for_workers=wait, status="running"), wait_s=0.1)


def test_a_running_scheduler_can_be_used(client, store, voxels, tmp_path):
    with cluster(scheduler=client.scheduler.address) as other:
        assert len(other.scheduler_info(n_workers=-1)["workers"]) == 2
        plan = run(plan_of(store, tmp_path / "w"), other, progress=False)
    np.testing.assert_array_equal(plan.output.read(), voxels + 1)
    # Leaving the block closes the client only, not the cluster of somebody else.
    assert len(client.scheduler_info(n_workers=-1)["workers"]) == 2
    (tmp_path / "scheduler.json").write_text(json.dumps({"address": client.scheduler.address}))
    with cluster(scheduler=str(tmp_path / "scheduler.json")) as other:
        assert other.scheduler.address == client.scheduler.address


def test_a_worker_that_is_killed_costs_nothing_but_time(client, store, tmp_path):
    """Runs last: dask starts a new worker in place of the one that was killed."""
    here = run(plan_of(store, tmp_path / "here"), progress=False)
    plan = plan_of(store, tmp_path / "there", seconds=0.1)
    victim = next(iter(client.run(os.getpid).values()))
    killed = []

    def kill() -> None:
        until = time.monotonic() + 60
        while len(calls(tmp_path / "there-out-calls")) < 8 and time.monotonic() < until:
            time.sleep(0.02)
        os.kill(victim, signal.SIGKILL)
        killed.append(victim)

    thread = threading.Thread(target=kill)
    thread.start()
    run(plan, client, progress=False)
    thread.join()
    assert killed == [victim]
    assert stored(plan.output) == stored(here.output)
    assert read_table(tmp_path / "there/out.parquet").equals(read_table(tmp_path / "here/out.parquet"))


def test_a_worker_whose_device_is_lost_is_replaced(client, store, tmp_path):
    here = run(plan_of(store, tmp_path / "here"), progress=False)
    plan = plan_of(store, tmp_path / "there")
    # The test before this one killed a worker.
    client.wait_for_workers(2, timeout=60)
    before = set(client.run(os.getpid).values())
    flag = Path(f"{tmp_path}/there-out-calls.lost")
    flag.touch()
    # No retries: a block whose worker ended is dask's to give to another one, and no failure of its own.
    run(plan, client, progress=False, retries=0)
    assert not flag.exists()
    assert stored(plan.output) == stored(here.output)
    assert read_table(tmp_path / "there/out.parquet").equals(read_table(tmp_path / "here/out.parquet"))
    client.wait_for_workers(2, timeout=60)
    assert len(set(client.run(os.getpid).values()) - before) == 1


def test_workers_that_are_slow_to_end_do_not_fail_a_run(monkeypatch, caplog):
    class Slow:
        def close(self, timeout: float) -> None:
            raise TimeoutError

    monkeypatch.setattr(sys.modules["chunkflow_liver.engine.cluster"], "_start", lambda *_: Slow())
    monkeypatch.setattr(
        "distributed.Client", lambda *_, **how: contextlib.nullcontext(SimpleNamespace(dashboard_link=""))
    )
    with cluster("local"):
        pass
    assert "workers did not end in time" in caplog.text


def test_processes_that_are_ended_are_nothing_to_warn_of(monkeypatch, caplog):
    nannies = logging.getLogger("distributed.nanny")

    class Slow:
        def close(self, timeout: float) -> None:
            nannies.warning("Worker process still alive after 4.0 seconds, killing")

    monkeypatch.setattr(sys.modules["chunkflow_liver.engine.cluster"], "_start", lambda *_: Slow())
    monkeypatch.setattr(
        "distributed.Client", lambda *_, **how: contextlib.nullcontext(SimpleNamespace(dashboard_link=""))
    )
    nannies.addHandler(caplog.handler)
    # A dask cluster of an earlier test may have silenced all of dask for good.
    caplog.set_level("WARNING", "distributed.nanny")
    try:
        with cluster("local"):
            nannies.warning("restarting a worker")
    finally:
        nannies.removeHandler(caplog.handler)
    assert "restarting a worker" in caplog.text
    assert "still alive" not in caplog.text


def test_an_unknown_kind_is_refused():
    with (
        pytest.raises(
            ClusterError, match="no cluster of kind 'cloud'; there are 'local', 'cuda' and 'slurm'"
        ),
        cluster("cloud"),
    ):
        pass


def test_a_scheduler_file_that_does_not_exist_is_refused_at_once(tmp_path):
    with (
        pytest.raises(ClusterError, match=r"no dask scheduler file at '.*none.json'"),
        cluster(scheduler=str(tmp_path / "none.json")),
    ):
        pass


def test_a_scheduler_address_that_is_none_is_refused_at_once():
    with (
        pytest.raises(ClusterError, match=r"no dask scheduler answers at 'nonsense://here'"),
        cluster(scheduler="nonsense://here"),
    ):
        pass


def test_a_scheduler_that_does_not_answer_is_refused_in_time(monkeypatch):
    monkeypatch.setattr(sys.modules["chunkflow_liver.engine.cluster"], "ANSWER_SECONDS", 3.0)
    start = time.monotonic()
    with (
        pytest.raises(ClusterError, match=r"no dask scheduler answers at 'tcp://127.0.0.1:9' within 3 s"),
        cluster(scheduler="tcp://127.0.0.1:9"),
    ):
        pass
    assert time.monotonic() - start < 8


def test_a_gpu_cluster_names_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "dask_cuda", None)
    with (
        pytest.raises(
            ClusterError, match=r"a GPU cluster needs dask-cuda .*pip install 'chunkflow-liver\[gpu\]'"
        ),
        cluster("cuda"),
    ):
        pass


def test_a_slurm_cluster_names_what_is_missing(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: None)
    with (
        pytest.raises(ClusterError, match="no 'sbatch' on this machine: start the run on a login node"),
        cluster("slurm"),
    ):
        pass
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    with pytest.raises(ClusterError, match=r"pip install 'chunkflow-liver\[slurm\]'"), cluster("slurm"):
        pass
