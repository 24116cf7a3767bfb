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
from transformers import LlamaForCausalLM, LlamaForSequenceClassification

from bench.builtin.mistakes import Attempt, attempt
from bench.builtin.tokenizer import build_tokenizer
from bench.report.stats import wilson
from bench.tasks.generated.graph import Difficulty, Relation
from bench.tasks.generated.problems import PROMPT, WordProblem, generate
from prm.data.labels import LabelledSolution
from prm.reading.layout import Layout
from prm.training.muon import Muon
from search.precision import has_bfloat16

IGNORED = -100
EVALUATE_EVERY = 250
RECALLED = 6
"""The largest number of quantities in a recall exercise."""
SAMPLES = 60
"""Solutions on which the backbone of a reward model is measured."""
SHUFFLED = 32
"""Number of batches that are shuffled together."""
HEAD_RATE = 10.0
"""Learning rate of the classification head relative to the rest: its initial weights are small."""
WEIGHT_OF_END = 4.0
WEIGHT_OF_ERROR = 10.0
WEIGHT_AFTER_ERROR = 0.5
"""Weights of labels in a reward model's loss: at the end of a step, where an error begins, and after it."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """Token ids and the target at each: a token or class, or IGNORED. Both are [tokens]."""

    token_ids: list[int]
    targets: list[int]


def solutions(seed: int, warmup: int) -> Iterator[Labelled]:
    """Unlimited training solutions, each followed by a recall exercise.

    Over the first `warmup` solutions, their length grows from short to full.
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
    """A question, and its worked solution as the target."""
    return encode_written(tokenizer, PROMPT.format(question=problem.question), "\n".join(problem.steps))


def backbone_samples() -> list[list[int]]:
    """Token ids of training problems with their solutions, the `samples` of `prm_network.new_prm`."""
    tokenizer = build_tokenizer()
    return [
        tokenizer(PROMPT.format(question=p.question) + "\n".join(p.steps) + "\n").input_ids
        for p in generate("train", 0, SAMPLES)
    ]


def encode_written(tokenizer: Any, question: str, solution: str) -> Labelled:
    """A filled prompt, and as targets the solution and the end-of-sequence token after it."""
    given = tokenizer(question).input_ids
    written = [*tokenizer(solution).input_ids, tokenizer.eos_token_id]
    return Labelled(given + written, [IGNORED] * (len(given) - 1) + written + [IGNORED])


