"""Cells of a tile without painted slices: fragments of a watershed, united where no boundary is."""

from __future__ import annotations

from typing import Any

import numpy as np

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import Nm
from chunkflow_liver.kernels.instances.touching.watershed import Necks, split_mask
from chunkflow_liver.xp import Array


def library() -> Any:
    """What knows graphs of regions.

    Raises
    ------
    ConfigError
        If it is not installed.
    """
    try:
        import bioimage_cpp  # type: ignore[import-untyped]
    except ImportError as err:
        raise ConfigError(
            "cells in 3D without painted slices need bioimage-cpp; pip install 'chunkflow-liver[cells]'"
        ) from err
    return bioimage_cpp


def boundary_cells(
    inside: Array, wall: Array, *, voxel_nm: Nm, threshold: float, seeds: Necks, merge: float
) -> Array:
    """Cells between boundaries.

    Parameters
    ----------
    inside : ndarray of shape (Z, Y, X), bool
        Interior of cells.
    wall : ndarray of shape (Z, Y, X), float32
        Score of the boundary, 0 to 1.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.
    threshold : float
        Score from which on seeds see a boundary.
    seeds : Necks
        Seeds are where the distance to boundary and outside is deepest; how deep, and up to which distance.
    merge : float
        Fragments are one as long as the mean score of what parts them is below this.

    Returns
    -------
    ndarray of shape (Z, Y, X), uint32
        0 outside `inside`.

    Notes
    -----
    Fragments meet on the ridges of the score. Of a graph of fragments that touch (6 neighbours), the two
    with the lowest mean score of the voxels on either side of their face are united first, and the means
    of the united one follow (average linkage of signed graphs [1]_), by bioimage-cpp.

    References
    ----------
    .. [1] Bailoni et al., GASP, CVPR 2022, arXiv:1906.11713
    """
    found = split_mask(
        inside, voxel_nm=voxel_nm, necks=seeds, outside=~inside | (wall >= threshold), boundary=wall
    )
    return united(found, wall, merge)


def united(fragments: Array, wall: Array, merge: float) -> Array:
    """Fragments (Z, Y, X), uint32, united by the mean score (Z, Y, X) between them; see `boundary_cells`."""
    if int(fragments.max(initial=0)) < 2:
        return fragments
    graph = library().graph
    regions = graph.region_adjacency_graph(fragments, number_of_threads=1)
    means, sizes = graph.features.edge_map_features(
        regions, fragments, np.ascontiguousarray(wall, np.float32), number_of_threads=1
    ).T
    # Node 0 is the outside, which nothing is united with.
    outside = np.asarray(regions.uv_ids())[:, 0] == 0
    policy = graph.agglomeration.GaspClusterPolicy(linkage="mean")
    weight = np.where(outside, -1.0, merge - means)
    group = np.asarray(
        policy.optimize(regions, weight, edge_sizes=sizes.astype(weight.dtype), is_mergeable=~outside)
    )
    numbers = np.zeros(len(group), np.uint32)
    inner = group[1:]
    # Numbered by their first fragment.
    first = np.unique(inner, return_index=True)[1]
    numbers[1:] = np.argsort(np.argsort(first))[np.unique(inner, return_inverse=True)[1]] + 1
    return numbers[fragments]
