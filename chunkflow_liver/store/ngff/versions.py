"""The versions of OME-Zarr: the one place that says how they differ in storage."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

ZarrFormat = Literal[2, 3]

SPACE = "zyx"
STATUS = "chunkflow_liver"
"""Attribute of our own images."""
_STATED = re.compile(r"(\d+\.\d+)(?:[.-]?(?:dev|rc).*)?")


@dataclass(frozen=True)
class Version:
    """What a version of OME-Zarr fixes.

    Attributes
    ----------
    name : str
        As metadata state it.
    zarr_format : {2, 3}
        Format of its groups and arrays.
    writable : bool
        Whether we write it, too.
    axes : tuple of str
        The axes that images of this version always have; empty where they state them.
    sized : bool
        Whether it can state voxel sizes.
    systems : bool
        Whether axes and transformations belong to named coordinate systems (RFC 5).
    """

    name: str
    zarr_format: ZarrFormat
    writable: bool = False
    axes: tuple[str, ...] = ()
    sized: bool = True
    systems: bool = False

    @property
    def group_key(self) -> str:
        """Key that makes a group of a folder."""
        return "zarr.json" if self.zarr_format == 3 else ".zgroup"

    @property
    def array_key(self) -> str:
        """Key that makes an array of a folder."""
        return "zarr.json" if self.zarr_format == 3 else ".zarray"

    @property
    def attributes_key(self) -> str:
        """Key of the document with the attributes of a group."""
        return "zarr.json" if self.zarr_format == 3 else ".zattrs"

    def attributes(self, document: dict[str, Any]) -> dict[str, Any]:
        """The attributes inside the document under `attributes_key`; changing them changes it."""
        found: dict[str, Any] = document if self.zarr_format == 2 else document.setdefault("attributes", {})
        return found

    def ome(self, attributes: dict[str, Any]) -> dict[str, Any]:
        """The OME-Zarr metadata among attributes; changing them changes those."""
        found: dict[str, Any] = attributes if self.zarr_format == 2 else attributes.setdefault("ome", {})
        return found

    def document(self, attributes: dict[str, Any]) -> dict[str, Any]:
        """The document under `attributes_key` of a group with `attributes`."""
        if self.zarr_format == 2:
            return attributes
        return {"attributes": attributes, "zarr_format": 3, "node_type": "group"}


VERSIONS = {
    v.name: v
    for v in (
        Version("0.1", 2, axes=("t", "c", "z", "y", "x"), sized=False),
        Version("0.2", 2, axes=("t", "c", "z", "y", "x"), sized=False),
        Version("0.3", 2, sized=False),
        Version("0.4", 2, writable=True),
        Version("0.5", 3, writable=True),
        Version("0.6", 3, writable=True, systems=True),
    )
}
DEFAULT = "0.5"
"""What is written where nothing else is asked for."""
WRITABLE = tuple(v.name for v in VERSIONS.values() if v.writable)


def version_of(stated: str) -> Version | None:
    """The version that metadata state, with or without a mark of a preliminary one; None if unknown."""
    found = _STATED.fullmatch(stated)
    return VERSIONS.get(found[1]) if found else None


def like_stored(zarr_format: ZarrFormat, stated: str | None = None) -> Version:
    """The version to write beside what is stored in `zarr_format`: as `stated` there, where we write that."""
    found = version_of(stated or "")
    if found is not None and found.writable and found.zarr_format == zarr_format:
        return found
    return VERSIONS["0.4" if zarr_format == 2 else DEFAULT]
