"""OpenVINO gives the scores of torch, keeps what it converted, and tells nobody."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from model_folders import unet

from chunkflow_liver.errors import SegmenterError
from chunkflow_liver.segmenters.engines.engine import has_bfloat16
from chunkflow_liver.segmenters.engines.openvino import converted

pytest.importorskip("openvino")
torch.set_num_threads(1)
SHAPE = (2, 1, 8, 16, 16)


def network(norm=torch.nn.InstanceNorm3d):
    torch.manual_seed(0)
    return unet.PlainConvUNet(
        input_channels=1, num_classes=3, n_stages=2, features_per_stage=[4, 8],
        kernel_sizes=3, strides=[1, 2],
        n_conv_per_stage=[1, 1], n_conv_per_stage_decoder=[1], conv_op=torch.nn.Conv3d, conv_bias=True,
        norm_op=norm, norm_op_kwargs={"eps": 1e-5, "affine": True}, nonlin=torch.nn.LeakyReLU,
    ).eval()  # fmt: skip


class Odd(torch.nn.Module):
    """Asks for what OpenVINO lacks."""

    def forward(self, x):
        return torch.linalg.svdvals(x[0, 0]).sum() * x


def share(found, wanted):
    return float((found - wanted).abs().max() / wanted.abs().max())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("norm", [torch.nn.InstanceNorm3d, torch.nn.BatchNorm3d])
@pytest.mark.parametrize("scripted", [False, True])
def test_the_scores_are_those_of_torch(norm, scripted):
    net, inputs = network(norm), torch.randn(SHAPE)
    with torch.inference_mode():
        wanted = net(inputs)
    if scripted:
        net = torch.jit.trace(net, inputs)
    found = converted(net, SHAPE, "float32", "")(inputs)
    assert found.dtype == torch.float32
    assert share(found, wanted) < 1e-3


@pytest.mark.skipif(not has_bfloat16(), reason="this processor has no instructions for bfloat16")
def test_bfloat16_is_near():
    net, inputs = network(), torch.randn(SHAPE)
    with torch.inference_mode():
        wanted = net(inputs)
    found = converted(net, SHAPE, "bfloat16", "")(inputs)
    assert 1e-5 < share(found, wanted) < 5e-2


def test_inputs_of_any_layout_are_read_right():
    net, inputs = network(), torch.randn(SHAPE).flip(4)
    with torch.inference_mode():
        wanted = net(inputs)
    turned = inputs.contiguous(memory_format=torch.channels_last_3d)
    assert share(converted(net, SHAPE, "float32", "")(turned), wanted) < 1e-3


def test_what_was_converted_is_kept_by_the_fingerprint_and_the_shape(tmp_path, monkeypatch):
    monkeypatch.setenv("CHUNKFLOW_LIVER_CACHE", str(tmp_path))
    net, inputs = network(), torch.randn(SHAPE)
    first = converted(net, SHAPE, "float32", "a")(inputs).clone()
    # It could not be converted: what is kept is read.
    again = converted(Odd(), SHAPE, "float32", "a")(inputs)
    assert torch.equal(first, again)
    for other in (("b", SHAPE), ("a", (1, *SHAPE[1:]))):
        with pytest.raises(SegmenterError, match="OpenVINO cannot convert the network"):
            converted(Odd(), other[1], "float32", other[0])


def test_a_damaged_copy_is_made_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("CHUNKFLOW_LIVER_CACHE", str(tmp_path))
    converted(network(), SHAPE, "float32", "a")
    (kept,) = tmp_path.glob("*.xml")
    kept.write_text("<net")
    converted(network(), SHAPE, "float32", "a")
    assert len(kept.read_text()) > 1000


def test_only_the_newest_conversions_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("CHUNKFLOW_LIVER_CACHE", str(tmp_path))
    for i in range(10):
        converted(torch.nn.Conv3d(1, 2, 1).eval(), SHAPE, "float32", str(i))
        for path in tmp_path.glob("*.xml"):
            os.utime(path, ns=(path.stat().st_mtime_ns - 10**9,) * 2)
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".bin"] * 8 + [".xml"] * 8


def test_a_network_that_cannot_be_converted_is_refused_with_the_other_way():
    with pytest.raises(
        SegmenterError, match=r"OpenVINO cannot (convert|compile) the network: .*engine: torch"
    ):
        converted(Odd(), SHAPE, "float32", "")


def test_a_precision_that_openvino_lacks_is_refused():
    with pytest.raises(
        SegmenterError, match=r"does not run in float16 here; take one of \['bfloat16', 'float32'\]"
    ):
        converted(network(), SHAPE, "float16", "")


def test_nothing_is_reported_to_the_makers_of_openvino(tmp_path):
    """Its package of telemetry makes a folder in the home folder as soon as it reports."""
    code = (
        "import torch; from chunkflow_liver.segmenters.engines.openvino import converted;"
        "converted(torch.nn.Conv3d(1, 2, 1).eval(), (1, 1, 4, 4, 4), 'float32', '');"
        "import openvino_telemetry"
    )
    env = {k: v for k, v in os.environ.items() if k != "CI"} | {"HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=env, check=True, timeout=120)
    assert not (tmp_path / "intel").exists()
