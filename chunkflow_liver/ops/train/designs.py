"""Which network is trained: as a person says, as nnU-Net's planner chooses, or as a trained model has it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from chunkflow_liver.errors import ConfigError, SegmenterError
from chunkflow_liver.geometry import Nm
from chunkflow_liver.ops.steps.place import PathLike
from chunkflow_liver.ops.train.kept import MOST_BYTES
from chunkflow_liver.ops.train.sources import Opened
from chunkflow_liver.segmenters.limits import NM_PER, VOXEL
from chunkflow_liver.segmenters.nnunet.checkpoint import read_weights
from chunkflow_liver.segmenters.nnunet.folder import model_fingerprint, read_model
from chunkflow_liver.segmenters.nnunet.model import NnunetModel
from chunkflow_liver.training.networks import check_window, network_of
from chunkflow_liver.training.recipe import NNUNETS, Recipe
from chunkflow_liver.training.topology import REFERENCE, fitted, planned, pooling

TORCH_BYTES = 900 << 20
CPU, PLAIN = "cpu", "plain"
CPU_GB, CPU_FEATURES, CPU_MOST, CPU_STAGES = 0.5, 16, 192, 5
"""What the preset 'cpu' asks of nnU-Net's planner, and how wide and deep its network is."""
SETTINGS = tuple(
    f.name for f in fields(Recipe) if f.name not in ("classes", "voxel_nm", "channels", "regions")
)
TAKEN_OVER = ("network", "features", "window", "convolutions")
"""What fine-tuning takes from the model that it begins with."""
EXTRA = ("preset", "dimensions", "memory_gb")
KINDS = {"PlainConvUNet": "plain", "ResidualEncoderUNet": "resenc"}
OPTIMIZER_BYTES = 16
"""Per weight: itself, its gradient, and two moments."""
MAPS_KEPT = 3.5
"""Times the feature maps of convolutions that a step holds, normalised and activated ones included."""


@dataclass(frozen=True)
class Start:
    """A trained nnU-Net to begin with."""

    model: NnunetModel
    fingerprint: str

    def weights(self) -> dict[str, Any]:
        """Of its first fold, on the host, wherever it was trained."""
        if model_fingerprint(self.model) != self.fingerprint:
            raise SegmenterError(f"{self.model.folder} has changed since the plan was made; make it again")
        return read_weights(self.model.weights[0])


