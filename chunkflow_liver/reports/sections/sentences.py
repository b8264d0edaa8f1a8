"""Sentences of what was found: how near objects come to a partner, what clean-up did; what was looked at."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from chunkflow_liver.errors import ChunkflowLiverError
from chunkflow_liver.geometry import NM_PER_UM, Box, zyx
from chunkflow_liver.ops.refine.choosing import REASONS
from chunkflow_liver.reports.tables import WHOLE, Stored, stored
from chunkflow_liver.reports.words import counted, length, number
from chunkflow_liver.reports.work import Work, exists
from chunkflow_liver.store.images import inspect
from chunkflow_liver.store.volume import Volume

MOST_MASK_VOXELS = 1 << 24
"""The finest level of a mask that is counted has fewer voxels."""


def nearness(table: Stored, work: Work, known: Stored, subject: str, whom: str) -> list[str]:
    """How near half of the objects come to a partner, whole objects where there are some."""
    product = next((p for p in work.of("contact objects") if p.name == f"{table.product.name}-objects"), None)
    if product is None or not exists(product):
        return []
    objects = stored(product)
    side, label, nearest = (objects.column(n) for n in ("side", "label", "nearest_nm"))
    labels = known.column("label")
    if side is None or label is None or nearest is None or labels is None:
        return []
    whole = known.scopes().get(WHOLE)
    kept = np.isin(label, labels if whole is None else labels[whole]) & (side == "a")
    # Objects that no surface voxel was found of have no row, and are far.
    middle = float(np.median(nearest[kept])) if kept.any() else math.inf
    if not math.isfinite(middle):
        return []
    which = f"{number(int(kept.sum()))} {'whole ' if whole is not None else ''}{subject}"
    if middle == 0:
        return [f"Half or more of the {which} touch {whom}."]
    return [f"Half of the {which} come within {length(middle)} of {whom}."]


def refined_text(table: Stored) -> str:
    """How many objects stayed when instances were refined, and why others did not."""
    removed = table.column("removed")
    reasons = np.zeros(0, str) if removed is None else removed.astype(str)
    stay = int((reasons == "").sum())
    source, name = table.about.get("instances", ""), table.product.name.removesuffix("-ids")
    verb = "stays" if stay == 1 else "stay"
    text = f"{number(stay)} of {counted(len(reasons), 'object')} of {source} {verb} in {name}"
    counts = [(int((reasons == reason).sum()), words) for reason, words in REASONS.items() if reason]
    gone = ", ".join(f"{number(n)} {words}" for n, words in counts if n)
    return f"{text}; {gone}." if gone else f"{text}."


def edited_text(table: Stored) -> str:
    """How many edits of each kind were applied to instances."""
    actions = table.column("action")
    names, counts = np.unique([] if actions is None else actions.astype(str), return_counts=True)
    done = ", ".join(f"{number(int(n))} {name}" for name, n in zip(names.tolist(), counts, strict=True))
    source, name = table.about.get("instances", ""), table.product.name.removesuffix("-edits")
    return f"Edits that make {name} of {source}: {done}."


def edit_states(logs: Sequence[Stored]) -> dict[str, str]:
    """What tells objects before edits from those after them, by image; begins with a space."""
    made = {t.product.name.removesuffix("-edits"): t.rows for t in logs}
    edited = {str(t.about.get("instances", "")) for t in logs}
    found = {}
    for image in made.keys() | edited:
        state = [f"after {counted(made[image], 'edit')}"] if image in made else []
        state += [f"before {'further ' if state else ''}edits"] if image in edited else []
        found[image] = f" {' and '.join(state)} ({image})"
    return found


def superseded(logs: Sequence[Stored], tables: Sequence[Stored]) -> set[str]:
    """Images that were edited, where the result is measured too: the heading is about that."""
    measured = {str(t.about.get("instances")) for t in tables}
    return {str(t.about.get("instances")) for t in logs if t.product.name.removesuffix("-edits") in measured}


def tissue_um3(volume: Volume) -> float:
    """Volume of what was looked at, in cubic micrometres."""
    known = volume.known.shape
    box = math.prod(n * v for n, v in zip(known, volume.voxel_nm, strict=True)) / NM_PER_UM**3
    return box * masked_share(volume)


def masked_share(volume: Volume) -> float:
    """Share of the box that was looked at which lies in its mask, by the mask's coarsest level that says it.

    NaN where the mask is not there any more.
    """
    if volume.mask is None:
        return 1.0
    try:
        levels = inspect(volume.mask.url)[1]
        coarse = next((v for v in levels if v.box.size <= MOST_MASK_VOXELS), levels[-1])
        start, stop = (
            zyx([round(n * v / w) for n, v, w in zip(end, volume.voxel_nm, coarse.voxel_nm, strict=True)])
            for end in (volume.known.start, volume.known.stop)
        )
        stop = zyx([max(a + 1, b) for a, b in zip(start, stop, strict=True)])
        values = coarse.read(Box(start, stop).clip(coarse.box))
    except ChunkflowLiverError:
        return math.nan
    return float(np.count_nonzero(values) / values.size)
