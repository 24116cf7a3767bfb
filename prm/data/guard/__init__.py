"""Keeps evaluation problems out of training: the same text, or any eight words in a row of one.

What it knows of the evaluation sets ships as hashes, so that it guards where the sets are not at
hand. Made again by `python -m prm.data.guard NAME=FILE ...`.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from prm.data.labels import LabelledSolution
from prm.data.rows import read_rows
from search.errors import UsageError

GRAM = 8
"""Words in a row that two problems may not share, as in Eurus (Yuan et al. 2024, arXiv:2404.02078)."""

KNOWN = Path(__file__).parent / "heldout.npz"


def words(text: str) -> list[str]:
    """A problem's text without case, spacing and punctuation, which differ from copy to copy."""
    return re.findall(r"\w+", text.casefold())


def _fingerprint(text: str) -> tuple[int, set[int]]:
    """A 64-bit hash of the text, and a 32-bit one of each run of GRAM words."""
    said = words(text)
    grams = {_hash(said[i : i + GRAM]) & 0xFFFFFFFF for i in range(len(said) - GRAM + 1)}
    return _hash(said), grams


def _hash(said: list[str]) -> int:
    return int.from_bytes(blake2b(" ".join(said).encode(), digest_size=8).digest(), "big")


@dataclass(slots=True)
class Guard:
    """texts, grams: hash -> the evaluation set it is from. dropped: problems, by what they overlap.

    solutions: how many records those problems had.
    """

    texts: dict[int, str]
    grams: dict[int, str]
    dropped: dict[str, str] = field(default_factory=dict)
    solutions: int = 0
    _kept: set[str] = field(default_factory=set)

    @classmethod
    def known(cls) -> Guard:
        """Guards the sets whose hashes ship: MATH-500, GSM8K test, GSM-Hard, SVAMP, ProcessBench."""
        texts, grams = _load()
        return cls(dict(texts), dict(grams))

    def add(self, name: str, problems: Iterable[str]) -> None:
        """Hold more problems out, under the name of their set."""
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
        """Pass on the records of problems that may be trained on; note the others."""
        for solution in solutions:
            question = solution.question
            if question not in self._kept and question not in self.dropped:
                found = "marked as test" if solution.split == "test" else self.overlap(question)
                if found is None:
                    self._kept.add(question)
                else:
                    self.dropped[question] = found
            if question in self.dropped:
                self.solutions += 1
            else:
                yield solution

    def report(self) -> dict[str, Any]:
        """Counts of problems kept and dropped, for the model card."""
        return {
            "problems_kept": len(self._kept),
            "problems_dropped": dict(Counter(self.dropped.values())),
            "records_dropped": self.solutions,
        }

    def describe(self) -> str:
        """What was dropped, for people: counts, and the beginning of each problem."""
        if not self.dropped:
            return f"split guard: {len(self._kept)} problems, none overlaps an evaluation set"
        counts = ", ".join(f"{n} {why}" for why, n in Counter(self.dropped.values()).most_common())
        lines = [f"split guard: {len(self._kept)} problems kept; dropped {len(self.dropped)} ({counts}):"]
        lines += [f"  [{why}] {' '.join(text.split())[:90]}" for text, why in sorted(self.dropped.items())]
        return "\n".join(lines)


@cache
def _load() -> tuple[dict[int, str], dict[int, str]]:
    texts: dict[int, str] = {}
    grams: dict[int, str] = {}
    with np.load(KNOWN) as stored:
        for key in stored.files:
            kind, _, name = key.partition("/")
            table = texts if kind == "texts" else grams
            for value in stored[key].tolist():
                table.setdefault(value, name)
    return texts, grams


def main() -> None:
    """Make the hashes that ship, from the evaluation sets themselves."""
    parser = argparse.ArgumentParser(prog="python -m prm.data.guard", description=main.__doc__)
    parser.add_argument(
        "sets", nargs="+", metavar="NAME=FILE",
        help="an evaluation set: rows with 'problem', 'question' or 'input'",
    )
    tables: dict[str, np.ndarray[Any, Any]] = {}
    said: dict[str, list[str]] = {}
    for item in parser.parse_args().sets:
        name, _, path = item.partition("=")
        rows = [row.fields for row in read_rows(path)]
        said.setdefault(name, []).extend(_problem(row) for row in rows)
    taken: set[int] = set()
    for name, problems in said.items():
        prints = [_fingerprint(problem) for problem in problems]
        grams = set[int]().union(*(grams for _, grams in prints)) - taken
        taken |= grams
        tables[f"texts/{name}"] = np.array(sorted({text for text, _ in prints}), dtype=np.uint64)
        tables[f"grams/{name}"] = np.array(sorted(grams), dtype=np.uint32)
        print(f"{name}: {len(problems)} problems, {len(grams)} runs of {GRAM} words")
    np.savez_compressed(KNOWN, **tables)  # type: ignore[arg-type]  # numpy's stub takes a flag by name


def _problem(row: dict[str, Any]) -> str:
    if isinstance(row.get("Body"), str):  # SVAMP
        return f"{row['Body']} {row['Question']}"
    for key in ("problem", "question", "input"):
        if isinstance(row.get(key), str):
            return str(row[key])
    raise UsageError(f"no problem among {', '.join(row)}")


if __name__ == "__main__":
    main()
