"""The classes are those of nnU-Net and of float64, whatever the blocks, and memory stays bounded."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model_folders import edit_weights, write_model_folder
from nnunet_referees import (
    SHAPE,
    em,
    float64_labels,
    member,
    predicted,
    referee,
    referee_labels,
)

from chunkflow_liver.errors import SegmenterError
from chunkflow_liver.geometry import BlockGrid, Box
from chunkflow_liver.kernels.images.statistics import block_statistics, summarise
from chunkflow_liver.segmenters import Network, Source, kind_of
from chunkflow_liver.segmenters.nnunet.checkpoint import load_networks
from chunkflow_liver.segmenters.nnunet.folder import model_fingerprint, read_model
from chunkflow_liver.segmenters.settings import Settings
from chunkflow_liver.segmenters.streaming.spacing import nearest
from chunkflow_liver.segmenters.streaming.stream import segment_block, working_bytes

STREAMS = ("CT", "2d across x", "transposed 201", "thin and transposed", "3 folds with regions")
REGIONS = {"background": 0, "all": [1, 2, 3], "inner": [2, 3], "core": 3}
CASES: dict[str, dict[str, Any]] = {
    "3d mirrored": {"mirror": (0, 1, 2)},
    "3d mirrored twice": {"mirror": (1, 2)},
    "2d mirrored": {"window": (16, 16), "mirror": (0, 1)},
    "2d across x": {"window": (16, 16), "transpose": (2, 0, 1)},
    "CT": {"scheme": "CTNormalization"},
    "0 to 1": {"scheme": "RescaleTo01Normalization"},
    "as it is": {"scheme": "NoNormalization"},
    "8 bit": {"scheme": "RGBTo01Normalization"},
    "2 channels": {"channels": 2, "labels": 4},
    "regions": {"labels": REGIONS, "regions_class_order": (1, 2, 3)},
    "2 folds mirrored": {"folds": (0, 3), "mirror": (0, 2)},
    "3 folds with regions": {"folds": (0, 1, 2), "labels": REGIONS, "regions_class_order": (3, 1, 2)},
    "transposed 102": {"transpose": (1, 0, 2), "mirror": (0,)},
    "transposed 201": {"transpose": (2, 0, 1)},
    "transposed 120": {"transpose": (1, 2, 0)},
    "thin": {"window": (24, 16, 16)},
    "thin and transposed": {"window": (38, 16, 38), "transpose": (2, 0, 1)},
    "thin 2d": {"window": (38, 16)},
    "odd window": {"window": (6, 10, 22)},
    "residual": {"network": "ResidualEncoderUNet"},
    "old plans": {"legacy": True},
    "ignore label": {"labels": {"background": 0, "a": 1, "b": 2, "ignore": 3}},
}


@pytest.mark.parametrize("case", CASES)
def test_labels_are_those_of_nnunet_and_of_float64(case, tmp_path):
    options = {"mirror": None, **CASES[case]}
    folder = write_model_folder(tmp_path, **options)
    model, array = read_model(folder), em(options.get("channels", 1))
    wanted = referee_labels(folder, array)
    assert len(np.unique(wanted)) > 2
    np.testing.assert_array_equal(predicted(model, array, numerics="nnunet"), wanted)
    exact = predicted(model, array, numerics="exact")
    np.testing.assert_array_equal(exact, float64_labels(model, array))
    # The whole of this small volume is near an edge, where nnU-Net's float16 sums are coarsest.
    assert (exact == wanted).mean() > 0.998


@pytest.mark.parametrize("numerics", ["exact", "nnunet"])
def test_mirroring_can_be_switched_off(numerics, tmp_path):
    folder, array = write_model_folder(tmp_path, mirror=(0,)), em()
    wanted = referee_labels(folder, array, mirroring=False)
    got = predicted(read_model(folder), array, numerics=numerics, mirroring=False)
    assert (got == wanted).mean() > (0.999 if numerics == "exact" else 0.9999999)
    assert (got != predicted(read_model(folder), array, numerics=numerics)).any()


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32", ">u2"])
def test_labels_agree_for_every_dtype(dtype, tmp_path):
    folder, array = write_model_folder(tmp_path, mirror=None), em(dtype=dtype)
    wanted = referee_labels(folder, array.astype("float32"))
    np.testing.assert_array_equal(predicted(read_model(folder), array, numerics="nnunet"), wanted)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A few models whose streams differ: 3D, 2D, transposed, thin, two folds with regions."""

    def model(name):
        return read_model(write_model_folder(tmp_path_factory.mktemp("model"), mirror=None, **CASES[name]))

    return {name: model(name) for name in STREAMS}


