"""Cells between painted slices: how well they were carried, where to look, which protrusion is whose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from scipy import ndimage

from chunkflow_liver.engine.plan import Product
from chunkflow_liver.errors import ChunkflowLiverError
from chunkflow_liver.geometry import Box, zyx
from chunkflow_liver.reports.pictures.closeups import CloseUp
from chunkflow_liver.reports.pictures.figures import INK, Values, bare, inline, sketch
from chunkflow_liver.reports.pictures.planes import View, read_plane, views
from chunkflow_liver.reports.pictures.renderings import CONTACT, rendering
from chunkflow_liver.reports.pictures.samples import levels_of
from chunkflow_liver.reports.pictures.slices import Pictures, raw_levels
from chunkflow_liver.reports.pictures.thumbnails import jpeg
from chunkflow_liver.reports.sections.findings import Figure
from chunkflow_liver.reports.tables import MOST_ROWS, Shown, stored
from chunkflow_liver.reports.words import counted, number
from chunkflow_liver.reports.work import Work, exists
from chunkflow_liver.store.volume import Volume

SLICES, RENDERED = 3, 4
RENDER_VOXELS = 4_000_000
ERRORS, HELD = "#c8553d", "#2f7fb8"
RIMS = np.array([[230, 159, 0], [86, 180, 233], [0, 158, 115], [240, 228, 66], [213, 94, 0], [204, 121, 167]])
"""Colours of contours, told apart by people with any colour vision."""


@dataclass
class Tissue:
    """One result of `cells` or `protrusions`, as the page shows it."""

    name: str
    text: str
    figure: Figure | None
    rows: Shown | None
    pictures: list[CloseUp]


def tissue(work: Work, drawn: Pictures, missing: list[str]) -> list[Tissue]:
    """Every result of `cells` and `protrusions`; what cannot be shown is added to `missing`."""
    named: dict[str, dict[str, Product]] = {}
    for product in work.of("cells table"):
        about = dict(product.about)
        named.setdefault(str(about["instances"]), {})[str(about["rows"])] = product
    volumes = {p.name: p.handle for p in work.of("instances") if isinstance(p.handle, Volume) and exists(p)}
    modes = {name: volumes[name] for name, t in named.items() if "errors" in t and name in volumes}
    found = []
    for name, tables in named.items():
        try:
            if "errors" in tables:
                # The slices show all modes side by side: once is enough.
                shown = modes if name == next(iter(modes), None) else {}
                found.append(_cells(name, tables, shown, work, drawn))
            elif "attachments" in tables:
                found.append(_protrusions(name, tables, volumes))
        except ChunkflowLiverError as err:
            missing.append(f"Cells {name!r}: {err}.")
    return found


def _columns(product: Product) -> dict[str, Values]:
    table = pq.read_table(stored(product).path)
    return {n: table.column(n).to_numpy(zero_copy_only=False) for n in table.column_names}


def _cells(
    name: str, tables: dict[str, Product], modes: dict[str, Volume], work: Work, drawn: Pictures
) -> Tissue:
    errors, matches, held = (_columns(tables[t]) for t in ("errors", "matches", "agreement"))
    mode = dict(tables["errors"].about).get("mode")
    text = f"Mode {mode}. "
    if len(errors["slice"]):
        low = int((errors["dice"] < 0.5).sum())
        text += (
            f"Painted cells carried from one painted slice to the next fit what is painted there with a "
            f"mean Dice of {errors['dice'].mean():.3f}; {counted(low, 'cell', 'cells')} of "
            f"{number(len(errors['dice']))} fit by less than half. "
        )
    passed = _columns(tables["blank"])["slice"].tolist() if "blank" in tables else []
    if passed:
        several = ", ".join(map(str, passed[:MOST_ROWS])) + (", ..." if len(passed) > MOST_ROWS else "")
        slices = counted(len(passed), "slice shows", "slices show")
        text += f"{slices} nothing and got what was carried: {several}. "
    new = np.unique(matches["label"][matches["reason"] != "matched with a painted cell"])
    text += f"{counted(len(new), 'cell is', 'cells are')} on no painted slice. "
    if len(held["slice"]):
        text += (
            f"On {counted(len(held['slice']), 'painted slice', 'painted slices')} held out, the adjusted "
            f"Rand index is {held['ari'].mean():.3f} on average (lowest {held['ari'].min():.3f}, slice "
            f"{held['slice'][held['ari'].argmin()]}), with {number(int(held['false_splits'].sum()))} false "
            f"splits and {number(int(held['false_merges'].sum()))} false merges."
        )
    return Tissue(name, text.strip(), _figure(errors, held, name), _held(held, name),
                  _slices(_worst(errors, matches, held), modes, work, drawn))  # fmt: skip


def _figure(errors: dict[str, Values], held: dict[str, Values], name: str) -> Figure | None:
    if not len(errors["slice"]):
        return None
    at, index = np.unique(errors["slice"], return_inverse=True)
    mean = np.bincount(index, errors["dice"]) / np.bincount(index)

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        axes.plot(at, mean, "o-", color=ERRORS, linewidth=1.4, markersize=4)
        if len(held["slice"]):
            axes.plot(held["slice"], held["ari"], "s", color=HELD, markersize=5)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("slice", color=INK)
        bare(axes)

    caption = "At painted slices, how well the cells fit that were carried there from the next painted ones."
    legend = [("Dice of carried cells", ERRORS)]
    if len(held["slice"]):
        caption += " At slices held out, how well the result agrees with what is painted."
        legend.append(("adjusted Rand index, held out", HELD))
    return Figure("Along the stack", inline(sketch(draw, name=f"tissue-{name}")), caption, tuple(legend))


def _held(held: dict[str, Values], name: str) -> Shown | None:
    if not len(held["slice"]):
        return None
    columns = ("slice", "dice", "ari", "vi_split", "vi_merge", "false_splits", "false_merges")
    order = np.lexsort((held["slice"], held["ari"]))[:MOST_ROWS].tolist()
    rows = tuple(
        tuple(
            (f"{v:.3f}", str(v)) if isinstance(v, float) else (str(v), str(v))
            for v in (held[c][i].item() for c in columns)
        )
        for i in order
    )
    heads = tuple((c.replace("_", " "), "", True) for c in columns)
    title = f"{name}: painted slices that were held out, the worst first"
    return Shown(title, heads, rows, len(held["slice"]))


def _worst(errors: dict[str, Values], matches: dict[str, Values], held: dict[str, Values]) -> list[int]:
    """Slices to look at: held out and worst, then halfway between painted ones with much error."""
    found = held["slice"][np.argsort(held["ari"], kind="stable")].tolist()
    if len(errors["slice"]):
        pairs = {(min(a, b), max(a, b)) for a, b in zip(errors["from_slice"], errors["slice"], strict=True)}

        def mean(pair: tuple[int, int]) -> float:
            own = np.isin(errors["slice"], pair) & np.isin(errors["from_slice"], pair)
            return float(errors["dice"][own].mean())

        found += [(a + b) // 2 for a, b in sorted(pairs, key=lambda p: (mean(p), p))]
    found += np.unique(matches["slice"]).tolist()[:1]
    return list(dict.fromkeys(int(z) for z in found))[:SLICES]


def _slices(places: list[int], modes: dict[str, Volume], work: Work, drawn: Pictures) -> list[CloseUp]:
    """Contours of every result over the image, slice by slice, side by side."""
    raw = raw_levels(work, [])
    out = []
    for z in places:
        for mode, volume in modes.items():
            levels = levels_of(volume)
            share = (z + 0.5) / volume.shape[0]
            view = views(volume, [levels, *([raw] if raw else [])], [share])[0][0]
            picture = _contours(levels, raw, view, (drawn.black, drawn.white))
            out.append(CloseUp(f"slice {z}: {mode}", jpeg(picture), "Contours of cells; a colour is an id."))
    return out


def _contours(levels: Any, raw: Any, view: View, grey: tuple[float, float]) -> Values:
    labels, _ = read_plane(levels, view)
    picture = np.full((*view.shape, 3), 128.0)
    if raw is not None:
        values, known = read_plane(raw, view)
        shown = np.clip((values.astype(np.float64) - grey[0]) / max(grey[1] - grey[0], 1e-9), 0, 1)
        picture[known] = 255 * shown[known][:, None]
    rim = (ndimage.maximum_filter(labels, 3) != ndimage.minimum_filter(labels, 3)) & (labels > 0)
    picture[rim] = RIMS[labels[rim].astype(np.int64) % len(RIMS)]
    return picture


def _protrusions(name: str, tables: dict[str, Product], volumes: dict[str, Volume]) -> Tissue:
    rows, conflicts = _columns(tables["attachments"]), _columns(tables["conflicts"])
    attached = rows["label"] > 0
    left = {r: int((rows["reason"][~attached] == r).sum()) for r in np.unique(rows["reason"][~attached])}
    said = ", ".join(f"{number(n)} {reason}" for reason, n in left.items())
    text = (
        f"{counted(int(attached.sum()), 'piece of a slice was', 'pieces of slices were')} joined to "
        f"{counted(len(np.unique(rows['label'][attached])), 'cell', 'cells')}. "
        f"{counted(int((~attached).sum()), 'piece was', 'pieces were')} not{': ' + said if said else ''}. "
        f"{counted(len(conflicts['slice']), 'overlap lies', 'overlaps lie')} between two cells' parts."
    )
    labels, many = np.unique(rows["label"][attached], return_counts=True)
    chosen = labels[np.argsort(-many, kind="stable")][:RENDERED]
    cells = str(dict(tables["attachments"].about).get("cells", ""))
    pictures = (
        _rendered(chosen.tolist(), volumes[cells], volumes[name]) if {cells, name} <= volumes.keys() else []
    )
    return Tissue(name, text, None, None, pictures)


def _rendered(labels: list[int], cells: Volume, whole: Volume) -> list[CloseUp]:
    """Cells in 3D, with what was joined to them in another colour; from a level that is small enough."""
    level = next((v for v in levels_of(whole) if np.prod(v.shape) <= RENDER_VOXELS), None)
    if level is None or not labels:
        return []
    found = level.read()
    body = next((v for v in levels_of(cells) if v.shape == level.shape), None)
    own = None if body is None else body.read()
    out = []
    for label in labels:
        where = np.argwhere(found == label)
        if not len(where) or own is None:
            continue
        box = Box(zyx(where.min(0).tolist()), zyx((where.max(0) + 1).tolist()))
        mask = np.pad(found[box.slices] == label, 2)
        joined = mask & ~np.pad(own[box.slices] == label, 2)
        inside, outside = (ndimage.distance_transform_edt(m, sampling=level.voxel_nm) for m in (mask, ~mask))
        signed = (inside - outside).astype(np.float32)
        picture, _ = rendering(signed, joined, np.zeros_like(mask), level.voxel_nm)
        opaque = picture[..., 3:] / 255
        key = "#{:02x}{:02x}{:02x}".format(*CONTACT)
        out.append(
            CloseUp(
                f"cell {label}",
                jpeg(255 * (1 - opaque) + opaque * picture[..., :3]),
                "Seen across its longest side.",
                (("protrusions that were joined", key),),
            )
        )
    return out
