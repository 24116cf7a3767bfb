"""The files of a set of preference trees: sft.jsonl, pairs.jsonl, augmented.jsonl and summary.json."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from prm.data.left_out import LeftOut
from prm.preference.augment import cross_turn_pairs
from prm.preference.chat import FORMATS, read_chat_pairs
from prm.preference.counts import Counts
from prm.preference.records import (
    PairRow,
    SftRow,
    pair_fields,
    pair_rows,
    read_pairs,
    read_sft,
    sft_fields,
    sft_rows,
    trees_of,
    write_rows,
)
from prm.preference.tree import PreferenceTree
from search.errors import UsageError

SFT, PAIRS, AUGMENTED, SUMMARY = "sft.jsonl", "pairs.jsonl", "augmented.jsonl", "summary.json"


def write_trees(out: Path, trees: Iterable[PreferenceTree], facts: Mapping[str, Any]) -> Counts:
    """Write the files of trees into a folder; one that would hold no row is not written.

    facts: more for the summary. Returns the counts of sft.jsonl and pairs.jsonl. Raises UsageError if two
    trees have the same id.
    """
    trees, counts = list(trees), Counts()
    if len({tree.id for tree in trees}) < len(trees):
        raise UsageError("two preference trees have the same id: was one trace given twice?")
    out.mkdir(parents=True, exist_ok=True)
    sft = chain.from_iterable(map(sft_rows, trees))
    pairs = chain.from_iterable(map(pair_rows, trees))
    across = chain.from_iterable(map(cross_turn_pairs, trees))
    write_rows(out / SFT, map(sft_fields, counts.sft(sft)))
    write_rows(out / PAIRS, map(pair_fields, counts.paired(pairs)))
    n_across = write_rows(out / AUGMENTED, map(pair_fields, across))
    summary = {**counts.report(), "cross_turn_pairs": n_across, **facts}
    (out / SUMMARY).write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return counts


def read_trees(source: str, *, left_out: LeftOut | None = None) -> list[PreferenceTree]:
    """The trees of a folder that `write_trees` wrote, or of a file or hub data set of pairs.

    left_out: rows that cannot be used are counted there; otherwise the first of them raises UsageError.
    """
    if not Path(source).expanduser().is_dir():
        return list(trees_of(read_pairs(source, left_out=left_out), left_out=left_out))
    pairs, sft = rows_of(source, left_out=left_out)
    return list(trees_of(pairs, sft, left_out=left_out))


def test_problems(spec: str) -> Iterator[str]:
    """What is wrong with training on trees of a task's test problems, which their summary names.

    spec: a folder that `write_trees` wrote, or FORMAT:FILE of a file in it.
    """
    where = Path(spec.partition(":")[2] or spec).expanduser()
    summary = (where if where.is_dir() else where.parent) / SUMMARY
    if summary.is_file():
        tasks = json.loads(summary.read_text(encoding="utf-8")).get("test_problems_of", [])
        for task in tasks:
            yield f"{spec} holds test problems of the task {task}: nothing is trained on them"


def rows_of(
    source: str, *, left_out: LeftOut | None = None
) -> tuple[Iterable[PairRow], Iterable[SftRow]]:
    """Stream the pairs and the correct actions of a source, as its files hold them.

    source: a folder that `write_trees` wrote, or FORMAT:WHERE, where FORMAT is pairs, sft, or a name of
        `prm.preference.chat.FORMATS`, and WHERE a file or a data set on the hub.
    left_out: rows that cannot be read are counted there; otherwise the first of them raises UsageError.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        pairs, sft = folder / PAIRS, folder / SFT
        if not pairs.exists() and not sft.exists():
            raise UsageError(f"{source} holds neither {SFT} nor {PAIRS}")
        return (
            read_pairs(str(pairs), left_out=left_out) if pairs.exists() else (),
            read_sft(str(sft), left_out=left_out) if sft.exists() else (),
        )
    name, colon, where = source.partition(":")
    if name == "pairs" and colon:
        return read_pairs(where, left_out=left_out), ()
    if name == "sft" and colon:
        return (), read_sft(where, left_out=left_out)
    if name in FORMATS and colon:
        return read_chat_pairs(name, where, left_out=left_out), ()
    raise UsageError(
        f"{source} is neither a folder nor FORMAT:WHERE; the formats are pairs, sft, {', '.join(FORMATS)}"
    )
