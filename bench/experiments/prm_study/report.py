"""The study's tables as Markdown, and its picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.report.markdown import accuracy, interval, paired, percent, table

Row = Mapping[str, Any]

SHOWN = {"hgs": "HGS", "best_of_n": "best-of-N", "weighted_vote": "weighted vote"}


def _judge_cells(steps: Row) -> list[str]:
    """How a judge does on single steps."""
    recall = f"{percent(steps['recall']['negative'])} {interval(steps['negative_recall_ci95'])}"
    return [percent(steps["accuracy"]), recall, percent(steps["precision"]["negative"])]


JUDGE_HEADS = ("steps told right", "wrong steps found [95 %]", "right when it says wrong")


def _gain_cells(row: Row) -> list[str]:
    """The three ways of using a judge, over greedy decoding."""
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
    "PRM tokens a problem, computed of read: HGS / best-of-N",
)  # fmt: skip


def capability(found: Row) -> list[str]:
    lines: list[str] = []
    gains, accuracies, judges, costs = [], [], [], []
    for policy in found["policies"]:
        greedy = policy["greedy"]
        for row in policy["rows"]:
            first = [f"{policy['policy']}, {percent(greedy['accuracy'])}", row["judge"]]
            gains.append([*first, *_gain_cells(row)])
            accuracies.append([*first, accuracy(greedy), *(accuracy(row[s]) for s in SHOWN)])
            costs.append([*first, *_cost_cells(row)])
            judges.append([
                f"{policy['policy']}, {percent(policy['steps_right'])}", row["judge"],
                *_judge_cells(row["steps"]),
            ])  # fmt: skip
    n = found["policies"][0]["greedy"]["n"]
    lines += [f"How well each judge knows each policy's steps ({n} sampled solutions):", ""]
    lines += table(["policy, its own steps that are right", "judge stands on", *JUDGE_HEADS], judges)
    lines += [f"Gain over greedy decoding, points (McNemar), {n} problems a cell:", ""]
    lines += table(["policy, greedy", "judge stands on", *GAIN_HEADS], gains)
    lines += ["Accuracies [95 %]:", ""]
    lines += table(["policy", "judge stands on", "greedy", *SHOWN.values()], accuracies)
    lines += ["Costs:", "", *table(["policy", "judge stands on", *COST_HEADS], costs)]
    return [*lines, "![accuracy by policy and judge](capability.png)", ""]


def supervision(found: Row) -> list[str]:
    agreement = [
        [a["how"], str(a["rollouts_a_prefix"]), f"{a['rollouts']:,}", f"{a['policy_tokens']:,}",
         f"{a['labels']:,}", *(percent(a[k]) for k in ("agreed", "wrong_found", "right_kept"))]
        for a in found["agreement"]
    ]  # fmt: skip
    rows = found["rows"]
    greedy = found["greedy"]
    lines = ["Labels by rollouts, beside the exact checker's:", ""]
    lines += table(
        ["how", "rollouts a prefix", "rollouts in all", "policy tokens", "labels", "agree",
         "wrong steps labelled wrong", "right steps labelled right"], agreement,
    )  # fmt: skip
    lines += ["The judges, on steps of sampled solutions of test problems:", ""]
    lines += table(["labels", *JUDGE_HEADS], [[r["judge"], *_judge_cells(r["steps"])] for r in rows])
    lines += [
        f"Accuracy [95 %] on {greedy['n']} test problems, greedy decoding {accuracy(greedy)}; in the other "
        "columns the gain over it and the differences, points (McNemar):", "",
    ]  # fmt: skip
    lines += table(
        ["labels", *(f"{shown}: accuracy" for shown in SHOWN.values()), *GAIN_HEADS],
        [[r["judge"], *(accuracy(r[s]) for s in SHOWN), *_gain_cells(r)] for r in rows],
    )
    lines += table(["labels", *COST_HEADS], [[r["judge"], *_cost_cells(r)] for r in rows])
    between = [f"{name}: {paired(test)}" for name, test in found["between"].items()]
    return [*lines, f"HGS with one judge over HGS with another: {'; '.join(between)}.", ""]


def params(found: Row) -> list[str]:
    shares = found["labels"]
    ratio = [f"{r['versus']['policy_token_ratio']:.2f}" for r in found["neutral"]]
    greedy = found["greedy"]
    lines = [
        f"Of the steps of sampled solutions up to the first error, {percent(shares['0'])} are neutral and "
        f"{percent(shares['-1'])} wrong. {greedy['n']} problems, greedy decoding {accuracy(greedy)}.", "",
        "HGS:", "",
    ]  # fmt: skip
    lines += table(
        ["neutral", "accuracy [95 %]", "gain over greedy", "over defer", "policy tokens, times greedy"],
        [
            [r["neutral"], accuracy(r), paired(r["versus"]), paired(r["over_defer"]), ratio[i]]
            for i, r in enumerate(found["neutral"])
        ],
    )
    lines += ["Whole solutions:", ""]
    return lines + table(
        ["strategy", "N", "aggregate", "accuracy [95 %]", "gain over greedy", "over product"],
        [
            [SHOWN[r["strategy"]], str(r["knobs"]["n"]), r["aggregate"], accuracy(r), paired(r["versus"]),
             paired(r["over_product"])]
            for r in found["aggregates"]
        ],
    )  # fmt: skip


HEADS = {
    "capability": "Three policies by three reward models",
    "supervision": "Labels: exact, by rollouts, by outcome",
    "knobs": "Neutral steps, and aggregates",
}


def write(folder: Path, tables: Mapping[str, Row], command: str) -> None:
    """`report.md`, and `capability.png` if that table is there."""
    parts = {"capability": capability, "supervision": supervision, "knobs": params}
    lines = [f"`{command}`, seed 0, the built-in task's test split.", ""]
    for name, found in tables.items():
        lines += [f"## {HEADS[name]}", "", *parts[name](found)]
    (folder / "report.md").write_text("\n".join(lines))
    if "capability" in tables:
        draw(tables["capability"], folder / "capability.png")


def draw(found: Row, path: Path) -> None:
    """A panel a policy: accuracies by judge, with 95 % intervals, and greedy decoding as a band."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    policies = found["policies"]
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
        panel.set(title=f"{policy['policy']} policy", xlabel="the judge stands on", ylim=(0, 100))
    axes[0].set_ylabel("solved, %")
    axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)
