"""A trained nnU-Net v2 folder: read as data (JSON only), checked, and imported as a clean copy."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from chunkflow_liver.errors import OutputError, SegmenterError
from chunkflow_liver.parameters import documented
from chunkflow_liver.segmenters.architecture import check_architecture, modern_architecture
from chunkflow_liver.segmenters.limits import MOST_WINDOW, NM_PER, VOXEL, finite, whole
from chunkflow_liver.segmenters.nnunet.checkpoint import read_checkpoint, save_weights
from chunkflow_liver.segmenters.nnunet.model import NnunetModel
from chunkflow_liver.segmenters.nnunet.plans import (
    channel_names,
    check_supported,
    check_window,
    class_numbers,
    normalisation,
    numbers,
    read_json,
    resolved,
    spline,
)
from chunkflow_liver.segmenters.resampling import Spline

OURS = "chunkflow_liver"


def read_model(
    folder: str | Path,
    *,
    configuration: str | None = None,
    folds: Sequence[int | str] | None = None,
    checkpoint: str = "checkpoint_final.pth",
) -> NnunetModel:
    """What a trained-model folder says, checked, without running anything from it.

    Parameters
    ----------
    folder : path
        A folder `trainer__plans__configuration`, a folder with one such folder in it, or what
        `import_model` wrote.
    configuration : str, optional
        Name in plans.json; by default the one that the first fold was trained with.
    folds : sequence of int or str, optional
        Folds to average; by default all numbered ones, or "all" if it is the only one.
    checkpoint : str
        Name of the weights file in every fold.

    Returns
    -------
    NnunetModel

    Raises
    ------
    SegmenterError
        If something is missing, malformed, or not supported (cascades, masked normalisation).
    ModelSecurityError
        If plans or checkpoint ask for code that is not on the allow-list.
    """
    place = _find(Path(folder), configuration)
    plans_file, dataset_file = place / "plans.json", place / "dataset.json"
    plans, dataset = read_json(plans_file), read_json(dataset_file)
    chosen = _folds(place, folds, checkpoint)
    imported = plans.get(OURS)
    if isinstance(imported, dict):
        trained, mirror, units = (
            imported.get("configuration"),
            imported.get("mirror_axes"),
            imported.get("units"),
        )
    else:
        head = read_checkpoint(place / f"fold_{chosen[0]}" / checkpoint)
        trained = (head.get("init_args") or {}).get("configuration")
        mirror, units = head.get("inference_allowed_mirroring_axes"), None
    name = configuration or trained
    section = resolved(plans, name, plans_file)
    check_supported(plans, section, plans_file)
    window = numbers(section, "patch_size", plans_file, lambda v: whole(v, 1) and v <= MOST_WINDOW)
    if len(window) not in (2, 3):
        raise SegmenterError(f"{plans_file}: patch_size {window} has {len(window)} axes; wanted 2 or 3")
    spacing = numbers(section, "spacing", plans_file, lambda v: finite(v) and v > 0)
    if len(spacing) != len(window):
        raise SegmenterError(
            f"{plans_file}: spacing {spacing} and patch_size {window} have different lengths"
        )
    forward = numbers(plans, "transpose_forward", plans_file, lambda v: whole(v))
    if sorted(forward) != [0, 1, 2]:
        raise SegmenterError(f"{plans_file}: transpose_forward {forward} is no order of three axes")
    backward = tuple(forward.index(axis) for axis in range(3))
    channels = channel_names(dataset, dataset_file)
    schemes, intensities = normalisation(plans, section, len(channels), plans_file)
    classes, heads, order = class_numbers(dataset, dataset_file)
    network, options = check_architecture(modern_architecture(section, plans_file), plans_file)
    check_window(window, options.get("strides", 1), plans_file)
    axes = tuple(mirror or ())
    if not all(whole(a) and a < len(window) for a in axes) or len(set(axes)) != len(axes):
        raise SegmenterError(f"{place}: mirroring axes {axes} do not fit a window of {window}")
    return NnunetModel(
        folder=place,
        configuration=str(name),
        checkpoint=checkpoint,
        folds=chosen,
        classes=classes,
        heads=heads,
        region_order=order,
        channels=channels,
        window=window,
        spacing=spacing,
        units=units if units in (*NM_PER, VOXEL) else None,
        transpose_forward=forward,
        transpose_backward=backward,
        schemes=schemes,
        intensities=intensities,
        network=network,
        options=options,
        mirror_axes=axes,
        raw_spline=spline(section, "data", 3, plans_file),
        score_spline=spline(section, "probabilities", 1, plans_file),
    )


def model_fingerprint(model: NnunetModel) -> str:
    """SHA-256 over the configuration's name, both JSON files and the weights of every fold used."""
    digest = hashlib.sha256(json.dumps([model.configuration, model.folds, model.checkpoint]).encode())
    for path in (model.folder / "plans.json", model.folder / "dataset.json", *model.weights):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


