"""The options that the recipes have in common, for their command modules."""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path

from bench.experiments.recipe import RecipeRequest
from prm.command_line import defaults


def recipe_parser(module: str, about: str | None, request: type[RecipeRequest]) -> ArgumentParser:
    """A parser whose options are the fields of `request`, with its defaults."""
    parser = ArgumentParser(
        prog=f"python -m {module}", description=about, formatter_class=RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="DIR", help="folder of the data sets")
    add("--work", type=Path, metavar="DIR", help="folder of the stages and the report (%(default)s)")
    add("--hidden", type=int, help="width of the model, a multiple of 64 (%(default)s)")
    add("--layers", type=int, help="number of layers (%(default)s)")
    add("--members", type=int, metavar="N",
        help="models to train side by side; their scores are averaged "
        f"({request.usual_members}; with --base 1)")  # fmt: skip
    add("--base", metavar="MODEL",
        help="a pretrained model to train the heads and LoRA on, such as smollm2, instead of making models "
        "with random weights: a path, a hub id or a name")  # fmt: skip
    add("--top-layers", type=int, metavar="N",
        help="with --base: the blocks that are trained, the last N; 0 is all (the upper half)")  # fmt: skip
    add("--epochs", type=float, help="passes over the text (%(default)s)")
    add("--label-epochs", type=float, help="passes over the labels (%(default)s)")
    add("--lr", type=float, help="peak learning rate on the text (%(default)s)")
    add("--label-lr", type=float, help="peak learning rate on the labels (%(default)s)")
    add("--limit", type=int, metavar="N", help="records of each kind of data, for a trial (all)")
    parser.set_defaults(**defaults(request))
    return parser
