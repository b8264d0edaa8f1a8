"""What to train, how, and for how long: plain values, checked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import Nm
from chunkflow_liver.training.regions import MOST_REGIONS

NNUNETS = ("plain", "resenc")
"""Networks that an nnU-Net folder holds."""
SEEDS = ("unet2d", "unet3d", "resunet", "pyramid")
CHOICES: dict[str, tuple[str, ...]] = {
    "network": (*NNUNETS, *SEEDS),
    "loss": ("dice_ce", "dice", "dual_dice", "ce"),
    "optimizer": ("adamw", "sgd"),
    "schedule": ("poly", "cosine"),
    "augment": ("em", "flips", "none"),
    "precision": ("auto", "float32", "bfloat16"),
    "keep": ("best", "last"),
}
WHOLE = (
    "convolutions",
    "batch",
    "steps",
    "epoch",
    "validation_windows",
    "threads",
    "processes",
    "checkpoint_seconds",
)
MOST_STAGES = 12


@dataclass(frozen=True)
class Recipe:
    """What to train, how, and for how long.

    Attributes
    ----------
    classes : tuple of str
        Names of the classes 1, 2, ...; 0 is the background.
    voxel_nm : Nm
        Voxel size that the network sees.
    channels : tuple of str
        Names of what the network sees of every voxel.
    regions : tuple of tuple of int
        Where classes may overlap: for each the numbers that its voxels may have in labels, as in
        nnU-Net's dataset.json; empty where every voxel is of one class.
    window : tuple of int
        What the network sees at once, in voxels: (z, y, x), or (y, x) for one that sees single planes.
    network : str
        'plain' and 'resenc' are nnU-Net's U-Nets; 'unet2d', 'unet3d', 'resunet' and 'pyramid' those of
        `seed_networks`.
    features : tuple of int
        Channels of every stage; their number is the depth.
    convolutions : int
        Per stage of 'plain'.
    batch : int
        Windows per step.
    steps : int
        Steps of the optimizer. Not minutes: what else the machine does is not to change the result.
    epoch : int
        Steps between two validations.
    validation_windows : int
        Windows looked at in a validation at most, spread over what is held out.
    rate : float
        First learning rate.
    optimizer, schedule, loss, augment : str
        See `CHOICES`. 'em' augments as electron micrographs differ, flips included.
    balance : bool
        Weigh the cross entropy of a class by the inverse of its share of the painted voxels.
    edges : float
        Largest extra weight of the cross entropy where two classes are near each other; 0 for none.
    foreground : float
        Share of the windows that are drawn around a voxel of a class other than the background.
    deep : bool
        Supervise coarser levels of nnU-Net's decoder too.
    freeze : str
        '' or 'encoder': its weights stay as they are.
    patience : int
        Epochs without a better validation after which training stops; 0 never stops early.
    keep : {'best', 'last'}
        Which weights become the model.
    precision : {'auto', 'float32', 'bfloat16'}
        Of the network's arithmetic; 'auto' tries in a process of its own what is safe and fastest.
    device : str
        'cpu', 'cuda', 'cuda:1'.
    threads : int
        CPU threads of torch. Another number gives other bits.
    processes : int
        That share the windows of every batch: one per GPU, `cuda:0` and up. On a CPU they share the cores.
    seed : int
        Of weights, windows and augmentation.
    checkpoint_seconds : int
        Time between checkpoints at most, besides those after each epoch.
    """

    classes: tuple[str, ...]
    voxel_nm: Nm
    window: tuple[int, ...]
    network: str = "plain"
    features: tuple[int, ...] = (16, 32, 64, 128)
    convolutions: int = 2
    batch: int = 2
    steps: int = 2000
    epoch: int = 100
    validation_windows: int = 32
    rate: float = 1e-3
    optimizer: Literal["adamw", "sgd"] = "adamw"
    schedule: Literal["poly", "cosine"] = "poly"
    loss: Literal["dice_ce", "dice", "dual_dice", "ce"] = "dice_ce"
    augment: Literal["em", "flips", "none"] = "em"
    balance: bool = False
    edges: float = 0.0
    foreground: float = 0.34
    deep: bool = True
    freeze: Literal["", "encoder"] = ""
    patience: int = 0
    keep: Literal["best", "last"] = "best"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    device: str = "cpu"
    threads: int = 1
    processes: int = 1
    seed: int = 0
    checkpoint_seconds: int = 60
    channels: tuple[str, ...] = ("EM",)
    regions: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ConfigError(f"no {name} {getattr(self, name)!r} of a training; there are {list(known)}")
        for name in WHOLE:
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigError(f"{name} of a training is a whole number from 1 on, got {value!r}")
        if not self.classes or len(set(self.classes)) < len(self.classes):
            raise ConfigError(f"a training needs classes, each named once; got {list(self.classes)}")
        if "background" in self.classes:
            raise ConfigError("'background' is class 0 always: leave it out of the classes to train")
        if len(self.window) not in (2, 3) or min(self.window, default=0) < 1:
            raise ConfigError(f"a window has (z, y, x) or (y, x) voxels, got {self.window}")
        if len(self.voxel_nm) != 3 or not all(math.isfinite(v) and v > 0 for v in self.voxel_nm):
            raise ConfigError(f"voxel_nm is three sizes above 0 (z, y, x), got {self.voxel_nm}")
        if not 1 <= len(self.features) <= MOST_STAGES or min(self.features) < 1:
            raise ConfigError(
                f"features are 1 to {MOST_STAGES} numbers of channels, one per stage, got {self.features}"
            )
        if not (math.isfinite(self.rate) and 0 < self.rate <= 1):
            raise ConfigError(f"the learning rate lies above 0 and at most at 1, got {self.rate}")
        if not 0 <= self.foreground <= 1:
            raise ConfigError(f"foreground is a share of the windows, 0 to 1, got {self.foreground}")
        if not (math.isfinite(self.edges) and self.edges >= 0):
            raise ConfigError(f"edges is a weight from 0 on, got {self.edges}")
        if self.freeze not in ("", "encoder"):
            raise ConfigError(f"freeze is '' or 'encoder', got {self.freeze!r}")
        if self.patience < 0 or self.seed < 0:
            raise ConfigError(f"patience and seed are from 0 on, got {self.patience} and {self.seed}")
        if self.network == "unet2d" and not self.is_2d:
            raise ConfigError(f"the network 'unet2d' sees windows of (y, x) voxels, got {self.window}")
        if self.network in ("unet3d", "pyramid") and self.is_2d:
            raise ConfigError(
                f"the network {self.network!r} sees windows of (z, y, x) voxels, got {self.window}"
            )
        if self.network == "resunet" and not self.is_2d:
            raise ConfigError(f"the network 'resunet' sees windows of (y, x) voxels, got {self.window}")
        if (self.edges or self.balance) and self.loss not in ("ce", "dice_ce"):
            raise ConfigError(f"balance and edges weigh a cross entropy, which the loss {self.loss!r} lacks")
        if self.batch % self.processes:
            raise ConfigError(
                f"{self.processes} processes share a batch evenly, and {self.batch} windows cannot be; take "
                f"a batch of {-(-self.batch // self.processes) * self.processes}"
            )
        if self.processes > 1 and self.device not in ("cpu", "cuda"):
            raise ConfigError(
                f"{self.processes} processes take cuda:0 to cuda:{self.processes - 1}: say device: cuda, got "
                f"{self.device!r}"
            )
        if self.regions:
            self._check_regions()

    def _check_regions(self) -> None:
        if len(self.regions) != len(self.classes) or not 2 <= len(self.classes) <= MOST_REGIONS:
            raise ConfigError(
                f"classes that overlap are 2 to {MOST_REGIONS}, each with its numbers; got "
                f"{list(self.classes)} and {list(self.regions)}"
            )
        if self.edges or self.balance or self.loss == "dual_dice":
            raise ConfigError(
                "balance, edges and the loss 'dual_dice' are for classes of which every voxel has one; leave "
                "them out where classes overlap"
            )

    @property
    def is_2d(self) -> bool:
        """Whether the network sees single planes."""
        return len(self.window) == 2

    @property
    def window_zyx(self) -> tuple[int, int, int]:
        """`window` with 1 along z for a network that sees single planes."""
        z, y, x = (*[1] * (3 - len(self.window)), *self.window)
        return z, y, x

    @property
    def heads(self) -> int:
        """Channels that the network puts out: the classes, and the background if they do not overlap."""
        return len(self.classes) + (not self.regions)

    @property
    def written(self) -> tuple[int, ...]:
        """Number that `segment` writes for every class: of regions, one that no later class has too."""
        if not self.regions:
            return tuple(range(1, len(self.classes) + 1))
        return tuple(
            next(n for n in mine if not any(n in later for later in self.regions[i + 1 :]))
            for i, mine in enumerate(self.regions)
        )

    @property
    def is_nnunet(self) -> bool:
        return self.network in NNUNETS
