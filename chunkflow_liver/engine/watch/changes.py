"""What of a stage was planned otherwise than by the plan that began a work folder, in words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

CONVERSION = ".convert"
"""End of the work folder of a conversion, which people know by the image beside it only."""
_CONVERTED = {
    "outputs[0].kind": "kind",
    "outputs[0].voxel_nm": "voxel size (z, y, x) in nm",
    "outputs[0].origin_nm": "place (z, y, x) in nm",
    "outputs[0].shape": "shape (z, y, x) in voxels",
    "outputs[0].dtype": "type of voxels",
    "outputs[0].classes": "classes",
    "params.source": "source",
    "block": "blocks of (z, y, x) voxels",
    "version": "release of chunkflow-liver",
}
"""What a person calls that in which two conversions differ; all else follows from the source."""


def refusal(work: Path, stage: str, was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Why a plan does not go on with what was begun in `work`, and what to do."""
    if work.suffix != CONVERSION:
        return (
            f"{work} was written by a different plan: stage {stage!r} has {difference(was, now)}; run in a "
            "new work folder, or ask for what changed to be redone (--redo)"
        )
    key, before, asked = first_difference(was, now) or ("", None, None)
    if key == "outputs[0].kind":
        one, other = ("labels" if kind == "label" else "an image" for kind in (before, asked))
        what = f"as {one}, and is asked for as {other} now"
    elif key in _CONVERTED:
        what = f"with the {_CONVERTED[key]} {before}, and is asked for with {asked} now"
    else:
        what = "from a source that held other data, or was read otherwise (axes, stored values)"
    return (
        f"{work.with_suffix('')} was converted {what}: say --redo (redo=True) to convert it anew, or choose "
        "another name"
    )


def difference(was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first key in which two descriptions differ, as 'key: before, now'."""
    if (found := first_difference(was, now)) is None:
        return "no difference"
    key, before, asked = found
    return f"{key} = {before!r} there and {asked!r} in this plan"


def first_difference(
    was: Mapping[str, Any], now: Mapping[str, Any], at: str = ""
) -> tuple[str, Any, Any] | None:
    """The first key in which two descriptions differ, with what it was and is."""
    # Of another release all may differ; then what a person chose, and what follows from it (blocks, inputs).
    order = ["version", "params", "outputs", "function", "voxel_nm", "shape", "dtype", "classes"]
    for key in sorted(set(was) | set(now), key=lambda k: (order.index(k) if k in order else 9, k)):
        a, b = was.get(key), now.get(key)
        if a == b:
            continue
        if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
            i = next(i for i, (one, two) in enumerate(zip(a, b, strict=True)) if one != two)
            if isinstance(a[i], Mapping) and isinstance(b[i], Mapping):
                return first_difference(a[i], b[i], f"{at}{key}[{i}].")
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            return first_difference(a, b, f"{at}{key}.")
        return f"{at}{key}", a, b
    return None
