"""A name says what it holds; a word that fits everything is no name."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
BANNED = ("told", "given", "found", "held", "made", "known")


def find_names(tree: ast.AST) -> Iterator[str]:
    """Names that a module defines: functions, classes, arguments, attributes, variables and what imports call it."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name
            case ast.arg():
                yield node.arg
            case ast.Name(ctx=ast.Store()):
                yield node.id
            case ast.Attribute(ctx=ast.Store()):
                yield node.attr
            case ast.ExceptHandler(name=str(name)) | ast.alias(asname=str(name)) | ast.MatchAs(name=str(name)):
                yield name


def count_banned(folder: Path) -> Counter[str]:
    """How often each banned word, with leading underscores or without, is a name below a folder."""
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in folder.rglob("*.py"))
    names = (name.lstrip("_") for tree in trees for name in find_names(tree))
    return Counter(name for name in names if name in BANNED)


@pytest.mark.parametrize("folder", ["src", "tests", "benchmarks"])
def test_no_banned_word_is_a_name(folder: str) -> None:
    assert count_banned(PROJECT / folder) == {}, "Use a word that says what it holds."


@pytest.mark.parametrize(
    "text",
    [
        "told = 1",
        "def told(): ...",
        "async def _told(): ...",
        "class told: ...",
        "def f(*, told): ...",
        "lambda told: 1",
        "self._told = 1",
        "[told for told in ()]",
        "with f() as told: ...",
        "(told := 1)",
        "told: int",
        "try: ...\nexcept ValueError as told: ...",
        "import json as told",
        "match 1:\n    case told: ...",
    ],
)
def test_a_planted_name_is_counted(tmp_path: Path, text: str) -> None:
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "module.py").write_text(text, encoding="utf-8")
    assert count_banned(tmp_path) == {"told": 1}


def test_words_in_text_and_inside_longer_names_are_not_counted(tmp_path: Path) -> None:
    text = '"""What is told."""\ntold_at = retold = f(told=x.told, text="told")\n'
    (tmp_path / "module.py").write_text(text, encoding="utf-8")
    assert count_banned(tmp_path) == {}
