"""The tables of a network, from the graph that all blocks together make."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.engine.stage import Records
from chunkflow_liver.geometry import NM_PER_UM, Nm, Zyx
from chunkflow_liver.kernels.network.comparing import beside_chance
from chunkflow_liver.kernels.network.joining import joined
from chunkflow_liver.kernels.network.measuring import angles, branches, places_of_nodes
from chunkflow_liver.kernels.network.net import EndsOfBox, Net
from chunkflow_liver.kernels.network.tidying import Tidy, tidied
from chunkflow_liver.ops.network.ends import EndsOfMask
from chunkflow_liver.store.scratch.spill import WAITING, Spill
from chunkflow_liver.store.table import Arrays, Columns
from chunkflow_liver.store.voxels.region import Known
from chunkflow_liver.xp import Array

TABLES = ("", "-nodes", "-angles", "-networks", "-points", "-summary")
BATCH = 1 << 18
"""Points of centre lines that are written at once."""
MEASURES = (
    "length_nm",
    "distance_nm",
    "tortuosity",
    "radius_mean_nm",
    "radius_sd_nm",
    "radius_min_nm",
    "radius_max_nm",
    "inner_points",
)
"""Columns of a branch; radii are over the points that are in no ball of a node that branches."""
NODE = (
    "node",
    "network",
    "z_nm",
    "y_nm",
    "x_nm",
    "degree",
    "radius_nm",
    "voxels",
    "touches_border",
    "resolved",
)
_NONE = np.zeros(0)


def graph_of(
    records: Records,
    *,
    voxel_nm: Nm,
    shape: Zyx,
    known: Known,
    tidy: Tidy,
    limit: int,
    scratch: Path,
) -> Columns:
    """Nodes, branches, angles and points of the network, as columns named `<table>_<column>`."""
    graph = joined((record for _, record in records), shape, _Spills(scratch, "int64"))
    known_to = EndsOfMask(known, EndsOfBox(known.box, voxel_nm))
    net = tidied(graph, voxel_nm, tidy, known_to)
    places = places_of_nodes(net)
    ids = {node: i + 1 for i, node in enumerate(net.nodes())}
    nodes = np.array(list(ids), np.int64)
    place = np.array([places[n] for n in ids]).reshape(-1, 3)
    radius = np.array([net.ball(n, places[n]) for n in ids])
    lines, leaving = _measured(net, places, ids, scratch, radius)
    ends = lines["ends"]
    part = _networks(len(nodes), ends)
    found: dict[str, Any] = {
        "nodes_node": _numbers(len(nodes)),
        "nodes_network": part,
        **{f"nodes_{axis}_nm": place[:, i] for i, axis in enumerate("zyx")},
        "nodes_degree": np.array([len(net.at[n]) for n in ids], np.int64),
        "nodes_radius_nm": radius,
        "nodes_voxels": net.voxels[nodes],
        # What is too wide has no ball, and a middle far from where it ends.
        "nodes_touches_border": known_to.reached(place, radius) | net.border[nodes],
        "nodes_resolved": net.square[nodes] <= limit,
        "branches_start": ends[:, 0].astype(np.uint64),
        "branches_stop": ends[:, 1].astype(np.uint64),
    }
    rows = angles(dict(sorted(leaving.items())))
    kinds = (("node", "u8"), ("branch", "u8"), ("other", "u8"), ("angle_deg", "f8"))
    for i, (name, kind) in enumerate(kinds):
        found[f"angles_{name}"] = np.array([row[i] for row in rows], kind)
    found["counts"] = np.array([net.pruned, net.loops_closed, graph.euler, net.parted], np.int64)
    return found | {name: values for name, values in lines.items() if name != "ends"}


def _measured(
    net: Net, places: dict[int, Array], ids: dict[int, int], scratch: Path, radius: Array
) -> tuple[dict[str, Array], dict[int, list[tuple[int, Array]]]]:
    """Columns of branches and of points, which are kept on disk; how branches leave nodes.

    The balls of free ends are those of their branches there: their `radius` (of all nodes) becomes that.
    """
    kept = _Spills(scratch, "float64")
    ends: list[tuple[int, int]] = []
    rows: list[tuple[float, ...]] = []
    leaving: dict[int, list[tuple[int, Array]]] = {}
    for number, branch in enumerate(branches(net, places), 1):
        length, distance = branch.length_nm, branch.distance_nm
        own = branch.radius_nm[branch.inner]
        closed = branch.start == branch.stop or not distance
        winding = np.nan if closed else length / distance
        wide = (own.mean(), own.std(), own.min(), own.max())
        rows.append((length, distance, winding, *wide, len(own), len(branch.inner)))
        ends.append((ids[branch.start], ids[branch.stop]))
        for at, node in ((0, branch.start), (-1, branch.stop)):
            if len(net.at[node]) == 1:
                radius[ids[node] - 1] = branch.radius_nm[at]
        for node, way in zip(ends[-1], branch.leaving, strict=True):
            if way is not None:
                leaving.setdefault(node, []).append((number, way))
        kept("points", branch.points_nm.reshape(-1))
        kept("radii", branch.radius_nm)
    table = np.array(rows, np.float64).reshape(-1, len(MEASURES) + 1)
    found = {f"branches_{name}": table[:, i] for i, name in enumerate(MEASURES)}
    found["branches_inner_points"] = found["branches_inner_points"].astype(np.int64)
    found["points_of"] = np.concatenate([[0], np.cumsum(table[:, -1])]).astype(np.int64)
    found["points_nm"] = kept("points", _NONE).reshape(-1, 3)
    found["points_radius_nm"] = kept("radii", _NONE)
    return found | {"ends": np.array(ends, np.int64).reshape(-1, 2)}, leaving


class _Spills:
    """Values of several names, each in a file; few of them wait in memory."""

    def __init__(self, folder: Path, dtype: str) -> None:
        self.folder, self.dtype = folder, dtype
        self.waiting: dict[str, list[Array]] = {}
        self.held = 0

    def __call__(self, name: str, values: Array) -> Array:
        """Add values; without any, all that were added, memory-mapped."""
        if len(values):
            self.waiting.setdefault(name, []).append(values)
            self.held += len(values)
            if self.held < WAITING:
                return values
        for of, parts in self.waiting.items():
            self._spill(of).append(np.concatenate(parts))
        self.waiting, self.held = {}, 0
        return values if len(values) else self._spill(name).array()

    def _spill(self, name: str) -> Spill:
        return Spill(self.folder / name.replace("/", "-").replace(" ", "-"), self.dtype)


def _networks(nodes: int, ends: Array) -> Array:
    """Number of what is connected that each node is of, from 1 by its first node."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not nodes:
        return np.zeros(0, np.uint64)
    pairs = (ends[:, 0] - 1, ends[:, 1] - 1)
    _, part = connected_components(
        coo_array((np.ones(len(ends)), pairs), shape=(nodes, nodes)), directed=False
    )
    _, first = np.unique(part, return_index=True)
    rank = np.empty(len(first), np.uint64)
    rank[np.argsort(first)] = np.arange(1, len(first) + 1, dtype=np.uint64)
    return np.asarray(rank[part])


