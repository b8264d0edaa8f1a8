"""A propagator without a network: bright pixels near the mask of the slice before."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from chunkflow_liver.segmenters.sam2 import Backend, Found, Hint
from chunkflow_liver.segmenters.sam2.propagator import STRIDE

Array = np.ndarray[Any, Any]
MIDDLE = 128


@dataclass(frozen=True)
class FloodModel:
    folder: Path
    size: int

    @property
    def weights(self) -> Path:
        return self.folder / "size"


class Flood:
    """See `Propagator`; counts what it is asked."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.places = 3
        self.encoded = 0
        self.steps = 0

    def encode(self, plane: Array) -> Array:
        assert plane.shape == (self.size, self.size)
        assert plane.dtype == np.uint8
        self.encoded += 1
        n = self.size // STRIDE
        return plane.reshape(n, STRIDE, n, STRIDE).mean(axis=(1, 3)).astype(np.float32)

    def track(self, slices: int, state: Mapping[str, Array] | None = None) -> FloodTrack:
        return FloodTrack(self, None if state is None else np.array(state["mask"]))

    def step(
        self, tracks: Sequence[FloodTrack], seen: Sequence[Array], z: int, *, reverse: bool = False
    ) -> list[Found]:
        assert len(tracks) <= self.places
        return [track.carry(one) for track, one in zip(tracks, seen, strict=True)]


class FloodTrack:
    """See `Track`."""

    def __init__(self, of: Flood, mask: Array | None) -> None:
        self.of, self.mask = of, mask

    def start(self, z: int, seen: Array, hint: Hint) -> Found:
        n = self.of.size // STRIDE
        if hint.mask is not None:
            near = hint.mask.reshape(n, STRIDE, n, STRIDE).mean(axis=(1, 3)) >= 0.5
        else:
            near = np.zeros((n, n), bool)
            if hint.box is not None:
                y0, x0, y1, x1 = (round((v + 0.5) / STRIDE) for v in hint.box)
                near[max(0, y0) : y1, max(0, x0) : x1] = True
            regions, _ = ndimage.label(seen > MIDDLE)
            for y, x, own in hint.points:
                if own and regions[int(y // STRIDE), int(x // STRIDE)]:
                    near |= regions == regions[int(y // STRIDE), int(x // STRIDE)]
        return self._found(seen, near)

    def carry(self, seen: Array) -> Found:
        self.of.steps += 1
        assert self.mask is not None
        return self._found(seen, ndimage.binary_dilation(self.mask, iterations=2))

    def _found(self, seen: Array, near: Array) -> Found:
        inside = near & (seen > MIDDLE)
        if inside.any():
            self.mask = inside
        logits = np.where(inside, (seen - MIDDLE) / 8, -4).astype(np.float32)
        return Found(logits, 5.0 if inside.any() else -5.0)

    def state(self) -> dict[str, Array]:
        assert self.mask is not None
        return {"mask": self.mask}


loaded: dict[str, Flood] = {}


def read(path: Any) -> FloodModel:
    return FloodModel(Path(path), int((Path(path) / "size").read_text()))


def fingerprint(model: FloodModel) -> str:
    return hashlib.sha256(str(model.size).encode()).hexdigest()


def load(model: FloodModel, _fingerprint: str, device: str) -> Flood:
    return loaded.setdefault(_fingerprint, Flood(model.size))


FLOOD = Backend(read, fingerprint, load)


def flood_model(folder: Path, size: int = 64) -> Path:
    """A model folder, for `backend="flood"`."""
    folder.mkdir()
    (folder / "size").write_text(str(size))
    return folder
