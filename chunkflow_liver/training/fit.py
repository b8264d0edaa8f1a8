"""The steps of a training: from windows to weights, with checkpoints that it goes on from."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chunkflow_liver.errors import ChunkflowLiverError, MemoryBudgetError, TrainingError
from chunkflow_liver.geometry import Box
from chunkflow_liver.segmenters.threads import torch_threads
from chunkflow_liver.training import checkpoints
from chunkflow_liver.training.losses import Counts, Loss
from chunkflow_liver.training.networks import fill, freeze_encoder, network_of
from chunkflow_liver.training.numerics import chosen_precision, mixed, prepare
from chunkflow_liver.training.recipe import Recipe
from chunkflow_liver.training.regions import bit
from chunkflow_liver.training.together import ALONE
from chunkflow_liver.training.windows.batches import Batch, batches, collated
from chunkflow_liver.training.windows.drawing import Drawing, Painted, Source, read_window, validation_windows

log = logging.getLogger(__name__)

WARM_UP = 30
"""Steps in which the learning rate rises: full steps from the start throw a fresh Adam off."""
MOST_GRADIENT = 12.0
POWER = 0.9
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")

Row = dict[str, float]


@dataclass
class State:
    """Where a training is."""

    step: int = 0
    best: float = -math.inf
    best_step: int = 0
    worse: int = 0
    history: list[Row] = field(default_factory=list)
    losses: float = 0.0
    counted: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    precision: str = ""
    stopped: bool = False


@dataclass(frozen=True)
class Outcome:
    """A training that has ended.

    Attributes
    ----------
    weights : mapping of str to Tensor
        Of the model: the best or the last, as the recipe says.
    step : int
        After how many steps these were.
    history : list of dict
        One row per epoch.
    precision : str
    """

    weights: Mapping[str, Any]
    step: int
    history: list[Row]
    precision: str


@dataclass(frozen=True)
class Data:
    """What is trained on, and what is held out; the same images, of which each side sees its labels only.

    Attributes
    ----------
    sources, held : sequence of Source
        Labels of the other side, and what lies near it, are `IGNORE`.
    painted, held_painted : Painted
        Where something is painted for each side.
    """

    sources: Sequence[Source]
    painted: Painted
    held: Sequence[Source]
    held_painted: Painted


class Fit:
    """One training.

    Parameters
    ----------
    recipe : Recipe
    architecture : mapping, optional
        Of plans.json, for nnU-Net's networks.
    data : Data
    folder : Path
        For checkpoints.
    identity : str
        Of all that the weights depend on; a checkpoint of another one is not gone on from.
    name : str
        For messages.
    start : mapping, optional
        Weights to begin with.
    advance : callable, optional
        Is told after every step which further share of all steps is done.
    """

    def __init__(
        self,
        recipe: Recipe,
        architecture: Mapping[str, Any] | None,
        data: Data,
        *,
        folder: Path,
        identity: str,
        name: str = "training",
        start: Mapping[str, Any] | None = None,
        advance: Callable[[float], None] = lambda share: None,
    ) -> None:
        self.recipe, self.architecture = recipe, architecture
        self.drawing = Drawing(data.sources, data.painted, recipe)
        self.held = data.held
        self.windows = validation_windows(
            data.held, data.held_painted, recipe.window_zyx, recipe.validation_windows
        )
        self.folder, self.identity, self.name, self.start = folder, identity, name, start
        self.advance = advance
        self.painted = data.painted.total
        self.group = ALONE

    def run(self) -> Outcome:
        """Train to the end in this process, from the last checkpoint if there is one.

        Raises
        ------
        TrainingError
            If the loss is not a number any more.
        MemoryBudgetError
            If a step does not fit the memory.
        OutputError
            If a checkpoint cannot be written.
        """
        if self.group.size == 1:
            self.discard()
        with torch_threads(self.recipe.threads), self._memory():
            return self._run()

    def _run(self) -> Outcome:
        recipe = self.recipe
        network = self._network()
        optimizer = self._optimizer(network)
        state = self._resumed(network, optimizer)
        if not state.precision:
            own = chosen_precision(recipe, self.architecture) if self.group.rank == 0 else ""
            state.precision = self.group.first(own)
            log.info("%s: arithmetic in %s", self.name, state.precision)
        prepare(network, state.precision, recipe.device)
        shared = self.group.wrapped(network)
        loss_of = Loss.of(recipe, self.painted, self.group)
        self.advance(state.step / recipe.steps)
        clock, cpu, saved = time.monotonic(), time.process_time(), time.monotonic()
        with batches(self.drawing, recipe, state.step, self.group) as coming:
            while state.step < recipe.steps and not state.stopped:
                loss = self._step(shared, optimizer, state, loss_of, next(coming))
                state.step += 1
                self.advance(1 / recipe.steps)
                state.losses, state.counted = state.losses + loss, state.counted + 1
                ended = state.step % recipe.epoch == 0 or state.step == recipe.steps
                late = time.monotonic() - saved > recipe.checkpoint_seconds
                if ended or late:
                    now, spent = time.monotonic(), time.process_time()
                    state.seconds, state.cpu_seconds = (
                        state.seconds + now - clock,
                        state.cpu_seconds + spent - cpu,
                    )
                    clock, cpu = now, spent
                    if ended:
                        self._epoch(network, state)
                    self._save(network, optimizer, state)
                    saved = time.monotonic()
        return self._outcome(network, state)

    @contextmanager
    def _memory(self) -> Iterator[None]:
        """Say what to do where memory is short: of windows, of a step or of a validation, on host or GPU."""
        try:
            yield
        except (RuntimeError, MemoryError) as err:
            # torch says it as a RuntimeError, of which CUDA's is a kind of its own; NumPy as a MemoryError.
            told = isinstance(err, MemoryError) or any(text in str(err) for text in OUT_OF_MEMORY)
            if isinstance(err, ChunkflowLiverError) or not told:
                raise
            recipe = self.recipe
            raise MemoryBudgetError(
                f"{self.name}: {recipe.batch} windows of {recipe.window} do not fit the memory "
                f"({recipe.device}): {err}; take a smaller batch, window or features, which begins anew, "
                "or a larger machine, which goes on from the last checkpoint"
            ) from err

    def _network(self) -> Any:
        network = network_of(self.recipe, self.architecture)
        if self.start is not None:
            left = fill(network, self.start)
            if left:
                log.info(
                    "%s: %d weights of the last layers begin anew: the classes differ", self.name, len(left)
                )
        if self.recipe.freeze:
            freeze_encoder(network, self.recipe)
        return network.to(self.recipe.device)

    def _optimizer(self, network: Any) -> Any:
        import torch

        weights = [w for w in network.parameters() if w.requires_grad]
        # Fused: one call for all weights takes an eighth of the time of one for each.
        if self.recipe.optimizer == "sgd":
            more: dict[str, Any] = {"momentum": 0.99, "nesterov": True, "weight_decay": 3e-5}
            return torch.optim.SGD(weights, self.recipe.rate, fused=True, **more)
        return torch.optim.AdamW(weights, self.recipe.rate, weight_decay=1e-2, fused=True)

    def discard(self) -> None:
        """Delete checkpoints of other settings or data."""
        found = checkpoints.load(self.folder / checkpoints.LAST)
        if found is not None and found.get("identity") != self.identity:
            log.warning(
                "%s: the checkpoint in %s is of other settings or data; from the start",
                self.name,
                self.folder,
            )
            for name in (checkpoints.LAST, checkpoints.BEST):
                (self.folder / name).unlink(missing_ok=True)

    def _resumed(self, network: Any, optimizer: Any) -> State:
        found = checkpoints.load(self.folder / checkpoints.LAST)
        if found is None:
            return State()
        network.load_state_dict(found["network"])
        optimizer.load_state_dict(found["optimizer"])
        state = State(**found["state"])
        log.info("%s: going on after step %d of %d", self.name, state.step, self.recipe.steps)
        return state

    def _step(self, network: Any, optimizer: Any, state: State, loss_of: Loss, batch: Batch) -> float:
        import torch

        recipe = self.recipe
        for group in optimizer.param_groups:
            group["lr"] = rate(recipe, state.step)
        optimizer.zero_grad(set_to_none=True)
        images, targets = (part.to(recipe.device) for part in batch)
        with mixed(state.precision, recipe.device):
            scores = network(images)
        loss = loss_of(scores, targets)
        # The mean over processes that each hold a part of the gradient.
        (loss * self.group.size).backward()
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), MOST_GRADIENT)
        value, size = float(loss.detach()), float(norm)
        if not (math.isfinite(value) and math.isfinite(size)):
            what = f"the loss is {value}" if not math.isfinite(value) else f"the gradient is {size}"
            other = " or precision: float32" if state.precision != "float32" else ""
            raise TrainingError(
                f"{self.name}: at step {state.step} {what}, with a learning rate of "
                f"{rate(recipe, state.step):.2g} in {state.precision}; take a smaller rate{other}. The last "
                f"good weights are in {self.folder}"
            )
        optimizer.step()
        return value

    def _epoch(self, network: Any, state: State) -> None:
        """Validate, note it, keep the best weights, and see whether to stop."""
        recipe = self.recipe
        row: Row = {
            "epoch": float(math.ceil(state.step / recipe.epoch)),
            "step": float(state.step),
            "loss": state.losses / max(1, state.counted),
            "rate": rate(recipe, state.step - 1),
            "seconds": state.seconds,
            "cpu_seconds": state.cpu_seconds,
        }
        state.losses, state.counted = 0.0, 0
        text = f"step {state.step} of {recipe.steps}, loss {row['loss']:.3f}"
        if self.windows:
            dices = self.validate(network, state.precision)
            known = [d for d in dices if not math.isnan(d)]
            row["dice"] = sum(known) / len(known) if known else math.nan
            row |= {f"dice_{i}": d for i, d in enumerate(dices, 1)}
            parts = ", ".join(f"{c} {d:.3f}" for c, d in zip(recipe.classes, dices, strict=True))
            text += f", held out: Dice {row['dice']:.3f} ({parts})"
            if row["dice"] > state.best:
                state.best, state.best_step, state.worse = row["dice"], state.step, 0
                if self.group.rank == 0:
                    self._keep(network, state)
            else:
                state.worse += 1
        state.history.append(row)
        left = (recipe.steps - state.step) * state.seconds / state.step
        log.info("%s: %s, %s left", self.name, text, _span(left))
        if recipe.patience and state.worse >= recipe.patience and state.step < recipe.steps:
            state.stopped = True
            log.info("%s: no better Dice in %d epochs: stopped", self.name, state.worse)

    def validate(self, network: Any, precision: str) -> list[float]:
        """Dice per class over all windows that are held out; the network is left in training mode."""
        heads = len(self.recipe.classes) + 1
        found = Counts.none(heads)
        own = self.windows[self.group.rank :: self.group.size]
        for _, _, labels, targets in self.predicted(network, precision, own):
            found += Counts.of(labels, targets, heads, bool(self.recipe.regions))
        return found.over(self.group, self.recipe.device).dice()

    def predicted(
        self, network: Any, precision: str, windows: Sequence[tuple[int, Box]]
    ) -> Iterator[tuple[tuple[int, Box], Any, Any, Any]]:
        """Held-out windows, each with its image, found labels and targets (numbers of classes)."""
        import torch

        with evaluating(network), torch.no_grad():
            for source, box in windows:
                image, labels = read_window(self.held[source], box)
                images, targets = collated([(image, labels)], self.recipe)
                with mixed(precision, self.recipe.device):
                    scores = network(images.to(self.recipe.device))
                yield (source, box), images[0], self._numbers(scores)[0].cpu(), targets[0]

    def _numbers(self, scores: Any) -> Any:
        """Found numbers of classes, or bits of regions, (B, *window)."""
        if not self.recipe.regions:
            return scores.float().argmax(1)
        return sum((scores[:, i] > 0).long() * bit(i + 1) for i in range(scores.shape[1]))

    def _save(self, network: Any, optimizer: Any, state: State) -> None:
        if self.group.rank:
            return
        content = {
            "identity": self.identity,
            "network": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "state": {k: v for k, v in vars(state).items()},
        }
        checkpoints.save(content, self.folder / checkpoints.LAST)

    def _keep(self, network: Any, state: State) -> None:
        best = {"network": network.state_dict(), "step": state.step, "identity": self.identity}
        checkpoints.save(best, self.folder / checkpoints.BEST)

    def _outcome(self, network: Any, state: State) -> Outcome:
        if self.recipe.keep == "best" and self.windows and self.group.rank == 0:
            best = checkpoints.load(self.folder / checkpoints.BEST)
            if best is not None and best.get("identity") == self.identity:
                network.load_state_dict(best["network"])
                return Outcome(_on_host(network), int(best["step"]), state.history, state.precision)
        return Outcome(_on_host(network), state.step, state.history, state.precision)

    def trained(self, outcome: Outcome) -> Any:
        """A network with the weights of an outcome."""
        network = self._network()
        network.load_state_dict(outcome.weights)
        prepare(network, outcome.precision, self.recipe.device)
        return network


def rate(recipe: Recipe, step: int) -> float:
    """Learning rate of a step."""
    done = step / recipe.steps
    fall = (1 - done) ** POWER if recipe.schedule == "poly" else 0.5 * (1 + math.cos(math.pi * done))
    return recipe.rate * min(1.0, (step + 1) / min(WARM_UP, max(1, recipe.steps // 10))) * fall


@contextmanager
def evaluating(network: Any) -> Iterator[None]:
    """The network in eval mode, with scores of the finest level only."""
    decoder = getattr(network, "decoder", None)
    deep = getattr(decoder, "deep_supervision", None)
    network.eval()
    if deep is not None:
        decoder.deep_supervision = False  # type: ignore[union-attr]
    try:
        yield
    finally:
        network.train()
        if deep is not None:
            decoder.deep_supervision = deep  # type: ignore[union-attr]


def _on_host(network: Any) -> dict[str, Any]:
    return {k: v.detach().cpu().clone() for k, v in network.state_dict().items()}


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
