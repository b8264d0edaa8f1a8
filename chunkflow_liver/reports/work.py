"""What a work folder says of its run: products, stages, failures; read only, without its lock."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from chunkflow_liver.engine.journal import read_journal
from chunkflow_liver.engine.plan import Product
from chunkflow_liver.engine.watch.done import rows_of
from chunkflow_liver.engine.watch.lines import read_entries
from chunkflow_liver.engine.written import read_json, read_products
from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import BlockGrid, Box, zyx
from chunkflow_liver.store.table import Table

SLOWEST = 5
PENDING = ("pending", True)
"""Said of a product that the run has not finished."""


@dataclass
class Stage:
    """One stage: what was to be done, and the sums over the blocks that are done.

    `seconds` and `cpu` are added over blocks, so over workers too; `read` and `written` are bytes
    before compression; `slowest` holds (seconds, block).
    """

    name: str
    description: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    planned: Mapping[str, Any] = field(default_factory=dict)
    done: int = 0
    finished: bool = False
    seconds: float = 0.0
    cpu: float = 0.0
    read: int = 0
    written: int = 0
    peak_mib: float = 0.0
    slowest: list[tuple[float, int]] = field(default_factory=list)

    @property
    def grid(self) -> BlockGrid | None:
        """The grid of a map; a fold has none."""
        box, block = self.description.get("box"), self.description.get("block")
        return BlockGrid(Box(zyx(box[0]), zyx(box[1])), zyx(block)) if box and block else None

    @property
    def blocks(self) -> int:
        return len(self.grid) if self.grid else 1

    @property
    def voxels(self) -> float:
        """Voxels done so far, blocks counted as equally large."""
        return self.grid.box.size * self.done / self.blocks if self.grid else math.nan

    def add(self, row: Mapping[str, Any]) -> None:
        self.done += 1
        self.seconds += row.get("seconds", 0.0)
        self.cpu += row.get("cpu", 0.0)
        self.read += row.get("read", 0)
        self.written += row.get("written", 0)
        self.peak_mib = max(self.peak_mib, row.get("peak_mib", 0.0))
        keep = heapq.heappush if len(self.slowest) < SLOWEST else heapq.heappushpop
        keep(self.slowest, (row.get("seconds", 0.0), row["block"]))


@dataclass(frozen=True)
class Work:
    """A work folder, read.

    Attributes
    ----------
    path : Path
    products : tuple of Product
        What the run makes; a handle may not exist yet.
    stages : tuple of Stage
        In the order of the plan where it is known, else of the journal.
    failed : mapping
        `failed.json`: 'stage' and 'blocks'; empty if no block failed.
    plan : mapping
        `plan.json`: host, versions, workers, text; empty if there is none.
    made : frozenset of str
        Places of images and tables that a finished stage of the run made.
    """

    path: Path
    products: tuple[Product, ...]
    stages: tuple[Stage, ...]
    failed: Mapping[str, Any]
    plan: Mapping[str, Any]
    made: frozenset[str] = frozenset()

    def local(self, text: str) -> str:
        """`text` with paths seen from the work folder: a page says nothing of the machine."""
        return text.replace(f"{self.path}/", "").replace(str(self.path), self.path.name)

    def of(self, kind: str) -> tuple[Product, ...]:
        return tuple(p for p in self.products if p.kind == kind)


def read_work(path: Path) -> Work:
    """Everything that the work folder at `path` says of its run.

    Raises
    ------
    InputError
        If it is no work folder, or one of its files cannot be read.
    """
    if not (path / "run.json").exists() and not (path / "products.json").exists():
        raise InputError(
            f"{path} is no work folder: it has neither run.json nor products.json; give the folder "
            "that a plan was run in"
        )
    plan = read_json(path / "plan.json", {})
    products = read_products(path)
    pending, made = _places(path)
    return Work(
        path,
        tuple(replace(p, about=(*p.about, PENDING)) if _place(p) in pending else p for p in products),
        tuple(_stages(path, plan)),
        read_json(path / "failed.json", {}),
        plan,
        frozenset(made),
    )


def _places(path: Path) -> tuple[set[str], set[str]]:
    """Images and tables of stages that are not done, or are to be done again, and of those that are done."""
    journal = read_journal(path)
    pending: set[str] = set()
    made: set[str] = set()
    for name, keys in journal.planned_handles().items():
        known = journal.stage(name)
        if known.finished and known.cleaned:
            continue
        # A key of an array is its image and the path of its level.
        places = {place for key in keys for place in (key, key.rpartition("/")[0])}
        (made if known.finished else pending).update(places)
    return pending, made


def _place(product: Product) -> str:
    return product.handle.path if isinstance(product.handle, Table) else product.handle.url


def is_pending(product: Product) -> bool:
    """Whether a product is not finished, so that nothing of it is to be shown."""
    return PENDING in product.about


def is_finished(work: Work, product: Product) -> bool:
    """Whether the run has made a product, so that it should be there."""
    return not is_pending(product) and _place(product) in work.made


def exists(product: Product) -> bool:
    """Whether the product is stored, and finished; a place that cannot be reached counts as no."""
    if is_pending(product):
        return False
    try:
        return product.handle.exists()
    except (InputError, OSError):
        return False


def _stages(path: Path, plan: Mapping[str, Any]) -> list[Stage]:
    described = read_json(path / "run.json", {}).get("stages", {})
    planned = {entry.get("stage"): entry for entry in plan.get("stages", ())}
    found: dict[str, Stage] = {}

    def stage(name: str) -> Stage:
        if name not in found:
            known = described.get(name, {})
            found[name] = Stage(
                name, known.get("description", {}), known.get("fingerprint", ""), planned.get(name, {})
            )
        return found[name]

    for name in planned:
        if name in described:
            stage(name)
    for entry in read_entries(path):
        if not entry["stage"]:
            # It is of the run itself.
            continue
        if entry.get("reset"):
            place = list(found)
            found.pop(entry["stage"], None)
            if entry["stage"] in place:
                stage(entry["stage"])
            continue
        this = stage(entry["stage"])
        if "forget" in entry:
            this.done, this.finished = this.done - len(entry["forget"]), False
        for row in rows_of(entry):
            this.add(row)
        if entry.get("finished"):
            this.finished = True
            if this.grid is None:
                this.done, this.seconds = 1, entry.get("seconds", 0.0)
    for name in described:
        stage(name)
    return list(found.values())
