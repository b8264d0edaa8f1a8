"""Files of prompts: tables (TSV, CSV, Parquet), napari's layers, and the two layouts of the liver pipeline.

A table has a row per box, point or mask. `object`, `z` and one of `y0 x0 y1 x1` (a box), `y x` (a point,
with `inside` 1 or 0) and `label` (an id of a label image); `kind`, `start`, `end` may be there. Rows of one
object and slice make one prompt. In voxels, or in nm where the names end in `_nm`.

The liver pipeline wrote tab-separated rows without names: `object start middle end x_top y_top x_bottom
y_bottom`, or the same without the object.
"""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from chunkflow_liver.errors import InputError, OutputError
from chunkflow_liver.geometry import Nm
from chunkflow_liver.store.prompts.prompt import Faults, Prompt, Row, gathered

BOX = ("y0", "x0", "y1", "x1")
LENGTHS = ("z", "start", "end", *BOX, "y", "x")
COLUMNS = ("object", "kind", *LENGTHS, "inside", "label")
NM = "_nm"
POINTS = ("index", "axis-0", "axis-1", "axis-2")
SHAPES = ("index", "shape-type", "vertex-index", "axis-0", "axis-1", "axis-2")
AREAS = ("rectangle", "ellipse", "polygon")
LIVER = (7, 8)
"""Fields of a row of the liver pipeline, without and with the object's name."""
WHOLE = re.compile(r"[+-]?[0-9]+")
EXACT = 1 << 53
"""From here on a float may stand for several whole numbers."""
SUFFIXES = (".tsv", ".csv", ".parquet")


