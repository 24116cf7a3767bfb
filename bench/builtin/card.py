"""The built-in models' card: their accuracy on unseen problems, and their training curves."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from transformers import LlamaForSequenceClassification
from transformers.utils import logging

from bench.builtin.sampling import labelled, written
from bench.builtin.tokenizer import build_tokenizer
from bench.builtin.training import encode_labels, prm_metrics
from bench.report.markdown import interval, percent
from bench.report.stats import wilson
from bench.tasks.generated.problems import WordProblem, generate
from prm.reading.layout import read_layout

MEASURED_ON = 1000
"""Problems of the test split. None of them is used in training or tuning."""
REWARD_MODELS = ("prm", "prm-weak")


def write_card(work: Path, out: Path) -> None:
    """Measure the models in `out`, and write `README.md`, `metrics.json` and `curves.png` there."""
    logging.disable_progress_bar()
    problems = list(generate("test", 0, MEASURED_ON))
    writers = {name: out / name for name in ("policy", "backbone")}
    weights = [path for name in (*writers, *REWARD_MODELS) for path in (out / name).glob("*.safetensors")]
    metrics: dict[str, Any] = {
        "megabytes": round(sum(path.stat().st_size for path in weights) / 1e6, 1),
        **{name: _accuracy(problems, written(path, problems, 0.0)) for name, path in writers.items()},
    }
    sampled = written(out / "policy", problems, 0.8)
    unseen = [labelled(p, lines, "test") for p, lines in zip(problems, sampled, strict=True) if lines]
    metrics["sampled_with_an_error"] = sum(-1 in s.labels for s in unseen)
    tokenizer = build_tokenizer()
    for name in REWARD_MODELS:
        layout = read_layout(str(out / name))
        model = LlamaForSequenceClassification.from_pretrained(out / name).float().eval()
        examples = [encode_labels(tokenizer, layout, s) for s in unseen]
        metrics[name] = {"parameters": model.num_parameters(), **prm_metrics(model, examples)}
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    _draw(work, out / "curves.png")
    (out / "README.md").write_text(_card(metrics))


def _accuracy(problems: Sequence[WordProblem], solutions: Sequence[list[str]]) -> dict[str, Any]:
    """The share of solutions that end in the right answer, in total and by number of steps."""
    by_steps: dict[int, list[bool]] = defaultdict(list)
    for problem, lines in zip(problems, solutions, strict=True):
        by_steps[problem.n_steps].append(lines[-1:] == [problem.steps[-1]])
    right = [r for group in by_steps.values() for r in group]
    return {
        "greedy": sum(right) / len(right),
        "ci95": wilson(sum(right), len(right)),
        "by_steps": {n: round(sum(r) / len(r), 3) for n, r in sorted(by_steps.items())},
    }


def _draw(work: Path, path: Path) -> None:
    """Plot the losses of all stages, and the metrics on validation problems during training."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    def curve(name: str) -> tuple[list[int], dict[str, list[float]]]:
        rows = [json.loads(line) for line in (work / f"{name}.jsonl").read_text().splitlines()]
        return [r["step"] for r in rows], {key: [r[key] for r in rows] for key in rows[0]}

    figure, panels = plt.subplots(2, 2, figsize=(10, 6.4), constrained_layout=True)
    for name in ("policy", "backbone"):
        steps, rows = curve(name)
        panels[0, 0].plot(steps, rows["loss"], label=name)
        panels[1, 0].plot(steps, rows["solved"], label=name)
    for name in REWARD_MODELS:
        parts = [curve(f"{name}-{part}") for part in range(3)]  # mistakes, then two rounds of labels
        ends = [0, *accumulate(steps[-1] for steps, _ in parts)]
        steps = [end + step for end, (own, _) in zip(ends, parts, strict=False) for step in own]
        rows = {key: [value for _, part in parts for value in part[key]] for key in parts[0][1]}
        panels[0, 1].plot(steps, rows["loss"], marker=".", label=name)
        [line] = panels[1, 1].plot(steps, rows["negative_recall"], marker=".", label=f"{name}: recall")
        panels[1, 1].plot(
            steps, rows["negative_precision"], linestyle=":", color=line.get_color(), label="precision"
        )
        for end in ends[1:-1]:
            panels[1, 1].axvline(end, color="0.8", zorder=0)
    panels[0, 0].set(yscale="log", title="language models: training loss (nats per token)")
    panels[1, 0].set(ylim=(0, 1), title="share of validation problems solved")
    panels[0, 1].set(yscale="log", title="reward models: training loss (nats per label)")
    panels[1, 1].set(ylim=(0, 1), title="negative steps of validation problems")
    for panel in panels.flat:
        panel.set_xlabel("step")
        panel.legend(fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _card(metrics: dict[str, Any]) -> str:
    policy = metrics["policy"]
    lines = [
        "# The built-in models",
        "",
        "`python -m bench.builtin.make` trains these models and writes this page. They are Llamas in "
        f"bfloat16, {metrics['megabytes']} MB together. All figures below are measured on {MEASURED_ON} "
        "problems of the test split, which training never saw: a hash of what a problem calculates decides "
        "its split.",
        "",
        "- `policy` writes one step per line. It has 4 layers, and its training stopped when it solved half "
        "of the validation problems.",
        "- `backbone` is a stronger policy, on which `prm` is built. It has 6 layers and was trained for "
        "longer.",
        "- `prm` scores each step as negative, neutral or positive. It is the backbone, frozen, with three "
        "new layers that compare the tokens it expected with those it reads (see `prm_network.py`). They are "
        "trained on synthetic mistakes, then on the exact checker's labels of solutions sampled from the "
        "policy and of steps found by searching with a first version of it.",
        "- `prm-weak` has the same training but is built on the policy itself, so it knows no more than the "
        "model it scores.",
        "",
        "The models of the code task, `code-policy` and `code-prm`, are trained by "
        "`python -m bench.builtin.make_code`.",
        "",
        "| greedy decoding | all [95 %] | " + " | ".join(f"{n} steps" for n in policy["by_steps"]) + " |",
        "|---|---|" + "---|" * len(policy["by_steps"]),
    ]
    for name, row in (("`policy`", policy), ("`backbone`", metrics["backbone"])):
        cells = " | ".join(map(percent, row["by_steps"].values()))
        lines.append(f"| {name} | {percent(row['greedy'])} {interval(row['ci95'])} | {cells} |")
    lines += [
        "",
        "Steps of solutions that the policy sampled at temperature 0.8, up to the first error "
        f"({metrics['sampled_with_an_error']} of {MEASURED_ON} solutions contain one):",
        "",
        "| | parameters | steps | accuracy | negatives: precision [95 %] | negatives: recall [95 %] "
        "| neutral: recall | positive: recall |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in REWARD_MODELS:
        m = metrics[name]
        lines.append(
            f"| `{name}` | {m['parameters'] / 1e6:.2f} M | {m['steps']:,} | {percent(m['accuracy'])} "
            f"| {percent(m['precision']['negative'])} {interval(m['negative_precision_ci95'])} "
            f"| {percent(m['recall']['negative'])} {interval(m['negative_recall_ci95'])} "
            f"| {percent(m['recall']['neutral'])} | {percent(m['recall']['positive'])} |"
        )
    return "\n".join([*lines, "", "![loss curves](curves.png)", ""])
