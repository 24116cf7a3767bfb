"""python -m bench.prm800k: a reward model on PRM800K, from the raw files to the report.

Stages, each kept in --work and gone on with where it was interrupted: `text` gathers the training
text (GSM8K's training solutions, MATH's outside MATH-500, PRM800K's right paths), `base` makes a
tokenizer and a small Llama with random weights from it, `sft` trains that on the text, `prm` trains a
3-class head and all below it on 10, 30 and 100 % of the labels, and `report` measures them on phase 1's
test part and on ProcessBench beside the baselines. Nothing is trained on a problem of an evaluation set.

--data DIR is searched for phase1_train.jsonl, phase1_test.jsonl, phase2_train.jsonl (as OpenAI ships
them, or regrouped), phase2_train_*_decoded.jsonl, gsm8k/train.jsonl, math/test.jsonl, processbench/*.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from prm import command, evaluate, report, train
from prm.data import load
from prm.data.guard import Guard
from prm.labels import LabelledSolution, write_labels
from prm.rows import json_lines
from prm.train_options import parse
from search.errors import UsageError

SHARES = (0.1, 0.3, 1.0)
VOCABULARY = 4096
CONTEXT = 2048
MAX_LENGTH = 512


@dataclass(frozen=True, slots=True)
class Sources:
    """Data sets by what they are for, as specifications (`prm.data.load`). text: worked solutions."""

    labels: tuple[str, ...]
    tests: tuple[str, ...]
    gsm8k: Path | None
    math: Path | None


def find_sources(folder: Path) -> Sources:
    """What the folder holds. Raises UsageError if the labels or the test part are not there."""

    def first(pattern: str) -> Path | None:
        return next(iter(sorted(folder.rglob(pattern))), None)

    labels = [
        f"{_shape(path)}:{path}"
        for name in ("phase1_train.jsonl", "phase2_train.jsonl", "phase2_train_*_decoded.jsonl")
        if (path := first(name)) is not None
    ]
    test = first("phase1_test.jsonl")
    if not labels or test is None:
        raise UsageError(f"--data {folder}: holds no phase1_train.jsonl and phase1_test.jsonl of PRM800K")
    bench = [f"processbench:{path}" for path in sorted(folder.rglob("processbench/*.json"))]
    tests = (f"{_shape(test)}:{test}", *bench)
    return Sources(tuple(labels), tests, first("gsm8k/train.jsonl"), first("math/test.jsonl"))


def _shape(path: Path) -> str:
    """In which of the three shapes a file of PRM800K is."""
    row = next(json_lines(path)).fields
    return "prm800k" if "labeler" in row else "prm800k-decoded" if "ratings" in row else "prm800k-regrouped"


def gather_text(sources: Sources, limit: int | None) -> Iterator[LabelledSolution]:
    """Worked solutions of training problems, and the paths of PRM800K that hold no error."""
    if sources.gsm8k is not None:
        yield from islice(load(f"worked:{sources.gsm8k}"), limit)
    if sources.math is not None:
        outside = {row.fields["problem"] for row in json_lines(sources.math) if not row.fields["in_math500"]}
        solutions = (s for s in load(f"worked:{sources.math}") if s.question in outside)
        yield from (replace(s, split="train") for s in islice(solutions, limit))
    for spec in sources.labels:
        paths = (s for s in load(spec) if not s.context and -1 not in s.labels and s.split != "test")
        yield from islice(paths, limit)


def make_base(text: Path, out: Path, *, hidden: int, layers: int) -> None:
    """A byte-level BPE tokenizer learnt from the text, and a Llama with random weights."""
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
    manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=hidden, intermediate_size=3 * hidden, num_hidden_layers=layers,
        num_attention_heads=max(1, hidden // 64), num_key_value_heads=max(1, hidden // 64),
        max_position_embeddings=CONTEXT, tie_word_embeddings=True, pad_token_id=0, eos_token_id=1,
        bos_token_id=None,
    ))  # fmt: skip
    model.save_pretrained(out)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>"
    ).save_pretrained(out)


def fit(out: Path, base: Path, form: str, data: Sequence[str], options: Sequence[str]) -> None:
    """Train, go on with it, or see that it is done."""
    if (out / "README.md").exists():
        print(f"{out.name}: done before")
        return
    said = ["--form", form, "--base", str(base), "--out", str(out), "--data", *data]
    said += ["--max-length", str(MAX_LENGTH), *options]
    run, where, _ = parse(said)
    train.train(run, where, resume=(out / "train.json").exists())


def learning_curve(found: Sequence[dict[str, object]], models: dict[str, float], path: Path) -> None:
    """Balanced accuracy by share of the labels, with intervals, on each data set."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 3.4), constrained_layout=True)
    for data in dict.fromkeys(str(row["data"]) for row in found):
        points = []
        for row in found:
            if row["data"] == data and row["judge"] in models:
                measures: dict[str, dict[str, list[float]]] = row["measures"]  # type: ignore[assignment]
                points.append((models[str(row["judge"])], *measures["steps"]["balanced_accuracy"]))
        share, value, low, high = (list(column) for column in zip(*sorted(points), strict=True))
        around = [[abs(v - b) for v, b in zip(value, bound, strict=True)] for bound in (low, high)]
        axes.errorbar(share, value, yerr=around, marker=".", capsize=2, label=Path(data).name)
    axes.set(xscale="log", xlabel="share of the training problems", ylabel="balanced accuracy")
    axes.legend(fontsize=7)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.prm800k", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="DIR", help="where the data sets are")
    add("--work", type=Path, default=Path("runs/prm800k"), metavar="DIR", help="(%(default)s)")
    add("--hidden", type=int, default=256, help="width of the model, a multiple of 64 (%(default)s)")
    add("--layers", type=int, default=6, help="(%(default)s)")
    add("--epochs", type=float, default=2.0, help="passes over the text, and over the labels (%(default)s)")
    add("--lr", type=float, default=2e-3, help="of the text; a fifth of it for the labels (%(default)s)")
    add("--limit", type=int, metavar="N", help="solutions of each data set, for a trial (all)")
    asked = parser.parse_args()
    sources = find_sources(asked.data)
    work: Path = asked.work
    work.mkdir(parents=True, exist_ok=True)
    text, labels = work / "text.jsonl", work / "labels.jsonl"
    guard = Guard.known()
    if not text.exists():
        written = write_labels(text, guard.filter(gather_text(sources, asked.limit)))
        print(f"text: {written:,} solutions; {guard.describe()}")
    if not labels.exists():
        records = (s for spec in sources.labels for s in islice(load(spec), asked.limit))
        write_labels(labels, (s for s in Guard.known().filter(records)))
    if not (work / "base" / "config.json").exists():
        make_base(text, work / "base", hidden=asked.hidden, layers=asked.layers)
    common = ["--epochs", str(asked.epochs), "--batch", "32", "--bf16"]
    fit(work / "sft", work / "base", "sft", [str(text)], [*common, "--lr", str(asked.lr)])
    models: dict[str, float] = {}
    for share in SHARES:
        out = work / f"prm-{round(100 * share)}"
        options = [*common, "--lr", str(asked.lr / 5), "--share", str(share), "--class-weights", "balanced"]
        fit(out, work / "sft", "classes3", [str(labels)], options)
        models[str(out)] = share
    data = {spec: list(islice(load(spec), asked.limit)) for spec in sources.tests}
    learnt = list(load(str(labels)))
    (work / "report").mkdir(exist_ok=True)
    found = evaluate.evaluate(list(models), data, learnt, work / "report", engine="hf", dtype="auto")
    report.write(work / "report", found, f"python -m bench.prm800k --data {asked.data} --work {work}")
    learning_curve(found, models, work / "report" / "learning-curve.png")
    (work / "report" / "settings.json").write_text(json.dumps(vars(asked), default=str, indent=2) + "\n")
    print(f"written: {work / 'report' / 'report.md'}")


if __name__ == "__main__":
    command.run(main)
