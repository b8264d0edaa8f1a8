"""Labels of blocks that somebody else made become instances of the volume, across the faces of blocks."""

from __future__ import annotations

import itertools
import tempfile

import block_functions as functions
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from strategies import blocks, done, numbered, resumed_equals_whole, seeds, write

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, GridError, InputError, RunIncompleteError
from chunkflow_liver.geometry import BlockGrid, Box
from chunkflow_liver.kernels.labels.overlap import overlap

NM = (4.0, 8.0, 16.0)


def by_blocks(truth, block):
    """Every block with ids of its own, as a segmenter that sees one block at a time leaves them."""
    out = np.zeros(truth.shape, np.int64)
    for corner in itertools.product(*(range(0, n, b) for n, b in zip(truth.shape, block, strict=True))):
        here = tuple(slice(c, c + b) for c, b in zip(corner, block, strict=True))
        out[here] = functions.same(truth[here], voxel_nm=NM) // 10**12
    return out


def plan(labels, folder, block, name="cells", **options):
    volume = write(folder, labels.astype(np.uint32), name=f"labels-{name}", kind="label", voxel_nm=NM)
    return cf.stitch(volume, **{"block": block, "name": name, "work": f"{folder}/work"} | options)


def joined(labels, block, *, iou=0.1, iomin=0.3, branches=False):
    """The same by dictionaries and sets, object by object."""
    cells = [range(0, n, b) for n, b in zip(labels.shape, block, strict=True)]
    corners = list(itertools.product(*cells))
    number, objects = np.zeros(labels.shape, int), []
    for corner in corners:
        here = tuple(slice(c, c + b) for c, b in zip(corner, block, strict=True))
        ids, first = np.unique(labels[here], return_index=True)
        for i in ids[np.argsort(first)]:
            if i:
                objects.append(corner)
                number[here][labels[here] == i] = len(objects)
    links = []
    for corner, axis in itertools.product(corners, range(3)):
        if corner[axis] == 0:
            continue
        part = [slice(c, c + b) for c, b in zip(corner, block, strict=True)]
        low, high = list(part), list(part)
        low[axis], high[axis] = corner[axis] - 1, corner[axis]
        a, b = number[tuple(low)].ravel(), number[tuple(high)].ravel()
        met = {}
        for p, q in {(p, q) for p, q in zip(a, b, strict=True) if p and q}:
            both, size = ((a == p) & (b == q)).sum(), ((a == p).sum(), (b == q).sum())
            met[p, q] = (both / (sum(size) - both), both, both / min(size))
        for (p, q), (fit, _, least) in met.items():
            best_a = min((-met[k][0], -met[k][1], k[1]) for k in met if k[0] == p)[2] == q
            best_b = min((-met[k][0], -met[k][1], k[0]) for k in met if k[1] == q)[2] == p
            mutual = best_a and best_b and fit >= iou and least >= iomin
            if mutual or (branches and (best_a or best_b) and least >= iomin):
                links.append((-fit, p, q))
    apart = set()
    for axis in range(3):
        a = np.moveaxis(number, axis, 0)
        for p, q in zip(a[:-1].ravel(), a[1:].ravel(), strict=True):
            if p and q and p != q and objects[p - 1] == objects[q - 1]:
                apart |= {(p, q), (q, p)}
    group = {n: {n} for n in range(1, len(objects) + 1)}
    for _, p, q in sorted(links):
        pairs = itertools.product(group[p], group[q])
        broken = ((x, y) in apart if branches else objects[x - 1] == objects[y - 1] for x, y in pairs)
        if group[p] is group[q] or any(broken):
            continue
        group[p] |= group[q]
        for n in group[q]:
            group[n] = group[p]
    return numbered(np.array([0, *(min(group[n]) for n in sorted(group))])[number])


