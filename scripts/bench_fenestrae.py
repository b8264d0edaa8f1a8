"""Holes of known diameters in the walls of tubes: recall, precision, diameters and the porosity.

Each phantom is a tube through the middle of a volume, its axis turned at random, with round holes of random
diameters and places, 3.5 voxels apart; every other has its holes called lumen. `within_half` is the share of
diameters within half of the longest side of a voxel; beside it stands the same of the hole's rim alone, the
sum of the faces that span it. `porosity_off` is the most that one phantom's is off, in points.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from chunkflow_liver.geometry import Box, Nm, Zyx
from chunkflow_liver.kernels.contacts.areas import area_step_nm2
from chunkflow_liver.kernels.tissue.fenestrae import describe_holes, find_holes
from chunkflow_liver.kernels.tissue.wall_depths import rim_nm2


@dataclass(frozen=True)
class Kind:
    """Tubes of one kind: lengths but the voxel's are in its longest sides."""

    name: str
    times: int
    shape: Zyx = (130, 130, 130)
    voxel_nm: Nm = (20.0, 20.0, 20.0)
    radius: float = 34.0
    thick: float = 4.0
    sizes: tuple[float, float] = (3.0, 20.0)
    rough: float = 0.0
    oblique: float = 0.0
    turned: bool = True


KINDS = (
    Kind("wall of 4 voxels, holes of 3 to 6", 20, sizes=(3.0, 6.0)),
    Kind("wall of 4 voxels, holes of 3 to 20", 34),
    Kind("wall of 2.5 voxels, holes of 3 to 6", 10, thick=2.5, sizes=(3.0, 6.0)),
    Kind("wall of 7 voxels, holes of 3 to 6", 5, thick=7.0, sizes=(3.0, 6.0)),
    Kind("wall of 1.5 voxels, holes of 3 to 6", 5, thick=1.5, sizes=(3.0, 6.0)),
    Kind("tube along an axis, holes of 3 to 6", 5, sizes=(3.0, 6.0), turned=False),
    Kind("tube of 16 voxels radius, holes of 3 to 12", 6, (110, 110, 110), radius=16.0, sizes=(3.0, 12.0)),
    Kind("20 x 10 x 10 nm, holes of 3 to 20", 5, (110, 220, 220), (20.0, 10.0, 10.0), 30.0),
    Kind(
        "40 x 20 x 16 nm, wall of 3, holes of 3 to 8",
        5,
        (90, 180, 225),
        (40.0, 20.0, 16.0),
        24.0,
        3.0,
        (3.0, 8.0),
    ),
    Kind("walls rough by 0.5 voxel, holes of 3 to 6", 5, sizes=(3.0, 6.0), rough=0.5),
    Kind("channels aslant by 31 degrees, holes of 3 to 6", 5, sizes=(3.0, 6.0), oblique=0.6),
)


