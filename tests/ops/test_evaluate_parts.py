"""Comparisons of some slices, of what was looked at, of objects slice by slice; nothing is dropped."""

from __future__ import annotations

import dataclasses
import tempfile

import numpy as np
import pytest
from hypothesis import given, settings
from skimage.metrics import variation_of_information
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score
from strategies import CLASSES, blocks, components, done, most_resident, seeds, semantic, shapes, table, write

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.geometry import Box


def further(plan, end):
    return cf.read_table(plan.work / "tables" / f"e-{end}.parquet").to_pydict()


@settings(max_examples=8, deadline=None)
@given(shape=shapes, seed=seeds, block=blocks)
def test_scores_are_those_of_other_packages(shape, seed, block):
    found, truth = semantic(shape, seed), semantic(shape, seed + 1)
    with tempfile.TemporaryDirectory() as folder:
        a, b = write(folder, found), write(folder, truth, "truth", kind="label", classes=CLASSES)
        got = table(cf.evaluate(a, b, name="e", work=f"{folder}/w", block=block))
        ids = [
            write(folder, components(v, 26).astype(np.uint32), n, kind="label")
            for v, n in ((found, "x"), (truth, "y"))
        ]
        parts = table(cf.evaluate(*ids, iou=0.5, name="i", work=f"{folder}/w", block=block))
        arrays = [v.read() for v in ids]
    for i, (_, number) in enumerate(CLASSES):
        mine, there = (found == number).ravel(), (truth == number).ravel()
        references = {
            "dice": (f1_score, mine | there),
            "iou": (jaccard_score, mine | there),
            "precision": (precision_score, mine),
            "recall": (recall_score, there),
        }
        for key, (reference, needed) in references.items():
            wanted = reference(there, mine, zero_division=0) if needed.any() else np.nan
            np.testing.assert_allclose(got[key][i], wanted)
    inside = arrays[1] > 0
    if inside.any():
        # scikit-image gives (false splits, false merges) as H(found | true), H(true | found), in bits.
        split, merge = variation_of_information(arrays[1][inside], arrays[0][inside])
        assert parts["vi_split"][0] == pytest.approx(split, abs=1e-9)
        assert parts["vi_merge"][0] == pytest.approx(merge, abs=1e-9)


@settings(max_examples=6, deadline=None)
@given(shape=shapes, seed=seeds, block=blocks)
def test_some_slices_are_compared_like_an_array_of_these(shape, seed, block):
    found, truth = semantic(shape, seed), semantic(shape, seed + 1)
    planes = sorted(np.random.default_rng(seed).choice(shape[0], min(2, shape[0]), replace=False).tolist())
    with tempfile.TemporaryDirectory() as folder:
        a, b = write(folder, found), write(folder, truth, "truth", kind="label", classes=CLASSES)
        plan = cf.evaluate(a, b, slices=planes, per_slice=True, name="e", work=f"{folder}/w", block=block)
        got, rows = table(plan), further(plan, "slices")
        c, d = (
            write(folder, np.ascontiguousarray(v[planes]), n, kind="label", classes=CLASSES)
            for v, n in ((found, "some"), (truth, "true-some"))
        )
        wanted = table(cf.evaluate(c, d, name="s", work=f"{folder}/w"))
    np.testing.assert_equal(got, wanted)
    assert sorted(set(rows["z"])) == planes


@settings(max_examples=6, deadline=None)
@given(shape=shapes, seed=seeds, block=blocks)
def test_objects_of_slices_are_those_of_the_slices_alone(shape, seed, block):
    truth = components(semantic(shape, seed, 1), 26)
    found = np.where(np.random.default_rng(seed).random(shape) < 0.9, truth, 0)
    with tempfile.TemporaryDirectory() as folder:
        a, b = (
            write(folder, v.astype(np.uint32), n, kind="label")
            for v, n in ((found, "found"), (truth, "truth"))
        )
        plan = cf.evaluate(a, b, iou=[0.5, 0.9], per_slice=True, name="e", work=f"{folder}/w", block=block)
        done(plan)
        rows, objects, worst = (further(plan, end) for end in ("slices", "objects", "worst"))
    assert rows["z"] == np.repeat(np.arange(shape[0]), 2).tolist()
    for z in range(shape[0]):
        labels = np.unique(truth[z][truth[z] > 0])
        ious = [(found[z] == i).sum() / (truth[z] == i).sum() for i in labels]
        assert rows["matched"][2 * z : 2 * z + 2] == [sum(i > 0.5 for i in ious), sum(i >= 0.9 for i in ious)]
    for label, voxels, shared in zip(objects["label"], objects["voxels"], objects["shared"], strict=True):
        assert shared == (found == label).sum()
        assert voxels in ((found == label).sum(), (truth == label).sum())
    # Voxels of objects that match are right where both have them, others are wrong on their side.
    matched = {i for i in np.unique(truth[truth > 0]) if (found == i).sum() > 0.5 * (truth == i).sum()}
    right = (found == truth) & np.isin(truth, list(matched))
    for z, n, more, less in zip(
        worst["z"], worst["right"], worst["found_only"], worst["truth_only"], strict=True
    ):
        wanted = (right[z].sum(), ((found[z] > 0) & ~right[z]).sum(), ((truth[z] > 0) & ~right[z]).sum())
        assert (n, more, less) == wanted


