"""What `search.run` refuses: in a line each, before anything is loaded, spent or written."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from bench.runner.cli.run import main
from search.command import Exit, exit_code
from search.errors import reason
from tests.commands import start
from tests.conftest import Checkpoints

REFUSED: dict[str, tuple[list[str], str]] = {
    "strategy": (["--strategy", "hsg"], "unknown strategy 'hsg': did you mean hgs? there is ab_mcts, "),
    "strategies": (["--strategy", "cot,zzz"], "unknown strategy 'zzz'; there is ab_mcts, "),
    "parameter": (["--set", "wdith=3"], "hgs has no parameter 'wdith': did you mean width? there is "),
    "parameter of none": (
        ["--strategy", "all", "--set", "widht=3"], "has a parameter 'widht': did you mean width?"
    ),
    "whole number": (["--set", "width=2.5"], "hgs: width takes a whole number, not '2.5'"),
    "number": (["--set", "accept=nan"], "hgs: accept takes a number or none, not 'nan'"),
    "range": (["--set", "width=0"], "hgs: width=0: it must be at least 1"),
    "option": (["--set", "neutral=maybe"], "hgs: neutral is one of defer, accept, reject, not 'maybe'"),
    "setting": (["--set", "width"], "--set takes PARAM=VALUE, not 'width'"),
    "task": (["--task", "gsm8"], "unknown task 'gsm8': did you mean gsm8k or gsm_plus?"),
    "engine": (["--engine", "vlm"], "unknown engine 'vlm': did you mean vllm?"),
    "segment": (["--segment", "new_line"], "unknown segmentation 'new_line': did you mean newline"),
    "dtype": (["--dtype", "int4"], "unknown precision 'int4'"),
    "server": (["--engine", "server"], "--engine server needs --server URL"),
    "no server": (["--engine", "hf", "--server", "http://x/v1"], "--server is for --engine server, not hf"),
    "temperature": (["--temperature", "-1"], "--temperature must be 0 or more, not -1.0"),
    "top-p": (["--top-p", "0"], "--top-p must be above 0 and at most 1, not 0.0"),
    "file": (["--problems", "absent.jsonl"], "cannot read absent.jsonl: No such file or directory\n"),
    "data": (["--task", "gsm8k", "--data", "absent"], "cannot read absent: No such file or directory\n"),
    "no data": (["--data", "x"], "the built-in task is generated: it takes no --data"),
    "two files": (["--problems", "a", "--data", "b"], "--data is for --task; --problems "),
    "line": (["--problems", "bad.jsonl"], "bad.jsonl, line 2: no field 'problem' or 'question'"),
    "policy": (["--engine", "hf", "--policy", "./absent"], "--policy ./absent: there is no such folder"),
    "policy file": (["--engine", "hf", "--policy", "bad.jsonl"], "--policy bad.jsonl: must be a folder"),
    "policy folder": (["--engine", "hf", "--policy", "empty"], "empty is no checkpoint"),
    "prm": (["--engine", "hf", "--prm", "../x/y"], "there is no such folder"),
    "resume": (["--resume"], "--resume needs --out DIR, the run to continue"),
    "resume what": (["--resume", "--out", "absent"], "no run in absent: leave --resume out to begin one"),
    "out": (["--out", "bad.jsonl/run"], "--out: cannot write to bad.jsonl/run: bad.jsonl: it is a file"),
    "json": (["--json", "absent/x.json"], "--json: cannot write absent/x.json"),
    "question and out": (["--question", "?", "--out", "x"], "--out does not go with --question"),
    "two strategies": (["--question", "?", "--strategy", "hgs,cot"], "takes one strategy, not hgs, cot"),
    "no question": (["--question", " "], "the question is empty"),
    "stop": (["--stop", ""], "--stop is empty"),
    "tokenizer": (["--engine", "hf", "--tokenizer", "x"], "--tokenizer is for --engine server; hf takes"),
    "dead server": (
        ["--engine", "server", "--server", "http://127.0.0.1:9"], "check that the servers are running"
    ),
    "chat server": (
        ["--engine", "server", "--server", "http://x", "--policy", "NAME", "--prompt", "chat"],
        "--prompt chat: a chat prompt needs the model's template: give its --tokenizer",
    ),
    "limit": (["--limit", "0"], "argument --limit: takes a whole number of at least 1, not '0'"),
    "seed": (["--seed", "x"], "argument --seed: invalid int value: 'x'"),
    "both": (["--task", "math", "--question", "?"], "argument --question: not allowed with argument --task"),
    "typo": (["--strategie", "hgs"], "unrecognized arguments: --strategie hgs"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_bad_input_is_one_line_and_exit_code_2(
    fault: str, here: Path, checkpoints: Checkpoints, capfd: pytest.CaptureFixture[str]
) -> None:
    words, said = REFUSED[fault]
    (here / "empty").mkdir()
    (here / "bad.jsonl").write_text('{"problem": "?", "answer": 1}\n{"answer": 1}\n')
    before = time.monotonic()
    for option, path in (("--policy", checkpoints.policy), ("--prm", checkpoints.prm)):
        words = words if option in words else [*words, option, path]
    assert main(words) == 2
    assert time.monotonic() - before < 20
    out, err = capfd.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1, err
    assert said in err
    assert {path.name for path in here.iterdir()} == {"empty", "bad.jsonl"}


def test_a_model_of_the_wrong_kind(
    here: Path, checkpoints: Checkpoints, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = {"--policy": checkpoints.policy, "--prm": checkpoints.prm}
    faults = [
        ({"--prm": checkpoints.policy}, "is no reward model of this kind"),
        ({"--prm": checkpoints.no_layout}, "prm.json"),
        ({"--prm": checkpoints.two_labels}, "the head has 2 outputs, prm.json names 3 labels"),
        ({"--policy": checkpoints.prm}, "is a LlamaForSequenceClassification, not a causal language model"),
    ]
    for changed, said in faults:
        words = [word for option, value in {**good, **changed}.items() for word in (option, value)]
        assert main(["--engine", "hf", *words]) == 2
        out, err = capfd.readouterr()
        assert out == "" and err.count("\n") == 1 and err.startswith("error: --p") and said in err, err


def test_a_causal_model_with_a_layout_is_still_no_reward_model(
    here: Path, checkpoints: Checkpoints, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(checkpoints.policy, here / "fake")
    shutil.copy(Path(checkpoints.prm) / "prm.json", here / "fake")
    assert main(["--engine", "hf", "--policy", checkpoints.policy, "--prm", "fake"]) == 2
    assert "fake is a LlamaForCausalLM: its layout needs a" in capfd.readouterr().err


def test_a_reward_model_with_a_broken_layout_is_refused(
    here: Path, checkpoints: Checkpoints, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(checkpoints.prm, here / "broken")
    (here / "broken" / "prm.json").write_text("{")
    assert main(["--engine", "hf", "--policy", checkpoints.policy, "--prm", "broken"]) == 2
    assert "broken/prm.json is not a layout" in capfd.readouterr().err


def test_weights_that_cannot_be_read_are_one_line(
    here: Path, checkpoints: Checkpoints, capfd: pytest.CaptureFixture[str]
) -> None:
    for option in ("policy", "prm"):
        shutil.copytree(getattr(checkpoints, option), here / option)
        (here / option / "model.safetensors").write_bytes(b"torn")
    good = {"--policy": checkpoints.policy, "--prm": checkpoints.prm}
    for option in ("policy", "prm"):
        paths = {**good, f"--{option}": option}
        words = [word for name, value in paths.items() for word in (name, value)]
        assert main(["--engine", "hf", "--limit", "1", *words]) == 2
        err = capfd.readouterr().err.splitlines()
        assert err[-1].startswith(f"error: --{option} {option}: cannot be loaded: ") and len(err) == 1, err


def test_a_hub_id_that_cannot_be_had_is_one_line(here: Path, checkpoints: Checkpoints) -> None:
    words = ["--engine", "hf", "--policy", "nobody/nothing-7b", "--prm", checkpoints.prm]
    process = start(words, here)
    out, err = process.communicate()
    assert (process.returncode, out) == (2, "")
    assert err.startswith("error: --policy nobody/nothing-7b: ") and err.count("\n") == 1, err


def test_a_prompt_longer_than_the_context(
    here: Path, models: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    rows = [{"problem": text, "answer": 1} for text in ("1?", "7 " * 2100)]
    (here / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["--problems", "mine.jsonl", *models]) == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1 and "mine/2: its prompt takes " in err and "holds 2048" in err


def test_prompts_are_named(here: Path, models: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--prompt", "plane", *models]) == 2
    assert "unknown prompt 'plane', which is no file either: did you mean plain?" in capfd.readouterr().err
    (here / "template.txt").write_text("no question")
    assert main(["--prompt", "template.txt", *models]) == 2
    assert "template.txt: a prompt template must contain {question}" in capfd.readouterr().err


def test_everything_that_is_wrong_is_said_at_once(
    here: Path, checkpoints: Checkpoints, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["--policy", "./absent", "--prm", checkpoints.policy, "--out", "run", "--temperature", "0.5"]
    (here / "run").write_text("a file")
    assert main(["--engine", "hf", "--task", "gsm8k", "--data", "nowhere", *words]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert [line.split(":")[0] for line in err.splitlines()] == ["error"] * 4, err
    for wrong in ("--out: cannot write", "cannot read nowhere", "./absent: there is no such", "--prm: "):
        assert wrong in err


def test_a_policy_is_looked_at_although_the_task_is_unknown(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["--engine", "hf", "--task", "gsm8", "--policy", "./absent"]) == 2
    err = capfd.readouterr().err
    assert "unknown task 'gsm8'" in err and "./absent: there is no such" in err


def test_what_the_file_system_refuses_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    full = tmp_path / "full.jsonl"
    full.mkdir()
    assert exit_code(lambda: full.write_text("")) == Exit.FAILED
    assert capsys.readouterr().err == f"error: {full}: Is a directory\n"
    assert reason(EOFError("the end is missing")) == "the end is missing"
