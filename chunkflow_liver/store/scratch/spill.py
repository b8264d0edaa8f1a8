"""Columns that grow on disk, for tables that may not fit in memory while they are made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.store.scratch.noticed import reserve, write_values
from chunkflow_liver.xp import Array

WAITING = 1 << 17
"""Rows of a table that are gathered in memory before they are written."""

Columns = dict[str, Array]


@dataclass(frozen=True)
class Spill:
    """Values of one type in one file, appended piece by piece, and used memory-mapped.

    Attributes
    ----------
    path : Path
        The file; made by the first `append`.
    dtype : str
        NumPy type of the values.
    """

    path: Path
    dtype: str

    def append(self, values: Array) -> None:
        """Add `values` (one-dimensional) at the end.

        Raises
        ------
        TypeError
            If their type does not fit `dtype` without loss.
        """
        fitting = np.asarray(values).astype(self.dtype, casting="safe")
        with self.path.open("ab") as file:
            write_values(file, fitting)

    def __len__(self) -> int:
        size = self.path.stat().st_size if self.path.exists() else 0
        return size // np.dtype(self.dtype).itemsize

    def array(self) -> np.ndarray[Any, Any]:
        """All values, memory-mapped; what is written to them is kept."""
        # An empty file cannot be mapped.
        if not len(self):
            return np.zeros(0, self.dtype)
        found: np.ndarray[Any, Any] = np.memmap(self.path, self.dtype, mode="r+")
        return found


@dataclass
class SpilledTable:
    """Columns of one length that grow together.

    Attributes
    ----------
    folder : Path
        For their files; made if it is not there.
    dtypes : mapping of str to str
        Names and NumPy types of the columns.
    """

    folder: Path
    dtypes: Mapping[str, str]
    _parts: list[Mapping[str, Array]] = field(default_factory=list)
    _waiting: int = 0
    _written: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._files = {name: Spill(self.folder / name, dtype) for name, dtype in self.dtypes.items()}

    def append(self, columns: Mapping[str, Array]) -> None:
        """Add rows at the end."""
        rows = len(columns[next(iter(self.dtypes))])
        if rows:
            self._parts.append(columns)
            self._waiting += rows
        # Many short parts take more memory than their rows.
        if self._waiting >= WAITING or len(self._parts) >= WAITING // 64:
            self._write()

    def __len__(self) -> int:
        return self._written + self._waiting

    def __getitem__(self, name: str) -> Array:
        """One column, memory-mapped; what is written to it is kept."""
        self._write()
        return self._files[name].array()

    def rows(self, begin: int, end: int) -> Columns:
        """A part of all columns, in memory."""
        return {name: np.array(self[name][begin:end]) for name in self.dtypes}

    def parts(self, most: int) -> Iterator[tuple[int, Columns]]:
        """All rows, at most `most` at once, each part with the number of its first row."""
        for begin in range(0, len(self), most):
            yield begin, self.rows(begin, begin + most)

    def _write(self) -> None:
        if self._parts:
            for name, file in self._files.items():
                file.append(np.concatenate([part[name] for part in self._parts]))
            self._written += self._waiting
            self._parts, self._waiting = [], 0


def filled(path: Path, size: int, dtype: str) -> np.ndarray[Any, Any]:
    """`size` zeros in a file, memory-mapped; OSError if the disk has no room for them."""
    if not size:
        return np.zeros(0, dtype)
    path.parent.mkdir(parents=True, exist_ok=True)
    reserve(path, size * np.dtype(dtype).itemsize)
    found: np.ndarray[Any, Any] = np.memmap(path, dtype, mode="r+", shape=(size,))
    return found
