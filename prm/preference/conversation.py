"""What a policy reads at a turn: the instruction, and the earlier actions with their observations."""

from __future__ import annotations

from dataclasses import replace

from prm.preference.collection import History
from search.prompts import Conversation, Prompt, Turn
from search.types import Problem


def conversation(problem: Problem, prompt: Prompt, message: str, history: History) -> Conversation:
    """What an actor continues: the message, then its incorrect actions, each with the observation.

    A prompt without a chat template gets one text.
    """
    bare, first = replace(prompt, template="{question}"), prompt.fill(message)
    if prompt.chat:
        *before, last = [first, *(text for action, seen in history for text in (action, seen.text))]
        turns = tuple(Turn(("user", "assistant")[n % 2], text) for n, text in enumerate(before))
        return Conversation(problem.id, problem.question, prompt=bare, text=last, turns=turns)
    text = first + "".join(f"{action.rstrip()}\n{seen.text}\n" for action, seen in history)
    return Conversation(problem.id, problem.question, prompt=bare, text=text)
