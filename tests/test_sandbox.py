from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from textwrap import indent
from typing import NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mutation.sandbox import __main__ as command
from mutation.sandbox import isolation
from mutation.sandbox.inside.rebuild import Rebuilder
from mutation.sandbox.inside.wire import WireError, pack, unpack
from mutation.sandbox.isolation import SandboxError
from mutation.sandbox.sandbox import Sandbox
from mutation.sandbox.verdict import Limits, Outcome, Suite, Verdict
from search.errors import UsageError
from tests.hostile import HOSTILE, REACHED, TESTS, Hostile
from tests.sandboxed import alive, descendants, kill_those_named, open_descriptors, why_not

ROOT = Path(__file__).parent.parent
LIMITS = Limits(cpu_s=1, wall_s=60.0, memory_mb=256, output_chars=20_000)
RIGHT = "def answer(x):\n    return 2 * x + 1\n"
WRONG = "def answer(x):\n    return 2 * x\n"


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    if reason := why_not():
        pytest.skip(reason)
    with Sandbox(LIMITS, workers=2) as made:
        yield made


@pytest.fixture(scope="module")
def hasty(box: Sandbox) -> Iterator[Sandbox]:
    """For programs that only the wall-clock limit can end."""
    with Sandbox(replace(LIMITS, wall_s=2.0), workers=1) as made:
        yield made


def run(box: Sandbox, program: str, tests: str = TESTS) -> Verdict:
    return box.run(program, Suite(tests))


# -- honest programs -----------------------------------------------------------------------------------


def test_a_right_program_passes_and_a_wrong_one_fails_at_the_wrong_line(box: Sandbox) -> None:
    right, wrong = run(box, RIGHT), run(box, WRONG)
    assert right.passed and right.isolated and right.line is None
    assert 0 < right.seconds < 1 and right.peak_mb > 1
    assert wrong.outcome is Outcome.ASSERTION and wrong.line == 1 and not wrong.passed
    later = run(box, "def answer(x):\n    return 7\n")
    assert (later.outcome, later.line) == (Outcome.ASSERTION, 2)


def test_an_exception_has_a_name_and_a_line(box: Sandbox) -> None:
    raised = run(box, "def answer(x):\n    y = {}\n    return y[x]\n")
    assert raised.outcome is Outcome.EXCEPTION and raised.exception == "KeyError"
    assert (raised.line, raised.program_line) == (1, 3)
    unreadable = run(box, "def answer(x)\n    return 7\n")
    assert (unreadable.exception, unreadable.program_line) == ("SyntaxError", 1)
    assert "(<program>, line 1)" in unreadable.detail
    assert run(box, "def other(x): return 7").exception == "NameError"
    assert run(box, "def answer(x): return None", "assert len(answer(1)) == 1").exception == "TypeError"


def test_tests_can_expect_an_exception(box: Sandbox) -> None:
    tests = "try:\n    answer(-1)\n    assert False\nexcept ValueError as e:\n    assert 'low' in str(e)"
    assert run(box, "def answer(x): raise ValueError('too low')", tests).passed
    own = "class Low(ValueError): pass\ndef answer(x): raise Low('too low')"
    assert run(box, own, tests).passed
    assert run(box, RIGHT, tests).outcome is Outcome.ASSERTION


def test_objects_of_the_program_can_be_built_linked_and_passed_back(box: Sandbox) -> None:
    program = """
class Node:
    def __init__(self, value):
        self.value, self.left = value, None

def total(node):
    return 0 if node is None else node.value + total(node.left)
"""
    tests = "root = Node(1)\nroot.left = Node(2)\nassert total(root) == 3\nassert root.left.value == 2"
    assert run(box, program, tests + "\nassert root == root and root != root.left").passed
    assert run(box, program, "assert Node(1) == Node(1)").outcome is Outcome.ASSERTION


def test_a_generator_can_be_iterated_over(box: Sandbox) -> None:
    assert run(box, "def f(n):\n    yield from range(n)", "assert sorted(f(3)) == [0, 1, 2]").passed
    assert run(box, "def f(n):\n    return map(str, range(n))", "assert list(f(2)) == ['0', '1']").passed


