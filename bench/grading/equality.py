"""Decides whether two answers are equal: by structure, normal forms and numbers, then by math-verify.

`value_of` is the number that one answer is.

Text written by a model is never evaluated in this process; math-verify runs in a worker process.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from enum import StrEnum
from fractions import Fraction

from bench.grading.notation import expression, for_sympy, normal_form
from bench.grading.numeric import MAX_CHARS, number
from bench.grading.structure import Answer, Choice, Equation, Many, One, interval, read
from bench.grading.worker import Allowance, MathWorker, Verdict


class How(StrEnum):
    """How it was decided whether two answers are equal."""

    EXACT = "exact"
    """The same text."""
    NORMAL_FORM = "normal form"
    """The same LaTeX up to notation (spacing, units, \\dfrac for \\frac, a/b, "x ="...)."""
    NUMERIC = "numeric"
    """Both are numbers, compared as exact fractions."""
    FORM = "form"
    """Of different kinds: (1,2) and [1,2], a point and a list, 10_2 and 10_3, a.m. and p.m."""
    MATH_VERIFY = "math-verify"
    """Compared by math-verify, symbolically."""
    FALLBACK = "fallback"
    """The text states no answer: its last mathematics or its last number was compared."""
    TOO_LONG = "refused: too long"
    HUGE = "refused: huge number"
    CODE = "refused: code"
    TIME_OUT = "time-out"
    CRASH = "worker crashed"
    """Usually out of memory."""
    NO_ANSWER = "no answer"


MAX_UNMATCHED = 40
"""Parts of two lists that are not obviously the same. Longer lists count as different."""

WORKER = MathWorker()


def same_number(a: str, b: str) -> tuple[bool, How]:
    """Compare two answers exactly as numbers, or as text if one of them is not a number."""
    x, y = number(a), number(b)
    if x is None or y is None:
        return a.strip() == b.strip(), How.EXACT
    return x == y, How.NUMERIC


def right_math(answer: str, reference: str, worker: MathWorker = WORKER) -> tuple[bool, How]:
    """Whether an answer is mathematically the reference. What is unsafe for sympy is not.

    Raises UsageError if math-verify cannot be loaded, never because of an answer.
    """
    return _compare(answer.strip(), reference.strip(), worker, symmetric=False)


def same_math(a: str, b: str, worker: MathWorker = WORKER) -> tuple[bool, How]:
    """Whether two answers are the same, for votes: as `right_math`, with each as the other's reference."""
    a, b = sorted((a.strip(), b.strip()))
    return _compare(a, b, worker, symmetric=True)


def value_of(answer: str, allowance: Allowance | None = None, worker: MathWorker = WORKER) -> Fraction | None:
    """The number that an answer is, such as 1/2, 2\\pi or e^{-1}: exact, or to 30 digits.

    None if it is none, if it is unsafe for sympy, or if it takes too long. Raises UsageError if math-verify
    cannot be loaded.
    """
    if (value := number(answer)) is not None:
        return value
    if len(answer) > MAX_CHARS or _CODE.search(answer) or not isinstance(one := read(answer), One):
        return None
    text, form = expression(one.text), normal_form(one.text)
    if (value := number(form)) is not None:
        return value
    if _is_huge(form) or _UNCLEAR.search(text):
        return None
    return worker.value(for_sympy(text), allowance)


def _compare(a: str, b: str, worker: MathWorker, *, symmetric: bool) -> tuple[bool, How]:
    if a == b:
        return bool(a), How.EXACT
    if max(len(a), len(b)) > MAX_CHARS:
        return False, How.TOO_LONG
    if normal_form(a) == normal_form(b) != "":
        return True, How.NORMAL_FORM
    if any(_CODE.search(answer) for answer in (a, b)):
        return False, How.CODE
    first, second = read(a), read(b)
    if isinstance(first, Many) != isinstance(second, Many):  # next to a list, 121,484 is a list as well
        first, second = (x if isinstance(x, Many) else read(x.text, thousands=False) for x in (first, second))
    try:
        return _Comparison(worker, symmetric).same(first, second)
    except _Undecided as undecided:
        return False, undecided.how


