"""What policies are tuned on: which tokens bear loss, KTO's order, the guard, and requests. Needs no TRL."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from prm.command_line import command_line
from prm.data.guard import Guard
from prm.preference.files import write_trees
from prm.preference.tree import Observation, PreferenceTree, Turn, instruction_id
from prm.training.data import read_data as read_training_data
from prm.training.request import TrainRequest
from prm.tune import main, request_from
from prm.tuning import tune as tuning
from prm.tuning.data import kto_rows, read_data, sft_columns
from prm.tuning.request import TuneRequest
from prm.tuning.tokens import CHAT, IGNORED, Messages, prompt_for, shown
from search.errors import UsageError
from search.policies.stepping import encode_conversation
from search.prompts import Conversation, Prompt
from search.prompts import Turn as Said
from tests.test_prm_data import GSM8K_TEST
from tests.test_prm_examples import encoder
from tests.zoo_models import TOKENIZERS

OBSERVED = Observation.of(False, output="7\n", critique="Count again.")


def tree(question: str, *turns: Turn) -> PreferenceTree:
    id_ = instruction_id(question)
    return PreferenceTree(id_, id_, "Math_CoT", "toy", question, turns)


def two_turns(n: int) -> PreferenceTree:
    return tree(f"What is {n} + 1?", Turn(f"It is {n + 1}.", f"It is {n}.", OBSERVED), Turn(f"{n + 1}", "no"))


def messages(name: str, *, chat: bool) -> Messages:
    tokenizer = TOKENIZERS[name]()
    return Messages.of(tokenizer, prompt_for("no folder", tokenizer, None if chat else "Q: {question}\n"))


def request(folder: Path, method: Any = "dpo", **more: Any) -> TuneRequest:
    fields = {"data": (str(folder),), "base": "any", "out": folder / "out", "validation_share": 0.0, **more}
    return TuneRequest(method=method, **fields)


def read(folder: Path, method: Any = "dpo", *, name: str = "qwen", **more: Any) -> Any:
    return read_data(request(folder, method, **more), messages(name, chat=True), Guard.known())


# -- which tokens bear loss ----------------------------------------------------------------------------


def masks(name: str, chat: bool) -> str:
    """The mask of the second turn's right action, as text."""
    trajectory = ["What is 6 + 1?", "It is 6.", OBSERVED.text]
    made = messages(name, chat=chat)
    columns = sft_columns({"prompt_ids": made.read(trajectory), "chosen_ids": made.said("It is 7.")})
    return shown(made.tokenizer, columns["input_ids"], columns["labels"])


def test_the_policys_own_tokens_alone_bear_loss() -> None:
    observed = "Out: 7\n\nYour answer is wrong.\nCount again."
    chat, plain = masks("qwen", True), masks("qwen", False)
    print(chat, plain, sep="\n")
    read = (
        "<|im_start|>user\nWhat is 6 + 1?<|im_end|>\n<|im_start|>assistant\nIt is 6.<|im_end|>\n"
        f"<|im_start|>user\n{observed}<|im_end|>\n<|im_start|>assistant\n"
    )
    assert chat == f"-    {read!r}\nloss 'It is 7.<|im_end|>'"
    asked = f"Q: What is 6 + 1?\nIt is 6.\n{observed}\n"
    assert plain == f"-    {asked!r}\nloss 'It is 7.<|endoftext|>'"


@pytest.mark.parametrize("name", ["qwen", "llama3", "skywork"])
def test_the_policy_reads_what_it_would_be_sent_as_a_conversation(name: str) -> None:
    made = messages(name, chat=True)
    turns = Said("user", "What is 6 + 1?"), Said("assistant", "It is 6.")
    asked = Conversation("", "", prompt=CHAT, text=OBSERVED.text, turns=turns)
    sent = encode_conversation(made.tokenizer, asked)
    assert made.tokenizer.decode(made.read(["What is 6 + 1?", "It is 6.", OBSERVED.text])) == sent.text


@pytest.mark.parametrize("name", list(TOKENIZERS))
def test_an_action_is_its_own_tokens_wherever_it_stands(name: str) -> None:
    """Sampled tokens decode to the text; a tokenizer that puts spaces before texts does not shift it."""
    made = messages(name, chat=False)
    for action in ("It is 7.", " 7", "def f(n):\n    return n\n", "<|im_end|> is text"):
        ids = made.said(action)
        assert made.tokenizer.decode(made.read(["6"]) + ids[:-1]).endswith("Q: 6\n" + action)
        assert ids[-1] == made.end and made.end not in ids[:-1]


