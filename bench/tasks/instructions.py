"""Instructions of IFEval that a program can check, as functions from a response to whether it follows.

The names, parameters and rules are those of Zhou et al. 2023, arXiv:2311.07911
(https://github.com/google-research/google-research/tree/master/instruction_following_eval), except that
keywords are matched literally. Not here: `language:response_language`, `change_case:english_capital` and
`change_case:english_lowercase`, which detect the language, and `length_constraints:number_sentences` and
`change_case:capital_word_frequency`, which need NLTK's models.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from search.errors import UsageError

RELATIONS = ("less than", "at least")
OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


def _holds(count: int, relation: str, bound: int) -> bool:
    return count < bound if relation == "less than" else count >= bound


def _occurrences(keyword: str, text: str) -> int:
    return len(re.findall(re.escape(keyword), text, re.IGNORECASE))


def _existence(text: str, keywords: Sequence[str]) -> bool:
    return all(_occurrences(keyword, text) for keyword in keywords)


def _frequency(text: str, keyword: str, frequency: int, relation: str) -> bool:
    return _holds(_occurrences(keyword.strip(), text), relation, frequency)


def _forbidden_words(text: str, forbidden_words: Sequence[str]) -> bool:
    return not any(re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) for word in forbidden_words)


def _letter_frequency(text: str, letter: str, let_frequency: int, let_relation: str) -> bool:
    return _holds(text.lower().count(letter.lower()), let_relation, let_frequency)


def _number_words(text: str, num_words: int, relation: str) -> bool:
    return _holds(len(re.findall(r"\w+", text)), relation, num_words)


def _number_paragraphs(text: str, num_paragraphs: int) -> bool:
    """Paragraphs stand between dividers ***; only the first and the last piece may be empty."""
    first, *rest = (piece.strip() for piece in text.split("***"))
    inner, last = rest[:-1], rest[-1:]
    return all(inner) and sum(map(bool, (first, *inner, *last))) == num_paragraphs


def _nth_paragraph_first_word(text: str, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    """Paragraphs stand between blank lines. The n-th piece counts empty ones, as in the authors' code."""
    pieces = text.split("\n\n")
    count = sum(bool(piece.strip()) for piece in pieces)
    if count != num_paragraphs or not 1 <= nth_paragraph <= count:
        return False
    word = pieces[nth_paragraph - 1].split(maxsplit=1)[:1]
    found = re.match(r"[^.,?!'\"]*", word[0].lstrip("'").lstrip('"')) if word else None
    return found is not None and found[0].lower() == first_word.lower()


def _number_placeholders(text: str, num_placeholders: int) -> bool:
    return len(re.findall(r"\[.*?\]", text)) >= num_placeholders


def _postscript(text: str, postscript_marker: str) -> bool:
    marker = postscript_marker.strip()
    usual = {"P.S.": r"p\.\s?s\.", "P.P.S": r"p\.\s?p\.\s?s"}
    return re.search(usual.get(marker, re.escape(marker.lower())), text.lower()) is not None


def _number_bullet_lists(text: str, num_bullets: int) -> bool:
    return len(re.findall(r"^\s*(?:\*[^*].*|-.*)$", text, re.MULTILINE)) == num_bullets


def _constrained_response(text: str) -> bool:
    return any(option in text for option in OPTIONS)


def _number_highlighted_sections(text: str, num_highlights: int) -> bool:
    """Sections in *single* and in **double** asterisks."""
    single = [found.strip("*").strip() for found in re.findall(r"\*[^\n*]*\*", text)]
    double = [found[2:-2].strip() for found in re.findall(r"\*\*[^\n*]*\*\*", text)]
    return sum(map(bool, single + double)) >= num_highlights


def _multiple_sections(text: str, section_spliter: str, num_sections: int) -> bool:
    return len(re.findall(rf"{re.escape(section_spliter.strip())}\s?\d+", text)) >= num_sections


