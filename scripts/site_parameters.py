"""For the site: docstrings as they are after import, shared parameters filled in (a Griffe extension)."""

from __future__ import annotations

from typing import Any

import griffe

from chunkflow_liver.parameters import filled


class SharedParameters(griffe.Extension):
    """Fills docstrings of functions."""

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        """Called for every function that was read."""
        if func.docstring is not None:
            func.docstring.value = filled(func.docstring.value) or ""
