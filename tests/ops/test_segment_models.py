"""Levels, regions, kept scores, and several models at once; each against a whole-array computation."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from model_folders import write_model_folder
from nnunet_referees import em, float64_scores, predicted, referee_labels
from strategies import done, resumed_equals_whole, write

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError, SegmenterError
from chunkflow_liver.geometry import BlockGrid, Box
from chunkflow_liver.segmenters.nnunet.folder import read_model
from chunkflow_liver.segmenters.streaming import forward, predict

torch.set_num_threads(1)

SHAPE = (16, 32, 29)
VOXEL_NM = (4.0, 8.0, 16.0)
RESAMPLED = {
    "isotropic": {"voxel_nm": (8.0, 8.0, 8.0), "spacing": (9.5, 9.5, 9.5)},
    "finer": {"voxel_nm": (8.0, 8.0, 8.0), "spacing": (6.0, 7.0, 5.5)},
    "coarse z": {"voxel_nm": (40.0, 8.0, 8.0), "spacing": (30.0, 9.5, 9.0)},
    "coarse y, transposed": {
        "voxel_nm": (8.0, 40.0, 8.0), "spacing": (32.0, 10.0, 9.0), "transpose": (1, 0, 2),
    },
    "transposed": {"voxel_nm": (4.0, 8.0, 6.0), "spacing": (7.0, 5.0, 7.0), "transpose": (2, 0, 1)},
    "2d across x": {
        "voxel_nm": (8.0, 8.0, 8.0), "spacing": (10.0, 7.0), "window": (16, 16), "transpose": (2, 0, 1),
    },
    "twice as coarse": {"voxel_nm": (8.0, 8.0, 8.0), "spacing": (16.0, 16.0, 16.0)},
    "far coarser, coarse z": {"voxel_nm": (40.0, 8.0, 8.0), "spacing": (100.0, 20.0, 20.0)},
    "half as coarse": {"voxel_nm": (8.0, 8.0, 8.0), "spacing": (4.0, 4.0, 4.0)},
    "CT, 2 channels": {
        "voxel_nm": (8.0, 8.0, 8.0), "spacing": (9.0, 10.0, 7.0), "scheme": "CTNormalization", "channels": 2,
    },
}  # fmt: skip


@pytest.mark.parametrize("case", RESAMPLED)
def test_labels_are_those_of_nnunet_where_voxels_are_resampled(case, tmp_path):
    options = {"mirror": None, **RESAMPLED[case]}
    voxel_nm = options.pop("voxel_nm")
    folder, array = write_model_folder(tmp_path, **options), em(options.get("channels", 1))
    wanted = referee_labels(folder, array, spacing=voxel_nm)
    how = {"voxel_nm": voxel_nm, "planes_ahead": 3}
    got = predicted(read_model(folder), array, numerics="nnunet", **how)
    assert len(np.unique(wanted)) > 2
    # The resampled voxels differ by 1e-7 of their range, which a float16 sum may round to its next step.
    assert (got == wanted).mean() > 0.9995
    whole = predicted(read_model(folder), array, **how)
    assert (whole == wanted).mean() > 0.995
    blocks = [b.write for b in BlockGrid(Box.of(SHAPE), (7, 19, 17))]
    np.testing.assert_array_equal(predicted(read_model(folder), array, blocks=blocks, **how), whole)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Three models of the same classes: 3D, 2D, and another 3D of other windows and two folds."""
    kinds = ({}, {"window": (16, 16)}, {"window": (6, 10, 22), "folds": (0, 1)})
    return [
        write_model_folder(
            tmp_path_factory.mktemp("m"), mirror=None, seed=i, scheme="CTNormalization", **kind
        )
        for i, kind in enumerate(kinds)
    ]


@pytest.fixture
def raw(tmp_path):
    return write(tmp_path, em()[0], "raw", voxel_nm=VOXEL_NM)


def softmax(scores):
    shares = np.exp(scores - scores.max(0))
    return shares / shares.sum(0)


def plan(raw, folders, work, **options):
    return cf.segment(raw, model=folders, name="cells", work=work, spacing_units="voxel", **options)


