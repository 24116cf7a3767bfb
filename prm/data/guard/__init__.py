"""The split guard: keeps problems of evaluation sets out of training data.

A problem is excluded if its text is that of an evaluation problem, or shares eight consecutive words
with one. The bundled evaluation sets are kept as hashes, so that the guard needs no data;
`python -m prm.data.guard` rebuilds them.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from prm.data.labels import LabelledSolution
from prm.data.rows import Row, read_rows
from search.errors import UsageError

GRAM = 8
"""Consecutive words that two problems must not share, as in Eurus (Yuan et al. 2024, arXiv:2404.02078)."""

HASHES = Path(__file__).parent.parent / "heldout.npz"
"""The bundled evaluation sets. By set: the hashes of its problems' texts, and of their 8-grams."""

_MARKED = "marked as test"


def words(text: str) -> list[str]:
    """A problem's words in lower case; spacing and punctuation differ from copy to copy."""
    return re.findall(r"\w+", text.casefold())


def _fingerprint(text: str) -> tuple[int, set[int]]:
    """A 64-bit hash of the text, and a 32-bit hash of each run of GRAM words."""
    tokens = words(text)
    grams = {_hash(tokens[i : i + GRAM]) & 0xFFFFFFFF for i in range(len(tokens) - GRAM + 1)}
    return _hash(tokens), grams


def _hash(tokens: list[str]) -> int:
    return int.from_bytes(blake2b(" ".join(tokens).encode(), digest_size=8).digest(), "big")


@dataclass(slots=True)
class Guard:
    """texts, grams: by hash, the evaluation set it belongs to.

    dropped: the excluded problems, each with the reason. solutions: how many records were excluded.
    """

    texts: dict[int, str]
    grams: dict[int, str]
    dropped: dict[str, str] = field(default_factory=dict)
    solutions: int = 0
    _kept: set[str] = field(default_factory=set)

    @classmethod
    def known(cls) -> Guard:
        """The guard of the bundled sets: MATH-500, GSM8K test, GSM-Hard, SVAMP and ProcessBench."""
        texts, grams = _load()
        return cls(dict(texts), dict(grams))

    def add(self, name: str, problems: Iterable[str]) -> None:
        """Exclude the problems of another evaluation set too."""
        for problem in problems:
            text, grams = _fingerprint(problem)
            self.texts.setdefault(text, name)
            for gram in grams:
                self.grams.setdefault(gram, name)

    def overlap(self, problem: str) -> str | None:
        """What the problem overlaps: "SET: same text" or "SET: eight words"; None if nothing."""
        text, grams = _fingerprint(problem)
        if (name := self.texts.get(text)) is not None:
            return f"{name}: same text"
        name = next((self.grams[gram] for gram in sorted(grams) if gram in self.grams), None)
        return f"{name}: eight words" if name is not None else None

    def filter(self, solutions: Iterable[LabelledSolution]) -> Iterator[LabelledSolution]:
        """Pass on the records of problems that may be trained on; note the problems that are excluded.

        Records marked as test are excluded one by one, so that the order of records does not matter.
        """
        for solution in solutions:
            question = solution.question
            if solution.split == "test":
                self.solutions += 1
                if question not in self._kept:
                    self.dropped.setdefault(question, _MARKED)
                continue
            if question not in self._kept and self.dropped.get(question, _MARKED) == _MARKED:
                reason = self.overlap(question)
                if reason is None:
                    self._kept.add(question)
                    self.dropped.pop(question, None)
                else:
                    self.dropped[question] = reason
            if question in self._kept:
                yield solution
            else:
                self.solutions += 1

    def report(self) -> dict[str, Any]:
        """How many problems were kept and dropped, for the model card."""
        return {
            "problems_kept": len(self._kept),
            "problems_dropped": dict(Counter(self.dropped.values())),
            "records_dropped": self.solutions,
        }

    def describe(self) -> str:
        """What was dropped, for the terminal: counts, and the beginning of each problem."""
        if not self.dropped:
            return f"split guard: {len(self._kept)} problems, none overlaps an evaluation set"
        counts = ", ".join(f"{n} {reason}" for reason, n in Counter(self.dropped.values()).most_common())
        lines = [f"split guard: {len(self._kept)} problems kept; dropped {len(self.dropped)} ({counts}):"]
        lines += [f"  [{why}] {' '.join(text.split())[:90]}" for text, why in sorted(self.dropped.items())]
        return "\n".join(lines)


@cache
def _load() -> tuple[dict[int, str], dict[int, str]]:
    texts: dict[int, str] = {}
    grams: dict[int, str] = {}
    with np.load(HASHES) as stored:
        for key in stored.files:
            kind, _, name = key.partition("/")
            table = texts if kind == "texts" else grams
            for value in stored[key].tolist():
                table.setdefault(value, name)
    return texts, grams


@dataclass(frozen=True, slots=True)
class EvaluationFile:
    """A file of problems of the evaluation set `name`; a set may have several."""

    name: str
    path: str


def rebuild(files: Sequence[EvaluationFile], out: Path = HASHES) -> None:
    """Write the hashes of evaluation sets, and print how many there are of each. Raises UsageError."""
    problems: dict[str, list[str]] = defaultdict(list)
    for file in files:
        problems[file.name] += map(problem_text, read_rows(file.path))
    tables: dict[str, np.ndarray[Any, Any]] = {}
    taken: set[int] = set()
    for name, texts in problems.items():
        prints = [_fingerprint(text) for text in texts]
        grams = set[int]().union(*(grams for _, grams in prints)) - taken
        taken |= grams
        tables[f"texts/{name}"] = np.array(sorted({text for text, _ in prints}), dtype=np.uint64)
        tables[f"grams/{name}"] = np.array(sorted(grams), dtype=np.uint32)
        print(f"{name}: {len(texts)} problems, {len(grams)} runs of {GRAM} words")
    np.savez_compressed(out, **tables)  # type: ignore[arg-type]  # numpy's stub takes a flag by name


def problem_text(row: Row) -> str:
    """The problem of a row of an evaluation set. Raises UsageError if it has none."""
    if isinstance(row.fields.get("Body"), str):  # SVAMP
        return f"{row.fields['Body']} {row.fields['Question']}"
    for name in ("problem", "question", "input"):
        if isinstance(row.fields.get(name), str):
            return str(row.fields[name])
    raise UsageError(f"{row.where}: no problem among {', '.join(row.fields)}")
