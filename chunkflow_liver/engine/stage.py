"""The two primitives: `Map` (block in, block and record out) and `Fold` (records in, one artefact out)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Protocol, cast

import numpy as np

from chunkflow_liver.engine.code.of_stage import code_of
from chunkflow_liver.engine.devices import Library
from chunkflow_liver.errors import GridError
from chunkflow_liver.geometry import BlockGrid, Box, Zyx, zyx
from chunkflow_liver.store.table import Arrays, Columns, Table
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.store.write_units import is_whole
from chunkflow_liver.xp import Array

PROCESS_BYTES = 300 << 20
"""A Python process with NumPy, SciPy, zarr, pyarrow and Numba loaded; seen: 150-280 MiB."""


class Readable(Protocol):
    """Anything a block can be read from: a `Volume`, a foreign file, a finer level."""

    @property
    def shape(self) -> Zyx: ...

    @property
    def itemsize(self) -> int: ...

    def read(self, box: Box) -> np.ndarray[Any, Any]: ...

    def identity(self) -> str: ...


class Kept(Protocol):
    """Where a fold's columns go: a `Table`, `Arrays`, or what an operation makes of them."""

    @property
    def path(self) -> str: ...

    def exists(self) -> bool: ...

    def write(self, columns: Columns, provenance: Mapping[str, Any] | None = None) -> None: ...


class Beside(Protocol):
    """Files that the tasks of a map leave in a folder of the work folder, for tasks of later stages."""

    @property
    def folder(self) -> Path: ...

    def wrong(self, record: Record) -> Iterator[str]:
        """What is wrong with the files of the block of a record, where something is."""
        ...


class Ahead(Protocol):
    """What a map that edits will change, told before it runs."""

    def changes(self, tables: Sequence[Table]) -> Mapping[str, Array]:
        """The arrays of the artefact `changed_in`; `tables` may hold bounding boxes of the objects."""
        ...

    def rows_after(self, before: Any) -> tuple[Mapping[str, Array], list[tuple[Array, Array]]]:
        """Rows of a `per_object` artefact of objects that will differ, and boxes in which others will lie."""
        ...


@dataclass(frozen=True)
class Result:
    """What a map function returns: one array per output, and a record of small arrays."""

    outputs: tuple[Array, ...] = ()
    record: Columns = field(default_factory=dict)


@dataclass(frozen=True)
class Piece:
    """A finished part of a block, from a map function that streams."""

    box: Box
    outputs: tuple[Array, ...]


Record = Mapping[str, np.ndarray[Any, Any]]
Records = Iterator[tuple[int, Record]]


