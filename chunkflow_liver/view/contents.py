"""What there is to look at in a run, read again as it goes on: images with levels, tables with places."""

from __future__ import annotations

import contextlib
import os
import re
import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.engine.plan import Product
from chunkflow_liver.errors import ChunkflowLiverError, InputError
from chunkflow_liver.geometry import Box, Nm, Zyx, zyx
from chunkflow_liver.ops.edit.cutting import level_like
from chunkflow_liver.ops.steps.place import checked_labels, same_voxels
from chunkflow_liver.reports.pictures.planes import corner_nm
from chunkflow_liver.reports.pictures.samples import levels_of
from chunkflow_liver.reports.pictures.slices import raw_levels
from chunkflow_liver.reports.record import SHOWS
from chunkflow_liver.reports.tables import Stored
from chunkflow_liver.reports.work import PENDING, Work, is_finished, is_pending, read_work
from chunkflow_liver.store.images import open_volume
from chunkflow_liver.store.location import absolute
from chunkflow_liver.store.table import Table, made_anew
from chunkflow_liver.store.volume import Volume

RAW = "image"
PIECES = "pieces"
"""Kind of a label image that is shown beside a run, and is not one of its results."""
SHOWN = ("semantic", "instances", "score", "distance", "empty labels")
"""Kinds of images that are layers of their own."""
PLACED = {
    "contact sites": "contact sites",
    "narrowing table": "narrowings",
    "seam table": "seams",
    "suggestions": "suggested boxes",
}
"""Kinds of tables whose rows are places, and what a person calls these."""
WORST = {
    "seam table": ("score", False),
    "narrowing table": ("width_nm", False),
    "contact sites": ("area_a_um2", True),
}
"""By which column the rows that are most worth a look come first, and whether its largest values do."""
CORNERS = tuple(f"bbox_{axis}_{end}" for end in ("min", "max") for axis in "zyx")


@dataclass(frozen=True)
class Image:
    """An image of the run: what it is, and its levels from fine to coarse.

    Attributes
    ----------
    kind : str
        That of the product, 'raw', or 'pieces'.
    pending : bool
        Whether the run still writes it, so that parts may be absent.
    about : mapping
        What the product says of itself.
    """

    name: str
    kind: str
    levels: tuple[Volume, ...]
    pending: bool
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def finest(self) -> Volume:
        return self.levels[0]

    @property
    def is_edited(self) -> bool:
        """Whether its objects are instances that `edit` takes.

        Contact sites, and the nearest object of each voxel, follow `of` other instances: those are edited.
        """
        return self.kind == "instances" and "of" not in self.about

    @property
    def corner_nm(self) -> Nm:
        """Where the first voxel begins along (z, y, x): places in tables are measured from there."""
        z, y, x = (corner_nm(self.finest, axis) for axis in range(3))
        return z, y, x


