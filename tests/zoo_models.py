"""Small random models with the architectures, tensors and tokens of public reward models, and what
each one's model card computes with them, written from the card.

One set of weights an architecture, with the heads of all its families beside the decoder.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedTokenizerFast
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

VOCABULARY = 640
HIDDEN = 64

TEXT = [
    "Janet\u2019s ducks lay 16 eggs per day. She eats three for breakfast. How many are left?",
    "Step 1: She eats 3 eggs, so 16 - 3 = 13 are left. ки\nStep 2: 13 + 2 = 15. The answer is 15. ки\n",
    "# Question\n\nHow many?\n\n# Solution\n\nSo + or - it is.\n\n# Answer\n\n15",
    "system user assistant Please reason step by step [INST] [/INST] + - + - ки ки ки",
] * 3

LLAMA_3_TEMPLATE = (
    "{{ bos_token }}<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
    "Today Date: 26 Jul 2024\n\n<|eot_id|>{% for m in messages %}<|start_header_id|>{{ m['role'] }}"
    "<|end_header_id|>\n\n{{ m['content'] | trim }}<|eot_id|>{% endfor %}{% if add_generation_prompt %}"
    "<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
QWEN_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def sentencepiece_like() -> PreTrainedTokenizerFast:
    """As Llama 2's and Mistral's: spaces are ▁, one is put before a text, bytes fall back, <s> begins.

    As in theirs, "ки" is a token and "▁ки" is none.
    """
    bytes_ = [f"<0x{n:02X}>" for n in range(256)]
    trained = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    trained.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="never")
    texts = [text.replace("\n", " ").replace(" ки", "") for text in TEXT]  # a newline is a byte, in no word
    texts += ["ки"] * 50
    special = ["<unk>", "<s>", "</s>"]
    trained.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=VOCABULARY - 1, special_tokens=[*special, *bytes_], show_progress=False,
    ))  # fmt: skip
    model = json.loads(trained.to_str())["model"]
    tokenizer = Tokenizer(models.BPE(
        vocab=model["vocab"], merges=[tuple(m) for m in model["merges"]], unk_token="<unk>", fuse_unk=True,
        byte_fallback=True,
    ))  # fmt: skip
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence(parts)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


def bytelevel(special: Sequence[str], bos: str | None, template: str) -> PreTrainedTokenizerFast:
    """As Llama 3's and Qwen2's: a byte-level BPE that splits where theirs do."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(TEXT, trainers.BpeTrainer(
        vocab_size=VOCABULARY - 32, initial_alphabet=alphabet, show_progress=False,
    ))  # fmt: skip
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in special])
    if bos and bos != "<|endoftext|>":  # Llama 3 puts it before any text, Qwen2 does not
        known = [(bos, tokenizer.token_to_id(bos))]
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=known)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=bos, eos_token=special[-1], chat_template=template
    )


LLAMA_3 = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
QWEN = ["<|im_start|>", "<|im_end|>", "<extra_0>", "<|endoftext|>"]

TOKENIZERS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "sentencepiece": sentencepiece_like,
    "llama3": lambda: bytelevel(LLAMA_3, "<|begin_of_text|>", LLAMA_3_TEMPLATE),
    "qwen": lambda: bytelevel(QWEN, None, QWEN_TEMPLATE),
    "skywork": lambda: bytelevel(QWEN, "<|endoftext|>", QWEN_TEMPLATE),
}


@dataclass(frozen=True)
class Published:
    """A public model as its card has it. weights: tensors by name. decoder: in float32."""

    decoder: Any
    weights: dict[str, torch.Tensor]
    tokenizer: PreTrainedTokenizerFast

    def hidden(self, ids: Sequence[int]) -> torch.Tensor:
        with torch.inference_mode():
            hidden: torch.Tensor = self.decoder(torch.tensor([list(ids)])).last_hidden_state[0]
        return hidden

    def logits(self, ids: Sequence[int]) -> torch.Tensor:
        return self.hidden(ids) @ self.weights["lm_head.weight"].T


