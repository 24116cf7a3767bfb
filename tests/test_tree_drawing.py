"""Search trees as outlines, in a terminal and as SVG."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bench.report import sides
from bench.report.outline import Kind, Line, outline
from bench.report.recorded import read_trace
from bench.report.tree_svg import DARK, LIGHT, SHAPES, tree_svg
from bench.report.tree_text import MARKS, STYLES, tree_text
from bench.runner.cli.tree import main
from bench.tasks import TASKS
from search.strategies.best_of_n import BestOfN
from search.strategies.hgs import HGS
from search.strategies.mcts import MCTS
from search.tree import Strategy
from search.types import Observation
from tests.random_runs import Fractions, recorded

RECORDED = Path(__file__).parent / "recorded"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(autouse=True)
def fractions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sides, "TASKS", {**TASKS, "fractions": Fractions})


def trace(path: Path, *events: tuple[Any, ...]) -> Path:
    """A trace of the problem w/0, from short events: (event, address, ...)."""
    lines: list[dict[str, Any]] = [
        {"event": "run", "config": {"strategy": "hgs", "task": "fractions", "data": ""}},
        {"event": "problem", "problem": "w/0", "digest": "x"},
    ]
    for event, at, *more in events:
        line: dict[str, Any] = {"event": event, "problem": "w/0", "at": at}
        if event == "sample":
            text, stop = more
            line |= {"steps": [[text, [1], -0.5, stop, 1]], "spent": {"policy_tokens": 2}}
        elif event == "score":
            line |= {"num_scored": len(at) - 1, "scores": [[1 - more[0], 0.0, more[0]]], "spent": {}}
        elif event == "failed":
            line |= {"of": "sample", "reason": more[0], "spent": {}}
        elif event == "observe":
            line |= asdict(Observation(more[0], more[1]))
        elif event == "chosen":
            line |= {"answer": more[0]}
        lines.append(line)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def scripted(path: Path) -> Path:
    """Everything that can happen to a step."""
    return trace(
        path,
        ("sample", [0], "First.\n", "step"), ("score", [0], 0.9),
        ("sample", [0, 0], "Bad\tidea <&>.\n", "step"), ("score", [0, 0], 0.25), ("reject", [0, 0]),
        ("sample", [0, 1], "Bad\tidea <&>.\n", "step"),
        ("failed", [0, 2], "PolicyError: lost"),
        ("sample", [0, 3], "Dead end.\n", "step"), ("score", [0, 3], 0.75), ("backtrack", [0, 3]),
        ("sample", [0, 3, 0], "On and on", "length"), ("score", [0, 3, 0], 0.5),
        ("sample", [0, 4], "so = 0.5\n", "end"), ("score", [0, 4], 1.0),
        ("sample", [1], "so = 3\n", "end"), ("score", [1], 0.125),
        ("chosen", [0, 4], "0.5"),
    )  # fmt: skip


def test_the_picture_of_a_tree(tmp_path: Path) -> None:
    run = read_trace(scripted(tmp_path / "hgs.jsonl"))
    assert tree_text(outline(run, "w/0"), 100).plain.splitlines() == [
        "problem    w/0 (hgs)",
        "question   Which way, 0?",
        "reference  1/2",
        "answer     0.5 (correct)",
        "cost       8 samples, 14 policy tokens (12 of them discarded), 0 PRM tokens",
        "tree       8 steps, 2 finished, 1 rejected, 1 duplicate, 1 failed, 1 backtrack",
        "",
        "├─○ #8 0.12 so = 3  [answer 3, wrong]",
        "● #1 0.90 First.",
        "├─✗ #2 0.25 Bad idea <&>.  [sampled 2 times; rejected]",
        "├─! #4        [failed: PolicyError: lost]",
        "├─↩ #5 0.75 Dead end.  [went back]",
        "│ ○ #6 0.50 On and on  [cut at the length limit]",
        "├─=         duplicates: #3",
        "● #7 1.00 so = 0.5  [answer 0.5, correct]",
        "",
        "! failed  ● chosen path  ↩ went back from here  ✗ rejected  = duplicate  ○ step  … folded",
        "#: order of sampling; number: P(step is not wrong); indented: other branches",
    ]
    folded = [line for line in outline(run, "w/0", most=3).lines if line.node is None]
    assert [line.text for line in folded] == [
        "1 step in 1 subtree, the best 0.12, 1 finished", "duplicates: #3",
        "3 steps in 2 subtrees, the best 0.75",
    ]  # fmt: skip
    assert "= #3 0.25" in tree_text(outline(run, "w/0", most=None), 100).plain


TRACEBACK = "Out: Traceback\n  cell 1\n\n    a\tb\x00 <&>\nNameError: a\nYour answer is wrong."


def episode(path: Path) -> Path:
    """Two turns, the first of them with an alternative. All turns but the chosen last one are answered."""
    return trace(
        path,
        ("observe", [0], TRACEBACK, "none"), ("sample", [0], "Run a.", "step"), ("score", [0], 0.5),
        ("observe", [1], "Out: 4", "so = 4"), ("sample", [1], "Run b.", "step"), ("score", [1], 0.25),
        ("observe", [0, 0], "", "so = 0.5"), ("sample", [0, 0], "It is 0.5.", "end"),
        ("score", [0, 0], 0.75), ("chosen", [0, 0], "0.5"),
    )  # fmt: skip


def test_an_observation_stands_under_its_turn_and_a_long_one_is_folded(tmp_path: Path) -> None:
    run = read_trace(episode(tmp_path / "hgs.jsonl"))
    drawn = outline(run, "w/0")
    lines = tree_text(drawn, 100).plain.splitlines()[7:]
    assert lines == [
        "├─○ #2 0.25 Run b.",
        "│ »         Out: 4",
        "● #1 0.50 Run a.",
        "»         Out: Traceback",
        "»           cell 1",
        "»             a   b\N{REPLACEMENT CHARACTER} <&>",
        "»         … 2 more lines",
        "● #3 0.75 It is 0.5.  [answer 0.5, correct]",
        "",
        "! failed  ● chosen path  ↩ went back from here  ✗ rejected  = duplicate  ○ step  … folded  "
        "» observation",
        "#: order of sampling; number: P(step is not wrong); indented: other branches",
    ]
    picture = ElementTree.fromstring(tree_svg(drawn).encode())
    assert [t.text for t in picture.iter(f"{SVG}text") if t.get("class") == "observation"] == [
        "Out: 4", "Out: Traceback", "  cell 1", "    a   b\N{REPLACEMENT CHARACTER} <&>", "… 2 more lines",
    ]  # fmt: skip
    whole = tree_text(outline(run, "w/0", most=None), 100).plain
    assert "»         Your answer is wrong." in whole and "more lines" not in whole


def test_a_problem_without_an_end_is_drawn(tmp_path: Path) -> None:
    whole = scripted(tmp_path / "hgs.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "cut.jsonl").write_text("".join(whole[:-1]))
    drawn = outline(read_trace(tmp_path / "cut.jsonl"), "w/0")
    assert dict(drawn.head)["answer"].startswith("none: the problem failed, or")
    assert len([line for line in drawn.lines if line.node is not None]) == 7
    (tmp_path / "none.jsonl").write_text("".join(whole[:2]))
    assert outline(read_trace(tmp_path / "none.jsonl"), "w/0").lines == []


STRATEGIES: dict[str, Strategy] = {
    "mcts": MCTS(simulations=12, width=5), "best_of_n": BestOfN(n=40, temperature=1.0), "hgs": HGS(width=8),
}  # fmt: skip


@pytest.mark.parametrize("name", STRATEGIES)
def test_all_steps_are_drawn_or_counted_and_the_chosen_path_runs_down(name: str, tmp_path: Path) -> None:
    run, _ = asyncio.run(recorded(tmp_path / "t.jsonl", STRATEGIES[name], n_problems=3))
    for problem, tree in run.trees.items():
        nodes = set(tree.nodes)
        everything = outline(run, problem, most=None).lines
        assert {line.node for line in everything} == nodes
        for most in (1, 10, 60):
            lines = outline(run, problem, most=most).lines
            drawn = [line.node for line in lines if line.node is not None]
            assert sum(map(counted, lines)) >= len(nodes) - chains(lines) and len(set(drawn)) == len(drawn)
            assert tree.chosen is not None
            assert [n for n in drawn if n in tree.chosen.path] == tree.chosen.path
            assert all(line.level == 0 for line in lines if line.kind is Kind.CHOSEN)
            assert len(drawn) <= most + len(tree.chosen.path)
            check_nesting(lines)


def counted(line: Line) -> int:
    """How many steps a line stands for; of duplicates, those that are named."""
    if line.node is not None:
        return 1
    first = line.text.split()[0]
    return line.text.count("#") if line.kind is Kind.DUPLICATE else int(first.replace(",", ""))


def chains(lines: Sequence[Line]) -> int:
    """Steps of whole solutions that are duplicates: each is named by its first step."""
    return sum(5 * line.text.count("#") for line in lines if line.node is None)


def check_nesting(lines: Sequence[Line]) -> None:
    """A line is at most one level deeper than the one above, and only if it opens a branch."""
    before = 0
    for line in lines:
        assert line.level <= before + (1 if line.opens else 0)
        before = line.level


def test_lines_fit_the_terminal(tmp_path: Path) -> None:
    run = read_trace(RECORDED / "hgs.jsonl")
    for problem in run.trees:
        for width in (70, 100, 160):
            lines = tree_text(outline(run, problem), width).plain.splitlines()
            marks = [line for line in lines if line.startswith(tuple(MARKS.values()))]
            assert max(map(len, [*lines[:4], *marks[:-1]])) <= width


def test_a_long_answer_is_cut_beside_its_step(tmp_path: Path) -> None:
    number = "1" * 90
    path = trace(tmp_path / "t.jsonl", ("sample", [0], f"so = {number}", "end"), ("chosen", [0], number))
    drawn = outline(read_trace(path), "w/0")
    assert drawn.lines[0].note == f"answer {'1' * 39}…, wrong"
    assert dict(drawn.head)["answer"] == f"{number} (wrong)"


def test_a_very_long_solution_is_drawn(tmp_path: Path) -> None:
    """Longer than Python's stack is deep."""
    events: list[tuple[Any, ...]] = [("sample", [0] * (d + 1), f"Step {d}.\n", "step") for d in range(1500)]
    path = trace(tmp_path / "long.jsonl", *events, ("chosen", [0] * 1500, None))
    drawn = outline(read_trace(path), "w/0")
    assert len(drawn.lines) == 1500 and all(line.level == 0 for line in drawn.lines)
    assert dict(drawn.head)["answer"] == "none"


