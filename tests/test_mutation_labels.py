from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from mutation import build
from mutation.expected import PlusTests
from mutation.label import (
    Labelled,
    LabelParams,
    Tried,
    Worked,
    changed_steps,
    contradictions,
    label,
    lines_of,
    work_on,
)
from mutation.mbpp import SPLITS, CodeProblem, comparison_of, like, load_mbpp, question_of
from mutation.near import Text, human_eval, near_duplicates
from mutation.report import Summary
from mutation.sandbox.sandbox import Sandbox
from mutation.sandbox.verdict import Limits, Suite
from prm.data.labels import LabelledSolution, read_labels
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
SPAN = """\
def span(xs):
    low = xs[0]
    high = xs[0]
    for x in xs:
        if x < low:
            low = x
        if x > high:
            high = x
    return high - low
"""
STEPS = REFERENCE.splitlines(keepends=True)


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    if reason := why_not():
        pytest.skip(reason)
    with Sandbox(Limits(cpu_s=1, memory_mb=256), workers=1) as made:
        yield made


def tried(code: str, outcome: str = "assertion", **how: object) -> Tried:
    base = Tried(
        code, ("number",), ((1, 1),), ("a",), ("b",), False, outcome, "", "", False, True,
        changed_steps(STEPS, code.splitlines(keepends=True)),
    )  # fmt: skip
    return replace(base, **how)  # type: ignore[arg-type]


def worked(*all_tried: Tried) -> Worked:
    return Worked("mbpp/601", "train", "the largest", REFERENCE, tried=all_tried)


def labels_of(params: LabelParams, *all_tried: Tried) -> list[tuple[int, ...]]:
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


def test_a_record_knows_its_whole_program_and_whether_that_is_right() -> None:
    passed = [tried(SAME, "passed"), tried(SAME.replace("best", "most"), "passed", rewording=True)]
    records = label(worked(tried(WRONG), *passed), LabelParams())
    by_code = {"".join(r.solution.steps + r.solution.rest): r.solution.outcome for r in records}
    assert by_code == {REFERENCE: True, WRONG: False, SAME: None, SAME.replace("best", "most"): True}


def test_the_knobs() -> None:
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
def test_what_gives_no_label_or_another(how: dict[str, object], fate: str) -> None:
    one = tried(WRONG, **how)
    assert one.fate == fate
    assert len(labels_of(LabelParams(), one)) == (2 if fate == "failed" else 1)


def test_a_prefix_that_can_be_gone_on_from_is_not_wrong() -> None:
    """Two mistakes: the first survives on its own, so the second is to blame."""
    both = SAME.replace("return best", "return None")
    two = tried(both, operators=("swap_op", "return_value"))
    assert labels_of(LabelParams(), two) == [(1,) * 6]  # which of them is to blame is not known
    found = labels_of(LabelParams(), two, tried(SAME, "passed"))
    assert found == [(1,) * 6, (1, 1, 1, 0), (1, 1, 1, 0, 1, -1)]


def test_contradictions_are_found() -> None:
    def record(*labels: int) -> LabelledSolution:
        return LabelledSolution("q", ("a\n", "b\n")[: len(labels)], labels, "s", "train", "mutation")

    assert contradictions([record(1, 1), record(1, 1), record(1)]) == []
    assert contradictions([record(1, 1), record(1, 0)]) == [("q", ("a\n", "b\n"))]


def test_steps_and_lines() -> None:
    assert changed_steps(["a\n", "b\n", "c\n"], ["a\n", "x\n", "c\n"]) == (1,)
    assert changed_steps(["a\n", "b\n", "c\n"], ["a\n", "c\n"]) == (1,), "where something is missing"
    assert changed_steps(["a\n", "b\n"], ["a\n"]) == ()
    assert changed_steps(["a\n"], ["a\n", "b\n"]) == (1,)
    assert lines_of(["a\n", "b(\n1)\n", "c"], [1, 2]) == {2, 3, 4}


