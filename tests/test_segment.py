"""Segmenters lose no text, make no steps without content and split neither statements nor formulas."""

from __future__ import annotations

import ast
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.errors import UsageError
from search.segment import NEVER, SEGMENTERS, Repetition, Segmenter

ALPHABET = [
    "\n", "\n\n", " ", "\t", "a", "Step 1:", "Step ", "**", "## ", "# ", "(", ")", "[", "]", "{", "}", '"',
    "'", '"""', "'''", "\\", "@", ":", "=", "x = 1", "\r\n", "\u2028", "é", "if a:",
]  # fmt: skip
BLOCK_ALPHABET = [
    "\n", "\n", "\n\n", "\r\n", " ", "a", "So x", "x = 1", ":", ".", "&", "$", "$$", "\\[", "\\]", "\\\\",
    "\\$", "\\begin{align*}", "\\end{align*}", "\\begin{array}{c|c}", "\\end{array}", "\\begin{asy}",
    "\\end{asy}", "[asy]", "[/asy]", "```", "```python", "~~~", "| a | b |", "|---|---|", "a | b", "---|---",
    "|x|", "|", "Step ", "- ",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(ALPHABET), max_size=25).map("".join) | st.text(max_size=40)
TEXTS |= st.lists(st.sampled_from(BLOCK_ALPHABET), max_size=25).map("".join)
EVERY = pytest.mark.parametrize("segmenter", SEGMENTERS.values(), ids=list(SEGMENTERS))


def one_by_one(segmenter: Segmenter, text: str) -> list[str]:
    """Split as a policy does: the first step, the first step of the rest, and so on."""
    steps: list[str] = []
    while (end := segmenter.first_step(text)) is not None:
        steps.append(text[:end])
        text = text[end:]
    whole = segmenter.has_content(text) or not steps
    return [*steps, text] if whole else [*steps[:-1], steps[-1] + text]


@EVERY
@given(text=TEXTS)
@settings(max_examples=200, deadline=None)
def test_joining_the_steps_restores_the_text(segmenter: Segmenter, text: str) -> None:
    assert "".join(segmenter.split(text)) == text


@EVERY
@given(text=TEXTS)
@settings(max_examples=200, deadline=None)
def test_splitting_step_by_step_is_the_same_as_at_once(segmenter: Segmenter, text: str) -> None:
    assert one_by_one(segmenter, text) == segmenter.split(text)


@EVERY
@given(text=TEXTS)
@settings(max_examples=60, deadline=None)
def test_no_step_is_blank_unless_the_text_is(segmenter: Segmenter, text: str) -> None:
    steps = segmenter.split(text)
    assert steps
    assert all(step.strip() for step in steps) or (len(steps) == 1 and not text.strip())
    assert all(map(segmenter.has_content, steps)) or len(steps) == 1


@EVERY
@given(text=TEXTS, start=st.integers(0, 30))
@settings(max_examples=60, deadline=None)
def test_a_step_may_begin_anywhere_in_a_text(segmenter: Segmenter, text: str, start: int) -> None:
    start = min(start, len(text))
    end = segmenter.first_step(text[start:])
    assert segmenter.first_step(text, start) == (None if end is None else start + end)


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
@settings(max_examples=300, deadline=None)
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
        ("python", ["x = 1 + \\\r\n    2\r\n", "s = 'a \\\r\n b'\r\n", "y = 2\r\n"]),
        # formulas, environments, diagrams, listings
        (
            "newline",
            [
                "We have\n",
                "\\[\nx = 2.\n\\]\n",
                "So\n",
                "\\begin{align*}\nx+1 &= 3.\n\\end{align*}\n",
                "Done.",
            ],
        ),
        ("newline", ["So $$\nx\n$$ and\n", "then $$y$$.\n", "$$\nz\n$$\n", "Done."]),
        ("newline", ["$a$$b$\n", "It is \\$$5$.\n", "Done.\n"]),
        ("newline", ["\\[ a \\\\[2pt]\n b \\]\n", "c \\\\[2pt]\n", "d"]),
        ("newline", ["\\[\\begin{cases} a \\\\\nb\\]\n", "c\n", "\\end{cases}\nd"]),
        ("newline", ["x = 1\n", "\\]\ny = 2\n\\end{align}.\n$$\n"]),
        ("newline", ["\\[\n\n x = 2\n\n \\]\n", "Done."]),
        ("newline", ["\\[ 40 + 24 = 64\n\n", "So it is 64.\n", "Done."]),
        ("newline", ["\\begin{proof}\nx = 1.\n", "y = 2.\n\\end{proof}\n"]),
        ("newline", ["Draw it. [asy]\npair A;\n\ndraw(A--B); // $$ \\[\n[/asy]\n", "Done."]),
        ("newline", ["```python\nx = 1\n\n# \\[\n```\n", "It prints 1.\n", "~~~\n``` a\nb\n~~~\n", "Done."]),
        ("newline", ["\\begin{verbatim}\na\n\\end{align}\n\\[\n\\end{verbatim}\n", "Done."]),
        ("newline", ["We see:\n\n\\[x = 1\\]\n", "It follows:\r\n$y$\r\n", "Done."]),
        ("blank_line", ["We see:\n\n\\[\n\nx = 1\n\n\\]\n\n", "Done."]),
        ("blank_line", ["[asy]\n\ndraw(A);\n\n[/asy]\n\n", "So.\r\n\r\n", "Done.\r\n"]),
        ("step_marker", ["Step 1: a\n```\nStep 2\n```\n", "Step 2: b"]),
        # tables
        ("newline", ["A table.\n", "| a | b |\n|---|---|\n| 1 | 2 |\n\n", "So 2."]),
        ("newline", ["| a | b |\n| 1 | 2 |\n", "So 2.\n", "|x| < |y|\n", "|x| = 1\n", "a | b\n", "c"]),
        ("newline", ["a | b\n--- | ---\n1 | 2\n3 | 4\n\n", "P(A | B) = 1\n", "Done.\n"]),
        # carriage returns
        ("newline", ["First, 2+2=4.\r\n", "\r\nThen 4+1=5.\r\n", "\r\nThe answer is 5."]),
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


