"""The built-in task: problems, the checker, the tokenizer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bench.tasks.generated.checker import label_steps
from bench.tasks.generated.graph import Difficulty, Quantity, Relation
from bench.tasks.generated.problems import PROMPT, SPLITS, WordProblem, generate, split_of
from bench.tasks.generated.wording import step_text

HARD = Difficulty(min_steps=6, max_steps=8, distractors=4, max_value=1000)
PROBLEMS = list(generate("test", 0, 300))


@cache
def by_split() -> dict[str, list[WordProblem]]:
    return {split: list(generate(split, 5, 800)) for split in SPLITS}


# -- the generator -------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", SPLITS)
def test_problems_are_a_pure_function_of_the_arguments(split: str) -> None:
    once = list(generate(split, 3, 20))
    assert once == list(generate(split, 3, 20))
    assert once[:5] == list(generate(split, 3, 5))
    assert {p.question for p in once}.isdisjoint(p.question for p in generate(split, 4, 20))
    assert len({p.id for p in once}) == 20


@pytest.mark.parametrize("difficulty", [Difficulty(), Difficulty(1, 1, 0, 40), HARD])
def test_problems_keep_within_their_difficulty(difficulty: Difficulty) -> None:
    problems = list(generate("train", 0, 200, difficulty))
    for problem in problems:
        assert difficulty.min_steps <= problem.n_steps <= difficulty.max_steps
        assert len(problem.quantities) - len(problem.needed()) <= difficulty.distractors
        assert all(2 <= q.value <= difficulty.max_value for q in problem.quantities)
    assert {p.n_steps for p in problems} == set(range(difficulty.min_steps, difficulty.max_steps + 1))


def value_of(name: str, quantities: Sequence[Quantity]) -> int:
    """By recursion over the facts alone, written without the generator's arithmetic."""
    [fact] = [q for q in quantities if q.name == name]
    sources = [value_of(source, quantities) for source in fact.sources]
    if fact.relation is Relation.GIVEN:
        return fact.number
    if fact.relation is Relation.TOGETHER:
        return sources[0] + sources[1]
    if fact.relation is Relation.HALF:
        assert sources[0] % 2 == 0 and fact.number == 2
        return sources[0] // 2
    if fact.relation is Relation.TIMES:
        return sum(sources * fact.number)
    return sources[0] + {Relation.MORE: 1, Relation.FEWER: -1}[fact.relation] * fact.number


def test_answers_follow_from_the_facts() -> None:
    for problem in PROBLEMS:
        assert value_of(problem.target, problem.quantities) == problem.answer
        assert problem.steps[-1] == f"The answer is {problem.answer}."
        for quantity in problem.quantities:
            assert value_of(quantity.name, problem.quantities) == quantity.value


def test_a_step_often_needs_another_value_than_the_one_before_it_calculated() -> None:
    """Otherwise a model that always repeats the last value would seem to look values up."""
    last = other = 0
    for problem in PROBLEMS:
        needed = [q for q in problem.quantities if q.name in problem.needed()]
        derived = [q for q in needed if q.relation is not Relation.GIVEN]
        for before, quantity in pairwise(derived):
            last += quantity.sources.count(before.name)
            other += len(quantity.sources) - quantity.sources.count(before.name)
    assert other > last / 2


def test_a_fact_refers_only_to_earlier_facts() -> None:
    for problem in PROBLEMS:
        names = [q.name for q in problem.quantities]
        assert len(set(names)) == len(names)
        for index, quantity in enumerate(problem.quantities):
            assert set(quantity.sources) <= set(names[:index])
            arity = {Relation.GIVEN: 0, Relation.TOGETHER: 2}.get(quantity.relation, 1)
            assert len(set(quantity.sources)) == arity


