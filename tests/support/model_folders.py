"""nnU-Net folders with random weights, of every shape that a real one may have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

UNETS = "dynamic_network_architectures.architectures.unet"
torch, unet = pytest.importorskip("torch"), pytest.importorskip(UNETS)
CT = {"mean": 90.0, "std": 35.0, "percentile_00_5": 20.0, "percentile_99_5": 180.0}


def write_model_folder(
    folder: Path,
    *,
    window: tuple[int, ...] = (8, 16, 16),
    labels: dict[str, Any] | int = 3,
    channels: int = 1,
    scheme: str = "ZScoreNormalization",
    regions_class_order: tuple[int, ...] | None = None,
    folds: tuple[int | str, ...] = (0,),
    transpose: tuple[int, ...] = (0, 1, 2),
    mirror: tuple[int, ...] | None = (0, 1, 2),
    spacing: tuple[float, ...] | None = None,
    network: str = "PlainConvUNet",
    legacy: bool = False,
    features: tuple[int, ...] = (4, 8),
    blocks: tuple[int, ...] | None = None,
    seed: int = 0,
) -> Path:
    """Write plans.json, dataset.json and fold_k/checkpoint_final.pth of a small random network to `folder`.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    window : tuple of int
        Patch size in plans.json, two or three axes, in the network's order.
    labels : dict or int
        As in dataset.json, or a number of classes with the background.
    channels : int
        Of the input, all with the same `scheme`.
    regions_class_order : tuple of int, optional
        With regions in `labels`.
    folds : tuple of int or str
        Each gets other weights.
    transpose : tuple of int
        transpose_forward.
    mirror : tuple of int, optional
        inference_allowed_mirroring_axes; cut to the axes there are.
    spacing : tuple of float, optional
        Of the plans, 1 by default.
    network : str
        Class in dynamic_network_architectures.architectures.unet.
    legacy : bool
        Write the plans as nnU-Net before 2.3 did; of two stages.
    features : tuple of int
        Channels of every stage; each but the first halves every axis.
    blocks : tuple of int, optional
        Convolutions or residual blocks of every stage, 1 by default.
    seed : int
        Of the weights.
    """
    axes = len(window)
    mirror = None if mirror is None else tuple(axis for axis in mirror if axis < axes)
    classes = labels if isinstance(labels, dict) else _classes(labels)
    regions = any(isinstance(v, list | tuple) and len(v) > 1 for v in classes.values())
    heads = sum(v != 0 for v in classes.values()) if regions else len(classes) - ("ignore" in classes)
    configuration = "2d" if axes == 2 else "3d_fullres"
    per_stage = "n_conv_per_stage" if network == "PlainConvUNet" else "n_blocks_per_stage"
    stages = len(features)
    strides = [[1] * axes, *[[2] * axes] * (stages - 1)]
    options = {
        "n_stages": stages,
        "features_per_stage": list(features),
        "conv_op": f"torch.nn.modules.conv.Conv{axes}d",
        "kernel_sizes": [[3] * axes] * stages,
        "strides": strides,
        per_stage: list(blocks or [1] * stages),
        "n_conv_per_stage_decoder": [1] * (stages - 1),
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{axes}d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    section: dict[str, Any] = {
        "data_identifier": f"plans_{configuration}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(window),
        "spacing": list(spacing or (1.0,) * axes),
        "normalization_schemes": [scheme] * channels,
        "use_mask_for_norm": [False] * channels,
        "median_image_size_in_voxels": [32.0] * axes,
        "batch_dice": True,
    }
    for what, seg, order in (("data", False, 3), ("seg", True, 1), ("probabilities", False, 1)):
        section[f"resampling_fn_{what}"] = "resample_data_or_seg_to_shape"
        kwargs = {"is_seg": seg, "order": order, "order_z": 0, "force_separate_z": None}
        section[f"resampling_fn_{what}_kwargs"] = kwargs
    if legacy:
        section |= {
            "UNet_class_name": network,
            "UNet_base_num_features": 4,
            "unet_max_num_features": 320,
            "n_conv_per_stage_encoder": [1, 1],
            "n_conv_per_stage_decoder": [1],
            "num_pool_per_axis": [1] * axes,
            "pool_op_kernel_sizes": strides,
            "conv_kernel_sizes": [[3] * axes] * 2,
        }
    else:
        section["architecture"] = {
            "network_class_name": f"{UNETS}.{network}",
            "arch_kwargs": options,
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        }
    plans = {
        "dataset_name": "Dataset001_Random",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "label_manager": "LabelManager",
        "experiment_planner_used": "ExperimentPlanner",
        "transpose_forward": list(transpose),
        "transpose_backward": [transpose.index(axis) for axis in range(3)],
        "configurations": {configuration: section},
        "foreground_intensity_properties_per_channel": {str(c): CT for c in range(channels)},
    }
    dataset: dict[str, Any] = {
        "channel_names": {str(c): f"channel {c}" for c in range(channels)},
        "labels": classes,
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
    if regions_class_order is not None:
        dataset["regions_class_order"] = list(regions_class_order)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    for k, fold in enumerate(folds):
        weights = _weights(network, options, channels, heads, seed * 100 + k)
        (folder / f"fold_{fold}").mkdir(exist_ok=True)
        torch.save(
            _checkpoint(weights, configuration, mirror), folder / f"fold_{fold}" / "checkpoint_final.pth"
        )
    return folder


def _classes(count: int) -> dict[str, int]:
    return {"background": 0, **{f"class {i}": i for i in range(1, count)}}


def _weights(network: str, options: dict[str, Any], channels: int, heads: int, seed: int) -> dict[str, Any]:
    def operation(name: str | None) -> Any:
        return None if name is None else getattr(torch.nn, name.rpartition(".")[2])

    imported = {key: operation(options[key]) for key in ("conv_op", "norm_op", "dropout_op", "nonlin")}
    torch.manual_seed(seed)
    module = getattr(unet, network)(input_channels=channels, num_classes=heads, **options | imported)
    weights = dict(module.state_dict())
    for name, value in weights.items():
        # Spread and without a mean, so that every class wins somewhere and hardly any voxel is a tie.
        if name.startswith("decoder.seg_layers"):
            spread = torch.randn_like(value)
            weights[name] = 3 * (spread - spread.mean(1, keepdim=True)) if spread.ndim > 1 else 0.3 * spread
    return weights


def _checkpoint(
    weights: dict[str, Any], configuration: str, mirror: tuple[int, ...] | None
) -> dict[str, Any]:
    """With what the trainer writes besides, NumPy scalars included."""
    return {
        "network_weights": weights,
        "optimizer_state": {
            "state": {0: {"momentum_buffer": torch.zeros(3)}},
            "param_groups": [{"lr": 0.01}],
        },
        "grad_scaler_state": None,
        "logging": {"mean_fg_dice": [np.float64(0.5)], "train_losses": [np.float32(-0.3)], "epochs": [1]},
        "_best_ema": np.float64(0.5),
        "current_epoch": 1000,
        "init_args": {"configuration": configuration, "fold": 0, "device": torch.device("cpu")},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": mirror,
    }


def edit_weights(folder, change):
    path = folder / "fold_0" / "checkpoint_final.pth"
    content = torch.load(path, weights_only=False)
    change(content["network_weights"])
    torch.save(content, path)
