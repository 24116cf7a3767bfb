"""LoRA adapters that cannot be merged, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("peft")

from safetensors.torch import load_file, save_file

from bench.runner.resolve import check_policy, resolve_prm
from bench.runner.specs import PolicySpec, PRMSpec
from prm.reading.layout import Layout, read_layout, save_layout
from search.errors import UsageError
from tests.test_adapters import TASK, adapter, edit, merged
from tests.test_prm_train import random_model


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "prm-search" / "models"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_model(tmp_path_factory.mktemp("base"))


def without_weights(folder: Path) -> None:
    (folder / "adapter_model.safetensors").unlink()


def without_a_layer(folder: Path) -> None:
    weights = load_file(folder / "adapter_model.safetensors")
    save_file({k: w for k, w in weights.items() if "q_proj" not in k}, folder / "adapter_model.safetensors")


def with_another_layer(folder: Path) -> None:
    weights = load_file(folder / "adapter_model.safetensors")
    more = {k.replace("layers.0", "layers.7"): w.clone() for k, w in weights.items()}
    save_file(weights | more, folder / "adapter_model.safetensors")


def with_larger_weights(folder: Path) -> None:
    weights = load_file(folder / "adapter_model.safetensors")
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    save_file(weights | {name: torch.zeros(4, 96)}, folder / "adapter_model.safetensors")


def without_a_base(folder: Path) -> None:
    edit(folder, base_model_name_or_path=None)


REFUSED: dict[str, Callable[[Path], Any]] = {
    "an adapter of the kind IA3; only LoRA": lambda folder: edit(folder, peft_type="IA3"),
    "made for the task SEQ_2_SEQ_LM": lambda folder: edit(folder, task_type="SEQ_2_SEQ_LM"),
    "holds no adapter_model.safetensors": without_weights,
    "must name the base model": without_a_base,
    "size mismatch for .*q_proj": with_larger_weights,
    "does not fit its base model .*: it has no weights for .*q_proj": without_a_layer,
    "does not fit its base model .*: it has weights for .*layers.7": with_another_layer,
    "is its own base model": lambda folder: edit(folder, base_model_name_or_path=str(folder)),
    "base model absent/model/x: there is no such folder":
        lambda folder: edit(folder, base_model_name_or_path="absent/model/x"),
    "adapter_config.json: not JSON": lambda folder: (folder / "adapter_config.json").write_text("{"),
    "neither it nor its base model .* has weights for score":
        lambda folder: edit(folder, task_type="SEQ_CLS"),
    "has no weights for base_model.model.lm_head": lambda folder: edit(folder, modules_to_save=["lm_head"]),
}  # fmt: skip


@pytest.mark.parametrize("why", REFUSED)
def test_what_cannot_be_merged_is_refused(why: str, base: Path, cache: Path, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "mine", base)
    REFUSED[why](folder)
    with pytest.raises(UsageError, match=f"--policy {folder}.*{why}"):
        check_policy(PolicySpec(name=str(folder), engine="hf"), TASK.defaults)
    assert not cache.exists() or all(path.suffix == ".lock" for path in cache.iterdir())


def test_a_base_that_is_not_here_is_said_as_for_a_policy(base: Path, tmp_path: Path) -> None:
    folder = edit(adapter(tmp_path / "mine", base), base_model_name_or_path="smollm2")
    told = []
    for name in (str(folder), "smollm2"):
        with pytest.raises(UsageError) as refused:
            check_policy(PolicySpec(name=name, engine="hf"), TASK.defaults)
        message = str(refused.value).removeprefix(f"--policy {name}: ")
        told.append(message.removeprefix("its base model smollm2: "))
    assert told[0] == told[1] and told[0].startswith("not here yet; `python -m prm.fetch smollm2 --yes`")


def test_weights_that_two_layers_share_are_not_changed_for_one(tmp_path: Path) -> None:
    for tied in (False, True):
        base = random_model(tmp_path / f"base-{tied}", tied=tied)
        merged(adapter(tmp_path / f"spares-it-{tied}", base))
        folder = adapter(tmp_path / f"mine-{tied}", base, target=["lm_head"])
        if not tied:
            merged(folder)
            continue
        with pytest.raises(UsageError, match=r"lm_head.*merging would change both"):
            merged(folder)


def test_without_peft_what_to_install_is_said(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prm.pretrained import merge

    folder = adapter(tmp_path / "mine", base)
    monkeypatch.setattr(merge, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs peft: pip install 'prm-search\[train\]'"):
        merged(folder)


def test_an_adapter_without_a_layout_is_no_reward_model(base: Path, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "mine", base)
    with pytest.raises(UsageError, match=r"is no reward model of this kind: it has no prm\.json"):
        resolve_prm(PRMSpec(name=str(folder), engine="hf"), TASK, None)
    save_layout(Layout(), folder)
    with pytest.raises(UsageError, match="its layout needs a sequence-classification head"):
        read_layout(str(folder))
