"""How deep a U-Net is, where it pools and what its kernels are: nnU-Net's own rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from chunkflow_liver.errors import ConfigError, SegmenterError
from chunkflow_liver.segmenters.architecture import UNETS, build_network, layers
from chunkflow_liver.training.recipe import Recipe

NO_LIMIT = 999_999
SMALLEST_MAP = 4
"""Voxels along an axis below which nnU-Net does not pool."""
RESENC_BLOCKS = (1, 3, 4, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6)
BASE_FEATURES = 32
MOST_FEATURES = {2: 512, 3: 320}
FIRST_SIDE = {2: 2048, 3: 256}
REFERENCE = {
    "plain": (8.0, {2: 85e6, 3: 560e6}),
    "m": (8.0, {2: 135e6, 3: 680e6}),
    "l": (24.0, {2: 380e6, 3: 2100e6}),
    "xl": (40.0, {2: 560e6, 3: 3600e6}),
}
"""Of nnU-Net's default planner and its residual presets: GB of a GPU, and how large feature maps fill it."""
REFERENCE_BATCH = {2: 12, 3: 2}
LEAST_BATCH = 2
MOST_COVERED = 0.05


@dataclass(frozen=True)
class Topology:
    """A window that the strides divide, and per stage the stride and the kernel."""

    window: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]


