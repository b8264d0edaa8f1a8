"""The parts of a run file, one model each; extra keys are refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from chunkflow_liver.store.location import NAME

Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
Nm = Annotated[float, Field(gt=0, allow_inf_nan=False)]
FromZero = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]
Index = Annotated[int, Field(ge=0)]
Block = tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]


class Section(BaseModel):
    """A part of a run file: frozen, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Input(Section):
    """The image, and the level of it to work on."""

    path: str
    level: Index | None = None
    voxel_nm: tuple[Nm, Nm, Nm] | None = None
    channel: Index | None = None
    timepoint: Index | None = None
    unit: str | None = None
    missing_chunks: Literal["error", "fill"] = "error"


class Member(Section):
    """One of several models that are combined."""

    model: str
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
]
"""One model by its path, or several."""


class Segment(Section):
    """A network that finds the classes, or several."""

    name: Name = "semantic"
    segmenter: str = "nnunet"
    model: Models
    configuration: str | None = None
    folds: tuple[int | str, ...] | None = None
    mirroring: bool = True
    numerics: Literal["exact", "nnunet"] = "exact"
    step: Share = 0.5
    device: str = "cpu"
    batch: Annotated[int, Field(ge=1)] = 1
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    layout: Literal["channels_first", "channels_last"] = "channels_first"
    compile: Literal["off", "default", "graphs"] = "off"
    combine: Literal["mean", "vote"] = "mean"
    scores: tuple[str, ...] = ()
    uncertainty: Literal["none", "entropy", "margin"] = "none"
    spacing_units: Literal["nm", "um", "mm", "m", "voxel"] | None = None
    accept_spacing: bool = False
    roi_nm: tuple[tuple[float, float, float], tuple[float, float, float]] | None = None
    mask: str | None = None
    block: Block | None = None

    @model_validator(mode="after")
    def _one_region(self) -> Segment:
        if self.roi_nm is not None and self.mask is not None:
            raise ValueError("give either 'roi_nm' (two corners) or 'mask' (a label image), not both")
        if not self.model:
            raise ValueError("give a model, or several")
        return self


class Semantic(Section):
    """Classes that exist already, instead of a network."""

    path: str
    level: Index | None = None
    classes: dict[str, Annotated[int, Field(ge=1)]] | None = None
    missing_chunks: Literal["error", "fill"] = "error"


class Existing(Section):
    """Instances that exist already, which other entries name like those that the run makes."""

    name: Name
    path: str
    level: Index | None = None
    missing_chunks: Literal["error", "fill"] = "error"


class Label(Section):
    """Instances of one or more classes."""

    name: Name
    classes: tuple[str | int, ...] | None = None
    connectivity: Literal[6, 18, 26] = 26
    min_volume_um3: FromZero = 0.0
    dtype: Literal["uint32", "uint64"] | None = None


class Split(Section):
    """Instances of classes, cut at their necks."""

    name: Name
    classes: tuple[str | int, ...]
    depth_nm: Nm
    cap_nm: Nm
    mode: Literal["volume", "slices"] = "volume"
    boundary: str | int | None = None
    distance_smooth_nm: FromZero = 0.0
    mask_smooth_nm: FromZero = 0.0
    opening_nm: FromZero = 0.0
    fill_nm: FromZero = 0.0
    seeds_from: Annotated[int, Field(ge=1)] | None = None
    halo_nm: Nm | None = None
    iou: Share = 0.1
    iomin: Share = 0.3
    branches: bool = True
    min_volume_um3: FromZero = 0.0
    dtype: Literal["uint32", "uint64"] | None = None


class Link(Section):
    """Instances in 3D from an image of instances of single slices."""

    name: Name
    slices: str
    level: Index | None = None
    iou: Share = 0.1
    share: Share | None = 0.9
    distance_nm: FromZero = 0.0
    gap: Index = 1


