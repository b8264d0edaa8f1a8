"""A `Plan`: stages in order, which can be printed, added, checked and refused before anything is written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, cast

from chunkflow_liver.engine.passes import passes
from chunkflow_liver.engine.signatures import check_function
from chunkflow_liver.engine.stage import (
    Fold,
    Map,
    Stage,
    called,
    describe,
    fingerprint,
    handle_key,
    makes,
    plain,
    volume_of,
)
from chunkflow_liver.engine.unchanged.pairing import paired
from chunkflow_liver.errors import ConfigError, DiskBudgetError, MemoryBudgetError
from chunkflow_liver.geometry import zyx
from chunkflow_liver.store.exports.markup import html_table
from chunkflow_liver.store.location import is_local, refuse_work_inside
from chunkflow_liver.store.table import Table
from chunkflow_liver.store.volume import Volume

GIB = 2**30
SMALLEST_SIDE = 16
"""Blocks in multiples of this can always be cut into chunks."""


Kind = Literal[
    "raw",
    "semantic",
    "instances",
    "score",
    "distance",
    "exact",
    "instance table",
    "contact table",
    "contact objects",
    "contact sites",
    "contact curve",
    "profile",
    "shells",
    "evaluation",
    "calibration",
    "surface evaluation",
    "slice evaluation",
    "object evaluation",
    "worst windows",
    "narrowing table",
    "narrowing objects",
    "narrowing lines",
    "narrowing spacing",
    "narrowing windows",
    "narrowing cells",
    "narrowing tests",
    "network branches",
    "network nodes",
    "network angles",
    "networks",
    "network points",
    "network summary",
    "placement tests",
    "placement objects",
    "placement curve",
    "id table",
    "edit log",
    "seam table",
    "population",
    "population features",
    "population components",
    "population forms",
    "population summary",
    "population model",
    "population cells",
    "population tests",
    "population enrichment",
    "comparison",
    "comparison animals",
    "fenestrae",
    "fenestrae summary",
    "duct cells",
    "duct sections",
    "domains",
    "domain neighbours",
    "zonation",
    "zonation trends",
    "zonation zones",
    "zonation objects",
    "training",
    "propagation",
    "flow",
    "flow slices",
    "cells table",
    "suggestions",
    "empty labels",
]
"""What a product is, for reports and viewers."""


@dataclass(frozen=True)
class Product:
    """A result that a person looks at: what it is, its name, and where it lies."""

    kind: Kind
    name: str
    handle: Volume | Table
    about: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Plan:
    """Stages that run in order in one work folder.

    Attributes
    ----------
    stages : tuple of Map and Fold
    work : Path
        Folder of journal, records, tables and (by default) volumes.
    output : Volume, Table or Arrays
        What the last operation makes.
    products : tuple of Product
        Everything that is to be looked at, for the report.
    """

    stages: tuple[Stage, ...]
    work: Path
    output: Any
    products: tuple[Product, ...] = ()

    def __post_init__(self) -> None:
        names = [s.name for s in self.stages]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ConfigError(f"two operations of a plan have the same name: {twice}; rename one of them")
        for stage in self.stages:
            check_function(stage)
        self._check_places()
        refuse_work_inside(self.work, (volume.url for volume in self.sources))

    def _check_places(self) -> None:
        """Refuse to make one thing twice, or to write over an image that is read."""
        written: dict[str, str] = {}
        images: set[str] = set()
        read: set[str] = set()
        for stage in self.stages:
            if isinstance(stage, Map):
                read |= {v.url for i in stage.inputs if (v := volume_of(i)) and v.url not in images}
                for output in stage.outputs:
                    # Making level 0 makes the image anew; a coarser level is added to the one that is there.
                    lost = {u for u in read | images if f"{u}/".startswith(f"{output.url}/")}
                    if output.level == 0 and lost:
                        raise ConfigError(
                            f"stage {stage.name!r} would write over {min(lost)}, which the plan reads or "
                            "makes; rename it"
                        )
                    images.add(output.url)
            for key in makes(stage):
                if key in written:
                    raise ConfigError(
                        f"{_whose(stage.name)} and {_whose(written[key])} would both write {key}; rename one "
                        "of them"
                    )
                written[key] = stage.name

    def __add__(self, other: Plan) -> Plan:
        """Both plans, one after the other; stages that are the same run once."""
        if Path(self.work) != Path(other.work):
            raise ConfigError(f"plans of two work folders cannot be added: {self.work} and {other.work}")
        stages = self.stages + tuple(s for s in other.stages if s not in self.stages)
        products = self.products + tuple(p for p in other.products if p not in self.products)
        return Plan(stages, self.work, other.output, products)

    @property
    def maps(self) -> tuple[Map, ...]:
        return tuple(s for s in self.stages if isinstance(s, Map))

    @property
    def sources(self) -> tuple[Volume, ...]:
        """Volumes that are read and not made."""
        return _read(self.maps)

    @property
    def task_bytes(self) -> int:
        """Bytes that the largest task needs."""
        return max((s.task_bytes for s in self.maps), default=0)

    @property
    def expected_disk_bytes(self) -> float:
        """Bytes expected on the disk of the work folder after compression."""
        return sum(o.expected_disk_bytes for s in self.maps for o in s.outputs if is_local(o.url))

    def descriptions(
        self, before: Mapping[str, str] | None = None
    ) -> Iterator[tuple[Stage, dict[str, Any], str]]:
        """Each stage with everything its answer depends on, and the fingerprint of that.

        `before` gives the fingerprints of what earlier plans made in the work folder, so that a plan
        of the last operation alone is the same as at the end of a longer one.
        """
        made = dict(before or {})
        package = _release()
        for stage in self.stages:
            description = describe(stage, made, package)
            digest = fingerprint(description)
            made[stage.name] = digest
            made.update({key: digest for key in makes(stage)})
            yield stage, description, digest

    def provenance(self, fold: Fold) -> dict[str, Any]:
        """What a table states about its making: settings, the images it is of, the package's version.

        Images go by the end of their path, so that a run in another folder writes the same bytes.
        """
        name = called(fold.over)
        inputs = [
            {
                "image": _end(volume),
                "path": volume.path,
                "shape": volume.shape,
                "voxel_nm": volume.voxel_nm,
                "origin_nm": volume.origin_nm,
            }
            for volume in _read([s for s in self.maps if called(s.name) == name])
        ]
        about = {"inputs": inputs, "version": version("chunkflow-liver")}
        return cast(dict[str, Any], plain({**fold.provenance, **about}))

    def check(self, memory_bytes: float | None = None) -> None:
        """Refuse what cannot run: too little memory per worker, too little disk, no place to write.

        Raises
        ------
        MemoryBudgetError, DiskBudgetError
        """
        for stage in self.maps:
            if memory_bytes is not None and stage.task_bytes > memory_bytes:
                raise MemoryBudgetError(_memory_text(stage, self.maps, memory_bytes))
        place = nearest_folder(self.work)
        if not (place.is_dir() and os.access(place, os.W_OK)):
            raise DiskBudgetError(f"cannot write to {place}, where the work folder {self.work} would be")
        free, need = shutil.disk_usage(place).free, self.expected_disk_bytes
        if need > free:
            raise DiskBudgetError(
                f"the outputs need about {need / GIB:.2f} GiB in {self.work}, but {place} has "
                f"{free / GIB:.2f} GiB free; choose another work folder or fewer outputs"
            )

    def rows(self) -> list[dict[str, Any]]:
        """One plain row per stage: blocks, halo, bytes, memory and device."""
        found: list[dict[str, Any]] = []
        for s in self.stages:
            if isinstance(s, Fold):
                found.append({"stage": s.name, "blocks": 1, "output": Path(s.output.path).name})
                continue
            halo = [max(a, b) for a, b in zip(s.grid.low, s.grid.high, strict=True)]
            found.append(
                {
                    "stage": s.name,
                    "blocks": len(s.grid),
                    "block": list(s.grid.block),
                    "halo": halo,
                    "voxels": s.grid.box.size,
                    "read_bytes": s.read_bytes,
                    "written_bytes": s.written_bytes,
                    "task_bytes": s.task_bytes,
                    "device": s.device if not s.device_bytes else f"{s.device} ({size(s.device_bytes)})",
                    "notes": list(s.notes),
                }
            )
        return found

    def _repr_html_(self) -> str:
        shown = ("blocks", "block", "halo", "read_bytes", "written_bytes", "task_bytes", "device")

        def text(row: Mapping[str, Any], key: str) -> str:
            value = row.get(key, "")
            if key.endswith("_bytes") and key in row:
                return size(value)
            return _by(value) if isinstance(value, list) else str(value)

        rows = [(row["stage"], *(text(row, key) for key in shown)) for row in self.rows()]
        head = ("stage", "blocks", "block", "halo", "reads", "writes", "memory/task", "device")
        return html_table(rows, head=head, caption=str(self).rsplit("\n", 1)[-1])

    def __str__(self) -> str:
        lines = [("stage", "blocks", "block", "halo", "reads", "writes", "memory/task", "device")]
        for row in self.rows():
            cells = (row["stage"], str(row["blocks"]))
            if "block" not in row:
                lines.append((*cells, "-", "-", "records", row["output"], "-", "cpu"))
                continue
            sizes = (size(row[k]) for k in ("read_bytes", "written_bytes", "task_bytes"))
            lines.append((*cells, _by(row["block"]), _by(row["halo"]), *sizes, row["device"]))
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        text = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines]
        text.insert(1, "  ".join("-" * w for w in widths))
        blocks = sum(len(s.grid) for s in self.maps)
        text += [f"{s.name}: {note}" for s in self.maps for note in s.notes]
        text += [
            f"reads {_end(v)}/{v.path}: {_by(v.shape)} voxels of {_by(v.voxel_nm)} nm" for v in self.sources
        ]
        text += paired(self.stages).notes()
        together = [p for p in passes(self.stages) if not isinstance(p, Fold) and len(p) > 1]
        text += [f"in one pass, each volume read once: {', '.join(s.name for s in p)}" for p in together]
        text.append(
            f"{len(self.stages)} stages, {blocks} blocks, at most {size(self.task_bytes)} per task, "
            f"about {size(self.expected_disk_bytes)} on disk, work folder {self.work}"
        )
        return "\n".join(text)


def _whose(stage: str) -> str:
    return f"operation {called(stage)!r} (stage {stage!r})"


@cache
def _release() -> str:
    """The package's version; to find it takes milliseconds."""
    return version("chunkflow-liver")


