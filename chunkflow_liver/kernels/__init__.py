"""Pure array functions: NumPy (or CuPy) arrays in, arrays or plain columns out."""

from __future__ import annotations

from chunkflow_liver.kernels.contacts.gaps import halo_voxels, near_surface
from chunkflow_liver.kernels.distance.transform import distance_nm, exact_nm
from chunkflow_liver.kernels.features.basic import block_sums, describe, merge_sums
from chunkflow_liver.kernels.images.downsample import mean, mode
from chunkflow_liver.kernels.instances.components import component_table, label_block, merge_pairs
from chunkflow_liver.kernels.instances.slice_links import Rule, link_slices
from chunkflow_liver.kernels.instances.union import flatten, unite
from chunkflow_liver.kernels.labels.planes import plane_pairs, plane_runs
from chunkflow_liver.kernels.labels.relabel import relabel
from chunkflow_liver.kernels.labels.runs import Runs, find_runs

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
