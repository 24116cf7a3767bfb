"""The page and the pictures of `python -m bench.eurus`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from bench.report.comparison import ALPHA
from bench.report.eurus_cells import (
    accuracy,
    against,
    compared,
    gain,
    lines_of,
    mcnemar_at,
    measure,
    metrics_of,
    pairs_by_turn,
    pairs_of,
    right_at,
    right_by_problem,
    share_at,
    share_right,
)
from bench.report.eurus_pictures import draw_reward_models, draw_rounds, draw_tuning, draw_turns
from bench.report.markdown import paired, percent, table
from bench.report.reranking import Reranking
from bench.report.stats import problems_needed
from bench.report.summary import Summary

START, SFT = "start", "sft"
TURNS = 5
EPISODES = (
    "--strategy cot --episodes python --verdicts --critic checker --turns 5 --step-tokens 96 "
    "--solution-tokens 480"
)
SELECTORS = {"vote": "clusters of equal behaviour", "oracle": "oracle (pass@N)"}


@dataclass(frozen=True, slots=True)
class Rate:
    """A learning rate that was tried. value: the share of validation problems that are right, over turns."""

    lr: float
    value: float

    @classmethod
    def of(cls, lr: float, summary: Summary) -> Rate:
        return cls(lr, float(np.mean([share_at(summary, turn) for turn in range(1, TURNS + 1)])))


@dataclass(frozen=True, slots=True)
class Round:
    """A policy of the loop. trees: what it was tuned on, None of the start. greedy: episodes."""

    policy: Path
    trees: Path | None
    greedy: Summary
    hgs: Summary


@dataclass(frozen=True, slots=True)
class Results:
    """All that the page shows. work: the folder of the stages. test: test problems.

    turns: episodes, by policy. tried: by policy and reward model, the learning rates. policies, models: their
    folders. reranked: by reward model. trees: the folders of trees, in order.
    """

    command: str
    work: Path
    test: int
    turns: Mapping[str, Summary]
    tried: Mapping[str, Sequence[Rate]]
    policies: Mapping[str, Path]
    models: Mapping[str, Path]
    reranked: Mapping[str, Reranking]
    rounds: Sequence[Round]
    trees: Sequence[Path]


def write_report(results: Results, page: Path) -> None:
    """Write the page, and its pictures beside it."""
    page.parent.mkdir(parents=True, exist_ok=True)
    draw_turns(
        {
            name: [share_at(summary, turn) for turn in range(1, TURNS + 1)]
            for name, summary in results.turns.items()
        },
        page.with_name(f"{page.stem}-turns.png"),
    )
    histories = {name: metrics_of(folder)["history"] for name, folder in results.policies.items()}
    pairs = {name: history for name, history in histories.items() if name not in (START, SFT)}
    draw_tuning(pairs, page.with_name(f"{page.stem}-tuning.png"))
    models = {name: metrics_of(folder)["history"] for name, folder in results.models.items()}
    draw_reward_models(models, page.with_name(f"{page.stem}-rewards.png"))
    measured = {
        name: [share_right(r.greedy if name == "greedy" else r.hgs) for r in results.rounds]
        for name in ("greedy", "HGS")
    }
    draw_rounds(measured, page.with_name(f"{page.stem}-rounds.png"))
    page.write_text(_page(results, page.stem), encoding="utf-8")
    print(f"written: {page}")


def _page(results: Results, stem: str) -> str:
    """The page, in Markdown."""
    parts = [
        _intro(results), _shown(results), _trees(results), _turns(results, stem), _tuning(results, stem),
        _rewards(results, stem), _reranking(results), _loop(results, stem),
    ]  # fmt: skip
    return "\n".join(line for part in parts for line in part).rstrip() + "\n"


def _intro(results: Results) -> list[str]:
    return [
        "# The Eurus loop on the built-in code task", "",
        "Searches become preference trees, a policy is tuned on them, reward models are trained, and the "
        "tuned policy is searched with and collects the next trees, as in "
        "[Eurus](https://arxiv.org/abs/2404.02078). One command makes this page, and resumes:", "",
        *_code(results.command),
        "Training, validation and test problems are of different functions. All results are on the same "
        f"{results.test:,} test problems; nothing was trained or chosen on them. Intervals are 95 %. "
        "p is of McNemar's exact test against the start, not corrected for the number of rows.", "",
    ]  # fmt: skip


def _shown(results: Results) -> list[str]:
    """What is more than noise, in words, and what it would take where nothing is."""
    start, lines = results.turns[START], list[str]()
    tuned = {name: summary for name, summary in results.turns.items() if name not in (START, "builtin-code")}
    for turn in (1, TURNS):
        tests = {name: mcnemar_at(summary, start, turn) for name, summary in tuned.items()}
        clear = [f"`{name}` ({paired(asdict(t))})" for name, t in tests.items() if t.p < ALPHA]
        if clear:
            lines.append(
                f"- At turn {turn}, more than noise against the start, in points: {', '.join(clear)}."
            )
            continue
        name = max(tests, key=lambda name: abs(tests[name].points))
        a, b = (right_by_problem(summary, turn) for summary in (tuned[name], start))
        needed = problems_needed([x - y for x, y in zip(a, b, strict=True)])
        lines.append(
            f"- At turn {turn}, no tuned policy differs from the start by more than the noise. The largest "
            f"difference is that of `{name}`, {paired(asdict(tests[name]))} points"
            + (f"; it takes about {needed:,} problems to show one as large." if needed else ".")
        )
    pairs = {name: pairs_of(results.policies[name]) for name in tuned if name != SFT}
    lines.append(f"- Pairs to tune on: {', '.join(f'{n:,} (`{name}`)' for name, n in pairs.items())}.")
    for name, folder in results.models.items():
        measured = metrics_of(folder)["metrics"]
        if "held_out_accuracy" in measured:
            right, wrong = (measured[f"held_out_{side}_mean"] for side in ("chosen", "rejected"))
            lines.append(
                f"- `{name}`: mean reward of held-out right actions {right:+.2f}, of wrong {wrong:+.2f}."
            )
    for name, result in results.reranked.items():
        means = [mean for mean, _, _ in result.accuracy["best_of_n"]]
        at = max(range(len(means)), key=means.__getitem__)
        lines.append(
            f"- Reranking with `{name}`: best at N = {result.sizes[at]} ({percent(means[at])}); at N = "
            f"{result.sizes[-1]} {percent(means[-1])}, where the vote has "
            f"{percent(result.accuracy['vote'][-1][0])}."
        )
    rounds = results.rounds
    best = max(range(len(rounds)), key=lambda i: share_at(rounds[i].greedy, 1))
    lines.append(f"- The loop, greedy at turn 1: {_best_round(rounds, best)}")
    return ["## What it shows", "", *lines, ""]


def _best_round(rounds: Sequence[Round], best: int) -> str:
    """Which round is the best, and how the last one compares with it."""
    last = len(rounds) - 1
    difference = compared(rounds[last].greedy, rounds[0 if best == last else best].greedy)
    if best == last:
        return f"the last round is the best; against the start {difference}."
    name = "the start" if best == 0 else f"round {best}"
    return f"{name} is the best; round {last} against it {difference}."


def _trees(results: Results) -> list[str]:
    rows = []
    for folder in dict.fromkeys([*results.trees, *(r.trees for r in results.rounds if r.trees is not None)]):
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        by_turn = pairs_by_turn(folder)
        rows.append([
            f"`{folder.name}`", f"{summary.get('problems', len(lines_of(folder / 'sft.jsonl'))):,}",
            f"{sum(summary['attempts'].values()):,}" if "attempts" in summary else "",
            *(f"{by_turn.get(turn, 0):,}" for turn in range(1, TURNS + 1)),
        ])  # fmt: skip
    heads = ["trees", "problems", "actions sampled", *(f"pairs, turn {turn}" for turn in range(1, TURNS + 1))]
    commands = [metrics_of(results.policies[START])["command"]]
    for folder, policy, depth in ((results.trees[0], "builtin-code", 1), (results.trees[-1], None, TURNS)):
        commands.append(_collect(folder, policy or str(results.policies[START]), depth))
    return [
        "## Trees, and a policy that reads feedback", "",
        "The built-in policy has never read a verdict. It is taught to with its own samples: for training "
        "problems, programs that failed stand one after another, each with its verdict and the "
        "checker's critique, and a program that passed ends the episode (SFT with `--history`, loss on the "
        "right program alone). The training is stopped early, so that something is left to learn from trees. "
        "The result is the start of all that follows, and collects the trees of round 1 itself, turn by "
        "turn. A problem whose samples are all right, or all wrong, gives no pair.", "",
        *table(heads, rows), *_code(commands[1], commands[0], commands[2]),
    ]  # fmt: skip


def _turns(results: Results, stem: str) -> list[str]:
    start = results.turns[START]
    rows = []
    for name, summary in results.turns.items():
        tests = [] if name == START else [against(summary, start, turn) for turn in (1, TURNS)]
        rows.append(
            [f"`{name}`", *(right_at(summary, turn) for turn in range(1, TURNS + 1)), *(tests or ["", ""])]
        )
    heads = ["policy", *(f"turn {n}" for n in range(1, TURNS + 1)), "against start, turn 1", "turn 5"]
    commands = [_solve(results, folder, EPISODES) for folder in (results.policies[START],)]
    single = next(name for name in results.turns if name.endswith("-single"))
    name = single.removesuffix("-single")
    counts = [pairs_of(results.policies[name]), pairs_of(results.policies[single])]
    gain = [against(results.turns[name], results.turns[single], turn) for turn in (1, TURNS)]
    return [
        "## Success at turns 1 to 5", "",
        "Greedy episodes: the policy writes a program, reads the verdict and how the tests ended, and "
        "writes another, up to five times. An episode that has ended keeps its answer.", "",
        *table(heads, rows), f"![Success at turns 1 to 5]({stem}-turns.png)", "",
        *_code(*commands, "# the other policies likewise, in " + ", ".join(
            f"{folder}" for name, folder in results.policies.items() if name != START)),
        "### Single-turn pairs against trees", "",
        f"`{single}` is tuned on the {counts[1]:,} pairs of first turns, `{name}` on "
        f"all {counts[0]:,}, with the same learning rate. Trees against single turns: {gain[0]} points at "
        f"turn 1, {gain[1]} at turn 5. The paper reports 49.4 for trees and 48.1 for single turns, as "
        "averages over its benchmarks (KTO, Llama-3-8B).", "",
        *_code(metrics_of(results.policies[single])["command"]),
    ]  # fmt: skip


def _tuning(results: Results, stem: str) -> list[str]:
    rows = [
        [f"`{name}`", ", ".join(f"{rate.lr:g}: {percent(rate.value)}" for rate in rates)]
        for name, rates in results.tried.items()
    ]
    commands = [metrics_of(results.policies[name])["command"] for name in results.tried if name != START]
    return [
        "## Tuning", "",
        "The paper's learning rate, 5e-7, is for models of 7 billion parameters; a policy of 0.7 million "
        "does not move with it. Rates are chosen on validation problems, by the share that is right, "
        "averaged over five turns:", "",
        *table(["policy", "learning rate: right on validation problems"], rows),
        f"![Rewards of right and wrong actions during tuning]({stem}-tuning.png)", "",
        "Rewards are beta log(p / p of the start): lines in training batches, marks on held-out ones.",
        "", *_code(*commands),
    ]  # fmt: skip


def _rewards(results: Results, stem: str) -> list[str]:
    rows = []
    for name, folder in results.models.items():
        measured = metrics_of(folder)["metrics"]
        if "held_out_accuracy" in measured:
            rows.append([
                f"`{name}`", percent(measured["held_out_accuracy"]),
                *(f"{measured[f'held_out_{side}_mean']:+.2f} ({measured[f'held_out_{side}_std']:.2f})"
                  for side in ("chosen", "rejected")),
            ])  # fmt: skip
    heads = ["reward model", "right above wrong", "reward of right: mean (spread)", "reward of wrong"]
    return [
        "## Reward models", "",
        "Trained on the pairs of `trees-1`, those across turns among them, from the SFT policy: "
        "Bradley-Terry with direct rewards (`bt-dr`), and either alone. Measured on held-out pairs.", "",
        *table(heads, rows), f"![Rewards of right and wrong over training]({stem}-rewards.png)", "",
        *_code(*(metrics_of(folder)["command"] for folder in results.models.values())),
    ]  # fmt: skip


def _reranking(results: Results) -> list[str]:
    first = next(iter(results.reranked.values()))
    at = [index for index, n in enumerate(first.sizes) if n > 1]
    random = first.accuracy["vote"][0]
    rows = [["random", *[measure(random)] * len(at)]]
    rows.append([SELECTORS["vote"], *(measure(first.accuracy["vote"][i]) for i in at)])
    for name, result in results.reranked.items():
        rows.append([f"`{name}`", *(measure(result.accuracy["best_of_n"][i]) for i in at)])
    rows.append([SELECTORS["oracle"], *(measure(first.accuracy["oracle"][i]) for i in at)])
    both, only = (results.reranked[name].by_problem["best_of_n"] for name in ("bt-dr", "bt"))
    vote = first.by_problem["vote"]
    n = first.sizes[-1]
    model = results.models["bt-dr"]
    return [
        "## Reranking", "",
        f"{first.sizes[-1]} programs of the start for each test problem. An accuracy is the expectation over "
        "all subsets of N of them, not one draw; intervals are of a bootstrap over problems.", "",
        *table(["selector", *(f"N = {first.sizes[i]}" for i in at)], rows),
        f"At N = {n}, direct rewards change Bradley-Terry's accuracy by {gain(both - only)} points, and "
        f"`bt-dr` is {gain(both - vote)} points from the vote (paired by problem, 95 % interval).", "",
        *_code(
            _solve(results, results.policies[START],
                   f"--strategy self_consistency --set n={n} --no-baseline --out {results.work}/more"),
            f"python -m bench.reselect {results.work}/candidates/self_consistency.jsonl --choose best vote "
            f"--prm {model} --keep {results.work}/scores/reselect.jsonl   # N = {n} alone",
        ),
    ]  # fmt: skip


def _loop(results: Results, stem: str) -> list[str]:
    rows, before = [], results.rounds[0]
    for number, one in enumerate(results.rounds):
        gains = [
            "" if number == 0 else compared(new, old)
            for new, old in ((one.greedy, before.greedy), (one.hgs, before.hgs))
        ]
        total = [
            "" if number == 0 else compared(new, old)
            for new, old in ((one.greedy, results.rounds[0].greedy), (one.hgs, results.rounds[0].hgs))
        ]
        rows.append([
            "start" if number == 0 else str(number), right_at(one.greedy, 1), gains[0], total[0],
            right_at(one.greedy, TURNS), accuracy(one.hgs), gains[1], total[1],
        ])  # fmt: skip
        before = one
    heads = [
        "round", "greedy", "against the round before", "against start", "greedy, turn 5", "HGS",
        "against the round before", "against start",
    ]  # fmt: skip
    last = results.rounds[-1]
    commands = [
        _solve(results, last.policy, EPISODES),
        _solve(results, last.policy, "--strategy hgs --no-baseline"),
    ]
    if last.trees is not None:
        before_last = str(results.rounds[-2].policy)
        commands = [_collect(last.trees, before_last, TURNS), metrics_of(last.policy)["command"], *commands]
    return [
        "## The loop", "",
        "Each round collects trees of the training problems with the policy of the round before, and tunes "
        "that policy on them, with the method of pairs and the learning rate that were best on the "
        "validation problems. HGS searches with the bundled reward model for code.", "",
        *table(heads, rows), f"![Accuracy by round]({stem}-rounds.png)", "", *_code(*commands),
    ]  # fmt: skip


def _collect(folder: Path, policy: str, depth: int) -> str:
    run = json.loads(lines_of(folder / "attempts.jsonl")[0])["config"]
    problems = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["problems"]
    return (
        f"python -m prm.preference.collect --engine hf --task builtin-code --policy {policy} "
        f"--limit {problems} --samples {run['ladder']['samples']} --gold-samples 0 --depth {depth} "
        f"--critic checker --tokens {run['tokens']} --seed {run['seed']} --out {folder}"
    )


def _solve(results: Results, policy: Path, options: str) -> str:
    problems = f"--task builtin-code --limit {results.test}"
    return f"python -m search.run --engine hf {problems} --policy {policy} {options}"


def _code(*commands: str) -> list[str]:
    return ["```", *commands, "```", ""]
