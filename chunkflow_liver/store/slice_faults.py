"""Faults of the slices of an image, from windows of all its slices or, at a glance, of some."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from chunkflow_liver.geometry import Box, zyx
from chunkflow_liver.kernels.images.slice_checks import Fault, faults
from chunkflow_liver.store.volume import Volume

WINDOW = 256
WINDOWS = 3
"""Windows along y and along x."""
NAMED = 8
"""Faults of one kind that are told one by one."""
GLANCE_READS = 24
"""Chunks, one above the other, that a glance reads at most."""


def slice_faults(volume: Volume) -> list[str]:
    """What is wrong with slices of an image, a sentence each; windows of every slice are read.

    Parameters
    ----------
    volume : Volume
        The finest level of an image. Labels have no contrast and no faults.
    """
    if volume.kind == "label" or np.dtype(volume.dtype).kind not in "uif":
        return []
    return _told(faults(_windows(volume, WINDOWS, (0, volume.shape[0]))), 0)


def glance(volume: Volume) -> list[str]:
    """The same of one window in the middle, in as many slices around it as `GLANCE_READS` chunks hold."""
    if volume.kind == "label" or np.dtype(volume.dtype).kind not in "uif":
        return []
    many = min(volume.shape[0], GLANCE_READS * volume.chunks[0])
    first = (volume.shape[0] - many) // 2 // volume.chunks[0] * volume.chunks[0]
    return _told(faults(_windows(volume, 1, (first, min(first + many, volume.shape[0])))), first)


def _windows(volume: Volume, along: int, planes: tuple[int, int]) -> Iterator[np.ndarray[Any, Any]]:
    """Windows of each slice in turn, (K, H, W)."""
    places = [
        [
            min(max(0, int((i + 0.5) * n / along) - side // 2), n - side)
            for i in range(along if n > side else 1)
        ]
        for n, side in ((n, min(WINDOW, n)) for n in volume.shape[1:])
    ]
    height, width = (min(WINDOW, n) for n in volume.shape[1:])
    depth = volume.chunks[0]
    for z in range(planes[0], planes[1], depth):
        top = min(z + depth, planes[1])
        parts = [
            volume.read(Box((z, y, x), zyx([top, y + height, x + width])))
            for y in places[0]
            for x in places[1]
        ]
        yield from np.stack(parts, 1)


def _told(found: list[Fault], first: int) -> list[str]:
    kinds: dict[str, list[Fault]] = {}
    for fault in found:
        kinds.setdefault(fault.kind, []).append(fault)
    texts = []
    for kind, all_of in kinds.items():
        texts += [f"slice {first + f.z} {_moved(f, first)}" for f in all_of[:NAMED]]
        if len(all_of) > NAMED:
            more = ", ".join(str(first + f.z) for f in all_of[NAMED : 10 * NAMED])
            texts.append(f"{len(all_of) - NAMED} more slices are of the kind {kind!r}: {more}")
    return texts


def _moved(fault: Fault, first: int) -> str:
    """The words of a fault, with slices counted from the first one of the image."""
    return fault.text.replace(f"slice {fault.z - 1}", f"slice {first + fault.z - 1}")
