"""A run file without its broken parts, so that one mistake does not hide those that show only later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from chunkflow_liver.config.run_file import INSTANCES, LISTS, Place

STAND_IN = {"path": "(not known)"}
"""An image that cannot be opened; what needs an image that was refused is passed over in silence."""
IMAGES = {"input": "input", "semantic": "semantic", "segment": "semantic"}
"""What stands in for a broken part that makes an image."""


@dataclass(frozen=True)
class Mended:
    """What is left.

    Attributes
    ----------
    content : dict
        Keys and values without the broken parts; what others may refer to has a stand-in of its name.
    quiet : frozenset of Place
        Places of stand-ins and of the whole file, of which no problem is to be told.
    moved : mapping of Place to Place
        Where entries of a list stand in the file, by where they stand in `content`.
    complete : bool
        Whether it is known what all broken parts would be called; else a name that nothing has may be theirs.
    """

    content: dict[str, Any]
    quiet: frozenset[Place] = frozenset()
    moved: Mapping[Place, Place] = field(default_factory=dict)
    complete: bool = True


def mended(content: Mapping[str, Any], broken: Iterable[Place]) -> Mended:
    """`content` without its parts at the places `broken`."""
    left: dict[str, Any] = dict(content)
    entries: dict[str, set[int]] = {}
    quiet: set[Place] = {()}
    complete = True
    for place in broken:
        key, rest = str(place[0]), place[1:]
        if key in LISTS and rest and isinstance(rest[0], int):
            entries.setdefault(key, set()).add(rest[0])
        else:
            complete &= key not in INSTANCES
            left.pop(key, None)
            if key in IMAGES:
                left[IMAGES[key]] = STAND_IN
                quiet.add((IMAGES[key],))
    left.setdefault("work", "work")
    moved: dict[Place, Place] = {}
    names: list[Any] = []
    for section, gone in entries.items():
        there = content[section]
        if section in INSTANCES:
            names += [e.get("name") if isinstance(e, dict) else None for e in (there[i] for i in gone)]
        kept = [i for i in range(len(there)) if i not in gone]
        left[section] = [there[i] for i in kept]
        moved |= {(section, new): (section, old) for new, old in enumerate(kept)}
    complete &= all(isinstance(name, str) for name in names)
    known = {e.get("name") for key in INSTANCES for e in left.get(key) or () if isinstance(e, dict)}
    own = list(left.get("existing") or ())
    for name in dict.fromkeys(n for n in names if isinstance(n, str) and n not in known):
        quiet.add(("existing", len(own)))
        own.append({"name": name, **STAND_IN})
    return Mended({**left, "existing": own}, frozenset(quiet), moved, complete)
