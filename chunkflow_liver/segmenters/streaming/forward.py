"""One batch through the networks: arithmetic, layout, compilation, and a device that gives up."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from chunkflow_liver.errors import DeviceLostError, MemoryBudgetError, SegmenterError
from chunkflow_liver.segmenters.engines.engine import Engine, settled
from chunkflow_liver.segmenters.engines.layers import channels_last, memory_format
from chunkflow_liver.segmenters.engines.openvino import converted
from chunkflow_liver.segmenters.model import Model
from chunkflow_liver.segmenters.settings import Settings

log = logging.getLogger(__name__)

MOST_DIFFERENT = {"float32": 1e-3, "float16": 2e-2, "bfloat16": 5e-2}
"""Largest difference of a network that runs otherwise from the plain one, as a share of its largest score.
Other orders of sums alone made 2e-4 in float32, and rounding 2e-2 in bfloat16."""
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
    networks : tuple of callables
        torch modules on the device, in eval mode, or what another engine made of them.
    model : Model
    device : str
    engine : Engine
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
    engine: Engine
    most: int
    halved: int = 0
    reuses: bool = False

    def __call__(self, inputs: Any) -> list[Any]:
        """Scores of every network, float32 or as the precision says; the next call may overwrite them.

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

        # A torch network may change its inputs, which other folds, mirrorings, windows and trials see again.
        inputs = inputs.to(self.device, copy=self.engine.name == "torch")
        if self.engine.layout == "channels_last":
            inputs = inputs.contiguous(memory_format=memory_format(self.model.is_2d))
            if self._is_narrow:
                inputs = inputs.to(torch.bfloat16)
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

    @property
    def _is_narrow(self) -> bool:
        """Whether the weights themselves are in bfloat16."""
        how = self.engine
        return self.device == "cpu" and (how.layout, how.precision) == ("channels_last", "bfloat16")

    def _mixed(self) -> contextlib.AbstractContextManager[Any]:
        import torch

        how = self.engine
        if how.precision == "float32" or how.name != "torch" or self._is_narrow:
            return contextlib.nullcontext()
        mixed = torch.autocast(torch.device(self.device).type, getattr(torch, how.precision))
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


def prepare(
    networks: Sequence[Any], model: Model, settings: Settings, engine: Engine | None = None, name: str = ""
) -> Forward:
    """The networks of a model, made ready for an engine, laid out and compiled as wanted.

    They are compared with what they were, unless a trial on voxels of the volume has done that.

    Parameters
    ----------
    networks : sequence of torch.nn.Module
        They may be changed.
    model : Model
    settings : Settings
    engine : Engine, optional
        What a trial chose; without one, what the settings say.
    name : str
        Fingerprint of the weights, under which converted networks are kept; "" converts them anew.

    Raises
    ------
    SegmenterError
        If networks that run otherwise give other scores than the plain ones, or do not run so.
    """
    import torch

    engine = engine or settled(settings)
    narrow = engine.precision if engine.name == "torch" and engine.layout == "channels_first" else "float32"
    plain = Forward(tuple(networks), model, settings.device, Engine("torch", narrow), settings.batch)
    if engine == plain.engine and settings.compile == "off":
        return plain
    how = f"engine={engine.name!r}, layout={engine.layout!r}, compile={settings.compile!r}"
    otherwise = "use engine='torch', layout='channels_first', compile='off'"
    shape = (settings.batch, len(model.channels), *model.window)
    trial = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    wanted = [] if engine.tried else [scores.float().clone() for scores in plain(trial)]
    try:
        made = _made(networks, plain, settings, engine, name)
        # Twice: CUDA graphs are recorded first and replayed then.
        tried = [] if engine.tried else [[s.float().clone() for s in made(trial)] for _ in range(2)]
    except DeviceLostError:
        raise
    except (RuntimeError, SegmenterError) as err:
        raise SegmenterError(
            f"the network in {model.folder} does not run with {how} on {settings.device}: {err}; {otherwise}"
        ) from err
    differ = [
        float((f - w).abs().max() / w.abs().max().clamp(min=1e-12))
        for found in tried
        for f, w in zip(found, wanted, strict=True)
    ]
    # Scores that are not numbers are not nearer than anything.
    worst = max(differ, key=lambda d: d if d == d else float("inf"), default=0.0)
    if not worst <= MOST_DIFFERENT[engine.precision]:
        raise SegmenterError(
            f"with {how} the network in {model.folder} gives scores that differ by {worst:.2g} of the "
            f"largest from those without, more than {MOST_DIFFERENT[engine.precision]:.2g} in "
            f"{engine.precision}; {otherwise}"
        )
    if differ:
        log.info("%s: scores differ by %.2g of the largest from the plain network", how, worst)
    return made


def _made(networks: Sequence[Any], plain: Forward, settings: Settings, engine: Engine, name: str) -> Forward:
    """The networks as the engine wants them."""
    import torch

    model, changed = plain.model, list(networks)
    if engine.name == "openvino":
        shape = (settings.batch, len(model.channels), *model.window)
        changed = [
            converted(network, shape, engine.precision, name and f"{name} {i}")
            for i, network in enumerate(networks)
        ]
    elif engine.layout == "channels_last":
        changed = [
            channels_last(network, engine.precision, settings.device, is_2d=model.is_2d)
            for network in networks
        ]
    if settings.compile != "off":
        mode = "reduce-overhead" if settings.compile == "graphs" else None
        changed = [torch.compile(network, mode=mode, dynamic=False) for network in changed]
    return replace(plain, networks=tuple(changed), engine=engine, reuses=settings.compile == "graphs")
