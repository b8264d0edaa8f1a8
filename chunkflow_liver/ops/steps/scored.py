"""Images that say how sure boundaries are: scores of a class, or what several networks see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.kernels.distance.local_errors import Image
from chunkflow_liver.ops.steps.place import checked_labels, same_voxels
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array

Given = Volume | Sequence[Volume] | None
"""Of one network, or of several folds or networks."""


@dataclass(frozen=True)
class Scored:
    """How the images of one side are read.

    Attributes
    ----------
    names : tuple of str
    numbers : tuple of int
        The class in an image of labels, 0 for all that is not background; -1 for scores.
    """

    names: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()

    def images(self, arrays: Sequence[Array]) -> list[Image]:
        """What each array of a block, one for each name, says."""
        return [
            Image.of_scores(array, name)
            if number < 0
            else Image.of_mask(array != 0 if number == 0 else array == number)
            for array, name, number in zip(arrays, self.names, self.numbers, strict=True)
        ]


def scored(
    given: Given, objects: Volume, what: str, to: str | int | None = None
) -> tuple[tuple[Volume, ...], Scored]:
    """Images that say how sure the boundaries of `objects` are, and how they are read.

    Parameters
    ----------
    given : Volume or sequence of Volume, optional
        Scores of the class of the objects (floats of 0 to 1, or whole numbers to the largest of the type);
        of several networks also labels.
    objects : Volume
    what : str
        What the option is called.
    to : str or int, optional
        The class in labels that have several.

    Raises
    ------
    ConfigError, InputError
        If an image lies on other voxels, holds neither scores nor labels, or is one of labels alone.
    """
    volumes = () if given is None else (given,) if isinstance(given, Volume) else tuple(given)
    found, numbers = [], []
    for volume in volumes:
        same_voxels(objects, volume, f"{what} must lie on the voxels of the objects")
        if volume.kind == "label":
            if len(volume.classes) > 1 and to is None:
                raise ConfigError(
                    f"{volume.url} holds the classes {[name for name, _ in volume.classes]}, and the objects "
                    f"are of one that is not named; give as {what} images of that class alone"
                )
            found.append(checked_labels(volume, what))
            numbers.append(volume.class_number(to) if volume.classes and to is not None else 0)
        elif np.dtype(volume.dtype).kind in "fu":
            found.append(volume)
            numbers.append(-1)
        else:
            raise ConfigError(
                f"{volume.url} holds {volume.dtype} voxels; {what} are floats or whole numbers from 0 on, or "
                "of several networks labels"
            )
    if len(numbers) == 1 and numbers[0] >= 0:
        raise ConfigError(
            f"{volumes[0].url} holds labels, which do not say how sure they are; give the scores of the "
            f"class as {what}, or the labels of several networks"
        )
    if len({(v.url, v.path) for v in volumes}) < len(volumes):
        raise ConfigError(f"{what} name an image twice; each is of another fold or network")
    return tuple(found), Scored(tuple(v.name for v in found), tuple(numbers))
