"""Programs in the texts that models write: fences, prose, special tokens, several blocks."""

from __future__ import annotations

import pytest

from bench.tasks.code_text import may_become_program, read_program

PROMPT = '''import math


def half(x: int) -> int:
    """Half of x.
    >>> half(4)
    2
    """
    return x // 2


def add(x: int, y: int):
    """Add two numbers.
    >>> add(2, 3)
    5
    """
'''
BODY = "    return x + y\n"
WHOLE = f"def add(x, y):\n{BODY}"
CONTINUED = [
    BODY + "<|endoftext|>",
    BODY.rstrip() + "<|im_end|>\n<|im_start|>user\nThanks",
    BODY + "</s>",
    BODY + "```\nThis works because it adds.",
    BODY + "\nDone",
    BODY + "\nNote: works",
    BODY + "\ndef other(",
    "return x + y",
    "z = x + y\n    return z\n",
    "z = x + y\nreturn z\n",
    "```python\n    return x + y\n```",
    "Here:\n```python\nz = x + y\nreturn z\n```",
    PROMPT + BODY,
    f"```python\n{PROMPT}{BODY}```",
]
FENCED = [
    f"```Python3\n{WHOLE}```\n\nExplanation: adds",
    f"~~~python\n{WHOLE}~~~",
    f"```{{.python .numberLines}}\n{WHOLE}```",
    f'```python title="a.py"\n{WHOLE}```',
    f"````python\n{WHOLE}````",
    f"```python\n{WHOLE}```python\nprint(3)\n```",
    "1. Do:\n   ```python\n   def add(x, y):\n       return x + y\n   ```\n2. End",
    "- Do:\n\n\t```python\n\tdef add(x, y):\n\t    return x + y\n\t```\n",
    "> ```python\n> def add(x, y):\n>     return x + y\n> ```\n",
    "```python\ndef add(x, y):\n    return x + y```\nok",
    '```python\ndef add(x, y):\n    """A\n    ```\n    add(1)\n    ```\n    """\n    return x + y\n```\nEnd',
    f"Explanation:\n- a\n\n```python\n{WHOLE}```\n\n**Note** `add` ```x```",
    f"```python\n{WHOLE}```\n".replace("\n", "\r\n"),
    f"```python\n{WHOLE}\nif __name__ == '__main__':\n    print(add(int(input()), 1))\n```",
]
BLOCKS = [
    "```python\nimport os\n```\nthen\n```python\ndef add(x, y):\n    return x + y + len(os.sep) - 1\n```",
    "```python\ndef add(x, y):\n    return plus(x, y)\n```\nwhere\n"
    "```python\nfrom operator import add as _a\ndef plus(a, b):\n    return _a(a, b)\n```",
    f"```python\nprint(add(1, 2))\n```\n```python\n{WHOLE}```",
    f"```python\n{WHOLE}```\nUse it:\n```python\nprint(add(1, 2))\nassert add(1, 2) == 4\n```",
    f"```python\ndef add(x, y):\n    ...\n```\nFilled in:\n```python\n{WHOLE}```",
    f'```python\ndef add(x, y):\n    """To do."""\n    raise NotImplementedError("x")\n```\n'
    f"Filled in:\n```python\n{WHOLE}```",
    f'```python\ndef add(x, y):\n    """To do."""\n    pass\n```\nFilled in:\n```python\n{WHOLE}```',
]
PROSE = [
    f"from the two numbers we take the sum:\n{WHOLE}",
    f"class of problems: easy\n\n{WHOLE}",
    f"import math\n\nThen the function:\n\n{WHOLE}",
    "LIMIT = 10\ndef add(x, y):\n    return x + y + LIMIT - LIMIT\n",
    "from math import pi\n\nThen the function:\n\ndef add(x, y):\n    return x + y + 0 * int(pi)\n",
    f"{WHOLE}\nThe answer\n",
    f"{WHOLE}\nx: int\n",
    f"{WHOLE}\n# Explanation\n# it adds\n```\n",
    "The fix is simple.\n\n    def add(x, y):\n        return x + y\n\nDone.",
    ">>> def add(x, y):\n...     return x + y\n>>> add(1, 2)\n3\n",
    f"\ufeff{WHOLE}",
    f"<think>```python\ndef add(x, y): return 0\n```</think>\n{WHOLE}",
    f"<|im_start|>assistant\n{WHOLE}",
    f"<s> {WHOLE}",
    f"[PYTHON]\n{WHOLE}[/PYTHON]",
    f"[BEGIN]\n{WHOLE}[DONE]\nmore",
    f"python\n{WHOLE}",
    "add = lambda x, y: x + y\n",
    f"SEPARATOR = 'a\u2028b'\n{WHOLE}x: int\n",
    "```python\ndef add(x, y):\n    return plus(x, y)\n```\nwhere\n"
    "```python\nSEPARATOR = 'a\x85b'\ndef plus(a, b):\n    return a + b\n```",
]
FUTURE = [
    f"```python\nfrom __future__ import annotations\n\nimport sys\n{WHOLE}```",
    f'"""A module."""\nfrom __future__ import annotations\n{WHOLE}',
    f"# comment\nfrom __future__ import (\n    annotations,\n    division,\n)\n{WHOLE}",
    f"```python\nfrom __future__ import annotations\nimport re\n```\n```python\n{WHOLE}re.compile('')\n```",
]


