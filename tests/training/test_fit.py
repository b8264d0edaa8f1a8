"""A training learns, goes on to the same weights, stops when it should, and says what went wrong."""

from __future__ import annotations

import dataclasses
import errno
import itertools
import math

import numpy as np
import pytest
import torch
from fitting import BASE, data, fit, same

from chunkflow_liver.errors import ConfigError, MemoryBudgetError, OutputError, TrainingError
from chunkflow_liver.training import checkpoints
from chunkflow_liver.training.fit import Fit, rate
from chunkflow_liver.training.networks import HEADS, network_of
from chunkflow_liver.training.numerics import swap_norms
from chunkflow_liver.training.topology import fitted


def test_a_small_network_learns(tmp_path):
    outcome = fit(tmp_path, steps=80, epoch=40, augment="flips").run()
    assert outcome.history[-1]["dice"] > 0.6
    assert [row["step"] for row in outcome.history] == [40, 80]
    assert outcome.history[1]["loss"] < outcome.history[0]["loss"]


@pytest.mark.parametrize(
    ("network", "options", "least"),
    [
        ("unet2d", {}, 0.8),
        ("unet3d", {}, 0.6),
        ("resunet", {}, 0.8),
        ("resenc", {}, 0.5),
        # Without normalisation it needs more steps and channels to begin with.
        ("pyramid", {"features": (8, 16), "steps": 150, "rate": 2e-3}, 0.6),
    ],
)
def test_every_network_learns(network, options, least, tmp_path):
    window = (16, 16) if network in ("unet2d", "resunet") else (4, 16, 16)
    given = {"network": network, "window": window, "augment": "none", "steps": 60, "epoch": 300} | options
    outcome = fit(tmp_path, **given).run()
    assert outcome.history[-1]["dice"] > least


@pytest.mark.parametrize("fail_at", [1, 5, 9, 15, 20])
def test_a_training_that_broke_goes_on_to_the_same_weights(fail_at, tmp_path):
    whole = fit(tmp_path / "whole").run()
    broken = data()
    broken.sources[0].fail_at = fail_at
    with pytest.raises(OSError, match="the disk is gone"):
        fit(tmp_path / "parts", broken).run()
    again = fit(tmp_path / "parts").run()
    assert same(whole.weights, again.weights)
    assert whole.step == again.step
    for a, b in zip(whole.history, again.history, strict=True):
        times = ("seconds", "cpu_seconds")
        assert {k: v for k, v in a.items() if k not in times} == {
            k: v for k, v in b.items() if k not in times
        }


def test_a_checkpoint_between_epochs_is_gone_on_from(tmp_path, monkeypatch):
    clock = itertools.count(0, 100)
    monkeypatch.setattr("chunkflow_liver.training.fit.time.monotonic", lambda: float(next(clock)))
    whole = fit(tmp_path / "whole").run()
    broken = data()
    broken.sources[0].fail_at = 11
    with pytest.raises(OSError, match="the disk is gone"):
        fit(tmp_path / "parts", broken).run()
    assert checkpoints.load(tmp_path / "parts/last.pt")["state"]["step"] % 4 != 0
    assert same(whole.weights, fit(tmp_path / "parts").run().weights)


def test_a_checkpoint_of_something_else_is_not_gone_on_from(tmp_path):
    fit(tmp_path / "a", steps=8).run()
    other = fit(tmp_path / "a", identity="other", seed=5).run()
    assert same(other.weights, fit(tmp_path / "b", identity="other", seed=5).run().weights)


def test_the_seed_decides_the_weights(tmp_path):
    one, two, other = (fit(tmp_path / str(i), seed=seed, steps=4).run() for i, seed in enumerate([0, 0, 1]))
    assert same(one.weights, two.weights)
    assert not same(one.weights, other.weights)


def test_a_full_disk_leaves_the_checkpoint_before_it_whole(tmp_path, monkeypatch):
    run = fit(tmp_path)
    kept = checkpoints.os.replace
    calls = []

    def full(source, target):
        calls.append(target)
        if len(calls) > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        kept(source, target)

    monkeypatch.setattr(checkpoints.os, "replace", full)
    with pytest.raises(OutputError, match=r"cannot write the checkpoint .*No space.*make room on the disk"):
        run.run()
    monkeypatch.undo()
    assert checkpoints.load(tmp_path / "last.pt")["state"]["step"] == 4
    assert not list(tmp_path.glob("*.partial"))
    assert same(fit(tmp_path).run().weights, fit(tmp_path / "whole").run().weights)


