"""The study's tables in Markdown, and its plot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.report.markdown import accuracy, interval, paired, percent, table

Row = Mapping[str, Any]

SHOWN = {"hgs": "HGS", "best_of_n": "best-of-N", "weighted_vote": "weighted vote"}


def _step_cells(steps: Row) -> list[str]:
    """A reward model's metrics on single steps."""
    recall = f"{percent(steps['recall']['negative'])} {interval(steps['negative_recall_ci95'])}"
    return [percent(steps["accuracy"]), recall, percent(steps["precision"]["negative"])]


STEP_HEADS = ("accuracy", "wrong steps found [95 %]", "precision on wrong steps")


def _gain_cells(row: Row) -> list[str]:
    """The gains of the strategies over greedy decoding, and of HGS over the other two."""
    shown = [paired(row[strategy]["versus"]) for strategy in SHOWN]
    return [*shown, paired(row["best_of_n"]["hgs_over_it"]), paired(row["weighted_vote"]["hgs_over_it"])]


GAIN_HEADS = (*SHOWN.values(), "HGS over best-of-N", "HGS over the vote")


def _cost_cells(row: Row) -> list[str]:
    spent = row["hgs"]["versus"]["policy_token_ratio"]
    read = [(row[s]["prm_tokens"] + row[s]["prm_tokens_cached"]) / row[s]["n"] for s in ("hgs", "best_of_n")]
    computed = [row[s]["prm_tokens"] / row[s]["n"] for s in ("hgs", "best_of_n")]
    return [
        f"{spent:.2f}", str(row["n"]), f"{row['best_of_n']['tokens_over_hgs']:.2f}",
        " / ".join(f"{c:,.0f} of {r:,.0f}" for c, r in zip(computed, read, strict=True)),
    ]  # fmt: skip


COST_HEADS = (
    "HGS: policy tokens, times greedy", "N", "N solutions: tokens, times HGS",
    "PRM tokens per problem, computed of read: HGS / best-of-N",
)  # fmt: skip


def capability(result: Row) -> list[str]:
    gains, accuracies, metrics, costs = [], [], [], []
    for policy in result["policies"]:
        greedy = policy["greedy"]
        for row in policy["rows"]:
            first = [f"{policy['policy']}, {percent(greedy['accuracy'])}", row["judge"]]
            gains.append([*first, *_gain_cells(row)])
            accuracies.append([*first, accuracy(greedy), *(accuracy(row[s]) for s in SHOWN)])
            costs.append([*first, *_cost_cells(row)])
            metrics.append([
                f"{policy['policy']}, {percent(policy['steps_right'])}", row["judge"],
                *_step_cells(row["steps"]),
            ])  # fmt: skip
    n = result["policies"][0]["greedy"]["n"]
    lines = [f"Accuracy of each reward model on each policy's steps ({n} sampled solutions):", ""]
    lines += table(["policy, share of right steps", "PRM built on", *STEP_HEADS], metrics)
    lines += [f"Gain over greedy decoding, in points (McNemar), {n} problems per cell:", ""]
    lines += table(["policy, greedy", "PRM built on", *GAIN_HEADS], gains)
    lines += ["Accuracy [95 %]:", ""]
    lines += table(["policy", "PRM built on", "greedy", *SHOWN.values()], accuracies)
    lines += ["Cost:", "", *table(["policy", "PRM built on", *COST_HEADS], costs)]
    return [*lines, "![Accuracy by policy and reward model](capability.png)", ""]


