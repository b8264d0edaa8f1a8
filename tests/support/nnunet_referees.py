"""An image, and the classes that nnU-Net and a computation in float64 give it, for tests of segmenters."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from chunkflow_liver.geometry import Box
from chunkflow_liver.kernels.images.plane_extremes import block_extremes, plane_extremes
from chunkflow_liver.kernels.images.statistics import block_statistics, summarise
from chunkflow_liver.segmenters.nnunet.checkpoint import load_networks
from chunkflow_liver.segmenters.settings import Settings
from chunkflow_liver.segmenters.streaming.forward import prepare
from chunkflow_liver.segmenters.streaming.spacing import nearest, plane_axis
from chunkflow_liver.segmenters.streaming.stream import Member, segment_block
from chunkflow_liver.segmenters.streaming.view import View

torch.set_num_threads(1)

SHAPE = (16, 32, 29)


def em(channels: int = 1, *, dtype: str = "uint8", seed: int = 0) -> np.ndarray:
    """Texture with empty margins of different width, so that the crop begins and ends inside."""
    rng = np.random.default_rng(seed)
    array = gaussian_filter(rng.normal(size=(channels, *SHAPE)), (0, 1, 2, 2))
    array = (110 + 400 * array).clip(1, 255)
    array[:, :2] = array[:, 15:] = array[:, :, :3] = array[:, :, :, 26:] = 0
    return array.astype(dtype)


def member(model, array, how, *, read=None, voxel_nm=None, factor=(1, 1, 1)):
    """The model on a volume that is in memory; with `voxel_nm`, resampled to its spacing."""
    statistics = summarise(block_statistics(array))
    levels = {0: voxel_nm or (1.0, 1.0, 1.0)}
    fit = nearest(levels, model, image="raw", units=None if voxel_nm else "voxel", accept=True)
    axis = plane_axis(fit, model)
    limits = None if axis is None else plane_extremes(block_extremes(array, axis), axis, statistics.crop)
    view = View.of(model, statistics, fit, how.step, factor, limits)
    read = read or (lambda box: array[(slice(None), *box.slices)])
    return Member(view, prepare(load_networks(model, "cpu"), model, how), read)


def predicted(model, array, *, blocks=None, voxel_nm=None, **how):
    """The labels of our stream, over one block or over a list of them, with each voxel written once."""
    how = Settings(**how)
    one = member(model, array, how, voxel_nm=voxel_nm)
    labels, times = np.full(array.shape[1:], 255, model.dtype), np.zeros(array.shape[1:], int)
    for block in blocks or [Box.of(array.shape[1:])]:
        for box, (piece,) in segment_block([one], array.shape[1:], block, how):
            assert block.contains(box)
            labels[box.slices] = piece
            times[box.slices] += 1
    assert (times == 1).all()
    return labels


def referee(folder, *, mirroring: bool = True, folds=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

        predictor = nnUNetPredictor(use_mirroring=mirroring, device=torch.device("cpu"), allow_tqdm=False)
        predictor.initialize_from_trained_model_folder(str(folder), folds, "checkpoint_final.pth")
    return predictor


def referee_labels(folder, array, *, spacing=(1.0, 1.0, 1.0), mirroring: bool = True):
    """The whole pipeline of nnU-Net: preprocessing, sliding window, export."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        properties = {"spacing": list(spacing)}
        return referee(folder, mirroring=mirroring).predict_single_npy_array(array, properties)


def float64_labels(model, array):
    """Labels of the whole volume from scores in float64."""
    scores = float64_scores(model, array)
    if model.region_order is None:
        found = scores.argmax(0)
    else:
        found = np.zeros(scores.shape[1:], int)
        for head, number in zip(scores, model.region_order, strict=True):
            found[head > 0] = number
    labels = np.zeros(array.shape[1:], model.dtype)
    labels[summarise(block_statistics(array)).crop.slices] = found
    return labels


def float64_scores(model, array):
    """Scores (heads, *crop) in float64 from the definition: no stream, no separable weights."""
    order, padded, inner = normalised(model, array)
    window = (1, *model.window) if model.is_2d else model.window
    starts = [nnunet_starts(n, w) for n, w in zip(padded.shape[1:], window, strict=True)]
    starts[0] = list(range(padded.shape[1])) if model.is_2d else starts[0]
    bell = np.zeros(window)
    bell[tuple(w // 2 for w in window)] = 1
    bell = gaussian_filter(bell, [w / 8 for w in window], mode="constant")
    total, count = np.zeros((model.heads, *padded.shape[1:])), np.zeros(padded.shape[1:])
    networks = load_networks(model, "cpu")
    for start in itertools.product(*starts):
        at = tuple(slice(s, s + w) for s, w in zip(start, window, strict=True))
        x = torch.from_numpy(padded[(slice(None), *at)].astype(np.float32))[None]
        x = x[:, :, 0] if model.is_2d else x
        scores = np.mean([mirrored(network, x, model.mirror_axes) for network in networks], axis=0)
        total[(slice(None), *at)] += bell * (scores[:, None] if model.is_2d else scores)
        count[at] += bell
    scores = (total / count)[(slice(None), *inner)]
    return scores.transpose(0, *(1 + np.argsort(order)))


def mirrored(network, x, axes):
    flips = [c for n in range(len(axes) + 1) for c in itertools.combinations([a + 2 for a in axes], n)]
    with torch.no_grad():
        return np.mean([torch.flip(network(torch.flip(x, f)), f)[0].double().numpy() for f in flips], axis=0)


def nnunet_starts(length, window):
    from nnunetv2.inference.sliding_window_prediction import compute_steps_for_sliding_window

    return compute_steps_for_sliding_window((length,), (window,), 0.5)[0]


def normalised(model, array):
    """The cropped, transposed, normalised, padded volume, and the slices of what is not padding."""
    where = summarise(block_statistics(array)).crop
    image = array[(slice(None), *where.slices)].astype(np.float64)
    for c, scheme in enumerate(model.schemes):
        if scheme == "ZScoreNormalization":
            image[c] = (image[c] - image[c].mean()) / image[c].std()
        elif scheme == "CTNormalization":
            image[c] = (image[c].clip(20, 180) - 90) / 35
        elif scheme == "RescaleTo01Normalization":
            image[c] = (image[c] - image[c].min()) / np.ptp(image[c])
        elif scheme == "RGBTo01Normalization":
            image[c] /= 255
    order = model.transpose_forward
    image = image.transpose(0, *(axis + 1 for axis in order))
    window = (1, *model.window) if model.is_2d else model.window
    lacking = [max(0, w - n) for w, n in zip(window, image.shape[1:], strict=True)]
    pads = [(n // 2, n - n // 2) for n in lacking]
    inner = tuple(slice(p, p + n) for (p, _), n in zip(pads, image.shape[1:], strict=True))
    return order, np.pad(image, [(0, 0), *pads]), inner
