"""Convolutions in bfloat16 whose weight gradients are computed in float32: fast on newer CPUs, and right.

oneDNN's kernel of bfloat16 weight gradients on processors with AMX writes beyond its memory and gives wrong
gradients without a word for some shapes (seen in torch 2.10 to 2.15); its forward pass and its gradients of
the input are right. That kernel is never called here.
"""

from __future__ import annotations

from functools import cache
from typing import Any


def narrow_convolutions(network: Any) -> None:
    """Let every convolution of a network compute in bfloat16, its weight gradients excepted."""
    from torch import nn

    kinds = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    for part in network.modules():
        if isinstance(part, kinds) and part.padding_mode == "zeros" and not isinstance(part.padding, str):
            part.forward = _Forward(part)


class _Forward:
    """The forward pass of one convolution."""

    def __init__(self, part: Any) -> None:
        from torch import nn

        self.part = part
        self.transposed = isinstance(part, nn.ConvTranspose2d | nn.ConvTranspose3d)

    def __call__(self, x: Any) -> Any:
        part = self.part
        how = (
            list(part.stride),
            list(part.padding),
            list(part.dilation),
            self.transposed,
            list(part.output_padding),
            part.groups,
        )
        return _narrow().apply(x, part.weight, part.bias, how)


@cache
def _narrow() -> Any:
    """The function of torch's autograd; made late, as torch is imported late."""
    import torch

    class Narrow(torch.autograd.Function):  # type: ignore[misc]
        """A convolution in bfloat16, its weight gradients in float32."""

        @staticmethod
        def forward(ctx: Any, x: Any, weight: Any, bias: Any, how: Any) -> Any:
            short = (x.to(torch.bfloat16), weight.to(torch.bfloat16))
            ctx.save_for_backward(*short)
            ctx.how, ctx.has_bias, ctx.kind = how, bias is not None, x.dtype
            added = None if bias is None else bias.to(torch.bfloat16)
            return torch.ops.aten.convolution(*short, added, *how)

        @staticmethod
        def backward(ctx: Any, grown: Any) -> Any:
            x, weight = ctx.saved_tensors
            outputs = weight.shape[1] * ctx.how[5] if ctx.how[3] else weight.shape[0]
            back = torch.ops.aten.convolution_backward
            grown = grown.contiguous()
            of_x = of_weight = of_bias = None
            if ctx.needs_input_grad[0]:
                mask = [True, False, False]
                of_x = back(grown.to(torch.bfloat16), x, weight, [outputs], *ctx.how, mask)[0].to(ctx.kind)
            if ctx.needs_input_grad[1]:
                mask = [False, True, ctx.has_bias]
                wide = (grown.float(), x.float(), weight.float())
                _, of_weight, of_bias = back(*wide, [outputs], *ctx.how, mask)
            return of_x, of_weight, of_bias, None

    return Narrow
