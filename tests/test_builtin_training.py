"""The training data of the built-in models, and the initial weights of their reward model."""

from __future__ import annotations

import re
from itertools import islice

from bench.tasks.generated.checker import DERIVATION, label_steps
from bench.tasks.generated.graph import Relation
from bench.tasks.generated.problems import WordProblem, generate
from bench.tasks.generated.wording import step_text
from prm.reading.encoder import Encoder

PROBLEMS = list(generate("test", 0, 300))


def test_the_targets_are_the_solution_alone() -> None:
    from bench.builtin.tokenizer import build_tokenizer
    from bench.builtin.training import IGNORED, encode_solution

    tokenizer = build_tokenizer()
    for problem in PROBLEMS[:50]:
        example = encode_solution(tokenizer, problem)
        used = [i for i, target in enumerate(example.targets) if target != IGNORED]
        assert [example.targets[i] for i in used] == [example.token_ids[i + 1] for i in used]
        assert used == list(range(used[0], len(example.token_ids) - 1))
        assert tokenizer.decode(example.token_ids[: used[0] + 1]) == f"Question: {problem.question}\n"
        assert tokenizer.decode(example.token_ids[used[0] + 1 :]) == "\n".join(problem.steps) + "<eos>"


def test_a_new_model_begins_with_an_induction_head() -> None:
    """After "Ann has", it attends to the right tokens far more than uniform attention would."""
    import torch

    from bench.builtin.networks import Size, new_policy
    from bench.builtin.tokenizer import build_tokenizer
    from bench.builtin.training import encode_solution

    tokenizer, model = build_tokenizer(), new_policy(Size(128, 2), seed=0)
    verbs = {tokenizer(f" {verb}").input_ids[0] for verb in ("has", "costs", "weighs", "walks")}
    attended, even = [], []
    for problem in PROBLEMS[:20]:
        ids = encode_solution(tokenizer, problem).token_ids
        with torch.no_grad():
            attention = model(input_ids=torch.tensor([ids]), output_attentions=True).attentions[1][0, 0]
        for at in range(len(ids)):
            beside = [i for i in range(2, at) if ids[i - 2] == ids[at - 1]]
            if ids[at] in verbs and beside:
                attended.append(float(attention[at, beside].sum()))
                even.append(len(beside) / (at + 1))
    assert sum(attended) > 5 * sum(even)


def test_a_recall_exercise_has_known_values_as_targets() -> None:
    import random

    from bench.builtin.tokenizer import build_tokenizer
    from bench.builtin.training import IGNORED, RECALLED, encode_recall

    tokenizer = build_tokenizer()
    for problem in PROBLEMS[:50]:
        exercise = encode_recall(tokenizer, problem, random.Random(0))
        recalled = re.findall(rf" ([A-Za-z ]+?) {problem.verb} (\d+)\.", tokenizer.decode(exercise.token_ids))
        facts = {q.name: q for q in problem.quantities}
        assert 1 <= len(recalled) == len(set(recalled)) <= RECALLED
        for name, value in recalled:
            assert facts[name].value == int(value)
            assert name in problem.needed() or facts[name].relation is Relation.GIVEN
        targets = [t for t in exercise.targets if t != IGNORED]
        assert tokenizer.decode(targets) == "".join(f" {value}" for _, value in recalled)
        assert targets == [exercise.token_ids[i + 1] for i, t in enumerate(exercise.targets) if t != IGNORED]


def test_synthetic_mistakes_are_labelled_by_the_checker_and_of_every_kind() -> None:
    import random

    from bench.builtin.mistakes import attempt

    rng, wrong = random.Random(0), list[str]()
    for problem in PROBLEMS * 5:
        steps = attempt(problem, rng)
        assert [step.label for step in steps] == label_steps(problem, [step.text for step in steps])
        assert all(step.label >= 0 and step.text == step.right for step in steps[:-1])
        if steps[-1].label == -1:
            assert steps[-1].right in ("", *_right_steps(problem))
            wrong.append(steps[-1].text)
    assert 0.5 < len(wrong) / (5 * len(PROBLEMS)) < 0.75
    formed = [text for text in wrong if DERIVATION.fullmatch(text)]
    assert len(formed) > len(wrong) / 2 and any(text.startswith("The answer") for text in wrong)
    sums = [re.findall(r"(\d+) ([-+*/]) (\d+) = (\d+)", text)[0] for text in formed]
    assert {sign for _, sign, _, _ in sums} == set("+-*/")
    assert any(int(a) + int(b) != int(c) for a, sign, b, c in sums if sign == "+")


def _right_steps(problem: WordProblem) -> list[str]:
    by_name = {q.name: q for q in problem.quantities}
    derived = [q for q in problem.quantities if q.relation is not Relation.GIVEN]
    return [step_text(problem.verb, problem.unit, q, by_name) for q in derived] + [problem.steps[-1]]


