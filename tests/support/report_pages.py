"""A small finished run, and its page taken apart, for the tests of reports."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

import chunkflow_liver as cf
from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.store.table import Table

VOXEL_NM = (4.0, 8.0, 16.0)


class Page(HTMLParser):
    """All tags with attributes, all text, and the text of scripts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self._in = ""
        self.feed(self.source)
        self.text = " ".join(" ".join(self.words).replace("\u202f", " ").split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._in = tag

    def handle_data(self, data):
        if self._in == "script":
            self.scripts.append(data)
        elif self._in != "style":
            self.words.append(data)

    def handle_endtag(self, tag):
        self._in = ""

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [a for t, a in self.tags if t == tag]


def make_run(folder: Path, *, shape=(12, 40, 48), name="mito", empty=False, border=True) -> Plan:
    """A finished run of label, distance and measure on a few boxes of class 1 and 2."""
    semantic = np.zeros(shape, np.uint8)
    if not empty:
        semantic[..., 2:10, 4:20] = 1
        semantic[..., 20:31, 25:33] = 1
        if not border and shape[0] > 1:
            semantic[0] = semantic[-1] = 0
        semantic[..., 34:36, 3:45] = 2
    raw = (np.random.default_rng(1).integers(90, 160, shape) - 60 * (semantic == 1)).astype(np.uint8)
    raw_volume = cf.write_volume(folder / "raw.ome.zarr", raw, voxel_nm=VOXEL_NM)
    classes = [(name, 1), ("er", 2)]
    cf.write_volume(folder / "truth.ome.zarr", semantic, voxel_nm=VOXEL_NM, kind="label", classes=classes)
    truth = cf.open_volume(folder / "truth.ome.zarr")
    at = {"work": folder / "run"}
    mitos = cf.label(truth, classes=[1], name="mitos", **at)
    plan = mitos
    plan += cf.distance(truth, to="er", cap_nm=100.0, name="er-distance", **at)
    plan += cf.measure(mitos.output, raw=raw_volume, name="mito-table", **at)
    contacts = Table(str(folder / "run" / "tables" / "mito-er.parquet"))
    contacts.write(
        {
            "label_a": np.array([] if empty else [1], np.uint64),
            "label_b": np.array([] if empty else [2], np.uint64),
            "area_a_um2": np.array([] if empty else [0.25]),
            "gap_min_nm": np.array([] if empty else [8.0]),
        }
    )
    about = (("a", "mitos"), ("b", "er"), ("gap_nm", 30.0))
    products = (
        Product("raw", "raw", raw_volume),
        Product("semantic", "organelles", truth),
        *plan.products,
        Product("contact table", "mito-er", contacts, about),
    )
    return cf.run(replace(plan, products=products), progress=False)
