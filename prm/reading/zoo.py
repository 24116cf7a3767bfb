"""Reward models by name: bundled ones, the public ones in zoo.yaml, specifications, checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from prm.reading.bundled import PRMS, bundled_adapter, bundled_prm
from prm.reading.layout import Layout, layout_from, read_layout
from prm.reading.local import merged_folder
from search.errors import UsageError

ZOO_FILE = Path(__file__).with_name("zoo.yaml")
SPECIFICATIONS = (".yaml", ".yml", ".json")
DECODERS = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text")
"""Architectures that a specification may name. Their decoders name their weights alike."""


@dataclass(frozen=True, slots=True)
class RewardModel:
    """Where a reward model is and how it reads its input. Nothing is loaded yet.

    model, tokenizer: paths or hub ids. architecture: of the decoder, as transformers calls it; None is the
    one in the checkpoint's configuration. source: where the layout is documented. members: names by which
    the members of an ensemble are found; an ensemble has no weights of its own.
    """

    model: str
    tokenizer: str
    layout: Layout
    architecture: str | None
    source: str
    members: tuple[str, ...] = ()


def find(name: str) -> RewardModel:
    """The reward model with this name. Loads no weights, except to merge an adapter on first use.

    name: a bundled model ("builtin", "weak", "builtin-code"); a name of the zoo; a .yaml or .json
        specification; a checkpoint or LoRA adapter with `prm.json` (path; a checkpoint also by hub id), or
        the folder of an ensemble.
        NAME=PATH is a bundled or zoo model or specification whose weights and tokenizer are at PATH.
    Raises UsageError if there is none, or if it is not a reward model.
    """
    if not is_specified(name):
        name = bundled_prm(name) or bundled_adapter(name)
        layout = read_layout(name)
        members = _members(layout, Path(name), f"{name}/prm.json")
        model = merged_folder(name) or name
        return RewardModel(model, model, layout, None, name, members)
    if name in zoo():
        return zoo()[name]
    if Path(name).suffix in SPECIFICATIONS:
        return _parse(_read(Path(name)), name)
    specification, _, path = name.partition("=")
    if specification not in PRMS and not is_specified(specification):
        raise UsageError(
            f"{name}: {specification!r} is not a model of the zoo, which has {', '.join(zoo())}"
        )
    path = merged_folder(path) or path
    return replace(find(specification), model=path, tokenizer=path)


def is_specified(name: str) -> bool:
    """Whether it is a zoo model, a specification or NAME=PATH, rather than a checkpoint or bundled model."""
    return name in zoo() or Path(name).suffix in SPECIFICATIONS or ("=" in name and not Path(name).exists())


@cache
def zoo() -> Mapping[str, RewardModel]:
    """The public reward models, by name."""
    return {name: _parse(fields, f"{ZOO_FILE.name}, {name}") for name, fields in _read(ZOO_FILE).items()}


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))  # JSON is YAML
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {' '.join(str(error).split())}") from error
    if not isinstance(fields, dict):
        raise UsageError(f"{path}: a specification is a mapping, see prm/reading/zoo.yaml")
    return fields


def _parse(specification: Mapping[str, Any], where: str) -> RewardModel:
    fields = dict(specification)
    if "members" in fields:
        layout = layout_from(fields, where)
        return RewardModel(where, where, layout, None, where, _members(layout, Path(where).parent, where))
    model, architecture = fields.pop("model", None), fields.pop("architecture", None)
    if not isinstance(model, str):
        raise UsageError(f"{where}: 'model' must name a path or hub id")
    if architecture is not None and architecture not in DECODERS:
        raise UsageError(f"{where}: architecture {architecture!r} is not one of {', '.join(DECODERS)}")
    tokenizer, source = fields.pop("tokenizer", model), fields.pop("source", model)
    return RewardModel(model, tokenizer, layout_from(fields, where), architecture, source)


def _members(layout: Layout, folder: Path, where: str) -> tuple[str, ...]:
    """The members' names, paths in `folder` resolved.

    Raises UsageError if one is not a reward model, or if its scores mean something else.
    """
    names = tuple(str(folder / name) if (folder / name).exists() else name for name in layout.members)
    whole = layout.head
    for name in names:
        try:
            member = find(name).layout.head
        except RecursionError:
            raise UsageError(f"{where} is among its own members") from None
        if ("neutral" in member.labels) != ("neutral" in whole.labels) or member.kind != whole.kind:
            raise UsageError(
                f"{where}: {name} cannot be averaged with others: it is {member.kind} with labels "
                f"{', '.join(member.labels)}, the ensemble {whole.kind} with labels {', '.join(whole.labels)}"
            )
    return names
