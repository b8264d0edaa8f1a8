"""Rows 51 to 72 of the table of bad inputs: models, run files, outputs, and where a run is to work.

Each row is one case; where it names several inputs, they are tried one after the other.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import os
import shutil
import threading
import unittest.mock
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damages import (
    IMAGE,
    PLAN,
    Bad,
    Fine,
    in_run_file,
    malicious,
    many,
    model_of_others,
    run_file,
    run_text,
    with_checkpoint,
    with_model,
    with_weights,
)
from strategies import contents, write

from chunkflow_liver.engine.journal import Journal

torch = pytest.importorskip("torch")

NO_CHECKPOINT = r"checkpoint_final.pth \(\d+ bytes\) is not a file that torch.save wrote; copy it again"
IN_USE = "work is in use by process .*; wait for it, or stop it"
RESULTS = "work/results.ome.zarr/labels/mitos"
NAME = "contacts.0.name: .*pattern"


class Program:
    """What runs a command where it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, ("true",)


def named(name: str) -> Callable[[Path], object]:
    return in_run_file("name: mito-er", f"name: {name!r}")


def odd_names(name: str) -> Callable[[Path], object]:
    """The image, and the work folder beside it, called so."""

    def change(folder: Path) -> None:
        (folder / IMAGE).rename(folder / name)
        run_file(input={"path": name}, work=f"w{name[1:]}")(folder)

    return change


def ran_there(folder: Path, name: str) -> None:
    assert (folder / f"w{name[1:]}" / "results.ome.zarr/labels/mitos/zarr.json").is_file()


@contextlib.contextmanager
def no_gpu(folder: Path) -> Iterator[None]:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    yield


@contextlib.contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    left = shutil._ntuple_diskusage(100, 90, 10)
    with unittest.mock.patch("shutil.disk_usage", return_value=left):
        yield


@contextlib.contextmanager
def soon(folder: Path) -> Iterator[None]:
    """Who waits for a scheduler does not wait half a minute; that it does is tested with clusters."""
    with unittest.mock.patch("chunkflow_liver.engine.cluster.ANSWER_SECONDS", 0.2):
        yield


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    may = os.access
    with unittest.mock.patch("os.access", lambda path, mode, **o: mode != os.W_OK and may(path, mode, **o)):
        yield


