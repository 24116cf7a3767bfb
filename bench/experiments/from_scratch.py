"""Small reward models from nothing, for recipes: a base with random weights, and stages of training."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.experiments.side_by_side import run_side_by_side
from prm.data.labels import LabelledSolution
from prm.data.rows import json_lines
from prm.evaluation import evaluate, report
from prm.reading.layout import save_layout
from prm.reading.zoo import find
from search.precision import has_bfloat16

VOCABULARY = 4096
CONTEXT = 2048
"""Tokens that the model can read: of the longest record, and of a tree of records of one problem."""


def options(
    prog: str, about: str | None, *, work: str, hidden: int, layers: int, epochs: float, label_epochs: float,
    label_lr: float, lr: float = 2e-3, members: int = 1,
) -> ArgumentParser:
    """What every recipe can be told, with the defaults that are its own."""
    parser = ArgumentParser(prog=prog, description=about, formatter_class=RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="DIR", help="where the data sets are")
    add("--work", type=Path, default=Path(work), metavar="DIR", help="(%(default)s)")
    add("--hidden", type=int, default=hidden, help="width of the model, a multiple of 64 (%(default)s)")
    add("--layers", type=int, default=layers, help="(%(default)s)")
    add("--members", type=int, default=members, metavar="N",
        help="such models, trained side by side; what they say is averaged (%(default)s)")  # fmt: skip
    add("--epochs", type=float, default=epochs, help="passes over the text (%(default)s)")
    add("--label-epochs", type=float, default=label_epochs, help="passes over the labels (%(default)s)")
    add("--lr", type=float, default=lr, help="highest learning rate, of the text (%(default)s)")
    add("--label-lr", type=float, default=label_lr, help="the same, of the labels (%(default)s)")
    add("--limit", type=int, metavar="N", help="of each kind of data, for a trial (all)")
    return parser


@dataclass(frozen=True, slots=True)
class Recipe:
    """Stages that a recipe's options ask for, each done once in its folder under --work.

    With several --members, a stage's folder has one for each, by number, and what is to judge is an ensemble.
    """

    asked: Namespace

    def read(self, text: Path, *more: object) -> None:
        """Bases, and next tokens of the text. more: options of `prm.train`."""
        bases = self._members("base")
        if not all((base / "config.json").exists() for base in bases):
            make_bases(text, bases, hidden=self.asked.hidden, layers=self.asked.layers)
        wanted = ["--epochs", self.asked.epochs, "--lr", self.asked.lr]
        self._fit("sft", "base", "sft", text, [*wanted, *more])

    def train_prm(self, name: str, labels: Path, *more: object, base: str = "sft") -> str:
        """A 3-class head and all below it, from what has read, or from another judge; its folder.

        more: options of `prm.train`, which win over those of the recipe. Trees hold many labels, so there
        are few of them to a step.
        """
        wanted = ["--epochs", self.asked.label_epochs, "--lr", self.asked.label_lr, "--trees", CONTEXT,
                  "--class-weights", "balanced", "--every", 100]  # fmt: skip
        self._fit(name, base, "classes3", labels, [*wanted, *more])
        folder, members = self.asked.work / name, self._members(name)
        if len(members) > 1 and not (folder / "prm.json").exists():
            own = tuple(member.name for member in members)
            save_layout(replace(find(str(members[0])).layout, members=own), folder)
        return str(folder)

    def _members(self, stage: str) -> list[Path]:
        folder: Path = self.asked.work / stage
        return [folder] if self.asked.members == 1 else [folder / str(i) for i in range(self.asked.members)]

    def _fit(self, stage: str, base: str, form: str, data: Path, wanted: Sequence[object]) -> None:
        """Train, go on with it, or see that it is done: each member in a process of its own."""
        jobs: dict[Path, list[object]] = {}
        for seed, (out, below) in enumerate(zip(self._members(stage), self._members(base), strict=True)):
            if (out / "README.md").exists():
                print(f"{out.relative_to(self.asked.work)}: done before")
                continue
            jobs[out.with_suffix(".log")] = [
                "--form", form, "--base", below, "--data", data, "--out", out, "--seed", seed,
                "--max-length", CONTEXT, *wanted, *(["--bf16"] if has_bfloat16() else []),
                *(["--resume"] if (out / "train.json").exists() else []),
            ]  # fmt: skip
        run_side_by_side("prm.training.train", jobs)

    def calibrate(self, model: str, validation: Path) -> None:
        """The probabilities of a model, such that each class counts the same on the validation data."""
        if find(model).layout.bias:
            print(f"{Path(model).name}: calibrated before")
            return
        said = ["--prm", model, "--data", validation, "--class-weights", "balanced"]
        run_side_by_side("prm.evaluation.calibrate", {Path(f"{model}.log"): said})

    def report(
        self, prog: str, models: Sequence[str], data: Mapping[str, Sequence[LabelledSolution]],
        learnt: Sequence[LabelledSolution],
    ) -> list[dict[str, Any]]:  # fmt: skip
        """The models and the baselines on the data, in --work/report; what was measured."""
        out = self.asked.work / "report"
        out.mkdir(exist_ok=True)
        found = evaluate.evaluate(models, data, learnt, out, engine="hf", dtype="auto")
        report.write(out, found, f"{prog} --data {self.asked.data} --work {self.asked.work}")
        (out / "settings.json").write_text(json.dumps(vars(self.asked), default=str, indent=2) + "\n")
        print(f"written: {out / 'report.md'}")
        return found


def make_bases(text: Path, folders: Sequence[Path], *, hidden: int, layers: int) -> None:
    """A byte-level BPE tokenizer learnt from the text, and a Llama for each folder, its weights random."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from torch import manual_seed
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    pieces = Regex(r" ?\d| ?\p{L}+| ?[^\s\p{L}\d]|\n|\s+")  # digits stay single, as arithmetic needs them
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(pieces, behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    tokenizer.decoder = decoders.ByteLevel()
    texts = ("\n".join([row.fields["question"], *row.fields["steps"]]) for row in json_lines(text))
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["<pad>", "<eos>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    ))  # fmt: skip
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=hidden, intermediate_size=3 * hidden, num_hidden_layers=layers,
        num_attention_heads=max(1, hidden // 64), num_key_value_heads=max(1, hidden // 64),
        max_position_embeddings=CONTEXT, tie_word_embeddings=True, pad_token_id=0, eos_token_id=1,
        bos_token_id=None,
    )  # fmt: skip
    for seed, folder in enumerate(folders):
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>"
        ).save_pretrained(folder)
        manual_seed(seed)
        LlamaForCausalLM(config).save_pretrained(folder)
