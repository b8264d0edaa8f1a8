"""What a worker process of a cluster of ours sets up when it starts; dask loads this module there."""

from __future__ import annotations

import logging
import signal


def dask_setup(worker: object) -> None:
    """Leave Ctrl-C to the process that started the workers.

    A terminal sends it to all of them. The first process keeps what is done and ends the workers; each would
    print a traceback of its own.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A run that ends early cancels its tasks; dask warns of each that it cannot stop.
    logging.getLogger("distributed.worker.state_machine").setLevel(logging.ERROR)
