"""Weights of a trained nnU-Net: loaded as data, never as a program."""

from __future__ import annotations

import contextlib
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.errors import ModelSecurityError, SegmenterError
from chunkflow_liver.segmenters.architecture import build_network, require_packages
from chunkflow_liver.segmenters.archives import check_archive
from chunkflow_liver.segmenters.nnunet.model import NnunetModel

PREFIXES = ("module.", "_orig_mod.")
# What torch raises for a damaged file, depending on where the damage lies.
_UNREADABLE = (EOFError, RuntimeError, OSError, ValueError, KeyError, TypeError, AttributeError, IndexError)
AGAIN = "copy it again from where it was trained"


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Everything in a checkpoint file; tensors stay on the disk until they are used.

    Raises
    ------
    ModelSecurityError
        If the file asks for a class or function other than tensors and NumPy scalars. It was not run.
    SegmenterError
        If it is missing, empty, or not what nnU-Net writes.
    """
    require_packages()
    import torch

    if not path.is_file():
        raise SegmenterError(f"there is no checkpoint {path}")
    size = path.stat().st_size
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            if file.read(1) == b"\x80":
                raise ModelSecurityError(
                    f"{path} is a bare pickle, which is a program and not weights. It was not run; {AGAIN}"
                )
        raise SegmenterError(f"{path} ({size} bytes) is not a checkpoint that torch.save wrote; {AGAIN}")
    check_archive(path)
    try:
        with torch.serialization.safe_globals(_harmless()):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as err:
        raise ModelSecurityError(
            f"{path} asks for {_unsafe(path)}, which is code and not weights. It was not run. Only tensors "
            "and plain values are loaded; if you trust the file, save its 'network_weights' anew"
        ) from err
    except _UNREADABLE as err:
        raise SegmenterError(f"{path} ({size} bytes) is not a readable checkpoint: {err}; {AGAIN}") from err
    if not isinstance(content, dict) or not isinstance(content.get("network_weights"), Mapping):
        found = sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise SegmenterError(f"{path} holds {found}; wanted a checkpoint of nnU-Net with 'network_weights'")
    return content


def read_weights(path: Path) -> dict[str, Any]:
    """The weights in a checkpoint file by the names that the network has for them; errors as above."""
    return _plain_names(read_checkpoint(path)["network_weights"])


def load_networks(model: NnunetModel, device: str) -> list[Any]:
    """One network per fold, with its weights, in eval mode on `device`.

    Raises
    ------
    ModelSecurityError, SegmenterError
        As `read_checkpoint`, and if the weights do not fit the network of plans.json.
    """
    networks = []
    for path in model.weights:
        network = build_network(model.network, model.options, len(model.channels), model.heads)
        weights = read_weights(path)
        _check_weights(path, weights, network.state_dict())
        network.load_state_dict(weights)
        networks.append(network.to(device).eval())
    return networks


def save_weights(content: Mapping[str, Any], to: Path, configuration: str) -> None:
    """Write of a checkpoint only what prediction needs."""
    import torch

    axes = content.get("inference_allowed_mirroring_axes")
    slim = {
        "network_weights": {
            name: value.clone() for name, value in _plain_names(content["network_weights"]).items()
        },
        "trainer_name": str(content.get("trainer_name", "nnUNetTrainer")),
        "init_args": {"configuration": configuration},
        "inference_allowed_mirroring_axes": None if axes is None else tuple(int(axis) for axis in axes),
    }
    torch.save(slim, to)


def _harmless() -> list[Any]:
    """NumPy scalars, which nnU-Net writes into its training log, under both names of the module."""
    scalar = np._core.multiarray.scalar  # type: ignore[attr-defined]
    kinds = (np.dtypes.Float64DType, np.dtypes.Float32DType, np.dtypes.Int64DType, np.dtypes.Int32DType)
    return [scalar, (scalar, "numpy.core.multiarray.scalar"), np.dtype, *kinds]


def _unsafe(path: Path) -> str:
    import torch

    with contextlib.suppress(ValueError, RuntimeError, OSError, KeyError, pickle.UnpicklingError):
        known = {"numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype"}
        names = sorted(set(torch.serialization.get_unsafe_globals_in_checkpoint(path)) - known)
        if names:
            return ", ".join(map(repr, names))
    return "something that is not a tensor"


def _plain_names(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Weights without what data-parallel training and compilation put before their names."""
    plain = {}
    for name, value in weights.items():
        while name.startswith(PREFIXES):
            name = name.split(".", 1)[1]
        plain[name] = value
    return plain


def _check_weights(path: Path, weights: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    import torch

    missing, extra = sorted(wanted.keys() - weights.keys()), sorted(weights.keys() - wanted.keys())
    if missing or extra:
        raise SegmenterError(
            f"{path} does not fit the network of plans.json: {len(missing)} weights are missing "
            f"{missing[:3]}, {len(extra)} are not in it {extra[:3]}; use the plans.json of this training"
        )
    odd = [name for name, value in weights.items() if not isinstance(value, torch.Tensor)]
    if odd:
        raise SegmenterError(f"{path}: weight {odd[0]!r} is a {type(weights[odd[0]]).__name__}, not a tensor")
    differ = [
        f"{name} is {tuple(weights[name].shape)}, wanted {tuple(value.shape)}"
        for name, value in wanted.items()
        if weights[name].shape != value.shape
    ]
    if differ:
        raise SegmenterError(
            f"{path} does not fit the network of plans.json: {len(differ)} weights differ in shape: "
            f"{'; '.join(differ[:3])}; use the plans.json and dataset.json that this fold was trained with"
        )
    for name, value in weights.items():
        if not bool(torch.isfinite(value).all()):
            raise SegmenterError(
                f"{path}: weight {name!r} is not finite, so every score would be NaN; {AGAIN}"
            )
