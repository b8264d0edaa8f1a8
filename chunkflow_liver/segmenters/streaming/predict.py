"""Windows through a network in batches of one size, in order, each mirrored as often as wanted."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from chunkflow_liver.segmenters.model import Model
from chunkflow_liver.segmenters.settings import Settings
from chunkflow_liver.segmenters.streaming.sums import At

Forward = Callable[[Any], list[Any]]
"""Inputs (batch, C, *window) to the scores (batch, heads, *window) of every fold."""
Windows = Iterator[tuple[At, Any, tuple[float, ...] | None]]
"""Place, input (C, *window), and its values if each channel has only one."""

MOST_KNOWN = 2
"""Constant windows whose scores are kept: resin and padding have one value each."""


@dataclass
class _Window:
    """A window that waits for its scores."""

    at: At
    left: int
    constant: tuple[float, ...] | None
    scores: list[Any] = field(default_factory=list)


def predictions(
    windows: Windows, model: Model, forward: Forward, settings: Settings
) -> Iterator[tuple[At, list[Any]]]:
    """Scores of all windows in their order: per fold, or their mean if numerics are exact.

    Notes
    -----
    Inputs of all windows and mirrorings stand in one line, which is cut in batches; only the last batch
    is filled up. In a batch of constant size the scores of an input do not depend on the others, so they
    do not depend on how windows are dealt out to blocks. For the same reason a window of one value per
    channel is predicted once.
    """
    # Inputs have an axis of channels before the network's own, and one of a single plane if it is 2D.
    before = 2 if model.is_2d else 1
    axes = [axis + before for axis in model.mirror_axes] if settings.mirroring else []
    flips: list[tuple[int, ...]] = [c for n in range(len(axes) + 1) for c in itertools.combinations(axes, n)]
    known: dict[tuple[float, ...], list[Any]] = {}
    line: deque[_Window] = deque()
    todo: deque[tuple[_Window, tuple[int, ...], Any]] = deque()

    def run() -> None:
        taken = [todo.popleft() for _ in range(min(settings.batch, len(todo)))]
        inputs = [_flip(values, flip) for _, flip, values in taken]
        inputs += inputs[-1:] * (settings.batch - len(inputs))
        _collect(forward, model, inputs, taken, settings)
        for window, flip, _ in taken:
            # The last mirroring of a window ends it.
            if flip == flips[-1]:
                window.scores = _mean(window.scores, len(flips), settings)
                if window.constant is not None:
                    if len(known) == MOST_KNOWN:
                        del known[next(iter(known))]
                    known[window.constant] = window.scores

    for at, values, constant in windows:
        if constant is not None and constant in known:
            line.append(_Window(at, 0, constant, known[constant]))
        else:
            window = _Window(at, len(flips), constant)
            line.append(window)
            todo.extend((window, flip, values) for flip in flips)
        while len(todo) >= settings.batch:
            run()
        while line and line[0].left == 0:
            done = line.popleft()
            yield done.at, done.scores
    while todo:
        run()
    for done in line:
        yield done.at, done.scores


def _collect(
    forward: Forward,
    model: Model,
    inputs: list[Any],
    taken: list[tuple[_Window, tuple[int, ...], Any]],
    settings: Settings,
) -> None:
    """Add the scores of one batch to their windows."""
    import torch

    with torch.inference_mode():
        batch = inputs[0][None] if len(inputs) == 1 else torch.stack(inputs)
        folds = forward(batch[:, :, 0] if model.is_2d else batch)
        for i, (window, flip, _) in enumerate(taken):
            found = [fold[i, :, None] if model.is_2d else fold[i] for fold in folds]
            found = [_flip(scores, flip) for scores in found]
            if not window.scores:
                # A copy of what waits or is added to: the next pass overwrites the scores, and one slot of a
                # batch would keep all of it. What is used up before that pass stays where it is.
                waits = window.left > 1 or window.constant is not None or len(found) > 1
                given = [s.float() if settings.exact else s for s in found]
                window.scores = [s.clone() for s in given] if waits else given
            else:
                for total, scores in zip(window.scores, found, strict=True):
                    total += scores
            window.left -= 1


def _mean(folds: list[Any], count: int, settings: Settings) -> list[Any]:
    """Over the mirrorings, and over the folds if numerics are exact."""
    import torch

    with torch.inference_mode():
        if count > 1:
            for scores in folds:
                scores /= count
        if not settings.exact or len(folds) == 1:
            return folds
        for scores in folds[1:]:
            folds[0] += scores
        folds[0] /= len(folds)
        return folds[:1]


def _flip(values: Any, flip: tuple[int, ...]) -> Any:
    """`values` of shape (channels, *window) mirrored; axes counted as in that shape."""
    import torch

    return torch.flip(values, flip) if flip else values
