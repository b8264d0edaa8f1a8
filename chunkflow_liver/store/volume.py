"""A `Volume`: a handle to one level of an OME-Zarr image, read and written box by box in (z, y, x)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import zarr
from zarr.core.sync import sync

from chunkflow_liver.errors import ChunkError, ChunkSizeError, GridError, InputError
from chunkflow_liver.geometry import Box, Nm, Zyx
from chunkflow_liver.store.exports.markup import html_table
from chunkflow_liver.store.handles import array_at, shards_at
from chunkflow_liver.store.ids import refuse_negative
from chunkflow_liver.store.location import chunk_advice, join, read_key, store_errors
from chunkflow_liver.store.ngff.versions import DEFAULT, SPACE, VERSIONS, Version, ZarrFormat
from chunkflow_liver.store.ngff.write import pyramid_factors
from chunkflow_liver.store.shards import Shards
from chunkflow_liver.store.voxels.absent import absent
from chunkflow_liver.store.voxels.identity import identity_of
from chunkflow_liver.store.voxels.levels import levels_below
from chunkflow_liver.store.voxels.promised import check_promises
from chunkflow_liver.store.voxels.region import Corners, Known, box_of, check_mask
from chunkflow_liver.store.write_units import is_whole, units
from chunkflow_liver.xp import Array, on_host

_SMALL = ("bool", "uint8", "uint16", "int8", "int16")
IMAGE_DTYPES = (*_SMALL, "uint32", "int32", "float16", "float32", "float64")
LABEL_DTYPES = ("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")
EXPECTED_RATIO = {"label": 8.0, "image": 1.3}
"""How much smaller than in memory arrays are expected on disk; used for the disk estimate only."""


@dataclass(frozen=True)
class Volume:
    """One level of an OME-Zarr image; it may not exist yet.

    Attributes
    ----------
    url : str
        Absolute path or URL of the image group.
    path : str
        Array inside the group.
    shape : Zyx
        Voxels along (z, y, x); a single plane has z = 1.
    dtype : str
        NumPy dtype, native byte order.
    voxel_nm, origin_nm : Nm
        Voxel size and centre of the first voxel, in nm.
    chunks, shards : Zyx
        Read unit, and written unit where chunks are sharded.
    kind : {'image', 'label'}
        Intensities (averaged in coarser levels) or labels (majority).
    classes : tuple of (name, number)
        Classes of a semantic label volume.
    axes, at : tuple
        Axes of the stored array, and the index taken on t and c.
    level, levels : int
        Position in the pyramid, and its height.
    reduction : Zyx
        Voxels of level 0 in one voxel of this level.
    source : str or None
        Image group that a label volume was made from.
    ome_version : str
        Version of OME-Zarr, which fixes the format of the arrays.
    complete : bool
        Whether a chunk that is not there is an error (True) or fill value.
    quantum_nm : float or None
        Of a new image of lengths in whole steps: nm of one step.
    region : Box or None
        The voxels that were looked at, where those are not all: others are 0 and mean nothing.
    mask : Volume or None
        Not 0 in the voxels that were looked at, where those are not all; over the same extent.
    blank : bool
        Whether voxels outside of region and mask are read as 0, whatever is stored there.
    ids : bool
        Whether it is read as labels: a negative one is an error then.
    called : str or None
        Name that a run file gives an image that exists, instead of the end of its path.
    """

    url: str
    path: str
    shape: Zyx
    dtype: str
    voxel_nm: Nm
    chunks: Zyx
    shards: Zyx | None = None
    kind: str = "image"
    origin_nm: Nm = (0.0, 0.0, 0.0)
    classes: tuple[tuple[str, int], ...] = ()
    axes: tuple[str, ...] = ("z", "y", "x")
    at: tuple[tuple[str, int], ...] = ()
    level: int = 0
    levels: int = 1
    reduction: Zyx = (1, 1, 1)
    source: str | None = None
    ome_version: str = DEFAULT
    complete: bool = True
    quantum_nm: float | None = None
    region: Box | None = None
    mask: Volume | None = None
    blank: bool = False
    ids: bool = False
    called: str | None = None

    @property
    def name(self) -> str:
        """Last segment of the group's path without '.ome.zarr', unless it is called something else."""
        return self.called or self.url.rsplit("/", 1)[-1].removesuffix(".zarr").removesuffix(".ome")

    @property
    def version(self) -> Version:
        """What its version of OME-Zarr fixes."""
        return VERSIONS[self.ome_version]

    @property
    def zarr_format(self) -> ZarrFormat:
        """Format of the arrays, 2 or 3."""
        return self.version.zarr_format

    @property
    def box(self) -> Box:
        return Box.of(self.shape)

    @property
    def known(self) -> Box:
        """The voxels that were looked at; what lies outside is unknown, like what lies outside the volume."""
        return self.region or self.box

    @property
    def seen(self) -> Known:
        """What says of any box which of its voxels were looked at, the mask included."""
        return Known(self.known, self.voxel_nm, () if self.mask is None else (self.mask,))

    @property
    def write_unit(self) -> Zyx:
        """Smallest box that one task may write: a shard, or a chunk where there are none."""
        return self.shards or self.chunks

    @property
    def itemsize(self) -> int:
        return np.dtype(self.dtype).itemsize

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.itemsize

    @property
    def expected_disk_bytes(self) -> float:
        """Rough size on disk after compression."""
        return self.nbytes / EXPECTED_RATIO[self.kind]

    def class_number(self, name: str | int) -> int:
        """Number of a class given by name or number.

        Raises
        ------
        InputError
            If the volume has no such class.
        """
        known = dict(self.classes)
        if isinstance(name, int):
            if known and name not in known.values():
                raise InputError(f"{self.url} has no class {name}; it has {known}")
            return name
        if name not in known:
            raise InputError(
                f"{self.url} has no class {name!r}; it has {sorted(known) or 'no named classes'}"
            )
        return known[name]

    def like(
        self,
        url: str,
        *,
        dtype: str,
        kind: str,
        block: Zyx | None = None,
        classes: Sequence[tuple[str, int]] = (),
        ome_version: str = DEFAULT,
        levels: int | None = None,
    ) -> Volume:
        """Level 0 of a new image at `url` on the same voxels, cut so that `block` is whole units."""
        chunks, shards = units(self.shape, self.voxel_nm, block, VERSIONS[ome_version].zarr_format)
        if levels is None and self.levels > 1:
            levels = self.levels - self.level
        return Volume(
            url=url,
            path="0",
            shape=self.shape,
            dtype=dtype,
            voxel_nm=self.voxel_nm,
            chunks=chunks,
            shards=shards,
            kind=kind,
            origin_nm=self.origin_nm,
            classes=tuple(classes),
            levels=len(pyramid_factors(self.shape, self.voxel_nm, levels)),
            source=self.source if self.kind == "label" else self.url,
            ome_version=ome_version,
            region=self.region,
            mask=self.mask,
        )

    def pyramid(self) -> tuple[Volume, ...]:
        """Handles to every level of the image that this volume is level 0 of."""
        return levels_below(self)

    def _repr_html_(self) -> str:
        named = ("kind", "shape", "dtype", "voxel_nm", "origin_nm", "write_unit", "level", "url")
        return html_table([(k, getattr(self, k)) for k in named], caption=self.name)

    def exists(self) -> bool:
        """Whether the array is stored."""
        return read_key(self.url, join(self.path, self.version.array_key)) is not None

    def read(self, box: Box | None = None) -> np.ndarray[Any, Any]:
        """Voxels of `box` (default: all) as a C-contiguous (z, y, x) array in native byte order.

        Raises
        ------
        GridError
            If the box is no `Box`, or reaches outside the volume.
        ChunkError
            If a chunk is missing or corrupt; names array, chunk and file.
        """
        box = self.box if box is None else box
        if not isinstance(box, Box):
            raise GridError(
                f"read takes a Box(start, stop), corners in voxels along z, y, x, like Box((0, 0, 0), "
                f"{self.shape}) for all of {self.url}; got {box!r}"
            )
        if not self.box.contains(box):
            raise GridError(f"cannot read {box} of {self.url}: it has {self.shape} voxels")
        stored = None
        try:
            stored = self._stored(self.complete)
            shards = self._shards()
            if shards is not None and (direct := shards.read(box)) is not None:
                return self._blanked(direct.astype(self.dtype, copy=False), box)
            check_promises(self, box, math.prod(stored.shards or stored.chunks) * stored.dtype.itemsize)
            found = stored[self._index(box)]
        except ChunkSizeError:
            raise
        except FileNotFoundError as err:
            raise InputError(f"{join(self.url, self.path)} does not exist (yet): run its plan first") from err
        except store_errors(RuntimeError, ValueError, TypeError, EOFError, LookupError) as err:
            if stored is None and isinstance(err, InputError):
                raise
            raise (self._metadata_error(err) if stored is None else self._chunk_error(box, err)) from err
        spatial = [a for a in self.axes if a in SPACE]
        array = np.asarray(found).transpose([spatial.index(a) for a in SPACE if a in spatial])
        if "z" not in spatial:
            array = array[np.newaxis]
        voxels = np.ascontiguousarray(array, dtype=self.dtype)
        if self.ids:
            refuse_negative(voxels, box, join(self.url, self.path))
        return self._blanked(voxels, box)

    def _blanked(self, voxels: np.ndarray[Any, Any], box: Box) -> np.ndarray[Any, Any]:
        """`voxels` of `box` with 0 in those that are not looked at."""
        if not self.blank or (self.mask is None and self.known.contains(box)):
            return voxels
        return np.where(self.seen(box), voxels, voxels.dtype.type(0))

    def write(self, box: Box, array: Array) -> None:
        """Store `array` as the voxels of `box`, which must be whole write units.

        The keys are deleted first: a boundary shard is otherwise read, changed and written, and one
        that an earlier crash left torn would fail for ever.

        Raises
        ------
        GridError
            If the box cuts through write units, or the array does not fit box and dtype.
        """
        if not is_whole(box, self.write_unit, self.box):
            raise GridError(f"box {box} cuts through write units of {self.write_unit} of {self.url}")
        if tuple(array.shape) != box.shape:
            raise GridError(f"an array of {tuple(array.shape)} voxels cannot fill {box} of {self.url}")
        values = on_host(array)
        if not np.can_cast(values.dtype, self.dtype, "safe"):
            raise GridError(f"{values.dtype} voxels do not fit {self.url}, which holds {self.dtype}")
        stored = self._stored(False)
        units = dict(zip(self.axes, stored.shards or stored.chunks, strict=True))
        if any(units[a] > 1 for a in self.axes if a not in SPACE and stored.shape[self.axes.index(a)] > 1):
            raise GridError(f"chunks of {self.url} hold several channels or times, so one cannot be written")
        if (
            self.axes == tuple(SPACE)
            and (shards := shards_at(self.url, self.path, self.version.array_key)) is not None
        ):
            shards.write(box, values)
            return
        for key in self.keys(box):
            sync((stored.store_path / key).delete())
        if "z" not in self.axes:
            values = values[0]
        held = [a for a in SPACE if a in self.axes]
        stored[self._index(box)] = values.transpose([held.index(a) for a in self.axes if a in SPACE])

    def keys(self, box: Box) -> Iterator[str]:
        """Store keys (inside the array) of all write units that meet `box`."""
        stored = self._stored(False)
        units = dict(zip(self.axes, stored.shards or stored.chunks, strict=True))
        unit = {"z": 1} | units
        spans = {
            n: range(a // unit[n], -(-b // unit[n]))
            for n, a, b in zip(SPACE, box.start, box.stop, strict=True)
        }
        at = dict(self.at)
        indices = [spans[a] if a in SPACE else [at.get(a, 0) // units[a]] for a in self.axes]
        for index in itertools.product(*indices):
            yield stored.metadata.encode_chunk_key(index)

    def missing(self) -> list[str]:
        """Store keys of write units that are not there."""
        return list(absent(self))

    def identity(self) -> str:
        """Fingerprint of the stored array, see `store.identity`; InputError if there is none."""
        return identity_of(self)

    def within(self, wanted: Corners | Volume) -> Volume:
        """The same volume, of which a box or a mask alone is looked at.

        Parameters
        ----------
        wanted : pair of corners, or Volume
            First and opposite corner (z, y, x) in nm, of the voxels whose centre lies between them; or a
            mask over the same extent, at any voxel size, that is not 0 in the voxels wanted.

        Returns
        -------
        Volume
            Reads 0 elsewhere. To operations all else is unknown, like what lies outside the volume, and what
            they make of it says so.

        Raises
        ------
        ConfigError, InputError
            If no voxel is left, the mask does not cover the volume, or there is another mask already.
        """
        if isinstance(wanted, Volume):
            check_mask(wanted, self, self.mask)
            return replace(self, mask=wanted, blank=True)
        box = box_of(wanted, self.shape, self.voxel_nm, self.known, self.url)
        return replace(self, region=None if box == self.box else box, blank=True)

    def _stored(self, complete: bool) -> zarr.Array[Any]:
        """The array; InputError if it holds other voxels than when this handle was made."""
        found = array_at(self.url, self.path, self.version.array_key, complete=complete)
        now = dict(zip(self.axes, found.shape, strict=False))
        shape = tuple(now.get(a, 1) for a in SPACE)
        dtype = np.dtype(found.dtype).newbyteorder("=").name
        if (dtype, shape, found.ndim) != (self.dtype, self.shape, len(self.axes)):
            raise InputError(
                f"{join(self.url, self.path)} was written anew since it was opened: it held {self.shape} "
                f"voxels of {self.dtype}, and has the shape {found.shape} of {dtype} now; open it again"
            )
        return found

    def _shards(self) -> Shards | None:
        if self.axes != tuple(SPACE):
            return None
        return shards_at(self.url, self.path, self.version.array_key)

    def _index(self, box: Box) -> tuple[int | slice, ...]:
        spans = dict(zip(SPACE, box.slices, strict=True))
        at = dict(self.at)
        return tuple(spans[a] if a in SPACE else at.get(a, 0) for a in self.axes)

    def _metadata_error(self, err: Exception) -> ChunkError:
        where, advice = join(self.url, self.path), chunk_advice(self.url, missing=False)
        return ChunkError(f"the metadata of {where} are damaged: {err}; {advice}")

    def _chunk_error(self, box: Box, err: Exception) -> ChunkError:
        """Find the unit that cannot be read, so that the message names its file."""
        stored = self._stored(self.complete)
        unit = self.write_unit
        first = [a // u * u for a, u in zip(box.start, unit, strict=True)]
        starts = [range(f, b, u) for f, b, u in zip(first, box.stop, unit, strict=True)]
        for start in itertools.product(*starts):
            stop = tuple(s + u for s, u in zip(start, unit, strict=True))
            part = Box(cast(Zyx, start), cast(Zyx, stop)).clip(box)
            try:
                stored[self._index(part)]
            except store_errors(RuntimeError, ValueError, TypeError, EOFError) as cause:
                key = next(self.keys(part))
                advice = chunk_advice(self.url, missing="is missing" in str(cause))
                where = f"chunk {key!r} of {join(self.url, self.path)} (voxels {part})"
                return ChunkError(f"cannot read {where}: {cause}; {advice}")
        return ChunkError(f"cannot read {box} of {join(self.url, self.path)}: {err}")
