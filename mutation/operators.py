"""Mutation operators: from one node of a syntax tree to its mutants.

These are mutmut's table (BSD-3, https://github.com/boxed/mutmut, `mutmut.mutation.mutators`) and, in the same
form, mistakes of language models that it lacks. Each operator is a generator from a node to changed nodes,
and the table names the type of node that it takes. `wrong_variable` and `mutation.refactorings` need to know
more than the node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import libcst as cst
import libcst.matchers as m
from mutmut.mutation.mutators import mutation_operators

Operator = Callable[[Any], Iterable[cst.CSTNode]]
Table = list[tuple[str, type[cst.CSTNode], Operator]]

ONE = cst.Integer("1")
PASS = cst.SimpleStatementLine([cst.Pass()])
NONE = cst.Name("None")
BOOLEAN = m.Comparison() | m.BooleanOperation() | m.UnaryOperation(operator=m.Not())
DIRECTION: Mapping[type[cst.BaseCompOp], tuple[type[cst.BaseCompOp], ...]] = {
    cst.LessThan: (cst.GreaterThan,),
    cst.LessThanEqual: (cst.GreaterThanEqual,),
    cst.GreaterThan: (cst.LessThan,),
    cst.GreaterThanEqual: (cst.LessThanEqual,),
    cst.Equal: (cst.LessThanEqual, cst.GreaterThanEqual),
    cst.NotEqual: (cst.LessThan, cst.GreaterThan),
}
"""Swaps of comparison operators that mutmut does not make. It swaps < and <=, == and !=."""


def parenthesised(expression: cst.BaseExpression) -> cst.BaseExpression:
    """The expression, in parentheses unless it binds as tightly as a name."""
    tight = (cst.Name, cst.BaseNumber, cst.Call, cst.Subscript, cst.Attribute, cst.SimpleString, cst.BaseList,
             cst.BaseDict, cst.BaseSet)  # fmt: skip
    if isinstance(expression, tight) or expression.lpar:
        return expression
    return expression.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])


def negated(expression: cst.BaseExpression) -> cst.BaseExpression:
    """The opposite condition. An existing `not` is removed rather than doubled."""
    if isinstance(expression, cst.UnaryOperation) and isinstance(expression.operator, cst.Not):
        return expression.expression
    return cst.UnaryOperation(cst.Not(), parenthesised(expression))


def one_off(expression: cst.BaseExpression) -> Iterator[cst.BaseExpression]:
    """The expression plus and minus one, as a person would write it."""
    if isinstance(expression, cst.Integer):
        for value in (expression.evaluated_value + 1, expression.evaluated_value - 1):
            yield _integer(value)
        return
    minus, plus = m.BinaryOperation(operator=m.Subtract()), m.BinaryOperation(operator=m.Add())
    if isinstance(expression, cst.BinaryOperation) and m.matches(expression.right, m.Integer("1")):
        yield expression.left
        if m.matches(expression, minus | plus):
            yield expression.with_changes(right=cst.Integer("2"))
        return
    yield cst.BinaryOperation(parenthesised(expression), cst.Add(), ONE)
    yield cst.BinaryOperation(parenthesised(expression), cst.Subtract(), ONE)


def _integer(value: int) -> cst.BaseExpression:
    number = cst.Integer(str(abs(value)))
    return number if value >= 0 else cst.UnaryOperation(cst.Minus(), number)


def return_value(node: cst.Return) -> Iterator[cst.CSTNode]:
    """Return None; the opposite condition; one more than the result."""
    if node.value is None or m.matches(node.value, m.Name("None")):
        return
    yield node.with_changes(value=NONE)
    if m.matches(node.value, BOOLEAN):
        yield node.with_changes(value=negated(node.value))
    elif m.matches(node.value, m.BinaryOperation(operator=m.Add() | m.Subtract() | m.Multiply())):
        yield node.with_changes(value=cst.BinaryOperation(parenthesised(node.value), cst.Add(), ONE))


def condition_negation(node: cst.If | cst.While | cst.IfExp | cst.CompIf) -> Iterator[cst.CSTNode]:
    yield node.with_changes(test=negated(node.test))


def statement_deletion(node: cst.SimpleStatementLine) -> Iterator[cst.CSTNode]:
    """Delete a statement: not an import, which would only crash, nor a statement without an effect."""
    kept = m.Import() | m.ImportFrom() | m.Pass() | m.Global() | m.Nonlocal()
    docstring = m.Expr(m.SimpleString() | m.ConcatenatedString())
    if not any(m.matches(statement, kept | docstring) for statement in node.body):
        yield PASS.with_changes(leading_lines=node.leading_lines)


def off_by_one_range(node: cst.Call) -> Iterator[cst.CSTNode]:
    if not m.matches(node.func, m.Name("range")):
        return
    for i, argument in enumerate(node.args):
        if argument.star or (i == 2):
            continue
        for value in one_off(argument.value):
            changed = argument.with_changes(value=value)
            yield node.with_changes(args=[*node.args[:i], changed, *node.args[i + 1 :]])


def off_by_one_index(node: cst.Index) -> Iterator[cst.CSTNode]:
    """Change an index by one, if it can be a position (not a string)."""
    number = m.Integer() | m.Name() | m.BinaryOperation(operator=m.Add() | m.Subtract())
    negative = m.UnaryOperation(operator=m.Minus(), expression=m.Integer())
    if m.matches(node.value, number):
        for value in one_off(node.value):
            yield node.with_changes(value=value)
    elif m.matches(node.value, negative):
        size = cst.ensure_type(cst.ensure_type(node.value, cst.UnaryOperation).expression, cst.Integer)
        yield node.with_changes(value=_integer(-size.evaluated_value - 1))
        yield node.with_changes(value=_integer(-size.evaluated_value + 1))


def off_by_one_slice(node: cst.Slice) -> Iterator[cst.CSTNode]:
    if node.lower is not None:
        for value in one_off(node.lower):
            yield node.with_changes(lower=value)
    if node.upper is not None:
        for value in one_off(node.upper):
            yield node.with_changes(upper=value)


def comparison_boundary(node: cst.ComparisonTarget) -> Iterator[cst.CSTNode]:
    for other in DIRECTION.get(type(node.operator), ()):
        yield node.with_changes(operator=other())


def swapped_arguments(node: cst.Call) -> Iterator[cst.CSTNode]:
    """Swap two neighbouring arguments of a call."""
    for i, (first, second) in enumerate(zip(node.args, node.args[1:], strict=False)):
        plain = not (first.star or second.star or first.keyword or second.keyword)
        if plain and not first.value.deep_equals(second.value):
            swapped = [first.with_changes(value=second.value), second.with_changes(value=first.value)]
            yield node.with_changes(args=[*node.args[:i], *swapped, *node.args[i + 2 :]])


def swapped_operands(node: cst.BinaryOperation) -> Iterator[cst.CSTNode]:
    ordered = m.Subtract() | m.Divide() | m.FloorDivide() | m.Modulo() | m.Power()
    if m.matches(node.operator, ordered) and not node.left.deep_equals(node.right):
        yield node.with_changes(left=parenthesised(node.right), right=parenthesised(node.left))


def wrong_initial_value(node: cst.Assign) -> Iterator[cst.CSTNode]:
    """Start from something instead of nothing, or the other way round."""
    value = node.value
    if isinstance(value, cst.Integer):
        yield node.with_changes(value=_integer(value.evaluated_value - 1))
    elif m.matches(value, m.List(elements=[])):
        yield node.with_changes(value=cst.List([cst.Element(cst.Integer("0"))]))
    elif m.matches(value, m.SimpleString('""') | m.SimpleString("''")):
        yield node.with_changes(value=cst.SimpleString("' '"))
    elif m.matches(value, m.Dict(elements=[])):
        yield node.with_changes(value=cst.Dict([cst.DictElement(cst.Integer("0"), cst.Integer("0"))]))
    elif m.matches(value, m.Subscript(slice=[m.SubscriptElement(m.Index(m.Integer("0")))])):
        yield node.with_changes(value=cst.Integer("0"))  # max_value = items[0]


def loop_bound(node: cst.For) -> Iterator[cst.CSTNode]:
    """Skip the first or the last item of a sequence."""
    if m.matches(node.iter, m.Name() | m.Attribute() | m.Subscript()):
        for part in (cst.Slice(lower=ONE, upper=None), cst.Slice(lower=None, upper=_integer(-1))):
            yield node.with_changes(iter=cst.Subscript(node.iter, [cst.SubscriptElement(part)]))


def loop_cut(node: cst.For | cst.While) -> Iterator[cst.CSTNode]:
    """End a loop after its first pass."""
    if isinstance(node.body, cst.IndentedBlock) and not _leaves(node.body.body[-1]):
        last = cst.SimpleStatementLine([cst.Break()])
        yield node.with_changes(body=node.body.with_changes(body=[*node.body.body, last]))


def early_return(node: cst.IndentedBlock) -> Iterator[cst.CSTNode]:
    """Move the return after a loop into the loop: one indentation too many."""
    for loop, after in zip(node.body, node.body[1:], strict=False):
        returns = m.matches(after, m.SimpleStatementLine(body=[m.Return()]))
        if returns and isinstance(loop, cst.For | cst.While) and isinstance(loop.body, cst.IndentedBlock):
            body = loop.body.with_changes(body=[*loop.body.body, after.with_changes(leading_lines=[])])
            yield node.deep_replace(loop, loop.with_changes(body=body))


def missing_base_case(node: cst.If) -> Iterator[cst.CSTNode]:
    """Leave out a special case that returns or raises at once."""
    leaving = m.SimpleStatementLine(body=[m.Return() | m.Raise()])
    if node.orelse is None and m.matches(node.body, m.IndentedBlock(body=[leaving])):
        yield PASS.with_changes(leading_lines=node.leading_lines)


def _leaves(statement: cst.BaseStatement) -> bool:
    leaving = m.Return() | m.Raise() | m.Break() | m.Continue()
    return m.matches(statement, m.SimpleStatementLine(body=[m.ZeroOrMore(), leaving]))


def wrong_variable(scopes: Mapping[cst.Name, tuple[str, ...]]) -> Operator:
    """Replace a name by each of the next two names of its function.

    scopes: for each name that is read, the names that its function defines.
    """

    def operator(node: cst.Name) -> Iterator[cst.CSTNode]:
        names = scopes.get(node, ())
        at = names.index(node.value) if node.value in names else -1
        if at >= 0:
            for other in dict.fromkeys(names[(at + step) % len(names)] for step in (1, 2)):
                if other != node.value:
                    yield node.with_changes(value=other)

    return operator


UNLIKELY = ("if_exp",)
"""Operators whose mutants no language model writes: mutmut's `if_exp` makes `a if (test) and False else b` of
`a if test else b`. They are left out unless asked for."""
MUTMUT: Table = [
    (operator.__name__.removeprefix("operator_"), kind, operator) for kind, operator in mutation_operators
]
OWN: Table = [
    ("return_value", cst.Return, return_value),
    ("condition_negation", cst.If, condition_negation),
    ("condition_negation", cst.While, condition_negation),
    ("condition_negation", cst.IfExp, condition_negation),
    ("condition_negation", cst.CompIf, condition_negation),
    ("statement_deletion", cst.SimpleStatementLine, statement_deletion),
    ("off_by_one", cst.Call, off_by_one_range),
    ("off_by_one", cst.Index, off_by_one_index),
    ("off_by_one", cst.Slice, off_by_one_slice),
    ("comparison_boundary", cst.ComparisonTarget, comparison_boundary),
    ("swapped_arguments", cst.Call, swapped_arguments),
    ("swapped_operands", cst.BinaryOperation, swapped_operands),
    ("wrong_initial_value", cst.Assign, wrong_initial_value),
    ("loop_bound", cst.For, loop_bound),
    ("loop_cut", cst.For, loop_cut),
    ("loop_cut", cst.While, loop_cut),
    ("early_return", cst.IndentedBlock, early_return),
    ("missing_base_case", cst.If, missing_base_case),
]
"""All but `wrong_variable`, which is added once the scopes of a program are known (`mutation.mutate`)."""
