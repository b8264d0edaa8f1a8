"""What a run writes of itself beside its journal: `plan.json`, `products.json`, `failed.json`; reading it."""

from __future__ import annotations

import json
import logging
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import psutil

from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.engine.stage import plain
from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Box
from chunkflow_liver.store.location import is_local
from chunkflow_liver.store.table import Table
from chunkflow_liver.store.volume import Volume

if TYPE_CHECKING:
    from distributed import Client

    from chunkflow_liver.engine.journal import Journal

log = logging.getLogger(__name__)

H = TypeVar("H", Volume, Table)


def write_all(plan: Plan, client: Client | None, journal: Journal, *, is_new: bool) -> None:
    """`plan.json` and `products.json`, and their checksums in the journal.

    What other run files of this folder wrote in them stays, unless they were damaged. Where nothing `is_new`,
    `plan.json` stays: it tells where and when things were done.
    """
    wrong, path = journal.wrong_files(), Path(plan.work) / "plan.json"
    for name in {"plan.json", "products.json"}.intersection(wrong):
        log.warning(
            "%s is damaged and written again; what other run files made is listed when they run again",
            Path(plan.work) / name,
        )
        (Path(plan.work) / name).unlink(missing_ok=True)
    write_products(plan)
    if is_new or plan.rows() != [r for r in _planned(path) if r["stage"] in {s.name for s in plan.stages}]:
        write_plan(plan, client, lambda name: journal.stage(name).finished)
    journal.note("plan.json", "products.json")


def write_plan(plan: Plan, client: Client | None, is_finished: Callable[[str], bool]) -> None:
    """`plan.json`: what was planned, by which versions, on which machine.

    Stages of earlier plans of the folder stay in it where they are finished: what they made is there.
    """
    path = Path(plan.work) / "plan.json"
    rows = plan.rows()
    mine = {row["stage"] for row in rows}
    kept = [row for row in _planned(path) if row["stage"] not in mine and is_finished(row["stage"])]
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
        "stages": [*kept, *rows],
        "text": str(plan),
    }
    _replace(path, entry)


def _planned(path: Path) -> list[dict[str, Any]]:
    """The stages of a `plan.json`; none of one that is absent or damaged, which is written anew."""
    try:
        return [row for row in json.loads(path.read_text())["stages"] if "stage" in row]
    except (OSError, ValueError, KeyError, TypeError):
        return []


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
    names = {(e["kind"], e["name"]) for e in entries}
    try:
        before = [e for e in read_json(path, []) if (e["kind"], e["name"]) not in names]
    except (InputError, LookupError, TypeError) as err:
        log.warning(
            "%s is damaged and written again; what other run files made is listed when they run again: %s",
            *(path, err),
        )
        before = []
    _replace(path, before + entries)


def write_failed(work: Path, failed: Sequence[Mapping[str, Any]]) -> None:
    """`failed.json`: blocks that failed in every attempt, or were set aside."""
    _replace(work / "failed.json", {"stage": failed[0]["stage"], "blocks": list(failed)})


def read_products(work: Path) -> tuple[Product, ...]:
    """What `products.json` of a work folder lists; a handle may not exist yet.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    return tuple(_product(work, entry) for entry in read_json(work / "products.json", []))


def read_json(path: Path, absent: Any) -> Any:
    """Content of a file of a work folder, of the type of `absent`, which stands for a file that is not there.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    if not path.exists():
        return absent
    try:
        found = json.loads(path.read_text())
    except ValueError as err:
        raise InputError(f"{path} cannot be read: {err}; restore it or run the plan again") from err
    if not isinstance(found, type(absent)):
        raise InputError(
            f"{path} holds a {type(found).__name__}, wanted a {type(absent).__name__}; run the plan again"
        )
    return found


def _product(path: Path, entry: Mapping[str, Any]) -> Product:
    try:
        stated = entry["handle"]
        made = _handle(path, stated, Volume) if entry["type"] == "Volume" else _handle(path, stated, Table)
        about = dict(entry["about"])
        images = {k: _handle(path, v, Volume) for k, v in (about.get("images") or {}).items()}
        about |= {"images": images} if images else {}
        return Product(entry["kind"], entry["name"], made, tuple(about.items()))
    except (KeyError, TypeError, AttributeError) as err:
        raise InputError(
            f"{path / 'products.json'} has an entry that is no product: {err!r}; run the plan again"
        ) from err


def _handle(path: Path, stated: Mapping[str, Any], kind: type[H]) -> H:
    place = "url" if kind is Volume else "path"
    handle = {k: _tuples(v) for k, v in stated.items()}
    handle[place] = _moved(handle[place], path)
    if (region := handle.get("region")) is not None:
        handle["region"] = Box(_tuples(region["start"]), _tuples(region["stop"]))
    if (mask := stated.get("mask")) is not None:
        handle["mask"] = _handle(path, mask, Volume)
    known = {f.name for f in fields(cast(Any, kind))}
    return kind(**{k: v for k, v in handle.items() if k in known})


def _moved(url: str, work: Path) -> str:
    """`url`, or what lies at the same place in `work` if the work folder was moved since the run."""
    if not is_local(url) or Path(url).exists():
        return url
    parts = Path(url).parts
    inside = (work.joinpath(*parts[-n:]) for n in range(len(parts) - 1, 0, -1))
    return str(next((p for p in inside if p.exists()), url))


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