def test_names_of_the_program_and_names_of_the_tests(box: Sandbox) -> None:
    program = "def sum(a, b):\n    return a * b\n\nLIMIT = 5\n"
    assert box.run(program, Suite("assert sum(2, 5) == 10", ("sum",))).passed
    assert box.run(program, Suite("assert sum([2, 5]) == LIMIT + 2")).passed
    assert box.run(program, Suite("assert LIMIT == five").with_values(five=5)).passed


def test_tests_that_cannot_be_run_are_refused(box: Sandbox) -> None:
    assert run(box, RIGHT, "assert answer(").outcome is Outcome.REFUSED
    assert run(box, RIGHT, "assert answer(lambda: 1) == 1").outcome is Outcome.REFUSED


@pytest.mark.parametrize("tests", ["", "# none", "def check():\n    assert answer(1) == 4", "assert True"])
def test_tests_that_do_not_use_the_program_are_refused(box: Sandbox, tests: str) -> None:
    verdict = run(box, RIGHT, tests)
    assert verdict.outcome is Outcome.REFUSED and verdict.detail == "the tests do not use the program"
    assert box.run("LIMIT = 5", Suite("assert LIMIT == 5")).passed, "using data by its name counts"


def test_tests_that_never_end_time_out(box: Sandbox) -> None:
    assert run(box, RIGHT, "while True: pass").outcome is Outcome.TIME_OUT
    assert run(box, RIGHT, "while True:\n    try:\n        answer(1)\n    except BaseException:\n        pass"
               ).outcome is Outcome.TIME_OUT  # fmt: skip
    assert run(box, RIGHT).passed


def test_a_trace_has_the_lines_that_ran(box: Sandbox) -> None:
    program = "def answer(x):\n    if x > 100:\n        return 0\n    y = 2 * x\n    return y + 1\n"
    assert box.run(program, Suite(TESTS), trace=True).lines == {1, 2, 4, 5}
    assert box.run(program, Suite(TESTS)).lines == frozenset()


def test_outputs_of_a_function(box: Sandbox) -> None:
    outputs = box.outputs("def f(a, b):\n    return a // b, [a]\n", "f", [(7, 2), (1, 0), (0, 1)])
    assert outputs.recorded == (("value", (3, [7])), ("raise", "ZeroDivisionError"), ("value", (0, [0])))
    stuck = box.outputs("def f(a):\n    while a: pass\n    return a\n", "f", [(0,), (1,), (0,)])
    assert stuck.outcome is Outcome.TIME_OUT and stuck.recorded == (("value", 0),)


# -- reproducible --------------------------------------------------------------------------------------


def test_the_environment_is_the_same_in_every_run(box: Sandbox) -> None:
    program = """
import os, sys, time
def state():
    return [hash("a"), sys.getrecursionlimit(), time.tzname[0], sorted(os.environ), os.listdir(".")]
"""
    states = {str(box.outputs(program, "state", [()]).recorded) for _ in range(4)}
    assert len(states) == 1
    [(kind, (_, limit, zone, environment, files))] = box.outputs(program, "state", [()]).recorded
    assert kind == "value"
    assert (limit, zone, files) == (1000, "UTC", [])
    assert set(environment) <= {"LC_ALL", "LC_CTYPE", "PATH", "PWD", "PYTHONHASHSEED", "TZ"}


def test_random_inputs_are_the_same_in_every_run(box: Sandbox) -> None:
    tests = "import random\nrecord([random.random() for _ in range(3)])"
    assert run(box, RIGHT, tests).recorded == run(box, RIGHT, tests).recorded


def test_a_flaky_program_is_marked_and_does_not_pass(box: Sandbox) -> None:
    flaky = box.run_repeatedly("import os\ndef answer(x): return os.urandom(8).hex()",
                             Suite("record(answer(1))"))  # fmt: skip
    assert flaky.flaky and not flaky.passed
    steady = box.run_repeatedly(RIGHT, Suite(TESTS))
    assert not steady.flaky and steady.passed


