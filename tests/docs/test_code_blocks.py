"""Every code block of the README and of the pages: Python and commands run, run files are read."""

from __future__ import annotations

import fnmatch
import re
import shlex
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import typer
import yaml
from code_blocks import Code, blocks
from pages import BEFORE, PREPARED
from places import ROOT
from strategies import command

from chunkflow_liver.cli.app import app
from chunkflow_liver.config import INSTANCES, LISTS, RunFile, parse

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
BLOCKS = [block for page in PAGES for block in blocks(page)]
NOT_RUN = {
    "README.md": 3,
    "CONTRIBUTING.md": 4,
    "docs/slurm.md": 4,
    "docs/training.md": 1,
    "docs/viewing.md": 4,
}
"""How many blocks of a page are not run; each says why, in a comment before it."""
QUOTED = "# chunkflow_liver/"
"""How a block begins that quotes the code; test_architecture.py looks its lines up."""
PROGRAMS = {"pip", "git", "pytest", "ruff", "mypy", "lint-imports", "mkdocs"}
"""What a command may call beside ours."""


INDEX = (ROOT / "docs/definitions.md").read_text(encoding="utf-8")


def of(language):
    return [block for block in BLOCKS if block.language == language]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def commands(block: Code) -> list[list[str]]:
    """The words of every command of a block, without `uv run`."""
    found = []
    for line in re.sub(r"\\\n", " ", block.text).splitlines():
        for part in re.split(r"\s&&\s", line):
            words = shlex.split(part, comments=True)
            if words:
                found.append(words[2:] if words[:2] == ["uv", "run"] else words)
    return found


def test_blocks_are_of_languages_that_are_checked():
    assert {block.language for block in BLOCKS} <= {"python", "bash", "yaml", "text"}
    assert len(of("python")) >= 10
    assert len(of("bash")) >= 3


def test_blocks_that_are_not_run_say_why():
    silent = [block for block in BLOCKS if block.why_not]
    for block in silent:
        print(f"{block} is not run: {block.why_not}")
        assert len(block.why_not) > 10
    assert {name: sum(name_of(b.page) == name for b in silent) for name in NOT_RUN} == NOT_RUN
    assert len(silent) == sum(NOT_RUN.values())


def check(words):
    """Refuse a command that does not exist, or does not take these options."""
    if words[0] == "chunkflow-liver":
        found, rest = typer.main.get_command(app), words[1:]
        while verbs := getattr(found, "commands", {}):
            assert rest[0] in verbs, f"no verb {rest[0]!r}"
            found, rest = verbs[rest[0]], rest[1:]
        found.make_context(found.name, rest)
    elif words[0].endswith(".py"):
        assert (ROOT / words[0]).is_file(), f"no script {words[0]}"
    else:
        assert words[0] in PROGRAMS, f"{words[0]!r} is not checked"


@pytest.mark.parametrize("block", of("bash"), ids=str)
def test_every_command_exists_with_its_options(block):
    for words in commands(block):
        check(words)


@pytest.mark.parametrize(
    "line",
    [
        "chunkflow-liver no-such",
        "chunkflow-liver status",
        "chunkflow-liver run a --no-such",
        "scripts/no.py",
        "rm x",
    ],
)
def test_a_command_that_does_not_exist_is_seen(line):
    with pytest.raises(Exception, match=r"no verb|Missing|[Nn]o such option|no script|not checked"):
        check(line.split())


@pytest.mark.parametrize("block", of("yaml"), ids=str)
def test_every_piece_of_a_run_file_is_right(block, tmp_path):
    content = yaml.safe_load(block.text)
    assert set(content) <= set(RunFile.model_fields), f"{block}: keys that no run file has"
    about = {"input": {"path": "raw"}, "semantic": {"path": "classes"}, "work": "work"}
    if "segment" in content:
        del about["semantic"]
    made = {entry["name"] for key in INSTANCES for entry in content.get(key, ())}
    others = [{"name": name, "path": "other"} for name in ("mitos", "cells") if name not in made]
    found = parse(about | {"existing": others} | content, tmp_path, str(block))
    assert [len(getattr(found, key)) for key in LISTS if key in content]


@pytest.mark.parametrize("block", of("python"), ids=str)
def test_python_that_no_page_prepares_is_quoted_or_says_why(block):
    compile(block.text, str(block), "exec") if not block.text.startswith(QUOTED) else None
    assert name_of(block.page) in PREPARED or block.text.startswith(QUOTED) or block.why_not


def is_told(column: str, pages: str) -> bool:
    """Whether the definitions name a column, by its name or by a pattern such as `shape_*`."""
    names = set(re.findall(r"`([\w*]+)`", pages))
    return any(fnmatch.fnmatchcase(column, name) for name in names if len(name) > 1 or name == column)


def columns_of(folder: Path) -> set[str]:
    """Columns of all tables of the runs below a folder."""
    return {name for file in folder.rglob("tables/*.parquet") for name in pq.read_schema(file).names}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.parametrize("page", PREPARED)
def test_the_blocks_of_a_page_run_one_after_the_other(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = PREPARED[page](tmp_path) | {"__name__": "__main__"}
    ran = 0
    for block in (b for b in BLOCKS if name_of(b.page) == page and not b.why_not):
        BEFORE.get(page, lambda *_: None)(tmp_path, block.text)
        if block.language == "python":
            exec(compile(block.text, str(block), "exec"), names)
            ran += 1
        elif block.language == "bash":
            for words in commands(block):
                assert words[0] == "chunkflow-liver", (
                    f"{block} would run {words}; say 'not run: why' before it"
                )
                code, _, told = command(*words[1:])
                assert code == 0, f"{block}: {shlex.join(words)}\n{told}"
            ran += 1
    assert ran
    seen = columns_of(tmp_path)
    assert len(seen) > 15
    assert [name for name in sorted(seen) if not is_told(name, INDEX)] == []
