"""What run files ask of results: populations, comparisons, evaluation, and where to paint; one model each."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from chunkflow_liver.config.declaring import OF_TABLES, Entry, Made, Makes, Refers, Section, defaults_of
from chunkflow_liver.config.images import FromZero, Index, Nm, Share
from chunkflow_liver.config.sections import Threshold, several
from chunkflow_liver.kernels.populations.forms import Forms
from chunkflow_liver.ops.calibrate import PARTS as OF_CALIBRATION
from chunkflow_liver.ops.calibrate import calibrate
from chunkflow_liver.ops.compare import compare
from chunkflow_liver.ops.evaluate import Compared, evaluate
from chunkflow_liver.ops.population import ENRICHED, OF_CELLS, population
from chunkflow_liver.ops.population import PARTS as OF_POPULATION
from chunkflow_liver.ops.population.options import Search, Select
from chunkflow_liver.ops.suggest import suggest

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Form = Literal["constricted-like", "intermediate", "elongated-like"]


@defaults_of(population, Forms, Search, Select)
class Population(Entry):
    """Forms of the objects of tables: components, index, classes, and how cells differ."""

    whole: ClassVar[str] = OF_TABLES

    tables: Annotated[tuple[str, ...], Refers.TABLES] = ()
    files: Annotated[tuple[str, ...], Refers.FILES] = ()
    columns: tuple[str, ...] | None
    classes: tuple[str, ...] | None
    border: bool
    cell: str | None
    negated: tuple[str, ...]
    outlier_z: Positive
    low: Share
    high: Share
    ks_distance: Share
    draws: Index
    mixture: Index
    hdbscan: Index
    umap: bool
    seed: Index
    pc1: tuple[float, float] | None
    pc2: tuple[float, float] | None
    forms: tuple[Form, ...] | None
    windows: Annotated[str | None, Refers.TABLES]
    by: tuple[str, ...]
    model: Annotated[str | None, Refers.FILE]

    @model_validator(mode="after")
    def _some_table(self) -> Population:
        if not self.tables + self.files:
            raise ValueError("give 'tables' (of this run, by name) or 'files' (of others)")
        return self

    def makes(self) -> Makes:
        wanted = (*OF_POPULATION, *(OF_CELLS if self.cell else ()), *(ENRICHED if self.windows else ()))
        return {Made.TABLES: tuple(end for end, _ in wanted)}


class OfAnimal(Section):
    """A table of one animal."""

    table: Annotated[str, Refers.FILE]
    animal: str
    condition: str


@defaults_of(compare)
class Compare(Entry):
    """Whether conditions differ, with animals as the units."""

    whole: ClassVar[str] = OF_TABLES

    samples: Annotated[tuple[OfAnimal, ...], Field(min_length=2)]
    columns: tuple[str, ...] | None
    cell: str | None
    level: Share
    permutations: Annotated[int, Field(ge=1)]
    seed: Index

    def makes(self) -> Makes:
        return {Made.TABLES: ("", "-animals")}


@defaults_of(evaluate, Compared)
class Evaluate(Entry):
    """A comparison with a ground truth; with `iou`, of instances."""

    found: str
    truth: Annotated[str, Refers.FILE]
    iou: Annotated[tuple[Threshold, ...] | None, BeforeValidator(several)]
    ignore: Index | None
    surfaces_nm: tuple[Nm, Nm] | None
    per_slice: bool
    slices: tuple[Index, ...] | None
    classes: dict[str, Annotated[int, Field(ge=1)]] | None

    def makes(self) -> Makes:
        kinds = [("", True), ("-objects", self.iou), ("-surfaces", self.surfaces_nm)]
        kinds += [("-slices", self.per_slice), ("-worst", self.per_slice)]
        return {Made.TABLES: tuple(end for end, wanted in kinds if wanted)}


@defaults_of(calibrate)
class Calibrate(Entry):
    """What held-out truth says of the scores of a class; `scores` and `truth` are images."""

    scores: Annotated[str, Refers.FILE]
    truth: Annotated[str, Refers.FILE]
    to: str | int | None
    cap_nm: Nm

    def makes(self) -> Makes:
        return {Made.TABLES: OF_CALIBRATION}


@defaults_of(suggest)
class Suggest(Entry):
    """Boxes in which painting helps most, by what the entries before have found; `training` is a file."""

    boxes: Annotated[int, Field(ge=1)]
    training: Annotated[str | None, Refers.FILE] = None
    labels: Annotated[tuple[str, ...], Refers.FILES] = ()
    box_nm: tuple[Nm, Nm, Nm] | None
    apart_nm: FromZero | None
    weights: dict[Literal["uncertainty", "disagreement", "seams", "distance"], FromZero] | None

    def makes(self) -> Makes:
        return {Made.LABELS: ("",), Made.TABLES: ("",)}

    def needs_image(self) -> bool:
        return True
