"""Reads a program out of what a model wrote: with or without fences, prose and special tokens.

What is taken is a program that defines the function asked for, as far as it can be read. What stands around
it is dropped, and what other blocks define is added where it needs that.
"""

from __future__ import annotations

import ast
import builtins
import codeop
import re
from collections.abc import Iterable, Iterator, Sequence
from textwrap import dedent, indent

from mutation.parsing import parse, source_lines

SPECIAL = re.compile(
    r"(?<![\"'])(?:<\|[^|<>\n]{1,40}\|>|<\uff5c[^\uff5c\n]{1,40}\uff5c>|</?s>|<(?:[be]os|(?:start|end)_of_turn)>)"
)  # fmt: skip
"""Tokens that begin and end a text or a turn, as some tokenizers write them out. Not in a string."""
THOUGHT = "</think>"
FENCE = re.compile(r"^([ \t]*)(`{3,}|~{3,})[ \t]*([^`\n]*?)[ \t]*$")
LATE_FENCE = re.compile(r"^([^`\n]*[^`\s][^`\n]*)(`{3,})[ \t]*$", re.MULTILINE)
"""A fence that closes a block at the end of a line of code."""
STATEMENT = re.compile(r"^(?:(?:from|import|def|class|async def)\b|@)", re.MULTILINE)
PROMPTED = re.compile(r"^(?:>>>|\.\.\.|>)(?: |$)", re.MULTILINE)
"""What an interactive session or a quotation puts before each line."""
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
DEFINING = (ast.Import, ast.ImportFrom, *FUNCTION, ast.ClassDef, ast.Assign, ast.AnnAssign)


def read_program(text: str, preamble: str, name: str) -> str | None:
    """The program that defines the function `name`; None if there is none.

    preamble: text that the model was to go on with, "" if its answer stands alone.
    """
    text = _answer(text)
    blocks = list(_blocks(text))
    for pieces in (*blocks, [text]):
        for piece in pieces:
            program, before = _whole(piece, name)
            if program is not None:
                others = [b[0] for b in blocks if piece not in b]
                return _complete(program, [*before, *others], preamble)
    bodies = [_readable(preamble + body) for body in _bodies(text, blocks)] if preamble else []
    programs = [program for program in bodies if program is not None and _defines(program, name)]
    if programs:
        return _without_remarks(max(programs, key=len))
    plainer = _plainer(text, name)
    return read_program(plainer, preamble, name) if plainer else None


def may_become_program(text: str, preamble: str, name: str) -> bool:
    """Whether an unfinished text can still become a program; where a fence may follow, it always can."""
    text = _answer(text)
    starts = _starts(text, name)
    if "```" in text or "~~~" in text or not (starts or preamble):
        return True
    return any(map(_is_beginning, [preamble + text, *(text[start:] for start in starts)]))


def _is_beginning(source: str) -> bool:
    try:
        codeop.compile_command(source, symbol="exec")  # no error while more may follow
    except (SyntaxError, ValueError, OverflowError):
        return False
    return True