@dataclass(frozen=True)
class Design:
    """What is known of the network before the data are looked at.

    Attributes
    ----------
    given : mapping
        Fields of `Recipe`.
    preset : str
        Of nnU-Net's planner, or ''.
    dimensions : int
    memory_gb : float, optional
    start : Start, optional
    voxel_nm : Nm, optional
        That the model to begin with was trained on.
    notes : tuple of str
    """

    given: Mapping[str, Any]
    preset: str
    dimensions: int
    memory_gb: float | None = None
    start: Start | None = None
    voxel_nm: Nm | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def is_2d(self) -> bool:
        return self.dimensions == 2

    def but(self, own: Mapping[str, Any]) -> Design:
        """The same with other settings.

        Raises
        ------
        ConfigError
            If the model to begin with has them already, or they change the number of axes.
        """
        fixed = [key for key in own if key in TAKEN_OVER]
        if self.start is not None and fixed:
            raise ConfigError(f"fine-tuning takes {fixed} over from the model: leave them out of the search")
        if len(own.get("window", (0,) * self.dimensions)) != self.dimensions:
            raise ConfigError(
                f"search of window: all have {self.dimensions} axes as the training has, got {own['window']}"
            )
        return replace(self, given={**self.given, **own})

    def recipe(self, data: Opened, painted: int) -> tuple[Recipe, dict[str, Any] | None, Start | None]:
        """The whole recipe, and the architecture of an nnU-Net.

        Parameters
        ----------
        data : Opened
            The sources.
        painted : int
            Painted voxels.

        Raises
        ------
        ConfigError
            If the network does not fit the sources.
        """
        given = dict(self.given) | {"channels": data.channels, "regions": data.regions}
        names, size = data.names, data.voxel_nm
        if self.start is not None:
            model = self.start.model
            if len(model.channels) != len(data.channels):
                raise ConfigError(
                    f"the model in {model.folder} sees {len(model.channels)} channels "
                    f"{list(model.channels)}, and the sources have {len(data.channels)}: give one image per "
                    "channel"
                )
            made = {
                "network_class_name": model.network,
                "arch_kwargs": model.options,
                "_kw_requires_import": [
                    key
                    for key in ("conv_op", "norm_op", "dropout_op", "nonlin", "block")
                    if key in model.options
                ],
            }
            return Recipe(names, size, **given), made, self.start
        if self.preset:
            given = self._planned(given, data, painted)
        recipe = Recipe(names, size, **given)
        if not recipe.is_nnunet:
            check_window(recipe)
            return recipe, None, None
        recipe, made = fitted(recipe)
        return recipe, made, None

    def _planned(self, given: dict[str, Any], data: Opened, painted: int) -> dict[str, Any]:
        median = [round(statistics.median(source.shape[a] for source in data.sources)) for a in range(3)]
        axes = self.dimensions
        spacing = data.voxel_nm[3 - axes :]
        found = planned(
            PLAIN if self.preset == CPU else self.preset,
            spacing=spacing,
            shape=median[3 - axes :],
            heads=len(data.names) + (not data.regions),
            channels=len(data.channels),
            dataset_voxels=max(painted, 1),
            memory_gb=self.memory_gb or (CPU_GB if self.preset == CPU else None),
        )
        window, features = found.window, found.features
        if self.preset == CPU:
            depth = min(len(features), CPU_STAGES)
            features = tuple(min(CPU_MOST, CPU_FEATURES * 2**i) for i in range(depth))
            window = pooling(spacing, window, depth).window
        return {
            "network": found.network,
            "window": window,
            "features": features,
            "batch": found.batch,
        } | given

    def host_bytes(self, recipe: Recipe, made: Mapping[str, Any] | None) -> int:
        """Memory of the host that a training needs."""
        windows = 16 * recipe.batch * _product(recipe.window) * 12 * (1 + len(recipe.channels))
        each = _step_bytes(recipe, made) if recipe.device == "cpu" else 1 << 30
        # Several processes are started by one more, which holds torch too.
        torches = recipe.processes + (recipe.processes > 1)
        return torches * TORCH_BYTES + windows + recipe.processes * (each + MOST_BYTES)

    def device_bytes(self, recipe: Recipe, made: Mapping[str, Any] | None) -> int:
        """Memory that a training needs of a GPU, of each that shares a batch."""
        return 0 if recipe.device == "cpu" else _step_bytes(recipe, made)


def design(settings: Mapping[str, Any], fine_tune: PathLike | None, *, apart: bool = False) -> Design:
    """What a person says of the network and its training.

    Parameters
    ----------
    settings : mapping
        Fields of `Recipe`, and `preset`, `dimensions` and `memory_gb` of nnU-Net's planner.
    fine_tune : path, optional
        nnU-Net folder to begin with.
    apart : bool
        Whether nothing but slices that lie apart is painted: a network sees single planes then, where nobody
        says how many axes it has. Of a window that is 16 planes deep a sixteenth would be painted, and all of
        it computed.

    Raises
    ------
    ConfigError
        If a setting is unknown, missing, or does not go with another one.
    SegmenterError
        If the model to begin with cannot be used.
    """
    unknown = sorted(settings.keys() - {*SETTINGS, *EXTRA})
    if unknown:
        raise ConfigError(f"a training has no setting {unknown}; there are {sorted((*SETTINGS, *EXTRA))}")
    given = {key: value for key, value in settings.items() if value is not None}
    extra = {key: given.pop(key, None) for key in EXTRA}
    for key in ("window", "features"):
        if key in given:
            given[key] = _whole(key, given[key])
    if fine_tune is not None:
        return _continued(given, extra, fine_tune)
    preset = extra["preset"]
    if preset is not None and preset not in (CPU, *REFERENCE):
        raise ConfigError(f"no preset {preset!r} of a training; there are {[CPU, *REFERENCE]}")
    network = given.get("network", "plain")
    if "window" not in given and preset is None:
        if network not in NNUNETS:
            raise ConfigError(
                f"the network {network!r} needs a 'window' (voxels z, y, x, or y, x for single planes): "
                "nnU-Net's planner chooses one for its own networks alone"
            )
        preset = CPU if given.get("device", "cpu") == "cpu" else PLAIN
    if preset is not None and network not in NNUNETS:
        raise ConfigError(f"a preset plans nnU-Net's networks, not {network!r}: give a window instead")
    if extra["dimensions"] not in (None, 2, 3):
        raise ConfigError(f"dimensions are 2 or 3, got {extra['dimensions']!r}")
    memory = extra["memory_gb"]
    if memory is not None and not (isinstance(memory, int | float) and memory > 0):
        raise ConfigError(f"memory_gb is a number above 0, got {memory!r}")
    own = 2 if apart else 3
    dimensions = len(given["window"]) if "window" in given else extra["dimensions"] or own
    if "window" in given and extra["dimensions"] not in (None, dimensions):
        raise ConfigError(
            f"a window of {given['window']} voxels has {dimensions} dimensions, not {extra['dimensions']}"
        )
    # What makes no sense is told before any image is opened.
    Recipe(("class",), (1.0, 1.0, 1.0), **{"window": (1,) * dimensions} | given)
    chosen = "window" not in given and extra["dimensions"] is None and apart
    notes = ("single planes, because slices apart from each other are painted and nothing else",)
    return Design(given, preset or "", dimensions, memory, notes=notes if chosen else ())


