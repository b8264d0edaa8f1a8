"""Which numbers in labels are which classes."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.ops.train.masks import Masks
from chunkflow_liver.store.foreign import Image
from chunkflow_liver.training.regions import bit

Classes = Mapping[str, int | Sequence[int]] | Sequence[str]


@dataclass(frozen=True)
class Targets:
    """What the numbers of labels become.

    Attributes
    ----------
    names : tuple of str
        Classes.
    numbers : tuple of tuple of int
        Of each in label images; empty where these state them.
    regions : bool
        Whether classes may overlap, so that targets have a bit per class.
    """

    names: tuple[str, ...]
    numbers: tuple[tuple[int, ...], ...]
    regions: bool

    def target(self, number: int) -> int:
        """Target of class `number`, from 1 on."""
        return bit(number) if self.regions else number

    def of(self, labels: Image | Masks, i: int) -> tuple[tuple[int, int], ...]:
        """Number in the labels of source `i`, and target, of every number that is not background.

        Raises
        ------
        InputError
            If the labels state no number of a class.
        """
        if isinstance(labels, Masks):
            return tuple((n, n) for n in labels.numbers)
        sets = self.numbers
        if not sets:
            there = dict(labels.classes)
            missing = [name for name in self.names if name not in there]
            if missing:
                states = ", ".join(map(repr, sorted(there))) or "none"
                near = difflib.get_close_matches(missing[0], there, 1)
                raise InputError(
                    f"source {i}: {labels.url} has no class {missing[0]!r}; it states {states}"
                    + (f", did you mean {near[0]!r}?" if near else ".")
                    + f" Give the numbers of all classes, as 'classes: {{{missing[0]}: 1}}'"
                )
            sets = tuple((there[name],) for name in self.names)
        found: dict[int, int] = {}
        for k, mine in enumerate(sets, 1):
            for number in mine:
                found[number] = found.get(number, 0) | self.target(k)
        return tuple(found.items())

    @property
    def written(self) -> tuple[tuple[int, ...], ...]:
        """Numbers of every class that may overlap, as dataset.json states them.

        Where masks alone tell what overlaps there is a number for every combination.
        """
        if any(len(mine) > 1 for mine in self.numbers):
            return self.numbers
        codes = range(1, 2 ** len(self.names))
        return tuple(tuple(n for n in codes if n & bit(k)) for k in range(1, len(self.names) + 1))


def named(
    classes: Classes | None, first: Image | Sequence[str]
) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    """Names of the classes, and their numbers in label images if a person gave them.

    Parameters
    ----------
    classes : mapping or sequence of str, optional
    first : Image or sequence of str
        Labels of the first source, or the names of its masks.

    Raises
    ------
    ConfigError
        If classes have no numbers of their own, or a class is hidden by later ones altogether.
    InputError
        If nobody states any class.
    """
    if classes is None:
        if isinstance(first, Sequence):
            return tuple(first), ()
        found = tuple(name for name, number in first.classes if number)
        if not found:
            raise InputError(
                f"{first.url} states no classes: name them, with their numbers in the labels, as 'classes: "
                "{mitochondrion: 1}'"
            )
        return found, ()
    if not isinstance(classes, Mapping):
        if isinstance(classes, str) or not all(isinstance(name, str) and name for name in classes):
            raise ConfigError(f"classes are names, with numbers if wanted; got {classes!r}")
        return tuple(classes), ()
    sets = tuple((n,) if isinstance(n, int) else tuple(n) for n in classes.values())
    odd = [n for mine in sets for n in mine if not isinstance(n, int) or isinstance(n, bool) or n < 1]
    if odd or not all(sets) or any(len(set(mine)) < len(mine) for mine in sets):
        raise ConfigError(f"classes have whole numbers from 1 on, each named once, got {dict(classes)}")
    overlap = any(len(mine) > 1 for mine in sets)
    for i, (name, mine) in enumerate(zip(classes, sets, strict=True)):
        later = {n for other in sets[i + 1 :] for n in other}
        if not overlap and later & set(mine):
            raise ConfigError(f"classes have numbers of their own from 1 on, got {dict(classes)}")
        if set(mine) <= later:
            raise ConfigError(
                f"all numbers of the class {name!r} are those of later ones, which are written over it: name "
                f"the larger classes first, got {dict(classes)}"
            )
    return tuple(classes), sets