@dataclass(frozen=True)
class Contents:
    """A run as it is at one moment.

    Attributes
    ----------
    generation : str
        Another one as soon as anything was written.
    images : mapping of Image
        Those that are there at least in part, by name.
    tables : mapping of Stored
        Those that are finished, by name.
    pieces : str
        Name of the image that was given as pieces; empty without one.
    wrong : tuple of str
        What is said of finished images and tables that are not there, or cannot be read.
    files : mapping of str
        Of the file of each finished table its size and time; None of one that is not there.
    """

    work: Work
    generation: str
    images: Mapping[str, Image]
    tables: Mapping[str, Stored]
    pieces: str = ""
    wrong: tuple[str, ...] = ()
    files: Mapping[str, tuple[int, int] | None] = field(default_factory=dict)

    def is_as_it_was(self) -> bool:
        """Whether the run has written nothing since, and nobody has taken or changed a table."""
        return (
            generation(self.work.path) == self.generation.partition("_")[0]
            and _seen(self.files) == self.files
        )

    @property
    def pending(self) -> bool:
        """Whether the run is not finished."""
        return any(not stage.finished for stage in self.work.stages)

    def image(self, name: str) -> Image:
        """An image by its name.

        Raises
        ------
        InputError
            If the run has none of this name.
        """
        if name not in self.images:
            raise InputError(f"the run has no image {name!r}; it has {sorted(self.images)}")
        return self.images[name]

    def table(self, name: str) -> Stored:
        """A table by its name.

        Raises
        ------
        InputError
            If the run has none of this name, or it is not finished.
        """
        if name not in self.tables:
            if said := next((w for w in self.wrong if w.startswith(f"table {name!r}:")), None):
                raise InputError(said)
            raise InputError(f"the run has no table {name!r} (yet); it has {sorted(self.tables)}")
        return self.tables[name]

    def labels_of(self, table: Stored) -> Image | None:
        """The instances that a table is about."""
        about = table.about
        named = about.get("instances") or about.get("a") or about.get("labels")
        found = self.images.get(str(named))
        return found if found is not None and found.kind == "instances" else None

    @property
    def newest(self) -> frozenset[str]:
        """Instances that no other ones were made of, as by edits; not what follows `of` others."""
        made_of = {str(i.about.get("instances")) for i in self.images.values() if i.is_edited}
        return frozenset(n for n, i in self.images.items() if i.is_edited and n not in made_of)

    def measured(self, image: str) -> Stored | None:
        """The table of the objects of a label image that says where they lie."""
        for table in self.tables.values():
            labels = self.labels_of(table)
            mine = table.product.kind == "instance table" and labels is not None and labels.name == image
            if mine and {"label", *CORNERS} <= set(table.names):
                return table
        return None

    def block_of(self, image: str) -> Zyx | None:
        """Voxels per block of the run where it measures a label image, else where it makes it."""
        table = self.measured(image)
        for name in (*(() if table is None else (table.product.name,)), image):
            grids = (s.grid for s in self.work.stages if s.name.partition("/")[0] == name)
            if (grid := next((g for g in grids if g is not None), None)) is not None:
                return grid.block
        return None

    def corner_of(self, table: Stored) -> Nm:
        """Where the volume begins that places in `table` are measured from."""
        image = self.labels_of(table) or next(iter(self.images.values()), None)
        return image.corner_nm if image else (0.0, 0.0, 0.0)

    def box_of(self, image: str, label: int) -> Box:
        """Bounding box of an object, in voxels of the finest level.

        Raises
        ------
        InputError
            If no table says it.
        """
        return self.boxes_of(image, [label])[label]

    def boxes_of(self, image: str, labels: Collection[int]) -> dict[int, Box]:
        """Bounding boxes of objects, in voxels of the finest level.

        Raises
        ------
        InputError
            If no table says where one of them lies.
        """
        table = self.measured(image)
        if table is None:
            raise InputError(
                f"no table says where the objects of {image!r} lie: measure its features 'basic'"
            )
        wanted = np.array(sorted(labels), np.uint64)
        there = table.values("label").astype(np.uint64, copy=False)
        rows = np.flatnonzero(np.isin(there, wanted))
        if missing := set(wanted.tolist()) - set(there[rows].tolist()):
            raise InputError(f"table {table.product.name!r} has no object {min(missing)}")
        corners = np.stack([table.values(c)[rows] for c in CORNERS], axis=1).astype(np.int64).tolist()
        return {
            int(label): Box(zyx(at[:3]), zyx(at[3:])) for label, at in zip(there[rows], corners, strict=True)
        }


def place_columns(names: list[str]) -> tuple[str, str, str] | None:
    """The columns of a table that say where a row is, along (z, y, x) in nm; None if none do."""
    for of in ("", "centroid_", "center_"):
        z, y, x = (f"{of}{axis}_nm" for axis in "zyx")
        if {z, y, x} <= set(names):
            return z, y, x
    return None


def generation(path: Path) -> str:
    """What changes as soon as a run has written something: sizes and times of the files that say so."""
    seen = [(path / name).stat() for name in SHOWS if (path / name).exists()]
    return f"{sum(s.st_size for s in seen):x}-{max((s.st_mtime_ns for s in seen), default=0):x}"


def _seen(paths: Iterable[str]) -> dict[str, tuple[int, int] | None]:
    found: dict[str, tuple[int, int] | None] = dict.fromkeys(paths)
    for path in found:
        with contextlib.suppress(OSError):
            at = os.stat(path)
            found[path] = (at.st_size, at.st_mtime_ns)
    return found


