"""What the entries of a run file share while they are planned, and all that is wrong with them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from chunkflow_liver.config import Place, RunFile, problems_of
from chunkflow_liver.config.declaring import Entry
from chunkflow_liver.config.sections import Distance
from chunkflow_liver.engine.plan import Product
from chunkflow_liver.errors import ChunkflowLiverError, ConfigError
from chunkflow_liver.store.images import to_labels
from chunkflow_liver.store.volume import LABEL_DTYPES, Volume


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
    opened: list[Volume] = field(default_factory=list)
    products: list[Product] = field(default_factory=list)

    @property
    def raw(self) -> Volume:
        return self._have(self.images, "raw")

    @property
    def intensities(self) -> Volume | None:
        """The image, unless there is none, or it was refused: what else is wrong is still to be found."""
        return self.images.get("raw")

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
        if "semantic" in self.images and not of_others and (to := getattr(entry, "to", None)) is not None:
            self.semantic.class_number(to)

    def parents(self, name: str | None) -> Volume | None:
        return None if name is None else self._have(self.volumes, name)

    @staticmethod
    def _have(volumes: dict[str, Volume], name: str) -> Volume:
        if name not in volumes:
            raise NotPlanned
        return volumes[name]


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
