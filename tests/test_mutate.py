from __future__ import annotations

import ast
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutation.mutate import Mutant, mutants, refactored
from mutation.operators import MUTMUT, OWN
from search.errors import UsageError

COUNT = dedent("""
    def count(xs, n):
        total = 0
        for x in xs:
            if x > n and x != 3:
                total += 1
        if n == 0:
            return 0
        return total
    """).lstrip()


def made(code: str, operator: str) -> list[tuple[str, str]]:
    """The changes that an operator makes: text before and after."""
    return [(e.before, e.after) for m in mutants(code) for e in m.edits if e.operator == operator]


@pytest.mark.parametrize(
    ("operator", "statement", "changed"),
    [
        ("return_value", "return a > b", ["return None", "return not (a > b)"]),
        ("return_value", "return a + b", ["return None", "return (a + b) + 1"]),
        ("condition_negation", "while a: b = 1", ["while not a: b = 1"]),
        ("condition_negation", "c = [x for x in a if not x]", ["c = [x for x in a if x]"]),
        ("statement_deletion", "b = 2", ["pass"]),
        ("off_by_one", "c = range(a)", ["c = range(a + 1)", "c = range(a - 1)"]),
        ("off_by_one", "c = range(0, a - 1)",
         ["c = range(1, a - 1)", "c = range(-1, a - 1)", "c = range(0, a)", "c = range(0, a - 2)"]),
        ("off_by_one", "c = a[b]", ["c = a[b + 1]", "c = a[b - 1]"]),
        ("off_by_one", "c = a[-1]", ["c = a[-2]", "c = a[0]"]),
        ("off_by_one", "c = a[1:]", ["c = a[2:]", "c = a[0:]"]),
        ("comparison_boundary", "c = a < b", ["c = a > b"]),
        ("comparison_boundary", "c = a == b", ["c = a <= b", "c = a >= b"]),
        ("swapped_arguments", "c = max(a, b)", ["c = max(b, a)"]),
        ("swapped_operands", "c = a - b", ["c = b - a"]),
        ("wrong_initial_value", "c = 0", ["c = -1"]),
        ("wrong_initial_value", "c = []", ["c = [0]"]),
        ("loop_bound", "for c in a: b = c", ["for c in a[1:]: b = c", "for c in a[:-1]: b = c"]),
        ("wrong_variable", "c = a", ["c = b", "c = c"]),
        ("swap_op", "c = a <= b", ["c = a < b"]),
        ("swap_op", "c = a and b", ["c = a or b"]),
        ("number", "c = 7", ["c = 8"]),
    ],
)  # fmt: skip
def test_the_mutants_of_an_operator(operator: str, statement: str, changed: list[str]) -> None:
    changes = made(f"def f(a, b):\n    {statement}\n", operator)
    assert [after for _, after in changes] == changed
    assert {before for before, _ in changes} == {statement}


def test_operators_that_change_blocks() -> None:
    assert ("if n == 0:\n    return 0", "pass") in made(COUNT, "missing_base_case")
    assert made(COUNT, "loop_cut") == [("", "break")]
    early = made("def f(xs):\n    t = 0\n    for x in xs:\n        t += x\n    return t\n", "early_return")
    assert early == [("", "return t")]


def test_a_mutant_compiles_and_knows_the_lines_it_changed() -> None:
    every = mutants(COUNT)
    assert len(every) > 30
    assert {e.operator for m in every for e in m.edits} > {"swap_op", "wrong_variable", "loop_cut"}
    lines = COUNT.splitlines()
    for mutant in every:
        compile(mutant.code, "mutant", "exec")
        [edit] = mutant.edits
        assert mutant.operator == edit.operator
        changed = lines[edit.first_line - 1 : edit.last_line] if edit.before else []
        assert dedent("\n".join(changed)).strip() == edit.before
        assert edit.before != edit.after


def test_lines_are_numbered_as_python_does() -> None:
    [edit] = {m.edits[0] for m in mutants("s = 'a\u2028b'\nt = 1 + 2\n") if m.operator == "swap_op"}
    assert (edit.first_line, edit.last_line, edit.before) == (2, 2, "t = 1 + 2")


def test_mutants_differ_from_each_other_and_from_the_program() -> None:
    trees = [ast.dump(ast.parse(m.code)) for m in mutants(COUNT)]
    assert len(set(trees)) == len(trees)
    assert ast.dump(ast.parse(COUNT)) not in trees


