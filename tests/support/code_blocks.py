"""Code blocks of pages, with what a comment before them says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(
    r"(?:^<!-- not run: (?P<why>[^\n]*?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.S | re.M,
)


@dataclass(frozen=True)
class Code:
    """One block: where it begins, its language, and why it is not run, if it is not."""

    page: Path
    line: int
    language: str
    text: str
    why_not: str = ""

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> list[Code]:
    """Every block of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = [
        Code(page, text.count("\n", 0, m.start("text")), m["language"], m["text"], m["why"] or "")
        for m in FENCE.finditer(text)
    ]
    fences = re.findall(r"^ *```", text, re.M)
    if len(fences) != 2 * len(found):
        raise ValueError(f"{page} has fences that are no blocks: {len(fences)} and {len(found)} blocks")
    return found