def pooling(spacing: Sequence[float], window: Sequence[int], stages: int | None = None) -> Topology:
    """Where nnU-Net pools a window of voxels of `spacing`, in at most `stages` stages.

    Parameters
    ----------
    spacing : sequence of float
        Voxel size along the axes of the window, in any unit.
    window : sequence of int
    stages : int, optional
        Depth wanted.

    Raises
    ------
    ConfigError
        If the window is too small for so many stages.
    """
    try:
        from nnunetv2.experiment_planning.experiment_planners.network_topology import (
            get_pool_and_conv_props,
        )
    except ModuleNotFoundError as err:
        raise SegmenterError(
            f"training an nnU-Net needs {err.name!r}; pip install 'chunkflow-liver[nnunet]'"
        ) from err
    most = NO_LIMIT if stages is None else stages - 1
    _, strides, kernels, rounded, _ = get_pool_and_conv_props(list(spacing), list(window), SMALLEST_MAP, most)
    if stages is not None and len(strides) < stages:
        raise ConfigError(
            f"a window of {tuple(window)} voxels can be halved for {len(strides)} stages, not for {stages}: "
            f"give a larger window, or {len(strides)} numbers of features"
        )
    # Axes that lag behind may be halved later than the others, in stages beyond those that are wanted.
    count = len(strides) if stages is None else stages
    shrink = [1] * len(window)
    for stride in strides[:count]:
        shrink = [a * int(b) for a, b in zip(shrink, stride, strict=True)]
    sides = window if stages is not None else rounded
    fitted = tuple(-(-int(n) // f) * f for n, f in zip(sides, shrink, strict=True))
    return Topology(
        fitted,
        tuple(tuple(map(int, s)) for s in strides[:count]),
        tuple(tuple(map(int, k)) for k in kernels[:count]),
    )


def architecture(
    network: str, topology: Topology, features: Sequence[int], convolutions: int = 2
) -> dict[str, Any]:
    """The architecture section of plans.json for 'plain' or 'resenc'."""
    axes, stages = len(topology.window), len(topology.strides)
    options: dict[str, Any] = {
        "n_stages": stages,
        "features_per_stage": list(features),
        "kernel_sizes": [list(k) for k in topology.kernels],
        "strides": [list(s) for s in topology.strides],
    }
    if network == "plain":
        options["n_conv_per_stage"] = [convolutions] * stages
        options["n_conv_per_stage_decoder"] = [convolutions] * (stages - 1)
    else:
        options["n_blocks_per_stage"] = list(RESENC_BLOCKS[:stages])
        options["n_conv_per_stage_decoder"] = [1] * (stages - 1)
    options |= layers(axes)
    kind = {"plain": "PlainConvUNet", "resenc": "ResidualEncoderUNet"}[network]
    return {
        "network_class_name": f"{UNETS}.{kind}",
        "arch_kwargs": options,
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def fitted(recipe: Recipe) -> tuple[Recipe, dict[str, Any]]:
    """The recipe with a window that its strides divide, and the architecture of its nnU-Net."""
    spacing = recipe.voxel_nm[3 - len(recipe.window) :]
    topology = pooling(spacing, recipe.window, len(recipe.features))
    made = architecture(recipe.network, topology, recipe.features, recipe.convolutions)
    return replace(recipe, window=topology.window), made


@dataclass(frozen=True)
class Planned:
    """What nnU-Net's planner chooses: network, window, features of every stage, windows per step."""

    network: str
    window: tuple[int, ...]
    features: tuple[int, ...]
    batch: int


def planned(
    preset: str,
    *,
    spacing: Sequence[float],
    shape: Sequence[int],
    heads: int,
    channels: int = 1,
    dataset_voxels: float,
    memory_gb: float | None = None,
) -> Planned:
    """The network, window and batch that nnU-Net's planner gives a data set [1]_.

    Parameters
    ----------
    preset : {'plain', 'm', 'l', 'xl'}
        The default planner, or a residual one for a GPU of 8, 24 or 40 GB.
    spacing, shape : sequence
        Voxel size and median shape along two or three axes.
    heads, channels : int
        Classes with the background, and input channels.
    dataset_voxels : float
        Voxels of the whole data set: a batch covers at most 5 % of them.
    memory_gb : float, optional
        Instead of what the preset is made for.

    References
    ----------
    .. [1] nnunetv2/experiment_planning/experiment_planners/default_experiment_planner.py
    """
    if preset not in REFERENCE:
        raise ConfigError(f"no preset {preset!r} of nnU-Net's planner; there are {sorted(REFERENCE)}")
    network = "plain" if preset == "plain" else "resenc"
    made_for, reference = REFERENCE[preset]
    axes = len(spacing)
    inverse = [1 / v for v in spacing]
    volume = 1.0
    for value in inverse:
        volume *= value
    scale = (FIRST_SIDE[axes] ** axes / volume) ** (1 / axes)
    side = [min(round(v * scale), n) for v, n in zip(inverse, shape, strict=True)]
    topology = pooling(spacing, side)
    target = reference[axes] * (memory_gb or made_for) / made_for
    # The default planner counts a least batch, the residual ones a reference batch; only it fears
    # that few windows cover the data.
    counted = LEAST_BATCH / REFERENCE_BATCH[axes] if preset == "plain" else 1.0
    covered = MOST_COVERED if preset == "plain" else 1.0

    def features(found: Topology) -> tuple[int, ...]:
        return tuple(min(MOST_FEATURES[axes], BASE_FEATURES * 2**i) for i in range(len(found.strides)))

    def maps(found: Topology) -> int:
        return _feature_maps(network, found, features(found), channels, heads)

    while maps(topology) * counted > target:
        window = list(topology.window)
        share = [a / b for a, b in zip(window, shape, strict=True)]
        # As the planner does, whose sort takes the last of equals.
        axis = max(range(axes), key=lambda a: (share[a], a))
        smaller = list(window)
        smaller[axis] -= _divisor(topology, axis)
        window[axis] -= _divisor(pooling(spacing, smaller), axis)
        topology = pooling(spacing, window)
    batch = round(target / maps(topology) * REFERENCE_BATCH[axes])
    voxels = 1
    for n in topology.window:
        voxels *= n
    batch = max(min(batch, round(dataset_voxels * covered / voxels)), LEAST_BATCH)
    return Planned(network, topology.window, features(topology), batch)


def _divisor(topology: Topology, axis: int) -> int:
    found = 1
    for stride in topology.strides:
        found *= stride[axis]
    return found


@cache
def _feature_maps(
    network: str, topology: Topology, features: tuple[int, ...], channels: int, heads: int
) -> int:
    """Numbers in all feature maps of a window, as the network classes count them."""
    import torch

    made = architecture(network, topology, features)
    # Only its feature maps are counted: it gets no memory for weights.
    with torch.device("meta"):
        built = build_network(made["network_class_name"], made["arch_kwargs"], channels, heads)
    return int(built.compute_conv_feature_map_size(list(topology.window)))
