"""The pages for who carries on name only what exists: files, folders, classes, functions, constants, rooms."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

import pollerd

TOP = Path(__file__).parents[2]
ARCHITECTURE = TOP / "docs" / "architecture.md"
PAGES = (ARCHITECTURE, TOP / "docs" / "glossary.md", TOP / "CONTRIBUTING.md", TOP / "SECURITY.md")
OWN = ("pollerd/", "tests/", "docs/", "systemd/", ".ci/")
NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@cache
def names(path: Path) -> frozenset[str]:
    """What a module defines: functions, classes, constants, and as `Class.name` what a class has."""
    return frozenset(defined(ast.parse(path.read_text()).body, "")) if path.exists() else frozenset()


def defined(body: list[ast.stmt], inside: str) -> set[str]:
    found: set[str] = set()
    for node in body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found.add(inside + name)
            case ast.ClassDef(name=name, body=members):
                found |= {inside + name, *defined(members, f"{inside}{name}.")}
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                found.add(inside + name)
            case ast.If(body=members):
                found |= defined(members, inside)
    return found


def named() -> list[tuple[Path, str]]:
    """Each name that follows a link to a module on the same line or row, with the module."""
    found: list[tuple[Path, str]] = []
    for line in ARCHITECTURE.read_text().splitlines():
        for target, rest in re.findall(r"\]\(\.\./(pollerd/[\w/]+(?<!__init__)\.py)\)((?:[^\]]|\](?!\(\.\.))*)", line):
            found += [(TOP / target, name) for name in re.findall(r"`([^`]+)`", rest) if NAME.fullmatch(name)]
    return found


def test_every_name_stands_in_the_file_that_the_page_names() -> None:
    found = named()
    assert len(found) >= 35
    assert [f"{path.relative_to(TOP)}: {name}" for path, name in found if name not in names(path)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_and_folder_exists(page: Path) -> None:
    text = page.read_text()
    paths = {name for name in re.findall(r"`([^`\s]+)`", text) if name.startswith(OWN) and "NAME" not in name}
    paths |= {f"{page.parent.relative_to(TOP)}/{target}" for target in re.findall(r"\]\((?!https?:|#)([^)#]+)\)", text)}
    assert [path for path in sorted(paths) if not (TOP / path).exists()] == []


def test_every_room_is_there_with_what_it_says_of_itself_from_the_top_layer_down() -> None:
    settings = tomllib.loads((TOP / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [room for layer in settings[0]["layers"] for room in re.findall(r"pollerd\.(\w+)", layer)]
    folders = {path.parent.name for path in Path(pollerd.__file__).parent.glob("*/__init__.py")}
    rows = dict(
        re.findall(
            r"^\| \[`(\w+)`\]\(\.\./pollerd/\w+/__init__\.py\) \| (.*) \|$", ARCHITECTURE.read_text(), re.MULTILINE
        )
    )
    assert [*rows] == [*layers, "simulator"]
    assert rows.keys() == folders
    for room, text in rows.items():
        said = ast.get_docstring(ast.parse((TOP / "pollerd" / room / "__init__.py").read_text())) or ""
        assert text == " ".join(said.partition("\n\n")[0].split()), room
