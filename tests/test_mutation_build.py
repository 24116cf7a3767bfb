from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from mutation import build
from mutation.label import LabelParams, MutantResult, ProblemResult, contradictions
from mutation.mbpp import SPLITS, CodeProblem, like, load_mbpp
from mutation.near import Text, human_eval, near_duplicates
from mutation.sandbox.verdict import Suite
from mutation.work import WorkFile, run_problems
from prm.data.labels import read_labels
from search.errors import UsageError
from tests.sandboxed import alive, descendants, why_not

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
LARGEST = """\
def largest(xs):
    best = xs[0]
    for x in xs:
        if x > best:
            best = x
    return best
"""
TABS = "def largest(xs):\n  if xs:\n\t   return max(xs)\n  return None\n"


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


def test_problems_have_splits_and_unix_line_ends(mbpp: Path) -> None:
    problems = {p.id: p for p in load_mbpp(mbpp)}
    assert [p.split for p in problems.values()] == ["prompt", "test", "test", "validation", *["train"] * 3]
    assert sorted(n for numbers in SPLITS.values() for n in numbers) == list(range(1, 975))
    one = problems["mbpp/602"]
    assert "\r" not in one.reference and one.provides == ("span",)
    assert one.plus is not None and one.plus.inputs == (([1, 3, 2],), ([5, 1],), ([-1, -2],))
    assert "assert span([1, 3, 2]) == 2" in one.question


def test_tabs_are_read_as_in_python(mbpp: Path) -> None:
    row = {**rows(604)[0], "code": TABS}
    (mbpp / "mbpp.jsonl").write_text(json.dumps(row) + "\n")
    [loaded] = load_mbpp(mbpp)
    assert loaded.reference == TABS.replace("\t   ", " " * 11)


def test_errors_name_the_bad_data(mbpp: Path, tmp_path: Path) -> None:
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
def test_values_from_json_get_the_types_of_python(pattern: object, value: object, want: object) -> None:
    assert like(pattern, value) == want


def test_near_duplicates_of_humaneval() -> None:
    theirs = human_eval()
    assert len(theirs) == 164
    copied = next(t for t in theirs if t.id == "HumanEval/13")
    ours = [
        Text("same text", copied.description, "x = 1"),
        Text("own", "Write a function to find how far apart the numbers of a list are.", SPAN),
        Text("same code", "Something else.", copied.code),
        Text("renamed", "Something else.", LARGEST),  # HumanEval/35, max_element
    ]
    near = {one.id: one for one in near_duplicates(ours, theirs)}
    assert set(near) == {"same text", "same code", "renamed"}
    assert near["same code"].other == "HumanEval/13" and near["same code"].why == "syntax tree"
    assert near["renamed"].other == "HumanEval/35"


# -- the command ---------------------------------------------------------------------------------------


def test_the_command_builds_resumes_and_prints_a_summary(
    mbpp: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if reason := why_not():
        pytest.skip(reason)
    out = tmp_path / "made" / "labels.jsonl"
    words = ["--data", str(mbpp), "--out", str(out), "--workers", "2", "--most", "12",
             "--sample", str(tmp_path / "sample.md")]  # fmt: skip
    assert build.main(words) == 0
    output = capsys.readouterr().out
    assert "3 problems of MBPP's train split, 1 with MBPP+" in output
    assert "no prefix has two labels" in output
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
    assert work.stat().st_mtime_ns == before, "other labels need no further runs"
    assert build.main([*words[:-4], "--most", "3"]) == 2
    assert "other settings" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_a_killed_build_leaves_no_process(mbpp: Path, tmp_path: Path) -> None:
    if reason := why_not():
        pytest.skip(reason)
    out = tmp_path / "labels.jsonl"
    words = ["--data", str(mbpp), "--out", str(out), "--workers", "2"]
    command = [sys.executable, "-m", "mutation.build", *words]
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL) as process:
        while len(processes := descendants(process.pid)) < 10:  # two workers, each with two sandboxes
            assert process.poll() is None, "it ended too early"
            time.sleep(0.1)
        process.kill()
    deadline = time.monotonic() + 60
    while left := [pid for pid in processes if alive(pid)]:
        assert time.monotonic() < deadline, f"left behind: {left}"
        time.sleep(0.1)


