"""Whether the function of a stage takes what the stage will give it."""

from __future__ import annotations

import inspect

from chunkflow_liver.engine.stage import Fold, Map, Stage
from chunkflow_liver.errors import StageError


def check_function(stage: Stage) -> None:
    """Refuse a stage whose function does not take what it will be given: here, not in the first block.

    Raises
    ------
    StageError
    """
    inputs = stage.inputs if isinstance(stage, Map) else ()
    scratch = {"scratch": None} if isinstance(stage, Fold) and stage.spills else {}
    try:
        signature = inspect.signature(stage.function)
    except ValueError:  # a function of C has none
        return
    try:
        signature.bind(None, *inputs, **{**stage.artefacts, **stage.params, **scratch})
    except TypeError as err:
        name = f"{stage.function.__module__}.{stage.function.__qualname__}"
        raise StageError(
            f"stage {stage.name!r}: {name}{signature} does not take what the stage gives it: {err}; give it "
            f"{len(inputs)} inputs, artefacts {sorted(stage.artefacts)} and params "
            f"{sorted(stage.params)} that fit"
        ) from err
