"""Reward models, from random weights or on a pretrained model: the stages that the recipes share."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

from bench.experiments.side_by_side import run_side_by_side
from bench.experiments.stages import claim
from prm.command_line import command_line
from prm.data.labels import LabelledSolution
from prm.data.rows import json_lines
from prm.evaluation import report
from prm.evaluation.calibrate import CalibrateRequest, calibrate_prm
from prm.evaluation.evaluate import evaluate_prms
from prm.reading.checkpoint import read_config
from prm.reading.layout import save_layout
from prm.reading.local import local_base
from prm.reading.zoo import find
from prm.training.request import TrainRequest
from prm.training.train import train
from search.errors import UsageError
from search.precision import has_bfloat16

LORA = 4
"""Rank of the adapter, on a pretrained model."""
VOCABULARY = 4096
CONTEXT = 2048
"""Tokens that the model can read: the longest record, and the largest tree of records of one problem."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeRequest:
    """What every recipe takes; each recipe has its own defaults.

    data: the folder of the data sets. work: the folder of the stages.
    hidden: width of the model, a multiple of 64. layers: its number of layers.
    members: models to train side by side; their scores are averaged. None is `usual_members`, or 1 with a
        base.
    base: a pretrained model to train the reward models on, instead of models with random weights: a path, a
        hub id or a name. Its last `top_layers` blocks get LoRA, of rank `LORA`: None is the upper half of
        its blocks, 0 all of them.
    epochs, lr: passes over the text, and the peak learning rate. label_epochs, label_lr: of the labels.
    limit: records of each kind of data, for a trial; None is all.
    """

    data: Path
    work: Path
    hidden: int
    layers: int
    members: int | None = None
    base: str | None = None
    top_layers: int | None = None
    epochs: float
    label_epochs: float
    lr: float = 2e-3
    label_lr: float
    limit: int | None = None

    usual_members: ClassVar[int] = 1

    @property
    def number(self) -> int:
        """How many models are trained side by side."""
        return self.members or (self.usual_members if self.base is None else 1)

    def validate(self) -> None:
        """Raise UsageError, which lists everything that is wrong."""
        if faults := list(self._faults()):
            raise UsageError(*faults)

    def _faults(self) -> Iterator[str]:
        if not self.data.is_dir():
            yield f"--data {self.data}: there is no such folder"
        for name in ("hidden", "layers", "members", "limit"):
            if (value := getattr(self, name)) is not None and value < 1:
                yield f"--{name} {value}: must be at least 1"
        for name in ("epochs", "label_epochs", "lr", "label_lr"):
            if (value := getattr(self, name)) <= 0:
                yield f"--{name.replace('_', '-')} {value}: must be more than 0"
        if self.hidden % 64:
            yield f"--hidden {self.hidden}: must be a multiple of 64"
        if self.base is None:
            if self.top_layers is not None:
                yield "--top-layers is for a pretrained model: name it with --base"
            return
        usual = {field.name: field.default for field in fields(self)}
        for name in ("hidden", "layers", "epochs", "lr"):
            if getattr(self, name) != usual[name]:
                yield f"--{name} is for models with random weights, not for --base"
        try:
            blocks = _blocks(self.base)
        except UsageError as error:
            yield f"--base: {error}"
        else:
            if self.top_layers is not None and not 0 <= self.top_layers < blocks:
                yield f"--top-layers {self.top_layers}: must be 0 (all) to {blocks - 1} for {self.base}"


def _blocks(base: str) -> int:
    """The number of blocks of a pretrained model. Raises UsageError."""
    config = read_config(local_base(base))
    blocks = config.get("num_hidden_layers")
    if not isinstance(blocks, int):
        raise UsageError(f"{base}: its config.json does not say how many blocks it has")
    return blocks


