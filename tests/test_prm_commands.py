"""The commands that score solutions, evaluate reward models and calibrate them, end to end."""

from __future__ import annotations

import json
import shlex
from math import isfinite
from pathlib import Path

import pytest

from bench.runner.checkpoints import BUILTIN
from prm.calibrate import main as calibrate
from prm.command_line import command_line
from prm.data.labels import LabelledSolution, write_labels
from prm.evaluate import main as evaluate
from prm.evaluate import request_from
from prm.evaluation.request import EvaluateRequest
from prm.reading.encoder import Encoder
from prm.reading.layout import Layout
from prm.reading.zoo import find
from prm.score import main as score
from prm.scoring.batch import open_results, split_solution
from search.errors import UsageError
from tests.test_prm_evaluate import record
from tests.zoo_models import TOKENIZERS, make_checkpoint


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("models") / "qwen"
    make_checkpoint(folder, "qwen2", "qwen")
    return f"qwen-prm-7b={folder}"


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_score_scores_every_step_and_resumes(model: str, tmp_path: Path) -> None:
    given = [{"question": "Q", "steps": ["a", "b"], "id": 1}, {"question": "Q", "solution": "a\n\nb\nc"},
             {"question": "Q", "steps": ["word " * 1500]}]  # fmt: skip
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in given))
    command = [str(source), "--prm", model, "--out", str(out)]
    assert score(command) == 1  # one does not fit, and says so
    first, second, third = lines(out)
    assert len(first["judgements"]) == 2 and first["id"] == 1  # type: ignore[arg-type]
    values = [j["positive"] + j["neutral"] for j in first["judgements"]]  # type: ignore[attr-defined]
    assert first["score"] == pytest.approx(values[0] * values[1])  # as its layout aggregates
    assert second["steps"] == ["a", "b\nc"]
    assert "ContextError" in str(third["error"]) and "score" not in third
    whole = out.read_bytes()
    out.write_bytes(whole[: len(whole) // 2])  # killed in the middle of a line
    assert score([*command, "--resume"]) == 1
    assert lines(out) == [first, second, third]
    assert score(command) == 2


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"question": "Q"}', "no field 'solution'"),
        ('{"question": "Q", "steps": []}', "'steps' must be"),
        ('{"question": 3, "steps": ["a"]}', "'question' must be text"),
        ("{", "not JSON"),
    ],
)
def test_score_names_a_bad_line_and_writes_nothing(
    line: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"question": "Q", "steps": ["a"]}\n' + line)
    assert score([str(source), "--prm", "skywork-7b", "--out", str(out)]) == 2
    assert not out.exists()
    error = capsys.readouterr().err
    assert error.startswith(f"error: {source}, line 2: ") and reason in error


def test_solutions_are_split_as_the_layout_says() -> None:
    assert split_solution(Layout(), "a\n\nb\nc") == ["a", "b", "c"]
    assert split_solution(find("qwen-prm-7b").layout, "a\n\nb\nc") == ["a", "b\nc"]
    assert split_solution(find("qwen-prm-7b").layout, "a\nb") == ["a", "b"]
    assert split_solution(Layout(), " ") == [" "]
    formula = "We have\n\\[\nx = 2.\n\\]\nSo it is 2."
    assert split_solution(Layout(), formula) == ["We have", "\\[\nx = 2.\n\\]", "So it is 2."]
    assert split_solution(find("qwen-prm-7b").layout, "a:\n\n\\[x\\]\n\nb") == ["a:\n\n\\[x\\]", "b"]


@pytest.mark.parametrize("layout", [Layout(), find("qwen-prm-7b").layout])
def test_windows_line_ends_make_no_difference(layout: Layout) -> None:
    text = "First, 2+2=4.\n\nThen\n\\[\n4+1=5.\n\\]\n\nThe answer is 5.\n"
    steps, windows = split_solution(layout, text), split_solution(layout, text.replace("\n", "\r\n"))
    assert len(steps) == len(windows) >= 3
    assert all(step == step.strip() for step in windows)
    encode = Encoder(Layout(), TOKENIZERS["qwen"]())
    question = "2 + 2?\nOr not?"
    assert encode(question, steps) == encode(question.replace("\n", "\r\n"), windows)
    assert encode(question, steps) == encode(question, [f"\r\n{step}\r\n" for step in windows])


