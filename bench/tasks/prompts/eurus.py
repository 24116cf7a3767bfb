"""Prompts of Eurus's evaluation (Yuan et al. 2024, arXiv:2404.02078; eval/ in github.com/OpenBMB/Eurus).

The chat template of Eurus-7B is written out, so that a prompt can begin the answer, as the authors' do for
code. `bench.tasks.code` reads such an answer with the "def" that the prompt has written.
docs/guides/protocol.md lists the temperatures and token limits that go with them.
"""

from __future__ import annotations

import ast
import builtins
import re

from mutation.parsing import parse
from search.errors import UsageError
from search.prompts import Prompt

TOOL = """\
Tool available:
[1] Python interpreter
When you send a message containing Python code to python, it will be executed in a stateful Jupyter notebook \
environment."""
FORMAT = " Present code in ```python```\n"
STEPS = "Solve the following math problem step-by-step.\nSimplify your answer as much as possible."
BOX = " Present your final answer as \\boxed{Your Answer}.\n"
FORMS = """ The answer can only be one of the following forms:
1. a numerical value like 0.1, no symbol at all.
2. a list of number like [2, 3, 4].
3. True/False.
4. an option like (a), (b), (c), (d)

"""
PROBLEM = ("\n###\nProblem: ",)
"""Where another problem begins."""
HEAD = (
    "[INST] Write Python code to solve the task.\nWrite a Python function `{signature}` to solve the "
    "following problem: Present code in ```python```\n"
)


def _asked(content: str, answer: str = "", *, stop: tuple[str, ...]) -> Prompt:
    """The user's turn in the chat template, and the beginning of an answer."""
    return Prompt(f"[INST] {content} [/INST]{answer}", stop=stop)


COT = _asked(f"{STEPS}{BOX}{{question}}", stop=PROBLEM)
"""Chain of thought, for mathematics."""
POT = _asked(f"{TOOL}{FORMAT}{STEPS}{BOX}{{question}}", stop=PROBLEM)
"""Program of thought, for word problems: with `--episodes python`, which runs the code."""
POT_MATH = _asked(f"{TOOL}{FORMAT}{STEPS}\n{{question}}", stop=PROBLEM)
COT_THEOREMQA = _asked(f"{STEPS}{BOX}Question: {{question}}", stop=("Question:",))
POT_THEOREMQA = _asked(f"{TOOL}\n{STEPS}{FORMS}Question: {{question}}", stop=("Question:",))
LEETCODE = _asked("{question}", "```python", stop=())
IFEVAL = _asked("{question}", stop=("Question:",))


class FunctionPrompt(Prompt):
    """Asks for the function that HumanEval's question begins: the last one that it defines.

    template: with `{signature}` in it, too.
    """

    __slots__ = ()

    def fill(self, question: str) -> str:
        """The template with signature and question. Raises UsageError if the question defines no function."""
        signatures = re.findall(r"^def\s+(.*?):\s*$", question, re.MULTILINE)
        if not signatures:
            raise UsageError(f"the prompt eurus needs a question that begins a function: {question[:40]!r}")
        return self.template.replace("{signature}", signatures[-1]).replace("{question}", question)


class DescribedFunctionPrompt(Prompt):
    """Asks for the function that MBPP's question describes, with its first test.

    The authors take the signature from the reference program. A question shows no more than calls, so the
    parameters are named arg1, arg2 ...
    template: with `{signature}` in it, too.
    """

    __slots__ = ()

    def fill(self, question: str) -> str:
        """The template with signature, description and test. Raises UsageError if there is no test."""
        text, mark, tests = question.rpartition(TESTS)
        test = tests.partition("\n")[0]
        signature = _signature(test)
        if not mark or signature is None:
            raise UsageError(f"the prompt eurus needs a question with a test, as MBPP's: {question[:40]!r}")
        shown = f"{text.partition(' https://www.')[0]}\n>>> {test}\n"
        return self.template.replace("{signature}", signature).replace("{question}", shown)


TESTS = " Your code should pass these tests:\n\n"
"""What stands between MBPP's description and its tests; see `mutation.mbpp.question_of`."""
HUMANEVAL = FunctionPrompt(f"{HEAD}```python\n{{question}}```\n [/INST] ```python\ndef", stop=("```",))
"""The authors cut at the fence after sampling."""
MBPP = DescribedFunctionPrompt(
    f"{HEAD}{{question}} [/INST]```python\ndef", stop=("assert", "\ndef ", "\n\nprint(", "```")
)  # fmt: skip


def _signature(test: str) -> str | None:
    """The function that a test calls, with as many parameters as the call has arguments."""
    try:
        calls = [node for node in ast.walk(parse(test)) if isinstance(node, ast.Call)]
    except SyntaxError:
        return None
    named = [(call.func.id, len(call.args)) for call in calls if isinstance(call.func, ast.Name)]
    own = [pair for pair in named if not hasattr(builtins, pair[0])] or named
    return f"{own[0][0]}({', '.join(f'arg{n + 1}' for n in range(own[0][1]))})" if own else None


LEAD = "A: Let's think step by step."


class FewShotChat(Prompt):
    """Sends worked examples as earlier turns of a chat.

    A question is an instruction, then examples "Q: ..." with answers that begin with `LEAD`, the last of
    which is open; blank lines stand between them.
    """

    __slots__ = ()

    def messages(self, question: str) -> list[dict[str, str]]:
        """The chat turns. A question without examples is one turn."""
        instruction, *examples = question.split("\n\nQ: ")
        turns: list[tuple[str, str]] = []
        for example in examples:
            asked, lead, answer = example.partition(LEAD)
            turns += [("user", f"Q: {asked}".strip()), ("assistant", f"{lead}{answer}".strip())]
        first = "\n".join([instruction, *(content for _, content in turns[:1])])
        said = [("user", self.fill(first)), *turns[1:-1]]
        return [{"role": role, "content": content} for role, content in said]


BBH = FewShotChat(
    "Follow the given examples and answer the question.\n\n{question}", chat=True, stop=("\nQ:",)
)  # fmt: skip
