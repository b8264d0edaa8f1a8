"""Weights of a trained nnU-Net: loaded as data, never as a program."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.errors import SegmenterError
from chunkflow_liver.segmenters.architecture import build_network, require_packages
from chunkflow_liver.segmenters.nnunet.model import NnunetModel
from chunkflow_liver.segmenters.weights import check_fit, fill, read_saved

PREFIXES = ("module.", "_orig_mod.")
AGAIN = "copy it again from where it was trained"
OF = "the network of plans.json"
REMEDY = f"use the plans.json and dataset.json that this fold was trained with, or {AGAIN}"


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
    content = read_saved(
        path,
        again=AGAIN,
        instead="only tensors and plain values are loaded; if you trust the file, save its "
        "'network_weights' anew",
        harmless=_harmless(),
        known=("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype"),
    )
    if not isinstance(content, dict) or not isinstance(content.get("network_weights"), Mapping):
        found = sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise SegmenterError(f"{path} holds {found}; wanted a checkpoint of nnU-Net with 'network_weights'")
    return content


def read_weights(path: Path) -> dict[str, Any]:
    """The weights in a checkpoint file by the names that the network has for them; errors as above."""
    return _plain_names(read_checkpoint(path)["network_weights"])


def check_weights(model: NnunetModel) -> None:
    """Refuse weights that the network of plans.json cannot take, before a run begins; reads every fold.

    Raises
    ------
    ModelSecurityError, SegmenterError
        As `load_networks`.
    """
    described = json.dumps([model.network, model.options, len(model.channels), model.heads])
    for path in model.weights:
        found = path.stat() if path.is_file() else None
        _check_weights(path, described, found and (found.st_mtime_ns, found.st_size, found.st_ino))


@functools.lru_cache(maxsize=64)
def _check_weights(path: Path, described: str, _changed: object) -> None:
    import torch

    network, options, channels, heads = json.loads(described)
    with torch.device("meta"):
        built = build_network(network, options, channels, heads)
    check_fit(built, read_weights(path), path, of=OF, remedy=REMEDY)


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
        fill(network, read_weights(path), path, of=OF, remedy=REMEDY)
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


def _plain_names(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Weights without what data-parallel training and compilation put before their names."""
    plain = {}
    for name, value in weights.items():
        while name.startswith(PREFIXES):
            name = name.split(".", 1)[1]
        plain[name] = value
    return plain