@pytest.mark.parametrize("combine", ["mean", "vote"])
def test_several_models_are_combined_as_on_the_whole_array(combine, folders, raw, tmp_path):
    weights = (1.0, 2.0, 1.5)
    each = [softmax(float64_scores(read_model(f), em())) for f in folders]
    mean = sum(w * p for w, p in zip(weights, each, strict=True)) / sum(weights)
    if combine == "mean":
        wanted = mean.argmax(0)
    else:
        votes = [np.eye(3)[p.argmax(0)].transpose(3, 0, 1, 2) * w for w, p in zip(weights, each, strict=True)]
        wanted = sum(votes).argmax(0)
    models = [{"model": f, "weight": w} for f, w in zip(folders, weights, strict=True)]
    found = []
    for block in ((16, 32, 29), (5, 16, 29)):
        at = {"work": tmp_path / str(block[0]), "block": block, "combine": combine}
        made = plan(raw, models, scores="class 2", uncertainty="entropy", **at)
        crop = (slice(2, 15), slice(3, 32), slice(0, 26))
        labels = done(made).read()
        assert (labels[crop] == wanted).mean() > 0.9999
        images = {p.name: p.handle.read() for p in made.products if p.kind == "score"}
        assert sorted(images) == ["cells-score-class-2", "cells-uncertainty"]
        np.testing.assert_allclose(images["cells-score-class-2"][crop], 255 * mean[2], atol=0.502)
        entropy = -(mean * np.log(mean)).sum(0) / np.log(3)
        np.testing.assert_allclose(images["cells-uncertainty"][crop], 255 * entropy, atol=0.502)
        assert not images["cells-uncertainty"][:2].any()
        found.append((labels, *images.values()))
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_one_model_keeps_scores_and_the_same_labels(folders, raw, tmp_path):
    alone = done(plan(raw, folders[0], tmp_path / "a")).read()
    made = plan(raw, folders[0], tmp_path / "b", scores=("background", "class 1"), uncertainty="margin")
    np.testing.assert_array_equal(done(made).read(), alone)
    kept = {p.name.removeprefix("cells-"): p.handle.read() for p in made.products if p.kind == "score"}
    shares = np.zeros((3, *SHAPE))
    shares[0] = 1
    shares[:, 2:15, 3:, :26] = softmax(float64_scores(read_model(folders[0]), em()))
    np.testing.assert_allclose(kept["score-background"], 255 * shares[0], atol=0.502)
    np.testing.assert_allclose(kept["score-class-1"], 255 * shares[1], atol=0.502)
    first, second = -np.sort(-shares, axis=0)[:2]
    np.testing.assert_allclose(kept["uncertainty"], 255 * (1 - first + second), atol=0.502)


def test_a_broken_run_goes_on_to_the_same_scores(folders, raw, tmp_path):
    def make(work):
        return plan(raw, folders[:2], work, block=(8, 32, 29), scores=("class 1",))

    resumed_equals_whole(make, tmp_path, "cells/segment", 1)


def test_notes_of_a_plan_say_of_which_model_they_are(folders, raw, tmp_path):
    """Two models may have the same configuration, and the same one may be there twice."""
    first, second = folders[0], folders[2]
    text = str(plan(raw, [{"model": first, "weight": 2}, second], tmp_path / "w"))
    for i, folder, weight in ((1, first, 2), (2, second, 1)):
        name = f"cells/segment: model {i} of 2, {folder.name} (3d_fullres): "
        notes = [line.removeprefix(name) for line in text.splitlines() if line.startswith(name)]
        assert notes[0].endswith(f"weight {weight}")
        assert " windows of " in notes[1]
    alone = str(plan(raw, first, tmp_path / "a"))
    assert f"cells/segment: {first.name} (3d_fullres): level 0" in alone
    assert "weight" not in alone


def test_models_of_other_classes_or_axes_are_not_combined(folders, raw, tmp_path):
    other = write_model_folder(tmp_path / "other", labels=4, mirror=None)
    turned = write_model_folder(tmp_path / "turned", transpose=(2, 0, 1), mirror=None)
    with pytest.raises(SegmenterError, match="models that are combined must have the same classes"):
        plan(raw, [folders[0], other], tmp_path / "work")
    with pytest.raises(SegmenterError, match="must visit the volume along the same axis"):
        plan(raw, [folders[0], turned], tmp_path / "work")
    with pytest.raises(ConfigError, match="no model: give one, or several"):
        plan(raw, [], tmp_path / "work")
    with pytest.raises(ConfigError, match=r"weight of model .* must be a number above 0"):
        plan(raw, [{"model": folders[0], "weight": 0}], tmp_path / "work")
    with pytest.raises(ConfigError, match="a model of several is given by 'model'"):
        plan(raw, [{"modell": folders[0]}], tmp_path / "work")
    with pytest.raises(SegmenterError, match=r"no scores of classes \['nucleus'\]; the model has"):
        plan(raw, folders[0], tmp_path / "work", scores=["nucleus"])


