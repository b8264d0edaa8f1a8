"""A veto holds for whole groups, and tables on disk give what joining pair by pair gives."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkflow_liver.kernels.instances.components import merge_pairs
from chunkflow_liver.ops.steps.seams import vetoes
from chunkflow_liver.store.scratch import sorting
from chunkflow_liver.store.scratch.spill import SpilledTable


def join(count, pairs, score, *, block, apart=None):
    """Smallest node of every node's group, and the pairs that were refused."""
    offsets = np.searchsorted(block, np.arange(max(block) + 2)).tolist()
    pairs = np.array(pairs, np.int64).reshape(-1, 2)
    with tempfile.TemporaryDirectory() as folder:
        links = SpilledTable(Path(folder) / "links", {"a": "int64", "b": "int64", "iou": "float64"})
        links.append({"a": pairs[:, 0], "b": pairs[:, 1], "iou": np.array(score, np.float64)})
        kept = None
        if apart is not None:
            kept = SpilledTable(Path(folder) / "apart", {"a": "int64", "b": "int64"})
            rows = np.array(apart, np.int64).reshape(-1, 2)
            kept.append({"a": rows[:, 0], "b": rows[:, 1]})
        found = vetoes.refused_links(links, Path(folder) / "veto", offsets=offsets, apart=kept)
        refused = np.array(found)
    roots = np.arange(count)
    nodes, smallest = merge_pairs(pairs[~refused])
    roots[nodes] = smallest
    return roots, refused


def one_by_one(count, pairs, score, block, apart):
    """Groups as lists of nodes, joined in the order of score."""
    group = [{n} for n in range(count)]
    refused = np.zeros(len(pairs), bool)
    order = sorted(range(len(pairs)), key=lambda i: (-score[i], *pairs[i]))
    for i in order:
        a, b = group[pairs[i][0]], group[pairs[i][1]]
        if a is b:
            continue
        if apart is None:
            broken = {block[n] for n in a} & {block[n] for n in b}
        else:
            broken = any((x in a and y in b) or (x in b and y in a) for x, y in apart)
        if broken:
            refused[i] = True
            continue
        a |= b
        for n in b:
            group[n] = a
    return np.array([min(g) for g in group], np.int64), refused


@st.composite
def problems(draw):
    count = draw(st.integers(2, 14))
    node = st.integers(0, count - 1)
    pair = st.tuples(node, node).filter(lambda p: p[0] != p[1])
    pairs = draw(st.lists(pair, max_size=20, unique=True))
    score = draw(st.lists(st.integers(1, 5), min_size=len(pairs), max_size=len(pairs)))
    block = sorted(draw(st.lists(st.integers(0, 5), min_size=count, max_size=count)))
    apart = draw(st.none() | st.lists(pair, max_size=5))
    return count, pairs, [s / 5 for s in score], block, apart


@settings(deadline=None)
@given(problem=problems(), most=st.sampled_from([2, 5, 1 << 19]))
def test_tables_on_disk_join_as_pair_by_pair(problem, most):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vetoes, "BATCH", most)
        patch.setattr(sorting, "MOST", most)
        same_as_one_by_one(*problem)


@pytest.mark.parametrize("strict", [False, True])
def test_large_groups_join_as_pair_by_pair(strict, monkeypatch):
    """Hundreds of objects in groups that break the veto again and again; tables in parts of 64 rows."""
    monkeypatch.setattr(vetoes, "BATCH", 64)
    monkeypatch.setattr(sorting, "MOST", 64)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        count, blocks = 400, (3, 40, 200, 390)[seed]
        block = np.sort(rng.integers(0, blocks, count))
        pairs = np.unique(np.sort(rng.integers(0, count, (600, 2)), axis=1), axis=0)
        pairs = rng.permutation(pairs[pairs[:, 0] != pairs[:, 1]])
        apart = None if strict else rng.integers(0, count, (60, 2))
        same_as_one_by_one(count, pairs, rng.integers(1, 20, len(pairs)) / 20, block, apart)


def same_as_one_by_one(count, pairs, score, block, apart):
    roots, refused = join(count, pairs, score, block=block, apart=apart)
    wanted, not_joined = one_by_one(count, pairs, score, block, apart)
    np.testing.assert_array_equal(roots, wanted)
    np.testing.assert_array_equal(refused, not_joined)


def test_two_objects_of_a_block_are_not_joined_through_others():
    """0 and 1 lie in one block. The chain 0-2-3-1 breaks at its weakest link."""
    roots, refused = join(
        4, np.array([[0, 2], [2, 3], [1, 3]]), np.array([0.9, 0.5, 0.8]), block=np.array([0, 0, 1, 2])
    )
    assert roots.tolist() == [0, 1, 0, 1]
    assert refused.tolist() == [False, True, False]
    free, _ = join(
        4,
        np.array([[0, 2], [2, 3], [1, 3]]),
        np.array([0.9, 0.5, 0.8]),
        block=np.array([0, 0, 1, 2]),
        apart=np.zeros((0, 2), np.int64),
    )
    assert free.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("flip", [False, True])
def test_a_group_keeps_what_each_of_its_nodes_must_stay_apart_from(flip):
    """0 and 2 stay apart: 2 is joined with 1 first, so 0 and 1 cannot be. Also with 2 on the other side."""
    of = [2, 1, 0] if flip else [0, 1, 2]
    roots, refused = join(
        3, [[of[1], of[2]], [of[0], of[1]]], [0.9, 0.5], block=[0, 1, 2], apart=[[of[0], of[2]]]
    )
    assert refused.tolist() == [False, True]
    assert roots.tolist() == ([0, 0, 2] if flip else [0, 1, 1])


def test_two_groups_are_not_joined_if_any_two_of_their_nodes_must_stay_apart():
    """0-1 and 2-3-4 are made first; only their last ones, 1 and 4, stay apart, and 0-2 would join them."""
    pairs = [[0, 1], [2, 3], [3, 4], [0, 2]]
    roots, refused = join(5, pairs, [0.9, 0.8, 0.7, 0.5], block=[0, 1, 2, 3, 4], apart=[[4, 1]])
    assert refused.tolist() == [False, False, False, True]
    assert roots.tolist() == [0, 0, 2, 2, 2]
