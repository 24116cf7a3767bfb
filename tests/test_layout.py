"""Layouts: their parts, their checks, and prm.json, which is read and written back unchanged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.runner.checkpoints import BUILTIN
from prm.reading.calibration import Calibration
from prm.reading.head import LABELS, Head
from prm.reading.layout import Layout, layout_from, read_layout, save_layout
from prm.reading.template import Template
from prm.reading.zoo import ZOO_FILE, zoo
from search.errors import ScorerError, UsageError

BUNDLED = sorted(path.parent for path in BUILTIN.glob("*/prm.json"))
ELSEWHERE = {"model", "tokenizer", "architecture", "source"}
"""Fields of a specification that are not of its layout."""

EVERY_FIELD = {
    "question": "Q: {question}", "separator": "<s>", "labels": ["positive", "negative"],
    "step": "{number}. {step}", "lead": " ", "between": "\n", "chat": True, "reply": "+", "requires": ["<s>"],
    "head": "tokens", "weights": "v_head", "tokens": ["+", "-"], "kind": "outcome", "aggregate": "mean",
    "accept": 0.25, "reject": 0.75, "temperature": 1.5, "bias": [0.5, -0.5], "members": ["a", "b"],
}  # fmt: skip


def written(layout: Layout, folder: Path) -> str:
    save_layout(layout, folder)
    return (folder / "prm.json").read_text()


@pytest.mark.parametrize("folder", BUNDLED, ids=lambda folder: folder.name)
def test_a_bundled_prm_json_is_written_back_byte_for_byte(folder: Path, tmp_path: Path) -> None:
    assert written(read_layout(str(folder)), tmp_path) == (folder / "prm.json").read_text()


def test_there_are_bundled_layouts() -> None:
    assert {folder.name for folder in BUNDLED} >= {"prm", "prm-weak", "code-prm"}


@pytest.mark.parametrize("name", zoo())
def test_a_layout_of_the_zoo_is_written_and_read_back(name: str, tmp_path: Path) -> None:
    entry = yaml.safe_load(ZOO_FILE.read_text(encoding="utf-8"))[name]
    layout = zoo()[name].layout
    fields = json.loads(written(layout, tmp_path))
    defaults = json.loads(written(Layout(), tmp_path)) | {"head": "linear", "weights": "score"}
    assert defaults | fields == defaults | {k: v for k, v in entry.items() if k not in ELSEWHERE}
    assert layout_from(fields, "prm.json") == layout


def test_every_field_has_its_place(tmp_path: Path) -> None:
    layout = layout_from(EVERY_FIELD, "prm.json")
    assert layout == Layout(
        Template("Q: {question}", "<s>", "{number}. {step}", " ", "\n", True, "+", ("<s>",)),
        Head("tokens", "v_head", ("+", "-"), ("positive", "negative"), "outcome"),
        Calibration(0.25, 0.75, 1.5, (0.5, -0.5)), "mean", ("a", "b"),
    )  # fmt: skip
    fields = json.loads(written(layout, tmp_path))
    assert list(fields.items()) == list(EVERY_FIELD.items()), "fields in their order"


def test_defaults_are_left_out_but_for_the_fields_that_say_most(tmp_path: Path) -> None:
    assert list(json.loads(written(Layout(), tmp_path))) == ["question", "separator", "labels"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"question": "Q"}, "question must hold {question}"),
        ({"step": ""}, "and step {step}"),
        ({"separator": ""}, "separator must not be empty"),
        ({"labels": ["good"]}, "labels must be"),
        ({"head": "conv"}, "head is one of linear, mlp, tokens, mean_logit"),
        ({"kind": "both"}, "kind is one of process, outcome"),
        ({"aggregate": "median"}, "aggregate is one of last, min, product, mean"),
        ({"head": "tokens", "tokens": ["+"]}, "one token per label"),
        ({"head": "mean_logit"}, "has one output"),
        ({"accept": 1.5}, "accept=1.5 must lie between 0 and 1"),
        ({"reject": -1}, "reject=-1 must lie between 0 and 1"),
        ({"temperature": 0}, "temperature=0 must be above 0"),
        ({"bias": [0.1]}, "one number per label"),
        ({"bias": [0.1, 0.2, float("inf")]}, "must be finite"),
        ({"bias": ["a", "b", "c"]}, "is not a layout: "),
        ({"template": {}, "seperator": ""}, "is not a layout: there is no field seperator, template"),
    ],
)
def test_a_bad_field_is_named(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError) as raised:
        layout_from(fields, "mine/prm.json")
    assert str(raised.value).startswith("mine/prm.json") and reason in str(raised.value)
    assert str(raised.value).count("prm.json") == 1


def test_an_outcome_model_and_a_conversation_need_no_separator() -> None:
    assert not Layout(Template(separator=""), Head(kind="outcome")).template.separator
    assert not Layout(Template(separator="", chat=True)).template.separator


def test_probabilities_are_scaled_as_logits_are() -> None:
    plain = Calibration().step_score(("positive", "negative"), (0.2, 0.8))
    assert (plain.negative, plain.neutral, plain.positive) == (0.8, 0.0, 0.2)
    one = Calibration(temperature=0.5).step_score(("positive",), (0.2,))
    assert one.positive == pytest.approx(0.2**2 / (0.2**2 + 0.8**2))  # half the temperature: powers of 2
    shifted = Calibration(bias=(1.0, 0.0, 0.0)).step_score(LABELS, (0.5, 0.2, 0.3))
    assert shifted.negative / shifted.positive == pytest.approx(2.718281828 * 0.5 / 0.3)
    with pytest.raises(ScorerError):
        Calibration().step_score(("negative", "positive"), (0.9, 0.9))


def test_values_of_steps_make_the_value_of_a_solution() -> None:
    values = (0.5, 0.25, 0.75)
    by_aggregate = {"last": 0.75, "min": 0.25, "product": 0.09375, "mean": 0.5}
    for aggregate, value in by_aggregate.items():
        assert layout_from({"aggregate": aggregate}, "").solution_value(values) == value
    assert layout_from({"aggregate": "min", "kind": "outcome"}, "").solution_value(values) == 0.75
