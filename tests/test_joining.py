"""A veto holds for whole groups, and arrays give what joining pair by pair gives."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkflow_liver.kernels.joining import join


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
@given(problem=problems())
def test_arrays_join_as_pair_by_pair(problem):
    count, pairs, score, block, apart = problem
    roots, refused = join(
        count,
        np.array(pairs, np.int64).reshape(-1, 2),
        np.array(score),
        block=np.array(block),
        apart=None if apart is None else np.array(apart, np.int64).reshape(-1, 2),
    )
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
