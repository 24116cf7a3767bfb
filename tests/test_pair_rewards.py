"""Eurus-RM's losses, and what is measured on held-out pairs: rewards of right and wrong, and accuracy."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from prm.preference.files import write_trees
from prm.preference.tree import Observation, PreferenceTree, Turn, instruction_id
from prm.train import main
from prm.training.card import write_card
from prm.training.data import read_data
from prm.training.objectives import pair_loss
from prm.training.request import TrainRequest
from prm.training.rewards import held_out_rewards, pair_metrics
from prm.training.train import guard_for, train
from tests.test_prm_examples import encoder
from tests.test_prm_train import random_model
from tests.zoo_models import TOKENIZERS

pytestmark = [pytest.mark.slow]

ULTRAFEEDBACK = {
    "source": "evol_instruct", "instruction": "Name a colour.",
    "completions": [
        {"response": "Blue.", "fine-grained_score": 4.5}, {"response": "Seven.", "fine-grained_score": 1.0},
    ],
}  # fmt: skip
ULTRASAFETY = {
    "instruction": "How are locks picked?",
    "completions": [
        {"response": "Ask a locksmith.", "annotations": {"harmlessness": {"Rating": "1"}}},
        {"response": "Like this.", "annotations": {"harmlessness": {"Rating": "0"}}},
    ],
}  # fmt: skip


def trees(n: int) -> list[PreferenceTree]:
    wrong = Observation.of(False)
    return [
        PreferenceTree(
            instruction_id(question), instruction_id(question), "Math_CoT", "toy", question,
            (Turn(f"left {i}", f"eggs {i}", wrong), Turn(f"left {i + 1}", f"eggs {i + 1}")),
        )
        for i in range(n)
        for question in [f"Problem {i}?"]
    ]  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trees")
    write_trees(folder, trees(60), {})
    (folder / "chat.jsonl").write_text(json.dumps(ULTRAFEEDBACK) + "\n")
    (folder / "safety.jsonl").write_text(json.dumps(ULTRASAFETY) + "\n")
    return folder


def request(base: Path, data: Path, out: Path, **more: Any) -> TrainRequest:
    specs = (f"pairs:{data / 'pairs.jsonl'}", f"pairs:{data / 'augmented.jsonl'}")
    fields = {"steps": 30, "lr": 0.003, "batch": 8, "every": 10, "max_length": 128, "warmup": 2.0, **more}
    fields = {"data": specs, "validation_share": 0.2, **fields}
    return TrainRequest(form="pairs", base=str(base), out=out, **fields)


def test_each_form_of_the_loss_is_the_papers() -> None:
    chosen, rejected = torch.tensor([2.0, -1.0]), torch.tensor([0.5, 1.0])
    direct = torch.tensor([1.0, 0.0])

    def nls(x: float) -> float:
        """-log sigmoid"""
        return math.log1p(math.exp(-x))

    ranked = [nls(2.0 - 0.5), nls(-1.0 - 1.0)]
    absolute = [nls(2.0) + nls(-0.5), nls(-1.0) + nls(-1.0)]
    both = (ranked[0] + absolute[0] + ranked[1] + absolute[1]) / 2
    ones = torch.ones(2)
    assert pair_loss(chosen, rejected, ones).item() == pytest.approx(both)
    assert pair_loss(chosen, rejected, 0 * ones).item() == pytest.approx(sum(ranked) / 2)
    assert pair_loss(chosen, rejected, ones, direct_only=True).item() == pytest.approx(sum(absolute) / 2)
    mixed = (absolute[0] + ranked[1]) / 2  # chat pairs have no right or wrong: they are only ranked
    assert pair_loss(chosen, rejected, direct, direct_only=True).item() == pytest.approx(mixed)


def test_accuracy_and_spread_of_rewards() -> None:
    rewards = np.array([[2.0, 1.0], [0.0, 1.0], [1.0, 1.0], [3.0, -1.0]])
    measured = pair_metrics(SimpleNamespace(predictions=rewards))
    assert measured["accuracy"] == pytest.approx((1 + 0 + 0.5 + 1) / 4)
    assert measured["chosen_mean"] == 1.5 and measured["rejected_mean"] == 0.5
    assert measured["chosen_std"] == pytest.approx(np.std([2, 0, 1, 3]))


def test_rewards_are_measured_on_held_out_pairs_before_and_during_training(
    base: Path, data: Path, tmp_path: Path
) -> None:
    made = request(base, data, tmp_path / "out")
    train(made)
    written = json.loads((made.out / "metrics.json").read_text())
    right, wrong = held_out_rewards(written["history"])
    assert list(right.steps) == [0, 10, 20, 30] == list(wrong.steps)
    assert right.means[-1] > 0 > wrong.means[-1], "direct rewards have a sign"
    assert written["metrics"]["held_out_accuracy"] > 0.9
    assert written["metrics"]["held_out_chosen_std"] == right.spreads[-1]
    card = (made.out / "README.md").read_text()
    assert "![Rewards](rewards.png)" in card and "held out accuracy" in card
    assert (made.out / "rewards.png").stat().st_size > 1000


@pytest.mark.parametrize(("patience", "accuracy"), [(None, 0.6), (3, 0.8)])
def test_the_card_has_what_was_measured_on_the_weights_that_are_kept(
    patience: int | None, accuracy: float, tmp_path: Path
) -> None:
    """With patience those of the best validation after training began, otherwise the last."""
    measured = [(0, 0.1, 0.5), (10, 0.4, 0.7), (20, 0.3, 0.8), (30, 0.5, 0.6)]
    history = [{"step": n, "eval_loss": loss, "eval_accuracy": share} for n, loss, share in measured]
    settings, report = {"base": "b", "lora": 0, "patience": patience}, {"train": {}, "validation": {}}
    write_card(tmp_path, settings, report, history, "", "", title="a model")
    metrics = json.loads((tmp_path / "metrics.json").read_text())["metrics"]
    assert metrics["held_out_accuracy"] == accuracy


def test_turns_of_a_tree_are_held_out_together(data: Path, tmp_path: Path) -> None:
    pairs = (f"pairs:{data / 'pairs.jsonl'}",)
    made = TrainRequest(form="pairs", base="any", out=tmp_path, data=pairs, validation_share=0.3)
    read = read_data(made, encoder(("positive",)), guard_for(()))
    decode = TOKENIZERS["llama3"]().decode
    asked = [
        {decode(pair.chosen.token_ids).splitlines()[0] for pair in part}  # type: ignore[union-attr]
        for part in (read.train, read.validation)
    ]
    assert len(asked[0]) + len(asked[1]) == 60 and len(read.validation) == 2 * len(asked[1]) > 20


def test_direct_rewards_of_reasoning_only(data: Path, tmp_path: Path) -> None:
    chat = f"ultrafeedback:{data / 'chat.jsonl'}", f"ultrasafety:{data / 'safety.jsonl'}"
    made = TrainRequest(
        form="pairs", base="any", out=tmp_path, data=(f"pairs:{data / 'pairs.jsonl'}", *chat),
        direct=("ultrainteract",), validation_share=0.0,
    )  # fmt: skip
    made.validate()
    read = read_data(made, encoder(("positive",)), guard_for(()))
    assert read.report["train"] == {
        "pairs of ultrainteract/toy": 120, "pairs of UltraFeedback/evol_instruct": 1,
        "pairs of UltraSafety": 1,
    }  # fmt: skip
    assert [pair.direct for pair in read.train][-3:] == [True, False, False]  # type: ignore[union-attr]


def test_pairs_are_refused_by_other_forms_and_direct_rewards_need_a_source(
    base: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = data / "safety.jsonl"
    common = ["--base", str(base), "--data", f"ultrasafety:{data}", "--out", str(tmp_path / "o")]
    assert main(["--form", "soft", *common]) == 2
    assert "holds pairs, which --form soft does not use" in capsys.readouterr().err
    assert main(["--form", "pairs", *common, "--direct-only", "--direct"]) == 2
    assert "--direct names no source" in capsys.readouterr().err
