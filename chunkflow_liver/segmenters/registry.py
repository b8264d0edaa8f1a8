"""Kinds of trained networks by name; what a kind needs is imported when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from chunkflow_liver.errors import SegmenterError, install
from chunkflow_liver.segmenters.model import Model


@dataclass(frozen=True)
class Kind:
    """How networks of one kind are read, loaded and told apart.

    Attributes
    ----------
    read : callable
        `read(source, **choice) -> Model`: what a folder or description says, checked; runs nothing of it.
    load : callable
        `load(model, device)`: the networks, one per file of weights, in eval mode.
    fingerprint : callable
        `fingerprint(model)`: a text that changes with anything that could change an answer.
    """

    read: Callable[..., Model]
    load: Callable[[Any, str], list[Any]]
    fingerprint: Callable[[Any], str]


registry: dict[str, str] = {
    "nnunet": "chunkflow_liver.segmenters.nnunet.kind:NNUNET",
    "torch": "chunkflow_liver.segmenters.any_torch.kind:TORCH",
}
"""Name to "module:Kind"."""


def kind_of(name: str) -> Kind:
    """The kind of that name.

    Raises
    ------
    SegmenterError
        If there is no such kind, or a package it needs is not installed.
    """
    if name not in registry:
        raise SegmenterError(f"no segmenter {name!r}; there are {sorted(registry)}")
    module, _, found = registry[name].partition(":")
    try:
        return cast(Kind, getattr(importlib.import_module(module), found))
    except ModuleNotFoundError as err:
        raise SegmenterError(f"segmenter {name!r} needs {err.name!r}; {install(err.name or '')}") from err
