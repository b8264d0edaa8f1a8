"""Units of length in OME-Zarr metadata."""

from __future__ import annotations

_PREFIXES = {
    "yocto": 1e-24, "zepto": 1e-21, "atto": 1e-18, "femto": 1e-15, "pico": 1e-12, "nano": 1e-9,
    "micro": 1e-6, "milli": 1e-3, "centi": 1e-2, "deci": 1e-1, "": 1.0, "hecto": 1e2, "kilo": 1e3,
}  # fmt: skip
NM_PER_UNIT = {f"{prefix}meter": float(f"{meters * 1e9:.12g}") for prefix, meters in _PREFIXES.items()} | {
    "angstrom": 0.1,
    "inch": 25.4e6,
    "foot": 304.8e6,
    "yard": 914.4e6,
}
"""The lengths that OME-Zarr names, without those of maps and stars."""
UNIT_ALIASES = {
    "pm": "picometer",
    "nm": "nanometer",
    "um": "micrometer",
    "µm": "micrometer",
    "μm": "micrometer",
    "micron": "micrometer",
    "mm": "millimeter",
    "cm": "centimeter",
    "m": "meter",
    "å": "angstrom",
    "a": "angstrom",
    "ångström": "angstrom",
}
NO_UNITS = frozenset(
    {"", "pixel", "pixels", "px", "voxel", "voxels", "unit", "units", "none", "null", "unknown", "arbitrary"}
)
"""What programs write where they know no unit."""


def nm_per(stated: object, given: str | None, where: str, problems: list[str]) -> float | None:
    """How many nm the unit of an axis has; None where there is none that can be used.

    Parameters
    ----------
    stated : object
        What the metadata say.
    given : str or None
        Unit that a person gave, for metadata that say nothing that can be used.
    where : str
        The axis, for the text of a problem.
    problems : list of str
        Gets the problem, if there is one.
    """
    says = "" if stated is None else str(stated).strip().lower()
    if says in NO_UNITS:
        if given is None:
            none = "no unit" if stated is None else f"the unit {stated!r}, which is no length"
            problems.append(
                f"{where} has {none}; state one (for example unit: nanometer), or make an image that has "
                "one: chunkflow-liver convert, with --voxel-nm Z Y X"
            )
            return None
        stated, says = given, given.strip().lower()
    name = says.removesuffix("s").replace("metre", "meter") if says not in UNIT_ALIASES else says
    name = UNIT_ALIASES.get(name, name)
    if name not in NM_PER_UNIT:
        problems.append(f"{where} has unit {stated!r}; known are {sorted(NM_PER_UNIT)}")
        return None
    return NM_PER_UNIT[name]
