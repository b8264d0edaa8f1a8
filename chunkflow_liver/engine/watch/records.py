"""What blocks leave for folds: files of records, one for each batch, and their checksums."""

from __future__ import annotations

import io
import math
import os
import re
import threading
import zipfile
from collections.abc import Container, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.errors import JournalError
from chunkflow_liver.store.scratch.sealed import BROKEN, sealing, unsealed

_SUM = re.compile(r"-([0-9a-f]{8})\.npz$")
"""In the name of a file; release 0.1 wrote names without."""


def record_folder(work: Path, stage: str) -> Path:
    """Where the records of a stage lie."""
    return Path(work) / "records" / stage.replace("/", ".")


def save_records(records: dict[str, Any], folder: Path, first: int) -> str:
    """Write the records of a batch under a temporary name and rename it into place.

    The name holds the checksum, so that no batch writes over the records of another one that began with the
    same block: where blocks are done again, or a worker that was given up still works, batches differ.
    """
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{first:010d}.{os.getpid()}.{threading.get_ident()}.partial"
    with sealing(partial) as file:
        np.savez(file, allow_pickle=False, **records)
    name = f"{first:010d}-{file.crc:08x}.npz"
    os.replace(partial, folder / name)
    return name


def sweep_records(folder: Path, known: Container[str]) -> None:
    """Remove what the journal does not know: of batches that were lost, or done again since."""
    for name in os.listdir(folder) if folder.is_dir() else ():
        if name not in known:
            (folder / name).unlink(missing_ok=True)


def load_records(path: Path, stage: str) -> dict[int, dict[str, Any]]:
    """What a file of records holds, by block."""
    try:
        named = _SUM.search(path.name)
        with unsealed(path, named and int(named[1], 16)) as file, zipfile.ZipFile(file) as archive:
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
