"""Episodes in the sandbox: cells of a notebook, and turns that try to leave their branch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from mutation.sandbox.cells import LIMITS, Cells
from mutation.sandbox.sandbox import Sandbox
from search.environments.episode import EpisodePolicy
from search.environments.python import PythonEnvironment
from search.limits import LengthLimits
from search.tree import Tree
from search.types import Until
from tests.sandboxed import why_not
from tests.test_episodes import Messenger
from tests.test_python_episodes import Kind, Numbers, Pupil, Q, code


@pytest.fixture(scope="module")
def cells() -> Iterator[Cells]:
    if reason := why_not():
        pytest.skip(reason)
    with Sandbox(LIMITS, workers=1) as sandbox:
        yield Cells(lambda: sandbox, block_s=0.3)


def outputs(cells: Cells, earlier: Sequence[str], *blocks: str) -> list[str]:
    return [output.strip() for output in cells.run(earlier, blocks).outputs]


def test_blocks_are_cells_of_a_notebook(cells: Cells) -> None:
    assert outputs(cells, [], "x = 6", "print(x)\nx * 7", "import sys; print('e', file=sys.stderr)") == \
        ["", "6\n42", "e"]  # fmt: skip
    assert outputs(cells, ["x = 6\nprint(x)", "x += 1\n1 / 0"], "x") == ["7"], "what an error left is there"
    draw = "import random\nrandom.random()"
    assert outputs(cells, [draw], draw) == outputs(cells, [draw], draw) != outputs(cells, [], draw)
    assert outputs(cells, [], "input()")[0].endswith("EOFError: EOF when reading a line")


def test_a_traceback_shows_the_code_and_nothing_of_the_machine(cells: Cells) -> None:
    [text] = outputs(cells, [], "import json\ndef f(t):\n    return json.loads(t)\nf('{')")
    assert text.startswith("Traceback (most recent call last):\n  File \"<block 1>\", line 4, in <module>\n")
    assert 'File "<block 1>", line 3, in f\n    return json.loads(t)\njson.decoder.JSONDecodeError' in text
    assert outputs(cells, [], "def f(: pass", "never")[0].endswith("SyntaxError: invalid syntax")


PROBES = {
    "leaves": ("import os; os._exit(0)", "the interpreter was ended by the code"),
    "ends itself": ("import os; os.kill(os.getpid(), 9)", "the interpreter was ended by the code"),
    "asks for its parent": ("import os; os.kill(os.getppid(), 0)", "PermissionError"),
    "forks": ("import os; os.fork()", "OSError"),
    "starts a program": ("import subprocess; subprocess.run(['/bin/true'])", "Error"),
    "connects": ("import socket; socket.create_connection(('127.0.0.1', 9), 1)", "OSError"),
    "reads a file of the system": ("open('/etc/passwd').read(1)", "FileNotFoundError"),
    "reads its environment": ("import os; 'HOME' in os.environ", "False"),
    "writes to the runner": ("open('/runner/probe', 'w')", "OSError"),
    "takes memory": ("kept = bytearray(2 << 30)", "MemoryError"),
    "computes too long": ("while True:\n    pass", "TimeoutError"),
    "ignores the signal": (
        "import signal\nsignal.signal(signal.SIGVTALRM, signal.SIG_IGN)\nwhile True: pass", "TimeoutError"
    ),
    "closes the pipe": ("import os; os.close(3)", "the interpreter was ended by the code"),
    "sends what is no reply": ("import os; os.write(3, b'\\0\\0\\0\\2[]')", "the interpreter was ended"),
    "replaces the runner": (
        "import sys\nsys._getframe().f_back.f_globals['run_block'] = lambda *_: ['stopped', 3]", ""
    ),
    "replaces built-in functions": (
        "import builtins, sys, types\nbuiltins.len = builtins.print = None\nsys.modules['math'] = None", ""
    ),
    "writes a file": ("print(open('left', 'w').write('x'))", "1"),
    "prints too much": ("print('x' * 300_000)", "xxx"),
}  # fmt: skip
LOOK = """
import os, math
print(len(os.listdir('.')), math.floor(2.5), sorted(name for name in globals() if name in ('kept', 'mine')))
"""


@pytest.mark.parametrize("name", PROBES)
def test_a_hostile_turn_neither_escapes_nor_changes_another_branch(cells: Cells, name: str) -> None:
    """Harmless where there is no sandbox; another branch has the same first turn, and sees its own state."""
    probe, says = PROBES[name]
    assert outputs(cells, [], f"mine = 1\n{LOOK}") == ["0 2 ['mine']"]
    ran = cells.run(["mine = 1"], [probe])
    assert says in ran.outputs[-1] if ran.outputs else says == ""
    after = cells.run(["mine = 1", *[probe][: ran.kept]], ["print(mine)"])  # the next turn of this branch
    assert len(after.outputs) <= 2 and after.kept <= 1
    assert outputs(cells, ["mine = 1"], LOOK) == ["0 2 ['mine']"], "the other branch"


FOLDERS = (".", "/tmp", "/var/tmp", "/dev/shm")
FIRST = code("mine = ['first']")
STATE = f"""
import builtins, gc, json, math, os, random, signal, sys, threading
print('files', [name for f in {FOLDERS} if os.path.isdir(f) for name in os.listdir(f) if 'left' in name])
print('environment', os.environ.get('LEFT'), os.getenv('PATH'))
print('functions', len([1, 2]), math.floor(2.5), json.dumps([1]))
print('interpreter', sys.getrecursionlimit(), sys.getswitchinterval(), gc.isenabled(), random.random())
print('others', threading.active_count(), signal.getsignal(signal.SIGUSR1), 'left' in sys.modules)
print('names', mine, [name for name in vars(builtins) if 'left' in name], 'left' in globals())
"""
LASTING = {
    "writes files": f"""