class Stitch(Section):
    """Instances of blocks: labelled each by itself in an image, or found in the input by a function."""

    name: Name
    labels: str | None = None
    level: Index | None = None
    function: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$")] | None = None
    allow_code: bool = False
    params: dict[str, Any] | None = None
    halo_nm: Nm | None = None
    block: Block | None = None
    iou: Share = 0.1
    iomin: Share = 0.3
    branches: bool = False
    min_volume_um3: FromZero = 0.0
    dtype: Literal["uint32", "uint64"] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Stitch:
        if (self.labels is None) == (self.function is None):
            raise ValueError("give either 'labels' (an image) or 'function' (module:function)")
        if self.labels is not None and self.block is None:
            raise ValueError("give 'block', the size of the blocks that were labelled each by itself")
        if self.function is not None and not self.allow_code:
            raise ValueError(
                f"the Python code {self.function!r} would be run; if you have read it and trust it, say "
                "'allow_code: true'"
            )
        return self


class Refine(Section):
    """Cleaner instances: shapes, holes, then whole objects."""

    name: Name
    instances: str
    smooth_nm: FromZero = 0.0
    open_nm: FromZero = 0.0
    close_nm: FromZero = 0.0
    fill_holes: bool = False
    min_volume_um3: FromZero = 0.0
    max_volume_um3: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    min_span_z_nm: FromZero = 0.0
    border: bool = True


class Measure(Section):
    """A table of instances, which may lie in `parents`; `settings` is a file for an engine only."""

    name: Name
    instances: str
    parents: str | None = None
    features: tuple[str, ...] = ("basic",)
    settings: dict[str, Any] | str | None = None
    engine: Literal["pyradiomics"] | None = None


class Distance(Section):
    """A distance map to a class, or to instances; without a cap by passes over the whole volume."""

    name: Name
    to: str | int | None = None
    instances: str | None = None
    cap_nm: Nm | None
    signed: bool = False
    nearest: bool = False
    border: Literal["unknown", "background", "mirror"] = "unknown"
    quantum_nm: Nm | None = None
    device: str = "cpu"

    @model_validator(mode="after")
    def _one_target(self) -> Distance:
        if (self.to is None) == (self.instances is None):
            raise ValueError("give either 'to' (a class) or 'instances' (their name)")
        return self


class Contacts(Section):
    """Tables of contacts: instances, or the class `of`, with the class `to`, or the instances `other`."""

    name: Name
    instances: str | None = None
    of: str | int | None = None
    to: str | int | None = None
    other: str | None = None
    gap_nm: FromZero
    sites: bool = False

    @model_validator(mode="after")
    def _one_pair(self) -> Contacts:
        if (self.of is None) == (self.instances is None):
            raise ValueError("give either 'instances' (their name) or 'of' (a class)")
        if (self.to is None) == (self.other is None):
            raise ValueError("give either 'to' (a class) or 'other' (the name of instances)")
        return self


class Profiles(Section):
    """Distances from the surface of instances to a class, and shells around them."""

    name: Name
    instances: str
    to: str | int
    cap_nm: Nm
    shells_nm: tuple[Nm, ...] = ()
    parents: str | None = None


class Narrowing(Section):
    """Tables of narrowings; with `to`, of the contact with that class at them."""

    name: Name
    instances: str
    to: str | int | None = None
    parents: str | None = None
    axis: Literal["centreline", "major"] = "centreline"
    min_prominence_nm: Nm | None = None
    max_ratio: Share = 0.8
    slices: Annotated[int, Field(ge=3)] = 20
    end_fraction: Annotated[float, Field(ge=0, lt=0.5)] = 0.1
    crop_voxels: Annotated[int, Field(ge=1)] = 1 << 25
    gap_nm: FromZero = 30.0
    window_nm: Nm | None = None
    window_fraction: Annotated[float, Field(gt=0, le=0.5)] | None = None
    permutations: Annotated[int, Field(ge=1)] = 9999
    draws: Annotated[int, Field(ge=1)] = 2000
    seed: Index = 0

    @model_validator(mode="after")
    def _one_window(self) -> Narrowing:
        if self.window_nm is not None and self.window_fraction is not None:
            raise ValueError("give either 'window_nm' or 'window_fraction'")
        return self


class Evaluate(Section):
    """A comparison with a ground truth; with `iou`, of instances."""

    name: Name
    found: str
    truth: str
    iou: Annotated[float, Field(ge=0.5, le=1)] | None = None
