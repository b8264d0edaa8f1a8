"""Lengths of paths equal Dijkstra's on the graph of the whole array, whatever the blocks."""

from __future__ import annotations

import itertools
import math
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra
from strategies import (
    VOXEL_NM,
    away_of,
    blocks,
    contents,
    done,
    mask_of,
    most_resident,
    resumed_equals_whole,
    seeds,
    semantic,
    shapes,
    write,
)

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.ops.geodesic.solving import block_bytes, blocks_of


def whole(labels, starts, voxel_nm=VOXEL_NM):
    """Shortest paths by SciPy on an explicit graph, in nm: edges are looked at one by one."""
    number = np.arange(labels.size).reshape(labels.shape)
    rows, columns, lengths = [], [], []
    for at in np.ndindex(labels.shape):
        if not (starts[at] or labels[at]):
            continue
        for step in itertools.product(range(-2, 3), repeat=3):
            there = tuple(np.add(at, step).tolist())
            if math.gcd(*step) != 1 or not inside(there, labels.shape):
                continue
            if starts[there] or not labels[there] or not (starts[at] or labels[at] == labels[there]):
                continue
            if all(starts[v] or labels[v] == labels[there] for v in passed(at, step)):
                rows.append(number[at])
                columns.append(number[there])
                lengths.append(math.sqrt(sum((s * v) ** 2 for s, v in zip(step, voxel_nm, strict=True))))
    found = np.full(labels.size, np.inf)
    first = number[starts]
    if len(first):
        graph = coo_array((lengths, (rows, columns)), shape=(labels.size,) * 2).tocsr()
        found = dijkstra(graph, indices=first, min_only=True)
    return found.reshape(labels.shape)


