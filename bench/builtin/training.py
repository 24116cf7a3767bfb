"""Training the built-in models: one loop for the policy, the backbone and the reward models."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from rich.progress import track
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from bench.builtin.problems import PROMPT, Difficulty, Relation, WordProblem, generate
from bench.builtin.tokenizer import CONTEXT, build_tokenizer
from bench.stats import wilson
from prm.labels import LabelledSolution
from prm.layout import Layout

IGNORED = -100
EVALUATE_EVERY = 250
SHARP = 6
"""Rotary frequencies, the highest, by which a distance is told from its neighbours."""
RECALLED = 6
"""Most quantities in an exercise in recall."""
SHUFFLED = 32
"""Batches that are put into random order together."""
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
    """A Llama in float32, with random weights but for `_wire_induction`."""
    torch.manual_seed(seed)
    tokenizer = build_tokenizer()
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=-(-len(tokenizer) // 64) * 64,
            hidden_size=size.hidden,
            intermediate_size=3 * size.hidden,
            num_hidden_layers=size.layers,
            num_attention_heads=size.hidden // HEAD,
            num_key_value_heads=size.hidden // HEAD,
            max_position_embeddings=CONTEXT,
            rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            attn_implementation="eager",  # for short texts on a CPU, a fifth faster than the fused one
        )
    )
    _wire_induction(model)
    return model


@torch.no_grad()
def _wire_induction(model: LlamaForCausalLM) -> None:
    """Let the model begin with an induction head (Olsson et al. 2022, arXiv:2209.11895).

    Finding the value that stands beside a name takes two layers that are of no use without each other,
    which a small model does not discover in the time there is. So the weights begin as what training
    tends to make of them (mimetic initialisation, Trockman and Kolter 2023, arXiv:2305.09828), and
    training takes it from there. In the first layer, heads look one, two and three tokens back: all
    embeddings share one component, and queries and keys made of it meet, by the rotary angles, at one
    distance. What they see there goes to parts of the hidden state of its own. In the second layer, a
    head at a token that comes after X leans towards the tokens that come two after an earlier X, and
    says what stands there: after "Ann has", the 7 of "Ann has 7".
    """
    first, second = (layer.self_attn for layer in model.model.layers[:2])
    hidden, half = model.config.hidden_size, HEAD // 2
    shared, own = 0, slice(1, hidden - 2 * HEAD)
    before, before_that = slice(hidden - 2 * HEAD, hidden - HEAD), slice(hidden - HEAD, hidden)
    embedding = model.model.embed_tokens.weight
    embedding[:, shared], embedding[:, hidden - 2 * HEAD :] = 10 * embedding.std(), 0.0

    angles = model.model.rotary_emb.inv_freq[:SHARP]
    for head in range(3):
        rows = slice(head * HEAD, (head + 1) * HEAD)
        query, key = first.q_proj.weight[rows], first.k_proj.weight[rows]
        query[:, shared], key[:, shared] = 0.0, 0.0
        query[:SHARP, shared] = torch.cos(angles * (head + 1))
        query[half : half + SHARP, shared] = -torch.sin(angles * (head + 1))
        key[:SHARP, shared] = 1.0
    seen = torch.nn.init.orthogonal_(torch.empty(HEAD, hidden - 2 * HEAD - 1))
    for head, part in enumerate((before, before_that)):
        rows = slice(head * HEAD, (head + 1) * HEAD)
        first.v_proj.weight[rows] = 0.0
        first.v_proj.weight[rows, own] = seen
        first.o_proj.weight[:, rows] = 0.0
        first.o_proj.weight[part, rows] = embedding.std() * torch.eye(HEAD)

    slow = [*range(half // 2, half), *range(half + half // 2, HEAD)]  # angles that hardly turn in a text
    compared = 2.5 * torch.nn.init.orthogonal_(torch.empty(len(slow), HEAD))
    for projection, part in ((second.q_proj, before), (second.k_proj, before_that)):
        projection.weight[:HEAD] = 0.0
        projection.weight[slow, part] = compared
    said = torch.nn.init.orthogonal_(torch.empty(HEAD, hidden - 2 * HEAD - 1))
    second.v_proj.weight[:HEAD] = 0.0
    second.v_proj.weight[:HEAD, own] = said
    second.o_proj.weight[:, :HEAD] = 0.0
    second.o_proj.weight[own, :HEAD] = embedding.std() * said.T


def with_head(backbone: LlamaForCausalLM, labels: Sequence[str]) -> LlamaForSequenceClassification:
    """The backbone, in float32, with a new classification head in place of its language-model head."""
    config = LlamaConfig(
        **{
            **backbone.config.to_dict(),
            "architectures": None,
            "dtype": "float32",
            "attn_implementation": "eager",
            "tie_word_embeddings": False,
            "id2label": dict(enumerate(labels)),
            "label2id": {label: i for i, label in enumerate(labels)},
        }
    )
    model = LlamaForSequenceClassification(config)
    model.model.load_state_dict(backbone.model.state_dict())
    return model


def solutions(seed: int, warmup: int) -> Iterator[Labelled]:
    """Endless training solutions, each with an exercise in recall after its end.

    The first `warmup` of them begin short and grow longer.
    """
    tokenizer = build_tokenizer()
    rng = random.Random(seed)
    drawn = 0
    for round_ in count():
        grown = min(1.0, drawn / warmup)
        difficulty = Difficulty(min_steps=1 if grown < 1 else 2, max_steps=3 + round(5 * grown))
        for problem in generate("train", seed * 10**6 + round_, 500, difficulty):
            solution, recall = encode_solution(tokenizer, problem), encode_recall(tokenizer, problem, rng)
            yield Labelled(solution.token_ids + recall.token_ids, solution.targets + recall.targets)
            drawn += 1


def encode_solution(tokenizer: Any, problem: WordProblem) -> Labelled:
    """The question, and the solution that is to be predicted."""
    question = tokenizer(PROMPT.format(question=problem.question)).input_ids
    solution = [*tokenizer("\n".join(problem.steps)).input_ids, tokenizer.eos_token_id]
    return Labelled(question + solution, [IGNORED] * (len(question) - 1) + solution + [IGNORED])


def encode_recall(tokenizer: Any, problem: WordProblem, rng: random.Random) -> Labelled:
    """Known quantities in any order, said as a step says them: " Ann has 7."; the values are predicted.

    In a solution, the value to look up is too often the last one found for looking up to be learned.
    """
    needed = problem.needed()
    known = [q for q in problem.quantities if q.name in needed or q.relation is Relation.GIVEN]
    ids, targets = list[int](), list[int]()
    for quantity in rng.sample(known, min(RECALLED, len(known))):
        piece = tokenizer(f" {quantity.name} {problem.verb} {quantity.value}.").input_ids
        ids += piece
        targets += [*[IGNORED] * (len(piece) - 3), piece[-2], IGNORED, IGNORED]
    return Labelled(ids, targets)


def encode_labels(tokenizer: Any, layout: Layout, solution: LabelledSolution) -> Labelled:
    """Token ids, and the class to predict at the last token of each step."""
    ids = tokenizer(layout.question.replace("{question}", solution.question)).input_ids
    targets = [IGNORED] * len(ids)
    texts = [step.strip("\n").rstrip() + layout.separator for step in solution.steps]
    for piece, label in zip(tokenizer(texts).input_ids, solution.labels, strict=True):
        ids = ids + piece
        targets += [IGNORED] * (len(piece) - 1) + [label + 1]
    return Labelled(ids, targets)


def batches(
    examples: Iterable[Labelled], tokens: int, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of at most `tokens` tokens, padding included, of examples of like length, shuffled."""
    rng = random.Random(seed)
    by_width: dict[int, list[Labelled]] = defaultdict(list)
    full: list[list[Labelled]] = []
    for example in examples:
        width = _width(example)
        if by_width[width] and (len(by_width[width]) + 1) * width > tokens:
            full.append(by_width.pop(width))
        by_width[width].append(example)
        if len(full) == SHUFFLED:
            rng.shuffle(full)
            yield from map(pad, full)
            full = []
    full += filter(None, by_width.values())
    rng.shuffle(full)
    yield from map(pad, full)


