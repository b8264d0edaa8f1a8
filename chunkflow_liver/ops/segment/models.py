"""The models of a segmentation: read, checked, each with the level of the image that it wants."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from chunkflow_liver.errors import ChunkflowLiverError, ConfigError, InputError, SegmenterError
from chunkflow_liver.ops.steps.levels import Repeated, factor_between
from chunkflow_liver.ops.steps.place import PathLike
from chunkflow_liver.segmenters import Source, kind_of
from chunkflow_liver.segmenters.model import Model
from chunkflow_liver.segmenters.settings import is_number
from chunkflow_liver.segmenters.streaming.spacing import Fit, nearest
from chunkflow_liver.store.images import inspect
from chunkflow_liver.store.volume import Volume

ModelEntry = PathLike | Mapping[str, Any]
CHOICES = ("configuration", "folds", "checkpoint")
MOST_YAML_BYTES = 1 << 20


def read_sources(
    entries: Sequence[ModelEntry], kind: str, raw: tuple[Volume, ...], options: Mapping[str, Any]
) -> tuple[tuple[Source, ...], tuple[tuple[Volume | Repeated, ...], ...]]:
    """Every model with the level it reads, and the channels at that level.

    Parameters
    ----------
    entries : sequence of path or mapping
        Each a model folder or a YAML description, or a mapping with `model` and what differs for it:
        `weight`, `configuration`, `folds`, `checkpoint`.
    kind : str
        Of folders; a description in YAML is of kind 'torch'.
    raw : tuple of Volume
        Channels, at the level that is written.
    options : mapping
        `spacing_units` and `accept_spacing`, and what of `CHOICES` holds for all models.

    Returns
    -------
    tuple of Source
    tuple of tuple of Volume or Repeated
        Channels per source, on the same voxels.
    """
    sources, channels = [], []
    accept = options.get("accept_spacing", False)
    if not isinstance(accept, bool):
        raise ConfigError(f"accept_spacing is True or False, got {accept!r}")
    for entry in entries:
        of, model, weight = _read(entry, kind, options)
        _check_channels(raw, model)
        fit, seen = _fit(raw, model, options.get("spacing_units"), accept)
        factor = factor_between(seen[0].volume if isinstance(seen[0], Repeated) else seen[0], raw[0]) or (
            1,
            1,
            1,
        )
        sources.append(Source(of, model, kind_of(of).fingerprint(model), fit, factor, weight))
        channels.append(seen)
    return tuple(sources), tuple(channels)


def check_models(model: Any, kind: str, options: Mapping[str, Any]) -> None:
    """Read one model, or several, without an image: what is wrong with them is told though there is none.

    Raises
    ------
    ConfigError, SegmenterError
    """
    for entry in model if isinstance(model, list | tuple) else (model,):
        _read(entry, kind, options)


def _read(entry: ModelEntry, kind: str, options: Mapping[str, Any]) -> tuple[str, Model, float]:
    """Kind, model and weight of an entry."""
    own: dict[str, Any] = {"model": entry}
    if isinstance(entry, Mapping):
        own = {key: value for key, value in entry.items() if value is not None}
    unknown = sorted(own.keys() - {"model", "weight", *CHOICES})
    if unknown or "model" not in own:
        raise ConfigError(
            f"a model of several is given by 'model' and, if wanted, 'weight' and {list(CHOICES)}; "
            f"got {sorted(own)}"
        )
    weight = own.pop("weight", 1.0)
    if not is_number(weight) or not 0 < weight < float("inf"):
        raise ConfigError(f"the weight of model {own['model']} must be a number above 0, got {weight!r}")
    if not isinstance(own["model"], str | os.PathLike):
        raise ConfigError(f"a model is the path of a folder or description, got {own['model']!r}")
    path = Path(own.pop("model"))
    choice = {k: v for k in CHOICES if (v := own.get(k, options.get(k))) is not None}
    of = "torch" if path.suffix in (".yaml", ".yml") else kind
    known = kind_of(of)
    model = known.read(described(path), path, **choice) if of == "torch" else known.read(path, **choice)
    return of, model, float(weight)


def called(sources: Sequence[Source]) -> list[str]:
    """What messages call each model: file or folder and configuration, and its number among several."""
    names = [f"{s.model.folder.name} ({s.model.name})" for s in sources]
    if len(names) == 1:
        return names
    return [f"model {i} of {len(names)}, {name}" for i, name in enumerate(names, 1)]


def described(path: Path) -> Mapping[str, Any]:
    """The mapping in a model's YAML file."""
    if not path.is_file():
        raise SegmenterError(f"there is no model description {path}")
    if path.stat().st_size > MOST_YAML_BYTES:
        raise SegmenterError(f"{path} has {path.stat().st_size} bytes; a description has at most 1 MiB")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as err:
        raise SegmenterError(f"{path} is not readable YAML: {err}") from err
    if not isinstance(content, dict):
        raise SegmenterError(f"{path} holds a {type(content).__name__}; wanted keys and values")
    return content