def _answer(text: str) -> str:
    """The text without what a chat puts around it."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    text = text.rpartition(THOUGHT)[2]
    while (token := SPECIAL.match(text.lstrip())) is not None:
        text = re.sub(r"^ (?! )", "", text.lstrip()[token.end() :])
    return LATE_FENCE.sub(r"\1\n\2", SPECIAL.split(text, maxsplit=1)[0])


def _plainer(text: str, name: str) -> str:
    """The text without a prompt before each line, or its indented part; "" if it has neither."""
    if PROMPTED.search(text):
        return PROMPTED.sub("", text)
    if (found := re.search(rf"^([ \t]+)(?:async +)?def +{name}\b", text, re.MULTILINE)) is None:
        return ""
    lines = text.split("\n")
    at, margin = text[: found.start()].count("\n"), found[1]
    inside = [not line.strip() or line.startswith(margin) for line in lines]
    first = next((n + 1 for n in range(at, -1, -1) if not inside[n]), 0)
    last = next((n for n in range(at, len(lines)) if not inside[n]), len(lines))
    return dedent("\n".join(lines[first:last]) + "\n")


def _blocks(text: str) -> Iterator[list[str]]:
    """The content of each fenced block, without its indentation.

    A fence can also be part of a program's documentation. The first content ends at the first fence, the
    others go on to later ones.
    """
    lines = text.split("\n")
    fences = [(number, match) for number, line in enumerate(lines) if (match := FENCE.match(line))]
    end = -1
    for at, (start, opening) in enumerate(fences):
        if start <= end:
            continue
        closings = [number for number, fence in fences[at + 1 :] if fence[2] == opening[2] and not fence[3]]
        later = [number for number, fence in fences[at + 1 :] if fence[3]]
        if later and (not closings or later[0] < closings[0]):  # the next block begins before this one ends
            closings = [later[0], *closings]
            end = later[0] - 1
        else:
            end = closings[0] if closings else len(lines)
        yield [dedent("\n".join(lines[start + 1 : stop]) + "\n") for stop in closings or [len(lines)]]


def _bodies(text: str, blocks: Iterable[Sequence[str]]) -> Iterator[str]:
    """What may be the body of the function that the preamble begins."""
    yield text
    if text.strip() and not text.lstrip("\n")[0].isspace():
        yield "    " + text.lstrip("\n")  # only the first line has lost its indentation
        yield indent(text, "    ")
    for block in blocks:
        yield indent(dedent(block[0]), "    ")


def _whole(text: str, name: str) -> tuple[str | None, list[str]]:
    """A program that stands alone in a text, and the fragments of programs before it."""
    before: list[str] = []
    for start in _starts(text, name):
        program = _readable(text[start:])
        if program is not None:
            if _defines(program, name):
                return _without_remarks(program), before
            before.append(program)
    return None, []


def _starts(text: str, name: str) -> list[int]:
    """Where a program that defines the function or class may begin; nowhere if the text has none."""
    defining = rf"^(?:(?:async +)?def|class) +{name}\b|^{name}\s*(?::[^=\n]+)?=[^=]"
    found = re.search(defining, text, re.MULTILINE)
    if found is None:
        return []
    statements = [m.start() for m in STATEMENT.finditer(text) if m.start() <= found.start()]
    return list(dict.fromkeys([0, *statements, found.start()]))


def _readable(text: str) -> str | None:
    """The longest beginning of whole lines that parses, None if none does."""
    lines = source_lines(text)
    while lines:
        program = "".join(lines)
        try:
            if (stray := _stray_return(parse(program))) is not None:
                raise SyntaxError("'return' outside function", ("", stray, 1, ""))
        except SyntaxError as error:
            inside = (error.msg or "").startswith("f-string")  # its line is then counted within the string
            at = len(lines) if inside or error.lineno is None else error.lineno
            del lines[max(0, min(at, len(lines)) - 1) :]
        except (ValueError, RecursionError, MemoryError):
            lines.pop()
        else:
            return program if program.strip() else None
    return None


def _stray_return(node: ast.AST) -> int | None:
    """The line of the first `return` outside of functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Return):
            return child.lineno
        inner = isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case)
        line = _stray_return(child) if inner and not isinstance(child, FUNCTION) else None
        if line is not None:
            return line
    return None


def _defines(program: str, name: str) -> bool:
    """Whether it defines the function, or class, with more in it than documentation or a placeholder."""
    for node in parse(program).body:
        if isinstance(node, (*FUNCTION, ast.ClassDef)) and node.name == name:
            inside = node.body if isinstance(node, ast.ClassDef) else [node]
            bodies = [part.body for part in inside if isinstance(part, FUNCTION)]
            if not all(_does_nothing(statement) for body in bodies for statement in body):
                return True
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            targets = [node.target]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return True
    return False


