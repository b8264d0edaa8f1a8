"""What voxels that are read as labels may hold."""

from __future__ import annotations

from typing import Any

import numpy as np

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Box


def refuse_negative(voxels: np.ndarray[Any, Any], box: Box, place: str) -> None:
    """Refuse labels below 0, which other tools use for 'not labelled'.

    Parameters
    ----------
    voxels : ndarray of shape (Z, Y, X)
        Labels of `box`; of an unsigned type nothing is looked at.
    box : Box
        Where they lie in the volume.
    place : str
        The array that they are from.

    Raises
    ------
    InputError
        If there is a negative one; the text names it and its voxel.
    """
    if voxels.dtype.kind != "i" or not voxels.size or (least := int(voxels.min())) >= 0:
        return
    at = np.unravel_index(int(voxels.argmin()), voxels.shape)
    z, y, x = (int(i) + a for i, a in zip(at, box.start, strict=True))
    raise InputError(
        f"{place} holds the label {least}, at voxel ({z}, {y}, {x}) of {box}: labels count from 1 and 0 is "
        "background; store it anew with 0 where nothing is labelled, as numpy.maximum(labels, 0) does"
    )
