"""A start that takes for ever ends with its reason, and with what it started."""

from __future__ import annotations

import multiprocessing
import threading
import time

import pytest

from chunkflow_liver.engine.watch import starting
from chunkflow_liver.errors import ClusterError


def test_workers_that_stand_still_are_not_waited_for_without_end(monkeypatch):
    monkeypatch.setattr(starting, "LONGEST_S", 0.5)
    worker = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,))
    done = threading.Event()

    def start():
        worker.start()
        done.wait()

    with pytest.raises(ClusterError, match=r"have not begun within 0\.5 s: one of them may be stopped"):
        starting.started(start)
    worker.join(10)
    assert not worker.is_alive()
    done.set()
