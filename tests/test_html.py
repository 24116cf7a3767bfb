"""report.html as a file: what it says, what it holds, how large it gets. How it behaves: test_html_page."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from bench.report import sides
from bench.report.diagnosed import diagnosed
from bench.report.grid import Cell, Grid
from bench.report.grid_table import tables_of
from bench.report.html.folder import read_folder
from bench.report.html.standings import Standings, standings
from bench.report.html.trees import KINDS
from bench.report.html.words import by_budget, in_short, steps_up
from bench.report.html.writer import SCRIPTS, read, write_html
from bench.report.methods import methods_of
from bench.report.outline import outline
from bench.report.recorded import read_trace
from bench.report.summary import Graded, Summary
from bench.runner.cli.html import main
from bench.tasks import TASKS
from search.engine import Outcome
from search.errors import UsageError
from search.limits import Cost, Events
from search.strategies.best_of_n import BestOfN
from search.strategies.hgs import HGS
from search.types import Problem
from tests.random_runs import Fractions, recorded
from tests.test_tree_drawing import contrast, scripted, trace

RECORDED = Path(__file__).parent / "recorded"


@pytest.fixture(autouse=True)
def fractions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sides, "TASKS", {**TASKS, "fractions": Fractions})


# -- who is better than whom -----------------------------------------------------------------------


def grid(results: Mapping[str, tuple[int, str]], trace: Path = Path("none")) -> Grid:
    """A grid from (tokens of a problem, its problems, 1 if solved), by "strategy budget seed"."""
    n = len(next(iter(results.values()))[1])
    problems = {str(i): Problem(str(i), f"question {i}") for i in range(n)}

    def cell(name: str, tokens: int, solved: str) -> Cell:
        strategy, budget, seed = name.split() if " " in name else (name, "default", "0")
        graded = [
            Graded(
                Outcome(problem, (), "1", None, Cost(policy_tokens=tokens), Events(), 0.0, finished=True),
                letter == "1",
            )
            for problem, letter in zip(problems.values(), solved, strict=True)
        ]  # fmt: skip
        summary = Summary(strategy, {}, "t", int(seed), "p", "r", "", 0.0, graded)
        return Cell(strategy=strategy, budget=budget, seed=int(seed), trace=trace, summary=summary)

    return Grid(
        title="t", command="", baseline="cot", task="t", policy="p", prm="r", problems=problems,
        references=dict.fromkeys(problems, "1"),
        cells=tuple(cell(name, tokens, solved) for name, (tokens, solved) in results.items()),
    )  # fmt: skip


def stand(results: Mapping[str, tuple[int, str]]) -> Standings:
    made = grid(results)
    return standings(methods_of(made), made.baseline)


def test_a_clear_winner_is_named_and_said_to_be_more_than_noise() -> None:
    found = stand({"cot": (10, "1" * 50 + "0" * 50), "hgs": (30, "1" * 90 + "0" * 10)})
    first, against, cheapest = in_short(found)
    assert first == (
        "hgs solves 90.0 % [82.6, 94.5] of 100 problems, for 30 policy tokens each. Of 2 methods it is the "
        "most accurate, for 3.0 times the tokens of cot."
    )
    assert against.startswith("It is 40.0 points [+30.0, +50.0] above cot") and "more than noise" in against
    assert cheapest == "Every cheaper method is less accurate than hgs by more than noise: use hgs."
    assert [row["method"] for row in steps_up(found)] == [0, 1]


def test_a_difference_within_the_noise_is_called_so_and_the_cheap_method_is_named() -> None:
    found = stand(
        {"cot": (10, "1" * 50 + "0" * 50), "hgs": (30, "1" * 52 + "0" * 48), "mcts": (90, "0" * 100)}
    )
    _, against, cheapest = in_short(found)
    assert "within the noise (p = 0.500, corrected for 2 comparisons): if the difference is real" in against
    assert cheapest.startswith("If tokens matter, use cot: it solves 50.0 % for 10 policy tokens, 33 %")
    assert "-2.0 points [-5.0, +0.0]" in cheapest
    assert [row["method"] for row in steps_up(found)] == [0, 1], "what is dearer and worse buys nothing"


def test_the_best_is_compared_with_the_next_best_strategy_too() -> None:
    few, half, most = "1" * 30 + "0" * 70, "1" * 50 + "0" * 50, "1" * 90 + "0" * 10
    found = stand({"cot": (10, few), "mcts": (30, half), "hgs": (30, most)})
    assert in_short(found)[2] == (
        "It is 40.0 points [+30.0, +50.0] above the next best strategy, mcts with 50.0 %. This is more than "
        "noise (p < 0.001, corrected for 2 comparisons)."
    )


def test_few_problems_are_a_warning_and_bounds_never_win() -> None:
    found = stand({"cot": (10, "1100"), "hgs": (10, "1110"), "oracle_best_of_n": (10, "1111")})
    assert found.methods[found.best].name == "hgs" and found.frontier == [1]
    lines = in_short(found)
    assert "Of 2 methods it is the most accurate" in lines[0] and lines[-1].startswith("4 problems are few")


def test_the_best_baseline_and_a_single_method_have_sentences() -> None:
    lines = in_short(stand({"cot": (10, "11"), "hgs": (9, "10")}))
    assert lines[1].startswith("It is the baseline itself: no other method is more accurate than cot")
    assert in_short(stand({"hgs": (9, "10")}))[0].endswith("There is nothing to compare it with.")


def test_seeds_are_one_method_and_budgets_are_several() -> None:
    found = stand({
        "cot 1x 0": (10, "1100"), "cot 1x 1": (12, "1000"),
        "hgs 1x 0": (20, "1111"), "hgs 4x 0": (90, "1111"),
    })  # fmt: skip
    assert [method.name for method in found.methods] == ["cot 1x", "hgs 1x", "hgs 4x"]
    cot = found.methods[0]
    assert (cot.accuracy, cot.tokens, cot.answers, cot.side.problems) == (3 / 8, 11.0, 8, list("0123"))
    assert found.methods[found.best].name == "hgs 1x", "the cheaper one of two that solve as much"


def test_methods_are_compared_with_the_baseline_at_their_own_budget() -> None:
    few, half, most = "1000" * 25, "1100" * 25, "1110" * 25
    found = stand({
        "cot 1x 0": (10, few), "hgs 1x 0": (11, half), "cot 4x 0": (40, most), "hgs 4x 0": (40, half),
        "mcts default 0": (90, half),
    })  # fmt: skip
    assert {index: found.base(index) for index in found.versus} == {1: 0, 3: 2}
    assert [(row["budget"], row["method"], row.get("points")) for row in by_budget(found)] == [
        ("1x", 1, 25.0), ("4x", 2, None), ("default", 4, None),
    ]  # fmt: skip
    assert in_short(found)[1].startswith("It is the baseline itself")


def test_nothing_is_compared_where_the_baseline_is_not_finished() -> None:
    found = stand({"cot 1x 0": (10, "1100"), "hgs 1x 0": (11, "1100"), "hgs 4x 0": (40, "1111")})
    assert list(found.versus) == [1]
    assert in_short(found)[1] == (
        "It is compared with nothing: cot, the baseline, has no result at the same budget."
    )


def test_both_reports_call_the_same_differences_noise() -> None:
    """Seven of a hundred: p = 0.016 alone, 0.08 among five; and other budgets do not count."""
    made = grid({
        "cot 1x 0": (10, "1" * 50 + "0" * 50), "hgs 1x 0": (20, "1" * 57 + "0" * 43),
        "cot 4x 0": (10, "1" * 50 + "0" * 50), "hgs 4x 0": (20, "1" * 57 + "0" * 43),
        **{f"{name} 4x 0": (20, "1" * 50 + "0" * 50) for name in ("beam", "mcts", "puct", "best_of_n")},
    })  # fmt: skip
    found = standings(methods_of(made), made.baseline)
    in_html = {found.methods[i].name: versus for i, versus in found.versus.items()}
    in_markdown = {
        line.method.name: line.versus
        for table in tables_of(made).values()
        for line in table
        if line.versus is not None
    }
    assert {name: (v.p, v.verdict) for name, v in in_html.items()} == {
        name: (v.p, v.verdict) for name, v in in_markdown.items()
    }
    assert in_html["hgs 1x"].verdict == "better" and in_html["hgs 4x"].verdict == "within the noise"


def test_total_tokens_are_what_counts_where_they_are_known() -> None:
    made = grid({"cot": (10, "10"), "hgs": (30, "11")})
    assert {standings(methods_of(made), "cot").unit} == {"policy tokens"}
    for cell in made.cells:
        for graded in cell.summary.graded:
            graded.outcome.cost.total_tokens = 50
    assert in_short(standings(methods_of(made), "cot"))[0].endswith(
        "of 2 problems, for 50 total tokens each. Of 2 methods it is the most accurate, for 1.0 times the "
        "tokens of cot."
    )


# -- the file --------------------------------------------------------------------------------------


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def blocks_of(page: str) -> list[dict[str, Any]]:
    packed = re.findall(r'<script type="application/octet-stream" id="block-\d+">(.*?)</script>', page)
    return [json.loads(gzip.decompress(b64decode(block))) for block in packed]


async def two_runs(folder: Path) -> Path:
    """Best-of-N and HGS on six problems of the random world, with whatever happens to them."""
    await recorded(folder / "best_of_n.jsonl", BestOfN(n=4, temperature=1.0), n_problems=6)
    await recorded(folder / "hgs.jsonl", HGS(width=4), n_problems=6)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return asyncio.run(two_runs(tmp_path_factory.mktemp("runs")))


def written(folder: Path, out: Path, **how: Any) -> str:
    write_html(diagnosed(read_folder(folder)), out, **how)
    return out.read_text(encoding="utf-8")


def test_the_file_holds_every_result_and_every_step(runs: Path, tmp_path: Path) -> None:
    page = written(runs, tmp_path / "report.html")
    data, blocks = data_of(page), blocks_of(page)
    assert [method["name"] for method in data["methods"]] == ["best_of_n", "hgs"]
    for cell in data["cells"]:
        run = read_trace(tmp_path / cell["trace"])
        seed = sides.from_trace(run)
        for number, problem in enumerate(data["problems"]):
            assert (cell["results"][number] == "1") == seed.correct[problem["id"]]
            assert cell["tokens"][number] == seed.cost[problem["id"]].policy_tokens
            tree = blocks[cell["blocks"][number]][problem["id"]]
            lines = outline(run, problem["id"], most=None).lines
            drawn = [(row[0], bool(row[1]), KINDS[row[2]], row[3], row[6]) for row in tree["rows"]]
            assert drawn == [(li.level, li.opens, li.kind, li.visit, li.note) for li in lines]
            assert bool(tree["why"]) == (cell["results"][number] != "1")
    assert set("".join(cell["results"] for cell in data["cells"])) <= {"1", *data["causes"]}


def test_the_same_runs_give_the_same_bytes(runs: Path, tmp_path: Path) -> None:
    assert written(runs, tmp_path / "a.html") == written(runs, tmp_path / "b.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "b.html"]


def test_trees_beyond_the_bound_are_left_out_from_the_end(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.report.html.writer.BLOCK", 1)  # a block for each tree
    everything = written(runs, tmp_path / "all.html")
    sizes = [len(block) for block in re.findall(r"<script type=.application/octet.*\n", everything)]
    page = written(runs, tmp_path / "some.html", most_bytes=2 * sum(sizes[:3]))
    first = data_of(page)["cells"][0]["blocks"]
    assert first == [0, 1, 2, -1, -1, -1] and len(blocks_of(page)) < len(sizes)
    assert [cell["results"] for cell in data_of(page)["cells"]] == [
        cell["results"] for cell in data_of(everything)["cells"]
    ]


def test_the_policy_allows_this_script_and_style_and_no_address(runs: Path, tmp_path: Path) -> None:
    page = written(runs, tmp_path / "report.html")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None and policy[1].startswith("default-src 'none';")
    for tag in ("style", "script"):
        found = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.S)
        assert found is not None
        digest = b64encode(sha256(found[1].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy[1]
    assert set(re.findall(r"https?://[^\"' ]+", page)) == {"http://www.w3.org/2000/svg"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_script_makes_markup_of_text(name: str) -> None:
    doors = "innerHTML outerHTML insertAdjacentHTML document.write eval( Function( srcdoc"
    assert [door for door in doors.split() if door in read(name)] == []
    assert max(map(len, read(name).splitlines())) <= 120


def test_text_from_models_does_not_leave_its_place(tmp_path: Path) -> None:
    nasty = "</script><script>alert(1)</script><!-- \x00 \ud800 ]]>"
    trace(tmp_path / "hgs.jsonl", ("sample", [0], nasty, "step"), ("chosen", [0], None))
    made = replace(read_folder(tmp_path), title=nasty[:-9], command=nasty, policy=nasty)
    write_html(diagnosed(made), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("<script>") == 1 and "alert(1)</script>" not in page
    assert data_of(page)["command"] == nasty == blocks_of(page)[0]["w/0"]["rows"][0][5]


def test_everything_that_can_happen_to_a_step_has_a_row(tmp_path: Path) -> None:
    scripted(tmp_path / "hgs.jsonl")
    [block] = blocks_of(written(tmp_path, tmp_path / "report.html"))
    rows = block["w/0"]["rows"]
    assert [(row[3], KINDS[row[2]], row[7], row[10]) for row in rows] == [
        (8, "step", "wrong", 0), (1, "chosen path", None, 0), (2, "rejected", None, 0),
        (3, "duplicate", None, 1), (4, "failed", None, 0), (5, "went back from here", None, 0),
        (6, "step", None, 0), (7, "chosen path", "right", 0),
    ]  # fmt: skip


def test_steps_are_checked_where_the_task_can(tmp_path: Path) -> None:
    for name in ("cot", "hgs"):
        (tmp_path / f"{name}.jsonl").write_bytes((RECORDED / f"{name}.jsonl").read_bytes())
    page = written(tmp_path, tmp_path / "report.html")
    data = data_of(page)
    cot = next(cell for cell in data["cells"] if cell["trace"] == "cot.jsonl")
    rows = blocks_of(page)[cot["blocks"][1]]["test/0/1"]["rows"]
    assert [row[8] for row in rows] == ["right", "wrong", "after", "after"]
    assert [method["is_base"] for method in data["methods"]] == [True, False]
    assert data["problems"][1]["reference"] == "25"


def test_an_unfinished_run_says_what_is_missing(tmp_path: Path) -> None:
    whole = scripted(tmp_path / "hgs.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "best_of_n.jsonl").write_text("".join(whole[:-1]))
    data = data_of(written(tmp_path, tmp_path / "report.html"))
    assert data["missing"] == ["best_of_n: 1 without an answer in its trace"]
    assert [cell["results"] for cell in data["cells"]] == ["-", "1"]


def test_runs_of_different_lengths_have_all_their_trees(tmp_path: Path) -> None:
    """The longer one has begun problems that it has not ended, and the shorter one does not have."""
    for name, n in (("best_of_n", 2), ("hgs", 4)):
        asyncio.run(recorded(tmp_path / f"{name}.jsonl", BestOfN(n=2), n_problems=n))
    longer = tmp_path / "hgs.jsonl"
    lines = longer.read_text().splitlines(keepends=True)
    ends = {f"w/{i}" for i in (2, 3)}
    longer.write_text("".join(
        line for line in lines
        if '"chosen"' not in line or json.loads(line)["problem"] not in ends
    ))  # fmt: skip
    data = data_of(written(tmp_path, tmp_path / "report.html"))
    assert [cell["results"][2:] for cell in data["cells"]] == ["--", "--"]
    assert [cell["blocks"][3] for cell in data["cells"]] == [-1, 1]


# -- the style -------------------------------------------------------------------------------------


def test_colours_can_be_read_in_light_and_dark() -> None:
    colours = dict(re.findall(r"--([\w]+): light-dark\((#\w{6}, #\w{6})\)", read("style.css")))
    for number in (0, 1):
        paper, raised = (colours[name].split(", ")[number] for name in ("paper", "raised"))
        for name in ("ink", "faint", "link", "right", "wrong", "failed", *(f"c{i}" for i in range(7))):
            colour = colours[name].split(", ")[number]
            assert min(contrast(colour, paper), contrast(colour, raised)) >= 4.5, (name, number)


# -- the command -----------------------------------------------------------------------------------


def test_the_command(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "r.html"
    assert main([str(runs), "--out", str(out)]) == 0 and out.exists()
    assert capsys.readouterr().out.startswith(f"{out}  0.")
    assert main([str(tmp_path)]) == 2
    assert "holds neither a grid of bench.run nor traces" in capsys.readouterr().err
    assert main([str(runs), "--out", str(tmp_path / "no" / "r.html")]) == 2
    assert "error: --out: there is no folder" in capsys.readouterr().err
    assert main([str(tmp_path / "no")]) == 2
    assert "error: there is no folder" in capsys.readouterr().err


def test_traces_of_different_tasks_are_refused(tmp_path: Path) -> None:
    scripted(tmp_path / "hgs.jsonl")
    (tmp_path / "cot.jsonl").write_bytes((RECORDED / "cot.jsonl").read_bytes())
    with pytest.raises(UsageError, match="is of another task"):
        read_folder(tmp_path)
