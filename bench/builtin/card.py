"""The built-in models' card: what they can do on problems they never saw, and how they got there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM, LlamaForSequenceClassification

from bench.builtin.problems import WordProblem, generate
from bench.builtin.tokenizer import build_tokenizer
from bench.builtin.training import IGNORED, Labelled, batches, decode
from bench.stats import wilson
from prm.labels import LabelledSolution
from prm.layout import Layout

MEASURED_ON = 1000
"""Problems of the test split, none of them used in training or tuning."""


def write_card(work: Path, out: Path, labelled: Any, encode: Any) -> None:
    """Measure the shipped models and write `README.md`, `metrics.json` and `curves.png` to `out`.

    labelled, encode: how a solution is labelled and encoded (see `bench.builtin.make`).
    """
    policy = LlamaForCausalLM.from_pretrained(out / "policy").float().eval()
    backbone = LlamaForCausalLM.from_pretrained(work / "backbone").float().eval()
    problems = list(generate("test", 0, MEASURED_ON))
    metrics: dict[str, Any] = {
        "policy": _accuracy(policy, problems),
        "backbone": _accuracy(backbone, problems),
        "megabytes": round(sum(p.stat().st_size for p in out.glob("*/*.safetensors")) / 1e6, 1),
    }
    said = decode(policy, problems, temperature=0.8, seed=1)
    unseen = [labelled(p, lines, "test") for p, lines in zip(problems, said, strict=True)]
    for name in ("prm", "prm-weak"):
        model = LlamaForSequenceClassification.from_pretrained(out / name).float().eval()
        metrics[name] = judge_metrics(model, [encode(build_tokenizer(), Layout(), s) for s in unseen])
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    _draw(work, out / "curves.png")
    (out / "README.md").write_text(_card(metrics, unseen))


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


def _accuracy(model: LlamaForCausalLM, problems: Sequence[WordProblem]) -> dict[str, Any]:
    said = decode(model, problems)
    right = [lines[-1] == p.steps[-1] for lines, p in zip(said, problems, strict=True)]
    by_steps: dict[int, list[bool]] = {}
    for problem, correct in zip(problems, right, strict=True):
        by_steps.setdefault(problem.n_steps, []).append(correct)
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "greedy": sum(right) / len(right),
        "ci95": wilson(sum(right), len(right)),
        "by_steps": {n: round(sum(r) / len(r), 3) for n, r in sorted(by_steps.items())},
    }


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _draw(work: Path, path: Path) -> None:
    """Loss curves of all stages, and greedy accuracy of the pretraining run."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), constrained_layout=True)
    first, second = _read(work / "pretrain-1.jsonl"), _read(work / "pretrain-2.jsonl")
    offset = first[-1]["step"]
    steps = [r["step"] for r in first] + [offset + r["step"] for r in second]
    rows = first + second
    left.plot(steps, [r["loss"] for r in rows], color="tab:blue", label="training loss (nats a token)")
    greedy = [(s, r["greedy"]) for s, r in zip(steps, rows, strict=True) if "greedy" in r]
    left.plot(*zip(*greedy, strict=True), color="tab:green", marker=".", label="greedy accuracy, validation")
    left.axvline(offset, color="grey", linewidth=0.8, linestyle=":")
    left.set(xlabel="step", ylim=(0, 1), title="pretraining: policy, then backbone")
    left.legend()
    for name, label in (("prm-1", "prm, round 1"), ("prm-2", "prm, round 2"), ("prm-weak", "weak prm")):
        rows = _read(work / f"{name}.jsonl")
        right.plot([r["step"] for r in rows], [r["loss"] for r in rows], marker=".", label=label)
    right.set(xlabel="step", ylim=(0, None), title="reward models: training loss (nats a step)")
    right.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _card(metrics: dict[str, Any], unseen: Sequence[LabelledSolution]) -> str:
    def percent(value: float) -> str:
        return f"{100 * value:.1f} %"

    def interval(bounds: Sequence[float]) -> str:
        return f"[{100 * bounds[0]:.1f}, {100 * bounds[1]:.1f}]"

    policy, backbone = metrics["policy"], metrics["backbone"]
    wrong = sum(-1 in s.labels for s in unseen)
    lines = [
        "# The built-in models",
        "",
        "Made by `python -m bench.builtin.make`, which also wrote this page. All are Llamas of "
        f"{policy['parameters'] / 1e6:.2f} M parameters in bfloat16, {metrics['megabytes']} MB "
        f"together. Everything below is measured on {MEASURED_ON} problems of the test split, which training "
        "never saw: a problem's split is a hash of the problem itself.",
        "",
        "- `policy`: writes one step a line. An early checkpoint of the pretraining run.",
        "- `prm`: judges each step as negative, neutral or positive. Its backbone is the end of the "
        "same run; labels are the exact checker's, of the policy's own samples.",
        "- `prm-weak`: the same labels of the first round, but its backbone is the policy itself: a "
        "judge that knows no more than what it judges.",
        "",
        "| greedy decoding | all [95 %] | " + " | ".join(f"{n} steps" for n in policy["by_steps"]) + " |",
        "|---|---|" + "---|" * len(policy["by_steps"]),
    ]
    for name, row in (("policy", policy), ("backbone of `prm`", backbone)):
        cells = " | ".join(percent(v) for v in row["by_steps"].values())
        lines.append(f"| {name} | {percent(row['greedy'])} {interval(row['ci95'])} | {cells} |")
    lines += [
        "",
        f"Steps of the policy's solutions sampled at temperature 0.8, up to the first error ({wrong} of "
        f"{len(unseen)} solutions hold one):",
        "",
        "| | steps | accuracy | negatives: precision [95 %] | negatives: recall [95 %] | neutral: recall "
        "| positive: recall |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in ("prm", "prm-weak"):
        m = metrics[name]
        lines.append(
            f"| `{name}` | {m['steps']:,} | {percent(m['accuracy'])} | {percent(m['precision']['negative'])} "
            f"{interval(m['negative_precision_ci95'])} | {percent(m['recall']['negative'])} "
            f"{interval(m['negative_recall_ci95'])} | {percent(m['recall']['neutral'])} "
            f"| {percent(m['recall']['positive'])} |"
        )
    return "\n".join([*lines, "", "![loss curves](curves.png)", ""])
