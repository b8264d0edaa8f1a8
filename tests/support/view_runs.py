"""Runs that the viewer shows: their objects, and a server of one."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager

import chunkflow_liver as cf
from chunkflow_liver.view.server import serve
from chunkflow_liver.view.server import stop as stop_server


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