def _check_channels(channels: tuple[Volume, ...], model: Model) -> None:
    if len(channels) != len(model.channels):
        raise ConfigError(
            f"the model in {model.folder} was trained on {len(model.channels)} channel(s) {model.channels}, "
            f"got {len(channels)}; give one volume per channel"
        )


def check_images(channels: tuple[Volume, ...]) -> None:
    """Refuse channels that do not lie on the same voxels, or on whole multiples of them."""
    first = channels[0]
    for c in channels:
        if c.kind == "label":
            raise InputError(f"{c.url} is a label image; a network needs the image itself")
        if factor_between(c, first) is None:
            raise InputError(
                f"channels differ in shape: {first.shape} and {c.shape} ({c.url}), or in voxel size: "
                f"{first.voxel_nm} and {c.voxel_nm} nm; a channel may be on a coarser level, if its voxels "
                "are whole multiples of those of the first"
            )


def _fit(
    raw: tuple[Volume, ...], model: Model, units: str | None, accept: bool
) -> tuple[Fit, tuple[Volume | Repeated, ...]]:
    """The level of the pyramid that fits the model, and the channels there."""
    per_channel = [_levels(channel, raw[0]) for channel in raw]
    shared = set.intersection(*(set(found) for found in per_channel))
    # Pyramids may be halved along different axes: only levels where all channels meet are of use.
    levels = {
        n: per_channel[0][n].voxel_nm
        for n in sorted(shared)
        if all(factor_between(found[n], per_channel[0][n]) is not None for found in per_channel)
    }
    fit = nearest(levels, model, image=raw[0].url, units=units, accept=accept)
    first = per_channel[0][fit.level]
    return fit, (first, *(_at(found[fit.level], first) for found in per_channel[1:]))


def _levels(channel: Volume, first: Volume) -> dict[int, Volume]:
    """By the number of the level of `first` that they lie on: this channel and its coarser levels."""
    if channel.shape != first.shape:
        # A channel from a coarser level stays what it is: it is read at the voxels of the first.
        return {first.level: channel}
    found = {first.level: channel}
    volumes: list[Volume] = []
    if channel.exists():
        with contextlib.suppress(ChunkflowLiverError):
            volumes = inspect(channel.url)[1]
    for volume in volumes:
        coarser = replace(volume, at=channel.at, complete=channel.complete)
        if coarser.level > channel.level and factor_between(coarser, channel) is not None:
            found[first.level + coarser.level - channel.level] = coarser
    return found


def _at(channel: Volume, first: Volume) -> Volume | Repeated:
    """A channel at the voxels of the first."""
    factor = factor_between(channel, first)
    if factor is None:
        raise InputError(f"{channel.url} and {first.url} do not lie on the same voxels")
    return channel if factor == (1, 1, 1) else Repeated(channel, factor, first.shape)
