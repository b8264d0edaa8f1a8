"""The JSON of a trained nnU-Net folder: every value that is used is checked where it is read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from chunkflow_liver.errors import SegmenterError
from chunkflow_liver.segmenters.limits import finite, whole
from chunkflow_liver.segmenters.resampling import NNUNET_FUNCTION, ORDERS, Spline

SCHEMES = (
    "ZScoreNormalization",
    "CTNormalization",
    "RescaleTo01Normalization",
    "RGBTo01Normalization",
    "NoNormalization",
)
CT_KEYS = ("mean", "std", "percentile_00_5", "percentile_99_5")
MOST_JSON_BYTES = 64 << 20


def read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MOST_JSON_BYTES:
            raise SegmenterError(
                f"{path} has {path.stat().st_size} bytes; a model's JSON has at most {MOST_JSON_BYTES}"
            )
        content = json.loads(path.read_bytes())
    except FileNotFoundError as err:
        raise SegmenterError(
            f"there is no {path}; wanted a trained nnU-Net folder with plans.json, dataset.json, fold_0/ ..."
        ) from err
    except (ValueError, RecursionError) as err:
        raise SegmenterError(
            f"{path} is not readable JSON: {err}; copy it again from where it was trained"
        ) from err
    if not isinstance(content, dict):
        raise SegmenterError(f"{path} holds a {type(content).__name__}; wanted a JSON object")
    return content


def resolved(plans: Mapping[str, Any], name: object, where: Path) -> dict[str, Any]:
    """One configuration with everything it inherits."""
    there = need(plans, "configurations", where, dict)
    chain: list[dict[str, Any]] = []
    seen: list[object] = []
    while name is not None:
        if not isinstance(name, str) or name not in there or not isinstance(there[name], dict):
            raise SegmenterError(f"{where} has no configuration {name!r}; there are {sorted(there)}")
        if name in seen:
            raise SegmenterError(f"{where}: configuration {name!r} inherits from itself through {seen}")
        seen.append(name)
        chain.append(there[name])
        name = there[name].get("inherits_from")
    if not chain:
        raise SegmenterError(
            f"{where.parent}: the checkpoint does not say which configuration it was trained with; "
            f"give configuration=, one of {sorted(there)}"
        )
    return {key: value for section in reversed(chain) for key, value in section.items()}


def check_supported(plans: Mapping[str, Any], section: Mapping[str, Any], where: Path) -> None:
    if section.get("previous_stage"):
        raise SegmenterError(
            f"{where}: this configuration is the second stage of a cascade (after "
            f"{section['previous_stage']!r}), which is not supported; use a model trained in one stage"
        )
    for key, value, known in (
        ("label_manager", plans.get("label_manager"), "LabelManager"),
        ("preprocessor_name", section.get("preprocessor_name"), "DefaultPreprocessor"),
    ):
        if value not in (None, known):
            raise SegmenterError(
                f"{where}: {key} {value!r} is not supported: only what {known!r} does is known here; "
                "retrain with the default"
            )


def check_window(window: tuple[int, ...], strides: Any, where: Path) -> None:
    """Refuse a window that the network's strides do not divide: its skip connections would not fit."""
    per_stage = strides if isinstance(strides, list | tuple) else [strides]
    if any(isinstance(s, list | tuple) and len(s) != len(window) for s in per_stage):
        raise SegmenterError(
            f"{where}: strides {strides} do not have {len(window)} axes like patch_size {window}"
        )
    for axis, size in enumerate(window):
        shrink = math.prod(s[axis] if isinstance(s, list | tuple) else s for s in per_stage)
        if shrink < 1 or size % shrink:
            raise SegmenterError(
                f"{where}: patch_size {window} is no multiple of {shrink} on axis {axis}, the product of the "
                "network's strides; take the plans.json that the model was trained with"
            )


