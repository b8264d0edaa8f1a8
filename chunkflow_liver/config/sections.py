"""The operations of a run file, one model each; a default stands at the operation, not here."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from chunkflow_liver.config.declaring import Entry, Made, Makes, Refers, defaults_of
from chunkflow_liver.config.images import Block, FromZero, Index, Nm, Share
from chunkflow_liver.kernels.centreline.necks import Neck
from chunkflow_liver.kernels.centreline.windows import Near
from chunkflow_liver.kernels.contacts.placements import Chance
from chunkflow_liver.kernels.instances.smoothing import Shapes
from chunkflow_liver.kernels.instances.touching.watershed import Necks
from chunkflow_liver.kernels.significance.boundaries import Boundary
from chunkflow_liver.ops.contacts import CURVES, contacts
from chunkflow_liver.ops.distance import DistanceOptions, distance
from chunkflow_liver.ops.edit import edit
from chunkflow_liver.ops.label import label
from chunkflow_liver.ops.link import link
from chunkflow_liver.ops.measure import check_features, measure
from chunkflow_liver.ops.narrowing import narrowing
from chunkflow_liver.ops.narrowing.tables import PARTS
from chunkflow_liver.ops.placement import PARTS as OF_PLACEMENT
from chunkflow_liver.ops.placement import placement
from chunkflow_liver.ops.profiles import profiles
from chunkflow_liver.ops.propagate import propagate
from chunkflow_liver.ops.propagate.options import Carrying
from chunkflow_liver.ops.refine import refine
from chunkflow_liver.ops.refine.choosing import Keep
from chunkflow_liver.ops.split import split
from chunkflow_liver.ops.steps.place import WINDOWS
from chunkflow_liver.ops.steps.seams.links import Rules
from chunkflow_liver.ops.stitch import stitch

Class = str | int


def one_source(entry: Entry, *sides: str) -> None:
    """Refuse scores of a side that are given in two ways."""
    for side in sides:
        if getattr(entry, side) is not None and getattr(entry, f"{side}_of") is not None:
            raise ValueError(
                f"give either {side!r} (images) or '{side}_of' (a class that 'segment' keeps scores of)"
            )


def several(given: Any) -> Any:
    """Of several numbers, one may stand alone."""
    return given if given is None or isinstance(given, list | tuple) else (given,)


Threshold = Annotated[float, Field(ge=0.5, le=1)]
IdType = Literal["uint32", "uint64"] | None


@defaults_of(label)
class Label(Entry):
    """Instances of one or more classes."""

    makes_instances: ClassVar[bool] = True
    of_classes: ClassVar[bool] = True

    classes: Annotated[tuple[Class, ...] | None, Refers.CLASS]
    connectivity: Literal[6, 18, 26]
    min_volume_um3: FromZero
    dtype: IdType

    def makes(self) -> Makes:
        return {Made.LABELS: ("",)}


@defaults_of(split, Necks, Rules)
class Split(Entry):
    """Instances of classes, cut at their necks."""

    makes_instances: ClassVar[bool] = True

    classes: Annotated[tuple[Class, ...], Refers.CLASS]
    depth_nm: Nm
    cap_nm: Nm
    mode: Literal["volume", "slices"]
    boundary: Annotated[Class | None, Refers.CLASS]
    steepness: FromZero
    contact: FromZero
    connectivity: Literal[6, 26]
    wall: Share
    distance_smooth_nm: FromZero
    mask_smooth_nm: FromZero
    opening_nm: FromZero
    fill_nm: FromZero
    seeds_from: Annotated[int, Field(ge=1)] | None = None
    halo_nm: Nm | None = None
    iou: Share
    iomin: Share
    branches: bool = True
    min_volume_um3: FromZero
    dtype: IdType

    def makes(self) -> Makes:
        return {Made.LABELS: ("", "-blocks"), Made.TABLES: ("-seams",)}


@defaults_of(link)
class Link(Entry):
    """Instances in 3D from an image of instances of single slices."""

    makes_instances: ClassVar[bool] = True

    slices: Annotated[str, Refers.FILE]
    level: Index | None = None
    iou: Share
    share: Share | None
    distance_nm: FromZero
    gap: Index

    def makes(self) -> Makes:
        return {Made.LABELS: ("",)}


@defaults_of(stitch, Rules)
class Stitch(Entry):
    """Instances of blocks: labelled each by itself in an image, or found in the input by a function."""

    makes_instances: ClassVar[bool] = True

    labels: Annotated[str | None, Refers.FILE] = None
    level: Index | None = None
    function: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$")] | None
    allow_code: bool = False
    params: dict[str, Any] | None
    halo_nm: Nm | None
    block: Block | None
    iou: Share
    iomin: Share
    branches: bool
    min_volume_um3: FromZero
    dtype: IdType

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

    def makes(self) -> Makes:
        return {Made.LABELS: ("",) if self.labels else ("", "-blocks"), Made.TABLES: ("-seams",)}

    def needs_image(self) -> bool:
        return self.function is not None


@defaults_of(propagate, Carrying)
class Propagate(Entry):
    """Instances that begin at prompts and are carried through the slices by SAM2."""

    whole: ClassVar[str] = WINDOWS
    makes_instances: ClassVar[bool] = True

    model: Annotated[str, Refers.FILE]
    prompts: Annotated[str, Refers.FILE]
    prompts_level: Index | None
    masks: Annotated[str | None, Refers.FILE]
    truth: Annotated[str | None, Refers.FILE]
    direction: Literal["both", "forward", "backward"] | None
    per_slice: bool
    patience: Annotated[int, Field(ge=1)]
    group: Annotated[int, Field(ge=1)]
    chunk: Annotated[int, Field(ge=1)]
    limits: tuple[float, float] | None
    guide: Annotated[Class | None, Refers.CLASS]
    device: str
    engine: Literal["torch", "openvino"]
    block: Block | None

    def makes(self) -> Makes:
        return {
            Made.LABELS: ("",),
            Made.TABLES: ("-slices", "-objects", "-reach", *(("-truth",) if self.truth else ())),
        }

    def needs_image(self) -> bool:
        return self.guide is None


@defaults_of(refine, Shapes, Keep)
class Refine(Entry):
    """Cleaner instances: shapes, holes, then whole objects."""

    makes_instances: ClassVar[bool] = True

    instances: Annotated[str, Refers.INSTANCES]
    smooth_nm: FromZero
    open_nm: FromZero
    close_nm: FromZero
    fill_holes: bool
    min_volume_um3: FromZero
    max_volume_um3: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    min_span_z_nm: FromZero
    border: bool

    def makes(self) -> Makes:
        return {Made.LABELS: ("",), Made.TABLES: ("-ids",)}


@defaults_of(edit)
class Edit(Entry):
    """Instances with the edits of a list applied; later entries do again only what these touch."""

    makes_instances: ClassVar[bool] = True

    instances: Annotated[str, Refers.INSTANCES]
    edits: Annotated[str, Refers.FILE]
    pieces: Annotated[str | None, Refers.INSTANCES]
    table: Annotated[str | None, Refers.FILE]

    def makes(self) -> Makes:
        return {Made.LABELS: ("",), Made.TABLES: ("-edits",)}


@defaults_of(distance, DistanceOptions)
class Distance(Entry):
    """A distance map to a class, or to instances; without a cap by passes over the whole volume."""

    to: Annotated[Class | None, Refers.CLASS]
    instances: Annotated[str | None, Refers.INSTANCES] = None
    cap_nm: Nm | None
    signed: bool
    nearest: bool
    border: Literal["unknown", "background", "mirror"]
    quantum_nm: Nm | None
    device: str

    @model_validator(mode="after")
    def _one_target(self) -> Distance:
        if (self.to is None) == (self.instances is None):
            raise ValueError("give either 'to' (a class) or 'instances' (their name)")
        return self

    def makes(self) -> Makes:
        nearest = ("-nearest",) if self.nearest else ()
        return {Made.LABELS: ("-exact", *nearest), Made.MAPS: ("",)}


@defaults_of(contacts, Boundary)
class Contacts(Entry):
    """Tables of contacts: instances, or the class `of`, with the class `to`, or the instances `other`."""

    instances: Annotated[str | None, Refers.INSTANCES] = None
    of: Annotated[Class | None, Refers.CLASS]
    to: Annotated[Class | None, Refers.CLASS]
    other: Annotated[str | None, Refers.INSTANCES] = None
    gap_nm: FromZero
    sites: bool
    nearest: bool
    curve_nm: FromZero | None
    bands_nm: tuple[tuple[float, float], ...]
    centres: bool
    boundary_nm: FromZero | None
    partner_nm: FromZero | None
    correlation_nm: FromZero | None
    bias_nm: float | None
    most_nm: Nm | None
    scores: Annotated[tuple[str, ...] | None, BeforeValidator(several), Refers.FILES]
    scores_of: str | None = None
    partner_scores: Annotated[tuple[str, ...] | None, BeforeValidator(several), Refers.FILES]
    partner_scores_of: str | None = None

    @model_validator(mode="after")
    def _one_pair(self) -> Contacts:
        one_source(self, "scores", "partner_scores")
        if (self.of is None) == (self.instances is None):
            raise ValueError("give either 'instances' (their name) or 'of' (a class)")
        if (self.to is None) == (self.other is None):
            raise ValueError("give either 'to' (a class) or 'other' (the name of instances)")
        return self

    def makes(self) -> Makes:
        sites = ("",) if self.sites else ()
        curves = tuple(f"-{what}" for what, _ in CURVES) if self.curve_nm is not None else ()
        return {Made.LABELS: sites, Made.TABLES: ("", "-objects", "-sites", *curves)}


@defaults_of(profiles)
class Profiles(Entry):
    """Distances from the surface of instances to a class, and shells around them."""

    instances: Annotated[str, Refers.INSTANCES]
    to: Annotated[Class, Refers.CLASS]
    cap_nm: Nm
    shells_nm: tuple[Nm, ...]
    parents: Annotated[str | None, Refers.INSTANCES]
    nearest: bool
    bands_nm: tuple[tuple[float, float], ...] | None

    def makes(self) -> Makes:
        kinds = [("", True), ("-shells", self.shells_nm), ("-parents", self.parents)]
        kinds += [("-parent-shells", self.parents and self.shells_nm)]
        return {Made.TABLES: tuple(end for end, wanted in kinds if wanted)}


@defaults_of(measure)
class Measure(Entry):
    """A table of instances, which may lie in `parents`; `settings` is a file for an engine only."""

    instances: Annotated[str, Refers.INSTANCES]
    parents: Annotated[str | None, Refers.INSTANCES]
    features: tuple[str, ...]
    settings: Annotated[dict[str, Any] | str | None, Refers.FILE]
    engine: Literal["pyradiomics"] | None
    scores: Annotated[tuple[str, ...] | None, BeforeValidator(several), Refers.FILES]
    scores_of: str | None = None

    @model_validator(mode="after")
    def _known_features(self) -> Measure:
        one_source(self, "scores")
        check_features(self.features, self.engine)
        return self


@defaults_of(narrowing, Near, Neck, Boundary)
class Narrowing(Entry):
    """Tables of narrowings; with `to` and `others`, of the contact at them with classes and other objects."""

    instances: Annotated[str, Refers.INSTANCES]
    to: Annotated[tuple[Class, ...] | None, Refers.CLASS, BeforeValidator(several)] = None
    others: bool
    parents: Annotated[str | None, Refers.INSTANCES]
    axis: Literal["centreline", "major"]
    min_prominence_nm: Nm | None
    max_ratio: Share
    slices: Annotated[int, Field(ge=3)]
    end_fraction: Annotated[float, Field(ge=0, lt=0.5)]
    crop_voxels: Annotated[int, Field(ge=1)]
    gap_nm: FromZero
    window_nm: Nm | None
    window_fraction: Annotated[float, Field(gt=0, le=0.5)] | None
    all_kinds: bool
    permutations: Annotated[int, Field(ge=1)]
    draws: Annotated[int, Field(ge=1)]
    seed: Index
    boundary_nm: FromZero | None
    correlation_nm: FromZero | None
    bias_nm: float | None
    most_nm: Nm | None
    scores: Annotated[tuple[str, ...] | None, BeforeValidator(several), Refers.FILES]
    scores_of: str | None = None

    @model_validator(mode="after")
    def _one_window(self) -> Narrowing:
        one_source(self, "scores")
        if self.window_nm is not None and self.window_fraction is not None:
            raise ValueError("give either 'window_nm' or 'window_fraction'")
        return self

    def makes(self) -> Makes:
        return {Made.TABLES: tuple(end for end, _, _ in PARTS)}


@defaults_of(placement, Chance)
class Placement(Entry):
    """Tests of whether instances lie nearer to classes `to`, or to the instances `other`, than chance."""

    instances: Annotated[str, Refers.INSTANCES]
    to: Annotated[tuple[Class, ...] | None, Refers.CLASS, BeforeValidator(several)]
    other: Annotated[str | None, Refers.INSTANCES] = None
    avoid: Annotated[tuple[Class, ...], Refers.CLASS]
    parents: Annotated[str | None, Refers.INSTANCES]
    keep: str | None
    gap_nm: FromZero
    cap_nm: Nm
    placements: Annotated[int, Field(ge=1)]
    region_nm: Nm
    apart: bool
    free: bool
    keep_nm: Nm
    tries: Annotated[int, Field(ge=1)]
    border: bool
    crop_voxels: Annotated[int, Field(ge=1)]
    draws: Annotated[int, Field(ge=1)]
    seed: Index

    @model_validator(mode="after")
    def _one_partner(self) -> Placement:
        if (self.to is None) == (self.other is None):
            raise ValueError("give either 'to' (classes) or 'other' (the name of instances)")
        if self.other is not None and self.avoid:
            raise ValueError("'avoid' names classes, and goes with 'to', not with 'other'")
        return self

    def makes(self) -> Makes:
        return {Made.TABLES: tuple(end for end, _, _ in OF_PLACEMENT)}
