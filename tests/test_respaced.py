"""What the network is given, and what becomes of its scores, is as in nnU-Net when spacings differ."""

from __future__ import annotations

import itertools
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from model_folders import write_model_folder
from scipy.ndimage import gaussian_filter

from chunkflow_liver.errors import SegmenterError
from chunkflow_liver.geometry import BlockGrid, Box
from chunkflow_liver.kernels.extremes import block_extremes, plane_extremes
from chunkflow_liver.kernels.statistics import block_statistics, summarise
from chunkflow_liver.segmenters.model_folder import read_model
from chunkflow_liver.segmenters.respaced import Respaced
from chunkflow_liver.segmenters.spacing import nearest, plane_axis

torch.set_num_threads(1)

SHAPE = (21, 34, 30)
CASES = {
    "isotropic": {"voxel_nm": (8.0, 8.0, 8.0), "spacing": (9.5, 9.5, 9.5)},
    "finer": {"voxel_nm": (8.0, 8.0, 8.0), "spacing": (6.0, 7.0, 5.5)},
    "coarse z": {"voxel_nm": (40.0, 8.0, 8.0), "spacing": (30.0, 9.5, 9.0)},
    "coarse z kept": {"voxel_nm": (40.0, 8.0, 8.0), "spacing": (40.0, 10.0, 10.0)},
    "coarse y, transposed": {
        "voxel_nm": (8.0, 40.0, 8.0),
        "spacing": (32.0, 10.0, 9.0),
        "transpose": (1, 0, 2),
    },
    "transposed": {"voxel_nm": (4.0, 8.0, 6.0), "spacing": (7.0, 5.0, 7.0), "transpose": (2, 0, 1)},
    "2d": {"voxel_nm": (40.0, 8.0, 8.0), "spacing": (10.0, 10.0), "window": (16, 16)},
    "2d across x": {
        "voxel_nm": (8.0, 8.0, 8.0),
        "spacing": (10.0, 7.0),
        "window": (16, 16),
        "transpose": (2, 0, 1),
    },
    "CT, 2 channels": {
        "voxel_nm": (8.0, 8.0, 8.0),
        "spacing": (9.0, 10.0, 7.0),
        "scheme": "CTNormalization",
        "channels": 2,
    },
}


def em(channels=1):
    """Texture with empty margins, so that the crop begins and ends inside."""
    array = gaussian_filter(np.random.default_rng(0).normal(size=(channels, *SHAPE)), (0, 0.7, 0.7, 0.7))
    array = (110 + 200 * array).clip(1, 255)
    array[:, :2] = array[:, 20:] = array[:, :, :3] = array[:, :, :, 27:] = 0
    return array.astype(np.uint8)


@pytest.fixture(params=CASES)
def case(request, tmp_path):
    """Model folder, voxels, voxel size, and the respaced volume."""
    options = {"mirror": None, **CASES[request.param]}
    voxel_nm = options.pop("voxel_nm")
    model = read_model(write_model_folder(tmp_path, **options))
    array = em(options.get("channels", 1))
    fit = nearest({0: voxel_nm}, model, image="raw")
    assert fit.resamples
    statistics = summarise(block_statistics(array))
    axis = plane_axis(fit, model)
    planes = None if axis is None else plane_extremes(block_extremes(array, axis), axis, statistics.crop)
    return model, array, voxel_nm, Respaced.of(fit, model, statistics, planes)


