"""What a training says before it begins: what is refused of painted voxels, and what a person should know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Nm
from chunkflow_liver.ops.train.splits import Part
from chunkflow_liver.store.foreign import Foreign
from chunkflow_liver.training.recipe import Recipe

FEWEST = 50
"""Painted voxels of a class below which the plan says that they are few."""
MOST_DECODED = 20.0
"""Voxels decoded per voxel read above which a file is better converted."""


def check_classes(rows: Sequence[Sequence[Any]], names: Sequence[str]) -> None:
    """Refuse a class that nobody painted."""
    total = sum((np.array(counts) for mine in rows for _, _, counts in mine), np.zeros(len(names) + 1, int))
    if not total.sum():
        raise InputError("nothing is painted in the slices and boxes of any source")
    missing = [name for name, n in zip(names, total[1:], strict=True) if not n]
    if missing:
        counts = zip(("background", *names), total, strict=True)
        there = ", ".join(f"{name} {int(n)}" for name, n in counts if n)
        raise InputError(
            f"no painted voxel of any source is of {', '.join(map(repr, missing))}; painted are {there} "
            "voxels. Leave the class out, or mend its number, the slices or the boxes"
        )


def check_parts(parts: Sequence[Part], names: Sequence[str]) -> None:
    for part in parts:
        missing = [name for name, n in zip(names, part.train.painted.total[1:], strict=True) if not n]
        if missing:
            raise InputError(
                f"fold {part.name}: all painted voxels of {missing} are held out or lie in the gap, so it "
                "could "
                "not be learned; take another split, fewer folds or a smaller gap_nm"
            )


def notes_of(
    recipe: Recipe, parts: Sequence[Part], names: Sequence[str], own: Sequence[str]
) -> tuple[str, ...]:
    """What the training will do, and what a person should know before."""
    window = "x".join(map(str, recipe.window))
    notes = [
        f"network {recipe.network}, window {window} voxels of {_sizes(recipe.voxel_nm)} nm, features "
        f"{list(recipe.features)}, {recipe.steps} steps of {recipe.batch} windows, validated every "
        f"{recipe.epoch}",
        *own,
    ]
    raws = dict.fromkeys(raw for source in parts[0].train.sources for raw in source.raws)
    for raw in raws:
        times = raw.decoded(recipe.window_zyx) if isinstance(raw, Foreign) else 1.0
        if times > MOST_DECODED:
            notes.append(
                f"{raw.url}: {times:.0f} voxels are decoded for each that is read; 'convert' makes an "
                "OME-Zarr of it, whose windows are read alone"
            )
    for part in parts:
        seen, kept = part.train.painted.total, part.held.painted.total
        text = ", ".join(
            f"{name} {a} / {b}" for name, a, b in zip(("background", *names), seen, kept, strict=True)
        )
        notes.append(f"fold {part.name}: painted voxels trained on / held out: {text}")
        few = [name for name, n in zip(names, seen[1:], strict=True) if n < FEWEST]
        if few:
            notes.append(f"fold {part.name}: hardly anything is painted of {few}")
        gone = [name for name, n in zip(names, kept[1:], strict=True) if not n]
        if gone and sum(kept):
            notes.append(
                f"fold {part.name}: nothing held out is of {gone}, so nobody can say how well it is found"
            )
    return tuple(notes)


def _sizes(values: Nm) -> str:
    return "(" + ", ".join(f"{v:g}" for v in values) + ")"