def _numbers(n: int) -> Array:
    return np.arange(1, n + 1, dtype=np.uint64)


def branch_rows(records: Records, *, graph: Arrays) -> Columns:
    """A row per branch: its nodes, its length, how it winds, how wide it is."""
    start, stop = graph["branches_start"], graph["branches_stop"]
    degree, border = graph["nodes_degree"], graph["nodes_touches_border"]
    at = [end.astype(np.int64) - 1 for end in (start, stop)]
    tips = [degree[end] == 1 for end in at]
    kind = np.where(
        start == stop,
        "loop",
        np.where(tips[0] & tips[1], "alone", np.where(tips[0] | tips[1], "end", "inner")),
    )
    return {
        "branch": _numbers(len(start)),
        "network": graph["nodes_network"][at[0]],
        "start": start,
        "stop": stop,
        "kind": kind.astype("U5"),
        **{name: graph[f"branches_{name}"] for name in MEASURES},
        # An inner end near the border is a branch point: that the tube goes on there cuts no branch.
        "touches_border": (tips[0] & border[at[0]]) | (tips[1] & border[at[1]]),
    }


def node_rows(records: Records, *, graph: Arrays) -> Columns:
    """A row per node: where it lies, how many branches it has, how wide the object is there."""
    return {name: graph[f"nodes_{name}"] for name in NODE}


