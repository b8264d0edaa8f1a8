"""Models that this process has loaded."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from chunkflow_liver.errors import SegmenterError
from chunkflow_liver.segmenters.sam2.folder import Sam2Model, sam2_fingerprint
from chunkflow_liver.segmenters.sam2.propagator import Propagator

MOST = 2
_LOADING = threading.Lock()
_loaded: OrderedDict[tuple[str, ...], Propagator] = OrderedDict()


def loaded(
    model: Sam2Model,
    fingerprint: str,
    device: str,
    make: Callable[[Sam2Model, str], Propagator],
    engine: str = "torch",
) -> Propagator:
    """The model, made by the first who asks in this process for that engine.

    Raises
    ------
    SegmenterError
        If the folder has changed since `fingerprint` was taken, or cannot be loaded.
    """
    with _LOADING:
        key = (make.__module__, fingerprint, device, engine)
        if key not in _loaded:
            found = sam2_fingerprint(model)
            if found != fingerprint:
                raise SegmenterError(
                    f"{model.folder} has changed since the plan was made: its fingerprint was "
                    f"{fingerprint[:12]}, now it is {found[:12]}; make the plan again"
                )
            _loaded[key] = make(model, device)
            while len(_loaded) > MOST:
                _loaded.popitem(last=False)
        _loaded.move_to_end(key)
        return _loaded[key]
