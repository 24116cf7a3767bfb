"""What training reads: pairs, rows left out, warnings about the data, the template around the question."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.runner.pairing import mismatches
from bench.runner.resolve import resolve_policy, resolve_prm
from bench.runner.specs import PolicySpec, PRMSpec
from bench.tasks import TASKS
from prm.data.guard import Guard
from prm.data.labels import LabelledSolution, write_labels
from prm.data.pairs import Pair, pairs_of
from prm.reading.encoder import Encoder
from prm.reading.layout import Layout, read_layout, save_layout
from prm.reading.template import Template
from prm.train import main, request_from
from prm.training.data import read_data
from prm.training.domain import domain_of
from prm.training.folder import bad_folder
from prm.training.question import question_template, trained_template
from prm.training.request import layout_of
from prm.training.train import train
from search.errors import UsageError
from search.policies.stepping import encode_prompt
from search.prompts import Prompt
from tests.test_prm_examples import encoder, solution
from tests.test_prm_train import fit, random_model, request, words
from tests.zoo_models import TOKENIZERS

pytestmark = [pytest.mark.slow]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_model(tmp_path_factory.mktemp("base"))


def test_pairs_are_of_one_question_and_direct_by_source(base: Path, tmp_path: Path) -> None:
    records = [solution(n, [1], outcome=True) for n in (1, 1, 2)]
    records += [solution(n, [-1], outcome=False) for n in (1, 3)]
    assert [(p.question, p.chosen, p.rejected) for p in pairs_of(records)] == [
        ("Problem 1?", ("left 1",), ("eggs 1",))]  # fmt: skip
    path = tmp_path / "labels.jsonl"
    write_labels(path, records)
    for direct, want in (((), False), (("toy",), True), (("all",), True)):
        made = request(base, path, tmp_path, "pairs", validation_share=0.0, direct=direct)
        read = read_data(made, encoder(("positive",)), Guard.known())
        assert [pair.direct for pair in read.train] == [want]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("n_right", "n_wrong"), [(3, 2), (2, 3), (1, 4), (4, 1), (3, 3), (2, 9), (5, 4), (7, 2), (4, 2)]
)
def test_pairs_are_distinct_and_use_every_solution(n_right: int, n_wrong: int) -> None:
    def of(outcome: bool, n: int) -> list[LabelledSolution]:
        return [replace(solution(1, [1]), steps=(f"{outcome} {i}",), outcome=outcome) for i in range(n)]

    pairs = list(pairs_of([*of(True, n_right), *of(False, n_wrong), *of(True, n_right)]))
    assert len(pairs) == len(set(pairs)) == min(9, n_right * n_wrong)
    right, wrong = Counter(pair.chosen for pair in pairs), Counter(pair.rejected for pair in pairs)
    for used, n in ((right, n_right), (wrong, n_wrong)):
        assert len(used) == n and max(used.values()) - min(used.values()) <= 1


def test_odd_rows_are_left_out_and_listed_unless_that_is_refused(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "labels.jsonl", tmp_path / "out"
    write_labels(path, [solution(n, [1, -1, 0]) for n in range(40)])
    path.write_text('{"problem": "no steps"}\n' + path.read_text())
    made = request(base, path, out, "classes3", steps=1, strict=True)
    assert main(words(made)) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {path}, line 1: no field 'steps'; a row of format labels looks like")
    assert not out.exists()
    train(replace(made, strict=False))
    reason = "no field 'steps'"
    listed = f"rows left out: 1 of 41 of {path}\n  1 x {reason} (first: {path}, line 1: {reason})"
    assert listed in capsys.readouterr().out
    assert listed in (out / "README.md").read_text()
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["data"]["rows_left_out"] == {str(path): {reason: 1}}
    path.write_text('{"prompt": "P", "chosen": "a", "rejected": "b"}\n{"prompt": "P", "chosen": "a"}\n')
    pairs = request(base, Path(f"pairs:{path}"), out, "pairs", validation_share=0.0)
    read = read_data(pairs, encoder(("positive",)), Guard.known())
    assert len(read.train) == 1 and bool(read.left_out)
    with pytest.raises(UsageError, match="line 2: no field 'rejected'"):
        read_data(replace(pairs, strict=True), encoder(("positive",)), Guard.known())


@pytest.mark.parametrize("prompt", [None, 7, " ", [{"role": "user", "content": "P"}]])
def test_pairs_whose_question_is_no_text_are_left_out(prompt: object, tmp_path: Path) -> None:
    path, sides = tmp_path / "pairs.jsonl", {"chosen": "a", "rejected": "b"}
    path.write_text("".join(json.dumps({"prompt": given, **sides}) + "\n" for given in ("P", prompt)))
    made = request(Path("m"), Path(f"pairs:{path}"), tmp_path, "pairs", validation_share=0.0)
    read = read_data(made, encoder(("positive",)), Guard.known())
    assert len(read.train) == 1
    assert "line 2: TypeError: the question must be text" in read.left_out.describe()


def test_pairs_are_kept_from_test_problems_behind_ultrainteracts_lines(tmp_path: Path) -> None:
    def row(problem: str) -> dict[str, Any]:
        lines = (
            "Solve the following math problem step-by-step.\nSimplify your answer as much as possible. "
            "Present your final answer as \\boxed{Your Answer}."
        )
        said = [f"{lines}\n{problem}", "It is 5.", "Your answer is wrong."]
        turns = [{"from": "user" if n % 2 == 0 else "assistant", "value": s} for n, s in enumerate(said)]
        return {"trajectory": turns, "chosen": "It is 7.", "rejected": "It is 6.", "dataset": "MATH"}

    path = tmp_path / "pairs.jsonl"
    of_math500 = "Compute $\\dbinom{31}{28}$."
    path.write_text("".join(json.dumps(row(text)) + "\n" for text in ("What is 3 + 4?", of_math500)))
    made = request(Path("m"), Path(f"pairs:{path}"), tmp_path, "pairs", validation_share=0.0)
    read = read_data(made, encoder(("positive",)), guard := Guard.known())
    assert guard.dropped == {of_math500: "MATH-500: same text"} and len(read.train) == 1


@pytest.mark.parametrize(
    ("form", "labels", "warnings"),
    [
        ("classes3", [1, 0, -1], []),
        ("classes3", [1, 1, -1], ["'neutral'"]),
        ("classes2", [0, 1, 1], ["'negative'"]),
        ("tokens", [1, 1, 1], ["'-'"]),
        ("soft", [1, 1, 1], ["below 0.5"]),
        ("outcome", [1, 1, 1], ["'negative'"]),
    ],
)
def test_a_class_without_labels_is_said(
    form: Any, labels: list[int], warnings: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "labels.jsonl"
    values = tuple(0.9 if label >= 0 else 0.1 for label in labels)
    write_labels(path, [solution(n, labels, values=values, outcome=-1 not in labels) for n in range(150)])
    made = request(Path("m"), path, tmp_path / "out", form, class_weights="none")
    layout = layout_of(made, "{question}\n")
    read = read_data(made, Encoder(layout, TOKENIZERS["llama3"]()), Guard.known())
    assert len(read.warnings) == len(warnings)
    for warning, what in zip(read.warnings, warnings, strict=True):
        assert warning.startswith("none of the ") and f" labels is {what}" in warning


def test_absurdly_few_labels_are_said_and_the_card_has_the_loss(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "labels.jsonl"
    write_labels(path, [solution(n, [1, -1]) for n in range(3)])
    out = fit(base, path, tmp_path / "out", "classes3", steps=2, validation_share=0.0)
    lines = capsys.readouterr().err.splitlines()
    few = "there are only 6 labels to train on; a model learns little from fewer than 100"
    absent = "none of the 6 labels is 'neutral': the model cannot learn to tell it apart"
    said = [line.removeprefix("warning: ") for line in lines if line.startswith("warning: ")]
    assert said == [few, absent]
    card, metrics = (out / "README.md").read_text(), json.loads((out / "metrics.json").read_text())
    assert few in card and absent in card and "| train loss | None |" not in card
    losses = [row["loss"] for row in metrics["history"] if "loss" in row]
    assert len(losses) == 2 and metrics["metrics"]["train_loss"] == losses[-1] > 0


# -- what the model is for -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origins", "domain"),
    [
        (
            [("prm800k/phase2", "human"), ("math-shepherd/MATH", "rollouts"), ("rollouts/gsm8k", "rollouts")],
            "math",
        ),
        ([("mbpp", "mutation"), ("ours", "mutation"), ("rollouts/humaneval", "rollouts")], "code"),
        ([("prm800k/phase1", "human"), ("mbpp", "mutation")], ""),
        ([("math", "reference"), ("ours", "human")], ""),
    ],
)
def test_the_domain_is_the_one_all_records_share(origins: list[tuple[str, str]], domain: str) -> None:
    solutions = [replace(solution(1, [1]), source=name, produced_by=how) for name, how in origins]
    assert domain_of(solutions) == domain
    assert domain_of([Pair("?", ("a",), ("b",), "mbpp")]) == "code"


def test_a_model_trained_on_programs_is_not_for_texts(base: Path, tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    write_labels(path, [replace(solution(n, [1, -1]), produced_by="mutation") for n in range(3)])
    out = fit(base, path, tmp_path / "out", "classes3", steps=1, validation_share=0.0)
    task = TASKS["builtin"]()
    policy = resolve_policy(PolicySpec(name="builtin", engine="hf"), task, [])
    [warning] = mismatches(policy, resolve_prm(PRMSpec(name=str(out), engine="hf"), task, "hf"), task)
    assert "it was trained on programs" in warning


# -- the question's template -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llama3", "qwen", "skywork"])
def test_the_template_of_a_chat_model_is_its_policys_prompt(name: str, tmp_path: Path) -> None:
    tokenizer = TOKENIZERS[name]()
    template = question_template(str(tmp_path), tokenizer)
    [ids] = Encoder(Layout(Template(template)), tokenizer)("What is {1} + 1?", [])
    prompt = encode_prompt(tokenizer, Prompt("{question}", chat=True), "What is {1} + 1?")
    assert tuple(ids) == prompt.token_ids


def test_the_template_is_the_bases_own_or_the_one_it_was_trained_with(tmp_path: Path) -> None:
    tokenizer = TOKENIZERS["sentencepiece"]()
    assert question_template(str(tmp_path), tokenizer) == "{question}\n"
    (tmp_path / "train.json").write_text('{"base": "x", "form": "sft", "question": "Q: {question}\\n"}')
    assert question_template(str(tmp_path), tokenizer) == "Q: {question}\n"
    (tmp_path / "train.json").write_text('{"base": "x", "form": "sft"}')  # from before there was a choice
    assert question_template(str(tmp_path), TOKENIZERS["qwen"]()) == "{question}\n"
    save_layout(Layout(Template("P: {question}")), tmp_path)
    assert question_template(str(tmp_path), tokenizer) == "P: {question}"


def test_a_policy_trained_with_its_chat_template_is_still_prompted_with_it(tmp_path: Path) -> None:
    tokenizer = TOKENIZERS["qwen"]()
    for name, kind in (("train.json", "form"), ("tune.json", "method")):
        own = question_template(str(tmp_path / "none"), tokenizer)
        (tmp_path / name).write_text(json.dumps({"base": "x", kind: "sft", "question": own}))
        assert trained_template(str(tmp_path), tokenizer) is None
        (tmp_path / name).write_text(json.dumps({"base": "x", kind: "sft", "question": "{question} = "}))
        assert trained_template(str(tmp_path), tokenizer) == "{question} = "
        (tmp_path / name).unlink()
    assert trained_template(str(tmp_path), tokenizer) is None


@pytest.mark.parametrize(
    "text",
    ["[1, 2]", '{"question": "Why?"}\n{"question": "How?"}', '{"question": "Why?"}', '{"epochs": 3}', ""],
)
def test_training_data_beside_a_policy_is_no_record_of_its_training(text: str, tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text(text)
    assert trained_template(str(tmp_path), TOKENIZERS["qwen"]()) is None


def test_a_policy_of_several_turns_is_prompted_by_its_chat_template(tmp_path: Path) -> None:
    folder = random_model(tmp_path / "policy", chat=True)
    (folder / "train.json").write_text('{"base": "x", "form": "sft", "question": "{question} = "}')
    spec, task = PolicySpec(name=str(folder), engine="hf"), TASKS["gsm8k"]()
    assert resolve_policy(spec, task, []).prompt == Prompt("{question} = ")
    assert resolve_policy(spec, task, [], turns=True).prompt.chat


def test_a_run_from_before_an_option_was_there_is_resumed_with_its_default(tmp_path: Path) -> None:
    path, now = tmp_path / "train.json", {"lr": 1.0, "top_layers": 0}
    path.write_text('{"lr": 1.0}')
    defaults = {"top_layers": 0, "lr": 1e-5}
    assert not list(bad_folder(path, now, True, defaults=defaults))
    [fault] = bad_folder(path, {**now, "top_layers": 4}, True, defaults=defaults)
    assert fault.endswith("has top_layers=0, not 4")


def test_the_template_can_be_given_and_is_kept(tmp_path: Path) -> None:
    base, data = random_model(tmp_path / "chat", chat=True), tmp_path / "labels.jsonl"
    write_labels(data, [solution(n, [1, 0] if n % 2 else [1, -1, 0]) for n in range(40)])
    fields = {"steps": 1, "max_length": 256}
    chat = fit(base, data, tmp_path / "a", "classes3", **fields)
    assert "<|start_header_id|>user" in read_layout(str(chat)).template.question
    assert "<|begin_of_text|>" not in read_layout(str(chat)).template.question, "it would be there twice"
    tuned = fit(base, data, tmp_path / "b", "sft", question_template="Q: {question}\nA: ", **fields)
    out = fit(tuned, data, tmp_path / "c", "classes3", **fields)
    assert read_layout(str(out)).template.question == "Q: {question}\nA: "
    searched = resolve_policy(PolicySpec(name=str(tuned), engine="hf"), TASKS["gsm8k"](), [])
    assert searched.prompt == Prompt("Q: {question}\nA: ")
    asked = resolve_policy(PolicySpec(name=str(tuned), engine="hf", prompt="chat"), TASKS["gsm8k"](), [])
    assert asked.prompt.chat
    made = request(base, data, tmp_path / "d", "classes3", question_template="{question}\n\n")
    typed = [r"{question}\n\n" if word == "{question}\n\n" else word for word in words(made)]
    assert request_from(typed) == request_from(words(made)) == made
    with pytest.raises(UsageError, match=r"--question-template: must contain \{question\} exactly once"):
        fit(base, data, tmp_path / "e", "classes3", question_template="Q:")
