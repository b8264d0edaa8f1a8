"""Losses of a segmentation where only some voxels are painted; a target of `IGNORE` counts nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkflow_liver.training.recipe import Recipe
from chunkflow_liver.training.regions import of_class
from chunkflow_liver.training.together import ALONE, Group

if TYPE_CHECKING:
    from torch import Tensor

IGNORE = -1
"""Target of a voxel that nobody painted."""
SMOOTH = 1e-5
AUXILIARY = 0.33
"""Weight of the scores of single planes in the loss of the network 'pyramid'."""
HEAT_STEPS, DIFFUSION, DECAY, FLOOR = 50, 0.2, 0.98, 0.2


@dataclass(frozen=True)
class Loss:
    """A loss of one or several tensors of scores.

    Attributes
    ----------
    kind : {'dice_ce', 'dice', 'dual_dice', 'ce'}
        Dice of the classes plus cross entropy, as nnU-Net has it; Dice of the classes; Dice of classes
        and background; cross entropy.
    class_weights : tuple of float, optional
        Of the cross entropy, the background first.
    edges : float
        Largest extra weight of the cross entropy near other classes.
    regions : bool
        Whether classes may overlap: every head is then one of its own, with a sigmoid.
    auxiliary : float
        Weight of all scores after the first; 0: they are those of coarser and coarser levels, and get
        half the weight of the level before, the last one none.
    group : Group
        Processes that share the batch: the loss is of the windows of all, its gradient of the own ones.
    """

    kind: str
    class_weights: tuple[float, ...] | None = None
    edges: float = 0.0
    auxiliary: float = 0.0
    regions: bool = False
    group: Group = ALONE

    @classmethod
    def of(cls, recipe: Recipe, painted: Sequence[int], group: Group = ALONE) -> Loss:
        """The loss of a recipe, where `painted` counts the painted voxels of background and classes."""
        weights = balanced(painted) if recipe.balance else None
        auxiliary = AUXILIARY if recipe.network == "pyramid" else 0.0
        return cls(recipe.loss, weights, recipe.edges, auxiliary, bool(recipe.regions), group)

    def __call__(self, scores: Tensor | Sequence[Tensor], target: Tensor) -> Tensor:
        """The loss of a batch.

        Parameters
        ----------
        scores : Tensor of shape (B, heads, *window), or sequence of Tensor
            Before softmax, or sigmoid of regions.
        target : Tensor of shape (B, *window), int64
            Class numbers, or bits of regions, or `IGNORE`.
        """
        import torch

        several = [scores] if isinstance(scores, torch.Tensor) else list(scores)
        if self.auxiliary:
            shares = [1.0] + [self.auxiliary] * (len(several) - 1)
        else:
            shares = deep_shares(len(several))
        total = target.new_zeros((), dtype=torch.float32)
        for share, found in zip(shares, several, strict=True):
            if share:
                total = total + share * self._one(found.float(), at_scale(target, found.shape[2:]))
        return total

    def _one(self, scores: Tensor, target: Tensor) -> Tensor:
        if self.regions:
            return self._of_regions(scores, target)
        if self.kind == "dice":
            return 1 - soft_dice(scores, target, group=self.group)
        if self.kind == "dual_dice":
            return 1 - soft_dice(scores, target, background=True, group=self.group)
        entropy = cross_entropy(scores, target, self.class_weights, self.edges, self.group)
        return entropy if self.kind == "ce" else entropy - soft_dice(scores, target, group=self.group)

    def _of_regions(self, scores: Tensor, target: Tensor) -> Tensor:
        if self.kind == "ce":
            return region_entropy(scores, target, self.group)
        dice = soft_dice(scores, target, regions=True, group=self.group)
        return 1 - dice if self.kind == "dice" else region_entropy(scores, target, self.group) - dice


def deep_shares(count: int) -> list[float]:
    """Weights of deep supervision: halved from level to level, none for the last, one in all [1]_.

    References
    ----------
    .. [1] nnunetv2/training/nnUNetTrainer/nnUNetTrainer.py, _build_loss
    """
    weights = [0.5**i for i in range(count)]
    if count > 1:
        weights[-1] = 0.0
    return [w / sum(weights) for w in weights]


def at_scale(target: Tensor, shape: Sequence[int]) -> Tensor:
    """The target on coarser voxels: that of the voxel nearest to the centre of each."""
    import torch

    for axis, (n, m) in enumerate(zip(target.shape[1:], shape, strict=True), 1):
        if n != m:
            at = ((torch.arange(m, device=target.device) + 0.5) * (n / m)).floor().long()
            target = target.index_select(axis, at)
    return target


def soft_dice(
    scores: Tensor,
    target: Tensor,
    *,
    background: bool = False,
    regions: bool = False,
    group: Group = ALONE,
) -> Tensor:
    """Mean Dice of probabilities over the classes, of all windows of a batch together."""
    import torch

    known = (target != IGNORE)[:, None].to(scores.dtype)
    if regions:
        probability, true = torch.sigmoid(scores), heads_of(target, scores.shape[1]) * known
    else:
        probability = torch.softmax(scores, 1)
        true = torch.zeros_like(scores).scatter_(1, target.clamp(min=0)[:, None], known)
    probability = probability * known
    axes = (0, *range(2, scores.ndim))
    both = group.total((probability * true).sum(axes))
    either = group.total(probability.sum(axes) + true.sum(axes))
    first = 0 if background or regions else 1
    return ((2 * both + SMOOTH) / (either + SMOOTH).clamp(min=1e-8))[first:].mean()


def cross_entropy(
    scores: Tensor,
    target: Tensor,
    class_weights: Sequence[float] | None = None,
    edges: float = 0.0,
    group: Group = ALONE,
) -> Tensor:
    """Mean cross entropy of the painted voxels; 0 if there are none."""
    import torch

    count = group.total((target != IGNORE).sum().float()).clamp(min=1)
    if class_weights is None and not edges:
        whole = torch.nn.functional.cross_entropy(scores, target, reduction="sum", ignore_index=IGNORE)
        return group.total(whole) / count
    found = torch.nn.functional.cross_entropy(scores, target, reduction="none", ignore_index=IGNORE)
    weight = (target != IGNORE).float()
    if class_weights is not None:
        table = torch.tensor(class_weights, dtype=torch.float32, device=scores.device)
        weight = weight * table[target.clamp(min=0)]
    if edges:
        weight = weight * (1 + edge_weights(target, scores.shape[1], edges, group))
    return group.total((found * weight).sum()) / count


def region_entropy(scores: Tensor, target: Tensor, group: Group = ALONE) -> Tensor:
    """Mean binary cross entropy of every head over the painted voxels; 0 if there are none."""
    import torch

    true = heads_of(target, scores.shape[1]).to(scores.dtype)
    found = torch.nn.functional.binary_cross_entropy_with_logits(scores, true, reduction="none")
    known = (target != IGNORE)[:, None]
    count = group.total(known.sum()) * scores.shape[1]
    return group.total((found * known).sum()) / count.clamp(min=1)


def heads_of(target: Tensor, heads: int) -> Tensor:
    """Where every region is, (B, heads, *window), bool, from its bit in the target."""
    import torch

    return torch.stack([of_class(target, number, True) for number in range(1, heads + 1)], 1)


def balanced(painted: Sequence[int]) -> tuple[float, ...]:
    """Weights of background and classes, by the inverse of their voxels, n / (classes n_c); 0 for none [1]_.

    References
    ----------
    .. [1] King and Zeng, Logistic regression in rare events data, Political Analysis 9, 2001
    """
    total, there = sum(painted), sum(n > 0 for n in painted)
    return tuple(total / (there * n) if n else 0.0 for n in painted)


def edge_weights(target: Tensor, heads: int, most: float, group: Group = ALONE) -> Tensor:
    """Weights that grow where voxels of two classes are near each other within a plane.

    Parameters
    ----------
    target : Tensor of shape (B, Y, X) or (B, Z, Y, X), int64
    heads : int
        Classes with the background.
    most : float
        Largest weight.
    group : Group
        Processes among whose windows it is the largest.

    Returns
    -------
    Tensor of the shape of `target`, float32
        0 far from other classes and where nothing is painted.

    Notes
    -----
    Heat that starts with 1 in the voxels of a class spreads in the plane for 50 steps (diffusion 0.2, decay
    0.98 per step, nine-point Laplacian); what reaches a voxel of another class above 0.2 is its weight [1]_.
    The sum over the classes is scaled so that its largest value is `most`.

    References
    ----------
    .. [1] Guay et al., Dense cellular segmentation for EM using 2D-3D neural network ensembles, Scientific
       Reports 11, 2021, doi:10.1038/s41598-021-81590-0
    """
    import torch

    planes = target.reshape(-1, 1, *target.shape[-2:])
    kernel = torch.tensor([[1.0, 2, 1], [2, -12, 2], [1, 2, 1]], device=target.device)[None, None] / 12
    total = torch.zeros(planes.shape, device=target.device)
    for number in range(heads):
        mine = planes == number
        if not bool(mine.any()):
            continue
        heat = mine.float()
        for _ in range(HEAT_STEPS):
            around = torch.nn.functional.pad(heat, (1, 1, 1, 1), mode="replicate")
            heat = DECAY * (heat + DIFFUSION * torch.nn.functional.conv2d(around, kernel))
        total += (heat - FLOOR).clamp(min=0) * (~mine & (planes != IGNORE))
    largest = group.largest(total.max())
    if float(largest) > 0:
        total = total * (most / largest)
    return total.reshape(target.shape)


@dataclass(frozen=True)
class Counts:
    """Voxels of every class that were found, that are true, and that are both; painted ones only."""

    both: Any
    found: Any
    true: Any

    @classmethod
    def of(cls, labels: Tensor, target: Tensor, heads: int, regions: bool = False) -> Counts:
        """Counts of found and true numbers; `heads` are the classes with the background."""
        import torch

        known = target != IGNORE
        a, b = labels[known], target[known]
        if regions:
            sides = [[of_class(side, n, True) for n in range(heads)] for side in (a, b)]
            both = [int((p & q).sum()) for p, q in zip(*sides, strict=True)]
            return cls(np.array(both), *(np.array([int(m.sum()) for m in side]) for side in sides))
        pairs = torch.bincount(a * heads + b, minlength=heads * heads).reshape(heads, heads).cpu().numpy()
        return cls(pairs.diagonal().copy(), pairs.sum(1), pairs.sum(0))

    @classmethod
    def none(cls, heads: int) -> Counts:
        return cls(*np.zeros((3, heads), np.int64))

    def over(self, group: Group, device: str) -> Counts:
        """Those of all processes together."""
        import torch

        own = torch.tensor(np.stack([self.both, self.found, self.true]), device=device)
        return Counts(*group.total(own).cpu().numpy())

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.both + other.both, self.found + other.found, self.true + other.true)

    def dice(self) -> list[float]:
        """Dice of every class but the background; NaN where it is neither found nor true."""
        sums = (self.found + self.true)[1:].tolist()
        both = self.both[1:].tolist()
        return [2 * n / s if s else float("nan") for n, s in zip(both, sums, strict=True)]
