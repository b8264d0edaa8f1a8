"""Suggested boxes as a person takes them: a sheet of rows, and sources for a training file."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.errors import OutputError
from chunkflow_liver.geometry import Box, zyx
from chunkflow_liver.store.table import Columns
from chunkflow_liver.store.volume import Volume


@dataclass(frozen=True)
class Sheets:
    """A handle to `<name>.yaml` of a work folder and `tables/<name>.tsv`, which may not exist yet.

    Attributes
    ----------
    path : str
        Of the YAML file. It names images by their whole paths, the other by nothing.
    raw, labels : Volume
        The image, and the empty labels that are to be painted.
    ignore : int
        Number in the labels of voxels outside of the boxes.
    """

    path: str
    raw: Volume
    labels: Volume
    ignore: int

    @property
    def rows(self) -> Path:
        sources = Path(self.path)
        return sources.parent / "tables" / f"{sources.stem}.tsv"

    @property
    def sources(self) -> Path:
        return Path(self.path)

    def exists(self) -> bool:
        return self.rows.is_file() and self.sources.is_file()

    def write(self, columns: Columns, provenance: Mapping[str, Any] | None = None) -> None:
        """Write both files.

        Raises
        ------
        OutputError
            If someone has painted in the boxes of earlier files: the labels would be emptied next.
        """
        self._refuse_painted()
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        self.rows.parent.mkdir(parents=True, exist_ok=True)
        partial = self.rows.with_name(f"{self.rows.name}.partial")
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter="\t", lineterminator="\n")
            writer.writerow(columns)
            writer.writerows([_text(value) for value in row.values()] for row in rows)
        os.replace(partial, self.rows)
        partial = self.sources.with_name(f"{self.sources.name}.partial")
        partial.write_text(self._yaml(rows), encoding="utf-8")
        os.replace(partial, self.sources)

    def _yaml(self, rows: Sequence[Mapping[str, Any]]) -> str:
        at = {"c": "channel", "t": "timepoint"}
        chosen = [f"    {at[axis]}: {index}" for axis, index in self.raw.at if axis in at]
        return "\n".join(
            [
                "# Paint all of a box, and put the entry among the 'sources' of a training file. Delete the",
                "# lines of boxes that you did not paint: what is 0 in a box counts as background.",
                "sources:",
                f"  - image: {json.dumps(self.raw.url)}",
                *chosen,
                f"    labels: {json.dumps(self.labels.url)}",
                f"    ignore: {self.ignore}",
                "    boxes_nm:",
                *(
                    f"      - [{_corner(row, 'start')}, {_corner(row, 'stop')}]  {_about(row)}"
                    for row in rows
                ),
                "",
            ]
        )

    def _refuse_painted(self) -> None:
        if not (self.rows.is_file() and self.labels.exists()):
            return
        with self.rows.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                corners = ([int(row[f"{a}_{end}"]) for a in "zyx"] for end in ("start", "stop"))
                found = self.labels.read(Box(*(zyx(corner) for corner in corners)))
                if not np.isin(found, (0, self.ignore)).all():
                    raise OutputError(
                        f"box {row['rank']} of {self.labels.url} is painted, and other boxes would be "
                        "written over it; give the new suggestions another name"
                    )


def _about(row: Mapping[str, Any]) -> str:
    return f"# {row['rank']}: {row['why']}"


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _corner(row: Mapping[str, Any], end: str) -> str:
    return "[" + ", ".join(f"{row[f'{a}_{end}_nm']:.12g}" for a in "zyx") + "]"