def test_crashes_and_time_outs_are_kept_in_proportion() -> None:
    def records(outcome: str, n: int) -> list[Labelled]:
        solution = LabelledSolution("q", ("a\n",), (-1,), "mbpp", "train", "mutation")
        return [
            Labelled(replace(solution, question=f"{outcome} {i}"), tried(WRONG, outcome)) for i in range(n)
        ]

    all_ = records("assertion", 10) + records("exception", 30) + records("time-out", 1) + records("memory", 2)
    kept = build.mixed(all_, LabelParams(exceptions=0.5, time_outs=0.2))
    outcomes = [r.tried.outcome for r in kept if r.tried]
    assert outcomes.count("assertion") == 10 and outcomes.count("time-out") == 1
    assert outcomes.count("exception") + outcomes.count("memory") == 5
    assert build.mixed(all_, LabelParams(exceptions=0.5, time_outs=0.2)) == kept


# -- trying --------------------------------------------------------------------------------------------


def problem(tests: str = "assert largest([1, 3, 2]) == 3", plus: PlusTests | None = None) -> CodeProblem:
    question, provides = question_of("Write a function.", [tests]), ("largest",)
    return CodeProblem("mbpp/601", "train", question, REFERENCE, Suite(tests, provides), provides, plus)


def test_mutants_are_run_and_survivors_meet_the_stronger_tests(box: Sandbox) -> None:
    plus = PlusTests("largest", REFERENCE, (([1, 5],), ([2, 2, 1],), ([-1, -2],)), 0.0)
    found = work_on(problem(plus=plus), box, LabelParams())
    assert found.problem_with == "" and found.plus_inputs == 3 and found.unseen == ()
    outcomes = {t.base for t in found.tried}
    assert {"passed", "assertion", "exception"} <= outcomes
    wrong = [t for t in found.tried if t.base == "passed" and t.plus == "assertion"]
    assert any("in xs[:-1]" in t.code for t in wrong), "one test lets it pass, MBPP+ does not"
    assert all(t.plus == "" for t in found.tried if t.base != "passed")
    assert any(t.fate == "survived" and "x >= best" in t.code for t in found.tried)
    assert not contradictions(record.solution for record in label(found, LabelParams()))
    summary = Summary.of([found], label(found, LabelParams()), [], LabelParams(), "train", True)
    assert summary.audited.failed_by_plus == len([t for t in wrong if not t.rewording])


def test_a_line_no_test_runs_gives_no_label(box: Sandbox) -> None:
    found = work_on(problem("assert largest([3]) == 3"), box, LabelParams())
    assert found.unseen == (5,)
    unseen = [t for t in found.tried if t.fate == "unseen"]
    assert unseen and all(t.changed == (4,) for t in unseen)


TABS = "def largest(xs):\n  if xs:\n\t   return max(xs)\n  return None\n"


def test_tabs_are_read_as_python_reads_them(mbpp: Path) -> None:
    row = {**rows(604)[0], "code": TABS}
    (mbpp / "mbpp.jsonl").write_text(json.dumps(row) + "\n")
    [loaded] = load_mbpp(mbpp)
    assert loaded.reference == TABS.replace("\t   ", " " * 11)


def test_a_reference_that_libcst_cannot_read_gives_no_labels_and_stops_nothing(box: Sandbox) -> None:
    found = work_on(replace(problem(), reference=TABS), box, LabelParams())
    assert "cannot be read" in found.problem_with and label(found, LabelParams()) == []


def test_a_reference_that_fails_gives_nothing_or_is_replaced(box: Sandbox) -> None:
    wrong = replace(problem(), reference=WRONG)
    assert "does not pass" in work_on(wrong, box, LabelParams()).problem_with
    first_only = "def largest(xs):\n    return max(xs[:3])\n"
    plus = PlusTests("largest", REFERENCE, (([1, 2, 3, 4],),), 0.0)
    corrected = work_on(replace(problem(plus=plus), reference=first_only), box, LabelParams())
    assert corrected.corrected and corrected.reference == REFERENCE


