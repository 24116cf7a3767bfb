"""Chats of several turns, and stop strings of one request."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from transformers import AutoTokenizer

from bench.runner.checkpoints import BUILTIN
from bench.runner.models import Models
from bench.runner.server.errors import ApiError
from bench.runner.server.searching import Searcher, ServerLimits
from search.errors import ContextError, UsageError
from search.policies.stepping import Prefix, encode_conversation
from search.prompts import Conversation, Prompt, Turn
from search.types import Problem, Stop, Until
from tests.serving import World, a_run
from tests.test_stepping import PROMPT_TOKENS, Speaker

CHATML = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
CHAT = Prompt("{question}", chat=True, system="Be brief.")
ASKED = Conversation(
    "q", "user: a\n\nassistant: b\n\nuser: c", prompt=CHAT, text="c",
    turns=(Turn("user", "a"), Turn("assistant", "b")),
)  # fmt: skip


def tokenizer(template: str) -> Any:
    loaded = AutoTokenizer.from_pretrained(BUILTIN / "policy")
    loaded.chat_template = template
    return loaded


def test_all_turns_go_through_the_chat_template() -> None:
    text = encode_conversation(tokenizer(CHATML), ASKED).text
    assert text == "<|system|>Be brief.\n<|user|>a\n<|assistant|>b\n<|user|>c\n<|assistant|>"


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{{ messages[-1]['content'] }}", "leaves out the system message"),
        ("{{ messages[0]['content'] }} and {{ messages[-1]['content'] }}", "leaves out the user message 'a'"),
        ("{{ raise_exception('no system role') }}", "no system role"),
    ],
)
def test_a_template_that_cannot_render_the_turns_is_refused(template: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        encode_conversation(tokenizer(template), ASKED)


def test_an_assistants_turn_may_be_shortened() -> None:
    """Templates of reasoning models drop the thoughts of earlier turns."""
    template = CHATML.replace("m['content']", "m['content'].split('</think>')[-1]")
    asked = replace(ASKED, turns=(Turn("user", "a"), Turn("assistant", "hm</think>b")))
    assert "hm" not in encode_conversation(tokenizer(template), asked).text


def test_a_text_is_continued_as_it_stands() -> None:
    asked = Conversation("q", "1 + 1 =", prompt=Prompt("{question}"), text="1 + 1 =")
    assert encode_conversation(tokenizer(CHATML), asked).text == "1 + 1 ="


# -- a policy --------------------------------------------------------------------------------------


@dataclass
class Listener(Speaker):
    """Speaks in conversations, too."""

    def _encode_conversation(self, asked: Conversation) -> Prefix:
        return Prefix(PROMPT_TOKENS, "1 + 1?")


async def texts(policy: Speaker, problem: Problem, until: Until) -> tuple[list[str], Stop]:
    steps = await policy.propose(problem, [], until=until, max_tokens=99, seed=0, temperature=0.0)
    return [step.text for step in steps], steps[-1].stop


@pytest.mark.parametrize("until", Until)
async def test_a_conversation_ends_at_its_own_stop_strings(until: Until) -> None:
    """Those of the policy's prompt are not its: it may not be the prompt that is sent."""
    words = ["so", " it", " is", " two", ".", "\n"]
    policy = Listener(words, stop=(" it",))
    asked = Conversation("q", "1 + 1?", prompt=Prompt("{question}", stop=(" two",)), text="1 + 1?")
    assert await texts(policy, asked, until) == (["so it is"], Stop.END)
    assert await texts(policy, Problem("q", "1 + 1?"), until) == (["so"], Stop.END)


async def test_a_prompt_is_checked_before_a_search() -> None:
    asked = Conversation("q", "1 + 1?", prompt=Prompt(), text="1 + 1?")
    await Listener(["so"]).check(asked)
    with pytest.raises(ContextError, match="3 tokens"):
        await Listener(["so"], context=3).check(asked)
    with pytest.raises(UsageError, match="no conversations"):
        await Speaker(["so"]).check(asked)


# -- a server --------------------------------------------------------------------------------------


def searcher(policy: Any, prompt: Prompt) -> Searcher:
    run = a_run()
    return Searcher(
        replace(run, policy=replace(run.policy, prompt=prompt)), Models(policy, World()), ServerLimits()
    )


async def test_reward_models_read_all_turns_or_the_one_question() -> None:
    server = searcher(World(), replace(CHAT, stop=("Q:",)))
    alone = server.chat([("user", "c")], ["x"])
    assert alone == Conversation("question", "c", prompt=replace(CHAT, stop=("Q:", "x")), text="c")
    several = server.chat([("user", "a"), ("assistant", "b"), ("user", "c")], ["x"])
    assert (several.question, several.text, several.turns) == (ASKED.question, "c", ASKED.turns)
    own = server.chat([("developer", "Be long."), ("user", "c")], [])
    assert own.prompt.system == "Be long." and own.question == "c"


async def test_what_the_policy_cannot_render_is_a_wrong_request() -> None:
    for policy, code in ((Speaker(["so"]), None), (Listener(["so"], context=3), "context_length_exceeded")):
        with pytest.raises(ApiError) as error:
            await searcher(policy, CHAT).check(ASKED)
        assert (error.value.status, error.value.code) == (400, code)
