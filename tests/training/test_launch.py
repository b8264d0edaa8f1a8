"""Several processes train as one does, go on, and end with the one that started them."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import threading
import time

import pytest
import torch
from fitting import data, fit, same
from painted import InMemory, blobs

from chunkflow_liver.errors import ConfigError, MemoryBudgetError, TrainingError
from chunkflow_liver.training import launch
from chunkflow_liver.training.launch import trained

TWO = {"processes": 2, "batch": 4, "steps": 4, "epoch": 2}


def near(one, two):
    return all(torch.allclose(one[k], two[k], atol=2e-5) for k in one)


def test_two_processes_train_as_one_does(tmp_path):
    # SGD: Adam divides by gradients, which makes much of the rounding where these are nearly 0.
    how = TWO | {"optimizer": "sgd", "edges": 3.0}
    one = fit(tmp_path / "one", **how | {"processes": 1}).run()
    told = []
    several = fit(tmp_path / "two", **how)
    several.advance = told.append
    two = trained(several)
    assert near(one.weights, two.weights)
    assert not same(one.weights, fit(tmp_path / "start", **how | {"steps": 1, "processes": 1}).run().weights)
    for a, b in zip(one.history, two.history, strict=True):
        assert a["step"] == b["step"]
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-5)
        assert a["dice"] == pytest.approx(b["dice"], abs=2e-3)
    assert sum(told) == pytest.approx(1)


def test_several_processes_go_on_to_the_same_weights(tmp_path):
    whole = trained(fit(tmp_path / "whole", **TWO))
    broken = data()
    broken.sources[0].fail_at = 6
    with pytest.raises(TrainingError, match="the disk is gone"):
        trained(fit(tmp_path / "parts", broken, **TWO))
    assert same(whole.weights, trained(fit(tmp_path / "parts", **TWO)).weights)


def test_what_one_process_refuses_is_refused(tmp_path):
    with pytest.raises(MemoryBudgetError, match="do not fit the memory"):
        trained(fit(tmp_path, without_memory(), **TWO))


def without_memory():
    given = data()
    given.sources[0] = Short(*blobs())
    return given


class Short(InMemory):
    """An image whose windows do not fit the memory."""

    def image(self, box):
        raise MemoryError("out of memory")


def test_a_process_that_is_killed_ends_the_others(tmp_path):
    given = fit(tmp_path, **TWO | {"steps": 100_000, "epoch": 100_000})
    started = []

    class Kept(subprocess.Popen):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            started.append(self)

    def kill():
        while len(started) < 2:
            time.sleep(0.05)
        started[1].send_signal(signal.SIGKILL)

    killer = threading.Thread(target=kill)
    original = launch.subprocess.Popen
    launch.subprocess.Popen = Kept
    try:
        killer.start()
        with pytest.raises(TrainingError, match=r"process 1 of 2 was ended by signal 9.*run again"):
            trained(given)
    finally:
        launch.subprocess.Popen = original
        killer.join()
    assert all(process.poll() is not None for process in started)


def test_more_processes_than_gpus_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    given = fit(tmp_path, **TWO)
    given.recipe = dataclasses.replace(given.recipe, device="cuda")
    with pytest.raises(ConfigError, match="2 processes need as many GPUs, and there are 1; say processes: 1"):
        trained(given)
