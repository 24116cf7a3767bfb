"""What training refuses rather than ignores, and what it leaves out and counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from transformers import MistralConfig, MistralForCausalLM, TrainerControl, TrainerState

from prm.data.guard import Guard
from prm.data.labels import write_labels
from prm.preference.files import SUMMARY
from prm.reading.layout import Layout
from prm.reading.template import Template
from prm.training.arguments import on_one_gpu
from prm.training.data import read_data
from prm.training.examples import Examples
from prm.training.question import question_template
from prm.training.request import TrainRequest
from prm.training.train import build_objective
from prm.training.trainer import Patience
from search.errors import UsageError
from tests.test_prm_examples import encoder, solution
from tests.test_prm_train import request
from tests.zoo_models import TOKENIZERS, VOCABULARY

pytestmark = [pytest.mark.slow]


def pairs_file(path: Path, *numbers: int) -> Path:
    write_labels(path, [solution(n, [label], outcome=label > 0) for n in numbers for label in (1, -1)])
    return path


def pairs_request(tmp_path: Path, **more: Any) -> TrainRequest:
    data = pairs_file(tmp_path / "train.jsonl", *range(9))
    return request(Path("m"), data, tmp_path / "o", "pairs", **more)


def test_pairs_are_validated_on_the_data_that_are_given(tmp_path: Path) -> None:
    given = (str(pairs_file(tmp_path / "validation.jsonl", 20, 21)),)
    read = read_data(pairs_request(tmp_path, validation=given), encoder(("positive",)), Guard.known())
    assert (len(read.train), len(read.validation)) == (9, 2)
    absent = pairs_request(tmp_path, validation=(str(tmp_path / "absent.jsonl"),))
    with pytest.raises(UsageError, match="absent"):
        read_data(absent, encoder(("positive",)), Guard.known())


@pytest.mark.parametrize("form", ["pairs", "outcome"])
def test_patience_needs_data_to_validate_with(form: Any, tmp_path: Path) -> None:
    made = replace(pairs_request(tmp_path, validation_share=1e-9, patience=2), form=form)
    read = read_data(made, encoder(("negative", "positive")), Guard.known())
    assert "no problem is held out for validation: --patience has no effect" in read.warnings
    with pytest.raises(UsageError, match="--patience needs validation data"):
        replace(made, validation_share=0.0).validate()
    test = tmp_path / "test.jsonl"
    write_labels(test, [replace(solution(30, [1]), split="test")])
    with pytest.raises(UsageError, match="--validation: nothing is left of it"):
        read_data(
            replace(made, patience=None, validation=(str(test),)), encoder(("negative", "positive")),
            Guard.known(),
        )  # fmt: skip


def test_a_source_of_direct_rewards_that_no_pair_has_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--direct toi: no pair is from there; sources: toy"):
        read_data(pairs_request(tmp_path, direct=("toy", "toi")), encoder(("positive",)), Guard.known())


def test_reward_models_are_not_trained_on_trees_of_test_problems(tmp_path: Path) -> None:
    (tmp_path / SUMMARY).write_text('{"test_problems_of": ["builtin"]}')
    made = request(Path("m"), Path(f"pairs:{tmp_path}/pairs.jsonl"), tmp_path / "o", "pairs")
    with pytest.raises(UsageError, match="holds test problems of the task builtin"):
        made.validate()


@pytest.mark.parametrize(
    ("form", "fields", "named"),
    [
        ("tokens", {"class_weights": "balanced"}, "--class-weights balanced does not work with --form tok"),
        ("sft", {"class_weights": "balanced"}, "--form sft"),
        ("classes3", {"epochs": 0.0}, r"--epochs 0\.0"), ("classes3", {"lr": -1.0}, r"--lr -1\.0"),
        ("classes3", {"lora": -1}, "--lora -1"), ("classes3", {"patience": 0}, "--patience 0"),
        ("classes3", {"trees": -5}, "--trees -5"),
    ],
)  # fmt: skip
def test_options_that_would_be_ignored_or_mean_nothing(form: Any, fields: Any, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        replace(request(Path("m"), Path("labels:d.jsonl"), Path("absent/o"), form), **fields).validate()


def test_trees_are_refused_where_a_block_sees_a_part_of_its_path(tmp_path: Path) -> None:
    config = {
        "vocab_size": VOCABULARY, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1,
        "num_attention_heads": 1, "num_key_value_heads": 1, "pad_token_id": 0,
    }  # fmt: skip
    MistralForCausalLM(MistralConfig(**config, sliding_window=64)).save_pretrained(tmp_path)
    made = request(tmp_path, tmp_path / "d", tmp_path / "o", "classes3", trees=100, max_length=100)
    with pytest.raises(UsageError, match=r"--trees does not work with .* attends to 64 tokens"):
        build_objective(made, Layout(), TOKENIZERS["llama3"](), None)
    build_objective(replace(made, max_length=64), Layout(), TOKENIZERS["llama3"](), None)


def test_wrong_solutions_are_no_text_to_learn_and_a_full_one_keeps_its_end() -> None:
    right, wrong = solution(1, [1, 1], outcome=True), solution(2, [1, -1], outcome=False)
    made = Examples(encoder(), "sft", 1000)
    [whole] = made.of([right, wrong, solution(3, [-1])])
    assert made.counts == {"solutions": 1, "wrong solutions dropped": 2}
    shorter = Examples(encoder(), "sft", len(whole) - 1)
    [cut] = shorter.of([right])
    assert len(cut) == len(whole) - 1 and cut.token_ids[-1] == whole.token_ids[-1] == encoder().end[0]
    assert shorter.counts["sequences cut at the head of the question"] == 1
    np.testing.assert_array_equal(cut.token_ids[1:], whole.token_ids[2:])


def test_files_of_these_names_that_are_no_runs_leave_the_chat_template(tmp_path: Path) -> None:
    tokenizer = TOKENIZERS["qwen"]()
    usual = question_template(str(tmp_path), tokenizer)
    assert usual != Template().question
    for text in ("[1, 2]", '{"epochs": 3}', "not JSON"):
        (tmp_path / "train.json").write_text(text)
        assert question_template(str(tmp_path), tokenizer) == usual


def test_a_process_uses_one_gpu_whatever_there_is() -> None:
    found = SimpleNamespace(n_gpu=4, _n_gpu=4)
    assert on_one_gpu(found)._n_gpu == 1
    assert on_one_gpu(SimpleNamespace(n_gpu=0, _n_gpu=0))._n_gpu == 0


@pytest.mark.parametrize(
    ("losses", "since"),
    [([], 0), ([1.0], 0), ([1.0, 0.9, 0.95], 1), ([0.9, 1.0, 0.9], 2), ([1.0, 1.1, 0.8], 0)],
)
def test_validations_before_a_resume_count_for_patience(losses: list[float], since: int) -> None:
    before = {"eval_loss": 0.1, "step": 0}  # of pairs, before training: never the best in one run either
    history: list[Any] = [{"eval_loss": loss, "step": n} for n, loss in enumerate(losses, start=1)]
    history = [before, *history, {"loss": 2.0, "step": len(losses)}]
    state, control = TrainerState(log_history=history), TrainerControl()
    arguments = SimpleNamespace(
        metric_for_best_model="eval_loss", load_best_model_at_end=True, eval_strategy="steps"
    )
    patience = Patience(early_stopping_patience=2)
    patience.on_train_begin(arguments, state, control)
    assert patience.early_stopping_patience_counter == since
    patience.on_step_begin(arguments, state, control)
    assert control.should_training_stop == (since == 2)
