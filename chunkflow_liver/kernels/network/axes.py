"""The straight lines that branches follow where they leave a node, and where these meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chunkflow_liver.kernels.network.net import Net
from chunkflow_liver.xp import Array

AXIS = 3.0
"""The direction of a branch is that of its line over this many radii, from where it is its own axis,"""
SHORTEST_AXIS = 10.0
"""over so many voxels or more,"""
MOST_OF = 0.6
"""and over no more than this share of it."""
LEAVE = 1.5
"""From this many radii of a node on, the line of a branch is its own axis; nearer, the others bend it."""
STEEP = 0.1
"""Axes that are more nearly parallel than this do not tell where they meet (least eigenvalue, per axis)."""


@dataclass(frozen=True)
class Axis:
    """The straight line that fits a branch where it leaves a node: a point of it, and its direction."""

    mean: Array
    direction: Array


def outside_of(net: Net, node: int, line: Array, balls: float = LEAVE) -> Array:
    """Points of a line outside of so many balls of a node, from the first that is on."""
    if len(net.at[node]) < 3:
        return np.ones(len(line), bool)
    inside = np.linalg.norm(line - net.middle(node), axis=1) <= balls * net.radius(node)
    first = int(np.argmin(inside)) if not inside.all() else len(line)
    return np.arange(len(line)) >= first


def fitted(points: Array, span_nm: float) -> Axis:
    """The axis of the first points of a line, three or more, away from its first one."""
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    points = points[along <= max(span_nm, along[2])]
    mean = points.mean(0)
    direction = np.linalg.svd(points - mean, full_matrices=False)[2][0]
    return Axis(mean, direction if (points[-1] - points[0]) @ direction >= 0 else -direction)


def axis_of(net: Net, node: int, line: Array, radii: Array) -> Axis | None:
    """The axis of a branch whose line, and the balls round its points, begin at a node."""
    outside = outside_of(net, node, line)
    points = line[outside]
    if len(points) < 3:
        return None
    whole = float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())
    wanted = max(AXIS * float(np.median(radii[outside])), SHORTEST_AXIS * max(net.voxel_nm))
    return fitted(points, min(wanted, MOST_OF * whole))


def meeting(middle: Array, radius: float, axes: Sequence[Axis]) -> Array | None:
    """Where lines come nearest to one another, if that is told and lies in a ball."""
    if len(axes) < 2:
        return None
    across = [np.eye(3) - np.outer(a.direction, a.direction) for a in axes]
    form = np.sum(across, axis=0)
    if np.linalg.eigvalsh(form)[0] < STEEP * len(axes):
        return None
    found = np.linalg.solve(form, np.sum([p @ a.mean for p, a in zip(across, axes, strict=True)], axis=0))
    return np.asarray(found) if np.linalg.norm(found - middle) <= radius else None
