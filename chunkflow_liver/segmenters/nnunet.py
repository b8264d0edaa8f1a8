"""The nnU-Net segmenter: a trained folder, the statistics of the volume, and how to predict."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.errors import SegmenterError
from chunkflow_liver.geometry import Box, Zyx
from chunkflow_liver.kernels.statistics import Statistics
from chunkflow_liver.segmenters.architecture import require_packages
from chunkflow_liver.segmenters.checkpoint import load_networks
from chunkflow_liver.segmenters.model_folder import NnunetModel, model_fingerprint, read_model
from chunkflow_liver.segmenters.stream import Settings, segment_block
from chunkflow_liver.xp import Array

_LOADING = threading.Lock()


@dataclass(frozen=True)
class Nnunet:
    """A Segmenter that pickles; the networks are loaded once per process, see `segment_block`.

    Attributes
    ----------
    model : NnunetModel
    statistics : Statistics
        Of the whole volume.
    settings : Settings
    fingerprint : str
        Of the model when the plan was made; a worker that finds another one refuses.
    """

    model: NnunetModel
    statistics: Statistics
    settings: Settings
    fingerprint: str

    def __call__(
        self, read: Callable[[Box], Array], shape: Zyx, block: Box
    ) -> Iterator[tuple[Box, np.ndarray[Any, Any]]]:
        """Class numbers of `block` in pieces."""
        model = self.model
        with _LOADING:
            networks = _networks(
                model.folder,
                model.configuration,
                model.folds,
                model.checkpoint,
                self.fingerprint,
                self.settings.device,
            )
        yield from segment_block(read, shape, block, model, networks, self.statistics, self.settings)


def nnunet(
    *,
    model: NnunetModel | str | Path,
    statistics: Statistics,
    fingerprint: str | None = None,
    **settings: Any,
) -> Nnunet:
    """The segmenter of a trained folder; no weight is read before the first block.

    Parameters
    ----------
    model : NnunetModel or path
        What `read_model` gave, or the folder to read with its defaults.
    statistics : Statistics
        Of the whole volume.
    fingerprint : str, optional
        What `model_fingerprint` gave when the plan was made; by default that of now.
    **settings
        Fields of `Settings`.

    Raises
    ------
    SegmenterError
        If torch or dynamic_network_architectures is not installed, or a setting is not known.
    """
    require_packages()
    known = model if isinstance(model, NnunetModel) else read_model(model)
    try:
        chosen = Settings(**settings)
    except TypeError as err:
        raise SegmenterError(
            f"nnunet has no setting {sorted(settings.keys() - Settings.__dataclass_fields__.keys())}; "
            f"there are {sorted(Settings.__dataclass_fields__)}"
        ) from err
    return Nnunet(known, statistics, chosen, fingerprint or model_fingerprint(known))


@lru_cache(maxsize=2)
def _networks(
    folder: Path, configuration: str, folds: tuple[str, ...], checkpoint: str, fingerprint: str, device: str
) -> tuple[Any, ...]:
    """The networks of a model on a device, if it is still the one that was planned with."""
    model = read_model(folder, configuration=configuration, folds=folds, checkpoint=checkpoint)
    found = model_fingerprint(model)
    if found != fingerprint:
        raise SegmenterError(
            f"{folder} has changed since the plan was made: its fingerprint was {fingerprint[:12]}, now it "
            f"is {found[:12]}; make the plan again"
        )
    return tuple(load_networks(model, device))
