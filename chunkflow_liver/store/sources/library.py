"""Formats of microscopes that the package rosettasciio reads: DM3 and DM4."""

from __future__ import annotations

import functools
import importlib
import inspect
import struct
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from chunkflow_liver.errors import ChunkError, InputError
from chunkflow_liver.store.sources.axes_and_values import Meant, meant
from chunkflow_liver.store.sources.source import (
    Asked,
    file_marks,
    fingerprint,
    length_nm,
    voxel_type,
)

_DM_VERSIONS = (3, 4)
_DIGITAL_MICROGRAPH = "rsciio.digitalmicrograph"
_DAMAGE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RuntimeError,
    AssertionError,
    EOFError,
    ArithmeticError,
    struct.error,
)


@dataclass(frozen=True)
class LibraryImage:
    """One image of a file that a module of rosettasciio reads; its voxels are read part by part.

    Attributes
    ----------
    module : str
        Name of the module of rosettasciio.
    path : str
    number : int
        Which of the images in the file.
    shape : tuple of int
    dtype : str
    """

    module: str
    path: str
    number: int
    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return self.path

    @property
    def chunks(self) -> tuple[int, ...]:
        return tuple(1 if i < len(self.shape) - 2 else n for i, n in enumerate(self.shape))

    def read(self, where: tuple[slice, ...]) -> np.ndarray[Any, Any]:
        try:
            image = _images(self.module, self.path)[self.number]["data"]
            # one thread: a cluster has its own
            return np.asarray(image[where].compute(scheduler="synchronous"))
        except _damage() as err:
            raise ChunkError(
                f"{self.path} cannot be read in {where}: {err}; the file is damaged: fetch it again"
            ) from err

    def identity(self) -> str:
        return fingerprint(self.number, self.shape, self.dtype, *file_marks(self.path))


def is_digital_micrograph(head: bytes, name: str) -> bool:
    """Whether a file of Gatan's DigitalMicrograph begins with `head`."""
    known = name.endswith((".dm3", ".dm4"))
    return known and len(head) > 16 and int.from_bytes(head[:4], "big") in _DM_VERSIONS


def open_digital_micrograph(path: str, asked: Asked) -> Meant:
    """The image, or image number `dataset`, of a DM3 or DM4 file."""
    return _open(_DIGITAL_MICROGRAPH, path, "DM3 and DM4", asked)


def _open(module: str, path: str, what: str, asked: Asked) -> Meant:
    _module(module, what)
    try:
        images = _images(module, path)
        found = [(i, image) for i, image in enumerate(images) if 2 <= image["data"].ndim <= 4]
    except _damage() as err:
        raise InputError(f"{path} is no readable {what} file: {err}") from err
    listed = ", ".join(f"{i}: {image['data'].shape} {image['data'].dtype}" for i, image in found[:8])
    if asked.dataset is not None:
        found = [(i, image) for i, image in found if str(i) == asked.dataset]
    if len(found) != 1:
        raise InputError(
            f"{path} holds {len(found) if asked.dataset is None else 'no such'} image(s); one must be "
            "named by its "
            f"number, as in {path}::0; it has {listed or 'none'}"
        )
    number, image = found[0]
    shape = tuple(int(n) for n in image["data"].shape)
    stored = LibraryImage(module, path, number, shape, voxel_type(image["data"].dtype, path))
    names, sizes, starts = [], [], []
    for axis in image["axes"]:
        name = str(axis.get("name") or "").strip().lower()
        names.append("y" if name == "height" else "x" if name == "width" else name)
        length = length_nm(abs(float(axis.get("scale") or 0.0)), axis.get("units") or "")
        sizes.append(length)
        starts.append(0.0)
    if len(shape) == 3 and names[1:] == ["y", "x"]:
        names[0] = "z"  # a stack, whatever its slices are called
    return meant(stored, asked, names=names, sizes=sizes, starts=starts)


def _module(module: str, what: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as err:
        raise InputError(
            f"reading {what} needs 'rosettasciio'; pip install 'chunkflow-liver[dm]'; or open the "
            "file in Fiji and "
            "save it as TIFF"
        ) from err


@functools.cache
def _damage() -> tuple[type[Exception], ...]:
    """What rosettasciio raises on damaged files, errors of its own among it."""
    own = vars(importlib.import_module("rsciio.exceptions")).values()
    return *_DAMAGE, *(e for e in own if inspect.isclass(e) and issubclass(e, Exception))


def _images(module: str, path: str) -> list[dict[str, Any]]:
    return cast(list[dict[str, Any]], importlib.import_module(module).file_reader(path, lazy=True))
