"""A whole run file: which parts there are, and that their names fit together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import PrivateAttr

from chunkflow_liver.config.sections import (
    Block,
    Contacts,
    Distance,
    Evaluate,
    Existing,
    Input,
    Label,
    Link,
    Measure,
    Narrowing,
    Profiles,
    Refine,
    Section,
    Segment,
    Semantic,
    Split,
    Stitch,
)

NARROWING_TABLES = ("", "-objects", "-windows", "-cells", "-tests")
"""Ends of the names of what `narrowing` makes."""
LISTS = (
    "existing",
    "label",
    "split",
    "link",
    "stitch",
    "refine",
    "distance",
    "contacts",
    "profiles",
    "measure",
    "narrowing",
    "evaluate",
)
"""Keys of a run file that hold several entries, in the order in which they are planned."""

OWN = "; bring your own by an entry {name: ..., path: ...} under 'existing'"
"""What to do where instances are missing."""

Place = tuple[str | int, ...]
"""Keys and numbers that lead to a value of the file."""


class RunFile(Section):
    """A whole run; every list may be empty."""

    input: Input | None = None
    work: str
    block: Block | None = None
    into_source: bool = False
    segment: Segment | None = None
    semantic: Semantic | None = None
    existing: tuple[Existing, ...] = ()
    label: tuple[Label, ...] = ()
    split: tuple[Split, ...] = ()
    link: tuple[Link, ...] = ()
    stitch: tuple[Stitch, ...] = ()
    refine: tuple[Refine, ...] = ()
    measure: tuple[Measure, ...] = ()
    distance: tuple[Distance, ...] = ()
    contacts: tuple[Contacts, ...] = ()
    profiles: tuple[Profiles, ...] = ()
    narrowing: tuple[Narrowing, ...] = ()
    evaluate: tuple[Evaluate, ...] = ()
    report: bool = True

    _file: str = PrivateAttr(default="the run file")
    _lines: Mapping[Place, int] = PrivateAttr(default_factory=dict)
    _moved: Mapping[Place, Place] = PrivateAttr(default_factory=dict)
    _quiet: frozenset[Place] = PrivateAttr(default=frozenset())

    def remember(self, file: str, lines: Mapping[Place, int]) -> None:
        """Which file this is, and where in it every entry stands."""
        self._file, self._lines = file, lines

    def stand_in(self, quiet: frozenset[Place], moved: Mapping[Place, Place]) -> None:
        """That this is the rest of a file with mistakes: places to be silent of, entries that moved."""
        self._quiet, self._moved = quiet, moved

    def is_quiet(self, place: Place) -> bool:
        return place in self._quiet

    @property
    def file(self) -> str:
        return self._file

    def at(self, place: Place, text: str) -> str:
        """`text` with the place in the file that it is about."""
        place = (*self._moved.get(place[:2], place[:2]), *place[2:])
        return placed(place, text, self._lines)

    def name_problems(self) -> list[tuple[Place, str]]:
        """Every name that does not fit the others, with its place."""
        entries: list[tuple[Place, Any]] = [(("segment",), self.segment)] if self.segment else []
        entries += [((key, i), entry) for key in LISTS for i, entry in enumerate(getattr(self, key))]
        found = self._images_missing(entries)
        made: set[tuple[str, str]] = set()
        for place, entry in entries:
            for what, ends in makes(entry).items():
                for name in (f"{entry.name}{end}" for end in ends):
                    if (what, name) in made:
                        found.append((place, f"two {what} are called {name!r}; rename one of them"))
                    made.add((what, name))
        labels = {e.name for e in self.label} | {e.name for e in self.link} | {e.name for e in self.split}
        labels |= {e.name for e in self.stitch} | {e.name for e in self.existing}
        for i, wish in enumerate(self.refine):
            if wish.instances not in labels:
                there = f"before it there are {sorted(labels)}"
                text = f"{wish.name!r} refines instances {wish.instances!r}; {there}{OWN}"
                found.append((("refine", i, "instances"), text))
            labels.add(wish.name)
        for place, entry in entries:
            keys = () if isinstance(entry, Refine) else ("instances", "other", "parents")
            for key in keys:
                wanted = getattr(entry, key, None)
                if wanted is not None and wanted not in labels:
                    there = f"the run makes {sorted(labels)}"
                    text = f"{entry.name!r} refers to instances {wanted!r}; {there}{OWN}"
                    found.append(((*place, key), text))
        return found

    def _images_missing(self, entries: Sequence[tuple[Place, Any]]) -> list[tuple[Place, str]]:
        """Classes and an image, where an entry needs them and the file gives none."""
        found: list[tuple[Place, str]] = []
        needy = next((e.name for _, e in entries if _needs_classes(e)), None)
        either = "give either 'segment' (a network) or 'semantic' (classes that exist)"
        if self.segment is not None and self.semantic is not None:
            found.append(((), f"{either}, not both"))
        elif self.segment is None and self.semantic is None and needy is not None:
            found.append(((), f"{either}: {needy!r} needs classes"))
        if self.input is None:
            readers = [place for place, e in entries if isinstance(e, Segment) or _has(e, "function")]
            readers += [("into_source",)] if self.into_source else []
            found += [(place, "this needs 'input', the image") for place in readers]
        return found


def _needs_classes(entry: Any) -> bool:
    """Whether an entry takes classes, not instances alone."""
    return isinstance(entry, Label | Split) or _has(entry, "to") or _has(entry, "of")


def _has(entry: Any, key: str) -> bool:
    return getattr(entry, key, None) is not None


def makes(entry: Any) -> dict[str, tuple[str, ...]]:
    """Ends of the names of what an entry makes, by what it is."""
    images, maps, tables = "label images", "distance images", "tables"
    match entry:
        case Segment() | Existing() | Label() | Link():
            return {images: ("",)}
        case Split():
            return {images: ("", "-blocks"), tables: ("-seams",)}
        case Stitch():
            return {images: ("",) if entry.labels else ("", "-blocks"), tables: ("-seams",)}
        case Refine():
            return {images: ("",), tables: ("-ids",)}
        case Distance():
            return {images: ("-exact", *(("-nearest",) if entry.nearest else ())), maps: ("",)}
        case Contacts():
            return {images: ("",) if entry.sites else (), tables: ("", "-objects", "-sites")}
        case Profiles():
            kinds = [("", True), ("-shells", entry.shells_nm), ("-parents", entry.parents)]
            kinds += [("-parent-shells", entry.parents and entry.shells_nm)]
            return {tables: tuple(end for end, wanted in kinds if wanted)}
        case Narrowing():
            return {tables: NARROWING_TABLES}
    return {tables: ("",)}


def placed(place: Place, text: str, lines: Mapping[Place, int]) -> str:
    """`text` after its place and, where it is known, with the line of that place or of what holds it."""
    line = next((lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in lines), None)
    known = "" if line is None else f" (line {line})"
    return f"{'.'.join(map(str, place)) or 'the file'}: {text}{known}"