def whole(model, array, voxel_nm):
    """nnU-Net's predictor, and its preprocessed volume."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

        predictor = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
        predictor.initialize_from_trained_model_folder(str(model.folder), (0,), "checkpoint_final.pth")
    manager = predictor.configuration_manager
    properties = {"spacing": list(voxel_nm)}
    data, _, properties = manager.preprocessor_class().run_case_npy(
        array, None, properties, predictor.plans_manager, manager, predictor.dataset_json
    )
    return predictor, data, properties


def test_any_box_is_that_of_the_volume_nnunet_preprocessed(case):
    model, array, voxel_nm, respaced = case
    _, data, _ = whole(model, array, voxel_nm)
    assert respaced.shape == data.shape[1:]
    asked = []

    def read(box):
        asked.append(box)
        return array[(slice(None), *box.slices)]

    seen = respaced.reading(read)
    for block in BlockGrid(Box.of(respaced.shape), (9, 14, 40)):
        wanted = data[(slice(None), *block.write.slices)]
        np.testing.assert_allclose(seen(block.write), wanted, atol=1e-6 * np.ptp(data))
    assert all(respaced.stored.crop.contains(box) for box in asked)


def test_scores_come_back_as_nnunet_exports_them(case):
    from nnunetv2.inference.export_prediction import (
        convert_predicted_logits_to_segmentation_with_correct_shape as export,
    )

    model, array, voxel_nm, respaced = case
    predictor, _, properties = whole(model, array, voxel_nm)
    logits = gaussian_filter(
        np.random.default_rng(1).normal(size=(model.heads, *respaced.shape)).astype(np.float32), (0, 1, 1, 1)
    )
    wanted = export(
        torch.from_numpy(logits),
        predictor.plans_manager,
        predictor.configuration_manager,
        predictor.label_manager,
        properties,
        num_threads_torch=1,
    )
    got, times = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, int)
    for block in BlockGrid(Box.of(SHAPE), (10, 17, 30)):
        need = respaced.block(block.write)
        cuts = sorted({need.start[0], *range(need.start[0], need.stop[0], 4), need.stop[0]})
        pieces = (
            (box, logits[(slice(None), *box.slices)])
            for a, b in itertools.pairwise(cuts)
            for box in [Box((a, *need.start[1:]), (b, *need.stop[1:]))]
        )
        for box, scores in respaced.back(pieces, block.write):
            assert scores.shape == (model.heads, *box.shape)
            assert block.write.contains(box)
            got[box.slices] = scores.argmax(0)
            times[box.slices] += 1
    inside = np.zeros(SHAPE, int)
    inside[respaced.stored.crop.slices] = 1
    np.testing.assert_array_equal(times, inside)
    np.testing.assert_array_equal(got, wanted)


def test_a_block_outside_the_crop_needs_nothing(case):
    _, _, _, respaced = case
    assert respaced.block(Box((0, 0, 0), (2, 34, 30))).size == 0
    assert list(respaced.back([], Box((0, 0, 0), (2, 34, 30)))) == []


def test_a_stream_over_the_respaced_volume_has_nothing_to_do_but_predict(case):
    model, _, _, respaced = case
    assert set(respaced.model.schemes) == {"NoNormalization"}
    assert respaced.model.transpose_forward == (0, 1, 2)
    assert respaced.statistics.crop == Box.of(respaced.shape)
    assert replace(
        respaced.model, schemes=model.schemes, transpose_forward=model.transpose_forward
    ) == replace(model, transpose_backward=(0, 1, 2))


def test_planes_without_extremes_and_scores_that_end_early_are_refused(tmp_path):
    model = read_model(write_model_folder(tmp_path, spacing=(30.0, 9.0, 9.0), mirror=None))
    fit = nearest({0: (40.0, 8.0, 8.0)}, model, image="raw")
    array = em()
    statistics = summarise(block_statistics(array))
    assert plane_axis(fit, model) == 0
    with pytest.raises(SegmenterError, match=r"plane by plane across axis 0 .* extremes of these planes are"):
        Respaced.of(fit, model, statistics)
    planes = plane_extremes(block_extremes(array, 0), 0, statistics.crop)
    respaced = Respaced.of(fit, model, statistics, planes)
    with pytest.raises(SegmenterError, match=r"scores of planes 0 to 18 .* never came"):
        list(respaced.back([], Box.of(SHAPE)))