def test_nothing_that_is_there_is_dropped(tmp_path):
    """Classes of one side, and numbers that no class has, are rows of all tables."""
    found, truth = (np.zeros((2, 4, 4), np.uint8) for _ in range(2))
    found[0, 0], found[0, 1], found[1, 0, :2] = 1, 2, 9
    truth[0, 0], truth[1, 3] = 1, 3
    a = write(tmp_path, found, "a", kind="label", classes=[("er", 1), ("lipid", 2)])
    b = write(tmp_path, truth, "b", kind="label", classes=[("er", 1), ("golgi", 3)])
    plan = cf.evaluate(a, b, per_slice=True, surfaces_nm=(8, 100), name="e", work=tmp_path / "w")
    got = table(plan)
    assert got["class"] == ["er", "lipid", "golgi", "(unnamed)"]
    assert (got["voxels_found"], got["voxels_truth"]) == ([4, 4, 0, 2], [4, 0, 4, 0])
    assert got["dice"] == [1, 0, 0, 0]
    surfaces = further(plan, "surfaces")
    assert surfaces["class"] == ["er", "lipid", "golgi"]
    assert surfaces["boundary_f1"][0] == 1
    assert surfaces["beyond_cap"] == [0, 1, 1]
    assert further(plan, "slices")["class"] == 2 * got["class"]
    assert further(plan, "worst")["class"] == ["lipid", "golgi", "(unnamed)"]


def test_only_what_was_looked_at_is_compared(tmp_path):
    truth = np.ones((4, 8, 8), np.uint8)
    a = write(tmp_path, truth, "a", kind="label", classes=[("er", 1)])
    part = dataclasses.replace(a, region=Box((0, 0, 0), (4, 8, 4)))
    b = write(tmp_path, truth, "b", kind="label", classes=[("er", 1)])
    assert table(cf.evaluate(part, b, name="e", work=tmp_path / "w"))["voxels_truth"] == [128]
    low = dataclasses.replace(a, region=Box((0, 0, 0), (2, 8, 8)))
    with pytest.raises(InputError, match=r"segmented in .* only, and none of the slices .3. lies there"):
        cf.evaluate(low, b, slices=[3], name="f", work=tmp_path / "w")


def test_numbers_of_classes_are_for_volumes_that_state_none(tmp_path):
    array = semantic((3, 5, 5), 1)
    a, b = (cf.open_volume(write(tmp_path, array, n, kind="label").url) for n in ("a", "b"))
    got = table(cf.evaluate(a, b, classes={"er": 1, "rest": 2}, name="e", work=tmp_path / "w"))
    assert got["class"] == ["er", "rest", "(unnamed)"]
    assert got["dice"] == [1, 1, 1]


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"slices": []}, ConfigError, "slices are whole numbers of z slices"),
        ({"slices": [3]}, ConfigError, "there is no slice 3 of .* it has 0 to 2"),
        ({"classes": {"er": 1, "mito": 1}}, ConfigError, "classes have numbers of their own"),
        ({"ignored": 3}, ConfigError, "evaluate has no option .'ignored'.; there are .'ignore'"),
    ],
)
def test_parts_that_make_no_sense_are_refused(given, error, says, tmp_path, listing):
    volume = write(tmp_path, semantic((3, 4, 5), 0))
    before = listing()
    with pytest.raises(error, match=says):
        cf.evaluate(volume, volume, name="e", work=tmp_path / "work", **given)
    assert listing() == before


def test_a_plan_fits_its_estimate(tmp_path):
    shape = (24, 256, 256)
    found, truth = semantic(shape, 1), semantic(shape, 2)
    chunks = {"chunks": (8, 128, 128)}
    a, b = (
        write(tmp_path, found, **chunks),
        write(tmp_path, truth, "b", kind="label", classes=CLASSES, **chunks),
    )
    plan = cf.evaluate(
        a,
        b,
        ignore=3,
        per_slice=True,
        surfaces_nm=(8, 40),
        name="e",
        work=tmp_path / "w",
        block=(24, 256, 256),
    )
    assert most_resident(lambda: cf.run(plan, progress=False, redo=True)) <= plan.task_bytes
