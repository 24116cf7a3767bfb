"""Public reward models' layouts: the scorers give what the model cards compute."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import prm.scoring.scorers
from prm.reading.encoder import Encoder
from prm.reading.zoo import RewardModel, find, zoo
from prm.scoring.scorers import HFScorer, VLLMScorer
from search.errors import ContextError, ScorerError, UsageError
from search.types import Problem, Step, StepScore, StepScorer, Stop
from tests.contracts import ScorerContract, check_scorer
from tests.zoo_models import FAMILIES, Published, make_checkpoint, published

pytestmark = [pytest.mark.slow]

QUESTION = "Janet\u2019s ducks lay 16 eggs per day. She eats three. How many are left?"
SOLUTIONS = (
    ("She eats 3 eggs, so 16 - 3 = 13.", "13 + 2 = 15.", "The answer is 15."),
    ("The answer is 13.",),
    ("Zoë hat “12” Äpfel — ½ 🍎.", "So 日本 + 2.", "x" * 200, "So it is 5."),
)
AWKWARD = (
    ("a\n", "b\n\n", "\n\nc"),  # delimiters at both ends
    ("", "a", "", ""),  # empty steps
    ("a <extra_0> b", "ки ки", "a\n\nb\nc", "<|eot_id|><|im_end|></s>", "+ - +"),  # separators within steps
    ("word " * 150, "x", "Ω" * 60),
    ("Step 1: a", "Step 2: b"),  # numbered by the policy
)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint for each family; those of one architecture hold the same weights."""
    root = tmp_path_factory.mktemp("zoo")
    for name, (architecture, tokenizer, _) in FAMILIES.items():
        make_checkpoint(root / name, architecture, tokenizer)
    return {name: root / name for name in FAMILIES}


def steps(texts: Sequence[str]) -> list[Step]:
    return [Step(text, (), 0.0, Stop.STEP, 1) for text in texts]


def values(scores: Sequence[StepScore]) -> list[float]:
    return [score.positive for score in scores]


async def conform(name: str, scorer: StepScorer, model: Published, atol: float) -> None:
    """The scorer computes what the card does: for a whole solution, and step by step as a search does."""
    reference = FAMILIES[name][2]
    for solution in SOLUTIONS:
        want = pytest.approx(reference(model, QUESTION, solution), abs=atol)
        assert values(await scorer.score(Problem("p", QUESTION), steps(solution))) == want
        stepwise = [
            value
            for k in range(len(solution))
            for value in values(
                await scorer.score(Problem("p", QUESTION), steps(solution[: k + 1]), num_scored=k)
            )
        ]
        assert stepwise == want


class ZooContract(ScorerContract):
    """What holds of every scorer, on steps that are hard to read."""

    problem = Problem("contract", QUESTION)
    solutions = SOLUTIONS[::2] + AWKWARD

    def __init__(self, atol: float):
        self.atol = atol

    def steps(self, texts: Sequence[str]) -> list[Step]:
        return steps(texts)


def test_every_entry_is_of_a_family_that_is_tested_here() -> None:
    tested = {_reading(find(name)) for name in FAMILIES}
    assert {_reading(entry) for entry in zoo().values()} == tested


def _reading(entry: RewardModel) -> tuple[Any, ...]:
    """Its layout and architecture, without how step scores are aggregated."""
    return replace(entry.layout, aggregate="last"), entry.architecture


