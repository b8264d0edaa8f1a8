"""Settings that left a column without anything to say: the same value for every object."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from chunkflow_liver.reports.tables import Stored
from chunkflow_liver.reports.words import number

LEAST = 2
"""Objects that have to be alike before it is told."""
BINS = ("Entropy", "SumEntropy", "JointEntropy", "DifferenceEntropy", "DependenceEntropy")


def trivial(table: Stored) -> list[str]:
    """Sentences about columns that a setting made the same for all objects of a table."""
    settings = _settings(table)
    found = []
    flat = [n for n in table.names if n.rpartition("_")[2] in BINS and _all(table, n, 0.0)]
    if flat:
        bins = settings.get("bin_count")
        now = f"bin_count = {bins}" if bins else f"bin_width = {float(settings.get('bin_width', 25)):g}"
        found.append(
            f"{table.product.name}: {flat[0]} is 0 for every object, because {now} puts all gray values of "
            "an object into one bin. No texture and no entropy says anything; take a bin_width of about a "
            "32nd of the range of gray values, or a bin_count."
        )
    for column, value, setting, why in (
        ("density_per_um3", 0.0, "radius_nm", "no object has another one within it"),
        ("contact_um2", 0.0, "gap_nm", "no surface comes that near"),
        ("within_cap_fraction", 0.0, "cap_nm", "no surface comes that near, and all distances are infinite"),
    ):
        given = settings.get(setting)
        if column in table.names and given is not None and _all(table, column, value):
            found.append(
                f"{table.product.name}: {column} is {number(value)} for every object: {why} "
                f"({setting} = {float(given):g}). A larger {setting} says more."
            )
    return found


def _all(table: Stored, column: str, value: float) -> bool:
    """Whether a column of several objects holds one value only, missing ones left out."""
    values: Any = table.column(column)
    known = values[np.isfinite(values.astype(np.float64))]
    return len(known) >= LEAST and bool((np.abs(known - value) < 1e-12).all())


def _settings(table: Stored) -> Mapping[str, Any]:
    """The settings that a table states about its making."""
    stated = (pq.read_schema(table.path).metadata or {}).get(b"chunkflow_liver", b"{}")
    made = json.loads(stated)
    nested = made.get("settings")
    flat = {**made, **(nested if isinstance(nested, Mapping) else {})}
    return {k: v for k, v in flat.items() if not (isinstance(v, float) and math.isnan(v))}
