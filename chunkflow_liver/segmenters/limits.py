"""What numbers a description of a network may hold, and the units of its voxel size."""

from __future__ import annotations

import math

NM_PER = {"nm": 1.0, "um": 1e3, "mm": 1e6, "m": 1e9}
VOXEL = "voxel"
"""Unit of a spacing that is not to be looked at."""
MOST_WINDOW = 4096


def whole(value: object, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
