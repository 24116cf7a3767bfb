"""What a policy's message holds: code to run, and prose."""

from __future__ import annotations

import re
from collections.abc import Sequence

_BLOCK = re.compile(
    r"```(?:python|py)[^\S\n]*\n(?P<fenced>.*?)(?:^[^\S\n]*```|\Z)|<execute>(?P<tagged>.*?)(?:</execute>|\Z)",
    re.DOTALL | re.MULTILINE | re.IGNORECASE,
)
_FENCE = re.compile(r"\A\s*```\w*[^\S\n]*\n|^[^\S\n]*```\s*\Z", re.MULTILINE)


def code_blocks(text: str) -> list[str]:
    """The Python code in a message, in order: ```python fences, and <execute> tags with or without a fence.

    A block that is not closed goes on to the end. Blocks of white space are left out.
    """
    return [code for match in _BLOCK.finditer(text) if (code := _code(match)).strip()]


def with_outputs(text: str, outputs: Sequence[str]) -> str:
    """The message with each code block replaced by its output.

    outputs: of the first blocks; the others are left out.
    """
    left = iter(outputs)
    return _BLOCK.sub(lambda match: next(left, "") if _code(match).strip() else "", text)


def _code(match: re.Match[str]) -> str:
    if match["fenced"] is not None:
        return match["fenced"]
    return _FENCE.sub("", match["tagged"])


def cut(text: str, limit: int) -> str:
    """A text of at most `limit` characters and a remark: its beginning and its end, where errors stand."""
    if len(text) <= limit:
        return text
    head = limit // 2
    tail = limit - head
    return f"{text[:head]}\n... ({len(text) - limit:,} characters left out) ...\n{text[len(text) - tail :]}"