@pytest.fixture(scope="module")
def wholes(models):
    return {
        (name, numerics): predicted(model, em(), numerics=numerics, mirroring=False)
        for name, model in models.items()
        for numerics in ("exact", "nnunet")
    }


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(STREAMS),
    numerics=st.sampled_from(["exact", "nnunet"]),
    block=st.tuples(st.integers(4, 16), st.integers(9, 32), st.integers(9, 29)),
    planes_ahead=st.integers(1, 20),
)
def test_labels_do_not_depend_on_the_blocks(models, wholes, name, numerics, block, planes_ahead):
    blocks = [b.write for b in BlockGrid(Box.of(SHAPE), block)]
    how = {"numerics": numerics, "mirroring": False, "planes_ahead": planes_ahead}
    got = predicted(models[name], em(), blocks=blocks, **how)
    np.testing.assert_array_equal(got, wholes[name, numerics])


@pytest.mark.parametrize("numerics", ["exact", "nnunet"])
def test_labels_do_not_depend_on_the_blocks_with_a_batch(models, numerics):
    how = {"numerics": numerics, "mirroring": False, "batch": 3}
    whole = predicted(models["CT"], em(), **how)
    blocks = [b.write for b in BlockGrid(Box.of(SHAPE), (7, 19, 17))]
    np.testing.assert_array_equal(predicted(models["CT"], em(), blocks=blocks, **how), whole)


def test_summed_scores_are_the_bits_of_nnunet(tmp_path, monkeypatch):
    folder = write_model_folder(tmp_path, folds=(0, 1), scheme="CTNormalization", mirror=(0, 1))
    model, array = read_model(folder), em()
    from chunkflow_liver.segmenters.streaming import outputs

    planes = []
    classes = outputs.classes
    monkeypatch.setattr(
        outputs, "classes", lambda scores, m: planes.append(scores.clone()) or classes(scores, m)
    )
    predicted(model, array, numerics="nnunet")
    image = (array[:, 2:15, 3:, :26].astype("float32").clip(20, 180) - np.float32(90)) / np.float32(35)
    wanted = referee(folder).predict_logits_from_preprocessed_data(torch.from_numpy(image))
    assert wanted.dtype == torch.float16
    assert torch.equal(torch.stack(planes, 1), wanted)


@pytest.mark.parametrize("name", ["CT", "2d across x", "transposed 201"])
def test_every_plane_is_read_once_per_block(models, name):
    array, seen = em(), np.zeros(SHAPE, int)

    def read(box):
        seen[box.slices] += 1
        return array[(slice(None), *box.slices)]

    how = Settings(mirroring=False, planes_ahead=4)
    block = Box((4, 10, 5), (14, 30, 25))
    list(segment_block([member(models[name], array, how, read=read)], SHAPE, block, how))
    assert seen.max() == 1
    assert seen[block.slices].min() == 1


@pytest.mark.parametrize("name", ["2d across x", "transposed 201", "3 folds with regions"])
@pytest.mark.parametrize("numerics", ["exact", "nnunet"])
def test_sums_and_raw_planes_fit_the_estimate_and_do_not_grow_with_the_depth(
    models, name, numerics, monkeypatch
):
    from chunkflow_liver.segmenters.streaming.planes import Planes
    from chunkflow_liver.segmenters.streaming.sums import Sums

    model, held = models[name], []
    monkeypatch.setattr(Planes, "advance", spy(Planes.advance, lambda planes: planes.held.nbytes, held))
    monkeypatch.setattr(Sums, "add", spy(Sums.add, lambda sums: sums.total.nbytes, held))
    how = Settings(numerics=numerics, mirroring=False)
    peaks = []
    for repeat in (2, 4):
        array = np.concatenate([em()] * repeat, model.transpose_forward[0] + 1)
        held.clear()
        predicted(model, array, numerics=numerics, mirroring=False)
        peaks.append(max(held))
        assert 2 * max(held) < working_bytes(model, how, array.shape[1:], 1)
    assert peaks[0] == peaks[1]


def spy(method, measure, held):
    def measured(self, *args):
        result = method(self, *args)
        held.append(measure(self))
        return result

    return measured


def test_pieces_are_thin_and_in_order(models):
    array = np.zeros((1, 60, 20, 20), np.uint8)
    array[:, 20:36] = em()[:, :, 6:26, 6:26]
    how = Settings(mirroring=False)
    pieces = segment_block([member(models["CT"], array, how)], (60, 20, 20), Box.of((60, 20, 20)), how)
    boxes = [box for box, _ in pieces]
    assert max(box.shape[0] for box in boxes) <= 16
    assert [box.start[0] for box in boxes[1:]] == [box.stop[0] for box in boxes[:-1]]


def test_nothing_outside_the_crop_is_read_and_it_is_background(models):
    how, block = Settings(), Box((0, 0, 26), SHAPE)
    one = member(models["CT"], em(), how, read=lambda box: pytest.fail(f"read {box}"))
    pieces = segment_block([one], SHAPE, block, how)
    assert sum(box.size for box, (labels,) in pieces if not labels.any()) == block.size


def test_an_empty_volume_is_predicted_like_nnunet(tmp_path):
    folder, array = write_model_folder(tmp_path, mirror=None), np.zeros((1, 9, 20, 20), np.uint8)
    np.testing.assert_array_equal(
        predicted(read_model(folder), array, numerics="nnunet"), referee_labels(folder, array)
    )