def supervision(result: Row) -> list[str]:
    agreement = [
        [a["how"], str(a["rollouts_a_prefix"]), f"{a['labels']:,}",
         *(percent(a[k]) for k in ("agreed", "wrong_found", "right_kept")),
         f"{a['rollouts']:,}", f"{a['policy_tokens']:,}"]
        for a in result["agreement"]
    ]  # fmt: skip
    rows = result["rows"]
    greedy = result["greedy"]
    lines = ["Labels by rollouts, compared with the exact checker's:", ""]
    lines += table(
        ["how", "rollouts per prefix", "labels", "agreement", "wrong steps found", "right steps kept",
         "rollouts", "policy tokens"], agreement,
    )  # fmt: skip
    lines += ["Accuracy of the reward models on steps of sampled solutions of test problems:", ""]
    lines += table(["labels", *STEP_HEADS], [[r["judge"], *_step_cells(r["steps"])] for r in rows])
    lines += [
        f"Accuracy [95 %] on {greedy['n']} test problems, where greedy decoding has {accuracy(greedy)}. The "
        "remaining columns are gains over greedy decoding and differences between strategies, in points "
        "(McNemar):", "",
    ]  # fmt: skip
    lines += table(
        ["labels", *(f"{shown}: accuracy" for shown in SHOWN.values()), *GAIN_HEADS],
        [[r["judge"], *(accuracy(r[s]) for s in SHOWN), *_gain_cells(r)] for r in rows],
    )
    lines += table(["labels", *COST_HEADS], [[r["judge"], *_cost_cells(r)] for r in rows])
    between = [f"{name} {paired(test)}" for name, test in result["between"].items()]
    return [*lines, f"HGS with one reward model against HGS with another: {', '.join(between)}.", ""]


def params(result: Row) -> list[str]:
    shares = result["labels"]
    ratio = [f"{r['versus']['policy_token_ratio']:.2f}" for r in result["neutral"]]
    greedy = result["greedy"]
    lines = [
        f"{greedy['n']} problems. Greedy decoding has {accuracy(greedy)}. Of the steps of sampled solutions "
        f"up to the first error, {percent(shares['0'])} are neutral and {percent(shares['-1'])} are wrong.",
        "",
        "HGS, by its parameter `neutral`:", "",
    ]  # fmt: skip
    lines += table(
        ["neutral", "accuracy [95 %]", "gain over greedy", "over defer", "policy tokens, times greedy"],
        [
            [r["neutral"], accuracy(r), paired(r["versus"]), paired(r["over_defer"]), ratio[i]]
            for i, r in enumerate(result["neutral"])
        ],
    )
    lines += ["Strategies that sample whole solutions, by their parameter `aggregate`:", ""]
    return lines + table(
        ["strategy", "N", "aggregate", "accuracy [95 %]", "gain over greedy", "over product"],
        [
            [SHOWN[r["strategy"]], str(r["knobs"]["n"]), r["aggregate"], accuracy(r), paired(r["versus"]),
             paired(r["over_product"])]
            for r in result["aggregates"]
        ],
    )  # fmt: skip


HEADS = {
    "capability": "Three policies by three reward models",
    "supervision": "Labels: exact, by rollouts, by outcome",
    "params": "Neutral steps and aggregates",
}


def write(folder: Path, tables: Mapping[str, Row], command: str) -> None:
    """Write `report.md`, and `capability.png` if that table is given."""
    parts = {"capability": capability, "supervision": supervision, "params": params}
    lines = [f"`{command}`, seed 0, the built-in task's test split.", ""]
    for name, result in tables.items():
        lines += [f"## {HEADS[name]}", "", *parts[name](result)]
    (folder / "report.md").write_text("\n".join(lines))
    if "capability" in tables:
        draw(tables["capability"], folder / "capability.png")


def draw(result: Row, path: Path) -> None:
    """Plot accuracy by reward model with 95 % intervals; greedy decoding is a band. One panel per policy."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    policies = result["policies"]
    figure, axes = plt.subplots(1, len(policies), figsize=(10, 3.4), sharey=True, constrained_layout=True)
    for panel, policy in zip(axes, policies, strict=True):
        greedy = policy["greedy"]
        panel.axhspan(*(100 * bound for bound in greedy["ci95"]), color="0.9")
        panel.axhline(100 * greedy["accuracy"], color="0.5", label="greedy")
        for shift, (strategy, shown) in enumerate(SHOWN.items(), start=-1):
            rows = [row[strategy] for row in policy["rows"]]
            values = [100 * row["accuracy"] for row in rows]
            around = [[abs(100 * row["ci95"][side] - v) for row, v in zip(rows, values, strict=True)]
                      for side in (0, 1)]  # fmt: skip
            places = [place + 0.15 * shift for place in range(len(rows))]
            panel.errorbar(places, values, yerr=around, fmt="o", capsize=2, label=shown)
        panel.set_xticks(range(len(policy["rows"])), [row["judge"] for row in policy["rows"]], fontsize=8)
        panel.set(title=f"{policy['policy']} policy", xlabel="PRM built on", ylim=(0, 100))
    axes[0].set_ylabel("solved, %")
    axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)