# -- SVG -------------------------------------------------------------------------------------------


def test_the_picture_is_well_formed_whatever_the_text(tmp_path: Path) -> None:
    nasty = trace(
        tmp_path / "t.jsonl",
        ("sample", [0], "]]> <script>\x00\x1b[31m \ud800 & \"'\n", "step"), ("chosen", [0], None),
    )  # fmt: skip
    picture = tree_svg(outline(read_trace(nasty), "w/0"))
    root = ElementTree.fromstring(picture.encode())
    assert "script" not in {element.tag for element in root.iter()}
    assert any("]]> <script>" in (element.text or "") for element in root.iter(f"{SVG}title"))


def test_the_picture_shows_texts_and_scores(tmp_path: Path) -> None:
    run = read_trace(scripted(tmp_path / "s.jsonl"))
    root = ElementTree.fromstring(tree_svg(outline(run, "w/0")))
    text = " ".join(root.itertext())
    for part in ("Bad idea <&>.", "answer 0.5, correct", "#7", "prefers-color-scheme: dark"):
        assert part in text
    bars = [float(r.get("width", "")) for r in root.iter(f"{SVG}rect") if "bar" in r.get("class", "")]
    assert len(bars) == 6 and max(bars) == 8 * min(bars)  # 1.0 and 0.125


