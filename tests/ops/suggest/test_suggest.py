"""Suggested boxes equal those of whole arrays, whatever the blocks; the labels are empty and a source."""

from __future__ import annotations

import csv
import itertools
import math
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
import zarr
from block_functions import wobbling
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata
from strategies import (
    VOXEL_NM,
    blocks,
    components,
    contents,
    done,
    most_resident,
    resumed_equals_whole,
    seeds,
    semantic,
    write,
)
from strategies import table as rows_of

import chunkflow_liver as cf
from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.engine.written import write_products
from chunkflow_liver.errors import InputError, OutputError
from chunkflow_liver.geometry import Box
from chunkflow_liver.kernels.images.box_sums import Lattice
from chunkflow_liver.ops.suggest import Evidence
from chunkflow_liver.store.create import finish

NM = np.array(VOXEL_NM)
shapes = st.tuples(st.integers(4, 12), st.integers(6, 14), st.integers(6, 14))
sides = st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))


def grey(shape, seed):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def images(folder, shape, seed, instances=False):
    """An image, two uncertainties, and three results that differ in a fifth of their voxels."""
    rng = np.random.default_rng(seed)
    first = semantic(shape, seed)
    if instances:
        first = components(first, 6).astype(np.uint8)
    results = [np.where(rng.random(shape) < 0.2, np.roll(first, i, 2), first) for i in range(3)]
    named = {} if instances else {"classes": [("er", 1), ("mitochondrion", 2), ("lipid", 3)]}
    return {
        "raw": write(folder, grey(shape, seed), "raw"),
        "uncertainty": [write(folder, grey(shape, seed + i), f"u{i}") for i in (1, 2)],
        "labels": [write(folder, a, f"l{i}", kind="label", **named) for i, a in enumerate(results)],
    }


def faces(labels):
    """Foreground, and whether the next voxel along each axis is of another object."""
    signs = [labels > 0]
    for axis in range(3):
        following = np.roll(labels, -1, axis)
        differs = (labels != following) & (labels > 0) & (following > 0)
        differs[tuple(slice(-1, None) if a == axis else slice(None) for a in range(3))] = False
        signs.append(differs)
    return np.stack(signs)


def steps(shape, side):
    return Lattice.of(Box.of(shape), side).steps


def counts(shape, side):
    return Lattice.of(Box.of(shape), side).counts


def whole(evidence, painted_nm, side, boxes, apart_nm, weights, instances=False, known=None):
    """The same by loops over whole arrays: rows of (first voxels, score, criteria)."""
    arrays = {k: [v.read() for v in evidence[k]] for k in ("uncertainty", "labels")}
    shape = arrays["labels"][0].shape
    lattice = Lattice.of(evidence["raw"].box, side)
    step, size = np.array(lattice.cell), np.array(lattice.side)
    differ = np.zeros(shape)
    for a, b in itertools.combinations(arrays["labels"], 2):
        differ += (faces(a) != faces(b)).any(0) if instances else a != b
    places = [range(0, n - s + 1, c) for n, s, c in zip(shape, size, step, strict=True)]
    every = [
        start
        for start in itertools.product(*places)
        if known is None or known[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))].all()
    ]
    starts = np.array(every).reshape(-1, 3)
    if not every:
        return starts, [], []
    found = []
    for start in starts:
        at = tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))
        gap = np.inf
        inside = 0.0
        for low, high in painted_nm:
            a, b = np.array(low) / NM, np.array(high) / NM
            away = np.maximum(np.maximum(a - start - size, start - b), 0) * NM
            gap = min(gap, np.sqrt((away**2).sum()))
            inside += np.prod(np.maximum(np.minimum(b, start + size) - np.maximum(a, start), 0)) / size.prod()
        found.append(
            [np.mean([u[at].mean() for u in arrays["uncertainty"]]) / 255, differ[at].mean() / 3, gap, inside]
        )
    found = np.array(found)
    ranked = [(rankdata(v) - 1) / (len(v) - 1) if len(v) > 1 else np.array([0.5]) for v in found.T[:3]]
    score = sum(w * r for w, r in zip(weights, ranked, strict=True)) / sum(weights)
    tiles = (starts % size == 0).all(1) if apart_nm == 0 and boxes > 1 else np.ones(len(starts), bool)
    chosen = []
    for i in np.lexsort((np.arange(len(score)), -np.round(score, 12))):
        apart = [np.sqrt((((starts[i] - starts[j]) * NM) ** 2).sum()) >= apart_nm for j in chosen]
        clear = [(np.abs(starts[i] - starts[j]) >= size).any() for j in chosen]
        if all(apart) and all(clear) and tiles[i] and found[i, 3] < 0.25 and len(chosen) < boxes:
            chosen.append(i)
    return starts[chosen], score[chosen], found[chosen, :3]


