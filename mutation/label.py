"""From mutants and their verdicts to labelled steps (HGS-PRM, arXiv:2310.10080: the paper's code labels).

As the paper: the reference's steps are positive; a mutated step is negative if a test fails, neutral if all
pass. What it leaves open is in `Knobs`. A step is a statement, cut as decoding cuts it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Literal

from mutation.mbpp import CodeProblem
from mutation.mutate import Mutant, mutants, refactored
from mutation.sandbox.sandbox import Sandbox
from mutation.sandbox.verdict import Outcome, Suite
from prm.data.labels import LabelledSolution
from search.errors import UsageError
from search.segment import SEGMENTERS

SEGMENTER = SEGMENTERS["python"]
PRODUCER = "mutation"
Survivors = Literal["neutral", "positive", "drop"]
After = Literal["stop", "negative", "ignore"]


@dataclass(frozen=True, slots=True)
class LabelParams:
    """What the paper leaves open. Everything here is kept with the data.

    survivors: the label of a mutated step whose program still passes every test; drop: none.
    after: steps after a wrong one. stop: left out, where PRM800K's labellers stopped too; negative: they are
        negative; ignore: as if nothing had happened, positive.
    order: most mistakes in one program, 1 to 3. most: mutants of each order of one problem, 0 for all.
    rewordings: programs that mean the same, as positives that are not the reference's text.
    exceptions, time_outs: most of each for one failed assertion; a crash is easily seen, a wrong result not.
    """

    survivors: Survivors = "neutral"
    after: After = "stop"
    order: int = 1
    most: int = 60
    rewordings: bool = True
    exceptions: float = 0.5
    time_outs: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.order <= 3 or self.most < 0:
            raise UsageError("order must be 1, 2 or 3, and most 0 (all) or more")
        if self.exceptions < 0 or self.time_outs < 0:
            raise UsageError("the shares of exceptions and time-outs must be 0 or more")


@dataclass(frozen=True, slots=True)
class Tried:
    """A changed program and how it fared.

    operators: one for each change. spans: [change] of first and last line, in the program before it.
    before, after: [change], the changed lines. base: by the problem's tests; plus: by MBPP+'s, "" if not run.
    seen: whether a test ran a changed line. changed: steps that are not the reference's.
    """

    code: str
    operators: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]
    before: tuple[str, ...]
    after: tuple[str, ...]
    rewording: bool
    base: str
    plus: str
    exception: str
    flaky: bool
    seen: bool
    changed: tuple[int, ...]

    @property
    def outcome(self) -> str:
        """By the strongest tests it met."""
        return self.plus or self.base

    @property
    def passed(self) -> bool:
        return self.outcome == Outcome.PASSED

    @property
    def fate(self) -> str:
        """What becomes of it: a kind of label, or why it gives none."""
        if self.flaky:
            return "flaky"
        if self.outcome == Outcome.REFUSED:
            return "refused"
        if not self.changed:
            return "no step of its own"
        if self.passed:
            return "survived" if self.seen else "unseen"
        return "reworded wrongly" if self.rewording else "failed"


@dataclass(frozen=True, slots=True)
class Worked:
    """A problem with all that was tried on it.

    reference: the text that is taken to be right; MBPP's own, or MBPP+'s where MBPP's fails MBPP+.
    problem_with: why the problem gives no labels, "" if it does.
    unseen: lines of the reference that no test runs. plus_inputs: of MBPP+ that could be used.
    """

    id: str
    split: str
    question: str
    reference: str
    corrected: bool = False
    problem_with: str = ""
    unseen: tuple[int, ...] = ()
    plus_inputs: int = 0
    tried: tuple[Tried, ...] = field(default=())


def work_on(problem: CodeProblem, sandbox: Sandbox, params: LabelParams) -> Worked:
    """Try every change of a problem's reference. Runs programs; decides no label."""
    base, plus, expected = problem.suite, None, 0
    reference, corrected = problem.reference, False
    own = sandbox.run_repeatedly(reference, base, trace=True)
    ran = own.lines
    if problem.plus is not None and (outputs := problem.plus.outputs(sandbox, runs=2)):
        plus, expected = problem.plus.suite(outputs), len(outputs)
        if not sandbox.run(reference, plus).passed:
            reference, corrected = problem.plus.reference, True
            own = sandbox.run_repeatedly(reference, base, trace=True)
            if not own.passed:  # MBPP's tests are as wrong as its reference
                base, plus = plus, None
                own = sandbox.run_repeatedly(reference, base, trace=True)
        stronger = sandbox.run(reference, plus or base, trace=True)
        ran = own.lines | stronger.lines
        plus = plus and plus.within(stronger, sandbox.limits.cpu_s)
    done = Worked(problem.id, problem.split, problem.question, reference, corrected, plus_inputs=expected)
    if not own.passed:
        why = f"the reference does not pass: {own.outcome}{', flaky' if own.flaky else ''}"
        return Worked(done.id, done.split, done.question, reference, corrected, why)
    base = base.within(own, sandbox.limits.cpu_s)
    try:
        changed = _changed(reference, params)
    except UsageError as error:
        return Worked(done.id, done.split, done.question, reference, corrected, str(error))
    tried = tuple(_try(mutant, rewording, reference, sandbox, base, plus) for mutant, rewording in changed)
    unseen = tuple(sorted(_statement_lines(reference) - ran))
    return Worked(done.id, done.split, done.question, reference, corrected, "", unseen, expected, tried)


