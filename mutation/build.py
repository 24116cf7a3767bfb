"""Step labels for code, by mutation testing. `python -m mutation.build --help`."""

from __future__ import annotations

import argparse
import atexit
import json
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from hashlib import blake2b
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from threading import Thread
from typing import Any, get_args

from rich.console import Console
from rich.progress import Progress

from mutation.label import (
    After,
    Labelled,
    LabelParams,
    Survivors,
    Tried,
    Worked,
    contradictions,
    label,
    stratum,
    work_on,
)
from mutation.mbpp import SPLITS, CodeProblem, load_mbpp
from mutation.near import Near, Text, human_eval, near_duplicates
from mutation.report import Summary, draw, print_summary, write_sample
from mutation.sandbox.isolation import cores
from mutation.sandbox.sandbox import Sandbox
from mutation.sandbox.verdict import Limits, Outcome
from prm.data.labels import write_labels
from search.errors import UsageError
from search.terminal import widened

LIMITS = Limits(cpu_s=1)
VERSION = 2
"""Of what is written to the .work file: one of another version is not gone on with."""

ABOUT = """\
Change the reference solutions of MBPP, run each changed program against the problem's tests and MBPP+'s,
and label the steps: the reference's positive, a changed one negative if a test fails and neutral if none
does. Programs run in the sandbox only. Beside OUT are written OUT.work (every verdict, so that an
interrupted build goes on where it stopped), OUT.summary.json (the figures and the audit) and OUT.png.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code: 0; 2 if the request is wrong; 130 if interrupted."""
    notes = Console(stderr=True)
    asked = _parser().parse_args(arguments)
    try:
        params = LabelParams(
            asked.survivors, asked.after, asked.order, asked.most, not asked.no_rewordings, asked.exceptions,
            asked.time_outs, asked.seed,
        )  # fmt: skip
        _check_out(asked.out)
        problems = [p for p in load_mbpp(asked.data) if p.split == asked.split][: asked.limit]
        if not problems:
            raise UsageError(f"{asked.data} has no problem of the split {asked.split}")
        near = near_duplicates([_text(p) for p in problems], human_eval())
        dropped = {n.id for n in near}
        kept = [p for p in problems if p.id not in dropped]
        isolated = not asked.unsafe_no_isolation
        if not isolated:
            notes.print("not isolated: programs can do what you can do", style="yellow")
        Sandbox(LIMITS, workers=1, isolated=isolated).close()  # refuses before anything is begun
        worked = work(kept, params, asked.out, asked.workers, isolated, notes)
    except UsageError as error:
        notes.print(f"error: {error}", style="red", markup=False, highlight=False)
        return 2
    except KeyboardInterrupt:
        notes.print("\ninterrupted; the same command goes on where it stopped")
        return 130
    _write(asked, params, worked, near, isolated)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mutation.build", description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--source", choices=["mbpp"], default="mbpp", help="whose problems (default: mbpp)")
    parser.add_argument(
        "--data", metavar="DIR", type=Path, required=True,
        help="the folder with mbpp.jsonl and, for the stronger tests, MbppPlus*.jsonl",
    )
    parser.add_argument("--out", metavar="FILE", type=Path, required=True, help="the labels, as JSON lines")
    parser.add_argument(
        "--split", choices=[name for name in SPLITS if name != "prompt"], default="train",
        help="of MBPP, by task id: train 601 to 974, validation 511 to 600, test 11 to 510 (default: train)",
    )
    parser.add_argument("--limit", metavar="N", type=int, help="the first N problems only")
    parser.add_argument(
        "--survivors", choices=get_args(Survivors), default="neutral",
        help="label of a changed step with which every test still passes (default: neutral)",
    )
    parser.add_argument(
        "--after", choices=get_args(After), default="stop",
        help="steps after a wrong one: left out, negative, or labelled as if it were right (default: stop)",
    )
    parser.add_argument(
        "--order", metavar="N", type=int, default=1, help="mistakes in a program, 1 to 3 (default: 1)",
    )
    parser.add_argument(
        "--most", metavar="N", type=int, default=LabelParams().most,
        help="mutants of a problem, of each order; 0 for all (default: %(default)s)",
    )
    parser.add_argument(
        "--no-rewordings", action="store_true", help="no programs that mean the same, as positives",
    )
    parser.add_argument(
        "--exceptions", metavar="R", type=float, default=LabelParams().exceptions,
        help="crashes kept for one failed assertion, at most (default: %(default)s)",
    )
    parser.add_argument(
        "--time-outs", metavar="R", type=float, default=LabelParams().time_outs,
        help="time-outs kept for one failed assertion, at most (default: %(default)s)",
    )
    parser.add_argument("--seed", metavar="S", type=int, default=0, help="of what is drawn (default: 0)")
    parser.add_argument(
        "--workers", metavar="N", type=int, default=cores(),
        help="processes (default: one for each core)",
    )
    parser.add_argument(
        "--sample", metavar="FILE", type=Path,
        help="write 50 labelled programs there, as Markdown, to be looked at",
    )
    parser.add_argument(
        "--unsafe-no-isolation", action="store_true",
        help="run without bubblewrap: the programs are changed references, which can still do anything",
    )
    return parser


def _check_out(out: Path) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out: cannot write {out}: {error.strerror}") from error
    if out.is_dir() or not os.access(out.parent, os.W_OK):
        raise UsageError(f"--out: cannot write {out}")


