"""Pictures of single contacts, and of each class where most of it is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq

from chunkflow_liver.errors import ChunkflowLiverError
from chunkflow_liver.ops.steps.objects import bounding_boxes
from chunkflow_liver.reports.pictures.planes import View, corner_nm, read_plane, views
from chunkflow_liver.reports.pictures.samples import levels_of
from chunkflow_liver.reports.pictures.slices import Layer, Pictures, css, label_colours, raw_levels
from chunkflow_liver.reports.pictures.thumbnails import jpeg, object_view, outlined
from chunkflow_liver.reports.tables import Stored, stored
from chunkflow_liver.reports.words import length, number, one
from chunkflow_liver.reports.work import Work, exists
from chunkflow_liver.store.ngff.write import PALETTE
from chunkflow_liver.store.volume import Volume

SIDE = 288
"""Pixels of a close-up."""
CONTACTS = 6
LEAST_NM = 400.0
PARTNER = (86, 180, 233)


EDITS = 6
"""Objects that are shown of each list of edits."""
OUTLINE = (255, 205, 60)


@dataclass(frozen=True)
class CloseUp:
    """A picture (data URI) with its title, caption and key."""

    title: str
    picture: str
    caption: str
    legend: tuple[tuple[str, str], ...] = ()


def contact_pictures(table: Stored, work: Work, drawn: Pictures) -> list[CloseUp]:
    """The largest sites of a contact table, each of another pair: the outline of A, with B in colour."""
    about = table.about
    volumes = {p.name: p.handle for p in work.products if isinstance(p.handle, Volume) and exists(p)}
    own = volumes.get(str(about.get("a")))
    product = next((p for p in work.of("contact sites") if p.name == f"{table.product.name}-sites"), None)
    if own is None or product is None or not exists(product):
        return []
    sites = pq.read_table(stored(product).path).to_pydict()
    partner = str(about.get("b"))
    other, number_of = volumes.get(partner), None
    if other is None:
        other = next((v for v in volumes.values() if partner in dict(v.classes)), None)
        number_of = None if other is None else other.class_number(partner)
    if other is None:
        return []
    raw = raw_levels(work, [])
    found: list[CloseUp] = []
    pairs: set[tuple[int, int]] = set()
    for row in np.argsort([-a for a in sites["area_a_um2"]], kind="stable").tolist():
        pair = (sites["label_a"][row], sites["label_b"][row])
        if len(found) == CONTACTS or pair in pairs:
            continue
        pairs.add(pair)
        at = [corner_nm(own, a) + sites[f"{axis}_nm"][row] for a, axis in enumerate("zyx")]
        side = max(LEAST_NM, 2.5e3 * math.sqrt(sites["area_a_um2"][row]))
        view = View("xy", at[0], (at[1] - side / 2, at[2] - side / 2), (side, side), side / SIDE)
        values, within = read_plane(levels_of(other), view)
        near = (values == (pair[1] if number_of is None else number_of)) & within
        over = label_colours(near.astype(np.uint8), {0: (0, 0, 0), 1: PARTNER})
        picture = outlined(levels_of(own), raw, pair[0], view, grey=(drawn.black, drawn.white), over=over)
        whom = one(partner) if number_of is not None else f"object {pair[1]}"
        found.append(
            CloseUp(
                f"Object {pair[0]} and {whom}",
                jpeg(picture),
                f"Contact of {number(float(sites['area_a_um2'][row]))} µm², least gap "
                f"{length(float(sites['gap_min_nm'][row]))}; xy plane, {length(round(side, -1))} wide, "
                f"at z, y, x = {', '.join(str(round(sites[f'{a}_nm'][row])) for a in 'zyx')} nm.",
                ((f"object {pair[0]}", css(OUTLINE)), (whom, css(PARTNER))),
            )
        )
    return found


def edit_pictures(work: Work, drawn: Pictures, missing: list[str]) -> list[CloseUp]:
    """Objects that edits changed: their outline before, and in colour what became of them."""
    found: list[CloseUp] = []
    for product in work.of("edit log"):
        try:
            found += _edited(stored(product), work, drawn)
        except (ChunkflowLiverError, OSError) as err:
            missing.append(f"No pictures of the edits {product.name!r}: {err}.")
    return found


def _edited(log: Stored, work: Work, drawn: Pictures) -> list[CloseUp]:
    source, name = str(log.about.get("instances")), log.product.name.removesuffix("-edits")
    volumes = {p.name: p.handle for p in work.products if isinstance(p.handle, Volume) and exists(p)}
    tables = [p for p in work.of("instance table") if dict(p.about).get("instances") == source and exists(p)]
    if not {source, name} <= volumes.keys() or not tables:
        return []
    before, after = levels_of(volumes[source]), levels_of(volumes[name])
    rows = pq.read_table(log.path, columns=["label", "action", "other", "into"]).to_pydict()
    labels = {label: row for label, *row in zip(*rows.values(), strict=True)}
    table = stored(tables[0])
    named = np.array([i for label, (_, other, _) in labels.items() for i in (label, other)], np.uint64)
    boxes = bounding_boxes(table.path, np.intersect1d(table.values("label"), named).tolist())
    raw, found = raw_levels(work, []), []
    for label in [i for i, (action, *_) in labels.items() if action != "class" and i in boxes][:EDITS]:
        action, other, into = labels[label]
        view = object_view(before, label, boxes[label], SIDE)
        if action == "merge" and into and other in boxes:
            # In the plane that shows most of both.
            view = object_view(after, into, boxes[label].hull(boxes[other]), SIDE)
        (was, inside), (now, within) = (read_plane(levels, view) for levels in (before, after))
        ids = [i for i in np.unique(now[(was == label) & inside & within]).tolist() if i]
        colours = {0: (0, 0, 0), **{k: PALETTE[(k - 1) % len(PALETTE)] for k in range(1, len(ids) + 1)}}
        number_of = sum((k * ((now == i) & within) for k, i in enumerate(ids, 1)), np.zeros(now.shape, int))
        over = label_colours(number_of, colours)
        picture = outlined(before, raw, label, view, grey=(drawn.black, drawn.white), over=over)
        became = f"object{'s' if len(ids) > 1 else ''} {', '.join(map(str, ids))}" if ids else "background"
        found.append(
            CloseUp(
                f"{action}: object {label}",
                jpeg(picture),
                f"Object {label} of {source} is {became} of {name}; {view.plane} plane, "
                f"{length(round(view.size_nm[0], -1))} wide.",
                (
                    (f"{label}, before", css(OUTLINE)),
                    *((f"{i}, after", css(colours[k])) for k, i in enumerate(ids, 1)),
                ),
            )
        )
    return found


def class_pictures(layer: Layer, work: Work, drawn: Pictures) -> list[CloseUp]:
    """Each class of an image of classes, alone, in the slice that shows most of it."""
    raw, found = raw_levels(work, []), []
    small = next((v for v in layer.levels if v.box.size <= 1 << 25), None)
    if small is None:
        return []
    labels = small.read(small.box)
    for i, (name, value) in enumerate(layer.levels[0].classes):
        shown = (labels == value).sum(axis=(1, 2))
        if not shown.any():
            continue
        share = (int(shown.argmax()) + 0.5) / small.shape[0]
        pyramids = [layer.levels, *([raw] if raw else [])]
        whole = views(layer.levels[0], pyramids, [share])[0][0]
        view = View(whole.plane, whole.at_nm, whole.low_nm, whole.size_nm, max(whole.size_nm) / (1.5 * SIDE))
        colour = tuple(PALETTE[i % len(PALETTE)])
        values, within = read_plane(layer.levels, view)
        over = label_colours(((values == value) & within).astype(np.uint8), {0: (0, 0, 0), 1: colour})
        picture = outlined(layer.levels, raw, -1, view, grey=(drawn.black, drawn.white), over=over)
        found.append(
            CloseUp(
                one(name),
                jpeg(picture),
                f"{layer.name}: xy plane at {number(100 * share)} % of the depth, the one with most of it.",
                ((one(name), css(colour)),),
            )
        )
    return found