def _changed(reference: str, params: LabelParams) -> list[tuple[Mutant, bool]]:
    """Mutants, and rewordings, which are marked. Raises UsageError if libcst cannot read the program."""
    most = params.most or None
    changed = [(mutant, False) for order in range(1, params.order + 1)
               for mutant in mutants(reference, order=order, most=most, seed=params.seed)]  # fmt: skip
    if params.rewordings:
        changed += [(mutant, True) for mutant in refactored(reference, most=most, seed=params.seed)]
    return changed


def _try(
    mutant: Mutant, rewording: bool, reference: str, sandbox: Sandbox, base: Suite, plus: Suite | None
) -> Tried:
    verdict = sandbox.run_repeatedly(mutant.code, base)
    first, stronger = verdict, ""
    if verdict.passed and plus is not None:
        verdict = sandbox.run_repeatedly(mutant.code, plus)
        stronger = str(verdict.outcome)
    changed = changed_steps(SEGMENTER.split(reference), SEGMENTER.split(mutant.code))
    return Tried(
        mutant.code, tuple(edit.operator for edit in mutant.edits),
        tuple((edit.first_line, edit.last_line) for edit in mutant.edits),
        tuple(edit.before for edit in mutant.edits), tuple(edit.after for edit in mutant.edits),
        rewording, str(first.outcome), stronger, verdict.exception, first.flaky or verdict.flaky,
        not verdict.passed or _is_seen(mutant.code, changed, sandbox, base, plus), changed,
    )  # fmt: skip


def _is_seen(
    code: str, changed: Sequence[int], sandbox: Sandbox, base: Suite, plus: Suite | None
) -> bool:
    """Whether some test runs a line of a changed step. A failed test has seen it."""
    ran: set[int] = set()
    for suite in (base, plus):
        if suite is not None:
            ran |= sandbox.run(code, suite, trace=True).lines
    return bool(ran & lines_of(SEGMENTER.split(code), changed))


def lines_of(steps: Sequence[str], numbers: Iterable[int]) -> set[int]:
    """The lines, from 1, that these steps take up."""
    ends = [0]
    for step in steps:
        ends.append(ends[-1] + step.count("\n") + (not step.endswith("\n")))
    return {line for n in numbers for line in range(ends[n] + 1, ends[n + 1] + 1)}


def _statement_lines(code: str) -> set[int]:
    """First lines of the steps that hold a statement."""
    steps = SEGMENTER.split(code)
    return {min(lines_of(steps, [i])) for i, step in enumerate(steps) if step.strip()}