def angle_rows(records: Records, *, graph: Arrays) -> Columns:
    """A row per two branches at a node."""
    return {name: graph[f"angles_{name}"] for name in ("node", "branch", "other", "angle_deg")}


def network_rows(records: Records, *, graph: Arrays) -> Columns:
    """A row per connected network, the longest first in share, numbered by their first nodes."""
    rows = branch_rows(records, graph=graph)
    own, degree = graph["nodes_network"].astype(np.int64), graph["nodes_degree"]
    n = int(own.max(initial=0))
    of = rows["network"].astype(np.int64)

    def total(index: Array, weights: Any = None) -> Array:
        return np.bincount(index, weights, minlength=n + 1)[1:]

    nodes, edges, length = total(own), total(of), total(of, rows["length_nm"])
    whole = length.sum()
    return {
        "network": _numbers(n),
        "nodes": nodes,
        "branch_points": total(own, degree > 2).astype(np.int64),
        "ends": total(own, degree == 1).astype(np.int64),
        "branches": edges,
        "loops": edges - nodes + 1,
        "length_nm": length,
        "length_share": length / whole if whole else np.full(n, np.nan),
        "mean_degree": np.where(nodes > 0, 2 * edges / np.maximum(nodes, 1), np.nan),
        "touches_border": total(own, graph["nodes_touches_border"]) > 0,
    }


def point_rows(records: Records, *, graph: Arrays) -> Iterator[Columns]:
    """A row per point of every centre line, in order from the start of its branch."""
    of, points, radii = graph["points_of"], graph["points_nm"], graph["points_radius_nm"]
    first = 0
    while True:
        last = max(first + 1, int(np.searchsorted(of, of[min(first, len(of) - 1)] + BATCH, "right")) - 1)
        last = min(last, len(of) - 1)
        low, high = int(of[first]), int(of[last])
        place = np.asarray(points[low:high])
        yield {
            "branch": np.repeat(
                np.arange(first + 1, last + 1, dtype=np.uint64), np.diff(of[first : last + 1])
            ),
            **{f"{axis}_nm": np.ascontiguousarray(place[:, i]) for i, axis in enumerate("zyx")},
            "radius_nm": np.asarray(radii[low:high]),
        }
        first = last
        if first >= len(of) - 1:
            return


