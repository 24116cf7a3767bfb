"""Models by name: bundled names mean the same everywhere, and what cannot be had is refused at once."""

from __future__ import annotations

import json
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.runner.checkpoints import BUILTIN
from bench.runner.cli.rollouts import main as rollouts
from bench.runner.cli.run import main
from bench.runner.pairing import mismatches
from bench.runner.resolve import check_policy, resolve_policy, resolve_prm
from bench.runner.specs import PolicySpec, PRMSpec
from bench.tasks import TASKS
from prm.calibrate import main as calibrate
from prm.evaluate import main as evaluate
from prm.reading import bundled
from prm.reading.layout import layout_from, read_layout
from prm.reading.zoo import find
from prm.score import main as score
from prm.scoring.scorers import HFScorer, load_scorer
from prm.train import main as train
from prm.training.request import TrainRequest, layout_of
from prm.zoo import main as list_zoo
from search.errors import UsageError
from search.types import Problem, Step, Stop
from tests.commands import start
from tests.zoo_models import FAMILIES

STEPS = ["7 + 12 = 18, so Ann has 18 coins.", "The answer is 18."]
QUESTION = "Bob has 7 coins. Ann owns 12 more coins than Bob. How many coins does Ann have?"


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """No host can be reached. Holds the attempts."""
    tried: list[object] = []

    def refuse(address: object, *args: object, **more: object) -> None:
        tried.append(address)
        raise OSError("Network is unreachable")

    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield tried


# -- bundled names -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", bundled.PRMS)
def test_a_bundled_name_is_its_folder(name: str) -> None:
    assert find(name).model == find(name).tokenizer == str(bundled.PRMS[name])
    assert find(name) == find(str(bundled.PRMS[name]))
    assert find(f"{name}=/elsewhere").layout == find(name).layout
    assert find(f"{name}=/elsewhere").model == "/elsewhere"


def test_bundled_names_are_members_and_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "prm.json").write_text('{"members": ["builtin", "weak"]}')
    assert find(str(tmp_path)).members == ("builtin", "weak")
    assert list_zoo([]) == 0
    assert {line.split()[0] for line in capsys.readouterr().out.splitlines()} >= set(bundled.PRMS)


@pytest.mark.slow
async def test_bundled_names_are_loaded_and_scored(tmp_path: Path, no_network: list[object]) -> None:
    steps = [Step(text + "\n", (), 0.0, Stop.STEP, 1) for text in STEPS]
    async with load_scorer("builtin", "hf", dtype="float32") as scorer:
        scores = await scorer.score(Problem("p", QUESTION), steps)
    same = HFScorer(str(BUILTIN / "prm"), dtype="float32")
    assert scores == await same.score(Problem("p", QUESTION), steps)
    assert not no_network


@pytest.mark.slow
def test_every_command_takes_a_bundled_name(tmp_path: Path, no_network: list[object]) -> None:
    row = {"question": QUESTION, "steps": STEPS, "labels": [-1, -1], "source": "x", "split": "validation",
           "produced_by": "x"}  # fmt: skip
    right = {**row, "question": QUESTION.replace("7", "6"), "labels": [1, 1]}
    data, out = tmp_path / "data.jsonl", tmp_path / "scored.jsonl"
    data.write_text(json.dumps(row) + "\n" + json.dumps(right) + "\n")
    assert score([str(data), "--prm", "weak", "--out", str(out)]) == 0
    command = ["--prm", "weak", "builtin-code", "--data", str(data), "--out", str(tmp_path / "report")]
    assert evaluate(command) == 0
    words = ["--form", "classes3", "--base", "builtin", "--data", str(data), "--steps", "1", "--batch", "1",
             "--validation-share", "0"]  # fmt: skip
    assert train([*words, "--out", str(tmp_path / "trained")]) == 0
    assert read_layout(str(tmp_path / "trained")).solution_aggregate == "product"
    assert not no_network


