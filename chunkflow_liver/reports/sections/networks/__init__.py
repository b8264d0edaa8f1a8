"""Networks in words and figures; every number stands in a table of the run, or is a published one."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq

from chunkflow_liver.engine.plan import Product
from chunkflow_liver.errors import ChunkflowLiverError
from chunkflow_liver.reports.pictures import networks as draw
from chunkflow_liver.reports.sections.populations import Columns, Told
from chunkflow_liver.reports.tables import Shown, beside, first_rows, stored
from chunkflow_liver.reports.words import THIN, counted, number, percent
from chunkflow_liver.reports.work import Work

SHOWN = ("-networks", "-nodes", "-angles", "-summary")
MOST_ROWS = 2_000_000
"""Centre lines of more points are not drawn."""
Counted = dict[tuple[str, str], float]
PUBLISHED = (
    ("sinusoids: diameter", "5 to 9 µm", "as textbooks have it"),
    ("sinusoids: diameter", "5 to 15 µm", "Boninsegna et al., Livers 3 (2023)"),
    ("sinusoids: share of the volume", "10.6 %", "rat; Blouin et al., J. Cell Biol. 72 (1977)"),
    ("bile canaliculi: diameter", "about 1 µm", "rat; doi:10.1201/9781420038538-29"),
    ("bile canaliculi: share of the volume", "0.4 to 0.5 %", "0.4 % in rat: Blouin et al., 1977"),
    (
        "sinusoids: edges that are of the Delaunay graph",
        "nearly all",
        "mouse; Karschau et al., PLoS Comput. Biol. 16 (2020)",
    ),
    (
        "sinusoids: edges of the minimum spanning tree that are of the network",
        "nearly all",
        "mouse; Karschau et al., 2020",
    ),
)
"""What is published, beside which the numbers of this network stand; which of it applies, a reader knows."""


def networks(work: Work) -> list[Told]:
    """Every network of a run; what cannot be shown is listed as missing."""
    found = []
    for product in work.of("network branches"):
        made = Told(product.name)
        found.append(made)
        try:
            _network(product, work, made)
        except ChunkflowLiverError as err:
            made.missing.append(f"Network {product.name!r}: {err}.")
    return found


def _read(work: Work, name: str) -> Columns:
    product = next(p for p in work.products if p.name == name and p.kind.startswith("network"))
    table = pq.read_table(stored(product).path)
    return {n: table.column(n).to_numpy(zero_copy_only=False) for n in table.column_names}


def _network(product: Product, work: Work, made: Told) -> None:
    name = product.name
    parts = {p.name.removeprefix(name): p for p in work.products if p.kind.startswith("network")}
    told = _read(work, f"{name}-summary")
    of: Counted = {
        (str(what), str(whose)): value
        for what, whose, value in zip(told["what"], told["of"], told["value"].tolist(), strict=True)
    }
    _sentences(of, made)
    _caveats(of, dict(product.about), made)
    branches, nodes = _read(work, name), _read(work, f"{name}-nodes")
    if len(branches["branch"]):
        if pq.read_metadata(stored(parts["-points"]).path).num_rows <= MOST_ROWS:
            points = _read(work, f"{name}-points")
            made.add(
                f"Centre lines of {name}",
                draw.lines(points, branches, nodes, name=f"{name}l"),
                "The whole volume from one side, z downwards, in its true proportions in the plane of the "
                "picture; thickness and colour: the radius; dots: branch points. "
                f" At most {draw.MOST_POINTS:,} points, those of the longest branches.",
            )
        made.add(
            f"Diameters, lengths, angles of {name}",
            draw.spreads(branches, _read(work, f"{name}-angles"), name=f"{name}h"),
            "Diameters count by the length that has them.",
        )
    made.tables.append(_beside(name, of))
    made.tables += [first_rows(stored(product))]
    made.tables += [first_rows(stored(parts[end])) for end in SHOWN if end in parts]


def _sentences(of: Counted, made: Told) -> None:
    many = {
        k: number(int(of["count", k])) for k in ("networks", "branches", "branch points", "ends", "loops")
    }
    made.sentences.append(
        f"{many['branches']} branches meet at {many['branch points']} branch points and have "
        f"{many['ends']} free ends, in {many['networks']} separate networks with "
        f"{many['loops']} loops; the longest has {percent(of['share of the length', 'longest network'])} of "
        "the length."
    )
    if np.isfinite(of["length", "per volume"]):
        made.sentences.append(
            f"They are {number(of['length', 'all branches'])}{THIN}µm long, "
            f"{number(of['length', 'per volume'])}{THIN}µm per µm³, and fill "
            f"{percent(of['share of the volume', 'tubes'])} of the volume."
        )
    if ("diameter", "mean") in of:
        words = [number(of["diameter", what] / 1000) for what in ("mean", "5 %", "95 %")]
        each = number(of["branch length", "mean"] / 1000)
        made.sentences.append(
            f"Diameters are {words[0]}{THIN}µm on average over the length (from {words[1]} to "
            f"{words[2]}{THIN}µm for 90 % of it), branches {each}{THIN}µm long."
        )
    if ("angle", "mean") in of:
        made.sentences.append(
            f"Two branches of a node make {number(of['angle', 'mean'])} degrees on average."
        )
    if ("edges that are of the", "Delaunay graph") in of:
        made.sentences.append(
            "Of the edges between branch points "
            f"{percent(of['edges that are of the', 'Delaunay graph'])} join neighbours in space (they are "
            "edges of the Delaunay graph); of the shortest tree that joins all branch points, "
            f"{percent(of['edges of the network', 'minimum spanning tree'])} of the edges are of the network."
        )


def _caveats(of: Counted, about: dict[str, object], made: Told) -> None:
    if wide := int(of["count", "nodes wider than asked for"]):
        made.caveats.append(
            f"{counted(wide, 'node is a lump', 'nodes are lumps')} wider than {about['widest_nm']:g} nm, not "
            "thinned; give a larger widest_nm if it is a tube."
        )
    if cut := int(of["count", "ends at the border"]):
        made.caveats.append(
            f"{counted(cut, 'free end lies', 'free ends lie')} at the end of what was looked at."
        )
    if of["Euler number", "voxels"] > of["Euler number", "network"]:
        made.caveats.append(
            "The object has cavities, which no line can go round, or is a wall and not a lumen: fill holes "
            "first (refine)."
        )


def _beside(name: str, of: Counted) -> Shown:
    """Our numbers beside published ones."""
    diameter = of.get(("diameter", "mean"))
    ours = {
        "diameter": "" if diameter is None else f"{number(diameter / 1000)}{THIN}µm",
        "share of the volume": percent(of["share of the volume", "tubes"]),
        "edges that are of the Delaunay graph": _share(of, "edges that are of the", "Delaunay graph"),
        "edges of the minimum spanning tree that are of the network": _share(
            of, "edges of the network", "minimum spanning tree"
        ),
    }
    rows = [(what, value, ours[what.partition(": ")[2]], source) for what, value, source in PUBLISHED]
    return beside(name, rows)


def _share(of: Counted, what: str, whose: str) -> str:
    return percent(of[what, whose]) if (what, whose) in of else ""