@settings(max_examples=15, deadline=None)
@given(
    shape=shapes,
    side=sides,
    seed=seeds,
    block=blocks,
    instances=st.booleans(),
    boxes=st.integers(1, 3),
    masked=st.booleans(),
)
def test_boxes_are_those_of_the_whole_arrays_for_any_blocks(
    shape, side, seed, block, instances, boxes, masked
):
    weights = {"uncertainty": 2.0, "disagreement": 1.0, "distance": 0.5}
    painted = [[[8, 16, 32], [12, 40, 80]], [[0, 0, 0], [4, 8, 16]]]
    with tempfile.TemporaryDirectory() as folder:
        found, known = images(folder, shape, seed, instances), None
        if masked:
            known = np.random.default_rng(seed).random(shape) > 0.01
            mask = write(folder, known.astype(np.uint8), "mask", kind="label")
            found["uncertainty"] = [volume.within(mask) for volume in found["uncertainty"]]
        source = {"image": found["raw"].url, "labels": found["labels"][0].url, "boxes_nm": painted}
        evidence = cf.Evidence(**found, painted=[source, source | {"image": "other.ome.zarr"}])
        room = math.prod(
            (n - 1) // k + 1 for n, k in zip(counts(shape, side), steps(shape, side), strict=True)
        )
        boxes = min(boxes, room)
        at = {"boxes": boxes, "box_nm": NM * side, "weights": weights, "name": "next"}
        plans = [
            cf.suggest(evidence, work=f"{folder}/{w}", block=b, **at) for w, b in (("a", None), ("b", block))
        ]
        apart = plans[0].stages[1].params["apart_nm"]
        starts, score, criteria = whole(
            found, painted, side, boxes, apart, list(weights.values()), instances, known
        )
        if len(starts) < boxes:
            with pytest.raises(InputError, match="find room"):
                done(plans[0])
            return
        got, _ = (rows_of(plan) for plan in plans)
        assert Path(plans[0].output.path).read_bytes() == Path(plans[1].output.path).read_bytes()
        labels = [cf.open_volume(f"{folder}/{w}/results.ome.zarr/labels/next").read() for w in "ab"]
    np.testing.assert_array_equal(np.array([got[f"{a}_start"] for a in "zyx"]).T, starts)
    np.testing.assert_allclose(got["score"], score)
    np.testing.assert_allclose(
        np.array([got[k] for k in ("uncertainty", "disagreement", "distance_nm")]).T, criteria
    )
    empty = np.full(shape, 255, np.uint8)
    for start, stop in zip(starts, np.array([got[f"{a}_stop"] for a in "zyx"]).T, strict=True):
        empty[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = 0
    for array in labels:
        np.testing.assert_array_equal(array, empty)


def test_one_example_by_hand(tmp_path):
    """Voxels of (4, 8, 16) nm, boxes of one slice of 2 x 2 voxels; a slice is painted."""
    unsure = np.zeros((3, 4, 4), np.uint8)
    unsure[2, 1:3, 1:3] = [[255, 255], [51, 51]]
    unsure[1, 0, 0] = 102
    raw = write(tmp_path, grey((3, 4, 4), 0), "raw")
    labels = write(tmp_path, np.zeros((3, 4, 4), np.uint8))
    source = {"image": raw.url, "labels": labels.url, "slices": [0]}
    evidence = cf.Evidence(raw, [write(tmp_path, unsure, "u")], labels=[labels], painted=[source])
    at = {"box_nm": (4, 16, 32), "boxes": 2, "apart_nm": 0, "name": "next", "work": tmp_path / "work"}
    # Side by side: 3 x 2 x 2 boxes of which those of slice 0 are painted.
    got = rows_of(cf.suggest(evidence, weights={"distance": 0}, **at))
    assert got["uncertainty"] == [0.25, 0.25]
    assert [got[f"{a}_start"] for a in "zyx"] == [[2, 2], [0, 0], [0, 2]]
    assert [got[f"{a}_stop_nm"] for a in "zyx"] == [[12.0, 12.0], [16.0, 16.0], [32.0, 64.0]]
    assert got["why"][0].startswith("uncertainty 0.250, more than in ")
    at = at | {"work": tmp_path / "far", "boxes": 1, "apart_nm": None}
    got = rows_of(cf.suggest(evidence, weights={"uncertainty": 0}, **at))
    # Slice 2 begins one slice of 4 nm after the painted one ends.
    assert (got["distance_nm"], got["z_start"]) == ([4.0], [2])
    # 27 boxes, half a box apart: 9 in each slice, and 18 are nearer.
    assert got["why"] == ["4 nm from what is painted, farther than 84 % of all boxes"]
    assert got["score"] == [pytest.approx((18 + 8 / 2) / 26)]


def test_scores_speak_by_their_entropy(tmp_path):
    scores = np.zeros((2, 8, 8), np.uint8)
    scores[0, :4, :4], scores[1, 4:, 4:] = 127, 230
    raw = write(tmp_path, grey((2, 8, 8), 0), "raw")
    evidence = cf.Evidence(raw, scores=[write(tmp_path, scores, "score")])
    at = {"box_nm": NM * (1, 4, 4), "boxes": 2, "name": "next", "work": tmp_path / "work"}
    got = rows_of(cf.suggest(evidence, **at))
    assert [got[f"{a}_start"] for a in "zyx"] == [[0, 1], [0, 4], [0, 4]]
    share = 230 / 255
    entropy = -(share * np.log2(share) + (1 - share) * np.log2(1 - share))
    np.testing.assert_allclose(got["uncertainty"], [1, entropy], atol=2e-3)


def test_labels_with_a_number_that_nobody_painted_are_painted_elsewhere(tmp_path):
    raw = write(tmp_path, grey((4, 16, 16), 0), "raw")
    painted = np.full((4, 16, 16), 9, np.uint8)
    painted[1, 2:5, 3:7] = 0
    labels = write(tmp_path, painted, "painted", kind="label")
    evidence = cf.Evidence(raw, painted=[{"image": raw.url, "labels": labels.url, "ignore": 9}])
    for work, block in (("a", (4, 16, 16)), ("b", (2, 3, 5))):
        at = {"box_nm": NM * (2, 4, 4), "boxes": 1, "name": "next", "work": tmp_path / work}
        got = rows_of(cf.suggest(evidence, block=block, **at))
        assert [got[f"{a}_start"][0] for a in "zyx"] == [0, 12, 12]
        # From voxel (1, 4, 6) to (2, 12, 12): 7 rows of 8 nm and 5 columns of 16 nm between them.
        assert got["distance_nm"] == [pytest.approx(np.hypot(7 * 8, 5 * 16))]


def test_boxes_lie_where_a_run_looked(tmp_path):
    """A run that segmented a part of the volume: what lies outside is 0 and means nothing."""
    region = Box((1, 2, 4), (4, 12, 14))
    arrays = {"s": semantic((5, 16, 16), 0), "s-uncertainty": grey((5, 16, 16), 0)}
    classes, unsure = (replace(write(tmp_path, a, name), region=region) for name, a in arrays.items())
    for volume in (classes, unsure):
        finish(volume)
    raw = write(tmp_path, grey((5, 16, 16), 1), "raw")
    kept = [("raw", raw), ("semantic", classes), ("score", unsure)]
    listed = Plan((), tmp_path, raw, tuple(Product(kind, v.name, v) for kind, v in kept))
    write_products(listed)
    at = {"box_nm": NM * (1, 4, 4), "boxes": 6, "apart_nm": 0, "name": "next", "work": tmp_path / "work"}
    plan = cf.suggest(Evidence.of_run(tmp_path), **at)
    got = rows_of(plan)
    for a, axis in enumerate("zyx"):
        assert min(got[f"{axis}_start"]) >= region.start[a]
        assert max(got[f"{axis}_stop"]) <= region.stop[a]
    empty = cf.open_volume(tmp_path / "work/results.ome.zarr/labels/next").read()
    assert (empty == 0).sum() == 6 * 16


def seams_in(folder, work):
    """Instances whose blocks disagree, joined; and the lowest score of a seam with its place."""
    labels = components(semantic((16, 24, 24), 5, 1), 6).astype(np.uint32)
    source = write(folder, labels, "ids", kind="label")
    plan = cf.stitch(
        source, wobbling, halo_nm=32, params={"voxels": 1.5}, block=(8, 8, 8), name="cells", work=work
    )
    done(plan)
    return plan


def test_seams_that_disagree_are_looked_at(tmp_path):
    joined = seams_in(tmp_path, tmp_path / "work")
    raw = write(tmp_path, grey((16, 24, 24), 0), "raw")
    evidence = cf.Evidence(raw, seams=[joined.output])
    at = {"box_nm": NM * (4, 4, 4), "boxes": 3, "apart_nm": 60, "name": "next", "work": tmp_path / "work"}
    got = rows_of(cf.suggest(evidence, **at))
    seams = cf.read_table(tmp_path / "work/tables/cells-seams.parquet").to_pandas()
    worst = seams.score.min()
    assert got["seams"][0] == pytest.approx(1 - worst)
    places = seams[seams.score == worst][["z", "y", "x"]].to_numpy()
    box = [(got[f"{a}_start"][0], got[f"{a}_stop"][0]) for a in "zyx"]
    assert any(all(low <= p < high for p, (low, high) in zip(place, box, strict=True)) for place in places)
    assert got["why"][0] == f"the worst seam here has a score of {worst:.2f}"


def make(tmp_path):
    def planned(work):
        found = images(work.parent, (10, 12, 12), 7)
        at = {"box_nm": NM * (2, 4, 4), "boxes": 3, "block": (5, 6, 6), "name": "next"}
        return cf.suggest(cf.Evidence(**found), work=work, **at)

    return planned


@pytest.mark.parametrize(("stage", "at"), [("next/look", 3), ("next/labels", 2)])
def test_a_run_that_broke_goes_on(stage, at, tmp_path):
    resumed_equals_whole(make(tmp_path), tmp_path, stage, at)


def test_planning_writes_nothing_and_says_what_is_chosen_from(tmp_path):
    plan = make(tmp_path)(tmp_path / "work")
    assert "225 boxes of 2x4x4 voxels (8x32x64 nm), half a box apart; centres of chosen ones at least" in str(
        plan
    )
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("side", [(1, 1, 1), (1, 32, 32), (8, 1, 32)])
def test_a_block_needs_no_more_memory_than_is_planned(side, tmp_path):
    """Instances, of which faces are compared, are the dearest."""
    shape = (64, 160, 160)
    ids = write(tmp_path, np.zeros(shape, np.uint8), "ids", kind="label")
    raw, unsure = (write(tmp_path, np.zeros(shape, np.uint8), n) for n in ("raw", "unsure"))
    evidence = cf.Evidence(raw, [unsure], labels=[ids, ids, ids])
    at = {"box_nm": NM * side, "block": shape, "name": "next", "work": tmp_path / "work"}
    stage = cf.suggest(evidence, boxes=1, **at).stages[0]
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 9, shape, dtype=np.uint8) for _ in range(4)]
    # Compiled functions are loaded once, and are no block's.
    stage.function(stage.grid[0], *arrays, **stage.params)
    peak = most_resident(lambda: stage.function(stage.grid[0], *arrays, **stage.params))
    assert peak <= stage.working * math.prod(shape) + (1 << 20)


