"""From what a user calls a model to a checkpoint folder: bundled, pretrained, or a merged LoRA adapter.

An adapter is a folder as PEFT writes it, with adapter_config.json and adapter_model.safetensors
(https://huggingface.co/docs/peft/developer_guides/checkpoint). It is merged into its base on first use, and
kept in the models' cache as a checkpoint of its own.
"""

from __future__ import annotations

import json
import shutil
import sys
from functools import partial
from pathlib import Path

from prm.pretrained.cache import made, models_folder
from prm.pretrained.names import is_pretrained, pretrained_folder
from prm.reading.bundled import bundled_adapter, bundled_base, bundled_policy
from prm.reading.checkpoint import read_config, read_json
from prm.reading.content import MERGED, digest_of, fingerprint
from prm.reading.head import LABELS
from search.errors import UsageError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
WHOLE = ("model*.safetensors*", "pytorch_model*.bin*")
"""The weights of a whole model. A folder that has them is a checkpoint, whatever else it holds."""
RECORDS = ("prm.json", "train.json", "tune.json")
"""Files that say what stands around a question in a model's prompts, in the order in which they count."""
FORMAT = "v1"
"""Of merged folders. A change in what merging writes changes it, and adapters are merged again."""


def local_policy(name: str, *, fetch: bool = True) -> str | None:
    """The folder of a policy by name: bundled, pretrained, or of a merged adapter. None for other names.

    fetch: False returns None rather than fetch, convert or merge anything.
    Raises UsageError.
    """
    return bundled_policy(name) or pretrained_folder(name, fetch=fetch) or merged_folder(name, merge=fetch)


def local_base(name: str) -> str:
    """The checkpoint that training starts from: a folder or hub id. Raises UsageError.

    name: of a policy, as `local_policy` takes it; of a bundled reward model; a path or hub id.
    """
    return merged_folder(name) or pretrained_folder(name) or bundled_base(name)


def _base_folder(name: str, *, make: bool) -> str | None:
    """As `local_base`; with make=False, None where it would have to be fetched, converted or merged."""
    if make:
        return local_base(name)
    if is_adapter(name):
        return merged_folder(name, merge=False)
    return pretrained_folder(name, fetch=False) or (None if is_pretrained(name) else bundled_base(name))


def is_adapter(name: str) -> bool:
    """Whether it is the folder of an adapter rather than of a whole model."""
    folder = Path(bundled_adapter(name)).expanduser()
    return (folder / CONFIG).is_file() and not any(next(folder.glob(kind), None) for kind in WHOLE)


def merged_folder(name: str, *, merge: bool = True) -> str | None:
    """The checkpoint of an adapter, merged on first use; None for whatever is no adapter's folder.

    The weights are merged in float32 and stored in bfloat16. The tokenizer is the adapter's, or else the
    base's. A reward model's prm.json stays where it is, beside the adapter.

    merge: False returns None rather than merge anything.
    Raises UsageError if the base cannot be had, or if the adapter is not LoRA or does not fit its base.
    """
    if not is_adapter(name):
        return None
    folder = Path(bundled_adapter(name)).expanduser()
    base_name = _base_of(folder, name)
    if Path(base_name).expanduser().resolve() == folder.resolve():
        raise UsageError(f"{name} is its own base model, as its {CONFIG} says")
    try:
        if (base := _base_folder(base_name, make=merge)) is None:
            return None
        read_config(base)  # of a hub id, it is downloaded: its commit is known from then on
    except UsageError as error:
        reason = str(error).removeprefix(f"{base_name}: ")
        raise UsageError(f"{name}: its base model {base_name}: {reason}") from error
    identity = digest_of(json.dumps([FORMAT, fingerprint(str(folder)), fingerprint(base)]))
    record = next((file for part in (folder, Path(base)) if (file := _record(part))), None)
    question = read_json(record, str(record)).get("question") if record else None
    key = digest_of(json.dumps([identity, question]))
    stem = f"{folder.resolve().parent.name}-{folder.resolve().name}"  # the latter may be just "adapter"
    target = models_folder() / f"{stem}-{key[:12]}-{FORMAT}"
    if not target.is_dir():
        if not merge:
            return None
        print(f"{name}: merging the adapter into {base_name}, once", file=sys.stderr)
        made(target, partial(_merge, folder, base, record, {"base": base_name, "fingerprint": identity}))
        print(f"{name}: merged, kept in {target}", file=sys.stderr)
    return str(target)


def _base_of(folder: Path, name: str) -> str:
    """What the adapter calls its base. Raises UsageError for adapters that are not merged here."""
    fields = read_json(folder / CONFIG, f"{name}/{CONFIG}")
    if (kind := fields.get("peft_type")) != "LORA":
        raise UsageError(f"{name}: an adapter of the kind {kind}; only LoRA adapters are merged")
    if not (folder / WEIGHTS).is_file():
        raise UsageError(f"{name} holds no {WEIGHTS}")
    base = fields.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise UsageError(f"{name}: {CONFIG} must name the base model, as base_model_name_or_path")
    return base


def _record(folder: Path) -> Path | None:
    files = (folder / name for name in RECORDS)
    return next((file for file in files if file.is_file() and file.stat().st_size), None)


def _merge(folder: Path, base: str, record: Path | None, about: dict[str, str], target: Path) -> None:
    from prm.pretrained.merge import merge

    labels = LABELS
    if (layout := folder / "prm.json").is_file():
        labels = tuple(read_json(layout, str(layout)).get("labels", LABELS))
    merge(folder, base, target, labels=labels)
    if record is not None:
        shutil.copy(record, target)
    (target / MERGED).write_text(json.dumps({"adapter": str(folder.resolve()), **about}, indent=2) + "\n")
