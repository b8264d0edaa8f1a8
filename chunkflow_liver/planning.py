"""What the entries of a run file share while they are planned, and all that is wrong with them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from chunkflow_liver.config import Place, RunFile, problems_of
from chunkflow_liver.config.declaring import Entry
from chunkflow_liver.config.sections import Distance
from chunkflow_liver.engine.plan import Product
from chunkflow_liver.errors import ChunkflowLiverError, ConfigError
from chunkflow_liver.store.images import open_volume, to_labels
from chunkflow_liver.store.volume import LABEL_DTYPES, Volume
from chunkflow_liver.store.voxels.region import Corners

T = TypeVar("T")
SAME_VOXEL = 0.01
"""Voxel sizes that differ by a larger share are not those of one image."""


class NotPlanned(Exception):
    """What an entry needs was refused before."""


class Problems:
    """What is wrong with a run file, collected: one mistake does not hide another."""

    def __init__(self, run_file: RunFile) -> None:
        self.run_file = run_file
        self.found: list[tuple[Place, ChunkflowLiverError]] = []

    @contextlib.contextmanager
    def at(self, *place: str | int) -> Iterator[None]:
        """Keep what is refused within, with its place; what needs something refused is passed over."""
        try:
            yield
        except NotPlanned:
            pass
        except ChunkflowLiverError as err:
            if not self.run_file.is_quiet(place):
                self.found.append((place, err))

    def texts(self) -> list[str]:
        return [self.run_file.at(place, str(err)) for place, err in self.found]

    def tell(self) -> None:
        """Raise what was found: one error as it is, several as one."""
        if len(self.found) == 1:
            raise type(self.found[0][1])(self.texts()[0]) from self.found[0][1]
        if self.found:
            raise problems_of(self.run_file.file, self.texts()) from self.found[0][1]


@dataclass
class Made:
    """What later entries of a run file can name, and what all of them share."""

    run_file: RunFile
    images: dict[str, Volume] = field(default_factory=dict)
    volumes: dict[str, Volume] = field(default_factory=dict)
    maps: dict[str, Volume] = field(default_factory=dict)
    opened: list[Volume] = field(default_factory=list)
    products: list[Product] = field(default_factory=list)
    wanted: tuple[Corners | Volume, ...] = ()

    def for_entry(self, entry: Entry) -> Made:
        """The same, of which the entry sees the box and the mask that it asks for."""
        mask = () if entry.mask is None else (open_volume(entry.mask),)
        return replace(self, wanted=(*(() if entry.roi_nm is None else (entry.roi_nm,)), *mask))

    def part(self, volume: Volume) -> Volume:
        """What an entry is to look at of a volume."""
        for wanted in self.wanted:
            volume = volume.within(wanted)
        return volume

    @property
    def raw(self) -> Volume:
        return self._have(self.images, "raw")

    @property
    def intensities(self) -> Volume | None:
        """The image, unless there is none, or it was refused: what else is wrong is still to be found."""
        found = self.images.get("raw")
        return None if found is None else self.part(found)

    @property
    def frame(self) -> Volume | None:
        """The volume on whose voxels all lie: the image, or without one what is opened first."""
        return self.images.get("raw") if self.run_file.input is not None else next(iter(self.opened), None)

    @property
    def semantic(self) -> Volume:
        return self._have(self.images, "semantic")

    @property
    def into(self) -> str | None:
        return self.raw.url if self.run_file.into_source else None

    @property
    def at(self) -> dict[str, Any]:
        return {"work": self.run_file.work, "block": self.run_file.block}

    def instances(self, name: str | None) -> Volume:
        """The instances of that name; without one, the classes."""
        return self.semantic if name is None else self._have(self.volumes, name)

    def check_class(self, entry: Entry) -> None:
        """Refuse a class of `to` that there is not, also where the instances of the entry were refused."""
        of_others = getattr(entry, "other", None) or (isinstance(entry, Distance) and entry.instances)
        # The classes of a truth are its own.
        of_others = of_others or getattr(entry, "truth", None)
        if "semantic" in self.images and not of_others and (to := getattr(entry, "to", None)) is not None:
            for one in to if isinstance(to, tuple) else (to,):
                self.semantic.class_number(one)

    def parents(self, name: str | None) -> Volume | None:
        return None if name is None else self._have(self.volumes, name)

    def map(self, name: str | None, wanted_by: str) -> Volume | None:
        """The distances of that name, which an entry under 'distance' makes."""
        if name is None:
            return None
        return self._map(name, f"{wanted_by!r} keeps the distance {name!r}", "distance")

    def maps_of(self, name: str, wanted_by: str) -> Volume:
        """The map of that name, straight or along the tissue."""
        return self._map(name, f"{wanted_by!r} takes the map {name!r}", "distance", "geodesic")

    def _map(self, name: str, asked: str, *keys: str) -> Volume:
        named = [entry.name for key in keys for entry in getattr(self.run_file, key)]
        if name not in named and self.run_file.is_complete:
            under = " and ".join(map(repr, keys))
            raise ConfigError(f"{asked}; under {under} there are {named}")
        return self._have(self.maps, name)

    def _have(self, volumes: dict[str, Volume], name: str) -> Volume:
        if name not in volumes:
            raise NotPlanned
        return self.part(volumes[name])

    def on_voxels(self, path: str, level: int | None, what: str, missing_chunks: str = "error") -> Volume:
        """A label image, opened, whose voxels are those of the image; `what` needs it."""
        frame = self.frame
        if level is None and frame is not None:
            level = frame.level
        found = open_volume(path, level=level, missing_chunks=missing_chunks)
        if frame is not None:
            first = frame.url if self.run_file.input is None else "the image"
            if found.shape != frame.shape or any(
                abs(a - b) > SAME_VOXEL * b for a, b in zip(found.voxel_nm, frame.voxel_nm, strict=True)
            ):
                raise ConfigError(
                    f"{found.url} level {found.level} has {found.shape} voxels of {found.voxel_nm} nm, "
                    f"{first} {frame.shape} of {frame.voxel_nm} nm: choose the level of {what!r} that "
                    "matches, or mend its scale"
                )
            # Rounded sizes are those of the image, so that operations find all volumes on the same voxels.
            found = replace(found, voxel_nm=frame.voxel_nm)
        self.opened.append(found)
        return self.part(found)


def as_image(volume: Volume) -> Volume:
    """`volume`, which is not marked as labels: their numbers are no grey values."""
    if volume.kind == "label":
        raise ConfigError(
            f"{volume.url} holds labels, not grey values; name it under 'existing' (instances) or "
            "'semantic' (classes), and give as 'input' the image that they are of, or none"
        )
    return volume


def as_labels(volume: Volume, *, stated: bool = False) -> Volume:
    """`volume` as labels: its metadata mark it as such, or its dtype does, or it is `stated`.

    Whole numbers of 32 bits are ids: micrographs have 8 or 16. Reads no voxels.

    Raises
    ------
    ConfigError
        If it may be an image of grey values, or has no whole numbers.
    """
    if volume.dtype not in LABEL_DTYPES:
        raise ConfigError(
            f"{volume.url} holds {volume.dtype} voxels; labels must be one of {', '.join(LABEL_DTYPES)}"
        )
    if volume.kind == "label" or stated or volume.dtype in ("bool", "int32", "uint32"):
        return replace(volume, kind="label")
    raise ConfigError(
        f"{volume.url} is not marked as labels (no 'image-label' in its metadata), and its {volume.dtype} "
        "voxels may be grey values; if they are labels, say 'labels: true' beside its path, or mark them: "
        f"{to_labels(volume)}"
    )


def options_of(entry: Entry, kind: type[T]) -> T:
    """The options of an operation that stand in one dataclass, as far as an entry gives them."""
    names = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    return kind(**entry.model_dump(include=names, exclude_none=True))
