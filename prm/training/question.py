"""The template around the question that a model is trained with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prm.reading.checkpoint import read_json
from prm.reading.template import Template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

FIELD = "{question}"


def question_template(base: str, tokenizer: PreTrainedTokenizerFast) -> str:
    """What stands around a question in the prompts of the base model.

    That is the template of the base's own prm.json, if it is a reward model; else the one that `prm.train`
    or `prm.tune` trained it with; else its chat template, with the question as the user's turn; else the
    question and a newline.

    base: a path or hub id. Raises UsageError if a file of the base is not JSON.
    """
    if (template := recorded_template(Path(base) / "prm.json")) is not None:
        return template
    for fields in _runs(base):
        return str(fields.get("question", Template().question))
    if tokenizer.chat_template:
        rendered = chat_question(tokenizer)
        if rendered.count(FIELD) == 1:
            return rendered
    return Template().question


def trained_template(folder: str, tokenizer: PreTrainedTokenizerFast) -> str | None:
    """What stood around a question when a language model was trained by `prm.train` or `prm.tune`.

    None if it was not, or if that is just its chat template with the question as the user's turn.
    """
    for fields in _runs(folder):
        template = fields.get("question", Template().question)
        if not isinstance(template, str) or template.count(FIELD) != 1:
            continue
        is_chat = bool(tokenizer.chat_template) and template == chat_question(tokenizer)
        return None if is_chat else template.replace("{bos}", tokenizer.bos_token or "")
    return None


def _runs(folder: str) -> Iterator[dict[str, Any]]:
    """The settings of a run of `prm.train`, and of one of `prm.tune`, that made a model. Other files of these
    names, such as training data, are left alone.
    """
    for name, kind in (("train.json", "form"), ("tune.json", "method")):
        try:
            fields = json.loads((Path(folder) / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(fields, dict) and {"base", kind} <= fields.keys():
            yield fields


def recorded_template(path: Path) -> str | None:
    """The question's template in one of these files, None if there is no such file.

    A train.json without one is of a run that used the default.
    """
    if not path.is_file() or not path.stat().st_size:
        return None
    return str(read_json(path, str(path)).get("question", Template().question))


def chat_question(tokenizer: PreTrainedTokenizerFast) -> str:
    """The chat template with the question in the user's turn, as text that an `Encoder` reads."""
    turn = [{"role": "user", "content": FIELD}]
    text = str(tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True))
    bos = tokenizer.bos_token
    if isinstance(bos, str) and text.startswith(bos):
        text = text.removeprefix(bos)
        if tokenizer("").input_ids[:1] != [tokenizer.bos_token_id]:  # else it comes before any text
            text = "{bos}" + text
    return text