def test_an_error_is_labelled_from_its_first_token_on() -> None:
    from bench.builtin.mistakes import Attempt
    from bench.builtin.tokenizer import build_tokenizer
    from bench.builtin.training import IGNORED, encode_attempt

    tokenizer, problem = build_tokenizer(), PROBLEMS[0]
    right = "For Ben: Ann has 7, 7 + 12 = 19, so Ben has 19 pens."
    wrong = right.replace("12 =", "13 =")
    example = encode_attempt(tokenizer, problem, [Attempt(right, 1, right), Attempt(wrong, -1, right)])
    labelled = [i for i, target in enumerate(example.targets) if target != IGNORED]
    good = [example.token_ids[i] for i in labelled if example.targets[i] == 2]
    bad = [example.token_ids[i] for i in labelled if example.targets[i] == 0]
    assert labelled == sorted(labelled) and len(good) + len(bad) == len(labelled)
    assert tokenizer.decode(good) == right[right.index(":") :] + "\n"
    assert tokenizer.decode(bad) == wrong[wrong.index(" 13") :] + "\n"


def test_a_new_reward_model_computes_what_its_backbone_predicted() -> None:
    """Its first layers are the backbone's; the agreement that the next one computes is the token's logit."""
    import torch
    from transformers import LlamaForCausalLM

    from bench.builtin.prm_network import ROOM, new_prm
    from bench.builtin.tokenizer import build_tokenizer
    from bench.builtin.training import backbone_samples
    from bench.runner.checkpoints import BUILTIN
    from prm.reading.head import LABELS

    tokenizer, backbone = build_tokenizer(), LlamaForCausalLM.from_pretrained(BUILTIN / "backbone").float()
    layers, hidden = backbone.config.num_hidden_layers, backbone.config.hidden_size
    prm = new_prm(backbone, LABELS, backbone_samples(), seed=0)
    agreed, logits = [], []
    for problem in PROBLEMS[:10]:
        text = f"Question: {problem.question}\n" + "\n".join(problem.steps).replace("1", "2")
        ids = torch.tensor([tokenizer(text).input_ids])
        with torch.no_grad():
            states = prm.model(input_ids=ids, output_hidden_states=True).hidden_states
            expected = backbone(input_ids=ids, output_hidden_states=True)
        below = expected.hidden_states[layers - 1]
        assert (states[layers - 1][..., :hidden] - below).norm() < 0.01 * below.norm()
        logits += expected.logits[0, :-1].gather(1, ids[0, 1:, None])[:, 0].tolist()
        agreed += states[layers + 1][0, 1:, hidden + ROOM - 1].tolist()
    both = torch.tensor([agreed, logits])
    assert torch.corrcoef(both)[0, 1] > 0.9
    live = {name for name, p in prm.named_parameters() if p.requires_grad}
    assert {name.split(".")[2] for name in live if ".layers." in name} == {str(layers + 1), str(layers + 2)}


def test_a_label_is_at_the_newline_that_ends_its_step() -> None:
    from bench.builtin.recipe import LAYOUT
    from bench.builtin.sampling import labelled
    from bench.builtin.tokenizer import build_tokenizer
    from bench.builtin.training import IGNORED, encode_labels
    from search.types import Step, Stop

    tokenizer = build_tokenizer()
    [newline] = tokenizer("\n").input_ids
    for problem in PROBLEMS[:50]:
        lines = [problem.steps[0], problem.steps[0], "nonsense", problem.steps[-1]]
        solution = labelled(problem, lines, "test")
        assert (solution.steps, solution.labels) == (tuple(lines[:3]), (1, 0, -1))
        example = encode_labels(tokenizer, LAYOUT, solution)
        ends = [i for i, target in enumerate(example.targets) if target != IGNORED]
        assert [example.targets[i] for i in ends] == [2, 1, 0]
        assert all(example.token_ids[i] == newline for i in ends)
        read = [tokenizer.decode(example.token_ids[: end + 1]) for end in ends]
        whole = [f"Question: {problem.question}", *lines[:3]]
        assert read == ["\n".join(whole[: n + 2]) + "\n" for n in range(3)]
        steps = [Step(f"{line}\n", (), 0.0, Stop.STEP) for line in lines[:3]]
        encode = Encoder(LAYOUT, tokenizer)  # as scorers encode it
        pieces = encode(problem.question, [step.text for step in steps])
        assert [token for piece in pieces for token in piece] == example.token_ids


def test_batches_contain_every_example_once() -> None:
    from bench.builtin.tokenizer import build_tokenizer
    from bench.builtin.training import IGNORED, batches, encode_solution

    tokenizer = build_tokenizer()
    examples = [encode_solution(tokenizer, problem) for problem in islice(PROBLEMS, 60)]
    rows = []
    for ids, targets in batches(examples, 1024, 0):
        assert ids.shape == targets.shape and (ids.numel() <= 1024 or len(ids) == 1)
        assert (targets[ids == 0] == IGNORED).all()
        rows += [[token for token in row if token] for row in ids.tolist()]
    assert sorted(rows) == sorted(example.token_ids for example in examples)
