"""Faces between pieces, whatever the blocks are, and the side of every piece."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import blocks, seeds, shapes

from chunkflow_liver.geometry import BlockGrid, Box
from chunkflow_liver.kernels.instances.cleaving import merge_faces, second_side, shared_faces

NM = (4.0, 8.0, 16.0)


def all_faces(pieces, mask, block):
    grid = BlockGrid(Box.of(pieces.shape), block, high=(1, 1, 1))
    return merge_faces(shared_faces(pieces[b.read.slices], mask[b.read.slices], b.write.shape) for b in grid)


def counted(pieces, mask):
    """Face by face."""
    found = {}
    for axis in range(3):
        for at in np.ndindex(pieces.shape):
            to = tuple(i + (k == axis) for k, i in enumerate(at))
            if to[axis] < pieces.shape[axis] and mask[at] and mask[to]:
                a, b = sorted((int(pieces[at]), int(pieces[to])))
                if a and a != b:
                    found.setdefault((a, b), [0, 0, 0])[axis] += 1
    return found


@settings(max_examples=20, deadline=None)
@given(shape=shapes, seed=seeds, block=blocks)
def test_every_face_counts_once_whatever_the_blocks_are(shape, seed, block):
    rng = np.random.default_rng(seed)
    pieces, mask = rng.integers(0, 5, shape).astype(np.uint16), rng.random(shape) < 0.8
    found = all_faces(pieces, mask, block)
    rows = zip(*(found[k].tolist() for k in ("a", "b", "faces_z", "faces_y", "faces_x")), strict=True)
    assert {(a, b): n for a, b, *n in rows} == counted(pieces, mask)


def chain(*links):
    """Pieces 1, 2, 3, ... in a row, that touch over so many faces across (z, y, x)."""
    a = np.arange(1, len(links) + 1, dtype=np.uint64)
    z, y, x = np.array(links, np.int64).T
    return {"a": a, "b": a + np.uint64(1), "faces_z": z, "faces_y": y, "faces_x": x}


def test_a_face_counts_by_its_area():
    """Of (4, 8, 16) nm: 128 nm2 across z, 64 across y, 32 across x; 2 is in the middle of 1 and 3."""
    cases = [
        ((1, 0, 0), (0, 1, 0), [3]),  # 1/128 to 1, 1/64 to 3
        ((0, 0, 1), (0, 1, 0), [2, 3]),
        ((1, 0, 0), (0, 0, 4), [3]),  # a tie: 4 x 32 is 128, and 1 is the smaller
        ((1, 0, 0), (0, 0, 5), [2, 3]),
    ]
    for one, two, wanted in cases:
        assert second_side(chain(one, two), 1, 3, NM).tolist() == wanted
        # Asked from the other side the tie goes to piece 1 as well.
        assert second_side(chain(one, two), 3, 1, NM).tolist() == sorted({1, 2, 3} - set(wanted))


def test_the_sides_meet_at_the_thin_place_and_what_touches_neither_stays():
    """Five pieces in a row, the thin place between 2 and 3; 8 and 9 are apart."""
    faces = chain((9, 0, 0), (1, 0, 0), (9, 0, 0), (9, 0, 0))
    faces = {
        k: np.append(v, np.array([n], v.dtype))
        for (k, v), n in zip(faces.items(), (8, 9, 9, 0, 0), strict=True)
    }
    assert second_side(faces, 1, 5, NM).tolist() == [3, 4, 5]
    assert second_side(faces, 5, 1, NM).tolist() == [1, 2]
    assert second_side(faces, 1, 9, NM).tolist() == [8, 9]
    # Pieces with no faces at all.
    assert second_side({k: v[:0] for k, v in faces.items()}, 4, 2, NM).tolist() == [2]


@settings(max_examples=20, deadline=None)
@given(seed=seeds, count=st.integers(2, 12))
def test_sides_are_those_of_shortest_paths_found_otherwise(seed, count):
    """Floyd's algorithm on the whole graph, with areas whose inverses add up exactly."""
    rng = np.random.default_rng(seed)
    a, b = np.triu_indices(count, 1)
    there = rng.random(len(a)) < 0.4
    a, b, n = a[there], b[there], 2 ** rng.integers(0, 6, int(there.sum()))
    ids = np.sort(rng.choice(1000, count, replace=False) + 1).astype(np.uint64)
    far = np.full((count, count), np.inf)
    far[np.arange(count), np.arange(count)] = 0
    far[a, b] = far[b, a] = 1 / n
    for k in range(count):
        far = np.minimum(far, far[:, [k]] + far[[k]])
    first, second = rng.choice(count, 2, replace=False)
    faces = {"a": ids[a], "b": ids[b], "faces_z": n, "faces_y": 0 * n, "faces_x": 0 * n}
    near, other = far[second], far[first]
    mine = near < other if first < second else (near <= other) & np.isfinite(near)
    assert second_side(faces, int(ids[first]), int(ids[second]), (1, 1, 1)).tolist() == ids[mine].tolist()
