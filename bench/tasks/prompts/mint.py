"""Prompts for MINT (Wang et al. 2024, arXiv:2309.10691): its form, with tags for code and for the answer.

The words are not the authors', and there are no worked examples of episodes. "eurus" writes out the chat
template of Eurus-7B, whose authors have published no prompt for MINT.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.tasks.prompts import MATH as MATH_PROMPTS
from bench.tasks.prompts.eurus import TOOL
from search.prompts import Prompt

RULES = """\
Work on the task below in one message or in several. In each message, reason step by step first. Then do one \
of two things:
- Run Python code: put it between <execute> and </execute>, and you will be sent its output.
- Give {answer} between <solution> and </solution>, and nothing else there.

"""
MATH_RULES = RULES.format(
    answer="your final answer (a number, a list such as [1, 2], True or False, or the letter of an option)"
)
CODE_RULES = RULES.format(answer="the complete program")


def _eurus(rules: str) -> Prompt:
    return Prompt(f"[INST] {TOOL}\n{rules}{{question}} [/INST]")


MATH: Mapping[str, Prompt] = {
    "few-shot": MATH_PROMPTS["few-shot"],
    "eurus": _eurus(MATH_RULES),
    "chat": Prompt(f"{MATH_RULES}{{question}}", chat=True),
}
CODE: Mapping[str, Prompt] = {
    "raw": Prompt("{question}\n```python\n", stop=("```",)),
    "eurus": _eurus(CODE_RULES),
    "chat": Prompt(f"{CODE_RULES}{{question}}", chat=True),
}
