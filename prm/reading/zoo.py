"""Reward models by name: the public ones of zoo.yaml, a specification of your own, a checkpoint."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from prm.reading.layout import Layout, layout_from, read_layout
from search.errors import UsageError

ZOO_FILE = Path(__file__).with_name("zoo.yaml")
SPECIFICATIONS = (".yaml", ".yml", ".json")
HEADS_ON = ("llama", "mistral", "qwen2")
"""Architectures that a reward model of the zoo may have: decoders of one family of names."""


@dataclass(frozen=True, slots=True)
class RewardModel:
    """Where a reward model is, and how it is read; nothing is loaded yet.

    model, tokenizer: paths or hub ids. architecture: of its decoder, as transformers calls it; None
    is what its configuration says. source: where its reading is described. members: of an ensemble, which
    has no weights of its own, the names by which they are found.
    """

    model: str
    tokenizer: str
    layout: Layout
    architecture: str | None
    source: str
    members: tuple[str, ...] = ()


def find(name: str) -> RewardModel:
    """The reward model of that name; no weights are loaded.

    name: of the zoo; a .yaml or .json specification; a checkpoint with `prm.json`, path or hub id, or an
        ensemble's folder. NAME=PATH is a zoo model, or a specification, whose weights and tokenizer are at
        PATH.
    Raises UsageError if there is none, or if it is no reward model.
    """
    if not is_specified(name):
        layout = read_layout(name)
        return RewardModel(name, name, layout, None, name, _members(layout, Path(name), f"{name}/prm.json"))
    if name in zoo():
        return zoo()[name]
    if Path(name).suffix in SPECIFICATIONS:
        return _parse(_read(Path(name)), name)
    known, _, path = name.partition("=")
    if not is_specified(known):
        raise UsageError(f"{name}: {known!r} is no model of the zoo; there is {', '.join(zoo())}")
    return replace(find(known), model=path, tokenizer=path)


def is_specified(name: str) -> bool:
    """Whether it is a zoo model, a specification or NAME=PATH, and not itself a checkpoint."""
    return name in zoo() or Path(name).suffix in SPECIFICATIONS or ("=" in name and not Path(name).exists())


@cache
def zoo() -> Mapping[str, RewardModel]:
    """The public reward models, by name."""
    return {name: _parse(said, f"{ZOO_FILE.name}, {name}") for name, said in _read(ZOO_FILE).items()}


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        said = yaml.safe_load(path.read_text(encoding="utf-8"))  # JSON is YAML
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {' '.join(str(error).split())}") from error
    if not isinstance(said, dict):
        raise UsageError(f"{path}: a specification is a mapping, see prm/reading/zoo.yaml")
    return said


def _parse(said: Mapping[str, Any], where: str) -> RewardModel:
    fields = dict(said)
    if "members" in fields:
        layout = layout_from(fields, where)
        return RewardModel(where, where, layout, None, where, _members(layout, Path(where).parent, where))
    model, architecture = fields.pop("model", None), fields.pop("architecture", None)
    if not isinstance(model, str):
        raise UsageError(f"{where}: 'model' must name a path or hub id")
    if architecture is not None and architecture not in HEADS_ON:
        raise UsageError(f"{where}: architecture {architecture!r}; there is {', '.join(HEADS_ON)}")
    tokenizer, source = fields.pop("tokenizer", model), fields.pop("source", model)
    return RewardModel(model, tokenizer, layout_from(fields, where), architecture, source)


def _members(layout: Layout, folder: Path, where: str) -> tuple[str, ...]:
    """By names that are valid here. Raises UsageError if one is none, or says other things."""
    names = tuple(str(folder / name) if (folder / name).exists() else name for name in layout.members)
    for name in names:
        try:
            member = find(name).layout
        except RecursionError:
            raise UsageError(f"{where} is among its own members") from None
        neutral = {"neutral" in one.labels for one in (member, layout)}
        if len(neutral) > 1 or member.kind != layout.kind:
            raise UsageError(
                f"{where}: {name} is {member.kind} with {', '.join(member.labels)}, the ensemble "
                f"{layout.kind} with {', '.join(layout.labels)}"
            )
    return names


def main() -> None:
    """List the reward models that are known by name."""
    argparse.ArgumentParser(prog="python -m prm.zoo", description=main.__doc__).parse_args()
    for name, entry in zoo().items():
        layout = entry.layout
        print(f"{name:<17} {entry.model:<54} {layout.kind}, {layout.head} head, {layout.aggregate}")


if __name__ == "__main__":
    main()
