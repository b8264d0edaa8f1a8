"""How a section of a run file declares itself: what its fields refer to, their defaults, what it makes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from chunkflow_liver.store.location import NAME

Corners = tuple[tuple[float, float, float], tuple[float, float, float]]
"""First and opposite corner of a box (z, y, x), in nm from the volume's first corner."""
Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
S = TypeVar("S", bound="Section")


OF_TABLES = "it works on tables; give them to the entries that make these"


class Refers(Enum):
    """What the value of a field names, where that is more than a value: `Annotated[str, Refers.FILE]`."""

    FILE = "a path, taken from the folder of the run file"
    FILES = "paths: one, several, or one by name"
    CLASS = "a class, or several, by name or number"
    TABLES = "tables of this run, by their names"
    INSTANCES = "instances of this run, by the name of the entry that makes them"


class Made(Enum):
    """What entries make; two of one kind must not have one name."""

    LABELS = "label images"
    MAPS = "distance images"
    TABLES = "tables"


Makes = dict[Made, tuple[str, ...]]
"""What an entry makes: by kind, the ends of the names, which begin with the entry's own."""


class Section(BaseModel):
    """A part of a run file: frozen, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def fields_that(cls, refer: Refers) -> tuple[str, ...]:
        """Keys whose values refer to something."""
        return tuple(name for name, field in cls.model_fields.items() if refer in field.metadata)

    def referred(self, refer: Refers) -> Iterator[tuple[str, Any]]:
        """Key and value of the fields that refer to something and are given."""
        for name in self.fields_that(refer):
            if (value := getattr(self, name)) is not None:
                yield name, value


class Entry(Section):
    """A section that has a name and makes something of that name."""

    name: Name
    roi_nm: Corners | None = Field(default=None, exclude=True)
    mask: Annotated[str | None, Refers.FILE] = Field(default=None, exclude=True)

    makes_instances: ClassVar[bool] = False
    """Whether others can name what it makes as instances."""
    of_classes: ClassVar[bool] = False
    """Whether it takes the classes even where it names none."""
    whole: ClassVar[str] = ""
    """Why a part of a volume, a box or a mask, is nothing that it could look at."""

    @model_validator(mode="after")
    def _has_parts(self) -> Entry:
        if self.whole and (self.roi_nm is not None or self.mask is not None):
            raise ValueError(f"'roi_nm' and 'mask' have no meaning here: {self.whole}")
        return self

    def makes(self) -> Makes:
        """What it makes."""
        return {Made.TABLES: ("",)}

    def needs_classes(self) -> bool:
        """Whether it takes classes, not instances alone."""
        return self.of_classes or any(True for _ in self.referred(Refers.CLASS))

    def needs_image(self) -> bool:
        """Whether it reads the image."""
        return False


def defaults_of(*sources: Callable[..., Any]) -> Callable[[type[S]], type[S]]:
    """Give the fields of a section that state no default those of an operation and its options.

    Parameters
    ----------
    *sources : callable
        The operation, and the dataclasses of its options: a default stands there, and nowhere else.

    Raises
    ------
    TypeError
        If a field states the default of its operation a second time.
    """
    known: dict[str, Any] = {}
    for source in sources:
        for parameter in inspect.signature(source).parameters.values():
            if parameter.default is not parameter.empty:
                known.setdefault(parameter.name, parameter.default)

    def fill(section: type[S]) -> type[S]:
        for name, field in section.model_fields.items():
            if name not in known:
                continue
            if not field.is_required() and field.default == known[name]:
                raise TypeError(f"{section.__name__}.{name} states the default of its operation again")
            if field.is_required():
                field.default = known[name]
        section.model_rebuild(force=True)
        return section

    return fill
