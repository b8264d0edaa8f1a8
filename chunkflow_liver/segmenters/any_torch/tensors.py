"""Weights as safetensors: names, numbers and a checksum, and nothing that could run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chunkflow_liver.errors import SegmenterError

SAFE = ".safetensors"
SUM = "sha256"
"""Where the checksum of all names and numbers stands; the format itself has none."""


def write_tensors(weights: Mapping[str, Any], to: Path) -> None:
    """Write tensors by name, with a checksum, under a temporary name, and rename the file into place."""
    from safetensors.torch import save_file

    # Weights that share memory are written each for itself.
    plain = {name: value.detach().cpu().clone().contiguous() for name, value in weights.items()}
    partial = to.with_name(f"{to.name}.partial")
    save_file(plain, partial, metadata={SUM: _checksum(plain)})
    os.replace(partial, to)


def read_tensors(path: Path) -> dict[str, Any]:
    """Tensors by name.

    Raises
    ------
    SegmenterError
        If the file is not readable, or is not as it was written.
    """
    try:
        from safetensors import SafetensorError, safe_open
    except ModuleNotFoundError as err:
        raise SegmenterError(f"{path} needs 'safetensors'; pip install 'chunkflow-liver[nnunet]'") from err
    try:
        with safe_open(path, "pt") as file:
            said = (file.metadata() or {}).get(SUM)
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, ValueError) as err:
        raise SegmenterError(f"{path} is not a readable safetensors file: {err}") from err
    if said is not None and said != _checksum(found):
        raise SegmenterError(f"{path} is damaged: its numbers are not those that were written; copy it again")
    return found


def _checksum(tensors: Mapping[str, Any]) -> str:
    import torch

    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
