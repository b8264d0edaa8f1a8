"""Edits that wait: made in the viewer, kept as the list that `edit` takes, shown on the fly, undone."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from chunkflow_liver.errors import ConfigError, InputError, OutputError
from chunkflow_liver.geometry import BlockGrid, Box
from chunkflow_liver.kernels.instances.edits import Cleft, Cut, Step, apply_steps
from chunkflow_liver.ops.edit.ahead import ends_of
from chunkflow_liver.ops.edit.cleaving import cleft, looked_at
from chunkflow_liver.ops.edit.cutting import boxes_after, cut_level, level_like, sides
from chunkflow_liver.ops.edit.lists import (
    IN_TWO,
    Edit,
    checked,
    current,
    merged_into,
    named_before,
    plain_steps,
    read_edits,
    whole_number,
    with_cuts,
    write_edits,
)
from chunkflow_liver.store.location import checked_name
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.view.contents import PIECES, Contents, Image, finer_images, pieces_at
from chunkflow_liver.view.virtual import Virtual

FOLDER = "proofreading"
"""In the work folder: lists of edits, marks, kept views."""
MADE = ("merge", *IN_TWO, "delete", "class")
"""Actions that the viewer offers; a list by hand may hold others."""
BLOCK = (64, 256, 256)
"""Voxels of an object that are looked at at once where it goes along pieces."""
MARKS = ("table", "row", "label", "what", "who", "when", "why")


class Proofreading:
    """The lists of edits of one run; each change is on disk when it is answered."""

    def __init__(self, folder: Path, who: str) -> None:
        self.folder, self.who = folder, who
        self._lock = Lock()
        self._cuts: dict[str, list[tuple[tuple[Any, ...], Cut | Cleft]]] = {}
        """Of each image the cuts that are known, and the rows up to each: another list makes them anew."""

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """The folder, made where it is not there; what the disk refuses is told as ours."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            yield
        except OSError as err:
            raise OutputError(
                f"cannot write into {self.folder} ({err.strerror or err}): edits and marks are kept there; "
                "start 'chunkflow-liver view' with --edits and a folder that you may write into"
            ) from err

    def path(self, image: str) -> Path:
        return self.folder / f"{checked_name(image)}.csv"

    def _along(self, image: str) -> Path:
        return self.folder / f"{checked_name(image)}.pieces"

    def pieces(self, contents: Contents, image: str) -> Image | None:
        """The image whose pieces the list of `image` goes along; None while it goes along none."""
        path = self._along(image)
        if not path.exists() or all(e.action != "cleave" for e in self.edits(image)):
            return None
        named = path.read_text(encoding="utf-8")
        known = next((i for n, i in contents.images.items() if named in (n, i.finest.url)), None)
        # Those that the list goes along need not be shown this time.
        return known or pieces_at(named)

    def edits(self, image: str) -> list[Edit]:
        """The list of an image; empty if there is none."""
        path = self.path(image)
        if not path.exists():
            return []
        rows = read_edits(path)
        return checked(rows, str(path)) if rows else []

    def revision(self, image: str) -> str | None:
        """What changes with every edit; None without any."""
        edits = self.edits(image)
        if not edits:
            return None
        import zlib

        return f"{len(edits)}-{zlib.crc32(repr([e.row for e in edits]).encode()):08x}"

    def add(self, contents: Contents, given: Mapping[str, Any]) -> Edit:
        """Append an edit to the list of its image.

        Parameters
        ----------
        contents : Contents
        given : mapping
            'image', 'action', 'label', of a merge 'other', of a cut or cleave 'points' ((z, y, x) in nm,
            twice), of a cleave 'pieces' (an image), of a class 'named', and 'why' and 'who' if known.

        Raises
        ------
        ConfigError, InputError
            If it cannot be carried out, before it is written.
        """
        try:
            image, action, label = str(given["image"]), str(given["action"]), whole_number(given["label"])
            points = tuple(float(p) for p in given.get("points", ()))
            other = whole_number(given.get("other", 0))
            if label is None or other is None:
                raise ValueError("ids are whole numbers")
        except (KeyError, TypeError, ValueError) as err:
            raise ConfigError(
                "an edit needs image, action, label and what belongs to it, ids as whole numbers below 2^64; "
                f"got {given!r}"
            ) from err
        if action not in MADE:
            raise ConfigError(f"no edit {action!r} from the viewer; there are {MADE}")
        labels = contents.image(image)
        if not labels.is_edited or labels.pending:
            raise InputError(f"{image!r} is no finished image of instances: there is nothing to edit in it")
        said = (
            str(given.get("who") or self.who),
            datetime.now(UTC).isoformat(timespec="seconds"),
            str(given.get("why", "")),
        )
        with self._lock:
            before = self.edits(image)
            if action in IN_TWO:
                other = self._free(contents, labels, before)
            pieces = self._chosen(contents, labels, before, given) if action == "cleave" else None
            named = str(given.get("named", "")).strip() if action == "class" else ""
            edit = Edit(action, label, other, points, said, named)
            # Through the texts of the list, so that what is shown is what will be read from it.
            after = checked([e.cells for e in [*before, edit]], "the edits")
            if action == "merge" and current(merged_into(before), label) == current(
                merged_into(before), other
            ):
                raise ConfigError(f"{label} and {other} are one object already")
            self._check(contents, labels, before, edit)
            if action in IN_TWO:
                self._known(contents, labels, after, pieces)
            with self._writing():
                if pieces is not None:
                    known = pieces.finest.url if pieces.kind == PIECES else pieces.name
                    self._along(image).write_text(known, encoding="utf-8")
                write_edits(self.path(image), after)
        return edit

    def undo(self, image: str) -> Edit:
        """Take the last edit back.

        Raises
        ------
        InputError
            If there is none.
        """
        with self._lock:
            edits = self.edits(image)
            if not edits:
                raise InputError(f"no edit of {image!r} waits: there is nothing to undo")
            with self._writing():
                if edits[:-1]:
                    write_edits(self.path(image), edits[:-1])
                else:
                    self.path(image).unlink()
        return edits[-1]

    def shown(self, contents: Contents, name: str) -> Virtual:
        """The instances with all edits that wait applied; computed chunk by chunk."""
        image = contents.image(name)
        edits, pieces = self.edits(name), self.pieces(contents, name)
        with self._lock:
            steps = with_cuts(plain_steps(edits), self._known(contents, image, edits, pieces))
        along = pieces if any(isinstance(step, Cleft) for step in steps) else None
        largest = max([e.other for e in edits], default=0)
        dtype = np.promote_types(image.finest.dtype, np.min_scalar_type(largest))

        def made(labels: Any, box: Box, level: Volume) -> Any:
            finer = None if along is None else level_like(along.levels, level).read(box)
            return apply_steps(labels.astype(dtype, copy=False), box.start, level.reduction, steps, finer)

        # Neuroglancer takes segments of 32 or 64 bits, and smaller ones.
        return Virtual(image.levels, np.dtype(dtype).name, made)

    def ends(self, image: str) -> dict[int, int]:
        """What became of ids by edits that wait, where they are no more: another id, or 0."""
        ends = ends_of([e.row for e in self.edits(image)])[0]
        return {label: end for label, end in ends.items() if label != end}

    def rows_for(self, image: str) -> dict[int, int]:
        """Of parts that edits cut off, and no table knows, the object whose row stands for them."""
        edits, found = self.edits(image), dict[int, int]()
        for index, edit in enumerate(edits):
            if edit.action in IN_TWO:
                label = current(merged_into(edits[:index]), edit.label)
                found[edit.other] = found.get(label, label)
        return found

    def box_of(self, contents: Contents, image: str, label: int) -> Box:
        """Bounding box of an object after the edits that wait, in voxels of the finest level.

        Raises
        ------
        InputError
            If no table says it, or the edits left no such object.
        """
        edits = self.edits(image)
        if label in self.ends(image):
            raise InputError(f"by the edits that wait there is no object {label} in {image!r} any more")
        named = named_before([e.row for e in edits])
        boxes = boxes_after(edits, contents.boxes_of(image, named))[1] if named else {}
        return boxes[label] if label in boxes else contents.box_of(image, label)

    def mark(self, given: Mapping[str, Any]) -> int:
        """Note that a row of a table, or an object, is wrong; returns how many marks there are."""
        row = {
            "table": str(given.get("table", "")),
            "row": str(given.get("row", "")),
            "label": str(given.get("label", "")),
            "what": str(given.get("what", "wrong")),
            "who": str(given.get("who") or self.who),
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "why": str(given.get("why", "")),
        }
        path = self.folder / "marks.csv"
        with self._lock, self._writing():
            begins = not path.exists()
            with path.open("a", newline="", encoding="utf-8") as file:
                rows = csv.DictWriter(file, MARKS)
                if begins:
                    rows.writeheader()
                rows.writerow(row)
        return len(self.marks())

    def marks(self) -> list[dict[str, str]]:
        """All marks, the first one first."""
        path = self.folder / "marks.csv"
        if not path.exists():
            return []
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def keep_view(self, name: str, state: Mapping[str, Any]) -> None:
        """Keep a view under a name."""
        path = self.folder / "views.json"
        with self._lock, self._writing():
            known = self.views()
            known[name[:80]] = dict(state)
            partial = path.with_suffix(".partial")
            partial.write_text(json.dumps(known))
            os.replace(partial, path)

    def views(self) -> dict[str, Any]:
        """The views that were kept."""
        path = self.folder / "views.json"
        found = json.loads(path.read_text()) if path.exists() else {}
        return found if isinstance(found, dict) else {}

    def _free(self, contents: Contents, image: Image, edits: list[Edit]) -> int:
        """The smallest id after all that there are."""
        table = contents.measured(image.name)
        if table is None:
            raise InputError(
                f"no table says which ids {image.name!r} has: measure its features 'basic' to cut objects"
            )
        largest = int(table.values("label").max(initial=0))
        return max([largest, *(i for e in edits for i in (e.label, e.other))]) + 1

    def _check(self, contents: Contents, image: Image, before: list[Edit], edit: Edit) -> None:
        table = contents.measured(image.name)
        if table is None:
            return
        fresh = {e.other for e in before if e.action in IN_TWO}
        named = [edit.label] + ([edit.other] if edit.action == "merge" else [])
        there = table.values("label")
        missing = [i for i in named if i not in fresh and not (there == np.uint64(i)).any()]
        if missing:
            raise InputError(f"{image.name!r} has no objects {missing}")

    def _chosen(
        self, contents: Contents, image: Image, before: list[Edit], given: Mapping[str, Any]
    ) -> Image:
        """The pieces that a cleave goes along: those of the whole list."""
        name = str(given.get("pieces", ""))
        known = finer_images(contents, image.name)
        if name not in known:
            raise InputError(
                f"{name!r} is no image of pieces of {image.name!r}: choose one of {known}, label images with "
                "the same voxels and levels; 'chunkflow-liver view' takes others by --pieces"
            )
        there = self.pieces(contents, image.name)
        if there is not None and there.name != name:
            raise ConfigError(
                f"the list of {image.name!r} goes along the pieces {there.name!r}: apply it, or undo those "
                f"rows, before it goes along {name!r}"
            )
        return contents.image(name)

    def _known(
        self, contents: Contents, image: Image, edits: list[Edit], pieces: Image | None
    ) -> list[Cut | Cleft]:
        """The objects in two of a list; those that were made for the same rows are not made again."""
        cuts = [i for i, e in enumerate(edits) if e.action in IN_TWO]
        if not cuts:
            return []
        kept = self._cuts.setdefault(image.name, [])
        named = named_before([e.row for e in edits])
        boxes = boxes_after(edits, contents.boxes_of(image.name, named))[0]
        steps = plain_steps(edits)
        found: list[Cut | Cleft] = []
        for number, index in enumerate(cuts):
            rows = (pieces and pieces.name, *(e.row for e in edits[: index + 1]))
            if number < len(kept) and kept[number][0] == rows:
                found.append(kept[number][1])
                continue
            before = with_cuts(steps[: steps.index(number)], found)
            label = current(merged_into(edits[:index]), edits[index].label)
            made = _in_two(image, pieces, edits[index], boxes[number], label, before)
            del kept[number:]
            kept.append((rows, made))
            found.append(made)
        return found


def _in_two(
    image: Image, pieces: Image | None, edit: Edit, box: Box, label: int, before: Sequence[Step]
) -> Cut | Cleft:
    """An object in two, as the operation `edit` makes it."""
    if edit.action == "cut":
        level, there = cut_level(image.finest, box)
        finer = None if pieces is None else level_like(pieces.levels, level).read(there)
        return sides(level.read(there), there, level.voxel_nm, level.reduction, edit, label, before, finer)
    if pieces is None:
        raise InputError(
            f"it is not known which pieces row cleave,{edit.label},{edit.other} goes along: take it out of "
            "the list, and make it anew here"
        )
    labels, nm = image.finest, image.finest.voxel_nm
    found = (
        looked_at(b, labels.read(b.read), pieces.finest.read(b.read), nm, edit, label, before)
        for b in BlockGrid(box.clip(labels.box), BLOCK, high=(1, 1, 1))
    )
    return cleft(found, nm, edit, label)
