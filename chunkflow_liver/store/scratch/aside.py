"""Arrays that one block leaves for another, on disk until they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from chunkflow_liver.store.scratch.noticed import write_values
from chunkflow_liver.xp import Array


@dataclass
class Aside:
    """What blocks leave for later ones; a file for each layer of blocks.

    Attributes
    ----------
    folder : Path
        Made if it is not there.
    """

    folder: Path
    _places: dict[int, dict[int, dict[str, tuple[int, str, int]]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def put(self, layer: int, block: int, arrays: Mapping[str, Array]) -> None:
        """Keep one-dimensional arrays of a block under their names, until its layer is forgotten."""
        places = self._places.setdefault(layer, {})[block] = {}
        with self._path(layer).open("ab") as file:
            for name, values in arrays.items():
                values = np.asarray(values)
                places[name] = (file.tell(), values.dtype.str, len(values))
                write_values(file, values)

    def get(self, layer: int, block: int, name: str) -> Array | None:
        """An array that was put, or None."""
        place = self._places.get(layer, {}).get(block, {}).get(name)
        if place is None:
            return None
        offset, dtype, count = place
        return np.fromfile(self._path(layer), dtype, count, offset=offset)

    def forget(self, before: int) -> None:
        """Remove all layers before this one."""
        for layer in [n for n in self._places if n < before]:
            del self._places[layer]
            self._path(layer).unlink()

    def _path(self, layer: int) -> Path:
        return self.folder / f"{layer}"
