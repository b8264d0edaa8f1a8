"""Any torch network as a kind: a TorchScript or torch.export file, or Python code, and a description."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.errors import ModelSecurityError, SegmenterError
from chunkflow_liver.segmenters.any_torch.entry_point import EntryPoint, find, is_installed
from chunkflow_liver.segmenters.any_torch.files import load_torch
from chunkflow_liver.segmenters.any_torch.model import TorchModel
from chunkflow_liver.segmenters.any_torch.script import check_script
from chunkflow_liver.segmenters.architecture import check_architecture
from chunkflow_liver.segmenters.limits import MOST_WINDOW, finite, whole
from chunkflow_liver.segmenters.registry import Kind

KEYS = (
    *("name", "weights", "architecture", "network", "arguments", "allow_code", "window", "voxel_nm"),
    "channels",
    *("classes", "activation", "normalisation", "mirror_axes", "width"),
)
SCHEMES = {
    "zscore": "ZScoreNormalization",
    "rescale_to_0_1": "RescaleTo01Normalization",
    "divide_255": "RGBTo01Normalization",
    "none": "NoNormalization",
}
ACTIVATIONS = ("softmax", "sigmoid")
SUFFIXES = (".pt", ".pt2")
WIDEST = float(np.finfo(np.float32).max)
"""Limits that clip nothing, so that a fixed mean and deviation can stand as nnU-Net's CTNormalization."""
MOST_WIDTH = 1 << 16


def read_torch(content: Mapping[str, Any], where: Path, **choice: Any) -> TorchModel:
    """The network that a description describes; files are looked for, none of them is run.

    Parameters
    ----------
    content : mapping
        Of the YAML file; `configs/models/torch_model.yaml` explains every key.
    where : Path
        The YAML file; paths in it are relative to its folder.
    **choice
        Nothing: a description has no configurations, folds or checkpoints to choose from.

    Raises
    ------
    SegmenterError
        If a key is unknown, missing, or has a value that makes no sense.
    ModelSecurityError
        If it names Python code without `allow_code: true`.
    """
    if choice:
        raise SegmenterError(
            f"{where}: a described network has no {sorted(choice)} to choose from, as nnU-Net folders have"
        )
    for key in content:
        if key not in KEYS:
            near = difflib.get_close_matches(str(key), KEYS, 1)
            raise SegmenterError(
                f"{where}: unknown key {key!r}; "
                + (f"did you mean {near[0]!r}?" if near else f"there are {list(KEYS)}")
            )
    window = _window(content, where)
    channels = _names(content.get("channels", ["raw"]), "channels", where)
    classes, heads, order = _classes(content, where)
    schemes, intensities = _normalisation(content.get("normalisation", "zscore"), len(channels), where)
    axes = content.get("mirror_axes", [])
    if not isinstance(axes, list) or not all(whole(a) and a < len(window) for a in axes):
        raise _wrong(
            where, "mirror_axes", axes, f"axes of the window, 0 to {len(window) - 1}, such as [0, 1]"
        )
    if len(set(axes)) < len(axes):
        raise _wrong(where, "mirror_axes", axes, "every axis once")
    width = content.get("width", 32)
    if not whole(width, 1) or width > MOST_WIDTH:
        raise _wrong(where, "width", width, f"a number of channels, 1 to {MOST_WIDTH}")
    name = content.get("name", where.stem)
    if not isinstance(name, str) or not name.strip():
        raise _wrong(where, "name", name, "a text")
    entry, architecture, weights = _network(content, where)
    return TorchModel(
        folder=where,
        name=name,
        classes=classes,
        heads=heads,
        region_order=order,
        channels=channels,
        window=window,
        spacing=_spacing(content, len(window), where),
        schemes=schemes,
        intensities=intensities,
        mirror_axes=tuple(axes),
        weights=weights,
        entry=entry,
        width=width,
        architecture=architecture,
        allow_code=bool(content.get("allow_code", False)),
    )


