"""Pictures that a training keeps for its page: held-out windows, and windows as augmentation made them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.training.fit import Fit, Outcome
from chunkflow_liver.training.regions import topmost
from chunkflow_liver.training.windows.batches import window

Planes = np.ndarray[Any, Any]
MOST_HELD, DRAWN = 6, 6


def save_pictures(fit: Fit, outcome: Outcome, path: Path) -> None:
    """Middle painted planes of held-out windows, those with most wrong pixels first; and the first windows of
    the training, as they are and as they were seen."""
    held, drawn = _held(fit, outcome), _drawn(fit)
    side = fit.recipe.window[-2:]
    arrays: dict[str, Any] = {"wrong": np.array([entry[0] for entry in held])}
    for i, name in enumerate(("grey", "found", "true"), 1):
        kind = np.float32 if name == "grey" else np.int16
        arrays[name] = np.array([entry[i] for entry in held], kind).reshape(-1, *side)
    for i, name in enumerate(("drawn_grey", "drawn_true", "seen_grey", "seen_true")):
        kind = np.float32 if name.endswith("grey") else np.int16
        arrays[name] = np.array([entry[i] for entry in drawn], kind).reshape(-1, *side)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, **arrays)
    partial.replace(path)


def _held(fit: Fit, outcome: Outcome) -> list[tuple[float, Planes, Planes, Planes]]:
    """Share of wrong pixels, grey values, found and painted classes: the worst, and some of the others."""
    network = fit.trained(outcome)
    shares = {}
    for at, _, labels, targets in fit.predicted(network, outcome.precision, fit.windows):
        got, true = (v.numpy().reshape(-1, *v.shape[-2:]) for v in (labels, targets))
        if (z := _middle(true)) is not None:
            known = true[z] >= 0
            shares[at] = float(((got[z] != true[z]) & known).sum() / known.sum())
    chosen = sorted(shares, key=lambda at: -shares[at])
    if len(chosen) > MOST_HELD:
        rest = np.linspace(MOST_HELD // 2, len(chosen) - 1, MOST_HELD - MOST_HELD // 2)
        chosen = chosen[: MOST_HELD // 2] + [chosen[int(i)] for i in rest]
    found = []
    # Once more, rather than to keep all windows: there may be thousands.
    for at, image, labels, targets in fit.predicted(network, outcome.precision, chosen):
        # The first channel is what a person knows the tissue by.
        planes = [v.numpy().reshape(-1, *v.shape[-2:]) for v in (image[:1], labels, targets)]
        z = _middle(planes[2])
        grey, got, true = (plane[z].copy() for plane in planes)
        found.append((shares[at], grey, _numbers(fit, got), _numbers(fit, true)))
    return found


def _drawn(fit: Fit) -> list[tuple[Planes, Planes, Planes, Planes]]:
    """Grey values and painted classes of the first windows, before and after augmentation."""
    found = []
    for number in range(min(DRAWN, fit.recipe.steps * fit.recipe.batch)):
        pair = (fit.drawing.read(number), window(fit.drawing, fit.recipe, number))
        planes = []
        for image, labels in pair:
            z = _middle(labels)
            z = labels.shape[0] // 2 if z is None else z
            planes += [image[0, z], _numbers(fit, labels[z])]
        found.append((planes[0], planes[1], planes[2], planes[3]))
    return found


def _numbers(fit: Fit, targets: Planes) -> Planes:
    """Targets as numbers of classes: of several in a voxel, the one named last."""
    return topmost(targets, len(fit.recipe.classes) + 1) if fit.recipe.regions else targets


def _middle(labels: Planes) -> int | None:
    """The middle one of the planes with something painted."""
    planes = np.flatnonzero((labels >= 0).any((1, 2)))
    return int(planes[len(planes) // 2]) if len(planes) else None
