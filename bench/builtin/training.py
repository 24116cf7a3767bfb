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
from bench.tasks.generated.problems import PROMPT, Difficulty, Relation, WordProblem, generate
from prm.data.labels import LabelledSolution
from prm.reading.layout import Layout
from prm.training.muon import Muon
from search.precision import has_bfloat16

IGNORED = -100
EVALUATE_EVERY = 250
RECALLED = 6
"""Most quantities in an exercise in recall."""
READ = 60
"""Solutions that a judge's backbone is measured on."""
SHUFFLED = 32
"""Batches that are put into random order together."""
HEAD_RATE = 10.0
"""How many times faster the classification head learns, which begins with small weights."""
WEIGHT_OF_END = 4.0
WEIGHT_OF_ERROR = 10.0
WEIGHT_AFTER_ERROR = 0.5
"""Of a label, in training a reward model: at a step's end, where an error begins, and from there on."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """Token ids, and what is to be predicted at each: a token or class, or IGNORED."""

    token_ids: list[int]
    targets: list[int]


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
    return encode_written(tokenizer, PROMPT.format(question=problem.question), "\n".join(problem.steps))


def read_before() -> list[list[int]]:
    """Token ids of solved training problems, to measure a judge's backbone on (`new_judge`)."""
    tokenizer = build_tokenizer()
    return [
        tokenizer(PROMPT.format(question=p.question) + "\n".join(p.steps) + "\n").input_ids
        for p in generate("train", 0, READ)
    ]


def encode_written(tokenizer: Any, question: str, solution: str) -> Labelled:
    """A filled prompt, and what is to be predicted after it: the solution, and its end."""
    given = tokenizer(question).input_ids
    written = [*tokenizer(solution).input_ids, tokenizer.eos_token_id]
    return Labelled(given + written, [IGNORED] * (len(given) - 1) + written + [IGNORED])


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
    ids = tokenizer(layout.template.question.replace("{question}", solution.question)).input_ids
    targets = [IGNORED] * len(ids)
    texts = [step.strip("\n").rstrip() + layout.template.separator for step in solution.steps]
    for piece, label in zip(tokenizer(texts).input_ids, solution.labels, strict=True):
        ids = ids + piece
        targets += [IGNORED] * (len(piece) - 1) + [label + 1]
    return Labelled(ids, targets)


def mistakes(seed: int) -> Iterator[Labelled]:
    """Endless solutions that go wrong (`bench.builtin.mistakes`), labelled token by token."""
    tokenizer = build_tokenizer()
    rng = random.Random(seed)
    for round_ in count():
        for problem in generate("train", seed * 10**6 + round_, 500):
            yield encode_attempt(tokenizer, problem, attempt(problem, rng))


def encode_attempt(tokenizer: Any, problem: WordProblem, steps: Sequence[Attempt]) -> Labelled:
    """Token ids, and a class at each token from which a step's class can be told: after its subject, the
    step's own; in a wrong step, negative from the first token on that should have been another.
    """
    ids = tokenizer(PROMPT.format(question=problem.question)).input_ids
    targets = [IGNORED] * len(ids)
    [colon], [answer] = tokenizer(":").input_ids, tokenizer(" answer").input_ids
    for step in steps:
        piece, right = tokenizer([f"{step.text}\n", f"{step.right}\n"]).input_ids
        told = next((i for i, token in enumerate(piece) if token in (colon, answer)), len(piece) - 1)
        if step.label < 0:
            same = next((i for i, (a, b) in enumerate(zip(piece, right, strict=False)) if a != b), 0)
            told = max(told, same)
        told = min(told, len(piece) - 1)
        ids = ids + piece
        targets += [IGNORED] * told + [step.label + 1] * (len(piece) - told)
    return Labelled(ids, targets)


def mixed(labelled: Sequence[Labelled], made_up: Iterator[Labelled], seed: int) -> Iterator[Labelled]:
    """Each labelled solution once, in random order, and as many made-up mistakes between them."""
    for example in random.Random(seed).sample(labelled, len(labelled)):
        yield example
        yield next(made_up)


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


Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From token ids and targets, [B, L] each, to what is to be made small."""


def language_loss(model: LlamaForCausalLM) -> Loss:
    """Nats a token."""

    def loss(ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = model(input_ids=ids, use_cache=False).logits
        return cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED)

    return loss


def judge_loss(model: LlamaForSequenceClassification) -> Loss:
    """Nats a label, weighted: what matters is the end of a step, and where an error begins."""
    [newline] = build_tokenizer()("\n").input_ids

    def loss(ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        used, negative = targets != IGNORED, targets == 0
        begun = torch.zeros_like(negative)
        begun[:, 1:] = negative[:, :-1]
        weight = torch.ones_like(targets, dtype=torch.float32)
        weight[negative & begun] = WEIGHT_AFTER_ERROR
        weight[negative & ~begun] = WEIGHT_OF_ERROR
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
    """Train what is not frozen, with Muon on the matrices and AdamW on the rest; the learning rate falls
    to 0 over the last `decay` of the steps. What `evaluate` measures every `every` steps becomes a line of
    `log`; training ends early when that is `enough`.
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
    """How often the next token is right, and how often all of a solution's are.

    The latter is what greedy decoding solves in the very words of the worked solution.
    """
    right = []
    for ids, targets in batches(examples, 8192, 0):
        said = model(input_ids=ids).logits.argmax(-1)
        right += [(s == t)[t != IGNORED] for s, t in zip(said, targets, strict=True)]
    return {
        "token_accuracy": float(torch.cat(right).float().mean()),
        "solved": sum(bool(r.all()) for r in right) / len(right),
    }


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
