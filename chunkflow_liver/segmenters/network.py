"""The segmenter: one or several trained networks, the statistics of the volume, and how to predict."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from chunkflow_liver.errors import SegmenterError
from chunkflow_liver.geometry import Box, Zyx
from chunkflow_liver.kernels.images.statistics import Statistics
from chunkflow_liver.segmenters.engines import Engine, settled
from chunkflow_liver.segmenters.model import Model
from chunkflow_liver.segmenters.registry import kind_of
from chunkflow_liver.segmenters.settings import Settings
from chunkflow_liver.segmenters.streaming.forward import Forward, prepare
from chunkflow_liver.segmenters.streaming.planes import Read
from chunkflow_liver.segmenters.streaming.spacing import Fit
from chunkflow_liver.segmenters.streaming.stream import Inside, Member, Pieces, segment_block
from chunkflow_liver.segmenters.streaming.trial import Trial, tried
from chunkflow_liver.segmenters.streaming.view import View

MOST_LOADED = 8
_LOADING = threading.Lock()
_loaded: OrderedDict[tuple[Any, ...], Forward] = OrderedDict()


@dataclass(frozen=True)
class Source:
    """A model, where its voxels come from, and its weight; all plain data.

    Attributes
    ----------
    kind : str
        A key of `registry`.
    model : Model
    fingerprint : str
        Of the model when the plan was made; a worker that finds another one refuses.
    fit : Fit
        The level it reads, and whether that is resampled.
    factor : Zyx
        How many voxels are written for one of that level.
    weight : float
    """

    kind: str
    model: Model
    fingerprint: str
    fit: Fit
    factor: Zyx = (1, 1, 1)
    weight: float = 1.0

    @property
    def weights_bytes(self) -> int:
        """Of the files of weights."""
        return sum(path.stat().st_size for path in self.model.weights)


@dataclass(frozen=True)
class Network:
    """A segmenter that pickles; the networks are loaded once per process, see `segment_block`."""

    sources: tuple[Source, ...]
    settings: Settings

    def __post_init__(self) -> None:
        first = self.sources[0].model
        for source in self.sources[1:]:
            model = source.model
            if dict(model.classes) != dict(first.classes) or model.region_order != first.region_order:
                raise SegmenterError(
                    f"models that are combined must have the same classes: {first.folder} has "
                    f"{dict(first.classes)}, {model.folder} has {dict(model.classes)}"
                )
            if tuple(model.transpose_forward) != tuple(first.transpose_forward):
                raise SegmenterError(
                    "models that are combined must visit the volume along the same axis: "
                    f"transpose_forward is {first.transpose_forward} in {first.folder} and "
                    f"{model.transpose_forward} in {model.folder}; retrain one, or run them one by one"
                )
        unknown = sorted(set(self.settings.scores) - set(first.classes))
        if first.region_order is not None:
            unknown = sorted(set(self.settings.scores) - (set(first.classes) - {"background"}))
        if unknown:
            raise SegmenterError(f"no scores of classes {unknown}; the model has {sorted(first.classes)}")

    def __call__(
        self,
        reads: Sequence[Read],
        statistics: Sequence[tuple[Statistics, tuple[Any, Any] | None]],
        shape: Zyx,
        block: Box,
        inside: Inside | None = None,
        engines: Sequence[Engine | None] = (),
    ) -> Pieces:
        """Pieces of `block`; `reads` and `statistics` (with the limits of planes) are one per source.

        So are `engines`, as `trials` chose them; None is what the settings say.
        """
        chosen = engines or [None] * len(self.sources)
        members = [
            Member(self._view(s, *found), self.forward(s, engine), read, s.weight)
            for s, read, found, engine in zip(self.sources, reads, statistics, chosen, strict=True)
        ]
        yield from segment_block(members, shape, block, self.settings, inside)

    def trials(
        self,
        reads: Sequence[Read],
        statistics: Sequence[tuple[Statistics, tuple[Any, Any] | None]],
    ) -> list[Trial]:
        """What a trial on windows of the volume chooses for every source."""
        return [
            tried(self._view(s, *found), read, partial(self._load, s), self.settings, s.fingerprint)
            for s, read, found in zip(self.sources, reads, statistics, strict=True)
        ]

    def _view(self, source: Source, found: Statistics, limits: tuple[Any, Any] | None) -> View:
        return View.of(source.model, found, source.fit, self.settings.step, source.factor, limits)

    def _load(self, source: Source) -> list[Any]:
        """The networks of a source, if it is still what the plan was made for."""
        kind = kind_of(source.kind)
        found = kind.fingerprint(source.model)
        if found != source.fingerprint:
            raise SegmenterError(
                f"{source.model.folder} has changed since the plan was made: its fingerprint was "
                f"{source.fingerprint[:12]}, now it is {found[:12]}; make the plan again"
            )
        return kind.load(source.model, self.settings.device)

    def forward(self, source: Source, engine: Engine | None = None) -> Forward:
        """The networks of a source, loaded and prepared by the first block of this process."""
        how = self.settings
        runs = engine or settled(how)
        key = (source.fingerprint, how.device, runs, how.compile, how.batch)
        with _LOADING:
            if key not in _loaded:
                _loaded[key] = prepare(self._load(source), source.model, how, runs, source.fingerprint)
                while len(_loaded) > max(MOST_LOADED, len(self.sources)):
                    _loaded.popitem(last=False)
            _loaded.move_to_end(key)
            return _loaded[key]
