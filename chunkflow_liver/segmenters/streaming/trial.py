"""Which engine runs a network: each is tried on windows of the volume itself, once for a run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from chunkflow_liver.errors import SegmenterError
from chunkflow_liver.segmenters.engines import cache
from chunkflow_liver.segmenters.engines.engine import Engine, candidates, processor
from chunkflow_liver.segmenters.settings import Settings
from chunkflow_liver.segmenters.streaming import outputs
from chunkflow_liver.segmenters.streaming.forward import Forward, prepare
from chunkflow_liver.segmenters.streaming.planes import Planes, Read
from chunkflow_liver.segmenters.streaming.view import View

log = logging.getLogger(__name__)

LEAST_EQUAL, LEAST_DICE = 0.999, 0.99
"""Share of voxels whose labels must be those of torch in float32, and Dice of every class with them."""
ASKED_EQUAL, ASKED_DICE = 0.99, 0.9
"""The same of a precision that was asked for: less is no rounding, but a fault."""
FEWEST_VOXELS = 100
"""A class with fewer voxels on all windows together is not judged by its Dice."""
LEAST_GAIN = 1.1
"""How many times as fast as torch in float32 another engine must be."""
WORTH_SECONDS = 5.0
"""A run of fewer CPU seconds of passes is not worth a trial, which takes two or three."""
ENOUGH_VOXELS = 1 << 20
FEWEST, MOST = 2, 8
"""Windows of a trial: as many as hold enough voxels."""


@dataclass(frozen=True)
class Attempt:
    """One engine of a trial.

    Attributes
    ----------
    seconds : float
        CPU seconds of one window and network.
    equal : float
        Share of voxels with the label of torch in float32; of several networks the least.
    dice : float
        Of the class whose labels are the least equal, in any network; 1 where no class has enough voxels.
    trouble : str
        Why it does not run here; "" if it does.
    """

    engine: Engine
    seconds: float = float("inf")
    equal: float = 0.0
    dice: float = 0.0
    trouble: str = ""


@dataclass(frozen=True)
class Trial:
    """What was tried, on how much, and what was chosen.

    Attributes
    ----------
    engine : Engine
        The chosen one.
    attempts : tuple of Attempt
        Torch in float32 first.
    windows, voxels : int
        On which labels were compared; 0 if they were not, as the run is too short.
    passes : int
        Forward passes of the whole run.
    candidates : tuple of Engine
        Those among which the settings let this machine choose.
    processor : str
    """

    engine: Engine
    attempts: tuple[Attempt, ...]
    windows: int
    voxels: int
    passes: int
    candidates: tuple[Engine, ...] = ()
    processor: str = field(default_factory=lambda: processor()[0])

    def __str__(self) -> str:
        plain = self.attempts[0]
        if not self.windows:
            total = plain.seconds * self.passes
            return (
                f"{self.engine}: {self.passes} passes of {plain.seconds:.3g} CPU s ({total:.2g} s in all), "
                "too few for a trial"
            )
        others = ", ".join(_said(a, plain) for a in self.attempts[1:])
        return (
            f"{self.engine}, chosen on {self.windows} windows ({self.voxels} voxels) of this volume: "
            f"{plain.engine} takes {plain.seconds:.3g} CPU s per window; {others}"
        )

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)


def _said(attempt: Attempt, plain: Attempt) -> str:
    if attempt.trouble:
        return f"{attempt.engine} does not run ({attempt.trouble})"
    return (
        f"{attempt.engine} {attempt.seconds:.3g} ({plain.seconds / attempt.seconds:.1f} times as fast, "
        f"{100 * attempt.equal:.3f} % equal labels, least Dice of a class {attempt.dice:.4f})"
    )


def tried(
    view: View, read: Read, load: Callable[[], Sequence[Any]], settings: Settings, fingerprint: str
) -> Trial:
    """Run every engine that settings allow on a few windows of a volume, and choose.

    Parameters
    ----------
    view : View
        The model on the volume.
    read : callable
        Gives stored voxels, as `segment_block` takes it.
    load : callable
        Gives the networks anew; an engine may change them. All are tried, as each may fail by itself.
    settings : Settings
    fingerprint : str
        Of the weights.

    Notes
    -----
    How long a pass takes is measured once for a model on a machine and kept, so that every later run there
    decides alike; whether labels agree is seen on each volume. The largest differences are looked for:
    of nine windows spread over the volume, those whose voxels vary most are taken. Times are CPU seconds,
    the least of all windows.
    """
    model, passes = view.model, _passes(view, settings)
    key = cache.on_this_machine(fingerprint, model.window, settings.batch)
    known = cache.timings(key)
    plain = Engine()
    among = candidates(settings)
    ways = [e for e in among if e != plain]
    may_stay = len(ways) < len(among)
    windows: list[Any] = []
    if str(plain) not in known:
        windows = _windows(view, read, settings)
        forward = _prepared(load()[:1], view, settings, plain, fingerprint)
        _, known[str(plain)] = _labels(forward, windows[: settings.batch + 1], settings)
        cache.keep_timings(key, known)
    first = Attempt(plain, known[str(plain)], 1.0, 1.0)
    if may_stay and passes * first.seconds < WORTH_SECONDS:
        return Trial(plain, (first,), 0, 0, passes, among)
    windows = windows or _windows(view, read, settings)
    wanted, _ = _labels(_prepared(load(), view, settings, plain, fingerprint), windows, settings)
    attempts = [first]
    for engine in ways:
        try:
            # No name for the networks: those of the last way go before the next are loaded.
            found, seconds = _labels(
                _prepared(load(), view, settings, engine, fingerprint), windows, settings
            )
        except (SegmenterError, RuntimeError) as err:
            attempts.append(Attempt(engine, trouble=str(err)[-200:]))
            continue
        known.setdefault(str(engine), seconds)
        agreed = [_agreement(*labels) for labels in zip(found, wanted, strict=True)]
        equal, dice = (min(each) for each in zip(*agreed, strict=True))
        attempts.append(Attempt(engine, known[str(engine)], equal, dice))
    cache.keep_timings(key, known)
    voxels = sum(w.size for w in wanted[0])
    chosen = _chosen(attempts, settings, may_stay=may_stay)
    made = Trial(replace(chosen, tried=True), tuple(attempts), len(windows), voxels, passes, among)
    log.info("%s: %s", model.folder.name, made)
    return made


def _chosen(attempts: Sequence[Attempt], settings: Settings, *, may_stay: bool) -> Engine:
    """The fastest that agrees; of those in a precision that was asked for, the fastest."""
    plain, others = attempts[0], [a for a in attempts[1:] if not a.trouble]
    asked = settings.precision == "bfloat16"
    equal, dice = (ASKED_EQUAL, ASKED_DICE) if asked else (LEAST_EQUAL, LEAST_DICE)
    fit = [a for a in others if a.equal >= equal and a.dice >= dice]
    if may_stay:
        fit = [a for a in fit if a.seconds * LEAST_GAIN <= plain.seconds]
        return min(fit, key=lambda a: a.seconds).engine if fit else plain.engine
    if not fit:
        said = "; ".join(_said(a, plain) for a in attempts[1:])
        raise SegmenterError(
            f"no way to run the network with engine {settings.engine!r} and precision {settings.precision!r} "
            f"gives {100 * equal:g} % of the labels of torch in float32 and of each class with "
            f"{FEWEST_VOXELS} voxels a Dice of {dice:g}: {said}; take "
            + ("precision: auto, or float32" if asked else "engine: auto")
        )
    return min(fit, key=lambda a: a.seconds).engine


def _passes(view: View, settings: Settings) -> int:
    """Forward passes over the whole volume, every fold and mirroring counted."""
    flips = 2 ** len(view.model.mirror_axes) if settings.mirroring else 1
    return view.frame.windows * flips * max(1, len(view.model.weights))


def _prepared(
    networks: Sequence[Any], view: View, settings: Settings, engine: Engine, fingerprint: str
) -> Forward:
    """The networks as an engine runs them, not compared: that is what the trial does."""
    ready = replace(engine, tried=engine != Engine())
    return prepare(networks, view.model, settings, ready, fingerprint)


def _windows(view: View, read: Read, settings: Settings) -> list[Any]:
    """Normalised windows (C, *window), the most varied first."""
    frame = view.frame
    size = int(np.prod(frame.window))
    count = max(FEWEST, min(MOST, -(-ENOUGH_VOXELS // size)), settings.batch)
    found = []
    for start in _starts(frame.starts):
        ends = ((0, start[1]), (0, start[2]))
        planes = Planes.over(read, view, [ends], (start[0], start[0]), 1, settings.device)
        try:
            planes.advance(start[0])
            values, _ = planes.window(start)
        finally:
            planes.close()
        # Windows of a volume that is one window or two come again: there is nothing else to compare.
        found.append((float(values.std()), values.float().clone()))
    found.sort(key=lambda f: -f[0])
    return [values for _, values in found[:count]]


def _starts(starts: Sequence[Sequence[int]]) -> Iterator[tuple[int, int, int]]:
    """Windows of the grid at the corners of its middle half, and in its middle; each once."""
    seen = set()
    for shares in ((1 / 2,) * 3, *np.ndindex(2, 2, 2)):
        at = [
            along[round((len(along) - 1) * (share if share == 1 / 2 else (1 + 2 * share) / 4))]
            for along, share in zip(starts, shares, strict=True)
        ]
        start = (int(at[0]), int(at[1]), int(at[2]))
        if start not in seen:
            seen.add(start)
            yield start


def _labels(
    forward: Forward, windows: Sequence[Any], settings: Settings
) -> tuple[list[list[np.ndarray[Any, Any]]], float]:
    """Class numbers of every window by every network, and CPU seconds of one; the first pass is not timed.

    Raises
    ------
    SegmenterError
        If scores of another way than the plain one are not numbers.
    """
    import torch

    model, times = forward.model, []
    found: list[list[np.ndarray[Any, Any]]] = [[] for _ in forward.networks]
    batches = [list(windows[i : i + settings.batch]) for i in range(0, len(windows), settings.batch)]
    for i, taken in enumerate([batches[0], *batches, batches[-1]]):
        inputs = torch.stack(taken + taken[-1:] * (settings.batch - len(taken)))
        start = time.process_time()
        made = forward(inputs[:, :, 0] if model.is_2d else inputs)
        times.append((time.process_time() - start) / settings.batch / len(made))
        for labels, scores in zip(found, made if 0 < i <= len(batches) else (), strict=False):
            with torch.inference_mode():
                given = scores[: len(taken)].float()
                if forward.engine != Engine() and bool(given.isnan().any()):
                    raise SegmenterError("it gives scores that are not numbers")
                labels += [outputs.classes(s, model).cpu().numpy() for s in given]
    return found, min(times[1:])


def _agreement(found: Sequence[Any], wanted: Sequence[Any]) -> tuple[float, float]:
    """Share of voxels with equal labels, and the least Dice of a class that either has voxels enough of."""
    a, b = (np.concatenate([labels.ravel() for labels in each]) for each in (found, wanted))
    most = 1 + max(int(a.max(initial=0)), int(b.max(initial=0)))
    one, other, both = (np.bincount(n, minlength=most) for n in (a, b, a[a == b]))
    judged = np.maximum(one, other) >= FEWEST_VOXELS
    dice = 2 * both[judged] / (one + other)[judged]
    return float((a == b).mean()), float(dice.min(initial=1.0))
