"""python -m bench.builtin.make: train the built-in policy and reward models from nothing.

Stages, each kept in --work and not repeated: `pretrain` trains a small Llama on worked solutions;
an early checkpoint of it becomes the policy, its end the backbone of the reward model. `prm`
samples the policy's own solutions, labels every step by the exact checker, trains a 3-class head
and all below it, searches with the result for what it still gets wrong, and trains again. `weak`
does the same from the policy's own weights: a judge that knows no more than the policy. `card`
measures all of it on unseen problems and writes the model card.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM, LlamaForSequenceClassification

from bench.builtin.card import write_card
from bench.builtin.checker import label_steps
from bench.builtin.problems import PROMPT, WordProblem, generate
from bench.builtin.tokenizer import build_tokenizer
from bench.builtin.training import (
    IGNORED,
    Labelled,
    Size,
    accuracy,
    batches,
    encode_solution,
    fit,
    new_policy,
    pad,
    solutions,
    with_head,
)
from bench.models import load_models, resolve
from prm.labels import LabelledSolution, read_labels, until_first_error, write_labels
from prm.layout import LABELS, Layout, save_layout
from search import Node, Problem, Strategy, solve
from search.policies.stepping import Sampling
from search.segment import SEGMENTERS
from search.strategies.cot import ChainOfThought
from search.strategies.hgs import HGS

HERE = Path(__file__).parent
CHAT_TEMPLATE = "{{ 'Question: ' + messages[-1]['content'] + '\\n' }}"
"""`PROMPT`, as Jinja has it."""
LAYOUT = Layout(question=PROMPT)

POLICY, JUDGE = Size(hidden=128, layers=4), Size(hidden=128, layers=6)
BATCH = 2048
"""Tokens of a batch, padding included."""
LR = 3e-3
WARMUP = 30_000
"""Solutions until the longest are among them."""
POLICY_SOLVES = 0.5
"""Share of validation problems at which the policy's training stops."""
MOST_POLICY_STEPS = 8000
JUDGE_STEPS = 7000

SOLUTIONS = 20_000
"""Sampled and labelled in the first round."""
SEARCHED = 1_500
"""Problems searched in the second round; each gives several solutions."""
PRM_LR = 1e-3
PRM_TOKENS = 4096


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.builtin.make", description=__doc__)
    parser.add_argument(
        "--work",
        metavar="DIR",
        type=Path,
        default=Path("runs/builtin"),
        help="checkpoints, labels and logs (default runs/builtin)",
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, default=HERE, help="where the models go (default: this package)"
    )
    parser.add_argument("--stage", choices=STAGES, help="this one alone (default: all that are not done)")
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    for name in [asked.stage] if asked.stage else STAGES:
        done = asked.work / f"{name}.done"
        if done.exists() and not asked.stage:
            print(f"{name}: done before, kept in {asked.work}")
            continue
        STAGES[name](asked.work, asked.out)
        done.touch()


def policy(work: Path, out: Path) -> None:
    """The policy: a small model, stopped when it solves half of the problems."""
    model = new_policy(POLICY, seed=0)
    fit(
        model,
        batches(solutions(1, WARMUP), BATCH, 0),
        steps=MOST_POLICY_STEPS,
        lr=LR,
        decay=0.0,
        log=work / "policy.jsonl",
        evaluate=lambda: _measure(model),
        enough=lambda measured: measured["solved"] >= POLICY_SOLVES,
    )
    model.save_pretrained(work / "policy")
    _ship(model, out / "policy")


def backbone(work: Path, out: Path) -> None:
    """What the reward model starts from: deeper than the policy, and trained several times longer."""
    model = new_policy(JUDGE, seed=1)
    fit(
        model,
        batches(solutions(2, WARMUP), BATCH, 0),
        steps=JUDGE_STEPS,
        lr=LR,
        log=work / "backbone.jsonl",
        evaluate=lambda: _measure(model),
    )
    model.save_pretrained(work / "backbone")


def prm(work: Path, out: Path) -> None:
    """The reward model: two rounds of labels, the second from search with the first's result."""
    write_labels(work / "labels-1.jsonl", asyncio.run(sample_labels(out / "policy", SOLUTIONS)))
    model = with_head(LlamaForCausalLM.from_pretrained(work / "backbone").float(), LABELS)
    _train_prm(model, [work / "labels-1.jsonl"], work / "prm-1.jsonl")
    _ship(model, work / "prm-1", Layout())
    searched = asyncio.run(search_labels(out / "policy", work / "prm-1", SEARCHED))
    write_labels(work / "labels-2.jsonl", searched)
    _train_prm(model, [work / "labels-1.jsonl", work / "labels-2.jsonl"], work / "prm-2.jsonl")
    _ship(model, out / "prm", Layout())


def weak(work: Path, out: Path) -> None:
    """The reward model that knows no more than the policy: its own weights, the same labels."""
    model = with_head(LlamaForCausalLM.from_pretrained(work / "policy").float(), LABELS)
    _train_prm(model, [work / "labels-1.jsonl"], work / "prm-weak.jsonl")
    _ship(model, out / "prm-weak", Layout())


