"""A network with channels last gives the scores of the plain one, and its weights keep their names."""

from __future__ import annotations

import pytest
import torch
from model_folders import unet

from chunkflow_liver.segmenters.engines.layers import channels_last, memory_format

torch.set_num_threads(1)


def network(axes=3, kind="PlainConvUNet"):
    torch.manual_seed(0)
    blocks = "n_conv_per_stage" if kind == "PlainConvUNet" else "n_blocks_per_stage"
    return getattr(unet, kind)(
        input_channels=1, num_classes=3, n_stages=2, features_per_stage=[4, 8],
        kernel_sizes=3, strides=[1, 2],
        n_conv_per_stage_decoder=[1], conv_op=getattr(torch.nn, f"Conv{axes}d"), conv_bias=True,
        norm_op=getattr(torch.nn, f"InstanceNorm{axes}d"), norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=torch.nn.LeakyReLU, nonlin_kwargs={"inplace": True}, **{blocks: [1, 1]},
    ).eval()  # fmt: skip


@pytest.mark.parametrize("kind", ["PlainConvUNet", "ResidualEncoderUNet"])
@pytest.mark.parametrize("axes", [2, 3])
def test_the_scores_are_those_of_the_plain_network(axes, kind):
    plain = network(axes, kind)
    names = list(plain.state_dict())
    inputs = torch.randn((1, 1, 8, 16, 16)[: axes + 2])
    with torch.inference_mode():
        wanted = plain(inputs)
        laid = channels_last(plain, "float32", "cpu", is_2d=axes == 2)
        kept = memory_format(axes == 2)
        found = laid(inputs.contiguous(memory_format=kept))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
    assert list(laid.state_dict()) == names
    assert not any("InstanceNorm" in type(part).__name__ for part in laid.modules())


def test_in_bfloat16_the_weights_are_narrow():
    plain = network()
    inputs = torch.randn(1, 1, 8, 16, 16)
    with torch.inference_mode():
        wanted = plain(inputs)
        laid = channels_last(plain, "bfloat16", "cpu", is_2d=False)
        found = laid(inputs.to(torch.bfloat16).contiguous(memory_format=torch.channels_last_3d))
    assert {p.dtype for p in laid.parameters()} == {torch.bfloat16}
    assert float((found.float() - wanted).abs().max() / wanted.abs().max()) < 5e-2


def test_on_a_gpu_norms_and_weights_stay():
    laid = channels_last(network(), "float16", "cuda", is_2d=False)
    assert {p.dtype for p in laid.parameters()} == {torch.float32}
    assert any(isinstance(part, torch.nn.InstanceNorm3d) for part in laid.modules())
