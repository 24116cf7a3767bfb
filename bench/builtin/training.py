"""Training the built-in models: one loop for the policy, the backbone and the reward models."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from rich.progress import track
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from bench.builtin.problems import PROMPT, Difficulty, WordProblem, generate
from bench.builtin.tokenizer import CONTEXT, build_tokenizer

IGNORED = -100
EVALUATE_EVERY = 250
HEAD = 32
"""Narrow heads, and many: what the models mostly do is look things up."""


@dataclass(frozen=True, slots=True)
class Size:
    """hidden: a multiple of HEAD, the width of an attention head."""

    hidden: int
    layers: int


@dataclass(frozen=True, slots=True)
class Labelled:
    """Token ids, and what is to be predicted at each: a token or class, or IGNORED."""

    token_ids: list[int]
    targets: list[int]


def new_policy(size: Size, seed: int) -> LlamaForCausalLM:
    """A Llama with random weights, in float32."""
    torch.manual_seed(seed)
    tokenizer = build_tokenizer()
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=-(-len(tokenizer) // 64) * 64,
            hidden_size=size.hidden,
            intermediate_size=3 * size.hidden,
            num_hidden_layers=size.layers,
            num_attention_heads=size.hidden // HEAD,
            num_key_value_heads=size.hidden // HEAD,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            attn_implementation="eager",  # for short texts on a CPU, a fifth faster than the fused one
        )
    )


def with_head(backbone: LlamaForCausalLM, labels: Sequence[str]) -> LlamaForSequenceClassification:
    """The backbone with a new classification head in place of its language-model head."""
    config = LlamaConfig(
        **{
            **backbone.config.to_dict(),
            "architectures": None,
            "tie_word_embeddings": False,
            "id2label": dict(enumerate(labels)),
            "label2id": {label: i for i, label in enumerate(labels)},
        }
    )
    model = LlamaForSequenceClassification(config)
    model.model.load_state_dict(backbone.model.state_dict())
    return model


def solutions(seed: int, warmup: int) -> Iterator[Labelled]:
    """Endless training solutions; the first `warmup` of them begin short and grow longer."""
    tokenizer = build_tokenizer()
    drawn = 0
    for round_ in count():
        grown = min(1.0, drawn / warmup)
        difficulty = Difficulty(min_steps=1 if grown < 1 else 2, max_steps=3 + round(5 * grown))
        for problem in generate("train", seed * 10**6 + round_, 500, difficulty):
            yield encode_solution(tokenizer, problem)
            drawn += 1


def encode_solution(tokenizer: Any, problem: WordProblem) -> Labelled:
    """The question, and the solution that is to be predicted."""
    question = tokenizer(PROMPT.format(question=problem.question)).input_ids
    solution = [*tokenizer("\n".join(problem.steps)).input_ids, tokenizer.eos_token_id]
    return Labelled(question + solution, [IGNORED] * (len(question) - 1) + solution + [IGNORED])


def batches(
    examples: Iterable[Labelled], tokens: int, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Padded batches of about `tokens` tokens, of examples of like length, in random order."""
    rng = random.Random(seed)
    pool: list[Labelled] = []
    for example in examples:
        pool.append(example)
        if len(pool) == 500:
            yield from _cut(pool, tokens, rng)
            pool = []
    yield from _cut(pool, tokens, rng)


