"""What an entry of a run file says of cells in tissue: motion between slices, cells, their protrusions."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from chunkflow_liver.config.declaring import Entry, Made, Makes, Refers, defaults_of
from chunkflow_liver.config.images import Block, FromZero, Index, Nm, Share
from chunkflow_liver.config.sections import several
from chunkflow_liver.kernels.network.tidying import Tidy
from chunkflow_liver.kernels.tissue.flow import Motion
from chunkflow_liver.kernels.tissue.planes import Cutting
from chunkflow_liver.ops.cells import ROWS, cells
from chunkflow_liver.ops.cells.setup import Between
from chunkflow_liver.ops.cells.volume import Uniting
from chunkflow_liver.ops.flow import flow
from chunkflow_liver.ops.network import network
from chunkflow_liver.ops.network.tables import TABLES as OF_NETWORK
from chunkflow_liver.ops.protrusions import TABLES, protrusions
from chunkflow_liver.ops.steps.place import SLICES

Class = str | int
Pixels = Annotated[int, Field(ge=1)]


@defaults_of(flow, Motion)
class Flow(Entry):
    """How the image moves from slice to slice, as two images of displacements."""

    whole: ClassVar[str] = SLICES

    to: Literal["next", "previous"]
    method: Literal["farneback", "dis"]
    limits: tuple[float, float] | None
    window: Pixels
    block: Block | None

    def makes(self) -> Makes:
        return {Made.MAPS: ("-y", "-x"), Made.TABLES: ("-slices",)}

    def needs_image(self) -> bool:
        return True


@defaults_of(cells, Cutting, Motion, Between, Uniting)
class Cells(Entry):
    """Cells from an interior, its boundary and painted slices; the interior is a map, or a class."""

    whole: ClassVar[str] = SLICES

    makes_instances: ClassVar[bool] = True

    interior: Annotated[str | None, Refers.FILE] = None
    inside: Annotated[Class | None, Refers.CLASS] = None
    painted: Annotated[str | None, Refers.FILE]
    boundary: Annotated[str | None, Refers.FILE]
    mode: Literal["selective", "contours", "recursive", "boundary", "mask", "volume"]
    slices: tuple[Index, ...] | None
    core: Share
    near_nm: FromZero
    min_marker_um2: FromZero
    small_um2: FromZero
    threshold: Share
    method: Literal["farneback", "dis"]
    reduce: Pixels
    limits: tuple[float, float] | None
    window: Pixels
    both: bool
    min_iou: Share
    depth_nm: Nm
    cap_nm: Nm
    merge: Share
    halo_nm: Nm | None
    tile: Block
    block: Block | None

    @model_validator(mode="after")
    def _one_interior(self) -> Cells:
        if (self.interior is None) == (self.inside is None):
            raise ValueError("give either 'interior' (a map) or 'inside' (a class)")
        return self

    def makes(self) -> Makes:
        if self.mode == "volume":
            return {Made.LABELS: ("", "-blocks"), Made.TABLES: ("-seams",)}
        return {Made.LABELS: ("",), Made.TABLES: tuple(f"-{rows}" for rows in ROWS)}

    def needs_image(self) -> bool:
        return self.mode in ("selective", "contours", "recursive")


@defaults_of(protrusions)
class Protrusions(Entry):
    """Cells with thin pieces of the interior that slices show apart from them."""

    whole: ClassVar[str] = SLICES

    makes_instances: ClassVar[bool] = True

    cells: Annotated[str, Refers.INSTANCES]
    interior: Annotated[str | None, Refers.FILE] = None
    inside: Annotated[Class | None, Refers.CLASS] = None
    threshold: Share
    min_area_um2: FromZero
    max_area_um2: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    window_nm: FromZero
    gap: Index
    block: Block | None

    @model_validator(mode="after")
    def _one_interior(self) -> Protrusions:
        if (self.interior is None) == (self.inside is None):
            raise ValueError("give either 'interior' (a map) or 'inside' (a class)")
        return self

    def makes(self) -> Makes:
        return {Made.LABELS: ("",), Made.TABLES: tuple(f"-{what}" for what, _ in TABLES)}


@defaults_of(network, Tidy)
class Network(Entry):
    """The graph of the centre lines of tubes: of classes, or of the instances `instances`."""

    classes: Annotated[tuple[Class, ...] | None, Refers.CLASS, BeforeValidator(several)]
    instances: Annotated[str | None, Refers.INSTANCES] = None
    ids: tuple[Index, ...] | None = None
    widest_nm: Nm
    spur: FromZero
    unite: FromZero
    touch: FromZero
    block: Block | None

    @model_validator(mode="after")
    def _one_source(self) -> Network:
        if (self.classes is None) == (self.instances is None):
            raise ValueError("give either 'classes' or 'instances' (their name, all of them together)")
        if self.ids is not None and self.instances is None:
            raise ValueError("'ids' are of instances: name these in 'instances'")
        return self

    def makes(self) -> Makes:
        return {Made.TABLES: OF_NETWORK}