for folder in {FOLDERS}:
    try:
        open(folder + '/left', 'w').write('left')
    except OSError:
        pass
""",
    "changes the environment": "import os\nos.environ['LEFT'] = os.environ['PATH'] = 'left'",
    "replaces built-in functions": "import builtins\nbuiltins.len = lambda _: 'left'",
    "replaces functions of modules": "import json, math\nmath.floor = json.dumps = lambda _: 'left'",
    "adds a module": "import sys, types\nleft = sys.modules['left'] = types.ModuleType('left')",
    "changes the interpreter": """
import gc, random, signal, sys
sys.setrecursionlimit(300)
sys.setswitchinterval(0.5)
gc.disable()
random.seed(9)
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
""",
    "changes what both branches begin with": "mine.append('left')",
}
"""Code that changes what later turns of its own branch see."""
FLEETING = {
    "starts a thread": ("import threading\nthreading.Thread(target=int).start()", "can't start new thread"),
    "starts a process": ("import os\nif os.fork() == 0:\n    os._exit(0)", "Error"),
    "starts a program": ("import subprocess\nsubprocess.Popen(['/bin/true'])", "Error"),
    "writes when its process ends": ("import atexit\natexit.register(open, '/tmp/left', 'w')", "open"),
    "ends its process": ("open('left', 'w').close()\nimport os\nos._exit(0)", "was ended by the code"),
}
"""Code that leaves nothing to see, and what is said of it."""


async def two_branches(cells: Cells, hostile: str) -> tuple[list[str], list[str]]:
    """What two branches of one tree observe in the two turns after the first, which they share.

    They are sampled concurrently, in one worker of the sandbox. In place of `STATE`, the first of them runs
    `hostile` code in its second turn.
    """
    look = code(STATE)
    script = {"": [FIRST], FIRST: [code(hostile), look], FIRST + code(hostile): [look], FIRST + look: [look]}
    policy = EpisodePolicy(Messenger(script), PythonEnvironment(cells, Numbers()), 9999)
    tree = Tree(Q, policy, Kind(), lengths=LengthLimits(9999, 99999))
    second = await tree.sample(await tree.sample([tree.root]), 2)
    last = await tree.sample(second)
    assert not tree.events.failed, tree.broken
    first, other = ([t.observation.text for t in leaf.steps[1:] if t.observation] for leaf in last)
    return first, other


@pytest.mark.parametrize("name", [*LASTING, *FLEETING])
async def test_a_hostile_episode_leaves_other_branches_of_its_tree_as_they_were(
    cells: Cells, name: str
) -> None:
    """Its own later turns see what it did, where there is something to see."""
    _, undisturbed = await two_branches(cells, "pass")
    assert "left" not in "".join(undisturbed) and "names ['first'] [] False" in undisturbed[0]
    hostile, says = FLEETING[name] if name in FLEETING else (LASTING[name], "")
    (did, after), other = await two_branches(cells, hostile)
    assert other == undisturbed, "the other branch"
    assert says in did and (after != undisturbed[0]) is (name in LASTING)
    assert "LEFT" not in os.environ, "outside"
    assert not any(Path(folder, "left").exists() for folder in FOLDERS)


async def test_the_policy_over_the_sandbox(cells: Cells) -> None:
    """All of it together, without a task."""
    environment = PythonEnvironment(cells, Numbers(), turns=2)
    policy = EpisodePolicy(Pupil(), environment, 999)
    turns = await policy.propose(Q, [], until=Until.END, max_tokens=999, seed=0)
    assert [t.observation.text for t in turns if t.observation] == ["Out: 21", "Out: 22"]
