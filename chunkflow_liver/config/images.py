"""What a run works on: the image, the network that finds classes, classes and instances that exist."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from chunkflow_liver.config.declaring import Entry, Made, Makes, Name, Refers, Section, defaults_of
from chunkflow_liver.segmenters.settings import Settings
from chunkflow_liver.store.images import open_volume

Nm = Annotated[float, Field(gt=0, allow_inf_nan=False)]
FromZero = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]
Index = Annotated[int, Field(ge=0)]
Block = tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]
Chunks = Literal["error", "fill"]


@defaults_of(open_volume)
class Input(Section):
    """The image, and the level of it to work on."""

    path: Annotated[str, Refers.FILE]
    level: Index | None
    voxel_nm: tuple[Nm, Nm, Nm] | None
    channel: Index | None
    timepoint: Index | None
    unit: str | None
    missing_chunks: Chunks


class Member(Section):
    """One of several models that are combined."""

    model: Annotated[str, Refers.FILE]
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    configuration: str | None = None
    folds: tuple[int | str, ...] | None = None


def _members(given: Any) -> Any:
    """Of several models, each may be a path alone."""
    if isinstance(given, list | tuple):
        return tuple({"model": m} if isinstance(m, str) else m for m in given)
    return [given] if isinstance(given, dict) else given


def _path_or_members(given: Any) -> str:
    return "path" if isinstance(given, str) else "members"


Models = Annotated[
    Annotated[str, Tag("path")] | Annotated[tuple[Member, ...], BeforeValidator(_members), Tag("members")],
    Discriminator(_path_or_members),
    Refers.FILE,
]
"""One model by its path, or several."""


@defaults_of(Settings)
class Segment(Entry):
    """A network that finds the classes, or several."""

    name: Name = "semantic"
    segmenter: str = "nnunet"
    model: Models
    configuration: str | None = None
    folds: tuple[int | str, ...] | None = None
    mirroring: bool
    numerics: Literal["exact", "nnunet"]
    step: Share
    device: str
    engine: Literal["auto", "torch", "openvino"]
    batch: Annotated[int, Field(ge=1)]
    precision: Literal["auto", "float32", "bfloat16", "float16"]
    layout: Literal["channels_first", "channels_last"]
    compile: Literal["off", "default", "graphs"]
    combine: Literal["mean", "vote"]
    scores: tuple[str, ...]
    uncertainty: Literal["none", "entropy", "margin"]
    spacing_units: Literal["nm", "um", "mm", "m", "voxel"] | None = None
    accept_spacing: bool = False
    block: Block | None = None

    @model_validator(mode="after")
    def _one_region(self) -> Segment:
        if self.roi_nm is not None and self.mask is not None:
            raise ValueError("give either 'roi_nm' (two corners) or 'mask' (a label image), not both")
        if not self.model:
            raise ValueError("give a model, or several")
        return self

    def makes(self) -> Makes:
        return {Made.LABELS: ("",)}

    def needs_image(self) -> bool:
        return True


@defaults_of(open_volume)
class Semantic(Section):
    """Classes that exist already, instead of a network."""

    path: Annotated[str, Refers.FILE]
    level: Index | None
    classes: dict[str, Annotated[int, Field(ge=1)]] | None = None
    labels: bool = False
    missing_chunks: Chunks


@defaults_of(open_volume)
class Existing(Entry):
    """Instances that exist already, which other entries name like those that the run makes."""

    makes_instances: ClassVar[bool] = True

    path: Annotated[str, Refers.FILE]
    level: Index | None
    labels: bool = False
    missing_chunks: Chunks

    def makes(self) -> Makes:
        return {Made.LABELS: ("",)}
