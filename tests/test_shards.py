"""Shares of a run: which problems are in them, and how they are joined into the run of one machine."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.runner.cli.merge import main, whole_run
from bench.runner.cli.options import parse
from bench.runner.cli.recorded import COMMAND, write_command
from bench.runner.cli.report import resume_command
from bench.runner.execute import RunWatch, execute, replay
from bench.runner.models import Models
from bench.runner.request import Run
from bench.runner.shards import Shard, folder_of, parse_shard
from bench.tasks import builtin
from bench.tasks.builtin import Builtin
from bench.tasks.generated.problems import generate
from search.errors import UsageError
from tests.budgets import POLICY
from tests.fakes import RandomWorld


@pytest.fixture(scope="module", autouse=True)
def generated_once() -> Iterator[None]:
    """Problems are drawn once for all tests: to draw them takes longer than what is tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtin, "generate", cache(lambda *what: list(generate(*what))))
        yield


WORDS = [
    "--strategy", "hgs,beam", "--set", "max_samples=12", "--limit", "7", "--engine", "hf",
    "--concurrency", "3",
]  # fmt: skip


def run_of(words: list[str]) -> Run:
    """The run that a command line asks for, with models that are nowhere looked up."""
    request, task = parse(words).request, Builtin()
    examples = task.load(None, request.limit)
    assert request.out is not None
    return Run(
        request=request, strategies=request.with_defaults_of(None), task=task,
        examples=examples if request.shard is None else request.shard.share(examples), policy=POLICY,
        prm=None, out=folder_of(request.out, request.shard),
    )  # fmt: skip


