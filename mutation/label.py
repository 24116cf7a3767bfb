"""From mutants and their verdicts to labelled steps: the code labels of HGS-PRM (arXiv:2310.10080).

As in the paper, the steps of the reference are positive, and a mutated step is negative if a test fails and
neutral if all pass. `LabelParams` has what the paper leaves open. A step is a statement, split as in
decoding.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from hashlib import blake2b
from typing import Literal

from mutation.mbpp import CodeProblem
from mutation.mutate import Mutant, mutants, refactored
from mutation.operators import UNLIKELY
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
    """The choices that the paper leaves open. All are stored with the data.

    survivors: the label of a mutated step if every test still passes; "drop" uses no such program.
    after: what happens to the steps after a wrong one. stop: they are left out, as in PRM800K; negative:
        they are labelled negative; ignore: they are labelled positive, as if the step were right.
    order: the most mistakes in one program, 1 to 3.
    most: the most mutants of each order per problem, 0 for all.
    rewordings: whether to add programs with the same meaning as the reference, as further positives.
    exceptions, time_outs: the most of each per failed assertion. Crashes are easier to see than wrong
        results, and would otherwise outnumber them.
    without: operators to leave out, by name; by default those whose mutants no language model writes.
    """

    survivors: Survivors = "neutral"
    after: After = "stop"
    order: int = 1
    most: int = 60
    rewordings: bool = True
    exceptions: float = 0.5
    time_outs: float = 0.2
    seed: int = 0
    without: tuple[str, ...] = UNLIKELY

    def __post_init__(self) -> None:
        if not 1 <= self.order <= 3 or self.most < 0:
            raise UsageError("order must be 1, 2 or 3, and most must be at least 0 (all)")
        if self.exceptions < 0 or self.time_outs < 0:
            raise UsageError("the shares of exceptions and time-outs must be at least 0")


@dataclass(frozen=True, slots=True)
class MutantResult:
    """A changed program and its verdicts.

    operators: [n_changes]. spans: [n_changes], first and last line, in the program before the change.
    before, after: [n_changes], the changed lines.
    rewording: whether the program should have the same meaning as the reference.
    base: the outcome of the problem's own tests. plus: the outcome of MBPP+'s, "" if they were not run.
    seen: whether a test ran a changed line. changed: indices of the steps that differ from the reference's.
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
        """The outcome of the strongest tests that were run."""
        return self.plus or self.base

    @property
    def passed(self) -> bool:
        return self.outcome == Outcome.PASSED

    @property
    def fate(self) -> str:
        """How it is used: the kind of label that it gives, or why it gives none."""
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
class ProblemResult:
    """A problem with the results of all its changed programs.

    reference: the program that is taken to be right: MBPP's, or MBPP+'s if MBPP's fails the tests of MBPP+.
    corrected: whether it is MBPP+'s. problem_with: why the problem gives no labels, "" if it does.
    unseen: lines of the reference that no test runs.
    plus_inputs: the number of inputs of MBPP+ that could be used. tried: the changed programs.
    made_of: the fingerprint of the problem, "" in files of version 0.1.
    """

    id: str
    split: str
    question: str
    reference: str
    corrected: bool = False
    problem_with: str = ""
    unseen: tuple[int, ...] = ()
    plus_inputs: int = 0
    tried: tuple[MutantResult, ...] = field(default=())
    made_of: str = ""


def run_mutants(problem: CodeProblem, sandbox: Sandbox, params: LabelParams) -> ProblemResult:
    """Run every change of a problem's reference against the tests. Labels are decided later, by `label`."""
    base, plus, expected = problem.suite, None, 0
    reference, corrected = problem.reference, False
    own = sandbox.run_repeatedly(reference, base, trace=True)
    ran = own.lines
    if problem.plus is not None and (outputs := problem.plus.outputs(sandbox, runs=2)):
        plus, expected = problem.plus.suite(outputs), len(outputs)
        if not sandbox.run(reference, plus).passed:
            reference, corrected = problem.plus.reference, True
            own = sandbox.run_repeatedly(reference, base, trace=True)
            if not own.passed:  # the tests of MBPP are as wrong as its reference
                base, plus = plus, None
                own = sandbox.run_repeatedly(reference, base, trace=True)
        stronger = sandbox.run(reference, plus or base, trace=True)
        ran = own.lines | stronger.lines
        plus = plus and plus.within(stronger, sandbox.limits.cpu_s)
    result = ProblemResult(
        problem.id, problem.split, problem.question, reference, corrected, made_of=problem.fingerprint
    )
    if not own.passed:
        why = f"the reference does not pass: {own.outcome}{', flaky' if own.flaky else ''}"
        return replace(result, problem_with=f"{why} ({own.detail})" if own.detail else why)
    base = base.within(own, sandbox.limits.cpu_s)
    try:
        changed = _changed(reference, params)
    except UsageError as error:
        return replace(result, problem_with=str(error))
    tried = [_run_one(mutant, rewording, reference, sandbox, base, plus) for mutant, rewording in changed]
    unseen = tuple(sorted(_statement_lines(reference) - ran))
    return replace(result, unseen=unseen, plus_inputs=expected, tried=tuple(tried))


