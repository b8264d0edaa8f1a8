"""How near objects come to their nearest partner, in a sentence."""

from __future__ import annotations

import math

import numpy as np

from chunkflow_liver.reports.tables import WHOLE, Stored, stored
from chunkflow_liver.reports.words import length, number
from chunkflow_liver.reports.work import Work, exists


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