class Refusing(http.server.BaseHTTPRequestHandler):
    """An object store that lets nobody in."""

    def do_GET(self) -> None:
        self.send_response(403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None:
        """Nothing on the screen."""


@contextlib.contextmanager
def forbidden_store(folder: Path) -> Iterator[None]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        there = f"http://127.0.0.1:{server.server_port}"
        keys = {"AWS_ENDPOINT_URL": there, "AWS_REGION": "us-east-1", "NO_PROXY": "*"}
        keys |= {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none"}
        with unittest.mock.patch.dict(os.environ, keys):
            yield
        server.shutdown()
        thread.join()


def journal(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        path = folder / "work/journal.jsonl"
        path.write_bytes(change(path.read_bytes()))

    return damage


def as_it_was(folder: Path) -> None:
    """Results and tables have the bytes of the run that nothing happened to, which lies beside."""
    for made in ("results.ome.zarr", "tables"):
        assert contents(folder / "work" / made) == contents(folder / "kept" / made)


def lists_all(folder: Path) -> None:
    as_it_was(folder)
    # The copy lies elsewhere, and so do the images that it names.
    one, two = (json.loads((folder / made / "products.json").read_text()) for made in ("work", "kept"))
    assert [(e["kind"], e["name"]) for e in one] == [(e["kind"], e["name"]) for e in two]


def not_ours(folder: Path) -> None:
    place = folder / RESULTS
    place.mkdir(parents=True)
    (place / "precious.txt").write_text("mine")


def painted(folder: Path) -> None:
    write(folder / f"{IMAGE}/labels", np.ones((4, 300, 8), np.uint8), "x", kind="label", voxel_nm=(8, 8, 8))
    (folder / f"{IMAGE}/labels/x.ome.zarr").rename(folder / f"{IMAGE}/labels/mitos")


RUNS: dict[str, tuple[Bad, ...]] = {
    # the model
    "row 51: a checkpoint that is cut off, empty or something else": (
        Bad(with_checkpoint(lambda whole: whole[: len(whole) // 2]), NO_CHECKPOINT, PLAN),
        Bad(with_checkpoint(lambda _: b""), r"\(0 bytes\) is not a file that torch.save wrote", PLAN),
        Bad(with_checkpoint(lambda _: b"hello"), NO_CHECKPOINT, PLAN),
        Bad(
            with_checkpoint(lambda w: w[:3000] + bytes([w[3000] ^ 16]) + w[3001:]),
            "is damaged: Bad CRC",
            PLAN,
        ),
        Bad(run_file(segment={"model": "model"}, semantic=None), "model/plans.json", PLAN),
    ),
    "row 52: a checkpoint that names programs": (
        Bad(
            with_weights(lambda found: found | {"more": Program()}),
            "asks for '(posix|nt).system', which",
            PLAN,
        ),
    ),
    "row 53: plans that name os.system": (Bad(malicious, "plans.json.*os.system", PLAN),),
    "row 54: a checkpoint of another network": (
        Bad(
            model_of_others(features=(4, 16)),
            r"does not fit the network of plans.json: \d+ weights differ in shape: .* wanted .*copy it again",
            PLAN,
        ),
        Bad(
            model_of_others(features=(4, 8, 8)),
            r"does not fit the network of plans.json: 0 weights are missing \[\], \d+ are not in it",
            PLAN,
        ),
    ),
    "row 55: weights that are NaN": (
        Bad(
            with_weights(
                lambda f: f | {"network_weights": {k: v * np.nan for k, v in f["network_weights"].items()}}
            ),
            "is not finite, so every score would be NaN",
            PLAN,
        ),
    ),
    "row 56: a model of two channels": (
        Bad(with_model(channels=2), "trained on 2 channel.s. .*, got 1", PLAN),
    ),
    "row 57: a model of other voxels": (
        Bad(
            with_model(spacing=(40.0, 6.0, 6.0)),
            r"voxels of \(16, 16, 16\) nm, the nearest of 2 .* trained on",
            PLAN,
        ),
        Fine(with_model(spacing=(40.0, 6.0, 6.0), accept_spacing=True), "no problem|stage", PLAN),
    ),
    # the run file
    "row 58: a key twice, an unknown key": (
        Bad(in_run_file("work: work", "work: a\nwork: b"), "line 2.: the key 'work' appears twice", PLAN),
        Bad(run_file(distanse=[]), "distanse: unknown key, did you mean 'distance'", PLAN),
        Bad(run_file(overlapp=3), "overlapp: unknown key; known are", PLAN),
        Bad(lambda f: (f / "run.yaml").unlink(), "no run file at .*run.yaml", PLAN),
    ),
    "row 59: a python tag": (
        Bad(
            in_run_file("work: work", "work: !!python/object/apply:os.system [ls]"),
            "run.yaml is not a usable run file: could not determine a constructor",
            PLAN,
        ),
    ),
    "row 60: anchors without end": (
        Bad(
            run_text("a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n"),
            "line 2: anchors and aliases are not allowed",
            PLAN,
        ),
        Bad(in_run_file("work: work", "work: &w work\nreport: *w"), "anchors and aliases are not all", PLAN),
    ),
    "row 61: blocks, gaps and shares that cannot be, all told at once": (
        Bad(
            many(
                with_model(step=1.5),
                in_run_file("- 96", "- 0"),
                in_run_file("contacts: []", "contacts: [{name: c, instances: mitos, to: 1, gap_nm: -10}]"),
                in_run_file("work: work", "work: work\ndistance: [{name: d, to: 1, cap_nm: .nan}]"),
            ),
            "(?s)(?=.*block.1: .*greater than or equal to 1)(?=.*segment.step: .*less than or equal to 1)"
            "(?=.*contacts.0.gap_nm: .*greater than or equal to 0)(?=.*distance.0.cap_nm: .*finite)",
            PLAN,
        ),
    ),
    "row 62: a block that no chunk divides": (
        Bad(run_file(block=[4, 269, 8]), "a block of .* use a multiple of 16", PLAN),
    ),
    # where results go
    "row 63: results over or inside of an input": (
        Bad(
            many(
                painted,
                run_file(
                    into_source=True,
                    evaluate=[{"name": "e", "found": "mitos", "truth": f"{IMAGE}/labels/mitos", "iou": 0.5}],
                ),
            ),
            "would write its own result over .*labels/mitos, which it reads; rename it",
            PLAN,
        ),
        *(
            Bad(
                run_file(work=place),
                f"lies inside .*{of}, which the plan reads: take a folder elsewhere",
                PLAN,
            )
            for place, of in (
                (IMAGE, IMAGE),
                (f"{IMAGE}/work", IMAGE),
                (f"{IMAGE}/0/c", IMAGE),
                ("semantic.ome.zarr/labels", "semantic.ome.zarr"),
            )
        ),
    ),
    "row 64: results of another run, or of nobody known": (
        Bad(
            in_run_file("gap_nm: 10", "gap_nm: 20"),
            "work was written by a different plan: stage 'mito-er/contacts' has params.gap_nm",
            ("run",),
            ran=True,
        ),
        Bad(not_ours, "mitos exists and was not written by chunkflow_liver; choose", ("run",)),
        Bad(
            many(painted, run_file(into_source=True)),
            "labels/mitos exists, and this work folder .* did not make it; choose another name",
            ("run",),
        ),
    ),
    "row 65: a work folder in use": (Bad(Path, IN_USE, ("run",), during=lambda f: Journal(f / "work")),),
    "row 66: a disk that is read-only, full, or no folder": (
        Bad(Path, "GiB free; choose another work folder or fewer", (*PLAN, "run"), during=full_disk),
        Bad(Path, "cannot write to .*, where the work folder", (*PLAN, "run"), during=read_only),
        Bad(lambda f: (f / "work").write_text("mine"), "cannot write to .*work, where", (*PLAN, "run")),
    ),
    "row 67: names that are no names": (
        Bad(named("../x"), NAME, PLAN),
        Bad(named(""), NAME, PLAN),
        Bad(named("x" * 300), NAME, PLAN),
        Bad(named("<script>"), NAME, PLAN),
    ),
    # where it works
    "row 68: a GPU that is not there": (
        Bad(with_model(device="cuda"), "stage 'semantic/segment' needs a CUDA device", PLAN, during=no_gpu),
        Bad(Path, "GPU|dask-cuda", ("run",), options=("--cluster", "cuda"), during=no_gpu),
    ),
    "row 69: a scheduler that is not there": (
        *(
            Bad(Path, says, ("run",), options=("--scheduler", at), during=soon)
            for at, says in (
                ("tcp://127.0.0.1:9", "no dask scheduler answers at 'tcp://127.0.0.1:9' within 0.2 s: "),
                ("nonsense://here", "no dask scheduler answers at 'nonsense://here' within 0.2 s: "),
                ("no/such/file.json", "no dask scheduler file at 'no/such/file.json'; start the scheduler"),
            )
        ),
    ),
    "row 70: an object store that refuses": (
        Bad(
            run_file(input={"path": "s3://bucket/raw.ome.zarr"}),
            r"input: cannot read s3://bucket/raw.ome.zarr/zarr.json: ",
            PLAN,
            during=forbidden_store,
        ),
        Bad(run_file(input={"path": "ftp://host/a"}), "no access by 'ftp'; use one of", PLAN),
    ),
    "row 71: names with spaces, lines, emoji, 255 bytes": tuple(
        Fine(odd_names(name), "", ("run file", "plan", "run"), after=functools.partial(ran_there, name=name))
        for name in ("a b\n\U0001f9ea é'\"&.ome.zarr", "r" * 246 + ".ome.zarr")
    ),
    "row 72: a journal that is cut off, damaged or gone": (
        Fine(journal(lambda whole: whole[:-9]), "", ("run",), after=as_it_was, ran=True),
        Fine(journal(lambda whole: whole[: len(whole) // 2]), "", ("run",), after=as_it_was, ran=True),
        Bad(
            journal(lambda whole: whole[:99] + b"#" + whole[100:]),
            "journal.jsonl is damaged at byte 0; delete this file to do all again, or run in",
            ("run", "check", "repair"),
            ran=True,
        ),
        Fine(lambda f: (f / "work/journal.jsonl").unlink(), "", ("run",), after=as_it_was, ran=True),
        Fine(lambda f: (f / "work/products.json").write_text("[{"), "", ("run",), after=lists_all, ran=True),
        Fine(lambda f: (f / "work/run.json").write_text("{"), "", ("run",), after=lists_all, ran=True),
    ),
}