def test_the_best_weights_are_kept_and_training_stops_early(tmp_path, monkeypatch):
    dices = iter([0.5, 0.7, 0.6, 0.65, 0.9])
    monkeypatch.setattr(Fit, "validate", lambda self, network, precision: [next(dices), math.nan])
    outcome = fit(tmp_path, steps=20, patience=2).run()
    assert outcome.step == 8
    assert [row["dice"] for row in outcome.history] == [0.5, 0.7, 0.6, 0.65]
    assert same(outcome.weights, checkpoints.load(tmp_path / "best.pt")["network"])
    # A training that had stopped has nothing to do.
    assert fit(tmp_path, steps=20, patience=2).run().step == 8


@pytest.mark.parametrize(("keep", "step"), [("best", 4), ("last", 12)])
def test_best_or_last_weights_become_the_model(keep, step, tmp_path, monkeypatch):
    dices = iter([0.9, 0.5, 0.4])
    monkeypatch.setattr(Fit, "validate", lambda self, network, precision: [next(dices), math.nan])
    outcome = fit(tmp_path, keep=keep).run()
    assert outcome.step == step
    assert same(outcome.weights, checkpoints.load(tmp_path / f"{keep}.pt")["network"])


def test_without_anything_held_out_the_last_weights_are_taken(tmp_path):
    outcome = fit(tmp_path, data(held=False)).run()
    assert outcome.step == 12
    assert "dice" not in outcome.history[0]


def test_a_loss_that_is_no_number_is_said_at_once(tmp_path):
    given = data()
    given.sources[0].grey[:] = np.nan
    with pytest.raises(TrainingError, match=r"at step 0 the loss is nan, .*0\.01 in float32; take a smaller"):
        fit(tmp_path, given).run()


def test_a_gradient_that_is_no_number_is_said_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda weights, most: torch.tensor(math.inf))
    with pytest.raises(TrainingError, match=r"at step 0 the gradient is inf, .*take a smaller rate"):
        fit(tmp_path).run()


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("losses.Loss.__call__", RuntimeError("DefaultCPUAllocator: can't allocate memory")),
        ("losses.Loss.__call__", torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")),
        ("windows.drawing.Drawing.read", MemoryError("Unable to allocate 9.00 GiB for an array")),
        ("fit.Fit.validate", torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")),
    ],
    ids=["a step on the host", "a step on a GPU", "windows", "a validation"],
)
def test_too_little_memory_is_said_with_what_to_do(place, error, tmp_path, monkeypatch):
    def full(*given):
        raise error

    monkeypatch.setattr(f"chunkflow_liver.training.{place}", full)
    says = r"2 windows of \(4, 16, 16\) do not fit the memory .*allocate.*take a smaller batch"
    with pytest.raises(MemoryBudgetError, match=says):
        fit(tmp_path).run()


def test_other_errors_of_a_step_stay_what_they_are(tmp_path, monkeypatch):
    def wrong(*given):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr("chunkflow_liver.training.losses.Loss.__call__", wrong)
    with pytest.raises(RuntimeError, match=r"^shapes differ$"):
        fit(tmp_path).run()


def test_fine_tuning_begins_with_the_weights_and_new_heads_for_other_classes(tmp_path):
    start = fit(tmp_path / "a").run().weights
    run = fit(tmp_path / "b", start=start, classes=("dark", "bright", "other"), freeze="encoder")
    network = run._network()
    for name, value in network.state_dict().items():
        assert (HEADS in name) != (value.shape == start[name].shape and torch.equal(value, start[name]))
    found = run.run().weights
    encoder = [name for name in found if name.startswith("encoder.")]
    assert encoder
    assert all(torch.equal(found[name], start[name]) for name in encoder)
    assert not all(torch.equal(found[n], start[n]) for n in found if n.startswith("decoder.stages"))
    with pytest.raises(ConfigError, match=r"do not fit the network: .* the first 'encoder"):
        fit(tmp_path / "c", start=start, features=(5, 8)).run()


def test_group_norms_compute_what_instance_norms_do():
    recipe, architecture = fitted(BASE)
    plain, swapped = (network_of(recipe, architecture) for _ in range(2))
    swap_norms(swapped)
    assert plain.state_dict().keys() == swapped.state_dict().keys()
    x = torch.randn(2, 1, 4, 16, 16)
    for a, b in zip(plain(x), swapped(x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert not any(isinstance(m, torch.nn.InstanceNorm3d) for m in swapped.modules())
    assert len(list(plain.parameters())) == len(list(swapped.parameters()))


def test_learning_rates():
    recipe = dataclasses.replace(BASE, steps=1000)
    assert rate(recipe, 0) == pytest.approx(1e-2 / 30)
    assert rate(recipe, 500) == pytest.approx(1e-2 * 0.5**0.9)
    cosine = dataclasses.replace(recipe, schedule="cosine")
    assert rate(cosine, 500) == pytest.approx(0.5e-2)
