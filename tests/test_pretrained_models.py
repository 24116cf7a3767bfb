"""SmolLM2 and Gemma 3: prompts, ends, line ends, and stepping. Skipped where they have not been fetched."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bench.runner.checkpoints import tokenizer_of
from prm.pretrained.names import pretrained_folder
from search.policies.hf import HFPolicy
from search.policies.stepping import encode_prompt, token_pieces
from search.prompts import Prompt
from search.types import Policy, Problem
from tests.contracts import PolicyContract

pytestmark = [pytest.mark.slow]

NAMES = ("smollm2", "gemma3-270m")
PROMPTS = {
    "smollm2": Prompt("{question}\nWork in short lines.", chat=True),
    "gemma3-270m": Prompt("Question: {question}\nAnswer, line by line:\n\n"),
}
QUESTION = "Tom has 3 boxes of 12 pens. He gives 5 pens away. How many pens are left?"
TEXTS = (
    "a\nb", "a\n\nb", "a\n\n\nb\n", "\n\n", "  x\n\n  y", "1.\n2.\n\n 3. 45\n",
    "So 3 * 12 = 36.\n\nThe answer is 31.", "Zoë — ½ “x”\n\n数学\n", "```\ncode\n```\n",
)  # fmt: skip


def folder_of(name: str) -> str:
    """Skips the test where the model is not in the cache: no test fetches one."""
    folder = pretrained_folder(name, fetch=False)
    if folder is None:
        pytest.skip(f"{name} is not here (python -m prm.fetch {name})")
    return folder


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    folder_of(request.param)
    return str(request.param)


@pytest.fixture
def tokenizer(name: str) -> Any:
    return tokenizer_of(folder_of(name))


def test_line_ends_and_blank_lines_survive(tokenizer: Any) -> None:
    for text in TEXTS:
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert tokenizer.decode(ids) == text
        assert "".join(piece.text for piece in token_pieces(tokenizer, [], ids, [0.0] * len(ids))) == text


def test_a_prompt_begins_with_what_the_model_expects(name: str, tokenizer: Any) -> None:
    prefix = encode_prompt(tokenizer, PROMPTS[name], QUESTION)
    tokens = tokenizer.convert_ids_to_tokens(prefix.token_ids)
    if name == "smollm2":
        assert tokens[:2] == ["<|im_start|>", "system"]
        assert tokens[-4:] == ["<|im_start|>", "ass", "istant", "Ċ"]
        assert tokens.count("<|im_start|>") == 3 and tokens.count("<|im_end|>") == 2
        assert prefix.text.endswith(f"{QUESTION}\nWork in short lines.<|im_end|>\n<|im_start|>assistant\n")
    else:
        assert tokens[0] == "<bos>" and tokens.count("<bos>") == 1 and not tokenizer.chat_template
        assert tokens[-1] == "\n\n"


def test_a_solution_ends_at_each_of_the_ends(name: str, tokenizer: Any) -> None:
    from transformers import GenerationConfig

    ends = GenerationConfig.from_pretrained(folder_of(name)).eos_token_id
    expected = {"smollm2": {"<|im_end|>", "<|endoftext|>"}, "gemma3-270m": {"<eos>", "<end_of_turn>"}}
    assert set(tokenizer.convert_ids_to_tokens(ends)) == expected[name]
    assert tokenizer.eos_token_id == ends[0]
    assert tokenizer.decode(ends, skip_special_tokens=True) == ""


class PretrainedContract(PolicyContract):
    """On questions of ordinary length; few seeds and tokens, for these models are large for a CPU."""

    problem = Problem("pens", QUESTION)
    others = (Problem("sum", "What is 17 + 25?"), Problem("age", "Ann is 12, Ben twice as old. And Ben?"))
    max_tokens = 48
    seeds = range(3)


class TestHFPolicy(PretrainedContract):
    @pytest.fixture(scope="class", params=NAMES)
    @classmethod
    def policy(cls, request: pytest.FixtureRequest) -> Iterator[Policy]:
        yield HFPolicy(folder_of(request.param), prompt=PROMPTS[request.param], dtype="float32")


@pytest_asyncio.fixture(scope="class", loop_scope="class", params=NAMES)
async def vllm_policy(request: pytest.FixtureRequest) -> AsyncIterator[Policy]:
    from search.policies.vllm import VLLMPolicy

    # In bfloat16, what else is in a batch moves logits enough to change a token.
    settings: dict[str, Any] = {"dtype": "float32", "max_model_len": 2048}
    made = VLLMPolicy(folder_of(request.param), prompt=PROMPTS[request.param], **settings)
    async with made as policy:
        yield policy


@pytest.mark.vllm
@pytest.mark.asyncio(loop_scope="class")
class TestVLLMPolicy(PretrainedContract):
    @pytest.fixture
    def policy(self, vllm_policy: Policy) -> Policy:
        return vllm_policy


def test_the_folder_is_complete(name: str) -> None:
    files = {path.name for path in Path(folder_of(name)).iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} <= files
    assert ("chat_template.jinja" in files) == (name == "smollm2")
