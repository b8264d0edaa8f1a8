"""What tracks found, on disk: a file per group, sweep and chunk of slices, and where a group stands."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.errors import ChunkError
from chunkflow_liver.kernels.images.windows import Window, cropped
from chunkflow_liver.store.scratch.sealed import BROKEN, sealing, unsealed
from chunkflow_liver.store.table import Columns
from chunkflow_liver.xp import Array

SWEEPS = ("forward", "backward")
PLACES = ("object", "track", "z", "y", "x", "factor", "side", "top", "left", "height", "width")
STATE = "state.npz"
"""What NumPy raises for a file that is damaged."""


@dataclass(frozen=True)
class Crop:
    """One object on one slice: where its logits lie, and those of them that count."""

    object: int
    track: int
    z: int
    window: Window
    top: int
    left: int
    score: float
    logits: Array

    @property
    def at(self) -> tuple[int, int]:
        return self.top, self.left


@dataclass
class Rows:
    """Crops of one chunk of slices, gathered."""

    places: list[tuple[int, ...]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    logits: list[Array] = field(default_factory=list)

    def add(self, number: int, track: int, z: int, window: Window, logits: Array, score: float) -> None:
        """Keep what is above 0 of a window's logits; nothing of a plane that is not."""
        found = cropped(logits)
        if found is None:
            return
        top, left, part = found
        place = (number, track, z, window.y, window.x, window.factor, window.side, top, left, *part.shape)
        self.places.append(place)
        self.scores.append(score)
        self.logits.append(part.astype(np.float16).ravel())

    def columns(self) -> dict[str, Array]:
        places = np.array(self.places, np.int64).reshape(-1, len(PLACES))
        flat = np.concatenate(self.logits) if self.logits else np.zeros(0, np.float16)
        score = np.array(self.scores, np.float32)
        return {**{n: places[:, i] for i, n in enumerate(PLACES)}, "score": score, "logits": flat}


@dataclass(frozen=True)
class Folder:
    """The files of one group."""

    path: Path

    def rows(self, sweep: int, chunk: int) -> Path:
        return self.path / f"{SWEEPS[sweep]}-{chunk:06d}.npz"

    def begin(self, digest: str) -> dict[str, Any] | None:
        """Where the group stands; None if it is new, or was made by other tracks, which are removed."""
        state = self.path / STATE
        if state.is_file():
            try:
                with unsealed(state) as stream, np.load(stream, allow_pickle=False) as file:
                    found = {name: file[name] for name in file.files}
            except BROKEN:
                # Written whole or not at all by us; anything else is not a place to go on from.
                found = {}
            if str(found.get("digest", "")) == digest and self._whole(json.loads(str(found["plain"]))):
                return found
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)
        return None

    def _whole(self, plain: Mapping[str, Any]) -> bool:
        """Whether all that was written before is there and undamaged."""
        for sweep, chunk in plain["files"]:
            try:
                with unsealed(self.rows(sweep, chunk)):
                    pass
            except BROKEN:
                return False
        return True

    def keep(self, digest: str, plain: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        """Remember where the group stands."""
        text = json.dumps(plain, sort_keys=True)
        write_npz(self.path / STATE, {"digest": np.array(digest), "plain": np.array(text), **arrays})


def write_npz(path: Path, columns: Columns) -> None:
    """Arrays into one file with a checksum, under a temporary name and renamed into place."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with (
        sealing(partial) as sealed,
        zipfile.ZipFile(sealed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        for name, values in columns.items():
            # A date of its own would make the same arrays other bytes.
            entry = zipfile.ZipInfo(f"{name}.npy")
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asarray(values), allow_pickle=False)
    os.replace(partial, path)


def read_crops(path: Path, z: range) -> Iterator[Crop]:
    """The crops of a file on the slices `z`, in the order of slices and objects.

    Raises
    ------
    ChunkError
        If the file is not there, or damaged.
    """
    try:
        with unsealed(path) as stream, np.load(stream, allow_pickle=False) as file:
            columns = {name: file[name] for name in file.files}
            places = np.stack([columns[name] for name in PLACES], axis=1)
            ends = np.cumsum(places[:, -2] * places[:, -1])
            if len(ends) and ends[-1] != len(columns["logits"]):
                raise ValueError(f"{len(columns['logits'])} logits where {ends[-1]} were counted")
    except BROKEN as err:
        raise ChunkError(
            f"cannot read what was tracked in {path}: {err}; restore the file, or run in a new work folder"
        ) from err
    order = np.lexsort((places[:, 1], places[:, 0], places[:, 2]))
    for row in order.tolist():
        number, track, at, y, x, factor, side, top, left, height, width = places[row].tolist()
        if at in z:
            values = columns["logits"][ends[row] - height * width : ends[row]].reshape(height, width)
            window = Window(y, x, factor, side)
            yield Crop(number, track, at, window, top, left, float(columns["score"][row]), values)