def _changed(reference: str, params: LabelParams) -> list[tuple[Mutant, bool]]:
    """Changed programs, and whether each is a rewording. Raises UsageError if libcst cannot parse it."""
    most = params.most or None
    changed = [(mutant, False) for order in range(1, params.order + 1)
               for mutant in mutants(reference, order=order, most=most, seed=params.seed,
                                     without=params.without)]  # fmt: skip
    if params.rewordings:
        changed += [(mutant, True) for mutant in refactored(reference, most=most, seed=params.seed)]
    return changed


def _run_one(
    mutant: Mutant, rewording: bool, reference: str, sandbox: Sandbox, base: Suite, plus: Suite | None
) -> MutantResult:
    verdict = sandbox.run_repeatedly(mutant.code, base)
    first, stronger = verdict, ""
    if verdict.passed and plus is not None:
        verdict = sandbox.run_repeatedly(mutant.code, plus)
        stronger = str(verdict.outcome)
    changed = changed_steps(SEGMENTER.split(reference), SEGMENTER.split(mutant.code))
    return MutantResult(
        mutant.code, tuple(edit.operator for edit in mutant.edits),
        tuple((edit.first_line, edit.last_line) for edit in mutant.edits),
        tuple(edit.before for edit in mutant.edits), tuple(edit.after for edit in mutant.edits),
        rewording, str(first.outcome), stronger, verdict.exception, first.flaky or verdict.flaky,
        not verdict.passed or _is_seen(mutant.code, changed, sandbox, base, plus), changed,
    )  # fmt: skip


def _is_seen(
    code: str, changed: Sequence[int], sandbox: Sandbox, base: Suite, plus: Suite | None
) -> bool:
    """Whether some test runs a line of a changed step."""
    ran: set[int] = set()
    for suite in (base, plus):
        if suite is not None:
            ran |= sandbox.run(code, suite, trace=True).lines
    return bool(ran & lines_of(SEGMENTER.split(code), changed))


def lines_of(steps: Sequence[str], numbers: Iterable[int]) -> set[int]:
    """The line numbers, from 1, of these steps."""
    ends = [0]
    for step in steps:
        ends.append(ends[-1] + step.count("\n") + (not step.endswith("\n")))
    return {line for n in numbers for line in range(ends[n] + 1, ends[n + 1] + 1)}


def _statement_lines(code: str) -> set[int]:
    """The first lines of the steps that are not blank."""
    steps = SEGMENTER.split(code)
    return {min(lines_of(steps, [i])) for i, step in enumerate(steps) if step.strip()}


def changed_steps(reference: Sequence[str], steps: Sequence[str]) -> tuple[int, ...]:
    """Indices of the steps that differ from the reference's, or follow a step that is missing."""
    matcher = SequenceMatcher(None, [s.strip("\n") for s in reference], [s.strip("\n") for s in steps], False)
    changed = set[int]()
    for tag, _, _, start, end in matcher.get_opcodes():
        if tag != "equal":
            changed.update(range(start, max(end, start + 1)))
    return tuple(sorted(n for n in changed if n < len(steps)))


# -- labels --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LabelledProgram:
    """A labelled program and its results. tried is None for the reference itself."""

    solution: LabelledSolution
    tried: MutantResult | None


