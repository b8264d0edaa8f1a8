"""SLURM: what cannot work is said at once; on a real controller, runs write the bytes of a serial run."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from payload import calls, plan_of, stored
from places import ROOT
from strategies import semantic, write

from chunkflow_liver.engine.cluster import cluster
from chunkflow_liver.engine.run import run
from chunkflow_liver.engine.slurm import controller, settings
from chunkflow_liver.engine.slurm import jobs as jobs_module
from chunkflow_liver.engine.worker import own_gpu
from chunkflow_liver.errors import ClusterError
from chunkflow_liver.store.table import read_table

pytest.importorskip("dask_jobqueue")

SUPPORT = ROOT / "tests/support"
SCRIPT = ROOT / "scripts/slurm_here.sh"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
MISSING = [p for p in PROGRAMS if shutil.which(p, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None]
real = [
    pytest.mark.network,
    pytest.mark.skipif(bool(MISSING), reason=f"no {MISSING} here; apt install slurm-wlm munge"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
PARTITIONS = "main* infinite gpu:2\nshort 1:00:00 (null)\n"


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Stand-ins for SLURM's programs; calling it gives sinfo another body."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def write(sinfo: str) -> None:
        for name in ("sbatch", "squeue", "scancel", "sinfo"):
            (folder / name).write_text(f"#!/bin/sh\n{sinfo if name == 'sinfo' else 'exit 1'}\n")
            (folder / name).chmod(0o755)

    write(f"printf '{PARTITIONS}'")
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return write


def test_partitions_are_told_in_words(programs):
    assert controller({}) == "main (default, up to infinite, gpu:2); short (up to 1:00:00)"
    assert controller({"queue": "short,main"})


def test_a_partition_that_does_not_exist_is_refused(programs):
    with pytest.raises(ClusterError, match=r"no partition 'shrot'; did you mean 'short'\? there are \["):
        controller({"queue": "shrot"})
    assert controller({"queue": "elsewhere", "job_extra_directives": ["-M other"]})


def test_a_controller_that_does_not_answer_is_told_at_once(programs, monkeypatch):
    programs("echo 'slurm_load_partitions: Unable to contact slurm controller' >&2; exit 1")
    with (
        pytest.raises(ClusterError, match=r"does not answer: 'sinfo' says 'slurm_load.*run without SLURM"),
        cluster("slurm"),
    ):
        pass
    monkeypatch.setattr(jobs_module, "ANSWER_SECONDS", 0.1)
    programs("exec sleep 30")
    start = time.monotonic()
    with pytest.raises(ClusterError, match=r"does not answer: 'sinfo' says 'no answer within"):
        controller({})
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("program", ["sbatch", "squeue", "sinfo", "scancel"])
def test_a_program_that_is_missing_is_named(monkeypatch, program):
    monkeypatch.setattr("shutil.which", lambda name, **_: None if name == program else name)
    with pytest.raises(ClusterError, match=f"no '{program}' on this machine: start the run on a login node"):
        controller({})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"interface": "nonsense0"}, "no network interface 'nonsense0' on this machine; there are ['"),
        ({"security": False}, "every user of the SLURM cluster run code as you"),
        ({"log_directory": "/nowhere/a b"}, "has a space in its name"),
        ({"waltime": "1:00"}, "did you mean 'walltime'?"),
        ({"memory": "nonsense"}, "dask-jobqueue refuses the SLURM cluster: no memory 'nonsense'"),
    ],
)
def test_what_cannot_work_is_refused_before_a_job_is_submitted(
    programs, tmp_path, monkeypatch, options, says
):
    def refuse(memory, **_):
        raise ValueError(f"no memory {memory!r}")

    monkeypatch.setattr("dask_jobqueue.SLURMCluster", refuse)
    with pytest.raises(ClusterError) as caught, cluster("slurm", folder=tmp_path / "jobs", **options):
        pass
    assert says in str(caught.value)


def test_gpus_per_job_are_for_slurm():
    for options in ({"kind": "local"}, {"scheduler": "tcp://127.0.0.1:1"}):
        with (
            pytest.raises(ClusterError, match="gpus_per_job=1 is for clusters"),
            cluster(**options, gpus_per_job=1),
        ):
            pass
    with (
        pytest.raises(ClusterError, match="takes no options"),
        cluster(scheduler="tcp://127.0.0.1:1", cores=1),
    ):
        pass


def test_a_job_has_a_worker_for_every_gpu(tmp_path):
    found = settings(8, 4, tmp_path, {"job_extra_directives": ["--qos=long"], "host": "10.0.0.1"})
    assert (found["cores"], found["processes"], found["memory"]) == (4, 4, "32GiB")
    assert found["job_extra_directives"] == ["--gres=gpu:4", "--qos=long"]
    assert found["scheduler_options"] == {
        "dashboard_address": "127.0.0.1:0",
        "dashboard": False,
        "host": "10.0.0.1",
    }
    assert "export DASK_DISTRIBUTED__WORKER__HTTP__ROUTES=[]" in found["job_script_prologue"]
    assert found["worker_extra_args"][-2:] == ["--dashboard-address", "127.0.0.1:0"]
    assert "export CHUNKFLOW_LIVER_GPUS_PER_JOB=4" in found["job_script_prologue"]
    assert [own_gpu(f"SLURMCluster-3-{i}", "4,5,6,7") for i in range(4)] == ["4", "5", "6", "7"]


def test_what_is_asked_for_goes_before_our_settings(tmp_path):
    asked = {"memory": "5GB", "cores": 8, "log_directory": "logs", "dashboard_address": ":8787"}
    found = settings(8, None, tmp_path, asked)
    assert (found["memory"], found["cores"], found["processes"]) == ("5GB", 8, 1)
    assert (found["log_directory"], found["shared_temp_directory"]) == ("logs", str(tmp_path))
    assert found["scheduler_options"] == {"dashboard_address": ":8787"}
    assert not any("ROUTES" in line for line in found["job_script_prologue"])
    assert found["job_extra_directives"] == []


def test_ctrl_c_stays_what_it_was(tmp_path):
    """In a process of its own: a package is imported once."""
    code = (
        "import signal; before = signal.getsignal(signal.SIGINT); "
        "from chunkflow_liver.engine.slurm import jobqueue; jobqueue(); "
        "assert signal.getsignal(signal.SIGINT) is before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture(scope="module")
def slurm():
    """A SLURM of one node on this machine: the environment that its programs need."""
    # The path of a socket has 107 characters at most.
    folder = tempfile.mkdtemp(prefix="slurm-")
    started = subprocess.run(
        [SCRIPT, "start", folder], capture_output=True, text=True, timeout=60, check=False
    )
    assert started.returncode == 0, started.stderr
    yield dict([started.stdout.strip().removeprefix("export ").split("=", 1)])
    subprocess.run([SCRIPT, "stop", folder], check=True, capture_output=True, timeout=60)
    assert not os.path.exists(folder)


@pytest.fixture
def queue(slurm, monkeypatch, tmp_path):
    """How to ask for jobs of that SLURM, which import what the tests do."""
    for name, value in slurm.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SUPPORT), *sys.path]))
    monkeypatch.setattr(jobs_module, "LOOK_SECONDS", 1.0)
    return {"kind": "slurm", "memory_gib": 1, "interface": "lo", "folder": tmp_path / "jobs"}


@contextlib.contextmanager
def soon(folder: Path, blocks: int, do):
    """Call `do` from another thread as soon as `blocks` blocks are begun."""

    def wait() -> None:
        until = time.monotonic() + 120
        while len(calls(folder)) < blocks and time.monotonic() < until:
            time.sleep(0.02)
        do()

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def scancel(*numbers: str) -> None:
    subprocess.run(["scancel", *numbers], check=True)


def same(there, here) -> None:
    assert stored(there.output) == stored(here.output)
    tables = [read_table(Path(plan.work) / "out.parquet") for plan in (there, here)]
    assert tables[0].equals(tables[1])


def environment() -> tuple[str, str]:
    return os.environ["CUDA_VISIBLE_DEVICES"], os.environ["MALLOC_TRIM_THRESHOLD_"]


def listening() -> set[str]:
    """Addresses of this machine on which the processes of dask and of SLURM listen."""
    import psutil

    found = set()
    for process in psutil.process_iter(["cmdline"]):
        words = " ".join(process.info["cmdline"] or [])
        if process.pid == os.getpid() or "dask_worker" in words or "slurm" in words.partition(" ")[0]:
            found |= {c.laddr.ip for c in process.net_connections("tcp") if c.status == "LISTEN"}
    return found


@pytest.mark.slow
class TestOnARealController:
    pytestmark = real

    def test_runs_write_the_bytes_of_a_serial_run(self, queue, store, tmp_path, caplog):
        """On two jobs: one is cancelled; the other dies, comes again, and is cancelled too."""
        here = run(plan_of(store, tmp_path / "here"), progress=False)
        one, last = (plan_of(store, tmp_path / name, seconds=0.1) for name in ("one", "last"))
        jobs = []

        def runs() -> None:
            with cluster(**queue, workers=2, gpus_per_job=1) as client:
                client.wait_for_workers(2, timeout=120)
                assert client.scheduler.address.startswith("tls://127.0.0.1:")
                assert set(client.run(environment).values()) == {("0", str(1 << 30)), ("1", str(1 << 30))}
                assert listening() == {"127.0.0.1"}
                same(run(plan_of(store, tmp_path / "two"), client, progress=False), here)

                jobs.extend(job.job_id for job in client.cluster.workers.values())
                with soon(tmp_path / "one-out-calls", 8, lambda: scancel(jobs[0])):
                    run(one, client, progress=False)
                same(one, here)

                (nanny,) = client.run(os.getppid).values()
                folder = tmp_path / "last-out-calls"
                with (
                    soon(folder, 8, lambda: os.kill(nanny, signal.SIGKILL)),
                    soon(folder, 20, lambda: scancel("--user", str(os.getuid()))),
                ):
                    run(last, client, progress=False)

        with pytest.raises(ClusterError, match=r"no SLURM job is left \(job \d+ ended: CANCELLED\)"):
            runs()
        assert squeue() == ""
        assert f"SLURM job {jobs[0]} ended: CANCELLED; jobs left: 1" in caplog.text
        assert re.search(rf"SLURM job {jobs[1]} ended: FAILED.*another one is submitted", caplog.text)
        # Logs of three jobs, and no keys.
        assert len(list((tmp_path / "jobs").glob("chunkflow-liver-*.err"))) == 3
        assert list((tmp_path / "jobs").glob(".*")) == []
        begun = len(calls(tmp_path / "last-out-calls"))
        run(last, progress=False)
        same(last, here)
        assert len(calls(tmp_path / "last-out-calls")) - begun < 30

    def test_jobs_that_stay_in_the_queue_are_waited_for_and_told(self, queue, monkeypatch, caplog):
        monkeypatch.setattr(sys.modules["chunkflow_liver.engine.cluster"], "MINUTE", 1.0)
        with (
            caplog.at_level("INFO"),
            pytest.raises(
                ClusterError, match=r"none came within 3 s \(SLURM jobs: 1 PENDING \(JobHeldUser\)\)"
            ),
            cluster(**queue, wait_s=3, job_extra_directives="--hold"),
        ):
            pass
        assert "no worker yet after" in caplog.text
        assert squeue() == ""

    def test_ctrl_c_while_jobs_wait_cancels_them_and_says_what_is_kept(self, queue, tmp_path):
        array = semantic((10, 12, 9), 3)
        write(tmp_path, array.astype("uint16"), "raw")
        write(tmp_path, array)
        wanted = {
            "input": {"path": "raw.ome.zarr"},
            "work": "work",
            "semantic": {"path": "semantic.ome.zarr"},
            "label": [{"name": "mitos", "classes": ["mitochondrion"]}],
        }
        (tmp_path / "run.yaml").write_text(yaml.safe_dump(wanted))
        options = ("--cluster-option", "interface=lo", "--cluster-option", "job_extra_directives=--hold")
        call = (sys.executable, "-m", "chunkflow_liver", "run", "run.yaml", "--cluster", "slurm", *options)
        with subprocess.Popen(call, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
            told = process.stderr.readline()
            assert "SLURM jobs in the queue: " in told
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            told = process.stderr.read()
        assert process.returncode == 130
        assert told.startswith("interrupted: ")
        assert squeue() == ""

    def test_jobs_that_cannot_start_a_worker_end_the_waiting(self, queue, tmp_path):
        with (
            pytest.raises(ClusterError, match=r"no SLURM job is left .* ends with '.*/nowhere/python"),
            cluster(**queue, python="/nowhere/python"),
        ):
            pass
        assert squeue() == ""

    def test_a_job_that_slurm_refuses_is_told(self, queue):
        with (
            pytest.raises(
                ClusterError,
                match=r"SLURM refused the job: .*Requested node configuration is not available; it asked for "
                r"-J .*--gres=gpu:3; partitions are main \(default, up to infinite, gpu:2\)",
            ),
            cluster(**queue, gpus_per_job=3),
        ):
            pass


def squeue() -> str:
    """Jobs that are not over, once those that end have ended."""
    until = time.monotonic() + 20
    while (left := subprocess.run(["squeue", "-h"], capture_output=True, text=True, check=True).stdout) and (
        time.monotonic() < until
    ):
        time.sleep(0.2)
    return left


def test_the_dashboard_is_told_where_the_package_that_draws_it_is(monkeypatch, caplog):
    there = sys.modules["chunkflow_liver.engine.cluster"]
    monkeypatch.setattr(there, "_start", lambda *_: SimpleNamespace(close=lambda **_: None))
    client = contextlib.nullcontext(SimpleNamespace(dashboard_link="http://127.0.0.1:1/status"))
    monkeypatch.setattr("distributed.Client", lambda *_, **how: client)
    for found, told in ((None, False), (object(), True)):
        caplog.clear()
        monkeypatch.setattr(there, "find_spec", lambda _, found=found: found)
        with caplog.at_level("INFO"), cluster("local", dashboard_address="127.0.0.1:1"):
            pass
        where = "dashboard at http://127.0.0.1:1/status; it has no password: every user of this machine"
        assert (where in caplog.text) is told
    caplog.clear()
    with caplog.at_level("INFO"), cluster("local"):
        pass
    assert "dashboard" not in caplog.text
    client = contextlib.nullcontext(SimpleNamespace(dashboard_link="http://10.0.0.1:1/status"))
    monkeypatch.setattr("distributed.Client", lambda *_, **how: client)
    with caplog.at_level("INFO"), cluster("local", dashboard_address="10.0.0.1:1"):
        pass
    assert "it has no password: whoever reaches this machine can open it" in caplog.text
    assert caplog.records[-1].levelname == "WARNING"
