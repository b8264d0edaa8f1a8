"""How to predict, and what to keep of a prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from chunkflow_liver.errors import SegmenterError

CHOICES: dict[str, tuple[str, ...]] = {
    "numerics": ("exact", "nnunet"),
    "engine": ("auto", "torch", "openvino"),
    "precision": ("auto", "float32", "bfloat16", "float16"),
    "layout": ("channels_first", "channels_last"),
    "compile": ("off", "default", "graphs"),
    "combine": ("mean", "vote"),
    "uncertainty": ("none", "entropy", "margin"),
}


def is_number(value: object) -> bool:
    """Whether `value` is a number, and not True or False."""
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True)
class Settings:
    """How to predict.

    Attributes
    ----------
    mirroring : bool
        Average over all mirrored inputs that the training allows: 8 times the work in 3D.
    step : float
        Largest distance of windows, as a share of the window.
    numerics : {"exact", "nnunet"}
        "exact": float32 sums with weights that add up to 1. "nnunet": float16 sums, rounded where
        nnU-Net rounds, to reproduce its results to the bit.
    device : str
        For torch: "cpu", "cuda", "cuda:1".
    engine : {"auto", "torch", "openvino"}
        What computes the network on a CPU; `engine` and `precision` that are "auto" are decided once for a
        run, by a trial on windows of its volume: the fastest way whose labels are those of torch in
        float32, as nearly as docs/promises.md says. A run of less than 5 s of passes keeps torch in
        float32. On a GPU, and for `numerics` "nnunet", it is torch.
    batch : int
        Inputs per forward pass, mirrored ones included. The last pass of a block is filled up, so that
        this number alone (and not the block) decides the bits.
    precision : {"auto", "float32", "bfloat16", "float16"}
        Of the network's arithmetic; sums are not touched. "auto" is tried on a CPU, see `engine`, and
        float16 on a GPU, as nnU-Net does. bfloat16 is several times faster on CPUs that have it (AMX,
        AVX512-BF16), slower on others, and moves scores by about 1 %.
    planes_ahead : int
        Planes to read at once at least, where the network needs fewer; read while it works.
    layout : {"channels_first", "channels_last"}
        How activations lie in memory; for torch alone, and without a trial. Which is faster depends on
        network and device; measure.
    compile : {"off", "default", "graphs"}
        torch.compile, and with "graphs" CUDA graphs as well; compared with the plain network at start.
    combine : {"mean", "vote"}
        Of several models: mean of their probabilities, or majority of their classes (the smallest of
        equally many).
    uncertainty : {"none", "entropy", "margin"}
        A map to keep: entropy of the probabilities as a share of the largest possible, or 1 minus the
        distance of the two largest probabilities.
    scores : tuple of str
        Classes whose probabilities are kept.
    """

    mirroring: bool = True
    step: float = 0.5
    numerics: Literal["exact", "nnunet"] = "exact"
    device: str = "cpu"
    engine: Literal["auto", "torch", "openvino"] = "auto"
    batch: int = 1
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    planes_ahead: int = 16
    layout: Literal["channels_first", "channels_last"] = "channels_first"
    compile: Literal["off", "default", "graphs"] = "off"
    combine: Literal["mean", "vote"] = "mean"
    uncertainty: Literal["none", "entropy", "margin"] = "none"
    scores: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise SegmenterError(f"no {name} {getattr(self, name)!r}; there are {list(known)}")
        if not isinstance(self.mirroring, bool):
            raise SegmenterError(f"mirroring is True or False, got {self.mirroring!r}")
        if not isinstance(self.device, str):
            raise SegmenterError(f"device is a name like 'cpu' or 'cuda:0', got {self.device!r}")
        if not is_number(self.step) or not 0 < self.step <= 1:
            raise SegmenterError(f"step is a share of the window, above 0 and at most 1, got {self.step!r}")
        if not all(isinstance(n, int) and is_number(n) for n in (self.batch, self.planes_ahead)):
            raise SegmenterError(
                f"batch and planes_ahead are whole numbers, got {self.batch!r} and {self.planes_ahead!r}"
            )
        if self.batch < 1 or self.planes_ahead < 1:
            raise SegmenterError(
                f"batch and planes_ahead are at least 1, got {self.batch} and {self.planes_ahead}"
            )

        if self.engine == "openvino":
            self._check_openvino()

    def _check_openvino(self) -> None:
        """Refuse what only torch does."""
        torch_only = {
            "device": self.device != "cpu",
            "numerics": not self.exact,
            "layout": self.layout != "channels_first",
            "compile": self.compile != "off",
            "precision": self.precision == "float16",
        }
        for name, refused in torch_only.items():
            if refused:
                raise SegmenterError(
                    f"engine 'openvino' does not run with {name} {getattr(self, name)!r}, which is for "
                    "torch; take engine: torch, or leave that out"
                )

    @property
    def exact(self) -> bool:
        return self.numerics == "exact"
