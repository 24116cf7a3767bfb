"""The built-in code task: small functions over a list of numbers, with specification, reference and tests.

A problem, its reference program, and one of its tests:

    Write f(xs, n): of the numbers in xs that are greater than n and even, take the squares; return the sum
    of them, modulo 7. f([1, 4, 6], 3) is 3.

    def f(xs, n):
        result = 0
        for x in xs:
            if x > n and x % 2 == 0:
                result += x * x
        return result % 7

    assert f([8, 2, 5], 4) == 1

Everything is drawn from a seed. The split of a problem is determined by its function (`split_of`), so two
splits never share a function, whatever the seeds. Problems that differ only in their examples count as the
same problem. Expected results are calculated from the specification (`Function.value`), never by running the
reference.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from hashlib import blake2b

SPLITS = {"validation": range(0, 3), "test": range(3, 9), "train": range(9, 100)}
"""Hundredths of all functions, by hash."""
PUBLIC, HIDDEN = 2, 12
"""Number of examples in the question, and of further tests."""
MAX_NUMBER, MAX_LENGTH = 12, 6
"""The largest number in an example, and the length of the longest list."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One part of a function. words: in the question. code: in the program. apply: what it computes.

    {k} in both texts stands for the function's constant.
    """

    words: str
    code: str
    apply: Callable[[int, int, int], int]


def _as_int(test: Callable[[int, int, int], bool]) -> Callable[[int, int, int], int]:
    return lambda x, n, k: int(test(x, n, k))


CONDITIONS = (
    Choice("greater than n", "x > n", _as_int(lambda x, n, k: x > n)),
    Choice("less than n", "x < n", _as_int(lambda x, n, k: x < n)),
    Choice("at least n", "x >= n", _as_int(lambda x, n, k: x >= n)),
    Choice("at most n", "x <= n", _as_int(lambda x, n, k: x <= n)),
    Choice("not n", "x != n", _as_int(lambda x, n, k: x != n)),
    Choice("even", "x % 2 == 0", _as_int(lambda x, n, k: x % 2 == 0)),
    Choice("odd", "x % 2 == 1", _as_int(lambda x, n, k: x % 2 == 1)),
    Choice("multiples of {k}", "x % {k} == 0", _as_int(lambda x, n, k: x % k == 0)),
    Choice("greater than {k}", "x > {k}", _as_int(lambda x, n, k: x > k)),
)
VALUES = (
    Choice("them as they are", "x", lambda x, n, k: x),
    Choice("the squares", "x * x", lambda x, n, k: x * x),
    Choice("the doubles", "2 * x", lambda x, n, k: 2 * x),
    Choice("each plus n", "x + n", lambda x, n, k: x + n),
    Choice("each minus n", "x - n", lambda x, n, k: x - n),
    Choice("each times n", "x * n", lambda x, n, k: x * n),
    Choice("each plus {k}", "x + {k}", lambda x, n, k: x + k),
    Choice("the remainders by {k}", "x % {k}", lambda x, n, k: x % k),
)
ENDINGS = (
    Choice("", "", lambda r, n, k: r),
    Choice(", plus n", " + n", lambda r, n, k: r + n),
    Choice(", minus n", " - n", lambda r, n, k: r - n),
    Choice(", times {k}", " * {k}", lambda r, n, k: r * k),
    Choice(", modulo {k}", " % {k}", lambda r, n, k: r % k),
)


@dataclass(frozen=True, slots=True)
class Gathering:
    """How the values are combined into one. lines: what is done with `{value}`, below the condition."""

    words: str
    start: str
    lines: tuple[str, ...]
    apply: Callable[[Sequence[int]], int]


GATHERINGS = (
    Gathering("the sum of them", "0", ("result += {value}",), sum),
    Gathering("how many there are", "0", ("result += 1",), len),
    Gathering(
        "the largest of them, 0 if it is less or there is none", "0",
        ("if {value} > result:", "    result = {value}"), lambda values: max([0, *values]),
    ),
    Gathering(
        "the smallest of them, 100 if it is more or there is none", "100",
        ("if {value} < result:", "    result = {value}"), lambda values: min([100, *values]),
    ),
    Gathering(
        "the last of them, 0 if there is none", "0", ("result = {value}",), lambda values: [0, *values][-1]
    ),
    Gathering(
        "what is left when 0 is subtracted from the first, and each result from the next", "0",
        ("result = {value} - result",), lambda values: reduce(lambda left, value: value - left, values, 0),
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Function:
    """The function that a problem asks for. constant: the {k} of its parts."""

    conditions: tuple[Choice, ...]
    value_of: Choice
    gathering: Gathering
    ending: Choice
    constant: int

    @property
    def specification(self) -> str:
        kept = " and ".join(condition.words for condition in self.conditions)
        which = f"of the numbers in xs that are {kept}" if kept else "of the numbers in xs"
        text = f"Write f(xs, n): {which}, take {self.value_of.words}; "
        text += f"return {self.gathering.words}{self.ending.words}."
        return text.replace("{k}", str(self.constant))

    @property
    def reference(self) -> str:
        """The program, one statement per line."""
        lines = ["def f(xs, n):", f"    result = {self.gathering.start}", "    for x in xs:"]
        indent = "        "
        if self.conditions:
            lines.append(f"{indent}if {' and '.join(condition.code for condition in self.conditions)}:")
            indent += "    "
        lines += [indent + line.replace("{value}", self.value_of.code) for line in self.gathering.lines]
        lines.append(f"    return result{self.ending.code}")
        return "".join(line.replace("{k}", str(self.constant)) + "\n" for line in lines)

    def value(self, xs: Sequence[int], n: int) -> int:
        """The result that the specification asks for."""
        k = self.constant
        kept = [x for x in xs if all(condition.apply(x, n, k) for condition in self.conditions)]
        return self.ending.apply(self.gathering.apply([self.value_of.apply(x, n, k) for x in kept]), n, k)


@dataclass(frozen=True, slots=True)
class ProgramProblem:
    """public: the arguments and results that the question shows. hidden: those that it does not show."""

    id: str
    question: str
    function: Function
    public: tuple[tuple[tuple[list[int], int], int], ...]
    hidden: tuple[tuple[tuple[list[int], int], int], ...]

    @property
    def n_steps(self) -> int:
        return self.function.reference.count("\n")

    def tests(self, cases: Sequence[tuple[tuple[list[int], int], int]]) -> str:
        """Assertions, one per line."""
        return "".join(f"assert f({xs}, {n}) == {want}\n" for (xs, n), want in cases)


def split_of(function: Function) -> str:
    """The split of a function: a hash of its program, so that each function is in exactly one split."""
    number = int.from_bytes(blake2b(function.reference.encode(), digest_size=4).digest(), "big") % 100
    return next(name for name, hundredths in SPLITS.items() if number in hundredths)


def generate_programs(split: str, seed: int, n: int) -> list[ProgramProblem]:
    """The first `n` problems of a split, each for a different function.

    Raises ValueError if there is no such split.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: the splits are {', '.join(SPLITS)}")
    problems: list[ProgramProblem] = []
    seen: set[str] = set()
    for function, rng in _drawn(split, seed):
        if len(problems) == n:
            break
        if function.reference not in seen and (cases := _cases(function, rng)):
            seen.add(function.reference)
            public, hidden = tuple(cases[:PUBLIC]), tuple(cases[PUBLIC:])
            shown = " ".join(f"f({xs}, {m}) is {want}." for (xs, m), want in public)
            name = f"builtin-code/{split}/{seed}/{len(problems)}"
            question = f"{function.specification} {shown}"
            problems.append(ProgramProblem(name, question, function, public, hidden))
    return problems