def make_checkpoint(folder: Path, architecture: str, tokenizer: str, **more: Any) -> None:
    """Write weights, as published ones are named, a configuration and a tokenizer.

    more: fields of the configuration.
    """
    torch.manual_seed(7)
    config = AutoConfig.for_model(
        architecture, **{
            "vocab_size": VOCABULARY, "hidden_size": HIDDEN, "intermediate_size": 2 * HIDDEN,
            "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
            "max_position_embeddings": 1024, "tie_word_embeddings": False, "sliding_window": None,
            "bos_token_id": 1, "eos_token_id": 2, **more,
        },
    )  # fmt: skip
    decoder = AutoModel.from_config(config)
    weights = {f"model.{name}": tensor for name, tensor in decoder.state_dict().items()}
    shapes = {
        "lm_head.weight": (VOCABULARY, HIDDEN), "v_head.summary.weight": (1, HIDDEN),
        "v_head.summary.bias": (1,), "regression_head.weight": (1, HIDDEN),
        "score.0.weight": (HIDDEN, HIDDEN), "score.0.bias": (HIDDEN,),
        "score.2.weight": (2, HIDDEN), "score.2.bias": (2,),
    }  # fmt: skip
    weights |= {name: 0.3 * torch.randn(shape) for name, shape in shapes.items()}
    folder.mkdir(parents=True)
    save_file({k: v.contiguous() for k, v in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    fields = {**config.to_dict(), "architectures": ["ForProcessRewardModel"], "dtype": "float32",
              "auto_map": {"AutoModel": "modeling.NeverRun"}}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(fields))
    TOKENIZERS[tokenizer]().save_pretrained(folder)


def published(folder: Path, architecture: str) -> Published:
    from safetensors.torch import load_file

    weights = load_file(folder / "model.safetensors")
    fields = json.loads((folder / "config.json").read_text())
    config = AutoConfig.for_model(architecture, **{k: v for k, v in fields.items() if k != "model_type"})
    decoder = AutoModel.from_config(config).eval()
    own = {k.removeprefix("model."): v for k, v in weights.items() if k.startswith("model.")}
    decoder.load_state_dict(own)
    return Published(decoder, weights, AutoTokenizer.from_pretrained(folder))


# -- what the cards compute ------------------------------------------------------------------------


def math_shepherd(m: Published, question: str, steps: Sequence[str]) -> list[float]:
    tokenizer = m.tokenizer
    candidates = tokenizer.encode("+ -")[1:]
    tag = tokenizer.encode("ки")[-1]
    output = "\n".join(f"Step {n}: {step} ки" for n, step in enumerate(steps, 1))
    ids = tokenizer.encode(f"{question} {output}")
    scores = m.logits(ids)[:, candidates].softmax(-1)[:, 0]
    return scores[torch.tensor(ids) == tag].tolist()


def rlhflow(m: Published, question: str, steps: Sequence[str]) -> list[float]:
    tokenizer = m.tokenizer
    candidates = [tokenizer.encode("+")[-1], tokenizer.encode("-")[-1]]
    conversation: list[dict[str, str]] = []
    scores = []
    for n, step in enumerate(steps):
        conversation.append({"role": "user", "content": f"{question} {step}" if n == 0 else step})
        conversation.append({"role": "assistant", "content": "+"})
        text = tokenizer.apply_chat_template(conversation, tokenize=False)
        ids = tokenizer(text, add_special_tokens=False).input_ids
        scores.append(m.logits(ids)[-3, candidates].softmax(-1)[0].item())
    return scores


def skywork(m: Published, question: str, steps: Sequence[str]) -> list[float]:
    tokenizer = m.tokenizer
    ids = tokenizer.encode(tokenizer.bos_token + question + "\n")
    flags = [0] * len(ids)
    newline = tokenizer.encode("\n")[-1]
    for step in steps:
        of_step = [*tokenizer.encode(step), newline] if step else [newline]
        ids += of_step
        flags += [0] * (len(of_step) - 1) + [1]
    value = m.hidden(ids) @ m.weights["v_head.summary.weight"].T + m.weights["v_head.summary.bias"]
    return value[:, 0].sigmoid()[torch.tensor(flags) == 1].tolist()


def qwen(m: Published, question: str, steps: Sequence[str]) -> list[float]:
    tokenizer = m.tokenizer
    system = "Please reason step by step, and put your final answer within \\boxed{}."
    messages = [
        {"role": "system", "content": system},
        {"role": "user", "content": question},
        {"role": "assistant", "content": "<extra_0>".join(steps) + "<extra_0>"},
    ]  # fmt: skip
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=False)
    ids = tokenizer.encode(text)
    w = m.weights
    inner = (m.hidden(ids) @ w["score.0.weight"].T + w["score.0.bias"]).relu()
    logits = inner @ w["score.2.weight"].T + w["score.2.bias"]
    return logits.softmax(-1)[torch.tensor(ids) == tokenizer.encode("<extra_0>")[0], 1].tolist()


def llemma(m: Published, question: str, steps: Sequence[str]) -> list[float]:
    tokenizer = m.tokenizer
    begin = tokenizer.encode("\n\n# Solution", add_special_tokens=False)[1:]
    scoring = tokenizer.encode("\n\n", add_special_tokens=False)[1:]
    ids = tokenizer.encode("\n\n".join(["# Question", question, "# Solution", *steps]) + "\n\n")
    begun, positions = False, []
    for at in range(len(ids)):
        begun = begun or ids[at : at + len(begin)] == begin
        if begun and ids[at : at + len(scoring)] == scoring:
            positions.append(at)
    # The card deletes the position after "# Solution"; the first is that before it, in this reading.
    return m.logits(ids).mean(-1).sigmoid()[positions[-len(steps) :]].tolist()


def eurus(m: Published, question: str, steps: Sequence[str]) -> list[float]:
    """The card's one score, of the solution so far; a logit, here as a probability."""
    scores = []
    for n in range(1, len(steps) + 1):
        ids = m.tokenizer.encode(f"[INST] {question} [/INST] " + "\n".join(steps[:n]))
        scores.append((m.hidden(ids) @ m.weights["regression_head.weight"].T)[-1, 0].sigmoid().item())
    return scores


Reference = Callable[[Published, str, Sequence[str]], list[float]]

FAMILIES: dict[str, tuple[str, str, Reference]] = {
    "math-shepherd": ("mistral", "sentencepiece", math_shepherd),
    "eurus-rm-7b": ("mistral", "sentencepiece", eurus),
    "llemma-prm800k": ("llama", "sentencepiece", llemma),
    "rlhflow-mistral": ("llama", "llama3", rlhflow),
    "qwen-prm-7b": ("qwen2", "qwen", qwen),
    "skywork-1.5b": ("qwen2", "skywork", skywork),
}
"""By the zoo name of one of each family: architecture, tokenizer, what its card computes: P(right)."""
