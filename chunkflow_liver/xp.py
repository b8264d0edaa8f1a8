"""The array-type rule: a kernel works on NumPy or CuPy arrays and returns what it was given."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

Array = Any
"""A NumPy array on the host or a CuPy array on the device."""


def namespace(array: Array) -> ModuleType:
    """The module (numpy or cupy) that `array` belongs to."""
    if type(array).__module__.partition(".")[0] == "cupy":
        import cupy

        return cupy  # type: ignore[no-any-return]
    return np


def on_host(array: Array) -> np.ndarray[Any, Any]:
    """`array` as a NumPy array, copied from the device if it lies there."""
    return array.get() if namespace(array) is not np else np.asarray(array)
