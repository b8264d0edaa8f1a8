"""Targets of classes that may overlap: one bit per class, so that a voxel still has one number.

Windows, their augmentation and `IGNORE` (-1) need not know of them. nnU-Net calls such classes regions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

MOST_REGIONS = 8

Values = np.ndarray[Any, Any]


def bit(number: int) -> int:
    """The target of a voxel of class `number` (from 1 on) and no other."""
    return 1 << (number - 1)


def of_class(targets: Any, number: int, regions: bool) -> Any:
    """Where targets (ndarray or Tensor) are of a class, 0 the background; never where they are unknown."""
    if not regions or number == 0:
        return targets == number
    return (targets > 0) & ((targets & bit(number)) != 0)


def class_counts(targets: Values, heads: int, regions: bool) -> list[int]:
    """Voxels of the background and of every class; those of several classes count for each.

    Parameters
    ----------
    targets : ndarray of int
        Known ones only.
    heads : int
        Classes with the background.
    regions : bool
    """
    codes = np.bincount(targets.astype(np.int64).reshape(-1), minlength=1)
    numbers = np.arange(len(codes))
    return [int(codes[of_class(numbers, n, regions)].sum()) for n in range(heads)]


def topmost(targets: Values, heads: int) -> Values:
    """Numbers of classes as `segment` writes them: of several in a voxel, the one named last."""
    found = np.minimum(targets, 0)
    for number in range(1, heads):
        found = np.where(of_class(targets, number, True), number, found)
    return found
