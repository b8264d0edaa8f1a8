"""The group 'skeleton': length, branches, tortuosity and width of an object along its centre line."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from chunkflow_liver.kernels.centreline.line import BYTES_PER_VOXEL, Centreline, centreline
from chunkflow_liver.kernels.centreline.widths import RESOLVED, inner_widths, voxel_across_nm
from chunkflow_liver.kernels.features.groups import Crop, WholeGroup

COLUMNS = {
    "skeleton_length_nm": "float64",
    "skeleton_branches": "int64",
    "skeleton_branch_points": "int64",
    "skeleton_tips": "int64",
    "tortuosity": "float64",
    "width_mean_nm": "float64",
    "width_min_nm": "float64",
    "width_min_voxels": "float64",
    "width_resolved": "bool",
}


def describe_skeleton(crop: Crop) -> Mapping[str, float]:
    """What the centre line of an object says of it.

    Returns
    -------
    mapping
        `skeleton_length_nm` (all branches, from surface to surface), `skeleton_branches`,
        `skeleton_branch_points`, `skeleton_tips`; `tortuosity`: length of the longest path along the
        line over the distance of its ends [1]_; `width_mean_nm`, `width_min_nm`: mean along the line and
        minimum of the `width_profile`, as of narrowings, without the ends (half the largest width from
        every tip), where every object is thin; `width_min_voxels`: the least number of voxels that such a
        width is across, and `width_resolved`: whether that is `RESOLVED` or more.

    Notes
    -----
    The line is that of `kernels.centreline`; of an object in several pieces the largest counts.

    References
    ----------
    .. [1] Bullitt et al., IEEE Trans. Med. Imaging 22 (2003), doi:10.1109/TMI.2003.816964
    """
    line = centreline(crop.mask, crop.voxel_nm)
    length, distance = longest_path(line)
    widths, steps, rows = zip(*(inner_widths(b, line) for b in line.branches), strict=True)
    sides = [voxel_across_nm(b.tangents[r], crop.voxel_nm) for b, r in zip(line.branches, rows, strict=True)]
    width, step = np.concatenate(widths), np.concatenate(steps)
    least = float((width / np.concatenate(sides)).min())
    return {
        "skeleton_length_nm": line.length_nm,
        "skeleton_branches": len(line.branches),
        "skeleton_branch_points": line.branch_points,
        "skeleton_tips": line.tips,
        "tortuosity": length / distance,
        "width_mean_nm": float((width * step).sum() / step.sum()),
        "width_min_nm": float(width.min()),
        "width_min_voxels": least,
        "width_resolved": least >= RESOLVED,
    }


def longest_path(line: Centreline) -> tuple[float, float]:
    """Length of the longest path between two nodes of the tree, and the distance of these nodes, in nm."""
    start = _farthest(line, 0)[0]
    stop, length = _farthest(line, start)
    return length, float(np.linalg.norm(line.nodes_nm[stop] - line.nodes_nm[start]))


def _farthest(line: Centreline, start: int) -> tuple[int, float]:
    """The node of the tree farthest from `start` along the branches, the first of equals, and how far."""
    ends: dict[int, list[tuple[int, float]]] = {}
    for branch in line.branches:
        ends.setdefault(branch.start, []).append((branch.stop, branch.length_nm))
        ends.setdefault(branch.stop, []).append((branch.start, branch.length_nm))
    far, waiting = {start: 0.0}, [start]
    while waiting:
        node = waiting.pop()
        for other, length in ends.get(node, ()):
            if other not in far:
                far[other] = far[node] + length
                waiting.append(other)
    return min(far.items(), key=lambda item: (-item[1], item[0]))


# A graph of up to 60,000 voxels is traced, however large the crop is.
SKELETON = WholeGroup(describe_skeleton, COLUMNS, working=BYTES_PER_VOXEL + 8, fixed=72 << 20)
