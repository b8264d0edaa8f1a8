"""Where operations put their results inside a work folder."""

from __future__ import annotations

import os
from pathlib import Path

from chunkflow_liver.store.location import absolute, checked_name, join
from chunkflow_liver.store.table import Arrays, Table

PathLike = str | os.PathLike[str]


def work_folder(work: PathLike) -> Path:
    """The work folder as an absolute path."""
    return Path(absolute(work))


def label_url(work: PathLike, name: str, into: PathLike | None = None) -> str:
    """URL of the label image `name`: in `into` (an image group), else in the work folder's results."""
    group = absolute(work_folder(work) / "results.ome.zarr" if into is None else into)
    return join(group, "labels", checked_name(name))


def image_url(work: PathLike, name: str) -> str:
    """URL of the image `name` of a work folder."""
    return join(absolute(work), f"{checked_name(name)}.ome.zarr")


def table_at(work: PathLike, name: str) -> Table:
    """The table `name` of a work folder."""
    return Table(str(work_folder(work) / "tables" / f"{checked_name(name)}.parquet"))


def arrays_at(work: PathLike, name: str, what: str) -> Arrays:
    """The artefact `what` of the operation `name`."""
    return Arrays(str(work_folder(work) / "artefacts" / f"{checked_name(name)}.{what}"))
