"""Which write units of an array are not stored: a local folder is listed, not asked for each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from zarr.core.sync import sync

from chunkflow_liver.store.archive import archive_of
from chunkflow_liver.store.location import check_inside, is_local, join, open_store

if TYPE_CHECKING:
    from chunkflow_liver.store.volume import Volume

DEEPEST = 8
"""Folders of an array lie at most so deep in each other; a link that leads back would have no end."""


def absent(volume: Volume) -> Iterator[str]:
    """Store keys of write units that are not there, in the order of the grid.

    Metadata may claim more units than can ever be asked for; those that are stored can be listed.

    Raises
    ------
    ChunkError
        If a link leads out of the image.
    """
    place = join(volume.url, volume.path)
    if is_local(volume.url) and archive_of(volume.url) is None:
        there = set(_files(volume.url, place, len(place) + 1, DEEPEST))
        yield from (key for key in volume.keys(volume.box) if key not in there)
        return
    store = open_store(volume.url)
    yield from (k for k in volume.keys(volume.box) if not sync(store.exists(join(volume.path, k))))


def _files(root: str, folder: str, skip: int, deep: int) -> Iterator[str]:
    """Files below `folder`, without the first `skip` characters of their paths."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                # A link may lead to another place in the image.
                check_inside(root, f"{entry.path}/a chunk")
                if deep:
                    yield from _files(root, entry.path, skip, deep - 1)
            else:
                if not entry.is_file(follow_symlinks=False):
                    check_inside(root, entry.path)
                yield entry.path[skip:]
