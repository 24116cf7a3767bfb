"""Segmenters lose no text, make no blank steps and split no statements."""

from __future__ import annotations

import ast
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.segment import REPEATS, SEGMENTERS, Segmenter, repeated

ALPHABET = [
    "\n", "\n\n", " ", "\t", "a", "Step 1:", "Step ", "**", "## ", "# ", "(", ")", "[", "]", "{", "}", '"',
    "'", '"""', "'''", "\\", "@", ":", "=", "x = 1", "\r\n", "\u2028", "é", "if a:",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(ALPHABET), max_size=25).map("".join) | st.text(max_size=40)
EVERY = pytest.mark.parametrize("segmenter", SEGMENTERS.values(), ids=list(SEGMENTERS))


def one_by_one(segmenter: Segmenter, text: str) -> list[str]:
    """Split as a policy does: the first step, the first step of the rest, and so on."""
    steps: list[str] = []
    while (end := segmenter.first_step(text)) is not None:
        steps.append(text[:end])
        text = text[end:]
    return [*steps, text] if text.strip() or not steps else [*steps[:-1], steps[-1] + text]


@EVERY
@given(text=TEXTS)
@settings(max_examples=80, deadline=None)
def test_joining_the_steps_restores_the_text(segmenter: Segmenter, text: str) -> None:
    assert "".join(segmenter.split(text)) == text


@EVERY
@given(text=TEXTS)
@settings(max_examples=80, deadline=None)
def test_splitting_step_by_step_is_the_same_as_at_once(segmenter: Segmenter, text: str) -> None:
    assert one_by_one(segmenter, text) == segmenter.split(text)


@EVERY
@given(text=TEXTS)
@settings(max_examples=60, deadline=None)
def test_no_step_is_blank_unless_the_text_is(segmenter: Segmenter, text: str) -> None:
    steps = segmenter.split(text)
    assert steps
    assert all(step.strip() for step in steps) or (len(steps) == 1 and not text.strip())


@EVERY
@given(text=TEXTS)
@settings(max_examples=60, deadline=None)
def test_a_policy_pauses_before_it_passes_the_end_of_a_step(segmenter: Segmenter, text: str) -> None:
    """A complete step contains a stop string, or the text after it completes one."""
    if (end := segmenter.first_step(text)) is not None:
        seen = text if segmenter.name == "step_marker" else text[:end]
        assert any(stop in seen for stop in segmenter.stop) or segmenter.name == "blank_line"


@EVERY
@given(text=TEXTS, more=TEXTS)
@settings(max_examples=60, deadline=None)
def test_later_text_does_not_move_the_end_of_a_step(segmenter: Segmenter, text: str, more: str) -> None:
    if (end := segmenter.first_step(text)) is not None:
        assert segmenter.first_step(text + more) == end


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("newline", ["One.\n", "Two.\n", "Three."]),
        ("newline", ["One.\n", "\n\nTwo.\n", " \n Three.\n\n"]),
        ("newline", ["\n\nOne.\n"]),
        ("newline", ["  "]),
        ("newline", [""]),
        ("blank_line", ["One,\nstill one.\n\n", "Two.\n \t\n", "Three.\n"]),
        ("blank_line", ["One.\n\n", "\n\nTwo.\n\n"]),
        ("step_marker", ["Step 1: add\n1 + 1\n", "Step 2: so 2\nThe answer is 2.\n"]),
        ("step_marker", ["Let us see.\n", "Step 1: add\n\n", "Step 2: done"]),
        ("step_marker", ["## Step 1: add\n", "## Step 2: done"]),
        ("step_marker", ["**Step 1:** a step\nin Step 1 of 2\n", "**Step 2:** done"]),
        ("python", ["def f(x):\n", "    return x\n"]),
        ("python", ["x = f(\n    1,\n    [2,\n     3],\n)\n", "y = 2\n"]),
        ("python", ['s = """one\n\ntwo)\n"""\n', "t = '(' \n", "u = 1"]),
        ("python", ["x = 1 + \\\n    2\n", "y = 2\n"]),
        ("python", ["# why (\n# and how\nx = 1  # because (\n", "y = 2\n"]),
        ("python", ["# a comment\n\nx = 1\n"]),
        ("python", ["@cache\n@other(\n  1\n)\ndef f():\n", '    """Doc."""\n', "    pass\n"]),
        ("python", ["s = 'it\\'s ('\n", 't = r"\\("\n', "pass\n"]),
        ("python", ["s = 'never closed\n", "x = 1\n"]),
        ("python", ["if x:\n", "\n    pass\n", "# the end"]),
    ],
)
def test_examples(name: str, steps: list[str]) -> None:
    text = "".join(steps)
    assert SEGMENTERS[name].split(text) == steps
    assert one_by_one(SEGMENTERS[name], text) == steps


