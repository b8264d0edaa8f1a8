"""The groups of feature columns that `measure` knows beside 'basic': one line each."""

from __future__ import annotations

from chunkflow_liver.kernels.features import Group, WholeGroup
from chunkflow_liver.kernels.shape import SHAPE

GROUPS: dict[str, Group] = {
    "shape": SHAPE,
}

WHOLE: dict[str, WholeGroup] = {}
"""Groups that take every object whole; one above the limit is refused by name."""
