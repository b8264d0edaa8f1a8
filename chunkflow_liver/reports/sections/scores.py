"""How sure the networks were, class by class, and how right, where there is a truth to compare with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chunkflow_liver.reports.pictures.samples import choose, fits, together
from chunkflow_liver.reports.pictures.slices import SCORE_OF_ONE, Layer
from chunkflow_liver.reports.tables import Shown, Stored
from chunkflow_liver.reports.words import counted, number, one, percent

REST = "none of these"


def mean_scores(semantic: Layer, layers: Sequence[Layer]) -> tuple[Shown, str] | None:
    """A table of the mean of every kept image of a segmentation, class by class, and where it was counted.

    Parameters
    ----------
    semantic : Layer
        The classes.
    layers : sequence of Layer
        All that is drawn; the scores and uncertainty of `semantic` are taken. None if it has none.

    Raises
    ------
    InputError, ChunkError
        If voxels cannot be read.
    """
    sample = choose(semantic.levels)
    kept = [s for s in layers if s.kind == "score" and s.name.startswith(f"{semantic.name}-")]
    kept = [s for s in kept if fits(sample, s.levels)]
    if not kept:
        return None
    classes = [(one(name), n) for name, n in semantic.levels[0].classes] + [(REST, 0)]
    voxels = np.zeros(len(classes), np.int64)
    sums = np.zeros((len(kept), len(classes)), np.int64)
    for labels, *values in together(sample, semantic.levels, *(s.levels for s in kept)):
        for i, (_, n) in enumerate(classes):
            here = labels == n
            voxels[i] += int(here.sum())
            sums[:, i] += [int(v.sum(dtype=np.int64, where=here)) for v in values]
    means = np.where(voxels, sums / np.maximum(voxels, 1) / SCORE_OF_ONE, np.nan)
    columns = [("class", "", False)]
    columns += [(s.name.removeprefix(f"{semantic.name}-").replace("-", " "), "mean", True) for s in kept]
    rows = []
    for i, (name, _) in enumerate(classes):
        if name != REST or voxels[i]:
            numbers = [(number(float(m)), "" if np.isnan(m) else f"{m:.6g}") for m in means[:, i]]
            rows.append(((name, name), *numbers))
    return Shown(f"Scores in {semantic.name}", tuple(columns), tuple(rows), len(rows)), sample.text


def evaluated_text(table: Stored) -> str:
    """A comparison with a truth, in a sentence; '' for a table without scores."""
    found, truth = table.about.get("found", "the result"), table.about.get("truth", "the truth")
    dice, classes = table.column("dice"), table.column("class")
    if dice is not None and classes is not None and len(dice):
        scores = ", ".join(f"{one(str(c))} {number(float(d))}" for c, d in zip(classes, dice, strict=True))
        return f"Dice of {found} against {truth}: {scores}."
    f1, iou, matched = (table.column(c) for c in ("f1", "iou_threshold", "matched"))
    there, made = table.column("truth"), table.column("found")
    if f1 is None or iou is None or matched is None or there is None or made is None or not len(f1):
        return ""
    return (
        f"Of {counted(int(there[0]), 'object')} of {truth} {number(int(matched[0]))} "
        f"({percent(float(matched[0]) / max(1, int(there[0])))}) {'was' if matched[0] == 1 else 'were'} "
        f"found, {counted(int(made[0]), 'object')} of {found} in all: F1 {number(float(f1[0]))} "
        f"at an IoU of {iou[0]:g}."
    )
