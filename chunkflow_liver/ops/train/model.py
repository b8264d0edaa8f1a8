"""The model of a training: where its weights are kept, and the folder that they become."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.engine.stage import plain
from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Zyx
from chunkflow_liver.ops.train.masks import Masks
from chunkflow_liver.ops.train.trials import best_of
from chunkflow_liver.store.foreign import Image
from chunkflow_liver.store.table import Columns
from chunkflow_liver.training import checkpoints
from chunkflow_liver.training.export import SETTINGS, model_path, write_model
from chunkflow_liver.training.recipe import Recipe

WEIGHTS = "weights.pt"
PICTURES = "pictures.npz"


def fold_folder(runs: str, fold: str, trial: int | None = None) -> Path:
    """Where a fold, of one of several trials or alone, keeps its checkpoints and weights."""
    return (Path(runs) if trial is None else Path(runs) / f"trial_{trial}") / f"fold_{fold}"


@dataclass(frozen=True)
class Trial:
    """Settings that are tried.

    Attributes
    ----------
    own : mapping
        What differs from the training as given.
    recipe : Recipe
    architecture : mapping, optional
        Of plans.json, for nnU-Net's networks.
    """

    own: Mapping[str, Any]
    recipe: Recipe
    architecture: Mapping[str, Any] | None

    @property
    def note(self) -> str:
        """What is tried, in words."""
        return "tries " + ", ".join(f"{key} {plain(value)}" for key, value in self.own.items())


@dataclass(frozen=True)
class TrainedModel:
    """A handle to the model of a training, which may not exist yet.

    Attributes
    ----------
    path : str
        The folder.
    trials : tuple of Trial
        One, or several of which the best becomes the model.
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
    trials: tuple[Trial, ...]
    runs: str
    folds: tuple[str, ...]
    shape: Zyx
    about: Mapping[str, Any]
    volumes: tuple[Image | Masks, ...]

    @property
    def recipe(self) -> Recipe:
        """As given: of the first trial."""
        return self.trials[0].recipe

    @property
    def architecture(self) -> Mapping[str, Any] | None:
        return self.trials[0].architecture

    @property
    def model(self) -> Path:
        """What `segment` takes as the model."""
        return model_path(Path(self.path), self.recipe)

    def exists(self) -> bool:
        return (Path(self.path) / SETTINGS).is_file()

    def write(self, columns: Columns, provenance: Mapping[str, Any] | None = None) -> None:
        """Write the folder from the weights that the folds kept; `columns` are their history."""
        several = range(len(self.trials))
        dices = [[_known(self._kept(fold, i)["dice"]) for fold in self.folds] for i in several]
        table = compared(self.trials, dices)
        best = int(np.flatnonzero(table["best"])[0])
        trial = self.trials[best]
        weights = {}
        ended = {}
        for fold in self.folds:
            found = self._kept(fold, best)
            weights[fold] = found["network"]
            ended[fold] = {key: found[key] for key in ("step", "precision", "dice")}
        rows = [row for row in _rows(columns) if row.pop("trial", best) == best]
        search = {} if len(self.trials) == 1 else {"trial": best, "trials": _rows(table)}
        settings = {
            "version": version("chunkflow-liver"),
            "recipe": plain(asdict(trial.recipe)),
            **search,
            **plain(self.about),
            "identities": {volume.url.rsplit("/", 1)[-1]: volume.identity() for volume in self.volumes},
            "folds": ended,
            "history": rows,
        }
        write_model(Path(self.path), trial.recipe, trial.architecture, weights, settings, shape=self.shape)

    def _kept(self, fold: str, trial: int) -> dict[str, Any]:
        """Weights that a fold kept, and how it ended."""
        path = fold_folder(self.runs, fold, trial if len(self.trials) > 1 else None) / WEIGHTS
        found = checkpoints.load(path)
        if found is None:
            raise InputError(f"the weights {path} are gone; run with redo to train that fold again")
        return found

    def settings(self) -> dict[str, Any]:
        """training.json of the folder."""
        found: dict[str, Any] = json.loads((Path(self.path) / SETTINGS).read_text())
        return found


def compared(trials: Sequence[Trial], dices: Sequence[Sequence[float]]) -> dict[str, Any]:
    """A table of trials: settings that differ, mean Dice over the folds, and which is the best.

    Parameters
    ----------
    trials : sequence of Trial
    dices : sequence of sequence of float
        Of every trial, Dice of every fold's kept weights; NaN where nothing held out is of any class.
    """
    made: dict[str, Any] = {"trial": np.arange(len(trials))}
    for key in dict.fromkeys(key for trial in trials for key in trial.own):
        values = [plain(getattr(trial.recipe, key)) for trial in trials]
        made[key] = np.array([v if isinstance(v, int | float) else _text(v) for v in values])
    made["dice"] = np.array([np.mean(mine) for mine in dices])
    made["best"] = np.arange(len(trials)) == best_of(dices)
    return made


def _known(dice: float | None) -> float:
    return math.nan if dice is None else dice


def _text(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, list) else str(value)


def _rows(columns: Columns) -> list[dict[str, Any]]:
    return [
        {key: _number(v) for key, v in zip(columns, values, strict=True)}
        for values in zip(*columns.values(), strict=True)
    ]


def _number(value: Any) -> Any:
    """A value as JSON holds it; what is no number is left out."""
    found = plain(value)
    return None if isinstance(found, float) and found != found else found
