"""Changes that keep the meaning of a program: right steps that differ from the reference's.

They have the form of `mutation.operators`. Each is made only where, as far as the code shows, it cannot
change what the program computes. The changed program is nevertheless run against the tests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import libcst as cst
import libcst.matchers as m

from mutation.operators import Table, negated, parenthesised

MIRRORED: dict[type[cst.BaseCompOp], type[cst.BaseCompOp]] = {
    cst.LessThan: cst.GreaterThan,
    cst.LessThanEqual: cst.GreaterThanEqual,
    cst.GreaterThan: cst.LessThan,
    cst.GreaterThanEqual: cst.LessThanEqual,
    cst.Equal: cst.Equal,
    cst.NotEqual: cst.NotEqual,
}
SUFFIX = "_value"
RESULT = "result"
REFLECTIVE = {"locals", "globals", "vars", "eval", "exec"}


def refactorings(taken: Counter[str]) -> Table:
    """The table for a program. taken: the names that it uses, and how often; new names avoid them."""
    return [
        ("commuted_operands", cst.BinaryOperation, commuted_operands),
        ("mirrored_comparison", cst.Comparison, mirrored_comparison),
        ("swapped_branches", cst.If, swapped_branches),
        ("expanded_assignment", cst.AugAssign, expanded_assignment),
        ("renamed_variable", cst.FunctionDef, _Renaming(taken)),
        ("named_result", cst.SimpleStatementLine, _Named(taken)),
        ("loop_for_comprehension", cst.SimpleStatementLine, _Unrolled(taken)),
    ]


def commuted_operands(node: cst.BinaryOperation) -> Iterator[cst.CSTNode]:
    """a * b as b * a; also a & b, and a + 1, where a must be a number. Not a + b, which may be strings."""
    number = m.Integer() | m.Float()
    always = m.matches(node.operator, m.Multiply() | m.BitAnd() | m.BitXor())
    has_number = m.matches(node.left, number) or m.matches(node.right, number)
    added = has_number and m.matches(node.operator, m.Add())
    if (always or added) and _pure(node.left) and _pure(node.right) and not node.left.deep_equals(node.right):
        yield node.with_changes(left=parenthesised(node.right), right=parenthesised(node.left))


def mirrored_comparison(node: cst.Comparison) -> Iterator[cst.CSTNode]:
    """a < b as b > a."""
    if len(node.comparisons) == 1 and _pure(node.left) and _pure(node.comparisons[0].comparator):
        [target] = node.comparisons
        if (mirrored := MIRRORED.get(type(target.operator))) is not None:
            turned = cst.ComparisonTarget(mirrored(), parenthesised(node.left))
            yield node.with_changes(left=parenthesised(target.comparator), comparisons=[turned])


def swapped_branches(node: cst.If) -> Iterator[cst.CSTNode]:
    """`if c: A else: B` as `if not c: B else: A`."""
    if isinstance(node.orelse, cst.Else):
        yield node.with_changes(
            test=negated(node.test), body=node.orelse.body, orelse=node.orelse.with_changes(body=node.body),
            whitespace_before_test=cst.SimpleWhitespace(" "),
        )  # fmt: skip


def expanded_assignment(node: cst.AugAssign) -> Iterator[cst.CSTNode]:
    """x += 1 as x = x + 1. Only with a number: a list would no longer be changed in place."""
    signs: dict[type[cst.BaseAugOp], cst.BaseBinaryOp] = {
        cst.AddAssign: cst.Add(), cst.SubtractAssign: cst.Subtract(), cst.MultiplyAssign: cst.Multiply(),
    }  # fmt: skip
    sign = signs.get(type(node.operator))
    number = m.matches(node.value, m.Integer() | m.Float())
    if number and sign is not None and isinstance(node.target, cst.Name):
        value = cst.BinaryOperation(cst.Name(node.target.value), sign, node.value)
        yield cst.Assign([cst.AssignTarget(node.target)], value, node.semicolon)


class _Renaming:
    """Rename a local variable everywhere in its function."""

    def __init__(self, taken: Counter[str]) -> None:
        self._taken = taken

    def __call__(self, node: cst.FunctionDef) -> Iterator[cst.CSTNode]:
        inner = m.FunctionDef() | m.Lambda() | m.ClassDef() | m.Global() | m.Nonlocal()
        simple = not m.findall(node.body, inner)
        names = {name.value for name in _names(node)}
        if not simple or names & REFLECTIVE:
            return
        parameters = {p.value for p in _names(node.params)}
        targets: list[Any] = [*m.findall(node.body, m.AssignTarget(m.Name()) | m.For(target=m.Name()))]
        for name in dict.fromkeys(str(target.target.value) for target in targets):
            if name not in parameters and name + SUFFIX not in self._taken:
                yield cst.ensure_type(node.visit(_Rename(name, name + SUFFIX)), cst.FunctionDef)


class _Rename(cst.CSTTransformer):
    """Renames a variable, but no attribute and no keyword of an argument."""

    def __init__(self, old: str, new: str) -> None:
        super().__init__()
        self._old, self._new = old, new

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.Name:
        if original_node.value != self._old:
            return updated_node
        return updated_node.with_changes(value=self._new)

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.Attribute:
        return updated_node.with_changes(attr=original_node.attr)

    def leave_Arg(self, original_node: cst.Arg, updated_node: cst.Arg) -> cst.Arg:
        return updated_node.with_changes(keyword=original_node.keyword)


class _Named:
    """`return e` as `result = e` and `return result`."""

    def __init__(self, taken: Counter[str]) -> None:
        self._name = _fresh(RESULT, taken)

    def __call__(self, node: cst.SimpleStatementLine) -> Iterator[Any]:
        if m.matches(node, m.SimpleStatementLine(body=[m.Return(value=~m.Name())])):
            value = cst.ensure_type(node.body[0], cst.Return).value
            if value is not None:
                yield cst.FlattenSentinel([
                    cst.SimpleStatementLine([_assign(self._name, value)], leading_lines=node.leading_lines),
                    cst.SimpleStatementLine([cst.Return(cst.Name(self._name))]),
                ])  # fmt: skip


class _Unrolled:
    """Write a list comprehension that is returned or assigned as a loop that appends."""

    def __init__(self, taken: Counter[str]) -> None:
        self._taken, self._name = taken, _fresh(RESULT, taken)

    def __call__(self, node: cst.SimpleStatementLine) -> Iterator[Any]:
        comprehension = m.ListComp(for_in=m.CompFor(inner_for_in=None, asynchronous=None))
        returned = m.matches(node, m.SimpleStatementLine(body=[m.Return(value=comprehension)]))
        target = m.AssignTarget(m.Name())
        assigned = m.matches(
            node, m.SimpleStatementLine(body=[m.Assign(targets=[target], value=comprehension)])
        )  # fmt: skip
        if not (returned or assigned):
            return
        statement: Any = node.body[0]
        made: cst.ListComp = statement.value
        name = self._name if returned else statement.targets[0].target.value
        used = Counter(n.value for n in _names(made))
        if not returned and name in used:
            return  # the old value is still needed
        if any(self._taken[n.value] > used[n.value] for n in _names(made.for_in.target)):
            return  # the variable of a loop exists after the loop
        append = cst.Call(cst.Attribute(cst.Name(name), cst.Name("append")), [cst.Arg(made.elt)])
        body: cst.BaseStatement = cst.SimpleStatementLine([cst.Expr(append)])
        for condition in reversed(made.for_in.ifs):
            body = cst.If(condition.test, cst.IndentedBlock([body]))
        loop = cst.For(made.for_in.target, made.for_in.iter, cst.IndentedBlock([body]))
        start = cst.SimpleStatementLine([_assign(name, cst.List([]))], leading_lines=node.leading_lines)
        end = [cst.SimpleStatementLine([cst.Return(cst.Name(name))])] if returned else []
        yield cst.FlattenSentinel([start, loop, *end])


def _assign(name: str, value: cst.BaseExpression) -> cst.Assign:
    return cst.Assign([cst.AssignTarget(cst.Name(name))], value)


def _fresh(name: str, taken: Counter[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _names(node: cst.CSTNode) -> list[cst.Name]:
    return [cst.ensure_type(name, cst.Name) for name in m.findall(node, m.Name())]


def _pure(node: cst.BaseExpression) -> bool:
    """Whether the expression has no visible call, so that the order of evaluation does not matter."""
    return not m.findall(node, m.Call() | m.Await() | m.Yield() | m.NamedExpr() | m.GeneratorExp())
