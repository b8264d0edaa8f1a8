"""A column that grows on disk, for tables that may not fit in memory while they are made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.xp import Array


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
            fitting.tofile(file)

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
