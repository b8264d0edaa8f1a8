"""Tables of random placements: tests, objects and curves, from the records of all blocks."""

from __future__ import annotations

from typing import Any

import numpy as np

from chunkflow_liver.engine.stage import Records
from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import NM_PER_UM, Nm
from chunkflow_liver.kernels.contacts.areas import area_step_nm2
from chunkflow_liver.kernels.contacts.placements import Chance, limits_of
from chunkflow_liver.kernels.significance.decisions import LEAST, TOO_FEW
from chunkflow_liver.kernels.significance.intervals import LEAST as SCARCE
from chunkflow_liver.kernels.significance.permutations import adjusted, paired_effect
from chunkflow_liver.ops.placement.block import FLAGS, SHARE, VALUES, WHOLE
from chunkflow_liver.store.table import Columns
from chunkflow_liver.xp import Array

STATISTICS = ("share of the surface in contact", "distance to the nearest")
EFFECT = ("difference", "ratio")
ENDS = ("difference_low", "difference_high", "ratio_low", "ratio_high")
"""Of the intervals of `EFFECT`."""
_BAND = (2.5, 97.5)
MOST = (1 << 63) // SHARE - 1
"""Objects whose shares can be added."""


def tests(records: Records, *, partners: list[str], chance: Chance, voxel_nm: Nm) -> Columns:
    """Two rows per partner: contact, and distance, against chance; over the objects that were placed."""
    found, share, near, *_ = _read(records, len(partners), chance, voxel_nm)
    gaps = limits_of(chance, voxel_nm)[0]
    used = found["used"]
    count = int(used.sum())
    rows: list[dict[str, Any]] = []
    for p, partner in enumerate(partners):
        at_gap = share[:, p, int(np.searchsorted(gaps, chance.gap_nm))]
        for s, (sums, scale, prefix) in enumerate(
            ((at_gap, 1.0, ""), (near[:, p], chance.cap_nm, "near_")),
        ):
            # Of its own: no interval depends on which other partners there are.
            rng = np.random.default_rng([chance.seed, s, *partner.encode()])
            row = {"partner": partner, "statistic": STATISTICS[s], "objects": count}
            row |= {"cells": len(np.unique(found["cell"][used])), "p_value": np.nan, "no_test": ""}
            row |= dict.fromkeys(("observed", "expected", "low", "high", *EFFECT, *ENDS), np.nan)
            if count:
                means = sums / (SHARE * count) * scale
                row |= {"observed": means[0], "expected": means[1:].mean()}
                row["low"], row["high"] = np.percentile(means[1:], _BAND)
                own, random = (found[f"{prefix}{n}"][used, p] for n in ("observed", "expected"))
                effect = paired_effect(own, random, found["cell"][used], chance.draws, rng)
                row |= {name: effect[name] for name in (*EFFECT, *ENDS)}
                if not prefix and (own > 0).sum() < LEAST:
                    # What a few objects have, or none, says nothing of how much others may have.
                    row |= dict.fromkeys(ENDS, np.nan)
            if count >= LEAST:
                row["p_value"] = two_sided(sums)
            else:
                row["no_test"] = TOO_FEW
            rows.append(row)
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    whole = {"border": found["touches_border"] & (not chance.border), "too_large": found["too_large"]}
    tried = ~whole["border"] & ~whole["too_large"] & ~used
    rest = {"no_room": int(tried.sum()), **{k: int(v.sum()) for k, v in whole.items()}}
    order = ("partner", "statistic", "objects", "cells")
    return {
        **{name: columns.pop(name) for name in order},
        **{name: np.full(len(rows), n) for name, n in rest.items()},
        **{name: columns.pop(name).astype(np.float64) for name in list(columns) if name != "no_test"},
        "q_value": adjusted(np.array([row["p_value"] for row in rows])),
        "no_test": np.array([row["no_test"] for row in rows], dtype=object),
    }


def two_sided(sums: Array) -> float:
    """How often placements (1.. ) are as far to either side as what is (0), twice the smaller; never 0."""
    more, less = ((way(sums[1:], sums[0])).sum() for way in (np.greater_equal, np.less_equal))
    return float(min(1.0, 2 * (1 + min(more, less)) / len(sums)))