def torch_fingerprint(model: TorchModel) -> str:
    """SHA-256 over the description, the files of weights, and the source file of an entry point."""
    said = asdict(model)
    for place in ("folder", "weights", "entry", "allow_code"):
        del said[place]
    if model.architecture is None:
        # As it was before there were any.
        del said["architecture"]
    files = list(model.weights)
    if model.entry is not None:
        said["entry"] = [model.entry.name, dict(model.entry.arguments)]
        files.append(model.entry.source)
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _network(
    content: Mapping[str, Any], where: Path
) -> tuple[EntryPoint | None, tuple[str, dict[str, Any]] | None, tuple[Path, ...]]:
    """Python code if it is named and allowed, or an architecture that is known; and the files of weights."""
    given = content.get("weights", [])
    listed = [given] if isinstance(given, str) else given
    if not isinstance(listed, list) or not all(isinstance(name, str) and name for name in listed):
        raise _wrong(where, "weights", given, "a file or a list of files")
    weights = tuple(where.parent / name for name in listed)
    for path in weights:
        if not path.is_file():
            raise SegmenterError(f"{where}: there is no file of weights {path}")
    allowed = content.get("allow_code", False)
    if not isinstance(allowed, bool):
        raise _wrong(where, "allow_code", allowed, "true or false")
    code, known = content.get("network"), content.get("architecture")
    if code is None and "arguments" in content:
        raise SegmenterError(f"{where}: 'arguments' goes with 'network: module:function', which is missing")
    if known is not None:
        if code is not None or not weights:
            raise SegmenterError(
                f"{where}: 'architecture' goes with 'weights' (its state dicts), and not with 'network'"
            )
        if not isinstance(known, dict):
            raise _wrong(where, "architecture", known, "what plans.json calls 'architecture'")
        return None, check_architecture(known, where), weights
    if code is None:
        _check_files(weights, where, allowed=allowed)
        return None, None, weights
    if not isinstance(code, str) or not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", code):
        raise _wrong(where, "network", code, "module:function, such as nets.unet:build")
    arguments = content.get("arguments", {})
    if not isinstance(arguments, dict) or not all(isinstance(k, str) for k in arguments):
        raise _wrong(where, "arguments", arguments, "keyword arguments of the function")
    try:
        json.dumps(arguments)
    except (TypeError, ValueError) as err:
        raise _wrong(where, "arguments", arguments, "numbers, texts, lists and mappings only") from err
    module, _, function = code.partition(":")
    source = find(module, where.parent)
    if not allowed:
        place = source or f"a module {module!r} that is not here"
        raise ModelSecurityError(
            f"{where} would run the Python function {function!r} of {place}. It was not run; if you have "
            "read it and trust it, say 'allow_code: true' in the description"
        )
    if source is None:
        raise SegmenterError(
            f"{where}: no Python module {module!r}, neither installed nor as a file in {where.parent}"
        )
    entry = EntryPoint(module, function, source, is_installed(module, where.parent), arguments)
    return entry, None, weights


def _check_files(weights: tuple[Path, ...], where: Path, *, allowed: bool) -> None:
    """Refuse files that are no networks of their own, or that may run what nobody allowed."""
    if not weights:
        raise SegmenterError(
            f"{where}: no network; wanted 'weights' (a TorchScript .pt or torch.export .pt2 file), or "
            "'network' (Python code, as module:function), or 'architecture' beside its state dict"
        )
    for path in weights:
        if path.suffix not in SUFFIXES:
            raise _wrong(
                where, "weights", path.name, "a .pt (TorchScript) or .pt2 (torch.export) file; a state "
                "dict needs 'network: module:function' or 'architecture' beside it"
            )  # fmt: skip
        if path.suffix == ".pt2" and not allowed:
            raise ModelSecurityError(
                f"{where}: {path} is a torch.export file, and loading one can run any code. It was not "
                "loaded; if you know who made it and trust it, say 'allow_code: true' in the description, or "
                "make a safe form of it: 'chunkflow-liver model import'"
            )
        if path.suffix == ".pt" and zipfile.is_zipfile(path) and not allowed:
            check_script(path)