def card(work: Path, out: Path) -> None:
    write_card(work, out, labelled, encode_labels)


STAGES = {"policy": policy, "backbone": backbone, "prm": prm, "weak": weak, "card": card}


async def sample_labels(policy: Path, n: int) -> list[LabelledSolution]:
    """The policy's own solutions of training problems, at several temperatures, labelled."""
    problems = list(generate("train", 100, n))
    found = []
    for part, temperature in enumerate((0.6, 0.8, 1.0, 1.2)):
        strategy = ChainOfThought(temperature=temperature)
        async for problem, node in _searched(policy, None, strategy, problems[part::4], "chosen"):
            found.append(labelled(problem, [step.text.strip("\n") for step in node.steps], "train"))
    return found


async def search_labels(policy: Path, prm: Path, n: int) -> list[LabelledSolution]:
    """The paths that HGS takes with a reward model, its mistakes among them, labelled."""
    strategy = HGS(temperature=0.6, escalation=0.2, max_samples=40)
    paths: dict[tuple[str, str], LabelledSolution] = {}
    async for problem, node in _searched(policy, prm, strategy, list(generate("train", 200, n)), "judge"):
        steps = [step.text.strip("\n") for step in node.steps]
        paths.pop((problem.id, "\n".join(steps[:-1])), None)  # only whole paths are kept
        paths[problem.id, "\n".join(steps)] = labelled(problem, steps, "train")
    return list(paths.values())


async def _searched(
    policy: Path, prm: Path | None, strategy: Strategy, problems: Sequence[WordProblem], event: str
) -> AsyncIterator[tuple[WordProblem, Node]]:
    """Search the problems; yield the nodes that the engine tells of as `event`."""
    settings = resolve(
        policy=str(policy),
        prm=str(prm),
        engine=None,
        servers=(),
        dtype="auto",
        sampling=Sampling(),
        seeded=True,
        segmenter=SEGMENTERS["newline"],
        guided=prm is not None,
    )
    by_id = {problem.id: problem for problem in problems}
    seen: list[tuple[WordProblem, Node]] = []

    def watch(problem: Problem, told: str, node: Node) -> None:
        if told == event and node.step is not None and not node.step.is_blank:
            seen.append((by_id[problem.id], node))

    models = await load_models(settings)
    try:
        asked = [Problem(p.id, p.question) for p in problems]
        async for outcome in solve(asked, strategy, models.policy, models.scorer, watch=watch):
            if outcome.error:
                raise RuntimeError(f"{outcome.problem.id}: {outcome.error}")
    finally:
        await models.close()
    for found in seen:
        yield found


def labelled(problem: WordProblem, steps: Sequence[str], split: str) -> LabelledSolution:
    """Steps labelled by the exact checker, up to the first error."""
    kept, labels = until_first_error(steps, label_steps(problem, steps))
    return LabelledSolution(problem.question, kept, labels, "builtin", split, "checker")


def encode_labels(tokenizer: Any, layout: Layout, solution: LabelledSolution) -> Labelled:
    """Token ids, and the class to predict at the last token of each step."""
    ids = tokenizer(layout.question.replace("{question}", solution.question)).input_ids
    targets = [IGNORED] * len(ids)
    texts = [step.strip("\n").rstrip() + layout.separator for step in solution.steps]
    for piece, label in zip(tokenizer(texts).input_ids, solution.labels, strict=True):
        ids = ids + piece
        targets += [IGNORED] * (len(piece) - 1) + [label + 1]
    return Labelled(ids, targets)


def _train_prm(model: LlamaForSequenceClassification, files: Sequence[Path], log: Path) -> None:
    """One pass over the labels, in random order."""
    tokenizer = build_tokenizer()
    examples = [encode_labels(tokenizer, Layout(), s) for file in files for s in read_labels(file)]
    random.Random(0).shuffle(examples)
    data = list(batches(examples, PRM_TOKENS, 0))
    fit(model, iter(data), steps=len(data), lr=PRM_LR, log=log, evaluate=lambda step: {})


def _measure(model: LlamaForCausalLM) -> dict[str, float]:
    """On validation problems: how often the next token is right, and how often all of a solution's are.

    The latter is what greedy decoding solves in the very words of the worked solution.
    """
    tokenizer = build_tokenizer()
    right = []
    for ids, targets in batches(
        (encode_solution(tokenizer, problem) for problem in generate("validation", 1, 300)), 8192, 0
    ):
        said = model(input_ids=ids).logits.argmax(-1)
        right += [(s == t)[t != IGNORED] for s, t in zip(said, targets, strict=True)]
    return {
        "token_accuracy": float(torch.cat(right).float().mean()),
        "solved": sum(bool(r.all()) for r in right) / len(right),
    }


def _ship(model: Any, folder: Path, layout: Layout | None = None) -> None:
    """Save a standard checkpoint in bfloat16, its tokenizer beside it."""
    shutil.rmtree(folder, ignore_errors=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer = build_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    if layout is not None:
        save_layout(layout, folder)
    model.float()


if __name__ == "__main__":
    main()