@pytest.mark.parametrize("name", FAMILIES)
class TestOnTransformers:
    async def test_it_gives_what_the_card_computes(self, name: str, folders: dict[str, Path]) -> None:
        scorer = HFScorer(f"{name}={folders[name]}", dtype="float32")
        await conform(name, scorer, published(folders[name], FAMILIES[name][0]), atol=1e-5)

    async def test_awkward_steps_get_one_score_each(self, name: str, folders: dict[str, Path]) -> None:
        await check_scorer(HFScorer(f"{name}={folders[name]}", dtype="float32"), ZooContract(atol=1e-5))

    async def test_what_does_not_fit_raises(self, name: str, folders: dict[str, Path]) -> None:
        scorer = HFScorer(f"{name}={folders[name]}", dtype="float32")
        with pytest.raises(ContextError, match="1024"):
            await scorer.score(Problem("p", QUESTION), steps(["word " * 1500]))

    async def test_reading_one_token_off_fails(
        self, name: str, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class OffByOne(Encoder):
            def __call__(self, question: str, steps: Sequence[str]) -> list[list[int]]:
                pieces = super().__call__(question, steps)
                for before, piece in pairwise(pieces):
                    before.append(piece.pop(0))
                return pieces

        monkeypatch.setattr(prm.scoring.scorers, "Encoder", OffByOne)
        scorer = HFScorer(f"{name}={folders[name]}", dtype="float32")
        with pytest.raises(AssertionError):
            await conform(name, scorer, published(folders[name], FAMILIES[name][0]), atol=1e-5)

    async def test_swapped_labels_fail(
        self, name: str, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        entry = find(f"{name}={folders[name]}")
        head = entry.layout.head
        if len(head.labels) == 1:
            pytest.skip("one output has no order")
        swapped = replace(entry, layout=replace(entry.layout, head=replace(head, labels=head.labels[::-1])))
        monkeypatch.setattr(prm.scoring.scorers, "find", lambda name: swapped)
        with pytest.raises(AssertionError):
            scorer = HFScorer("swapped", dtype="float32")
            await conform(name, scorer, published(folders[name], FAMILIES[name][0]), atol=1e-5)


@pytest.mark.vllm
@pytest.mark.parametrize("architecture", ["llama", "mistral", "qwen2"])
def test_on_vllm_too(
    architecture: str, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One engine an architecture: what vLLM serves is the decoder, and families share it here."""
    import search.vllm_engine as vllm_engine

    names = [name for name, family in FAMILIES.items() if family[0] == architecture]
    started: list[Any] = []
    start = vllm_engine.start_engine

    def start_once(*args: Any, **settings: Any) -> Any:
        if not started:
            started.append(start(*args, **settings))
        return started[0]

    monkeypatch.setattr(vllm_engine, "start_engine", start_once)

    async def check() -> None:
        for name in names:
            scorer = VLLMScorer(f"{name}={folders[name]}", dtype="float32")
            with pytest.raises(ScorerError, match="not open"):
                await scorer.score(Problem("p", QUESTION), steps(SOLUTIONS[0]))
            await scorer.open()
            await conform(name, scorer, published(folders[name], architecture), atol=1e-4)
            await check_scorer(scorer, ZooContract(atol=1e-4))
            with pytest.raises(ContextError, match="1024"):
                await scorer.score(Problem("p", QUESTION), steps(["word " * 1500]))

    try:
        asyncio.run(check())
    finally:
        for engine in started:
            engine.shutdown()


# -- names and specifications ----------------------------------------------------------------------


def test_a_specification_of_your_own_is_a_name(folders: dict[str, Path], tmp_path: Path) -> None:
    spec = tmp_path / "mine.yaml"
    spec.write_text(
        f"model: {folders['skywork-1.5b']}\narchitecture: qwen2\nquestion: '{{question}} '\n"
        "separator: <extra_0>\nhead: mlp\nlabels: [negative, positive]\n"
    )
    entry = find(str(spec))
    head = entry.layout.head
    assert (head.type, head.weights, entry.tokenizer) == ("mlp", "score", entry.model)
    scored = asyncio.run(HFScorer(str(spec)).score(Problem("p", "Q"), steps(["a", "b"])))
    assert len(scored) == 2


@pytest.mark.parametrize(
    ("specification", "reason"),
    [
        ("separator: x", "'model' must name"),
        ("model: x\nseperator: y", "there is no field seperator"),
        ("model: x\narchitecture: gpt9", "architecture 'gpt9'"),
        ("model: x\nlabels: [good, bad]", "labels must be"),
        ("model: x\nhead: tokens", "one token per label"),
        ("model: x\nseparator: ''", "separator must not be empty"),
        ("model: x\naggregate: median", "aggregate is one of"),
        ("- x", "a mapping"),
        ("model: [", "mine.yaml: "),
    ],
)
def test_a_bad_specification_is_named(specification: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(specification)
    with pytest.raises(UsageError, match=r"mine\.yaml") as raised:
        find(str(tmp_path / "mine.yaml"))
    assert reason in str(raised.value)


def test_a_name_that_is_not_there_lists_those_that_are() -> None:
    with pytest.raises(UsageError, match="math-shepherd"):
        find("mathshepherd=/tmp")
    with pytest.raises(UsageError):
        find("./absent")


def test_a_tokenizer_without_the_layouts_tokens_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="<extra_0>"):
        HFScorer(f"qwen-prm-7b={folders['math-shepherd']}")
    with pytest.raises(UsageError, match="no chat template"):
        HFScorer(f"rlhflow-mistral={folders['math-shepherd']}")
    with pytest.raises(UsageError, match="begins with"):
        HFScorer(f"skywork-1.5b={folders['qwen-prm-7b']}")


def test_missing_weights_are_refused_not_made_up(folders: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    head = "v_head.summary.weight"
    for lost, reason in ((head, head), ("model.norm.weight", "lacks 1")):
        shutil.copytree(folders["skywork-1.5b"], tmp_path / lost)
        weights = load_file(tmp_path / lost / "model.safetensors")
        del weights[lost]
        save_file(weights, tmp_path / lost / "model.safetensors", {"format": "pt"})
        with pytest.raises(UsageError, match=reason):
            HFScorer(f"skywork-1.5b={tmp_path / lost}")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
