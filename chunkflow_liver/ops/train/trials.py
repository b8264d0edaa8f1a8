"""Trials of a search: which settings are tried, all known before the first one begins."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from chunkflow_liver.errors import ConfigError, InputError, install
from chunkflow_liver.training.recipe import Recipe

SEARCHED = (
    "rate", "loss", "augment", "foreground", "window", "features", "convolutions", "batch", "optimizer",
    "schedule", "deep", "balance", "edges",
)  # fmt: skip
"""Settings that may be searched."""
RANGE = "rate"
"""The one that is drawn between two ends; of all others one of a list is taken."""
FACTOR = 4.0
MOST_TRIALS = 1000

Space = dict[str, tuple[Any, ...]]


def space_of(search: Mapping[str, Sequence[Any]] | None, given: Mapping[str, Any]) -> Space:
    """What is searched: as a person says, or rate, loss, augmentation and share of foreground.

    Parameters
    ----------
    search : mapping of str to sequence, optional
        For `rate` two ends of a range, on a logarithmic scale; for other settings what is chosen from.
    given : mapping
        Settings of the training, around which the search lies.

    Raises
    ------
    ConfigError
        If something cannot be searched.
    """
    if search is None:
        rate = float(given.get("rate", Recipe.rate))
        weighed = given.get("balance") or given.get("edges")
        return {
            "rate": (rate / FACTOR, min(1.0, rate * FACTOR)),
            "loss": ("dice_ce", "ce") if weighed else ("dice_ce", "dice", "ce"),
            "augment": ("em", "flips"),
            "foreground": (0.2, 0.34, 0.6),
        }
    unknown = sorted(search.keys() - set(SEARCHED))
    if unknown or not search:
        raise ConfigError(f"a search is over some of {list(SEARCHED)}, got {unknown or 'nothing'}")
    found: Space = {}
    for name, values in search.items():
        if not isinstance(values, Sequence) or isinstance(values, str) or len(values) < 2:
            raise ConfigError(f"search of {name}: wanted a list of at least 2 values, got {values!r}")
        found[name] = tuple(tuple(v) if isinstance(v, list) else v for v in values)
    ends = found.get(RANGE, (0.1, 1.0))
    if (
        len(ends) != 2
        or not all(isinstance(v, int | float) and 0 < v <= 1 for v in ends)
        or ends[0] >= ends[1]
    ):
        raise ConfigError(f"search of rate: wanted the two ends of a range above 0, got {list(ends)}")
    return found


def chosen(trials: int, space: Space, seed: int) -> list[dict[str, Any]]:
    """Settings of every trial; the first has none of its own, so that nothing worse than they is taken.

    Parameters
    ----------
    trials : int
    space : mapping
        Of `space_of`.
    seed : int

    Returns
    -------
    list of dict
        The first trials of a longer search are those of a shorter one.

    Raises
    ------
    InputError
        If Optuna is not installed.

    Notes
    -----
    A scrambled Sobol sequence over all settings (Optuna's `QMCSampler`). A sampler that learns from trials
    that have ended would give other settings where other workers end first, could not be checked before the
    run, and draws at random before its tenth trial anyway [1]_.

    References
    ----------
    .. [1] optuna/samplers/_tpe/sampler.py, n_startup_trials
    """
    try:
        import optuna
    except ImportError as err:
        raise InputError(f"'trials' needs 'optuna'; {install('optuna')}") from err
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions: dict[str, Any] = {
        name: optuna.distributions.FloatDistribution(*map(float, values), log=True)
        if name == RANGE
        else optuna.distributions.IntDistribution(0, len(values) - 1)
        for name, values in space.items()
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.QMCSampler(
            seed=seed, scramble=True, warn_independent_sampling=False, warn_asynchronous_seeding=False
        )
    study = optuna.create_study(sampler=sampler)
    found: list[dict[str, Any]] = [{}]
    # Its first draw is not of the sequence: it stands for the settings as given.
    for number in range(trials):
        asked = study.ask(distributions)
        if number:
            found.append({n: _value(n, v, space) for n, v in asked.params.items()})
        study.tell(asked, 0.0)
    return found


def check_trials(trials: int, search: Any, held_out: bool) -> None:
    """Refuse a number of trials that cannot be, a search without trials, or trials that nothing tells apart.

    Raises
    ------
    ConfigError
    """
    if not isinstance(trials, int) or isinstance(trials, bool) or not 1 <= trials <= MOST_TRIALS:
        raise ConfigError(f"trials are a whole number from 1 to {MOST_TRIALS}, got {trials!r}")
    if trials == 1 and search is not None:
        raise ConfigError("a search needs 'trials', the number of settings that are tried")
    if trials > 1 and not held_out:
        raise ConfigError(
            "trials are compared by what is held out, and 'by: none' holds nothing out; take another split"
        )


def best_of(dices: Sequence[Sequence[float]]) -> int:
    """The trial with the largest mean Dice over its folds, the first of equals; NaN is no Dice."""
    means = [sum(mine) / len(mine) for mine in dices]
    means = [-math.inf if math.isnan(mean) else mean for mean in means]
    return means.index(max(means))


def _value(name: str, drawn: Any, space: Space) -> Any:
    return float(f"{drawn:.3g}") if name == RANGE else space[name][drawn]
