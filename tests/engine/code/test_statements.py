"""What a module's statements say, and what of their text does not count."""

from __future__ import annotations

import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkflow_liver.engine.code.statements import Imported, read

TEXT = '''
"""A module."""
from __future__ import annotations
import numpy as np
from .beside import twice as double

LEAST = 3.5
"""The least."""

def found(values: Values, *, by: int = 2) -> Result:
    """What is found."""
    # Larger is not better.
    return np.linalg.norm(double(values) * by) + LEAST
'''


def digest(text: str, name: str = "found") -> list[bytes]:
    return [statement.digest for statement in read(textwrap.dedent(text)).by_name[name]]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    # Larger is not better.\n", ""),
        ('    """What is found."""\n', ""),
        ('"""What is found."""', '"""What is there, in\n    two lines."""'),
        ("LEAST = 3.5\n", "LEAST = 4.5\n"),
        ("(double(values) * by)", "(\n        double(values)\n        * by\n    )"),
        ('"""The least."""\n', "\n\n\n"),
        ("double(values) * by", "double(values)*(by)"),
    ],
)
def test_what_does_not_change_an_answer_does_not_count(old, new):
    assert old in TEXT
    assert digest(TEXT.replace(old, new)) == digest(TEXT)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("* by", "/ by"),
        ("by: int = 2", "by: int = 3"),
        ("norm", "det"),
        ("double(", "np.sort("),
        ("+ LEAST", ""),
    ],
)
def test_what_changes_an_answer_counts(old, new):
    assert old in TEXT
    assert digest(TEXT.replace(old, new)) != digest(TEXT)


@given(st.floats(), st.floats())
def test_two_numbers_have_two_digests(one, other):
    first, second = (digest(f"found = float('{n!r}')") for n in (one, other))
    assert (first == second) == (repr(one) == repr(other))


def test_what_a_function_uses_is_told_with_its_attributes_but_not_its_types():
    (found,) = read(TEXT).by_name["found"]
    assert found.used == {
        ("np", "linalg", "norm"),
        ("double",),
        ("values",),
        ("by",),
        ("LEAST",),
        ("int",),
    } - {("int",)}


def test_imports_are_told_apart_by_when_they_run():
    module = read(
        textwrap.dedent(
            """
            import a.b, c.d as e
            from x import *
            from typing import TYPE_CHECKING
            if TYPE_CHECKING:
                from far import Volume
            try:
                import fast
            except ImportError:
                fast = None
            if __name__ == "__main__":
                fast.main()

            def late():
                from q import r
                return r, "some.module:Name", "no module"
            """
        )
    )
    assert module.imports["a"] == [Imported("a")]
    assert module.imports["e"] == [Imported("c.d")]
    assert module.imports["fast"] == [Imported("fast")]
    assert module.hints == {"Volume": [Imported("far", "Volume")]}
    assert module.stars == ["x"]
    assert module.effects == []
    (late,) = module.by_name["late"]
    assert late.imports == [("r", Imported("q", "r"))]
    assert late.dotted == {"some.module:Name"}


def test_statements_that_bind_nothing_are_effects():
    module = read("table = {}\ntable['a'] = 1\nregister(table)\nfor n in (1, 2):\n    table[n] = n\n")
    assert len(module.effects) == 2
    assert set(module.by_name) == {"table", "n"}
