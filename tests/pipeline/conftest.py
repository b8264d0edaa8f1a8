"""What the tests of run files share: a small image of classes, and a project of files around it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_files import SHAPE, project_in
from strategies import semantic


@pytest.fixture
def array() -> np.ndarray[Any, Any]:
    """Classes 0 to 3 in blobs, of the shape of the project's image."""
    return semantic(SHAPE, 3)


@pytest.fixture
def project(tmp_path: Path, array: np.ndarray[Any, Any]) -> dict[str, Any]:
    """A run file as Python has it; its images are in the test's own folder."""
    return project_in(tmp_path, array)