def objects(records: Records, *, partners: list[str], chance: Chance, voxel_nm: Nm) -> Columns:
    """A row per object and partner, sorted by label; objects that were not placed have no numbers."""
    found, *_ = _read(records, len(partners), chance, voxel_nm)
    n, p = len(found["label"]), len(partners)
    extreme = np.minimum(found["extreme_more"], found["extreme_less"])
    columns = {
        "label": np.repeat(found["label"], p),
        "cell": np.repeat(found["cell"], p),
        "partner": np.tile(np.array(partners, dtype=object), n),
        "touches_border": np.repeat(found["touches_border"], p),
        "too_large": np.repeat(found["too_large"], p),
        "placed": np.repeat(found["placed"], p),
        "surface_um2": np.repeat(found["surface"] * (area_step_nm2(voxel_nm) / NM_PER_UM**2), p),
    }
    for name in ("observed", "expected", "low", "high"):
        columns[f"{name}_fraction"] = found[name].reshape(-1)
    for name in ("observed", "expected", "low", "high"):
        columns[f"{name}_nearest_nm"] = found[f"near_{name}"].reshape(-1)
    columns["p_value"] = np.minimum(1.0, 2 * (1 + extreme) / (1 + chance.placements)).reshape(-1)
    return columns


def curves(records: Records, *, partners: list[str], chance: Chance, voxel_nm: Nm) -> Columns:
    """Mean share of the surface within every nm, where objects are and where chance lays them.

    Notes
    -----
    The band of the mean where objects are is 95 % by t over cells, of one cell over objects; there is none
    for fewer than `intervals.LEAST` of them. With sums s of n objects by cell, N objects and C cells, the
    variance of the mean m is C / (C - 1) times the sum of (s - n m)^2 over N^2.
    """
    found, share, _, square, cells = _read(records, len(partners), chance, voxel_nm)
    gaps, count = limits_of(chance, voxel_nm)[0], int(found["used"].sum())
    means = np.full(share.shape, np.nan) if not count else share / (SHARE * count)
    low, high = np.percentile(means[1:], _BAND, axis=0)
    half = np.full(means[0].shape, np.nan)
    units = len(cells["label"]) if len(cells["label"]) > 1 else count
    if units >= SCARCE:
        from scipy.stats import t

        around = np.maximum(square / SHARE - count * means[0] ** 2, 0.0)
        if len(cells["label"]) > 1:
            sums, many = cells["share"] / SHARE, cells["objects"][:, None, None]
            around = ((sums - many * means[0]) ** 2).sum(0)
        variance = units / (units - 1) * around / count**2
        half = float(t.ppf(0.975, units - 1)) * np.sqrt(variance)
    return {
        "partner": np.repeat(np.array(partners, dtype=object), len(gaps)),
        "gap_nm": np.tile(gaps, len(partners)),
        "observed_fraction": means[0].reshape(-1),
        "observed_low_fraction": np.maximum(means[0] - half, 0.0).reshape(-1),
        "observed_high_fraction": np.minimum(means[0] + half, 1.0).reshape(-1),
        "expected_fraction": means[1:].mean(0).reshape(-1),
        "low_fraction": low.reshape(-1),
        "high_fraction": high.reshape(-1),
    }


def _read(
    records: Records, partners: int, chance: Chance, voxel_nm: Nm
) -> tuple[dict[str, Array], Array, Array, Array, dict[str, Array]]:
    """All objects, sorted by label, the sums over those that were placed, and these by cell."""
    gaps = limits_of(chance, voxel_nm)[0]
    share = np.zeros((1 + chance.placements, partners, len(gaps)), np.int64)
    near, square = np.zeros(share.shape[:2], np.int64), np.zeros(share.shape[1:], np.int64)
    parts: list[dict[str, Array]] = []
    totals: dict[int, tuple[int, Array]] = {}
    for _, record in records:
        if "sum/share" in record:
            share += record["sum/share"]
            near += record["sum/near"]
            square += record["sum/square"]
            own = (record[f"cell/{name}"] for name in ("label", "objects", "share"))
            for label, many, sums in zip(*own, strict=True):
                before, others = totals.get(int(label), (0, np.zeros(square.shape, np.int64)))
                totals[int(label)] = before + int(many), others + sums
            parts.append(
                {k.split("/")[1]: np.asarray(v) for k, v in record.items() if k.startswith("object/")}
            )
    if (count := sum(many for many, _ in totals.values())) > MOST:
        raise InputError(f"{count} objects were placed; the shares of at most {MOST} can be added")
    cells = {
        "label": np.array(sorted(totals), np.uint64),
        "objects": np.array([totals[k][0] for k in sorted(totals)], np.int64),
        "share": np.array([totals[k][1] for k in sorted(totals)], np.int64).reshape(-1, *square.shape),
    }
    names = (*WHOLE, *FLAGS, *VALUES, *(f"near_{v}" for v in VALUES))
    if not parts:
        kinds = WHOLE | dict.fromkeys(FLAGS, np.bool_)
        found = {n: np.zeros(0 if n in kinds else (0, partners), kinds.get(n, np.float64)) for n in names}
        return found | {"used": np.zeros(0, bool)}, share, near, square, cells
    found = {name: np.concatenate([part[name] for part in parts]) for name in names}
    order = np.argsort(found["label"])
    found = {name: values[order] for name, values in found.items()}
    return found | {"used": np.isfinite(found["observed"]).all(1)}, share, near, square, cells
