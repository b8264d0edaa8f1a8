"""From the scores of one plane to what is stored: classes, scores and uncertainty as small integers."""

from __future__ import annotations

from typing import Any

import numpy as np

from chunkflow_liver.segmenters.model import Model
from chunkflow_liver.segmenters.settings import Settings

FULL = 255
"""What a probability (or uncertainty) of 1 is stored as."""


def probabilities(scores: Any, model: Model) -> Any:
    """Probabilities (heads, y, x), float32, from scores of the same shape: they sum to 1, but for regions."""
    import torch

    scores = scores.float()
    return torch.softmax(scores, 0) if model.region_order is None else torch.sigmoid(scores)


def background(model: Model, shape: tuple[int, int], device: str) -> Any:
    """Probabilities of a plane that no network has seen."""
    import torch

    found = torch.zeros((model.heads, *shape), device=device)
    if model.region_order is None:
        found[0] = 1
    return found


def classes(values: Any, model: Model, threshold: float | None = None) -> Any:
    """Class number of every voxel, as a tensor, from scores or probabilities (heads, y, x).

    With regions, a head counts above a probability of 0.5, and later heads lie over earlier ones.
    `threshold` says that `values` are probabilities already.
    """
    import torch

    if model.region_order is None:
        return largest(values)
    above = values > threshold if threshold is not None else torch.sigmoid(values.float()) > 0.5
    labels = torch.zeros(above.shape[1:], dtype=torch.int32, device=above.device)
    for head, number in zip(above, model.region_order, strict=True):
        labels[head] = number
    return labels


def largest(values: Any) -> Any:
    """Index of the largest of values (n, ...), the first of equal ones; none may be NaN.

    On a CPU uint8 or uint16, compiled: torch's argmax across the slowest axis took a sixth of a network.
    """
    import torch

    if values.device.type != "cpu":
        return values.argmax(0)
    from chunkflow_liver.segmenters.streaming.score_loops import largest_head

    kind = torch.uint8 if len(values) <= FULL + 1 else torch.uint16
    found = torch.empty(values.shape[1:], dtype=kind)
    # float16 becomes float32 without rounding.
    given = values.float().numpy()
    largest_head(given.reshape(len(given), -1, given.shape[-1]), found.numpy().reshape(-1, given.shape[-1]))
    return found


def votes(of_models: list[Any], weights: list[float], numbers: int) -> Any:
    """Shares (numbers, y, x) of the models' votes for each class number."""
    import torch

    total = sum(weights)
    counts = torch.zeros((numbers, *of_models[0].shape), device=of_models[0].device)
    for found, weight in zip(of_models, weights, strict=True):
        counts.scatter_add_(0, found.long()[None], torch.full_like(counts[:1], weight / total))
    return counts


def uncertainty(values: Any, model: Model, kind: str) -> Any:
    """Uncertainty 0..1 of every voxel from probabilities (heads, y, x).

    Notes
    -----
    "entropy" is a share of log(heads); of regions, the mean over the heads of the binary entropy as a
    share of log(2). "margin" is 1 minus the distance of the two largest probabilities; of regions, of the
    probability nearest to 1/2 from its complement.
    """
    import torch

    if model.region_order is not None:
        if kind == "margin":
            return 1 - (2 * values - 1).abs().min(0).values
        both = torch.stack([values, 1 - values])
        return (torch.special.entr(both).sum(0) / np.log(2)).mean(0)
    if kind == "margin":
        first, second = values.topk(2, dim=0).values
        return 1 - (first - second)
    return torch.special.entr(values).sum(0) / np.log(len(values))


def stored(values: Any) -> np.ndarray[Any, Any]:
    """Values 0..1 as uint8, 255 for 1, rounded; only these bytes leave the device."""
    import torch

    found = (values * FULL).round_().clamp_(0, FULL).to(torch.uint8)
    array: np.ndarray[Any, Any] = found.cpu().numpy()
    return array


def kept_heads(model: Model, settings: Settings) -> tuple[int, ...]:
    """Heads whose probabilities are kept, in the order of `settings.scores`."""
    if model.region_order is None:
        return tuple(model.classes[name] for name in settings.scores)
    regions = [name for name in model.classes if name != "background"]
    return tuple(regions.index(name) for name in settings.scores)
