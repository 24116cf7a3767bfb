"""The recipe for code from MBPP's file to the report, on a handful of problems, and what it reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.experiments import mbpp_prm
from bench.mbpp_prm import main
from prm.data.labels import read_labels
from tests.recipes import in_turn
from tests.sandboxed import why_not
from tests.test_mutation_build import rows

__all__ = ["in_turn"]


def test_a_documented_function_is_its_purpose_and_its_statements() -> None:
    source = (
        "import os\n\n"
        "class A:\n"
        "    def double(self, x):\n"
        '        """Twice x.\n\n        More about it.\n        """\n'
        "        y = 2 * x\n"
        "        return y\n"
        "    def silent(self):\n"
        "        return 1\n"
        "    def empty(self):\n"
        '        """Nothing."""\n'
    )
    [only] = mbpp_prm.functions_of(source)
    assert only.question == "Twice x."
    assert only.steps == ("def double(self, x):\n", "    y = 2 * x\n", "    return y\n")
    assert list(mbpp_prm.functions_of("def broken(:\n")) == []


@pytest.mark.slow
@pytest.mark.usefixtures("in_turn")
def test_from_mbpp_to_the_report(tmp_path: Path) -> None:
    if reason := why_not():
        pytest.skip(reason)
    data, work = tmp_path / "mbpp", tmp_path / "work"
    data.mkdir()
    numbers = (*range(11, 14), *range(601, 606))
    (data / "mbpp.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(*numbers)))
    options = ["--data", str(data), "--work", str(work), "--hidden", "64", "--layers", "1", "--epochs", "1"]
    assert main([*options, "--limit", "12"]) == 0
    kinds = {name: list(read_labels(work / f"train-{name}.jsonl")) for name in mbpp_prm.KINDS}
    assert len(kinds["assertions"]) < len(kinds["all"]), "crashes are left out"
    results = json.loads((work / "report" / "report.json").read_text())["results"]
    assert {(Path(row["judge"]).name, row["data"]) for row in results} == {
        (score, f"MBPP test, {kind}")
        for score in ("prm-all", "prm-assertions", "majority", "position", "n-grams")
        for kind in mbpp_prm.KINDS
    }