def _read(maps: Sequence[Map]) -> tuple[Volume, ...]:
    """Volumes that `maps` read and do not make."""
    made = {key for stage in maps for key in makes(stage)}
    sources = [v for s in maps for i in s.inputs if (v := volume_of(i))]
    return tuple({handle_key(v): v for v in sources if handle_key(v) not in made}.values())


def _end(volume: Volume) -> str:
    """What tells an image from others wherever its folder lies."""
    return "/".join(volume.url.rsplit("/", 3)[-3 if "/labels/" in volume.url else -1 :])


def nearest_folder(path: Path) -> Path:
    """The innermost folder of `path` that exists."""
    place = Path(path).absolute()
    while not place.exists():
        place = place.parent
    return place


def _memory_text(stage: Map, maps: Sequence[Map], have: float) -> str:
    """Why `stage` is refused, and a block with which it and all other maps would be accepted."""

    def fits(block: list[int]) -> bool:
        # No grid of an operation, pyramid levels included, is larger than its block.
        sides = [(s, [min(a, b) for a, b in zip(block, s.grid.block, strict=True)]) for s in maps]
        return all(s.streams or s.bytes_with(zyx(b)) <= have for s, b in sides)

    block = list(stage.grid.block)
    while not fits(block) and max(block) > SMALLEST_SIDE:
        largest = max(range(3), key=lambda axis: block[axis])
        block[largest] = max(SMALLEST_SIDE, block[largest] // 2 // SMALLEST_SIDE * SMALLEST_SIDE)
    if stage.streams:
        advice = "try a smaller block, or"
    elif fits(block):
        advice = f"try a block of about {tuple(block)}, or"
    else:
        advice = "no smaller block fits: take"
    return (
        f"stage {stage.name!r} needs {stage.task_bytes / GIB:.2f} GiB per task for blocks of "
        f"{stage.grid.block} with halo {stage.grid.low}, but a worker has {have / GIB:.2f} GiB; {advice} "
        "fewer workers with more memory each"
    )


def size(n: float) -> str:
    """Bytes as a person reads them."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if n < 1024 or unit == "TiB":
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1024
    return ""


def _by(sides: Sequence[float]) -> str:
    return "x".join(f"{n:g}" for n in sides)
