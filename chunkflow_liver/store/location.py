"""Local paths and URLs: one way to a zarr store, and to single keys in it."""

from __future__ import annotations

import functools
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import FsspecStore, LocalStore, ObjectStore, WrapperStore

from chunkflow_liver.errors import ChunkError, ConfigError, InputError, install
from chunkflow_liver.store.archive import ArchiveStore, archive_of, entry_bytes, entry_mark

SCHEMES = ("file", "memory", "s3", "gs", "az", "https")
METADATA_KEYS = ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")
WHOLE_MARK = 1 << 18
"""Files up to this many bytes are looked at as a whole to tell whether they changed."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class InsideStore(WrapperStore[LocalStore]):
    """A local folder of which nothing is read that does not lie in it."""

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        root = str(self._store.root)
        check_inside(root, join(root, key))
        return await self._store.get(key, prototype, byte_range)


class CompleteStore(WrapperStore[Store]):
    """A store in which an absent chunk is an error, never a fill value."""

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        found = await self._store.get(key, prototype, byte_range)
        if not key.endswith(METADATA_KEYS):
            if found is None:
                raise ChunkError(f"chunk {key!r} is missing")
            if byte_range is None and len(found) == 0:
                # zarr takes a file of no bytes, which a power loss leaves, for a chunk that is not there.
                raise ChunkError(f"chunk {key!r} is empty: its file has 0 bytes")
        return found


def scheme(url: str) -> str:
    """The scheme of `url`; 'file' for a plain path."""
    found = urlsplit(url).scheme if "://" in url else "file"
    if found not in SCHEMES:
        raise InputError(f"cannot open {url!r}: no access by {found!r}; use one of {SCHEMES}")
    return found


def is_local(url: str) -> bool:
    """Whether `url` is a path on this machine's file systems."""
    return scheme(url) == "file"


def absolute(url: str | os.PathLike[str]) -> str:
    """`url` in a form that means the same in every process: absolute path, or the URL itself."""
    text = os.fspath(url)
    if not is_local(text):
        return text.rstrip("/")
    return os.path.abspath(text.removeprefix("file://"))


def join(url: str, *parts: str) -> str:
    """`url` with path segments added."""
    return "/".join([url.rstrip("/"), *(p.strip("/") for p in parts if p.strip("/"))])


def relative(url: str, start: str) -> str:
    """`url` as seen from the group `start`: a relative path on one file system, else the URL."""
    if is_local(url) and is_local(start):
        return Path(os.path.relpath(absolute(url), absolute(start))).as_posix()
    return url


@functools.lru_cache(maxsize=256)
def open_store(url: str, *, complete: bool = False) -> Store:
    """The zarr store at `url`, for reading and writing.

    Parameters
    ----------
    url : str
        Absolute path, or URL with one of `SCHEMES`. Object stores (s3, gs, az, https) go through
        obstore and take credentials and endpoints from the environment (AWS_*, GOOGLE_*, AZURE_*).
    complete : bool
        Whether a chunk that is not there is an error instead of fill value.
    """
    store: Store
    match scheme(url):
        case "file" if (zipped := archive_of(url)) is not None:
            store = ArchiveStore(*zipped)
        case "file":
            store = InsideStore(LocalStore(url))
        case "memory":
            store = FsspecStore.from_url(url)
        case kind:
            try:
                from obstore.store import from_url
            except ImportError as err:
                raise InputError(f"reading {kind}:// needs 'obstore'; {install('obstore')}") from err
            options: dict[str, Any] = {}
            if os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://"):
                options["client_options"] = {"allow_http": True}
            store = ObjectStore(from_url(url, **options))
    return CompleteStore(store) if complete else store


@functools.cache
def store_errors(*more: type[Exception]) -> tuple[type[Exception], ...]:
    """What a store raises when it cannot be reached or read, and `more`; obstore's are no OSErrors."""
    try:
        from obstore.exceptions import BaseError
    except ImportError:
        return (OSError, *more)
    return (OSError, BaseError, *more)


def check_inside(root: str, file: str) -> None:
    """Refuse to read a file of the image in `root` that lies elsewhere, or is no file; absent ones are fine.

    An image from elsewhere may hold links to whatever its reader may read, and pipes that never end.

    Raises
    ------
    ChunkError
    """
    folder = os.path.dirname(file)
    out, found = folder, None if _leads_out(root, folder) else _kind(file)
    if found == "link":
        out, real = file, os.path.realpath(file)
        found = _kind(real) if _is_below(real, root) else None
    if found is None:
        raise ChunkError(
            f"{out} is a link that leads out of the image; if you trust what is there, copy the image with "
            "the data in place of links (cp -rL)"
        )
    if found != "file":
        raise ChunkError(f"{file} is a {found}, not a file")


