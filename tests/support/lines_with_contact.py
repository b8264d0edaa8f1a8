"""Simulated centre lines with patches of contact, whose relation to narrowings and to place is known."""

from __future__ import annotations

from typing import Any

import numpy as np

from chunkflow_liver.kernels.significance.permutations import Observed
from chunkflow_liver.kernels.significance.places import Along

STEP_NM, REACH_NM = 20.0, 150.0
DESIGNS = ("uniform", "tubules", "gradient", "two cells", "middle", "tips")
"""Designs in which contact knows nothing of narrowings: spread evenly; in long stretches; rising over the
tissue and along every object; in cells that differ in contact and in narrowings; in the middle; at tips."""


def _rate(design: str, share: Any, rng: np.random.Generator) -> Any:
    """Patches at each point, relative to the mean."""
    from_middle = np.abs(share - 0.5)
    if design == "middle":
        return 0.4 + 2.5 * np.exp(-((from_middle / 0.15) ** 2))
    if design == "tips":
        return np.where(from_middle > 0.35, 2.5, 0.35)
    if design == "gradient":
        return np.exp(rng.normal(0, 0.7) + rng.choice([-1.5, 1.5]) * (share - 0.5))
    return np.ones(len(share))


def simulated(
    seed: Any, design: str, *, objects: int = 150, share: float = 0.3, carried: float = 0.0
) -> tuple[Along, Observed]:
    """Objects of 0.9 to 3 um, of which some have a narrowing near their middle; as points, and as windows.

    Parameters
    ----------
    seed : seed of NumPy's generator
    design : str
        One of `DESIGNS`.
    objects : int
    share : float
        Of the objects that have a narrowing.
    carried : float
        Share of the narrowings that have a patch of contact for being narrowings.
    """
    rng = np.random.default_rng(seed)
    points: dict[str, list[Any]] = {k: [] for k in ("label", "position", "area", "contact")}
    necks: list[tuple[int, float]] = []
    windows: list[tuple[float, bool, int, int, float]] = []
    cells = {}
    for label in range(1, objects + 1):
        length = rng.uniform(900, 3000)
        at = np.arange(0, length, STEP_NM)
        cell = 1 + int(design == "two cells" and label % 2)
        cells[label] = cell
        has = rng.random() < (share if design != "two cells" else (0.5, 0.15)[cell - 1])
        # Median of the distance from the centre: 0.11 of the length, as measured.
        place = length * (0.5 + np.clip(rng.normal(0, 0.163), -0.3, 0.3))
        area = np.full(len(at), 1.0)
        if has:
            area *= 1 - 0.5 * np.exp(-(((at - place) / 100) ** 2))
        level = rng.gamma(4, 0.25) * (1.0 if cell == 1 else 3.0)
        rate = level * _rate(design, at / length, rng)
        long = 400.0 if design == "tubules" else 60.0
        hits = at[rng.random(len(at)) < 1 - np.exp(-rate * 0.16 * STEP_NM / (long + 60))]
        patches = [(p, rng.uniform(0.5, 1.5) * long, rng.uniform(0.2, 0.5)) for p in hits]
        if has and rng.random() < carried:
            patches.append((place, 60.0, 0.35))
        free = np.ones(len(at))
        for p, width, part in patches:
            free *= np.where(np.abs(at - p) <= width / 2, 1 - part, 1.0)
        contact = area * (1 - free)
        for name, column in zip(points, (np.full(len(at), label), at, area, contact), strict=True):
            points[name].append(column)
        windows += _windows(label, cell, at, area, contact, place if has else None)
        necks += [(label, place)] if has else []
    label, position, area, contact = (np.concatenate(points[k]) for k in points)
    neck_label, neck_nm = (np.array(c) for c in zip(*necks, strict=True))
    along = Along(
        label, 0 * label, position, area, contact, neck_label, 0 * neck_label, neck_nm, neck_label[:0], cells
    )
    density, narrow, of, cell_of, surface = (np.array(c) for c in zip(*windows, strict=True))
    return along, Observed(density, narrow, of, cell_of, surface)


def _windows(
    label: int, cell: int, at: Any, area: Any, contact: Any, place: float | None
) -> list[tuple[float, bool, int, int, float]]:
    """Windows as `centreline.windows` lays them: at the narrowing, and as many others as fit."""
    length = float(at[-1])
    middles = [] if place is None else [(place, True)]
    ends = [(0.0, length)] if place is None else [(0.0, place - REACH_NM), (place + REACH_NM, length)]
    for begin, end in ends:
        count = max(0, int((end - begin) / (2 * REACH_NM)))
        middles += [(begin + (end - begin) * (i + 0.5) / count, False) for i in range(count)]
    found = []
    for middle, narrow in middles:
        inside = np.abs(at - middle) <= REACH_NM
        surface = float(area[inside].sum())
        found.append((float(contact[inside].sum()) / surface, narrow, label, cell, surface))
    return found