def test_a_step_needs_its_delimiter_to_be_complete() -> None:
    assert SEGMENTERS["newline"].first_step("One.") is None
    assert SEGMENTERS["newline"].first_step("\n\nOne.") is None
    assert SEGMENTERS["newline"].first_step("\nOne.\nTwo") == 6
    assert SEGMENTERS["step_marker"].first_step("Step 1: a\nSte") is None
    assert SEGMENTERS["step_marker"].first_step("Step 1: a\nStep ") == 10
    assert SEGMENTERS["python"].first_step("x = f(\n1,\n") is None


# -- generated Python ------------------------------------------------------------------------------

NAMES = st.sampled_from(["x", "y", "total", "f"])
SPACE = st.sampled_from(["", " ", "\n  ", "  # it's a (comment)\n "])
ATOMS = st.one_of(
    NAMES,
    st.integers(0, 99).map(str),
    st.sampled_from(
        ['"("', "')'", "'it\\'s'", '"a # b"', '"""one\n\ntwo\')"""', "'''[\n'''", 'f"{x}"', 'r"\\d("',
         "b'\\\\'"]
    ),
)
EXPRESSIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.builds("f({1}{0},{1}{2}{1})".format, inner, SPACE, inner),
        st.builds("[{1}{0}{1}]".format, inner, SPACE),
        st.builds("{{{1}1: {0},{1}}}".format, inner, SPACE),
        st.builds("({0} +{1}{2})".format, inner, SPACE, inner),
        st.builds("{0} + \\\n    {1}".format, inner, inner),
    ),
    max_leaves=5,
)
STATEMENTS = st.one_of(
    st.builds("{} = {}".format, NAMES, EXPRESSIONS),
    st.builds("print({})".format, EXPRESSIONS),
    st.builds("assert {}  # so (it is".format, EXPRESSIONS),
    st.just("x = 1; y = 2"),
    st.just('"""A docstring,\n\nof three (lines.\n"""'),
)
HEADERS = st.one_of(
    st.builds("if {}:".format, EXPRESSIONS),
    st.just("for x in (\n    y\n):"),
    st.just("@f\n@f(\n 1)\ndef f(\n    x, y=(1,\n    2),\n):"),
    st.just("# why?\n\nwhile x:"),
)


def indented(lines: list[str]) -> str:
    """Indent every statement by one level. Lines inside brackets and strings stay as they are."""
    return "".join(f"    {line}\n" for line in lines)


BLOCKS = st.one_of(
    STATEMENTS.map("{}\n".format),
    st.builds(
        lambda head, body: f"{head}\n{indented(body)}", HEADERS, st.lists(STATEMENTS, min_size=1, max_size=3)
    ),
    st.sampled_from(["\n", "# a note: don't (\n", "   \n"]),
)


def simple_statements(code: str) -> list[ast.stmt]:
    return [n for n in ast.walk(ast.parse(code)) if isinstance(n, ast.stmt) and not hasattr(n, "body")]


@given(code=st.lists(BLOCKS, min_size=1, max_size=5).map("".join))
@settings(max_examples=80, deadline=None)
def test_no_step_ends_inside_a_simple_statement(code: str) -> None:
    steps = SEGMENTERS["python"].split(code)
    assert "".join(steps) == code
    lines_before = set(accumulate(step.count("\n") for step in steps))
    for statement in simple_statements(code):
        assert statement.end_lineno is not None
        assert not lines_before & set(range(statement.lineno, statement.end_lineno)), steps


@given(code=st.lists(STATEMENTS, min_size=1, max_size=6))
@settings(max_examples=50, deadline=None)
def test_each_simple_statement_is_a_step(code: list[str]) -> None:
    assert SEGMENTERS["python"].split("".join(f"{line}\n" for line in code)) == [f"{line}\n" for line in code]


# -- repetition ------------------------------------------------------------------------------------


def test_repeated_steps() -> None:
    assert REPEATS == 4
    assert repeated(["a\n"] * 4)
    assert repeated(["b\n", "a\n", " a\n", "\na\n", "a"])  # apart from white space
    assert not repeated(["a\n"] * 3)
    assert not repeated(["a\n"] * 3 + ["b\n"])
    assert not repeated([])
