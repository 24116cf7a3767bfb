"""Word problems with short answers: SVAMP, ASDiv and GSM-Plus. They are graded as the task `jsonl` is.

SVAMP (Patel et al. 2021, arXiv:2103.07191): 1,000 problems, https://github.com/arkilpatel/SVAMP; on the hub
ChilleD/SVAMP. A row has "ID", "Body", "Question", "Equation", "Answer" (a number) and "Type".

ASDiv (Miao et al. 2020, arXiv:2106.15772). A row on the hub (EleutherAI/asdiv) has "body", "question",
"answer" (the number, then its unit in brackets), "solution_type" and "formula". Eurus's file is that of LILA
(Mishra et al. 2022, arXiv:2210.17517): one object with the rows as "Instances", each with "Input",
"Output Answer" (a list) and "split"; its 618 test rows are the problems.

GSM-Plus (Li et al. 2024, arXiv:2402.19255): variations of GSM8K's test problems,
https://github.com/qtli/GSM-Plus; on the hub qintongli/GSM-Plus. A row has "question", "solution", "answer",
"perturbation_type", and the same of the problem that it varies ("seed_question" ...). Where a variation
lacks what its answer needs, the answer is "None".
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import ClassVar

from bench.grading.equality import WORKER
from bench.tasks.base import Example
from bench.tasks.jsonl import Jsonl
from bench.tasks.prompts import GSM8K
from bench.tasks.sources import file_in, rows_under, source_rows, text_or_number
from prm.data.rows import Row, hub_rows
from search.errors import UsageError
from search.types import Problem


class WordProblems(Jsonl):
    """What the three tasks share. file: the name of the data in a folder."""

    file: ClassVar[str]
    test_only = True
    prompts = GSM8K

    def examples(self, data: Path | None, limit: int | None) -> list[Example]:
        """The test problems. Raises UsageError, also if math-verify does not load."""
        examples = list(islice(map(self._example, self._rows(data)), limit))
        WORKER.start()
        return examples

    def _rows(self, data: Path | None) -> Iterator[Row]:
        return source_rows(data, self.file, self._on_hub)

    @abstractmethod
    def _on_hub(self) -> Iterator[Row]: ...

    @abstractmethod
    def _example(self, row: Row) -> Example: ...


class Svamp(WordProblems):
    """`data`: SVAMP.json, or a folder that holds it. Problems are grouped by their operation.

    Body and question are joined by ". ", as Eurus's evaluation does, also after a full stop.
    """

    name = "svamp"
    file = "SVAMP.json"

    def _on_hub(self) -> Iterator[Row]:
        return hub_rows("ChilleD/SVAMP", "train+test", stream=False)

    def _example(self, row: Row) -> Example:
        question = f"{row.text('Body')}. {row.text('Question')}"
        group = str(row.fields.get("Type", ""))
        return Example(Problem(f"svamp/{row.number}", question), text_or_number(row, "Answer"), group)


class Asdiv(WordProblems):
    """`data`: LILA's asdiv.json, a file with the hub's rows, or a folder that holds asdiv.json."""

    name = "asdiv"
    file = "asdiv.json"

    def _rows(self, data: Path | None) -> Iterator[Row]:
        if data is None or file_in(data, self.file).suffix != ".json":
            return super()._rows(data)
        rows = rows_under(file_in(data, self.file), "Instances")
        return (row for row in rows if row.fields.get("split") == "test")

    def _on_hub(self) -> Iterator[Row]:
        return hub_rows("EleutherAI/asdiv", "validation", stream=False)

    def _example(self, row: Row) -> Example:
        if "Input" in row.fields:
            outputs = row.fields.get("Output Answer")
            if not isinstance(outputs, list) or len(outputs) != 1 or not isinstance(outputs[0], str):
                raise UsageError(f"{row.where}: 'Output Answer' must be a list of one string")
            return Example(Problem(f"asdiv/{row.number}", row.text("Input")), outputs[0])
        question = f"{row.text('body')} {row.text('question')}"
        answer = row.text("answer").partition(" (")[0]
        group = str(row.fields.get("solution_type", ""))
        return Example(Problem(f"asdiv/{row.number}", question), answer, group)


class GsmPlus(WordProblems):
    """`data`: a file with the rows, or a folder that holds gsmplus_test.jsonl.

    Problems are grouped by the kind of variation.
    """

    name = "gsm_plus"
    file = "gsmplus_test.jsonl"

    def _on_hub(self) -> Iterator[Row]:
        return hub_rows("qintongli/GSM-Plus", "test", stream=False)

    def _example(self, row: Row) -> Example:
        group = str(row.fields.get("perturbation_type", ""))
        problem = Problem(f"gsm_plus/{row.number}", row.text("question"))
        return Example(problem, text_or_number(row, "answer"), group)
