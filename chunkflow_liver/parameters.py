"""What a parameter means that several functions, or a function and the command line, share: told once."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Shared:
    """A parameter: how it is called in a signature, its type as docstrings state it, what it means."""

    name: str
    kind: str
    text: str

    def __str__(self) -> str:
        """Its lines in a docstring."""
        return "\n".join([f"{self.name} : {self.kind}", *textwrap.wrap(self.text, 100, **_AS_IS)])


_AS_IS: dict[str, Any] = {
    "initial_indent": "    ",
    "subsequent_indent": "    ",
    "break_long_words": False,
    "break_on_hyphens": False,
}

SHARED: Mapping[str, Shared] = {
    # operations
    "work": Shared(
        "work",
        "path",
        "Work folder: gets the journal, tables and images, and is what a later run goes on from.",
    ),
    "block": Shared(
        "block",
        "Zyx, optional",
        "Voxels per block; by default the write unit of the output, or of the first input of tables.",
    ),
    "slices": Shared(
        "block",
        "Zyx, optional",
        "Slices per block; slices are whole, so the other two count for nothing.",
    ),
    "into": Shared(
        "into",
        "path or URL, optional",
        "Image group whose `labels` the result joins; the work folder's by default.",
    ),
    "pieces": Shared(
        "pieces",
        "Volume, optional",
        "Finer objects on the same voxels, for `divide` and `cleave`: the instances before a merge, or "
        "supervoxels.",
    ),
    # images that are made of files
    "file_voxel_nm": Shared(
        "voxel_nm",
        "sequence of 3 float, optional",
        "Voxel size along (z, y, x), in nm; needed where the file states none. It wins over what the file "
        "states, and the log says where they differ.",
    ),
    "ome_version": Shared(
        "ome_version", "{'0.5', '0.6', '0.4'}", "0.5 and 0.6 are zarr v3 with shards, 0.4 is zarr v2."
    ),
    "allow_gaps": Shared(
        "allow_gaps",
        "bool",
        "Whether slices missing in the numbers of a folder, and absent chunks of an N5, precomputed or zarr "
        "volume, read as zeros or the fill value instead of an error.",
    ),
    "allow_overlaps": Shared(
        "allow_overlaps",
        "bool",
        "Whether a voxel in several masks gets the class named first instead of being an error.",
    ),
    # runs
    "retries": Shared(
        "retries",
        "int",
        "How often a block that failed is tried again; not where its data or settings are at fault.",
    ),
    "redo": Shared(
        "redo",
        "bool",
        "Do again the stages whose parameters or inputs differ from those of the work folder, instead of "
        "refusing.",
    ),
    "worker_gib": Shared(
        "memory_gib",
        "float, optional",
        "Memory of each worker in GiB; an equal share of the machine by default, in SLURM jobs 16.",
    ),
    "scheduler": Shared(
        "scheduler",
        "str, optional",
        "Address of a running dask scheduler, or the path of its scheduler file; then nothing is started.",
    ),
    "page": Shared(
        "to", "path, optional", "HTML file to write; `report.html` in the work folder by default."
    ),
    # exports
    "export_to": Shared(
        "to",
        "path",
        "File to make; its ending chooses the format: .tif, .tiff, .nii, .nii.gz; for a table .csv, "
        ".xlsx, .h5ad (AnnData), .spatialdata.zarr (SpatialData) or .segment_properties (neuroglancer).",
    ),
    "read": Shared("read", "callable", "Voxels of a `Box`: an array of shape `box.shape` and type `dtype`."),
    "shape": Shared("shape", "Zyx", "Voxels along (z, y, x)."),
    "slab": Shared(
        "slab",
        "int",
        "Slices that are read and held at once; the chunk depth of the source reads each chunk once.",
    ),
    "measured": Shared("table", "Table or path", "With the columns `label` and `centroid_*_nm` ('basic')."),
    "labelled": Shared("table", "Table or path", "With the column `label`."),
    "table_to": Shared("to", "path", "File or folder to make."),
    "mesh_table": Shared(
        "table",
        "Table or path",
        "Table of the same instances with the columns of 'basic': says where each one lies.",
    ),
    "mesh_to": Shared(
        "to", "path", "Folder for one file per instance, named by its label; made if it does not exist."
    ),
    "ids": Shared("ids", "sequence of int, optional", "Which instances; all of the table by default."),
    "ending": Shared("ending", "{'.ply', '.obj'}", "Format: .ply (binary) or .obj."),
    "columns": Shared("columns", "sequence of str, optional", "Which columns; all by default."),
    # models
    "units": Shared(
        "units",
        "str",
        "Unit of the spacing in plans.json, which nnU-Net does not write down: nm, um, mm, m, or voxel for a "
        "model whose spacing is not to be looked at.",
    ),
}
"""By key; in a docstring `{key}` on a line of its own, at the command line `help=told(key)`."""


def told(key: str) -> str:
    """What a shared parameter means, as `--help` says it."""
    return SHARED[key].text


def documented(function: F) -> F:
    """`function`, with the text of shared parameters in its docstring."""
    function.__doc__ = filled(function.__doc__)
    return function


def filled(text: str | None) -> str | None:
    """A docstring with the text of shared parameters in it; None without one, as under `python -OO`."""
    if text is None:
        return None
    lines = []
    for line in inspect.cleandoc(text).split("\n"):
        key = line.strip().strip("{}")
        lines.append(str(SHARED[key]) if line == f"{{{key}}}" and key in SHARED else line)
    return "\n".join(lines)