@pytest.mark.slow
def test_odd_rows_are_left_out_of_an_evaluation_and_listed_at_its_end(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "labels.jsonl", tmp_path / "out"
    write_labels(path, [record(f"q{i}", [1, -1]) for i in range(4)])
    path.write_text(path.read_text() + '{"question": "Q", "steps": ["a"]}\n')
    command = ["--prm", model, "--data", str(path), "--out", str(out)]
    assert evaluate([*command, "--strict"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {path}, line 5: no field 'labels'; a row of format")
    assert not out.exists()
    assert evaluate(command) == 0
    reason = "no field 'labels'"
    listed = f"rows left out: 1 of 5 of {path}\n  1 x {reason} (first: {path}, line 5: {reason})"
    assert f"{listed}\nwritten: " in capsys.readouterr().out
    assert listed in (out / "report.md").read_text()
    assert request_from([*command, "--strict"]).strict
    assert calibrate(["--prm", str(BUILTIN / "prm"), "--data", str(path), "--strict"]) == 2


@pytest.mark.slow
def test_score_reads_problem_for_question_and_files_of_windows_tools(model: str, tmp_path: Path) -> None:
    rows = [{"problem": "Q", "steps": ["a", "b"]}, {"question": "Q", "solution": "a\r\n\r\nb\r\n"}]
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(b"\xef\xbb\xbf" + "".join(json.dumps(row) + "\r\n\r\n" for row in rows).encode())
    assert score([str(source), "--prm", model, "--out", str(out)]) == 0
    first, second = lines(out)
    assert (first["problem"], first["steps"], second["steps"]) == ("Q", ["a", "b"], ["a", "b"])
    assert first["judgements"] == second["judgements"]
    assert score([str(source), "--prm", model, "--out", str(out), "--resume"]) == 0


def test_a_line_that_was_cut_off_is_removed_and_a_bad_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": 2}\n{"a"')
    results = open_results(path, resume=True)
    assert [row["a"] for row in results.rows] == [1, 2]
    results.append([{"a": 3}])
    results.close()
    assert path.read_bytes() == b'{"a": 1}\n{"a": 2}\n{"a": 3}\n'
    path.write_bytes(b'{"a": 1}\n{"a"\n{"a": 2}\n')
    with pytest.raises(UsageError, match="line 2"):
        open_results(path, resume=True)
    with pytest.raises(UsageError, match="--resume"):
        open_results(path, resume=False)


@pytest.mark.slow
def test_evaluate_reports_models_beside_baselines(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = [
        {"id": f"gsm8k-{i}", "generator": "g", "problem": f"P{i}", "steps": ["a", "b b", "c"],
         "final_answer_correct": i % 2 == 0, "label": -1 if i % 2 else i % 3}
        for i in range(12)
    ]  # fmt: skip
    (tmp_path / "gsm8k.json").write_text(json.dumps(bench))
    train = [record(f"t{i}", [1, 0, -1]) for i in range(10)]
    write_labels(tmp_path / "train.jsonl", train)
    data = [f"processbench:{tmp_path / 'gsm8k.json'}", str(tmp_path / "train.jsonl")]
    out = tmp_path / "out"
    command = ["--prm", model, "--data", *data, "--out", str(out), "--baselines", data[1]]
    assert evaluate(command) == 0
    printed = capsys.readouterr().out
    report = (out / "report.md").read_text()
    results = json.loads((out / "report.json").read_text())["results"]
    assert [(row["data"], row["judge"]) for row in results] == [
        *((spec, model) for spec in data),
        *((spec, name) for spec in data for name in ("majority", "position", "n-grams")),
    ]  # fmt: skip
    assert results[0]["threshold"] == results[1]["threshold"]  # chosen on the GSM8K part, used on all
    for row in results:
        first, f1 = row["measures"]["steps"]["balanced_accuracy"], row["measures"]["first_error"]["f1"]
        line = next(line for line in printed.splitlines() if line.startswith(f"  {row['judge']}: balanced"))
        assert f"{first[0]:.3f} [" in printed and ", AUC " in line and ", first error F1 " in line
        assert not isfinite(f1[0]) or f"{f1[0]:.3f} [" in printed
    mean = results[0]["processbench"]["mean"]
    assert mean == results[0]["processbench"]["gsm8k"] == results[0]["measures"]["first_error"]["f1"]
    assert f"ProcessBench F1 of {model}: gsm8k {mean[0]:.3f} [{mean[1]:.3f}, {mean[2]:.3f}], mean " in printed
    assert printed.endswith(f"written: {out / 'report.md'}\n")
    assert "## ProcessBench, F1\n\n| reward model | gsm8k | mean |\n" in report
    assert "processbench" not in results[1]
    assert {row["threshold_from"] for row in results} == {"default"}, "two classes, and the baselines"
    assert "| reward model | balanced accuracy |" in report and f"on the same problems, {model} is" in report
    assert set(results[0]["gains"]) == {"majority", "position", "n-grams"}
    assert {path.name for path in out.glob("*.png")} == {
        "reliability-0.png", "reliability-1.png", "position-0.png", "position-1.png",
    }  # fmt: skip
    kept = [path.read_bytes() for path in sorted(out.glob("judgements-*.jsonl"))]
    assert evaluate(command) == 0
    assert results == json.loads((out / "report.json").read_text())["results"]
    assert kept == [path.read_bytes() for path in sorted(out.glob("judgements-*.jsonl"))], "scored again"
    assert evaluate(["--prm", model, "--data", data[0], "--out", str(out)]) == 2


def test_the_command_in_the_report_makes_the_same_request() -> None:
    request = EvaluateRequest(
        prms=("a", "b c"), data=("trl:x.jsonl",), out=Path("o"), baselines=("t",), limit=3, engine="vllm"
    )
    python, _, module, *words = shlex.split(command_line("prm.evaluate", request, options={"prms": "--prm"}))
    assert (python, module) == ("python", "prm.evaluate")
    assert request_from(words) == request


def test_everything_that_is_wrong_with_a_request_is_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--prm", "absent-1", "skywork-7b", "absent=2", "--data", "prm80k:x", "--limit", "0"]
    assert evaluate([*command, "--out", str(tmp_path / "out")]) == 2
    errors = capsys.readouterr().err.splitlines()
    named = ("absent-1", "absent=2", "prm80k", "--limit")
    assert all(name in error for name, error in zip(named, errors, strict=True))
    assert not (tmp_path / "out").exists()


def test_baselines_are_not_trained_on_a_test_split(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "test.jsonl"
    write_labels(path, [LabelledSolution("q", ("a",), (1,), "toy", "test", "human")])
    command = ["--prm", "skywork-7b", "--data", str(path), "--baselines", str(path)]
    assert evaluate([*command, "--out", str(tmp_path / "out")]) == 2
    assert "test split" in capsys.readouterr().err


def test_calibrate_refuses_a_test_split_and_a_model_without_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "test.jsonl"
    write_labels(path, [LabelledSolution("q", ("a",), (1,), "toy", "test", "human")])
    prm = BUILTIN / "prm"
    before = (prm / "prm.json").read_bytes()
    assert calibrate(["--prm", str(prm), "--data", str(path)]) == 2
    assert "test split" in capsys.readouterr().err
    assert calibrate(["--prm", "skywork-7b", "--data", str(path)]) == 2
    assert "there is no prm.json to write to" in capsys.readouterr().err
    assert (prm / "prm.json").read_bytes() == before
