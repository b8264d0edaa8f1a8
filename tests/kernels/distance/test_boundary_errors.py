"""The error of boundaries that was planted is measured, in any blocks; so is the calibration of scores."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest
from places import ROOT

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import BlockGrid, Box
from chunkflow_liver.kernels.distance.boundary_errors import (
    BINS,
    LAGS,
    calibration,
    compare_scores,
    halo_of,
    merge_scores,
)

VOXEL_NM = (8.0, 8.0, 8.0)
EVERYWHERE = (slice(None),) * 3


@pytest.fixture(scope="module")
def phantoms():
    spec = importlib.util.spec_from_file_location("phantoms", ROOT / "scripts/calibrate_boundaries.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["phantoms"] = module
    spec.loader.exec_module(module)
    return module


def test_sums_do_not_depend_on_blocks():
    rng = np.random.default_rng(0)
    truth = np.zeros((12, 40, 44), bool)
    truth[3:9, 8:30, 10:34] = True
    score = np.clip(truth + rng.normal(0, 0.3, truth.shape), 0, 1).astype(np.float32)
    whole = compare_scores(score, truth, VOXEL_NM, 24.0, EVERYWHERE)
    halo = halo_of(VOXEL_NM, 24.0)
    parts = [
        compare_scores(score[b.read.slices], truth[b.read.slices], VOXEL_NM, 24.0, b.trim)
        for b in BlockGrid(Box.of(truth.shape), (7, 13, 44), halo, halo)
    ]
    merged = merge_scores(parts)
    for name, values in whole.items():
        np.testing.assert_array_equal(merged[name], values, err_msg=name)
    assert whole["voxels"].sum() == truth.size
    assert (len(whole["voxels"]), whole["pairs"].shape) == (BINS, (2, LAGS))


def test_a_boundary_that_is_off_by_a_voxel_everywhere_has_a_bias_and_no_spread():
    truth = np.zeros((12, 40, 40), bool)
    truth[2:10, 10:30, 10:30] = True
    found = np.zeros(truth.shape, np.float32)
    found[3:9, 11:29, 11:29] = 1  # a voxel inside the truth
    got = calibration(merge_scores([compare_scores(found, truth, VOXEL_NM, 40.0, EVERYWHERE)]), VOXEL_NM)
    assert got["bias_nm"] == pytest.approx(8.0)
    assert got["error_nm"] == pytest.approx(0, abs=1e-6)
    assert got["missed_fraction"] == 0
    assert got["ece"] == pytest.approx((truth.sum() - found.sum()) / truth.size, rel=1e-5)


@pytest.mark.parametrize("voxel_nm", [(4.0, 8.0, 16.0), (40.0, 5.9, 5.9), (8.0, 8.0, 8.0)])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("voxels", [-2, -1, 1, 2])
def test_a_wall_that_is_shifted_by_whole_voxels_is_off_by_as_many(voxel_nm, axis, voxels):
    """The true wall lies farther out where `voxels` are positive."""
    shape = [6, 6, 6]
    shape[axis] = 16
    at = np.arange(16).reshape([-1 if a == axis else 1 for a in range(3)])
    truth, found = (np.broadcast_to(at < end, shape) for end in (8 + voxels, 8))
    sums = compare_scores(found.astype(np.float32), truth, voxel_nm, 100.0, EVERYWHERE)
    got = calibration(sums, voxel_nm)
    assert got["bias_nm"] == pytest.approx(voxels * voxel_nm[axis], abs=1e-3)
    assert got["error_nm"] == pytest.approx(0, abs=1e-3)
    assert (got["boundary_voxels"], got["missed_fraction"]) == (72, 0)


@pytest.mark.parametrize("voxel_nm", [(8.0, 8.0, 8.0), (16.0, 8.0, 8.0)])
@pytest.mark.parametrize("planted", [-16.0, -8.0, -4.0, 4.0, 8.0, 16.0])
def test_the_bias_of_round_bodies_is_that_of_either_sign(voxel_nm, planted):
    """Balls drawn too thin or too thick: of voxels inside alone 8 nm came out as 5.9 and -8 as -8.7."""
    rng, sums = np.random.default_rng(0), []
    for _ in range(4):
        shape = [int(480 // size) for size in voxel_nm]
        place = [
            (np.arange(n) - n / 2 + rng.random()) * size for n, size in zip(shape, voxel_nm, strict=True)
        ]
        out = np.sqrt(sum(a**2 for a in np.meshgrid(*place, indexing="ij")))
        radius = rng.uniform(120, 150)
        balls = out < radius - planted / 2, out < radius + planted / 2
        sums.append(compare_scores(balls[0].astype(np.float32), balls[1], voxel_nm, 60.0, EVERYWHERE))
    bias = calibration(merge_scores(sums), voxel_nm)["bias_nm"]
    assert bias == pytest.approx(planted, rel=0.16)


def test_sums_of_anisotropic_voxels_do_not_depend_on_blocks():
    """Voxels of 16, 8, 8 nm, of which many are equally near in one step or two."""
    rng = np.random.default_rng(1)
    voxel_nm, cap_nm = (16.0, 8.0, 8.0), 32.0
    truth = rng.random((12, 40, 44)) < 0.5
    score = np.where(rng.random(truth.shape) < 0.9, truth, ~truth).astype(np.float32)
    whole = compare_scores(score, truth, voxel_nm, cap_nm, EVERYWHERE)
    halo = halo_of(voxel_nm, cap_nm)
    blocks = BlockGrid(Box.of(truth.shape), (5, 17, 19), halo, halo)
    merged = merge_scores(
        compare_scores(score[b.read.slices], truth[b.read.slices], voxel_nm, cap_nm, b.trim) for b in blocks
    )
    for name, values in whole.items():
        np.testing.assert_array_equal(merged[name], values, err_msg=name)


def test_errors_of_single_voxels_are_alike_over_one_voxel():
    """Whether a boundary is off by chance in every voxel or by one amount everywhere: never over 0 nm."""
    rng = np.random.default_rng(2)
    truth = np.zeros((12, 40, 40), bool)
    truth[2:10, 10:30, 10:30] = True
    found = truth.copy()
    found[1] = (rng.random((40, 40)) < 0.5) & truth[2]
    for drawn in (found, np.roll(truth, 1, 0) & truth):
        sums = compare_scores(drawn.astype(np.float32), truth, VOXEL_NM, 40.0, EVERYWHERE)
        assert calibration(sums, VOXEL_NM)["correlation_nm"] >= 8


@pytest.mark.parametrize("voxel_nm", [VOXEL_NM, (40.0, 8.0, 16.0), (8.0, 40.0, 8.0)])
@pytest.mark.parametrize("alike_nm", [64.0, 120.0, 320.0, np.inf])
def test_errors_that_are_alike_over_any_length_in_nm(voxel_nm, alike_nm):
    """Of 24 lags: 320 nm are 320, not the 192 that were looked at; what never falls has no end."""
    many, square = 10**6, 10**8
    far = np.arange(LAGS) * np.array(voxel_nm[1:])[:, None]
    sums = {"voxels": np.ones(BINS), "true": np.zeros(BINS), "score": np.zeros(BINS)}
    sums |= {"far": np.array([0]), "near": np.array([many])}
    sums |= {"sum": np.array([0]), "square": np.array([many * square])}
    sums |= {"pairs": np.full(far.shape, many), "first": np.zeros(far.shape)}
    sums |= {"product": many * square * np.exp(-(far**2) / (2 * alike_nm**2))}
    assert calibration(sums, voxel_nm)["correlation_nm"] == pytest.approx(alike_nm, rel=1e-3)


def test_a_cap_that_cannot_be_measured_exactly_is_refused():
    with pytest.raises(ConfigError, match="take a smaller cap"):
        halo_of((8.0001234567, 8.0, 3.0), 1e6)


def test_scores_by_hand():
    """Of four voxels with a score of 0.6 three are true: off by 0.15; the other 12 are sure and right."""
    score, truth = np.zeros((1, 4, 4), np.float32), np.zeros((1, 4, 4), bool)
    score[0, 0], truth[0, 0, :3] = 0.6, True
    got = calibration(compare_scores(score, truth, VOXEL_NM, 40.0, EVERYWHERE), VOXEL_NM)
    assert got["ece"] == pytest.approx(4 * 0.15 / 16, abs=1e-5)
    assert got["ece_unsure"] == pytest.approx(0.15, abs=1e-5)


def test_nothing_found_has_no_boundary():
    none = np.zeros((2, 4, 4), np.float32)
    got = calibration(compare_scores(none, none > 0, VOXEL_NM, 40.0, EVERYWHERE), VOXEL_NM)
    assert got["boundary_voxels"] == 0
    assert np.isnan(got["boundary_nm"])


def test_what_was_planted_is_measured_and_intervals_hold_it(phantoms):
    """20 pairs for what is learned, 20 others that it is tried on; 200 in the script."""
    known = phantoms.learned(20)
    assert known["boundary_nm"] == pytest.approx(phantoms.SD_NM, rel=0.25)
    assert known["correlation_nm"] == pytest.approx(phantoms.CORRELATION_NM, rel=0.25)
    assert known["ece"] < 0.01
    from chunkflow_liver.kernels.significance.boundaries import Boundary

    boundary = Boundary(**{k: known[k] for k in ("boundary_nm", "correlation_nm", "bias_nm")})
    held = phantoms.held(20, boundary)
    # Of 20 with 95 % each, 16 or more hold in all but 3 of 1,000.
    assert min(held.values()) >= 0.8
