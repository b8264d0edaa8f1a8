"""The array-type rule: a kernel works on NumPy or CuPy arrays and returns what it was given."""

from __future__ import annotations

import re
from types import ModuleType
from typing import Any

import numpy as np

from chunkflow_liver.errors import ClusterError, ConfigError, install

Array = np.ndarray[Any, Any]
"""A NumPy array on the host or a CuPy array on the device; checked as the former, whose methods both have."""


def namespace(array: Array) -> ModuleType:
    """The module (numpy or cupy) that `array` belongs to."""
    if type(array).__module__.partition(".")[0] == "cupy":
        import cupy

        return cupy  # type: ignore[no-any-return]
    return np


def on_host(array: Array) -> np.ndarray[Any, Any]:
    """`array` as a NumPy array, copied from the device if it lies there."""
    return np.asarray(array) if namespace(array) is np else array.get()  # type: ignore[attr-defined]


def checked_device(device: str) -> str:
    """`device` if there may be one of this name: 'cpu', 'cuda', 'cuda:0', ..

    Raises
    ------
    ConfigError
        If not.
    """
    if device != "cpu" and not re.fullmatch(r"cuda(:\d+)?", device):
        raise ConfigError(f"no device {device!r}; there are 'cpu', 'cuda' and 'cuda:0', 'cuda:1', ...")
    return device


def on_device(array: np.ndarray[Any, Any], device: str) -> Array:
    """`array` itself for 'cpu', else its copy on a CUDA device, which this thread uses from now on.

    Raises
    ------
    ClusterError
        If CuPy is not installed.
    """
    if checked_device(device) == "cpu":
        return array
    try:
        import cupy
    except ImportError as err:
        raise ClusterError(f"device {device!r} needs CuPy; {install('cupy')}") from err
    cupy.cuda.Device(int(device.partition(":")[2] or 0)).use()
    return cupy.asarray(array)  # type: ignore[no-any-return]