@functools.lru_cache(maxsize=1 << 14)
def _leads_out(root: str, folder: str) -> bool:
    """Whether a folder of an image is a link out of it, or lies below one; remembered, as many files ask."""
    return folder != root and not _is_below(os.path.realpath(folder), root)


def _is_below(real: str, root: str) -> bool:
    return Path(real).is_relative_to(os.path.realpath(root))


def _kind(file: str) -> str:
    """What lies at a path, not following links; 'file' also where there is nothing."""
    try:
        mode = os.lstat(file).st_mode
    except (OSError, ValueError):
        return "file"
    kinds = {stat.S_IFREG: "file", stat.S_IFLNK: "link", stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe"}
    return kinds.get(stat.S_IFMT(mode), "device")


def refuse_work_inside(work: Path, images: Iterable[str]) -> None:
    """Refuse a work folder inside an image that is read: there is no place for it among chunks and metadata.

    Raises
    ------
    ConfigError
    """
    for url in images:
        if is_local(url) and _is_below(os.path.realpath(work), url):
            raise ConfigError(
                f"the work folder {work} lies inside {url}, which the plan reads: take a folder elsewhere"
            )


def forget_folders() -> None:
    """Look at folders of images anew: they may have become links since."""
    _leads_out.cache_clear()


def read_key(url: str, key: str) -> bytes | None:
    """The bytes stored under `key`, or None where there is nothing.

    Raises
    ------
    InputError
        If the location cannot be reached or read.
    """
    try:
        if is_local(url) and (zipped := archive_of(url)) is not None:
            return entry_bytes(zipped[0], join(zipped[1], key).strip("/"))
        if is_local(url):
            # Opening a local store would make its folder; looking must leave nothing behind.
            file = Path(join(url, key))
            if file.is_dir():
                return None
            check_inside(url, str(file))
            return file.read_bytes()
        found = sync(open_store(url).get(key, default_buffer_prototype()))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except ChunkError as err:
        raise InputError(str(err)) from err
    except store_errors(ValueError) as err:
        raise InputError(f"cannot read {join(url, key)}: {err}") from err
    return None if found is None else found.to_bytes()


def holds_more(url: str, path: str) -> bool:
    """Whether anything but metadata is stored below `path`, for example a chunk; looks until there is."""
    if is_local(url) and archive_of(url) is None:
        found = (name for _, _, names in os.walk(join(url, path)) for name in names)
        return any(name not in METADATA_KEYS for name in found)
    return sync(_any_key(open_store(url), f"{path}/"))


async def _any_key(store: Store, prefix: str) -> bool:
    async for key in store.list_prefix(prefix):
        if not key.endswith(METADATA_KEYS):
            return True
    return False


def write_key(url: str, key: str, data: bytes) -> None:
    """Store `data` under `key`, replacing what was there."""
    prototype = default_buffer_prototype()
    sync(open_store(url).set(key, prototype.buffer.from_bytes(data)))


def checked_name(name: str, what: str = "name") -> str:
    """`name` if it is safe as one folder name everywhere, else an InputError."""
    if not NAME.fullmatch(name):
        raise InputError(
            f"{what} {name!r} is not usable as a folder name: take 1-64 letters, digits, dots, "
            "dashes or underscores, beginning with a letter or digit"
        )
    return name


def file_mark(file: str) -> bytes:
    """Size and bytes of a local file, of a large one in nine places; nothing if it is not there."""
    if (zipped := archive_of(file)) is not None:
        return entry_mark(*zipped)
    try:
        with open(file, "rb") as opened:
            size = opened.seek(0, os.SEEK_END)
            opened.seek(0)
            if size <= WHOLE_MARK:
                return opened.read()
            found = [size.to_bytes(8, "little")]
            for i in range(9):
                opened.seek((size - 64) * i // 8)
                found.append(opened.read(64))
            return b"".join(found)
    except FileNotFoundError:
        return b""
    except OSError as err:
        raise InputError(f"cannot read {file}: {err}") from err


def chunk_advice(url: str, *, missing: bool) -> str:
    """What to do about a chunk of the image at `url` that is missing or damaged: who made it, can anew."""
    if is_local(url):
        made_in = next((str(f) for f in Path(url).parents if (f / "run.json").exists()), None)
        if made_in is not None:
            return (
                f"it is a result of the run in {made_in}: 'chunkflow-liver repair' with its run file makes "
                "what is damaged or missing anew"
            )
        if os.path.exists(f"{url}.convert/run.json"):
            return f"remove {url} and {url}.convert, and convert its source again"
    if missing:
        return "if the writer left out empty chunks on purpose, say missing_chunks: fill"
    return "restore the file or convert the volume again"
