from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from mutation.expected import PlusTests
from mutation.label import (
    LabelledProgram,
    LabelParams,
    MutantResult,
    ProblemResult,
    balanced,
    changed_steps,
    contradictions,
    label,
    lines_of,
    run_mutants,
)
from mutation.mbpp import CodeProblem, comparison_of, question_of
from mutation.report import Summary
from mutation.sandbox.sandbox import Sandbox
from mutation.sandbox.verdict import Limits, Suite
from prm.data.labels import LabelledSolution
from search.errors import UsageError
from tests.sandboxed import why_not

REFERENCE = """\
def largest(xs):
    best = xs[0]
    for x in xs:
        if x > best:
            best = x
    return best
"""
STEPS = REFERENCE.splitlines(keepends=True)


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    if reason := why_not():
        pytest.skip(reason)
    with Sandbox(Limits(cpu_s=1, memory_mb=256), workers=1) as made:
        yield made


def tried(code: str, outcome: str = "assertion", **how: object) -> MutantResult:
    base = MutantResult(
        code, ("number",), ((1, 1),), ("a",), ("b",), False, outcome, "", "", False, True,
        changed_steps(STEPS, code.splitlines(keepends=True)),
    )  # fmt: skip
    return replace(base, **how)  # type: ignore[arg-type]


def worked(*all_tried: MutantResult) -> ProblemResult:
    return ProblemResult("mbpp/601", "train", "the largest", REFERENCE, tried=all_tried)


def labels_of(params: LabelParams, *all_tried: MutantResult) -> list[tuple[int, ...]]:
    return [record.solution.labels for record in label(worked(*all_tried), params)]


WRONG = REFERENCE.replace("x > best", "x < best")
SAME = REFERENCE.replace("x > best", "x >= best")


# -- labels --------------------------------------------------------------------------------------------


def test_the_reference_is_positive_a_failed_change_negative_a_survivor_neutral() -> None:
    records = label(worked(tried(WRONG), tried(SAME, "passed")), LabelParams())
    by_last = {record.solution.steps[-1].strip(): record.solution.labels for record in records}
    assert by_last == {
        "return best": (1, 1, 1, 1, 1, 1), "if x < best:": (1, 1, 1, -1), "if x >= best:": (1, 1, 1, 0),
    }  # fmt: skip
    assert {(r.solution.split, r.solution.source) for r in records} == {("train", "mbpp")}


def test_a_record_has_the_whole_program_and_whether_it_is_right() -> None:
    passed = [tried(SAME, "passed"), tried(SAME.replace("best", "most"), "passed", rewording=True)]
    records = label(worked(tried(WRONG), *passed), LabelParams())
    by_code = {"".join(r.solution.steps + r.solution.rest): r.solution.outcome for r in records}
    assert by_code == {REFERENCE: True, WRONG: False, SAME: None, SAME.replace("best", "most"): True}


def test_the_parameters() -> None:
    assert labels_of(LabelParams(survivors="positive"), tried(SAME, "passed"))[1] == (1, 1, 1, 1)
    assert labels_of(LabelParams(survivors="drop"), tried(SAME, "passed")) == [(1,) * 6]
    assert labels_of(LabelParams(after="negative"), tried(WRONG))[1] == (1, 1, 1, -1, -1, -1)
    assert labels_of(LabelParams(after="ignore"), tried(WRONG))[1] == (1, 1, 1, -1, 1, 1)
    assert labels_of(LabelParams(after="ignore"), tried(SAME, "passed"))[1] == (1, 1, 1, 0, 1, 1)
    for wrong in ({"order": 0}, {"order": 4}, {"most": -1}, {"time_outs": -0.1}):
        with pytest.raises(UsageError):
            LabelParams(**wrong)  # type: ignore[arg-type]


def test_a_rewording_that_passes_is_positive_to_its_end() -> None:
    assert labels_of(LabelParams(), tried(SAME, "passed", rewording=True))[1] == (1,) * 6
    assert labels_of(LabelParams(), tried(WRONG, rewording=True)) == [(1,) * 6]


@pytest.mark.parametrize(
    ("how", "fate"),
    [
        ({"flaky": True}, "flaky"),
        ({"base": "refused"}, "refused"),
        ({"base": "passed", "seen": False}, "unseen"),
        ({"base": "passed", "plus": "assertion"}, "failed"),
        ({"changed": ()}, "no step of its own"),
    ],
)
def test_the_fate_of_a_mutant_decides_whether_it_gives_a_label(how: dict[str, object], fate: str) -> None:
    one = tried(WRONG, **how)
    assert one.fate == fate
    assert len(labels_of(LabelParams(), one)) == (2 if fate == "failed" else 1)


def test_a_prefix_that_can_be_continued_is_not_wrong() -> None:
    """Two mistakes: the first survives on its own, so the second is wrong."""
    both = SAME.replace("return best", "return None")
    two = tried(both, operators=("swap_op", "return_value"))
    assert labels_of(LabelParams(), two) == [(1,) * 6]  # it is not known which of them is wrong
    labels = labels_of(LabelParams(), two, tried(SAME, "passed"))
    assert labels == [(1,) * 6, (1, 1, 1, 0), (1, 1, 1, 0, 1, -1)]


