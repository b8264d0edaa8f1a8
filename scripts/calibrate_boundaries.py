"""Do intervals from scores hold the truth? Pairs of blurred objects, a network's scores imitated.

uv run scripts/calibrate_boundaries.py                # 200 pairs, what a truth says of the network
uv run scripts/calibrate_boundaries.py --scores       # what its scores say, with no truth, as they are,
                                                      # too sure and not sure enough; two networks
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.special import ndtr

from chunkflow_liver.kernels.centreline.line import centreline
from chunkflow_liver.kernels.centreline.necks import Neck, find_narrowings
from chunkflow_liver.kernels.contacts.areas import area_step_nm2
from chunkflow_liver.kernels.contacts.curves import within_own
from chunkflow_liver.kernels.contacts.gaps import near_surface
from chunkflow_liver.kernels.contacts.tallies import no_pairs, pair_rows
from chunkflow_liver.kernels.distance.boundary_errors import (
    calibration,
    compare_scores,
    halo_of,
    merge_scores,
)
from chunkflow_liver.kernels.distance.local_errors import Image, errors_nm, local_errors
from chunkflow_liver.kernels.distance.squares import whole_unit
from chunkflow_liver.kernels.distance.surface_distances import surface_voxels
from chunkflow_liver.kernels.distance.transform import WHOLE
from chunkflow_liver.kernels.rows import joined
from chunkflow_liver.kernels.significance.boundaries import Boundary
from chunkflow_liver.ops.narrowing.sure import neck_errors

VOXEL_NM = (8.0, 8.0, 8.0)
SHAPE = (44, 44, 76)
GAPS_NM, SD_NM, CORRELATION_NM = (22.0, 40.0), 8.0, 60.0
Array = np.ndarray[Any, Any]


def said_nm(mask: Array, images: list[Image], near: Array | None = None) -> float:
    """What scores say of the boundary of a body, of its surface in `near`, as contacts read it."""
    at = np.argwhere(surface_voxels(mask, np.ones(mask.shape, bool)) & (True if near is None else near)).T
    sums = local_errors(mask.astype(np.uint8), at, images, VOXEL_NM, 4 * SD_NM)
    rows = {n: values.sum(keepdims=True) for n, values in zip(("weight", "squares"), sums[:2], strict=True)}
    return float(errors_nm(rows, 4 * SD_NM)[0])


def stored(depth: Array, sd_nm: float) -> Image:
    """Scores of a network, in 8 bits, whose boundary is known with `sd_nm`."""
    return Image.of_scores(np.rint(255 * ndtr(depth / sd_nm)).astype(np.uint8), "score")


def smooth_noise(rng: np.random.Generator) -> Array:
    """A field of standard deviation 1 with the correlation exp(-h^2 / 2 CORRELATION_NM^2)."""
    # White noise under a Gaussian of width w has the correlation exp(-h^2 / 4 w^2).
    width = CORRELATION_NM / VOXEL_NM[0] / np.sqrt(2)
    margin = int(3 * width)
    field = gaussian_filter(rng.normal(size=[n + 2 * margin for n in SHAPE]), width, mode="wrap", truncate=4)
    field = field[tuple(slice(margin, -margin) for _ in SHAPE)]
    # What the filter leaves of a variance of 1, in three dimensions.
    return np.asarray(field * (2 * np.sqrt(np.pi) * width) ** 1.5)


def pair(seed: int, sd_nm: float = SD_NM) -> tuple[list[Array], list[Array]]:
    """Signed depths, in nm, of two bodies: as they are, and as a network finds them, off by `sd_nm`."""
    rng = np.random.default_rng(seed)
    z, y, x = ((np.arange(n) - (n - 1) / 2) * 8.0 for n in SHAPE)
    grid = np.stack(np.meshgrid(z, y, x, indexing="ij"))
    off = rng.uniform(-4, 4, 3)
    radius, gap = rng.uniform(90, 130, 2), rng.uniform(8, 24)
    truth = []
    for side, r in zip((-1, 1), radius, strict=True):
        middle = off.copy()
        middle[2] += side * (r + gap / 2)
        truth.append(r - np.sqrt(((grid - middle.reshape(3, 1, 1, 1)) ** 2).sum(0)))
    return truth, [depth - sd_nm * smooth_noise(rng) for depth in truth]


def pairs_of(own: Array, other: Array) -> dict[str, Array]:
    """Voxels and area of one object by squared gap to the other."""
    at: dict[str, Any] = {"voxel_nm": VOXEL_NM, "gap_nm": GAPS_NM[1] + 60, "trim": WHOLE}
    near = near_surface(own.astype(np.uint8), other.astype(np.uint8), **at)
    return joined([no_pairs(), *(pair_rows(part, np.ones(len(part.label), bool)) for part in near)])


Said = tuple[Array, Array] | None


def measured(
    masks: list[Array], boundary: Boundary, gap_nm: float, said: Said = None
) -> tuple[Array, Array, Array]:
    """Area within a gap (um2), smallest gap (nm), volume (um3): value, low and high of each.

    `said` is what scores say of both sides.
    """
    sides = said or (None, None)
    rows, unit = pairs_of(*masks), whole_unit(VOXEL_NM)
    step, one = area_step_nm2(VOXEL_NM) / 1e6, np.zeros(len(rows["square"]), np.int64)
    area = within_own(rows, one, np.array([gap_nm]), unit) * step
    off = float(np.ravel(boundary.between_nm(8.0, *sides))[0])
    some = float(boundary.patch_nm(np.sqrt(area * 1e6 / np.pi), 8.0, *sides)[0])
    ends = [within_own(rows, one, np.array([gap_nm + side * some]), unit)[0] * step for side in (-1, 1)]
    least = float(unit.length_nm(rows["square"].min(keepdims=True))[0])
    surface = 0.0
    for part in near_surface(
        masks[0].astype(np.uint8), masks[1].astype(np.uint8), voxel_nm=VOXEL_NM, gap_nm=0, trim=WHOLE
    ):
        surface += float(part.area.sum()) * step
    volume = float(masks[0].sum()) * 8.0**3 / 1e9
    ball = np.array([(3 * volume * 1e9 / (4 * np.pi)) ** (1 / 3)])
    thick = surface * float(boundary.ball_nm(ball, 8.0, sides[0])[0]) / 1e3
    return (
        np.array([area[0], *ends]),
        np.array([least, least - off, least + off]),
        np.array([volume, volume - thick, volume + thick]),
    )


def held(times: int, boundary: Boundary, first: int = 0) -> dict[str, float]:
    """Shares of pairs whose intervals hold what is measured on the truth."""
    sure = np.zeros(3)
    for seed in range(first, first + times):
        truth, found = pair(seed)
        # Gaps between voxels are few: of one gap alone it would be luck on which side of them its ends fall.
        gap = float(np.random.default_rng((2, seed)).uniform(*GAPS_NM))
        true = measured([depth > 0 for depth in truth], boundary, gap)
        seen = measured([depth > 0 for depth in found], boundary, gap)
        sure += [low <= t[0] <= high for t, (_, low, high) in zip(true, seen, strict=True)]
    return dict(zip(("area", "gap", "volume"), (sure / times).tolist(), strict=True))


def by_scores(times: int, boundary: Boundary, sure: float = 1.0, spread: float = 1.0) -> tuple[Array, Array]:
    """Error of the boundary of each pair, and whether its intervals hold the truth: area, gap, volume.

    Intervals are from scores alone, `sure` times as wide as errors are, unless `boundary` knows more. With a
    `spread` every pair is blurred differently, by up to so many times less or more.
    """
    errors, held = [], []
    for seed in range(times):
        sd = SD_NM * spread ** np.random.default_rng((3, seed)).uniform(-1, 1)
        truth, found = pair(seed, sd)
        masks = [depth > 0 for depth in found]
        gap = float(np.random.default_rng((2, seed)).uniform(*GAPS_NM))
        near = [depth > -(GAPS_NM[1] + 40) for depth in found]
        first, second = (
            np.array([said_nm(masks[i], [stored(found[i], sd * sure)], near[1 - i])]) for i in range(2)
        )
        true = measured([depth > 0 for depth in truth], boundary, gap, (first, second))
        seen = measured(masks, boundary, gap, (first, second))
        errors.append(sd)
        held.append([low <= t[0] <= high for t, (_, low, high) in zip(true, seen, strict=True)])
    return np.array(errors), np.array(held, float)


def by_folds(times: int, folds: int, *, apart: bool) -> Array:
    """Shares of pairs whose intervals from several networks, each too sure of itself, hold the truth.

    The truth is one more of them, as they differ; or, with `apart`, what they lie around.
    """
    held, own_nm, boundary = [], 3.0, Boundary(correlation_nm=CORRELATION_NM)
    for seed in range(times):
        middle, rng = pair(seed, 0.0)[0], np.random.default_rng((4, seed))
        seen = [[depth - SD_NM * smooth_noise(rng) for depth in middle] for _ in range(folds)]
        truth = middle if apart else [depth - SD_NM * smooth_noise(rng) for depth in middle]
        masks = [np.mean([ndtr(one[i] / own_nm) for one in seen], axis=0) >= 0.5 for i in range(2)]
        near = [depth > -(GAPS_NM[1] + 40) for depth in middle]
        first, second = (
            np.array([said_nm(masks[i], [stored(one[i], own_nm) for one in seen], near[1 - i])])
            for i in range(2)
        )
        gap = float(np.random.default_rng((2, seed)).uniform(*GAPS_NM))
        true = measured([depth > 0 for depth in truth], boundary, gap, (first, second))
        found = measured(masks, boundary, gap, (first, second))
        held.append([low <= t[0] <= high for t, (_, low, high) in zip(true, found, strict=True)])
    return np.array(held, float).mean(0)


def waist(seed: int) -> tuple[Array, Array]:
    """Depth, in nm, of a body with a waist: as it is, and as a network finds it."""
    rng = np.random.default_rng((1, seed))
    z, y, x = ((np.arange(n) - (n - 1) / 2) * 8.0 for n in (SHAPE[2], SHAPE[0], SHAPE[1]))
    low, high, long = rng.uniform(45, 75), rng.uniform(110, 125), 560.0
    radius = low + (high - low) * (1 - np.cos(2 * np.pi * z / long)) / 2
    end = np.clip((np.abs(z) - long / 2 + 90) / 90, 0, 1)
    radius = np.where(np.abs(z) < long / 2, radius * np.sqrt(1 - end**2), -50)
    around = np.hypot(y[:, None], x[None, :])
    depth = radius[:, None, None] - around[None]
    noise = np.moveaxis(smooth_noise(rng), 2, 0)
    return depth, depth - SD_NM * noise


def widths(times: int, boundary: Boundary, sure: float | None = None) -> tuple[float, int]:
    """Share of necks whose interval holds the width in the truth, and how many there are.

    `sure`: intervals are from scores alone, so many times as wide as errors are.
    """
    held = []
    for seed in range(times):
        both, said = [], None
        for depth in waist(seed):
            narrow = find_narrowings(centreline(depth > 0, VOXEL_NM), VOXEL_NM, Neck())
            middle = np.abs(narrow["z_nm"] - SHAPE[2] * 4.0)
            both.append(narrow["width_nm"][middle.argmin()] if len(middle) and middle.min() < 80 else None)
            if sure is not None and both[-1] is not None:
                one = {name: column[[middle.argmin()]] for name, column in narrow.items()}
                images = [stored(depth, SD_NM * sure)]
                labels = (depth > 0).astype(np.uint8)
                said = neck_errors(labels, images, one, np.zeros(3), VOXEL_NM, 4 * SD_NM)["boundary_nm"]
        true, found = both
        if true is not None and found is not None:
            off = 2 * float(boundary.ring_nm(np.array([found / 2]), 8.0, said)[0])
            held.append(abs(found - true) <= off)
    return float(np.mean(held)), len(held)


def learned(times: int, sure: float = 1.0) -> dict[str, float]:
    """What held-out truth says of the network, whose scores are `sure` times as wide as its errors."""
    sums = []
    cap = 5 * SD_NM
    for seed in range(10_000, 10_000 + times):
        truth, found = pair(seed)
        # A calibrated network: the truth's boundary lies around its own with SD_NM.
        score = ndtr(found[0] / (SD_NM * sure))
        sums.append(compare_scores(score, truth[0] > 0, VOXEL_NM, cap, WHOLE))
    return calibration(merge_scores(sums), VOXEL_NM)


def from_scores(pairs: int) -> None:
    """Print what intervals hold that come from scores alone."""
    names = ("area", "gap", "volume")
    for sure, alike_nm in ((1.0, CORRELATION_NM), (1.0, None), (0.5, CORRELATION_NM), (1.5, CORRELATION_NM)):
        boundary = Boundary(correlation_nm=alike_nm)
        found = by_scores(pairs, boundary, sure)[1].mean(0).tolist()
        share, necks = widths(pairs, boundary, sure)
        print(
            f"scores {sure:g} times as wide, ece {learned(10, sure)['ece']:.4f}, alike over {alike_nm}:",
            dict(zip((*names, "width"), (*found, round(share, 3)), strict=True)),
            necks,
        )
    for apart in (False, True):
        for folds in (2, 5):
            print(
                f"{folds} networks, the truth {'what they lie around' if apart else 'as one more'}:",
                dict(zip(names, by_folds(pairs, folds, apart=apart).tolist(), strict=True)),
            )
    # Of 4 to 16 nm: scores know which is which, one number for all does not.
    alike = {"correlation_nm": CORRELATION_NM}
    root = SD_NM * float(np.sqrt(np.sinh(2 * np.log(2)) / (2 * np.log(2))))
    one = Boundary(boundary_nm=root, bias_nm=0, **alike)
    for name, boundary in (("scores", Boundary(**alike)), ("one number", one)):
        errors, held = by_scores(pairs, boundary, spread=2.0)
        for which, kept in (("sharp", errors < SD_NM), ("blurred", errors >= SD_NM)):
            print(name, which, dict(zip(names, held[kept].mean(0).round(3).tolist(), strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--scores", action="store_true")
    given = parser.parse_args()
    if given.scores:
        from_scores(given.pairs)
        return
    known = learned(max(10, given.pairs // 4))
    print({k: round(v, 4) for k, v in known.items()}, halo_of(VOXEL_NM, 40))
    boundary = Boundary(**{k: known[k] for k in ("boundary_nm", "correlation_nm", "bias_nm")})
    print(given.pairs, "pairs:", held(given.pairs, boundary))
    print("widths:", widths(given.pairs, boundary))
    print("half a voxel:", held(given.pairs // 4, Boundary()))


if __name__ == "__main__":
    main()
