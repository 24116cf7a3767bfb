"""A Python interpreter as an environment, with verdicts and critiques, as Eurus has them (arXiv:2404.02078).

The code blocks of a message are run, and what they print is the observation, in the words of UltraInteract:

    Out: <what was printed, or a traceback>
    Your answer is wrong.
    <a critique>

The state of a branch is made by re-execution: the blocks of its earlier turns run again, in a fresh process,
before those of the last turn. So branches of a tree never share state, and nothing is kept between calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from search.environments.critics import Checked, Critic
from search.environments.messages import code_blocks, cut, with_outputs
from search.limits import metered
from search.types import Observation, Problem, Step

NOTHING = "(no output)"


@dataclass(frozen=True, slots=True)
class Execution:
    """What code blocks gave.

    outputs: of the blocks that ran, in order: what was printed, then the traceback of the last one if it
        raised, or why it was stopped.
    kept: how many of them left a state: those that ran to an end, be it an exception.
    failed: whether the last one raised or was stopped; those after it did not run.
    """

    outputs: tuple[str, ...]
    kept: int
    failed: bool = False


class Interpreter(Protocol):
    """Runs code in isolation. Safe to call from several threads."""

    def run(self, earlier: Sequence[str], blocks: Sequence[str]) -> Execution:
        """Run `blocks` after `earlier` ones, whose output is dropped, all in one fresh process.

        Blocks. Raises SearchError if it cannot run code, whatever the code is.
        """
        ...


class Checker(Protocol):
    """Reads and checks the answers of a task. Both methods may block."""

    def extract(self, problem: Problem, text: str) -> str | None:
        """The answer that a text states, None if it states none."""
        ...

    def check(self, problem: Problem, answer: str | None) -> Checked:
        """Compare an answer with the reference."""
        ...


class PythonEnvironment:
    """Runs the code of each turn. An `Environment`.

    An episode ends at turn number `turns`. Without verdicts it also ends with a message without code, with
    verdicts with a correct answer. An empty message ends it, too.

    checker: reads answers. programs: whether answers are programs, which are read from the messages; others
        are also read from what code printed.
    verdicts: whether observations tell if the answer is correct. critic: None gives no critiques.
    output_chars: what is kept of the output of a turn, which is cut in its middle.
    """

    def __init__(
        self,
        interpreter: Interpreter,
        checker: Checker,
        *,
        programs: bool = False,
        verdicts: bool = False,
        critic: Critic | None = None,
        turns: int = 5,
        output_chars: int = 2_000,
    ):
        self._interpreter, self._checker, self._critic = interpreter, checker, critic
        self._programs, self._verdicts = programs, verdicts
        self._turns, self._output_chars = turns, output_chars

    async def step(self, problem: Problem, turns: Sequence[Step]) -> Observation:
        """See `Environment`."""
        *before, turn = turns
        blocks = code_blocks(turn.text)
        ran = Execution((), 0)
        if blocks:
            earlier = [code for one in before for code in code_blocks(one.text)[: _kept(one)]]
            ran = await asyncio.to_thread(self._interpreter.run, earlier, blocks)
        outputs = [cut(output, self._output_chars) for output in ran.outputs]
        read, answer = await asyncio.to_thread(self._read, problem, turns, outputs, ran)
        parts = []
        if blocks:
            printed = "\n".join(output.rstrip("\n") for output in outputs if output.strip())
            parts.append(f"Out: {cut(printed, self._output_chars) or NOTHING}")
        checked = None
        if self._verdicts:
            checked = await asyncio.to_thread(self._checker.check, problem, answer)
            parts.append(f"Your answer is {'correct' if checked.correct else 'wrong'}.")
        done = not blocks if checked is None else checked.correct
        ends = done or len(turns) >= self._turns or not turn.text.strip()
        critic_tokens = 0
        if self._critic is not None and not ends:
            with metered() as spent:  # its tokens are not the policy's
                critique = await self._critic.critique(problem, turns, "\n".join(parts), checked)
            critic_tokens = spent.policy_tokens
            parts += [critique.strip()] if critique.strip() else []
        return Observation(
            "\n".join(parts), read, ends, "" if ran.failed or not outputs else outputs[-1], ran.kept,
            critic_tokens,
        )

    def _read(
        self, problem: Problem, turns: Sequence[Step], outputs: Sequence[str], ran: Execution
    ) -> tuple[str, str | None]:
        """The text that the answer after the last turn is read from, and that answer.

        It is the last message, with the output of its code in place of the code; if it states no answer, the
        output of the last block before it. A program is read from the last message, or else from the last
        one that has code.
        """
        texts = [turns[-1].text]
        if self._programs:
            texts += [turn.text for turn in reversed(turns[:-1]) if code_blocks(turn.text)][:1]
        else:
            good = outputs[:-1] if ran.failed else outputs
            texts = [with_outputs(turns[-1].text, good)]
            ran_before = (turn for turn in reversed(turns[:-1]) if code_blocks(turn.text))
            texts += [_output(turn) for turn in ran_before][:1]
        for text in texts:
            if (answer := self._checker.extract(problem, text)) is not None:
                return text, answer
        return texts[0], None


def _kept(turn: Step) -> int:
    return 0 if turn.observation is None else turn.observation.kept


def _output(turn: Step) -> str:
    return "" if turn.observation is None else turn.observation.output