# -- MBPP ----------------------------------------------------------------------------------------------


def rows(*numbers: int) -> list[dict[str, object]]:
    return [
        {
            "text": f"Write a function for {n}.", "code": SPAN.replace("\n", "\r\n"), "task_id": n,
            "test_setup_code": "", "test_list": ["assert span([1, 3, 2]) == 2"], "challenge_test_list": [],
        }
        for n in numbers
    ]  # fmt: skip


@pytest.fixture
def mbpp(tmp_path: Path) -> Path:
    folder = tmp_path / "mbpp"
    folder.mkdir()
    lines = [json.dumps(row) for row in rows(5, 11, 510, 511, 601, 602, 603)]
    (folder / "mbpp.jsonl").write_text("\n".join(lines) + "\n")
    plus = {
        "task_id": "Mbpp/602", "entry_point": "span", "canonical_solution": SPAN, "atol": 0,
        "base_input": [[[1, 3, 2]]], "plus_input": [[[5, 1]], [[-1, -2]]], "contract": "",
        "assertion": "assert span([1, 3, 2]) == 2",
    }  # fmt: skip
    (folder / "MbppPlus_x.jsonl").write_text(json.dumps(plus) + "\n")
    return folder


def test_problems_splits_and_line_ends(mbpp: Path) -> None:
    problems = {p.id: p for p in load_mbpp(mbpp)}
    assert [p.split for p in problems.values()] == ["prompt", "test", "test", "validation", *["train"] * 3]
    assert sorted(n for numbers in SPLITS.values() for n in numbers) == list(range(1, 975))
    one = problems["mbpp/602"]
    assert "\r" not in one.reference and one.provides == ("span",)
    assert one.plus is not None and one.plus.inputs == (([1, 3, 2],), ([5, 1],), ([-1, -2],))
    assert "assert span([1, 3, 2]) == 2" in one.question


def test_an_answer_that_is_no_plain_data_is_compared_by_whether_there_is_one(box: Sandbox) -> None:
    reference = "import re\ndef check_str(text):\n    return re.search('^[aeiou]', text)\n"
    inputs = (("annie",), ("bob",))
    plus = PlusTests("check_str", reference, inputs, comparison=comparison_of("check_str"))
    suite = plus.suite(plus.outputs(box))
    assert box.run(reference, suite).passed
    assert not box.run(reference.replace("aeiou", "bcd"), suite).passed


