"""Files of arrays in which a full disk is noticed.

NumPy writes arrays to files by a stream of C, and does not look whether it could be closed: what a full disk
left of the last bytes is gone without an error (`findings/numpy-full-disk.sh`). Through Python it is one.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import numpy as np

from chunkflow_liver.xp import Array


def write_values(file: BinaryIO, values: Array) -> None:
    """Write the bytes of `values`, as `ndarray.tofile` does.

    Raises
    ------
    OSError
        If the disk is full, here or when the file is closed.
    """
    if values.size:
        file.write(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)


def save(path: Path, values: Array) -> None:
    """Write one array as `numpy.save` does; OSError if the disk is full."""
    with path.open("wb") as file:
        np.save(_Written(file), values, allow_pickle=False)


def reserve(path: Path, size: int) -> None:
    """Make a file of `size` bytes of zeros that have their place on the disk.

    Bytes of a mapped file that have none end the process when they are written and the disk is full.

    Raises
    ------
    OSError
        If the disk is full.
    """
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)


class _Written:
    """What NumPy takes for no file of the operating system."""

    def __init__(self, file: BinaryIO) -> None:
        self.write = file.write