def test_what_ends_a_table_or_an_open_formula_is_known_from_the_next_line() -> None:
    newline = SEGMENTERS["newline"]
    row, formula = "| a | b |\n", "\\[ x = 1\n\n"
    for begun, after in ((row, "So"), (row, "\n"), (row, "x"), (formula, "So it"), (formula, "12) x")):
        assert newline.first_step(begun) is None
        assert newline.first_step(begun + after) == len(begun) + (after == "\n")
    for begun, after in (
        (row, ""),
        (row, " "),
        (row, "| c"),
        (formula, "\n"),
        (formula, "x"),
        (formula, "= 2\n"),
    ):
        assert newline.first_step(begun + after) is None


PROSE = st.sampled_from(["So $x$ is 1.", "The answer is 2.", "- $|x| = 1$", "a", "It is \\$5."])
FORMULA_LINES = st.lists(
    st.sampled_from(
        ["x &= 1 \\\\", "y", "\\text{so } z", "\\\\[2pt]", "a | b", "\\begin{cases} a \\\\ b \\end{cases}"]
    ),
    min_size=1, max_size=4,
).map("\n".join)  # fmt: skip
CODE_LINES = st.lists(
    st.sampled_from(["draw(A);", "", "x = 1", "// $$ \\[", "| a |"]), min_size=1, max_size=4
).map("\n".join)
WHOLE_BLOCKS = st.one_of(
    PROSE,
    st.builds("\\[\n{}\n\\]".format, FORMULA_LINES),
    st.builds("so $$\n{}\n$$".format, FORMULA_LINES),
    st.builds("\\begin{{align*}}\n{}\n\\end{{align*}}.".format, FORMULA_LINES),
    st.builds("[asy]\npair A;\n{}\n[/asy]".format, CODE_LINES),
    st.builds("```\nx = (\n{}\n```".format, CODE_LINES),
    st.just("| a | b |\n|---|---|\n| 1 | 2 |\n"),
)


@given(parts=st.lists(WHOLE_BLOCKS, min_size=1, max_size=6))
@settings(max_examples=200, deadline=None)
def test_each_block_and_each_line_of_prose_is_a_step(parts: list[str]) -> None:
    text = "".join(f"{part}\n" for part in parts)
    assert SEGMENTERS["newline"].split(text) == [f"{part}\n" for part in parts]
    windows = text.replace("\n", "\r\n")
    assert SEGMENTERS["newline"].texts(windows) == [part.strip("\n").replace("\n", "\r\n") for part in parts]


# -- generated Python ------------------------------------------------------------------------------

NAMES = st.sampled_from(["x", "y", "total", "f"])
SPACE = st.sampled_from(["", " ", "\n  ", "  # it's a (comment)\n "])
ATOMS = st.one_of(
    NAMES,
    st.integers(0, 99).map(str),
    st.sampled_from(
        [
            '"("',
            "')'",
            "'it\\'s'",
            '"a # b"',
            '"""one\n\ntwo\')"""',
            "'''[\n'''",
            'f"{x}"',
            'r"\\d("',
            "b'\\\\'",
        ]
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
    line = "So the answer must be 12.\n"
    rule = SEGMENTERS["newline"].repetition
    assert rule == Repetition(times=4, min_chars=20)
    assert rule.is_reached([line] * 4)
    assert rule.is_reached(["b\n", line, f" {line}", f"\n{line}", line.strip()])  # apart from white space
    assert not rule.is_reached([line] * 3)
    assert not rule.is_reached([line] * 3 + ["b\n"])
    assert not rule.is_reached([])


@pytest.mark.parametrize("row", ["0 & 0 & 0 \\\\\n", "    x += 1\n", "|---|---|\n"])
def test_short_lines_may_be_repeated(row: str) -> None:
    assert not SEGMENTERS["newline"].repetition.is_reached([row] * 9)
    assert Repetition(times=3, min_chars=0).is_reached([row] * 3)


def test_code_may_be_repeated() -> None:
    assert SEGMENTERS["python"].repetition == NEVER
    assert not NEVER.is_reached(["    values.append(total + 1)\n"] * 99)


def test_a_repetition_that_makes_no_sense_is_refused() -> None:
    for wrong in ({"times": 1}, {"times": -1}, {"min_chars": -1}):
        with pytest.raises(UsageError, match="repetition"):
            Repetition(**wrong)
