"""Scores against a truth, by block, equal those of the whole arrays."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from strategies import blocks, components, done, resumed_equals_whole, seeds, semantic, shapes, table, write

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError


def ratio(part, of):
    return part / of if of else np.nan


@settings(max_examples=15, deadline=None)
@given(shape=shapes, seed=seeds, block=blocks)
@example(shape=(11, 15, 8), seed=2, block=(5, 7, 3))
def test_class_scores_do_not_depend_on_the_grid(shape, seed, block):
    found, truth = semantic(shape, seed), semantic(shape, seed + 1)
    # The same classes by other numbers: names count.
    other = (("mitochondrion", 1), ("er", 2), ("golgi", 3))
    with tempfile.TemporaryDirectory() as folder:
        a, b = write(folder, found), write(folder, truth, "truth", kind="label", classes=other)
        plans = [
            cf.evaluate(a, b, name="e", work=f"{folder}/{w}", block=c) for w, c in (("a", None), ("b", block))
        ]
        got, _ = (table(p) for p in plans)
        assert Path(plans[0].output.path).read_bytes() == Path(plans[1].output.path).read_bytes()
    # Classes that one of them does not know are compared with nothing.
    assert got.pop("class") == ["er", "mitochondrion", "lipid", "golgi"]
    wanted = []
    for n, m in ((1, 2), (2, 1), (3, -1), (-1, 3)):
        a, b, both = (found == n).sum(), (truth == m).sum(), ((found == n) & (truth == m)).sum()
        shares = [ratio(2 * both, a + b), ratio(both, a + b - both), ratio(both, a), ratio(both, b)]
        wanted.append([*shares, ratio(b - both, b), ratio(a - both, a), a, b])
    np.testing.assert_allclose(np.array(list(got.values()), float).T, wanted)


@settings(max_examples=15, deadline=None)
@given(shape=shapes, seed=seeds, block=blocks)
def test_instance_scores_do_not_depend_on_the_grid(shape, seed, block):
    truth = components(semantic(shape, seed, 1), 6)
    rng = np.random.default_rng(seed)
    found = np.where(rng.random(shape) < 0.8, truth, 0)
    with tempfile.TemporaryDirectory() as folder:
        a = write(folder, found.astype(np.uint32), "found", kind="label")
        b = write(folder, truth.astype(np.uint16), "truth", kind="label")
        got = table(cf.evaluate(a, b, iou=0.6, name="e", work=f"{folder}/work", block=block))
    ious = [
        ((found == i) & (truth == i)).sum() / ((found == i) | (truth == i)).sum()
        for i in np.unique(truth[truth > 0])
    ]
    matched = [i for i in ious if i >= 0.6]
    n, m = len(np.unique(found[found > 0])), len(ious)
    assert (got["matched"], got["found"], got["truth"]) == ([len(matched)], [n], [m])
    np.testing.assert_allclose(got["f1"], [ratio(2 * len(matched), n + m)])
    np.testing.assert_allclose(got["mean_iou"], [np.mean(matched) if matched else np.nan])


def test_hand_worked_scores(tmp_path):
    """3 of 4 true ER voxels found, and 1 false one: Dice 6/8, IoU 3/5."""
    truth, found = np.zeros((2, 2, 4), np.uint8), np.zeros((2, 2, 4), np.uint8)
    truth[0, 0], found[0, 0, :3], found[1, 1, 3] = 1, 1, 1
    at = {"work": tmp_path / "work", "block": (2, 2, 3)}
    a, b = (
        write(tmp_path, v, n, kind="label", classes=[("er", 1)])
        for v, n in ((found, "found"), (truth, "truth"))
    )
    assert table(cf.evaluate(a, b, name="classes", **at)) == {
        "class": ["er"],
        "dice": [0.75],
        "iou": [0.6],
        "precision": [0.75],
        "recall": [0.75],
        "under_segmentation": [0.25],
        "over_segmentation": [0.25],
        "voxels_found": [4],
        "voxels_truth": [4],
    }
    # As instances: 1 against 1, IoU 0.6.
    got = table(cf.evaluate(a, b, iou=0.5, name="instances", **at))
    assert (got["matched"], got["f1"], got["mean_iou"]) == ([1], [1.0], [0.6])
    assert table(cf.evaluate(a, b, iou=0.61, name="strict", **at))["matched"] == [0]


def test_volumes_without_objects_have_scores_that_are_not_numbers(tmp_path):
    empty = write(tmp_path, np.zeros((1, 4, 4), np.uint8))
    found = cf.read_table(done(cf.evaluate(empty, empty, name="e", work=tmp_path / "work")))
    assert found.schema.field("class").type == pa.string()
    assert np.isnan(found["dice"].to_numpy()).all()
    got = table(cf.evaluate(empty, empty, iou=0.5, name="i", work=tmp_path / "work"))
    assert (got["found"], got["truth"]) == ([0], [0])


def test_a_broken_run_goes_on_to_the_same_bytes(tmp_path):
    volume = write(tmp_path, semantic((9, 9, 9), 3))

    def plan(work):
        return cf.evaluate(volume, volume, name="e", work=work, block=(3, 9, 9))

    resumed_equals_whole(plan, tmp_path, "e/overlap", 1)


def test_what_cannot_be_compared_is_refused(tmp_path, listing):
    at = {"name": "e", "work": tmp_path / "work"}
    classes = write(tmp_path, semantic((3, 4, 5), 0))
    smaller = write(tmp_path, semantic((3, 4, 4), 0), "smaller", kind="label")
    others = write(tmp_path, semantic((3, 4, 5), 0), "others", kind="label", classes=[("golgi", 1)])
    floats = write(tmp_path, np.ones((3, 4, 5), np.float32), "floats")
    before = listing()
    with pytest.raises(InputError, match=r"\(3, 4, 5\) voxels and .* \(3, 4, 4\): evaluate needs both"):
        cf.evaluate(classes, smaller, **at)
    with pytest.raises(InputError, match=r"no class name in common: .*'er': 1.* and .*'golgi': 1"):
        cf.evaluate(classes, others, **at)
    with pytest.raises(InputError, match="holds float32 voxels; classes and instances must be integers"):
        cf.evaluate(classes, floats, **at)
    with pytest.raises(ConfigError, match=r"iou lies between 0\.5 .* and 1, got 0\.3"):
        cf.evaluate(classes, classes, iou=0.3, **at)
    assert listing() == before
