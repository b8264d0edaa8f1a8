"""Packages that measure in place of this one, and what a user gives them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.kernels.features.pyradiomics import extractor, version
from chunkflow_liver.ops.steps.place import PathLike

ENGINES = ("pyradiomics",)
PARTS = ("setting", "featureClass", "imageType", "voxelSetting")
"""Parts of a parameter file of PyRadiomics."""


def given_to(
    engine: str, features: Sequence[str], settings: Mapping[str, Any] | PathLike | None
) -> tuple[list[str], dict[str, Any]]:
    """Features and settings of `measure` for an engine.

    Parameters
    ----------
    engine : str
        One of `ENGINES`.
    features : sequence of str
        'basic', and the engine's own classes.
    settings : mapping or path, optional
        A parameter file of PyRadiomics, what one would hold, or its part 'setting' alone; a mapping may
        hold `crop_voxels` too.

    Raises
    ------
    ConfigError
        If there is no such engine, it is not installed, or it refuses what it is given.
    """
    if engine not in ENGINES:
        raise ConfigError(f"no engine {engine!r}; there are {list(ENGINES)}")
    held = dict(settings) if isinstance(settings, Mapping) else {} if settings is None else _file(settings)
    own = {name: held.pop(name) for name in ("crop_voxels",) if name in held}
    parameters = held if set(held) & set(PARTS) else {"setting": held} if held else {}
    wanted = [feature for feature in features if feature != "basic"]
    if wanted and "featureClass" in parameters:
        raise ConfigError(
            f"features {wanted} and the parameters' featureClass both say what to measure; leave one out"
        )
    if wanted:
        parameters = {**parameters, "featureClass": {name: None for name in wanted}}
    # Its schema knows no empty parts.
    text = json.dumps({"imageType": {"Original": {}}} | parameters, sort_keys=True)
    extractor(text)
    kept = [feature for feature in features if feature == "basic"]
    return [*kept, engine], {**own, "parameters": text}


def told_by(engine: str) -> dict[str, str]:
    """What a table's provenance says of its engine."""
    return {"engine": f"{engine} {version()}"}


def _file(path: PathLike) -> dict[str, Any]:
    """What a parameter file holds."""
    try:
        with open(os.fspath(path), encoding="utf-8") as file:
            held = yaml.safe_load(file)
    except OSError as err:
        raise ConfigError(f"the parameter file {os.fspath(path)} cannot be read: {err.strerror}") from err
    except yaml.YAMLError as err:
        raise ConfigError(f"the parameter file {os.fspath(path)} is no YAML: {err}") from err
    if not isinstance(held, dict):
        raise ConfigError(f"the parameter file {os.fspath(path)} holds no names and values")
    return held