@dataclass(frozen=True)
class Map:
    """One task per block: read a box of every input, call `function`, write a box of every output.

    Attributes
    ----------
    name : str
        Unique in a plan, for example 'mitos/apply'.
    function : callable
        Module-level; `function(block, *arrays, **artefacts, **params) -> Result`. With `streams` it
        gets the inputs themselves instead of arrays and yields `Piece`s in any order.
    grid : BlockGrid
        Write boxes are unions of whole write units of every output.
    inputs, outputs : tuple
        What is read with halo, and what is written; after level 0 of an image its coarser levels may come.
    params : mapping
        Plain values for `function`.
    artefacts : mapping of str to Arrays or Table
        Results of folds, by name; arrays are memory-mapped. A table of another run counts by its content.
    working : float
        Bytes per voxel of the read box that `function` needs beside inputs and outputs.
    resident : int
        Bytes a worker holds whatever the block (model weights); for a map that streams, everything.
    streams : bool
        Whether `function` reads and yields part by part.
    identity : mapping, optional
        What stands for `params` in the fingerprint, where they hold paths.
    device : str
        'cpu' or 'cuda'.
    library : {'cupy', 'torch'}
        What computes on the device.
    device_bytes : int
        Bytes of the device's own memory that a worker needs.
    notes : tuple of str
        What a person should know of this stage before it runs; printed with the plan.
    operation : str
        Which operation planned it.
    beside : Beside, optional
        Files that `function` itself writes; its record says which.
    changed_in : str
        Of a map that edits its first input, and leaves no records, the artefact that says where its output
        differs: in 'blocks', from voxel 'low' to 'high'; 'near' are those with objects that differ, by 'ids'.
    ahead : Ahead, optional
        What a map that edits will change.
    per_object : str
        The artefact of which a block uses nothing but the rows (by 'label') of objects in its boxes.
    owners : callable, optional
        `owners(grid, artefact) -> block of each row`, where a block reads, of its first input, nothing but
        the voxels of the objects that it owns.
    """

    name: str
    function: Callable[..., Any]
    grid: BlockGrid
    inputs: tuple[Readable, ...] = ()
    outputs: tuple[Volume, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    artefacts: Mapping[str, Arrays | Table] = field(default_factory=dict)
    working: float = 0.0
    resident: int = 0
    streams: bool = False
    identity: Mapping[str, Any] | None = None
    device: str = "cpu"
    library: Library = "cupy"
    device_bytes: int = 0
    notes: tuple[str, ...] = ()
    operation: str = ""
    beside: Beside | None = None
    changed_in: str = ""
    ahead: Ahead | None = None
    per_object: str = ""
    owners: Callable[[BlockGrid, Any], Array] | None = None

    def __post_init__(self) -> None:
        for output in self.outputs:
            factor = self.factor(output)
            if output.box != self.grid.box.coarser(factor):
                raise GridError(
                    f"stage {self.name!r}: the grid covers {self.grid.box}, {output.url} is {output.box}"
                )
            if not self.covers(self.grid, factor, output):
                raise GridError(
                    f"blocks of {self.grid.block} cut through write units of {output.write_unit}: two tasks "
                    f"would write one of them and lose each other's voxels; use a multiple of "
                    f"{output.write_unit} on every axis"
                )

    def factor(self, output: Volume) -> Zyx:
        """Voxels of the grid in one of `output`: more than 1 for a coarser level of the first output."""
        finest = self.outputs[0].reduction
        return zyx([a // b for a, b in zip(output.reduction, finest, strict=True)])

    @staticmethod
    def covers(grid: BlockGrid, factor: Zyx, output: Volume) -> bool:
        """Whether every block of `grid` is a union of whole write units of `output`, `factor` coarser."""
        writes = (grid[0].write, grid[len(grid) - 1].write)
        return all(
            all(b % f == 0 or n == 1 for b, f, n in zip(grid.block, factor, grid.counts, strict=True))
            and is_whole(write.coarser(factor), output.write_unit, output.box)
            for write in writes
        )

    @property
    def task_bytes(self) -> int:
        """Bytes one task needs at its largest, the process itself included."""
        return self.bytes_with(self.grid.block)

    def bytes_with(self, block: Zyx) -> int:
        """Bytes one task would need with blocks of `block` voxels."""
        if self.streams:
            return PROCESS_BYTES + self.resident
        write = [min(b, n) for b, n in zip(block, self.grid.box.shape, strict=True)]
        # Of a mask there is one array, and what it leaves out.
        masked = 3 * any((v := volume_of(i)) is not None and v.mask is not None for i in self.inputs)
        inputs = self.largest_read(block) * (sum(i.itemsize for i in self.inputs) + self.working + masked)
        # An output exists as an array, as the shard being encoded, and as compressed bytes.
        sizes = (o.itemsize / math.prod(self.factor(o)) for o in self.outputs)
        outputs = math.prod(write) * sum(sizes) * 2.5
        return PROCESS_BYTES + self.resident + math.ceil(inputs + outputs)

    def largest_read(self, block: Zyx) -> int:
        """Voxels that a task with blocks of `block` voxels reads at most, halo included."""
        grid = self.grid
        sides = zip(block, grid.box.shape, grid.low, grid.high, (grid.volume or grid.box).shape, strict=True)
        return math.prod(min(low + min(b, n) + high, most) for b, n, low, high, most in sides)

    @property
    def read_bytes(self) -> int:
        """Bytes all blocks together ask for, halo included."""
        return self.grid.read_voxels * sum(i.itemsize for i in self.inputs)

    @property
    def written_bytes(self) -> int:
        """Bytes of all outputs before compression."""
        return sum(o.nbytes for o in self.outputs)


@dataclass(frozen=True)
class Fold:
    """All records of the map called `over` in, one small artefact out; runs where the plan runs.

    Attributes
    ----------
    name : str
        Unique in a plan.
    function : callable
        Module-level; `function(records, **artefacts, **params) -> columns`, where `records` yields
        (block index, record) in the order of blocks. The columns of a table may come part by part.
    over : str
        Name of the map whose records are read.
    output : Arrays, Table or other Kept
        Where the columns go.
    params, artefacts : mapping
        As for `Map`.
    provenance : mapping
        What a table's metadata state about its making.
    spills : bool
        Whether `function` takes `scratch`, an empty folder for what may not fit in memory, gone afterwards.
    operation : str
        Which operation planned it.
    """

    name: str
    function: Callable[..., Any]
    over: str
    output: Kept
    params: Mapping[str, Any] = field(default_factory=dict)
    artefacts: Mapping[str, Arrays | Table] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    spills: bool = False
    operation: str = ""


Stage = Map | Fold


def describe(stage: Stage, made: Mapping[str, str], version: str) -> dict[str, Any]:
    """Everything the answer of `stage` depends on, as plain JSON.

    Parameters
    ----------
    stage : Map or Fold
    made : mapping of str to str
        For every handle that an earlier stage of the plan makes, that stage's fingerprint.
    version : str
        Version of the package.
    """
    found: dict[str, Any] = {
        "function": f"{stage.function.__module__}.{stage.function.__qualname__}",
        "artefacts": {k: made.get(v.path) or _content(v) for k, v in stage.artefacts.items()},
        "version": version,
        "code": code_of(stage),
    }
    if isinstance(stage, Fold):
        return found | {"over": made.get(stage.over, stage.over), "params": plain(stage.params)}
    grid = stage.grid
    return found | {
        "params": plain(stage.params if stage.identity is None else stage.identity),
        "block": list(grid.block),
        "halo": [list(grid.low), list(grid.high)],
        "box": [list(grid.box.start), list(grid.box.stop)],
        "inputs": [_identity(i, made) for i in stage.inputs],
        "outputs": [
            {
                "voxel_nm": plain(o.voxel_nm),
                "origin_nm": plain(o.origin_nm),
                "kind": o.kind,
                "classes": plain(o.classes),
                "dtype": o.dtype,
                "shape": list(o.shape),
                "unit": list(o.write_unit),
                "level": o.level,
            }
            for o in stage.outputs
        ],
    }


def _content(artefact: Arrays | Table) -> str:
    """What stands for an artefact that no stage makes."""
    if isinstance(artefact, Table):
        return artefact.identity()
    # One that another plan made, or nobody, by its name in the work folder, which may be moved.
    return PurePath(artefact.path).name


def volume_of(readable: Readable) -> Volume | None:
    """The volume that an input is or reads from; None for a foreign file."""
    found = getattr(readable, "volume", readable)
    return found if isinstance(found, Volume) else None


def _identity(readable: Readable, made: Mapping[str, str]) -> str:
    """Fingerprint of the stage that makes an input, or of the stored data."""
    if (volume := volume_of(readable)) is None:
        return readable.identity()
    region = f" {volume.region}" if volume.region else ""
    region += f" within {_identity(volume.mask, made)}" if volume.mask else ""
    if (key := handle_key(volume)) in made:
        return made[key] + region
    # The group's metadata are not part of the array: its voxel size and place are.
    return f"{readable.identity()} {volume.voxel_nm} {volume.origin_nm}{region}"


def handle_key(handle: Volume | Kept) -> str:
    """What tells one array, table or folder of arrays from all others."""
    return f"{handle.url}/{handle.path}" if isinstance(handle, Volume) else handle.path


def called(stage: str) -> str:
    """Name of the operation's result that a stage of this name belongs to: 'mitos' of 'mitos/apply'."""
    return stage.partition("/")[0]


def makes(stage: Stage) -> list[str]:
    """Keys of the handles that a stage makes."""
    outputs = (stage.output,) if isinstance(stage, Fold) else stage.outputs
    return [handle_key(o) for o in outputs]


def volumes(stage: Map) -> tuple[Volume, ...]:
    """The volumes that a map is given boxes of, and may share with others."""
    return () if stage.streams else tuple(s for s in stage.inputs if isinstance(s, Volume))


def needs(stage: Map) -> set[str]:
    """Keys of the handles that a map reads."""
    read = {handle_key(volume) for source in stage.inputs if (volume := volume_of(source))}
    read |= {handle_key(v.mask) for source in stage.inputs if (v := volume_of(source)) and v.mask}
    return read | {handle_key(artefact) for artefact in stage.artefacts.values()}


def fingerprint(description: Mapping[str, Any]) -> str:
    """SHA-256 of a description."""
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()


def plain(value: Any) -> Any:
    """`value` as what JSON can hold, equal numbers alike; dataclasses, NumPy scalars and arrays included."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        told = (f.name for f in dataclasses.fields(value) if f.metadata.get("plain", True))
        return {name: plain(getattr(value, name)) for name in told}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, np.ndarray | np.generic):
        return plain(cast(Any, value).tolist())
    if isinstance(value, float) and value.is_integer():
        # 500 and 500.0 are one setting, whoever typed it.
        return int(value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)
