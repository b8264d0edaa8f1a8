"""Pieces go to the cell at the end of the chain whose weakest link is strongest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkflow_liver.kernels.tissue.chains import attach, near_links

pytest.importorskip("cv2", reason="needs the extra 'cells'")


def widest_paths(links, strength, cell):
    """For every node and cell, the strongest weakest link of any path that meets no other cell on its way."""
    count = len(cell)
    out = {}
    for start in range(count):
        if cell[start]:
            continue
        best = {start: np.inf}
        todo = [start]
        while todo:
            node = todo.pop()
            if cell[node]:
                continue
            for (a, b), s in zip(links, strength, strict=True):
                for here, there in ((a, b), (b, a)):
                    if here == node and min(s, best[node]) > best.get(there, 0):
                        best[there] = min(s, best[node])
                        todo.append(there)
        out[start] = {}
        for node, s in best.items():
            if cell[node]:
                out[start][cell[node]] = max(s, out[start].get(cell[node], 0))
    return out


@settings(max_examples=80, deadline=None)
@given(count=st.integers(1, 9), edges=st.integers(0, 14), seed=st.integers(0, 9999))
def test_every_piece_goes_to_the_cell_of_its_strongest_chain(count, edges, seed):
    rng = np.random.default_rng(seed)
    cell = np.where(rng.random(count) < 0.3, rng.integers(1, 4, count), 0)
    links = rng.integers(0, count, (edges, 2))
    links = links[links[:, 0] != links[:, 1]]
    strength = (1 + rng.permutation(len(links))) / 20  # all differ
    found = attach(links, strength, cell)
    for node, best in widest_paths(links.tolist(), strength.tolist(), cell.tolist()).items():
        if not best:
            assert found.cell[node] == 0
            assert found.strength[node] == 0
            continue
        # Two chains with one weakest link are as strong; then the rest of the way decides.
        assert best[found.cell[node]] == max(best.values())
        assert found.strength[node] == max(best.values())
    again = rng.permutation(len(links))
    other = attach(links[again][:, ::-1], strength[again], cell)
    np.testing.assert_array_equal(other.cell, found.cell)
    np.testing.assert_array_equal(np.sort(again[other.conflicts]), found.conflicts)


def test_a_conflict_is_listed_and_its_link_not_made():
    """Cell 1 - piece - piece - cell 2: the weakest of the three links parts them."""
    found = attach(np.array([[0, 2], [2, 3], [3, 1]]), np.array([0.9, 0.2, 0.5]), np.array([1, 2, 0, 0]))
    assert found.cell.tolist() == [1, 2, 1, 2]
    assert found.strength.tolist() == [np.inf, np.inf, 0.9, 0.5]
    assert found.conflicts.tolist() == [1]


def test_the_nearest_label_in_the_plane_is_found_within_reach():
    pieces = np.zeros((12, 30), np.int32)
    pieces[5:7, 4:6], pieces[5:7, 20:22] = 1, 2
    labels = np.zeros((12, 30), np.int32)
    labels[5:7, 9:12], labels[0, 4] = 7, 3
    piece, label, away = near_links(pieces, labels, np.array([1, 2]), 4)
    assert (piece.tolist(), label.tolist(), away.tolist()) == ([1], [7], [4.0])
    assert near_links(pieces, labels, np.array([1]), 5)[2].tolist() == [4.0]
    assert not len(near_links(pieces, labels, np.array([], int), 5)[0])
