"""What notebooks show of a handle or a plan: one small table in HTML, without scripts or styles."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence


def html_table(rows: Iterable[Sequence[object]], *, head: Sequence[str] = (), caption: str = "") -> str:
    """Rows as an HTML table, every text escaped.

    Parameters
    ----------
    rows : iterable of sequences
        The first cell of each is its heading.
    head : sequence of str
        Headings of the columns.
    caption : str
    """
    lines = ["<table>"]
    if caption:
        lines.append(f"<caption>{html.escape(caption)}</caption>")
    if head:
        lines.append("<thead><tr>" + "".join(f"<th>{html.escape(h)}</th>" for h in head) + "</tr></thead>")
    lines.append("<tbody>")
    for first, *others in rows:
        cells = "".join(f"<td>{html.escape(str(cell))}</td>" for cell in others)
        lines.append(f"<tr><th>{html.escape(str(first))}</th>{cells}</tr>")
    return "\n".join([*lines, "</tbody>", "</table>"])