def _drawn(split: str, seed: int) -> Iterator[tuple[Function, random.Random]]:
    rng = random.Random(f"programs/{split}/{seed}")
    while True:
        conditions = tuple(rng.sample(CONDITIONS, rng.choice((0, 1, 1, 2))))
        function = Function(
            conditions, rng.choice(VALUES), rng.choice(GATHERINGS), rng.choice(ENDINGS), rng.randint(2, 7)
        )
        if split_of(function) == split:
            yield function, rng


def _cases(function: Function, rng: random.Random) -> list[tuple[tuple[list[int], int], int]]:
    """Distinct arguments, whose results are not all the same. Empty if too few were drawn."""
    by_arguments: dict[str, tuple[tuple[list[int], int], int]] = {}
    for attempt in range(20 * (PUBLIC + HIDDEN)):
        if len(by_arguments) == PUBLIC + HIDDEN:
            break
        size = 0 if attempt == PUBLIC else rng.randint(2, MAX_LENGTH)  # the empty list is a hidden case
        xs, n = [rng.randint(0, MAX_NUMBER) for _ in range(size)], rng.randint(0, MAX_NUMBER)
        by_arguments.setdefault(f"{xs} {n}", ((xs, n), function.value(xs, n)))
    cases = list(by_arguments.values())
    varied = len({want for _, want in cases}) > 3 and cases[0][1] != cases[1][1]
    return cases if len(cases) == PUBLIC + HIDDEN and varied else []
