"""Textures are those of PyRadiomics on float64, object by object, and do not depend on the grid."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import example, given, settings
from hypothesis import strategies as st
from radiomics_reference import textures
from scipy import ndimage
from solids import grey
from strategies import (
    blocks,
    components,
    done,
    resumed_equals_whole,
    seeds,
    semantic,
    shapes,
    table,
    write,
)

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.kernels.features.groups import FARTHEST, Settings
from chunkflow_liver.kernels.intensity.level_loops import levels_of
from chunkflow_liver.kernels.intensity.levels import bins, gray_levels, last_bin
from chunkflow_liver.store.volume import Volume

CLASSES = ["glcm", "gldm", "glrlm", "glszm", "ngtdm"]
SETTINGS: list[dict[str, Any]] = [
    {},
    {"binWidth": 7.3, "distances": [1, 2], "symmetricalGLCM": False},
    {"binCount": 16, "weightingNorm": "euclidean", "gldm_a": 1},
    {"weightingNorm": "manhattan"},
    {"weightingNorm": "infinity", "symmetricalGLCM": False},
    {"binCount": 4, "weightingNorm": "no_weighting"},
]
ROUNDING = {"glcm_Imc2", "glcm_MCC"}
"""Where PyRadiomics leaves a direction out because a rounding error is negative."""


def measured(labels, raw, folder, *, block=None, features=CLASSES, options=None):
    """The table of textures, by the operation."""
    instances, image = write(folder, labels, "cells", kind="label"), write(folder, raw, "raw")
    at = {"name": "cell-table", "work": f"{folder}/work", "block": block}
    return cf.measure(instances, raw=image, features=features, settings=options or {}, **at)


def compare(found, labels, raw, options, loose=frozenset()):
    for row, label in enumerate(found["label"]):
        expected = textures(raw, labels == label, options)
        assert {k for k in found if "_" in k} == set(expected)
        for name, value in expected.items():
            if name not in loose:
                assert found[name][row] == pytest.approx(value, rel=1e-6, abs=1e-9, nan_ok=True), (
                    name,
                    label,
                )


@pytest.mark.parametrize("options", SETTINGS, ids=str)
def test_textures_are_those_of_pyradiomics(options, tmp_path):
    shape = (20, 26, 30)
    noise = ndimage.gaussian_filter(np.random.default_rng(5).normal(size=shape), 2.5)
    labels, _ = ndimage.label(noise > 0.03)
    # Ids that no float holds.
    labels = labels.astype(np.uint64) + (labels > 0) * np.uint64(2**60)
    raw = grey(shape, 3)
    found = table(measured(labels, raw, tmp_path, block=(12, 14, 16), options=options))
    assert len(found["label"]) > 3
    assert min(found["label"]) > 2**60
    compare(found, labels, raw, options)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32])
def test_wide_and_signed_and_real_intensities_are_binned_alike(dtype, tmp_path):
    rng = np.random.default_rng(2)
    labels = np.zeros((6, 8, 9), np.uint16)
    labels[1:4, 1:7, 1:5], labels[2:6, 2:8, 5:9] = 3, 7
    raw = (rng.normal(300, 90, labels.shape) - (400 if dtype is not np.uint16 else 0)).astype(dtype)
    for options in ({"binWidth": 0.3 * 64}, {"binCount": 9}):
        with tempfile.TemporaryDirectory() as folder:
            found = table(measured(labels, raw, folder, block=(4, 8, 5), options=options))
        compare(found, labels, raw, options)


def corner_cases():
    """Objects of odd shape, one per plane of 8 voxels, with a texture that is not symmetric."""
    parts = {name: np.zeros((7, 8, 9), bool) for name in CORNERS}
    parts["line"][3, 3, 1:8] = True
    parts["diagonal"][[1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4]] = True
    parts["plane"][3, 1:7, 1:8] = True
    parts["hollow"][1:6, 1:7, 1:8] = True
    parts["hollow"][3, 3:5, 3:6] = False
    parts["border"][:, 4:, 5:] = True
    parts["holes"][1:6, 1:7, 1:8] = np.indices((5, 6, 7)).sum(0) % 3 > 0
    parts["pieces"][0:2, 0:3, 0:3] = parts["pieces"][5:7, 0:3, 0:3] = True
    parts["flat"][1:5, 1:5, 1:5] = True
    return parts


CORNERS = ("line", "diagonal", "plane", "hollow", "border", "holes", "pieces", "flat")


@pytest.mark.parametrize("options", [{}, {"binCount": 5}], ids=str)
@pytest.mark.parametrize("case", CORNERS)
def test_corner_cases_are_those_of_pyradiomics(case, options, tmp_path):
    mask = corner_cases()[case]
    raw = grey(mask.shape, 11)
    if case == "flat":
        raw[mask] = 77
    found = table(measured(mask.astype(np.uint8), raw, tmp_path, block=(3, 4, 5), options=options))
    # A direction with few pairs has levels that say nothing of each other: see ROUNDING.
    compare(found, mask, raw, options, ROUNDING if case in ("line", "diagonal", "plane", "pieces") else set())


@pytest.mark.parametrize(
    "name",
    [
        "mito_instance_fib1-1-0-3",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in (
                "mito_instance_fib1-0-0-0",
                "mito_instance_fib1-3-2-1",
                "fv_instance_fib1-0-0-0",
                "fv_instance_fib1-3-2-1",
            )
        ),
    ],
)
def test_real_instances_have_the_textures_of_pyradiomics(name, em_data, tmp_path):
    """Shapes of real organelles; their images are not published, so the texture is smooth noise."""
    labels = tifffile.imread(em_data / f"urocell_labels/{name}.tif")
    raw = grey(labels.shape, 1)
    found = table(measured(labels, raw, tmp_path, block=(128, 128, 128)))
    boxes = ndimage.find_objects(labels)
    for row, label in enumerate(found["label"]):
        box = boxes[label - 1]
        expected = textures(raw[box], labels[box] == label, {})
        for feature, value in expected.items():
            assert found[feature][row] == pytest.approx(value, rel=1e-6, abs=1e-9, nan_ok=True), (
                feature,
                label,
            )


def test_one_voxel_has_no_pairs_and_no_runs(tmp_path):
    labels = np.zeros((3, 4, 5), np.uint8)
    labels[1, 2, 3] = 9
    found = {k: v[0] for k, v in table(measured(labels, grey(labels.shape, 1), tmp_path)).items()}
    missing = {k for k, v in found.items() if isinstance(v, float) and np.isnan(v)}
    assert missing == {k for k in found if k.startswith(("glcm_", "glrlm_"))}
    assert found["glszm_ZonePercentage"] == found["gldm_SmallDependenceEmphasis"] == 1
    assert (found["ngtdm_Coarseness"], found["ngtdm_Contrast"]) == (1e6, 0)


def test_a_direction_of_independent_levels_adds_nothing(tmp_path):
    """Two levels in a checkerboard of columns: along z they are equal, and across known exactly."""
    labels = np.ones((4, 4, 4), np.uint8)
    raw = np.zeros(labels.shape, np.uint8)
    raw[:, ::2, ::2] = raw[:, 1::2, 1::2] = 100
    found = table(measured(labels, raw, tmp_path, features=["glcm"]))
    expected = dense_mcc(raw > 0)
    assert found["glcm_MCC"][0] == pytest.approx(expected, abs=1e-12)


def dense_mcc(levels):
    """Mean over 13 directions of the second singular value, from plain loops over voxels."""
    values = []
    steps = [(z, y, x) for z in (-1, 0, 1) for y in (-1, 0, 1) for x in (-1, 0, 1) if (z, y, x) > (0, 0, 0)]
    for step in steps:
        p = np.zeros((2, 2))
        for at in np.ndindex(levels.shape):
            to = tuple(a + s for a, s in zip(at, step, strict=True))
            if all(0 <= t < n for t, n in zip(to, levels.shape, strict=True)):
                p[int(levels[at]), int(levels[to])] += 1
                p[int(levels[to]), int(levels[at])] += 1
        p /= p.sum()
        values.append(np.linalg.svd(p / np.sqrt(np.outer(p.sum(1), p.sum(0))))[1][1])
    return np.mean(values)


def test_a_rod_worked_by_hand(tmp_path):
    """Four voxels along x with levels 1, 1, 2, 4, cut between the second and the third."""
    labels = np.zeros((3, 3, 8), np.uint8)
    labels[1, 1, 2:6] = 5
    raw = np.zeros(labels.shape, np.uint16)
    raw[1, 1, 2:6] = [100, 120, 140, 175]
    found = {k: v[0] for k, v in table(measured(labels, raw, tmp_path, block=(3, 3, 4))).items()}
    # Pairs (1, 1), (1, 2), (2, 4), each in both orders: differences 0, 1, 2.
    assert found["glcm_Contrast"] == pytest.approx((0 + 1 + 4) / 3)
    assert found["glcm_JointAverage"] == pytest.approx((1 + 1 + 1 + 2 + 2 + 4) / 6)
    # One voxel pair is equal: two voxels with one dependent neighbour, two with none.
    assert found["gldm_LargeDependenceEmphasis"] == pytest.approx((4 + 4 + 1 + 1) / 4)
    # Runs of 2, 1 and 1 along x; no other direction meets the rod twice.
    assert found["glrlm_LongRunEmphasis"] == pytest.approx((4 + 1 + 1) / 3)
    assert found["glrlm_RunPercentage"] == pytest.approx(3 / 4)
    assert found["glszm_ZonePercentage"] == pytest.approx(3 / 4)
    # s_1 = |1 - 1| + |1 - 1.5|, s_2 = |2 - 2.5|, s_4 = |4 - 2|; p = 1/2, 1/4, 1/4.
    assert found["ngtdm_Coarseness"] == pytest.approx(1 / (0.5 / 2 + 0.5 / 4 + 2 / 4))


@settings(max_examples=12, deadline=None)
@given(
    shape=shapes,
    seed=seeds,
    block=blocks,
    options=st.sampled_from([{}, {"distances": [1, 2], "binCount": 6}, {"weightingNorm": "euclidean"}]),
)
@example(shape=(9, 9, 9), seed=4, block=(4, 5, 3), options={"binWidth": 3})
def test_the_table_does_not_depend_on_the_grid(shape, seed, block, options):
    labels, raw = components(semantic(shape, seed, 1), 26).astype(np.uint32), grey(shape, seed)
    got = []
    for cut in (None, block):
        with tempfile.TemporaryDirectory() as folder:
            plan = measured(labels, raw, folder, block=cut, options=options)
            done(plan)
            got.append(Path(plan.output.path).read_bytes())
    assert got[0] == got[1]


def test_many_levels_are_counted_by_sorting_to_the_same_numbers(tmp_path):
    """A table of all possible pairs of 300 levels would be larger than the data."""
    labels = np.zeros((6, 7, 8), np.uint8)
    labels[:5, :6, :7] = 1
    raw = np.random.default_rng(0).integers(0, 300, labels.shape, dtype=np.uint16)
    options = {"binWidth": 1}
    found = table(measured(labels, raw, tmp_path, block=(3, 7, 8), options=options))
    compare(found, labels, raw, options)


@pytest.mark.parametrize("options", [{"bin_width": 0.3}, {"bin_width": 25}, {"bin_count": 7}], ids=str)
def test_levels_of_the_loop_are_those_of_the_array_operations(options):
    """Edges of bins are no floats: values on them and beside them fall where the edges themselves say."""
    chosen = Settings(**options)
    rng = np.random.default_rng(6)
    value = rng.integers(-40, 60, 900) * np.repeat([0.3, 0.1, 1.0], 300)
    value += rng.choice([0, 1e-15, -1e-15], 900)
    begin = np.array([0, 300, 600, 900])
    low, high = (reduce.reduceat(value, begin[:-1]) for reduce in (np.minimum, np.maximum))
    start, width = bins(low, high, chosen)
    level = np.empty(900, np.uint16)
    levels_of(value, begin, start, width, last_bin(chosen), level)
    of = np.repeat(np.arange(3), 300)
    np.testing.assert_array_equal(level, gray_levels(value, start[of], width[of], chosen))


def test_a_broken_run_goes_on_to_the_same_bytes(tmp_path):
    array = semantic((9, 9, 9), 3)
    classes, raw = write(tmp_path, array), write(tmp_path, grey(array.shape, 2), "raw")

    def plan(work):
        at = {"work": work, "block": (3, 9, 9)}
        cells = cf.label(classes, name="cells", **at)
        return cells + cf.measure(cells.output, raw=raw, features=["glcm", "ngtdm"], name="t", **at)

    resumed_equals_whole(plan, tmp_path, "t/features", 1)


def test_planning_reads_no_voxels(tmp_path, monkeypatch):
    labels = np.ones((4, 4, 4), np.uint8)
    monkeypatch.setattr(Volume, "read", lambda *_: pytest.fail("a plan read voxels"))
    plan = measured(labels, grey(labels.shape, 0), tmp_path, options={"distances": [1, 3]})
    (counting,) = (s for s in plan.maps if s.name == "cell-table/features")
    assert counting.grid.low == counting.grid.high == (3, 3, 3)


def test_what_cannot_be_described_is_refused(tmp_path):
    labels = np.ones((4, 5, 6), np.uint8)
    cells = write(tmp_path, labels, "cells", kind="label")
    at = {"name": "t", "work": tmp_path / "work", "raw": write(tmp_path, labels, "raw")}
    for options, says in (
        ({"distances": [0]}, rf"distances must be different numbers from 1 to {FARTHEST}, got \[0\]"),
        ({"weightingNorm": "cosine"}, "no weighting_norm 'cosine'; there are"),
        ({"gldm_a": -1}, "gldm_a must be 0 or more, got -1"),
        ({"binwidths": 3}, r"no feature settings \['binwidths'\]"),
    ):
        with pytest.raises(ConfigError, match=says):
            cf.measure(cells, features=["glcm"], settings=options, **at)
    with pytest.raises(ConfigError, match=r"features \['glcm'\] measure intensities: give the image"):
        cf.measure(cells, features=["glcm"], **at | {"raw": None})
    raw = np.zeros(labels.shape, np.float32)
    raw[0, 0, 0] = np.nan
    with pytest.raises(InputError, match="object 1 holds intensities that are not finite"):
        done(measured(labels, raw, tmp_path / "nan", features=["glszm"]))
    raw[0, 0, 0] = 1e6
    with pytest.raises(
        InputError, match=r"object 1 has intensities from 0\.0 to 1000000\.0, 1000001 gray levels"
    ):
        done(measured(labels, raw, tmp_path / "many", features=["gldm"], options={"binWidth": 1}))
    with pytest.raises(InputError, match=r"4096 gray levels; at most 4095 are told apart: choose a smaller"):
        done(measured(labels, raw, tmp_path / "bins", features=["glcm"], options={"binCount": 4096}))
    done(measured(labels, raw, tmp_path / "most", features=["glcm"], options={"binCount": 4095}))
    raw[0, 0, 0] = 2.0**126
    with pytest.raises(InputError, match=r" 8.50705\d+e\+37 gray levels; at most 9007199254740992 are told"):
        done(measured(labels, raw, tmp_path / "wide", features=["firstorder"], options={"binWidth": 1}))
    with pytest.raises(InputError, match=r"intensities that are not finite \(or above 3.4e38\)"):
        done(measured(labels, raw.astype(np.float64) * 10, tmp_path / "huge", features=["basic"]))
