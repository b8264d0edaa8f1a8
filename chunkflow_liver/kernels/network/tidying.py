"""What is no branch is taken off a graph, and nodes that lie in one another become one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from chunkflow_liver.geometry import Box, Nm
from chunkflow_liver.kernels.distance.squares import whole_unit
from chunkflow_liver.kernels.network.joining import Graph
from chunkflow_liver.xp import Array


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


@dataclass(frozen=True)
class Tidy:
    """What is taken off a graph of centre lines, and what becomes one.

    Attributes
    ----------
    spur : float
        A branch that ends freely is none if it ends in the ball of its node (or its node in that of its end),
        or if the surface at its end is no farther from the node than this many radii of the larger of the
        two balls; one voxel is added to both. 1.5 takes off what stands out by less than half a radius. Nor
        is one that runs along the end of what is known to a point there thinner than two voxels, and than
        half of what its node is: thinning leaves such along the rim of a section. 0 keeps all.
    unite : float
        Nodes joined by a branch that is not longer than this many of the larger one's radius are one: where
        four tubes meet in a point, the line between two and two lies inside of one ball. 0 keeps all.
    touch: float = 1.5
        Where the walls of two tubes touch, they are not one: a branch between nodes is none if its thinnest
        ball has a radius of less than so many voxels (their longest side), if it is no longer than
        `TOUCHING` of its nodes' radii together, and if its nodes stay joined without it, over at most
        `AROUND` branches. Tubes that fork leave a gap between them that is narrower than a voxel; where it
        opens, a corner of a voxel may close it again. 0 keeps all.
    """

    spur: float = 1.5
    unite: float = 1.0
    touch: float = 1.5


TOUCHING = 1.5
"""From axis to axis of two tubes that touch, along voxels, over their radii."""
AROUND = 4
"""Branches of the way round where two tubes touch."""


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
    branches: dict[int, tuple[int, int, float, tuple[tuple[int, bool, int], ...]]]
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

    def nodes(self) -> Iterator[int]:
        return (int(i) for i in np.flatnonzero(~self.gone))


def tidied(graph: Graph, voxel_nm: Nm, tidy: Tidy, ends: Ends | None = None) -> Net:
    """A graph without spurs, and with one node where branches meet in one ball.

    Parameters
    ----------
    graph : Graph
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.
    tidy : Tidy
    ends : Ends, optional
        Where what was looked at ends; `EndsOfBox` of the whole volume by default.

    Notes
    -----
    Spurs are taken off all at once, then nodes with two branches left become part of one branch, and again
    until there is no spur; where that would leave less than two branches, the longest spurs stay. Then what
    only touches is parted, in the order of the nodes in the volume, then nodes are united, all at once, and
    all begins again until nothing changes: no cut into blocks has a say.
    """
    net = _net(graph, voxel_nm, ends or EndsOfBox(Box.of(graph.shape), voxel_nm))
    changed = True
    while changed:
        changed = False
        while tidy.spur and _prune(net, tidy.spur):
            changed = True
        if tidy.touch and _part(net, tidy.touch):
            changed = True
            continue
        if tidy.unite and _unite(net, tidy.unite):
            changed = True
    return net


def _net(graph: Graph, voxel_nm: Nm, ends: Ends) -> Net:
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
        _add(net, row, (a, b, length, ((row, False, -1),)))
    return net


def _add(net: Net, row: int, branch: tuple[int, int, float, tuple[tuple[int, bool, int], ...]]) -> None:
    net.branches[row] = branch
    net.at[branch[0]].append(row)
    net.at[branch[1]].append(row)


def _remove(net: Net, row: int) -> tuple[int, int, float, tuple[tuple[int, bool, int], ...]]:
    branch = net.branches.pop(row)
    net.at[branch[0]].remove(row)
    net.at[branch[1]].remove(row)
    return branch


def _prune(net: Net, spur: float) -> bool:
    """Take off all spurs that there are; whether there were any."""
    side = max(net.voxel_nm)
    spurs: list[tuple[int, int]] = []
    for node in net.nodes():
        if len(net.at[node]) < 3:
            continue
        found = []
        for row in net.at[node]:
            a, b, length, _ = net.branches[row]
            tip = b if a == node else a
            # Steps of voxels are longer than the way; one that turns back is no spur.
            straight = float(np.linalg.norm(net.middle(tip) - net.middle(node)))
            reach = straight + net.radius(tip)
            widest = max(net.radius(node), net.radius(tip))
            thin = net.radius(tip) < min(2 * side, net.radius(node) / 2)
            inside = straight <= widest + side or reach <= spur * widest + side
            inside &= length <= 2 * (spur * widest + side)
            if tip == node or len(net.at[tip]) != 1:
                continue
            if inside or (thin and net.is_cut(tip) and net.is_cut(node)):
                found.append((-reach, int(net.key[tip]), row, tip))
        stay = max(0, 2 - (len(net.at[node]) - len(found)))
        spurs += [(row, tip) for _, _, row, tip in sorted(found)[stay:]]
    for row, tip in spurs:
        a, b, _, _ = _remove(net, row)
        node = a if b == tip else b
        if net.square[tip] > net.square[node]:
            # A thick tube that ends among thin ones: its ball is where they meet.
            for values in (net.square, net.places, net.voxels, net.border):
                values[node] = values[tip]
        net.gone[tip] = True
        net.pruned += 1
        _dissolve(net, node)
    return bool(spurs)


def _part(net: Net, touch: float) -> bool:
    """Take off branches where two tubes only touch; whether there were any."""
    least, found = touch * max(net.voxel_nm), []
    for row, (a, b, length, parts) in net.branches.items():
        if min(len(net.at[a]), len(net.at[b])) < 3 or length > TOUCHING * (net.radius(a) + net.radius(b)):
            continue
        squares = np.concatenate([net.graph.line(line)[1] for line, _, _ in parts])
        if len(squares) and np.sqrt(squares.min()) * net.unit_nm < least:
            found.append((*sorted((int(net.key[a]), int(net.key[b]))), row))
    parted = 0
    for _, _, row in sorted(found):
        # One before it may have been the way round.
        a, b, *_ = net.branches.get(row, (-1, -1))
        if a < 0 or min(len(net.at[a]), len(net.at[b])) < 3 or not _joined_without(net, row):
            continue
        _remove(net, row)
        parted += 1
        for node in {a, b}:
            _dissolve(net, node)
    net.parted += parted
    return parted > 0


def _joined_without(net: Net, row: int) -> bool:
    """Whether the nodes of a branch are joined by at most `AROUND` others."""
    start, stop, *_ = net.branches[row]
    seen, last = {start}, {start}
    for _ in range(AROUND):
        if stop in seen:
            break
        last = {end for node in last for r in net.at[node] if r != row for end in net.branches[r][:2]} - seen
        seen |= last
    return stop in seen


def _dissolve(net: Net, node: int) -> None:
    """A node with two branches becomes part of one; a closed line keeps its node."""
    if len(net.at[node]) != 2 or net.at[node][0] == net.at[node][1]:
        return
    one, two = sorted(net.at[node])
    a, b, length, parts = _remove(net, one)
    if b != node:
        a, b, parts = b, a, _turned(parts)
    c, d, more, others = _remove(net, two)
    if c != node:
        c, d, others = d, c, _turned(others)
    net.gone[node] = True
    line, back, _ = parts[-1]
    whole = (*parts[:-1], (line, back, node), *others)
    if (net.key[a], a) > (net.key[d], d):
        a, d, whole = d, a, _turned(whole)
    _add(net, one, (a, d, length + more, whole))


def _turned(parts: tuple[tuple[int, bool, int], ...]) -> tuple[tuple[int, bool, int], ...]:
    """Lines of a branch in the other direction."""
    between = [node for _, _, node in parts[:-1]][::-1]
    return tuple(
        (line, not back, node) for (line, back, _), node in zip(parts[::-1], [*between, -1], strict=True)
    )


def _unite(net: Net, unite: float) -> bool:
    """Make nodes one that lie in one another; whether there were any."""
    short = [
        row
        for row, (a, b, length, _) in net.branches.items()
        if a != b
        and min(len(net.at[a]), len(net.at[b])) > 2
        and length <= unite * max(net.radius(a), net.radius(b))
    ]
    if not short:
        return False
    lead: dict[int, int] = {}

    def first(node: int) -> int:
        while lead.get(node, node) != node:
            node = lead[node]
        return node

    for row in short:
        a, b = (first(node) for node in net.branches[row][:2])
        lead[max(a, b)] = min(a, b)
    for node in {n for row in short for n in net.branches[row][:2]}:
        lead[node] = first(node)
    groups = {node for node in lead.values()}
    joins = sum(1 for node, to in lead.items() if node != to)
    for node, to in sorted(lead.items()):
        if node == to:
            continue
        for row in list(dict.fromkeys(net.at[node])):
            a, b, length, parts = _remove(net, row)
            _add(net, row, (lead.get(a, a), lead.get(b, b), length, parts))
        net.places[to] += net.places[node]
        net.voxels[to] += net.voxels[node]
        net.square[to] = max(net.square[to], net.square[node])
        net.border[to] |= net.border[node]
        net.gone[node] = True
    inside = 0
    for node in sorted(groups):
        for row in sorted(set(net.at[node])):
            a, b, length, _ = net.branches[row]
            if a == b and (row in set(short) or length <= unite * net.radius(node)):
                _remove(net, row)
                inside += 1
        _dissolve(net, node)
    net.loops_closed += inside - joins
    return True
