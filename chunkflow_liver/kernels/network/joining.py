"""One graph of the lines and nodes that blocks found, the same however the volume was cut."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from chunkflow_liver.geometry import Zyx
from chunkflow_liver.kernels.network.chains import places_of
from chunkflow_liver.xp import Array

Kept = Callable[[str, Array], Array]
"""Adds integers to the file of a name, and gives back all that it holds, memory-mapped."""


@dataclass(frozen=True)
class Graph:
    """Nodes, and lines of voxels between them.

    Attributes
    ----------
    shape : Zyx
        Of the volume.
    key : ndarray of shape (N,), int64
        First voxel of each node, by its number in the volume; nodes are sorted by it.
    places : ndarray of shape (N, 3), int64
        Sum of the places of a node's voxels.
    voxels, square : ndarray of shape (N,), int64
        How many voxels a node has, and the largest of their squared distances to the background.
    border : ndarray of shape (N,), bool
        Whether a voxel of a node lies in a last plane of what was looked at.
    start, stop : ndarray of shape (M,), int64
        Nodes at the ends of each line.
    ends : ndarray of shape (M + 1,), int64
        Where each line begins in `voxels_of`.
    voxels_of : tuple of 3 ndarray of shape (V,), int64
        Voxels of all lines, in order from start to stop, without those of nodes; their squares and shifts.
    tips : tuple of 4 ndarray
        First voxels of free ends, sorted, and how their lines would go on (`chains.parts_of`).
    euler : int
        Euler number of the object: its parts, less tunnels, plus cavities.
    """

    shape: Zyx
    key: Array
    places: Array
    voxels: Array
    square: Array
    border: Array
    start: Array
    stop: Array
    ends: Array
    voxels_of: tuple[Array, ...]
    tips: tuple[Array, ...]
    euler: int

    def end(self, key: int) -> tuple[Array, Array, Array]:
        """Places (n, 3), squares (n,) and packed shifts (n,) of a free end, from the farthest voxel on."""
        row = int(np.searchsorted(self.tips[0], key))
        if row == len(self.tips[0]) or self.tips[0][row] != key:
            return np.zeros((0, 3), np.int64), _NONE[:, 0], _NONE[:, 0]
        there = self.tips[1][row] >= 0
        keys, squares, shifts = (values[row][there][::-1] for values in self.tips[1:])
        return places_of(keys, self.shape), squares, shifts

    def line(self, row: int) -> tuple[Array, Array, Array]:
        """Places (n, 3), squares (n,) and packed shifts (n,) of the voxels of a line."""
        span = slice(self.ends[row], self.ends[row + 1])
        keys, squares, shifts = (np.asarray(values[span]) for values in self.voxels_of)
        return places_of(keys, self.shape), squares, shifts


def joined(records: Iterable[Mapping[str, Array]], shape: Zyx, kept: Kept) -> Graph:
    """The graph of a volume.

    Parameters
    ----------
    records : iterable of mapping
        What `chains.parts_of` found in every block, in any order.
    shape : Zyx
        Of the volume.
    kept : callable
        Keeps voxels of lines outside of memory.

    Returns
    -------
    Graph
        Voxels with three or more neighbours that touch are one node; a line that closes in itself has a
        node at its first voxel in the volume. Lines begin at the node that comes first in the volume and are
        sorted by their nodes and their first voxel.

    Notes
    -----
    Memory follows the number of nodes and of lines in blocks, not that of voxels in lines.
    """
    small: dict[str, list[Array]] = {}
    tips = [_NONE]
    for record in records:
        for name, values in record.items():
            if name in VOXELS:
                kept(name, np.asarray(values))
            elif name != "line/ends":
                small.setdefault(name, []).append(np.asarray(values))
        line, ends = np.asarray(record["line/keys"]), np.asarray(record["line/ends"])
        starts = np.concatenate([[0], ends])[:-1].astype(np.int64)
        small.setdefault("lengths", []).append(ends - starts)
        tips.append(np.stack([line[starts], line[ends - 1]], 1))
    of = {name: np.concatenate(parts) for name, parts in small.items()}
    ends = np.concatenate([[0], np.cumsum(of["lengths"])]).astype(np.int64)
    nodes = _Nodes.of(of, shape)
    pieces = _Pieces(ends, np.concatenate(tips), *(kept(name, _NONE[:, 0]) for name in VOXELS))
    ways, closed = _ways(nodes, of, pieces.tips)
    return _graph(nodes, ways, closed, of, pieces, kept)


VOXELS = ("line/keys", "line/squares", "line/shifts")
_NONE = np.zeros((0, 2), np.int64)


@dataclass(frozen=True)
class _Pieces:
    """Lines as blocks found them: where each ends, its first and last voxel, and the voxels of all."""

    ends: Array
    tips: Array
    keys: Array
    squares: Array
    shifts: Array

    def of(self, piece: int, back: bool) -> tuple[Array, ...]:
        """Voxels, squares and shifts of a piece."""
        span = slice(self.ends[piece], self.ends[piece + 1])
        turn = slice(None, None, -1 if back else 1)
        return tuple(np.asarray(v[span])[turn] for v in (self.keys, self.squares, self.shifts))


@dataclass(frozen=True)
class _Nodes:
    """Nodes, and which node the voxels are of that lines and other nodes touch."""

    shape: Zyx
    voxel: Array
    node: Array
    key: Array
    places: Array
    voxels: Array
    square: Array
    border: Array

    @classmethod
    def of(cls, found: Mapping[str, Array], shape: Zyx) -> _Nodes:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        order = np.argsort(found["node/key"])
        part = found["node/key"][order]
        port = np.argsort(found["port/voxel"])
        voxel = found["port/voxel"][port]
        of_port = np.searchsorted(part, found["port/node"][port])
        ends = [of_port[np.searchsorted(voxel, found[f"seam/{end}"])] for end in ("one", "two")]
        graph = coo_array((np.ones(len(ends[0]), bool), tuple(ends)), shape=(len(part),) * 2)
        count, label = connected_components(graph, directed=False) if len(part) else (0, _NONE[:, 0])
        # Parts are sorted, so that the first of a node is that with its first voxel.
        _, first = np.unique(label, return_index=True)
        rank = np.empty(count, np.int64)
        rank[np.argsort(first)] = np.arange(count)
        node = rank[label] if count else _NONE[:, 0]
        places = np.zeros((count, 3), np.int64)
        voxels, most, border = (np.zeros(count, kind) for kind in (np.int64, np.int64, bool))
        np.add.at(places, node, found["node/places"][order])
        np.add.at(voxels, node, found["node/voxels"][order])
        np.maximum.at(most, node, found["node/square"][order])
        border[node[found["node/border"][order]]] = True
        return cls(shape, voxel, node[of_port], part[np.sort(first)], places, voxels, most, border)

    def at(self, keys: Array) -> Array:
        """The node of each voxel, -1 for those of lines."""
        if not len(self.voxel):
            return np.full(len(keys), -1, np.int64)
        row = np.minimum(np.searchsorted(self.voxel, keys), len(self.voxel) - 1)
        return np.where(self.voxel[row] == keys, self.node[row], -1)


Way = list[tuple[int, bool]]
"""Pieces of a line in order; whether each is walked from its last voxel."""


def _ways(
    nodes: _Nodes, of: Mapping[str, Array], tips: Array
) -> tuple[list[tuple[int, int, Way]], list[Way]]:
    """Lines from node to node, and those that close in themselves.

    An end of a piece is 2 * piece for its first voxel and one more for its last.
    """
    n = len(tips)
    own = tips.reshape(-1)
    out = np.stack([of["line/before"], of["line/after"]], 1).reshape(-1)
    at = nodes.at(out)
    partner = np.full(2 * n, -1, np.int64)
    free = np.flatnonzero(at < 0)
    low, high = np.minimum(own[free], out[free]), np.maximum(own[free], out[free])
    pairs = free[np.lexsort((high, low))].reshape(-1, 2)
    partner[pairs[:, 0]], partner[pairs[:, 1]] = pairs[:, 1], pairs[:, 0]
    seen = np.zeros(n, bool)
    ways: list[tuple[int, int, Way]] = []

    def walked(end: int) -> tuple[Way, int]:
        way: Way = []
        while end >= 0 and not seen[end // 2]:
            seen[end // 2] = True
            way.append((end // 2, bool(end % 2)))
            end ^= 1
            if at[end] >= 0:
                return way, int(at[end])
            end = int(partner[end])
        return way, -1

    for end in np.flatnonzero(at >= 0).tolist():
        if not seen[end // 2]:
            way, stop = walked(end)
            ways.append((int(at[end]), stop, way))
    return ways, [walked(2 * piece)[0] for piece in range(n) if not seen[piece]]


def _graph(
    nodes: _Nodes,
    ways: list[tuple[int, int, Way]],
    closed: list[Way],
    of: Mapping[str, Array],
    pieces: _Pieces,
    kept: Kept,
) -> Graph:
    tips = pieces.tips
    rings = [_ring(way, pieces) for way in closed]
    first = np.array([ring[0][0] for ring in rings], np.int64)
    key = np.concatenate([nodes.key, first])
    order = np.argsort(key)
    rank = np.empty(len(key), np.int64)
    rank[order] = np.arange(len(key))
    found: list[tuple[int, int, int, int, Way]] = []
    for start, stop, way in ways:
        a, b = int(rank[start]), int(rank[stop])
        ahead = int(tips[way[0][0], int(way[0][1])])
        behind = int(tips[way[-1][0], 1 - int(way[-1][1])])
        if (a, ahead) > (b, behind):
            a, b, ahead, behind = b, a, behind, ahead
            way = [(piece, not back) for piece, back in reversed(way)]
        found.append((a, b, ahead, -1, way))
    touching = [rank[nodes.at(of[f"touch/{end}"])] for end in ("one", "two")]
    for a, b in np.sort(np.stack(touching, 1), axis=1).tolist():
        found.append((a, b, -1, -1, []))
    for ring in range(len(rings)):
        node = int(rank[len(nodes.key) + ring])
        found.append((node, node, int(rings[ring][0][1]), ring, []))
    found.sort(key=lambda row: row[:3])

    lengths = []
    for _, _, _, ring, way in found:
        parts = [tuple(v[1:] for v in rings[ring])] if ring >= 0 else [pieces.of(*piece) for piece in way]
        lengths.append(sum(len(part[0]) for part in parts))
        for part in parts:
            for name, values in zip(VOXELS, part, strict=True):
                kept(f"ordered {name}", values)
    by_key = np.argsort(of["tip/key"])
    alone = np.ones(len(rings), np.int64)
    most = np.array([ring[1][0] for ring in rings], np.int64)
    return Graph(
        nodes.shape,
        key[order],
        np.concatenate([nodes.places, places_of(first, nodes.shape)])[order],
        np.concatenate([nodes.voxels, alone])[order],
        np.concatenate([nodes.square, most])[order],
        np.concatenate([nodes.border, np.zeros(len(rings), bool)])[order],
        np.array([row[0] for row in found], np.int64),
        np.array([row[1] for row in found], np.int64),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        tuple(kept(f"ordered {name}", _NONE[:, 0]) for name in VOXELS),
        tuple(of[f"tip/{name}"][by_key] for name in ("key", "keys", "squares", "shifts")),
        int(of["euler"].sum()),
    )


def _ring(way: Way, pieces: _Pieces) -> tuple[Array, ...]:
    """A closed line from its first voxel in the volume towards the earlier one of its neighbours."""
    parts = [pieces.of(*piece) for piece in way]
    whole = [np.concatenate(values) for values in zip(*parts, strict=True)]
    first = int(whole[0].argmin())
    turned = [np.roll(values, -first) for values in whole]
    if turned[0][1] > turned[0][-1]:
        turned = [np.concatenate([values[:1], values[:0:-1]]) for values in turned]
    return tuple(turned)
