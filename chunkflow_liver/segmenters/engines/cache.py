"""What is kept on this machine for later runs: how long passes took, and converted networks."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from chunkflow_liver.segmenters.engines.engine import processor

log = logging.getLogger(__name__)

PLACE = "CHUNKFLOW_LIVER_CACHE"
"""The environment variable that names another folder."""
MOST_KEPT = 8
"""Converted networks that are kept; one is as large as its weights."""


def folder() -> Path:
    """Where this user's files of this package lie."""
    if given := os.environ.get(PLACE):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "chunkflow-liver"


def key(*parts: Any) -> str:
    """A name for what depends on `parts` and on the versions of what computes."""
    said = json.dumps([*parts, [_version(n) for n in ("chunkflow-liver", "torch", "openvino")]], default=str)
    return hashlib.sha256(said.encode()).hexdigest()[:32]


def on_this_machine(*parts: Any) -> str:
    """The same, on this kind of processor."""
    return key(*parts, *processor())


def timings(name: str) -> dict[str, float]:
    """CPU seconds per window by engine, as they were measured before; empty if they were not."""
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
        found = json.loads((folder() / f"{name}.json").read_text())
        return {str(k): float(v) for k, v in found.items()}
    return {}


def keep_timings(name: str, found: Mapping[str, float]) -> None:
    """Keep them for later runs, so that they decide alike."""
    try:
        folder().mkdir(parents=True, exist_ok=True)
        partial = folder() / f"{name}.{os.getpid()}.partial"
        partial.write_text(json.dumps(dict(found)))
        os.replace(partial, folder() / f"{name}.json")
    except OSError as err:
        log.warning("timings are not kept: %s; later runs measure again", err)


def forget_old(pattern: str) -> None:
    """Remove all but the newest of the converted networks."""
    with contextlib.suppress(OSError):
        kept = sorted(folder().glob(pattern), key=lambda path: path.stat().st_mtime)
        for path in kept[:-MOST_KEPT]:
            for part in (path, path.with_suffix(".bin")):
                part.unlink(missing_ok=True)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
