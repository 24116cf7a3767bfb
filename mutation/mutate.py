"""Mutants of a program: each operator is applied to each node, and results that compile are kept once.

mutmut's table and visitor are used through libcst, without its project runner, which needs a project on
disk.
"""

from __future__ import annotations

import ast
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from textwrap import dedent
from typing import Any

import libcst as cst
from libcst.metadata import ExpressionContext, ExpressionContextProvider, MetadataWrapper
from mutmut.mutation.file_mutation import MutationVisitor
from mutmut.mutation.pragma_handling import IgnoredCode

from mutation.operators import MUTMUT, OWN, UNLIKELY, Table, wrong_variable
from mutation.parsing import parse, source_lines
from mutation.refactorings import refactorings
from search.errors import UsageError


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of a program.

    first_line, last_line: the lines that it changed, from 1, in the program before the change.
    before, after: the text of those lines, and the new text. If lines were only added, `before` is "" and
        the line numbers are those of the line after them.
    """

    operator: str
    first_line: int
    last_line: int
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """A program after the changes `edits`, made one after the other."""

    code: str
    edits: tuple[Edit, ...]

    @property
    def operator(self) -> str:
        return "+".join(edit.operator for edit in self.edits)


def mutants(
    code: str, *, order: int = 1, most: int | None = None, seed: int = 0, without: Collection[str] = UNLIKELY
) -> list[Mutant]:
    """Programs with `order` mistakes, all different from each other and from the program itself.

    order: 1 to 3. For order 1 these are all mutants, for higher orders as many random ones.
    most: the most that are returned, sampled with `seed`; None for no limit.
    without: operators to leave out, by name.
    Raises UsageError if the program cannot be parsed.
    """
    if not 1 <= order <= 3:
        raise UsageError(f"order={order}: it must be 1, 2 or 3")

    def mistakes(wrapper: MetadataWrapper) -> Table:
        return [row for row in _mistakes(wrapper) if row[0] not in without]

    first = _all(code, mistakes)
    if order == 1:
        return _some(first, most, seed)
    rng = random.Random(seed)
    wanted = len(first) if most is None else most
    seen, result = {_normal(code)} | {_normal(mutant.code) for mutant in first}, list[Mutant]()
    for _ in range(4 * wanted):  # many pairs undo each other or are duplicates
        if len(result) == wanted or not first:
            break
        mutant = rng.choice(first)
        while len(mutant.edits) < order and (further := _all(mutant.code, mistakes)):
            last = rng.choice(further)
            mutant = Mutant(last.code, (*mutant.edits, *last.edits))
        if len(mutant.edits) == order and (normal := _normal(mutant.code)) not in seen:
            seen.add(normal)
            result.append(mutant)
    return result


def refactored(code: str, *, most: int | None = None, seed: int = 0) -> list[Mutant]:
    """Programs with the same meaning, written differently. Raises UsageError if `code` cannot be parsed."""
    return _some(_all(code, _rewordings), most, seed)


def _mistakes(wrapper: MetadataWrapper) -> Table:
    return [*MUTMUT, *OWN, ("wrong_variable", cst.Name, wrong_variable(_scopes(wrapper)))]


def _rewordings(wrapper: MetadataWrapper) -> Table:
    return refactorings(Counter(name.value for name in _names(wrapper.module)))


def _some(every: list[Mutant], most: int | None, seed: int) -> list[Mutant]:
    """A random sample of at most `most`, in the original order."""
    if most is None or len(every) <= most:
        return every
    kept = sorted(random.Random(seed).sample(range(len(every)), most))
    return [every[i] for i in kept]


def _all(code: str, table: Callable[[MetadataWrapper], Table]) -> list[Mutant]:
    try:
        wrapper = MetadataWrapper(cst.parse_module(code))
        seen = {_normal(code)}
    except (cst.ParserSyntaxError, SyntaxError) as error:
        raise UsageError(f"the program cannot be parsed: {str(error).splitlines()[0]}") from error
    result = []
    for mutant in _changed(wrapper, table(wrapper)):
        try:
            normal = _normal(mutant.code)
            compile(mutant.code, "mutant", "exec")
        except (SyntaxError, ValueError, RecursionError):  # e.g. a break outside of a loop
            continue
        if normal not in seen:
            seen.add(normal)
            result.append(mutant)
    return result


def _changed(wrapper: MetadataWrapper, table: Table) -> Iterator[Mutant]:
    names: dict[int, str] = {}

    def tagged(name: str, operator: Callable[[Any], Iterable[Any]]) -> Callable[[Any], Iterator[Any]]:
        """The operator, recording its name for each node that it makes: mutmut's visitor does not."""

        def named(node: Any) -> Iterator[Any]:
            try:
                for changed in operator(node):
                    names[id(changed)] = name
                    yield changed
            except cst.CSTValidationError:  # e.g. a missing space, if (a) in return(a) is replaced
                return

        return named

    operators = [(kind, tagged(name, operator)) for name, kind, operator in table]
    visitor = MutationVisitor(operators, IgnoredCode(set(), set(), set()))
    module = wrapper.visit(visitor)
    for mutation in visitor.mutations:
        try:
            changed = module.deep_replace(mutation.original_node, mutation.mutated_node)
        except cst.CSTValidationError:
            continue
        code = cst.ensure_type(changed, cst.Module).code
        yield Mutant(code, (_edit(names[id(mutation.mutated_node)], module.code, code),))


def _edit(operator: str, old: str, new: str) -> Edit:
    """The difference of two programs: all lines but the first and last ones that are equal in both."""
    before, after = ([line.rstrip("\r\n") for line in source_lines(code)] for code in (old, new))
    shorter = min(len(before), len(after))
    head = next((i for i in range(shorter) if before[i] != after[i]), shorter)
    most = shorter - head
    tail = next((i for i in range(most) if before[-1 - i] != after[-1 - i]), most)
    changed, instead = before[head : len(before) - tail], after[head : len(after) - tail]
    return Edit(
        operator, head + 1, max(head + 1, len(before) - tail), dedent("\n".join(changed)).strip(),
        dedent("\n".join(instead)).strip(),
    )  # fmt: skip


def _normal(code: str) -> str:
    """The syntax tree without docstrings. It is equal for programs that differ only in their formatting."""
    tree = parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
            node.body = node.body[1:]
    return ast.dump(tree)


def _scopes(wrapper: MetadataWrapper) -> dict[cst.Name, tuple[str, ...]]:
    """For each name that is read in a function: the names that the function defines, in order."""
    contexts = wrapper.resolve(ExpressionContextProvider)
    scopes: dict[cst.Name, tuple[str, ...]] = {}

    class Functions(cst.CSTVisitor):
        def visit_FunctionDef(self, node: cst.FunctionDef) -> None:
            parameters = [parameter.name.value for parameter in node.params.params]
            stored = [n.value for n in _names(node.body) if contexts.get(n) is ExpressionContext.STORE]
            defined = tuple(dict.fromkeys([*parameters, *stored]))
            for name in _names(node.body):  # an inner function comes later and overwrites this
                if contexts.get(name) is ExpressionContext.LOAD and name.value in defined:
                    scopes[name] = defined

    wrapper.module.visit(Functions())
    return scopes


def _names(node: cst.CSTNode) -> list[cst.Name]:
    names: list[cst.Name] = []

    class Names(cst.CSTVisitor):
        def visit_Name(self, node: cst.Name) -> None:
            names.append(node)

    node.visit(Names())
    return names
