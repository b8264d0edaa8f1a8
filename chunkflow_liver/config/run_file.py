"""A whole run file: which parts there are, and that their names fit together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, get_args, get_origin

from pydantic import PrivateAttr

from chunkflow_liver.config.declaring import Entry, Made, Refers, Section
from chunkflow_liver.config.images import Block, Existing, Input, Segment, Semantic
from chunkflow_liver.config.lobule import Domains, Duct, Fenestrae, Geodesic, Zonation
from chunkflow_liver.config.sections import (
    Contacts,
    Distance,
    Edit,
    Label,
    Link,
    Measure,
    Narrowing,
    Placement,
    Profiles,
    Propagate,
    Refine,
    Split,
    Stitch,
)
from chunkflow_liver.config.studies import Calibrate, Compare, Evaluate, Population, Suggest
from chunkflow_liver.config.tissue import Cells, Flow, Network, Protrusions

OWN = "; bring your own by an entry {name: ..., path: ...} under 'existing'"
"""What to do where instances are missing."""

Place = tuple[str | int, ...]
"""Keys and numbers that lead to a value of the file."""


class RunFile(Section):
    """A whole run; every list may be empty, and lists are planned in this order."""

    input: Input | None = None
    work: Annotated[str, Refers.FILE]
    block: Block | None = None
    into_source: bool = False
    segment: Segment | None = None
    semantic: Semantic | None = None
    existing: tuple[Existing, ...] = ()
    label: tuple[Label, ...] = ()
    split: tuple[Split, ...] = ()
    link: tuple[Link, ...] = ()
    stitch: tuple[Stitch, ...] = ()
    propagate: tuple[Propagate, ...] = ()
    flow: tuple[Flow, ...] = ()
    cells: tuple[Cells, ...] = ()
    protrusions: tuple[Protrusions, ...] = ()
    refine: tuple[Refine, ...] = ()
    edit: tuple[Edit, ...] = ()
    distance: tuple[Distance, ...] = ()
    geodesic: tuple[Geodesic, ...] = ()
    contacts: tuple[Contacts, ...] = ()
    domains: tuple[Domains, ...] = ()
    duct: tuple[Duct, ...] = ()
    fenestrae: tuple[Fenestrae, ...] = ()
    profiles: tuple[Profiles, ...] = ()
    measure: tuple[Measure, ...] = ()
    narrowing: tuple[Narrowing, ...] = ()
    placement: tuple[Placement, ...] = ()
    network: tuple[Network, ...] = ()
    population: tuple[Population, ...] = ()
    zonation: tuple[Zonation, ...] = ()
    compare: tuple[Compare, ...] = ()
    evaluate: tuple[Evaluate, ...] = ()
    calibrate: tuple[Calibrate, ...] = ()
    suggest: tuple[Suggest, ...] = ()
    report: bool = True

    _file: str = PrivateAttr(default="the run file")
    _lines: Mapping[Place, int] = PrivateAttr(default_factory=dict)
    _moved: Mapping[Place, Place] = PrivateAttr(default_factory=dict)
    _quiet: frozenset[Place] = PrivateAttr(default=frozenset())
    _complete: bool = PrivateAttr(default=True)

    def remember(self, file: str, lines: Mapping[Place, int]) -> None:
        """Which file this is, and where in it every entry stands."""
        self._file, self._lines = file, lines

    def stand_in(
        self, quiet: frozenset[Place], moved: Mapping[Place, Place], *, complete: bool = True
    ) -> None:
        """That this is the rest of a file with mistakes: places to be silent of, entries that moved.

        Not `complete`, where some of what the mistakes would make has no name that is known.
        """
        self._quiet, self._moved, self._complete = quiet, moved, complete

    @property
    def is_complete(self) -> bool:
        """Whether a name that nothing has is a mistake for sure."""
        return self._complete

    def is_quiet(self, place: Place) -> bool:
        return place in self._quiet

    @property
    def file(self) -> str:
        return self._file

    def at(self, place: Place, text: str) -> str:
        """`text` with the place in the file that it is about."""
        place = (*self._moved.get(place[:2], place[:2]), *place[2:])
        return placed(place, text, self._lines)

    def entries(self) -> list[tuple[Place, Entry]]:
        """Every entry of the lists with its place, in the order in which they are planned."""
        return [((key, i), entry) for key in LISTS for i, entry in enumerate(getattr(self, key))]

    def name_problems(self) -> list[tuple[Place, str]]:
        """Every name that does not fit the others, with its place."""
        lists = self.entries()
        entries = ([(("segment",), self.segment)] if self.segment else []) + lists
        return [
            *self._images_missing(entries),
            *_names_twice(entries),
            *((*_names_missing(lists), *_tables_missing(lists)) if self._complete else ()),
        ]

    def _images_missing(self, entries: list[tuple[Place, Entry]]) -> list[tuple[Place, str]]:
        """Classes and an image, where an entry needs them and the file gives none."""
        found: list[tuple[Place, str]] = []
        needy = next((e.name for _, e in entries if e.needs_classes()), None)
        either = "give either 'segment' (a network) or 'semantic' (classes that exist)"
        if self.segment is not None and self.semantic is not None:
            found.append(((), f"{either}, not both"))
        elif self.segment is None and self.semantic is None and needy is not None:
            found.append(((), f"{either}: {needy!r} needs classes"))
        if self.input is None:
            readers = [place for place, e in entries if e.needs_image()]
            readers += [("into_source",)] if self.into_source else []
            found += [(place, "this needs 'input', the image") for place in readers]
        return found


def _list_of(annotation: object) -> type[Entry] | None:
    """The entries of a field that holds several."""
    inner = get_args(annotation)[0] if get_origin(annotation) is tuple else None
    return inner if isinstance(inner, type) and issubclass(inner, Entry) else None


ENTRIES: Mapping[str, type[Entry]] = {
    key: entry for key, field in RunFile.model_fields.items() if (entry := _list_of(field.annotation))
}
"""Keys of a run file that hold several entries, in the order of planning, and what they hold."""
LISTS = tuple(ENTRIES)
INSTANCES = tuple(key for key, entry in ENTRIES.items() if entry.makes_instances)
"""Keys whose entries make instances that others can name."""


def _names_twice(entries: list[tuple[Place, Entry]]) -> list[tuple[Place, str]]:
    """Names that two entries would give to what they make."""
    found: list[tuple[Place, str]] = []
    made: set[tuple[Made, str]] = set()
    for place, entry in entries:
        for what, ends in entry.makes().items():
            for name in (f"{entry.name}{end}" for end in ends):
                if (what, name) in made:
                    found.append((place, f"two {what.value} are called {name!r}; rename one of them"))
                made.add((what, name))
    return found


def _names_missing(entries: list[tuple[Place, Entry]]) -> list[tuple[Place, str]]:
    """Names of instances that no entry makes, or, where instances are made of others, none before it."""
    found: list[tuple[Place, str]] = []
    makers = [(place, e) for place, e in entries if e.makes_instances]
    known = {e.name for _, e in makers if not e.fields_that(Refers.INSTANCES)}
    for place, entry in makers:
        for key, wanted in entry.referred(Refers.INSTANCES):
            if wanted not in known:
                there = f"before it there are {sorted(known)}{OWN}"
                found.append(((*place, key), f"{entry.name!r} refines instances {wanted!r}; {there}"))
        known.add(entry.name)
    for place, entry in entries:
        if entry.makes_instances:
            continue
        for key, wanted in entry.referred(Refers.INSTANCES):
            if wanted not in known:
                there = f"the run makes {sorted(known)}{OWN}"
                found.append(((*place, key), f"{entry.name!r} refers to instances {wanted!r}; {there}"))
    return found


def _tables_missing(entries: list[tuple[Place, Entry]]) -> list[tuple[Place, str]]:
    """Names of tables that no entry before makes."""
    found: list[tuple[Place, str]] = []
    known: set[str] = set()
    for place, entry in entries:
        for key, value in entry.referred(Refers.TABLES):
            for wanted in (value,) if isinstance(value, str) else value:
                if wanted not in known:
                    text = (
                        f"{entry.name!r} takes the table {wanted!r}; before it the run makes {sorted(known)}"
                    )
                    found.append(((*place, key), f"{text}, others go under 'files'"))
        known |= {f"{entry.name}{end}" for end in entry.makes().get(Made.TABLES, ())}
    return found


def placed(place: Place, text: str, lines: Mapping[Place, int]) -> str:
    """`text` after its place and, where it is known, with the line of that place or of what holds it."""
    line = next((lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in lines), None)
    known = "" if line is None else f" (line {line})"
    return f"{'.'.join(map(str, place)) or 'the file'}: {text}{known}"
