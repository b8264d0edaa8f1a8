"""Segmenters by name; what a segmenter needs is imported when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol, cast

from chunkflow_liver.errors import SegmenterError
from chunkflow_liver.geometry import Box, Zyx
from chunkflow_liver.xp import Array


class Segmenter(Protocol):
    """Turns raw voxels into class numbers, one block at a time; pickles, and holds no network."""

    def __call__(self, read: Callable[[Box], Array], shape: Zyx, block: Box) -> Iterator[tuple[Box, Array]]:
        """Pieces that tile `block`, each with its class numbers, for a volume of `shape`.

        `read` gives the raw voxels of any box of the volume, as an array of shape (C, z, y, x).
        """
        ...


registry: dict[str, str] = {"nnunet": "chunkflow_liver.segmenters.nnunet:nnunet"}
"""Kind to "module:factory"; a factory takes keyword arguments and returns a Segmenter."""


def segmenter(kind: str, **options: Any) -> Segmenter:
    """The segmenter of that kind.

    Raises
    ------
    SegmenterError
        If there is no such kind, or a package it needs is not installed.
    """
    if kind not in registry:
        raise SegmenterError(f"no segmenter {kind!r}; there are {sorted(registry)}")
    module, _, name = registry[kind].partition(":")
    try:
        return cast(Segmenter, getattr(importlib.import_module(module), name)(**options))
    except ModuleNotFoundError as err:
        raise SegmenterError(
            f"segmenter {kind!r} needs {err.name!r}; pip install 'chunkflow-liver[{kind}]'"
        ) from err
