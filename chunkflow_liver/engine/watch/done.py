"""What a journal knows of a stage, in a few bytes per block; a million blocks are nothing unusual."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

COLUMNS = ("seconds", "cpu", "read", "written", "sum")
"""What is noted of every block; of a batch its peak too. 'sum' is of the voxels, 0 where nothing is known."""


class Sums:
    """Checksums of what blocks wrote, in eight bytes a block; 0 where nothing is known."""

    def __init__(self) -> None:
        self._of = array("Q")

    def set(self, runs: Iterable[Sequence[int]], sums: Sequence[int]) -> None:
        """Note the sums of the blocks of `runs`, [first, end) each."""
        at = 0
        for first, end in runs:
            if end > len(self._of):
                self._of.extend(
                    array("Q", [0]) * (max(end, len(self._of) + len(self._of) // 4) - len(self._of))
                )
            self._of[first:end] = array("Q", sums[at : at + end - first])
            at += end - first

    def __len__(self) -> int:
        return len(self._of)

    def get(self, block: int) -> int:
        return self._of[block] if block < len(self._of) else 0


class Blocks(Mapping[int, str]):
    """Blocks that are done, with the file that holds their records ('' where they left none).

    A dict would take a hundred bytes per block; this takes four, and one name per file.
    """

    def __init__(self) -> None:
        self._file = array("i")
        self._names: list[str] = [""]
        self._number: dict[str, int] = {"": 0}
        self._count = 0

    def set(self, runs: Iterable[Sequence[int]], file: str) -> None:
        """Note that the blocks of `runs`, [first, end) each, are done, and where their records are."""
        number = self._number.get(file)
        if number is None:
            number = self._number[file] = len(self._names)
            self._names.append(file)
        of = self._file
        for first, end in runs:
            if end > len(of):
                # A quarter more at once, or every batch would copy all.
                of.extend(array("i", [-1]) * (max(end, len(of) + len(of) // 4) - len(of)))
            self._count += of[first:end].count(-1)
            of[first:end] = array("i", [number]) * (end - first)

    def forget(self, blocks: Iterable[int]) -> int:
        """Note that `blocks` are not done; how many of them were."""
        before = self._count
        for block in blocks:
            if block in self:
                self._file[block] = -1
                self._count -= 1
        return before - self._count

    def mask(self, total: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which of the first `total` blocks are done."""
        found = np.zeros(total, bool)
        if self._file:
            known = np.frombuffer(self._file, np.intc)[:total]
            found[: len(known)] = known >= 0
        return found

    def files(self) -> frozenset[str]:
        """The files that hold records of blocks that are done."""
        known = np.unique(np.frombuffer(self._file, np.intc)) if self._file else ()
        return frozenset(self._names[number] for number in known if number > 0)

    def __getitem__(self, block: int) -> str:
        if block not in self:
            raise KeyError(block)
        return self._names[self._file[block]]

    def __contains__(self, block: object) -> bool:
        return isinstance(block, int) and 0 <= block < len(self._file) and self._file[block] >= 0

    def __iter__(self) -> Iterator[int]:
        """In the order of blocks."""
        return (block for block, number in enumerate(self._file) if number >= 0)

    def __len__(self) -> int:
        return self._count


@dataclass
class Done:
    """What the journal knows of one stage.

    Attributes
    ----------
    records : Blocks
        Blocks that are done, and the files of their records.
    seconds, squares : float
        Sum of the seconds of these blocks, and of their squares.
    finished : bool
    cleaned : bool
        Whether what it made was removed because nothing needs it.
    content : str
        Identity of the table that a fold wrote.
    set_aside : dict of int to str
        Blocks at which workers ended, with the reason.
    sums : Sums
        Of what blocks wrote.
    ended_ns : int
        When it was finished, by the clock of the work folder's disk; 0 where that is not known.
    """

    records: Blocks = field(default_factory=Blocks)
    seconds: float = 0.0
    squares: float = 0.0
    finished: bool = False
    cleaned: bool = False
    content: str = ""
    set_aside: dict[int, str] = field(default_factory=dict)
    sums: Sums = field(default_factory=Sums)
    ended_ns: int = 0

    def apply(self, entry: Mapping[str, Any]) -> None:
        """Take in a line of the journal that is of this stage."""
        if "forget" in entry:
            before = len(self.records)
            # What these took is not known any more: as much as the others.
            left = 1 - self.records.forget(entry["forget"]) / before if before else 0.0
            self.seconds, self.squares, self.finished = self.seconds * left, self.squares * left, False
            return
        if (runs := _runs_of(entry)) is not None:
            self.records.set(runs, entry.get("record", ""))
            seconds = _column(entry, "seconds")
            self.seconds += math.fsum(seconds)
            if "sum" in entry or self.sums:
                self.sums.set(runs, [int(n) for n in _column(entry, "sum")])
            self.squares += math.fsum(s * s for s in seconds)
            if self.set_aside:
                for block in [b for first, end in runs for b in range(first, end)]:
                    self.set_aside.pop(block, None)
        if "set_aside" in entry:
            self.set_aside[entry["set_aside"]] = entry["error"]
        self.finished = self.finished or bool(entry.get("finished"))
        self.ended_ns = entry.get("ended_ns", self.ended_ns)
        self.cleaned = self.cleaned or bool(entry.get("cleaned"))
        self.content = entry.get("content", self.content)


def batch(stage: str, record: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The line of a batch of blocks: columns, each one value where all blocks have the same."""
    entry: dict[str, Any] = {"stage": stage, "record": record, "blocks": _runs([r["block"] for r in rows])}
    for name in COLUMNS:
        values = [row.get(name, 0) for row in rows]
        if name != "sum" or any(values):
            entry[name] = values[0] if len(set(values)) == 1 else values
    return entry | {"peak_mib": max(row["peak_mib"] for row in rows)}


def rows_of(entry: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What a line says of each of its blocks: 'block', seconds, CPU seconds, bytes, peak MiB of the batch."""
    if "rows" in entry:
        yield from entry["rows"]
        return
    if (runs := _runs_of(entry)) is None:
        return
    columns = {name: _column(entry, name) for name in COLUMNS if name in entry}
    for i, block in enumerate(block for first, end in runs for block in range(first, end)):
        yield {"block": block} | {n: c[i] for n, c in columns.items()} | {"peak_mib": entry["peak_mib"]}


def seconds_of(entry: Mapping[str, Any]) -> float:
    """Seconds that all blocks of a line took together."""
    return math.fsum(_column(entry, "seconds"))


def _runs_of(entry: Mapping[str, Any]) -> Sequence[Sequence[int]] | None:
    """Blocks that a line says are done, as runs [first, end); None if it says nothing of blocks."""
    if "rows" in entry:  # as lines were before there were columns
        return _runs([row["block"] for row in entry["rows"]])
    found: Sequence[Sequence[int]] | None = entry.get("blocks")
    return found


def _column(entry: Mapping[str, Any], name: str) -> Sequence[float]:
    if "rows" in entry:
        return [row.get(name, 0.0) for row in entry["rows"]]
    values = entry.get(name, 0)
    return values if isinstance(values, list) else [values] * sum(b - a for a, b in entry["blocks"])


def _runs(blocks: Sequence[int]) -> list[list[int]]:
    """Blocks as runs [first, end) of numbers that follow each other."""
    found: list[list[int]] = []
    for block in blocks:
        if found and found[-1][1] == block:
            found[-1][1] = block + 1
        else:
            found.append([block, block + 1])
    return found