# -- hostile programs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", HOSTILE, ids=lambda case: case.name)
def test_a_hostile_program_gets_its_verdict(box: Sandbox, hasty: Sandbox, case: Hostile) -> None:
    verdict = run(hasty if case.idle else box, case.program, case.tests)
    assert verdict.outcome in case.outcomes, verdict
    assert REACHED not in verdict.detail
    if case.exception:
        assert verdict.exception == case.exception
    assert run(box, RIGHT).passed, "the next program is not affected"


def test_there_are_enough_of_them() -> None:
    assert len(HOSTILE) >= 40 and len({case.name for case in HOSTILE}) == len(HOSTILE)


PROBES = [case.program.split("\n\n\ndef answer")[0] for case in HOSTILE if "\n\n\ndef answer" in case.program]
ANSWERS = ["0", "x", "2 * x", "None", "True", "[2 * x + 1]", "str(2 * x + 1)", "Object()", "Number(2 * x)"]
OBJECTS = """
def reached(*_):
    raise RuntimeError("reached")

class Object:
    __eq__ = __ne__ = __lt__ = __gt__ = __le__ = __ge__ = __bool__ = __hash__ = reached

class Number(int):
    __eq__ = __lt__ = __le__ = __hash__ = reached
"""
CONTEXTS = ["if True:", "for _ in range(2):", "try:"]


@st.composite
def hostile_programs(draw: st.DrawFn) -> str:
    """Some of the probes at import, perhaps caught or repeated, then a wrong answer."""
    parts = [OBJECTS]
    for probe in draw(st.lists(st.sampled_from(PROBES), max_size=3)):
        if "while" in probe:
            continue
        context = draw(st.sampled_from(CONTEXTS))
        parts.append(context + "\n" + indent(probe, "    "))
        if context == "try:":
            parts.append("except BaseException:\n    pass")
    return "\n".join([*parts, f"def answer(x):\n    return {draw(st.sampled_from(ANSWERS))}\n"])


@settings(max_examples=60)
@given(program=hostile_programs(), x=st.integers(-5, 5).filter(lambda x: x not in (0, -1)))
def test_no_program_turns_a_failing_test_into_a_pass(box: Sandbox, program: str, x: int) -> None:
    verdict = run(box, program, f"assert answer({x}) == {2 * x + 1}")
    assert not verdict.passed and REACHED not in verdict.detail, program


# -- nothing is left -----------------------------------------------------------------------------------


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := why_not():
        pytest.skip(reason)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    mine, opened = descendants(os.getpid()), open_descriptors()
    quick = [case for case in HOSTILE if Outcome.TIME_OUT not in case.outcomes]
    with Sandbox(LIMITS, workers=2) as box:
        list(box.run_all((case.program, Suite(case.tests)) for case in quick))
        started = descendants(os.getpid()) - mine
        # Two workers, each with a server and a judge, regardless of what ran before.
        assert 0 < len(started) <= 2 * 2 * 3
    deadline = time.monotonic() + 30
    while any(map(alive, started)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, started)) and descendants(os.getpid()) <= mine
    assert open_descriptors() <= opened, "sockets included"
    assert list(tmp_path.iterdir()) == []


def test_a_file_does_not_outlive_its_program(box: Sandbox) -> None:
    writes = "open('left', 'w').write('x')\ndef answer(x): return 2 * x + 1"
    looks = "import os\ndef answer(x): return 2 * x + 1 if os.listdir('.') == [] else 0"
    for _ in range(4):
        assert run(box, writes).passed
        assert run(box, looks).passed


FOR_EVER = {
    "program": ("while True: pass", ""),
    "tests": (RIGHT, "while True:\n    try:\n        answer(1)\n    except BaseException:\n        pass"),
    "sleeping tests": (RIGHT, "import time\ntime.sleep(3600)"),
}


@pytest.mark.parametrize("job", FOR_EVER.values(), ids=FOR_EVER)
def test_the_sandbox_ends_with_the_process_that_started_it(job: tuple[str, str]) -> None:
    if reason := why_not():
        pytest.skip(reason)
    script = (
        "import os, sys, threading, time\n"
        "from mutation.sandbox.sandbox import Sandbox\nfrom mutation.sandbox.verdict import Suite\n"
        "box = Sandbox(workers=1)\n"
        f"loop = threading.Thread(target=box.run, args=({job[0]!r}, Suite({job[1]!r})), daemon=True)\n"
        "loop.start(); time.sleep(0.3)\nprint('ready', flush=True); time.sleep(60)\n"
    )
    host = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert host.stdout is not None and host.stdout.readline() == "ready\n"
    below = descendants(host.pid)
    assert below
    host.send_signal(signal.SIGKILL)
    host.wait()
    host.stdout.close()
    deadline = time.monotonic() + 30
    while any(map(alive, below)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, below))