def test_every_kind_has_a_mark_and_a_shape_of_its_own() -> None:
    assert len(set(MARKS.values())) == len(Kind) == len(set(STYLES)) == len(set(SHAPES.values()))


def contrast(a: str, b: str) -> float:
    """The contrast of two colours (WCAG 2.2)."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_colours_can_be_read(palette: dict[str, str]) -> None:
    for name in ("ink", "faint", "chosen", "rejected", "failed", "observed"):
        assert contrast(palette[name], palette["paper"]) >= 4.5, name


# -- the command -----------------------------------------------------------------------------------


def test_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(RECORDED / "hgs.jsonl")
    assert main([path]) == 0
    assert "test/0/1  20 steps, " in capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", "100")
    picture = tmp_path / "tree.svg"
    assert main([path, "--problem", "test/0/1", "--svg", str(picture)]) == 0
    printed = capsys.readouterr().out
    assert "● #1" in printed and "\x1b[" not in printed and "duplicates: #" in printed
    assert ElementTree.parse(picture).getroot().tag == f"{SVG}svg"
    assert main([path, "--problem", "test/0/1", "--all"]) == 0
    assert len(capsys.readouterr().out.splitlines()) > len(printed.splitlines())
    assert main([path, "--problem", "test/0/11"]) == 2
    assert "did you mean" in capsys.readouterr().err
    assert main([path, "--problem", "test/0/1", "--svg", str(tmp_path / "no" / "tree.svg")]) == 2
    assert "--svg: cannot write" in capsys.readouterr().err
