"""A run may be killed at any byte and resumed: same outcomes, same counted cost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.engine import Outcome, solve_all
from search.errors import TraceError
from search.limits import CostLimits, LengthLimits
from search.strategies.best_of_n import BestOfN
from search.strategies.cot import ChainOfThought
from search.trace import Trace
from search.tree import Strategy, Tree
from search.types import Problem
from tests.fakes import FractionAnswers, RandomWorld
from tests.test_engine import SMALL
from tests.test_engine_faults import Flaky

PROBLEMS = [Problem(f"p{i}", f"question {i}, \u2028 naïve") for i in range(3)]
LIMITS = CostLimits(policy_tokens=400)


def run(
    strategy: Strategy,
    world: RandomWorld,
    path: Path,
    *,
    problems: Sequence[Problem] = PROBLEMS,
    **config: Any,
) -> list[Outcome]:
    with closing(Trace(path, {"seed": 7, **config})) as trace:
        return solve_all(
            problems, strategy, world, world, seed=7, limits=LIMITS, trace=trace,
            lengths=LengthLimits(step_tokens=12, solution_tokens=40), answers=FractionAnswers(),
        )


def counted(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The outcomes without what resuming may change."""
    return [replace(o, seconds=0.0, events=replace(o.events, replayed=0)) for o in outcomes]


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@cache
def uninterrupted(name: str) -> tuple[list[Outcome], bytes]:
    with folder() as tmp:
        outcomes = run(SMALL[name], RandomWorld(jitter=1), tmp / "trace.jsonl")
        return counted(outcomes), (tmp / "trace.jsonl").read_bytes()


@pytest.mark.parametrize("name", SMALL)
@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_killed_at_any_byte_and_resumed_it_is_the_uninterrupted_run(name: str, data: st.DataObject) -> None:
    want, whole = uninterrupted(name)
    with folder() as tmp:
        path = tmp / "trace.jsonl"
        path.write_bytes(whole)
        for _ in range(data.draw(st.integers(1, 3), "interruptions")):
            now = path.read_bytes()
            path.write_bytes(now[: data.draw(st.integers(0, len(now)), "cut at byte")])
            resumed = run(SMALL[name], RandomWorld(data.draw(st.integers(0, 99), "jitter")), path)
            assert counted(resumed) == want


