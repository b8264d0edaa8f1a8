"""What carries masks, by name; what a backend needs is imported when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from chunkflow_liver.errors import SegmenterError
from chunkflow_liver.segmenters.sam2.propagator import Propagator


@dataclass(frozen=True)
class Backend:
    """How models are read, loaded and told apart.

    Attributes
    ----------
    read : callable
        `read(path)`: a model with `folder`, `size` (side of the window) and `weights` (a file); data only.
    fingerprint : callable
        `fingerprint(model)`: a text that changes with anything that could change a mask.
    load : callable
        `load(model, fingerprint, device)`, which keeps what it loaded for the next who asks; that of
        "transformers" also takes `engine`.
    """

    read: Callable[[Any], Any]
    fingerprint: Callable[[Any], str]
    load: Callable[..., Propagator]


BACKENDS: dict[str, str] = {
    "sam2": "chunkflow_liver.segmenters.sam2.package:SAM2",
    "transformers": "chunkflow_liver.segmenters.sam2.tracker:TRANSFORMERS",
}
"""Name to "module:Backend"."""


def backend_of(name: str) -> Backend:
    """The backend of that name.

    Raises
    ------
    SegmenterError
        If there is none.
    """
    if name not in BACKENDS:
        raise SegmenterError(f"nothing propagates by {name!r}; there are {sorted(BACKENDS)}")
    module, _, found = BACKENDS[name].partition(":")
    return cast(Backend, getattr(importlib.import_module(module), found))
