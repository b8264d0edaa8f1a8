"""Kinds of objects and how they are carried; a table of defaults, which a prompt's own limits go before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from chunkflow_liver.errors import InputError

Direction = Literal["both", "forward", "backward"]
DIRECTIONS = ("both", "forward", "backward")


@dataclass(frozen=True)
class Kind:
    """How objects of one kind are carried.

    Attributes
    ----------
    direction : {'both', 'forward', 'backward'}
        From a prompted slice.
    every : bool
        Whether all prompted slices of an object are begun from, or the first alone.
    crop_nm : float
        Side of the first window of an object of which points alone are known.
    """

    direction: Direction = "both"
    every: bool = True
    crop_nm: float = 16_000.0


KINDS: dict[str, Kind] = {
    "": Kind(),
    "hepatocyte": Kind(every=False, crop_nm=48_000.0),
    "cholangiocyte": Kind(every=False),
    "endothelial": Kind(every=False),
    "arteriole": Kind(),
    "portal vein": Kind(every=False),
    "bile duct": Kind(direction="forward", every=False),
}


def kind_of(name: str) -> Kind:
    """The rules of a kind; spaces, dashes and underscores are one.

    Raises
    ------
    InputError
        If there is no such kind.
    """
    plain = {known.replace(" ", ""): kind for known, kind in KINDS.items()}
    key = name.lower().translate(str.maketrans("", "", " -_"))
    if key not in plain:
        raise InputError(f"no kind of object {name!r}; there are {sorted(k for k in KINDS if k)}, or none")
    return plain[key]