def passed(at, step):
    """Voxels that the straight line of a long step touches half way."""
    if max(map(abs, step)) < 2:
        return
    halves = [(s // 2, -(-s // 2)) for s in step]
    for half in set(itertools.product(*halves)):
        yield tuple(np.add(at, half).tolist())


def inside(place, shape):
    return all(0 <= p < n for p, n in zip(place, shape, strict=True))


def cells(shape, seed):
    """Random labels of a few cells with holes, and a class 1 here and there."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(1, 4, [-(-n // 4) for n in shape])
    for axis in range(3):
        coarse = coarse.repeat(4, axis)
    labels = coarse[tuple(slice(n) for n in shape)] * (rng.random(shape) < 0.8)
    return labels.astype(np.uint32), (rng.random(shape) < 0.02).astype(np.uint8)


@settings(max_examples=10, deadline=None)
@given(shape=shapes, seed=seeds, block=blocks)
@example(shape=(9, 13, 8), seed=2, block=(4, 3, 3))
@example(shape=(12, 14, 16), seed=5, block=(5, 4, 1))
@example(shape=(1, 1, 7), seed=0, block=(3, 3, 3))
def test_paths_in_cells_do_not_depend_on_the_grid(shape, seed, block):
    labels, classes = cells(shape, seed)
    with tempfile.TemporaryDirectory() as folder:
        own = write(folder, labels, "cells", kind="label")
        other = write(folder, classes)
        plan = cf.geodesic(own, other, to=1, name="path", work=f"{folder}/work", block=block)
        found = done(plan).read()
        flags = cf.open_volume(Path(folder) / "work/results.ome.zarr/labels/path-exact").read()
    wanted = whole(labels, classes == 1)
    assert found.dtype == np.float32
    # Steps are whole 1024ths of the smallest side.
    np.testing.assert_allclose(found, wanted, rtol=5e-4)
    for at in np.ndindex(shape):
        sides = zip(at, shape, VOXEL_NM, strict=True)
        outside = min((min(i + 1, n - i) * v for i, n, v in sides if n > 1), default=np.inf)
        assert flags[at] == (np.isfinite(found[at]) and found[at] <= outside * (1 + 1e-6))


def maze():
    """A corridor that goes to and fro through all blocks: class 2, with class 1 at its beginning."""
    array = np.zeros((3, 24, 24), np.uint8)
    for i, y in enumerate(range(0, 24, 4)):
        array[:, y : y + 2] = 2
        array[:, y + 2 : y + 4, slice(0, 2) if i % 2 else slice(-2, None)] = 2
    array[:, 22:] = 0
    array[:, :2, :2] = 1
    return array


def test_a_corridor_is_followed_to_its_end_with_the_same_bytes(tmp_path):
    array = maze()
    wanted = whole(np.where(array == 2, 1, 0), array == 1)
    made = []
    for block in ((3, 24, 24), (3, 8, 8), (3, 5, 7)):
        work = tmp_path / "x".join(map(str, block))
        found = done(
            cf.geodesic(write(work, array), to="er", inside=2, name="path", work=work / "work", block=block)
        ).read()
        np.testing.assert_allclose(found, wanted, rtol=5e-4)
        made.append(found)
    assert np.isfinite(made[0][:, 20, 0]).all()
    # 6 rows of 24 voxels of 16 nm, less the corners that are cut.
    assert 1800 < np.max(made[0][np.isfinite(made[0])]) < 2400
    assert made[0].tobytes() == made[1].tobytes() == made[2].tobytes()


def test_a_gap_is_crossed_straight(tmp_path):
    # A cell, a membrane of two voxels, the class: 3 steps of 16 nm.
    labels = np.array([[[1, 1, 1, 0, 0, 0]]], np.uint32)
    classes = np.array([[[0, 0, 0, 0, 0, 1]]], np.uint8)
    own, other = write(tmp_path, labels, "cells", kind="label"), write(tmp_path, classes)
    for gap, wanted in ((0.0, [np.inf] * 3), (47.0, [np.inf] * 3), (48.0, [80, 64, 48])):
        found = done(
            cf.geodesic(own, other, to=1, gap_nm=gap, name="path", work=tmp_path / f"{gap}", block=(1, 1, 3))
        ).read()
        np.testing.assert_allclose(found[0, 0], [*wanted, np.inf, np.inf, 0], rtol=1e-6)


def test_what_was_not_looked_at_is_no_way(tmp_path):
    array = np.full((1, 1, 8), 2, np.uint8)
    array[..., 0] = 1
    volume = replace(write(tmp_path, array), region=cf.Box((0, 0, 0), (1, 1, 5)))
    found = done(
        cf.geodesic(volume, to=1, inside=2, name="path", work=tmp_path / "work", block=(1, 1, 4))
    ).read()
    np.testing.assert_allclose(found[0, 0], [0, 16, 32, 48, 64, *[np.inf] * 3])


def test_it_goes_on_after_an_interruption(tmp_path):
    def make(work):
        return cf.geodesic(
            write(work.parent, maze()), to=1, inside=2, name="path", work=work, block=(3, 8, 8)
        )

    resumed_equals_whole(make, tmp_path, "path/paths", 0)
    assert not [p for p in contents(tmp_path / "a/work") if "tmp" in p]


def test_memory_is_that_of_a_block(tmp_path):
    rng = np.random.default_rng(0)
    array = (1 + (rng.random((80, 144, 144)) < 0.999)).astype(np.uint8)
    volume = write(tmp_path, array)
    plan = cf.geodesic(volume, to=1, inside=2, name="path", work=tmp_path / "work", block=(32, 64, 64))
    stage = plan.maps[0]
    plan.work.mkdir()
    used = most_resident(lambda: [None for _ in stage.function(stage.grid[0], *stage.inputs, **stage.params)])
    cut = blocks_of(volume, (32, 64, 64))
    assert used < block_bytes(cut, (0, 0, 0), 1)
    # A block of all voxels would need several times as much.
    assert block_bytes(blocks_of(volume, volume.shape), (0, 0, 0), 1) > 2 * block_bytes(cut, (0, 0, 0), 1)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"to": 1, "inside": 2, "gap_nm": -1.0}, ConfigError, "gap_nm must be 0 or more"),
        ({"to": 1}, ConfigError, "say in which classes paths stay"),
        ({"to": 1, "inside": ("er", 2)}, ConfigError, "other than the one that paths lead to"),
        ({"to": 1, "inside": 0}, InputError, "has no class 0"),
        ({"to": "nucleus", "inside": 2}, InputError, "no class 'nucleus'"),
    ],
)
def test_what_has_no_answer_is_refused(tmp_path, options, error, says):
    with pytest.raises(error, match=says):
        cf.geodesic(write(tmp_path, maze()), name="path", work=tmp_path / "work", **options)
    assert not (tmp_path / "work").exists()


def test_the_plan_says_how_long_a_free_path_may_be(tmp_path):
    plan = cf.geodesic(
        write(tmp_path, maze(), voxel_nm=(8, 8, 8)), to=1, inside=2, name="path", work=tmp_path / "work"
    )
    assert "up to 4.9 % longer than straight" in str(plan)


@settings(max_examples=6, deadline=None)
@given(shape=shapes, seed=seeds, block=blocks)
@example(shape=(6, 7, 8), seed=4, block=(3, 4, 5))
def test_paths_do_not_cross_what_a_mask_leaves_out(shape, seed, block):
    (labels, starts), known = cells(shape, seed), mask_of(shape, seed + 1)
    lengths = []
    with tempfile.TemporaryDirectory() as folder:
        mask = write(folder, known.astype(np.uint8), "mask", kind="label")
        own = write(folder, labels, "cells", kind="label").within(mask)
        goal = write(folder, starts, "goal", kind="label")
        for work, size in (("a", block), ("b", (16, 16, 16))):
            plan = cf.geodesic(own, goal, to=1, name="d", work=f"{folder}/{work}", block=size)
            lengths.append((done(plan).read(), plan.products[1].handle.read()))
            assert all(p.handle.mask == mask for p in plan.products)
        # The goal alone may be restricted.
        other = cf.geodesic(own.within(mask), goal.within(mask), to=1, name="e", work=f"{folder}/e")
        lengths.append((done(other).read(), other.products[1].handle.read()))
    wanted = whole(np.where(known, labels, 0), (starts == 1) & known)
    for got, exact in lengths:
        np.testing.assert_allclose(got, wanted, rtol=2e-3)
        np.testing.assert_array_equal(got, lengths[0][0])
        np.testing.assert_array_equal(exact, (got <= away_of(known) * (1 + 1e-6)) & np.isfinite(got))


def test_a_map_of_two_masks_is_refused(tmp_path):
    classes = write(tmp_path, semantic((4, 5, 6), 1))
    first, second = (
        write(tmp_path, np.full((4, 5, 6), n, np.uint8), f"mask{n}", kind="label") for n in (1, 2)
    )
    with pytest.raises(ConfigError, match=r"there are two masks, .*; draw them into one image"):
        cf.geodesic(
            classes.within(first), classes.within(second), to="er", inside=[2], name="x", work=tmp_path / "w"
        )
