"""A precision that crashes, differs or does not pay is not trained in; the crash stays in its own process."""

from __future__ import annotations

import dataclasses
import json
import subprocess

import pytest
import torch

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.training import narrow, numerics
from chunkflow_liver.training.narrow import narrow_convolutions
from chunkflow_liver.training.networks import network_of
from chunkflow_liver.training.numerics import chosen_precision, prepare, try_out, worst_layer
from chunkflow_liver.training.recipe import Recipe
from chunkflow_liver.training.topology import fitted

RECIPE, ARCHITECTURE = fitted(Recipe(("mito",), (8.0, 8.0, 8.0), (8, 8, 8), features=(2, 4)))
GOOD = {"layer": "encoder", "worst": 0.004, "float32": 2.0, "bfloat16": 1.0}


@pytest.fixture
def process(monkeypatch):
    """What the process of the trial gives: an exit status, and what it found."""
    given = {"status": 0, "found": dict(GOOD)}

    def run(command, **options):
        said = json.dumps(given["found"])
        return subprocess.CompletedProcess(command, given["status"], said, "double free or corruption\n")

    monkeypatch.setattr(numerics.subprocess, "run", run)
    monkeypatch.setattr(numerics, "has_bfloat16", lambda: True)
    return given


def precision(asked):
    return chosen_precision(dataclasses.replace(RECIPE, precision=asked), ARCHITECTURE)


def test_the_faster_precision_is_taken_where_it_is_safe(process):
    assert [precision(p) for p in ("auto", "bfloat16", "float32")] == ["bfloat16", "bfloat16", "float32"]


@pytest.mark.parametrize(
    ("status", "found", "says"),
    [
        (-6, {}, "the process ended by signal 6: double free or corruption"),
        (1, {}, "the process failed: double free"),
        (0, {"worst": 0.2}, "the gradient of layer 'encoder' differs by 20% from that in float32"),
        (0, {"worst": float("nan")}, "the gradient of layer 'encoder' differs by nan%"),
    ],
)
def test_what_is_not_safe_is_not_taken_and_refused_where_it_was_asked_for(status, found, says, process):
    process.update(status=status, found=GOOD | found)
    assert precision("auto") == "float32"
    with pytest.raises(ConfigError, match=f"bfloat16 is not safe .*{says}.*take precision: float32"):
        precision("bfloat16")


def test_what_is_hardly_faster_is_taken_only_where_it_was_asked_for(process):
    process["found"]["bfloat16"] = 1.95
    assert (precision("auto"), precision("bfloat16")) == ("float32", "bfloat16")


def test_a_process_that_hangs_is_given_up(monkeypatch):
    def hang(command, **options):
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(numerics.subprocess, "run", hang)
    assert "did not end within" in try_out(RECIPE, ARCHITECTURE)


def test_without_the_instructions_nothing_is_tried(process, monkeypatch):
    process["status"] = -6
    monkeypatch.setattr(numerics, "has_bfloat16", lambda: False)
    assert precision("auto") == "float32"


def test_a_trial_in_a_process_of_its_own():
    found = try_out(RECIPE, ARCHITECTURE)
    assert 0 < found["worst"] < 0.02
    assert min(found["float32"], found["bfloat16"]) > 0


def test_a_wrong_gradient_of_one_layer_is_seen(monkeypatch):
    network = network_of(RECIPE, ARCHITECTURE)
    assert worst_layer(network, RECIPE)[1] < 0.02
    kept = torch.ops.aten.convolution_backward

    class Wrong:
        def __call__(self, grown, *rest):
            found = list(kept(grown, *rest))
            if grown.dtype == torch.bfloat16 and grown.shape[1] == 4:
                found[0] = found[0] * 1.1
            return found

    monkeypatch.setattr(torch.ops.aten, "convolution_backward", Wrong())
    narrow._narrow.cache_clear()
    assert worst_layer(network, RECIPE)[1] > 0.05


@pytest.mark.parametrize("window", [(8, 8, 8), (16, 16)])
def test_narrow_convolutions_compute_what_wide_ones_do(window):
    recipe, architecture = fitted(dataclasses.replace(RECIPE, window=window))
    wide, slim = (network_of(recipe, architecture) for _ in range(2))
    for network, kind in ((wide, "float32"), (slim, "bfloat16")):
        prepare(network, kind, "cpu")
    x = torch.randn((2, 1, *window), generator=torch.Generator().manual_seed(0))
    a, b = (network(x)[0].float() for network in (wide, slim))
    assert float((a - b).detach().norm() / a.detach().norm()) < 0.03
    assert wide.state_dict().keys() == slim.state_dict().keys()
    b.sum().backward()
    assert all(w.grad.dtype == torch.float32 for w in slim.parameters() if w.grad is not None)


def test_the_kernel_of_narrow_weight_gradients_is_never_called(monkeypatch):
    """It is the one that corrupts memory."""
    calls = []
    kept = torch.ops.aten.convolution_backward

    class Watched:
        def __call__(self, grown, x, weight, *rest):
            calls.append((grown.dtype, rest[-1]))
            return kept(grown, x, weight, *rest)

    monkeypatch.setattr(torch.ops.aten, "convolution_backward", Watched())
    narrow._narrow.cache_clear()
    convolution = torch.nn.Conv3d(2, 3, 3, padding=1, bias=False)
    narrow_convolutions(convolution)
    x = torch.randn(1, 2, 4, 4, 4, requires_grad=True)
    convolution(x).float().sum().backward()
    assert calls == [(torch.bfloat16, [True, False, False]), (torch.float32, [False, True, False])]