def perforated(kind: Kind, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Classes (1 lumen, 2 wall), diameters and places of the holes in nm, and the true porosity."""
    rng, side = np.random.default_rng(seed), max(kind.voxel_nm)
    size = np.array(kind.shape) * kind.voxel_nm
    frame = np.linalg.qr(rng.normal(size=(3, 3)))[0] if kind.turned else np.eye(3)
    middle = size / 2 + rng.uniform(-0.5, 0.5, 3) * kind.voxel_nm
    grid = (np.moveaxis(np.indices(kind.shape), 0, -1) + 0.5) * kind.voxel_nm - middle
    along, b, c = np.moveaxis(grid @ frame.T / side, -1, 0)
    away, wide = np.hypot(b, c), kind.radius + kind.thick
    inner, outer = away, away
    if kind.rough:
        noise = [ndimage.gaussian_filter(rng.normal(size=kind.shape), 2.0) for _ in range(2)]
        inner, outer = (away + n * kind.rough / n.std() for n in noise)
    classes = np.where(inner < kind.radius, 1, np.where(outer < wide, 2, 0)).astype(np.uint8)
    # The wall that is in the volume: the tube leaves it through its faces.
    surface = (
        np.count_nonzero((away < kind.radius + 1) & (away >= kind.radius))
        * np.prod(np.array(kind.voxel_nm) / side)
        / (1 + 0.5 / kind.radius)
    )
    found: list[tuple[float, float, float]] = []
    places, reach = [], size.min() / side / 2
    for _ in range(6000):
        if len(found) == 60:
            break
        d, at, turn = rng.uniform(*kind.sizes), rng.uniform(-reach, reach), rng.uniform(-np.pi, np.pi)
        around = (kind.radius + kind.thick / 2) * np.array([np.sin(turn), np.cos(turn)])
        place = np.array([at, *around]) * side @ frame + middle
        edge = (d / 2 + 6 + kind.thick * (1 + kind.oblique)) * side
        if ((place < edge) | (place > size - edge)).any():
            continue
        if any(_between(at - p, turn - q, kind.radius) < d / 2 + r + 3.5 for p, q, r in found):
            continue
        found.append((at, turn, d / 2))
        places.append(place)
    for at, turn, r in found:
        out, across = b * np.sin(turn) + c * np.cos(turn), c * np.sin(turn) - b * np.cos(turn)
        off = along - at - kind.oblique * (out - kind.radius - kind.thick / 2)
        classes[(classes == 2) & (out > 0) & (np.hypot(off, across) < r)] = 1 if seed % 2 else 0
    radii = np.array([r for *_, r in found])
    return classes, 2 * radii * side, np.array(places), float(np.pi * (radii**2).sum() / surface)


def _between(along: float, turn: float, radius: float) -> float:
    return float(np.hypot(along, radius * ((turn + np.pi) % (2 * np.pi) - np.pi)))


def measured(kind: Kind, seed: int) -> dict[str, Any]:
    """Errors of a phantom's diameters in longest sides, and what was found and missed."""
    classes, true, places, porosity = perforated(kind, seed)
    side, box = max(kind.voxel_nm), Box.of(classes.shape)
    most_nm = 1.2 * kind.sizes[1] * side
    begun = time.process_time()
    holes = find_holes(classes == 1, classes == 2, box, box, box, (most_nm, kind.voxel_nm))
    took = time.process_time() - begun
    told = describe_holes(holes.rows, kind.voxel_nm)
    rows = {name: column for name, column in (holes.rows | told).items()}
    own = rows["border"] == 0
    at = np.stack([rows[f"{a}_nm"] for a in "zyx"], 1)[own]
    apart, which = (np.asarray(n) for n in cKDTree(places).query(at))
    hit = apart < (4 + kind.thick) * side
    rim = 2 * np.sqrt(rim_nm2(np.stack([rows[f"face_{a}"] for a in "zyx"]), kind.voxel_nm)[own] / np.pi)
    once = len(set(which[hit].tolist()))
    area = holes.surface * area_step_nm2(kind.voxel_nm)
    return {
        "off": ((rows["diameter_nm"][own] - true[which]) / side)[hit],
        "rim_off": ((rim - true[which]) / side)[hit],
        "layers": rows["layers"][own][hit],
        "holes": len(true),
        "found": once,
        "too_many": int(len(hit) - once),
        "porosity_off": abs(float(rows["area_nm2"][own].sum()) / area - porosity) * 100,
        "seconds": took,
    }


def bench(folder: Path, only: str = "") -> Iterator[dict[str, Any]]:
    """A row for each kind of tubes."""
    for kind in KINDS:
        if only and only != kind.name:
            continue
        begun = time.perf_counter()
        told = [measured(kind, seed) for seed in range(kind.times)]
        off, rim, layers = (np.concatenate([t[k] for t in told]) for k in ("off", "rim_off", "layers"))
        holes, found, too_many = (sum(t[k] for t in told) for k in ("holes", "found", "too_many"))
        within = float((np.abs(off) <= 0.5).mean())
        yield {
            "name": "fenestrae",
            "tool": "chunkflow_liver",
            "case": kind.name,
            "voxels": int(np.prod(kind.shape)) * kind.times,
            "seconds": round(time.perf_counter() - begun, 1),
            "cpu_seconds": round(sum(t["seconds"] for t in told), 1),
            "value": round(within, 5),
            "unit": "diameters within half a voxel",
            "ok": found == holes and not too_many,
            "holes": holes,
            "recall": round(found / holes, 5),
            "precision": round(found / (found + too_many), 5),
            "mean_voxels": round(float(off.mean()), 4),
            "sd_voxels": round(float(off.std()), 4),
            "most_voxels": round(float(np.abs(off).max()), 3),
            "within_half": round(within, 5),
            "rim_sd_voxels": round(float(rim.std()), 4),
            "rim_most_voxels": round(float(np.abs(rim).max()), 3),
            "rim_within_half": round(float((np.abs(rim) <= 0.5).mean()), 5),
            "layers_mean": round(float(layers.mean()), 2),
            "layers_0": int((layers == 0).sum()),
            "porosity_off": round(max(t["porosity_off"] for t in told), 3),
        }
