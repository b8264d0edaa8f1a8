"""Lengths, radii, junctions and angles of the branches of a network, finer than its voxels."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from chunkflow_liver.kernels.network.axes import AXIS, LEAVE, Axis, axis_of, fitted, meeting, outside_of
from chunkflow_liver.kernels.network.net import Net
from chunkflow_liver.xp import Array

LEAST = 4
"""A line is smoothed over at least so many voxels to both sides, which steps of a slanting line take."""


@dataclass(frozen=True)
class Branch:
    """A branch, measured.

    Attributes
    ----------
    start, stop : int
        Nodes.
    points_nm : ndarray of shape (n, 3), float64
        The centre line, the nodes at its ends included; places (z, y, x) in nm.
    radius_nm : ndarray of shape (n,), float64
        Of the largest ball inside the object round each point.
    inner : ndarray of shape (n,), bool
        Points that lie in no ball of a node that branches: there the object is this branch alone. Free ends
        are none: how wide the object is there is told by the last point before.
    leaving : tuple of 2 ndarray or None
        Unit vectors in which it leaves start and stop, where these are nodes that branch.
    """

    start: int
    stop: int
    points_nm: Array
    radius_nm: Array
    inner: Array
    leaving: tuple[Array | None, Array | None]

    @property
    def length_nm(self) -> float:
        return float(np.linalg.norm(np.diff(self.points_nm, axis=0), axis=1).sum())

    @property
    def distance_nm(self) -> float:
        """Of its ends, in a straight line."""
        return float(np.linalg.norm(self.points_nm[-1] - self.points_nm[0]))


@dataclass(frozen=True)
class _Line:
    """A smoothed line from node to node, without these; `radii` of the balls round its points, in nm.

    `voxels` and `depths` are what it was made of: centres, and distances to the background.
    """

    start: int
    stop: int
    points: Array
    radii: Array
    voxels: Array
    depths: Array

    def seen_from(self, which: int) -> tuple[int, Array, Array]:
        """The node at one end, points and radii from there on."""
        turn = slice(None, None, -1 if which else 1)
        return (self.stop if which else self.start), self.points[turn], self.radii[turn]


def smoothed(points: Array, reach: int) -> Array:
    """A line of voxels without their steps.

    Parameters
    ----------
    points : ndarray of shape (n, 3), float64
    reach : int
        Points to both sides.

    Returns
    -------
    ndarray of shape (n, 3), float64
        At every point the parabola that fits the points within `reach` best [1]_, at the ends that of the
        outermost ones. A bend keeps its length, which a mean of neighbours would cut short.

    References
    ----------
    .. [1] Savitzky and Golay, Analytical Chemistry 36 (1964), doi:10.1021/ac60214a047
    """
    window = min(2 * reach + 1, (len(points) - 1) // 2 * 2 + 1)
    if window < 3:
        return points.copy()
    fit = _parabolas(window)
    half = window // 2
    middle = sliding_window_view(points, window, axis=0) @ fit[half]
    return np.concatenate([fit[:half] @ points[:window], middle, fit[half + 1 :] @ points[-window:]])


@functools.lru_cache(maxsize=64)
def _parabolas(window: int) -> Array:
    """What takes the points of a window to those of the parabola that fits them best, a row for each."""
    at = np.arange(window) - window // 2
    # Three points have no parabola but their own: there it is a straight line.
    powers = np.stack([at**n for n in range(min(2, window - 2) + 1)], 1).astype(np.float64)
    orthogonal = np.linalg.qr(powers)[0]
    return np.asarray(orthogonal @ orthogonal.T)


def rows_of(net: Net) -> list[int]:
    """Branches of a network, sorted by the keys of their nodes, then by their first line."""
    return sorted(net.branches, key=lambda r: (*net.key[list(net.branches[r][:2])].tolist(), r))


def _along(line: Array) -> Array:
    """Unit vectors along a line."""
    along = np.gradient(line, axis=0) if len(line) > 1 else np.zeros_like(line)
    return np.asarray(along / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-12))


def _line(net: Net, row: int) -> _Line:
    """The centre line of a branch, and the balls round its points.

    Notes
    -----
    Each voxel is moved across the line by what the walls on its two sides say (`shifting.shifts`); then the
    line is smoothed. The distance to the background at a point is no more than that at its voxel, and how far
    the voxel lies beside the line; nor than that at the moved voxel, and how far smoothing moved it back. The
    radius is the smaller of both.
    """
    start, stop, _, _ = net.branches[row]
    voxel, radius, move, more = net.walked(row)
    center = voxel + move
    reach = LEAST
    if len(radius):
        reach = max(LEAST, int(np.ceil(1.5 * float(np.median(radius)) / min(net.voxel_nm))))
    along = _along(smoothed(voxel, reach))
    # A direction that is not across the line sees the wall by so much less.
    move = move * np.sqrt(np.maximum(0, 1 - along**2))
    move -= (move * along).sum(1, keepdims=True) * along
    line_nm = smoothed(voxel + move, reach)
    along = _along(line_nm)
    balls = [r + _beside(line_nm, along, at) for at, r in ((voxel, radius), (center, radius + more))]
    return _Line(start, stop, line_nm, np.minimum(*balls), voxel, radius)


def _beside(line: Array, along: Array, points: Array) -> Array:
    """How far points lie from the points of a line, across it."""
    way = points - line
    way -= (way * along).sum(1, keepdims=True) * along
    return np.asarray(np.linalg.norm(way, axis=1))


def places_of_nodes(net: Net) -> dict[int, Array]:
    """Where each node lies, in nm.

    Notes
    -----
    In the ball of a node with branches the line that thinning leaves is no axis of any of them: the node lies
    where the axes of its branches, as they are farther out, come nearest to one another. A free end lies in
    the middle of the ball, as wide as its branch, that touches the end of the object; where the volume cuts a
    tube, in that face.
    """
    axes: dict[int, list[Axis]] = {}
    places = {node: net.middle(node) for node in net.nodes()}
    for row in rows_of(net):
        line = _line(net, row)
        for node, points, radii in map(line.seen_from, (0, 1)):
            if len(net.at[node]) == 1:
                places[node] = _free_end(net, node, points, radii, (line.voxels, line.depths))
            elif len(net.at[node]) > 2 and (axis := axis_of(net, node, points, radii)):
                axes.setdefault(node, []).append(axis)
    for node, found in axes.items():
        if (met := meeting(places[node], net.radius(node), found)) is not None:
            places[node] = met
    return places


def _own(net: Net, line: _Line) -> Array:
    """Points of a line that tell of it alone: outside of `LEAVE` balls of both its nodes.

    Where there are none, as between nodes near to each other, outside of the balls themselves; where there
    are none either, the thinnest. Two strands between the same two nodes are told apart in any case.
    """
    for balls in (LEAVE, 1.0):
        found = outside_of(net, line.start, line.points, balls)
        found &= outside_of(net, line.stop, line.points[::-1], balls)[::-1]
        if found.any():
            return found
    return np.arange(len(line.points)) == (np.argmin(line.radii) if len(line.radii) else -1)


def _free_end(net: Net, node: int, line: Array, radii: Array, balls: tuple[Array, Array]) -> Array:
    middle = net.middle(node)
    if len(line) < 3:
        return middle
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    # The branch's own radius and axis, from one radius of it on: nearer to the end thinning turns aside.
    usual = float(np.median(radii))
    own = (along >= usual) & (along <= (1 + AXIS) * usual)
    radius = float(np.median(radii[own])) if own.any() else usual
    rest = line[along >= radius]
    axis = fitted(rest if len(rest) > 2 else line, AXIS * radius)
    place, square, _ = net.graph.end(int(net.key[node]))
    near = np.linalg.norm(balls[0] - middle, axis=1) <= AXIS * radius
    points = np.concatenate([(place + 0.5) * net.voxel_nm, balls[0][near], middle[None]])
    depths = np.concatenate([np.sqrt(square) * net.unit_nm, balls[1][near], [net.radius(node)]])
    # Away from the branch; the object ends where the ball that reaches farthest does.
    ahead = (points - axis.mean) @ -axis.direction
    end = np.clip((depths + ahead).max() - radius, 0.0, ahead.max())
    # A tube that is cut ends there, wherever its ball would.
    tips, reach = np.concatenate([(place + 0.5) * net.voxel_nm, middle[None]]), ahead.max() + radius
    face = net.ends.back(tips, axis.mean, -axis.direction, reach)
    end = face if face <= reach else end
    return net.ends.inside(axis.mean - end * axis.direction)


def branches(net: Net, places: Mapping[int, Array]) -> Iterator[Branch]:
    """The branches between nodes at `places`, one after the other, in the order of `rows_of`.

    Notes
    -----
    From where it leaves the balls of its nodes a branch goes straight to them (`_own`). It leaves a node in
    the direction of the mean of its line over `AXIS` radii from there.
    """
    for row in rows_of(net):
        line = _line(net, row)
        outside = _own(net, line)
        for node, far in ((line.start, line.points[-1:]), (line.stop, line.points[:1])):
            if len(net.at[node]) == 1 and len(far):
                # What lies beyond the end, seen from the other end, is no part of the branch.
                way = places[node] - far[0]
                outside &= (line.points - far[0]) @ way < way @ way
        ends = [line.start, line.stop]
        points = np.concatenate([places[ends[0]][None], line.points[outside], places[ends[1]][None]])
        wide = [net.ball(node, places[node]) for node in ends]
        radius = np.concatenate([wide[:1], line.radii[outside], wide[1:]])
        for at, node in zip((0, -1), ends, strict=True):
            if len(net.at[node]) == 1 and outside.any():
                radius[at] = line.radii[outside][at]
        inner = np.ones(len(points), bool)
        inner[0] = inner[-1] = not outside.any()
        leaving = tuple(_leaving(net, places, *line.seen_from(which), points) for which in (0, 1))
        yield Branch(line.start, line.stop, points, radius, inner, (leaving[0], leaving[1]))


def _leaving(
    net: Net, places: Mapping[int, Array], node: int, line: Array, radii: Array, points: Array
) -> Array | None:
    if len(net.at[node]) < 3:
        return None
    axis = axis_of(net, node, line, radii)
    far = points[-1] if np.array_equal(points[0], places[node]) else points[0]
    way = (far if axis is None else axis.mean) - places[node]
    size = float(np.linalg.norm(way))
    return way / size if size > 0 else None


def angles(leaving: Mapping[int, Sequence[tuple[int, Array]]]) -> list[tuple[int, int, int, float]]:
    """Angles between all two branches at each node.

    Parameters
    ----------
    leaving : mapping
        Of each node the branches, and the unit vectors in which these leave it.

    Returns
    -------
    list of (node, branch, other, angle_deg)
        In the order of the nodes and of their branches.
    """
    return [
        (node, one, two, float(np.degrees(np.arccos(np.clip(a @ b, -1, 1)))))
        for node, ways in leaving.items()
        for (one, a), (two, b) in itertools.combinations(ways, 2)
    ]