def _cut(
    pool: list[Labelled], tokens: int, rng: random.Random
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    rows: list[list[Labelled]] = [[]]
    for example in sorted(pool, key=lambda e: len(e.token_ids)):
        if rows[-1] and (len(rows[-1]) + 1) * len(example.token_ids) > tokens:
            rows.append([])
        rows[-1].append(example)
    rng.shuffle(rows)
    for row in rows:
        if row:
            yield pad(row)


def pad(examples: Sequence[Labelled]) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded ids and targets, [B, L]. Causal attention needs no mask for it."""
    width = max(len(e.token_ids) for e in examples)
    ids = torch.zeros(len(examples), width, dtype=torch.long)
    targets = torch.full((len(examples), width), IGNORED)
    for row, example in enumerate(examples):
        ids[row, : len(example.token_ids)] = torch.tensor(example.token_ids)
        targets[row, : len(example.targets)] = torch.tensor(example.targets)
    return ids, targets


def fit(
    model: LlamaForCausalLM | LlamaForSequenceClassification,
    data: Iterator[tuple[torch.Tensor, torch.Tensor]],
    *,
    steps: int,
    lr: float,
    decay: float = 0.4,
    log: Path,
    evaluate: Callable[[], dict[str, float]],
    enough: Callable[[dict[str, float]], bool] = lambda measured: False,
) -> None:
    """Train with Muon on the matrices and AdamW on the rest; the learning rate falls to 0 over the
    last `decay` of the steps. Every EVALUATE_EVERY steps, what `evaluate` measures becomes a line
    of `log`; training ends early when that is `enough`.
    """
    head = model.lm_head if isinstance(model, LlamaForCausalLM) else model.score
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if not any(p is q for q in matrices)]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Muon(matrices, lr=lr, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    start, mean, tokens = perf_counter(), 0.0, 0
    log.unlink(missing_ok=True)
    model.train()
    for step, (ids, targets) in enumerate(track(data, log.stem, total=steps)):
        if step == steps:
            break
        rate = lr * min(1.0, (step + 1) / 100, (steps - step) / (decay * steps) if decay else 1.0)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        used = targets != IGNORED
        with torch.autocast(ids.device.type, torch.bfloat16):
            logits = head(model.model(input_ids=ids).last_hidden_state[used])
        loss = torch.nn.functional.cross_entropy(logits.float(), targets[used])
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        mean = loss.item() if step == 0 else 0.98 * mean + 0.02 * loss.item()
        tokens += int((ids != 0).sum())
        if (step + 1) % EVALUATE_EVERY == 0 or step + 1 == steps:
            model.eval()
            row = {"step": step + 1, "seconds": round(perf_counter() - start), "tokens": tokens, "loss": mean}
            with torch.inference_mode():
                measured = evaluate()
            with log.open("a") as file:
                file.write(json.dumps({**row, **measured}) + "\n")
            model.train()
            if enough(measured):
                break
    model.eval()


@torch.inference_mode()
def decode(
    model: LlamaForCausalLM, problems: Sequence[WordProblem], *, temperature: float = 0.0, seed: int = 0
) -> list[list[str]]:
    """One solution of each problem, as lines; sampled in large batches of like length."""
    torch.manual_seed(seed)
    tokenizer = build_tokenizer()
    tokenizer.padding_side = "left"
    lines: list[list[str]] = [[] for _ in problems]
    order = sorted(range(len(problems)), key=lambda i: len(problems[i].question))
    for begin in range(0, len(order), 256):
        chosen = order[begin : begin + 256]
        prompts = tokenizer([problems[i].question + "\n" for i in chosen], return_tensors="pt", padding=True)
        sampling = (
            {"do_sample": True, "temperature": temperature, "top_k": 0}
            if temperature
            else {"do_sample": False}
        )
        with torch.autocast("cpu", torch.bfloat16):
            out = model.generate(
                **{k: prompts[k] for k in ("input_ids", "attention_mask")}, max_new_tokens=320, **sampling
            )
        texts = tokenizer.batch_decode(out[:, prompts["input_ids"].shape[1] :], skip_special_tokens=True)
        for i, text in zip(chosen, texts, strict=True):
            lines[i] = text.split("\n")
    return lines


def accuracy(model: LlamaForCausalLM, problems: Sequence[WordProblem]) -> float:
    """Share of problems whose greedy solution ends in the right answer."""
    said = decode(model, problems)
    return sum(s[-1] == p.steps[-1] for s, p in zip(said, problems, strict=True)) / len(problems)
