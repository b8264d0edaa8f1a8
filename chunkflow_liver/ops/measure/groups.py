"""The groups of feature columns that `measure` knows beside 'basic': one line each."""

from __future__ import annotations

from chunkflow_liver.kernels.features import Group

GROUPS: dict[str, Group] = {}