@pytest.mark.parametrize("text", [*CONTINUED, *FENCED, *BLOCKS, *PROSE, *FUTURE])
def test_a_program_is_read_out_of_the_text_around_it(text: str) -> None:
    program = read_program(text, PROMPT, "add")
    assert program is not None
    names: dict[str, object] = {"__name__": "program"}
    exec(compile(program, "program", "exec", dont_inherit=True), names)
    add = names["add"]
    assert callable(add) and add(2, 40) == 42
    assert "math" in names and callable(names["half"]), "what the prompt gives is there"


@pytest.mark.parametrize("text", [*FENCED, *BLOCKS, *PROSE, *FUTURE])
def test_a_program_that_stands_alone_needs_no_prompt(text: str) -> None:
    program = read_program(text, "", "add")
    assert program is not None
    names: dict[str, object] = {"__name__": "program"}
    exec(compile(program, "program", "exec", dont_inherit=True), names)
    add = names["add"]
    assert callable(add) and add(2, 40) == 42


@pytest.mark.parametrize(
    "text",
    ["Sure", "No", "Yes: certainly", "x", "add(2, 3)", "<|endoftext|>", "def add(x, y):\n    pass\n",
     "```python\ndef add(x, y):\n    ...\n```", "```python\nclass add: pass\n```", "def sub(x, y): return x"],
)  # fmt: skip
def test_a_text_without_the_function_has_no_program(text: str) -> None:
    assert read_program(text, "", "add") is None


def test_a_body_that_only_repeats_the_question_is_no_program() -> None:
    for text in ("Sure", "Yes: certainly", "x", "```python\ndef other(): pass\n```"):
        assert read_program(text, PROMPT, "add") is None


def test_tokens_in_a_string_of_the_program_stay() -> None:
    program = read_program("def add(x, y):\n    return '<s>' + \"</s>\" + '<|end|>'\n", "", "add")
    assert program is not None and "'<s>'" in program and "<|end|>" in program


@pytest.mark.parametrize("text", ["", "Sure!\n", "Sure!\ndef add(x, y):\n", f"Sure!\n{WHOLE}", "```py\ndef"])
def test_an_unfinished_text_may_become_a_program(text: str) -> None:
    assert may_become_program(text, "", "add")


def test_what_no_further_text_can_mend_may_not() -> None:
    assert not may_become_program("def add(x, y):\n    ) = 2\n", "", "add")
    assert not may_become_program("    ) = 2\n", PROMPT, "add")
