"""SLURM jobs: those whose time is up come again, those that cannot work or are cancelled do not."""

from __future__ import annotations

import asyncio
import itertools
import logging
from types import SimpleNamespace

import pytest

from chunkflow_liver.engine.slurm import jobs as jobs_module
from chunkflow_liver.engine.slurm.jobs import Jobs, job_states


class Cluster:
    """What `Jobs` needs of a SLURMCluster; `refuse` is what sbatch says."""

    def __init__(self) -> None:
        self.worker_spec, self.workers, self.refuse = {}, {}, ""
        self.scheduler = SimpleNamespace(workers={}, http_server=SimpleNamespace(address="127.0.0.1", port=1))
        self.numbers = itertools.count(1)

    def new_worker_spec(self):
        return {f"c-{len(self.worker_spec)}": {}}

    def sync(self, function, *args):
        return asyncio.run(function(*args))

    def __await__(self):
        if self.refuse:
            raise RuntimeError(f"Command exited\nstdout:\n\nstderr:\nsbatch: error: {self.refuse}\n")
        for name in self.worker_spec.keys() - self.workers.keys():
            self.workers[name] = SimpleNamespace(job_id=str(next(self.numbers)))
        yield from ()

    def connect(self, *names) -> None:
        self.scheduler.workers = {name: SimpleNamespace(name=name) for name in names}


@pytest.fixture
def made(tmp_path):
    found = Jobs(Cluster(), tmp_path, "w")
    found.submit(2)
    return found


def numbers(made):
    return sorted(job.job_id for job in made.cluster.workers.values())


def states(made, *found):
    return dict(zip(numbers(made), found, strict=True))


def test_jobs_that_wait_and_run_are_told(made):
    made.look(states(made, ("PENDING", "Priority"), ("RUNNING", "None")))
    assert made.text == "1 PENDING (Priority), 1 RUNNING"
    assert (numbers(made), made.ended) == (["1", "2"], "")


@pytest.mark.parametrize("state", ["TIMEOUT", "PREEMPTED", "NODE_FAIL", "COMPLETED", "FAILED"])
def test_a_job_that_worked_and_ended_is_replaced_for_ever(made, caplog, state):
    for turn in range(10):
        made.cluster.connect("c-0-0", "c-0-1", "c-1")
        made.look(dict.fromkeys(numbers(made), ("RUNNING", "None")))
        before = numbers(made)
        made.cluster.connect()
        with caplog.at_level(logging.WARNING):
            made.look(states(made, ("RUNNING", "None"), (state, "None")))
        assert (len(set(numbers(made)) - set(before)), made.misses, made.ended) == (1, 0, ""), turn
    assert f"ended: {state}" in caplog.text
    assert "another one is submitted" in caplog.text


def test_a_job_that_somebody_cancels_is_not_submitted_again(made, caplog):
    with caplog.at_level(logging.WARNING):
        made.look(states(made, ("RUNNING", "None"), ("CANCELLED", "None")))
    assert (numbers(made), made.ended) == (["1"], "")
    assert "SLURM job 2 ended: CANCELLED; jobs left: 1" in caplog.text
    made.look(states(made, ("CANCELLED by 0", "None")))
    assert numbers(made) == []
    assert made.ended == (
        "no SLURM job is left (job 1 ended: CANCELLED by 0); what is done is kept, run again to go on"
    )


def test_jobs_that_end_before_their_worker_reports_are_given_up(made, tmp_path):
    looks = 0
    while not made.ended and looks < 9:
        for number in numbers(made):
            (tmp_path / f"w-{number}.err").write_text("Traceback\n\nModuleNotFoundError: distributed\n")
        made.look(dict.fromkeys(numbers(made), ("FAILED", "NonZeroExitCode")))
        looks += 1
    assert looks == 2
    assert made.ended.startswith("no SLURM job is left (job ")
    assert "ends with 'Traceback / ModuleNotFoundError: distributed'; if it could not reach" in made.ended


def test_a_job_without_a_log_says_so(made):
    made.look({})
    assert "no log at" in made.last
    assert "is gone" in made.last


def test_a_job_that_sbatch_refuses_is_tried_again(made, caplog):
    made.cluster.connect("c-0", "c-1")
    made.look(states(made, ("RUNNING", ""), ("RUNNING", "")))
    made.cluster.refuse = "QOSMaxSubmitJobPerUserLimit"
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            made.look({"1": ("RUNNING", "")})
    assert made.text == "1 RUNNING, 1 not submitted"
    assert caplog.text.count("cannot be submitted now: QOSMaxSubmitJobPerUserLimit") == 1
    made.cluster.refuse = ""
    made.look({"1": ("RUNNING", "")})
    assert (numbers(made), made.text) == (["1", "3"], "1 RUNNING, 1 submitted")


def test_the_client_is_closed_when_no_job_is_left(made, monkeypatch, caplog):
    answers = iter([OSError("socket timed out"), {"1": ("CANCELLED", ""), "2": ("CANCELLED", "")}])

    def answer():
        found = next(answers)
        if isinstance(found, OSError):
            raise found
        return found

    monkeypatch.setattr(jobs_module, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(jobs_module, "job_states", answer)
    closed = []
    made.watch(SimpleNamespace(close=lambda: closed.append(True)))
    made.thread.join(10)
    made.stop()
    assert closed == [True]
    assert made.ended in caplog.text


def test_the_dashboard_is_linked_where_it_listens(made):
    assert made.dashboard_link == "http://127.0.0.1:1/status"
    made.cluster.scheduler.http_server.address = "0.0.0.0"
    made.cluster.dashboard_link = "http://login1:8787/status"
    assert made.dashboard_link == "http://login1:8787/status"


def test_states_are_read_as_squeue_writes_them(monkeypatch):
    monkeypatch.setattr(
        jobs_module, "ask", lambda *_: "12|RUNNING|None\n13_[1-4]|PENDING|a|b\nslurm_load_jobs warning\n"
    )
    assert job_states() == {"12": ("RUNNING", "None"), "13_[1-4]": ("PENDING", "a|b")}
