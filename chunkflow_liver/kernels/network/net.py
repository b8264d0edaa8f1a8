"""Nodes and branches that can be taken off and joined, and where what was looked at of them ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from chunkflow_liver.geometry import Box, Nm
from chunkflow_liver.kernels.distance.squares import whole_unit
from chunkflow_liver.kernels.network.joining import Graph
from chunkflow_liver.kernels.network.shifting import deeper, unpacked
from chunkflow_liver.xp import Array

Parts = tuple[tuple[int, bool, int], ...]
Branch = tuple[int, int, float, Parts]
"""As in `Net.branches`."""


class Ends(Protocol):
    """Where what was looked at ends."""

    def reached(self, places_nm: Array, radii_nm: Array) -> Array:
        """Which balls, with centres of shape (n, 3), reach what was not looked at; bool."""

    def back(self, tips_nm: Array, place_nm: Array, way: Array, reach_nm: float) -> float:
        """How far from a place along a way (of length 1) it ends, beside one of `tips_nm` (n, 3); else inf.

        Beyond `reach_nm` it need not be told.
        """

    def inside(self, place_nm: Array) -> Array:
        """The nearest place that was looked at."""


@dataclass(frozen=True)
class EndsOfBox:
    """The ends of a box, in voxels; across a single plane nothing is cut off."""

    known: Box
    voxel_nm: Nm

    def reached(self, places_nm: Array, radii_nm: Array) -> Array:
        low, high = self._corners()
        near = (places_nm - radii_nm[:, None] < low) | (places_nm + radii_nm[:, None] > high)
        return np.asarray((near & (np.array(self.known.shape) > 1)).any(1))

    def back(self, tips_nm: Array, place_nm: Array, way: Array, reach_nm: float) -> float:
        del reach_nm
        found = [np.inf]
        for i, (side, faces) in enumerate(
            zip(self.voxel_nm, zip(*self._corners(), strict=True), strict=True)
        ):
            for face in faces if self.known.shape[i] > 1 else ():
                far = face - place_nm[i]
                if far * way[i] > 0 and (np.abs(tips_nm[:, i] - face) < side).any():
                    found.append(far / way[i])
        return float(min(found))

    def inside(self, place_nm: Array) -> Array:
        return np.clip(place_nm, *self._corners())

    def _corners(self) -> tuple[Array, Array]:
        return np.array(self.known.start) * self.voxel_nm, np.array(self.known.stop) * self.voxel_nm


@dataclass
class Net:
    """Nodes and branches that can be taken off and joined.

    Attributes
    ----------
    graph : Graph
    voxel_nm : Nm
    key, places, voxels, square, border
        As of `Graph`, of each node; nodes that became part of another one have no branches and are `gone`.
    branches : dict of int to (start, stop, length, parts)
        Length in nm along the voxels, and lines of the graph in order, each with whether it is walked from
        its stop; where two lines meet, they meet at the node named between them: (line, back, node).
    at : list of list of int
        Branches of each node; one that begins and ends there stands twice.
    ends : Ends
        Where what was looked at ends.
    loops_closed : int
        Loops that lay inside one node, and went.
    pruned, parted : int
        Spurs, and branches where tubes only touched, that were taken off.
    """

    graph: Graph
    voxel_nm: Nm
    key: Array
    places: Array
    voxels: Array
    square: Array
    border: Array
    branches: dict[int, Branch]
    at: list[list[int]]
    gone: Array
    ends: Ends
    loops_closed: int = 0
    pruned: int = 0
    parted: int = 0
    unit_nm: float = field(default=0.0)

    def radius(self, node: int) -> float:
        """Of the largest ball inside the object in a voxel of the node, in nm."""
        return float(np.sqrt(self.square[node]) * self.unit_nm)

    def middle(self, node: int) -> Array:
        """Mean place of the voxels of a node, in nm."""
        return np.asarray((self.places[node] / self.voxels[node] + 0.5) * self.voxel_nm)

    def is_cut(self, node: int) -> bool:
        """Whether the ball of a node, and a voxel, reaches the end of what was looked at."""
        reach = self.radius(node) + max(self.voxel_nm)
        return bool(self.ends.reached(self.middle(node)[None], np.array([reach]))[0])

    def deepest(self, node: int) -> float:
        """Radius, in nm, of the largest ball on the lines of a node with its centre in the node's own ball.

        Or a voxel beside: thinning does not leave a node where the tubes that meet in it are widest.
        """
        middle, radius = self.middle(node), self.radius(node)
        found = [radius]
        for row in dict.fromkeys(self.at[node]):
            voxels, depths, _, _ = self.walked(row)
            near = np.linalg.norm(voxels - middle, axis=1) <= radius + max(self.voxel_nm)
            found.append(float(depths[near].max(initial=0.0)))
        return max(found)

    def ball(self, node: int, place_nm: Array) -> float:
        """Radius, in nm, of the ball in the object where a node lies.

        Thinning leaves a node that branches up to two voxels beside that: the largest ball whose middle, on
        the axis of a branch, lies in the node's own, or a voxel beside.
        """
        found = [self.radius(node)]
        for row in dict.fromkeys(self.at[node]) if len(self.at[node]) > 2 else ():
            voxels, depths, shifts, more = self.walked(row)
            near = np.linalg.norm(voxels + shifts - place_nm, axis=1) <= found[0] + max(self.voxel_nm)
            found.append(float((depths + more)[near].max(initial=0.0)))
        return max(found)

    def walked(self, row: int) -> tuple[Array, Array, Array, Array]:
        """Voxels of a branch from its start on: centres (n, 3) in nm, radii of balls (n,), shifts (n, 3).

        And how much larger balls are at the voxels so shifted (n,); see `shifting`. Nodes that it goes
        through are points of it; those at its ends are not.
        """
        points, radii, shifts, more = [np.zeros((0, 3))], [np.zeros(0)], [np.zeros((0, 3))], [np.zeros(0)]
        for line, back, node in self.branches[row][3]:
            place, square, shift = self.graph.line(line)
            turn = slice(None, None, -1 if back else 1)
            points.append(((place + 0.5) * self.voxel_nm)[turn])
            radii.append((np.sqrt(square) * self.unit_nm)[turn])
            shifts.append(unpacked(shift, self.voxel_nm)[turn])
            more.append(deeper(shift, self.voxel_nm)[turn])
            if node >= 0:
                points.append(self.middle(node)[None])
                radii.append(np.array([self.radius(node)]))
                shifts.append(np.zeros((1, 3)))
                more.append(np.zeros(1))
        return np.concatenate(points), np.concatenate(radii), np.concatenate(shifts), np.concatenate(more)

    def add(self, row: int, branch: Branch) -> None:
        """Put a branch in, at both its nodes."""
        self.branches[row] = branch
        self.at[branch[0]].append(row)
        self.at[branch[1]].append(row)

    def remove(self, row: int) -> Branch:
        """Take a branch off, from both its nodes."""
        branch = self.branches.pop(row)
        self.at[branch[0]].remove(row)
        self.at[branch[1]].remove(row)
        return branch

    def dissolve(self, node: int) -> None:
        """A node with two branches becomes part of one; a closed line keeps its node."""
        if len(self.at[node]) != 2 or self.at[node][0] == self.at[node][1]:
            return
        one, two = sorted(self.at[node])
        a, b, length, parts = self.remove(one)
        if b != node:
            a, b, parts = b, a, turned(parts)
        c, d, more, others = self.remove(two)
        if c != node:
            c, d, others = d, c, turned(others)
        self.gone[node] = True
        line, back, _ = parts[-1]
        whole = (*parts[:-1], (line, back, node), *others)
        if (self.key[a], a) > (self.key[d], d):
            a, d, whole = d, a, turned(whole)
        self.add(one, (a, d, length + more, whole))

    def nodes(self) -> Iterator[int]:
        return (int(i) for i in np.flatnonzero(~self.gone))


def net_of(graph: Graph, voxel_nm: Nm, ends: Ends) -> Net:
    """A graph of which nothing has been taken off."""
    n = len(graph.key)
    net = Net(
        graph,
        voxel_nm,
        graph.key,
        graph.places.copy(),
        graph.voxels.copy(),
        graph.square.copy(),
        graph.border.copy(),
        {},
        [[] for _ in range(n)],
        np.zeros(n, bool),
        ends,
        unit_nm=whole_unit(voxel_nm).nm,
    )
    for row, (a, b) in enumerate(zip(graph.start.tolist(), graph.stop.tolist(), strict=True)):
        way = np.concatenate(
            [net.middle(a)[None], (graph.line(row)[0] + 0.5) * voxel_nm, net.middle(b)[None]]
        )
        length = float(np.linalg.norm(np.diff(way, axis=0), axis=1).sum())
        net.add(row, (a, b, length, ((row, False, -1),)))
    return net


def turned(parts: Parts) -> Parts:
    """Lines of a branch in the other direction."""
    between = [node for _, _, node in parts[:-1]][::-1]
    return tuple(
        (line, not back, node) for (line, back, _), node in zip(parts[::-1], [*between, -1], strict=True)
    )