def test_anisotropic_voxels_are_only_a_matter_of_the_model_spacing(tmp_path):
    folder = write_model_folder(tmp_path, transpose=(1, 0, 2), spacing=(8.0, 4.0, 16.0), mirror=None)
    model, array = read_model(folder), em()
    assert model.spacing_zyx == (4.0, 8.0, 16.0)
    np.testing.assert_array_equal(
        predicted(model, array, numerics="nnunet"), referee_labels(folder, array, spacing=(4, 8, 16))
    )


def network(model, **how):
    fit = nearest({0: (1.0, 1.0, 1.0)}, model, image="raw", units="voxel")
    return Network((Source("nnunet", model, model_fingerprint(model), fit),), Settings(**how))


def through(segmenter, array, block=None):
    """The pieces of a segmenter on a volume that is in memory."""
    read = lambda box: array[(slice(None), *box.slices)]  # noqa: E731
    shape = array.shape[1:]
    statistics = summarise(block_statistics(array))
    return segmenter([read], [(statistics, None)], shape, block or Box.of(shape))


def test_a_segmenter_pickles_and_loads_its_networks_once(tmp_path, monkeypatch):
    folder, array = write_model_folder(tmp_path, mirror=None), em()
    model = read_model(folder)
    made = network(model)
    copy = pickle.loads(pickle.dumps(made))
    from chunkflow_liver.segmenters.nnunet import kind as nnunet

    loads = []
    kind = dataclasses.replace(nnunet.NNUNET, load=lambda *a: loads.append(a) or load_networks(*a))
    monkeypatch.setattr(nnunet, "NNUNET", kind)
    labels = np.zeros(SHAPE, np.uint8)
    for one in (made, copy, made):
        for box, (piece,) in through(one, array):
            labels[box.slices] = piece
    assert len(loads) == 1
    np.testing.assert_array_equal(labels, predicted(model, array))


def test_statistics_of_one_block_alone_would_give_other_labels(models):
    array, model = em(), models["2d across x"]
    alone = array[:, :, 10:, :]
    assert (
        predicted(model, alone, mirroring=False) != predicted(model, array, mirroring=False)[:, 10:]
    ).any()


def test_grad_mode_is_as_before_between_pieces(models):
    how = Settings(mirroring=False)
    for _ in segment_block([member(models["CT"], em(), how)], SHAPE, Box.of(SHAPE), how):
        assert not torch.is_inference_mode_enabled()


def test_an_unknown_kind_is_refused():
    with pytest.raises(SegmenterError, match=r"no segmenter 'unet'; there are \['nnunet', 'torch'\]"):
        kind_of("unet")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SegmenterError, match=r"needs 'torch'; pip install 'chunkflow-liver\[nnunet\]'"):
        kind_of("nnunet").read("")


def test_a_model_that_changed_after_planning_is_refused(tmp_path):
    folder, array = write_model_folder(tmp_path), em()
    made = network(read_model(folder))
    write_model_folder(folder, seed=1)
    with pytest.raises(SegmenterError, match="has changed since the plan was made"):
        next(through(made, array))


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"numerics": "fast"}, "no numerics 'fast'; there are"),
        ({"compile": "yes"}, "no compile 'yes'; there are"),
        ({"batch": 0}, "at least 1, got 0"),
        ({"step": 0.0}, "step is a share of the window, above 0 and at most 1, got 0.0"),
    ],
)
def test_bad_settings_are_refused(models, how, says):
    with pytest.raises(SegmenterError, match=says):
        predicted(models["CT"], em(), **how)


def test_a_block_outside_the_volume_is_refused(models):
    with pytest.raises(SegmenterError, match="is not inside the volume"):
        predicted(models["CT"], em(), blocks=[Box((0, 0, 0), (17, 32, 29))])


def test_a_wrong_number_of_channels_is_refused(models):
    with pytest.raises(SegmenterError, match="the volume has 2 channels, the model wants 1"):
        predicted(models["CT"], em(2))


def test_an_8_bit_model_refuses_16_bit_data(tmp_path):
    model = read_model(write_model_folder(tmp_path, scheme="RGBTo01Normalization"))
    with pytest.raises(SegmenterError, match=r"ranges from .* to \d+\.0.*rescale the volume"):
        predicted(model, em(dtype="uint16") * 40)


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_a_voxel_that_is_no_number_is_refused_by_its_place(models, value):
    """Before the network: OpenVINO 2026.4.1 gives 0 behind a ReLU for NaN, so that scores would not tell."""
    array = em(dtype="float32")
    array[0, 10, 20, 21] = value
    with pytest.raises(SegmenterError, match=rf"voxel \(10, 20, 21\) .* of channel 0 is {value}"):
        predicted(models["CT"], array, mirroring=False)


def test_scores_that_are_not_finite_are_refused(tmp_path):
    """Of a network whose weights are so large that float32 overflows."""
    folder = write_model_folder(tmp_path)
    edit_weights(folder, lambda w: [w[n].fill_(3e38) for n in w if "seg_layers" in n])
    with pytest.raises(SegmenterError, match="scores that are not finite"):
        predicted(read_model(folder), em(), mirroring=False)
