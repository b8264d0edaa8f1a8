"""What blocks leave for folds: files of records, one for each batch, and their checksums."""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.errors import JournalError
from chunkflow_liver.store.scratch.sealed import BROKEN, sealing, unsealed


def record_folder(work: Path, stage: str) -> Path:
    """Where the records of a stage lie."""
    return Path(work) / "records" / stage.replace("/", ".")


def save_records(records: dict[str, Any], folder: Path, first: int) -> str:
    """Write the records of a batch under a temporary name and rename it into place."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{first:010d}.npz"
    partial = folder / f"{name}.{os.getpid()}.partial"
    with sealing(partial) as file:
        np.savez(file, allow_pickle=False, **records)
    os.replace(partial, folder / name)
    return name


def load_records(path: Path, stage: str) -> dict[int, dict[str, Any]]:
    """What a file of records holds, by block."""
    try:
        with unsealed(path) as file, zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            return _by_block({name.removesuffix(".npy"): _array(archive.read(name)) for name in names})
    except BROKEN as err:
        raise JournalError(
            f"the records of stage {stage!r} in {path} cannot be read: {err}; 'repair' does the blocks that "
            "left them again"
        ) from err


def _array(data: bytes) -> np.ndarray[Any, Any]:
    """The array of a file .npy. NumPy parses every header as Python, which takes longer than all the rest."""
    begin = 10 + int.from_bytes(data[8:10], "little")
    if data[:8] == b"\x93NUMPY\x01\x00" and len(data) > begin:
        shape, fortran, dtype = _header(data[:begin])
        if not dtype.hasobject and math.prod(shape) * dtype.itemsize == len(data) - begin:
            values = np.frombuffer(data, dtype, math.prod(shape), begin)
            return values.reshape(shape, order="F" if fortran else "C").copy()
    # Other versions, no values, damage: NumPy tells.
    return np.asarray(np.load(io.BytesIO(data), allow_pickle=False))


@lru_cache(maxsize=4096)
def _header(data: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    file = io.BytesIO(data)
    np.lib.format.read_magic(file)
    return np.lib.format.read_array_header_1_0(file)


def _by_block(archive: Mapping[str, np.ndarray[Any, Any]]) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for key, values in archive.items():
        block, _, name = key.partition(".")
        found.setdefault(int(block), {})[name] = values
    return found