@settings(max_examples=8, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 8)] * 3), seed=seeds, block=blocks, cells=st.integers(1, 25),
    branches=st.booleans(), noise=st.booleans(),
)  # fmt: skip
@example(shape=(8, 8, 8), seed=3, block=(3, 4, 3), cells=12, branches=True, noise=True)
@example(shape=(8, 8, 8), seed=3, block=(3, 4, 3), cells=12, branches=False, noise=True)
@example(shape=(1, 8, 1), seed=3, block=(3, 3, 3), cells=3, branches=False, noise=False)
def test_objects_are_joined_as_object_by_object(shape, seed, block, cells, branches, noise):
    truth = functions.voronoi(shape, cells, seed)
    truth[truth % 4 == 1] = 0
    if noise:
        rng = np.random.default_rng(seed)
        truth[rng.random(shape) < 0.2] = rng.integers(0, cells + 1)
    labels = by_blocks(truth, block)
    with tempfile.TemporaryDirectory() as folder:
        found = done(plan(labels, folder, block, branches=branches)).read()
    np.testing.assert_array_equal(found, joined(labels, block, branches=branches))


def test_a_hand_worked_volume(tmp_path):
    """Two rods along z, 4 nm a voxel; the ids swap at the face, and a third object begins behind it."""
    labels = np.zeros((4, 3, 4), np.uint8)
    labels[:2, 0, 0], labels[2:, 0, 0] = 7, 1
    labels[:2, 1, :3], labels[2:, 1, 1:] = 1, 7
    labels[3, 2, 0] = 9
    made = plan(labels, tmp_path, (2, 3, 4))
    wanted = np.zeros(labels.shape, int)
    wanted[:, 0, 0], wanted[3, 2, 0] = 1, 3
    wanted[:2, 1, :3] = wanted[2:, 1, 1:] = 2
    np.testing.assert_array_equal(done(made).read(), wanted)
    (row,) = cf.read_table(tmp_path / "work/tables/cells-seams.parquet").to_pylist()
    assert (row["block_a"], row["block_b"], row["axis"]) == (0, 1, "z")
    # The two planes at the face: 4 nm each.
    assert [row[f"{a}_{end}"] for a in "zyx" for end in ("start", "stop")] == [1, 3, 0, 3, 0, 4]
    assert (row["matched"], row["unmatched"]) == (2, 0)
    # 1 voxel of 1; 2 voxels of 4, in both planes.
    assert (row["iou_min"], row["iou_9"], row["score"]) == (0.5, 1, 2 * 6 / (4 + 12))
    assert (row["z"], row["y"], row["x"], row["x_nm"]) == (1, 1, 0, 8)
    apart = plan(labels, tmp_path, (2, 3, 4), name="strict", iou=0.6)
    assert done(apart).read().max() == 4
    row = cf.read_table(tmp_path / "work/tables/strict-seams.parquet").to_pylist()[0]
    assert (row["matched"], row["unmatched"]) == (1, 2)


def test_two_legs_of_a_bow_are_one_object_only_with_branches(tmp_path):
    labels = np.zeros((1, 7, 12), np.uint8)
    labels[0, 1, :6], labels[0, 5, :6] = 1, 2
    labels[0, 1, 6:9] = labels[0, 5, 6:9] = labels[0, 1:6, 8] = 1
    assert done(plan(labels, tmp_path, (1, 7, 6), name="strict")).read().max() == 2
    joined_ = done(plan(labels, tmp_path, (1, 7, 6), branches=True)).read()
    np.testing.assert_array_equal(joined_, labels > 0)


def test_cells_of_blocks_are_whole_cells_again(tmp_path):
    """150 cells over 27 blocks that were labelled alone: nearly all voxels are in their cell's object."""
    truth = functions.voronoi((36, 48, 48), 150, 1)
    found = done(plan(by_blocks(truth, (12, 16, 16)), tmp_path, (12, 16, 16))).read()
    met = overlap(found, truth)
    best = np.zeros(151, np.int64)
    np.maximum.at(best, met["b"].astype(int), met["voxels"])
    assert best.sum() > 0.97 * truth.size
    assert 150 <= found.max() < 180