def summary_rows(records: Records, *, graph: Arrays, counted: Arrays, voxel_nm: Nm) -> Columns:
    """What the network is as a whole: rows of `what`, `of`, `value` and `unit`."""
    rows_of, networks = branch_rows(records, graph=graph), network_rows(records, graph=graph)
    degree = graph["nodes_degree"]
    voxel_um3 = float(np.prod(np.array(voxel_nm) / NM_PER_UM))
    volume, lumen = (int(counted[k][0]) * voxel_um3 for k in ("known", "voxels"))
    length_um = float(rows_of["length_nm"].sum()) / NM_PER_UM
    points = int((degree > 2).sum())
    rows: list[tuple[str, str, float, str]] = [
        ("volume", "looked at", volume, "um3"),
        ("volume", "of the tubes", lumen, "um3"),
        ("share of the volume", "tubes", lumen / volume if volume else np.nan, ""),
        ("count", "networks", len(networks["network"]), ""),
        ("count", "branches", len(rows_of["branch"]), ""),
        ("count", "branch points", points, ""),
        ("count", "ends", int((degree == 1).sum()), ""),
        ("count", "ends at the border", int(((degree == 1) & graph["nodes_touches_border"]).sum()), ""),
        ("count", "loops", int(networks["loops"].sum()), ""),
        ("count", "spurs taken off", int(graph["counts"][0]), ""),
        ("count", "loops inside a node", int(graph["counts"][1]), ""),
        ("count", "branches where tubes only touched", int(graph["counts"][3]), ""),
        ("Euler number", "voxels", int(graph["counts"][2]), ""),
        ("Euler number", "network", len(networks["network"]) - int(networks["loops"].sum()), ""),
        ("count", "nodes wider than asked for", int((~graph["nodes_resolved"]).sum()), ""),
        ("length", "all branches", length_um, "um"),
        ("length", "per volume", length_um / volume if volume else np.nan, "um/um3"),
        ("branch points", "per volume", points / volume if volume else np.nan, "1/um3"),
        ("share of the length", "longest network", float(networks["length_share"].max(initial=0.0)), ""),
    ]
    rows += _spread("branch length", rows_of["length_nm"])
    rows += _spread("tortuosity", rows_of["tortuosity"], "")
    rows += _spread("diameter", 2 * rows_of["radius_mean_nm"], weights=rows_of["length_nm"])
    rows += _spread("angle", graph["angles_angle_deg"], "degree")
    rows += [
        ("branch points with branches", str(d), int((degree == d).sum()), "")
        for d in np.unique(degree[degree > 2])
    ]
    branching = np.flatnonzero(degree > 2)
    place = np.stack([graph[f"nodes_{axis}_nm"] for axis in "zyx"], 1)[branching]
    ends = np.stack([rows_of["start"], rows_of["stop"]], 1).astype(np.int64) - 1
    inner = np.isin(ends, branching).all(1)
    graphs, shares = beside_chance(place, np.searchsorted(branching, ends[inner]))
    for graph_name, _, edges, mean, mean_degree in graphs:
        rows.append(("edges between branch points", graph_name, edges, ""))
        rows.append(("mean distance of neighbours", graph_name, mean, "nm"))
        rows.append(("mean degree", graph_name, mean_degree, ""))
    for graph_name, _, _, mean, _ in graphs[1:]:
        rows.append(("distance of neighbours over that of", graph_name, graphs[0][3] / mean, ""))
    if shares:
        rows.append(("edges that are of the", "Delaunay graph", shares[0], ""))
        rows.append(("edges of the network", "minimum spanning tree", shares[1], ""))
    return {
        "what": np.array([r[0] for r in rows]),
        "of": np.array([r[1] for r in rows]),
        "value": np.array([r[2] for r in rows], np.float64),
        "unit": np.array([r[3] for r in rows]),
    }


def _spread(
    what: str, values: Array, unit: str = "nm", weights: Array | None = None
) -> list[tuple[str, str, float, str]]:
    """Mean and quantiles; of radii over the length that has them."""
    known = np.isfinite(values)
    values = np.asarray(values)[known]
    if not len(values):
        return []
    weight = np.ones(len(values)) if weights is None else np.asarray(weights)[known]
    if not weight.sum():
        weight = np.ones(len(values))
    order = np.argsort(values, kind="stable")
    share = (np.cumsum(weight[order]) - weight[order] / 2) / weight.sum()
    found = [(what, "mean", float(np.average(values, weights=weight)), unit)]
    for name, at in (("5 %", 0.05), ("median", 0.5), ("95 %", 0.95)):
        found.append((what, name, float(np.interp(at, share, values[order])), unit))
    return found