def test_contradictions_are_found() -> None:
    def record(*labels: int) -> LabelledSolution:
        return LabelledSolution("q", ("a\n", "b\n")[: len(labels)], labels, "s", "train", "mutation")

    assert contradictions([record(1, 1), record(1, 1), record(1)]) == []
    assert contradictions([record(1, 1), record(1, 0)]) == [("q", ("a\n", "b\n"))]


def test_steps_and_lines() -> None:
    assert changed_steps(["a\n", "b\n", "c\n"], ["a\n", "x\n", "c\n"]) == (1,)
    assert changed_steps(["a\n", "b\n", "c\n"], ["a\n", "c\n"]) == (1,), "the step after a missing one"
    assert changed_steps(["a\n", "b\n"], ["a\n"]) == ()
    assert changed_steps(["a\n"], ["a\n", "b\n"]) == (1,)
    assert lines_of(["a\n", "b(\n1)\n", "c"], [1, 2]) == {2, 3, 4}


def test_crashes_and_time_outs_are_kept_in_proportion() -> None:
    def records(outcome: str, n: int) -> list[LabelledProgram]:
        solution = LabelledSolution("q", ("a\n",), (-1,), "mbpp", "train", "mutation")
        return [
            LabelledProgram(replace(solution, question=f"{outcome} {i}"), tried(WRONG, outcome))
            for i in range(n)
        ]

    all_ = records("assertion", 10) + records("exception", 30) + records("time-out", 1) + records("memory", 2)
    kept = balanced(all_, LabelParams(exceptions=0.5, time_outs=0.2))
    outcomes = [r.tried.outcome for r in kept if r.tried]
    assert outcomes.count("assertion") == 10 and outcomes.count("time-out") == 1
    assert outcomes.count("exception") + outcomes.count("memory") == 5
    assert balanced(all_, LabelParams(exceptions=0.5, time_outs=0.2)) == kept


# -- running -------------------------------------------------------------------------------------------


def problem(tests: str = "assert largest([1, 3, 2]) == 3", plus: PlusTests | None = None) -> CodeProblem:
    question, provides = question_of("Write a function.", [tests]), ("largest",)
    return CodeProblem("mbpp/601", "train", question, REFERENCE, Suite(tests, provides), provides, plus)


def test_mutants_are_run_and_survivors_also_with_the_stronger_tests(box: Sandbox) -> None:
    plus = PlusTests("largest", REFERENCE, (([1, 5],), ([2, 2, 1],), ([-1, -2],)), 0.0)
    result = run_mutants(problem(plus=plus), box, LabelParams())
    assert result.problem_with == "" and result.plus_inputs == 3 and result.unseen == ()
    outcomes = {t.base for t in result.tried}
    assert {"passed", "assertion", "exception"} <= outcomes
    wrong = [t for t in result.tried if t.base == "passed" and t.plus == "assertion"]
    assert any("in xs[:-1]" in t.code for t in wrong), "it passes the one test but not MBPP+"
    assert all(t.plus == "" for t in result.tried if t.base != "passed")
    assert any(t.fate == "survived" and "x >= best" in t.code for t in result.tried)
    assert not contradictions(record.solution for record in label(result, LabelParams()))
    summary = Summary.of([result], label(result, LabelParams()), [], LabelParams(), "train", True)
    assert summary.audited.failed_by_plus == len([t for t in wrong if not t.rewording])


def test_a_changed_line_that_no_test_runs_gives_no_label(box: Sandbox) -> None:
    result = run_mutants(problem("assert largest([3]) == 3"), box, LabelParams())
    assert result.unseen == (5,)
    unseen = [t for t in result.tried if t.fate == "unseen"]
    assert unseen and all(t.changed == (4,) for t in unseen)


TABS = "def largest(xs):\n  if xs:\n\t   return max(xs)\n  return None\n"


def test_a_reference_that_libcst_cannot_parse_gives_no_labels(box: Sandbox) -> None:
    result = run_mutants(replace(problem(), reference=TABS), box, LabelParams())
    assert "cannot be parsed" in result.problem_with and label(result, LabelParams()) == []


def test_a_reference_that_fails_gives_nothing_or_is_replaced(box: Sandbox) -> None:
    wrong = replace(problem(), reference=WRONG)
    assert "does not pass" in run_mutants(wrong, box, LabelParams()).problem_with
    first_only = "def largest(xs):\n    return max(xs[:3])\n"
    plus = PlusTests("largest", REFERENCE, (([1, 2, 3, 4],),), 0.0)
    corrected = run_mutants(replace(problem(plus=plus), reference=first_only), box, LabelParams())
    assert corrected.corrected and corrected.reference == REFERENCE


def test_a_result_that_is_not_plain_data_is_compared_with_none(box: Sandbox) -> None:
    reference = "import re\ndef check_str(text):\n    return re.search('^[aeiou]', text)\n"
    inputs = (("annie",), ("bob",))
    plus = PlusTests("check_str", reference, inputs, comparison=comparison_of("check_str"))
    suite = plus.suite(plus.outputs(box))
    assert box.run(reference, suite).passed
    assert not box.run(reference.replace("aeiou", "bcd"), suite).passed
