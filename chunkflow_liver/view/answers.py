"""What the page and neuroglancer ask of a run, answered, without the network: so it can be tested alone."""

from __future__ import annotations

import contextlib
import json
import math
import shlex
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import numpy as np

from chunkflow_liver.engine.watch.status import saved_text
from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.ops.edit.lists import whole_number
from chunkflow_liver.reports.tables import Stored
from chunkflow_liver.view.annotations import Annotations, annotated, cell_of
from chunkflow_liver.view.contents import (
    Contents,
    Image,
    check_pieces,
    contents,
    finer_images,
    place_columns,
)
from chunkflow_liver.view.edits import FOLDER, Proofreading
from chunkflow_liver.view.meshes import mesh
from chunkflow_liver.view.properties import properties
from chunkflow_liver.view.rows import columns_of_numbers, is_one_row_each, jumps, own_rows, page
from chunkflow_liver.view.state import bar, state, value_layer
from chunkflow_liver.view.virtual import Ids, Virtual, coloured

T = TypeVar("T")
KEPT = 6
"""Ids of tables, places, coloured images, edited images that are kept for the next question."""
LOOK_S = 0.5
"""How long a run is taken to be as it was."""


class Run:
    """One run, read only but for its lists of edits.

    Parameters
    ----------
    work : Path
        Its folder.
    who : str
        Who edits.
    edits : Path, optional
        Where lists of edits lie, instead of in the folder.
    pieces : str, optional
        Label image that is shown, and can be cleft along, besides those of the run.

    Raises
    ------
    InputError
        If the run or the pieces cannot be read, or have not the same voxels.
    """

    def __init__(self, work: Path, who: str, edits: Path | None = None, pieces: str | None = None) -> None:
        # What is copied from the page may be typed in another folder.
        self.work = work.absolute()
        self.proofreading = Proofreading((edits or work / FOLDER).absolute(), who)
        self._pieces = pieces
        self._now = contents(work, pieces)
        check_pieces(self._now)
        self._looked = time.monotonic()
        self._single: dict[tuple[Any, ...], bool] = {}
        """Of a file as it is, whether each object has one row."""
        self._kept: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
        self._lock = Lock()

    def now(self) -> Contents:
        """The run as it is."""
        with self._lock:
            if time.monotonic() - self._looked > LOOK_S:
                self._looked = time.monotonic()
                if not self._now.is_as_it_was():
                    self._now = contents(self.work, self._pieces)
            return self._now

    def computed(self, kind: str, _generation: str, rest: str) -> bytes | Iterator[bytes] | None:
        """What is made as it is asked for: `kind` is the first part of the address, `rest` what follows.

        Long documents come part by part.
        """
        now = self.now()
        name, _, key = rest.partition("/")
        if kind == "edited":
            return self.edited(now, name).get(key)
        if kind == "values":
            table, _, key = key.partition("/")
            column, _, key = key.partition("/")
            return self._coloured(now, now.image(name), table, column).get(key)
        if kind == "meshes":
            return mesh(now, now.image(name), key, self.proofreading, self._if_edited(now, name))
        if kind == "properties":
            if key != "info":
                return None
            return properties(now, now.image(name), self._tables_of(now, name))
        return _place(self._places(now, name), key)

    def asked(self, what: str, given: Mapping[str, str]) -> Any:
        """An answer to the page; None where there is no such question."""
        now = self.now()
        try:
            return self._answer(now, what, given)
        except InputError:
            # What was just taken away or changed is not known yet.
            if now.is_as_it_was():
                raise
            self._looked = -math.inf
            return self._answer(self.now(), what, given)

    def _answer(self, now: Contents, what: str, given: Mapping[str, str]) -> Any:
        match what:
            case "run":
                return self._run(now)
            case "changes":
                return {"generation": now.generation, "pending": now.pending, "line": self._line(now)}
            case "table":
                return page(
                    now,
                    given.get("name", ""),
                    conditions=given.get("where", ""),
                    sort=given.get("sort") or None,
                    down=given.get("down") == "1",
                    begin=_whole(given.get("begin", "0")),
                )
            case "jumps":
                return jumps(now)
            case "go":
                return self._go(now, given)
            case "values":
                image, table, column = (given.get(k, "") for k in ("image", "table", "column"))
                values = self._per_object(now, table).values(column)[own_rows(now.table(table))]
                return value_layer(now.image(image), table, column, values, self.proofreading.revision(image))
            case "colours":
                # Of each instances the columns, by table: to know takes a look at every row.
                named = (n for n, i in now.images.items() if i.kind == "instances")
                return {image: columns_of_numbers(self._tables_of(now, image)) for image in named}
            case "edits":
                return self._waiting(now)
            case "marks":
                return self.proofreading.marks()
        return None

    def told(self, what: str, given: Any) -> Any:
        """What the page wants kept; None where there is no such place."""
        if not isinstance(given, dict):
            raise ConfigError(f"wanted is a JSON object, got a {type(given).__name__}")
        now = self.now()
        match what:
            case "edit":
                self.proofreading.add(now, given)
                return self._waiting(now)
            case "undo":
                self.proofreading.undo(str(given.get("image", "")))
                return self._waiting(now)
            case "mark":
                return {"marks": self.proofreading.mark(given)}
            case "view":
                if not isinstance(given.get("state"), dict):
                    raise ConfigError("a view that is kept needs 'name' and 'state'")
                self.proofreading.keep_view(str(given.get("name", "")), given["state"])
                return self.proofreading.views()
        return None

    def edited(self, now: Contents, name: str) -> Virtual:
        """The image `name` with the edits that wait."""
        revision = self.proofreading.revision(name)
        return self._keep(("edited", name, revision), lambda: self.proofreading.shown(now, name))

    def _run(self, now: Contents) -> dict[str, Any]:
        return {
            "name": now.work.path.name,
            "generation": now.generation,
            "pending": now.pending,
            "line": self._line(now),
            "wrong": list(now.wrong),
            "state": state(now, self._revisions(now)),
            "bars": {n: found for n, i in now.images.items() if (found := bar(i)) is not None},
            "instances": [n for n, i in now.images.items() if i.is_edited],
            "tables": [
                {
                    "name": n,
                    "kind": t.product.kind,
                    "rows": t.rows,
                    "columns": t.names,
                    "placed": place_columns(t.names) is not None,
                    "image": image.name if (image := now.labels_of(t)) else None,
                }
                for n, t in now.tables.items()
            ],
            "views": self.proofreading.views(),
            "edits": self._waiting(now),
        }

    def _waiting(self, now: Contents) -> dict[str, Any]:
        found = {}
        for name, image in now.images.items():
            if not image.is_edited:
                continue
            edits = self.proofreading.edits(name)
            found[name] = {
                "revision": self.proofreading.revision(name),
                "rows": [
                    {
                        "action": e.action,
                        "label": str(e.label),
                        "other": e.named or str(e.other),
                        "said": e.said,
                    }
                    for e in edits
                ],
                # Ids that are no more, and what they became.
                "ends": {str(k): str(v) for k, v in self.proofreading.ends(name).items()},
                "corner": list(reversed(image.corner_nm)),
                "meshes": now.measured(name) is not None,
                "pieces": finer_images(now, name),
                "format": image.finest.zarr_format,
                "command": self._command(now, image) if edits else "",
            }
        return found

    def _command(self, now: Contents, image: Image) -> str:
        """What a person types to have the edits for good."""
        table = now.measured(image.name)
        parts = ["chunkflow-liver", "edit", image.finest.url]
        parts += ["--edits", str(self.proofreading.path(image.name))]
        parts += ["--table", table.path] if table else []
        pieces = self.proofreading.pieces(now, image.name)
        parts += ["--pieces", pieces.finest.url] if pieces else []
        name = f"{image.name}-edited"
        parts += ["--name", name, "--work", str(self.work)]
        # With those of the run an entry 'edit' of its run file that has this name finds it done.
        parts += ["--block", *map(str, block)] if (block := now.block_of(image.name)) else []
        # The list was applied before, when it was another one.
        parts += ["--redo"] if name in now.images else []
        return shlex.join(parts)

    def _revisions(self, now: Contents) -> dict[str, str]:
        found = {n: self.proofreading.revision(n) for n, i in now.images.items() if i.is_edited}
        return {n: r for n, r in found.items() if r is not None}

    def _go(self, now: Contents, given: Mapping[str, str]) -> dict[str, Any]:
        """Where a link of the report leads: to an object, a row of a table, or a place."""
        wanted = given.get("run", now.work.path.name)
        if wanted != now.work.path.name:
            raise InputError(
                f"this viewer shows the run {now.work.path.name!r}, and the link leads to {wanted!r}"
            )
        if "at" in given:
            return {"position": _world(now, given["at"]), "image": None, "label": None}
        if "object" not in given:
            return {}
        label = _whole(given["object"])
        name = given.get("in", "")
        if name and name not in now.images and name not in now.tables:
            instances = [n for n, i in now.images.items() if i.kind == "instances"]
            raise InputError(
                f"there is nothing named {name!r} (yet); the instances are {sorted(instances)}, "
                f"the tables {sorted(now.tables)}"
            )
        image = name if name in now.images else None
        if name in now.tables and (about := now.labels_of(now.tables[name])) is not None:
            image = about.name
        if not name:
            measured = (n for n, i in now.images.items() if i.kind == "instances" and now.measured(n))
            image = next(measured, None)
        if image is None:
            raise InputError(f"no table says where object {label} lies: measure the features 'basic'")
        labels = now.image(image)
        box = now.box_of(image, label)
        middle = [
            c + (a + b) / 2 * v
            for c, a, b, v in zip(labels.corner_nm, box.start, box.stop, labels.finest.voxel_nm, strict=True)
        ]
        table = now.measured(image)
        if table is not None and (columns := place_columns(table.names)) is not None:
            row = int(np.flatnonzero(table.values("label") == np.uint64(label))[0])
            middle = [c + float(table.values(n)[row]) for c, n in zip(labels.corner_nm, columns, strict=True)]
        size = max(n * v for n, v in zip(box.shape, labels.finest.voxel_nm, strict=True))
        return {"position": middle[::-1], "image": image, "label": str(label), "size": size}

    def _coloured(self, now: Contents, image: Image, table: str, column: str) -> Virtual:
        edited = self._if_edited(now, image.name)

        def made() -> Virtual:
            found = self._per_object(now, table)
            own = own_rows(found)
            ids = self._keep(("ids", table, now.generation), lambda: Ids.of(found.values("label")[own]))
            rows_for = self.proofreading.rows_for(image.name) if edited else None
            return coloured(image.levels, ids, found.values(column)[own], edited, rows_for)

        revision = self.proofreading.revision(image.name)
        return self._keep(("values", image.name, table, column, now.generation, revision), made)

    def _if_edited(self, now: Contents, name: str) -> Virtual | None:
        """The image `name` with the edits that wait; None without any."""
        waits = now.image(name).is_edited and self.proofreading.revision(name) is not None
        return self.edited(now, name) if waits else None

    def _tables_of(self, now: Contents, image: str) -> list[Stored]:
        """The tables with a row for each object of an image."""
        about = [t for t in now.tables.values() if (of := now.labels_of(t)) and of.name == image]
        found = []
        for table in about:
            # Of one that is damaged it is said where its columns are asked for.
            with contextlib.suppress(InputError):
                if not self._is_per_object(now, table):
                    continue
            found.append(table)
        return found

    def _is_per_object(self, now: Contents, table: Stored) -> bool:
        if "label" not in table.names:
            return False
        key = (table.path, now.files.get(table.path))
        if key not in self._single:
            self._single[key] = is_one_row_each(table)
        return self._single[key]

    def _per_object(self, now: Contents, name: str) -> Stored:
        """A table that objects can be coloured by."""
        table = now.table(name)
        if not self._is_per_object(now, table):
            raise InputError(
                f"table {name!r} has no row for each object, or several, so none says its colour; take one "
                "with a row per object"
            )
        return table

    def _places(self, now: Contents, name: str) -> Annotations:
        return self._keep(("places", name, now.generation), lambda: annotated(now, name))

    def _keep(self, key: tuple[Any, ...], made: Callable[[], T]) -> T:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                found: T = self._kept[key]
                return found
        value = made()
        with self._lock:
            self._kept[key] = value
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return value

    def _line(self, now: Contents) -> str:
        return saved_text(self.work) if now.pending else "finished"


