"""The tissue in one plane, its objects coloured by zone."""

from __future__ import annotations

from typing import Any

import numpy as np

from chunkflow_liver.geometry import NM_PER_UM
from chunkflow_liver.reports.pictures.depths import fullest
from chunkflow_liver.reports.pictures.figures import Values, bare, sketch
from chunkflow_liver.reports.pictures.planes import read_plane, views
from chunkflow_liver.reports.pictures.samples import levels_of
from chunkflow_liver.reports.pictures.slices import css
from chunkflow_liver.reports.work import Work, exists
from chunkflow_liver.store.volume import Volume

NO_ZONE = (150, 150, 150)
TALLEST_INCHES = 4.2


def zoned(work: Work, instances: str, label: Values, zone: Values) -> tuple[Values, float] | None:
    """Zones of the objects in the plane across z that shows most of them in the middle of the volume.

    Returns
    -------
    (zone, pixel_um) or None
        Zone of each pixel, -1 where no object is and between two, 0 of objects without a zone; None if the
        run has no image of these objects.

    Raises
    ------
    ChunkflowLiverError
        If the image cannot be read.
    """
    found = [p for p in work.of("instances") if p.name == instances and isinstance(p.handle, Volume)]
    if not found or not exists(found[0]) or not len(label):
        return None
    levels = levels_of(found[0].handle)  # type: ignore[arg-type]
    across_z = views(levels[0], [levels], fullest([levels]))[0]
    view = across_z[len(across_z) // 2]
    ids, inside = read_plane(levels, view)
    order = np.argsort(label)
    at = np.minimum(np.searchsorted(label[order], ids), len(label) - 1)
    known = label[order][at] == ids
    shown = np.where(known, zone[order][at], 0).astype(np.int64)
    shown[(ids == 0) | ~inside] = -1
    # Objects of one zone that touch are told apart by a line.
    apart = np.zeros(ids.shape, bool)
    apart[1:] |= (ids[1:] != ids[:-1]) & (ids[:-1] != 0)
    apart[:, 1:] |= (ids[:, 1:] != ids[:, :-1]) & (ids[:, :-1] != 0)
    shown[apart] = -1
    return shown, view.pixel_nm / NM_PER_UM


def colours(zones: int) -> list[tuple[int, int, int]]:
    """Colours of no zone, and of zones 1 to `zones`, from the first end to the second."""
    import matplotlib as mpl

    map_ = mpl.colormaps["viridis"]
    steps = [map_(0.1 + 0.8 * (i / max(zones - 1, 1)))[:3] for i in range(zones)]
    return [NO_ZONE, *((round(255 * r), round(255 * g), round(255 * b)) for r, g, b in steps)]


def legend(zones: int) -> list[tuple[str, str]]:
    """What the colours stand for, for the page."""
    names = ["no zone", *(f"zone {i + 1}" for i in range(zones))]
    return [(name, css(colour)) for name, colour in zip(names, colours(zones), strict=True)]


def tissue(shown: Values, pixel_um: float, zones: int, *, name: str) -> str:
    """A plane of zones (-1: nothing) as a picture with axes in um."""
    table = np.array([(0, 0, 0, 0), *((*c, 255) for c in colours(zones))], np.uint8)
    rgba = table[shown + 1]
    high, wide = (n * pixel_um for n in shown.shape)

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        axes.imshow(rgba, extent=(0, wide, high, 0), interpolation="nearest")
        axes.set_xlabel("x (\u00b5m)")
        axes.set_ylabel("y (\u00b5m)")
        bare(axes)
        axes.grid(False)

    return sketch(draw, name=name, height_inches=min(TALLEST_INCHES, max(1.6, 0.9 + 4.6 * high / wide)))
