"""Pure array functions: NumPy (or CuPy) arrays in, arrays or plain columns out."""

from __future__ import annotations

from chunkflow_liver.kernels.components import (
    component_table,
    label_block,
    merge_pairs,
    plane_pairs,
    plane_runs,
)
from chunkflow_liver.kernels.contacts import halo_voxels, near_surface
from chunkflow_liver.kernels.distance import distance_nm, exact_nm
from chunkflow_liver.kernels.downsample import mean, mode
from chunkflow_liver.kernels.moments import block_sums, describe, merge_sums
from chunkflow_liver.kernels.relabel import relabel
from chunkflow_liver.kernels.runs import Runs, find_runs
from chunkflow_liver.kernels.slice_links import Rule, link_slices
from chunkflow_liver.kernels.union import flatten, unite

__all__ = [
    "Rule",
    "Runs",
    "block_sums",
    "component_table",
    "describe",
    "distance_nm",
    "exact_nm",
    "find_runs",
    "flatten",
    "halo_voxels",
    "label_block",
    "link_slices",
    "mean",
    "merge_pairs",
    "merge_sums",
    "mode",
    "near_surface",
    "plane_pairs",
    "plane_runs",
    "relabel",
    "unite",
]
