"""One batch through the networks: arithmetic, layout, compilation, and a device that gives up."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chunkflow_liver.errors import DeviceLostError, MemoryBudgetError, SegmenterError
from chunkflow_liver.segmenters.model import Model
from chunkflow_liver.segmenters.settings import Settings

log = logging.getLogger(__name__)

MOST_DIFFERENT = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 5e-2}
"""Largest difference of a compiled or re-laid network from the plain one, as a share of its largest score."""
STICKY = ("CUDA error", "device-side assert", "unspecified launch failure")


@dataclass
class Forward:
    """A batch (B, C, *window) to the scores (B, heads, *window) of every network.

    Attributes
    ----------
    networks : tuple of torch.nn.Module
        On the device, in eval mode.
    model : Model
    device, precision, layout : str
        See `Settings`; precision is no longer "auto".
    most : int
        Inputs that fit the device at once; halved whenever they did not.
    halved : int
        How often that was.
    """

    networks: tuple[Any, ...]
    model: Model
    device: str
    precision: str
    layout: str
    most: int
    halved: int = 0

    def __call__(self, inputs: Any) -> list[Any]:
        """Scores of every network, float32 or as the precision says."""
        import torch

        while True:
            try:
                with torch.inference_mode(), self._mixed():
                    return [self._all(network, inputs) for network in self.networks]
            except torch.OutOfMemoryError as err:
                if self.most == 1:
                    raise MemoryBudgetError(
                        f"one window of {self.model.window} voxels does not fit the memory of {self.device}; "
                        "use a smaller block or a model with a smaller window, or another device"
                    ) from err
                self.most = max(1, self.most // 2)
                self.halved += 1
                log.warning("%s is out of memory: from now on %d windows at once", self.device, self.most)
                if torch.device(self.device).type == "cuda":
                    torch.cuda.empty_cache()
            except RuntimeError as err:
                if any(text in str(err) for text in STICKY):
                    raise DeviceLostError(
                        f"{self.device} is in a state that this process cannot leave: {err}"
                    ) from err
                raise

    def _all(self, network: Any, inputs: Any) -> Any:
        import torch

        parts = [self._one(network, inputs[i : i + self.most]) for i in range(0, len(inputs), self.most)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _one(self, network: Any, inputs: Any) -> Any:
        import torch

        inputs = inputs.to(self.device)
        if self.layout == "channels_last":
            kind = torch.channels_last if self.model.is_2d else torch.channels_last_3d
            inputs = inputs.contiguous(memory_format=kind)
        scores = network(inputs)
        wanted = (len(inputs), self.model.heads, *self.model.window)
        if not isinstance(scores, torch.Tensor) or tuple(scores.shape) != wanted:
            found = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
            raise SegmenterError(
                f"the network in {self.model.folder} gives {found} for inputs of {tuple(inputs.shape)}; "
                f"wanted scores of {wanted}: (inputs, classes, window)"
            )
        return scores

    def _mixed(self) -> contextlib.AbstractContextManager[Any]:
        import torch

        if self.precision == "float32":
            return contextlib.nullcontext()
        mixed: contextlib.AbstractContextManager[Any] = torch.autocast(
            torch.device(self.device).type, getattr(torch, self.precision)
        )
        return mixed


def prepare(networks: Sequence[Any], model: Model, settings: Settings) -> Forward:
    """The networks of a model, laid out and compiled as wanted, and compared with what they were.

    Raises
    ------
    SegmenterError
        If compiled or re-laid networks give other scores than the plain ones, or cannot be compiled.
    """
    import torch

    precision = settings.precision
    if precision == "auto":
        precision = "float16" if torch.device(settings.device).type == "cuda" else "float32"
    plain = Forward(tuple(networks), model, settings.device, precision, "channels_first", settings.batch)
    if settings.layout == "channels_first" and settings.compile == "off":
        return plain
    shape = (settings.batch, len(model.channels), *model.window)
    trial = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    wanted = [scores.float().clone() for scores in plain(trial)]
    changed: list[Any] = list(networks)
    if settings.layout == "channels_last":
        kind = torch.channels_last if model.is_2d else torch.channels_last_3d
        changed = [network.to(memory_format=kind) for network in changed]
    if settings.compile != "off":
        mode = "reduce-overhead" if settings.compile == "graphs" else None
        changed = [torch.compile(network, mode=mode, dynamic=False) for network in changed]
    made = Forward(tuple(changed), model, settings.device, precision, settings.layout, settings.batch)
    how = f"layout={settings.layout!r}, compile={settings.compile!r}"
    try:
        found = made(trial)
    except DeviceLostError:
        raise
    except RuntimeError as err:
        raise SegmenterError(
            f"the network in {model.folder} does not run with {how} on {settings.device}: {err}; "
            "use layout='channels_first', compile='off'"
        ) from err
    worst = max(
        float((f.float() - w).abs().max() / w.abs().max().clamp(min=1e-12))
        for f, w in zip(found, wanted, strict=True)
    )
    if not worst <= MOST_DIFFERENT[precision]:
        raise SegmenterError(
            f"with {how} the network in {model.folder} gives scores that differ by {worst:.2g} of the "
            f"largest from those without, more than {MOST_DIFFERENT[precision]:.2g} in {precision}; use "
            "layout='channels_first', compile='off'"
        )
    log.info("%s: scores differ by %.2g of the largest from the plain network", how, worst)
    return made
