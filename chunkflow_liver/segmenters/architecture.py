"""Networks from plans: every class that a model folder may name is listed here; no other is imported."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chunkflow_liver.errors import ModelSecurityError, SegmenterError, install

UNETS = "dynamic_network_architectures.architectures.unet"
BLOCKS = "dynamic_network_architectures.building_blocks.residual"

NETWORKS: dict[str, tuple[str, str]] = {
    f"{UNETS}.PlainConvUNet": (UNETS, "PlainConvUNet"),
    f"{UNETS}.ResidualEncoderUNet": (UNETS, "ResidualEncoderUNet"),
    f"{UNETS}.ResidualUNet": (UNETS, "ResidualUNet"),
    # Where plans of nnU-Net before 2.3 say the class lies.
    "dynamic_network_architectures.architectures.residual_unet.ResidualEncoderUNet": (
        UNETS,
        "ResidualEncoderUNet",
    ),
}

_TORCH = {
    "torch.nn.modules.conv": ("Conv2d", "Conv3d"),
    "torch.nn.modules.instancenorm": ("InstanceNorm2d", "InstanceNorm3d"),
    "torch.nn.modules.batchnorm": ("BatchNorm2d", "BatchNorm3d"),
    "torch.nn.modules.dropout": ("Dropout", "Dropout2d", "Dropout3d"),
    "torch.nn.modules.activation": ("LeakyReLU", "ReLU", "GELU", "SiLU", "ELU"),
}

OPERATIONS: dict[str, tuple[str, str]] = {
    f"{place}.{name}": ("torch.nn", name)
    for module, names in _TORCH.items()
    for name in names
    for place in (module, "torch.nn")
} | {f"{BLOCKS}.{name}": (BLOCKS, name) for name in ("BasicBlockD", "BottleneckD")}

IMPORTED = ("conv_op", "norm_op", "dropout_op", "nonlin", "block")
NESTED = ("norm_op_kwargs", "dropout_op_kwargs", "nonlin_kwargs")
PLAIN = (
    "n_stages",
    "features_per_stage",
    "kernel_sizes",
    "strides",
    "n_conv_per_stage",
    "n_blocks_per_stage",
    "n_conv_per_stage_decoder",
    "conv_bias",
    "nonlin_first",
    "bottleneck_channels",
    "stem_channels",
    "deep_supervision",
)
MOST = {"n_stages": 12, "features_per_stage": 4096, "bottleneck_channels": 4096, "stem_channels": 4096}
MOST_ELSE = 64


def require_packages() -> None:
    """Refuse at once, and without importing them, if what nnU-Net needs is not installed."""
    for name in ("torch", "dynamic_network_architectures"):
        if importlib.util.find_spec(name) is None:
            raise SegmenterError(f"segmenter 'nnunet' needs {name!r}; {install(name)}")


def check_architecture(architecture: Mapping[str, Any], where: Path) -> tuple[str, dict[str, Any]]:
    """The network class and its options, after every name and number in them was found harmless.

    Parameters
    ----------
    architecture : mapping
        `network_class_name`, `arch_kwargs` and `_kw_requires_import` of a configuration.
    where : Path
        The file it is from, for messages.

    Returns
    -------
    str
        A key of `NETWORKS`.
    dict
        Keyword arguments; those in `IMPORTED` are keys of `OPERATIONS` or None.

    Raises
    ------
    ModelSecurityError
        If a name is not on the list, a number is not plausible, or an option is not known.
    """
    name = architecture.get("network_class_name")
    if not isinstance(name, str) or name not in NETWORKS:
        raise _refusal(where, "network_class_name", name, f"one of {sorted(NETWORKS)}")
    options = architecture.get("arch_kwargs")
    if not isinstance(options, dict):
        raise _refusal(where, "arch_kwargs", options, "a dictionary")
    imported = architecture.get("_kw_requires_import") or ()
    for key in imported:
        if key not in IMPORTED:
            raise _refusal(where, "_kw_requires_import", key, f"only {list(IMPORTED)}")
    for key, value in options.items():
        _check_option(key, value, where)
    return name, dict(options)


def build_network(name: str, options: Mapping[str, Any], channels: int, heads: int) -> Any:
    """An untrained torch module of a checked architecture, in eval mode, on the CPU."""
    require_packages()
    known = {
        key: _import(*OPERATIONS[value]) if key in IMPORTED and value is not None else value
        for key, value in options.items()
    }
    network = _import(*NETWORKS[name])
    try:
        return network(
            input_channels=channels, num_classes=heads, **known | {"deep_supervision": False}
        ).eval()
    except (TypeError, ValueError, AssertionError, IndexError, KeyError, RuntimeError) as err:
        raise SegmenterError(
            f"network {name} cannot be built with the options in plans.json: {err}; "
            "the plans are of another version of the package or were edited by hand"
        ) from err


def layers(axes: int) -> dict[str, Any]:
    """Options of the layers of every U-Net that nnU-Net 2 plans, in 2 or 3 dimensions."""
    return {
        "conv_op": f"torch.nn.modules.conv.Conv{axes}d",
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{axes}d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }


def modern_architecture(configuration: Mapping[str, Any], where: Path) -> dict[str, Any]:
    """The architecture section of a configuration, made from its old keys where it has none.

    Notes
    -----
    Until nnU-Net 2.3 plans held `UNet_class_name`, `conv_kernel_sizes` etc. and the trainer chose the
    rest: instance norm with affine parameters, leaky ReLU, a bias in every convolution.
    """
    if "architecture" in configuration:
        found = configuration["architecture"]
        if not isinstance(found, dict):
            raise _refusal(where, "architecture", found, "a dictionary")
        return found
    try:
        kind = configuration["UNet_class_name"]
        convolutions = configuration["n_conv_per_stage_encoder"]
        base, most = configuration["UNet_base_num_features"], configuration["unet_max_num_features"]
        dimension = len(configuration["patch_size"])
        per_stage = {"PlainConvUNet": "n_conv_per_stage", "ResidualEncoderUNet": "n_blocks_per_stage"}.get(
            kind
        )
        if per_stage is None:
            raise _refusal(where, "UNet_class_name", kind, "'PlainConvUNet' or 'ResidualEncoderUNet'")
        options = {
            "n_stages": len(convolutions),
            "features_per_stage": [min(base * 2**i, most) for i in range(min(len(convolutions), 32))],
            "kernel_sizes": configuration["conv_kernel_sizes"],
            "strides": configuration["pool_op_kernel_sizes"],
            per_stage: convolutions,
            "n_conv_per_stage_decoder": configuration["n_conv_per_stage_decoder"],
            **layers(dimension),
        }
    except (KeyError, TypeError) as err:
        raise SegmenterError(
            f"{where} has a configuration with neither 'architecture' nor the keys of old plans: {err} is "
            "missing; take the plans.json that nnU-Net wrote beside the trained folds"
        ) from err
    return {"network_class_name": f"{UNETS}.{kind}", "arch_kwargs": options, "_kw_requires_import": IMPORTED}


def _check_option(key: str, value: Any, where: Path) -> None:
    if key in IMPORTED:
        if value is not None and not (isinstance(value, str) and value in OPERATIONS):
            raise _refusal(where, key, value, f"one of {sorted(OPERATIONS)} or null")
    elif key in NESTED:
        if value is not None and not isinstance(value, dict):
            raise _refusal(where, key, value, "a dictionary or null")
        for name, number in (value or {}).items():
            if number is not None and not (isinstance(number, int | float) and abs(number) <= 4096):
                raise _refusal(where, f"{key}.{name}", number, "a number, true, false or null")
    elif key in PLAIN:
        _check_numbers(key, value, where, depth=0)
    else:
        raise _refusal(where, key, value, f"only options among {sorted((*IMPORTED, *NESTED, *PLAIN))}")


def _check_numbers(key: str, value: Any, where: Path, depth: int) -> None:
    most = MOST.get(key, MOST_ELSE)
    if isinstance(value, list | tuple) and depth < 2:
        if len(value) > MOST["n_stages"]:
            raise _refusal(where, key, f"{len(value)} entries", f"at most {MOST['n_stages']}")
        for entry in value:
            _check_numbers(key, entry, where, depth + 1)
    elif value is not None and not (isinstance(value, int) and 0 <= value <= most):
        raise _refusal(where, key, value, f"whole numbers from 0 to {most}")


def _refusal(where: Path, key: str, value: object, wanted: str) -> ModelSecurityError:
    return ModelSecurityError(
        f"{where}: {key!r} is {value!r}, which is not on the list of what a model may ask for; wanted "
        f"{wanted}. Nothing was imported or run; use a model that nnU-Net's own planner and trainer made"
    )


def _import(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)
