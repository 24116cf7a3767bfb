"""The client of vLLM's own server, in both of its tasks, against fakes that answer as vLLM 0.32 does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from prm.reading.encoder import Encoder
from prm.reading.fingerprint import prm_fingerprint
from prm.reading.zoo import find
from prm.scoring.model import load_tokenizer
from prm.scoring.remote import VLLMServerScorer, load_remote_scorer
from prm.scoring.served import find_served
from search.errors import ContextError, ScorerError, UnavailableError, UsageError
from search.limits import metered
from search.seeds import derive
from search.types import Problem, Step, StepScorer, Stop
from tests.contracts import ScorerContract
from tests.prm_servers import FakeVLLM, client_environment, serving_vllm
from tests.zoo_models import make_checkpoint

Rows = Callable[[list[int]], list[list[float]]]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    client_environment(monkeypatch)


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The layout of Qwen2.5-Math-PRM, with the tokenizer of a small random model."""
    folder = tmp_path_factory.mktemp("qwen") / "prm"
    make_checkpoint(folder, "qwen2", "qwen")
    return f"qwen-prm-7b={folder}"


def rows(labels: int) -> Rows:
    """Probabilities after each token, drawn from the tokens so far."""

    def after(ids: tuple[int, ...]) -> list[float]:
        weights = [1 + derive(label, *ids) % 97 for label in range(labels)]
        return [weight / sum(weights) for weight in weights]

    return lambda ids: [after(tuple(ids[: end + 1])) for end in range(len(ids))]


def separator(name: str) -> int:
    return Encoder(find(name).layout, load_tokenizer(find(name))).token_id("<extra_0>")


def steps(*texts: str) -> list[Step]:
    return [Step(text, (), 0.0, Stop.STEP, 1) for text in texts]


Q = Problem("q", "1 + 1?")
TASKS = ["token_classify", "classify", "token_classify at the separators"]


@pytest.fixture(scope="module", params=TASKS)
def fake(request: pytest.FixtureRequest, qwen: str) -> Iterator[FakeVLLM]:
    task, _, tagged = request.param.partition(" ")
    tag = separator(qwen) if tagged else None
    with serving_vllm(FakeVLLM(rows(2), task=task, step_tag_id=tag, max_model_len=1024)) as served:
        yield served


class TestVLLMDialects(ScorerContract):
    """The same scores, however the server pools."""

    @pytest.fixture
    def scorer(self, fake: FakeVLLM, qwen: str) -> StepScorer:
        scorer = load_remote_scorer(find_served([fake.url], qwen))
        asyncio.run(scorer.open())
        return scorer

    async def test_a_step_has_the_probabilities_after_its_separator(
        self, scorer: StepScorer, qwen: str
    ) -> None:
        entry = find(qwen)
        encode = Encoder(entry.layout, load_tokenizer(entry))
        for texts in self.solutions:
            ids: list[int] = []
            want = []
            for piece in encode(self.problem.question, texts):
                ids += piece
                want.append(rows(2)(ids)[-1])
            got = await scorer.score(self.problem, self.steps(texts))
            assert [[s.negative, s.positive] for s in got] == want[1:]

    async def test_all_tokens_are_charged(self, scorer: StepScorer, fake: FakeVLLM) -> None:
        with metered() as spent:
            await scorer.score(self.problem, self.steps(["2", "so 2"]))
        body = fake.requests[-1][1]["input"]
        assert spent.prm_tokens == (sum(map(len, body)) if isinstance(body[0], list) else len(body))

    async def test_what_does_not_fit_is_not_sent(self, scorer: StepScorer, fake: FakeVLLM) -> None:
        sent = len(fake.requests)
        with pytest.raises(ContextError, match=r"q: question and steps take .* holds 1024"):
            await scorer.score(Q, steps("x " * 3000))
        assert len(fake.requests) == sent


async def opened(fake: FakeVLLM, name: str, **options: Any) -> VLLMServerScorer:
    scorer = VLLMServerScorer(find_served([fake.url], name), **options)
    await scorer.open()
    return scorer


