"""What several tests of the engine begin with."""

from __future__ import annotations

from pathlib import Path

import pytest
from labelled_project import plan_in
from payload import go
from strategies import semantic, write


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    write(folder, semantic((16, 40, 40), 3))
    go(plan_in(folder, "whole"))
    return folder