REGION = Box((2, 4, 4), (5, 12, 10))
CORNERS = ((8.0, 32.0, 64.0), (20.0, 96.0, 160.0))


@pytest.mark.parametrize("numerics", ["exact", "nnunet"])
@pytest.mark.parametrize("how", ["box", "mask", "coarse mask"])
def test_labels_inside_a_region_are_those_of_the_whole(how, numerics, folders, raw, tmp_path, monkeypatch):
    calls = []
    once = forward.Forward.__call__
    monkeypatch.setattr(forward.Forward, "__call__", lambda self, x: calls.append(len(x)) or once(self, x))
    whole = done(plan(raw, folders[0], tmp_path / "whole", numerics=numerics)).read()
    windows = sum(calls)
    inside = np.zeros(SHAPE, bool)
    inside[REGION.slices] = True
    within = CORNERS
    if how == "mask":
        within = write(tmp_path, inside.astype(np.uint8), "tissue", kind="label", voxel_nm=VOXEL_NM)
    elif how == "coarse mask":
        small = inside[::2, ::2, ::2]
        inside = small.repeat(2, 0).repeat(2, 1).repeat(2, 2)[:16, :32, :29]
        size = tuple(2 * v for v in VOXEL_NM)
        within = write(tmp_path, small.astype(np.uint8), "tissue", kind="label", voxel_nm=size)
    calls.clear()
    made = plan(raw, folders[0], tmp_path / "part", within=within, numerics=numerics, scores=("class 1",))
    assert "% of the windows lie in what is wanted" in str(made)
    assert ("what lies outside the mask is unknown to later operations" in str(made)) == (how != "box")
    labels = done(made).read()
    np.testing.assert_array_equal(labels, np.where(inside, whole, 0))
    assert cf.open_volume(made.output.url).known == (REGION if how == "box" else made.output.box)
    assert not made.products[-1].handle.read()[~inside].any()
    if (how, numerics) == ("box", "exact"):
        # The network sees what lies around, also where the image itself is restricted.
        part = plan(raw.within(within), folders[0], tmp_path / "view", numerics=numerics)
        np.testing.assert_array_equal(done(part).read(), labels)
        assert part.output.known == REGION
    assert 0 < sum(calls) < windows


@pytest.mark.parametrize(
    ("within", "error", "says"),
    [
        (((0, 0, 0), (0, 9, 9)), ConfigError, "two corners .* in nm, the second beyond the first"),
        (((900, 0, 0), (999, 9, 9)), ConfigError, "holds no voxel of"),
        ("short", InputError, "a mask covers the same extent"),
    ],
)
def test_a_region_that_cannot_be_is_refused(within, error, says, folders, raw, tmp_path):
    if within == "short":
        within = write(tmp_path, np.ones((8, 32, 29), np.uint8), "m", kind="label", voxel_nm=VOXEL_NM)
    with pytest.raises(error, match=says):
        plan(raw, folders[0], tmp_path / "work", within=within)


def test_the_level_nearest_to_the_model_is_read_and_the_finest_written(tmp_path):
    fine = np.tile(em()[0, :, :20, 3:26], (1, 1, 7)).repeat(2, 1).repeat(2, 2)[:, :39, :301]
    raw = write(tmp_path, fine, "raw", voxel_nm=(8.0, 4.0, 4.0))
    coarse = cf.open_volume(raw.url, level=1)
    assert coarse.voxel_nm == (8.0, 8.0, 8.0)
    folder = write_model_folder(tmp_path / "model", spacing=(8.0, 8.0, 8.0), mirror=None)
    made = cf.segment(raw, model=folder, name="cells", work=tmp_path / "work", block=(8, 64, 128))
    assert "level 1" in str(made)
    assert "written (1, 2, 2) times finer" in str(made)
    got = done(made).read()
    assert got.shape == fine.shape
    scores = float64_scores(read_model(folder), coarse.read()[None])
    crop = np.nonzero(coarse.read())
    low, high = ([int(of(axis)) for axis in crop] for of in (np.min, np.max))
    wanted = np.zeros((16, 40, 302), int)
    large = np.stack([lerp(lerp(s, 1), 2) for s in scores])
    ends = [slice(a * f, (b + 1) * f) for a, b, f in zip(low, high, (1, 2, 2), strict=True)]
    wanted[tuple(ends)] = large.argmax(0)
    assert (got == wanted[:, :39, :301]).mean() > 0.9999


