"""One batch through the networks: what does not fit is cut, what lies is refused, what is lost is said."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from chunkflow_liver.errors import DeviceLostError, MemoryBudgetError, SegmenterError
from chunkflow_liver.segmenters.any_torch.kind import read_torch
from chunkflow_liver.segmenters.engines import Engine
from chunkflow_liver.segmenters.settings import Settings
from chunkflow_liver.segmenters.streaming.forward import Forward, prepare

torch.set_num_threads(1)

WINDOW = (4, 6, 8)
COMPILER = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler"),
]


@pytest.fixture
def model(tmp_path):
    (tmp_path / "net.pt").touch()
    content = {
        "weights": "net.pt",
        "window": list(WINDOW),
        "voxel_nm": None,
        "classes": {"background": 0, "a": 1},
    }
    return read_torch(content, tmp_path / "net.yaml")


def convolution():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv3d(1, 8, 3, padding=1), torch.nn.Conv3d(8, 2, 1)).eval()


class Fake(torch.nn.Module):
    """Copies its input to both heads; fails above `fits` inputs at once."""

    def __init__(self, fits=99, error=torch.OutOfMemoryError):
        super().__init__()
        self.fits, self.error, self.sizes = fits, error, []

    def forward(self, inputs):
        self.sizes.append(len(inputs))
        if len(inputs) > self.fits:
            raise self.error("CUDA out of memory")
        return inputs.repeat(1, 2, 1, 1, 1)


def inputs(n):
    return torch.arange(float(n))[:, None, None, None, None].expand(n, 1, *WINDOW).contiguous()


def forward(model, *networks, most=8):
    return Forward(networks, model, "cpu", Engine(), most)


def test_a_network_may_change_its_inputs(model):
    """They are seen again: by other folds, mirrored, and in resampled volumes by the windows beside."""

    class Changing(torch.nn.Module):
        def forward(self, given):
            return given.add_(1).repeat(1, 2, 1, 1, 1)

    given = inputs(3)
    for scores in forward(model, Changing(), Changing())(given):
        assert torch.equal(scores, inputs(3).repeat(1, 2, 1, 1, 1) + 1)
    assert torch.equal(given, inputs(3))


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_a_batch_that_does_not_fit_is_halved_until_it_does(error, model, caplog):
    network = Fake(3, error)
    made = forward(model, network)
    (scores,) = made(inputs(8))
    assert torch.equal(scores, inputs(8).repeat(1, 2, 1, 1, 1))
    assert (made.most, made.halved, network.sizes) == (2, 2, [8, 4, 2, 2, 2, 2])
    assert "cpu is out of memory: from now on 2 windows at once" in caplog.text
    made(inputs(8))
    assert network.sizes[6:] == [2, 2, 2, 2]


@pytest.mark.parametrize(("batch", "fits", "left"), [(6, 5, 3), (12, 7, 6), (12, 2, 1), (5, 4, 1), (9, 8, 3)])
def test_parts_of_a_batch_are_equal(batch, fits, left, model):
    network = Fake(fits)
    made = forward(model, network, most=batch)
    made(inputs(batch))
    assert made.most == left
    assert network.sizes[-batch // left :] == [left] * (batch // left)


def test_a_window_that_does_not_fit_at_all_is_said(model):
    made = forward(model, Fake(0), most=2)
    with pytest.raises(
        MemoryBudgetError, match=r"one window of \(4, 6, 8\) voxels does not fit the memory of cpu"
    ):
        made(inputs(2))


@pytest.mark.parametrize(
    "text", ["CUDA error: an illegal memory access was encountered", "device-side assert triggered"]
)
def test_an_error_that_stays_loses_the_device(text, model):
    class Broken(torch.nn.Module):
        def forward(self, _):
            raise RuntimeError(text)

    with pytest.raises(DeviceLostError, match=f"cpu is in a state that this process cannot leave: {text}"):
        forward(model, Broken())(inputs(1))


def test_a_network_that_cannot_take_its_inputs_is_named(model):
    with pytest.raises(
        SegmenterError,
        match=r"net.yaml cannot take inputs of \(2, 1, 4, 6, 8\), .*RuntimeError: .*set batch to that",
    ):
        forward(model, torch.nn.Conv3d(3, 2, 1))(inputs(2))


@pytest.mark.parametrize(
    ("network", "found"),
    [
        (torch.nn.Identity(), r"\(2, 1, 4, 6, 8\)"),
        (torch.nn.Conv3d(1, 2, 3), r"\(2, 2, 2, 4, 6\)"),
        (type("Many", (torch.nn.Module,), {"forward": lambda _, x: [x]})(), "list"),
    ],
)
def test_scores_of_another_shape_are_refused(network, found, model):
    says = rf"gives {found} for inputs of \(2, 1, 4, 6, 8\); wanted scores of \(2, 2, 4, 6, 8\)"
    with pytest.raises(SegmenterError, match=says):
        forward(model, network)(inputs(2))


def test_scores_of_all_networks_come_in_their_order(model):
    first, second = convolution(), Fake()
    found = forward(model, first, second)(inputs(3))
    with torch.inference_mode():
        assert torch.equal(found[0], first(inputs(3)))
    assert torch.equal(found[1], inputs(3).repeat(1, 2, 1, 1, 1))


@pytest.mark.parametrize(
    "how", [{"layout": "channels_last"}, pytest.param({"compile": "default"}, marks=COMPILER)], ids=str
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_prepared_network_gives_the_scores_of_the_plain_one(how, model):
    with torch.inference_mode():
        wanted = convolution()(inputs(2))
    made = prepare([convolution()], model, Settings(batch=2, **how))
    torch.testing.assert_close(made(inputs(2))[0], wanted, rtol=0, atol=1e-4)
    assert (made.most, made.halved, made.engine.precision) == (2, 0, "float32")


@pytest.mark.parametrize("wrong", [1.01, float("nan")])
@pytest.mark.parametrize("last", [False, True])
def test_a_compiled_network_that_lies_is_refused(wrong, last, model, monkeypatch):
    plain, lying = convolution(), convolution()
    lies = type("Lies", (torch.nn.Module,), {"forward": lambda _, x: plain(x) * wrong})()
    monkeypatch.setattr(torch, "compile", lambda network, **_: lies if network is lying else network)
    networks = [plain, lying] if last else [lying, plain]
    says = (
        r"compile='default' the network in .*net.yaml gives scores that differ by (0\.01|nan) of the largest"
    )
    with pytest.raises(SegmenterError, match=says):
        prepare(networks, model, Settings(compile="default"))


def test_a_network_that_lies_only_when_it_is_replayed_is_refused(model, monkeypatch):
    plain, calls = convolution(), []

    def replayed(values):
        calls.append(0)
        return plain(values) * len(calls)

    monkeypatch.setattr(torch, "compile", lambda *_, **__: replayed)
    with pytest.raises(SegmenterError, match="differ by 1 of the largest"):
        prepare([plain], model, Settings(compile="graphs"))


def test_scores_that_the_next_pass_overwrites_are_copied(model, monkeypatch):
    """CUDA graphs write all their results to one place."""
    plain, place = convolution(), torch.empty(1, 2, *WINDOW)
    monkeypatch.setattr(torch, "compile", lambda *_, **__: lambda values: place.copy_(plain(values)))
    made = prepare([plain], model, Settings(compile="graphs", batch=1))
    one, other = made(inputs(1))[0], made(inputs(1) + 5)[0]
    assert not torch.equal(one, other)


def test_a_network_that_does_not_compile_is_refused(model, monkeypatch):
    def fails(*_, **__):
        def network(_):
            raise RuntimeError("no such operation")

        return network

    monkeypatch.setattr(torch, "compile", fails)
    says = r"engine='torch', layout='channels_first', compile='default' on cpu: .*no such operation"
    with pytest.raises(SegmenterError, match=says):
        prepare([convolution()], model, Settings(compile="default"))


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_the_arithmetic_is_that_of_the_precision(precision, model):
    made = prepare([convolution()], model, Settings(precision=precision))
    assert made(inputs(1))[0].dtype == getattr(torch, precision)


def test_a_network_is_prepared_as_it_is_by_default(model):
    network = convolution()
    made = prepare([network], model, Settings())
    assert made.networks[0] is network
    assert Path(made.model.folder).name == "net.yaml"