@pytest.mark.parametrize("name", SMALL)
def test_every_byte_of_a_short_run(name: str) -> None:
    """A cut at each line's end, before it and after it."""
    want, whole = uninterrupted(name)
    ends = [i for i, byte in enumerate(whole) if byte == ord("\n")]
    with folder() as tmp:
        for end in ends[:: max(1, len(ends) // 6)]:
            for cut in (end - 1, end, end + 1):
                (tmp / "trace.jsonl").write_bytes(whole[:cut])
                assert counted(run(SMALL[name], RandomWorld(), tmp / "trace.jsonl")) == want


@pytest.mark.parametrize("name", SMALL)
def test_a_full_replay_makes_no_live_call_and_writes_no_call_again(name: str, tmp_path: Path) -> None:
    want, whole = uninterrupted(name)
    path = tmp_path / "trace.jsonl"
    path.write_bytes(whole)
    world = RandomWorld()
    replayed = run(SMALL[name], world, path)
    assert counted(replayed) == want
    assert world.calls == 0
    assert path.read_bytes() == whole
    calls = [json.loads(line)["event"] for line in whole.splitlines()]
    assert sum(o.events.replayed for o in replayed) == calls.count("sample") + calls.count("score")


@pytest.mark.parametrize("name", ["hgs", "best_of_n", "mcts"])
def test_a_run_with_failed_candidates_replays_without_calls(name: str, tmp_path: Path) -> None:
    for flaky in ({"policy": 5}, {"scorer": 9}):
        path = tmp_path / f"{name}-{next(iter(flaky))}.jsonl"
        first = run(SMALL[name], Flaky(**flaky), path)
        assert sum(o.events.failed for o in first) > 0
        world = RandomWorld()
        assert counted(run(SMALL[name], world, path)) == counted(first)
        assert world.calls == 0


def test_what_failed_in_an_interrupted_problem_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    run(SMALL["best_of_n"], Flaky(policy=1), path)  # all samples fail: no problem has an answer
    again = run(SMALL["best_of_n"], RandomWorld(), path)
    assert counted(again) == uninterrupted("best_of_n")[0]


async def test_two_scores_of_one_prefix_at_once_replay_whatever_order_they_end_in(tmp_path: Path) -> None:
    path, problem = tmp_path / "trace.jsonl", PROBLEMS[0]
    costs, values = [], []
    for jitter in (1, 2, 3):
        world = RandomWorld(jitter)
        with closing(Trace(path, {})) as trace:
            tree = Tree(problem, world, world, recorder=trace.recorder(problem))
            [a] = await tree.complete([tree.root])
            first, second = await tree.complete([a.path[0]], 2)
            await tree.gather(tree.score([first]), tree.score([second]))
        costs.append(tree.cost)
        values.append([node.value for leaf in (first, second) for node in leaf.path])
        assert jitter == 1 or world.calls == 0
    assert costs[1:] == costs[:-1] and values[1:] == values[:-1]


def test_a_trace_says_what_was_rejected_and_given_up(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    outcomes = run(SMALL["hgs"], RandomWorld(), path)
    events = [json.loads(line)["event"] for line in path.read_text().splitlines()]
    assert events.count("backtrack") == sum(o.events.backtracks for o in outcomes) > 0
    assert events.count("reject") > 0
    whole = path.read_bytes()
    run(SMALL["hgs"], RandomWorld(), path)  # a resumed run does not write them again
    assert path.read_bytes() == whole


def test_a_replay_needs_no_model(tmp_path: Path) -> None:
    want, whole = uninterrupted("hgs")
    path = tmp_path / "trace.jsonl"
    path.write_bytes(whole)
    none: Any = None
    with closing(Trace(path, {"seed": 7})) as trace:
        outcomes = solve_all(
            PROBLEMS, SMALL["hgs"], none, none, seed=7, limits=LIMITS, trace=trace,
            lengths=LengthLimits(step_tokens=12, solution_tokens=40), answers=FractionAnswers(),
        )
    assert counted(outcomes) == want


def test_a_torn_last_line_is_cut_off_and_nothing_glued_to_it(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    want, whole = uninterrupted("cot")
    path.write_bytes(whole[:-5])
    assert counted(run(SMALL["cot"], RandomWorld(), path)) == want
    for line in path.read_bytes().splitlines():
        json.loads(line)


def damaged(line: bytes) -> dict[str, bytes]:
    event = json.loads(line)
    return {
        "torn": line[: len(line) // 2],
        "blank": b"",
        "no object": b"[1, 2]",
        "no such event": json.dumps({**event, "event": "smaple"}).encode(),
        "no address": json.dumps({k: v for k, v in event.items() if k != "at"}).encode(),
        "no step": json.dumps({**event, "steps": [["a,"]]}).encode(),
        "no such stop": json.dumps({**event, "steps": [["a,", [1], 0.0, "halt", 1]]}).encode(),
        "no such cost": json.dumps({**event, "spent": {"euros": 3}}).encode(),
        "no UTF-8": line[:-1] + b"\xff",
    }


@pytest.mark.parametrize("damage", damaged(b'{"event": "sample"}'))
def test_a_damaged_line_before_the_last_is_named(damage: str, tmp_path: Path) -> None:
    lines = uninterrupted("cot")[1].split(b"\n")
    number = next(i for i, line in enumerate(lines) if b'"sample"' in line)
    lines[number] = damaged(lines[number])[damage]
    path = tmp_path / "trace.jsonl"
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(TraceError, match=rf"trace\.jsonl, line {number + 1}: not an? "):
        Trace(path, {"seed": 7})
    assert path.read_bytes() == b"\n".join(lines), "what was refused was changed"


def test_a_recorded_judgement_that_is_none_is_named(tmp_path: Path) -> None:
    lines = uninterrupted("hgs")[1].splitlines(keepends=True)
    number = next(i for i, line in enumerate(lines) if b'"score"' in line)
    event = json.loads(lines[number])
    lines[number] = json.dumps({**event, "scores": [[float("nan"), 0, 1]]}).encode() + b"\n"
    path = tmp_path / "trace.jsonl"
    path.write_bytes(b"".join(lines))
    with pytest.raises(TraceError, match=rf"line {number + 1}"):
        Trace(path, {"seed": 7})


@pytest.mark.parametrize(
    "content", [b"precious notes", b"precious\nnotes", b'{"precious": true}\n{"notes"', b"\n", b"{"]
)
def test_a_file_that_is_no_trace_is_refused_and_left_as_it_is(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    if content == b"{":  # may be the first byte of a trace
        Trace(path).close()
        return
    with pytest.raises(TraceError, match=r"notes\.txt"):
        Trace(path)
    assert path.read_bytes() == content


def test_where_no_trace_can_be_written(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent" / "trace.jsonl"):
        with pytest.raises(TraceError, match="cannot write the trace"):
            Trace(path)


def test_a_trace_without_its_first_line_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_bytes(b"".join(uninterrupted("cot")[1].splitlines(keepends=True)[1:]))
    with pytest.raises(TraceError, match="line 1"):
        Trace(path, {"seed": 7})


def test_a_trace_of_another_configuration_is_refused_naming_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    Trace(path, {"strategy": "hgs", "seed": 0, "params": {"width": 4}, "models": ("a", "b")}).close()
    before = path.read_bytes()
    Trace(path, {"strategy": "hgs", "seed": 0, "params": {"width": 4}, "models": ("a", "b")}).close()
    with pytest.raises(TraceError) as refused:
        Trace(path, {"strategy": "hgs", "seed": 1, "params": {"width": 2}, "limit": 3, "models": ["a", "b"]})
    message = str(refused.value)
    params = "params: width was 4, is 2"
    for difference in ("seed was 0, is 1", params, "limit was None, is 3"):
        assert difference in message
    assert "strategy" not in message and "models" not in message
    assert path.read_bytes() == before


def test_another_question_under_the_same_id_is_refused(tmp_path: Path) -> None:
    path, world = tmp_path / "trace.jsonl", RandomWorld()
    run(ChainOfThought(), world, path)
    calls, changed = world.calls, [*PROBLEMS[:2], Problem("p2", "another question")]
    outcomes = run(ChainOfThought(), world, path, problems=changed)
    assert [o.error is None for o in outcomes] == [True, True, False]
    assert outcomes[2].error is not None and "p2 had another question" in outcomes[2].error
    assert world.calls == calls


def test_a_run_may_be_resumed_with_more_problems(tmp_path: Path) -> None:
    path, world = tmp_path / "trace.jsonl", RandomWorld()
    run(BestOfN(), world, path, problems=PROBLEMS[:1])
    assert counted(run(BestOfN(), world, path)) == uninterrupted("best_of_n")[0]


def test_any_text_survives(tmp_path: Path) -> None:
    trace = Trace(tmp_path / "trace.jsonl")
    odd = 'a "b"\\\n\u2028\x85\x0b\x1c\r\n\x00 é \U0001d538 \ud800'
    trace.recorder(Problem("p", "?")).write_chosen((0,), odd)
    trace.close()
    reread = Trace(tmp_path / "trace.jsonl")
    reread.close()
    last = (tmp_path / "trace.jsonl").read_bytes().splitlines()[-1]
    assert json.loads(last)["answer"] == odd


# -- killed for good -------------------------------------------------------------------------------


def test_kill_9_in_the_middle_of_a_run(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    code = f"""
from pathlib import Path
from tests.fakes import RandomWorld
from tests.test_engine import SMALL
from tests.test_engine_faults import Flaky
from tests.test_trace import run
run(SMALL["hgs"], RandomWorld(pause_s=0.01), Path({str(path)!r}))
"""
    root = Path(__file__).parent.parent
    child = subprocess.Popen([sys.executable, "-c", code], cwd=root)
    deadline = time.monotonic() + 60
    while not path.exists() or path.read_bytes().count(b"\n") < 12:
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    want, whole = uninterrupted("hgs")
    assert len(path.read_bytes()) < len(whole)
    resumed = run(SMALL["hgs"], RandomWorld(), path)
    assert counted(resumed) == want
    assert sum(o.events.replayed for o in resumed) >= 5
