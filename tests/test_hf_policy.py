"""Models on transformers as people have them: with several end tokens, and models that also read images."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from bench.builtin.tokenizer import build_tokenizer
from bench.runner.checkpoints import BUILTIN, check_is_policy, context_of
from prm.scoring.scorers import HFScorer
from search.errors import ContextError, UsageError
from search.policies.hf import HFPolicy
from search.prompts import Prompt
from search.types import Problem, Step, Stop, Until

pytestmark = [pytest.mark.slow]

PROBLEM = Problem("p", "Ann has 5 coins. Ben owns 3 more coins than Ann. How many coins does Ben have?")
PROMPT = Prompt("{question}", chat=True)


def edit(folder: Path, name: str, **fields: Any) -> None:
    """Change fields of a JSON file; None removes one."""
    path = folder / name
    now = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({k: v for k, v in (now | fields).items() if v is not None}))


async def solution(folder: Path, max_tokens: int = 200) -> tuple[str, Stop]:
    policy = HFPolicy(str(folder), prompt=PROMPT, dtype="float32")
    steps = await policy.propose(
        PROBLEM, [], until=Until.END, max_tokens=max_tokens, seed=0, temperature=0.0
    )
    return "".join(step.text for step in steps), steps[-1].stop


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    shutil.copytree(BUILTIN / "policy", tmp_path / "policy")
    return tmp_path / "policy"


async def test_every_end_token_ends_a_solution(policy: Path) -> None:
    """The model's own end token is 1; a comma, a newline or a word may be others."""
    whole, stop = await solution(policy)
    assert stop is Stop.END and whole.endswith("The answer is 8.")
    tokenizer = build_tokenizer()
    [comma] = tokenizer(",", add_special_tokens=False).input_ids
    for several in ([comma, 1], [1, comma], comma):
        edit(policy, "generation_config.json", eos_token_id=several)
        text, stop = await solution(policy)
        assert stop is Stop.END
        assert text == whole[: whole.index(",")], "an end token is no text"


async def test_the_tokenizers_end_token_counts_beside_the_generation_configs(policy: Path) -> None:
    whole, _ = await solution(policy)
    tokenizer = build_tokenizer()
    [unused] = tokenizer("?", add_special_tokens=False).input_ids
    edit(policy, "generation_config.json", eos_token_id=unused)  # the tokenizer's is still 1
    assert await solution(policy) == (whole, Stop.END)
    (policy / "generation_config.json").unlink()
    assert await solution(policy) == (whole, Stop.END)
    edit(policy, "config.json", eos_token_id=None)
    assert await solution(policy) == (whole, Stop.END)


# -- models that also read images ----------------------------------------------------------------------

TEXT = {
    "vocab_size": 640, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 200,
    "bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0,
}  # fmt: skip
VISION = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def gemma() -> Any:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    vision = VISION | {"image_size": 28, "patch_size": 14}
    return Gemma3ForConditionalGeneration(Gemma3Config(text_config=TEXT, vision_config=vision))


def qwen() -> Any:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4}
    vision = {"depth": 1, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32}
    config = Qwen2_5_VLConfig(text_config=TEXT | {"rope_parameters": rope}, vision_config=vision)
    return Qwen2_5_VLForConditionalGeneration(config)


@pytest.fixture(params=[gemma, qwen], ids=["gemma3", "qwen2.5-vl"])
def images(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    import torch

    torch.manual_seed(1)
    folder = tmp_path / "images"
    request.param().save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    shutil.copy(BUILTIN / "policy" / "chat_template.jinja", folder)
    return folder


async def test_a_model_that_reads_images_continues_text(images: Path) -> None:
    import torch
    from transformers import AutoModelForImageTextToText

    check_is_policy("images", str(images))
    assert context_of(str(images)) == 200
    policy = HFPolicy(str(images), prompt=PROMPT, dtype="float32")
    [*_, last] = await policy.propose(
        PROBLEM, [], until=Until.END, max_tokens=12, seed=0, temperature=0.0
    )
    ids = policy._root(PROBLEM.question).token_ids
    model = AutoModelForImageTextToText.from_pretrained(images, dtype=torch.float32).eval()
    made = model.generate(torch.tensor([ids]), max_new_tokens=12, do_sample=False)[0, len(ids) :].tolist()
    steps = await policy.propose(PROBLEM, [], until=Until.END, max_tokens=12, seed=0, temperature=0.0)
    assert [token for step in steps for token in step.token_ids] == made and last.stop is not None
    with pytest.raises(ContextError, match="holds 200"):
        await policy.propose(Problem("long", "coins " * 300), [], until=Until.STEP, max_tokens=9, seed=0)


async def test_a_reward_model_that_also_reads_images(images: Path) -> None:
    """A head of tokens, applied to what the whole model computes; step by step as at once."""
    import torch
    from transformers import AutoModelForImageTextToText

    layout = {"head": "tokens", "tokens": ["-", "+"], "labels": ["negative", "positive"]}
    edit(images, "prm.json", question="{question}\n", **layout)
    scorer = HFScorer(str(images), dtype="float32")
    steps = [Step(text, (), 0.0, Stop.STEP, 1) for text in ("5 + 3 = 8.\n", "The answer is 8.\n")]
    whole = await scorer.score(PROBLEM, steps)
    one = [(await scorer.score(PROBLEM, steps[: k + 1], num_scored=k))[0].positive for k in range(2)]
    assert one == pytest.approx([score.positive for score in whole], abs=1e-5)
    ids = [token for piece in scorer._encode(PROBLEM.question, [s.text for s in steps]) for token in piece]
    model = AutoModelForImageTextToText.from_pretrained(images, dtype=torch.float32).eval()
    rows = build_tokenizer().convert_tokens_to_ids(["-", "+"])
    with torch.inference_mode():
        want = model(torch.tensor([ids])).logits[0, -1, rows].softmax(-1)[1].item()
    assert whole[-1].positive == pytest.approx(want, abs=1e-5)
    with pytest.raises(ContextError, match="200"):
        await scorer.score(PROBLEM, [*steps, Step("coins " * 300, (), 0.0, Stop.STEP, 1)])


def test_a_model_that_encodes_its_input_is_no_policy(policy: Path) -> None:
    edit(policy, "config.json", architectures=["T5ForConditionalGeneration"], is_encoder_decoder=True)
    with pytest.raises(UsageError, match="T5ForConditionalGeneration, not a causal"):
        check_is_policy("policy", str(policy))
