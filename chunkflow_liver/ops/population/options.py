"""What a population is searched for beside its forms, and which of its objects are chosen."""

from __future__ import annotations

from dataclasses import dataclass

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.kernels.populations.forms import FORMS

Range = tuple[float, float]


@dataclass(frozen=True)
class Search:
    """How stable classes are, and clusters that need no threshold.

    Attributes
    ----------
    draws : int
        Populations drawn anew, to see how stable the classes are; 0 for none.
    mixture : int
        Largest number of normal distributions in a mixture of PC1 and PC2; BIC chooses; 0 for none.
    hdbscan : int
        Fewest objects of a dense cluster in PC1 and PC2; 0 for none.
    umap : bool
        Whether objects are laid out in a plane by UMAP.
    seed : int
        Of all random numbers.
    """

    draws: int = 100
    mixture: int = 0
    hdbscan: int = 0
    umap: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = [n for n in ("draws", "mixture", "hdbscan", "seed") if getattr(self, n) < 0]
        if wrong:
            raise ConfigError(f"{wrong[0]} must be 0 or more, got {getattr(self, wrong[0])!r}")
        if self.hdbscan == 1:
            raise ConfigError("hdbscan must be 2 objects or more, or 0 for none, got 1")


@dataclass(frozen=True)
class Select:
    """Which objects are `selected`: those that fulfil all that is given.

    Attributes
    ----------
    pc1, pc2 : tuple of 2 float, optional
        Scores from the first to the second, both included.
    forms : tuple of str, optional
        Classes of form.
    """

    pc1: Range | None = None
    pc2: Range | None = None
    forms: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("pc1", "pc2"):
            given = getattr(self, name)
            if given is not None and not given[0] <= given[1]:
                raise ConfigError(f"{name} must ascend, got {list(given)}")
        unknown = sorted(set(self.forms or ()) - set(FORMS))
        if unknown:
            raise ConfigError(f"no forms {unknown}; there are {list(FORMS)}")
