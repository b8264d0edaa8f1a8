"""What a page remembers: the state of the run that it shows, and the figures that lie beside it."""

from __future__ import annotations

import hashlib
import html
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

FOLDER = "figures"
SHOWS = ("journal.jsonl", "run.json", "products.json", "failed.json")
"""Files of a work folder that change when there is something new to show."""
HEAD = 1 << 20
"""Characters at the beginning of a page in which its record stands."""


@dataclass(frozen=True)
class Record:
    """State of the run, and the digest of every figure by its name; written into the head of the page."""

    state: str = ""
    figures: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))


def remembered(work: Path, figures: Mapping[str, str], *, whole: bool = True) -> Record:
    """The record of a page of the run in `work`, with SVGs by name; not `whole`, it is never current."""
    return Record(
        state(work) if whole else "", {name: _digest(svg.encode()) for name, svg in figures.items()}
    )


def recorded(page: Path) -> Record:
    """The record of a page that was written earlier; an empty one where there is none."""
    try:
        with page.open(encoding="utf-8") as file:
            found = re.search(r'<meta name="record" content="([^"]*)">', file.read(HEAD))
        known = json.loads(html.unescape(found[1])) if found else {}
        return Record(str(known.get("state", "")), dict(known.get("figures", {})))
    except (OSError, ValueError, TypeError, AttributeError):
        return Record()


def state(work: Path) -> str:
    """A digest of all that a page says of a run, and of the code that says it."""
    digest = hashlib.sha256(version("chunkflow-liver").encode())
    sources = sorted(p for p in Path(__file__).parent.iterdir() if p.is_file())
    for path in (*sources, *(work / name for name in SHOWS)):
        # An absent file is not an empty one.
        digest.update(_digest_of(path).encode() if path.exists() else b"none")
    return digest.hexdigest()


def is_current(work: Path) -> bool:
    """Whether `report.html` and its figures show a run as it is now, so that nothing needs to be drawn."""
    last = recorded(work / "report.html")
    there = (_is_ours(work / FOLDER / name, digest) for name, digest in last.figures.items())
    return last.state == state(work) and all(there)


def forget(page: Path, keep: Mapping[str, str]) -> None:
    """Remove the figures of an earlier page that are not in `keep`, except where someone changed them."""
    for name, digest in recorded(page).figures.items():
        path = page.parent / FOLDER / name
        # The page may come from someone else: nothing outside the folder is touched.
        if name not in keep and Path(name).name == name and _is_ours(path, digest):
            path.unlink()


def _is_ours(path: Path, digest: str) -> bool:
    return path.is_file() and _digest_of(path) == digest


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
