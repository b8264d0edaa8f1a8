"""Open arrays that a process keeps, as opening one costs about as much as reading a chunk."""

from __future__ import annotations

import functools
import os
from typing import Any

import zarr

from chunkflow_liver.store.archive import archive_of, entry_mark
from chunkflow_liver.store.location import forget_folders, is_local, join, open_store
from chunkflow_liver.store.shards import Shards, shards_of

Mark = tuple[int, ...] | bytes


def array_at(url: str, path: str, key: str, *, complete: bool) -> zarr.Array[Any]:
    """The array `path` of the group `url`, kept as long as its metadata stay as they are.

    Parameters
    ----------
    url, path : str
    key : str
        Of its metadata, below `path`.
    complete : bool
        Whether a chunk that is not there is an error instead of fill value.

    Raises
    ------
    FileNotFoundError
        If there is none.

    Notes
    -----
    Another program may write an array anew at the same place. In local files each call sees it, by the
    state of the file of metadata; in an object store, where a look costs as much as a chunk, `open_volume`
    does.
    """
    return _array(url, path, complete, _mark(url, path, key))


def shards_at(url: str, path: str, key: str) -> Shards | None:
    """The shards of the array that `array_at` gives, if it lies in a local folder in the form for them."""
    return _shards(url, path, _mark(url, path, key)) if is_local(url) else None


def forget_handles() -> None:
    """Drop what this process keeps: an array may have been made or replaced since."""
    _array.cache_clear()
    _shards.cache_clear()
    forget_folders()


def _mark(url: str, path: str, key: str) -> Mark:
    """What changes when the metadata of an array are written anew; nothing in an object store."""
    if not is_local(url):
        return b""
    file = join(url, path, key)
    if (zipped := archive_of(file)) is not None:
        return entry_mark(*zipped)
    try:
        found = os.stat(file)
    except OSError:
        return b""
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@functools.lru_cache(maxsize=64)
def _shards(url: str, path: str, mark: Mark) -> Shards | None:
    return shards_of(_array(url, path, False, mark), url, path)


@functools.lru_cache(maxsize=64)
def _array(url: str, path: str, complete: bool, _mark: Mark) -> zarr.Array[Any]:
    store = open_store(url, complete=complete)
    if is_local(url) and not (store.read_only or os.path.exists(url)):
        # Opening a local store would make its folder.
        raise FileNotFoundError(url)
    found = zarr.open_array(store, path=path, mode="r" if store.read_only else "r+")
    # Not a property of the stored array but of every handle: by default chunks of zeros are left out.
    return found.with_config({"write_empty_chunks": True})