def normalisation(
    plans: Mapping[str, Any], section: Mapping[str, Any], channels: int, where: Path
) -> tuple[tuple[str, ...], tuple[dict[str, float], ...]]:
    names = need(section, "normalization_schemes", where, list)
    masks = section.get("use_mask_for_norm") or [False] * channels
    if len(names) != channels or len(masks) != channels:
        raise SegmenterError(
            f"{where}: {len(names)} normalization_schemes and {len(masks)} use_mask_for_norm "
            f"for {channels} channels; wanted one per channel"
        )
    old = plans.get("foreground_intensity_properties_by_modality", {})
    properties = plans.get("foreground_intensity_properties_per_channel", old)
    intensities = []
    for c, (name, mask) in enumerate(zip(names, masks, strict=True)):
        if name not in SCHEMES:
            raise SegmenterError(
                f"{where}: no normalisation {name!r} of channel {c}; there are {sorted(SCHEMES)}"
            )
        if mask and name == "ZScoreNormalization":
            raise SegmenterError(
                f"{where}: use_mask_for_norm is true for channel {c}: its mean is over a mask with filled "
                "holes, which is not supported; retrain with use_mask_for_norm false"
            )
        kept: dict[str, float] = {}
        if name == "CTNormalization":
            found = properties.get(str(c)) if isinstance(properties, dict) else None
            kept = {key: need(found or {}, key, where, (int, float)) for key in CT_KEYS}
            if not all(map(finite, kept.values())):
                raise SegmenterError(f"{where}: intensity properties of channel {c} are not finite: {kept}")
        intensities.append(kept)
    return tuple(names), tuple(intensities)


def spline(section: Mapping[str, Any], what: str, order: int, where: Path) -> Spline:
    """How `what` ("data" or "probabilities") is resampled; nnU-Net's default if the plans do not say."""
    key = f"resampling_fn_{what}"
    function, options = section.get(key, NNUNET_FUNCTION), section.get(f"{key}_kwargs") or {}
    if function != NNUNET_FUNCTION:
        return Spline(order, function=str(function))
    forced = options.get("force_separate_z")
    found = Spline(options.get("order", order), options.get("order_z", 0), forced)
    if found.order not in ORDERS or found.order_z not in ORDERS or forced not in (None, True, False):
        raise SegmenterError(
            f"{where}: {key}_kwargs is {options}; wanted splines of order {ORDERS}, as nnU-Net writes"
        )
    return found


def channel_names(dataset: Mapping[str, Any], where: Path) -> tuple[str, ...]:
    names = dataset.get("modality", dataset.get("channel_names"))
    if not isinstance(names, dict) or sorted(names) != sorted(map(str, range(len(names)))) or not names:
        raise SegmenterError(f"{where}: channel_names is {names!r}; wanted {{'0': 'EM', '1': ...}}")
    return tuple(str(names[str(c)]) for c in range(len(names)))


def class_numbers(
    dataset: Mapping[str, Any], where: Path
) -> tuple[dict[str, int], int, tuple[int, ...] | None]:
    """Number per class, number of heads, and the order of regions if there are any."""
    labels = {
        name: [value] if whole(value) else value
        for name, value in need(dataset, "labels", where, dict).items()
        if name != "ignore"
    }
    for name, value in labels.items():
        if not isinstance(value, list) or not value or not all(whole(v) and v < 2**16 for v in value):
            raise SegmenterError(
                f"{where}: class {name!r} is {value!r}; wanted whole numbers from 0 to 65535"
            )
    if labels.get("background") != [0]:
        raise SegmenterError(f"{where}: class 'background' must be 0, got {labels.get('background')!r}")
    if any(len(value) > 1 for value in labels.values()):
        regions = [name for name, value in labels.items() if set(value) != {0}]
        order = numbers(dataset, "regions_class_order", where, lambda v: whole(v) and v < 2**16)
        if len(order) != len(regions):
            raise SegmenterError(
                f"{where}: {len(order)} regions_class_order for {len(regions)} regions {regions}"
            )
        return {"background": 0, **dict(zip(regions, order, strict=True))}, len(regions), order
    singles = sorted(value[0] for value in labels.values())
    if singles != list(range(len(singles))):
        raise SegmenterError(f"{where}: class numbers {singles} are not 0, 1, 2 ... without gaps")
    return {name: value[0] for name, value in labels.items()}, len(singles), None


def need(mapping: Mapping[str, Any], key: str, where: Path, kind: type | tuple[type, ...]) -> Any:
    value = mapping.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise SegmenterError(f"{where}: {key!r} is {value!r}; nnU-Net writes a {kind} there")
    return value


def numbers(
    mapping: Mapping[str, Any], key: str, where: Path, fits: Callable[[Any], bool]
) -> tuple[Any, ...]:
    values = need(mapping, key, where, (list, tuple))
    if len(values) > 2**16 or not all(map(fits, values)):
        raise SegmenterError(
            f"{where}: {key!r} is {str(values)[:80]}, with a number that makes no sense there"
        )
    return tuple(values)