@documented
def import_model(
    folder: str | Path,
    to: str | Path,
    *,
    units: str,
    configuration: str | None = None,
    folds: Sequence[int | str] | None = None,
    checkpoint: str = "checkpoint_final.pth",
) -> NnunetModel:
    """Write a clean copy of a trained folder: plain JSON with spacing in nm, and nothing but weights.

    Parameters
    ----------
    folder : path
        As in `read_model`, like the options that are not explained here.
    to : path
        Folder to make; must not exist.
    {units}

    Returns
    -------
    NnunetModel
        Of the new folder.

    Raises
    ------
    OutputError
        If `to` exists.
    SegmenterError, ModelSecurityError
        As `read_model`.
    """
    if units not in (*NM_PER, VOXEL):
        raise SegmenterError(f"no length unit {units!r}; there are {[*NM_PER, VOXEL]}")
    target = Path(to)
    if target.exists():
        raise OutputError(f"{target} exists already; import the model to a new folder, or delete it first")
    if not Path(folder).is_dir():
        raise SegmenterError(
            f"{folder} is no folder; give that of a trained nnU-Net model (unpack an archive first), or "
            "the description (.yaml) of another network"
        )
    model = read_model(folder, configuration=configuration, folds=folds, checkpoint=checkpoint)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        _write_json(draft / "plans.json", _plans_of(model, units))
        dataset = read_json(model.folder / "dataset.json")
        keys = ("channel_names", "modality", "labels", "regions_class_order", "file_ending")
        _write_json(draft / "dataset.json", {key: dataset[key] for key in keys if key in dataset})
        for fold, path in zip(model.folds, model.weights, strict=True):
            (draft / f"fold_{fold}").mkdir()
            save_weights(
                read_checkpoint(path), draft / f"fold_{fold}" / "checkpoint_final.pth", model.configuration
            )
        os.chmod(draft, 0o755)
        os.rename(draft, target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return read_model(target, folds=model.folds)


def _plans_of(model: NnunetModel, units: str) -> dict[str, Any]:
    nm = NM_PER.get(units, 1.0)
    splines = {"data": model.raw_spline, "probabilities": model.score_spline}
    section = {
        "patch_size": model.window,
        "spacing": [value * nm for value in model.spacing],
        "normalization_schemes": model.schemes,
        "use_mask_for_norm": [False] * len(model.schemes),
        **{f"resampling_fn_{what}": found.function for what, found in splines.items()},
        **{f"resampling_fn_{what}_kwargs": _options(found) for what, found in splines.items()},
        "architecture": {
            "network_class_name": model.network,
            "arch_kwargs": model.options,
            "_kw_requires_import": [
                key for key in ("conv_op", "norm_op", "dropout_op", "nonlin", "block") if key in model.options
            ],
        },
    }
    return {
        "transpose_forward": model.transpose_forward,
        "transpose_backward": model.transpose_backward,
        "configurations": {model.configuration: section},
        "foreground_intensity_properties_per_channel": dict(enumerate(model.intensities)),
        OURS: {
            "configuration": model.configuration,
            "mirror_axes": model.mirror_axes,
            "units": VOXEL if units == VOXEL else "nm",
        },
    }


def _options(spline: Spline) -> dict[str, Any]:
    options = asdict(spline)
    del options["function"]
    return options


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def _find(folder: Path, configuration: str | None) -> Path:
    """`folder` itself, or the one trained folder of that configuration in it."""
    if (folder / "plans.json").is_file() or not folder.is_dir():
        return folder
    found = sorted(path.parent for path in folder.glob("*__*__*/plans.json"))
    fitting = [path for path in found if configuration in (None, path.name.split("__")[-1])]
    if len(fitting) > 1:
        raise SegmenterError(
            f"{folder} holds {len(fitting)} trained models: {[path.name for path in fitting]}; "
            "name the folder of one of them"
        )
    return fitting[0] if fitting else folder


def _folds(place: Path, wanted: Sequence[int | str] | None, checkpoint: str) -> tuple[str, ...]:
    if wanted is not None and (isinstance(wanted, str) or not isinstance(wanted, Sequence)):
        raise SegmenterError(f"folds is a list of folds to average, got {wanted!r}")
    if wanted is not None and len(set(map(str, wanted))) < len(wanted):
        raise SegmenterError(f"a fold is named twice: {list(wanted)}")
    there = {path.parent.name.removeprefix("fold_") for path in place.glob(f"fold_*/{_literal(checkpoint)}")}
    numbered = sorted((fold for fold in there if fold.isdecimal()), key=int)
    chosen = tuple(map(str, wanted)) if wanted is not None else tuple(numbered or sorted(there & {"all"}))
    missing = [fold for fold in chosen if fold not in there]
    if missing or not chosen:
        raise SegmenterError(
            f"{place} has no {checkpoint} for fold {', '.join(missing) or 'any'}; "
            f"there are folds {sorted(there)} with that file"
        )
    return chosen


def _literal(name: str) -> str:
    """`name` as a pattern that matches only itself."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