@pytest.mark.parametrize("fill", [0, 1])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 9, 8), (7, 1, 5), (9, 9, 9)])
def test_empty_full_and_flat_volumes_are_joined(shape, fill, tmp_path):
    labels = np.full(shape, fill, np.uint8)
    np.testing.assert_array_equal(done(plan(labels, tmp_path, (4, 4, 4))).read(), labels)


@pytest.mark.parametrize("there", [(1, 3, 3), (2, 3, 3), (2, 2, 3)])
def test_objects_that_only_meet_in_an_edge_or_corner_stay_apart(there, tmp_path):
    labels = np.zeros((4, 6, 6), np.uint8)
    labels[1, 2, 2] = labels[there] = 5
    assert done(plan(labels, tmp_path, (2, 3, 3))).read().max() == 2


def test_a_broken_run_goes_on_to_the_same_bytes(tmp_path):
    volume = write(
        tmp_path, by_blocks(functions.voronoi((6, 9, 9), 12, 5), (3, 9, 9)), "labels", kind="label"
    )

    def make(work):
        return cf.stitch(volume, name="cells", work=work, block=(3, 9, 9), branches=True)

    resumed_equals_whole(make, tmp_path / "first", "cells/blocks", 1)
    resumed_equals_whole(make, tmp_path / "second", "cells/apply", 1)


def test_what_cannot_be_joined_is_refused(tmp_path, listing, monkeypatch):
    labels = write(tmp_path, np.ones((3, 4, 5), np.uint8), "labels", kind="label")
    floats = write(tmp_path, np.ones((3, 4, 5), np.float32), "floats")
    before = listing()
    monkeypatch.setattr(cf.Volume, "read", lambda *_: pytest.fail("planning read voxels"))
    at = {"name": "cells", "work": tmp_path / "work"}
    for options, says in (
        ({}, "which blocks of .* were labelled each by itself"),
        ({"block": (3, 4, 4), "halo_nm": 32.0}, r"\['halo_nm'\] are for a function, and there is none"),
        ({"block": (3, 4, 4), "link": "overlap"}, "link 'overlap' needs voxels that two blocks saw"),
    ):
        with pytest.raises(ConfigError, match=says):
            cf.stitch(labels, **options, **at)
    with pytest.raises(ConfigError, match="2 volumes and no function: labels of blocks are one volume"):
        cf.stitch([labels, labels], block=(3, 4, 4), **at)
    with pytest.raises(InputError, match="holds float32 voxels; labels of blocks must be integers"):
        cf.stitch(floats, block=(3, 4, 4), **at)
    assert "cells/apply" in str(cf.stitch(labels, block=(3, 4, 4), **at))
    assert listing() == before


def test_labels_that_change_during_the_run_are_noticed(tmp_path, monkeypatch):
    made = plan(np.ones((4, 4, 4), np.uint8), tmp_path, (2, 4, 4))
    apply = next(s for s in made.stages if s.name == "cells/apply")
    done(made)
    block = apply.grid[1]
    with pytest.raises(InputError, match="0 objects where there were 1 when blocks were compared"):
        apply.function(block, np.zeros((2, 4, 4), np.uint8), **apply.params, **apply.artefacts)


def test_labels_below_zero_are_refused(tmp_path):
    volume = write(tmp_path, np.full((3, 4, 5), -3, np.int16), "labels", kind="label")
    with pytest.raises(RunIncompleteError, match="holds the label -3, at voxel"):
        done(cf.stitch(volume, block=(3, 4, 4), name="cells", work=tmp_path / "work"))