def lerp(values, axis):
    """Twice as many voxels along an axis: a quarter of the way to the neighbour on either side."""
    n = values.shape[axis]
    before = values.take(np.maximum(np.arange(n) - 1, 0), axis)
    after = values.take(np.minimum(np.arange(n) + 1, n - 1), axis)
    both = np.stack([0.75 * values + 0.25 * before, 0.75 * values + 0.25 * after], axis + 1)
    return both.reshape([2 * n if a == axis else m for a, m in enumerate(values.shape)])


def test_a_channel_may_lie_on_a_coarser_level(tmp_path):
    both = em(2)
    both[1] = both[1, ::2, ::2, ::2].repeat(2, 0).repeat(2, 1).repeat(2, 2)[:16, :32, :29]
    first = write(tmp_path, both[0], "first", voxel_nm=(8.0, 8.0, 8.0))
    second = write(tmp_path, both[1, ::2, ::2, ::2], "second", voxel_nm=(16.0, 16.0, 16.0))
    folder = write_model_folder(tmp_path / "model", channels=2, spacing=(8.0, 8.0, 8.0), mirror=None)
    made = cf.segment([first, second], model=folder, name="cells", work=tmp_path / "work", block=(7, 16, 29))
    np.testing.assert_array_equal(done(made).read(), predicted(read_model(folder), both))


@pytest.mark.parametrize("batch", [1, 3])
def test_windows_of_one_value_are_predicted_once(batch, folders, monkeypatch):
    array = np.full((1, 40, 48, 48), 200, np.uint8)
    array[:, 28:, 30:, 30:] = em()[:, 2:14, 3:21, :18]
    model = read_model(folders[0])
    calls = []
    once = forward.Forward.__call__
    monkeypatch.setattr(forward.Forward, "__call__", lambda self, x: calls.append(len(x)) or once(self, x))
    quick = predicted(model, array, batch=batch)
    few = sum(calls)
    calls.clear()
    monkeypatch.setattr(predict, "MOST_KNOWN", 1)
    monkeypatch.setattr("chunkflow_liver.segmenters.streaming.planes._one_value", lambda voxels: None)
    np.testing.assert_array_equal(quick, predicted(model, array, batch=batch))
    assert few < sum(calls) / 3


def test_a_batch_goes_on_in_the_next_row(folders, monkeypatch):
    calls = []
    once = forward.Forward.__call__
    monkeypatch.setattr(forward.Forward, "__call__", lambda self, x: calls.append(len(x)) or once(self, x))
    model = read_model(folders[0])
    predicted(model, em(), batch=1)
    windows = len(calls)
    calls.clear()
    predicted(model, em(), batch=5)
    assert len(calls) == -(-windows // 5)


def test_all_mirrorings_share_batches(tmp_path):
    model = read_model(write_model_folder(tmp_path, mirror=(0, 2)))
    one, five = (predicted(model, em(), batch=n, numerics="exact") for n in (1, 5))
    assert (one == five).mean() > 0.9999
    blocks = [b.write for b in BlockGrid(Box.of(SHAPE), (7, 19, 17))]
    np.testing.assert_array_equal(predicted(model, em(), batch=5, blocks=blocks), five)


PEAK = """
import sys, torch, chunkflow_liver as cf
from chunkflow_liver.engine.journal import read_rows
torch.set_num_threads(1)
plan = cf.segment(
    cf.open_volume(sys.argv[1]), model=sys.argv[2], name="x", work=sys.argv[3], spacing_units="voxel",
    mirroring=False, batch=int(sys.argv[4]), scores=["class 1"],
)
cf.run(plan, progress=False)
rows = [r for stage, r in read_rows(plan.work) if stage == "x/segment"]
print(max(r["peak_mib"] for r in rows) * 2**20, plan.task_bytes)
"""


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 4])
def test_a_process_needs_no_more_memory_than_the_plan_says(batch, tmp_path):
    rng = np.random.default_rng(0)
    raw = write(tmp_path, rng.integers(1, 255, (48, 256, 256), np.uint8), "raw", voxel_nm=VOXEL_NM)
    folder = write_model_folder(tmp_path / "model", window=(16, 96, 96), mirror=None)
    code = [sys.executable, "-c", PEAK, raw.url, str(folder), str(tmp_path / "w"), str(batch)]
    peak, estimate = subprocess.run(code, capture_output=True, text=True, check=True).stdout.split()[-2:]
    assert float(peak) <= float(estimate) <= 3 * float(peak)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["finer", "resampled"])