def test_a_wrong_request_is_refused_before_any_work(
    mbpp: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "labels.jsonl"
    assert build.main(["--data", str(tmp_path / "none"), "--out", str(out)]) == 2
    assert build.main(["--data", str(mbpp), "--out", str(out), "--order", "9"]) == 2
    assert build.main(["--data", str(mbpp), "--out", str(tmp_path)]) == 2
    assert build.main(["--data", str(mbpp), "--out", str(out), "--split", "prompt"]) == 2
    assert not out.exists() and capsys.readouterr().err.count("error:") == 4


# -- the .work file ------------------------------------------------------------------------------------

RESULT = ProblemResult(
    "mbpp/601", "train", "the largest", LARGEST, unseen=(5,),
    tried=(
        MutantResult(
            LARGEST.replace(">", "<"), ("number", "swap_op"), ((1, 1), (4, 4)), ("a", "b"), ("c", "d"), False,
            "assertion", "", "", False, True, (1, 3),
        ),
        MutantResult(
            LARGEST.replace(">", ">="), ("swap_op",), ((4, 4),), ("b",), ("d",), True, "passed", "exception",
            "KeyError", True, False, (3,),
        ),
    ),
)  # fmt: skip


def test_results_are_read_back_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "x.work"
    first = WorkFile(path, LabelParams(), isolated=True)
    assert first.results == {}
    first.add(RESULT)
    first.close()
    with path.open("a") as file:
        file.write('{"torn": ')
    again = WorkFile(path, LabelParams(survivors="drop"), isolated=True)
    assert again.results == {"mbpp/601": RESULT}
    again.add(replace(RESULT, id="mbpp/602"))
    again.close()
    assert [json.loads(line).get("id") for line in path.open()] == [None, "mbpp/601", "mbpp/602"]


def test_a_work_file_of_version_0_1_resumes_and_one_of_other_settings_is_refused(tmp_path: Path) -> None:
    settings = (
        '{"version": 2, "isolated": true, "limits": {"cpu_s": 1, "wall_s": 60.0, "memory_mb": 512, '
        '"file_mb": 4, "output_chars": 100000}, "order": 1, "most": 60, "rewordings": true, "seed": 0}'
    )
    path = tmp_path / "x.work"
    path.write_text(settings + "\n" + json.dumps(asdict(RESULT)) + "\n")
    work = WorkFile(path, LabelParams(), isolated=True)
    assert work.results == {"mbpp/601": RESULT}
    work.close()
    with pytest.raises(UsageError, match="other settings"):
        WorkFile(path, LabelParams(seed=1), isolated=True)
    with pytest.raises(UsageError, match="other settings"):
        WorkFile(path, LabelParams(), isolated=False)
    path.write_text("not a work file")
    with pytest.raises(UsageError, match="work file"):
        WorkFile(path, LabelParams(), isolated=True)


def test_a_work_file_without_left_out_operators_serves_builds_that_leave_some_out(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    changed = replace(RESULT.tried[0], operators=("if_exp",))
    every, fewer = LabelParams(without=()), LabelParams()
    first = WorkFile(path.with_name("x.jsonl.work"), every, isolated=True)
    first.add(replace(RESULT, tried=(changed, *RESULT.tried)))
    first.close()
    problem = CodeProblem("mbpp/601", "train", RESULT.question, LARGEST, Suite(""), ("largest",))
    assert len(run_problems([problem], every, path)[0].tried) == 3
    assert run_problems([problem], fewer, path)[0].tried == RESULT.tried
    other = tmp_path / "y.work"
    WorkFile(other, fewer, isolated=True).close()
    with pytest.raises(UsageError, match="other settings"):
        WorkFile(other, every, isolated=True)


def test_results_of_another_reference_or_of_other_tests_do_not_count(tmp_path: Path) -> None:
    problem = CodeProblem("own/largest", "train", RESULT.question, LARGEST, Suite("assert 1"), ("largest",))
    result = replace(RESULT, id=problem.id, made_of=problem.fingerprint)
    work = WorkFile(tmp_path / "x.work", LabelParams(), isolated=True)
    work.add(result)
    assert work.has(problem)
    assert not work.has(replace(problem, reference=SPAN))
    assert not work.has(replace(problem, suite=Suite("assert 2")))
    work.add(replace(result, made_of=""))
    assert work.has(problem), "version 0.1 kept no fingerprint"
    work.close()


def test_only_one_build_writes_to_a_work_file(tmp_path: Path) -> None:
    path = tmp_path / "x.work"
    code = (
        "from pathlib import Path\nfrom mutation.work import LabelParams, WorkFile\n"
        f"WorkFile(Path({str(path)!r}), LabelParams(), True)"
    )
    work = WorkFile(path, LabelParams(), isolated=True)
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    work.close()
    assert "UsageError" in other.stderr and "another process is writing" in other.stderr
