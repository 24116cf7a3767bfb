"""Prefixes over turns are token-exact: what was sampled is never tokenised again, whatever the template."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from bench.runner.checkpoints import BUILTIN
from search.environments.episode import EpisodePolicy
from search.errors import UsageError
from search.limits import metered
from search.policies.hf import HFPolicy
from search.policies.stepping import (
    Completion,
    Piece,
    Prefix,
    Sampling,
    SteppingPolicy,
    encode_between,
    encode_prompt,
    token_pieces,
)
from search.policies.turns import end_ids, turn_pieces
from search.policies.vllm import VLLMPolicy
from search.prompts import Prompt
from search.segment import SEGMENTERS
from search.types import Observation, Problem, Step, Stop, Until, texts_read
from tests.contracts import PolicyContract, text
from tests.fake_servers import TOKENIZER, client_environment, policy_of, serving
from tests.fakes import RandomWorld
from tests.zoo_models import TOKENIZERS

Q = Problem("q", "How many eggs are left?")
CHAT = Prompt("{question}", chat=True)
BRIEF = Prompt("{question}", chat=True, system="Be brief.")
PLAIN = Prompt("Q: {question}\n")
LLAMA_2 = (
    "{% if messages[0]['role'] == 'system' %}"
    "{% set first = '<<SYS>>' + messages[0]['content'] + '<</SYS>>' %}"
    "{% set rest = messages[1:] %}{% else %}{% set first = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + (first if loop.first else '') "
    "+ m['content'] | trim + ' [/INST]' }}{% else %}{{ ' ' + m['content'] | trim + ' ' + eos_token }}"
    "{% endif %}{% endfor %}"
)


def llama_2() -> Any:
    tokenizer = TOKENIZERS["sentencepiece"]()
    tokenizer.chat_template = LLAMA_2
    return tokenizer


MADE: dict[str, Callable[[], Any]] = {
    "qwen": TOKENIZERS["qwen"], "llama3": TOKENIZERS["llama3"], "llama2": llama_2
}  # fmt: skip
MESSAGES = ["Let me see: 16 - 3.\n```python\nprint(16 - 3)\n```", "Hm.  13 are left, so 13 + 2 = 15 "]
ENDS = {"qwen": "<|im_end|>", "llama3": "<|eot_id|>", "llama2": "</s>"}


class Speaker(SteppingPolicy):
    """Says its messages, one after each observation, and remembers what it was asked to continue.

    It samples the tokens of single words, which a tokenizer would merge.
    """

    def __init__(self, tokenizer: Any, prompt: Prompt, end: str, messages: Sequence[str] = MESSAGES):
        super().__init__(prompt, SEGMENTERS["newline"], Sampling(), 10_000)
        self.tokenizer, self.end = tokenizer, tokenizer.convert_tokens_to_ids(end)
        self.messages, self.asked = messages, list[Prefix]()

    def _encode(self, question: str) -> Prefix:
        return encode_prompt(self.tokenizer, self._prompt, question)

    def _between(self, prompt: Prompt, turn: str, text: str) -> Prefix:
        return encode_between(self.tokenizer, prompt, turn, text)

    @property
    def _end_ids(self) -> frozenset[int]:
        return end_ids(self.tokenizer)

    def sampled(self, message: str) -> list[int]:
        words = re.findall(r"\s*\S|\s+$", message)
        return [token for word in words for token in self.tokenizer(word, add_special_tokens=False).input_ids]

    async def _generate(
        self, prefix: Prefix, *, stop: Sequence[str], max_tokens: int, seed: int, temperature: float
    ) -> Completion:
        self.asked.append(prefix)
        ids = self.sampled(self.messages[len(self.asked) - 1])
        pieces = token_pieces(self.tokenizer, prefix.token_ids, ids, [0.0] * len(ids))
        return Completion([*pieces, Piece("", self.end, 0.0)], Stop.END)


class Echo:
    """Answers each turn with its number of words; `turns` turns make an episode."""

    def __init__(self, turns: int = 2):
        self._turns = turns

    async def step(self, problem: Problem, turns: Sequence[Step]) -> Observation:
        said = turns[-1].text
        ends = len(turns) >= self._turns or not said
        return Observation(f"Out: {len(said.split())}\n", read=said, ends=ends)


async def episode(policy: Any, turns: int = 2) -> list[Step]:
    episodes = EpisodePolicy(policy, Echo(turns), turn_tokens=500)
    return await episodes.propose(Q, [], until=Until.END, max_tokens=1000, seed=1, temperature=0.0)


@pytest.mark.parametrize("prompt", [CHAT, BRIEF], ids=["chat", "system"])
@pytest.mark.parametrize("name", MADE)
async def test_a_prefix_grows_by_what_was_sampled_and_by_rendered_pieces(name: str, prompt: Prompt) -> None:
    tokenizer = MADE[name]()
    policy = Speaker(tokenizer, prompt, ENDS[name])
    first, last = await episode(policy)
    before, after = policy.asked
    assert first.observation is not None and last.observation is not None
    sampled = tuple(policy.sampled(MESSAGES[0]))
    assert before.token_ids == encode_prompt(tokenizer, prompt, Q.question).token_ids
    assert first.token_ids == sampled, "as it was sampled, without the end of the message"
    assert after.token_ids == before.token_ids + sampled + first.observation.token_ids
    assert after.text == before.text + first.text + first.observation.rendered
    assert last.token_ids[-1] == policy.end, "nothing follows the last message"
    assert [step.stop for step in (first, last)] == [Stop.STEP, Stop.END]
    assert first.n_tokens == len(sampled) + 1, "the end of a message was sampled"


@pytest.mark.parametrize("name", ["qwen", "llama3"])
async def test_the_prefix_is_the_conversation_that_the_template_renders(name: str) -> None:
    """Where the tokenizer gives the tokens that were sampled, as it does for what has no choice."""
    tokenizer = MADE[name]()
    policy = Speaker(tokenizer, BRIEF, ENDS[name])
    policy.sampled = lambda text: tokenizer(text, add_special_tokens=False).input_ids  # type: ignore[method-assign]
    await episode(policy)
    messages = [*BRIEF.messages(Q.question), {"role": "assistant", "content": MESSAGES[0]},
                {"role": "user", "content": "Out: 11"}]  # fmt: skip
    rendered = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert policy.asked[1].text == rendered
    assert policy.asked[1].token_ids == tuple(tokenizer(rendered, add_special_tokens=False).input_ids)


async def test_an_end_that_is_not_the_templates_is_replaced_by_it() -> None:
    tokenizer = MADE["qwen"]()
    policy = Speaker(tokenizer, CHAT, "<|endoftext|>")
    await episode(policy)
    text = tokenizer.decode(policy.asked[1].token_ids)
    assert "<|endoftext|>" not in text and "```<|im_end|>\n<|im_start|>user\nOut: 11<|im_end|>" in text


async def test_without_a_chat_template_an_observation_stands_on_lines_of_its_own() -> None:
    policy = Speaker(MADE["qwen"](), PLAIN, "<|endoftext|>", ["One.", "Two.\n", "Three."])
    await episode(policy, turns=3)
    assert policy.asked[2].text == "Q: How many eggs are left?\nOne.\nOut: 1\nTwo.\nOut: 1\n"
    assert not set(policy.asked[2].token_ids) & {policy.end}


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{{ messages[0]['content'] }}", "leaves out turns"),
        ("{% if messages | length > 2 %}{{ raise_exception('one question') }}{% endif %}", "one question"),
    ],
)
def test_a_template_without_a_second_turn_is_refused(template: str, says: str) -> None:
    tokenizer = TOKENIZERS["qwen"]()
    tokenizer.chat_template = template
    with pytest.raises(UsageError, match=says):
        turn_pieces(tokenizer, CHAT)


# -- policies --------------------------------------------------------------------------------------


class Recorded(HFPolicy):
    """asked: every prefix that it sampled after."""

    async def _generate(self, prefix: Prefix, **how: Any) -> Completion:
        self.asked = [*getattr(self, "asked", []), prefix]
        return await super()._generate(prefix, **how)


async def test_transformers_reads_turns_token_by_token() -> None:
    policy = Recorded(str(BUILTIN / "policy"), prompt=PLAIN, dtype="float32")
    with metered() as spent:
        first, last = await episode(policy)
    before, after = (prefix.token_ids for prefix in policy.asked)
    assert first.observation is not None
    assert after == before + first.token_ids + first.observation.token_ids
    assert first.observation.token_ids and first.token_ids[-1] not in policy._end_ids
    assert spent.policy_tokens == first.n_tokens + last.n_tokens, "an observation is not sampled"
    assert spent.prompt_tokens == len(before) + len(after)


@pytest.mark.parametrize("kind", [HFPolicy, VLLMPolicy])
def test_engines_read_turns_alike(kind: Any) -> None:
    """Whatever samples: neither needs its engine for this."""
    policy, tokenizer = kind.__new__(kind), MADE["qwen"]()
    policy._tokenizer, policy._prompt, policy._eos = tokenizer, CHAT, frozenset()
    said = (*tokenizer("It is 3.").input_ids, tokenizer.convert_tokens_to_ids("<|im_end|>"))
    turn = policy.answered(Q, Step("It is 3.", said, 0.0, Stop.END), Observation("Out: 3", read="3"))
    between = "<|im_end|>\n<|im_start|>user\nOut: 3<|im_end|>\n<|im_start|>assistant\n"
    ids = tuple(tokenizer(between, add_special_tokens=False).input_ids)
    assert turn.observation == Observation("Out: 3", read="3", rendered=between, token_ids=ids)
    assert (turn.token_ids, turn.n_tokens, turn.stop) == (said[:-1], len(said), Stop.STEP)


class TestEpisodesKeepThePoliciesContract(PolicyContract):
    """A step is a turn."""

    @pytest.fixture
    def policy(self) -> EpisodePolicy:
        return EpisodePolicy(RandomWorld(), Echo(), turn_tokens=self.max_tokens)


async def test_a_server_gets_tokens_or_the_same_as_text(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    from transformers import PreTrainedTokenizerFast

    client_environment(monkeypatch)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=TOKENIZER, eos_token="<eos>", bos_token="<bos>")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['content'] }}"
        "{{ '<eos>' if m['role'] == 'assistant' else '\n' }}{% endfor %}"
    )
    tokenizer.save_pretrained(tmp_path)
    sent: dict[str, Any] = {}
    plain, path_ = Prompt("{question}\n"), str(tmp_path)
    for dialect, prompt, path in (("vllm", CHAT, path_), ("openai", CHAT, path_), ("openai", plain, "")):
        with serving(dialect) as fake:
            policy = policy_of(fake, tokenizer=path, prompt=prompt)
            await episode(policy)
            await policy.close()
        sent[f"{dialect} {path != ''}"] = [body["prompt"] for body in fake.requests if "prompt" in body][-1]
    assert TOKENIZER.decode(sent["vllm True"], skip_special_tokens=False) == sent["openai True"]
    assert sent["openai True"] == "How many eggs are left?\none two three<eos>Out: 3\n"
    assert sent["openai False"] == "How many eggs are left?\none two three\nOut: 3\n"


# -- reward models -----------------------------------------------------------------------------------


def test_a_reward_model_reads_an_observation_before_the_turn_that_follows_it() -> None:
    seen, unseen = Observation("Out: 1"), Observation("Your answer is correct.", ends=True)
    turns = [Step("a", (), 0, Stop.STEP, 1, seen), Step("b", (), 0, Stop.END, 1, unseen)]
    assert texts_read(turns) == ["a", "\nOut: 1\nb"], "and no verdict on the turn it scores"
    assert texts_read(turns[:1]) == ["a"], "a score does not depend on what follows"
    assert text(turns) == "ab"