def stored(folder, truth, block, halo, function, **params):
    """Every block with its halo as an image of its own, labelled by `function`, under its place."""
    grid = BlockGrid(Box.of(truth.shape), block, halo, halo)
    found = {}
    for b in grid:
        labels = function(truth[b.read.slices], voxel_nm=NM, **params)
        at = {"name": f"block-{b.index}", "kind": "label", "voxel_nm": NM}
        found[b.read.start] = write(folder, (labels // 10**12).astype(np.uint16), **at)
    return found


@pytest.mark.parametrize("branches", [False, True])
def test_images_of_blocks_with_a_halo_are_stitched_as_by_their_function(branches, tmp_path):
    truth = functions.voronoi((11, 20, 17), 40, 2)
    block, options = (4, 8, 8), {"branches": branches, "name": "cells"}
    images = stored(tmp_path / "images", truth, block, (3, 3, 3), functions.wobbling, voxels=0.7)
    made = cf.stitch(images, block=block, work=tmp_path / "images/work", **options)
    volume = write(tmp_path, truth, "truth", kind="label", voxel_nm=(8.0, 8.0, 8.0))
    by_function = cf.stitch(
        volume, functions.wobbling, params={"voxels": 0.7}, halo_nm=24.0, block=block, work=tmp_path / "work",
        **options,
    )  # fmt: skip
    np.testing.assert_array_equal(done(made).read(), done(by_function).read())
    assert made.output.voxel_nm == NM
    tables = [cf.read_table(tmp_path / f"{f}work/tables/cells-seams.parquet") for f in ("", "images/")]
    one, other = (table.drop(["z_nm", "y_nm", "x_nm"]).to_pandas() for table in tables)
    assert one.equals(other)
    with pytest.raises(ConfigError, match="the blocks of 'cells' were labelled elsewhere"):
        cf.verify(made, cf.Box((0, 0, 0), (4, 4, 4)), name="cells")


def test_a_broken_run_over_images_of_blocks_goes_on_to_the_same_bytes(tmp_path):
    images = stored(tmp_path, functions.voronoi((6, 9, 9), 12, 5), (3, 9, 9), (2, 0, 0), functions.same)

    def make(work):
        return cf.stitch(images, name="cells", work=work, block=(3, 9, 9))

    resumed_equals_whole(make, tmp_path / "first", "cells/blocks", 1)


def test_images_that_are_no_blocks_are_refused(tmp_path, listing, monkeypatch):
    truth = functions.voronoi((8, 9, 9), 12, 5)
    images = stored(tmp_path, truth, (4, 9, 9), (2, 0, 0), functions.same)
    apart = stored(tmp_path / "apart", truth, (4, 9, 9), (0, 0, 0), functions.same)
    other = write(tmp_path, np.ones((6, 9, 9), np.uint8), "other", kind="label", voxel_nm=NM)
    first, last = (0, 0, 0), (2, 0, 0)
    before = listing()
    monkeypatch.setattr(cf.Volume, "read", lambda *_: pytest.fail("planning read voxels"))

    def refused(given, says, error=GridError, block=(4, 9, 9), **options):
        with pytest.raises(error, match=says):
            cf.stitch(given, **{"name": "cells", "work": tmp_path / "work", "block": block} | options)

    refused({last: images[last]}, r"the first image begins at \(2, 0, 0\), wanted is \(0, 0, 0\)")
    refused(images, "second block begins at 2, halo included, and blocks have 1 voxels", block=(1, 9, 9))
    refused(images, r"is no block: blocks of \(2, 9, 9\)", block=(2, 9, 9))
    refused({first: images[last], (1, 0, 0): images[last]}, "voxels at .* is no block")
    refused({first: images[first], last: other}, "blocks of one volume are alike", InputError)
    refused(apart, "the images share no voxels", ConfigError)
    refused({first: images[first], (2, 9, 0): images[first]}, r"(is no block|have no image)")
    refused(images, "leave the function out", ConfigError, function=functions.same)
    refused(images, "which blocks", ConfigError, block=None)
    refused({}, "nothing to stitch", ConfigError)
    assert listing() == before


def test_blocks_that_were_labelled_elsewhere_cannot_be_verified(tmp_path):
    made = plan(np.ones((4, 4, 4), np.uint8), tmp_path, (2, 4, 4))
    done(made)
    with pytest.raises(ConfigError, match="the blocks of 'cells' were labelled elsewhere"):
        cf.verify(made, cf.Box((0, 0, 0), (4, 4, 4)), name="cells")
