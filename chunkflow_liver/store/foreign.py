"""A volume in a foreign format, as operations read it."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Box, Nm, Zyx, zyx
from chunkflow_liver.store.archive import archive_of
from chunkflow_liver.store.location import absolute, is_local, read_key
from chunkflow_liver.store.sources import Asked, Source, open_source, whole_numbers
from chunkflow_liver.store.volume import Volume

LEAST_READ, MOST_READ = 1 << 22, 1 << 26
"""Voxels between which what is read at once lies, where chunks and shape allow it."""
SAME_SIZE = 1e-3
"""Voxel sizes that differ by a smaller share are the same, rounded."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Foreign:
    """A handle to a volume in a foreign format: what a `Volume` tells of itself, from a file as it is.

    Attributes
    ----------
    source : Source
    url : str
        Path, and after '::' the name of a volume of a container.
    voxel_nm : Nm
        Of the file, or as a person says.
    kind : {'image', 'label'}
    """

    source: Source
    url: str
    voxel_nm: Nm
    kind: str = "image"

    level = 0
    classes: tuple[tuple[str, int], ...] = ()

    @property
    def shape(self) -> Zyx:
        return self.source.shape

    @property
    def box(self) -> Box:
        return Box.of(self.shape)

    @property
    def dtype(self) -> str:
        return self.source.dtype

    @property
    def itemsize(self) -> int:
        return np.dtype(self.dtype).itemsize

    @property
    def origin_nm(self) -> Nm:
        return cast(Nm, tuple(a * v for a, v in zip(self.source.origin, self.voxel_nm, strict=True)))

    @property
    def chunks(self) -> Zyx:
        """What is well read at once: whole chunks of the file, several of small ones, parts of huge ones."""
        sides = [min(c, n) for c, n in zip(self.source.chunks, self.shape, strict=True)]
        for axis in (2, 1, 0):
            several = max(1, LEAST_READ // math.prod(sides))
            sides[axis] = min(self.shape[axis], sides[axis] * several)
        while math.prod(sides) > MOST_READ and max(sides) > 1:
            axis = sides.index(max(sides[:2])) if max(sides[:2]) > 1 else 2
            sides[axis] = -(-sides[axis] // 2)
        return zyx(sides)

    def decoded(self, window: Zyx) -> float:
        """How many voxels are decoded for one that is read, in a window anywhere."""
        sides = zip(window, self.source.chunks, self.shape, strict=True)
        return math.prod(min(n, (-(-w // c) + (c > 1)) * c) / min(w, n) for w, c, n in sides)

    @property
    def write_unit(self) -> Zyx:
        return self.chunks

    def read(self, box: Box) -> np.ndarray[Any, Any]:
        return self.source.read(box)

    def identity(self) -> str:
        return self.source.identity()


Image = Volume | Foreign
"""What a box can be read from, with its place in nm."""


def is_foreign(path: str | os.PathLike[str]) -> bool:
    """Whether something lies at `path` that is no group of zarr arrays, as an OME-Zarr image is."""
    text = os.fspath(path)
    name = text.partition("::")[0]
    if "://" in text or archive_of(absolute(text)) is not None or not os.path.exists(name):
        return False
    if name != text or os.path.isfile(name) or not is_local(text):
        return True
    if read_key(absolute(text), ".zgroup") is not None:
        return False
    try:
        return bool(json.loads(read_key(absolute(text), "zarr.json") or b"{}").get("node_type") != "group")
    except (ValueError, AttributeError):
        return False


def open_foreign(
    path: str | os.PathLike[str], voxel_nm: Sequence[float] | None = None, *, labels: bool = False
) -> Foreign:
    """A handle to a foreign volume; reads what states its shape only.

    Parameters
    ----------
    path : path
        As `convert` takes it, `file.h5::volumes/raw` included.
    voxel_nm : sequence of float, optional
        Wins over what the file states; the log says where they differ.
    labels : bool
        Whether its numbers are labels.

    Raises
    ------
    InputError
        If nothing there can be read, or nobody states a voxel size.
    """
    name, sign, dataset = os.fspath(path).partition("::")
    found: Source = open_source(name, replace(Asked(), labels=labels, dataset=dataset if sign else None))
    found = whole_numbers(found) if labels else found
    size = size_of(found, voxel_nm, os.fspath(path))
    if size is None:
        raise InputError(
            f"{os.fspath(path)} does not state a voxel size; give it in nm (z, y, x) as voxel_nm"
        )
    url = absolute(name) + (f"::{dataset}" if sign else "")
    return Foreign(found, url, size, "label" if labels else "image")


def size_of(source: Source, voxel_nm: Sequence[float] | None, where: str) -> Nm | None:
    """The voxel size that is given, else the one that the file states; the log says where they differ."""
    stated = source.voxel_nm
    if voxel_nm is None:
        return stated
    given = cast(Nm, tuple(voxel_nm))
    if stated is not None and not np.allclose(given, stated, rtol=SAME_SIZE, atol=0):
        log.warning(
            "warning: %s states voxels of %s nm (z, y, x), and %s nm are given, which win; if the file is "
            "right, leave them out",
            where,
            " x ".join(f"{v:g}" for v in stated),
            " x ".join(f"{v:g}" for v in given),
        )
    return given
