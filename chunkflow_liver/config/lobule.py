"""What an entry of a run file says of places in a tissue: paths along it, positions between structures."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from chunkflow_liver.config.declaring import Entry, Made, Makes, Refers, defaults_of
from chunkflow_liver.config.images import FromZero, Index, Nm, Share
from chunkflow_liver.config.sections import Class, several
from chunkflow_liver.ops.domains import domains
from chunkflow_liver.ops.duct import duct
from chunkflow_liver.ops.fenestrae import fenestrae
from chunkflow_liver.ops.geodesic import geodesic
from chunkflow_liver.ops.zonation import TRENDS, zonation


@defaults_of(geodesic)
class Geodesic(Entry):
    """A map of the shortest paths to a class: inside other classes, or each in its own instance."""

    to: Annotated[Class, Refers.CLASS]
    inside: Annotated[tuple[Class, ...] | None, Refers.CLASS, BeforeValidator(several)]
    instances: Annotated[str | None, Refers.INSTANCES] = None
    gap_nm: FromZero
    level: Index | None = None

    @model_validator(mode="after")
    def _one_region(self) -> Geodesic:
        if (self.inside is None) == (self.instances is None):
            raise ValueError("give either 'inside' (classes) or 'instances' (their name)")
        return self

    def makes(self) -> Makes:
        return {Made.LABELS: ("-exact",), Made.MAPS: ("",)}


@defaults_of(domains)
class Domains(Entry):
    """A table of what the surface of every cell faces: classes, other cells, nothing."""

    instances: Annotated[str, Refers.INSTANCES]
    to: Annotated[tuple[Class, ...], Refers.CLASS, BeforeValidator(several)]
    gap_nm: FromZero

    def makes(self) -> Makes:
        return {Made.TABLES: ("", "-neighbours")}


@defaults_of(duct)
class Duct(Entry):
    """Tables of a duct in sections along it, and of the cells around its lumen; two maps by their names."""

    instances: Annotated[str, Refers.INSTANCES]
    lumen: Annotated[Class, Refers.CLASS]
    along: str
    away: str
    step_nm: Nm

    def makes(self) -> Makes:
        return {Made.TABLES: ("", "-sections")}


@defaults_of(fenestrae)
class Fenestrae(Entry):
    """Tables of the holes in the wall of a lumen, and of its porosity."""

    lumen: Annotated[Class, Refers.CLASS]
    wall: Annotated[Class, Refers.CLASS]
    limits_nm: tuple[FromZero, FromZero]

    def makes(self) -> Makes:
        return {Made.TABLES: ("", "-summary")}


@defaults_of(zonation)
class Zonation(Entry):
    """Positions of instances between what two maps measure to, and trends of tables along them."""

    instances: Annotated[str, Refers.INSTANCES]
    maps: Annotated[tuple[str, ...], Field(min_length=2, max_length=2)]
    ends: tuple[str, str] | None
    zones: tuple[Share, ...]
    border: bool
    tables: Annotated[tuple[str, ...], Refers.TABLES]
    files: Annotated[tuple[str, ...], Refers.FILES] = ()
    columns: tuple[str, ...] | None
    cell: str | None
    trend: Literal["between", "within"]
    level: Share
    permutations: Annotated[int, Field(ge=1)]
    seed: Index

    def makes(self) -> Makes:
        trends = tuple(end for end, _ in TRENDS) if self.tables or self.files else ()
        return {Made.TABLES: ("", *trends)}