def test_a_template_that_takes_one_question_makes_one_text() -> None:
    """As the built-in policy's does, which reads the last message only."""
    tokenizer = TOKENIZERS["qwen"]()
    tokenizer.chat_template = "{{ 'Question: ' + messages[-1]['content'] + '\n' }}"
    assert prompt_for("no folder", tokenizer, None) == Prompt("Question: {question}\n")
    tokenizer.eos_token = None
    with pytest.raises(UsageError, match="no end token"):
        Messages.of(tokenizer, Prompt())


# -- data sets -----------------------------------------------------------------------------------------


def test_sft_has_right_actions_without_history_and_pairs_have_theirs(tmp_path: Path) -> None:
    write_trees(tmp_path, [two_turns(6)], {})
    made = messages("qwen", chat=True)
    alone = made.read(["What is 6 + 1?"])
    sft = read(tmp_path, "sft").train
    assert sft["input_ids"] == [alone + made.said("It is 7."), alone + made.said("7")]
    assert sft["labels"] == [[IGNORED] * len(alone) + made.said(text) for text in ("It is 7.", "7")]
    first, second = read(tmp_path).train
    assert first == {
        "prompt_ids": alone, "chosen_ids": made.said("It is 7."), "rejected_ids": made.said("It is 6.")
    }  # fmt: skip
    assert second["prompt_ids"] == made.read(["What is 6 + 1?", "It is 6.", OBSERVED.text])
    assert len(read(tmp_path, turns=1).train) == 1


def test_sft_with_history_learns_right_actions_after_what_led_to_them(tmp_path: Path) -> None:
    write_trees(tmp_path, [two_turns(6)], {})
    made = messages("qwen", chat=True)
    data = read(tmp_path, "sft", history=True)
    read_first = [made.read(["What is 6 + 1?"]), made.read(["What is 6 + 1?", "It is 6.", OBSERVED.text])]
    said = [made.said("It is 7."), made.said("7")]
    assert data.train["input_ids"] == [before + right for before, right in zip(read_first, said, strict=True)]
    assert data.train["labels"] == [
        [IGNORED] * len(before) + right for before, right in zip(read_first, said, strict=True)
    ]
    assert data.report["train"]["right actions of turn 2"] == 1


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    long = tree("What is 9 + 1?", Turn("10 " * 200, "9"))
    write_trees(tmp_path, [two_turns(6), long, tree(GSM8K_TEST, Turn("18", "19"))], {})
    with (tmp_path / "pairs.jsonl").open("a") as file:
        file.write('{"id": "cut o\n')
    data = read(tmp_path, max_length=120)
    assert data.report["train"] == {
        "pairs": 2, "pairs of toy": 2, "pairs of turn 1": 1, "pairs of turn 2": 1, "dropped, too long": 1
    }  # fmt: skip
    notes = "\n".join(data.notes)
    assert "1 overlap an evaluation set and are left out (1 GSM8K test: same text)" in notes
    assert "1 x not JSON" in notes and "there are only 2 examples" in notes
    with pytest.raises(UsageError, match="not JSON"):
        read(tmp_path, strict=True)
    with pytest.raises(UsageError, match=r"nothing is left .*3 dropped, too long"):
        read(tmp_path, max_length=10)


def test_instructions_are_held_out_whole(tmp_path: Path) -> None:
    write_trees(tmp_path, [two_turns(n) for n in range(40)], {})
    data = read(tmp_path, validation_share=0.3)
    of = [Counter(len(row["prompt_ids"]) for row in part) for part in (data.train, data.validation)]
    assert len(data.train) + len(data.validation) == 80
    for part in (data.train, data.validation):
        firsts = {tuple(row["prompt_ids"]) for row in part.select(range(0, len(part), 2))}
        assert all(any(tuple(row["prompt_ids"])[: len(f)] == f for f in firsts) for row in part)
    assert min(map(len, of)) > 1


