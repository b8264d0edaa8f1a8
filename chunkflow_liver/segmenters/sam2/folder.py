"""A model folder: config.json and model.safetensors, as transformers writes them; data only."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chunkflow_liver.errors import OutputError, SegmenterError
from chunkflow_liver.segmenters.limits import whole
from chunkflow_liver.segmenters.sam2.names import published
from chunkflow_liver.segmenters.sam2.weights import converted, read_meta
from chunkflow_liver.segmenters.weights import write_tensors

CONFIG, WEIGHTS = "config.json", "model.safetensors"
KINDS = ("sam2_video",)
MOST_CONFIG = 1 << 20
PIECE = 16
"""Sides of the window are a multiple of what the coarsest features see."""


@dataclass(frozen=True)
class Sam2Model:
    """A model that was read and checked, but not loaded.

    Attributes
    ----------
    folder : Path
    size : int
        Side of the window in pixels.
    config : mapping
        Of config.json.
    """

    folder: Path
    size: int
    config: Mapping[str, Any]

    @property
    def weights(self) -> Path:
        return self.folder / WEIGHTS


def read_sam2(folder: str | Path) -> Sam2Model:
    """What a model folder says of itself; no weight is read, and nothing of it is run.

    Raises
    ------
    SegmenterError
        If it is no SAM2 model, or its weights are not in one file of tensors.
    """
    place = Path(folder)
    if place.is_file():
        raise SegmenterError(
            f"{place} is a file, and a model is a folder: run 'chunkflow-liver model import {place} FOLDER'"
        )
    config = _config(place / CONFIG)
    if not (place / WEIGHTS).is_file():
        others = sorted(p.name for p in place.iterdir() if p.suffix in (".bin", ".pt", ".pth", ".json"))
        others = [name for name in others if name != CONFIG]
        raise SegmenterError(
            f"{place} has no {WEIGHTS}, it has {others}; pickled and sharded weights are not read: save the "
            f"model with model.save_pretrained(folder, max_shard_size='100GB'), or import Meta's .pt file by "
            "'chunkflow-liver model import'"
        )
    return Sam2Model(place, _size(config, place / CONFIG), config)


def sam2_fingerprint(model: Sam2Model) -> str:
    """SHA-256 over the configuration and the file of weights."""
    digest = hashlib.sha256(json.dumps(model.config, sort_keys=True).encode())
    with model.weights.open("rb") as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def import_sam2(source: str | Path, to: str | Path, *, config: str | Path | None = None) -> Sam2Model:
    """Make a clean model folder of Meta's checkpoint or of a folder of transformers.

    Parameters
    ----------
    source : path
        A file .pt as Meta publishes it, or a folder with config.json and model.safetensors.
    to : path
        Folder to make.
    config : path, optional
        A config.json of transformers, for a checkpoint that is none of the four published sizes.

    Raises
    ------
    SegmenterError, ModelSecurityError
        If the source cannot be used, or holds anything but tensors.
    OutputError
        If there is something at `to`.

    Notes
    -----
    The model is loaded once with its weights, so that what does not fit is refused here.
    """
    from chunkflow_liver.segmenters.sam2.tracker import build

    source, to = Path(source), Path(to)
    if to.exists():
        raise OutputError(f"{to} exists already; choose another folder or remove it")
    if source.is_dir():
        if config is not None:
            raise SegmenterError(f"{source} has its own {CONFIG}; leave out {config}")
        model = read_sam2(source)
        build(model)
        partial = _begun(to, model.config)
        shutil.copyfile(model.weights, partial / WEIGHTS)
    else:
        weights = read_meta(source)
        found = published(weights) if config is None else _config(Path(config))
        if found is None:
            raise SegmenterError(
                f"{source} is none of the published sizes (tiny, small, base+, large of SAM 2 and 2.1); give "
                f"the {CONFIG} that describes it"
            )
        where = source if config is None else Path(config)
        tensors = converted(weights)
        build(Sam2Model(source, _size(found, where), found), tensors)
        partial = _begun(to, found)
        write_tensors(tensors, partial / WEIGHTS)
    partial.rename(to)
    return read_sam2(to)


def _begun(to: Path, config: Mapping[str, Any]) -> Path:
    partial = to.with_name(f"{to.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    (partial / CONFIG).write_text(json.dumps(dict(config), indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return partial


def _config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise SegmenterError(f"there is no {path}; wanted a model folder with {CONFIG} and {WEIGHTS}")
    if path.stat().st_size > MOST_CONFIG:
        raise SegmenterError(
            f"{path} has {path.stat().st_size} bytes; a configuration has at most {MOST_CONFIG}"
        )
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as err:
        raise SegmenterError(f"{path} is not readable as JSON: {err}") from err
    kind = found.get("model_type") if isinstance(found, dict) else None
    if kind not in KINDS:
        raise SegmenterError(
            f"{path} describes a model of type {kind!r}; wanted {' or '.join(map(repr, KINDS))}, such as "
            "facebook/sam2.1-hiera-tiny"
        )
    # Where code could come from; transformers ignores it too, unless it is told to trust it.
    found.pop("auto_map", None)
    return dict(found)


def _size(config: Mapping[str, Any], where: Path) -> int:
    size = config.get("image_size", 1024)
    size = size[0] if isinstance(size, list) and size and len(set(size)) == 1 else size
    if not whole(size, 2 * PIECE) or size % (2 * PIECE):
        raise SegmenterError(f"{where}: image_size is {size!r}; wanted one side, a multiple of {2 * PIECE}")
    return int(size)
