"""The model of a training: where its weights are kept, and the folder that they become."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from chunkflow_liver.engine.stage import plain
from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Zyx
from chunkflow_liver.ops.steps.foreign import Image
from chunkflow_liver.ops.train.masks import Masks
from chunkflow_liver.store.table import Columns
from chunkflow_liver.training import checkpoints
from chunkflow_liver.training.export import SETTINGS, model_path, write_model
from chunkflow_liver.training.recipe import Recipe

WEIGHTS = "weights.pt"
PICTURES = "pictures.npz"


def fold_folder(runs: str, fold: str) -> Path:
    """Where a fold keeps its checkpoints and weights."""
    return Path(runs) / f"fold_{fold}"


@dataclass(frozen=True)
class TrainedModel:
    """A handle to the model of a training, which may not exist yet.

    Attributes
    ----------
    path : str
        The folder.
    recipe : Recipe
    architecture : mapping, optional
        Of plans.json, for nnU-Net's networks.
    runs : str
        Folder of the checkpoints.
    folds : tuple of str
    shape : Zyx
        Of the first image.
    about : mapping
        Of sources and split, for training.json.
    volumes : tuple of Image or Masks
        What was read.
    """

    path: str
    recipe: Recipe
    architecture: Mapping[str, Any] | None
    runs: str
    folds: tuple[str, ...]
    shape: Zyx
    about: Mapping[str, Any]
    volumes: tuple[Image | Masks, ...]

    @property
    def model(self) -> Path:
        """What `segment` takes as the model."""
        return model_path(Path(self.path), self.recipe)

    def exists(self) -> bool:
        return (Path(self.path) / SETTINGS).is_file()

    def write(self, columns: Columns, provenance: Mapping[str, Any] | None = None) -> None:
        """Write the folder from the weights that the folds kept; `columns` are their history."""
        weights = {}
        ended = {}
        for fold in self.folds:
            path = fold_folder(self.runs, fold) / WEIGHTS
            found = checkpoints.load(path)
            if found is None:
                raise InputError(f"the weights {path} are gone; run with redo to train that fold again")
            weights[fold] = found["network"]
            ended[fold] = {key: found[key] for key in ("step", "precision", "dice")}
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        settings = {
            "version": version("chunkflow-liver"),
            "recipe": plain(asdict(self.recipe)),
            **plain(self.about),
            "identities": {volume.url.rsplit("/", 1)[-1]: volume.identity() for volume in self.volumes},
            "folds": ended,
            "history": [{k: _number(v) for k, v in row.items()} for row in rows],
        }
        write_model(Path(self.path), self.recipe, self.architecture, weights, settings, shape=self.shape)

    def settings(self) -> dict[str, Any]:
        """training.json of the folder."""
        found: dict[str, Any] = json.loads((Path(self.path) / SETTINGS).read_text())
        return found


def _number(value: Any) -> Any:
    """A value as JSON holds it; what is no number is left out."""
    found = plain(value)
    return None if isinstance(found, float) and found != found else found
