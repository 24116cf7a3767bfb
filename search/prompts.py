"""Prompt templates: from a question to the text that a policy continues."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from search.errors import UsageError, reason
from search.types import Problem


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt template.

    template: text with `{question}` in it exactly once; few-shot examples are written out in it.
    chat: send the filled template as the user's turn through the tokenizer's own chat template.
    system: the system turn, with `chat` only; "" sends none.
    stop: strings that end a solution, in addition to the model's end of turn, e.g. "\\nQuestion:".
    """

    template: str = "{question}\n"
    chat: bool = False
    system: str = ""
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.template.count("{question}") != 1:
            raise UsageError("a prompt template must contain {question} exactly once")

    def fill(self, question: str) -> str:
        """The template with the question filled in. Other braces are kept."""
        return self.template.replace("{question}", question)

    def messages(self, question: str) -> list[dict[str, str]]:
        """The chat turns. Only for prompts with `chat`."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": self.fill(question)}]


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn of a conversation. role: "user" or "assistant"."""

    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation(Problem):
    """A problem with a prompt of its own, which replaces the policy's.

    question: what reward models read. text: what fills the prompt. turns: those before it, which only a
    prompt with `chat` can send.
    """

    prompt: Prompt
    text: str
    turns: tuple[Turn, ...] = ()

    def messages(self) -> list[dict[str, str]]:
        """All turns, for a chat template. Only for prompts with `chat`."""
        *system, last = self.prompt.messages(self.text)
        return [*system, *({"role": turn.role, "content": turn.content} for turn in self.turns), last]


def read_template(path: Path, *, stop: tuple[str, ...] = ()) -> Prompt:
    """Read a template from a text file. Raises UsageError if the file is unreadable or not a template."""
    try:
        return Prompt(path.read_text(encoding="utf-8-sig"), stop=stop)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the prompt template {path}: {reason(error)}") from error
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
