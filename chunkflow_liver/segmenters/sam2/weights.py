"""Weights of SAM2: files of tensors only, never of code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chunkflow_liver.errors import ModelSecurityError, SegmenterError
from chunkflow_liver.segmenters.sam2.names import POINTS, POSITIONS, STACKED, renamed
from chunkflow_liver.segmenters.weights import read_saved

SHARED = "shared_image_embedding.positional_embedding"
AGAIN = "download it again"


def read_meta(path: Path) -> dict[str, Any]:
    """Names and tensors of a checkpoint as Meta publishes it.

    Raises
    ------
    ModelSecurityError
        If the file asks for anything but tensors. It was not run.
    SegmenterError
        If it is missing, damaged, or another file.
    """
    import torch

    content = read_saved(path, again=AGAIN, instead="only tensors are loaded")
    weights = content.get("model") if isinstance(content, dict) else None
    if not isinstance(weights, Mapping):
        found = sorted(map(str, content))[:5] if isinstance(content, dict) else type(content).__name__
        raise SegmenterError(f"{path} holds {found}; wanted Meta's checkpoint, with the weights as 'model'")
    odd = [name for name, value in weights.items() if not isinstance(value, torch.Tensor)]
    if odd:
        raise ModelSecurityError(
            f"{path}: weight {odd[0]!r} is a {type(weights[odd[0]]).__name__}, not a tensor"
        )
    return dict(weights)


def converted(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Weights with the names of transformers, where the four point embeddings are one tensor."""
    import torch

    found, points = {}, {}
    for name, value in weights.items():
        if match := POINTS.fullmatch(name):
            points[int(match[1])] = value
        else:
            found[renamed(name)] = value
    if points:
        found[STACKED] = torch.cat([points[i] for i in sorted(points)])
    if POSITIONS in found:
        found[SHARED] = found[POSITIONS]
    return found


def with_twins(weights: dict[str, Any]) -> dict[str, Any]:
    """Weights in which one tensor that has two names, of which some writers keep one, stands under both."""
    for one, other in ((SHARED, POSITIONS), (POSITIONS, SHARED)):
        if one in weights:
            weights.setdefault(other, weights[one])
    return weights