def _continued(given: dict[str, Any], extra: Mapping[str, Any], folder: PathLike) -> Design:
    """From a trained nnU-Net, whose network and window are taken over."""
    fixed: list[str] = [k for k in TAKEN_OVER if k in given]
    fixed += [k for k in EXTRA if extra[k] is not None]
    if fixed:
        raise ConfigError(
            f"fine-tuning takes {fixed} over from the model in {folder}: leave them out, or train anew "
            "without "
            "'fine_tune'"
        )
    model = read_model(Path(folder))
    kind = KINDS.get(model.network.rsplit(".", 1)[-1])
    wrong = (
        "has overlapping regions" if model.region_order is not None
        else f"turns its axes ({model.transpose_forward})" if model.transpose_forward != (0, 1, 2)
        else f"is a {model.network.rsplit('.', 1)[-1]}" if kind is None
        else ""
    )  # fmt: skip
    if wrong:
        raise SegmenterError(
            f"the model in {model.folder} {wrong}, which cannot be fine-tuned here; wanted a PlainConvUNet "
            "or ResidualEncoderUNet of classes that do not overlap, its axes in their order"
        )
    widths = model.options["features_per_stage"]
    stages = int(model.options["n_stages"])
    given |= {
        "network": kind,
        "window": model.window,
        "features": tuple(widths) if isinstance(widths, list | tuple) else (widths,) * stages,
    }
    size: Nm | None = None
    if model.units != VOXEL:
        known = [None if v is None else v * NM_PER[model.units or "nm"] for v in model.spacing_zyx]
        z, y, x = (known[1] if v is None else v for v in known)
        size = (float(z or 1), float(y or 1), float(x or 1))
    notes = [f"begins with fold {model.folds[0]} of {model.folder.name}, classes {sorted(model.classes)}"]
    for scheme in dict.fromkeys(model.schemes):
        if scheme != "ZScoreNormalization":
            notes.append(f"that model normalises by {scheme}, the new one by ZScoreNormalization")
    Recipe(("class",), (1.0, 1.0, 1.0), **given)
    return Design(
        given, "", len(model.window), None, Start(model, model_fingerprint(model)), size, tuple(notes)
    )


def _whole(key: str, values: Any) -> tuple[int, ...]:
    fits = isinstance(values, Sequence) and not isinstance(values, str)
    if not fits or not all(isinstance(n, int) and not isinstance(n, bool) for n in values):
        raise ConfigError(f"{key} of a training are whole numbers, got {values!r}")
    return tuple(values)


def _step_bytes(recipe: Recipe, made: Mapping[str, Any] | None) -> int:
    """Memory of one step of a process: feature maps and gradients, weights and what the optimizer keeps."""
    import torch

    with torch.device("meta"):
        network = network_of(replace(recipe, device="cpu"), made)
    weights = sum(w.numel() for w in network.parameters())
    if recipe.is_nnunet:
        maps = int(network.compute_conv_feature_map_size(list(recipe.window)))
    else:
        # Convolutions of all levels together, of which the finest ones have half.
        maps = 24 * recipe.features[0] * _product(recipe.window)
    return int(OPTIMIZER_BYTES * weights + 4 * MAPS_KEPT * (recipe.batch // recipe.processes) * maps)


def _product(values: Sequence[int]) -> int:
    found = 1
    for n in values:
        found *= n
    return found
