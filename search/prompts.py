"""How a question becomes the text that a policy continues."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from search.errors import UsageError


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt template.

    template: text with one `{question}`; few-shot examples stand in it as they are.
    chat: send the filled template as the user's turn through the tokenizer's own chat template.
    system: the system turn, with `chat` only; "" sends none.
    stop: strings that end a solution, beside the model's own end of turn, e.g. "\\nQuestion:".
    """

    template: str = "{question}\n"
    chat: bool = False
    system: str = ""
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.template.count("{question}") != 1:
            raise UsageError("a prompt template must hold {question} exactly once")

    def fill(self, question: str) -> str:
        """The template with the question in place; other braces are left as they are."""
        return self.template.replace("{question}", question)

    def messages(self, question: str) -> list[dict[str, str]]:
        """The chat turns; only meaningful with `chat`."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": self.fill(question)}]


def read_template(path: Path, *, stop: tuple[str, ...] = ()) -> Prompt:
    """A prompt from a text file that holds {question}. Raises UsageError if it cannot be one."""
    try:
        return Prompt(path.read_text(encoding="utf-8"), stop=stop)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the prompt template {path}: {error}") from error
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
