"""Rows of two measurements side by side: CPU per unit of work, and what has become slower."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SLOWER = 1.3
"""A small case may take this many times the CPU per unit of work before the comparison fails."""
SMALL_VOXELS = 1 << 26
SMALL_SECONDS = 60.0
"""Cases up to this many voxels, or CPU seconds where no voxels are stated, are small."""
SHORTEST = 0.1
"""CPU seconds below which a clock and an import say more than the work."""
RATE = re.compile(r"/ ?cpu[- ]s$", re.IGNORECASE)
OURS = re.compile(r"chunkflow_liver|kernel|ours", re.IGNORECASE)
"""Tools whose slowing fails; that of others is only told."""

Row = dict[str, Any]
Key = tuple[str, str, str, int]


@dataclass(frozen=True)
class Change:
    """One case in both measurements: CPU seconds per unit of work before and now."""

    key: Key
    before: float
    now: float
    unit: str
    small: bool
    told_only: str = ""

    @property
    def ratio(self) -> float:
        """How many times as much CPU a unit of work takes now."""
        return self.now / self.before

    @property
    def fails(self) -> bool:
        """Whether this is slower than is allowed."""
        return self.small and not self.told_only and self.ratio > SLOWER


def read_rows(source: str, root: Path) -> list[Row]:
    """Rows of a file or folder of rows, of `COMMIT:path`, or of all measured files of a commit.

    Raises
    ------
    SystemExit
        If it is none of these; says what was tried.
    """
    path = Path(source)
    if path.is_dir():
        return [row for file in sorted(path.glob("*.json")) for row in parsed(file.read_text(), str(file))]
    if path.is_file():
        return parsed(path.read_text(), source)
    commit, _, inside = source.partition(":")
    names = [inside] if inside else _git(root, "ls-tree", "--name-only", commit, "scripts/measured/").split()
    if not names:
        raise SystemExit(f"{source!r} is no file or folder, and this commit has no scripts/measured")
    texts = {name: _git(root, "show", f"{commit}:{name}") for name in names if name.endswith(".json")}
    return [row for name, text in texts.items() for row in parsed(text, f"{commit}:{name}")]


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"no file or folder, and git {' '.join(words)} says: {done.stderr.strip()}")
    return done.stdout


def parsed(text: str, where: str) -> list[Row]:
    """Rows of a text with one JSON row per line."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            row = json.loads(line)
        except ValueError as err:
            raise SystemExit(f"{where}, line {number}: no row of measurements: {err}") from err
        if not isinstance(row, dict):
            raise SystemExit(f"{where}, line {number}: no row of measurements: {line[:40]!r}")
        found.append(row)
    return found


def keyed(rows: Iterable[Row]) -> dict[Key, Row]:
    """Rows that measured something, by name, tool, case, and their number among those that share these."""
    found: dict[Key, Row] = {}
    seen: dict[tuple[str, str, str], int] = {}
    for row in rows:
        key = (str(row.get("name", "")), str(row.get("tool", "")), str(row.get("case", "")))
        if key[1] != "machine":
            found[*key, seen.get(key, 0)] = row
            seen[key] = seen.get(key, 0) + 1
    return found


def cost(row: Row) -> tuple[float, str] | None:
    """CPU seconds per unit of work and that unit; None if the row does not say.

    A rate that a row states itself leaves out what its tool does before and after (imports, data that are
    made), so it goes first.
    """
    value, cpu, voxels = row.get("value"), row.get("cpu_seconds"), row.get("voxels")
    if value and RATE.search(str(row.get("unit", ""))):
        return 1 / value, RATE.sub("", row["unit"])
    if cpu and voxels:
        return 1e6 * cpu / voxels, "Mvoxel"
    return (cpu, "case") if cpu else None


def compared(before: Iterable[Row], now: Iterable[Row]) -> Iterator[Change]:
    """Cases that both measurements have and that state the same unit, in the order of the first."""
    after = keyed(now)
    for key, row in keyed(before).items():
        other = after.get(key)
        was, is_now = cost(row), other and cost(other)
        if other is None or was is None or is_now is None or was[1] != is_now[1]:
            continue
        cpu = max(row.get("cpu_seconds") or SHORTEST, other.get("cpu_seconds") or SHORTEST)
        voxels = other.get("voxels")
        small = voxels <= SMALL_VOXELS if voxels else cpu <= SMALL_SECONDS
        told_only = "" if OURS.search(key[1]) else "not ours"
        if not told_only and cpu < SHORTEST:
            told_only = "too short to tell"
        yield Change(key, was[0], is_now[0], was[1], small, told_only)


def compare(first: str, second: str, root: Path) -> int:
    """Print what both measurements have; 1 if a small case of ours is slower than is allowed.

    Raises
    ------
    SystemExit
        If there is nothing to compare.
    """
    before, now = read_rows(first, root), read_rows(second, root)
    changes = list(compared(before, now))
    if not changes:
        raise SystemExit(f"{first} and {second} have no case in common that states its CPU time")
    print(f"{'ratio':>6}  {'before':>10}  {'now':>10}  CPU s per    case")
    for c in changes:
        name, tool, case, _ = c.key
        mark = "SLOWER" if c.fails else c.told_only or ("" if c.small else "large")
        numbers = f"{c.ratio:6.2f}  {c.before:10.4g}  {c.now:10.4g}  {c.unit:12.12}"
        print(f"{numbers} {name}, {tool}, {case}  {mark}".rstrip())
    alone = len(keyed(before)) + len(keyed(now)) - 2 * len(changes)
    slow = [c for c in changes if c.fails]
    print(
        f"{len(changes)} cases in both, {alone} rows in one only or without CPU time; {len(slow)} small "
        f"cases take more than {SLOWER} times the CPU"
    )
    return 1 if slow else 0