def _sign(files: Mapping[str, tuple[int, int] | None]) -> str:
    """What of the generation tells of files, as it stands in addresses."""
    return f"_{zlib.crc32(repr(sorted(files.items())).encode()):08x}"


def contents(path: Path, pieces: str | None = None) -> Contents:
    """What the work folder at `path` holds now.

    Parameters
    ----------
    path : Path
    pieces : str, optional
        A label image that is shown, too: smaller objects (supervoxels) of which those of the run are made.

    Raises
    ------
    InputError
        If it is no work folder, or its files or the pieces cannot be read.
    """
    now = generation(path)
    work = read_work(path)
    images: dict[str, Image] = {}
    raw = raw_levels(work, [])
    if raw is not None:
        images[RAW] = Image(RAW, "raw", tuple(raw), False)
    tables: dict[str, Stored] = {}
    wrong: list[str] = []
    files = _seen(p.handle.path for p in work.products if isinstance(p.handle, Table) and not is_pending(p))
    for product in work.products:
        if isinstance(product.handle, Table):
            if is_pending(product) or not (product.handle.exists() or is_finished(work, product)):
                continue
            table = Stored(product, product.handle.path)
            try:
                # Which opens it.
                table.schema  # noqa: B018
                tables[product.name] = table
            except InputError as err:
                wrong.append(str(err))
        elif product.kind in SHOWN:
            if (image := _image(product)) is not None:
                images[product.name] = image
            elif is_finished(work, product):
                wrong.append(f"image {product.name!r}: {made_anew(product.handle.url)}")
    chosen = ""
    if pieces is not None:
        url = absolute(pieces)
        chosen = next((n for n, i in images.items() if i.finest.url == url), "")
        if not chosen:
            found = pieces_at(url)
            name = re.sub(r"[^\w.-]", "-", found.name)
            chosen = f"{name}-pieces" if name in images else name
            images[chosen] = replace(found, name=chosen)
    return Contents(work, now + _sign(files), images, tables, chosen, tuple(wrong), files)


def _image(product: Product) -> Image | None:
    """The levels of an image that are stored, in part at least; None if nothing is."""
    volume = product.handle
    assert isinstance(volume, Volume)
    about = {k: v for k, v in product.about if (k, v) != PENDING}
    try:
        levels = tuple(level for level in levels_of(volume) if level.exists())
    except (ChunkflowLiverError, OSError):
        return None
    return Image(product.name, product.kind, levels, is_pending(product), about) if levels else None


def pieces_at(url: str) -> Image:
    """A label image that is no result of the run.

    Raises
    ------
    InputError
        If there is none, or its voxels are no whole numbers.
    """
    levels = levels_of(open_volume(url))
    return Image(levels[0].name, PIECES, tuple(checked_labels(v, "pieces") for v in levels), False)


def finer_images(contents: Contents, name: str) -> list[str]:
    """Images whose ids may be pieces of the objects of another: those with the same voxels at all levels.

    An image that was given as pieces comes first.
    """
    image = contents.image(name)
    found = [
        n
        for n, i in contents.images.items()
        if n != name and (i.is_edited or i.kind == PIECES) and not i.pending and _misfit(image, i) is None
    ]
    return sorted(found, key=lambda n: n != contents.pieces)


def check_pieces(contents: Contents) -> None:
    """Refuse pieces that nothing can be cleft along.

    Raises
    ------
    InputError
        If no instances have their voxels; it says what differs.
    """
    pieces = contents.images.get(contents.pieces)
    labels = [i for n, i in contents.images.items() if i.is_edited and n != contents.pieces]
    if pieces is None or not labels:
        return
    reasons = [_misfit(of, pieces) for of in labels]
    if all(reasons):
        raise InputError(str(reasons[0]))


def _misfit(image: Image, pieces: Image) -> str | None:
    """Why an image is none of pieces of another; None if it is one."""
    try:
        same_voxels(image.finest, pieces.finest, "pieces need the voxels of the instances")
        for level in image.levels:
            level_like(pieces.levels, level)
    except InputError as err:
        return str(err)
    return None