def paint(folder, row, value=1):
    """As a viewer paints: into the stored array."""
    array = zarr.open_array(f"{folder}/results.ome.zarr/labels/next/0", mode="r+")
    array[tuple(slice(int(row[f"{a}_start"]), int(row[f"{a}_stop"])) for a in "zyx")] = value


def test_what_someone_painted_is_not_emptied(tmp_path):
    found = images(tmp_path, (10, 12, 12), 7)
    evidence, work = cf.Evidence(**found), tmp_path / "work"
    at = {"box_nm": NM * (2, 4, 4), "boxes": 3, "name": "next", "work": work}
    plan = cf.suggest(evidence, **at)
    done(plan)
    with (work / "tables/next.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [r["rank"] for r in rows] == ["1", "2", "3"]
    paint(work, rows[1])
    before = contents(work / "results.ome.zarr")
    # Nothing is to be done: the labels are those of the person.
    done(cf.suggest(evidence, **at))
    other = cf.suggest(evidence, **at, weights={"uncertainty": 0})
    with pytest.raises(
        OutputError, match=r"box 2 of .*/labels/next is painted.* give the new suggestions another name"
    ):
        cf.run(other, progress=False, redo=True)
    assert contents(work / "results.ome.zarr") == before


def test_the_sheet_is_an_entry_of_a_training_file(tmp_path):
    found = images(tmp_path, (10, 12, 12), 7)
    plan = cf.suggest(cf.Evidence(**found), boxes=2, box_nm=NM * (2, 4, 4), name="next", work=tmp_path / "w")
    got = rows_of(plan)
    (source,) = yaml.safe_load((tmp_path / "w/next.yaml").read_text())["sources"]
    assert source["image"] == found["raw"].url
    assert source["ignore"] == 255
    corners = [[[got[f"{a}_{end}_nm"][i] for a in "zyx"] for end in ("start", "stop")] for i in range(2)]
    assert source["boxes_nm"] == corners
    labels = cf.open_volume(source["labels"])
    assert labels.classes == found["labels"][0].classes
    assert labels.levels == 1


def test_a_class_of_the_last_number_gets_wider_labels(tmp_path):
    raw = write(tmp_path, grey((2, 8, 8), 0), "raw")
    a, b = (write(tmp_path, grey((2, 8, 8), i), f"l{i}", kind="label", classes=[("er", 255)]) for i in (1, 2))
    plan = cf.suggest(
        cf.Evidence(raw, labels=[a, b]), boxes=1, box_nm=NM * (1, 4, 4), name="next", work=tmp_path / "w"
    )
    done(plan)
    labels = cf.open_volume(tmp_path / "w/results.ome.zarr/labels/next")
    assert (labels.dtype, np.unique(labels.read()).tolist()) == ("uint16", [0, 65535])