@pytest.mark.slow
def test_calibrate_takes_a_bundled_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: list[object]
) -> None:
    shutil.copytree(BUILTIN / "prm-weak", tmp_path / "weak")
    monkeypatch.setitem(bundled.PRMS, "weak", tmp_path / "weak")
    data = tmp_path / "data.jsonl"
    rows = [
        {"question": QUESTION, "steps": STEPS, "labels": [label, label], "source": "x",
         "split": "validation", "produced_by": "x"}
        for label in (-1, 0, 1)
    ]  # fmt: skip
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert calibrate(["--prm", "weak", "--data", str(data)]) == 0
    assert read_layout(str(tmp_path / "weak")).calibration.bias
    assert not no_network


def test_the_name_of_a_reward_model_is_no_policy(
    here: Path, no_network: list[object], capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["--engine", "hf", "--policy", "weak"]
    assert main(words) == 2
    assert rollouts([*words, "--out", "labels.jsonl"]) == 2
    assert capfd.readouterr().err.count("'weak' is a bundled reward model, not a policy") == 2
    assert not no_network and not list(here.iterdir())


def test_missing_bundled_files_say_what_makes_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(bundled.PRMS, "builtin", tmp_path / "prm")
    monkeypatch.setitem(bundled.POLICIES, "builtin", tmp_path / "policy")
    monkeypatch.setitem(bundled.TASKS, tmp_path / "prm", "builtin")
    monkeypatch.setitem(bundled.TASKS, tmp_path / "policy", "builtin")
    for look_up in (
        lambda: find("builtin"),
        lambda: bundled.bundled_base("builtin"),
        lambda: resolve_policy(PolicySpec(engine="hf"), TASKS["builtin"](), []),
        lambda: resolve_prm(PRMSpec(engine="hf"), TASKS["builtin"](), None),
    ):
        with pytest.raises(UsageError, match=r"python -m bench\.builtin\.make"):
            look_up()


# -- names that cannot be had --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["./absent", "../absent", "/no/such", "a/b/c", "runs mine", "prm/nothing"])
def test_what_no_repository_can_be_called_is_never_looked_up(name: str, no_network: list[object]) -> None:
    begin = time.monotonic()
    with pytest.raises(UsageError, match="there is no such folder"):
        find(name)
    assert time.monotonic() - begin < 5 and not no_network


@pytest.mark.parametrize("name", ["absent-1", "nobody/nothing-7b"])
def test_without_a_network_an_unknown_name_is_refused_at_once(
    name: str, here: Path, no_network: list[object], capfd: pytest.CaptureFixture[str]
) -> None:
    begin = time.monotonic()
    with pytest.raises(UsageError, match="cannot be reached"):
        find(name)
    (here / "data.jsonl").write_text(json.dumps({"question": "Q", "steps": ["a"]}) + "\n")
    words = ["--prm", name, "--out", "out"]
    assert score(["data.jsonl", *words]) == evaluate([*words, "--data", "data.jsonl"]) == 2
    assert main(["--engine", "hf", "--policy", name]) == main(["--engine", "hf", "--prm", name]) == 2
    server = ["--server", "http://localhost:1", "--policy", "x"]
    assert main([*server, "--engine", "server", "--tokenizer", name]) == 2
    assert train(["--form", "sft", "--base", name, "--data", "data.jsonl", "--out", "out"]) == 2
    assert time.monotonic() - begin < 60  # the hub's client would retry each of them for half a minute
    assert capfd.readouterr().err.count("cannot be reached") == 6


def test_a_name_without_an_owner_may_be_misspelt(no_network: list[object]) -> None:
    with pytest.raises(UsageError, match="did you mean qwen-prm-7b"):
        resolve_prm(PRMSpec(name="qwen-prm-7", engine="hf"), TASKS["builtin"](), None)
    known = "builtin, builtin-code, gemma3-270m, smollm2, smollm2-gsm8k"
    with pytest.raises(UsageError, match=f"reached; there is {known}$"):
        check_policy(PolicySpec(name="absent-1", engine="hf"), TASKS["builtin"]().defaults)


def test_a_name_in_the_hubs_cache_is_no_unknown_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: list[object]
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    snapshot = tmp_path / "models--nobody--prm" / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("a" * 40)
    for name in ("prm.json", "config.json"):
        shutil.copy(BUILTIN / "prm" / name, snapshot)
    assert find("nobody/prm").layout == find("builtin").layout
    (snapshot / "prm.json").unlink()
    with pytest.raises(UsageError, match="nobody/prm is no reward model of this kind"):
        find("nobody/prm")


def test_a_local_reward_model_is_read_without_transformers(here: Path) -> None:
    code = (
        "import sys\nfrom prm.reading.zoo import find\n"
        "find('builtin'), find('weak'), find('qwen-prm-7b')\n"
        "print(sorted({'torch', 'transformers', 'huggingface_hub'} & set(sys.modules)))"
    )
    import subprocess
    import sys

    from tests.commands import environment

    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert ran.stdout == "[]\n", ran.stderr


@pytest.mark.slow
def test_a_bad_option_is_refused_before_a_tokenizer_is_read(here: Path) -> None:
    begin = time.monotonic()
    process = start(["--engine", "hf", "--resume", "--prm", "weak"], here)
    _, err = process.communicate()
    assert process.returncode == 2 and "--resume needs --out" in err
    assert time.monotonic() - begin < 15


# -- aggregates ----------------------------------------------------------------------------------------


def test_process_models_multiply_and_outcome_models_take_the_last_value() -> None:
    values = (0.0, 0.9)
    assert layout_from({}, "prm.json").solution_value(values) == 0
    assert layout_from({"kind": "outcome"}, "prm.json").solution_value(values) == 0.9
    assert layout_from({"kind": "outcome", "aggregate": "min"}, "prm.json").solution_value(values) == 0.9
    assert layout_from({"aggregate": "last"}, "prm.json").solution_value(values) == 0.9
    for name in bundled.PRMS:
        fields = json.loads((bundled.PRMS[name] / "prm.json").read_text())
        assert fields["aggregate"] == "product", "a reader of the file need not know the default"


@pytest.mark.parametrize("form", ["classes3", "classes2", "soft", "tokens", "outcome", "pairs"])
def test_a_newly_trained_model_says_how_its_values_are_aggregated(form: str) -> None:
    layout = layout_of(TrainRequest(form=form, base="x", data=(), out=Path("x")))  # type: ignore[arg-type]
    outcome = form in ("outcome", "pairs")
    assert layout.is_outcome == outcome
    assert layout.aggregate == (None if outcome else "product")
    assert layout.solution_aggregate == ("last" if outcome else "product")


@pytest.mark.slow
def test_a_wrong_first_step_makes_a_bad_solution(tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(json.dumps({"question": QUESTION, "solution": "\n".join(STEPS)}) + "\n")
    assert score([str(source), "--prm", "builtin", "--out", str(out)]) == 0
    row = json.loads(out.read_text())
    assert row["judgements"][0]["negative"] > 0.9
    assert row["score"] < 0.1


def test_a_resolved_reward_model_says_how_it_is_read(tmp_path: Path) -> None:
    task = TASKS["builtin"]()

    def resolved(name: str) -> tuple[object, bool]:
        prm = resolve_prm(PRMSpec(name=name, engine="hf"), task, None)
        return prm.aggregate, prm.is_outcome

    assert resolved("builtin") == ("product", False)
    assert resolved("math-shepherd") == ("min", False)
    assert resolved("eurus-rm-7b") == ("last", True)
    tests = resolve_prm(PRMSpec(name="tests", engine="hf"), TASKS["builtin-code"](), None)
    assert (tests.aggregate, tests.is_outcome) == (None, False)


# -- models that were not made for each other ----------------------------------------------------------

WARNED = {
    "own policy": ("builtin", "builtin", "other", "it was trained on the built-in policy's steps"),
    "own policy, weak": ("builtin", "weak", "other", "it was trained on the built-in policy's steps"),
    "own problems": ("jsonl", "builtin", "builtin", "its scores mean nothing on the task jsonl"),
    "gsm8k": ("gsm8k", "weak", "other", "its scores mean nothing on the task gsm8k"),
    "programs for words": ("builtin", "builtin-code", "builtin", "it was trained on generated programs only"),
    "words for programs": ("builtin-code", "builtin", "builtin-code", "generated arithmetic stories only"),
    "code": ("humaneval", "builtin-code", "other", "its scores mean nothing on the task humaneval"),
    "tests too": ("builtin-code", "tests+builtin", "builtin-code", "generated arithmetic stories only"),
    "mathematics for programs": ("mbpp", "qwen-prm-7b", "other", "it was trained on mathematics"),
    "own code model": ("gsm8k", "code.yaml", "other", "it was trained on programs"),
    "a member": ("gsm8k", "ensemble.yaml", "other", "its scores mean nothing on the task gsm8k"),
}
FINE = {
    "built-in": ("builtin", "builtin", "builtin"), "weak": ("builtin", "weak", "builtin"),
    "built-in code": ("builtin-code", "tests+builtin-code", "builtin-code"),
    "tests": ("humaneval", "tests", "other"),
    "public model": ("gsm8k", "qwen-prm-7b", "other"), "for programs": ("mbpp", "code.yaml", "other"),
    "general": ("mbpp", "eurus-rm-7b", "other"), "unknown": ("mbpp", "unknown.yaml", "other"),
}  # fmt: skip


def warnings(here: Path, task_name: str, prm: str, policy: str) -> tuple[str, ...]:
    shutil.copytree(BUILTIN / "policy", here / "other", dirs_exist_ok=True)
    (here / "code.yaml").write_text("model: x/y\ndomain: code\nlabels: [positive]\n")
    (here / "unknown.yaml").write_text("model: x/y\nlabels: [positive]\n")
    (here / "ensemble.yaml").write_text("members: [builtin, weak]\n")
    task = TASKS[task_name]()
    prompt = {"prompt": "few-shot"} if task_name == "gsm8k" else {}
    resolved = resolve_policy(PolicySpec(name=policy, engine="hf", **prompt), task, [])  # type: ignore[arg-type]
    return mismatches(resolved, resolve_prm(PRMSpec(name=prm, engine="hf"), task, "hf"), task)


@pytest.mark.parametrize("case", WARNED)
def test_a_reward_model_that_was_made_for_something_else_gets_one_line(case: str, here: Path) -> None:
    task, prm, policy, reason = WARNED[case]
    [warning] = warnings(here, task, prm, policy)
    assert warning.startswith(f"reward model {prm.removeprefix('tests+')}: ") and reason in warning
    assert "\n" not in warning


@pytest.mark.parametrize("case", FINE)
def test_a_reward_model_that_fits_gets_none(case: str, here: Path) -> None:
    task, prm, policy = FINE[case]
    assert warnings(here, task, prm, policy) == ()


@pytest.mark.slow
def test_a_run_prints_its_warning_once(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(BUILTIN / "policy", here / "other")
    words = ["--engine", "hf", "--limit", "1", "--strategy", "best_of_n", "--set", "n=1"]
    for more, warned in (([], 0), (["--policy", "other"], 1), (["--policy", "other", "--prm", "weak"], 1)):
        assert main([*words, *more, "--out", f"run{len(more)}"]) == 0
        assert capfd.readouterr().err.count("warning: reward model ") == warned


def test_zoo_models_of_one_family_have_one_domain() -> None:
    assert {find(name).layout.domain for name in FAMILIES} == {"math", ""}