def _window(content: Mapping[str, Any], where: Path) -> tuple[int, ...]:
    window = content.get("window")
    fits = isinstance(window, list) and len(window) in (2, 3)
    if not fits or not all(whole(n, 1) and n <= MOST_WINDOW for n in window or ()):
        raise _wrong(where, "window", window, f"[z, y, x] or [y, x] in voxels, 1 to {MOST_WINDOW} each")
    return tuple(window or ())


def _spacing(content: Mapping[str, Any], axes: int, where: Path) -> tuple[float, ...] | None:
    if "voxel_nm" not in content:
        raise SegmenterError(
            f"{where}: 'voxel_nm' is missing: the voxel size in nm that the network was trained on, one "
            "number per axis of the window, or null if it takes any"
        )
    values = content["voxel_nm"]
    if values is None:
        return None
    if not isinstance(values, list) or len(values) != axes or not all(finite(v) and v > 0 for v in values):
        raise _wrong(where, "voxel_nm", values, f"{axes} sizes above 0, one per axis of the window, or null")
    return tuple(float(v) for v in values)


def _names(values: Any, key: str, where: Path) -> tuple[str, ...]:
    if not isinstance(values, list) or not values or not all(isinstance(v, str) and v for v in values):
        raise _wrong(where, key, values, "a list of names")
    return tuple(values)


def _classes(content: Mapping[str, Any], where: Path) -> tuple[dict[str, int], int, tuple[int, ...] | None]:
    """Number per class, number of heads, and the order of the heads if each is for itself."""
    activation = content.get("activation", "softmax")
    if activation not in ACTIVATIONS:
        raise _wrong(where, "activation", activation, f"one of {list(ACTIVATIONS)}")
    given = content.get("classes")
    if not isinstance(given, dict) or not all(isinstance(name, str) for name in given):
        raise _wrong(where, "classes", given, "names and numbers, such as {background: 0, mito: 1}")
    odd = [n for n in given.values() if not whole(n) or n >= 2**16]
    if odd:
        raise _wrong(where, "classes", odd[0], "whole numbers from 0 to 65535")
    if activation == "sigmoid":
        found = {name: n for name, n in given.items() if name != "background"}
        if given.get("background", 0) != 0 or not found or 0 in found.values():
            raise _wrong(where, "classes", given, "one class above 0 per head; only 'background' is 0")
        return {"background": 0, **found}, len(found), tuple(found.values())
    if sorted(given.values()) != list(range(len(given))) or len(given) < 2 or given.get("background") != 0:
        raise _wrong(
            where, "classes", given, "'background' 0 and then 1, 2, ... without gaps, in the order of the "
            "network's heads; heads of their own need 'activation: sigmoid'"
        )  # fmt: skip
    return dict(given), len(given), None


def _normalisation(
    given: Any, channels: int, where: Path
) -> tuple[tuple[str, ...], tuple[dict[str, float], ...]]:
    """Scheme and numbers of every channel; one that is said once holds for all."""
    each = given if isinstance(given, list) else [given] * channels
    if len(each) != channels:
        raise _wrong(where, "normalisation", given, f"one, or a list of one per channel ({channels})")
    schemes, intensities = [], []
    for said in each:
        if isinstance(said, dict):
            values = [said.get("mean"), said.get("sd")]
            if said.keys() != {"mean", "sd"} or not all(map(finite, values)) or said["sd"] <= 0:
                raise _wrong(where, "normalisation", said, "{mean: number, sd: number above 0}")
            schemes.append("CTNormalization")
            fixed = {"mean": float(said["mean"]), "std": float(said["sd"])}
            intensities.append({**fixed, "percentile_00_5": -WIDEST, "percentile_99_5": WIDEST})
        elif isinstance(said, str) and said in SCHEMES:
            schemes.append(SCHEMES[said])
            intensities.append({})
        else:
            raise _wrong(where, "normalisation", said, f"one of {list(SCHEMES)}, or {{mean: , sd: }}")
    return tuple(schemes), tuple(intensities)


def _wrong(where: Path, key: str, got: object, wanted: str) -> SegmenterError:
    return SegmenterError(f"{where}: {key!r} is {str(got)[:80]!r}; wanted {wanted}")


TORCH = Kind(read_torch, load_torch, torch_fingerprint)
"""The kind of described networks."""
