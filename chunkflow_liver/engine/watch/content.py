"""What blocks wrote, told by a checksum of the voxels that the journal keeps: who painted over them is told.

The checksums of stored chunks say that a chunk is as somebody wrote it, not that it is as the run did.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import xxhash

from chunkflow_liver.engine.stage import Map
from chunkflow_liver.engine.watch.changes import CONVERSION
from chunkflow_liver.engine.watch.done import Done
from chunkflow_liver.errors import ChunkError, OutputError
from chunkflow_liver.geometry import Box, zyx
from chunkflow_liver.store.archive import archive_of
from chunkflow_liver.store.location import is_local, join
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array

MOST_FILES = 10_000
"""Of how many blocks of all stages files are looked at, at most: about a second. `check` reads all."""
MOST_READ = 64
"""How many blocks with newer files of a stage are read: a copied folder has nothing but newer files."""


def sum_of(sums: Iterable[int]) -> int:
    """Checksum of a block from those of its parts, in any order."""
    return sum(sums) % 2**64


def content_sum(output: Volume, box: Box, values: Array, number: int, whole: Box | None = None) -> int:
    """Checksum of the voxels of `box`, to be added up modulo 2**64 over the outputs and parts of a block.

    Where a block lies does not matter, so that blocks of nothing are alike.

    Parameters
    ----------
    output : Volume
    box : Box
        In voxels of `output`.
    values : ndarray
        Its voxels, in this machine's memory.
    number : int
        Of the output, among those of its stage.
    whole : Box, optional
        The block's box, of which `box` is a part.

    Returns
    -------
    int
        Below 2**64.
    """
    place = [a - b for a, b in zip(box.start, (whole or box).start, strict=True)]
    seed = xxhash.xxh3_64_intdigest(struct.pack("<4q", number, *place))
    bare = np.ascontiguousarray(values, output.dtype).reshape(-1).view(np.uint8)
    return xxhash.xxh3_64_intdigest(bare.data, seed)


def read_sum(stage: Map, block: int, number: int, output: Volume) -> int:
    """Checksum of what lies on the disk of a block in an output of its stage.

    Raises
    ------
    ChunkError
    """
    box = stage.grid[block].write.coarser(stage.factor(output))
    values = output.read(box)
    if not stage.streams:
        return content_sum(output, box, values, number)
    # These come in pieces, and are written unit by unit.
    total = 0
    for at in itertools.product(
        *(range(a, b, n) for a, b, n in zip(box.start, box.stop, output.write_unit, strict=True))
    ):
        stop = [a + n for a, n in zip(at, output.write_unit, strict=True)]
        unit = Box(zyx(list(at)), zyx(stop)).clip(box)
        total += content_sum(output, unit, values[unit.relative_to(box).slices], number, box)
    return total


def changed_blocks(stage: Map, known: Done, most: int = MOST_FILES) -> list[int]:
    """Blocks of a finished stage with other voxels than it wrote, of those with newer files than its end.

    Parameters
    ----------
    stage : Map
    known : Done
        What the journal knows of it.
    most : int
        Of so many blocks files are looked at, spread over all.
    """
    if not known.ended_ns:
        return []
    newer = list(dict.fromkeys(block for block, when in _files(stage, most) if when > known.ended_ns))
    return [b for b in newer[:: -(-len(newer) // MOST_READ) or 1] if is_changed(stage, known, b)]


def is_changed(stage: Map, known: Done, block: int) -> bool:
    """Whether a block has other voxels than were written; not where it is damaged, which others tell."""
    wrote = known.sums.get(block)
    try:
        return (
            bool(wrote) and sum_of(read_sum(stage, block, n, o) for n, o in enumerate(stage.outputs)) != wrote
        )
    except ChunkError:
        return False


def refuse_changed(work: Path, stages: Sequence[Map], known: Sequence[Done]) -> None:
    """Refuse to go on in `work` from images that somebody changed after they were written.

    Raises
    ------
    OutputError
    """
    for stage, of in zip(stages, known, strict=True):
        if found := changed_blocks(stage, of, MOST_FILES // len(stages)):
            more = f" and {len(found) - 1} more" if len(found) > 1 else ""
            if work.suffix == CONVERSION:
                raise OutputError(
                    f"{stage.outputs[0].url} was changed after it was converted (block {found[0]}{more}), "
                    "and is not written over: to convert its source again, take another name, or remove it "
                    f"and {work}"
                )
            raise OutputError(
                f"{stage.outputs[0].url} was changed after this run wrote it (stage {stage.name!r}, block "
                f"{found[0]}{more}), and tables say what it was before: 'check' names all blocks, 'repair' "
                "writes what was there. To go on from what it is now, copy it to a place of its own and name "
                "that under 'existing' or 'semantic', in a run with another work folder"
            )


def _files(stage: Map, most: int) -> Iterator[tuple[int, int]]:
    """(block, time in ns) of files of the outputs, of at most so many blocks."""
    # One that was removed as a whole is made anew.
    outputs = [o for o in stage.outputs if is_local(o.url) and archive_of(o.url) is None and o.exists()]
    if not outputs:
        return
    step = -(-len(stage.grid) // max(1, most))
    for block in range(0, len(stage.grid), step):
        for output in outputs:
            for key in output.keys(stage.grid[block].write.coarser(stage.factor(output))):
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    yield block, os.stat(join(output.url, output.path, key)).st_mtime_ns