def encode_recall(tokenizer: Any, problem: WordProblem, rng: random.Random) -> Labelled:
    """A recall exercise: known quantities in random order, worded as in a step (" Ann has 7.").

    The targets are the values. Solutions alone do not teach looking a value up, because the value that a
    step needs is too often the one calculated last.
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
    """Token ids, and as targets the class of each step at its last token."""
    ids = tokenizer(layout.template.question.replace("{question}", solution.question)).input_ids
    targets = [IGNORED] * len(ids)
    texts = [step.strip("\n").rstrip() + layout.template.separator for step in solution.steps]
    for piece, label in zip(tokenizer(texts).input_ids, solution.labels, strict=True):
        ids = ids + piece
        targets += [IGNORED] * (len(piece) - 1) + [label + 1]
    return Labelled(ids, targets)


def mistakes(seed: int) -> Iterator[Labelled]:
    """Unlimited solutions with synthetic mistakes (`bench.builtin.mistakes`), labelled token by token."""
    tokenizer = build_tokenizer()
    rng = random.Random(seed)
    for round_ in count():
        for problem in generate("train", seed * 10**6 + round_, 500):
            yield encode_attempt(tokenizer, problem, attempt(problem, rng))


def encode_attempt(tokenizer: Any, problem: WordProblem, steps: Sequence[Attempt]) -> Labelled:
    """Token ids, and as targets the class of each step at every token that reveals it.

    These are the tokens after the step's subject. In a wrong step, they begin at the first token that
    differs from the correct step.
    """
    ids = tokenizer(PROMPT.format(question=problem.question)).input_ids
    targets = [IGNORED] * len(ids)
    [colon], [answer] = tokenizer(":").input_ids, tokenizer(" answer").input_ids
    for step in steps:
        piece, right = tokenizer([f"{step.text}\n", f"{step.right}\n"]).input_ids
        start = next((i for i, token in enumerate(piece) if token in (colon, answer)), len(piece) - 1)
        if step.label < 0:
            differs = next((i for i, (a, b) in enumerate(zip(piece, right, strict=False)) if a != b), 0)
            start = max(start, differs)
        start = min(start, len(piece) - 1)
        ids = ids + piece
        targets += [IGNORED] * start + [step.label + 1] * (len(piece) - start)
    return Labelled(ids, targets)


def mixed(labelled: Sequence[Labelled], synthetic: Iterator[Labelled], seed: int) -> Iterator[Labelled]:
    """Each labelled solution once, in random order, alternating with as many synthetic mistakes."""
    for example in random.Random(seed).sample(labelled, len(labelled)):
        yield example
        yield next(synthetic)


def batches(
    examples: Iterable[Labelled], tokens: int, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Shuffled batches of examples of similar length, at most `tokens` tokens each, including padding."""
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
    """The padded length. It is rounded up, because a kernel is compiled for each shape of a batch."""
    return -(-len(example.token_ids) // 32) * 32


def pad(examples: Sequence[Labelled]) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded ids and targets, [B, L]. With causal attention, right padding needs no mask."""
    width = max(map(_width, examples))
    ids = torch.zeros(len(examples), width, dtype=torch.long)
    targets = torch.full((len(examples), width), IGNORED)
    for row, example in enumerate(examples):
        ids[row, : len(example.token_ids)] = torch.tensor(example.token_ids)
        targets[row, : len(example.targets)] = torch.tensor(example.targets)
    return ids, targets


Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From token ids and targets, [B, L] each, to the loss to minimize."""


def language_loss(model: LlamaForCausalLM) -> Loss:
    """Cross-entropy, in nats per token."""

    def loss(ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = model(input_ids=ids, use_cache=False).logits
        return cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED)

    return loss


def prm_loss(model: LlamaForSequenceClassification) -> Loss:
    """Weighted cross-entropy, in nats per label. Ends of steps and beginnings of errors weigh most."""
    [newline] = build_tokenizer()("\n").input_ids

    def loss(ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        used, negative = targets != IGNORED, targets == 0
        after_error = torch.zeros_like(negative)
        after_error[:, 1:] = negative[:, :-1]
        weight = torch.ones_like(targets, dtype=torch.float32)
        weight[negative & after_error] = WEIGHT_AFTER_ERROR
        weight[negative & ~after_error] = WEIGHT_OF_ERROR
        weight[ids == newline] = WEIGHT_OF_END
        logits = model.score(model.model(input_ids=ids, use_cache=False).last_hidden_state[used])
        each = cross_entropy(logits.float(), targets[used], reduction="none")
        return (each * weight[used]).sum() / weight[used].sum()

    return loss


def fit(
    model: LlamaForCausalLM | LlamaForSequenceClassification,
    loss_of: Loss,
    data: Iterator[tuple[torch.Tensor, torch.Tensor]],
    *,
    steps: int,
    lr: float,
    decay: float,
    log: Path,
    evaluate: Callable[[], dict[str, Any]],
    every: int = EVALUATE_EVERY,
    enough: Callable[[dict[str, Any]], bool] = lambda measured: False,
) -> None:
    """Train all weights that are not frozen, with Muon on the matrices and AdamW on the rest.

    lr: the peak learning rate. decay: share of the steps over which it falls to 0 at the end.
    log: JSON lines, one for every `every` steps, with what `evaluate` returns.
    enough: whether these measurements are good enough to end training early.
    """
    live = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in model.model.layers.parameters() if p.requires_grad and p.ndim == 2]
    head = [model.score.weight] if isinstance(model, LlamaForSequenceClassification) else []
    others = [p for p in live if not any(p is q for q in [*matrices, *head])]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "matrices": True, "weight_decay": 0.01},
        {"params": others},
        {"params": head, "times": HEAD_RATE},
    ]
    optimizer = Muon([g for g in groups if g["params"]], lr=lr, betas=(0.9, 0.95), weight_decay=0.0)
    start, mean, tokens = perf_counter(), 0.0, 0
    log.unlink(missing_ok=True)
    model.train()
    for step, (ids, targets) in enumerate(track(data, log.stem, total=steps)):
        if step == steps:
            break
        rate = lr * min(1.0, (step + 1) / 100, (steps - step) / (decay * steps))
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("times", 1.0)
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=has_bfloat16()):
            loss = loss_of(ids, targets)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(live, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        mean = loss.item() if step == 0 else 0.98 * mean + 0.02 * loss.item()
        tokens += int((ids != 0).sum())
        if (step + 1) % every == 0 or step + 1 == steps:
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
def solved(model: LlamaForCausalLM, examples: Sequence[Labelled]) -> dict[str, float]:
    """The share of tokens that are predicted correctly, and of solutions in which all tokens are.

    The latter is the share that greedy decoding solves exactly as the worked solution does.
    """
    right = []
    for ids, targets in batches(examples, 8192, 0):
        predicted = model(input_ids=ids).logits.argmax(-1)
        right += [(p == t)[t != IGNORED] for p, t in zip(predicted, targets, strict=True)]
    return {
        "token_accuracy": float(torch.cat(right).float().mean()),
        "solved": sum(bool(r.all()) for r in right) / len(right),
    }


@torch.inference_mode()
def prm_metrics(model: LlamaForSequenceClassification, examples: Sequence[Labelled]) -> dict[str, Any]:
    """The confusion matrix [truth][prediction] of negative, neutral and positive, and metrics based on it."""
    confusion = torch.zeros(3, 3, dtype=torch.long)
    for ids, targets in batches(examples, 16_384, 0):
        predicted = model.score(model.model(input_ids=ids).last_hidden_state).argmax(-1)
        used = targets != IGNORED
        for truth, label in zip(targets[used].tolist(), predicted[used].tolist(), strict=True):
            confusion[truth, label] += 1
    right, truths, predictions = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    named = ("negative", "neutral", "positive")
    return {
        "confusion": confusion.tolist(),
        "steps": int(confusion.sum()),
        "accuracy": float(right.sum() / confusion.sum()),
        "precision": {n: float(right[i] / max(1, int(predictions[i]))) for i, n in enumerate(named)},
        "recall": {n: float(right[i] / max(1, int(truths[i]))) for i, n in enumerate(named)},
        "negative_precision_ci95": wilson(int(right[0]), int(predictions[0])),
        "negative_recall_ci95": wilson(int(right[0]), int(truths[0])),
    }