def label(result: ProblemResult, params: LabelParams) -> list[LabelledProgram]:
    """The labelled programs of one problem, none of which contradicts another.

    The label of a step belongs to the prefix of all steps up to it. Programs that pass are labelled first: a
    prefix that can be continued to a right program is not wrong. In a program with several mistakes the
    last change is labelled negative, if the program without it passes.
    """
    if result.problem_with:
        return []
    source, steps = result.id.partition("/")[0], SEGMENTER.split(result.reference)
    known: dict[tuple[str, ...], int] = {}
    records: list[LabelledProgram] = []

    def add(texts: Sequence[str], labels: Sequence[int], tried: MutantResult | None) -> None:
        prefixes = [tuple(texts[: i + 1]) for i in range(len(labels))]
        if all(known.get(prefix, value) == value for prefix, value in zip(prefixes, labels, strict=True)):
            known.update(zip(prefixes, labels, strict=True))
            solution = LabelledSolution(
                result.question, tuple(texts[: len(labels)]), tuple(labels), source, result.split, PRODUCER,
                rest=tuple(texts[len(labels) :]), outcome=_is_right(tried),
            )  # fmt: skip
            records.append(LabelledProgram(solution, tried))

    add(steps, [1] * len(steps), None)
    order = {"survived": 0, "failed": 1}
    usable = [t for t in result.tried if t.fate in order]
    for tried in sorted(usable, key=lambda t: (order[t.fate], not t.rewording, len(t.operators))):
        texts = SEGMENTER.split(tried.code)
        labels = _survivor_labels(tried, len(texts), params) if tried.passed else _failed_labels(
            tried, texts, known, params)  # fmt: skip
        if labels:
            add(texts, labels, tried)
    return records


def _is_right(tried: MutantResult | None) -> bool | None:
    """Whether a program is right. None for a mutant that passes: the tests may have missed the mistake."""
    if tried is None or tried.rewording:
        return True
    return None if tried.passed else False


def _survivor_labels(tried: MutantResult, size: int, params: LabelParams) -> list[int]:
    if tried.rewording:
        return [1] * size
    if params.survivors == "drop":
        return []
    value = 0 if params.survivors == "neutral" else 1
    labels = [value if i in tried.changed else 1 for i in range(size)]
    return labels[: tried.changed[-1] + 1] if params.after == "stop" else labels


def _failed_labels(
    tried: MutantResult, texts: Sequence[str], known: dict[tuple[str, ...], int], params: LabelParams
) -> list[int]:
    """The labels of a program that fails. Empty if it is not known which step is wrong."""
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
    """The group of a failed program whose number is limited: assertion, time-out or exception."""
    if verdict in (Outcome.ASSERTION, Outcome.TIME_OUT):
        return verdict
    return str(Outcome.EXCEPTION)


def contradictions(solutions: Iterable[LabelledSolution]) -> list[tuple[str, tuple[str, ...]]]:
    """The prefixes (question and steps) that two solutions label differently; none if the data is sound."""
    known: dict[tuple[str, tuple[str, ...]], int] = {}
    conflicts = []
    for solution in solutions:
        for i, value in enumerate(solution.labels):
            prefix = (solution.question, solution.steps[: i + 1])
            if known.setdefault(prefix, value) != value:
                conflicts.append(prefix)
    return conflicts


def balanced(labelled: Sequence[LabelledProgram], params: LabelParams) -> list[LabelledProgram]:
    """The programs without those crashes and time-outs that exceed the limits of `params`.

    Which ones are left out is drawn at random, by the content of the programs.
    """
    strata: dict[str, list[LabelledProgram]] = {}
    for record in labelled:
        if record.tried is not None and record.tried.fate == "failed":
            strata.setdefault(stratum(record.tried.outcome), []).append(record)
    assertions = len(strata.get(str(Outcome.ASSERTION), ()))
    shares = {str(Outcome.EXCEPTION): params.exceptions, str(Outcome.TIME_OUT): params.time_outs}
    left_out: set[int] = set()
    for kind, share in shares.items():
        drawn = sorted(strata.get(kind, ()), key=lambda record: _draw(record, params.seed))
        left_out |= {id(record) for record in drawn[int(share * assertions) :]}
    return [record for record in labelled if id(record) not in left_out]


def _draw(record: LabelledProgram, seed: int) -> bytes:
    text = f"{seed}\0{record.solution.question}\0{''.join(record.solution.steps)}"
    return blake2b(text.encode(), digest_size=8).digest()
