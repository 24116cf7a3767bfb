"""Code blocks of one episode, run one after the other in one fresh process of the sandbox.

It is the interpreter behind `search.environments.python`. A block is run as a cell of a notebook: names stay
for the blocks after it, the value of a last expression is printed, an exception leaves what was done before
it. What runs here is confined like any program (mutation/sandbox/sandbox.py), and ends with the call.

The random numbers of `random` are the same in every process, so that a block that is run again does the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile

from mutation.sandbox.sandbox import Sandbox
from mutation.sandbox.verdict import Limits, Outcome, Suite, Verdict
from search.environments.python import Execution

BLOCK_S = 5.0
"""Seconds of processor time that a block may take."""
WALL = 4
"""How much more time it may take by the clock."""
OUTPUT_CHARS = 20_000
"""What is kept of the output of a block: its beginning."""
LIMITS = Limits(cpu_s=BLOCK_S)

PROGRAM = '''
import ast, io, linecache, random, signal, sys, traceback, types

main = sys.modules["__main__"] = types.ModuleType("__main__")
random.seed(0)


class TimeUp(BaseException):
    pass


class Output(io.StringIO):
    def __init__(self, most):
        super().__init__()
        self.most = most

    def write(self, text):
        super().write(text[: max(0, self.most - self.tell())])
        return len(text)


def stop(*_):
    raise TimeUp


def timers(cpu_s, wall_s):
    for signum, timer, seconds in (
        (signal.SIGVTALRM, signal.ITIMER_VIRTUAL, cpu_s), (signal.SIGALRM, signal.ITIMER_REAL, wall_s)
    ):
        signal.signal(signum, stop)
        signal.setitimer(timer, seconds, 0.2 if seconds else 0)


def of_blocks(shown):
    while shown is not None:
        shown.stack[:] = [frame for frame in shown.stack if frame.filename.startswith("<block ")]
        of_blocks(shown.__cause__)
        shown = shown.__context__


def run_block(code, number, cpu_s, wall_s, most):
    name, output = f"<block {number}>", Output(most)
    streams, sys.stdout, sys.stderr = (sys.stdout, sys.stderr), output, output
    linecache.cache[name] = len(code), None, code.splitlines(True), name
    ended = "ended"
    try:
        try:
            timers(cpu_s, wall_s)
            tree = ast.parse(code, name)
            last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, name, "exec", dont_inherit=True), vars(main))
            if last is not None:
                value = eval(compile(ast.Expression(last.value), name, "eval"), vars(main))
                if value is not None:
                    print(value)
        finally:
            timers(0, 0)
    except TimeUp:
        ended = "stopped"
    except BaseException as error:
        ended = "raised"
        shown = traceback.TracebackException.from_exception(error)
        of_blocks(shown)
        output.most = most + 4000
        output.write("".join(shown.format()))
    finally:
        sys.stdout, sys.stderr = streams
    return [ended, output.getvalue()]
'''
CELLS = """
for number, block in enumerate(BLOCKS, start=1):
    result = run_block(block, number, CPU_S, WALL_S, CHARS)
    record(result)
    if number > EARLIER and result[0] != "ended" or result[0] == "stopped":
        break
"""
REASONS = {
    Outcome.MEMORY: "MemoryError: the code takes too much memory",
    Outcome.OUTPUT: "the code returns too much",
    Outcome.KILLED: "the interpreter was ended by the code",
}


class Cells:
    """An `Interpreter` in the sandbox.

    sandbox: gives it when code is run, and not before. block_s: seconds of processor time of each block.
    """

    def __init__(self, sandbox: Callable[[], Sandbox], block_s: float = BLOCK_S):
        self._sandbox, self._block_s = sandbox, block_s

    def run(self, earlier: Sequence[str], blocks: Sequence[str]) -> Execution:
        """See `Interpreter`. Raises SandboxError."""
        given = [*earlier, *blocks]
        suite = Suite(CELLS, ("run_block",), cpu_s=self._block_s * len(given) + 1).with_values(
            BLOCKS=given, EARLIER=len(earlier), CPU_S=self._block_s, WALL_S=WALL * self._block_s,
            CHARS=OUTPUT_CHARS,
        )  # fmt: skip
        verdict = self._sandbox().run(PROGRAM, suite)
        ran = list(takewhile(_is_result, verdict.recorded))
        new = ran[len(earlier) :]
        if len(ran) < len(earlier) or any(how == "stopped" for how, _ in ran[: len(earlier)]):
            return Execution(("the state of earlier blocks could not be made again",), 0, failed=True)
        outputs = [_stopped(self._block_s, text) if how == "stopped" else text for how, text in new]
        kept = sum(how != "stopped" for how, _ in new)
        if verdict.passed and len(ran) == len(verdict.recorded):
            return Execution(tuple(outputs), kept, failed=any(how != "ended" for how, _ in new))
        return Execution((*outputs, self._reason(verdict)), kept, failed=True)

    def _reason(self, verdict: Verdict) -> str:
        """Why a block has no result."""
        if verdict.outcome is Outcome.TIME_OUT:
            return _stopped(self._block_s, "")
        return REASONS.get(verdict.outcome, REASONS[Outcome.KILLED])


def _is_result(result: object) -> bool:
    """Whether this is what `run_block` returns: the code may have replaced it."""
    return (
        isinstance(result, list) and len(result) == 2 and result[0] in ("ended", "raised", "stopped")
        and isinstance(result[1], str)
    )  # fmt: skip


def _stopped(seconds: float, text: str) -> str:
    return f"{text}TimeoutError: the code ran for more than {seconds:g} seconds"
