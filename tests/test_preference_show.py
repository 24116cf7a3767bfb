"""Preference trees counted and drawn, in a terminal and as SVG."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.report.preference_svg import preference_svg
from bench.report.preference_text import preference_text
from bench.runner.cli.preference_trees import main
from prm.preference.files import write_trees
from prm.preference.tree import Observation, PreferenceTree, Turn

SVG = "{http://www.w3.org/2000/svg}"
PROGRAM = "def f(x):\n    return x + 1"
TREE = PreferenceTree(
    "f00d", "f00d", "Coding", "mine", "Write f(x),\nthe number after x.",
    (
        Turn(PROGRAM, "def f(x):\n\treturn x", Observation.of(False, output="0", critique="Add <1> & go.")),
        Turn(None, "\x1b[31mred\ud800", Observation.of(False)),
        Turn("one\n" * 12, "two"),
    ),
)  # fmt: skip


def test_the_picture_of_a_tree() -> None:
    assert preference_text(TREE, 60).plain.splitlines() == [
        "tree         f00d",
        "task         Coding, mine",
        "turns        3",
        "instruction  Write f(x),",
        "             the number after x.",
        "",
        "turn 1",
        "├─● def f(x):",
        "│       return x + 1",
        "└─✗ def f(x):",
        "        return x",
        "   » Out: 0",
        "     Your answer is wrong.",
        "     Add <1> & go.",
        "",
        "   turn 2",
        "   └─✗ \N{REPLACEMENT CHARACTER}[31mred\N{REPLACEMENT CHARACTER}",
        "      » Your answer is wrong.",
        "",
        "      turn 3",
        "      ├─● one",
        *["      │   one"] * 6,
        "      │   … 5 more lines",
        "      └─✗ two",
        "",
        "● right  ✗ wrong  » observation",
    ]
    assert preference_text(TREE, 60, most=None).plain.count("one\n") == 12


def test_long_lines_are_wrapped() -> None:
    long = PreferenceTree("a", "a", "Logic", "d", "word " * 40, (Turn("x" * 200, "y"),))
    for width in (50, 120):
        assert max(map(len, preference_text(long, width, most=None).plain.splitlines())) <= width


def test_the_svg_is_well_formed_and_shows_the_texts() -> None:
    root = ElementTree.fromstring(preference_svg(TREE).encode())
    text = "\n".join(root.itertext())
    for part in ("Add <1> & go.", "return x + 1", "turn 3, wrong", "prefers-color-scheme: dark"):
        assert part in text
    boxes = [rect for rect in root.iter(f"{SVG}rect") if "box" in rect.get("class", "")]
    assert [sum(kind in rect.get("class", "") for rect in boxes) for kind in ("right", "wrong")] == [2, 3]
    height = float(root.get("height", ""))
    spans = sorted((float(r.get("y", "")), float(r.get("height", ""))) for r in boxes)
    assert max(y + h for y, h in spans) < height


def overlap(a: ElementTree.Element, b: ElementTree.Element) -> bool:
    def span(rect: ElementTree.Element, start: str, size: str) -> tuple[float, float]:
        begin = float(rect.get(start, ""))
        return begin, begin + float(rect.get(size, ""))

    return all(
        max(span(a, *axis)[0], span(b, *axis)[0]) < min(span(a, *axis)[1], span(b, *axis)[1])
        for axis in (("x", "width"), ("y", "height"))
    )


def test_no_box_covers_another() -> None:
    root = ElementTree.fromstring(preference_svg(TREE).encode())
    boxes = [rect for rect in root.iter(f"{SVG}rect") if "box" in rect.get("class", "")]
    assert not any(overlap(a, b) for n, a in enumerate(boxes) for b in boxes[:n])


def test_the_command_counts_and_draws(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    clean = (Turn(PROGRAM, "def f(x):\n    return x", Observation.of(False)), Turn("pass", "fail"))
    tree = PreferenceTree("f00d", "f00d", "Coding", "mine", "Write f(x).", clean)
    single = PreferenceTree("beef", "beef", "Coding", "mine", "Write g(x).", (Turn("a", "b"),))
    write_trees(tmp_path, [single, tree], {})
    folder, svg = str(tmp_path), tmp_path / "tree.svg"
    assert main([folder]) == 0
    printed = capsys.readouterr().out
    assert "2 instructions, 2 trees, 3 correct actions, 3 pairs" in printed
    assert printed.index("f00d  pairs up to turn 2") < printed.index("beef  pairs up to turn 1")
    assert main([folder, "--id", "f0", "--svg", str(svg)]) == 0
    assert "└─✗ def f(x):" in capsys.readouterr().out
    assert ElementTree.parse(svg).getroot().tag == f"{SVG}svg"
    for words, why in {
        ("--id", "0"): "no tree begins with 0", ("--svg", "x.svg"): "need --id",
        ("--id", "f", "--svg", str(tmp_path / "no" / "t.svg")): "--svg: cannot write",
    }.items():  # fmt: skip
        assert main([folder, *words]) == 2 and why in capsys.readouterr().err
    assert main([f"sft:{tmp_path / 'sft.jsonl'}"]) == 0
    assert "3 correct actions, 0 pairs" in capsys.readouterr().out
    assert main([f"pairs:{tmp_path / 'pairs.jsonl'}", "--id", "f00d"]) == 0
    assert main([str(tmp_path / "pairs.jsonl")]) == 2 and "FORMAT:WHERE" in capsys.readouterr().err


def test_the_command_reads_other_formats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": "Hi?", "chosen": "Yes.", "rejected": "No."}, {"prompt": "Hi?"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main([f"binarized:{path}"]) == 0
    printed = capsys.readouterr()
    assert "1 instructions, 1 trees, 0 correct actions, 1 pairs" in printed.out
    assert "rows left out: 1 of 2" in printed.err