_CODE = re.compile(
    r"__|```|\b(?:import|exec|eval|print|getattr|globals|subprocess)\b|(?<!\\)\blambda\b[^:=]*:|\b(?:os|sys)\."
    r"|\bdef \w"
)
_BIG_EXPONENT = re.compile(r"(?:\^|\*\*)[{(]*[-+]?\d{5,}|\d[eE][-+]?\d{5,}")
_TOWER = re.compile(r"\d[)}\]]*(?:\^|\*\*)[{(]*\d+(?:\^|\*\*)")
_BIG_FACTORIAL = re.compile(r"(?:\d{5,}|![)}\]]*|\^\{?\d+[)}]*)!(?!=)")
_UNCLEAR = re.compile(r"(?<![\d_])\d+\s+[\d.]|\.\d*\.")
"""Two numbers side by side: math-verify would add or multiply them."""
_SIDE_BY_SIDE = re.compile(r"(?<![\^\d])(?<![a-zA-Z]_)\d+\s+(?:\d+(?:\.\d*)?|\.\d+)(?![\d.]|\s*/)")
"""The same but for mixed numbers and indices: 1 2 3 is not 6, \\log_2 3 is one number."""
_SET_OR_MATRIX = re.compile(r"\\(?:cup|cap|setminus|backslash|mathbb|begin)(?![a-zA-Z])")
_MACRO = re.compile(r"\\text\{[^{}]*\}|\\[a-zA-Z]+")


def _is_huge(form: str) -> bool:
    return any(pattern.search(form) for pattern in (_BIG_EXPONENT, _TOWER, _BIG_FACTORIAL))


class _Undecided(Exception):
    """An answer that sympy must not see, or for which it took too long. It counts as different."""

    def __init__(self, how: How) -> None:
        self.how = how