def test_a_process_that_resamples_fits_its_estimate(how, tmp_path):
    rng = np.random.default_rng(0)
    voxel_nm, options = (8.0, 8.0, 8.0), {"labels": 8, "mirror": None, "window": (8, 64, 64)}
    raw = write(tmp_path, rng.integers(1, 255, (32, 640, 640), np.uint8), "raw", voxel_nm=voxel_nm)
    spacing = (32.0, 32.0, 32.0) if how == "finer" else (9.0, 9.0, 9.0)
    folder = write_model_folder(tmp_path / "model", spacing=spacing, **options)
    code = PEAK.replace('spacing_units="voxel"', 'spacing_units="nm"')
    call = [sys.executable, "-c", code, raw.url, str(folder), str(tmp_path / "w"), "1"]
    peak, estimate = subprocess.run(call, capture_output=True, text=True, check=True).stdout.split()[-2:]
    assert float(peak) <= float(estimate) <= 3 * float(peak)


def test_channels_of_other_voxels_or_other_pyramids_are_refused(tmp_path):
    first = write(tmp_path, em()[0], "first", voxel_nm=(8.0, 8.0, 8.0))
    second = write(tmp_path, em()[0], "second", voxel_nm=(16.0, 8.0, 8.0))
    folder = write_model_folder(tmp_path / "model", channels=2, spacing=(8.0, 8.0, 8.0))
    with pytest.raises(InputError, match=r"or in voxel size: \(8.0, 8.0, 8.0\) and \(16.0, 8.0, 8.0\) nm"):
        cf.segment([first, second], model=folder, name="cells", work=tmp_path / "work")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mirroring": "no"}, "mirroring is True or False, got 'no'"),
        ({"accept_spacing": "no"}, "accept_spacing is True or False, got 'no'"),
        ({"step": True}, "step is a share of the window, above 0 and at most 1, got True"),
        ({"step": "0.5"}, "step is a share of the window"),
        ({"batch": 1.5}, "batch and planes_ahead are whole numbers, got 1.5 and 16"),
        ({"device": 3}, "device is a name like 'cpu' or 'cuda:0', got 3"),
        ({"folds": [0, 0]}, r"a fold is named twice: \[0, 0\]"),
        ({"folds": 0}, "folds is a list of folds to average, got 0"),
        ({"within": ((0, 0, 0),)}, r"a mask \(a Volume\) or two corners"),
        ({"within": "abc"}, r"a mask \(a Volume\) or two corners"),
        ({"within": ((0, 0), (1, 1))}, r"a mask \(a Volume\) or two corners"),
        ({"block": (0, 8, 8)}, "a block is three numbers of voxels"),
        ({"block": (8, 8)}, "a block is three numbers of voxels"),
    ],
    ids=str,
)
def test_settings_of_another_type_are_refused_at_once(options, says, folders, raw, tmp_path, listing):
    before = listing()
    with pytest.raises(cf.errors.ChunkflowLiverError, match=says):
        plan(raw, folders[0], tmp_path / "work", **options)
    assert listing() == before


@pytest.mark.parametrize("model", [None, 5])
def test_a_model_that_is_no_path_is_refused(model, raw, tmp_path):
    with pytest.raises(ConfigError, match="a model is the path of a folder or description"):
        plan(raw, model, tmp_path / "work")
