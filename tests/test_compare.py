"""Reading traces and result files, and what is said of two of them."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from bench.report.comparison import compare
from bench.report.recorded import RecordedTree, read_trace
from bench.report.sides import Seed, Side, read_side
from bench.runner.cli.compare import main
from search.engine import solve
from search.errors import TraceError, UsageError
from search.limits import Cost, LengthLimits
from search.node import Node, TreeEvent
from search.strategies import STRATEGIES
from search.trace import Trace
from search.types import Problem
from tests.fakes import FractionAnswers
from tests.plain import Lossy

RECORDED = Path(__file__).parent / "recorded"


def side(name: str, *seeds: str, cost: int = 100) -> Side:
    """seeds: by problem, "1" for solved, "0" for not, " " if the seed has no result of it."""
    made = []
    for number, marks in enumerate(seeds):
        correct = {f"p{i}": mark == "1" for i, mark in enumerate(marks) if mark != " "}
        made.append(Seed(number, correct, {p: Cost(policy_tokens=cost, samples=2) for p in correct}))
    return Side(name, made)


# -- reading ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STRATEGIES)
async def test_a_trace_is_read_as_the_tree_that_was_searched(name: str, tmp_path: Path) -> None:
    """Nodes, scores, duplicates, failures and costs, with every 7th call failing and calls out of order."""
    path = tmp_path / "trace.jsonl"
    world, seen = Lossy(7, jitter=3), dict[str, set[Node]]()

    def watch(problem: Problem, event: TreeEvent, node: Node) -> None:
        top = node
        while top.parent is not None:
            top = top.parent
        seen.setdefault(problem.id, set()).add(top)

    problems = [Problem(f"w/{i}", f"Which way, {i}?") for i in range(4)]
    with closing(Trace(path, {"strategy": name})) as trace:
        outcomes = [
            outcome
            async for outcome in solve(
                problems, STRATEGIES[name](), world, world, seed=3, trace=trace, watch=watch,
                lengths=LengthLimits(step_tokens=12, solution_tokens=40), answers=FractionAnswers(),
            )
        ]  # fmt: skip
    run = read_trace(path)
    assert run.strategy == name and list(run.trees) == [p.id for p in problems]
    ended = [outcome for outcome in outcomes if outcome.error is None]
    assert ended
    for outcome in ended:
        tree = run.trees[outcome.problem.id]
        assert tree.cost == outcome.cost and tree.answer == outcome.answer
        assert tree.chosen is not None and tree.chosen.text == outcome.text
        assert sum(tree.left.values()) == outcome.events.backtracks
        [root] = seen[outcome.problem.id]
        read, grown = shapes(tree.root), shapes(root)
        assert [shape[:-1] for shape in read] == [shape[:-1] for shape in grown]
        # The last is the score: what the strategy did not ask for may be known all the same.
        assert all(mine[-1] == theirs[-1] for mine, theirs in zip(read, grown, strict=True) if theirs[-1])
        assert sorted(tree.visits.values()) == list(range(1, len(tree.visits) + 1))


def shapes(root: Node) -> list[tuple[object, ...]]:
    stack, found = [root], list[tuple[object, ...]]()
    while stack:
        node = stack.pop()
        same = node.duplicate_of and node.duplicate_of.address
        found.append((node.address, node.step, same, node.failed, node.score))
        stack += sorted(node.children, key=lambda child: child.address)
    return found


@pytest.mark.parametrize("name", ["hgs", "cot"])
def test_a_trace_of_version_0_1_0_has_the_costs_of_its_summary(name: str) -> None:
    run = read_trace(RECORDED / f"{name}.jsonl")
    total = sum((tree.cost for tree in run.trees.values()), Cost())
    row = json.loads((RECORDED / "summary.json").read_text())[name]
    for field in ("samples", "policy_tokens", "policy_tokens_discarded", "prm_tokens", "prm_tokens_cached"):
        assert getattr(total, field) == row[field]
    got = read_side(str(RECORDED / f"{name}.jsonl"))
    assert sum(got.share(p) for p in got.problems) == row["correct"] and len(got.problems) == row["n"]


def test_one_problem_is_read_alone_and_a_torn_line_is_ignored(tmp_path: Path) -> None:
    whole = (RECORDED / "hgs.jsonl").read_bytes()
    torn = tmp_path / "hgs.jsonl"
    torn.write_bytes(whole[:-20])
    everything, part = read_trace(RECORDED / "hgs.jsonl"), read_trace(torn, "test/0/1")
    assert list(part.trees) == ["test/0/1"]
    assert addresses(part.trees["test/0/1"]) == addresses(everything.trees["test/0/1"])
    assert read_side(str(torn)).seeds[0].unfinished == 1
    torn.write_bytes(whole.replace(b'"event": "chosen"', b'"event": "chose"', 1))
    with pytest.raises(TraceError, match=r"line .*no event is called 'chose'"):
        read_trace(torn)
    torn.write_text("{}\n")
    with pytest.raises(TraceError, match="not an event"):
        read_trace(torn)


def addresses(tree: RecordedTree) -> list[tuple[int, ...]]:
    return [node.address for node in tree.nodes]


def test_a_folder_and_result_files_are_asked_for_the_strategy(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(RECORDED / "hgs.jsonl", run)
    shutil.copy(RECORDED / "cot.jsonl", run)
    (run / "notes.jsonl").write_text("{}\n")
    assert read_side(str(run)).name == "hgs"  # the only one beside the baseline
    assert read_side(f"{run}:cot").name == "cot"
    with pytest.raises(UsageError, match=r"no results of 'hsg'.*hgs"):
        read_side(f"{run}:hsg")
    shutil.copy(RECORDED / "hgs.jsonl", run / "mcts.jsonl")
    with pytest.raises(UsageError, match=r"holds cot, hgs, mcts; say which"):
        read_side(str(run))
    with pytest.raises(UsageError, match="same seed twice"):
        read_side(f"{run}:cot,{run}:cot")
    with pytest.raises(UsageError, match="seeds of one strategy, not of cot, hgs"):
        read_side(f"{run}:cot,{run}:hgs")

    problem = {"id": "p0", "correct": True, "samples": 1, "policy_tokens": 9, "prm_tokens": 0}
    hgs, cot = ({"strategy": name, "seed": 0, "problems": [problem]} for name in ("hgs", "cot"))
    results = tmp_path / "results.json"
    for written in ({**hgs, "baseline": cot}, [cot, hgs]):
        results.write_text(json.dumps(written))
        assert read_side(str(results)).name == "hgs"
        assert read_side(f"{results}:cot").solved("p0") == 1
    for wrong, why in (("[1]", "neither a trace"), ('{"strategy": "a", "problems": [{}]}', "no 'id'")):
        results.write_text(wrong)
        with pytest.raises(UsageError, match=why):
            read_side(str(results))
    with pytest.raises(UsageError, match="cannot read"):
        read_side(str(tmp_path / "nothing.json"))


def test_a_trace_whose_problems_are_gone_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "hgs.jsonl"
    path.write_text((RECORDED / "hgs.jsonl").read_text().replace("test/0/2", "test/9/9"))
    with pytest.raises(UsageError, match=r"has no problem 'test/9/9'"):
        read_side(str(path))
    path.write_text(
        path.read_text().replace('"task": "builtin", "data": ""', '"task": "jsonl", "data": "/no"')
    )
    with pytest.raises(UsageError, match=r"problems of the task jsonl.* cannot be loaded: .*/no"):
        read_side(str(path))


def only(name: str, *problems: str) -> str:
    """A recorded trace, of these problems alone."""
    head, *events = (RECORDED / f"{name}.jsonl").read_text().splitlines(keepends=True)
    return head + "".join(line for line in events if json.loads(line)["problem"] in problems)


def test_a_trace_may_have_any_of_its_tasks_problems(tmp_path: Path) -> None:
    """A shard has gaps: its problems are not the first ones."""
    path, data = tmp_path / "hgs.jsonl", tmp_path / "own.jsonl"
    path.write_text(only("hgs", "test/0/2"))
    whole, part = read_side(str(RECORDED / "hgs.jsonl")), read_side(str(path))
    assert part.problems == ["test/0/2"] and part.share("test/0/2") == whole.share("test/0/2")
    rows = [{"id": name, "problem": f"{name}?", "answer": "1"} for name in ("a", "b", "c")]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    path.write_text(
        path.read_text()
        .replace("test/0/2", "c")
        .replace('"task": "builtin", "data": ""', f'"task": "jsonl", "data": "{data}"')
    )
    assert read_side(str(path)).problems == ["c"]


# -- comparing -------------------------------------------------------------------------------------


def test_a_clear_difference_is_called_more_than_noise() -> None:
    got = compare(side("hgs", "1" * 30 + "0" * 10, cost=300), side("cot", "1" * 10 + "0" * 30))
    assert (got.difference, got.is_noise) == (50.0, False)
    assert got.only_a == [f"p{i}" for i in range(10, 30)] and got.only_b == []
    assert got.interval[0] > 0 and got.needed is not None and got.needed < 40
    assert got.sentence.startswith("hgs is 50.0 points more accurate than cot on 40 problems, which is more")
    assert "hgs takes 3.00 times the policy tokens of cot" in got.sentence


def test_a_small_difference_is_called_noise_and_the_problems_it_needs_are_named() -> None:
    got = compare(side("hgs", "1101" * 10), side("cot", "1011" * 9 + "1001"))
    assert got.is_noise and got.difference == 2.5
    assert "within the noise" in got.sentence and f"about {got.needed:,} problems" in got.sentence
    assert got.interval[0] < 0 < got.interval[1]


def test_equal_methods_are_called_equal() -> None:
    got = compare(side("a", "10"), side("b", "01"))
    assert (got.difference, got.p, got.needed) == (0.0, 1.0, None)
    assert "a and b solve equally many of the 2 problems" in got.sentence
    assert (got.only_a, got.only_b) == (["p0"], ["p1"])


def test_two_runs_of_one_strategy_are_told_apart() -> None:
    assert "B is 50.0 points more accurate than A" in compare(side("hgs", "10"), side("hgs", "11")).sentence


def test_only_problems_that_both_have_are_paired_and_the_rest_is_counted() -> None:
    got = compare(side("a", "11 0", "1100"), side("b", "1111"))
    assert got.problems == ["p0", "p1", "p3"]
    assert got.notes == [
        f"{side}: 1 problems are left out: not all runs have a result of them" for side in ("A", "B")
    ]
    short = compare(side("a", "1" * 9, "1" * 5), side("b", "1" * 5))
    assert len(short.problems) == 5
    assert short.notes == ["A: 4 problems are left out: not all runs have a result of them"]
    with pytest.raises(UsageError, match="no problem in common: A has p0, B has p1"):
        compare(side("a", "1 "), side("b", " 1"))


def test_the_seeds_of_a_problem_are_one_observation() -> None:
    """Three seeds that agree are no more evidence than one."""
    once = compare(side("a", "1" * 12 + "0" * 4), side("b", "0" * 12 + "1" * 4))
    thrice = compare(side("a", *["1" * 12 + "0" * 4] * 3), side("b", *["0" * 12 + "1" * 4] * 3))
    assert thrice.p == pytest.approx(once.p) and thrice.interval == pytest.approx(once.interval, abs=1)
    assert thrice.needed == once.needed and "sign-flip" in thrice.test and "McNemar" in once.test


def test_sides_with_different_numbers_of_seeds_are_compared_by_shares() -> None:
    got = compare(side("a", "10", "11", "00"), side("b", "10", "01"))
    assert got.difference == pytest.approx(100 * (3 / 6 - 2 / 4))
    assert (got.only_a, got.only_b) == (["p0"], ["p1"])


def test_different_questions_are_refused() -> None:
    a, b = (Side(n, [Seed(0, {"p": True}, {"p": Cost()}, 0, {"p": n})]) for n in "ab")
    with pytest.raises(UsageError, match="not the same question"):
        compare(a, b)


# -- the command -----------------------------------------------------------------------------------


def test_the_command_prints_words_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(RECORDED / "hgs.jsonl"), str(RECORDED / "cot.jsonl")]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "A: hgs" in printed and "within the noise" in printed and "solved by B only" in printed
    assert main([*words, "--json"]) == 0
    got = json.loads(capsys.readouterr().out)
    assert got["problems"] == 3 and got["within_noise"] and got["b"]["accuracy"] == pytest.approx(2 / 3)
    assert got["only_a"] + got["only_b"] == [
        p for p in ("test/0/0", "test/0/1", "test/0/2") if f"{p}" in printed.partition("solved by")[2]
    ]
    assert main([words[0], "nowhere"]) == 2
    assert "error: cannot read nowhere" in capsys.readouterr().err
