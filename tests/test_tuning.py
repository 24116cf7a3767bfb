"""Tuning with TRL: its losses against formulas written here, resuming, the command, and its own trainers."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import log_softmax, logsigmoid, sigmoid

pytest.importorskip("trl")
pytest.importorskip("peft")

from datasets import load_dataset
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import (
    DPOConfig,
    DPOTrainer,
    KTOConfig,
    KTOTrainer,
    RewardConfig,
    RewardTrainer,
    SFTConfig,
    SFTTrainer,
)

from prm.data.guard import Guard
from prm.preference.files import write_trees
from prm.preference.messages import pair_messages, sft_messages
from prm.training.trainer import StopOnSignal, last_checkpoint
from prm.tune import main
from prm.tuning import trainers
from prm.tuning.data import read_data
from prm.tuning.request import TuneRequest
from prm.tuning.tokens import Messages, prompt_for
from prm.tuning.tune import reward_curves, tune
from tests.test_prm_train import random_model
from tests.test_tuning_data import two_turns

pytestmark = [pytest.mark.slow]

SMALL = {"steps": 4, "batch": 4, "every": 2, "lr": 1e-3, "max_length": 250, "validation_share": 0.2}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_model(tmp_path_factory.mktemp("base"), chat=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trees")
    write_trees(folder, [two_turns(n) for n in range(20)], {})
    return folder


def request(base: Path, data: Path, out: Path, method: Any, **more: Any) -> TuneRequest:
    return TuneRequest(method=method, base=str(base), data=(str(data),), out=out, **{**SMALL, **more})


def tuned(*args: Any, **more: Any) -> Path:
    made = request(*args, **more)
    tune(made)
    return made.out


# -- losses --------------------------------------------------------------------------------------------


def log_probability(model: Any, prompt: list[int], said: list[int]) -> torch.Tensor:
    """Of the tokens of `said` after the prompt, summed; from the logits, one sequence at a time."""
    ids = torch.tensor([prompt + said])
    logits = log_softmax(model.forward(ids).logits[0].double(), -1)
    return torch.stack([logits[len(prompt) + n - 1, token] for n, token in enumerate(said)]).sum()


Ratio = Callable[[list[int], list[int]], torch.Tensor]


def sft(rows: Any, logp: Any, ratio: Ratio) -> torch.Tensor:
    """The mean over all tokens of all actions."""
    said = [
        ([i for i, label in zip(row["input_ids"], row["labels"], strict=True) if label == -100],
         [label for label in row["labels"] if label != -100])
        for row in rows
    ]  # fmt: skip
    return -sum(logp(*pair) for pair in said) / sum(len(own) for _, own in said)


def rewards(rows: Any, ratio: Ratio) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """beta log(pi / pi_ref) of both sides; Rafailov et al., section 5.1."""
    sides = [[ratio(row["prompt_ids"], row[side]) for side in ("chosen_ids", "rejected_ids")] for row in rows]
    return [(0.1 * right, 0.1 * wrong) for right, wrong in sides]


def dpo(rows: Any, logp: Any, ratio: Ratio) -> torch.Tensor:
    """Rafailov et al., equation 7."""
    return torch.stack([-logsigmoid(right - wrong) for right, wrong in rewards(rows, ratio)]).mean()


def nca(rows: Any, logp: Any, ratio: Ratio) -> torch.Tensor:
    """Chen et al., equation 11 for two answers."""
    return torch.stack([
        -logsigmoid(right) - 0.5 * logsigmoid(-right) - 0.5 * logsigmoid(-wrong)
        for right, wrong in rewards(rows, ratio)
    ]).mean()  # fmt: skip


def kto(rows: Any, logp: Any, ratio: Ratio) -> torch.Tensor:
    """Ethayarajh et al., equations 7 and 8: lambda of 1.33 for right actions and 1 for wrong ones."""
    apart = torch.stack([ratio(row["prompt_ids"], row["KL_completion_ids"]) for row in rows]).mean()
    divergence = apart.clamp(min=0).detach()
    losses = []
    for row in rows:
        own = ratio(row["prompt_ids"], row["completion_ids"])
        if row["label"]:
            losses.append(1.33 * (1 - sigmoid(0.1 * (own - divergence))))
        else:
            losses.append(1.0 * (1 - sigmoid(0.1 * (divergence - own))))
    return torch.stack(losses).mean()


@pytest.mark.parametrize(("method", "formula"), [("sft", sft), ("dpo", dpo), ("nca", nca), ("kto", kto)])
def test_losses_are_the_papers(
    method: str, formula: Any, base: Path, data: Path, tmp_path: Path
) -> None:
    made = request(base, data, tmp_path, method)
    tokenizer = AutoTokenizer.from_pretrained(base)
    read = read_data(made, Messages.of(tokenizer, prompt_for(str(base), tokenizer, None)), Guard.known())
    model, reference = (AutoModelForCausalLM.from_pretrained(base, dtype="float32") for _ in range(2))
    trainer = trainers.trainer_for(made, model, tokenizer, read, StopOnSignal())
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():  # away from the reference, so that no reward is 0
            weight += 0.05 * torch.randn_like(weight)
    policy = AutoModelForCausalLM.from_config(model.config)  # without what TRL changes in its model
    policy.load_state_dict(model.state_dict())
    rows = list(read.train.select(range(8 if method == "kto" else 4)))
    batch = trainer._prepare_inputs(trainer.data_collator([
        {name: row[name] for name in trainer.train_dataset.column_names} for row in rows
    ]))  # fmt: skip
    model.train()
    loss = trainer.compute_loss(model, batch)

    def logp(prompt: list[int], said: list[int]) -> torch.Tensor:
        return log_probability(policy, prompt, said)

    def ratio(prompt: list[int], said: list[int]) -> torch.Tensor:
        return logp(prompt, said) - log_probability(reference, prompt, said)

    expected = formula(rows, logp, ratio)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    loss.backward()
    expected.backward()
    name = "model.layers.0.self_attn.q_proj.weight"
    gradients = [dict(one.named_parameters())[name].grad for one in (model, policy)]
    assert torch.allclose(*gradients, atol=1e-5, rtol=1e-3)


# -- the command ---------------------------------------------------------------------------------------


def test_the_command_writes_a_policy_its_card_and_the_curves_of_its_rewards(
    base: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["--method", "dpo", "--base", str(base), "--data", str(data), "--out", str(out), "--lora", "4",
             "--steps", "4", "--batch", "4", "--every", "2", "--lr", "0.01", "--max-length", "250",
             "--validation-share", "0.2"]  # fmt: skip
    assert main(words) == 0
    shown = capsys.readouterr()
    assert "pairs of turn 2" in shown.out and "none overlaps an evaluation set" in shown.out
    assert "loss 'It is " in shown.out
    card, written = (out / "README.md").read_text(), json.loads((out / "metrics.json").read_text())
    assert "a policy tuned by DPO" in card and "![Rewards](rewards.png)" in card and "split guard" in card
    assert "trl 1." in card and written["command"].split()[3:5] == ["--method", "dpo"]
    curves = {curve.label: curve for curve in reward_curves(written["history"])}
    assert [list(curves[f"{side}, held out"].steps) for side in ("right", "wrong")] == [[2, 4], [2, 4]]
    for side in ("right", "wrong"):
        first, *_, last = curves[f"{side}, training"].means
        assert abs(first) < 1e-6 < abs(last), "the policy begins as its own reference"
    assert (out / "rewards.png").stat().st_size > 1000
    before, after = load_file(base / "model.safetensors"), load_file(out / "model.safetensors")
    name = "model.layers.0.self_attn.q_proj.weight"
    assert before.keys() == after.keys() and not torch.equal(before[name], after[name]), "LoRA is merged"
    assert json.loads((out / "config.json").read_text())["use_cache"]
    templates = [AutoTokenizer.from_pretrained(folder).chat_template for folder in (out, base)]
    assert templates[0] == templates[1]
    assert "{question}" in json.loads((out / "tune.json").read_text())["question"]


@pytest.mark.parametrize(("method", "more"), [("kto", {"lora": 2}), ("nca", {})])
def test_interrupted_and_resumed_ends_with_the_same_weights(
    method: str, more: dict[str, Any], base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = {**more, "validation_share": 0.0}
    whole = tuned(base, data, tmp_path / "whole", method, **more)
    kind = trainers.KTO if method == "kto" else trainers.DPO
    compute = kind.compute_loss

    def interrupted(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == 2:  # right after a checkpoint: the third step is finished and saved
            os.kill(os.getpid(), signal.SIGINT)
        return compute(self, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(kind, "compute_loss", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tuned(base, data, tmp_path / "out", method, **more)
    assert last_checkpoint(tmp_path / "out" / "checkpoints") == tmp_path / "out/checkpoints/checkpoint-3"
    out = tuned(base, data, tmp_path / "out", method, **more, resume=True)
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (out, whole))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


# -- TRL's own trainers --------------------------------------------------------------------------------

OWN = {
    "sft": (SFTTrainer, SFTConfig, "sft.jsonl", sft_messages),
    "dpo": (DPOTrainer, DPOConfig, "pairs.jsonl", pair_messages),
    "kto": (KTOTrainer, KTOConfig, "pairs.jsonl", pair_messages),
    "reward": (RewardTrainer, RewardConfig, "pairs.jsonl", pair_messages),
}


@pytest.mark.parametrize("name", list(OWN))
def test_our_files_load_with_datasets_and_train_in_trls_own_trainers(
    name: str, base: Path, data: Path, tmp_path: Path
) -> None:
    trainer_type, config_type, file, columns = OWN[name]
    rows = load_dataset("json", data_files=str(data / file), split="train", cache_dir=str(tmp_path / "cache"))
    rows = rows.map(columns, remove_columns=rows.column_names)
    config = config_type(
        output_dir=str(tmp_path), max_steps=1, per_device_train_batch_size=4, report_to="none", use_cpu=True,
        bf16=False, gradient_checkpointing=False, logging_steps=1, max_length=250, save_strategy="no",
    )  # fmt: skip
    trainer = trainer_type(str(base), args=config, train_dataset=rows)
    trainer.train()
    assert trainer.state.log_history[0]["loss"] > 0
    if name == "dpo":  # and it reads the tokens that we read; after the end token, a template may go on
        tokenizer = AutoTokenizer.from_pretrained(base)
        ours = Messages.of(tokenizer, prompt_for(str(base), tokenizer, None))
        whole = request(base, data, tmp_path, "dpo", validation_share=0.0)
        for theirs, own in zip(
            trainer.train_dataset, read_data(whole, ours, Guard.known()).train, strict=True
        ):
            for side in ("chosen_ids", "rejected_ids"):
                ids = own["prompt_ids"] + own[side]
                assert (theirs["prompt_ids"] + theirs[side])[: len(ids)] == ids
