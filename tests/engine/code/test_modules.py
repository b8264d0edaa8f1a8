"""Code that was changed on the disk after it was loaded is not what runs, and that is said."""

from __future__ import annotations

import importlib
import sys

import pytest

from chunkflow_liver.engine.code.modules import Home, home_of, is_shared
from chunkflow_liver.engine.code.reach import digests
from chunkflow_liver.errors import StageError

TEXT = '"""A module."""\nMANY = 3\n\n\ndef run(v):\n    """Runs."""\n    return v * MANY\n'


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    file = tmp_path / "loaded_of_tests.py"
    file.write_text(TEXT)
    yield importlib.import_module("loaded_of_tests"), file
    del sys.modules["loaded_of_tests"]


def now(file):
    return digests(frozenset({("loaded_of_tests", "run")}), home_of("loaded_of_tests", str(file)))


@pytest.mark.parametrize(
    ("old", "new"), [("v * MANY", "v + MANY"), ("MANY = 3", "MANY = 30"), ("run(v)", "go(v)")]
)
def test_a_change_after_loading_is_refused(loaded, old, new):
    _, file = loaded
    now(file)
    file.write_text(TEXT.replace(old, new))
    with pytest.raises(
        StageError, match=r"loaded_of_tests\.py was changed after this process loaded it.*start again"
    ):
        now(file)


@pytest.mark.parametrize(
    ("old", "new"), [('"""Runs."""', '"""Goes."""'), ("MANY = 3\n", "MANY = 3  # so\n\n")]
)
def test_a_change_of_words_after_loading_is_not(loaded, old, new):
    _, file = loaded
    before = now(file)
    file.write_text(TEXT.replace(old, new))
    assert now(file) == before


def test_code_that_was_loaded_again_counts_as_it_is(loaded):
    module, file = loaded
    before = now(file)
    file.write_text(TEXT.replace("MANY = 3", "MANY = 300"))
    importlib.reload(module)
    assert now(file) != before


def test_what_is_installed_is_told_from_what_is_a_persons_own(tmp_path):
    import json

    import numpy as np

    assert is_shared("json", json.__file__)
    assert is_shared("numpy", np.__file__)
    assert is_shared("builtins", "")
    assert not is_shared("chunkflow_liver.geometry", "")
    assert not is_shared("mine", str(tmp_path / "mine.py"))
    assert home_of("numpy.linalg", np.linalg.__file__) == Home("numpy")