async def test_requests_have_vllms_fields(qwen: str) -> None:
    one, two = FakeVLLM(rows(2)), FakeVLLM(rows(2), task="classify")
    with serving_vllm(one) as pooling, serving_vllm(two) as other:
        for fake, path in ((pooling, "/pooling"), (other, "/classify")):
            scorer = await opened(fake, qwen)
            await scorer.score(Q, steps("2", "so 2"), num_scored=1)
            last, body = fake.requests[-1]
            await scorer.close()
            assert last == path and body["model"] == "prm" and body["use_activation"] is True
        assert (pooling.requests[-1][1]["task"], pooling.requests[-1][1]["encoding_format"]) == (
            "token_classify", "float"
        )  # fmt: skip
        assert len(other.requests[-1][1]["input"]) == 1  # the prompt of the one step that is to be scored


async def test_an_outcome_model_is_read_at_its_end_by_classify(tmp_path: Path, qwen: str) -> None:
    folder = Path(qwen.partition("=")[2])
    spec = tmp_path / "outcome.yaml"
    spec.write_text(
        f"model: {folder}\narchitecture: qwen2\nkind: outcome\nquestion: '{{question}}'\nseparator: ''\n"
        "head: linear\nweights: regression_head\nlabels: [positive]\n"
    )
    with serving_vllm(FakeVLLM(lambda ids: [[0.25]] * (len(ids) - 1) + [[0.75]], task="classify")) as fake:
        served = find_served([fake.url], str(spec))
        assert served.layout.is_outcome
        scorer = await opened(fake, str(spec))
        [score] = await scorer.score(Q, steps("2", "so 2"), num_scored=1)
        await scorer.close()
    assert (score.negative, score.positive) == (0.25, 0.75)


def test_what_is_known_of_the_model(qwen: str) -> None:
    with serving_vllm(FakeVLLM(rows(2))) as fake:
        served = find_served([f"{fake.url}/v1"], qwen)
        assert (served.kind, served.model, served.context) == ("vllm", "prm", 512)
        assert (served.fingerprint, served.run_as) == (prm_fingerprint(qwen), "org/prm")
        assert served.layout == find(qwen).layout
        with pytest.raises(UsageError, match="does not say how its reward model reads steps"):
            find_served([fake.url])
        with pytest.raises(UsageError, match="no reward model"):
            find_served([fake.url], "absent")
        other = FakeVLLM(rows(2), root="org/another")
        with serving_vllm(other), pytest.raises(UsageError, match="all servers must serve the same"):
            find_served([fake.url, other.url], qwen)


def test_an_ensemble_is_not_for_vllm(tmp_path: Path) -> None:
    both = tmp_path / "both.yaml"
    both.write_text("members: [builtin, weak]\n")
    fake = FakeVLLM(rows(3))
    with serving_vllm(fake), pytest.raises(UsageError, match=r"with `python -m prm\.serve`"):
        find_served([fake.url], str(both))


@pytest.mark.parametrize(
    ("fake", "reason"),
    [
        (FakeVLLM(rows(3)), "returns 3 outputs, the layout of qwen-prm-7b=.* names 2 labels"),
        (FakeVLLM(rows(3), task="classify"), "returns 3 outputs"),
        (FakeVLLM(rows(2), task="embed"), "--pooler-config.task token_classify"),
        (FakeVLLM(rows(2), step_tag_id=0), "start it without step_tag_id"),
    ],
    ids=["labels", "labels at the end", "task", "another tag"],
)
async def test_a_server_that_does_not_fit_is_refused_when_it_is_opened(
    fake: FakeVLLM, reason: str, qwen: str
) -> None:
    with serving_vllm(fake), pytest.raises(UsageError, match=reason):
        await opened(fake, qwen)


async def test_errors_stay_with_their_solution_and_lost_models_do_not(qwen: str) -> None:
    with serving_vllm(FakeVLLM(rows(2))) as fake:
        scorer = await opened(fake, qwen)
        fake.breaks = 3
        assert len(await scorer.score(Q, steps("2"))) == 1  # it was asked again
        fake.breaks = 6
        with pytest.raises(ScorerError, match=r"q: no reply in 6 attempts.*answered 500"):
            await scorer.score(Q, steps("2"))
        fake.probabilities = lambda ids: rows(2)(ids)[:-1]
        with pytest.raises(ScorerError, match=r"q: vLLM's server pooled \d+ of \d+ tokens"):
            await scorer.score(Q, steps("2"))
        fake.probabilities = lambda ids: [[0.9, 0.9]] * len(ids)
        with pytest.raises(ScorerError, match="not probabilities"):
            await scorer.score(Q, steps("2"))
        fake.model = "another"
        with pytest.raises(UnavailableError, match="does not exist"):
            await scorer.score(Q, steps("2"))
        await scorer.close()
