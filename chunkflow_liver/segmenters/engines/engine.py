"""Which engines may run a network, and which one does where none is tried."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from chunkflow_liver.segmenters.settings import Settings


@dataclass(frozen=True)
class Engine:
    """What computes the passes of a network, and how.

    Attributes
    ----------
    name : {"torch", "openvino"}
    precision : {"float32", "bfloat16", "float16"}
        Of the network's arithmetic; sums are not touched.
    layout : {"channels_first", "channels_last"}
        How activations lie in memory; OpenVINO chooses for itself.
    tried : bool
        Whether its labels have been compared with those of torch in float32 on voxels of this volume.
    """

    name: str = "torch"
    precision: str = "float32"
    layout: str = "channels_first"
    tried: bool = False

    def __str__(self) -> str:
        last = ", channels last" if self.layout == "channels_last" else ""
        return f"{self.name} in {self.precision}{last}"


def settled(settings: Settings) -> Engine:
    """The engine that settings stand for without a trial: torch as nnU-Net runs it, where they are open."""
    precision = settings.precision
    if precision == "auto":
        precision = "float16" if settings.device.startswith("cuda") else "float32"
    name = "openvino" if settings.engine == "openvino" else "torch"
    return Engine(name, precision, settings.layout)


def is_open(settings: Settings) -> bool:
    """Whether settings leave it to a trial what runs, whichever machine makes it."""
    fixed = settings.layout != "channels_first" or settings.compile != "off" or not settings.exact
    said = settings.engine != "auto" and settings.precision != "auto"
    return not (said or fixed or settings.device != "cpu" or settings.precision == "float16")


def candidates(settings: Settings) -> tuple[Engine, ...]:
    """The engines of this machine among which a trial decides; the one that runs where nothing is open.

    Notes
    -----
    Where OpenVINO is installed it was faster than every way of torch, on processors with AMX and with
    AVX512, so that of torch's own ways only the one that settings stand for is tried beside it.
    """
    plain = settled(settings)
    if not is_open(settings):
        return (plain,)
    precisions = ("float32", "bfloat16") if settings.precision == "auto" else (settings.precision,)
    if settings.precision == "auto" and not has_bfloat16():
        precisions = ("float32",)
    name = settings.engine
    if name == "auto":
        name = "openvino" if has_openvino() else "torch"
    found = [Engine("openvino", p) for p in precisions] if name == "openvino" else []
    if name == "torch":
        found += [Engine("torch", p, "channels_last") for p in precisions]
        found += [Engine("torch", p) for p in precisions]
    return tuple(dict.fromkeys((plain, *found)))


def has_openvino() -> bool:
    """Whether OpenVINO is installed; it is not imported."""
    return importlib.util.find_spec("openvino") is not None


def has_bfloat16() -> bool:
    """Whether this CPU has instructions for bfloat16; without them it is slower than float32."""
    return bool({"avx512_bf16", "amx_bf16"} & set(processor()[1]))


def processor() -> tuple[str, tuple[str, ...]]:
    """Name and instruction sets of this CPU as Linux tells them; empty elsewhere."""
    found: dict[str, str] = {}
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                key, _, value = line.partition(":")
                found.setdefault(key.strip(), value.strip())
                if not line.strip():
                    break
    except OSError:
        return "", ()
    return found.get("model name", ""), tuple(found.get("flags", "").split())
