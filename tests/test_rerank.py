"""Expectations over subsets against all orders and all subsets; reading rows; the command."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from itertools import combinations, permutations, product
from math import inf, isclose, nan
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.report import rescoring, subsets
from bench.report.candidates import answer_numbers, graders_disagree, read_candidates, with_enough
from bench.report.reranking import differences, powers_of_two, rerank
from bench.report.subsets import Pool, auc_within, best_of_n, oracle, orders, vote, weighted_vote
from bench.runner.cli.rerank import main
from prm.data.left_out import LeftOut
from search.errors import ScorerError, UsageError
from search.types import Problem, Step, StepScore
from tests.fakes import FractionAnswers


@st.composite
def pools(draw: st.DrawFn, most: int = 6) -> Pool:
    size = draw(st.integers(1, most))
    answers = draw(st.lists(st.sampled_from([None, 0, 1, 2, 3]), min_size=size, max_size=size))
    values = draw(st.lists(st.sampled_from([0.0, 0.1, 0.35, 0.72, 1.0]), min_size=size, max_size=size))
    right = draw(st.sampled_from([0, 1, 2]))
    return Pool([answer == right for answer in answers], answers, values)


def over_orders(pool: Pool, n: int, select: object) -> float:
    """The mean over all orders of drawing n, with ties to the first drawn, as in a search."""
    assert callable(select)
    orders = permutations(range(pool.size), n)
    return fmean(float(select(list(order))) for order in orders)


@settings(max_examples=40)
@given(pools())
def test_oracle_and_best_of_n_are_the_means_over_all_orders(pool: Pool) -> None:
    values = pool.values
    assert values is not None

    def best(order: list[int]) -> bool:
        return pool.right[max(order, key=lambda i: (pool.answers[i] is not None, values[i]))]

    for n in range(1, pool.size + 1):
        assert isclose(oracle(pool, n), over_orders(pool, n, lambda d: any(pool.right[i] for i in d)))
        assert isclose(best_of_n(pool, n), over_orders(pool, n, best), abs_tol=1e-12)


@settings(max_examples=40)
@given(pools())
def test_the_vote_is_the_mean_over_all_orders(pool: Pool) -> None:
    def voted(order: list[int]) -> bool:
        votes = [pool.answers[i] for i in order if pool.answers[i] is not None]
        if not votes:
            return False
        winner = max(dict.fromkeys(votes), key=votes.count)  # the first of the most frequent
        return pool.right[pool.answers.index(winner)]

    for n in range(1, pool.size + 1):
        assert isclose(vote(pool, n), over_orders(pool, n, voted), abs_tol=1e-12)


def drawn(pool: Pool) -> NDArray[np.int64]:
    return orders(pool, np.random.default_rng(0))


def by_weight(pool: Pool, subset: tuple[int, ...]) -> float:
    """Whether the answer with the greatest weight is right; ties are shared."""
    weights: dict[int, float] = {}
    for i in subset:
        answer = pool.answers[i]
        if answer is not None and pool.values is not None:
            weights[answer] = weights.get(answer, 0.0) + pool.values[i]
    top = [answer for answer, weight in weights.items() if isclose(weight, max(weights.values()))]
    return fmean(pool.right[pool.answers.index(answer)] for answer in top) if top else 0.0


@settings(max_examples=40)
@given(pools(most=7))
def test_the_weighted_vote_is_the_mean_over_all_subsets(pool: Pool) -> None:
    for n in range(1, pool.size + 1):
        expected = fmean(by_weight(pool, subset) for subset in combinations(range(pool.size), n))
        mean, variance = weighted_vote(pool, n, drawn(pool))
        assert isclose(mean, expected, abs_tol=1e-12) and variance == 0


def test_draws_agree_with_all_subsets_within_their_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(0)
    answers = [rng.choice([None, 0, 0, 1, 2]) for _ in range(12)]
    pool = Pool([a == 0 for a in answers], answers, [rng.random() for _ in answers])
    exact = [weighted_vote(pool, n, drawn(pool))[0] for n in (2, 4, 8)]
    monkeypatch.setattr(subsets, "ENUMERATED", 1)
    for n, expected in zip((2, 4, 8), exact, strict=True):
        mean, variance = weighted_vote(pool, n, drawn(pool))
        assert 0 < variance < 0.25 / subsets.DRAWS + 1e-9
        assert abs(mean - expected) < 4 * variance**0.5
    assert weighted_vote(pool, 12, drawn(pool))[1] == 0  # one subset needs no draws


def test_equal_weights_share_and_an_unscored_candidate_has_none() -> None:
    tied = Pool([True, False, False], [0, 1, 1], [1.0, 0.5, 0.5])
    assert weighted_vote(tied, 3, drawn(tied)) == (0.5, 0.0)
    unscored = Pool([True, False], [0, 1], [-inf, 0.1])
    assert weighted_vote(unscored, 2, drawn(unscored))[0] == 0.0
    assert best_of_n(unscored, 2) == 0.0 and vote(unscored, 2) == 0.5


@settings(max_examples=40)
@given(pools(most=7), st.integers(1, 7))
def test_no_selector_beats_the_oracle_and_one_candidate_is_chance(pool: Pool, n: int) -> None:
    n = min(n, pool.size)
    most = oracle(pool, n) + 1e-12
    assert (
        vote(pool, n) <= most
        and best_of_n(pool, n) <= most
        and weighted_vote(pool, n, drawn(pool))[0] <= most
    )
    answered = [r and a is not None for r, a in zip(pool.right, pool.answers, strict=True)]
    assert isclose(vote(pool, 1), fmean(answered)) and isclose(best_of_n(pool, 1), fmean(pool.right))


def test_a_thousand_candidates_do_not_overflow() -> None:
    answers = [i % 7 for i in range(1000)]
    pool = Pool([a == 0 for a in answers], answers, [float(i) for i in range(1000)])
    assert 0.1 < vote(pool, 16) < 0.25 and best_of_n(pool, 500) == pytest.approx(oracle(pool, 1), abs=0.6)
    assert vote(pool, 1000) == pytest.approx(1 / 6)  # six answers have 143 votes, the right one among them


@settings(max_examples=40)
@given(pools(most=7))
def test_auc_within_counts_pairs(pool: Pool) -> None:
    assert pool.values is not None
    pairs = [
        (pool.values[i], pool.values[j])
        for i in range(pool.size) for j in range(pool.size) if pool.right[i] and not pool.right[j]
    ]  # fmt: skip
    expected = fmean((a > b) + (a == b) / 2 for a, b in pairs) if pairs else nan
    assert np.isclose(auc_within(pool), expected, equal_nan=True)


def test_the_whole_of_it() -> None:
    """Scores that rank well within problems and badly across them."""
    easy = Pool([True, True, True, False], [0, 0, 0, 1], [0.2, 0.2, 0.2, 0.1])
    hard = Pool([True, False, False, False], [0, 1, 2, 3], [0.9, 0.8, 0.8, 0.8])
    got = rerank([easy, hard] * 20)
    assert got.sizes == [1, 2, 4] and got.auc_within[0] == 1.0 and got.mixed == 40
    assert got.auc_across[0] == pytest.approx((3 * 1 + 4) / 16, abs=0.01)
    assert got.accuracy["best_of_n"][-1] == (1.0, 1.0, 1.0) == got.accuracy["oracle"][-1]
    assert got.accuracy["vote"][-1][0] == pytest.approx((1 + 1 / 4) / 2)
    assert "37.5 points above the vote" in got.sentence and "more than noise" in got.sentence
    assert got.as_json()["accuracy"]["oracle"][0] == 0.5
    worse = rerank([Pool(p.right, p.answers, [-v for v in p.values or ()]) for p in (easy, hard)])
    assert "weighted_vote" not in worse.accuracy and "negative" in worse.notes[0]
    unscored = rerank([Pool(easy.right, easy.answers)] * 3)
    assert list(unscored.accuracy) == ["random", "vote", "oracle"] and "75.0%" in unscored.sentence
    assert unscored.as_json()["auc_within_problems"] is None


def test_random_takes_any_candidate_whatever_n() -> None:
    silent = Pool([True, False, False], [None, 0, 1])  # a correct candidate without an answer does not vote
    got = rerank([silent] * 2)
    assert [value for value, _, _ in got.accuracy["random"]] == pytest.approx([1 / 3] * 3)
    assert got.accuracy["vote"][0][0] == 0.0


SHARES = st.sampled_from([0.0, 0.25, 0.5, 1.0])


@settings(max_examples=30)
@given(st.lists(st.tuples(SHARES, SHARES), min_size=1, max_size=8))
def test_differences_are_tested_over_all_assignments_of_signs(pairs: list[tuple[float, float]]) -> None:
    ours, theirs = (np.array(column) for column in zip(*pairs, strict=True))
    [one] = differences({"vote": ours, "random": theirs, "oracle": ours})
    gains = ours - theirs
    sums = [abs(float(np.dot(gains, signs))) for signs in product((-1, 1), repeat=len(gains))]
    assert isclose(one.p, fmean(total >= abs(gains.sum()) - 1e-9 for total in sums))
    assert (one.selector, one.baseline, one.adjusted) == ("vote", "random", one.p)
    assert isclose(one.points[0], 100 * float(gains.mean()), abs_tol=1e-9)
    assert one.points[1] <= one.points[0] + 1e-9 and one.points[0] <= one.points[2] + 1e-9


def test_selectors_are_compared_with_both_baselines_and_adjusted_for_it() -> None:
    names = ("random", "vote", "best_of_n", "weighted_vote", "oracle")
    solved = {name: np.full(6, 1.0 if name in ("best_of_n", "oracle") else 0.2) for name in names}
    got = {(d.selector, d.baseline): d for d in differences(solved)}
    assert list(got) == [("vote", "random"), ("best_of_n", "random"), ("weighted_vote", "random"),
                         ("best_of_n", "vote"), ("weighted_vote", "vote")]  # fmt: skip
    best = got["best_of_n", "vote"]
    assert best.p == 2 / 2**6 and best.adjusted == pytest.approx(5 * 2 / 2**6) and best.within_noise
    assert best.points == pytest.approx((80.0, 80.0, 80.0)) and got["vote", "random"].p == 1.0


@pytest.mark.parametrize(("largest", "sizes"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])])
def test_sizes(largest: int, sizes: list[int]) -> None:
    assert powers_of_two(largest) == sizes


# -- rows ------------------------------------------------------------------------------------------


def row(**changes: object) -> dict[str, object]:
    fields = {"id": "q", "question": "2 + 2?", "candidates": ["It is $4$.", "It is $5$."], "correct": [1, 0]}
    return {name: value for name, value in {**fields, **changes}.items() if value != "none"}


def written(path: Path, *rows: object) -> str:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return str(path)


WRONG = {
    "no field 'question' or 'problem'": row(question="none"),
    "must be text": row(question=3),
    "no field 'candidates'": row(candidates="none"),
    "'candidates' must be a list": row(candidates="4"),
    "'candidates' must be texts, or lists of steps": row(candidates=[4, 5]),
    "no candidates": row(candidates=[], correct=[]),
    "'correct' has another length": row(correct=[True]),
    "'correct' must be true or false": row(correct=["yes", "no"]),
    "'scores' has another length": row(scores=[0.5]),
    "'scores' must be finite numbers": row(scores=["a", 0.5]),
    "the id is there already": row(),
}


@pytest.mark.parametrize("why", WRONG)
def test_an_odd_row_is_left_out_and_counted_or_refused(why: str, tmp_path: Path) -> None:
    source = written(tmp_path / "c.jsonl", row(), WRONG[why])
    left_out = LeftOut()
    assert [r.id for r in read_candidates(source, left_out=left_out)] == ["q"]
    assert left_out.read == {source: 2} and why in left_out.describe()
    with pytest.raises(UsageError, match=f"line 2: .*{why}"):
        read_candidates(source)


def test_all_kinds_of_rows_are_read(tmp_path: Path) -> None:
    steps = row(id=7, candidates=[["a", "b\n"], ["c"]], scores=[[0.5, 0.5], None])
    plain = row(id="none", problem="?", question="none", correct=[True, False], scores=[0.25, 1])
    [first, second] = read_candidates(written(tmp_path / "c.jsonl", steps, plain))
    assert (first.id, first.text(0), first.scores) == ("7", "a\nb\n", [(0.5, 0.5), None])
    assert (second.id, second.question, second.scores) == ("row 2", "?", [0.25, 1.0])
    array = tmp_path / "c.json"
    array.write_text(json.dumps([steps, plain]))
    assert read_candidates(str(array)) == [first, second]
    with pytest.raises(UsageError, match="a row looks like this"):
        read_candidates(written(tmp_path / "c.jsonl", {}), left_out=LeftOut())


def test_a_few_rows_with_fewer_candidates_do_not_bound_n(tmp_path: Path) -> None:
    few = row(id="few", candidates=["4"], correct=[1])
    rows = read_candidates(written(tmp_path / "c.jsonl", few, *(row(id=f"q{i}") for i in range(30))))
    left_out = LeftOut()
    assert len(with_enough(rows, "c", left_out)) == 30
    assert "fewer than the 2 candidates" in left_out.describe()
    assert len(with_enough(rows, "c", None)) == 31


def test_equal_answers_have_equal_numbers(tmp_path: Path) -> None:
    texts = ["= 1/2", "= 0.5", "none", "= 3", "= 1/2"]
    marks = [True, False, False, False, True]
    [got] = read_candidates(written(tmp_path / "c.jsonl", row(candidates=texts, correct=marks)))
    numbers = answer_numbers(got, FractionAnswers())
    assert numbers == [0, 0, None, 1, 0] and graders_disagree(numbers, got.right)
    assert answer_numbers(got, None) == [0, 1, 2, 3, 0] and not graders_disagree([0, 1, 2, 3, 0], got.right)


# -- the command -----------------------------------------------------------------------------------


def test_the_command_prints_a_table_or_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = [row(id=f"q{i}", scores=[[0.9, 0.9], [0.2]]) for i in range(5)]
    source = written(tmp_path / "c.jsonl", *good, {"id": "odd"})
    assert main([source, "--task", "math", "--aggregate", "min"]) == 0
    captured = capsys.readouterr()
    assert "5 problems, 10 candidates" in captured.out and "100.0 [100.0, 100.0]" in captured.out
    assert "rows left out: 1 of 6" in captured.err
    assert main([source, "--json"]) == 0
    got = json.loads(capsys.readouterr().out)
    assert got["n"] == [1, 2] and got["accuracy"]["vote"] == [0.5, 0.5] and got["auc_within_problems"][0] == 1
    assert [d["p"] for d in got["differences"]] == [1, 1 / 16, 1 / 16, 1 / 16, 1 / 16]
    assert list(got["left_out"].values()) == [1]
    assert main([source, "--strict"]) == 2
    assert "line 6" in capsys.readouterr().err
    assert main([source, "--prm", "builtin"]) == 2
    assert "--keep" in capsys.readouterr().err
    assert main([written(tmp_path / "d.jsonl", row(scores=[1, 0]), row(id="r"))]) == 2
    assert "1 of 2 rows have no 'scores'" in capsys.readouterr().err


class Scorer:
    """Scores a step by the number that it holds; cannot read one that holds none.

    calls: how many it answers before Ctrl-C is pressed.
    """

    def __init__(self, calls: int = 10**6):
        self.calls = calls

    async def __aenter__(self) -> Scorer:
        return self

    async def __aexit__(self, *error: object) -> None: ...

    async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[StepScore]:
        self.calls -= 1
        if self.calls < 0:
            raise KeyboardInterrupt
        if not all(step.text.strip()[-2:-1].isdigit() for step in steps):
            raise ScorerError("no number")
        return [StepScore(1 - (v := int(step.text.strip()[-2]) / 10), 0.0, v) for step in steps]


def test_a_reward_model_scores_once_and_its_scores_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rescoring, "load_scorer", lambda *args, **how: Scorer())
    texts = ["So 8.\nThe answer is 9.\n", ["No number", "at all"], "", "So 9.\nThe answer is 7.\n"]
    rows = [row(id=f"q{i}", candidates=texts, correct=[1, 0, 0, 0]) for i in range(2)]
    source, keep = written(tmp_path / "c.jsonl", *rows), tmp_path / "scores.jsonl"
    words = [source, "--task", "builtin", "--prm", "builtin", "--keep", str(keep), "--json"]

    def result(*more: str) -> dict[str, Any]:
        assert main([*words, *more]) == 0
        got: dict[str, Any] = json.loads(capsys.readouterr().out)
        return got

    first = result()
    assert first["unscored_candidates"] == 4 and first["problems"] == 2
    assert first["accuracy"]["best_of_n"][-1] == 1.0  # 0.8 * 0.9 against 0.9 * 0.7
    lines = keep.read_bytes().splitlines(keepends=True)
    assert len(lines) == 1 + 2 * 3  # an empty candidate is not even tried

    keep.unlink()
    monkeypatch.setattr(rescoring, "load_scorer", lambda *args, **how: Scorer(calls=4))
    assert main(words) == 130
    work = tmp_path / "scores.jsonl.work"
    n_scored = len(work.read_bytes().splitlines())
    assert n_scored == 2, "the errors of the other two are not kept"
    monkeypatch.setattr(rescoring, "load_scorer", lambda *args, **how: Scorer(calls=4))
    assert result() == first and keep.read_bytes() == b"".join(lines) and not work.exists()

    keep.write_bytes(b"".join(lines[:2]) + lines[2][:10])  # killed while it wrote
    monkeypatch.setattr(rescoring, "load_scorer", lambda *args, **how: Scorer())
    assert result() == first and keep.read_bytes() == b"".join(lines)

    monkeypatch.setattr(rescoring, "load_scorer", None)  # all of it is kept: no model is loaded
    assert result() == first
    assert result("--aggregate", "last")["accuracy"]["best_of_n"][-1] == 1.0
    other = written(tmp_path / "d.jsonl", row(id="other", candidates=["So 8.\n"] * 3, correct=[0] * 3))
    assert main([other, *words[1:]]) == 2
    assert "another solution" in capsys.readouterr().err
