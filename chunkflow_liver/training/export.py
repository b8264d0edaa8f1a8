"""Trained weights as a model folder: of nnU-Net v2, or with a description that `segment` takes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chunkflow_liver.errors import OutputError
from chunkflow_liver.geometry import Zyx
from chunkflow_liver.segmenters.nnunet.checkpoint import save_weights
from chunkflow_liver.segmenters.nnunet.folder import OURS
from chunkflow_liver.segmenters.resampling import NNUNET_FUNCTION
from chunkflow_liver.training.recipe import Recipe

CHECKPOINT = "checkpoint_final.pth"
SETTINGS = "training.json"
DESCRIPTION = "model.yaml"


def configuration(recipe: Recipe) -> str:
    """nnU-Net's name for the kind of network."""
    return "2d" if recipe.is_2d else "3d_fullres"


def mirror_axes(recipe: Recipe) -> tuple[int, ...]:
    """Axes of the window along which the training mirrors."""
    return () if recipe.augment == "none" else tuple(range(len(recipe.window)))


def plans_of(recipe: Recipe, architecture: Mapping[str, Any], shape: Zyx) -> dict[str, Any]:
    """plans.json of a network, as nnU-Net's planner writes it; voxel sizes are in nm.

    Parameters
    ----------
    recipe : Recipe
    architecture : mapping
    shape : Zyx
        Of the first image, which nnU-Net notes and does not use.
    """
    axes = len(recipe.window)
    name = configuration(recipe)
    section: dict[str, Any] = {
        "data_identifier": f"nnUNetPlans_{name}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": recipe.batch,
        "patch_size": list(recipe.window),
        "median_image_size_in_voxels": [float(n) for n in shape[3 - axes :]],
        "spacing": [float(v) for v in recipe.voxel_nm[3 - axes :]],
        "normalization_schemes": ["ZScoreNormalization"] * len(recipe.channels),
        "use_mask_for_norm": [False] * len(recipe.channels),
        "architecture": dict(architecture),
        "batch_dice": True,
    }
    for what, labels, order in (("data", False, 3), ("seg", True, 1), ("probabilities", False, 1)):
        section[f"resampling_fn_{what}"] = NNUNET_FUNCTION
        section[f"resampling_fn_{what}_kwargs"] = {
            "is_seg": labels,
            "order": order,
            "order_z": 0,
            "force_separate_z": None,
        }
    return {
        "dataset_name": "Dataset001_chunkflow_liver",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": list(recipe.voxel_nm),
        "original_median_shape_after_transp": list(shape),
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {name: section},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {str(i): {} for i in range(len(recipe.channels))},
        OURS: {"configuration": name, "mirror_axes": list(mirror_axes(recipe)), "units": "nm"},
    }


def write_model(
    folder: Path,
    recipe: Recipe,
    architecture: Mapping[str, Any] | None,
    folds: Mapping[str, Mapping[str, Any]],
    settings: Mapping[str, Any],
    *,
    shape: Zyx,
) -> Path:
    """A model folder with weights and nothing else: no optimizer, no pickled objects.

    Parameters
    ----------
    folder : Path
        Replaced if it is one that an earlier training made.
    recipe : Recipe
    architecture : mapping, optional
        Of plans.json, for nnU-Net's networks.
    folds : mapping of str to mapping
        Weights by the name of their fold.
    settings : mapping
        Written as training.json.
    shape : Zyx
        Of the first image.

    Returns
    -------
    Path
        What `segment` takes as the model: the folder, or the description in it.

    Raises
    ------
    OutputError
        If something else lies there, or the folder cannot be written.
    """
    refuse_foreign(folder)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        _json(partial / SETTINGS, settings)
        if architecture is None:
            made = _described(partial, recipe, folds)
        else:
            made = None
            _nnunet(partial, recipe, architecture, folds, shape)
        # A folder cannot be renamed over another: the old one goes first, the weights are in the work folder.
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial, folder)
    except (OSError, RuntimeError) as err:
        shutil.rmtree(partial, ignore_errors=True)
        raise OutputError(
            f"cannot write the model to {folder}: {err}; the weights are kept with the run, so make room and "
            "run again"
        ) from err
    return folder if made is None else folder / made


def model_path(folder: Path, recipe: Recipe) -> Path:
    """What `segment` takes as the model of a training."""
    return folder if recipe.is_nnunet else folder / DESCRIPTION


def refuse_foreign(folder: Path) -> None:
    """Refuse to replace what no training made."""
    if folder.exists() and not (folder / SETTINGS).is_file():
        raise OutputError(
            f"{folder} exists, and no training made it ({SETTINGS} is missing); choose another name or "
            "remove it"
        )


def _nnunet(
    folder: Path,
    recipe: Recipe,
    architecture: Mapping[str, Any],
    folds: Mapping[str, Mapping[str, Any]],
    shape: Zyx,
) -> None:
    _json(folder / "plans.json", plans_of(recipe, architecture, shape))
    dataset = {
        "channel_names": {str(i): name for i, name in enumerate(recipe.channels)},
        "labels": {"background": 0}
        | dict(zip(recipe.classes, recipe.regions or recipe.written, strict=True)),
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
    if recipe.regions:
        dataset["regions_class_order"] = recipe.written
    _json(folder / "dataset.json", dataset)
    for name, weights in folds.items():
        (folder / f"fold_{name}").mkdir()
        content = {
            "network_weights": weights,
            "trainer_name": "nnUNetTrainer",
            "inference_allowed_mirroring_axes": mirror_axes(recipe),
        }
        save_weights(content, folder / f"fold_{name}" / CHECKPOINT, configuration(recipe))


def _described(folder: Path, recipe: Recipe, folds: Mapping[str, Mapping[str, Any]]) -> str:
    """State dicts, and a description that names the code of this package which makes their network."""
    import torch

    for name, weights in folds.items():
        torch.save(dict(weights), folder / f"fold_{name}.pt")
    content: dict[str, Any] = {
        "name": folder.name.strip(".").removesuffix(".partial"),
        "weights": [f"fold_{name}.pt" for name in folds],
        "network": "chunkflow_liver.training.seed_networks:build",
        "arguments": {
            "kind": recipe.network,
            "channels": len(recipe.channels),
            "heads": recipe.heads,
            "features": list(recipe.features),
        },
        "allow_code": True,
        "window": list(recipe.window),
        "voxel_nm": [float(v) for v in recipe.voxel_nm[3 - len(recipe.window) :]],
        "channels": list(recipe.channels),
        "classes": {"background": 0} | dict(zip(recipe.classes, recipe.written, strict=True)),
        "activation": "sigmoid" if recipe.regions else "softmax",
        "normalisation": "zscore",
        "mirror_axes": list(mirror_axes(recipe)),
        "width": recipe.features[0],
    }
    # JSON is YAML.
    _json(folder / DESCRIPTION, content)
    return DESCRIPTION


def _json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