def _text(problem: CodeProblem) -> Text:
    return Text(problem.id, problem.question.partition(" Your code should pass")[0], problem.reference)


# -- working -------------------------------------------------------------------------------------------


def work(
    problems: Sequence[CodeProblem], params: LabelParams, out: Path, workers: int, isolated: bool,
    notes: Console,
) -> list[Worked]:
    """What was tried on each problem, in order: read from the .work file, or done now and added to it."""
    path = out.with_name(out.name + ".work")
    identity = {
        "version": VERSION, "isolated": isolated, "limits": asdict(LIMITS), "order": params.order,
        "most": params.most, "rewordings": params.rewordings, "seed": params.seed,
    }  # fmt: skip
    done = _read_work(path, identity)
    todo = [p for p in problems if p.id not in done or done[p.id].question != p.question]
    with path.open("a", encoding="utf-8") as file, Progress(console=notes, transient=True) as shown:
        bar = shown.add_task("problems", total=len(problems), completed=len(problems) - len(todo))
        for worked in _each(todo, params, workers, isolated):
            done[worked.id] = worked
            file.write(json.dumps(asdict(worked)) + "\n")
            file.flush()
            shown.advance(bar)
    return [done[p.id] for p in problems]


def _each(todo: Sequence[CodeProblem], params: LabelParams, workers: int, isolated: bool) -> Iterator[Worked]:
    if not todo:
        return
    pool = ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_open_sandbox, initargs=(isolated,)
    )
    try:
        futures = [pool.submit(_one, problem, params) for problem in todo]
        for future in as_completed(futures):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


_sandboxes: list[Sandbox] = []
"""The one sandbox of a worker process."""


def _open_sandbox(isolated: bool) -> None:
    Thread(target=_end_with_parent, daemon=True).start()
    _sandboxes.append(Sandbox(LIMITS, workers=1, isolated=isolated))
    atexit.register(_sandboxes[0].close)


def _end_with_parent() -> None:
    """A worker whose build was killed would wait for work for ever; its sandboxes die with it."""
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _one(problem: CodeProblem, params: LabelParams) -> Worked:
    return work_on(problem, _sandboxes[0], params)


def _read_work(path: Path, identity: dict[str, Any]) -> dict[str, Worked]:
    """What an earlier run has done; a torn last line is cut off. Raises UsageError if it had other knobs."""
    header = json.dumps(identity) + "\n"
    if not path.exists() or path.stat().st_size == 0:
        path.write_text(header, encoding="utf-8")
        return {}
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        os.truncate(path, len(whole))
    lines = whole.decode("utf-8").splitlines()
    if not lines:
        path.write_text(header, encoding="utf-8")
        return {}
    if json.loads(lines[0]) != identity:
        raise UsageError(f"{path} is of a build with other settings: give another --out, or delete it")
    return {worked.id: worked for worked in map(_worked, map(json.loads, lines[1:]))}


def _worked(row: dict[str, Any]) -> Worked:
    tried = [Tried(**{name: _tuples(value) for name, value in one.items()}) for one in row["tried"]]
    return Worked(**{**row, "unseen": tuple(row["unseen"]), "tried": tuple(tried)})


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


# -- labelling and writing -----------------------------------------------------------------------------


def _write(
    asked: argparse.Namespace, params: LabelParams, worked: Sequence[Worked], near: list[Near], isolated: bool
) -> None:
    labelled = [record for one in worked for record in label(one, params)]
    kept = mixed(labelled, params)
    solutions = [record.solution for record in kept]
    if found := contradictions(solutions):
        raise AssertionError(f"{len(found)} prefixes have two labels, the first in {found[0][0][:80]!r}")
    write_labels(asked.out, solutions)
    summary = Summary.of(worked, kept, near, params, asked.split, isolated)
    name = asked.out.name
    path = asked.out.with_name(name + ".summary.json")
    path.write_text(json.dumps(summary.as_json(), indent=1) + "\n", encoding="utf-8")
    draw(summary, asked.out.with_name(name + ".png"))
    if asked.sample is not None:
        write_sample(asked.sample, kept, params.seed)
    print_summary(summary, widened(Console()))


def mixed(labelled: Sequence[Labelled], params: LabelParams) -> list[Labelled]:
    """The records with no more crashes and time-outs than the knobs say; which ones is drawn, by content."""
    failed = [r for r in labelled if r.tried is not None and r.tried.fate == "failed"]
    by_stratum: dict[str, list[Labelled]] = {}
    for record in failed:
        assert record.tried is not None
        by_stratum.setdefault(stratum(record.tried.outcome), []).append(record)
    assertions = len(by_stratum.get(str(Outcome.ASSERTION), ()))
    shares = {str(Outcome.EXCEPTION): params.exceptions, str(Outcome.TIME_OUT): params.time_outs}
    left_out: set[int] = set()
    for kind, share in shares.items():
        drawn = sorted(by_stratum.get(kind, ()), key=lambda record: _draw(record, params.seed))
        left_out |= {id(record) for record in drawn[int(share * assertions) :]}
    return [record for record in labelled if id(record) not in left_out]


def _draw(record: Labelled, seed: int) -> bytes:
    text = f"{seed}\0{record.solution.question}\0{''.join(record.solution.steps)}"
    return blake2b(text.encode(), digest_size=8).digest()


if __name__ == "__main__":
    sys.exit(main())
