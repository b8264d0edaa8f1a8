"""Links between objects of blocks that are not made, because they would join what must stay apart.

All links are made at once first. Only groups in which that joined what must stay apart are made again, link
by link, the surest one first: the result is that of making all links one by one, whatever the order they
come in. What has a row per object or link lies on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from chunkflow_liver.kernels.instances.joining import Groups, enter_apart, enter_blocks, met_in_a_block
from chunkflow_liver.ops.steps.numbering import spilled_roots
from chunkflow_liver.store.scratch.sorting import sorted_rows
from chunkflow_liver.store.scratch.spill import Spill, SpilledTable, filled
from chunkflow_liver.xp import Array

BATCH = 1 << 19
"""Rows taken into memory at once."""


def refused_links(
    links: SpilledTable, scratch: Path, *, offsets: Sequence[int], apart: SpilledTable | None
) -> Array:
    """Which links are not made.

    Parameters
    ----------
    links : SpilledTable
        `a`, `b` (int64): objects that are to be one; `iou` (float64, above 0): how sure that is. Surer links
        are made first, ties in the order of `a`, then `b`.
    scratch : Path
        Folder for up to 65 bytes per object, 65 per link and 32 per row of `apart`.
    offsets : sequence of int
        Where the objects of every block begin, and how many there are.
    apart : SpilledTable, optional
        `a`, `b`: objects that must not become one. Without it no two objects of one block may.

    Returns
    -------
    ndarray of shape (len(links),), bool
        Memory-mapped.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    nodes = offsets[-1]
    refused = filled(scratch / "refused", len(links), "bool")
    roots, broken = spilled_roots(links, nodes, scratch / "roots"), filled(scratch / "broken", nodes, "bool")
    near = Spill(scratch / "near", "int64")
    if apart is None:
        for begin, block in _whole_blocks(offsets):
            broken[met_in_a_block(roots[begin : begin + len(block)], block)] = True
    else:
        for _, part in apart.parts(BATCH):
            root = roots[part["a"]]
            same = root == roots[part["b"]]
            broken[root[same]] = True
            near.append(np.stack([part["a"][same], part["b"][same]], 1).ravel())
    again = Spill(scratch / "again", "int64")
    for begin, part in links.parts(BATCH):
        at = np.flatnonzero(broken[roots[part["a"]]])
        # Floats above 0 are in the order of their bits.
        surest = -part["iou"][at].view(np.int64)
        again.append(np.stack([surest, part["a"][at], part["b"][at], at + begin], 1).ravel())
    if len(again):
        names = ("head", "following", "size")
        groups = Groups(*(filled(scratch / name, nodes, "int64") for name in names))
        if apart is None:
            join = _no_block_twice(groups, roots, broken, offsets, scratch)
        else:
            join = _never_together(groups, roots, broken, near.array().reshape(-1, 2), scratch)
        for rows in sorted_rows(again.array().reshape(-1, 4), scratch / "sorted", keys=3):
            refused[rows[:, 3]] = join(np.ascontiguousarray(rows[:, 1:3]))
    return refused


def _whole_blocks(offsets: Sequence[int]) -> Iterator[tuple[int, Array]]:
    """Number of a first object, and the blocks of the objects from there on; blocks are not cut."""
    ends = np.asarray(offsets)
    first = 0
    while first < len(ends) - 1:
        last = max(first + 1, int(np.searchsorted(ends, ends[first] + BATCH, side="right")) - 1)
        yield int(ends[first]), np.repeat(np.arange(first, last), np.diff(ends[first : last + 1]))
        first = last


def _members(roots: Array, broken: Array) -> Iterator[Array]:
    """Objects of the groups that are made again."""
    for begin in range(0, len(roots), BATCH):
        yield np.flatnonzero(broken[roots[begin : begin + BATCH]]) + begin


def _no_block_twice(
    groups: Groups, roots: Array, broken: Array, offsets: Sequence[int], scratch: Path
) -> Callable[[Array], Array]:
    """Joins pairs unless two objects of one block would meet."""
    block = filled(scratch / "block", len(roots), "int64")
    # Twice the objects and more, so that searches are short.
    bits = (2 * sum(len(part) for part in _members(roots, broken))).bit_length()
    slots = filled(scratch / "slots", 1 << bits, "int64")
    ends = np.asarray(offsets)
    for part in _members(roots, broken):
        groups.enter(part)
        block[part] = np.searchsorted(ends, part, side="right") - 1
        enter_blocks(part, groups, block, slots)
    return partial(groups.join_blocks, block=block, slots=slots)


def _never_together(
    groups: Groups, roots: Array, broken: Array, apart: Array, scratch: Path
) -> Callable[[Array], Array]:
    """Joins pairs unless two objects of a row of `apart` would meet."""
    begin = filled(scratch / "begin", len(roots), "int64")
    further = filled(scratch / "further", apart.size, "int64")
    enter_apart(apart, begin, further)
    for part in _members(roots, broken):
        groups.enter(part)
    return partial(groups.join_apart, apart=apart, begin=begin, further=further)