def test_the_question_states_every_fact_and_asks_for_the_target() -> None:
    for problem in PROBLEMS:
        *facts, question = re.findall(r"[^.?]+[.?]", problem.question)
        assert len(facts) == len(problem.quantities)
        for fact, quantity in zip(facts, problem.quantities, strict=True):
            for name in (quantity.name, *quantity.sources):
                assert re.search(rf"(?i)\b{name}\b", fact)
            if quantity.relation not in (Relation.HALF, Relation.TOGETHER):
                assert re.search(rf"\b{quantity.number}\b", fact)
        assert question.endswith("?") and problem.target in question


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"min_steps": 0}, "0 to 8 steps"),
        ({"min_steps": 5, "max_steps": 4}, "5 to 4 steps"),
        ({"max_value": 39}, "max_value=39"),
        ({"distractors": -1}, "-1 distractors"),
        ({"max_steps": 10, "distractors": 1}, "names for 20 quantities"),
    ],
)
def test_a_difficulty_that_makes_no_sense_is_refused(arguments: dict[str, int], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Difficulty(**arguments)


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown split 'dev': the splits are validation, test, train"):
        next(generate("dev", 0, 1))


# -- the splits ----------------------------------------------------------------------------------------


def test_no_two_splits_share_a_question() -> None:
    texts = [{p.question for p in problems} for problems in by_split().values()]
    assert [len(t) for t in texts] == [800] * 3
    assert len(set.union(*texts)) == 2400


def test_no_two_splits_share_a_needed_graph() -> None:
    for split, problems in by_split().items():
        assert {split_of(p.quantities, p.target) for p in problems} == {split}


def test_names_distractors_and_the_order_of_the_facts_do_not_change_the_split() -> None:
    for problem in PROBLEMS:
        renamed = [
            replace(q, name=f"x{q.name}", sources=tuple(f"x{s}" for s in q.sources[::-1]))
            for q in problem.quantities
        ]
        bare = [q for q in renamed if q.name[1:] in problem.needed()]
        for quantities in (renamed, bare, renamed[::-1], bare[::-1]):
            assert split_of(tuple(quantities), f"x{problem.target}") == "test"


def test_the_calculation_determines_the_split() -> None:
    """A problem with another number or relation anywhere in the needed graph is another problem."""
    given, more = Quantity("a", Relation.GIVEN, (), 5, 5), Quantity("b", Relation.MORE, ("a",), 3, 8)
    splits = {
        kind: [split_of((given, replace(more, relation=kind, number=n)), "b") for n in range(200)]
        for kind in (Relation.MORE, Relation.FEWER)
    }
    assert all(set(drawn) == set(SPLITS) for drawn in splits.values())
    assert splits[Relation.MORE] != splits[Relation.FEWER]


# -- the checker ---------------------------------------------------------------------------------------


def test_every_step_of_a_worked_solution_is_correct() -> None:
    for problem in PROBLEMS:
        assert label_steps(problem, problem.steps) == [1] * len(problem.steps)
        assert label_steps(problem, [f" {step}\n" for step in problem.steps]) == [1] * len(problem.steps)


def all_derivations(problem: WordProblem) -> list[str]:
    """Correct steps for every derived quantity, including distractors, in the order of the facts."""
    facts = {q.name: q for q in problem.quantities}
    derived = [q for q in problem.quantities if q.relation is not Relation.GIVEN]
    return [step_text(problem.verb, problem.unit, q, facts) for q in derived]


@given(st.data())
def test_any_slip_in_a_step_is_an_error(data: st.DataObject) -> None:
    """One number, name, sign or word of a step is replaced by another."""
    problem = data.draw(st.sampled_from(PROBLEMS))
    index = data.draw(st.integers(0, len(problem.steps) - 1))
    step = problem.steps[index]
    names = sorted(q.name for q in problem.quantities)
    kinds = [(r"\d+", st.integers(0, 999).map(str)), (r"(?<= )[-+*/](?= )", st.sampled_from("+-*/"))]
    kinds.append(("|".join(names), st.sampled_from(names)))
    words = ["has", "costs", "coins", "hours"]
    kinds.append((rf"\b({problem.verb}|{problem.unit})\b", st.sampled_from(words)))
    pattern, others = data.draw(st.sampled_from(kinds))
    places = list(re.finditer(pattern, step))
    assume(places)
    place = data.draw(st.sampled_from(places))
    other = data.draw(others)
    wrong = step[: place.start()] + other + step[place.end() :]
    assume(wrong != step and wrong not in all_derivations(problem))
    labels = label_steps(problem, [*problem.steps[:index], wrong])
    assert labels == [1] * index + [-1], wrong


def test_a_repeated_step_is_neutral() -> None:
    for problem in PROBLEMS:
        steps = [step for step in problem.steps for _ in range(2)]
        assert label_steps(problem, steps) == [1, 0] * len(problem.steps)


def test_a_correct_step_that_the_answer_does_not_need_is_neutral() -> None:
    seen = 0
    for problem in PROBLEMS:
        steps = all_derivations(problem)
        wanted = [1 if step in problem.steps else 0 for step in steps]
        assert label_steps(problem, steps) == wanted
        seen += wanted.count(0)
    assert seen > 100


def test_a_step_before_what_it_needs_is_an_error() -> None:
    seen = 0
    for problem in PROBLEMS:
        facts = {q.name: q for q in problem.quantities}
        given_ = {q.name for q in problem.quantities if q.relation is Relation.GIVEN}
        for index, step in enumerate(problem.steps[:-1]):
            derived = [q for q in problem.quantities if q.name in problem.needed() and q.name not in given_]
            if not set(facts[derived[index].name].sources) <= given_:
                assert label_steps(problem, [step]) == [-1]
                seen += 1
    assert seen > 100


def test_an_answer_before_the_target_is_known_is_an_error() -> None:
    for problem in PROBLEMS:
        for end in range(problem.n_steps):
            assert label_steps(problem, [*problem.steps[:end], problem.steps[-1]])[-1] == -1


def test_the_terms_of_a_sum_or_product_may_be_swapped() -> None:
    swapped = 0
    for problem in PROBLEMS:
        for index, step in enumerate(problem.steps[:-1]):
            turned = re.sub(r"(\d+) ([-+*/]) (\d+) =", r"\3 \2 \1 =", step)
            if turned == step:
                continue
            label = label_steps(problem, [*problem.steps[:index], turned])[-1]
            assert label == (1 if re.search(r" [+*] ", step) else -1), turned
            swapped += label
    assert swapped > 100


@pytest.mark.parametrize("text", ["", " ", "?", "The answer is", "The answer is 7", "Ann has 7 marbles."])
def test_text_that_is_not_a_step_is_an_error(text: str) -> None:
    assert label_steps(PROBLEMS[0], [text]) == [-1]


@given(st.lists(st.sampled_from(PROBLEMS[0].steps + PROBLEMS[1].steps) | st.text(max_size=30), max_size=8))
def test_any_text_gets_one_label_per_step(steps: list[str]) -> None:
    labels = label_steps(PROBLEMS[0], steps)
    assert len(labels) == len(steps) and set(labels) <= {-1, 0, 1}
    assert labels[:3] == label_steps(PROBLEMS[0], steps[:3])  # a label does not depend on later steps


# -- the tokenizer -------------------------------------------------------------------------------------


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_decoded_unchanged(text: str) -> None:
    from bench.builtin.tokenizer import build_tokenizer

    assume("<pad>" not in text and "<eos>" not in text)
    tokenizer = build_tokenizer()
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_every_word_and_number_of_the_task_is_one_token() -> None:
    from bench.builtin.tokenizer import build_tokenizer

    tokenizer = build_tokenizer()
    for problem in [*PROBLEMS, *generate("validation", 9, 300)]:
        text = PROMPT.format(question=problem.question) + "\n".join(problem.steps)
        words = re.findall(r" ?\d+| ?[A-Za-z]+|\n| ?[^\sA-Za-z\d]+", text)
        assert "".join(words) == text
        tokens = tokenizer.convert_ids_to_tokens(tokenizer(text).input_ids)
        assert [token.replace("Ġ", " ").replace("Ċ", "\n") for token in tokens] == words


def test_each_tokenizer_is_a_new_copy() -> None:
    from bench.builtin.tokenizer import build_tokenizer

    one, other = build_tokenizer(), build_tokenizer()
    one.padding_side, one.chat_template = "left", "{{ 1 }}"
    one.add_tokens(["<more>"])
    assert (other.padding_side, other.chat_template, len(other)) == ("right", None, len(one) - 1)


def test_the_chat_template_gives_the_prompt_of_training() -> None:
    from bench.builtin.recipe import CHAT_TEMPLATE
    from bench.builtin.tokenizer import build_tokenizer
    from bench.tasks.builtin import Builtin
    from search.policies.stepping import encode_prompt

    tokenizer = build_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE
    plain, chat = (encode_prompt(tokenizer, Builtin.prompts[name], "2 + 2?") for name in ("plain", "chat"))
    assert plain == chat and plain.text == "Question: 2 + 2?\n"