def changed_steps(reference: Sequence[str], steps: Sequence[str]) -> tuple[int, ...]:
    """Which of `steps` are not the reference's, or come where a step of the reference is missing."""
    matcher = SequenceMatcher(None, [s.strip("\n") for s in reference], [s.strip("\n") for s in steps], False)
    changed = set[int]()
    for tag, _, _, start, end in matcher.get_opcodes():
        if tag != "equal":
            changed.update(range(start, max(end, start + 1)))
    return tuple(sorted(n for n in changed if n < len(steps)))


# -- labels --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Labelled:
    """A record and what it was made from; tried is None for the reference itself."""

    solution: LabelledSolution
    tried: Tried | None


def label(worked: Worked, params: LabelParams) -> list[Labelled]:
    """The records of one problem, none of which contradicts another.

    A prefix is known by all its steps. What passes is labelled first: a prefix that can be gone on from is
    not wrong. A program with several mistakes is blamed at its last change, if it passes without it.
    """
    if worked.problem_with:
        return []
    source, steps = worked.id.partition("/")[0], SEGMENTER.split(worked.reference)
    known: dict[tuple[str, ...], int] = {}
    records: list[Labelled] = []

    def add(texts: Sequence[str], labels: Sequence[int], tried: Tried | None) -> None:
        prefixes = [tuple(texts[: i + 1]) for i in range(len(labels))]
        if all(known.get(prefix, value) == value for prefix, value in zip(prefixes, labels, strict=True)):
            known.update(zip(prefixes, labels, strict=True))
            solution = LabelledSolution(
                worked.question, tuple(texts[: len(labels)]), tuple(labels), source, worked.split, PRODUCER,
                rest=tuple(texts[len(labels) :]), outcome=_is_right(tried),
            )  # fmt: skip
            records.append(Labelled(solution, tried))

    add(steps, [1] * len(steps), None)
    order = {"survived": 0, "failed": 1}
    usable = [t for t in worked.tried if t.fate in order]
    for tried in sorted(usable, key=lambda t: (order[t.fate], not t.rewording, len(t.operators))):
        texts = SEGMENTER.split(tried.code)
        labels = _survivor_labels(tried, len(texts), params) if tried.passed else _failed_labels(
            tried, texts, known, params)  # fmt: skip
        if labels:
            add(texts, labels, tried)
    return records


def _is_right(tried: Tried | None) -> bool | None:
    """Of a program. Nobody knows of a changed one that passes: the tests may have missed what it does."""
    if tried is None or tried.rewording:
        return True
    return None if tried.passed else False


def _survivor_labels(tried: Tried, size: int, params: LabelParams) -> list[int]:
    if tried.rewording:
        return [1] * size
    if params.survivors == "drop":
        return []
    value = 0 if params.survivors == "neutral" else 1
    labels = [value if i in tried.changed else 1 for i in range(size)]
    return labels[: tried.changed[-1] + 1] if params.after == "stop" else labels


def _failed_labels(
    tried: Tried, texts: Sequence[str], known: dict[tuple[str, ...], int], params: LabelParams
) -> list[int]:
    """Empty if it is not known which step is to blame."""
    labels: list[int] = []
    for i in range(len(texts)):
        if i not in tried.changed:
            labels.append(1)
            continue
        before = known.get(tuple(texts[: i + 1]))
        if before in (0, 1):
            labels.append(before)
        elif len(tried.operators) == 1 or i == tried.changed[-1]:
            rest = len(texts) - i - 1
            return [*labels, -1, *({"stop": [], "negative": [-1], "ignore": [1]}[params.after] * rest)]
        else:
            return []
    return []


def stratum(verdict: str) -> str:
    """Of a failed program: what share of them it counts against."""
    if verdict in (Outcome.ASSERTION, Outcome.TIME_OUT):
        return verdict
    return str(Outcome.EXCEPTION)


def contradictions(solutions: Iterable[LabelledSolution]) -> list[tuple[str, tuple[str, ...]]]:
    """Prefixes, question and steps, that two records label differently; empty if the data is sound."""
    known: dict[tuple[str, tuple[str, ...]], int] = {}
    found = []
    for solution in solutions:
        for i, value in enumerate(solution.labels):
            prefix = (solution.question, solution.steps[: i + 1])
            if known.setdefault(prefix, value) != value:
                found.append(prefix)
    return found


