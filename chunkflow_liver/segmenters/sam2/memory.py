"""What a track keeps of the slices it has seen: as much as attention looks at, and no more.

Attention looks at the prompts, at the memory of the last `num_maskmem - 1` slices and at the pointers of the
last `max_object_pointers_in_encoder - 1`. What lies farther from the slice and from every prompt is dropped;
the slices next to a prompt stay, because the way back from it begins there. What is dropped is never looked
at, so the bits are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

FEATURES, POSITIONS = "maskmem_features", "maskmem_pos_enc"


@dataclass
class Memory:
    """Outputs of slices, as both implementations of SAM2 look them up.

    Attributes
    ----------
    pointer : str
        Their name of an object's pointer.
    memories, pointers : int
        How far from a slice or a prompt features and pointers are kept.
    prompted, others : dict of int to dict
        By slice.
    """

    pointer: str
    memories: int
    pointers: int
    prompted: dict[int, dict[str, Any]] = field(default_factory=dict)
    others: dict[int, dict[str, Any]] = field(default_factory=dict)

    def forget(self, z: int) -> None:
        """Drop what no step after slice `z` looks at."""
        near = (z, *self.prompted)
        for output in (self.prompted.get(z, {}), self.others.get(z, {})):
            for key in output.keys() - {self.pointer, FEATURES, POSITIONS}:
                del output[key]
        for at in list(self.others):
            distance = min(abs(at - a) for a in near)
            if distance > self.pointers:
                del self.others[at]
            elif distance > self.memories:
                self.others[at].pop(FEATURES, None)
                self.others[at].pop(POSITIONS, None)

    def state(self) -> dict[str, np.ndarray[Any, Any]]:
        """All of it as arrays."""
        import torch

        rows = [*self.prompted.items(), *sorted(self.others.items())]
        full = [output for _, output in rows if FEATURES in output]
        return {
            "slice": np.array([z for z, _ in rows], np.int64),
            "prompted": np.arange(len(rows)) < len(self.prompted),
            "full": np.array([FEATURES in output for _, output in rows], bool),
            "pointer": np.stack([_host(output[self.pointer]) for _, output in rows]),
            # NumPy has no bfloat16: the bits are carried.
            "features": np.stack([_host(o[FEATURES].contiguous().view(torch.int16)) for o in full]),
            "positions": _host(full[0][POSITIONS]),
        }

    def restore(self, state: Mapping[str, np.ndarray[Any, Any]], device: str) -> None:
        """Be what another one was."""
        import torch

        positions = torch.from_numpy(np.array(state["positions"])).to(device)
        features = iter(state["features"])
        for z, own, full, pointer in zip(
            state["slice"].tolist(), state["prompted"], state["full"], state["pointer"], strict=True
        ):
            output = {self.pointer: torch.from_numpy(np.array(pointer)).to(device)}
            if full:
                bits = torch.from_numpy(np.array(next(features)))
                output |= {FEATURES: bits.view(torch.bfloat16).to(device), POSITIONS: positions}
            (self.prompted if own else self.others)[z] = output


def _host(tensor: Any) -> np.ndarray[Any, Any]:
    found: np.ndarray[Any, Any] = tensor.detach().cpu().numpy()
    return found
