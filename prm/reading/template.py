"""The text that a reward model reads: a template around the question and each step."""

from __future__ import annotations

from dataclasses import dataclass

from search.errors import UsageError


@dataclass(frozen=True, slots=True)
class Template:
    """How a question and its steps are laid out as text.

    The text is `question`, followed for each step by `lead` (before the first step) or `between` (before
    the others), `step` and `separator`. {question} and {bos} are filled in in `question`; {step} and
    {number} (of the step, from 1) in `lead`, `between` and `step`. Special tokens that these strings name
    become tokens; inside a question or a step they are plain text.

    separator: a step is scored at the last token of the separator, or at the step's own last token if the
        separator is empty.
    chat: use the tokenizer's chat template. Each step is a user turn, `question` comes before the first
        step, and `reply` is the assistant's reply to every step but the last. The chat template
        replaces `separator` and `between`.
    requires: strings that must be single tokens of the tokenizer.

    Raises UsageError if `question` lacks {question} or `step` lacks {step}.
    """

    question: str = "{question}\n"
    separator: str = "\n"
    step: str = "{step}"
    lead: str = ""
    between: str = ""
    chat: bool = False
    reply: str = ""
    requires: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if "{question}" not in self.question or "{step}" not in self.step:
            raise UsageError("prm.json: question must hold {question}, and step {step}")
