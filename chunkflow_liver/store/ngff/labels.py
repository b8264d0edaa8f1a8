"""What a label image says of its labels."""

from __future__ import annotations

import math
from typing import Any

from chunkflow_liver.store.ngff.transforms import is_number


def classes_of(label: dict[str, Any], problems: list[str]) -> tuple[tuple[str, int], ...]:
    """Class names from the properties of a label image (ours: 'class'; others: 'name'), checked."""
    found: list[tuple[str, int]] = []
    entries = _entries(label, "properties", problems)
    for value, entry in entries:
        name = entry.get("class", entry.get("name"))
        if isinstance(name, str):
            found.append((name, value))
    _refuse_twice([value for value, _ in entries], "properties name the label value", problems)
    _refuse_twice([name for name, _ in found], "properties name the class", problems)
    colors = _entries(label, "colors", problems)
    _refuse_twice([value for value, _ in colors], "colors name the label value", problems)
    for value, entry in colors:
        rgba = entry.get("rgba")
        four = isinstance(rgba, list) and len(rgba) == 4
        if rgba is not None and not (four and all(type(n) is int and 0 <= n <= 255 for n in rgba)):
            problems.append(f"the colour of label value {value} must be four numbers 0 to 255, got {rgba!r}")
    return tuple(found)


def _entries(label: dict[str, Any], key: str, problems: list[str]) -> list[tuple[int, dict[str, Any]]]:
    """Label value and entry of a list of 'image-label'."""
    entries = label.get(key)
    if entries is None:
        return []
    if not isinstance(entries, list):
        problems.append(f"'{key}' of 'image-label' must be a list, got {entries!r}")
        return []
    found = []
    for entry in entries:
        value = entry.get("label-value") if isinstance(entry, dict) else None
        if not is_number(value) or not math.isfinite(value) or value != int(value):
            problems.append(f"'{key}' of 'image-label': label-value must be a whole number, got {value!r}")
            continue
        found.append((int(value), entry))
    return found


def _refuse_twice(values: list[Any], what: str, problems: list[str]) -> None:
    seen: set[Any] = set()
    twice = {v: None for v in values if v in seen or seen.add(v)}  # type: ignore[func-returns-value]
    if twice:
        more = f" (and {len(twice) - 1} more)" if len(twice) > 1 else ""
        problems.append(
            f"{what} {next(iter(twice))!r} twice{more}; mend the 'image-label' metadata, or make a label "
            "image without them: chunkflow-liver convert, with --labels"
        )