class _Comparison:
    """Compares two structures, the answer's and the reference's, part by part.

    One allowance of time serves all parts.
    symmetric: math-verify is asked in both orders, and both must hold.
    """

    def __init__(self, worker: MathWorker, symmetric: bool) -> None:
        self._worker, self._symmetric = worker, symmetric
        self._allowance = Allowance(worker.timeout_s)

    def same(self, a: Answer, b: Answer) -> tuple[bool, How]:
        """Raises _Undecided."""
        if isinstance(a, Choice) or isinstance(b, Choice):
            return self._choices(a, b)
        a, b = self._computed(a), self._computed(b)
        if isinstance(a, Equation) or isinstance(b, Equation):
            return self._equations(a, b)
        a, b = _as_set(a, b), _as_set(b, a)
        if isinstance(a, Many) and isinstance(b, Many):
            if a.is_unordered != b.is_unordered:  # an interval or a point is never a list
                return False, How.FORM
            return self._unordered(a, b) if a.is_unordered else self._ordered(a, b)
        if isinstance(a, Many) or isinstance(b, Many):
            return self._many_and_one(a, b)
        return self._expressions(a.text, b.text)

    def _choices(self, a: Answer, b: Answer) -> tuple[bool, How]:
        """A choice is its letter, or the text of its option where the other answer has no letter."""
        letters = [x.letter if isinstance(x, Choice) else _letter(x) for x in (a, b)]
        if all(letters) and letters[0] != letters[1]:
            return False, How.FORM
        first, second = (x.option if isinstance(x, Choice) else x for x in (a, b))
        one_is_a_letter = all(letters) and isinstance(a, Choice) != isinstance(b, Choice)
        if first is None or second is None or one_is_a_letter:
            return (True, How.NORMAL_FORM) if all(letters) else (False, How.FORM)
        return self.same(first, second)

    def _computed(self, answer: Answer) -> Answer:
        """The value of a true equation between numbers: 2 + 3 = 5 is 5, and 2 + 3 = 5 eggs is 5 eggs."""
        if not isinstance(answer, Equation) or not isinstance(answer.value, One) or answer.name:
            return answer
        has_letters = re.search("[a-zA-Z]", _MACRO.sub("", expression(answer.text))) is not None
        is_true = not has_letters and self._expressions(answer.left, answer.value.text)[0]
        return answer.value if is_true else answer

    def _equations(self, a: Answer, b: Answer) -> tuple[bool, How]:
        """An equation gives its value only where its left side is a name: x = 5 is 5, x + y = 5 is not."""
        if isinstance(a, Equation) and isinstance(b, Equation) and (a.name != b.name or not a.name):
            return self._expressions(a.text, b.text)
        if any(isinstance(x, Equation) and not x.name for x in (a, b)):
            return False, How.FORM
        return self.same(*(x.value if isinstance(x, Equation) else x for x in (a, b)))

    def _ordered(self, a: Many, b: Many) -> tuple[bool, How]:
        """Points, intervals and ratios."""
        if a.brackets != b.brackets:
            return False, How.FORM
        return self._in_order(a.parts, b.parts)

    def _in_order(self, a: Sequence[Answer], b: Sequence[Answer]) -> tuple[bool, How]:
        if len(a) != len(b):
            return False, How.FORM
        return _all(self.same(x, y) for x, y in zip(a, b, strict=True))

    def _unordered(self, a: Many, b: Many) -> tuple[bool, How]:
        """Lists are equal as multisets. In a set in braces, nothing counts twice."""
        firsts, seconds = _elements(a), _elements(b)
        if len(firsts) != len(seconds):
            return False, How.FORM
        if (_assigns(firsts) and _unnamed(seconds)) or (_assigns(seconds) and _unnamed(firsts)):
            return self._in_order(firsts, seconds)  # x = 1, y = 2 against 1, 2
        common = Counter(map(_key, firsts)) & Counter(map(_key, seconds))
        firsts, seconds = _without(firsts, common), _without(seconds, common)
        if len(firsts) > MAX_UNMATCHED:
            return False, How.TOO_LONG
        return self._matched(firsts, seconds) if firsts else (True, How.NORMAL_FORM)

    def _matched(self, a: Sequence[Answer], b: Sequence[Answer]) -> tuple[bool, How]:
        """Whether each part of one list can be paired with an equal one of the other (augmenting paths)."""
        results: dict[tuple[int, int], tuple[bool, How]] = {}
        partner: dict[int, int] = {}

        def equal(x: int, y: int) -> bool:
            if (x, y) not in results:
                results[x, y] = self.same(a[x], b[y])
            return results[x, y][0]

        def pair(x: int, tried: set[int]) -> bool:
            for y in range(len(b)):
                if y not in tried and equal(x, y):
                    tried.add(y)
                    if y not in partner or pair(partner[y], tried):
                        partner[y] = x
                        return True
            return False

        if not all(pair(x, set()) for x in range(len(a))):
            return False, max((how for _, how in results.values()), key=_ORDER.index)
        return _all(results[x, y] for y, x in partner.items())

    def _many_and_one(self, a: Answer, b: Answer) -> tuple[bool, How]:
        """A set of one element is that element; a point or a set may be written as a matrix or a union.

        So is a list whose parts, joined by "or", are all the same: x + 1 or 1 + x.
        """
        if any(isinstance(x, Many) and x.union for x in (a, b)):
            firsts, seconds = (x.parts if isinstance(x, Many) else (x,) for x in (a, b))
            return _all(self.same(x, y) for x in firsts for y in seconds)
        parts = [x.parts if isinstance(x, Many) and x.is_unordered else (x,) for x in (a, b)]
        if all(len(p) == 1 for p in parts) and any(p[0] is not x for p, x in zip(parts, (a, b), strict=True)):
            return self.same(parts[0][0], parts[1][0])
        if all(_is_set(x) or (isinstance(x, Many) and x.brackets) for x in (a, b)):
            return self._expressions(a.text, b.text)
        return False, How.FORM

    def _expressions(self, a: str, b: str) -> tuple[bool, How]:
        """Single expressions."""
        a, b = expression(a), expression(b)
        halves = _half_of_day(a), _half_of_day(b)
        if not _contradict(*halves):
            a, b = _HALF_OF_DAY.sub("", a), _HALF_OF_DAY.sub("", b)
        form_a, form_b = normal_form(a), normal_form(b)
        if form_a == form_b != "" or (_is_word(form_a) and form_a.casefold() == form_b.casefold()):
            return True, How.NORMAL_FORM
        x, y = number(a), number(b)
        if x is not None and y is not None:
            return x == y, How.NUMERIC
        if _contradict(*halves) or _contradict(_base(form_a), _base(form_b)):
            return False, How.FORM
        if _is_huge(form_a) or _is_huge(form_b):
            raise _Undecided(How.HUGE)
        a, b = for_sympy(a), for_sympy(b)
        if _SIDE_BY_SIDE.search(a) or _SIDE_BY_SIDE.search(b):
            return False, How.FORM
        orders = ((a, b), (b, a)) if self._symmetric else ((a, b),)
        return all(self._verified(answer, reference) for answer, reference in orders), How.MATH_VERIFY

    def _verified(self, answer: str, reference: str) -> bool:
        verdict = self._worker.compare(answer, reference, self._allowance)
        if verdict in _NO_VERDICT:
            raise _Undecided(_NO_VERDICT[verdict])
        return verdict is Verdict.EQUAL


