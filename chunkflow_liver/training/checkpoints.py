"""The state of a training in files: written whole or not at all."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chunkflow_liver.errors import InputError, OutputError

LAST, BEST = "last.pt", "best.pt"


def save(content: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint under a temporary name, to the disk, and rename it into place.

    Raises
    ------
    OutputError
        If it cannot be written; the one before is as it was.
    """
    import torch

    partial = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            torch.save(dict(content), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except (OSError, RuntimeError) as err:
        # torch says a full disk as a RuntimeError of its archive.
        partial.unlink(missing_ok=True)
        raise OutputError(
            f"cannot write the checkpoint {path}: {err}; the one before it is whole: make room on the disk "
            "and run again to go on from there"
        ) from err


def load(path: Path) -> dict[str, Any] | None:
    """A checkpoint, or None where there is none; loaded as data.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    import torch

    if not path.exists():
        return None
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError, zipfile.BadZipFile) as err:
        raise InputError(
            f"the checkpoint {path} cannot be read: {err}; delete it to train from the start"
        ) from err
    if not isinstance(found, dict):
        raise InputError(f"{path} holds a {type(found).__name__}, not a checkpoint; delete it")
    return found
