"""Windows, strides and batches are those of nnU-Net's own planner."""

from __future__ import annotations

import contextlib
import io
import json
import os
import warnings
from unittest import mock

import numpy as np
import pytest

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.segmenters.architecture import check_architecture
from chunkflow_liver.training.recipe import Recipe
from chunkflow_liver.training.topology import fitted, planned, pooling


def plans(folder, preset, spacing, shape, memory_gb):
    """What nnU-Net's planner chooses, from a fingerprint that is written by hand."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nnunetv2.experiment_planning.experiment_planners import default_experiment_planner as default
        from nnunetv2.experiment_planning.experiment_planners.residual_unets import (
            residual_encoder_unet_planners as residual,
        )

        kind = {
            "plain": default.ExperimentPlanner,
            "m": residual.nnUNetPlannerResEncM,
            "l": residual.nnUNetPlannerResEncL,
        }[preset]
        for part in ("raw/Dataset001_x/imagesTr", "pre/Dataset001_x", "results"):
            (folder / part).mkdir(parents=True)
        labels = {f"class {i}": i for i in range(3)}
        dataset = {"channel_names": {"0": "EM"}, "labels": labels, "numTraining": 0, "file_ending": ".tif"}
        (folder / "raw/Dataset001_x/dataset.json").write_text(json.dumps(dataset))
        seen = {
            "spacings": [list(spacing)],
            "shapes_after_crop": [list(shape)],
            "foreground_intensity_properties_per_channel": {"0": {}},
            "median_relative_size_after_cropping": 1.0,
        }
        (folder / "pre/Dataset001_x/dataset_fingerprint.json").write_text(json.dumps(seen))
        names = {"nnUNet_raw": "raw", "nnUNet_preprocessed": "pre", "nnUNet_results": "results"}
        environment = {k: str(folder / v) for k, v in names.items()}
        memory = {} if memory_gb is None else {"gpu_memory_target_in_gb": memory_gb}
        with mock.patch.dict(os.environ, environment), contextlib.redirect_stdout(io.StringIO()):
            planner = kind("Dataset001_x", **memory)
            return planner.get_plans_for_configuration(np.array(spacing), np.array(shape), "x", 1e10, {})


@pytest.mark.parametrize(
    ("preset", "spacing", "shape", "memory_gb"),
    [
        ("plain", (40.0, 8.0, 8.0), (20, 128, 128), 1),
        ("plain", (8.0, 8.0), (300, 200), 1),
        ("m", (30.0, 8.0, 8.0), (20, 200, 160), 1),
    ],
)
def test_the_plan_is_that_of_nnunet(preset, spacing, shape, memory_gb, tmp_path):
    wanted = plans(tmp_path, preset, spacing, shape, memory_gb)
    found = planned(preset, spacing=spacing, shape=shape, heads=3, dataset_voxels=1e10, memory_gb=memory_gb)
    options = wanted["architecture"]["arch_kwargs"]
    assert found.window == tuple(int(n) for n in wanted["patch_size"])
    assert (found.batch, found.features) == (wanted["batch_size"], tuple(options["features_per_stage"]))
    topology = pooling(spacing, found.window)
    assert topology.strides == tuple(tuple(s) for s in options["strides"])
    assert topology.kernels == tuple(tuple(k) for k in options["kernel_sizes"])


def test_a_chosen_depth_cuts_the_topology_and_rounds_the_window_up():
    """z is four times as long: the first two strides and kernels leave it alone."""
    recipe, made = fitted(Recipe(("mito",), (32.0, 8.0, 8.0), (5, 50, 64), features=(4, 8, 16)))
    options = made["arch_kwargs"]
    assert recipe.window == (5, 52, 64)
    assert options["strides"] == [[1, 1, 1], [1, 2, 2], [1, 2, 2]]
    assert options["kernel_sizes"] == [[1, 3, 3], [1, 3, 3], [3, 3, 3]]
    check_architecture(made, "plans.json")


@pytest.mark.parametrize("network", ["plain", "resenc"])
def test_networks_are_built_with_the_weights_of_their_seed(network):
    from chunkflow_liver.training.networks import network_of

    recipe, made = fitted(
        Recipe(("mito",), (8.0, 8.0, 8.0), (16, 16, 16), features=(2, 4), network=network, seed=3)
    )
    one, two = (network_of(recipe, made).state_dict() for _ in range(2))
    assert all((one[k] == two[k]).all() for k in one)


def test_what_cannot_be_planned_is_refused():
    with pytest.raises(ConfigError, match=r"halved for 2 stages, not for 4: give a larger window"):
        pooling((8, 8, 8), (8, 8, 8), 4)
    with pytest.raises(ConfigError, match=r"no preset 'xxl' .* \['l', 'm', 'plain', 'xl'\]"):
        planned("xxl", spacing=(8, 8, 8), shape=(9, 9, 9), heads=2, dataset_voxels=1e6)