def _world(now: Contents, text: str) -> list[float]:
    """(x, y, z) in the frame of the images of 'z,y,x' in nm from the volume's first corner."""
    try:
        z, y, x = (float(p) for p in text.split(","))
    except ValueError as err:
        raise InputError(f"a place is z,y,x in nm, got {text!r}") from err
    image = next(iter(now.images.values()), None)
    if image is None:
        return [x, y, z]
    size = [n * v for n, v in zip(image.finest.shape, image.finest.voxel_nm, strict=True)]
    if not all(0 <= p <= s for p, s in zip((z, y, x), size, strict=True)):
        raise InputError(
            f"the place {text} lies outside the volume, which is {','.join(f'{s:g}' for s in size)} nm large "
            "along z,y,x: places are nm from its first corner"
        )
    return [p + c for p, c in zip((x, y, z), reversed(image.corner_nm), strict=True)]


def _whole(text: str) -> int:
    found = whole_number(text)
    if found is None:
        raise InputError(f"wanted is a whole number below 2^64, got {text[:80]!r}")
    return found


def _place(found: Annotations, key: str) -> bytes | None:
    if key == "info":
        return json.dumps(found.info()).encode()
    first, _, rest = key.partition("/")
    number = whole_number(rest)
    if first == "by_id" and number is not None and number < len(found.points):
        return found.row(number)
    if first == "of" and number is not None:
        return found.of(number)
    level = whole_number(first.removeprefix("level"))
    if first.startswith("level") and level is not None and level < found.levels and (cell := cell_of(rest)):
        return found.cell(level, cell)
    return None
