"""Weights of SAM2: files of tensors only, never of code."""

from __future__ import annotations

import contextlib
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chunkflow_liver.errors import ModelSecurityError, SegmenterError
from chunkflow_liver.segmenters.sam2.names import POINTS, POSITIONS, STACKED, renamed

SHARED = "shared_image_embedding.positional_embedding"
AGAIN = "download it again"
# What torch raises for a damaged file, depending on where the damage lies.
_UNREADABLE = (EOFError, RuntimeError, OSError, ValueError, KeyError, TypeError, AttributeError, IndexError)


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

    if not path.is_file():
        raise SegmenterError(f"there is no checkpoint {path}")
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            first = file.read(1)
        if first == b"\x80":
            raise ModelSecurityError(
                f"{path} is a bare pickle, which is a program and not weights. It was not run; {AGAIN}"
            )
        raise SegmenterError(
            f"{path} ({path.stat().st_size} bytes) is not a checkpoint that torch.save wrote; {AGAIN}"
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as err:
        raise ModelSecurityError(
            f"{path} asks for {_asked(path)}, which is code and not weights. It was not run; only "
            "tensors are loaded"
        ) from err
    except _UNREADABLE as err:
        raise SegmenterError(f"{path} is not a readable checkpoint: {_first(err)}; {AGAIN}") from err
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


def read_tensors(path: Path) -> dict[str, Any]:
    """Names and tensors of a .safetensors file.

    Raises
    ------
    SegmenterError
        If it is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found = load_file(path)
    except (SafetensorError, OSError) as err:
        raise SegmenterError(f"{path} is not a readable file of tensors: {_first(err)}; {AGAIN}") from err
    for one, other in ((SHARED, POSITIONS), (POSITIONS, SHARED)):
        if one in found:
            # One tensor under two names, of which some writers keep one.
            found.setdefault(other, found[one])
    return dict(found)


def fill(network: Any, weights: Mapping[str, Any], where: Path) -> None:
    """Give a network its weights.

    Raises
    ------
    SegmenterError
        If they do not fit, or one is not finite.
    """
    import torch

    wanted = network.state_dict()
    missing, extra = sorted(wanted.keys() - weights.keys()), sorted(weights.keys() - wanted.keys())
    if missing or extra:
        raise SegmenterError(
            f"{where} does not fit its configuration: {len(missing)} weights are missing {missing[:3]}, "
            f"{len(extra)} are not in it {extra[:3]}"
        )
    differ = [
        f"{name} is {tuple(weights[name].shape)}, wanted {tuple(value.shape)}"
        for name, value in wanted.items()
        if weights[name].shape != value.shape
    ]
    if differ:
        raise SegmenterError(
            f"{where} does not fit its configuration: {len(differ)} weights differ in shape: "
            f"{'; '.join(differ[:3])}"
        )
    for name, value in weights.items():
        if not bool(torch.isfinite(value).all()):
            raise SegmenterError(
                f"{where}: weight {name!r} is not finite, so every logit would be NaN; {AGAIN}"
            )
    network.load_state_dict(dict(weights))


def _asked(path: Path) -> str:
    """What a file would have run."""
    import torch

    with contextlib.suppress(ValueError, RuntimeError, OSError, KeyError, pickle.UnpicklingError):
        names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
        if names:
            return ", ".join(map(repr, names[:3]))
    return "something that is not a tensor"


def _first(err: BaseException) -> str:
    return (str(err).strip().splitlines() or [type(err).__name__])[0][:200]
