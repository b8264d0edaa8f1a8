"""A whole run file: which parts there are, and that their names fit together."""

from __future__ import annotations

from pydantic import model_validator

from chunkflow_liver.config.sections import (
    Block,
    Contacts,
    Distance,
    Evaluate,
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
)

NARROWING_TABLES = ("", "-objects", "-windows", "-cells", "-tests")
"""Ends of the names of what `narrowing` makes."""


class RunFile(Section):
    """A whole run; every list may be empty."""

    input: Input
    work: str
    block: Block | None = None
    into_source: bool = False
    segment: Segment | None = None
    semantic: Semantic | None = None
    label: tuple[Label, ...] = ()
    split: tuple[Split, ...] = ()
    link: tuple[Link, ...] = ()
    refine: tuple[Refine, ...] = ()
    measure: tuple[Measure, ...] = ()
    distance: tuple[Distance, ...] = ()
    contacts: tuple[Contacts, ...] = ()
    profiles: tuple[Profiles, ...] = ()
    narrowing: tuple[Narrowing, ...] = ()
    evaluate: tuple[Evaluate, ...] = ()
    report: bool = True

    @model_validator(mode="after")
    def _names(self) -> RunFile:
        if (self.segment is None) == (self.semantic is None):
            raise ValueError("give either 'segment' (a network) or 'semantic' (classes that exist)")
        made = {
            "label images": [
                *([self.segment.name] if self.segment else []),
                *(entry.name for entry in self.label),
                *(f"{entry.name}{end}" for entry in self.split for end in ("", "-blocks")),
                *(entry.name for entry in self.link),
                *(entry.name for entry in self.refine),
                *(f"{entry.name}-exact" for entry in self.distance),
                *(f"{entry.name}-nearest" for entry in self.distance if entry.nearest),
                *(entry.name for entry in self.contacts if entry.sites),
            ],
            "distance images": [entry.name for entry in self.distance],
            "tables": [
                *(f"{entry.name}-seams" for entry in self.split),
                *(f"{entry.name}-ids" for entry in self.refine),
                *(entry.name for entry in self.measure),
                *(f"{c.name}{end}" for c in self.contacts for end in ("", "-objects", "-sites")),
                *(entry.name for entry in self.profiles),
                *(f"{p.name}-shells" for p in self.profiles if p.shells_nm),
                *(f"{p.name}-parents" for p in self.profiles if p.parents),
                *(f"{p.name}-parent-shells" for p in self.profiles if p.parents and p.shells_nm),
                *(f"{entry.name}{part}" for entry in self.narrowing for part in NARROWING_TABLES),
                *(entry.name for entry in self.evaluate),
            ],
        }
        for what, names in made.items():
            twice = [name for name in names if names.count(name) > 1]
            if twice:
                raise ValueError(f"two {what} are called {twice[0]!r}; rename one of them")
        labels = {entry.name for entry in self.label} | {entry.name for entry in self.link}
        labels |= {entry.name for entry in self.split}
        for wish in self.refine:
            if wish.instances not in labels:
                raise ValueError(
                    f"{wish.name!r} refines instances {wish.instances!r}; "
                    f"before it there are {sorted(labels)}"
                )
            labels.add(wish.name)
        wanted = [(m.name, i) for m in self.measure for i in (m.instances, m.parents) if i is not None]
        wanted += [(d.name, d.instances) for d in self.distance if d.instances is not None]
        wanted += [(p.name, i) for p in self.profiles for i in (p.instances, p.parents) if i is not None]
        wanted += [(c.name, i) for c in self.contacts for i in (c.instances, c.other) if i is not None]
        wanted += [(n.name, i) for n in self.narrowing for i in (n.instances, n.parents) if i is not None]
        for name, instances in wanted:
            if instances not in labels:
                raise ValueError(
                    f"{name!r} refers to instances {instances!r}; the run makes {sorted(labels)}"
                )
        return self
