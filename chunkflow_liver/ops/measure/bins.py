"""Settings of gray levels that leave nothing to measure: refused where it is certain, else told."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.kernels.features.groups import Settings
from chunkflow_liver.ops.measure.groups import GROUPS, WHOLE

SMALL = 1.0
"""An image of floats may lie between 0 and 1: a bin of this width or more holds all of it."""


def bins_told(features: Sequence[str], dtype: str | None, settings: Settings) -> tuple[str, ...]:
    """What the plan says of the bins; nothing where no column needs any.

    Raises
    ------
    ConfigError
        If every gray value that the image can hold lies in one bin.
    """
    groups = GROUPS | WHOLE
    wanted = [f for f in features if f in groups and groups[f].bins]
    if not wanted or dtype is None:
        return ()
    width = settings.bin_width
    if settings.bin_count is not None:
        if settings.bin_count == 1:
            raise ConfigError(
                f"bin_count 1 puts all gray values into one bin: every entropy of {wanted} is 0 and no "
                "texture is left; take 2 or more (PyRadiomics' advice is 16 to 128)"
            )
        return ()
    kind = np.dtype(dtype)
    if kind.kind == "f":
        if width < SMALL:
            return ()
        return (
            f"the image holds {dtype}, and {wanted} count gray values in bins of {width:g}: if all values "
            "lie between 0 and 1, they are in one bin and every entropy is 0; give a bin_width of about a "
            "32nd of the range, or bin_count",
        )
    low, high = (0, 1) if kind.kind == "b" else (np.iinfo(kind).min, np.iinfo(kind).max)
    if low // width == high // width:
        raise ConfigError(
            f"bin_width {width:g} puts all gray values of {dtype}, {low} to {high}, into one bin: every "
            f"entropy of {wanted} is 0 and no texture is left; give a smaller bin_width (25 is the default, "
            "for images of 0 to 255), or bin_count"
        )
    return ()
