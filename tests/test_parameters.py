"""What a parameter means stands in one place: at the functions, the exporters and the command line."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections import defaultdict

import pytest
import typer
from places import ROOT

import chunkflow_liver as cf
from chunkflow_liver.cli.app import app
from chunkflow_liver.ops.steps.operation import operation
from chunkflow_liver.parameters import SHARED, documented, filled, told

PACKAGE = ROOT / "chunkflow_liver"
EXPORTERS = (
    "store.exports.images:write_tiff",
    "store.exports.images:write_nifti",
    "store.exports.tables:write_anndata",
    "store.exports.tables:write_spatialdata",
    "store.exports.tables:write_segment_properties",
    "store.exports.meshes:write_mesh",
    "store.table:write_csv",
    "store.sources:open_source",
    "segmenters.nnunet.folder:import_model",
)
BESIDE = {
    ("convert", "voxel_nm"): ("ops.convert:convert", "file_voxel_nm"),
    ("convert", "ome_version"): ("ops.convert:convert", "ome_version"),
    ("convert", "allow_gaps"): ("ops.convert:convert", "allow_gaps"),
    ("convert", "allow_overlaps"): ("ops.convert:convert", "allow_overlaps"),
    ("convert", "redo"): ("engine.run:run", "redo"),
    ("run", "retries"): ("engine.run:run", "retries"),
    ("run", "redo"): ("engine.run:run", "redo"),
    ("run", "memory_gib"): ("engine.cluster:cluster", "worker_gib"),
    ("run", "scheduler"): ("engine.cluster:cluster", "scheduler"),
    ("report", "to"): ("reports:report", "page"),
    ("edit", "work"): ("ops.edit:edit", "work"),
    ("edit", "pieces"): ("ops.edit:edit", "pieces"),
    ("edit", "redo"): ("engine.run:run", "redo"),
    ("suggest", "redo"): ("engine.run:run", "redo"),
    ("model import", "units"): ("segmenters.nnunet.folder:import_model", "units"),
    ("export", "to"): ("ops.convert:export", "export_to"),
    ("mesh", "table"): ("ops.meshes:export_mesh", "mesh_table"),
    ("mesh", "to"): ("ops.meshes:export_mesh", "mesh_to"),
    ("mesh", "label"): ("ops.meshes:export_mesh", "ids"),
    ("mesh", "ending"): ("ops.meshes:export_mesh", "ending"),
    ("properties", "table"): ("store.properties:write_properties", "labelled"),
    ("properties", "column"): ("store.properties:write_properties", "columns"),
}
"""Options of the command line, the function that takes the same, and the text of both."""


def plain(text):
    return " ".join((text or "").split())


def function(place):
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(f"chunkflow_liver.{module}"), name)


def option(verb, name):
    command = typer.main.get_command(app)
    for word in verb.split():
        command = command.commands[word]
    return next(p for p in command.params if p.name == name)


@pytest.mark.parametrize(("verb", "name"), BESIDE, ids=" ".join)
def test_an_option_says_what_the_function_beside_it_says(verb, name):
    place, key = BESIDE[verb, name]
    assert plain(option(verb, name).help).startswith(told(key))
    assert told(key) in plain(function(place).__doc__)
    assert SHARED[key].name in inspect.signature(function(place)).parameters


@pytest.mark.parametrize("place", [*EXPORTERS, *sorted(cf.__all__)])
def test_no_text_of_a_shared_parameter_is_missing(place):
    found = function(place) if ":" in place else getattr(cf, place)
    assert found.__doc__
    assert not [key for key in SHARED if f"{{{key}}}" in found.__doc__]


def parameters():
    """(name, text) of every documented parameter as it stands in the source, and in which functions."""
    files = [*(PACKAGE / "ops").rglob("*.py"), *(PACKAGE / "store" / "exports").glob("*.py")]
    files += [PACKAGE / "store" / "properties.py", PACKAGE / "engine" / "run.py"]
    found = defaultdict(list)
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef) or not (text := ast.get_docstring(node)):
                continue
            part = re.search(r"^Parameters\n-+\n(.*?)(?=^\S[^\n]*\n-+\n|\Z)", text, re.S | re.M)
            for name, says in re.findall(
                r"^(\S[^\n]*?) : [^\n]*\n((?:    [^\n]*\n?)+)", part[1] if part else "", re.M
            ):
                found[name, plain(says)].append(node.name)
    return found


def test_no_two_functions_tell_a_parameter_in_the_same_words():
    found = parameters()
    assert len(found) > 100
    short = 45  # 'Name of the label image.' may be said where it is meant
    assert not {key: where for key, where in found.items() if len(where) > 1 and len(key[1]) > short}


def test_a_shared_text_stands_in_one_file():
    texts = {p: plain(p.read_text(encoding="utf-8").replace('"\n', "")) for p in PACKAGE.rglob("*.py")}
    for shared in SHARED.values():
        if len(shared.text) > 45:
            begin = shared.text[:45]
            assert [p.name for p, text in texts.items() if begin in text] == ["parameters.py"], begin


def test_every_shared_text_is_used():
    sources = "".join(p.read_text(encoding="utf-8") for p in PACKAGE.rglob("*.py"))
    assert [key for key in SHARED if f"    {{{key}}}\n" not in sources] == []


def test_placeholders_become_numpydoc():
    @documented
    def read(work, other):
        """One line.

        Parameters
        ----------
        {work}
            Also this.
        other : int
            A {work} in the midst of a line stays.
        """

    lines = read.__doc__.split("\n")
    assert lines[4] == "work : path"
    assert lines[5].startswith("    Work folder: ")
    assert "    Also this." in lines
    assert "    A {work} in the midst of a line stays." in lines
    assert filled(None) is None
    assert operation(read).__doc__ == read.__doc__
