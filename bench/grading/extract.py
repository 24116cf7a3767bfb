"""Finds the final answer in a solution's text. Standard library only.

Accepted forms, in order of precedence:

math     "Final Answer: The final answer is $...$." (Minerva), the boxes of the last sentence that has any,
         "#### ..." or "# Answer" and a line below it, "The answer is ..." or "Answer: ...".
numbers  "#### 18", the last box, "The answer is 18".

A text without any of these states no answer. Its last mathematics or its last number is then a fallback.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from itertools import pairwise

from bench.grading.notation import expression, normal_form, without_text
from bench.grading.numeric import MAX_CHARS, number, numbers_in, written
from bench.grading.sentences import Span, boxes, is_joint, math_spans, sentence_ends, unbox
from bench.grading.structure import Equation, Many, read
from bench.grading.unicode import ascii_math

_MINERVA = re.compile(r"[Ff]inal answer is:?\s*(?P<answer>.+?)\.?\s*I hope it is correct", re.DOTALL)
_HASHES = re.compile(r"^####[ \t]*(?P<answer>\S.*)$", re.MULTILINE)
_HEADING = re.compile(r"^#{1,3}[ \t]*(?:Final )?Answer:?[ \t]*\n+(?P<answer>\S.*)$", re.MULTILINE)
_STATED = re.compile(
    r"\b[Aa]nswers?(?:\*\*)?(?:\s+(?:is|are)(?:\s*:)?|\s*:)(?:\*\*)?\s*(?P<rest>\S.*)", re.DOTALL
)
_DISPLAY = re.compile(r"\$\$(.+?)\$\$|\\\[(.+?)\\\]", re.DOTALL)
_SENTENCE_END = re.compile(r"\.(?=\s|$)|\n|,?\s+(?:because|since|which|where)\b")


def math_answer(text: str) -> str | None:
    """The answer that the text states, as LaTeX without outer dollar signs and final full stop, or None."""
    if minerva := _last(_MINERVA, text):
        return bare(unbox(minerva["answer"]))
    if (box := boxed_answer(text)) is not None:
        return box
    if given := _last(_HASHES, text) or _last(_HEADING, text):
        return bare(given["answer"])
    statement = _statement(text)
    return bare(statement) if statement is not None else None


def number_answer(text: str) -> str | None:
    """The number that the text states as its answer, or else its last number; None if there is none."""
    return stated_number(text) or last_number(text)


def reference_answer(text: str) -> str:
    """The answer in a reference: a worked solution, or the answer alone.

    It is what follows "####" at the end, else the boxes, else what the text calls its answer, else the text.
    """
    *_, last = text.rpartition("####")
    ending = f"####{last}" if "####" in text and "\n" not in last.strip() else text
    return math_answer(ending) or ending.removeprefix("####").strip()


def stated_number(text: str) -> str | None:
    """The number that the text states as its answer, without currency and thousands separators, or None."""
    for given in reversed(list(_HASHES.finditer(text))):
        if (answer := _hash_number(given["answer"], is_last=not text[given.end() :].strip())) is not None:
            return answer
    if (box := last_box(text)) is not None and (number_in_box := _first_number(box)):
        return number_in_box
    heading = _last(_HEADING, text)
    statement = heading["answer"] if heading else _statement(text)
    return _first_number(statement) if statement is not None else None


def last_number(text: str) -> str | None:
    """The last number of a text, wherever it stands."""
    places = list(numbers_in(ascii_math(text)))
    return written(places[-1]) if places else None


def last_box(text: str) -> str | None:
    """The content of the last complete outermost box, without the boxes inside it; None if there is none."""
    return found[-1].content if (found := boxes(text)) else None


_BRACKETED = re.compile(
    r"(?P<open>(?<!\\)[(\[]|\\\{)\s*\0(?:\s*[,;]\s*\0)*\s*(?:\\right\s*)?(?P<close>[)\]]|\\\})|\0"
)
_INFERENCE = re.compile(
    r"\b(?:so|thus|hence|therefore|then|implies|giving|(?:which|this|that) (?:gives|means|yields))\b"
    r"|\\(?:implies|Rightarrow|to|therefore)\b|[\u21d2\u2192]"
)
_EQUAL = re.compile(r"[\s$]*=[\s$]*")
_ABOUT = re.compile(r"[\s$]*(?:\\approx|≈)[\s$]*")
_OR = re.compile(r"\bor\b")
_NAMED = re.compile(r"(?<![\w}^])(?<![-+*/^])(?<![-+*/^] )((?:[a-zA-Z]|\\[a-z]+)(?:_\w|_\{\w+\})?)\s*=\s*$")
_Part = tuple[str, str]
"""The letter that a box gives the value of, or "", and its content."""
MAX_BOXES = 50
_AROUND = 12
"""Characters around a box that may be brackets: \\left\\{ and spaces."""


def boxed_answer(text: str) -> str | None:
    """The boxes of the last sentence that has any: one answer, of several parts if they differ.

    Brackets right around boxes belong to the answer: (\\boxed{3}, \\boxed{4}) is a point.
    """
    found = [box for box in boxes(text) if box.content][-MAX_BOXES:]
    if not found:
        return None
    group = _last_group(text, found)
    text = text.replace("\0", " ")
    first, last = group[0], group[-1]
    shape = ["\0"]
    for box, following in pairwise(group):
        shape += [text[box.end : following.start], "\0"]
    around = text[max(0, first.start - _AROUND) : first.start], text[last.end : last.end + _AROUND]
    rest, parts = iter(group), list[_Part]()
    for match in _BRACKETED.finditer("".join((around[0], *shape, around[1]))):
        inside = [next(rest) for _ in range(match[0].count("\0"))]
        part = ", ".join(box.content for box in inside)
        is_list = match["open"] and re.search("[,;]", part)
        part = f"{match['open']}{part}{match['close']}" if is_list else part
        parts.append((_name_before(text, inside[0]), part))
    return (" or " if _OR.search("".join(shape)) else ", ").join(_distinct(parts))


def _last_group(text: str, found: list[Span]) -> list[Span]:
    """The last box and those that belong to the same conclusion."""
    ends = sentence_ends(text, [*math_spans(text), *found])
    group = [found[-1]]
    for box in reversed(found[:-1]):
        start, end = box.end, group[0].start
        between = text[start:end]
        if _EQUAL.fullmatch(between):  # the last side of an equation is its value
            break
        if _ABOUT.fullmatch(between):  # the first side of an approximation is exact
            group[0] = box
            continue
        goes_on = bisect_left(ends, start + 1) == bisect_left(ends, end + 1)
        if (not goes_on or _INFERENCE.search(between)) and not is_joint(between):
            break
        group.insert(0, box)
    return group


def _name_before(text: str, box: Span) -> str:
    """The letter of which the box is the value, as in x = \\boxed{5}; "" if there is none."""
    found = _NAMED.search(text[max(0, box.start - 2 * _AROUND) : box.start])
    return found[1] if found else ""


def _distinct(parts: list[_Part]) -> list[str]:
    """The parts without those that a later one restates; 5 restates x = 5, y = 5 does not."""
    return [
        part
        for at, (name, part) in enumerate(parts)
        if not any(
            _restates(later, part)
            for other, later in parts[at + 1 :]
            if other == name or not (other and name)
        )
    ]


def _restates(part: str, other: str) -> bool:
    if max(len(part), len(other)) > MAX_CHARS:
        return part == other
    a, b = read(part), read(other)
    if isinstance(a, Equation) != isinstance(b, Equation):
        a, b = (x.value if isinstance(x, Equation) and x.name else x for x in (a, b))
    form_a, form_b = normal_form(a.text), normal_form(b.text)
    value = number(form_a)
    return form_a == form_b or (value is not None and value == number(form_b))


_COMPUTATION = re.compile(r"(?=[^=]*?\S\s*[-+*/x\\])(?:[\d\s.,+*/x()$%-]|\\(?:times|cdot|div))+=\s*(?=\S)")
_OPERATION = re.compile(r"[\d)]\s*(?:[-+*x]|/|\\(?:times|cdot|div)(?![a-zA-Z]))\s*\\?\$?[\d(](?!0\s*\^)")
_ENUMERATOR = re.compile(r"[.):]\s|\s+[A-Z]")


def _hash_number(line: str, *, is_last: bool) -> str | None:
    """The number right behind "####". None for a heading, such as "#### 3 Calculations" or "#### 1. Costs".

    is_last: whether the text ends with this line.
    """
    line = ascii_math(line).lstrip("*_ ")
    while computed := _COMPUTATION.match(line):
        line = line[computed.end() :]
    first = next(numbers_in(line), None)
    if first is None or first.start() > 0:
        return None
    rest = line[first.end() :]
    is_heading = not is_last and rest.strip(" .%\\$*\t\r") and _ENUMERATOR.match(rest)
    return None if is_heading else written(first)


def _statement(text: str) -> str | None:
    """The text after the last "answer is" or "Answer:", up to the end of its sentence or formula."""
    start = max(text.rfind("answer"), text.rfind("Answer"))
    while start >= 0:
        if match := _STATED.match(text, start):
            return _first_sentence(match["rest"])
        start = max(text.rfind("answer", 0, start), text.rfind("Answer", 0, start))
    return None


_GOES_ON = re.compile(r"\s*(?:(?:and|or)\b|[,;])?\s*[-+=<>(\[\d\\^/$]")


def _first_sentence(text: str) -> str:
    if display := _DISPLAY.match(text):
        return display[1] or display[2]
    formula = leading_math(text[:1000])
    sentence = _SENTENCE_END.split(text, maxsplit=1)[0]
    if formula and len(formula) <= len(sentence) and not _GOES_ON.match(text[len(formula) :]):
        return formula
    return max(formula or "", sentence, key=len)


def leading_math(text: str) -> str | None:
    """The formulas that a text begins with, joined by commas, "and" or "or" if there are several."""
    spans = math_spans(text)
    if not spans or spans[0].start > 0 or not re.search(r"\w", spans[0].content):
        return None
    end = spans[0].end
    for span in spans[1:]:
        if not is_joint(text[end : span.start]):
            break
        end = span.end
    return text[:end]


def _first_number(text: str) -> str | None:
    """The first number of the last side, or of one before a computation: 5 x 3 = 15 dollars, 15 = 5 x 3."""
    first = next(numbers_in(_stating_side(ascii_math(text).split("="))), None)
    return written(first) if first else None


def _stating_side(sides: list[str]) -> str:
    *others, side = sides
    if _OPERATION.search(side):
        return next((other for other in reversed(others) if _is_quantity(other)), side)
    return side


def _is_quantity(side: str) -> bool:
    """Whether it is one number, perhaps with a unit."""
    first = next(numbers_in(side), None)
    if first is None or re.search(r"\w", side[: first.start()]):
        return False
    return not re.match("[a-zA-Z]", rest := side[first.end() :]) and not re.search(r"\d", rest)


_FORMULA = re.compile(
    r"\\(?!frac)[a-zA-Z]|[\^_<>|]|(?<![a-zA-Z])(?:pi|sqrt|sin|cos|tan|log|ln|exp)(?![a-zA-Z])"
)
"""What makes a formula of a statement."""
_WORD = re.compile(r"[a-zA-Z]{3}|\b(?:in|of)\b")
_NAME = re.compile(r"\s*(?:[a-zA-Z]{2,}\s+)*[a-zA-Z]\s*")
"""What may stand before "=" and be no formula: a variable, perhaps after words."""
_VARIABLE = re.compile(r"(?<![a-zA-Z])(?![aAI])[a-zA-Z](?![a-zA-Z])")
"""A letter that is no word of English by itself."""
_BEFORE = re.compile(r"(?:\A|[\s:*\"'])\Z")
"""The end of the text before a number that stands alone."""
_OPERATED = re.compile(r"(?:[-+*/]|\b(?:times|plus|minus|over|by|x))\s*\Z")
"""The same, if the number is a part of a computation."""
_AFTER = re.compile(
    r"(?:\s?\\?%)?[.,;:!?)*\"']*(?:\Z|\s+(?![-+*/(]|(?:times|plus|minus|over|to|by|mod|or|x)\s+\\?\$?-?[\d.(]"
    r"|(?![aAImgshLNJWVKCF])[a-zA-Z](?![a-zA-Z])))"
)
"""The text after it: no computation goes on, and no variable follows, but perhaps a unit such as m."""


def number_in_words(statement: str) -> str | None:
    """The number of a statement in words, as `stated_number` reads it: 18 of "that she has 18 apples".

    None if there are no words but a unit, if the number is a part of a formula, and for a list of numbers.
    """
    text = without_text(ascii_math(statement))
    if len(text) > MAX_CHARS or not _WORD.search(expression(text)) or _FORMULA.search(text):
        return None
    *others, _ = sides = text.split("=")
    if any(_VARIABLE.search(other) and not _NAME.fullmatch(other) for other in others):
        return None
    listed = read(text)
    if isinstance(listed, Many) and all(number(normal_form(part.text)) is not None for part in listed.parts):
        return None
    side = _stating_side(sides)
    first = next(numbers_in(side), None)
    if first is None:
        return None
    before, after = side[: first.start()], side[first.end() :]
    is_alone = _BEFORE.search(before) and not _OPERATED.search(before) and _AFTER.match(after)
    return written(first) if is_alone else None


_SAID = re.compile(
    r"\A(?:(?:therefore|thus|hence|then|simply|just|exactly|precisely|indeed|equal to|given by"
    r"|approximately|about|roughly|around|nearly)\b:?\s*)*"
    r"(?:the (?:single |closed |open |half-open |ordered )?(?:number|value|integer|fraction|expression"
    r"|interval|point|pair|triple|set|list|polynomial|matrix|vector|line|equation|function)\s+(?=[\d$\\([{+-]))?",
    re.IGNORECASE,
)
"""Words between "The answer is" and the answer."""


def bare(answer: str) -> str | None:
    """The answer without words that introduce it, emphasis, math delimiters and the final full stop.

    None if nothing is left.
    """
    answer = _SAID.sub("", answer.strip().strip("*").strip())
    if display := _DISPLAY.fullmatch(answer.rstrip(".")):
        answer = display[1] or display[2]
    answer = re.sub(r"(?<!\\)\$|(?<!\\)\\[()\[\]]", "", answer).strip()
    return answer.removesuffix(".").strip() or None


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    return max(pattern.finditer(text), key=lambda match: match.start(), default=None)
