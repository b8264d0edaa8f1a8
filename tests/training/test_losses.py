"""Losses against nnU-Net's, against scikit-learn's weights, and by hand."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from scipy import ndimage

from chunkflow_liver.training.losses import (
    IGNORE,
    Counts,
    Loss,
    at_scale,
    balanced,
    deep_shares,
    edge_weights,
    soft_dice,
)


def batch(seed=0, heads=3, shape=(2, 4, 6, 5)):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn((shape[0], heads, *shape[1:]), generator=generator)
    target = torch.randint(0, heads, shape, generator=generator)
    return scores, target


@pytest.mark.parametrize("painted", [1.0, 0.4])
def test_dice_and_cross_entropy_is_the_loss_of_nnunet(painted):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
        from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss

        options = {"batch_dice": True, "smooth": 1e-5, "do_bg": False, "ddp": False}
        referee = DC_and_CE_loss(options, {}, ignore_label=3, dice_class=MemoryEfficientSoftDiceLoss)
    scores, target = batch()
    unknown = torch.rand(target.shape, generator=torch.Generator().manual_seed(1)) >= painted
    wanted = referee(scores, torch.where(unknown, 3, target)[:, None])
    found = Loss("dice_ce")(scores, torch.where(unknown, IGNORE, target))
    assert float(found) == pytest.approx(float(wanted), rel=1e-5)


def test_unpainted_voxels_change_nothing():
    scores, target = batch()
    target[:, 2:] = IGNORE
    other = scores.clone()
    other[:, :, 2:] = 9.0
    for kind in ("dice_ce", "dice", "dual_dice", "ce"):
        for edges in (0.0, 5.0) if kind in ("ce", "dice_ce") else (0.0,):
            loss = Loss(kind, edges=edges)
            assert float(loss(scores, target)) == float(loss(other, target))
    nothing = torch.full_like(target, IGNORE)
    assert np.isfinite(float(Loss("dice_ce")(scores, nothing)))


def test_dice_by_hand():
    """Two classes, probabilities 0 and 1: 3 of 4 voxels found and one false, Dice 6/8; background 6/8."""
    target = torch.tensor([[[1, 1, 1, 1, 0, 0, 0, 0]]])
    found = torch.tensor([[[1, 1, 1, 0, 1, 0, 0, 0]]])
    scores = 50.0 * torch.nn.functional.one_hot(found, 2).movedim(-1, 1).float()
    assert float(soft_dice(scores, target)) == pytest.approx(0.75, abs=1e-4)
    assert float(Loss("dual_dice")(scores, target)) == pytest.approx(0.25, abs=1e-4)


def test_deep_supervision_halves_the_weight_of_every_level_and_drops_the_last():
    assert deep_shares(1) == [1]
    np.testing.assert_allclose(deep_shares(4), np.array([4, 2, 1, 0]) / 7)
    scores, target = batch(shape=(2, 4, 8, 8))
    coarse = torch.nn.functional.avg_pool3d(scores, (1, 2, 2))
    coarsest = torch.nn.functional.avg_pool3d(scores, (2, 4, 4))
    one = Loss("ce")
    wanted = (2 * one(scores, target) + one(coarse, at_scale(target, coarse.shape[2:]))) / 3
    assert float(one([scores, coarse, coarsest], target)) == pytest.approx(float(wanted))


def test_the_scores_of_planes_have_a_third_of_the_weight():
    scores, target = batch()
    loss = Loss("ce", auxiliary=0.33)
    assert float(loss([scores, scores], target)) == pytest.approx(1.33 * float(loss(scores, target)))


def test_every_class_has_the_same_sum_of_weights_and_the_mean_weight_is_1():
    weights = balanced([70, 20, 10])
    np.testing.assert_allclose([w * n for w, n in zip(weights, [70, 20, 10], strict=True)], 100 / 3)
    # The published numbers of a stack with 5.6 % of foreground: 0.53 and 8.9.
    np.testing.assert_allclose(balanced([944, 56]), [0.53, 8.93], atol=0.01)
    assert balanced([70, 0, 10])[1] == 0


def test_edge_weights_are_the_heat_of_other_classes():
    """The heat equation step by step with SciPy, plane by plane."""
    rng = np.random.default_rng(0)
    labels = (ndimage.gaussian_filter(rng.normal(size=(1, 2, 24, 20)), (0, 0, 3, 3)) > 0).astype(int)
    labels[0, 1, :4] = IGNORE
    kernel = np.array([[1, 2, 1], [2, -12, 2], [1, 2, 1]]) / 12
    wanted = np.zeros(labels.shape)
    for number in (0, 1):
        for z in range(2):
            heat = (labels[0, z] == number).astype(float)
            for _ in range(50):
                heat = 0.98 * (heat + 0.2 * ndimage.convolve(heat, kernel, mode="nearest"))
            others = (labels[0, z] != number) & (labels[0, z] != IGNORE)
            wanted[0, z] += np.clip(heat - 0.2, 0, None) * others
    found = edge_weights(torch.from_numpy(labels), 2, 25.0).numpy()
    np.testing.assert_allclose(found, 25 * wanted / wanted.max(), atol=1e-3)
    assert found.max() == pytest.approx(25)
    assert (found[labels == IGNORE] == 0).all()


def test_counts_are_those_of_painted_voxels():
    rng = np.random.default_rng(0)
    found, true = rng.integers(0, 3, (2, 200))
    true[:50] = IGNORE
    counts = Counts.of(torch.from_numpy(found), torch.from_numpy(true), 3)
    counts = counts + Counts.of(torch.from_numpy(found), torch.from_numpy(true), 3)
    known = true != IGNORE
    for c, dice in enumerate(counts.dice(), 1):
        a, b = found[known] == c, true[known] == c
        assert dice == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))
    empty = Counts.of(torch.zeros(3, dtype=int), torch.zeros(3, dtype=int), 2)
    assert np.isnan(empty.dice()).all()


def test_regions_are_sigmoids_of_their_own():
    """By hand: scores of 0 are probabilities of a half, and an unknown voxel counts nowhere."""
    scores = torch.zeros(1, 2, 1, 4)
    target = torch.tensor([[[1, 3, 0, IGNORE]]])
    dice = [2 * 1.0 / (1.5 + 2), 2 * 0.5 / (1.5 + 1)]
    loss = Loss("dice", regions=True)
    assert float(loss(scores, target)) == pytest.approx(1 - sum(dice) / 2, abs=1e-4)
    assert float(Loss("ce", regions=True)(scores, target)) == pytest.approx(math.log(2), abs=1e-6)
    both = float(Loss("dice_ce", regions=True)(scores, target))
    assert both == pytest.approx(math.log(2) - sum(dice) / 2, abs=1e-4)
    counts = Counts.of(torch.tensor([[[3, 3, 0, 3]]]), target, 3, regions=True)
    assert (counts.both.tolist(), counts.found.tolist(), counts.true.tolist()) == (
        [1, 2, 1],
        [1, 2, 2],
        [1, 2, 1],
    )
    assert counts.dice() == [1.0, pytest.approx(2 / 3)]
