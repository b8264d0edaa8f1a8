"""Runs that the viewer shows: their objects, and a server of one."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager

import numpy as np

import chunkflow_liver as cf
from chunkflow_liver.view.server import serve
from chunkflow_liver.view.server import stop as stop_server

NM = (40.0, 16.0, 16.0)


def tissue():
    """Classes with four bodies of class 1, two of which touch by a neck, and a wall of class 2."""
    classes = np.zeros((12, 48, 64), np.uint8)
    classes[2:10, 6:18, 6:18] = classes[2:10, 6:18, 24:36] = 1
    classes[5, 11:13, 18:24] = 1
    classes[2:10, 28:40, 6:18] = classes[3:8, 30:38, 30:42] = 1
    classes[:, 22:25, :] = 2
    return classes


def applied(work):
    """The instances with the list of the viewer's edits, as `edit` makes them for good."""
    plan = cf.edit(
        cf.open_volume(work / "results.ome.zarr/labels/mitos"),
        work / "proofreading/mitos.csv",
        table=work / "tables/mito-table.parquet",
        name="mitos-edited",
        work=work,
    )
    cf.run(plan, progress=False)
    return plan.output.read()


def object_at(labels, at):
    """The id at a voxel, which must be in an object."""
    found = int(labels[at])
    assert found > 0
    return found


@contextmanager
def served(run, **options):
    """The address of a server in a thread of its own."""
    known = {}
    ready, stop = threading.Event(), None

    async def answer():
        nonlocal stop
        stop = asyncio.Event()
        known["loop"] = asyncio.get_running_loop()
        server, known["address"] = serve(run, **{"host": "127.0.0.1", "port": 0} | options)
        ready.set()
        await stop.wait()
        await stop_server(server)
        await asyncio.sleep(0.1)

    thread = threading.Thread(target=lambda: asyncio.run(answer()))
    thread.start()
    assert ready.wait(30)
    try:
        yield known["address"]
    finally:
        known["loop"].call_soon_threadsafe(stop.set)
        thread.join(30)