def read_prompts(path: str | os.PathLike[str], *, voxel_nm: Nm | None = None) -> tuple[Prompt, ...]:
    """The prompts of a file.

    Parameters
    ----------
    path : path
        .tsv, .csv (also of napari's points and shapes layers) or .parquet.
    voxel_nm : Nm, optional
        Voxel size of the level whose voxels the file counts; for a file that is not in nm.

    Raises
    ------
    InputError
        If it cannot be read; every bad row is told with its line.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"there is no file of prompts {file}")
    if file.suffix not in SUFFIXES:
        raise InputError(f"{file} is no file of prompts: wanted {', '.join(SUFFIXES)}")
    faults = Faults(str(file))
    if file.suffix == ".parquet":
        rows = _of_table(_parquet(file), voxel_nm, faults)
    else:
        rows = _of_text(file, voxel_nm, faults)
    prompts = gathered(list(rows), faults)
    faults.tell()
    return prompts


def write_prompts(prompts: Iterable[Prompt], to: str | os.PathLike[str]) -> Path:
    """Write prompts as a table in nm, .tsv, .csv or .parquet.

    Raises
    ------
    OutputError
        If `to` exists.
    InputError
        If it has another ending.
    """
    file = Path(to)
    if file.suffix not in SUFFIXES:
        raise InputError(f"prompts are written as {', '.join(SUFFIXES)}, not as {file.name!r}")
    if file.exists():
        raise OutputError(f"{file} exists already; choose another name or remove it")
    names = [f"{name}{NM}" if name in LENGTHS else name for name in COLUMNS]
    rows = [row for prompt in prompts for row in _rows_of(prompt)]
    partial = file.with_name(f"{file.name}.partial")
    if file.suffix == ".parquet":
        kinds = {"object": pa.string(), "kind": pa.string(), "inside": pa.int64(), "label": pa.uint64()}
        schema = pa.schema([(name, kinds.get(name, pa.float64())) for name in names])
        columns = [pa.array([row.get(n) for row in rows], schema.field(n).type) for n in names]
        pq.write_table(pa.table(columns, schema=schema), partial)
    else:
        with partial.open("w", encoding="utf-8", newline="") as out:
            writer = csv.DictWriter(out, names, delimiter=_delimiter(file), lineterminator="\n")
            writer.writeheader()
            writer.writerows(
                {k: repr(v) if isinstance(v, float) else v for k, v in row.items()} for row in rows
            )
    os.replace(partial, file)
    return file


def _rows_of(prompt: Prompt) -> Iterator[dict[str, Any]]:
    """A box or mask, and every point, as rows."""
    own: dict[str, Any] = {"object": prompt.object, "kind": prompt.kind, "z_nm": prompt.z_nm}
    for name, value in (("start_nm", prompt.start_nm), ("end_nm", prompt.end_nm)):
        if value is not None:
            own[name] = value
    if prompt.box_nm is not None:
        yield own | {f"{name}{NM}": value for name, value in zip(BOX, prompt.box_nm, strict=True)}
    if prompt.label is not None:
        yield own | {"label": prompt.label}
    for y, x, inside in prompt.points_nm:
        yield own | {"y_nm": y, "x_nm": x, "inside": int(inside)}


def _delimiter(file: Path) -> str:
    return "\t" if file.suffix == ".tsv" else ","


def _of_text(file: Path, voxel_nm: Nm | None, faults: Faults) -> Iterator[Row]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as err:
        raise InputError(f"{file} is no text in UTF-8: {err}") from err
    found = csv.reader(text.splitlines(), delimiter=_delimiter(file))
    lines = [(i, [v.strip() for v in row]) for i, row in enumerate(found, 1) if any(v.strip() for v in row)]
    if not lines:
        raise InputError(f"{file} is empty; wanted rows of prompts")
    header = tuple(lines[0][1])
    if header == SHAPES:
        return _of_shapes(_named(lines, faults), voxel_nm, faults)
    if header == POINTS:
        return _of_points(_named(lines, faults), voxel_nm, faults)
    if "object" in header:
        return _of_table(_named(lines, faults), voxel_nm, faults)
    if file.suffix == ".tsv" and len(header) in LIVER:
        return _of_liver(lines, voxel_nm, faults)
    raise InputError(
        f"{file}: the first line is {list(header)[:9]}; wanted names with 'object', those of a napari layer, "
        f"or (.tsv) {LIVER[0]} or {LIVER[1]} fields: [object] start middle end x_top y_top x_bottom y_bottom"
    )


def _named(lines: Sequence[tuple[int, list[str]]], faults: Faults) -> list[tuple[str, dict[str, Any]]]:
    names = lines[0][1]
    rows = []
    for number, values in lines[1:]:
        if len(values) == len(names):
            rows.append((f"line {number}", dict(zip(names, values, strict=True))))
        else:
            faults.add(f"line {number}", f"{len(values)} fields where the first line names {len(names)}")
    return rows


def _parquet(file: Path) -> list[tuple[str, dict[str, Any]]]:
    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowInvalid) as err:
        raise InputError(f"{file} is not readable as Parquet: {err}") from err
    if "object" not in table.column_names:
        raise InputError(f"{file} has columns {table.column_names}; wanted 'object', 'z' and more")
    return [(f"row {i}", row) for i, row in enumerate(table.to_pylist(), 1)]


def _of_table(
    rows: Sequence[tuple[str, Mapping[str, Any]]], voxel_nm: Nm | None, faults: Faults
) -> Iterator[Row]:
    known = {*COLUMNS, *(f"{name}{NM}" for name in LENGTHS)}
    names = dict.fromkeys(name for _, row in rows for name in row)
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"{faults.file} has columns {unknown}; there are {sorted(known)}")
    for line, row in rows:
        scaled = _Scaled(row, voxel_nm, line, faults)
        box = tuple(scaled.length(name) for name in BOX)
        point = (scaled.length("y"), scaled.length("x"))
        inside, label = scaled.whole("inside", 1), scaled.whole("label", None)
        z = scaled.length("z")
        start, end = scaled.length("start"), scaled.length("end")
        if scaled.bad:
            continue
        if z is None:
            faults.add(line, "no slice: 'z' or 'z_nm' is missing")
        elif any(v is None for v in box) and any(v is not None for v in box):
            faults.add(line, f"a box needs all of {', '.join(BOX)}")
        elif (point[0] is None) != (point[1] is None):
            faults.add(line, "a point needs y and x")
        elif inside not in (0, 1):
            faults.add(line, f"'inside' is {inside}; wanted 1 or 0")
        else:
            yield Row(
                line,
                str(row.get("object") or ""),
                z,
                str(row.get("kind") or ""),
                start,
                end,
                None if box[0] is None else box,  # type: ignore[arg-type]
                None if point[0] is None or point[1] is None else (point[0], point[1], bool(inside)),
                label,
            )


class _Scaled:
    """Numbers of one row, lengths in nm; what is no number is told."""

    def __init__(self, row: Mapping[str, Any], voxel_nm: Nm | None, line: str, faults: Faults) -> None:
        self.row, self.voxel_nm, self.line, self.faults = row, voxel_nm, line, faults
        self.bad = False

    def length(self, name: str, of: str | None = None) -> float | None:
        """Column `name` in nm: given so, or in voxels; slices count from their middle."""
        given = self._number(f"{name}{NM}")
        counted = self._number(of or name)
        if given is not None and counted is not None:
            return self._wrong(f"both {name} and {name}{NM}; give one")
        if counted is None:
            return given
        if self.voxel_nm is None:
            raise InputError(
                f"{self.faults.file} is in voxels ({name!r}): say of which level, or give {name}{NM}"
            )
        if name in ("z", "start", "end"):
            if counted != math.floor(counted):
                return self._wrong(f"{name} is {counted:g}; slices are whole numbers")
            return (counted + 0.5) * self.voxel_nm[0]
        return counted * self.voxel_nm[1 if name.startswith("y") else 2]

    def whole(self, name: str, default: int | None) -> int | None:
        given = self.row.get(name)
        if isinstance(given, int) or (isinstance(given, str) and WHOLE.fullmatch(given)):
            return int(given)
        value = self._number(name)
        if value is None:
            return default
        if value != math.floor(value):
            self._wrong(f"{name!r} is {value:g}; wanted a whole number")
            return default
        if abs(value) >= EXACT:
            self._wrong(f"{name!r} is {value!r}, which may have been rounded; write a whole number")
            return default
        return int(value)

    def _number(self, name: str) -> float | None:
        value = self.row.get(name)
        if value is None or value == "":
            return None
        try:
            found = float(value)
        except (TypeError, ValueError):
            return self._wrong(f"{name!r} is {value!r}, which is no number")
        # An empty cell of pandas.
        if math.isnan(found) and not isinstance(value, str):
            return None
        return (
            found if math.isfinite(found) else self._wrong(f"{name!r} is {value!r}; wanted a finite number")
        )

    def _wrong(self, text: str) -> float | None:
        """Tell of the row; what is wrong is no number."""
        self.faults.add(self.line, text)
        self.bad = True
        return None


def _of_liver(lines: Sequence[tuple[int, list[str]]], voxel_nm: Nm | None, faults: Faults) -> Iterator[Row]:
    names = ("start", "z", "end", "x0", "y0", "x1", "y1")
    fields = len(lines[0][1])
    for number, values in lines:
        line = f"line {number}"
        if len(values) != fields:
            faults.add(line, f"{len(values)} fields where the first line has {fields}")
            continue
        name = values[0] if fields == max(LIVER) else str(number)
        scaled = _Scaled(dict(zip(names, values[-7:], strict=True)), voxel_nm, line, faults)
        found = {n: scaled.length(n) for n in names}
        if not scaled.bad and None in found.values():
            faults.add(line, "a field is empty")
        elif not scaled.bad:
            box = tuple(found[n] for n in BOX)
            yield Row(line, name, found["z"], "", found["start"], found["end"], box)  # type: ignore[arg-type]


def _of_points(
    rows: Sequence[tuple[str, Mapping[str, Any]]], voxel_nm: Nm | None, faults: Faults
) -> Iterator[Row]:
    """One object per point of a napari layer."""
    for line, row in rows:
        scaled = _Scaled({**row, "axis-0": _nearest(row["axis-0"])}, voxel_nm, line, faults)
        z, y, x = (scaled.length(n, f"axis-{i}") for i, n in enumerate("zyx"))
        if not scaled.bad and (z is None or y is None or x is None):
            faults.add(line, "a field is empty")
        elif z is not None and y is not None and x is not None and not scaled.bad:
            # napari counts from the middle of a voxel.
            half = [0.5 * v for v in (voxel_nm or (0.0, 0.0, 0.0))]
            yield Row(line, str(row["index"]), z, point_nm=(y + half[1], x + half[2], True))


def _of_shapes(
    rows: Sequence[tuple[str, Mapping[str, Any]]], voxel_nm: Nm | None, faults: Faults
) -> Iterator[Row]:
    """One box per rectangle, ellipse or polygon of a napari layer."""
    shapes: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for line, row in rows:
        shapes.setdefault(str(row["index"]), []).append((line, row))
    for name, vertices in shapes.items():
        first, kind = vertices[0][0], vertices[0][1]["shape-type"]
        if kind not in AREAS:
            faults.add(first, f"shape {name} is a {kind!r}, which has no inside; wanted {', '.join(AREAS)}")
            continue
        places = []
        for line, row in vertices:
            scaled = _Scaled({**row, "axis-0": _nearest(row["axis-0"])}, voxel_nm, line, faults)
            place = tuple(scaled.length(n, f"axis-{i}") for i, n in enumerate("zyx"))
            if not scaled.bad and None in place:
                faults.add(line, "a field is empty")
            elif not scaled.bad:
                places.append(place)
        if len(places) < len(vertices):
            continue
        z, y, x = zip(*places, strict=True)
        if len(set(z)) > 1:
            faults.add(first, f"shape {name} lies on several slices; draw it on one")
            continue
        half = [0.5 * v for v in (voxel_nm or (0.0, 0.0, 0.0))]
        least = (max(0.0, min(y) + half[1]), max(0.0, min(x) + half[2]))
        yield Row(first, name, z[0], box_nm=(*least, max(y) + half[1], max(x) + half[2]))


def _nearest(text: Any) -> Any:
    """A slice of napari, which need not be whole."""
    nearest: Callable[[float], float] = lambda value: math.floor(value + 0.5)  # noqa: E731
    try:
        return nearest(float(text)) if math.isfinite(float(text)) else text
    except ValueError:
        return text
