"""One batch through the networks: arithmetic, layout, compilation, and a device that gives up."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from chunkflow_liver.errors import DeviceLostError, MemoryBudgetError, SegmenterError
from chunkflow_liver.segmenters.model import Model
from chunkflow_liver.segmenters.settings import Settings

log = logging.getLogger(__name__)

MOST_DIFFERENT = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 5e-2}
"""Largest difference of a compiled or re-laid network from the plain one, as a share of its largest score."""
STICKY = ("CUDA error", "device-side assert", "unspecified launch failure")
"""What CUDA says of errors after which nothing works in this process."""
OUT_OF_MEMORY = "out of memory"
UNFIT = (AssertionError, IndexError, KeyError, RuntimeError, TypeError, ValueError)
"""What a network raises that cannot take its inputs; torch does not say it in one way."""


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
        Inputs that fit the device at once. Where they did not, at most half of them are tried: the largest
        share that cuts a batch in equal parts, so that the bits of a window do not depend on its place.
    halved : int
        How often that was.
    reuses : bool
        Whether a network writes all its scores to one place, as CUDA graphs do; they are copied then.
    """

    networks: tuple[Any, ...]
    model: Model
    device: str
    precision: str
    layout: str
    most: int
    halved: int = 0
    reuses: bool = False

    def __call__(self, inputs: Any) -> list[Any]:
        """Scores of every network, float32 or as the precision says.

        Raises
        ------
        DeviceLostError
            If no other batch could be predicted by this process.
        MemoryBudgetError
            If not even one window fits the device.
        SegmenterError
            If a network cannot take the inputs, or gives no scores of the right shape.
        """
        import torch

        while True:
            with torch.inference_mode(), self._mixed(), sticky(self.device):
                found = self._try(inputs)
            if found is not None:
                return found
            # Here and not where the error is caught: until then its traceback holds all activations.
            self.most = next(n for n in range(self.most // 2, 0, -1) if self.most % n == 0)
            self.halved += 1
            log.warning("%s is out of memory: from now on %d windows at once", self.device, self.most)
            if torch.device(self.device).type == "cuda":
                torch.cuda.empty_cache()

    def _try(self, inputs: Any) -> list[Any] | None:
        """Scores, or None if they need more memory than there is and fewer inputs at once could do."""
        import torch

        try:
            return [self._all(network, inputs) for network in self.networks]
        except RuntimeError as err:
            if not isinstance(err, torch.OutOfMemoryError) and OUT_OF_MEMORY not in str(err):
                raise
            if self.most == 1:
                raise MemoryBudgetError(
                    f"one window of {self.model.window} voxels does not fit the memory of {self.device}; use "
                    "a smaller block, a model with a smaller window, or another device"
                ) from err
        return None

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
        try:
            scores = network(inputs)
        except UNFIT as err:
            text = str(err)
            if OUT_OF_MEMORY in text or any(said in text for said in STICKY):
                raise
            raise SegmenterError(
                f"the network in {self.model.folder} cannot take inputs of {tuple(inputs.shape)}, (inputs, "
                f"channels, window), on {self.device}: {type(err).__name__}: {text[:500]}; an exported "
                "network takes the batch it was exported with: set batch to that, or export it for any"
            ) from err
        wanted = (len(inputs), self.model.heads, *self.model.window)
        if not isinstance(scores, torch.Tensor) or tuple(scores.shape) != wanted:
            found = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
            raise SegmenterError(
                f"the network in {self.model.folder} gives {found} for inputs of {tuple(inputs.shape)}; "
                f"wanted scores of {wanted}: (inputs, classes, window)"
            )
        return scores.clone() if self.reuses else scores

    def _mixed(self) -> contextlib.AbstractContextManager[Any]:
        import torch

        if self.precision == "float32":
            return contextlib.nullcontext()
        mixed = torch.autocast(torch.device(self.device).type, getattr(torch, self.precision))
        return cast(contextlib.AbstractContextManager[Any], mixed)


@contextlib.contextmanager
def sticky(device: str) -> Iterator[None]:
    """Give errors that CUDA does not recover from a name; they may come up wherever a result is waited for.

    Raises
    ------
    DeviceLostError
    """
    try:
        yield
    except RuntimeError as err:
        if not isinstance(err, DeviceLostError) and any(text in str(err) for text in STICKY):
            raise DeviceLostError(f"{device} is in a state that this process cannot leave: {err}") from err
        raise


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
    graphs = settings.compile == "graphs"
    made = Forward(
        tuple(changed), model, settings.device, precision, settings.layout, plain.most, reuses=graphs
    )
    how = f"layout={settings.layout!r}, compile={settings.compile!r}"
    try:
        # Twice: CUDA graphs are recorded first and replayed then.
        tried = [made(trial), made(trial)]
    except DeviceLostError:
        raise
    except (RuntimeError, SegmenterError) as err:
        raise SegmenterError(
            f"the network in {model.folder} does not run with {how} on {settings.device}: {err}; "
            "use layout='channels_first', compile='off'"
        ) from err
    differ = [
        float((f.float() - w).abs().max() / w.abs().max().clamp(min=1e-12))
        for found in tried
        for f, w in zip(found, wanted, strict=True)
    ]
    # Scores that are not numbers are not nearer than anything.
    worst = max(differ, key=lambda d: d if d == d else float("inf"))
    if not worst <= MOST_DIFFERENT[precision]:
        raise SegmenterError(
            f"with {how} the network in {model.folder} gives scores that differ by {worst:.2g} of the "
            f"largest from those without, more than {MOST_DIFFERENT[precision]:.2g} in {precision}; use "
            "layout='channels_first', compile='off'"
        )
    log.info("%s: scores differ by %.2g of the largest from the plain network", how, worst)
    return made
