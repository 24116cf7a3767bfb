"""Mutants of a program: what each operator makes of each node, once, if it compiles.

mutmut's table and visitor are used through libcst, not its project runner, which wants a project on disk.
"""

from __future__ import annotations

import ast
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from textwrap import dedent
from typing import Any

import libcst as cst
from libcst.metadata import ExpressionContext, ExpressionContextProvider, MetadataWrapper
from mutmut.mutation.file_mutation import MutationVisitor
from mutmut.mutation.pragma_handling import IgnoredCode

from mutation.operators import MUTMUT, OWN, Table, wrong_variable
from mutation.refactorings import refactorings
from search.errors import UsageError


@dataclass(frozen=True, slots=True)
class Edit:
    """One change. first_line, last_line: of the lines that it changed, from 1, in the program before it.

    before, after: those lines, and what stands there now. Where lines were only added, `before` is "" and
        the line is the one that they come before.
    """

    operator: str
    first_line: int
    last_line: int
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """A program with `len(edits)` changes, one after the other."""

    code: str
    edits: tuple[Edit, ...]

    @property
    def operator(self) -> str:
        return "+".join(edit.operator for edit in self.edits)


def mutants(code: str, *, order: int = 1, most: int | None = None, seed: int = 0) -> list[Mutant]:
    """Programs with `order` mistakes in them, 1 to 3; no two alike, and none like the program itself.

    Of order 1 all of them, of a higher order as many random ones as there are of order 1.
    most: how many of them, drawn by `seed`. Raises UsageError if the program cannot be read.
    """
    if not 1 <= order <= 3:
        raise UsageError(f"order={order}: it must be 1, 2 or 3")
    first = _all(code, _mistakes)
    if order == 1:
        return _some(first, most, seed)
    rng = random.Random(seed)
    wanted = len(first) if most is None else most
    seen, found = {_normal(code)} | {_normal(mutant.code) for mutant in first}, list[Mutant]()
    for _ in range(4 * wanted):  # many pairs undo each other or come twice
        if len(found) == wanted or not first:
            break
        mutant = rng.choice(first)
        while len(mutant.edits) < order and (further := _all(mutant.code, _mistakes)):
            last = rng.choice(further)
            mutant = Mutant(last.code, (*mutant.edits, *last.edits))
        if len(mutant.edits) == order and (normal := _normal(mutant.code)) not in seen:
            seen.add(normal)
            found.append(mutant)
    return found


def refactored(code: str, *, most: int | None = None, seed: int = 0) -> list[Mutant]:
    """Programs that do the same, written differently. Raises UsageError if the program cannot be read."""
    return _some(_all(code, _rewordings), most, seed)


def _mistakes(wrapper: MetadataWrapper) -> Table:
    return [*MUTMUT, *OWN, ("wrong_variable", cst.Name, wrong_variable(_scopes(wrapper)))]


def _rewordings(wrapper: MetadataWrapper) -> Table:
    return refactorings(Counter(name.value for name in _names(wrapper.module)))


def _some(found: list[Mutant], most: int | None, seed: int) -> list[Mutant]:
    """At most so many, drawn, in their order."""
    if most is None or len(found) <= most:
        return found
    kept = sorted(random.Random(seed).sample(range(len(found)), most))
    return [found[i] for i in kept]


def _all(code: str, table: Callable[[MetadataWrapper], Table]) -> list[Mutant]:
    try:
        wrapper = MetadataWrapper(cst.parse_module(code))
        seen = {_normal(code)}
    except (cst.ParserSyntaxError, SyntaxError) as error:
        raise UsageError(f"the program cannot be read: {str(error).splitlines()[0]}") from error
    found = []
    for mutant in _changed(wrapper, table(wrapper)):
        try:
            normal = _normal(mutant.code)
            compile(mutant.code, "mutant", "exec")
        except (SyntaxError, ValueError, RecursionError):  # e.g. a break outside of its loop
            continue
        if normal not in seen:
            seen.add(normal)
            found.append(mutant)
    return found


def _changed(wrapper: MetadataWrapper, table: Table) -> Iterator[Mutant]:
    names: dict[int, str] = {}

    def tagged(name: str, operator: Callable[[Any], Iterable[Any]]) -> Callable[[Any], Iterator[Any]]:
        """mutmut's visitor forgets which operator made a node; the nodes themselves are told apart here."""

        def named(node: Any) -> Iterator[Any]:
            try:
                for changed in operator(node):
                    names[id(changed)] = name
                    yield changed
            except cst.CSTValidationError:  # e.g. a missing space: return(a), with something else than (a)
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
    """What differs between two programs: all lines but the first and last ones that they have in common."""
    before, after = old.splitlines(), new.splitlines()
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
    """The syntax tree without documentation strings: equal for programs that differ in spelling only."""
    tree = ast.parse(code)
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
            for name in _names(node.body):  # an inner function comes later and has the last word
                if contexts.get(name) is ExpressionContext.LOAD and name.value in defined:
                    scopes[name] = defined

    wrapper.module.visit(Functions())
    return scopes


def _names(node: cst.CSTNode) -> list[cst.Name]:
    found: list[cst.Name] = []

    class Names(cst.CSTVisitor):
        def visit_Name(self, node: cst.Name) -> None:
            found.append(node)

    node.visit(Names())
    return found
