"""The Python environment: what is run, observed and read, and that no branch can touch another."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bench.report.grid import read_grid
from bench.report.grid_page import page
from bench.report.grid_table import tables_of
from bench.report.methods import methods_of
from bench.report.results import read_results, results_path, write_results
from bench.runner import episodes
from bench.runner.cli.grid import _request
from bench.runner.execute import RunWatch, execute, replay
from bench.runner.forecast import forecast
from bench.runner.grid import GridWatch, execute_grid, replay_grid
from bench.runner.models import Models
from bench.tasks.code import SharedSandbox
from mutation.sandbox.cells import LIMITS, Cells
from mutation.sandbox.isolation import SandboxError
from mutation.sandbox.sandbox import Sandbox
from search.environments.critics import Checked, CheckerCritic, ModelCritic
from search.environments.episode import EpisodePolicy
from search.environments.messages import code_blocks, cut, with_outputs
from search.environments.python import Execution, PythonEnvironment
from search.errors import UsageError
from search.limits import LengthLimits, charge, metered
from search.prompts import Conversation, Prompt
from search.tree import Tree
from search.types import Observation, Problem, Step, StepScore, Stop, Until
from tests.fakes import GOOD
from tests.resumed import validated
from tests.sandboxed import why_not
from tests.test_episodes import Messenger

Q = Problem("q", "1 + 1?")


def turn(text: str, observation: Observation | None = None) -> Step:
    return Step(text, (), 0.0, Stop.END if observation is None else Stop.STEP, len(text), observation)


def code(text: str) -> str:
    return f"```python\n{text}\n```"


# -- messages ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "blocks"),
    [
        ("no code", []),
        ("a\n```python\nx = 1\n```\nb\n```py\ny\n```", ["x = 1\n", "y\n"]),
        ("<execute>x</execute> and <execute>\ny\n</execute>", ["x", "\ny\n"]),
        ("<execute>\n```python\nx\n```\n</execute>", ["x\n"]),
        ("```python\nx = '''```'''\nprint(x)\n", ["x = '''```'''\nprint(x)\n"]),
        ("```python\nx", ["x"]),
        ("```python\n\n```", []),
        ("```bash\nls\n```\n```\ntext\n```", []),
    ],
)  # fmt: skip
def test_code_blocks(message: str, blocks: list[str]) -> None:
    assert code_blocks(message) == blocks


def test_outputs_stand_in_place_of_code() -> None:
    message = f"It is\n{code('1')}\nand\n{code('2')}\n<execute>3</execute>."
    assert with_outputs(message, ["one", "two"]) == "It is\none\nand\ntwo\n."


def test_a_long_output_is_cut_in_its_middle() -> None:
    assert cut("short", 5) == "short"
    assert cut("a" * 50 + "b" * 50, 10) == "aaaaa\n... (90 characters left out) ...\nbbbbb"


# -- the environment -----------------------------------------------------------------------------------


@dataclass
class Notebook:
    """results: what a block gives; "!" at its beginning is an error, "?" a time-out. calls: all runs."""

    results: dict[str, str] = field(default_factory=dict)
    calls: list[tuple[list[str], list[str]]] = field(default_factory=list)

    def run(self, earlier: Sequence[str], blocks: Sequence[str]) -> Execution:
        self.calls.append(([b.strip() for b in earlier], [b.strip() for b in blocks]))
        outputs = list[str]()
        for number, block in enumerate(blocks):
            outputs.append(result := self.results.get(block.strip(), ""))
            if result[:1] in ("!", "?"):
                return Execution(tuple(outputs), number + (result[0] == "!"), failed=True)
        return Execution(tuple(outputs), len(blocks))


class Numbers:
    """Answers are the last word if it is a number; 2 is right."""

    def extract(self, problem: Problem, text: str) -> str | None:
        last = (text.split() or [""])[-1].strip(".")
        return last if last.isdecimal() else None

    def check(self, problem: Problem, answer: str | None) -> Checked:
        return Checked(answer == "2", "" if answer == "2" else f"{answer} is not 2")


class Programs(Numbers):
    """Answers are messages with a program."""

    def extract(self, problem: Problem, text: str) -> str | None:
        return "program" if "def f" in text else None


def observed(*messages: str, results: dict[str, str] | None = None, **how: Any) -> list[Step]:
    """The turns with their observations."""
    book = how.pop("book", None) or Notebook(results or {})
    environment = PythonEnvironment(book, how.pop("checker", Numbers()), **how)
    turns = list[Step]()
    for message in messages:
        answer = asyncio.run(environment.step(Q, [*turns, turn(message)]))
        turns.append(turn(message, answer))
    return turns


def last(turns: list[Step]) -> Observation:
    assert turns[-1].observation is not None
    return turns[-1].observation


CRITICAL = {"verdicts": True, "critic": CheckerCritic()}
PROGRAMS = {"checker": Programs(), "programs": True}
RESULTS = {"1+1": "2\n", "bad": "! no 7", "loop": "? TimeoutError", "x": "", "p": "It is 2"}


@pytest.mark.parametrize(
    ("messages", "how", "text", "read", "ends"),
    [
        (["It is 2."], {}, "", "It is 2.", True),
        ([code("1+1")], {}, "Out: 2", "2\n", False),
        ([code("x")], {}, "Out: (no output)", "", False),
        ([f"{code('p')}\n{code('1+1')}"], {}, "Out: It is 2\n2", "It is 2\n2\n", False),
        ([f"{code('bad')}\n{code('1+1')}\nIt is 3."], {}, "Out: ! no 7", "\n\nIt is 3.", False),
        ([code("1+1"), "Done."], {}, "", "2\n", True),
        ([code("1+1"), code("bad")], {}, "Out: ! no 7", "2\n", False),
        ([code("1+1"), code("bad"), "Done."], {}, "", "Done.", True),
        (["It is 3."], {"verdicts": True}, "Your answer is wrong.", "It is 3.", False),
        (["It is 2."], {"verdicts": True}, "Your answer is correct.", "It is 2.", True),
        ([code("1+1")], {"verdicts": True}, "Out: 2\nYour answer is correct.", "2\n", True),
        (["3", "4", "5"], {"verdicts": True, "turns": 3}, "Your answer is wrong.", "5", True),
        (["3"], CRITICAL, "Your answer is wrong.\n3 is not 2", "3", False),
        ([" "], {"verdicts": True}, "Your answer is wrong.", " ", True),
        ([code("def f")], PROGRAMS, "Out: (no output)", code("def f"), False),
        ([code("def f"), "Done."], PROGRAMS, "", code("def f"), True),
    ],
)  # fmt: skip
def test_what_is_observed_and_what_is_read(
    messages: list[str], how: dict[str, Any], text: str, read: str, ends: bool
) -> None:
    observation = last(observed(*messages, results=RESULTS, **how))
    assert (observation.text, observation.read, observation.ends) == (text, read, ends)


def test_blocks_run_again_before_later_ones_but_for_those_that_were_stopped() -> None:
    book = Notebook(RESULTS)
    messages = [f"{code('x')}\n{code('bad')}\n{code('never')}", f"{code('p')}\n{code('loop')}", code("1+1")]
    turns = observed(*messages, book=book)
    assert book.calls == [
        ([], ["x", "bad", "never"]), (["x", "bad"], ["p", "loop"]), (["x", "bad", "p"], ["1+1"]),
    ]  # fmt: skip
    assert [t.observation.kept for t in turns if t.observation] == [2, 1, 1]


def test_output_is_cut() -> None:
    observation = last(observed(code("1+1"), results={"1+1": "x" * 9000}, output_chars=100))
    assert len(observation.text) < 160 and "characters left out" in observation.text


class Teacher:
    """A policy that criticises; asked: what it was asked."""

    asked: Conversation

    async def propose(self, problem: Problem, steps: Sequence[Step], **how: Any) -> list[Step]:
        assert isinstance(problem, Conversation)
        self.asked = problem
        charge(policy_tokens=6)
        return [turn("Check "), turn("again.")]


def test_a_models_critique_is_read_and_its_tokens_are_not_the_policys() -> None:
    teacher = Teacher()
    critic = ModelCritic(teacher, Prompt("{question}", chat=True), reference=lambda problem: "2")
    with metered() as spent:
        observation = last(observed("It is 3.", verdicts=True, critic=critic))
    assert observation.text == "Your answer is wrong.\nCheck again." and observation.critic_tokens == 6
    assert spent.policy_tokens == 0
    for part in ("1 + 1?", "It is 3.", "Your answer is wrong.", "The answer is 2."):
        assert part in teacher.asked.text


# -- in the sandbox ------------------------------------------------------------------------------------


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


# -- a run ---------------------------------------------------------------------------------------------


class Pupil:
    """Runs a wrong computation, then a right one, whose output is the answer."""

    async def propose(self, problem: Problem, steps: Sequence[Step], **how: Any) -> list[Step]:
        said = (code("x = 20\nprint(x + 1)"), code("print(x + 2)"), "Done.")[len(steps)]
        charge(policy_tokens=len(said))
        return [turn(said)]


class Kind:
    async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[StepScore]:
        return [GOOD] * (len(steps) - num_scored)


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    if reason := why_not():
        pytest.skip(reason)
    problems = tmp_path / "problems.jsonl"
    rows = [{"problem": f"{n}?", "answer": str(n)} for n in (21, 22)]
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [
        "--problems", str(problems), "--prompt", "instruction", "--strategy", "best_of_n", "--set", "n=2",
        "--no-baseline", "--engine", "hf", "--out", str(tmp_path / "run"), "--episodes", "python",
    ]  # fmt: skip


def nowhere(self: SharedSandbox) -> Sandbox:
    raise SandboxError("there is none")


async def test_a_run_over_episodes_and_its_replay_without_a_sandbox(
    words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = validated([*words, "--verdicts"])
    assert (run.request.lengths.step_tokens, run.request.lengths.solution_tokens) == (1024, 4096)
    [summary] = await execute(run, Models(Pupil(), Kind()), RunWatch())
    row = summary.as_json()
    assert row["correct"] == 2, "one after its first turn, one after its second"
    assert [(at["turn"], at["correct"]) for at in row["success_at_turn"]] == [(1, 1), (2, 2)]
    assert sorted(problem["turns"] for problem in row["problems"]) == [[False, True], [True]]
    trace = (run.out / "best_of_n.jsonl").read_text()
    assert '"text": "Out: 21\\nYour answer is wrong."' in trace
    path = results_path(run.trace_path("best_of_n"))
    problems = {example.problem.id: example.problem for example in run.examples}
    write_results(path, summary, list(problems.values()), {})
    assert read_results(path, problems)[0].right_by_turn == [1, 2]
    monkeypatch.setattr(SharedSandbox, "get", nowhere)
    again = validated([*words, "--verdicts", "--resume"])
    recorded = await replay(again)
    assert recorded is not None and recorded[0].as_json()["success_at_turn"] == row["success_at_turn"]
    with pytest.raises(SandboxError):
        await execute(again, Models(Pupil(), Kind()), RunWatch())
    with pytest.raises(UsageError, match="there is none"):
        validated([*words[:-4], "--out", str(tmp_path / "other"), "--episodes", "python"])


async def test_without_verdicts_an_episode_ends_with_a_message_without_code(words: list[str]) -> None:
    [summary] = await execute(validated(words), Models(Pupil(), Kind()), RunWatch())
    assert summary.as_json()["correct"] == 1 and summary.right_by_turn == [1, 1, 1]


async def test_a_grid_over_episodes(
    words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = [*words[:4], "--engine", "hf", "--strategies", "best_of_n", "--set", "n=2", "--budget", "default",
             "--seeds", "1", "--episodes", "python", "--verdicts"]  # fmt: skip
    grid, models = _request(asked, tmp_path / "grid").validate(), Models(Pupil(), Kind())
    assert (await forecast(grid, models)).rows[0].tokens
    grid.write()
    await execute_grid(grid, models, GridWatch())
    read = read_grid(tmp_path / "grid")
    assert [method.right_by_turn for method in methods_of(read)] == [[0.5, 1.0], [0.5, 1.0]]
    shown = page(read, tables_of(read), {})
    assert "| strategy | 1 | 2 |" in shown and "| `best_of_n` | 50.0 % | 100.0 % |" in shown
    assert "| episodes | python --turns 5 --verdicts |" in shown

    monkeypatch.setattr(SharedSandbox, "get", nowhere)
    assert await replay_grid(_request(asked, tmp_path / "grid").validate()) == []
    assert read_grid(tmp_path / "grid").cells[0].summary.right_by_turn == [1, 2]
    with pytest.raises(UsageError, match="episodes"):
        _request([*asked, "--turns", "3"], tmp_path / "grid").validate()
    with pytest.raises(UsageError, match="there is none"):
        _request(asked, tmp_path / "other").validate()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--episodes", "bash"], "there is only python"),
        (["--episodes", "python", "--turns", "0"], "--turns 0"),
        (["--episodes", "python", "--critic", "me"], "choose checker or policy"),
        (["--episodes", "python", "--critic", "checker"], "needs --verdicts"),
        (["--episodes", "python", "--verdicts", "--critic", "checker"], "no more than right or wrong"),
        (["--episodes", "python", "--question", "1?", "--verdicts"], "no reference answer"),
        (["--verdicts"], "--verdicts is for --episodes"),
        (["--episodes", "python", "--strategy", "oracle_best_of_n"], "right turns from wrong ones"),
        (["--episodes", "python", "--prompt", "chat"], "leaves out turns"),
    ],
)  # fmt: skip
def test_what_does_not_go_together(more: list[str], says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(episodes, "check_sandbox", lambda: None)
    with pytest.raises(UsageError, match=says):
        validated(["--engine", "hf", "--limit", "1", *more])


async def test_the_policy_over_the_sandbox(cells: Cells) -> None:
    """All of it together, without a task."""
    environment = PythonEnvironment(cells, Numbers(), turns=2)
    policy = EpisodePolicy(Pupil(), environment, 999)
    turns = await policy.propose(Q, [], until=Until.END, max_tokens=999, seed=0)
    assert [t.observation.text for t in turns if t.observation] == ["Out: 21", "Out: 22"]