def _json_format(text: str) -> bool:
    inside = re.sub(r"\A```(?:json|Json|JSON)?|```\Z", "", text.strip())
    try:
        json.loads(inside)
    except (ValueError, RecursionError):
        return False
    return True


def _title(text: str) -> bool:
    return any(title.strip("<>").strip() for title in re.findall(r"<<[^\n]+>>", text))


def _two_responses(text: str) -> bool:
    """Two different responses with ****** between them; only the first and the last piece may be empty."""
    pieces = [piece.strip() for piece in text.split("******")]
    responses = [piece for piece in pieces if piece]
    return all(pieces[1:-1]) and len(responses) == 2 and responses[0] != responses[1]


def _repeat_prompt(text: str, prompt_to_repeat: str) -> bool:
    return text.strip().lower().startswith(prompt_to_repeat.strip().lower())


def _end_checker(text: str, end_phrase: str) -> bool:
    return text.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def _no_comma(text: str) -> bool:
    return "," not in text


def _quotation(text: str) -> bool:
    text = text.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


CHECKS: Mapping[str, Callable[..., bool]] = {
    "keywords:existence": _existence,
    "keywords:frequency": _frequency,
    "keywords:forbidden_words": _forbidden_words,
    "keywords:letter_frequency": _letter_frequency,
    "length_constraints:number_words": _number_words,
    "length_constraints:number_paragraphs": _number_paragraphs,
    "length_constraints:nth_paragraph_first_word": _nth_paragraph_first_word,
    "detectable_content:number_placeholders": _number_placeholders,
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": _number_bullet_lists,
    "detectable_format:constrained_response": _constrained_response,
    "detectable_format:number_highlighted_sections": _number_highlighted_sections,
    "detectable_format:multiple_sections": _multiple_sections,
    "detectable_format:json_format": _json_format,
    "detectable_format:title": _title,
    "combination:two_responses": _two_responses,
    "combination:repeat_prompt": _repeat_prompt,
    "startend:end_checker": _end_checker,
    "startend:quotation": _quotation,
    "punctuation:no_comma": _no_comma,
}
"""The instructions that are checked, by their ids."""


def check_instruction(name: object, arguments: Mapping[str, Any]) -> None:
    """Raise UsageError unless the instruction is checked here, with these arguments."""
    if not isinstance(name, str) or name not in CHECKS:
        raise UsageError(f"the instruction {name!r} cannot be checked; see docs/guides/protocol.md")
    wanted = list(inspect.signature(CHECKS[name], eval_str=True).parameters.values())[1:]
    if {parameter.name for parameter in wanted} != set(arguments):
        names = ", ".join(parameter.name for parameter in wanted) or "no arguments"
        raise UsageError(f"the instruction {name!r} takes {names}, not {', '.join(arguments) or 'none'}")
    for parameter in wanted:
        value = arguments[parameter.name]
        if parameter.name.endswith("relation"):
            right = value in RELATIONS
        elif parameter.annotation is int:
            right = isinstance(value, int) and not isinstance(value, bool)
        elif parameter.annotation is str:
            right = isinstance(value, str) and value != ""
        else:
            right = isinstance(value, list) and all(isinstance(word, str) and word for word in value)
        if not right:
            raise UsageError(f"the instruction {name!r}: {parameter.name} cannot be {value!r}")


def follows(response: str, name: str, arguments: Mapping[str, Any]) -> bool:
    """Whether a response follows one instruction, strictly. It must have passed `check_instruction`.

    An empty response follows none.
    """
    return bool(response.strip()) and CHECKS[name](response, **arguments)


def follows_loosely(response: str, name: str, arguments: Mapping[str, Any]) -> bool:
    """Whether it follows it as it is, or without its first line, its last line, or its asterisks."""
    lines = response.split("\n")
    cuts = [response, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return any(follows(text, name, arguments) for text in (*cuts, *(cut.replace("*", "") for cut in cuts)))