_NO_VERDICT = {Verdict.TIME_OUT: How.TIME_OUT, Verdict.CRASH: How.CRASH}
_ORDER = list(How)
_Result = tuple[bool, How]


def _all(results: Iterable[_Result]) -> _Result:
    """The first failure, or else the least strict of the reasons."""
    hows = [How.EXACT]
    for equal, how in results:
        if not equal:
            return False, how
        hows.append(how)
    return True, max(hows, key=_ORDER.index)


def _key(answer: Answer) -> Fraction | str:
    """Answers with the same key are the same."""
    value = number(expression(answer.text)) if isinstance(answer, One) else None
    return normal_form(answer.text) if value is None else value


def _elements(many: Many) -> list[Answer]:
    return list({_key(part): part for part in many.parts}.values()) if many.brackets else list(many.parts)


def _without(parts: Sequence[Answer], common: Counter[Fraction | str]) -> list[Answer]:
    left, kept = common.copy(), []
    for part in parts:
        if left[key := _key(part)] > 0:
            left[key] -= 1
        else:
            kept.append(part)
    return kept


def _letter(answer: Answer) -> str:
    form = normal_form(answer.text) if isinstance(answer, One) else ""
    return form if re.fullmatch("[A-J]", form) else ""


def _assigns(parts: Sequence[Answer]) -> bool:
    """Whether the parts are values of different names; x_1 and x_2 count as one name."""
    names = {part.name.partition("_")[0] for part in parts if isinstance(part, Equation) and part.name}
    return len(names) == len(parts)


def _unnamed(parts: Sequence[Answer]) -> bool:
    return not any(isinstance(part, Equation) for part in parts)


def _is_set(answer: Answer) -> bool:
    """Whether it is an interval, a point, a union, a matrix, ..."""
    if isinstance(answer, Many):
        return not answer.is_unordered
    return isinstance(answer, One) and _SET_OR_MATRIX.search(expression(answer.text)) is not None


def _as_set(answer: Answer, other: Answer) -> Answer:
    """Inequalities as an interval if the other answer is one."""
    written = interval(answer) if _is_set(other) else None
    return read(written) if written is not None else answer


def _is_word(form: str) -> bool:
    return re.fullmatch("[a-zA-Z]{3,}", form) is not None


def _contradict(a: str, b: str) -> bool:
    return a != b and "" not in (a, b)


def _base(form: str) -> str:
    match = re.search(r"\d_\{?(\d+)", form)
    return match[1] if match else ""


_HALF_OF_DAY = re.compile(
    r"(?<=\d)\s*(?:\\text\{\s*[ap]\.?\s?m\.?\s*\}|[ap]\.\s?m(?![a-z])\.?|(?<=\s)[ap]m(?![a-z]))",
    re.IGNORECASE,
)


def _half_of_day(answer: str) -> str:
    match = _HALF_OF_DAY.search(answer)
    return "".join(re.findall("[ap](?=[. ]?m)", match[0].lower())) if match else ""