def test_a_sandbox_that_is_killed_is_restarted(box: Sandbox) -> None:
    kill_those_named("bwrap")
    for _ in range(box.workers * 2):
        assert run(box, RIGHT).passed


# -- where it cannot run -------------------------------------------------------------------------------


def test_without_bubblewrap_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(isolation.shutil, "which", lambda name: None)
    with pytest.raises(SandboxError, match=r"apt-get install bubblewrap"):
        Sandbox()
    assert issubclass(SandboxError, UsageError)
    program, tests = tmp_path / "program.py", tmp_path / "tests.py"
    program.write_text(RIGHT)
    tests.write_text(TESTS)
    assert command.main([str(program), str(tests)]) == 2
    assert "--unsafe-no-isolation" in capsys.readouterr().err


def test_refused_namespaces_are_explained() -> None:
    error = isolation.explained("bwrap: No permissions to create new namespace, likely because ...")
    assert "allow them" in str(error) and "--unsafe-no-isolation" in str(error)


def test_without_isolation_the_verdict_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program, tests = tmp_path / "program.py", tmp_path / "tests.py"
    program.write_text("open('left', 'w').write('x')\n" + RIGHT)
    tests.write_text(TESTS)
    assert command.main([str(program), str(tests), "--json", "--unsafe-no-isolation"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["isolated"] is False and "not isolated" in printed.err
    program.write_text(WRONG)
    assert command.main([str(program), str(tests), "--unsafe-no-isolation"]) == 1
    assert "assertion" in capsys.readouterr().out
    assert command.main([str(tmp_path / "none.py"), str(tests), "--unsafe-no-isolation"]) == 2


@pytest.mark.parametrize("wrong", [{"cpu_s": 0}, {"wall_s": -1.0}, {"memory_mb": 20}])
def test_limits_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        Limits(**wrong)  # type: ignore[arg-type]


# -- the wire ------------------------------------------------------------------------------------------

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
    | st.complex_numbers(allow_nan=False) | st.decimals(allow_nan=False) | st.fractions() | st.dates()
    | st.integers(min_value=1 << 300) | st.just(range(1, 9, 2)) | st.just(int),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.frozensets(st.integers())
    | st.sets(st.text()) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=20,
)  # fmt: skip


@given(plain)
def test_plain_data_crosses_unchanged(value: object) -> None:
    back = unpack(json.loads(json.dumps(pack(value))))
    assert back == value and type(back) is type(value)


@pytest.mark.parametrize(
    "value",
    [Counter("aab"), OrderedDict(a=1), Decimal("1.50"), Fraction(1, 3), date(2020, 2, 3), -0.0, float("inf")],
)
def test_types_of_the_standard_library_cross_unchanged(value: object) -> None:
    back = unpack(json.loads(json.dumps(pack(value))))
    assert repr(back) == repr(value)


def test_a_program_cannot_raise_what_skips_tests() -> None:
    def refuse(reason: str) -> NoReturn:
        raise AssertionError(reason)

    about = {
        "name": "SkipTest", "module": "unittest.case", "path": "SkipTest", "bases": [["class", "Exception"]],
        "specials": [], "without": [], "meta": [], "library": ["unittest.case:SkipTest"],
    }  # fmt: skip
    kind = Rebuilder(lambda *_: None, refuse, {}).unpack(["own", 1, about])
    assert issubclass(kind, Exception) and not issubclass(kind, unittest.SkipTest)


@given(st.recursive(st.none() | st.integers() | st.text() | st.floats(), lambda inner: st.lists(inner)
                    | st.dictionaries(st.text(), inner)))  # fmt: skip
def test_any_json_gives_plain_data_or_an_error(sent: object) -> None:
    try:
        value = unpack(sent)
    except WireError:
        return
    pack(value)
