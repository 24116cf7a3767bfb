"""Finds the final answer in a solution's text. Standard library only.

Accepted forms, in order of precedence:

math     "Final Answer: The final answer is $...$." (Minerva), the last \\boxed{...} or \\fbox{...},
         "#### ..." or "# Answer" and a line below it, "The answer is ..." or "Answer: ...".
numbers  "#### 18", the last box, "The answer is 18", and as a last resort the last number.
"""

from __future__ import annotations

import re

_MINERVA = re.compile(r"[Ff]inal answer is:?\s*(?P<answer>.+?)\.?\s*I hope it is correct", re.DOTALL)
_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?=\{)|\\boxed\s+(?P<bare>[^\s${}\\]+)")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_HASHES = re.compile(r"^####[ \t]*(?P<answer>\S.*)$", re.MULTILINE)
_HEADING = re.compile(r"^#{1,3}[ \t]*(?:Final )?Answer:?[ \t]*\n+(?P<answer>\S.*)$", re.MULTILINE)
_STATED = re.compile(r"\b[Aa]nswer(?:\*\*)?(?:\s+is(?:\s*:)?|\s*:)(?:\*\*)?\s*(?P<rest>\S.*)", re.DOTALL)
_DISPLAY = re.compile(r"\$\$(.+?)\$\$|\\\[(.+?)\\\]", re.DOTALL)
_SENTENCE_END = re.compile(r"\.(?=\s|$)|\n")
_NUMBER = re.compile(
    r"(?:(?<![\w)])[-\u2212])?(?:\\?\$\s?-?)?"
    r"(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)(?:/\d+)?"
)
_FRACTION = re.compile(r"-?\\[dt]?frac\{-?\d+\}\{\d+\}")


def math_answer(text: str) -> str | None:
    """The final answer as LaTeX, without outer dollar signs and final full stop; None if there is none."""
    if minerva := _last(_MINERVA, text):
        return _bare(unbox(minerva["answer"]))
    if (box := last_box(text)) is not None:
        return box
    if given := _last(_HASHES, text) or _last(_HEADING, text):
        return _bare(given["answer"])
    statement = _statement(text)
    return _bare(statement) if statement is not None else None


def number_answer(text: str) -> str | None:
    """The final answer as a plain number ("-1234.5", "3/4"), without currency, % and thousands separators."""
    for given in reversed(list(_HASHES.finditer(text))):
        # "#### 3 Calculations" is not an answer but a heading, as chat models write them.
        number = _NUMBER.match(given["answer"])
        if number and not given["answer"][number.end() :].strip(" .%\\$*\t\r"):
            return _plain(number[0])
    if (box := last_box(text)) is not None and (number_in_box := _first_number(box)):
        return number_in_box
    statement = _statement(text)
    if statement is not None and (stated := _first_number(statement)):
        return stated
    return _plain(last[0]) if (last := _last(_NUMBER, text)) else None


def last_box(text: str) -> str | None:
    """The content of the last complete outermost box, without the boxes inside it; None if there is none."""
    braces = _brace_pairs(text)
    content, covered = None, 0
    for match in _BOX.finditer(text):
        if match.start() < covered:
            continue
        if match["bare"] is not None:
            content = match["bare"].rstrip(".,;")
        elif match.end() in braces:
            covered = braces[match.end()]
            content = text[match.end() + 1 : covered]
    return unbox(content).strip() if content is not None else None


def unbox(text: str) -> str:
    """The text with every complete box replaced by its content."""
    braces = _brace_pairs(text)
    cuts = []
    for match in _BOX.finditer(text):
        if match["bare"] is None and match.end() in braces:
            cuts += [(match.start(), match.end() + 1), (braces[match.end()], braces[match.end()] + 1)]
    pieces, done = [], 0
    for start, end in sorted(cuts):
        pieces.append(text[done:start])
        done = end
    return "".join([*pieces, text[done:]])


def _brace_pairs(text: str) -> dict[int, int]:
    """The position of each opening brace and of its closing one. Escaped braces do not count, as in TeX."""
    pairs, opened = {}, []
    for token in _BRACE.finditer(text):
        if token[0] == "{":
            opened.append(token.start())
        elif token[0] == "}" and opened:
            pairs[opened.pop()] = token.start()
    return pairs


def _statement(text: str) -> str | None:
    """The text after the last "answer is" or "Answer:", up to the end of its sentence or formula."""
    start = max(text.rfind("answer"), text.rfind("Answer"))
    while start >= 0:
        if match := _STATED.match(text, start):
            rest = match["rest"]
            if display := _DISPLAY.match(rest):
                return display[1] or display[2]
            return _SENTENCE_END.split(rest, maxsplit=1)[0]
        start = max(text.rfind("answer", 0, start), text.rfind("Answer", 0, start))
    return None


def _first_number(text: str) -> str | None:
    """The first number after the last "=": "5 x 3 = 15 dollars" is 15."""
    last_side = text.rsplit("=", maxsplit=1)[-1]
    if fraction := _FRACTION.search(last_side):
        return fraction[0]
    number = _NUMBER.search(last_side.replace("\\!", "").replace("{,}", ","))
    return _plain(number[0]) if number else None


def _plain(number: str) -> str:
    return re.sub(r"[^\d./-]", "", number.replace("\u2212", "-"))


def _bare(answer: str) -> str | None:
    """The answer without emphasis, math delimiters and the final full stop; None if nothing is left."""
    answer = answer.strip().strip("*").strip()
    if display := _DISPLAY.fullmatch(answer.rstrip(".")):
        answer = display[1] or display[2]
    answer = re.sub(r"(?<!\\)\$|\\[()]", "", answer).strip()
    return answer.removesuffix(".").strip() or None


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    return max(pattern.finditer(text), key=lambda match: match.start(), default=None)
