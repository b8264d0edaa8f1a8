"""SAM2's image encoder on OpenVINO: one slice at a time, in float32, the rest stays with torch.

A slice is encoded by itself, so that what a track sees depends on no other track, as with torch. In bfloat16
the coarsest features of the shipped model were off by 6 % of the largest, and it was no faster: float32 alone
is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chunkflow_liver.errors import SegmenterError
from chunkflow_liver.segmenters.engines.openvino import OTHERWISE, converted
from chunkflow_liver.segmenters.streaming.forward import MOST_DIFFERENT

PRECISION = "float32"


@dataclass(frozen=True)
class Encoder:
    """The encoder, converted.

    Attributes
    ----------
    passes : callable
        Colours (1, 3, S, S) to features by level, finest first, which the next call overwrites.
    positions : tuple of Tensor
        Position encodings by level; the same for all slices.
    """

    passes: Any
    positions: tuple[Any, ...]

    def __call__(self, colours: Any) -> tuple[list[Any], list[Any]]:
        """Features, of one's own, and position encodings, each (H W, 1, C) by level, finest first."""
        return [features.clone() for features in self.passes(colours)], list(self.positions)


def encoder_of(network: Any, size: int, name: str) -> Encoder:
    """The image encoder of a `Sam2VideoModel`; the conversion is kept under `name` for the next process.

    Parameters
    ----------
    network : Sam2VideoModel
        In eval mode on the CPU.
    size : int
        Side of the window in pixels.
    name : str
        Of the weights; "" keeps nothing.

    Raises
    ------
    SegmenterError
        If OpenVINO is not installed, cannot convert the encoder, or finds other features than torch.
    """
    import torch

    class Features(torch.nn.Module):  # type: ignore[misc]  # torch is untyped here
        """The encoder by itself, with plain tensors."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, colours: Any) -> Any:
            return tuple(network.get_image_features(colours, return_dict=True).fpn_hidden_states)

    shape = (1, 3, size, size)
    # Grey values as slices have them: smooth, over all of the range.
    trial = torch.randn((1, 1, size, size), generator=torch.Generator().manual_seed(0))
    trial = torch.nn.functional.avg_pool2d(trial, 5, 1, 2).mul(5).expand(shape).contiguous()
    with torch.inference_mode():
        wanted = network.get_image_features(trial, return_dict=True)
        passes = converted(Features().eval(), shape, PRECISION, name)
        found = passes(trial)
        worst = max(
            float((f - w).abs().max() / w.abs().max().clamp(min=1e-12))
            for f, w in zip(found, wanted.fpn_hidden_states, strict=True)
        )
    if not worst <= MOST_DIFFERENT[PRECISION]:
        raise SegmenterError(
            f"OpenVINO's image encoder finds features that differ from torch's by {worst:.2g} of the "
            f"largest, more than {MOST_DIFFERENT[PRECISION]:.2g}; {OTHERWISE}"
        )
    return Encoder(passes, tuple(wanted.fpn_position_encoding))
