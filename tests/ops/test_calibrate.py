"""What held-out truth says of scores is the same in any blocks, and what was planted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, gaussian_filter, generate_binary_structure
from strategies import done, mask_of, resumed_equals_whole, table, write

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError, RunIncompleteError

VOXEL_NM = (16.0, 8.0, 8.0)


def image(folder, dtype):
    """A body in the truth, and scores that draw it a voxel of 8 nm smaller along y."""
    rng = np.random.default_rng(0)
    truth = np.zeros((14, 40, 44), np.uint8)
    truth[3:11, 10:30, 12:34] = 2
    score = gaussian_filter((truth == 2).astype(float), (0.5, 1, 1)) ** 1.2
    score = np.clip(score + rng.normal(0, 0.01, score.shape), 0, 1)
    score = score if dtype == "float32" else np.rint(255 * score)
    at = {"voxel_nm": VOXEL_NM}
    return (
        write(folder, score.astype(dtype), "score", **at),
        write(folder, truth, **at),
    )


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_tables_are_the_same_bytes_for_any_blocks(dtype, tmp_path):
    scores, truth = image(tmp_path, dtype)
    at = {"to": "mitochondrion", "cap_nm": 40, "name": "c"}
    for work, block in (("whole", None), ("cut", (5, 13, 44))):
        done(cf.calibrate(scores, truth, work=tmp_path / work, block=block, **at))
    for name in ("c", "c-bins"):
        one, two = (Path(tmp_path) / w / "tables" / f"{name}.parquet" for w in ("whole", "cut"))
        assert one.read_bytes() == two.read_bytes()
    bins = cf.read_table(tmp_path / "cut/tables/c-bins.parquet").to_pydict()
    assert sum(bins["voxels"]) == 14 * 40 * 44
    score = scores.read().astype(np.float64) / (255 if dtype == "uint8" else 1)
    inside = (score >= 0.5) & (score < 0.55)
    k = bins["bin_low"].index(0.5)
    assert bins["voxels"][k] == inside.sum()
    if inside.any():
        assert bins["score"][k] == pytest.approx(score[inside].mean(), abs=1e-5)
        assert bins["true_fraction"][k] == pytest.approx((truth.read()[inside] == 2).mean())


def depth(mask, known, at):
    """Depth of a voxel under the boundary of a mask, of all voxels of the other side that are known."""
    others = np.argwhere((mask != mask[at]) & known) - at
    square, steps = ((others * VOXEL_NM) ** 2).sum(1), (others**2).sum(1)
    nearest = np.lexsort([steps, np.round(square, 6)])[0]
    far = np.sqrt(square[nearest]) * (1 - 0.5 / np.sqrt(steps[nearest]))
    return far if mask[at] else -far


def test_in_a_mask_errors_are_those_of_all_voxels_that_are_known(tmp_path):
    shape = (6, 10, 11)
    rng, known = np.random.default_rng(1), mask_of(shape, 5)
    truth = gaussian_filter(rng.normal(size=shape), 1.0)
    found = truth + gaussian_filter(rng.normal(size=shape), 0.7) / 4
    masks = truth > 0, found > 0
    at = {"voxel_nm": VOXEL_NM}
    seen = write(tmp_path, masks[0].astype(np.uint8), **at, classes=[("er", 1)])
    seen = seen.within(write(tmp_path, known.astype(np.uint8), "mask", kind="label", **at))
    score = write(tmp_path, masks[1].astype(np.float32), "score", **at)
    for work, block in (("whole", None), ("cut", (3, 5, 11))):
        got = table(
            cf.calibrate(score, seen, to="er", cap_nm=1000, name="c", work=tmp_path / work, block=block)
        )
    assert len({(tmp_path / w / "tables/c.parquet").read_bytes() for w in ("whole", "cut")}) == 1
    faces = generate_binary_structure(3, 1)
    inside, outside = masks[1] & known, ~masks[1] & known
    surface = np.argwhere(
        (inside & binary_dilation(outside, faces)) | (outside & binary_dilation(inside, faces))
    )
    errors = [depth(masks[0], known, tuple(p)) - depth(masks[1], known, tuple(p)) for p in surface]
    assert got["boundary_voxels"] == [len(errors)]
    assert got["bias_nm"] == [pytest.approx(np.mean(errors), abs=2e-3)]
    assert got["error_nm"] == [pytest.approx(np.std(errors), abs=2e-3)]
    bins = cf.read_table(tmp_path / "cut/tables/c-bins.parquet").to_pydict()
    assert bins["voxels"][0] + bins["voxels"][-1] == known.sum()
    assert bins["true_fraction"][-1] == pytest.approx(masks[0][masks[1] & known].mean())


def test_a_bias_that_was_planted_by_hand(tmp_path):
    truth, found = np.zeros((12, 40, 40), np.uint8), np.zeros((12, 40, 40), np.float32)
    truth[2:10, 10:30, 10:30], found[3:9, 11:29, 11:29] = 2, 1
    at = {"voxel_nm": (8.0, 8.0, 8.0)}
    volumes = write(tmp_path, found, "score", **at), write(tmp_path, truth, **at)
    got = table(cf.calibrate(*volumes, to="mitochondrion", name="c", work=tmp_path / "w"))
    assert got["bias_nm"] == [pytest.approx(8)]
    assert got["error_nm"] == [pytest.approx(0, abs=1e-6)]
    assert got["boundary_nm"] == [pytest.approx(8)]


def test_a_shift_of_the_whole_boundary_is_in_the_interval_of_widths(tmp_path):
    """A body with a waist, drawn 8 nm too thin everywhere: nothing of that is averaged round the waist."""
    z, y, x = ((np.arange(n) - (n - 1) / 2) * 8.0 for n in (72, 40, 40))
    radius = 60 + 30 * (1 - np.cos(2 * np.pi * z / 500))
    around = np.hypot(y[:, None], x)[None]
    at = {"voxel_nm": (8.0, 8.0, 8.0)}
    bodies = [
        (around < (radius - off)[:, None, None]) & (np.abs(z) < 248 - off)[:, None, None] for off in (0, 8)
    ]
    truth, found = (
        write(tmp_path, body.astype(np.uint8), name, kind="label", **at)
        for name, body in zip(("truth", "found"), bodies, strict=True)
    )
    score = write(tmp_path, bodies[1].astype(np.float32), "score", **at)
    got = table(cf.calibrate(score, truth, cap_nm=40, name="c", work=tmp_path / "c"))
    assert got["bias_nm"] == [pytest.approx(8, abs=2)]
    boundary = cf.Boundary(**{k: got[k][0] for k in ("boundary_nm", "bias_nm", "correlation_nm")})
    true = table(cf.narrowing(truth, name="n", work=tmp_path / "truth-work"))
    seen = table(cf.narrowing(found, name="n", boundary=boundary, work=tmp_path / "found-work"))
    assert true["width_nm"][0] - seen["width_nm"][0] > 8
    assert seen["width_low_nm"][0] < true["width_nm"][0] < seen["width_high_nm"][0]


@pytest.mark.parametrize("wrong", [1.5, -0.25, np.nan])
def test_scores_that_are_none_are_refused(wrong, tmp_path):
    truth, score = np.ones((4, 8, 8), np.uint8), np.ones((4, 8, 8), np.float32)
    score[2, 3, 4] = wrong
    volumes = write(tmp_path, score, "score"), write(tmp_path, truth)
    with pytest.raises(
        RunIncompleteError, match=f"are ({wrong} to 1.0|1.0 to {wrong}|nan to nan), where 0 to 1"
    ):
        done(cf.calibrate(*volumes, cap_nm=40, name="c", work=tmp_path / "w"))


def test_a_broken_run_goes_on_to_the_same_bytes(tmp_path):
    volumes = image(tmp_path, "uint8")
    resumed_equals_whole(
        lambda work: cf.calibrate(*volumes, cap_nm=40, name="c", work=work, block=(7, 40, 44)),
        tmp_path,
        "c/scores",
        1,
    )


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"cap_nm": 0}, ConfigError, "cap_nm must be above 0, got 0"),
        ({"to": "golgi"}, InputError, "no class 'golgi'"),
    ],
)
def test_what_cannot_be_is_refused(options, error, says, tmp_path, listing):
    volumes = image(tmp_path, "uint8")
    before = listing()
    with pytest.raises(error, match=says):
        cf.calibrate(*volumes, name="c", work=tmp_path / "w", **options)
    assert listing() == before
