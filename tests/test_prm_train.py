"""Training reward models: every form, with models that learn a word in seconds."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from prm.command_line import command_line
from prm.data.labels import LabelledSolution, write_labels
from prm.reading.encoder import Encoder
from prm.reading.layout import Layout
from prm.scoring.scorers import HFScorer
from prm.train import main, request_from
from prm.training import attention
from prm.training.examples import Examples
from prm.training.objectives import add_dropout
from prm.training.request import TrainRequest
from prm.training.sequences import collate
from prm.training.train import build_objective, train
from prm.training.trainer import RewardTrainer, last_checkpoint
from search.errors import UsageError
from search.types import Problem, Step, Stop
from tests.test_prm_data import GSM8K_TEST
from tests.test_prm_examples import WORDS, encoder, solution
from tests.zoo_models import TOKENIZERS, VOCABULARY

pytestmark = [pytest.mark.slow]


def random_model(folder: Path, *, tied: bool = False, chat: bool = False) -> Path:
    """A language model with random weights. tied: its output layer is the embedding layer."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=64, intermediate_size=64, num_hidden_layers=1,
        num_attention_heads=1, num_key_value_heads=1, max_position_embeddings=256, pad_token_id=0,
        tie_word_embeddings=tied,
    )).save_pretrained(folder)  # fmt: skip
    tokenizer = TOKENIZERS["llama3"]()
    if not chat:
        tokenizer.chat_template = None
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "labels.jsonl"
    cycle = [[1, 0, -1], [0, 1], [1, -1], [-1], [0, 0, 1]]
    records = []
    for n in range(120):
        labels = cycle[n % len(cycle)]
        values = tuple({1: 0.9, 0: 0.5, -1: 0.1}[label] for label in labels)
        records.append(solution(n // 2, labels, values=values, outcome=-1 not in labels))
    write_labels(path, records)
    return path


def request(base: Path, data: Path, out: Path, form: Any, **more: Any) -> TrainRequest:
    fields = {"steps": 60, "lr": 0.003, "batch": 8, "every": 20, "max_length": 128, "warmup": 2.0, **more}
    return TrainRequest(form=form, base=str(base), data=(str(data),), out=out, **fields)


def words(request: TrainRequest) -> list[str]:
    """The command line that makes the request."""
    return shlex.split(command_line("prm.train", request, options={"held_out": "--hold-out"}))[3:]


def fit(*args: Any, **more: Any) -> Path:
    made = request(*args, **more)
    train(made)
    return made.out


def scored(model: Path, *words: str) -> list[Any]:
    scorer = HFScorer(str(model), dtype="float32")
    steps = [Step(f"{word} 3", (), 0.0, Stop.STEP, 1) for word in words]
    return asyncio.run(scorer.score(Problem("p", "Problem 500?"), steps))


@pytest.mark.parametrize("form", ["classes3", "classes2", "soft", "tokens"])
def test_process_forms_learn_and_are_read(form: str, base: Path, data: Path, tmp_path: Path) -> None:
    more = {"neutral": "drop"} if form in ("classes2", "tokens") else {}
    out = fit(base, data, tmp_path / "out", form, **more)
    right, wrong = scored(out, WORDS[1], WORDS[-1])
    assert right.positive > 0.7 and wrong.negative > 0.7
    if form == "classes3":
        assert scored(out, WORDS[0])[0].neutral > 0.7
    for name in ("prm.json", "README.md", "loss.png", "metrics.json", "model.safetensors", "tokenizer.json"):
        assert (out / name).exists()
    card = (out / "README.md").read_text()
    assert "python -m prm.train" in card and "split guard" in card and "labels +1" in card
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["data"]["train"]["labels +1"] > 0 and metrics["metrics"]["validation_loss"] > 0
    assert request_from(shlex.split(metrics["command"])[3:]) == request(base, data, out, form, **more)


@pytest.mark.parametrize("form", ["outcome", "pairs"])
def test_outcome_forms_learn_from_whole_solutions(form: str, base: Path, data: Path, tmp_path: Path) -> None:
    out = fit(base, data, tmp_path / "out", form)
    [right], [wrong] = scored(out, WORDS[1]), scored(out, WORDS[-1])
    assert right.positive > wrong.positive + 0.3
    assert json.loads((out / "prm.json").read_text())["kind"] == "outcome"


def test_a_head_starts_from_fine_tuning_on_worked_solutions(base: Path, data: Path, tmp_path: Path) -> None:
    tuned = fit(base, data, tmp_path / "sft", "sft", steps=20)
    assert not (tuned / "prm.json").exists()
    history = json.loads((tuned / "metrics.json").read_text())["history"]
    losses = [row["loss"] for row in history if "loss" in row]
    assert losses[-1] < losses[0]
    scored(fit(tuned, data, tmp_path / "prm", "classes3", steps=2), "left")


def test_lora_is_merged_into_a_standard_checkpoint(base: Path, data: Path, tmp_path: Path) -> None:
    out = fit(base, data, tmp_path / "out", "classes3", lora=4, gradient_checkpointing=True, bf16=True)
    before, after = load_file(base / "model.safetensors"), load_file(out / "model.safetensors")
    name = "model.layers.0.self_attn.q_proj.weight"
    assert not any("lora" in key for key in after) and not torch.equal(before[name], after[name])
    right, wrong = scored(out, WORDS[1], WORDS[-1])
    assert right.value > wrong.value


def test_early_stopping_keeps_the_best(base: Path, data: Path, tmp_path: Path) -> None:
    out = fit(base, data, tmp_path / "out", "classes3", steps=200, every=5, patience=1, lr=0.5)
    assert json.loads((out / "metrics.json").read_text())["metrics"]["steps"] < 200


# -- resuming --------------------------------------------------------------------------------------


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


ROOT = Path(__file__).parent.parent
LONG = {"steps": 40, "every": 4, "batch": 4, "lr": 1e-3, "dropout": 0.1, "optimizer": "muon"}


def test_killed_and_resumed_ends_with_the_same_weights(base: Path, data: Path, tmp_path: Path) -> None:
    whole = fit(base, data, tmp_path / "whole", "classes3", **LONG)
    out = tmp_path / "killed"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "prm.train", *words(request(base, data, out, "classes3", **LONG))]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        while process.poll() is None and last_checkpoint(out / "checkpoints") is None:
            time.sleep(0.05)
        try:
            process.send_signal(signal.SIGSTOP)
            with pytest.raises(UsageError, match=r"train\.json: another process is writing to it"):
                fit(base, data, out, "classes3", **LONG, resume=True)
        finally:
            process.kill()
    assert not (out / "model.safetensors").exists(), "it ended before it was killed"
    with pytest.raises(UsageError, match="add --resume to continue it"):
        fit(base, data, out, "classes3", **LONG)
    with pytest.raises(UsageError, match=r"has lr=0\.001, not 0\.5"):
        fit(base, data, out, "classes3", **{**LONG, "lr": 0.5}, resume=True)
    fit(base, data, out, "classes3", **LONG, resume=True)
    assert same(weights(out), weights(whole))


@pytest.mark.parametrize(("form", "tied"), [("classes3", False), ("sft", True)])
def test_interrupted_loses_nothing(
    form: str, tied: bool, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, long = random_model(tmp_path / "base", tied=tied), {**LONG, "every": 10}
    whole = fit(base, data, tmp_path / "whole", form, **long)
    compute = RewardTrainer.compute_loss

    def interrupted(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == 26:  # between checkpoints, in a later epoch
            os.kill(os.getpid(), signal.SIGINT)
        return compute(self, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(RewardTrainer, "compute_loss", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit(base, data, tmp_path / "out", form, **long)
    assert last_checkpoint(tmp_path / "out" / "checkpoints") == tmp_path / "out/checkpoints/checkpoint-27"
    out = fit(base, data, tmp_path / "out", form, **long, resume=True)
    assert same(weights(out), weights(whole))


def test_killed_before_it_said_what_it_is_it_can_be_begun_again(
    base: Path, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "train.json").touch()
    fit(base, data, tmp_path, "classes3", steps=2, trees=64, resume=True)
    assert json.loads((tmp_path / "train.json").read_text())["trees"] == 64
    assert attention.NAME not in (tmp_path / "config.json").read_text(), "that is for training alone"
    assert len(scored(tmp_path, "good")) == 1


def test_a_checkpoint_that_was_cut_off_is_not_resumed_from(tmp_path: Path) -> None:
    for name, whole in (("checkpoint-8", True), ("checkpoint-12", False), ("checkpoint-4", True)):
        (tmp_path / name).mkdir()
        if whole:
            (tmp_path / name / "trainer_state.json").write_text("{}")
    latest = last_checkpoint(tmp_path)
    assert latest is not None and latest.name == "checkpoint-8"


def test_fsdp_on_two_processes(base: Path, data: Path, tmp_path: Path) -> None:
    config = ROOT / "prm" / "fsdp.yaml"
    command = words(request(base, data, tmp_path / "out", "classes3", steps=4, batch=4, every=10))
    done = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(config),
         "--num_processes", "2", "--cpu", "-m", "prm.train", *command],
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(scored(tmp_path / "out", "left", "eggs")) == 2
    assert weights(tmp_path / "out")["score.weight"].shape == (3, 64)


@pytest.mark.parametrize("field", [{"lora": 4}, {"language": 0.1}, {"optimizer": "muon"}])
def test_what_needs_whole_weights_in_one_process_is_refused_under_fsdp(
    field: dict[str, Any], base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")  # as `accelerate launch` does
    with pytest.raises(UsageError, match=f"--{next(iter(field))}.* does not work with FSDP"):
        fit(base, data, tmp_path / "out", "classes3", **field)
    assert not (tmp_path / "out").exists()


# -- requests --------------------------------------------------------------------------------------


def test_a_command_line_and_its_request_stand_for_each_other() -> None:
    made = TrainRequest(
        form="tokens", base="a model", data=("a", "trl:b.jsonl"), out=Path("out"), resume=True,
        validation=("v",), held_out=("X=x.jsonl",), separator="\n\n", tokens=("-1", "+1"), neutral="drop",
        direct=(), too_long="drop", class_weights="none", strict=True, share=0.1, epochs=2.5, steps=7,
        question_template="Q: {question}\n", lr=1e-6, bf16=True, patience=3,
    )  # fmt: skip
    assert request_from(words(made)) == made
    least = TrainRequest(form="sft", base="m", data=("d",), out=Path("o"))
    assert request_from(["--form", "sft", "--base", "m", "--data", "d", "--out", "o"]) == least


@pytest.mark.parametrize(
    ("form", "weights", "balanced"),
    [("outcome", "auto", True), ("classes3", "auto", False), ("classes3", "balanced", True),
     ("outcome", "none", False)],
)  # fmt: skip
def test_classes_are_balanced_for_outcomes_or_on_request(form: Any, weights: Any, balanced: bool) -> None:
    settings = replace(request(Path("m"), Path("d"), Path("o"), form), class_weights=weights).settings()
    assert settings["balanced"] is balanced and not {"class_weights", "out", "resume"} & settings.keys()


def test_everything_that_is_wrong_is_listed_before_anything_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = request(
        Path("absent"), Path("prm80k:x"), tmp_path / "out", "soft", batch=0, share=2.0, language=0.5,
        held_out=("nameless",), resume=True,
    )  # fmt: skip
    assert main(words(wrong)) == 2
    errors = capsys.readouterr().err.splitlines()
    named = ("--batch 0", "--share 2.0", "--language", "prm80k", "--hold-out nameless", "--resume")
    assert all(name in error for name, error in zip(named, errors, strict=True))
    assert not (tmp_path / "out").exists()


# -- data ------------------------------------------------------------------------------------------


def test_bad_data_is_exit_code_2_and_nothing_is_written(
    base: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text(data.read_text() + '{"question": "cut o')
    assert main(words(request(base, bad, tmp_path / "out", "classes3", strict=True))) == 2
    assert capsys.readouterr().err.startswith(f"error: {bad}, line 121: not JSON")
    assert not (tmp_path / "out").exists()


def test_a_bad_line_is_left_out_and_counted(
    base: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text(data.read_text() + '{"question": "cut o')
    assert main(words(request(base, bad, tmp_path / "out", "classes3", steps=1))) == 0
    assert "1 x not JSON" in "".join(capsys.readouterr())


def test_evaluation_problems_are_refused_and_listed(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "labels.jsonl"
    leaked = LabelledSolution(GSM8K_TEST, ("left 1",), (1,), "toy", "train", "human")
    write_labels(path, [leaked, *(solution(n, [1, -1]) for n in range(30))])
    out = fit(base, path, tmp_path / "out", "classes2", steps=1)
    assert "[GSM8K test: same text] Janet" in capsys.readouterr().out
    assert "[GSM8K test: same text] Janet" in (out / "README.md").read_text()
    write_labels(path, [leaked])
    with pytest.raises(UsageError, match="nothing is left"):
        fit(base, path, tmp_path / "none", "classes2", steps=1)


def test_next_tokens_are_learnt_beside_classes_where_embeddings_are_tied(
    base: Path, data: Path, tmp_path: Path
) -> None:
    """A head took the output layer's place: only embeddings that are the output layer can stand for it."""
    with pytest.raises(UsageError, match="needs a base model with tied embeddings"):
        fit(base, data, tmp_path / "out", "classes3", language=0.5)
    for option in ("language", "every_token"):
        with pytest.raises(UsageError, match=f"--{option.replace('_', '-')} is for the forms classes"):
            fit(base, data, tmp_path / "out", "soft", **{option: 0.5})
    torch.manual_seed(0)
    tied = tmp_path / "tied"
    config = LlamaConfig.from_pretrained(base, tie_word_embeddings=True)
    LlamaForCausalLM(config).save_pretrained(tied)
    AutoTokenizer.from_pretrained(base).save_pretrained(tied)
    losses = [
        json.loads((fit(tied, data, tmp_path / f"{weight}", "classes3", steps=1, every=1, language=weight)
                    / "metrics.json").read_text())["history"]
        for weight in (0.0, 1.0)
    ]  # fmt: skip
    by_kind = [{k: row[k] for row in rows for k in ("loss", "eval_loss") if k in row} for rows in losses]
    assert by_kind[1]["eval_loss"] == pytest.approx(by_kind[0]["eval_loss"], abs=0.05), "of labels alone"
    right, wrong = scored(fit(tied, data, tmp_path / "more", "classes3", language=0.5), WORDS[1], WORDS[-1])
    assert right.positive > 0.7 and wrong.negative > 0.7


def test_classes_are_learnt_at_every_token_of_a_labelled_step(base: Path, data: Path, tmp_path: Path) -> None:
    """A step's first word says what it is; without the option, only what is read at its end counts."""
    sure, how = [], {"weight_decay": 0.01, "beta2": 0.95}
    for weight in (0.0, 0.5):
        out = fit(base, data, tmp_path / str(weight), "classes3", every_token=weight, **how)
        head = AutoModelForSequenceClassification.from_pretrained(out)
        ids = Encoder(Layout(), TOKENIZERS["llama3"]())("Problem 500?", [f"{WORDS[-1]} 3"])
        seen = torch.tensor([[*ids[0], *ids[1][:-1]]])
        sure.append(head.score(head.model(seen).last_hidden_state[0, -1]).softmax(-1)[0].item())
    assert sure[1] > 0.7 and sure[1] > sure[0]


def test_dropout_is_of_training_alone(base: Path, data: Path, tmp_path: Path) -> None:
    made = request(base, data, tmp_path, "classes3", dropout=0.5)
    objective = build_objective(made, Layout(), TOKENIZERS["llama3"](), None)
    [example] = Examples(encoder(), "classes3", 1000).of([solution(1, [1, 0])])
    batch = collate([example], 0)
    objective.train()
    assert objective(**batch)["loss"] != objective(**batch)["loss"]
    objective.eval()
    assert objective(**batch)["loss"] == objective(**batch)["loss"]
    with pytest.raises(ValueError, match=r"has no self_attn\.o_proj"):
        add_dropout(torch.nn.Linear(1, 1), 0.5)