@dataclass(frozen=True, slots=True)
class Recipe:
    """The stages of a recipe, each run once and kept in its folder under `request.work`.

    With several members, a stage has a numbered folder for each, and the reward model is an ensemble.
    module: the command of the recipe.
    """

    module: str
    request: RecipeRequest

    def claim(self) -> None:
        """Note in the folder what its stages are of. Raises UsageError if they are of something else."""
        request = self.request
        settings = {**asdict(request), "members": request.number, "data": str(request.data.resolve())}
        for name in ("work", "adapter"):
            settings.pop(name, None)
        claim(self.request.work, settings)

    def read(self, text: Path, **changes: Any) -> None:
        """Make base models with random weights and train them on the text (stages "base" and "sft").

        changes: fields of `TrainRequest` that differ from the recipe's.
        """
        bases = self._members("base")
        if not all((base / "config.json").exists() for base in bases):
            make_bases(text, bases, hidden=self.request.hidden, layers=self.request.layers)
        fields = {"form": "sft", "epochs": self.request.epochs, "lr": self.request.lr, **changes}
        self._train("sft", "base", [text], fields)

    def train_prm(self, name: str, labels: Sequence[Path], *, base: str = "sft", **changes: Any) -> str:
        """Train a 3-class head and the weights below it. Returns the folder of the reward model.

        base: the stage to start from, unless the request has a pretrained model. changes: fields of
        `TrainRequest` that differ from the recipe's.
        """
        fields = {
            "form": "classes3", "epochs": self.request.label_epochs, "lr": self.request.label_lr,
            "trees": CONTEXT, "class_weights": "balanced", "every": 100, **changes,
        }  # fmt: skip
        self._train(name, base, labels, fields)
        folder, members = self.request.work / name, self._members(name)
        if len(members) > 1 and not (folder / "prm.json").exists():
            own = tuple(member.name for member in members)
            save_layout(replace(find(str(members[0])).layout, members=own), folder)
        return str(folder)

    def _members(self, stage: str) -> list[Path]:
        folder, members = self.request.work / stage, self.request.number
        return [folder] if members == 1 else [folder / str(i) for i in range(members)]

    def _train(self, stage: str, base: str, data: Sequence[Path], fields: Mapping[str, Any]) -> None:
        """Train each member, or continue; skip those that are done."""
        pretrained, top = self.request.base, self.request.top_layers
        if pretrained is not None:
            fields = {**fields, "top_layers": _blocks(pretrained) // 2 if top is None else top, "lora": LORA}
        requests: dict[Path, TrainRequest] = {}
        for seed, (out, below) in enumerate(zip(self._members(stage), self._members(base), strict=True)):
            if (out / "README.md").exists():
                print(f"{out.relative_to(self.request.work)}: already done")
                continue
            requests[out.with_suffix(".log")] = TrainRequest(
                base=pretrained or str(below), data=tuple(map(str, data)), out=out,
                resume=(out / "train.json").exists(), seed=seed, max_length=CONTEXT, bf16=has_bfloat16(),
                **fields,
            )  # fmt: skip
        run_side_by_side(train, requests)

    def calibrate(self, model: str, validation: Path) -> None:
        """Calibrate a reward model on the validation data, with all classes weighed the same."""
        if find(model).layout.calibration.bias:
            print(f"{Path(model).name}: already calibrated")
            return
        request = CalibrateRequest(prm=model, data=(str(validation),), balanced=True)
        run_side_by_side(_calibrate, {Path(f"{model}.log"): request})

    def report(
        self, models: Sequence[str], data: Mapping[str, Sequence[LabelledSolution]],
        train: Sequence[LabelledSolution],
    ) -> list[dict[str, Any]]:  # fmt: skip
        """Evaluate the models, and baselines trained on `train`. Returns the rows of the report."""
        out = self.request.work / "report"
        out.mkdir(exist_ok=True)
        results = evaluate_prms(models, data, train, out, engine="hf", dtype="auto")
        path = report.write(out, results, command_line(self.module, self.request))
        settings = json.dumps(asdict(self.request), default=str, indent=2)
        (out / "settings.json").write_text(settings + "\n")
        print(f"written: {path}")
        return results


def _calibrate(request: CalibrateRequest) -> None:
    print("\n".join(calibrate_prm(request)))


def make_bases(text: Path, folders: Sequence[Path], *, hidden: int, layers: int) -> None:
    """Write a Llama with random weights to each folder, with a byte-level BPE tokenizer of the text."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from torch import manual_seed
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    pieces = Regex(r" ?\d| ?\p{L}+| ?[^\s\p{L}\d]|\n|\s+")  # single digits, as arithmetic needs them
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