def test_bad_data_is_named(mbpp: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--data"):
        load_mbpp(tmp_path / "nothing")
    (mbpp / "mbpp.jsonl").write_text('{"task_id": 601}\n')
    with pytest.raises(UsageError, match="task 601"):
        load_mbpp(mbpp)


@pytest.mark.parametrize(
    ("pattern", "value", "want"),
    [
        ((1, 2), [3, 4], (3, 4)),
        ([(1, 2)], [[3, 4], [5, 6]], [(3, 4), (5, 6)]),
        ((1, (2, 3)), [[1, 2], 3, [4]], ((1, 2), 3, (4,))),
        ({1: [2]}, {"3": [4]}, {3: [4]}),
        ({1}, [1, 2], {1, 2}),
        (None, [1], [1]),
    ],
)
def test_json_gets_pythons_types_back(pattern: object, value: object, want: object) -> None:
    assert like(pattern, value) == want


def test_near_duplicates_of_humaneval() -> None:
    theirs = human_eval()
    assert len(theirs) == 164
    copied = next(t for t in theirs if t.id == "HumanEval/13")
    ours = [
        Text("same text", copied.description, "x = 1"),
        Text("own", "Write a function to find how far apart the numbers of a list are.", SPAN),
        Text("same code", "Something else.", copied.code),
        Text("renamed", "Something else.", REFERENCE),  # HumanEval/35, max_element
    ]
    found = {near.id: near for near in near_duplicates(ours, theirs)}
    assert set(found) == {"same text", "same code", "renamed"}
    assert found["same code"].other == "HumanEval/13" and found["same code"].why == "syntax tree"
    assert found["renamed"].other == "HumanEval/35"


# -- the command ---------------------------------------------------------------------------------------


def test_the_command_builds_goes_on_and_says_what_it_made(
    mbpp: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if reason := why_not():
        pytest.skip(reason)
    out = tmp_path / "made" / "labels.jsonl"
    words = ["--data", str(mbpp), "--out", str(out), "--workers", "2", "--most", "12",
             "--sample", str(tmp_path / "sample.md")]  # fmt: skip
    assert build.main(words) == 0
    said = capsys.readouterr().out
    assert "3 problems of MBPP's train split, 1 with MBPP+" in said and "no prefix has two" in said
    solutions = list(read_labels(out))
    assert {s.split for s in solutions} == {"train"} and not contradictions(solutions)
    assert {value for s in solutions for value in s.labels} == {1, 0, -1}
    summary = json.loads(out.with_name("labels.jsonl.summary.json").read_text())
    assert summary["problems"] == 3 and summary["isolated"] is True
    assert out.with_name("labels.jsonl.png").stat().st_size > 1000
    assert "## 1. " in (tmp_path / "sample.md").read_text()

    first = out.read_bytes()
    work = out.with_name("labels.jsonl.work")
    whole = work.read_bytes()
    work.write_bytes(whole[: len(whole) - 40])  # killed while it wrote the last problem
    assert build.main(words) == 0
    assert out.read_bytes() == first
    assert sorted(work.read_bytes().splitlines()) == sorted(whole.splitlines())
    before = work.stat().st_mtime_ns
    assert build.main([*words, "--after", "negative"]) == 0
    assert work.stat().st_mtime_ns == before, "no program is run again for other labels"
    assert build.main([*words[:-4], "--most", "3"]) == 2
    assert "other settings" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked for in /proc")
def test_a_killed_build_leaves_no_process(mbpp: Path, tmp_path: Path) -> None:
    if reason := why_not():
        pytest.skip(reason)
    out = tmp_path / "labels.jsonl"
    words = ["--data", str(mbpp), "--out", str(out), "--workers", "2"]
    command = [sys.executable, "-m", "mutation.build", *words]
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL) as process:
        while len(processes := _descendants(process.pid)) < 10:  # two workers, each with two sandboxes
            assert process.poll() is None, "it ended before it had started"
            time.sleep(0.1)
        process.kill()
    deadline = time.monotonic() + 60
    while left := [pid for pid in processes if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, f"left behind: {left}"
        time.sleep(0.1)


def _descendants(root: int) -> set[int]:
    """The processes that a process has started, and those that they have."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
    found, before = {root}, 0
    while len(found) > before:
        before = len(found)
        found |= {pid for pid, parent in parents.items() if parent in found}
    return found - {root}


def test_a_wrong_request_costs_nothing(
    mbpp: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "labels.jsonl"
    assert build.main(["--data", str(tmp_path / "none"), "--out", str(out)]) == 2
    assert build.main(["--data", str(mbpp), "--out", str(out), "--order", "9"]) == 2
    assert build.main(["--data", str(mbpp), "--out", str(tmp_path)]) == 2
    assert not out.exists() and capsys.readouterr().err.count("error:") == 3


def test_what_was_tried_is_read_back_as_it_was(tmp_path: Path) -> None:
    one = worked(tried(WRONG), tried(SAME, "passed"))
    path = tmp_path / "x.work"
    assert build._read_work(path, {"a": 1}) == {}
    with path.open("a") as file:
        file.write(json.dumps(asdict(one)) + "\n" + '{"torn": ')
    assert build._read_work(path, {"a": 1}) == {"mbpp/601": one}