def _width(example: Labelled) -> int:
    """Its length, rounded up: a kernel is made for each shape of a batch, so there are to be few."""
    return -(-len(example.token_ids) // 32) * 32


def pad(examples: Sequence[Labelled]) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded ids and targets, [B, L]. Causal attention needs no mask for it."""
    width = max(map(_width, examples))
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
        with torch.autocast(ids.device.type, torch.bfloat16):
            logits = head(model.model(input_ids=ids, use_cache=False).last_hidden_state)
        loss = cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
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
def judge_metrics(model: LlamaForSequenceClassification, examples: Sequence[Labelled]) -> dict[str, Any]:
    """Confusion matrix [truth][said] over classes negative, neutral, positive; and what follows."""
    confusion = torch.zeros(3, 3, dtype=torch.long)
    for ids, targets in batches(examples, 16_384, 0):
        said = model.score(model.model(input_ids=ids).last_hidden_state).argmax(-1)
        used = targets != IGNORED
        for truth, label in zip(targets[used].tolist(), said[used].tolist(), strict=True):
            confusion[truth, label] += 1
    right, truths, says = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    named = ("negative", "neutral", "positive")
    return {
        "confusion": confusion.tolist(),
        "steps": int(confusion.sum()),
        "accuracy": float(right.sum() / confusion.sum()),
        "precision": {n: float(right[i] / max(1, int(says[i]))) for i, n in enumerate(named)},
        "recall": {n: float(right[i] / max(1, int(truths[i]))) for i, n in enumerate(named)},
        "negative_precision_ci95": wilson(int(right[0]), int(says[0])),
        "negative_recall_ci95": wilson(int(right[0]), int(truths[0])),
    }
