"""Pages on their way to a file: templates, the picture format that they hold, and a place taken at once."""

from __future__ import annotations

import base64
import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chunkflow_liver.errors import OutputError

if TYPE_CHECKING:
    from jinja2 import Template


def page_template(name: str) -> Template:
    """A template of this folder; what is put into it is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent)
    made = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return made.get_template(name)


def page_source(name: str) -> str:
    """The text of a file of this folder."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def png(pixels: np.ndarray[Any, Any]) -> str:
    """Values of 0 to 255, (y, x) or (y, x, colours), as the URI of a PNG image that a page holds."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(np.rint(pixels).astype(np.uint8)).save(out, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


@contextlib.contextmanager
def replacing(target: Path, what: str) -> Iterator[Path]:
    """A file beside `target`, which takes its place at the end: a page is there whole or not at all.

    Raises
    ------
    OutputError
        If something cannot be written; `what` it was.
    """
    partial = target.with_name(f"{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, target)
    except OSError as err:
        raise OutputError(f"cannot write the {what} to {target}: {err}; choose another place") from err