def record(words: list[str]) -> Path:
    """A run, or a share of one, as `search.run` records it."""
    run, world = run_of(words), RandomWorld()
    write_command(run.out, words)
    asyncio.run(execute(run, Models(world, world), RunWatch()))
    return run.out


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run, with its three shares."""
    out = tmp_path_factory.mktemp("three") / "run"
    for i in (1, 2, 3):
        record([*WORDS, "--out", str(out), "--shard", f"{i}/3"])
    return out


def results(out: Path) -> list[dict[str, Any]]:
    """Of a run that is recorded whole; it is replayed as `search.run --resume` replays it."""
    summaries = asyncio.run(replay(run_of(["--out", str(out), "--resume"])))
    assert summaries is not None, "something is not recorded"
    rows = [summary.as_json() for summary in summaries]
    for row in rows:
        del row["seconds"], row["revision"]
        row["problems"].sort(key=lambda problem: problem["id"])  # they end in any order
        for problem in row["problems"]:
            del problem["seconds"]
    return rows


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one machine, with its problems in order."""
    out = record([*WORDS, "--out", str(tmp_path_factory.mktemp("one") / "run")])
    assert main([str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def expected(whole: Path) -> list[dict[str, Any]]:
    return results(whole)


# -- who takes which problems ----------------------------------------------------------------------


@given(st.integers(1, 9), st.integers(0, 60))
def test_every_problem_is_in_one_share_and_shares_are_alike(count: int, problems: int) -> None:
    shares = [Shard(i, count).share(range(problems)) for i in range(1, count + 1)]
    assert sorted(p for share in shares for p in share) == list(range(problems))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("text", ["0/4", "5/4", "1/0", "1", "a/b", "-1/4", "1/4/2"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"shards are counted from 1|takes I/N"):
        parse_shard(text)


def test_folders_sort_like_shares() -> None:
    folders = [Shard(i, 12).folder(Path("out")).name for i in range(1, 13)]
    assert folders == sorted(folders) and folders[0] == "shard-01-of-12"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--shard", "1/2"], "needs --out"),
        (["--shard", "1/2", "--question", "2 + 2?"], "does not go with --question"),
        (["--shard", "1/2", "--out", "new", "--budget", "2x"], "does not go with --budget"),
        (["--shard", "9/9", "--out", "new", "--limit", "8"], "there are only 8 problems"),
        (["--shard", "3/2", "--out", "new"], "counted from 1"),
    ],
)
def test_a_share_that_cannot_be_is_refused(words: list[str], reason: str, here: Path) -> None:
    with pytest.raises(UsageError, match=reason):
        parse(["--engine", "hf", "--limit", "2", *words]).request.validate()
    assert list(here.iterdir()) == []


def test_the_command_that_continues_a_share_names_it(here: Path) -> None:
    run = run_of([*WORDS, "--out", "mine", "--shard", "2/3"])
    assert run.out == Path("mine/shard-2-of-3")
    assert resume_command(run).endswith("-m search.run --out mine --shard 2/3 --resume")


def test_a_share_can_be_resumed_before_it_is_begun(here: Path) -> None:
    """One script, requeued or not, is enough for Slurm. A whole run that is not there is a mistake."""
    for words, refused in ((["--shard", "2/3"], False), ([], True)):
        request = parse([*WORDS, "--out", "mine", "--resume", "--top-p", "2", *words]).request
        with pytest.raises(UsageError) as error:
            request.validate()
        assert ("there is no run in mine" in str(error.value)) is refused


def test_a_share_is_begun_and_continued_by_the_same_command(here: Path) -> None:
    words = ["--strategy", "hgs", *WORDS[2:], "--no-baseline", "--out", "mine", "--shard", "2/3", "--resume"]
    trace = record(words) / "hgs.jsonl"
    text = trace.read_bytes()
    trace.write_bytes(text[: len(text) // 2])  # a kill
    record(words)
    assert sorted(trace.read_bytes().splitlines()) == sorted(text.splitlines())


# -- joined ----------------------------------------------------------------------------------------


def test_joined_shares_are_the_trace_of_one_machine(
    whole: Path, expected: Any, three: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Path(shutil.copytree(three, here / "mine"))
    assert main([str(out)]) == 0
    for name in ("cot", "hgs", "beam"):
        assert (out / f"{name}.jsonl").read_bytes() == (whole / f"{name}.jsonl").read_bytes()
    printed = capsys.readouterr().out
    assert f"{out / 'hgs.jsonl'}: 7 of 7 problems, from 3 traces" in printed
    assert f"results: python -m search.run --out {out} --resume" in printed
    assert results(out) == expected


def test_shares_in_folders_of_their_own_are_joined_in_another(
    whole: Path, three: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [str(three / f"shard-{i}-of-3") for i in (3, 1, 2)]
    assert main(folders) == 2
    assert "several folders are merged into --out DIR" in capsys.readouterr().err
    assert main([*folders, "--out", "all"]) == 0
    assert (here / "all/hgs.jsonl").read_bytes() == (whole / "hgs.jsonl").read_bytes()


def test_missing_problems_are_named_and_then_solved(
    expected: Any, three: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Path(shutil.copytree(three, here / "mine"))
    ids = [problem.id for problem in parse(WORDS).request.load_problems()]
    for name in ("cot", "hgs", "beam"):
        (out / "shard-2-of-3" / f"{name}.jsonl").unlink()
    assert main([str(out)]) == 1
    printed = capsys.readouterr().out
    assert f"missing: {ids[1]}, {ids[4]}" in printed and "solve them: python -m search.run" in printed
    record(["--out", str(out), "--resume"])
    assert main([str(out)]) == 0, "what was solved is kept beside the shares"
    assert results(out) == expected


# -- told twice ------------------------------------------------------------------------------------


def changed(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change every event of a trace but the first."""
    first, *events = map(json.loads, path.read_text().splitlines())
    for event in events:
        change(event)
    path.write_text("".join(f"{json.dumps(event)}\n" for event in [first, *events]))


def other_timing(event: dict[str, Any]) -> None:
    """Other caches, and another one of several equal steps was scored."""
    if "prm_tokens_cached" in event.get("spent", {}):
        event["spent"]["prm_tokens_cached"] += 1
    if event["event"] == "score":
        event["at"][-1] += 1


def other_answer(event: dict[str, Any]) -> None:
    if event["event"] == "chosen":
        event["answer"] = "another"


@pytest.fixture
def again(three: Path, here: Path) -> Path:
    """Another folder with one of the shares, beside the folder of all."""
    shutil.copytree(three, here / "mine")
    return Path(shutil.copytree(three / "shard-1-of-3", here / "again"))


def test_problems_that_are_told_twice_alike_are_taken_once(
    whole: Path, expected: Any, again: Path, here: Path
) -> None:
    changed(again / "hgs.jsonl", other_timing)
    text = (again / "beam.jsonl").read_bytes()
    (again / "beam.jsonl").write_bytes(text[: len(text) // 2])  # cut off: the other one is whole
    assert main(["mine", "again", "--out", "all"]) == 0
    assert (here / "all/beam.jsonl").read_bytes() == (whole / "beam.jsonl").read_bytes()
    assert results(here / "all") == expected


def test_problems_that_are_told_differently_are_refused(
    again: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed(again / "hgs.jsonl", other_answer)
    assert main(["mine", "again", "--out", "all"]) == 2
    assert "tell different things of" in capsys.readouterr().err
    assert not (here / "all/hgs.jsonl").exists()


def test_shares_of_different_runs_are_refused(again: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record([*WORDS, "--out", "again", "--shard", "1/3", "--seed", "1"])
    assert main(["mine", "again", "--out", "all"]) == 2
    assert "not of one run: seed was 0, is 1" in capsys.readouterr().err


def test_shares_of_different_problems_are_refused(again: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = again / COMMAND
    command.write_text(command.read_text().replace('"7"', '"6"'))
    assert main(["mine", "again", "--out", "all"]) == 2
    assert "--limit 7 and 6" in capsys.readouterr().err


def test_a_folder_without_traces_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mine"]) == 2
    (here / "mine").mkdir()
    assert main(["mine"]) == 2
    err = capsys.readouterr().err
    assert "there is no folder mine" in err and "mine holds no traces" in err


def test_the_whole_run_is_the_command_without_its_share() -> None:
    words = ["--shard", "1/2", "--task", "gsm8k", "--out=a", "--resume", "--shard=2/2", "--out", "b", "-x"]
    assert whole_run(words) == ["--task", "gsm8k", "-x"]