def test_a_policy_and_the_reward_models_on_it_hold_out_the_same_instructions(tmp_path: Path) -> None:
    write_trees(tmp_path, [two_turns(n) for n in range(40)], {})
    data = read(tmp_path, "sft", validation_share=0.3)
    made = TrainRequest(
        form="pairs", base="any", out=tmp_path / "o", data=(f"pairs:{tmp_path}/pairs.jsonl",),
        validation_share=0.3,
    )  # fmt: skip
    of_rewards = read_training_data(made, encoder(("positive",)), Guard.known()).validation
    texts = [
        [TOKENIZERS["qwen"]().decode(ids) for ids in data.validation["input_ids"]],
        [TOKENIZERS["llama3"]().decode(pair.chosen.token_ids) for pair in of_rewards],  # type: ignore[union-attr]
    ]
    policy, reward = ({re.findall(r"What is \d+", text)[0] for text in part} for part in texts)
    assert policy == reward and 1 < len(policy) < 40


def test_every_batch_of_kto_has_both_sides_and_other_prompts_actions() -> None:
    pairs = [{"prompt_ids": [n], "chosen_ids": [n, 1], "rejected_ids": [n, 0]} for n in range(11)]
    rows = list(kto_rows(pairs, 4, seed=3))
    assert rows == list(kto_rows(pairs, 4, seed=3)) != list(kto_rows(pairs, 4, seed=4))
    for begin in range(0, len(rows), 8):
        block = rows[begin : begin + 8]
        assert [row["label"] for row in block] == [True] * (len(block) // 2) + [False] * (len(block) // 2)
        assert len({row["prompt_ids"][0] for row in block}) == len(block) // 2
    for row in rows:
        assert row["completion_ids"] == [row["prompt_ids"][0], int(row["label"])]
        assert row["KL_completion_ids"][0] != row["prompt_ids"][0]
        assert row["KL_completion_ids"][1] == int(row["label"])
    assert Counter(row["KL_completion_ids"][0] for row in rows) == dict.fromkeys(range(11), 2)


# -- requests ------------------------------------------------------------------------------------------


def test_a_command_line_and_its_request_stand_for_each_other() -> None:
    made = TuneRequest(
        method="kto", base="a model", data=("a", "sft:b.jsonl"), out=Path("out"), resume=True, turns=1,
        held_out=("X=x.jsonl",), strict=True, question_template="Q: {question}\n", beta=0.2, desirable=1.0,
        lr=1e-6, lora=8, bf16=True, steps=7,
    )  # fmt: skip
    words = shlex.split(command_line("prm.tune", made, options={"held_out": "--hold-out"}))[3:]
    assert request_from(words) == made
    least = request_from(["--method", "sft", "--base", "m", "--data", "d", "--out", "o"])
    assert least == TuneRequest(method="sft", base="m", data=("d",), out=Path("o"))


def test_the_defaults_are_the_papers() -> None:
    made = request(Path("d"), "kto")
    assert (made.beta, made.desirable, made.warmup, made.epochs, made.peak_lr) == (0.1, 1.33, 0.1, 1.0, 5e-7)
    assert request(Path("d"), "sft").peak_lr == 2e-5 and request(Path("d"), "sft", lr=1.0).peak_lr == 1.0


def test_everything_that_is_wrong_is_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "find_spec", lambda name: name)
    write_trees(tmp_path / "trees", [two_turns(6)], {"test_problems_of": ["builtin"]})
    trees = str(tmp_path / "trees")
    words = ["--method", "sft", "--base", "m", "--data", "nowhere", f"pairs:{trees}/pairs.jsonl", "--out",
             str(tmp_path / "o"), "--batch", "0", "--beta", "0", "--lr", "0", "--validation-share", "1",
             "--lora", "-1", "--warmup", "-0.5", "--epochs", "0",
             "--question-template", "none", "--hold-out", "nameless", "--resume"]  # fmt: skip
    assert main(words) == 2
    errors = capsys.readouterr().err.splitlines()
    named = ("--batch 0", "--lora -1: must be 0 or more", "--warmup -0.5: must be 0 or more",
             "--epochs 0.0: must be more than 0", "--validation-share 1", "--beta 0", "--lr 0",
             "--question-template", "nameless", "nowhere is neither",
             "holds test problems of the task builtin", "holds no right actions",
             "--resume: there is no run")  # fmt: skip
    assert len(errors) == len(named) and all(name in error for name, error in zip(named, errors, strict=True))


def test_what_to_install_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "find_spec", lambda name: None if name == "trl" else name)
    words = ["--method", "dpo", "--base", "m", "--data", "d", "--out", str(tmp_path)]
    assert main(words) == 2
    said = f"error: tuning needs trl: pip install 'prm-search[tune]' ({tuning.TRL})\n"
    assert capsys.readouterr().err == said
    project = (Path(__file__).parent.parent / "pyproject.toml").read_text()
    assert json.dumps(tuning.TRL) in project
