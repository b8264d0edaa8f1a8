"""One self-contained HTML page of a training: curves, what was held out, and what was found there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.errors import InputError
from chunkflow_liver.ops.train.model import PICTURES, fold_folder
from chunkflow_liver.reports.pictures.errors import KEYS, grey, overlay
from chunkflow_liver.reports.pictures.figures import INK, bare, inline, sketch
from chunkflow_liver.reports.pictures.splits import COLOURS, PARTS, Drawing, drawing
from chunkflow_liver.reports.words import by, one
from chunkflow_liver.reports.writing import page_source, page_template, png, replacing
from chunkflow_liver.training.export import SETTINGS

PALETTE = ("#8a5cb4", "#d6559a", "#7a4a2b", "#5bb8e8", "#7a7f00", "#5a6b8c", "#c9a2e0")
"""Of classes: none is a colour of what is right or wrong (`KEYS`), or of the split."""
STYLES = ("solid", "dashed", "dotted", "dashdot")
"""Lines of folds, which have no colours."""
Pixels = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Window:
    """Pictures of one held-out window: grey values, painted, found, and where these differ."""

    fold: str
    wrong: float
    pictures: tuple[str, str, str, str]


@dataclass(frozen=True)
class Ended:
    """How a fold ended."""

    name: str
    step: int
    dice: float | None
    precision: str
    by_class: tuple[tuple[str, float | None], ...]


def training_report(model: str | Path, runs: str | Path, *, to: str | Path) -> Path:
    """Write the page of a finished training, and return its path.

    Parameters
    ----------
    model : path
        The model's folder, with training.json.
    runs : path
        Folder of the checkpoints, with pictures of held-out windows.
    to : path
        HTML file; an older one is replaced.

    Raises
    ------
    InputError
        If there is no finished training.
    OutputError
        If the page cannot be written.
    """
    path = Path(model) / SETTINGS
    try:
        settings = json.loads(path.read_text())
    except (OSError, ValueError) as err:
        raise InputError(
            f"there is no training to report in {model}: {err}; run it to its end first"
        ) from err
    classes = settings["recipe"]["classes"]
    history = settings["history"]
    trial = settings.get("trial")
    windows = [w for fold in settings["folds"] for w in _windows(str(runs), fold, trial, len(classes))]
    page = page_template("training.html.j2").render(
        title=f"Training of {Path(model).name}",
        settings=settings,
        classes=classes,
        colours=dict(zip(classes, PALETTE * 9, strict=False)),
        ended=[_ended(name, found, history, classes) for name, found in settings["folds"].items()],
        curves=_curves(history, classes),
        sources=[_source(s, classes) for s in settings["sources"]],
        held=_held(settings),
        single=single_slices(settings),
        splits=[split for fold in settings["folds"] for split in _splits(settings, fold)],
        windows=windows,
        drawn=[
            pair
            for fold in list(settings["folds"])[:1]
            for pair in _drawn(str(runs), fold, trial, len(classes))
        ],
        recipe=sorted(settings["recipe"].items()),
        keys=KEYS,
        parts=[(text, COLOURS[part]) for part, text in PARTS.items()],
        columns=("image", "painted", "found", "difference"),
        style=page_source("page.css"),
        by=by,
        one=one,
    )
    target = Path(to)
    with replacing(target, "report") as partial:
        partial.write_text(page, encoding="utf-8")
    return target


def _ended(
    name: str, found: Mapping[str, Any], history: Sequence[Mapping[str, Any]], classes: Sequence[str]
) -> Ended:
    row = next((r for r in history if r["fold"] == name and r["step"] == found["step"]), {})
    dices = tuple((c, row.get(f"dice_{c}")) for c in classes)
    return Ended(name, found["step"], found["dice"], found["precision"], dices)


def _curves(history: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> list[tuple[str, str]]:
    """Captions and figures of loss and Dice over the steps."""
    folds = list(dict.fromkeys(row["fold"] for row in history))
    curves: list[tuple[str, list[str], str]] = [
        ("Loss of the windows that were trained on", ["loss"], "loss")
    ]
    if any(row.get("dice") is not None for row in history):
        curves.append(("Dice of what was held out, by class", [f"dice_{c}" for c in classes], "Dice"))
    made = []
    for caption, keys, label in curves:

        def draw(figure: Any, keys: list[str] = keys, label: str = label) -> None:
            axes = figure.add_subplot()
            for f, fold in enumerate(folds):
                rows = [row for row in history if row["fold"] == fold]
                for k, key in enumerate(keys):
                    points = [(row["step"], row[key]) for row in rows if row.get(key) is not None]
                    if points:
                        colour = PALETTE[k % len(PALETTE)] if label == "Dice" else INK
                        x, y = zip(*points, strict=True)
                        style = {"linestyle": STYLES[f % len(STYLES)], "marker": "." if len(x) < 3 else ""}
                        axes.plot(x, y, color=colour, linewidth=1.8, **style)
            if label == "Dice":
                axes.set_ylim(0, 1)
            axes.set_xlabel("step", color=INK)
            axes.set_ylabel(label, color=INK)
            bare(axes)

        lines = ", ".join(f"fold {fold} {STYLES[f % len(STYLES)]}" for f, fold in enumerate(folds))
        caption += f" ({lines})" if len(folds) > 1 else ""
        made.append((caption, inline(sketch(draw, name=label.lower()))))
    return made


def _source(source: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """A source, and which share of what is painted each class covers."""
    counts = source["painted_voxels"]
    total = sum(counts)
    what = (
        f"slices {', '.join(map(str, source['slices']))}"
        if source["slices"] is not None
        else "boxes" if source["boxes_nm"] is not None else "everything"
    )  # fmt: skip
    return {
        "image": source["image"],
        "labels": source["labels"],
        "what": what,
        "shape": source["shape"],
        "voxel_nm": source["voxel_nm"],
        "painted": total,
        "shares": [(c, n / total if total else 0.0) for c, n in zip(classes, counts[1:], strict=True)],
    }


def _held(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What every fold held out, in words."""
    rows = []
    for fold, boxes in settings["split"]["held_out"].items():
        parts = [
            f"{source['image']}: "
            + "; ".join(
                ", ".join(f"{a} {p}:{q}" for a, p, q in zip("zyx", b["start"], b["stop"], strict=True))
                for b in mine
            )
            for source, mine in zip(settings["sources"], boxes, strict=True)
            if mine
        ]
        rows.append((fold, " | ".join(parts) or "nothing"))
    return rows


