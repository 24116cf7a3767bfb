"""The command line, on transformers with tiny models: what it prints, writes, resumes and refuses."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Template

from bench.runner.cli.run import main
from prm.reading.calibration import Calibration
from prm.reading.layout import read_layout, save_layout
from search.params import describe, make_strategy, params
from search.strategies import STRATEGIES
from search.strategies.hgs import HGS
from tests.commands import environment, start
from tests.conftest import SHORT, Checkpoints
from tests.resumed import validated

FIELDS = (
    "strategy knobs task n correct accuracy ci95 policy_tokens policy_tokens_discarded prm_tokens "
    "prm_tokens_cached samples judgements backtracks duplicates exhausted errors seconds seed policy prm "
    "revision"
).split()


def comparable(row: Mapping[str, Any]) -> dict[str, Any]:
    """Without what differs between equal runs. A cache that starts cold computes more and finds less."""
    left_out = set(
        "problems seconds replayed prm_tokens prm_tokens_cached baseline revision command".split()
    )
    kept = {name: value for name, value in row.items() if name not in left_out}
    return {**kept, "prm_tokens_in_all": row["prm_tokens"] + row["prm_tokens_cached"]}


def wait_for_lines(path: Path, lines: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not path.exists() or path.read_bytes().count(b"\n") < lines:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)


# -- what a run gives ----------------------------------------------------------------------------------


def test_one_strategy_beside_the_baseline(
    here: Path, models: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    said = ["--strategy", "hgs", "--set", "width=2", "max_samples=8", "--limit", "6", "--seed", "3"]
    assert main([*said, *models, "--json", "hgs.json", "--out", "run"]) == 0
    out, err = capfd.readouterr()
    assert out.strip().startswith("builtin, 6 problems, seed 3")
    firsts = [line.split()[0] for line in out.splitlines() if line.strip()]
    assert [name for name in firsts if name in STRATEGIES] == ["cot", "hgs"] * 2 + ["hgs"]
    assert "\nhgs with width=2 max_samples=8\n" in out
    notes = err.splitlines()
    assert len(notes) == 2 and "ready in" in notes[0] and notes[1] == "recorded in run", err

    row = json.loads((here / "hgs.json").read_text())
    assert list(row)[: len(FIELDS)] == FIELDS
    assert (row["strategy"], row["task"], row["n"], row["seed"], row["errors"]) == ("hgs", "builtin", 6, 3, 0)
    assert shlex.split(row["command"])[3:] == [*said, *models, "--json", "hgs.json", "--out", "run"]
    assert row["knobs"] == {**params(make_strategy("hgs")), "width": 2, "max_samples": 8}
    assert row["policy"] == models[3] and row["prm"] == models[5]
    assert row["samples"] >= row["n"] and row["judgements"] > 0 and row["prm_tokens"] > 0
    assert row["policy_tokens"] >= row["policy_tokens_discarded"]
    assert row["ci95"][0] <= row["accuracy"] == row["correct"] / row["n"] <= row["ci95"][1]
    baseline = row["baseline"]
    assert (baseline["strategy"], baseline["knobs"], baseline["samples"]) == ("cot", {"temperature": 0.0}, 6)
    assert row["versus"]["strategy"] == "cot" and "versus" not in baseline

    assert main([*said, *models, "--json", "again.json"]) == 0
    again = json.loads((here / "again.json").read_text())
    assert comparable(again) == comparable(row)
    assert len(list(here.glob("runs/builtin-*/hgs.jsonl"))) == 1


def test_all_strategies(here: Path, models: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    few = ["--set", "n=2", "simulations=2", "width=2", "depth=2", "max_samples=4"]
    assert main(["--strategy", "all", *few, "--limit", "2", *models, "--json", "all.json"]) == 0
    rows = json.loads((here / "all.json").read_text())
    assert [row["strategy"] for row in rows] == list(STRATEGIES)
    assert [set(FIELDS) <= set(row) for row in rows] == [True] * len(STRATEGIES)
    assert {row["knobs"]["n"] for row in rows if "n" in row["knobs"]} == {2}
    out = capfd.readouterr().out
    assert all(f"\n{name} " in out for name in STRATEGIES)


def test_several_strategies_and_no_reward_model_where_none_is_asked(
    here: Path, checkpoints: Checkpoints, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["--strategy", "self_consistency, cot", "--set", "n=2", "--limit", "2", "--engine", "hf", *SHORT]
    assert main([*words, "--policy", checkpoints.policy, "--prm", "/nowhere", "--json", "two.json"]) == 0
    rows = json.loads((here / "two.json").read_text())
    assert [(row["strategy"], row["prm"], row["samples"]) for row in rows] == [
        ("self_consistency", None, 4), ("cot", None, 2),
    ]  # fmt: skip


def test_without_the_baseline(here: Path, models: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    words = ["--strategy", "best_of_n", "--set", "n=2", "--no-baseline", "--limit", "2", *models]
    assert main([*words, "--json", "row.json"]) == 0
    row = json.loads((here / "row.json").read_text())
    assert "baseline" not in row and "versus" not in row
    assert "cot" not in capfd.readouterr().out


@pytest.mark.parametrize("task", ["gsm8k", "math"])
def test_a_task_from_a_file_in_its_original_format(
    task: str, here: Path, models: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    lines = {
        "gsm8k": {"question": "2 robes of 3?", "answer": "One is <<1*3=3>>3.\nTwo are 6.\n#### 6"},
        "math": {"problem": "$1+1$?", "solution": "$\\boxed{2}$", "level": 3, "unique_id": "a"},
    }
    (here / "data.jsonl").write_text(json.dumps(lines[task]) + "\n")
    words = ["--task", task, "--data", "data.jsonl", "--strategy", "cot", *models, "--json", "row.json"]
    assert main(words) == 0
    row = json.loads((here / "row.json").read_text())
    assert (row["task"], row["n"], row["errors"]) == (task, 1, 0)
    assert len(row["by_group"]) == 1


def test_problems_of_ones_own(here: Path, models: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    (here / "mine.jsonl").write_text('{"problem": "2 + 2?", "answer": 4}\n{"problem": "?", "answer": 1}\n')
    assert main(["--problems", "mine.jsonl", "--strategy", "cot", *models, "--json", "row.json"]) == 0
    assert json.loads((here / "row.json").read_text())["n"] == 2
    assert "jsonl, 2 problems" in capfd.readouterr().out


def test_the_prompt_is_printed_as_the_policy_sees_it(
    here: Path, checkpoints: Checkpoints, capfd: pytest.CaptureFixture[str]
) -> None:
    (here / "shots.txt").write_text("Q: 1 [b]{x}[/b]\nA: 1\n\nQ: {question}\nA:")
    (here / "mine.jsonl").write_text('{"problem": "2 + 2?", "answer": 4}\n')
    words = ["--problems", "mine.jsonl", "--policy", checkpoints.policy, "--prm", checkpoints.prm]
    assert main([*words, "--engine", "hf", "--print-prompt", "--prompt", "shots.txt"]) == 0
    assert capfd.readouterr() == ("Q: 1 [b]{x}[/b]\nA: 1\n\nQ: 2 + 2?\nA:", "")
    assert main([*words, "--engine", "hf", "--print-prompt"]) == 0
    template = (Path(checkpoints.policy) / "chat_template.jinja").read_text()
    assert capfd.readouterr() == (Template(template).render(messages=[{"content": "2 + 2?"}]), "")
    assert not (here / "runs").exists()


def test_a_question_shows_the_search(
    here: Path, models: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    question = "Ann has 7 coins. Ben has 2 more coins than Ann. How many coins does Ben have?"
    every_step_dies = ["--set", "width=2", "max_samples=6", "reject=0"]
    assert main(["--question", question, *every_step_dies, *models]) == 0
    out, err = capfd.readouterr()
    dead_end = "<- nothing left to try after the question: back"
    parts = [question, dead_end, "\nsolution:\n", "\nanswer: ", " samples, "]
    assert sorted(map(out.index, parts)) == list(map(out.index, parts))
    assert len(err.splitlines()) == 1
    assert not (here / "runs").exists()


def test_without_vllm_it_says_so_and_uses_transformers(
    here: Path, models: list[str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)  # as if it were not installed
    assert main(["--strategy", "cot", "--limit", "1", *models[2:]]) == 0
    err = capfd.readouterr().err
    assert err.startswith("vLLM is not installed: running on transformers, which is slower\n")
    assert " on hf: ready in " in err
    assert main(["--strategy", "cot", "--engine", "vllm", "--out", "other", *models[2:]]) == 2
    assert "vLLM is not installed here" in capfd.readouterr().err


def test_a_prompt_of_ones_own_ends_where_its_user_says(here: Path, models: list[str]) -> None:
    (here / "shots.txt").write_text("Q: 1?\nA: 1\n\nQ: {question}\nA:")
    words = ["--question", "2?", "--prompt", "shots.txt", "--stop", "\\nQ:", "--stop", "END", *models]
    assert validated(words).policy.prompt.stop == ("\nQ:", "END")


def test_one_faulty_problem_does_not_stop_the_others(
    here: Path, models: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    longest = "7 " * 2046  # the policy can say a few tokens more, and the reward model cannot read them
    rows = [{"problem": text, "answer": 1} for text in ("1?", longest, "2?")]
    (here / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["--problems", "mine.jsonl", "--set", "width=2", "max_samples=4", *models, "--no-baseline"]
    assert main([*words, "--json", "row.json", "--prompt", "few-shot", "--limit", "1"]) == 0
    (here / "bare.txt").write_text("{question}")
    assert main([*words, "--json", "row.json", "--prompt", "bare.txt", "--out", "run"]) == 0
    row = json.loads((here / "row.json").read_text())
    assert (row["n"], row["errors"]) == (3, 1)
    err = capfd.readouterr().err
    assert "hgs: 1 of 3 problems failed; the first, mine/2: ContextError: mine/2: " in err
    assert "Traceback" not in err


def test_if_every_problem_fails_the_exit_code_says_so(
    here: Path, models: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    (here / "mine.jsonl").write_text(json.dumps({"problem": "7 " * 2046, "answer": 1}) + "\n")
    (here / "bare.txt").write_text("{question}")
    words = ["--problems", "mine.jsonl", "--prompt", "bare.txt", "--set", "max_samples=4", "--no-baseline"]
    assert main([*words, *models]) == 1
    assert "hgs: 1 of 1 problems failed" in capfd.readouterr().err


def test_a_problem_that_runs_out_of_tokens_has_not_failed(here: Path, models: list[str]) -> None:
    words = ["--strategy", "best_of_n", "--no-baseline", "--set", "n=8", "--max-tokens", "7", "--limit", "2"]
    assert main([*words, *models, "--json", "row.json"]) == 0
    row = json.loads((here / "row.json").read_text())
    assert (row["errors"], row["exhausted"], row["policy_tokens"]) == (0, 2, 14)
    assert (row["unfinished"], row["answered"], row["without_answer"]) == (2, 0, 0)
    assert [(p["ending"], p["hit_limit"], p["policy_tokens"]) for p in row["problems"]] == [
        ("unfinished", True, 7)
    ] * 2


# -- going on with a run -------------------------------------------------------------------------------

SLOW = ["--strategy", "best_of_n", "--set", "n=3", "--limit", "8", "--concurrency", "1"]


def test_a_killed_run_is_resumed_to_the_same_end(
    here: Path, models: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*SLOW, *models, "--out", "whole", "--json", "whole.json"]) == 0
    process = start([*SLOW, *models, "--out", "run"], here)
    wait_for_lines(here / "run" / "best_of_n.jsonl", 12, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    capfd.readouterr()

    assert main([*SLOW, *models, "--out", "run"]) == 2
    assert "run already holds a run of cot, best_of_n: add --resume" in capfd.readouterr().err
    other = ["--seed", "1"]
    assert main([*SLOW, *models, *other, "--out", "run", "--resume"]) == 2
    assert "is the trace of another run (seed was 0, is 1)" in capfd.readouterr().err

    assert main([*SLOW, *models, "--out", "run", "--resume", "--json", "run.json"]) == 0
    whole, resumed = (json.loads((here / f"{name}.json").read_text()) for name in ("whole", "run"))
    assert comparable(resumed) == comparable(whole)
    assert comparable(resumed["baseline"]) == comparable(whole["baseline"])
    assert resumed["replayed"] > 0 == whole["replayed"]

    capfd.readouterr()
    assert main([*SLOW, *models, "--out", "run", "--resume", "--json", "again.json"]) == 0
    assert comparable(json.loads((here / "again.json").read_text())) == comparable(resumed)
    assert capfd.readouterr().err.startswith("all of it is recorded: no model was loaded\n")


def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(
    here: Path, models: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    out = here / "a run"
    process = start([*SLOW, *models, "--out", str(out)], here)
    wait_for_lines(out / "best_of_n.jsonl", 5, process)
    process.send_signal(signal.SIGINT)
    said, err = process.communicate()
    assert process.returncode == 130 and said == "", err
    assert "Traceback" not in err
    assert err.splitlines()[-2] == "interrupted; to continue where it stopped:"
    command = shlex.split(err.splitlines()[-1])
    assert command[1:] == ["-m", "search.run", "--out", str(out), "--resume"]
    assert main(command[3:]) == 0
    said, err = capfd.readouterr()
    assert "\nbest_of_n " in said and len(err.splitlines()) == 2


def test_resume_needs_no_other_option_and_refuses_one_that_contradicts(
    here: Path, models: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["--strategy", "best_of_n", "--set", "n=2", "--limit", "2", *models, "--stop", "END"]
    assert main([*words, "--out", "run", "--json", "run.json"]) == 0
    first = json.loads((here / "run.json").read_text())
    capfd.readouterr()
    again = ["--out", "run", "--resume"]
    for more in ([], words, ["--set", "n=2"], ["--stop", "END", "--seed", "0"]):  # said again or not
        assert main([*again, *more]) == 0
        assert "all of it is recorded" in capfd.readouterr().err
        assert comparable(json.loads((here / "run.json").read_text())) == comparable(first)
    for more, fault in {
        "--seed 1": "seed was 0, is 1", "--set n=3": "params: n was", "--stop X": "prompt: stop was",
    }.items():
        assert main([*again, *more.split()]) == 2
        assert fault in capfd.readouterr().err
    (here / "run" / "command.json").write_text("{")
    assert main(again) == 2
    assert "cannot read run/command.json" in capfd.readouterr().err


# -- the help, and what it looks like ------------------------------------------------------------------


def test_thresholds_fitted_for_a_reward_model_are_taken_unless_others_are_named(
    here: Path, checkpoints: Checkpoints
) -> None:
    shutil.copytree(checkpoints.prm, here / "prm")
    save_layout(replace(read_layout("prm"), calibration=Calibration(reject=0.3)), here / "prm")
    words = ["--strategy", "hgs,mcts", "--engine", "hf", "--policy", checkpoints.policy, "--prm", "prm"]
    taken = validated(words)
    assert taken.strategies["hgs"] == HGS(reject=0.3)
    assert taken.strategies["mcts"] == make_strategy("mcts", {"aggregate": "product"})
    assert validated([*words, "--set", "reject=0.9"]).strategies["hgs"] == HGS(reject=0.9)
    assert validated([*words, "--set", "reject=none"]).strategies["hgs"] == HGS()


def test_the_help_names_every_strategy_and_knob(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    out = capfd.readouterr().out
    assert max(map(len, out.splitlines())) <= 100
    for name in STRATEGIES:
        assert all(f"{param}=" in out for param in params(make_strategy(name)))
    assert describe() in out


def test_help_and_bad_input_need_no_torch() -> None:
    code = (
        "import sys; from search.run import main\n"
        "for words in (['--strategy', 'x'], ['--set', 'x=1'], ['--engine', 'x'], ['--resume']):\n"
        "    assert main(words) == 2\n"
        "print({'torch', 'transformers', 'vllm', 'sympy', 'datasets'} & set(sys.modules))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=False,
    )
    assert ran.stdout == "set()\n", ran.stderr
