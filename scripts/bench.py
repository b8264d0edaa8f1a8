"""`uv run scripts/bench.py NAME [--json FILE]`: run the measurements of `bench_NAME.py` and print a table.

`uv run scripts/bench.py compare A B`: what has become slower from A to B, each a file or folder of rows,
`COMMIT:path`, or a commit with its `scripts/measured`; fails where a small case takes 1.3 times the CPU.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

COLUMNS = (
    "name",
    "tool",
    "case",
    "voxels",
    "seconds",
    "cpu_seconds",
    "peak_mib",
    "value",
    "unit",
    "ok",
)
PACKAGES = (
    "chunkflow-liver",
    "numpy",
    "scipy",
    "zarr",
    "dask",
    "torch",
    "nnunetv2",
    "connected-components-3d",
)


def machine(name: str) -> dict[str, Any]:
    """The first row: where and with what the others were measured."""
    return {
        "name": name,
        "tool": "machine",
        "case": f"{platform.machine()}, {len(os.sched_getaffinity(0))} of {psutil.cpu_count()} CPUs, "
        f"{psutil.virtual_memory().total / 2**30:.0f} GiB, load {os.getloadavg()[0]:.1f}",
        "machine": platform.platform(),
        "device": device(),
        "versions": {"python": platform.python_version()} | {p: v for p in PACKAGES if (v := installed(p))},
        "ok": True,
    }


def device() -> str:
    """Name of the GPU, 'cpu' without one; read from its driver, so that torch is not loaded for it."""
    path = Path("/proc/driver/nvidia/gpus")
    names = [
        line.partition(":")[2].strip()
        for info in (sorted(path.glob("*/information")) if path.is_dir() else ())
        for line in info.read_text().splitlines()
        if line.startswith("Model:")
    ]
    return ", ".join(names) or "cpu"


def installed(package: str) -> str | None:
    """Version of a package, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def line(row: dict[str, Any]) -> str:
    """A row as one line of the table."""
    cells = []
    for column in COLUMNS:
        value = row.get(column, "")
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        cells.append(text.ljust({"case": 44, "tool": 16, "name": 10, "voxels": 12}.get(column, 11)))
    return " ".join(cells).rstrip()


def report(rows: Iterable[dict[str, Any]], to: Path | None) -> bool:
    """Print and store rows as they come; False if the answers of one did not agree."""
    agreed = True
    print(line({c: c for c in COLUMNS}))
    if to is not None:
        to.write_text("")
    for row in rows:
        agreed = agreed and bool(row.get("ok", True))
        print(line(row), flush=True)
        if to is not None:
            with to.open("a") as file:
                file.write(json.dumps(row) + "\n")
    return agreed


def compared(words: list[str], root: Path) -> int:
    """Two measurements side by side; the status is 1 if something has become too slow."""
    from compare_rows import compare

    parser = argparse.ArgumentParser(prog="bench.py compare", description=__doc__)
    parser.add_argument("before", help="file or folder of rows, COMMIT:path, or a commit")
    parser.add_argument("now", help="the same")
    chosen = parser.parse_args(words)
    return compare(chosen.before, chosen.now, root)


def main() -> int:
    """Run one benchmark or compare two; the status is 1 if answers differ, or a case became slower."""
    here = Path(__file__).resolve().parent
    sys.path.insert(0, str(here))
    if sys.argv[1:2] == ["compare"]:
        return compared(sys.argv[2:], here.parent)
    known = sorted(p.stem.removeprefix("bench_") for p in here.glob("bench_*.py"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=known)
    parser.add_argument("--json", type=Path, help="file that gets one JSON row per case")
    parser.add_argument("--folder", type=Path, help="where data are made; a temporary folder by default")
    chosen = parser.parse_args()
    # Several threads per library on shared cores measure each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    bench = importlib.import_module(f"bench_{chosen.name}").bench
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        rows = (row for part in ([machine(chosen.name)], bench(Path(folder))) for row in part)
        return 0 if report(rows, chosen.json) else 1


if __name__ == "__main__":
    sys.exit(main())