def single_slices(settings: Mapping[str, Any]) -> list[str]:
    """Folds whose held-out part is one slice."""
    found = []
    for fold, boxes in settings["split"]["held_out"].items():
        slices = 0
        for source, mine in zip(settings["sources"], boxes, strict=True):
            held = {z for b in mine for z in range(b["start"][0], b["stop"][0])}
            slices += len(held if source["slices"] is None else held & set(source["slices"]))
        if slices == 1:
            found.append(fold)
    return found


def _splits(settings: Mapping[str, Any], fold: str) -> list[Drawing]:
    """What was painted and held out of every source, drawn."""
    split = settings["split"]
    gaps = [0.0 if "zyx"[a] != split["axis"] and split["by"] == "slab" else split["gap_nm"] for a in range(3)]
    return [
        drawing(f"fold {fold}, {source['image']}", source, boxes, gaps)
        for source, boxes in zip(settings["sources"], split["held_out"][fold], strict=True)
    ]


def _pictures_of(runs: str, fold: str, trial: int | None) -> dict[str, Pixels]:
    path = fold_folder(runs, fold, trial) / PICTURES
    if not path.exists():
        return {}
    with np.load(path, allow_pickle=False) as found:
        return dict(found)


def _windows(runs: str, fold: str, trial: int | None, classes: int) -> list[Window]:
    found = _pictures_of(runs, fold, trial)
    if not found:
        return []
    entries = zip(found["wrong"], found["grey"], found["found"], found["true"], strict=True)
    return [
        Window(fold, float(wrong), _against(values, got, true, classes))
        for wrong, values, got, true in entries
    ]


def _drawn(runs: str, fold: str, trial: int | None, classes: int) -> list[tuple[str, str]]:
    """Windows as they were drawn, and as the network saw them."""
    found = _pictures_of(runs, fold, trial)
    if "seen_grey" not in found:
        return []
    drawn = found["drawn_grey"]
    before, after = (
        [
            png(_painted(grey(values, like), true, classes))
            for values, true, like in zip(found[f"{side}_grey"], found[f"{side}_true"], drawn, strict=True)
        ]
        for side in ("drawn", "seen")
    )
    return list(zip(before, after, strict=True))


def _against(values: Pixels, found: Pixels, true: Pixels, classes: int) -> tuple[str, str, str, str]:
    base, known = grey(values), true >= 0
    error = overlay(base, found > 0, true > 0, (found == true) & (true > 0), known)
    pictures = (base, _painted(base, true, classes), _painted(base, found, classes), error)
    return png(pictures[0]), png(pictures[1]), png(pictures[2]), png(pictures[3])


def _painted(base: Pixels, labels: Pixels, classes: int) -> Pixels:
    """An image with the classes in their colours; what nobody painted is darker."""
    colours = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in PALETTE], float)
    made = base.copy()
    for number in range(1, classes + 1):
        where = labels == number
        made[where] = 0.5 * base[where] + 0.5 * colours[(number - 1) % len(PALETTE)]
    made[labels < 0] *= 0.55
    return made
