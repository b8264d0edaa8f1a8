"""Arrays of this machine in the place of those of CuPy."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np


class DeviceArray(np.ndarray):
    """An array that says it lies on a device."""

    __module__ = "cupy"

    def get(self):
        return self.view(np.ndarray)


def stand_in(monkeypatch):
    """Put a module in the place of CuPy; lists the arrays that were moved and the devices that were used."""
    seen = SimpleNamespace(moved=[], used=[], transforms=0)
    cupy = ModuleType("cupy")
    for name in dir(np):
        setattr(cupy, name, getattr(np, name))

    def asarray(array):
        if not isinstance(array, DeviceArray):
            seen.moved.append(array.shape)
        return np.asarray(array).view(DeviceArray)

    def made(function):
        return lambda *args, **kwargs: function(*args, **kwargs).view(DeviceArray)

    for name in ("arange", "concatenate", "full", "ones", "searchsorted", "where", "zeros"):
        setattr(cupy, name, made(getattr(np, name)))
    cupy.asarray = asarray
    cupy.cuda = SimpleNamespace(Device=lambda number: SimpleNamespace(use=lambda: seen.used.append(number)))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    devices = sys.modules["chunkflow_liver.engine.devices"]
    monkeypatch.setattr(devices, "cuda_devices", lambda _: (80 << 30, 80 << 30))
    return seen
