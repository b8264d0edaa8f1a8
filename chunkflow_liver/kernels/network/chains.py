"""The lines and nodes in a box of a thinned object, as the parts of a graph."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.ndimage import binary_dilation, generate_binary_structure

from chunkflow_liver.geometry import Block, Box, Nm, Zyx
from chunkflow_liver.kernels.distance.squares import whole_unit
from chunkflow_liver.kernels.network.shifting import AHEAD, shifts
from chunkflow_liver.xp import Array

FARTHER = 8
"""Voxels that a line is followed farther at a free end, which thinning takes too early."""
HALO = (FARTHER + AHEAD,) * 3
"""Whether a neighbour is a node is told by its own neighbours; and what lies ahead of an end."""
STEPS = np.array([(z, y, x) for z in (-1, 0, 1) for y in (-1, 0, 1) for x in (-1, 0, 1) if z or y or x])


NO_VOXEL = 255
"""Stands for no voxel among numbers of neighbours."""


def parts_of(
    state: Array,
    depth: Array,
    block: Block,
    voxel_nm: Nm,
    known: Box | None = None,
    hidden: Array | None = None,
) -> Mapping[str, Any]:
    """What the graph of a thinned object is made of in the write box of a block.

    Parameters
    ----------
    state : ndarray of shape (Z, Y, X), unsigned integer
        Squared distances of the voxels of the lines in the read box, 0 elsewhere.
    depth : ndarray of the same shape, unsigned integer
        Squared distances of all voxels of the object, in units of the voxel size, 0 elsewhere.
    block : Block
        Its halo is `HALO`.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.
    known : Box, optional
        What was looked at, in voxels of the volume; all of it by default.
    hidden : ndarray of the shape of `state`, bool, optional
        Voxels that were not looked at inside of `known`.

    Returns
    -------
    mapping
        Voxels go by their number in the volume, in C order. A voxel with two neighbours lies on a line; all
        others are nodes, and those with three or more that touch are one. Of every node, as far as it lies in
        the write box: `node/key`, its first voxel; `node/places` (n, 3) and `node/voxels`, the sum of their
        places and how many they are; `node/square`, the largest; `node/border`, whether any lies in a last
        plane of `known`, or shares a face with what is hidden. `port/voxel` and `port/node`: the node of
        voxels that something outside of it may touch. `seam/one, seam/two`: voxels of nodes that touch across
        the border of the block, and are of one node; `touch/one, touch/two`: a free end and a node that
        touch. `tip/key` of each node with one neighbour, and, of shape (n, FARTHER + 1), `tip/keys`,
        `tip/squares` and `tip/shifts`: itself and the voxels that its line would go on through, -1 where it
        would not. `line/keys`, `line/squares` and `line/shifts`: voxels of lines, in order, line after line,
        with their `shifts`; `line/ends`: where each ends among these; `line/before` and `line/after`: the
        voxel before its first and after its last. `euler`: what the block adds to the Euler number of all
        that is left.

    Notes
    -----
    What was too wide to be thinned is one node of many voxels; memory does not grow with these.
    """
    there = np.pad(state != 0, 2)
    count = _neighbours(there)
    own = block.write.relative_to(block.read)
    lines, tips, alone = (_places(count, own, n) for n in (2, 1, 0))
    known = known or block.volume
    ends = _ends(block, known, hidden)
    nodes, labels = _nodes(state, count, block, ends)
    few = np.concatenate([tips, alone])
    keys = keys_of(few + block.read.start, block.volume.shape)
    small = {
        "key": keys,
        "places": few + block.read.start,
        "voxels": np.ones(len(few), np.int64),
        "square": state[tuple(few.T)].astype(np.int64),
        "border": ends(few + block.read.start),
    }
    ports = _ports(count, labels, nodes["key"], block)
    moved = functools.partial(shifts, depth=depth, block=block, voxel_nm=voxel_nm, known=known, hidden=hidden)
    return {
        **{f"node/{name}": np.concatenate([nodes[name], small[name]]) for name in nodes},
        "port/voxel": np.concatenate([ports[0], keys]),
        "port/node": np.concatenate([ports[1], keys]),
        "euler": np.array([_euler(there, block)]),
        **_seams(count, block),
        **_touching(tips, count, block),
        **_tips(tips, there, depth, block, voxel_nm, moved),
        **_lines(lines, state[tuple(lines.T)].astype(np.int64), moved(lines), there, block),
    }


def _neighbours(there: Array) -> Array:
    """How many of the 26 neighbours of each voxel are there, uint8, one voxel less on all sides; else 255."""
    found = there.astype(np.uint8)
    for axis in range(3):
        ahead = [slice(None)] * 3
        behind = [slice(None)] * 3
        middle = [slice(None)] * 3
        ahead[axis], middle[axis], behind[axis] = slice(2, None), slice(1, -1), slice(None, -2)
        found = found[tuple(ahead)] + found[tuple(middle)] + found[tuple(behind)]
    inner = there[1:-1, 1:-1, 1:-1]
    return np.where(inner, found - np.uint8(1), np.uint8(NO_VOXEL))


def _places(count: Array, own: Box, number: int) -> Array:
    """Voxels of a block with so many neighbours, in the read box."""
    inside = count[1:-1, 1:-1, 1:-1][own.slices]
    return np.argwhere(inside == number) + own.start


def _nodes(
    state: Array, count: Array, block: Block, ends: Callable[[Array], Array]
) -> tuple[dict[str, Array], Array]:
    """Parts of nodes with three neighbours or more in the write box, and which of them each voxel is of."""
    import cc3d

    own = block.write.relative_to(block.read)
    inside = count[1:-1, 1:-1, 1:-1][own.slices]
    labels, n = cc3d.connected_components((inside > 2) & (inside != NO_VOXEL), connectivity=26, return_N=True)
    found: dict[str, Array] = {
        "key": np.full(n, -1, np.int64),
        "places": np.zeros((n, 3), np.int64),
        "voxels": np.zeros(n, np.int64),
        "square": np.zeros(n, np.int64),
        "border": np.zeros(n, bool),
    }
    for z, plane in enumerate(labels if n else ()):
        y, x = np.nonzero(plane)
        label = plane[y, x].astype(np.int64) - 1
        place = np.stack([np.full(len(y), z), y, x], 1) + block.write.start
        many = np.bincount(label, minlength=n)
        found["voxels"] += many
        for axis in range(3):
            # Sums of whole numbers far below 2**53.
            found["places"][:, axis] += np.bincount(label, place[:, axis], n).astype(np.int64)
        np.maximum.at(found["square"], label, state[own.slices][z][y, x].astype(np.int64))
        found["border"][label[ends(place)]] = True
        first, row = np.unique(label, return_index=True)
        new = found["key"][first] < 0
        found["key"][first[new]] = keys_of(place[row[new]], block.volume.shape)
    return found, labels


def _ends(block: Block, known: Box, hidden: Array | None) -> Callable[[Array], Array]:
    """Says which places (n, 3) lie beside what was not looked at; across a single plane nothing is cut."""
    across = np.array(known.shape) > 1
    beside = None if hidden is None else binary_dilation(hidden, generate_binary_structure(3, 1))

    def ends(place: Array) -> Array:
        last = (place == known.start) | (place == np.array(known.stop) - 1)
        found = np.asarray((last & across).any(1))
        return found if beside is None else found | beside[tuple((place - block.read.start).T)]

    return ends


def _ports(count: Array, labels: Array, first: Array, block: Block) -> tuple[Array, Array]:
    """Voxels of nodes beside a line, a free end or the border of the block, and their nodes."""
    few = np.isin(count, (1, 2)).astype(np.uint8)
    for axis in range(3):
        ahead, middle, behind = (
            few.take(range(a, few.shape[axis] + b), axis) for a, b in ((2, 0), (1, -1), (0, -2))
        )
        few = ahead | middle | behind
    beside = few[block.write.relative_to(block.read).slices] != 0
    for axis in range(3):
        ends = [slice(None)] * 3
        for end in (0, -1):
            ends[axis] = slice(end, end + 1 or None)
            beside[tuple(ends)] = True
    place = np.argwhere((labels > 0) & beside)
    node = first[labels[tuple(place.T)].astype(np.int64) - 1] if len(first) else np.zeros(0, np.int64)
    return keys_of(place + block.write.start, block.volume.shape), node


def _seams(count: Array, block: Block) -> dict[str, Array]:
    """Voxels of nodes that touch across the border of the block; the first of two is the block's."""
    own = block.write.relative_to(block.read)
    volume = block.volume.shape
    inside = count[1:-1, 1:-1, 1:-1][own.slices]
    shell = np.ones(inside.shape, bool)
    shell[1:-1, 1:-1, 1:-1] = False
    index = np.argwhere(shell & (inside > 2) & (inside != NO_VOXEL)) + own.start
    one, two = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for step in STEPS[len(STEPS) // 2 :]:
        other = index + step
        many = count[tuple((other + 1).T)]
        out = ((other < own.start) | (other >= own.stop)).any(1)
        across = out & (many > 2) & (many != NO_VOXEL)
        one.append(keys_of(index[across] + block.read.start, volume))
        two.append(keys_of(other[across] + block.read.start, volume))
    return {"seam/one": np.concatenate(one), "seam/two": np.concatenate(two)}


def _touching(tips: Array, count: Array, block: Block) -> dict[str, Array]:
    """Free ends and the node that each touches; two ends that touch each other once."""
    volume = block.volume.shape
    one, two = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for i, step in enumerate(STEPS):
        many = count[tuple((tips + step + 1).T)]
        touches = (many > 2) & (many != NO_VOXEL) | ((many == 1) & (i >= len(STEPS) // 2))
        one.append(keys_of(tips[touches] + block.read.start, volume))
        two.append(keys_of(tips[touches] + step + block.read.start, volume))
    return {"touch/one": np.concatenate(one), "touch/two": np.concatenate(two)}


def keys_of(index: Array, shape: Zyx) -> Array:
    """Number of each voxel of a volume in C order, int64, from places (n, 3)."""
    return np.asarray((index[:, 0] * shape[1] + index[:, 1]) * shape[2] + index[:, 2], np.int64)


def places_of(keys: Array, shape: Zyx) -> Array:
    """Places (n, 3), int64, of voxels that go by their number in a volume."""
    rest, x = np.divmod(keys, shape[2])
    z, y = np.divmod(rest, shape[1])
    return np.stack([z, y, x], -1)


def _euler(there: Array, block: Block) -> int:
    """Corners less edges plus faces less voxels of those of the block, each counted in one block."""
    low = np.array(block.write.relative_to(block.read).start) + 2
    size, last = np.array(block.write.shape), np.equal(block.write.stop, block.volume.shape)
    total = 0
    for odd in itertools.product((False, True), repeat=3):
        # A corner, edge or face lies before a voxel along the axes that are even; at the far end also behind.
        found = there
        for axis, whole in enumerate(odd):
            stop = low[axis] + size[axis] + (0 if whole else last[axis])
            here = [slice(None)] * 3
            here[axis] = slice(low[axis], stop)
            before = [slice(None)] * 3
            before[axis] = slice(low[axis] - 1, stop - 1)
            found = found[tuple(here)] if whole else found[tuple(here)] | found[tuple(before)]
        total += (-1) ** sum(odd) * int(np.count_nonzero(found))
    return total


def _tips(
    index: Array,
    there: Array,
    depth: Array,
    block: Block,
    voxel_nm: Nm,
    moved: Callable[[Array], Array],
) -> dict[str, Array]:
    """How lines would go on at their ends: ahead, to the voxel that is farthest from the background.

    While that is not nearer to it than the end by more than a voxel; where the line is too long, what is cut
    to a ball's middle (`measuring`) cuts it again.
    """
    side = max(voxel_nm)
    unit = whole_unit(voxel_nm)
    volume = block.volume.shape
    before = np.zeros_like(index)
    for step in STEPS:
        before[there[tuple((index + step + 2).T)]] = step
    way = [index]
    going = np.ones(len(index), bool)
    first = unit.length_nm(depth[tuple(index.T)])
    for _ in range(FARTHER):
        at, best, square = way[-1], way[-1].copy(), np.zeros(len(index), np.int64)
        for step in STEPS:
            ahead = (-before * np.square(voxel_nm)) @ step > 0
            place = at + step
            inside = ((place >= 0) & (place < depth.shape)).all(1) & ahead & going
            deep = np.zeros(len(index), np.int64)
            deep[inside] = depth[tuple(place[inside].T)]
            better = deep > square
            best[better], square[better] = place[better], deep[better]
        going &= (square > 0) & (unit.length_nm(square) >= first - side)
        before = np.where(going[:, None], at - best, before)
        way.append(np.where(going[:, None], best, -1))
    keys, squares, moves = [], [], []
    for at in way:
        known = at[:, 0] >= 0
        here = np.where(known[:, None], at, 0)
        keys.append(np.where(known, keys_of(here + block.read.start, volume), -1))
        squares.append(np.where(known, depth[tuple(here.T)].astype(np.int64), 0))
        moves.append(moved(here))
    found = {"keys": keys, "squares": squares, "shifts": moves}
    return {
        "tip/key": keys[0],
        **{f"tip/{k}": np.stack(v, 1).reshape(-1, FARTHER + 1) for k, v in found.items()},
    }


def _lines(index: Array, square: Array, shift: Array, there: Array, block: Block) -> dict[str, Array]:
    from chunkflow_liver.kernels.network.chain_loops import walk

    volume = block.volume.shape
    place = index + block.read.start
    keys = keys_of(place, volume)
    near = np.full((len(index), 2), -1, np.int64)
    filled = np.zeros(len(index), np.int64)
    for step in STEPS:
        rows = np.flatnonzero(there[tuple((index + step + 2).T)])
        near[rows, filled[rows]] = keys_of(place[rows] + step, volume)
        filled[rows] += 1
    at = np.searchsorted(keys, near)
    at[at == len(keys)] = 0
    beside = np.where(keys[at] == near, at, -1) if len(keys) else at
    order, ends = np.empty(len(keys), np.int64), np.empty(len(keys), np.int64)
    lines = walk(beside, order, ends)
    ends = ends[:lines]
    starts = np.concatenate([[0], ends])[:-1].astype(np.int64)
    before, after = np.empty(lines, np.int64), np.empty(lines, np.int64)
    for line, (low, high) in enumerate(zip(starts, ends, strict=True)):
        first, last = order[low], order[high - 1]
        if high - low == 1:
            before[line], after[line] = near[first]
            continue
        before[line] = near[first][near[first] != keys[order[low + 1]]][0]
        after[line] = near[last][near[last] != keys[order[high - 2]]][0]
    return {
        "line/keys": keys[order],
        "line/squares": square[order],
        "line/shifts": shift[order],
        "line/ends": ends,
        "line/before": before,
        "line/after": after,
    }
