"""Adapters as they are bundled: copied from a training, in bfloat16."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from search.errors import UsageError

CONFIG, WEIGHTS, LAYOUT = "adapter_config.json", "adapter_model.safetensors", "prm.json"


def ship(adapter: Path, out: Path, base: str) -> None:
    """Copy an adapter in bfloat16, to be merged into `base` from now on. One that was there is replaced.

    A reward model's prm.json is that of the checkpoint around the adapter's folder, which may be calibrated.
    Raises UsageError if something else is there.
    """
    from safetensors.torch import load_file, save_file

    check_replaceable(out)
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(adapter, partial)
    if (calibrated := adapter.parent / LAYOUT).is_file():
        shutil.copy(calibrated, partial)
    weights = {name: tensor.bfloat16() for name, tensor in load_file(partial / WEIGHTS).items()}
    save_file(weights, partial / WEIGHTS, metadata={"format": "pt"})
    fields = json.loads((partial / CONFIG).read_text(encoding="utf-8")) | {"base_model_name_or_path": base}
    (partial / CONFIG).write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    shutil.rmtree(out, ignore_errors=True)
    partial.rename(out)
    print(f"written: {out}")


def check_replaceable(out: Path) -> None:
    """Raise UsageError if `out` is there and no adapter's folder."""
    if out.exists() and not (out / CONFIG).is_file():
        raise UsageError(f"{out} is no adapter's folder, and is not replaced")
