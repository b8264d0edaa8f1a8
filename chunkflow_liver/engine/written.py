"""What a run writes of itself beside its journal: `plan.json`, `products.json`, `failed.json`."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from chunkflow_liver.engine.plan import Plan
from chunkflow_liver.engine.stage import plain

if TYPE_CHECKING:
    from distributed import Client


def write_plan(plan: Plan, client: Client | None) -> None:
    """`plan.json`: what was planned, by which versions, on which machine."""
    packages = ("chunkflow-liver", "numpy", "zarr", "dask", "scipy", "torch", "pyarrow")
    memory = psutil.virtual_memory().total / 2**30
    entry = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": platform.node(),
        "machine": f"{platform.machine()}, {psutil.cpu_count()} CPUs, {memory:.0f} GiB",
        "python": platform.python_version(),
        "versions": {p: v for p in packages if (v := _version(p))},
        "workers": 1 if client is None else len(client.scheduler_info(n_workers=-1)["workers"]),
        "distributed": client is not None,
        "stages": plan.rows(),
        "text": str(plan),
    }
    _replace(Path(plan.work) / "plan.json", entry)


@cache
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _replace(path: Path, content: Any) -> None:
    """Write JSON under a temporary name and rename it into place."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1))
    os.replace(partial, path)


def write_products(plan: Plan) -> None:
    """`products.json`: what the run makes, for the report and for viewers."""
    entries = [
        {
            "kind": p.kind,
            "name": p.name,
            "type": type(p.handle).__name__,
            "handle": plain(p.handle),
            "about": plain(dict(p.about)),
        }
        for p in plan.products
    ]
    path = Path(plan.work) / "products.json"
    before = json.loads(path.read_text()) if path.exists() else []
    names = {(e["kind"], e["name"]) for e in entries}
    entries = [e for e in before if (e["kind"], e["name"]) not in names] + entries
    _replace(path, entries)


def write_failed(work: Path, failed: Sequence[Mapping[str, Any]]) -> None:
    """`failed.json`: blocks that failed in every attempt, or were set aside."""
    _replace(work / "failed.json", {"stage": failed[0]["stage"], "blocks": list(failed)})
