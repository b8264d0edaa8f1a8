"""How often `placement` says 'not by chance' where it is chance, where it is not, and what it costs.

uv run scripts/calibrate_placement.py                    # 1,000 phantoms without relation of each design
uv run scripts/calibrate_placement.py --design halves    # of this one alone
uv run scripts/calibrate_placement.py --placements 39    # 5 % of p are small by right, in a fifth of the time
uv run scripts/calibrate_placement.py --over             # objects may be laid on others of their set
uv run scripts/calibrate_placement.py --cost 512         # a run from disk of 2,000 objects, 200 placements
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

import chunkflow_liver as cf
from chunkflow_liver.engine.execute import peak_mib, reset_peak
from chunkflow_liver.geometry import Block, Box
from chunkflow_liver.kernels.contacts.placements import Chance
from chunkflow_liver.kernels.labels.extents import block_extents
from chunkflow_liver.ops.placement.block import place_block
from chunkflow_liver.ops.placement.tables import tests
from chunkflow_liver.ops.steps.crops import centres
from chunkflow_liver.store.voxels.region import Known

VOXEL_NM = (16.0, 8.0, 8.0)
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Design:
    """Objects at random places among bodies of a class, none on another one.

    Attributes
    ----------
    objects : int
    shape : tuple of int
        Of the volume, in voxels.
    left : float
        Share of both that lie in the left half, whose border is one of the cubes that objects stay in.
    attracted : float
        Share of the objects that touch a body.
    region_nm : float
        Side of the cubes that objects stay in; by default one holds the whole volume.
    keep_nm : float, optional
        Depth of the shells, from the left face on, that the middle of an object stays in.
    """

    objects: int
    shape: tuple[int, int, int]
    left: float = 0.5
    attracted: float = 0.0
    region_nm: float = 1000
    keep_nm: float | None = None


DESIGNS = {
    # 2 % of the volume are objects, 1 % the class.
    "dense": Design(20, (24, 48, 48)),
    # 0.4 and 1.4 %.
    "cubes": Design(20, (32, 80, 100), region_nm=400),
    "one cube": Design(20, (32, 80, 100)),
    "halves": Design(20, (48, 100, 100), left=0.8, region_nm=400),
    # Objects and class like the left half, and nothing but the distance to its face says so.
    "shells": Design(20, (48, 100, 100), left=0.9, keep_nm=400),
}
ATTRACTED = Design(200, (48, 112, 112), attracted=0.2, region_nm=400)


@dataclass(frozen=True)
class Held:
    """An array that is read as a volume is."""

    array: Array
    voxel_nm: tuple[float, float, float] = VOXEL_NM

    def read(self, box: Box) -> Array:
        return self.array[box.slices]


def solids(rng: np.random.Generator) -> list[Array]:
    """A few forms of objects: boxes and rods."""
    sides = rng.integers(2, 7, (6, 3))
    return [np.ones(tuple(s), bool) for s in sides]


def free_place(rng: np.random.Generator, taken: Array, mask: Array, left: float = 0.5) -> tuple[slice, ...]:
    """Where a mask fits; of each half all such places are equally likely."""
    while True:
        low = [int(rng.integers(1, n - m)) for n, m in zip(taken.shape, mask.shape, strict=True)]
        in_left = low[2] + mask.shape[2] / 2 < taken.shape[2] / 2
        if rng.random() >= (left if in_left else 1 - left) / max(left, 1 - left):
            continue
        at = tuple(slice(a, a + m) for a, m in zip(low, mask.shape, strict=True))
        if not taken[at][mask].any():
            return at


def phantom(seed: int, design: Design) -> tuple[Array, Array]:
    """Objects, and bodies of a class.

    Returns
    -------
    own : ndarray of shape `design.shape`, uint32
    other : ndarray of shape `design.shape`, uint8
    """
    rng = np.random.default_rng(seed)
    own, other = np.zeros(design.shape, np.uint32), np.zeros(design.shape, np.uint8)
    for _ in range(max(4, int(np.prod(design.shape)) // 12_000)):
        mask = np.ones(tuple(rng.integers(3, 9, 3)), bool)
        other[free_place(rng, other, mask, design.left)] = 1
    forms, taken = solids(rng), other > 0
    for label in range(1, design.objects + 1):
        mask = forms[int(rng.integers(len(forms)))]
        # `placement` asks of objects that lie at random and are turned at random, as its symmetries do.
        mask = mask.swapaxes(1, 2) if rng.random() < 0.5 else mask
        close = rng.random() < design.attracted
        for _ in range(400):
            at = free_place(rng, taken, mask, design.left)
            around = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in at)
            if not close or other[around].any():
                break
        own[at][mask], taken[at][mask] = label, True
    return own, other


def tested(own: Array, other: Array, chance: Chance, *, keep: bool) -> dict[str, Any]:
    """The table of tests, as a run makes it; with the distance to the left face kept or not."""
    box = Box.of(own.shape)
    found = block_extents(own, (0, 0, 0))
    plane = centres(found["low"], found["high"])[:, 0]
    order = np.argsort(plane, kind="stable")
    objects = {"plane": plane[order]} | {name: column[order] for name, column in found.items()}
    block = Block(0, (0, 0, 0), box, box, box)
    cell = np.zeros(own.shape, np.uint8)
    cell[1:-1, 1:-1, 1:-1] = 1
    far = np.broadcast_to(np.arange(own.shape[2], dtype=np.float32) * VOXEL_NM[2], own.shape)
    results = place_block(
        block,
        Held(own),  # type: ignore[arg-type]
        Held(other),  # type: ignore[arg-type]
        Held(cell),  # type: ignore[arg-type]
        *([Held(far)] if keep else []),  # type: ignore[arg-type]
        numbers=[1],
        avoid=[],
        given=(True, keep),
        quantum_nm=1.0,
        chance=chance,
        known=Known(box, VOXEL_NM),
        objects=objects,  # type: ignore[arg-type]
    )
    records = [(i, result.record) for i, result in enumerate(results)]
    return dict(tests(iter(records), partners=["er"], chance=chance, voxel_nm=VOXEL_NM))


def small(times: int, design: Design, *, first: int = 0, **options: Any) -> Array:
    """How many of `times` p-values are up to 0.05, for contact and for distance; how many there are."""
    p = []
    for seed in range(first, first + times):
        own, other = phantom(seed, design)
        at: dict[str, Any] = {"gap_nm": 40, "cap_nm": 60, "placements": 199, "seed": seed, "draws": 2}
        at |= {"region_nm": design.region_nm} | options
        keep = design.keep_nm is not None
        at |= {"keep_nm": design.keep_nm} if keep else {}
        p.append(tested(own, other, Chance(**at), keep=keep)["p_value"])
    values = np.array(p)
    return np.array([*(values <= 0.05).sum(0), np.isfinite(values).all(1).sum()])


def cost(side: int, folder: Path, **options: Any) -> None:
    """What a run from disk takes, at the density of 2,000 objects in 512^3 voxels; memory of the process."""
    rng = np.random.default_rng(0)
    own, other = phantom(0, Design(1, (side, side, side)))
    many = 2000 * side**3 // 512**3
    own[:] = 0
    made = 0
    while made < many:
        # Ellipsoids of some 14,000 voxels.
        half = rng.integers(9, 22, 3)
        grid = np.indices(tuple(2 * half + 1)) - half.reshape(3, 1, 1, 1)
        mask = ((grid / (half.reshape(3, 1, 1, 1) + 0.5)) ** 2).sum(0) <= 1
        at = free_place(rng, own, mask)
        made += 1
        own[at][mask] = made
    other[own > 0] = 0
    voxels = int((own > 0).sum()) // many
    at_nm: dict[str, Any] = {"voxel_nm": VOXEL_NM, "kind": "label"}
    volumes = (
        cf.write_volume(folder / "own.ome.zarr", own, **at_nm),
        cf.write_volume(folder / "er.ome.zarr", other, classes={"er": 1}, **at_nm),
    )
    del own, other, grid, mask
    chance = Chance(placements=200, region_nm=500, **options)
    plan = cf.placement(
        *volumes, to="er", chance=chance, name="p", work=folder / "work", block=(min(side, 256),) * 3
    )
    planned = max(stage.resident for stage in plan.maps) / 2**20
    reset_peak()
    before, start, clock = peak_mib(), time.process_time(), time.perf_counter()
    cf.run(plan, progress=False)
    spent, seconds = time.process_time() - start, time.perf_counter() - clock
    found = cf.read_table(plan.output).to_pydict()
    left = {name: found[name][0] for name in ("objects", "no_room", "border", "too_large")}
    print(
        f"{many} objects of {voxels} voxels in {side}^3: {spent:.0f} CPU s, {seconds:.0f} s (load "
        f"{os.getloadavg()[0]:.0f}); {before:.0f} MiB before, {peak_mib():.0f} at most ({planned:.0f} "
        f"planned for a window); {left}"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cost", type=int, metavar="SIDE", help="of a cube of voxels, 512 say")
    parser.add_argument("--times", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--design", choices=[*DESIGNS, "attracted"], help="one alone")
    parser.add_argument("--placements", type=int, default=199, help="of each object: 39, 199, ...")
    parser.add_argument("--over", action="store_true", help="objects may be laid on others of their set")
    given = parser.parse_args()
    options: dict[str, Any] = {"apart": not given.over}
    if given.cost:
        with tempfile.TemporaryDirectory() as folder:
            cost(given.cost, Path(folder), **options)
        return
    options["placements"] = given.placements
    for name, design in DESIGNS.items():
        if given.design in (None, name):
            counts = small(given.times, design, first=given.first, **options)
            # Of p-values of exactly 5 % so many would be small in 95 of 100 such runs.
            low, high = stats.binom.interval(0.95, counts[2], 0.05) / counts[2]
            print(
                f"{name}, no relation: {counts[:2] / counts[2]} of {counts[2]} p-values up to 0.05 (contact, "
                f"distance); wanted {low:.3f} to {high:.3f}"
            )
    if given.design in (None, "attracted"):
        counts = small(max(1, given.times // 10), ATTRACTED, first=given.first, **options)
        print(f"20 % attracted, 200 objects: {counts[:2] / counts[2]} of {counts[2]}")


if __name__ == "__main__":
    main()