def test_several_mistakes_in_one_program() -> None:
    second = mutants(COUNT, order=2, most=20)
    assert len(second) == 20 and all(len(m.edits) == 2 for m in second)
    assert mutants(COUNT, order=2, most=20) == second
    assert mutants(COUNT, order=2, most=20, seed=1) != second
    single = {m.code for m in mutants(COUNT)}
    assert not single & {m.code for m in second}
    assert all(len(m.edits) == 3 for m in mutants(COUNT, order=3, most=5))


def test_a_sample_of_the_mutants_keeps_their_order() -> None:
    every = mutants(COUNT)
    some = mutants(COUNT, most=7)
    assert len(some) == 7 and [m for m in every if m in some] == some


@pytest.mark.parametrize("wrong", ["def f(:\n", "print 'Python 2'\n"])
def test_a_program_that_cannot_be_parsed_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError, match="cannot be parsed"):
        mutants(wrong)


def test_mutants_that_no_model_writes_are_left_out_unless_asked_for() -> None:
    code = "def f(a, b):\n    return a if a > b else b\n"
    assert not made(code, "if_exp")
    assert [m for m in mutants(code, without=()) if m.operator == "if_exp"]
    assert all("and False" not in m.code and "or True" not in m.code for m in mutants(code, order=2))
    names = {m.operator for m in mutants(code, without=("swap_op", "return_value"))}
    assert "if_exp" in names and not names & {"swap_op", "return_value"}


def test_the_order_must_be_1_2_or_3() -> None:
    with pytest.raises(UsageError, match="order=4"):
        mutants(COUNT, order=4)


def test_the_table_contains_mutmuts() -> None:
    theirs, ours = {name for name, _, _ in MUTMUT}, {name for name, _, _ in OWN}
    assert len(theirs) > 10 and not theirs & ours
    assert {"swap_op", "number", "string", "arg_removal"} <= theirs


# -- rewordings ----------------------------------------------------------------------------------------

SHAPES = [
    """\
def f(a, b):
    t = 0
    for x in a:
        t += 1
        if x < b:
            t = t * x
    return t + b
""",
    """\
def f(a, b):
    if b > 3:
        r = [x * 2 for x in a if x != b]
    else:
        r = a[1:]
    return r
""",
    """\
def f(a, b):
    return [x + 1 for x in a if x >= b]
""",
    """\
def f(a, b):
    best = None
    for x in a:
        if best is None or best < x:
            best = x
    return best == b
""",
]


@pytest.mark.parametrize("code", SHAPES)
@given(a=st.lists(st.integers(-5, 9), max_size=6), b=st.integers(-3, 9))
def test_a_rewording_does_the_same(code: str, a: list[int], b: int) -> None:
    reworded = _reworded(code)
    assert reworded
    want = _call(code, a, b)
    for mutant in reworded:
        assert _call(mutant.code, a, b) == want, mutant.code


_CACHE: dict[str, list[Mutant]] = {}


def _reworded(code: str) -> list[Mutant]:
    return _CACHE.setdefault(code, refactored(code))


def _call(code: str, a: list[int], b: int) -> object:
    names: dict[str, object] = {}
    exec(code, names)
    function = names["f"]
    assert callable(function)
    return function(list(a), b)


def test_every_kind_of_rewording_is_made() -> None:
    kinds = {m.operator for code in SHAPES for m in refactored(code)}
    assert kinds == {
        "commuted_operands", "mirrored_comparison", "swapped_branches", "expanded_assignment",
        "renamed_variable", "named_result", "loop_for_comprehension",
    }  # fmt: skip


@pytest.mark.parametrize(
    "careful",
    [
        "def f(a, b):\n    return a + b\n",  # strings do not commute
        "def f(a, b):\n    a += b\n    return None\n",  # a list is changed in place
        "def f(a):\n    a = [x for x in a]\n    return a\n",  # the old value is needed for the new one
        "def f(a, x):\n    c = [x for x in a]\n    return c, x\n",  # the loop would leave its variable behind
    ],
)
def test_changes_that_could_change_the_meaning_are_not_made(careful: str) -> None:
    kinds = {m.operator for m in refactored(careful)}
    assert kinds <= {"named_result", "renamed_variable"}
