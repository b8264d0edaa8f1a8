"""Numbers, units and names as a reader wants to see them."""

from __future__ import annotations

import math
from typing import Any

from chunkflow_liver.kernels.significance.boundaries import SOURCES

THIN = "\u202f"
SIGNS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
UNITS = {
    "_per_um3": "1/µm³",
    "_per_um": "1/µm",
    "_deg": "°",
    "_um3": "µm³",
    "_um2": "µm²",
    "_um": "µm",
    "_nm": "nm",
}
UNIT_SIGNS = {
    "nanometer": "nm",
    "micrometer": "µm",
    "micrometer^2": "µm²",
    "micrometer^3": "µm³",
    "micrometer^-1": "1/µm",
    "micrometer^-3": "1/µm³",
    "degree": "°",
}
PLURALS = {
    "mitochondrion": "mitochondria",
    "nucleus": "nuclei",
    "lipid droplet": "lipid droplets",
    "cell boundary": "cell boundaries",
    "er": "ER",
    "bile canaliculus": "bile canaliculi",
}

BY_WHAT = dict(
    zip(
        SOURCES,
        (
            "what 'calibrate' measured (95 %)",
            "what several networks differ and say (95 %)",
            "what the scores say (95 %)",
            "half a voxel",
        ),
        strict=True,
    )
)
"""What errors of boundaries are known from, in words."""
COUNTS = ("voxels", "intensity_", "objects", "sites", "partners")
"""What the names of columns hold whose integers are amounts."""


def number(value: float, digits: int = 3) -> str:
    """`value` with `digits` significant digits, thousands set apart by a thin space."""
    if isinstance(value, int):
        return f"{value:,}".replace(",", THIN)
    if not math.isfinite(value):
        return "–" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    size = abs(value)
    if value == 0:
        return "0"
    if size >= 10 ** (digits - 1):
        return f"{value:,.0f}".replace(",", THIN) if size < 1e9 else _power(value, digits)
    if size >= 1e-3:
        return f"{value:.{digits - 1 - math.floor(math.log10(size))}f}"
    return _power(value, digits)


def _power(value: float, digits: int) -> str:
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa}{THIN}×{THIN}10{str(int(exponent)).translate(SIGNS)}"


def percent(share: float) -> str:
    """A share of 0 to 1 in percent; never rounded to 0 or 100 unless it is."""
    if math.isnan(share):
        return "–"
    if 0 < share < 0.001:
        return f"under 0.1{THIN}%"
    if 0.999 < share < 1:
        return f"over 99.9{THIN}%"
    text = f"{100 * share:.1f}" if share < 0.1 or share > 0.9 else f"{100 * share:.0f}"
    return f"{text.removesuffix('.0')}{THIN}%"


def length(nm: float) -> str:
    """A length in nm or, from 1 µm on, in µm."""
    return f"{nm:g}{THIN}nm" if nm < 1000 else f"{nm / 1000:g}{THIN}µm"


def near_to(gap_nm: float, whom: str, verb: str = "") -> str:
    """'[verb] within 30 nm of whom'; without a gap, that they touch. The verb: come, comes or lies."""
    if gap_nm != 0:
        return f"{verb} within {length(gap_nm)} of {whom}".strip()
    return f"{'touching' if not verb else 'touch' if verb == 'come' else 'touches'} {whom}"


def counted(n: int, single: str, plural: str = "") -> str:
    """`n` with the words for one, or for several: those for one and an 's', unless they are given."""
    return f"{number(int(n))} {single if n == 1 else plural or f'{single}s'}"


def between(low: float, high: float) -> str:
    """Both ends of an interval with as many decimals, so that the larger one has two significant digits."""
    most = max(abs(low), abs(high))
    if not 1e-3 <= most < 100:
        return f"{number(low)} to {number(high)}"
    decimals = 1 - math.floor(math.log10(most))
    return f"{low:.{decimals}f} to {high:.{decimals}f}"


def off_by(sources: set[str], what: str, ends: str) -> str:
    """What boundaries that are off make of a number, whose `ends` are in words, and where that is known from.

    Parameters
    ----------
    sources : set of str
        Of `significance.boundaries.SOURCES`, of the sides; none of a table that does not say.
    what, ends : str
    """
    if not sources:
        return ""
    if sources == {SOURCES[-1]}:
        return f"With boundaries half a voxel farther in or out, which is no interval, {what} is {ends}."
    known = " and ".join(BY_WHAT[one] for one in SOURCES if one in sources)
    return f"With boundaries off by {known}, {what} is {ends}."


def by(values: Any, unit: str = "") -> str:
    """Sides of a box as 'a × b × c', with the unit once."""
    return f"{THIN}×{THIN}".join(f"{v:g}" for v in values) + (f"{THIN}{unit}" if unit else "")


def size(n: float) -> str:
    """Bytes with a binary unit."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if n < 1024 or unit == "TiB":
            break
        n /= 1024
    return f"{number(float(n)) if unit != 'B' else int(n)}{THIN}{unit}"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours."""
    if seconds < 100:
        return f"{number(float(seconds))}{THIN}s"
    if seconds < 6000:
        return f"{seconds / 60:.1f}{THIN}min"
    return f"{seconds / 3600:.1f}{THIN}h"


def readable(name: str) -> str:
    """A class or column name with spaces."""
    return name.replace("_", " ").strip()


def several(name: str) -> str:
    """The plural of a class name where it is known, else '... objects'."""
    text = readable(name)
    if not text:
        return "objects"
    return PLURALS.get(text.lower(), text if text.endswith("s") else f"{text} objects")


def one(name: str) -> str:
    """A class name within a sentence."""
    return "ER" if name.lower() == "er" else readable(name)


def heading(column: str, unit: str = "") -> tuple[str, str]:
    """Name and unit of a table's column; `unit` is the one that its metadata state."""
    for end, sign in UNITS.items():
        if column.endswith(end):
            return readable(column.removesuffix(end)), sign
    return readable(column), UNIT_SIGNS.get(unit, "voxels" if column.startswith("bbox_") else unit)


def cell(value: Any, column: str) -> str:
    """One value of a column of a table; thousands are set apart in counts, not in ids and places."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return number(value) if any(c in column for c in COUNTS) else str(value)
    if isinstance(value, float):
        # Summaries have amounts and means in one column.
        return number(int(value)) if column == "value" and value.is_integer() else number(value, 4)
    return str(value)
