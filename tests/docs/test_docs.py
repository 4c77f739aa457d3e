"""The documents tell the truth: paths exist, commands exist, examples can be read."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import click
import pytest

from driftline.cli import main
from driftline.planfile import parse_plan

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_every_path_named_exists(document: Path) -> None:
    named = re.findall(r"`((?:src|tests|docs|bench)/[\w./-]+)`", document.read_text())
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_the_walk_names_every_room() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    rooms = {path.name for path in (ROOT / "src/driftline").iterdir() if path.suffix == ".py" or path.is_dir()}
    rooms -= {"__init__.py", "__main__.py", "__pycache__"}
    assert [room for room in sorted(rooms) if f"src/driftline/{room}" not in text] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_every_command_in_a_shell_block_exists_with_its_options(document: Path) -> None:
    for block in re.findall(r"```(?:sh|bash|console)\n(.*?)```", document.read_text(), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            for call in re.findall(r"(?:^|&& |\$ )driftline ([^#|&>]+)", line):
                _check(call.split(), line)


def _check(words: list[str], line: str) -> None:
    command: click.Command = main
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        assert words[0] in command.commands, line
        command = command.commands[words.pop(0)]
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    options = {word for word in words if word.startswith("--")}
    assert options <= known | {"--help", "--version"}, line


def test_every_plan_in_the_documents_can_be_read() -> None:
    found = 0
    for document in DOCUMENTS:
        for block in re.findall(r"```yaml\n(version: 1\n.*?)```", document.read_text(), re.DOTALL):
            if "monitors:" in block and "endpoints:" in block:
                parse_plan(block, document.name, ROOT)
                found += 1
    assert found


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    text = (ROOT / "docs/dependencies.md").read_text().lower()
    names = [re.split(r"[<>=\[]", requirement)[0].removesuffix("-python") for requirement in wanted]
    assert [name for name in names if name not in text] == []


def test_long_files_say_why_they_are_long() -> None:
    long = [p for p in (ROOT / "src").rglob("*.py") if len(p.read_text().splitlines()) > 400]
    assert [p.name for p in long if "lines" not in p.read_text().splitlines()[0]] == []


def test_help_is_there_for_every_command() -> None:
    commands: list[click.Command] = [main]
    for command in commands:
        assert command.help
        if isinstance(command, click.Group):
            commands += command.commands.values()
    assert len(commands) > 12
