"""What of a stage was planned otherwise than by the plan that began a work folder, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CONVERSION = ".convert"
"""End of the work folder of a conversion, which people know by the image beside it only."""
WITHIN = " within "
"""Stands before the fingerprint of a mask."""
CODE = "code"
"""Key of what a stage runs of each module."""
MOST_MODULES = 3
"""That are named."""
MOST_STAGES = 8
"""The same, of stages that would be redone."""
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


def refusal(
    work: Path,
    stage: str,
    was: Mapping[str, Any],
    now: Mapping[str, Any],
    reads: Sequence[tuple[str, str]] = (),
) -> str:
    """Why a plan does not go on with what was begun in `work`, and what to do.

    `reads` says where its inputs and their masks lie, '' of what there is none.
    """
    if not was:
        return (
            f"{work} was written by a different plan: stage {stage!r} was planned otherwise. How stood "
            f"in {work / 'run.json'}, which is damaged or gone; run in a new work folder, or ask for what "
            "changed to be redone (--redo)"
        )
    if work.suffix != CONVERSION and (url := _other_voxels(was, now, reads)):
        return (
            f"{work} was written by a different plan: stage {stage!r} read other voxels of {url}, which was "
            f"changed or damaged since ('validate {url} --deep' tells damage). Put back what was there, and "
            "go on, by 'repair' where results are damaged too; or, if the change is meant, run in a new work "
            "folder, or ask for what follows from it to be redone (--redo)"
        )
    if work.suffix != CONVERSION:
        return (
            f"{work} was written by a different plan: stage {stage!r} has {difference(was, now)}; run in a "
            "new work folder, or ask for what changed to be redone (--redo)"
        )
    key, before, asked = first_difference(was, now) or ("", None, None)
    if key == "outputs[0].kind":
        one, other = ("labels" if kind == "label" else "an image" for kind in (before, asked))
        what = f"as {one}, and is asked for as {other} now"
    elif key == CODE:
        what = f"by {other_code(was, now)}"
    elif key in _CONVERTED:
        what = f"with the {_CONVERTED[key]} {before}, and is asked for with {asked} now"
    else:
        what = "from a source that held other data, or was read otherwise (axes, stored values)"
    return (
        f"{work.with_suffix('')} was converted {what}: say --redo (redo=True) to convert it anew, or choose "
        "another name"
    )


def redone(work: Path, stages: Sequence[str]) -> str:
    """Which stages `--redo` would do again, as the end of a `refusal`."""
    if work.suffix == CONVERSION:
        return ""
    more = f" and {len(stages) - MOST_STAGES} more" if len(stages) > MOST_STAGES else ""
    return f". Redone would be {', '.join(stages[:MOST_STAGES])}{more}"


def _other_voxels(was: Mapping[str, Any], now: Mapping[str, Any], reads: Sequence[tuple[str, str]]) -> str:
    """The image whose stored voxels alone are not those of before; '' if something else differs first."""
    found = first_difference(was, now)
    if found is None or found[0] != "inputs" or not len(found[1]) == len(found[2]) == len(reads):
        return ""
    pairs = zip(found[1], found[2], reads, strict=True)
    one, other, (url, mask) = next(pair for pair in pairs if pair[0] != pair[1])
    if WITHIN in one and WITHIN in other and one.partition(WITHIN)[0] == other.partition(WITHIN)[0]:
        return mask
    # What follows the fingerprint of the voxels is their size, place and region.
    return url if one.partition(" ")[1:] == other.partition(" ")[1:] else ""


def difference(was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first key in which two descriptions differ, as 'key: before, now'."""
    if (found := first_difference(was, now)) is None:
        return "no difference"
    key, before, asked = found
    if key == CODE:
        return other_code(was, now)
    return f"{key} = {before!r} there and {asked!r} in this plan"


def other_code(was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Which modules differ in what the stage runs of them."""
    before, asked = was.get(CODE), now.get(CODE, {})
    if before is None:
        return "no note of its code there, as nobody took one then"
    differ = sorted(m for m in before.keys() & asked.keys() if before[m] != asked[m])
    # What is new, or not needed any more, follows from a change in what was there.
    differ += sorted(before.keys() ^ asked.keys())
    more = f" and {len(differ) - MOST_MODULES} more" if len(differ) > MOST_MODULES else ""
    return f"other code than there: changed is what it runs of {', '.join(differ[:MOST_MODULES])}{more}"


def first_difference(
    was: Mapping[str, Any], now: Mapping[str, Any], at: str = ""
) -> tuple[str, Any, Any] | None:
    """The first key in which two descriptions differ, with what it was and is."""
    # Of another release all may differ; then what a person chose, and what follows from it (blocks, inputs).
    order = ["version", "params", "outputs", "function", "voxel_nm", "shape", "dtype", "classes", CODE]
    for key in sorted(set(was) | set(now), key=lambda k: (order.index(k) if k in order else 9, k)):
        a, b = was.get(key), now.get(key)
        if a == b:
            continue
        if key == CODE:
            return key, a, b
        if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
            i = next(i for i, (one, two) in enumerate(zip(a, b, strict=True)) if one != two)
            if isinstance(a[i], Mapping) and isinstance(b[i], Mapping):
                return first_difference(a[i], b[i], f"{at}{key}[{i}].")
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            return first_difference(a, b, f"{at}{key}.")
        return f"{at}{key}", a, b
    return None
