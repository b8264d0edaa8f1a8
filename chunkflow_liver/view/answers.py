"""What the page and neuroglancer ask of a run, answered, without the network: so it can be tested alone."""

from __future__ import annotations

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
from chunkflow_liver.ops.meshes import surface
from chunkflow_liver.store.exports.precomputed import mesh_bytes
from chunkflow_liver.view.annotations import Annotations, annotated, cell_of
from chunkflow_liver.view.contents import (
    PLACED,
    WORST,
    Contents,
    Image,
    check_pieces,
    contents,
    finer_images,
    place_columns,
)
from chunkflow_liver.view.edits import FOLDER, Proofreading
from chunkflow_liver.view.properties import properties
from chunkflow_liver.view.rows import columns_of_numbers, page
from chunkflow_liver.view.state import bar, state, value_layer
from chunkflow_liver.view.virtual import Ids, Virtual, coloured

T = TypeVar("T")
KEPT = 6
"""Ids of tables, places, coloured images, edited images that are kept for the next question."""
MESH_VOXELS = 1 << 22
"""Voxels of the box of an object whose surface is made; larger objects take a coarser level."""
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
            return _mesh(now, now.image(name), key)
        if kind == "properties":
            return properties(now, now.image(name)) if key == "info" else None
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
                return _jumps(now)
            case "go":
                return self._go(now, given)
            case "values":
                image, table, column = (given.get(k, "") for k in ("image", "table", "column"))
                values = now.table(table).values(column)[_own(now.table(table))]
                return value_layer(now.image(image), table, column, values)
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
            "colours": {
                image: columns_of_numbers([t for t in now.tables.values() if _about(now, t) == image])
                for image in (n for n, i in now.images.items() if i.kind == "instances")
            },
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
                "corner": list(reversed(image.corner_nm)),
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
        def made() -> Virtual:
            found = now.table(table)
            own = _own(found)
            ids = self._keep(("ids", table, now.generation), lambda: Ids.of(found.values("label")[own]))
            return coloured(image.levels, ids, found.values(column)[own])

        return self._keep(("values", image.name, table, column, now.generation), made)

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


def _own(table: Any) -> Any:
    """Rows of objects of the image that a table is about: of contacts those of side a."""
    return table.values("side") == "a" if "side" in table.names else slice(None)


def _about(now: Contents, table: Any) -> str | None:
    image = now.labels_of(table)
    return image.name if image else None


def _world(now: Contents, text: str) -> list[float]:
    """(x, y, z) in the frame of the images of 'z,y,x' in nm from the volume's first corner."""
    try:
        z, y, x = (float(p) for p in text.split(","))
    except ValueError as err:
        raise InputError(f"a place is z,y,x in nm, got {text!r}") from err
    image = next(iter(now.images.values()), None)
    corner = image.corner_nm if image else (0.0, 0.0, 0.0)
    return [p + c for p, c in zip((x, y, z), reversed(corner), strict=True)]


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


def _mesh(now: Contents, image: Image, key: str) -> bytes | None:
    """Neuroglancer's mesh of an object in one piece: its list of pieces, or vertices and triangles."""
    if key == "info":
        return json.dumps({"@type": "neuroglancer_legacy_mesh"}).encode()
    first, _, rest = key.partition(":")
    label = whole_number(first)
    if label is None:
        return None
    if rest == "0":
        return json.dumps({"fragments": [str(label)]}).encode()
    box = now.box_of(image.name, label)
    for level in image.levels:
        there = box.coarser(level.reduction).clip(level.box)
        if there.size <= MESH_VOXELS:
            break
    return mesh_bytes(*surface(level, label, there))


def _jumps(now: Contents) -> list[dict[str, Any]]:
    """The rows that are most worth a look: the worst seams, the thinnest necks, the largest contacts."""
    found = []
    for name, table in now.tables.items():
        by, down = WORST.get(table.product.kind, (None, False))
        if by is None:
            continue
        listed: dict[str, Any] = {"table": name, "what": PLACED[table.product.kind], "by": by}
        try:
            if by in table.names and place_columns(table.names):
                rows = page(now, name, sort=by, down=down)
                at = rows["columns"].index(by)
                shown = zip(rows["rows"][:20], rows["places"][:20], strict=True)
                found.append(listed | {"rows": [{"value": row[at], "place": place} for row, place in shown]})
        except InputError as err:
            # One that is damaged keeps no other away.
            found.append(listed | {"rows": [], "wrong": str(err)})
    return found
