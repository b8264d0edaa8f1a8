"""What is no branch is taken off a graph, and nodes that lie in one another become one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chunkflow_liver.geometry import Box, Nm
from chunkflow_liver.kernels.network.axes import axis_of, meeting
from chunkflow_liver.kernels.network.joining import Graph
from chunkflow_liver.kernels.network.net import Ends, EndsOfBox, Net, net_of


@dataclass(frozen=True)
class Tidy:
    """What is taken off a graph of centre lines, and what becomes one.

    Attributes
    ----------
    spur : float
        A branch that ends freely is none if it ends in the ball of its node (or its node in that of its end),
        or if the surface at its end is no farther from the node than this many radii of the larger of the
        two balls; one voxel is added to both. 1.5 takes off what stands out by less than half a radius. Of
        three tubes and more that meet, so is one that ends in the ball, and a voxel, round the place where
        the axes of the others meet: a corner of voxels between tubes pulls a node aside. Nor
        is one that runs along the end of what is known to a point there thinner than two voxels, and than
        half of what its node is: thinning leaves such along the rim of a section. 0 keeps all.
    unite : float
        Nodes joined by a branch that is not longer than this many radii of the larger one's ball, and a
        voxel, are one: where four tubes meet in a point, the line between two and two lies inside of one
        ball. Its centre may lie on any line of the node inside of the node's own ball. 0 keeps all.
    touch: float = 1.5
        Where the walls of two tubes touch, they are not one: a branch between nodes is none if its thinnest
        ball has a radius of less than so many voxels (their longest side), if it is no longer than
        `TOUCHING` of its nodes' largest radii together, and if its nodes stay joined without it, over at most
        `AROUND` branches. Tubes that fork leave a gap between them that is narrower than a voxel; where it
        opens, a corner of a voxel may close it again. 0 keeps all.
    """

    spur: float = 1.5
    unite: float = 1.0
    touch: float = 1.5


TOUCHING = 1.5
"""From axis to axis of two tubes that touch, along voxels, over their radii."""
SHORT = 4.0
"""A free branch of so many balls of its node or less has no say in where the others meet."""
AROUND = 4
"""Branches of the way round where two tubes touch."""


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
    net = net_of(graph, voxel_nm, ends or EndsOfBox(Box.of(graph.shape), voxel_nm))
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


def _prune(net: Net, spur: float) -> bool:
    """Take off all spurs that there are; whether there were any."""
    side = max(net.voxel_nm)
    spurs: list[tuple[int, int]] = []
    for node in net.nodes():
        if len(net.at[node]) < 3:
            continue
        found, ball = [], 0.0
        for row in net.at[node]:
            a, b, length, _ = net.branches[row]
            tip = b if a == node else a
            if tip == node or len(net.at[tip]) != 1:
                continue
            # Steps of voxels are longer than the way; one that turns back is no spur.
            straight = float(np.linalg.norm(net.middle(tip) - net.middle(node)))
            reach = straight + net.radius(tip)
            widest = max(net.radius(node), net.radius(tip))
            thin = net.radius(tip) < min(2 * side, net.radius(node) / 2)
            inside = straight <= widest + side or reach <= spur * widest + side
            inside &= length <= 2 * (spur * widest + side)
            ball = ball or net.deepest(node)
            near = length <= 2 * (spur * ball + side)
            inside = inside or (near and _where_others_meet(net, node, tip, ball))
            if inside or (thin and net.is_cut(tip) and net.is_cut(node)):
                found.append((-reach, int(net.key[tip]), row, tip))
        stay = max(0, 2 - (len(net.at[node]) - len(found)))
        spurs += [(row, tip) for _, _, row, tip in sorted(found)[stay:]]
    for row, tip in spurs:
        a, b, _, _ = net.remove(row)
        node = a if b == tip else b
        if net.square[tip] > net.square[node]:
            # A thick tube that ends among thin ones: its ball is where they meet.
            for values in (net.square, net.places, net.voxels, net.border):
                values[node] = values[tip]
        net.gone[tip] = True
        net.pruned += 1
        net.dissolve(node)
    return bool(spurs)


def _where_others_meet(net: Net, node: int, tip: int, ball: float) -> bool:
    """Whether a free end lies in the ball of a node if that is where the axes of its other branches meet."""
    middle, axes = net.middle(node), []
    for row in net.at[node]:
        a, b, *_ = net.branches[row]
        if a == b or (min(len(net.at[a]), len(net.at[b])) == 1 and net.branches[row][2] <= SHORT * ball):
            continue
        turn = slice(None, None, 1 if a == node else -1)
        points, radii, _, _ = net.walked(row)
        axes += [axis] if (axis := axis_of(net, node, points[turn], radii[turn])) else []
    met = meeting(middle, ball + max(net.voxel_nm), axes)
    return met is not None and bool(np.linalg.norm(net.middle(tip) - met) <= ball + max(net.voxel_nm))


def _part(net: Net, touch: float) -> bool:
    """Take off branches where two tubes only touch; whether there were any."""
    least, found = touch * max(net.voxel_nm), []
    for row, (a, b, length, parts) in net.branches.items():
        if min(len(net.at[a]), len(net.at[b])) < 3:
            continue
        squares = np.concatenate([net.graph.line(line)[1] for line, _, _ in parts])
        thin = len(squares) and np.sqrt(squares.min()) * net.unit_nm < least
        if thin and length <= TOUCHING * (net.deepest(a) + net.deepest(b)):
            found.append((*sorted((int(net.key[a]), int(net.key[b]))), row))
    parted = 0
    for _, _, row in sorted(found):
        # One before it may have been the way round.
        a, b, *_ = net.branches.get(row, (-1, -1))
        if a < 0 or min(len(net.at[a]), len(net.at[b])) < 3 or not _joined_without(net, row):
            continue
        net.remove(row)
        parted += 1
        for node in {a, b}:
            net.dissolve(node)
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


def _in_one_ball(net: Net, row: int, unite: float) -> bool:
    """Whether a branch between two nodes that branch is no longer than the ball of one, and a voxel."""
    a, b, length, _ = net.branches[row]
    if a == b or min(len(net.at[a]), len(net.at[b])) < 3:
        return False
    side, most = max(net.voxel_nm), max(net.radius(a), net.radius(b))
    # What has its centre in a ball, and a voxel, is not wider than twice it: long branches are not looked at.
    if length > unite * (2 * most + side) + side:
        return False
    return length <= unite * max(net.deepest(a), net.deepest(b)) + side


def _unite(net: Net, unite: float) -> bool:
    """Make nodes one that lie in one another; whether there were any."""
    short = [row for row in net.branches if _in_one_ball(net, row, unite)]
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
            a, b, length, parts = net.remove(row)
            net.add(row, (lead.get(a, a), lead.get(b, b), length, parts))
        net.places[to] += net.places[node]
        net.voxels[to] += net.voxels[node]
        net.square[to] = max(net.square[to], net.square[node])
        net.border[to] |= net.border[node]
        net.gone[node] = True
    inside = 0
    for node in sorted(groups):
        for row in sorted(set(net.at[node])):
            a, b, length, _ = net.branches[row]
            if a == b and (row in set(short) or length <= unite * net.deepest(node) + max(net.voxel_nm)):
                net.remove(row)
                inside += 1
        net.dissolve(node)
    net.loops_closed += inside - joins
    return True