def _does_nothing(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Expr):
        effects = (ast.Call, ast.Await, ast.Yield, ast.YieldFrom, ast.NamedExpr)
        return not any(isinstance(node, effects) for node in ast.walk(statement))
    if isinstance(statement, ast.AnnAssign):
        return statement.value is None
    if isinstance(statement, ast.Raise):
        return statement.exc is not None and "NotImplementedError" in ast.unparse(statement.exc)
    return isinstance(statement, (*FUNCTION, ast.Pass, ast.ClassDef))


def _without_remarks(program: str) -> str:
    """A program without lines of prose that happen to be Python: names, comparisons and annotations alone."""
    lines = source_lines(program)
    statements = parse(program).body
    for node, following in zip(statements, [*statements[1:], None], strict=True):
        documentation = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        prose = isinstance(node, ast.Expr | ast.AnnAssign) and _does_nothing(node) and not documentation
        alone = following is None or following.lineno > (node.end_lineno or 0)
        if prose and alone and lines[node.lineno - 1][: node.col_offset].strip() == "":
            lines[node.lineno - 1 : node.end_lineno] = ["\n"] * ((node.end_lineno or 0) - node.lineno + 1)
    return "".join(lines).rstrip() + "\n"


# -- putting a program together ------------------------------------------------------------------------


def _complete(program: str, others: Sequence[str], preamble: str) -> str:
    """The program with what it needs from other parts of the answer, and what the question's text gives."""
    given = _given(preamble, program)
    added: list[str] = []
    for _ in others:  # what one part adds may need another
        missing = _needed("\n".join([*given, *added, program]))
        parts = [part for part in map(_definitions, others) if part not in added and missing & _defined(part)]
        if not parts:
            break
        added.insert(0, parts[0])
    return _joined([*given, *added, program])


def _given(preamble: str, program: str) -> list[str]:
    """What the question's text imports and defines beside the function."""
    own = _defined(program)
    return [
        ast.get_source_segment(preamble, node) or "" for node in _statements(preamble)
        if isinstance(node, ast.Import | ast.ImportFrom)
        or (isinstance(node, ast.FunctionDef) and node.name not in own and len(node.body) > 1)
    ]  # fmt: skip


def _statements(preamble: str) -> list[ast.stmt]:
    return parse(preamble + "    pass\n").body if preamble else []


def _definitions(text: str) -> str:
    """The imports, functions, classes and constants of a text, as far as it can be read."""
    program = _readable(text) or ""
    lines = source_lines(program)
    kept = []
    for node in parse(program).body:
        if isinstance(node, DEFINING):
            first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
            kept.append("".join(lines[first - 1 : node.end_lineno]))
    return "".join(line if line.endswith("\n") else line + "\n" for line in kept)


def _defined(program: str) -> set[str]:
    """The global names that a program defines."""
    names: set[str] = set()
    for node in parse(program).body:
        if isinstance(node, (*FUNCTION, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update((alias.asname or alias.name).partition(".")[0] for alias in node.names)
        else:
            stores = [n for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
            names.update(n.id for n in stores)
    return names


def _needed(program: str) -> set[str]:
    """The names that a program uses and nobody defines."""
    nodes = list(ast.walk(parse(program)))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    stored = {node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    stored |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    stored |= {node.name for node in nodes if isinstance(node, ast.ExceptHandler) and node.name}
    return names - stored - _defined(program) - set(dir(builtins))


def _joined(parts: Sequence[str]) -> str:
    """One program of several. Imports from __future__ come first, as Python wants it."""
    future, rest = [], []
    for part in parts:
        lines = source_lines(part)
        for node in parse(part).body:
            if isinstance(node, ast.ImportFrom) and node.module == "__future__":
                future.append(ast.unparse(node))
                lines[node.lineno - 1 : node.end_lineno] = ["\n"] * ((node.end_lineno or 0) - node.lineno + 1)
        rest.append("".join(lines))
    return "\n".join([*dict.fromkeys(future), *rest])
